"""Reading results back as the port Rally promises it: by the fake, and by the adapter against the stand-in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from reconciler.errors import ServiceDown
from reconciler.model import (
    Build,
    FormattedID,
    Key,
    ObjectID,
    PipelineId,
    ProjectId,
    Rejected,
    SeenResult,
    TestCaseResult,
)
from reconciler.sandbox.faults import page
from tests.contract.unhurried import IMPATIENT, met
from tests.fakes import FakeRally
from tests.rally_world import NOON

if TYPE_CHECKING:
    from reconciler.ports import Rally
    from reconciler.rally import RallyAdapter
    from tests.rally_world import World

BUILD = Build("GitLab-1001")
LOST = ObjectID(4711)
"""An ObjectID that Rally does not have."""


class Desk(Protocol):
    """Somewhere with two test cases, TC1 and TC2, where people change results."""

    @property
    def rally(self) -> Rally:
        """The port."""

    def case(self, formatted_id: str) -> ObjectID:
        """Tell a test case's ObjectID."""

    def by_hand(self, formatted_id: str, build: str, notes: str = "") -> ObjectID:
        """Let a person make a result."""

    def edit(self, result: ObjectID, build: str, verdict: str, notes: str) -> None:
        """Let a person change a result."""

    def delete(self, result: ObjectID) -> None:
        """Let a person delete a result."""

    def delete_case(self, formatted_id: str) -> None:
        """Let a person delete a test case, with all that hangs on it."""

    def down(self) -> None:
        """Take Rally away for good."""


@dataclass(slots=True)
class FakeDesk:
    """The fake."""

    rally: FakeRally

    def case(self, formatted_id: str) -> ObjectID:
        """Look it up."""
        return next(number for number, case in self.rally.cases.items() if case.formatted_id == formatted_id)

    def by_hand(self, formatted_id: str, build: str, notes: str = "") -> ObjectID:
        """Put it there."""
        number = self.rally._next_id()
        self.rally.stored[number] = replace(result(self.case(formatted_id)), build=Build(build), notes=notes)
        return number

    def edit(self, result: ObjectID, build: str, verdict: str, notes: str) -> None:
        """Do it."""
        old = self.rally.stored[result]
        self.rally.stored[result] = replace(old, build=Build(build), verdict=verdict, notes=notes)

    def delete(self, result: ObjectID) -> None:
        """Do it."""
        del self.rally.stored[result]

    def delete_case(self, formatted_id: str) -> None:
        """Do it."""
        self.rally.delete_case(formatted_id)

    def down(self) -> None:
        """Do it."""
        self.rally.down = True


@dataclass(slots=True)
class RealDesk:
    """The adapter, and the stand-in that it talks to."""

    rally: RallyAdapter
    world: World

    def case(self, formatted_id: str) -> ObjectID:
        """Look it up."""
        return ObjectID(self.world.store.find("TestCase", FormattedID=formatted_id)[0].oid)

    def by_hand(self, formatted_id: str, build: str, notes: str = "") -> ObjectID:
        """Put it there."""
        (case,) = self.world.store.find("TestCase", FormattedID=formatted_id)
        return ObjectID(self.world.store.add_result(case, build, Notes=notes).oid)

    def edit(self, result: ObjectID, build: str, verdict: str, notes: str) -> None:
        """Do it."""
        self.world.store.change(self.world.store.one(result), Build=build, Verdict=verdict, Notes=notes)

    def delete(self, result: ObjectID) -> None:
        """Do it."""
        self.world.store.delete(self.world.store.one(result))

    def delete_case(self, formatted_id: str) -> None:
        """Do it."""
        self.world.store.delete(self.world.store.find("TestCase", FormattedID=formatted_id)[0])

    def down(self) -> None:
        """Do it."""
        self.world.fail(page(502), times=None)


@pytest.fixture(params=["fake", "adapter"])
def desk(request: pytest.FixtureRequest) -> Desk:
    """Make both, one after the other."""
    if request.param == "fake":
        fake = FakeRally()
        fake.add_case("TC1")
        fake.add_case("TC2")
        return FakeDesk(fake)
    hasty = met(request.getfixturevalue("connect")(limits=IMPATIENT))
    return RealDesk(hasty, request.getfixturevalue("world"))


def result(case: ObjectID, formatted_id: str = "TC1", **changes: Any) -> TestCaseResult:  # noqa: ANN401 - passed on
    """Make a result of a test case."""
    key = Key(ProjectId(21), PipelineId(1001), FormattedID(formatted_id), 1)
    plain = TestCaseResult(key, BUILD, case, "Pass", NOON, 1.25, f"<div>ü &amp; more</div><div>{key}</div>")
    return replace(plain, **changes)


def made(answers: list[ObjectID | Rejected]) -> list[ObjectID]:
    """Expect a yes to each."""
    assert not [answer for answer in answers if isinstance(answer, Rejected)]
    return [ObjectID(int(str(answer))) for answer in answers]


def test_a_result_is_read_back_as_it_was_sent(desk: Desk) -> None:
    """By its Build, and by its ObjectID: key, test case, Verdict, Date and Duration, to the millisecond."""
    sent = result(desk.case("TC1"), verdict="Fail", date=NOON + timedelta(microseconds=7_000), duration_s=0.001)
    (number,) = made(desk.rally.add_results([sent]))
    wanted = [SeenResult(number, BUILD, sent.key, sent.test_case, "Fail", sent.date, 0.001)]
    assert desk.rally.all_results_of([BUILD]) == wanted
    assert desk.rally.results_by_id([number]) == wanted


def test_everybodys_results_of_a_build_are_listed(desk: Desk) -> None:
    """Those without a key, too; none of another Build, whose name begins alike or differs in case."""
    (ours,) = made(desk.rally.add_results([result(desk.case("TC1"))]))
    theirs = desk.by_hand("TC2", BUILD, "<p>looked fine to me</p>")
    bare = desk.by_hand("TC2", BUILD)
    for other in (f"{BUILD}0", BUILD.lower(), "nightly"):
        desk.by_hand("TC1", other)
    seen = {one.object_id: one.key for one in desk.rally.all_results_of([BUILD])}
    assert seen == {ours: result(ours).key, theirs: None, bare: None}
    assert {one.object_id for one in desk.rally.results_of([BUILD])} == {ours}


def test_an_edited_result_is_seen_as_it_is_now(desk: Desk) -> None:
    """By its ObjectID under any Build."""
    (number,) = made(desk.rally.add_results([result(desk.case("TC1"))]))
    desk.edit(number, "by hand", "Blocked", "<div>never mind</div>")
    assert desk.rally.all_results_of([BUILD]) == []
    (seen,) = desk.rally.results_by_id([number, LOST])
    assert (seen.build, seen.verdict, seen.key) == ("by hand", "Blocked", None)


def test_what_was_deleted_is_not_there(desk: Desk) -> None:
    """Alone, or with its test case."""
    results = [result(desk.case("TC1")), result(desk.case("TC2"), "TC2")]
    first, second = made(desk.rally.add_results(results))
    desk.delete(first)
    assert [one.object_id for one in desk.rally.all_results_of([BUILD])] == [second]
    assert [one.object_id for one in desk.rally.results_by_id([first, second])] == [second]
    desk.delete_case("TC2")
    assert desk.rally.all_results_of([BUILD]) == []
    assert desk.rally.results_by_id([first, second]) == []


def test_nothing_is_asked_for_nothing(desk: Desk) -> None:
    """No Builds, no ObjectIDs, no results."""
    assert desk.rally.all_results_of([]) == []
    assert desk.rally.results_by_id([]) == []


def test_a_look_that_failed_is_not_an_empty_answer(desk: Desk) -> None:
    """Nothing would be missing that nobody saw."""
    desk.down()
    with pytest.raises(ServiceDown):
        desk.rally.all_results_of([BUILD])
    with pytest.raises(ServiceDown):
        desk.rally.results_by_id([LOST])


# --- on the wire -----------------------------------------------------------------------------------------------------


def test_a_result_whose_test_case_left_our_projects_is_found_by_its_object_id(
    world: World, rally: RallyAdapter
) -> None:
    """The whole workspace is asked, so that it is not taken for deleted."""
    (number,) = made(rally.add_results([world.result()]))
    world.store.change(world.cases[0], Project=world.other.oid)
    world.server.log.clear()
    assert [one.object_id for one in rally.results_by_id([number])] == [number]
    (asked,) = world.server.log.entries("GET", "/testcaseresult$")
    assert asked.query["project"] == ["null"]


def test_many_are_asked_for_twenty_five_at_once_within_two_thousand_bytes(world: World, rally: RallyAdapter) -> None:
    """The same question twice is one."""
    world.server.log.clear()
    wanted = [ObjectID(9_007_199_254_740_000 + n) for n in range(60)]
    assert rally.results_by_id([*wanted, *wanted]) == []
    asked = world.server.log.entries("GET", "/testcaseresult$")
    assert len(asked) == 3
    assert max(len(entry.target) for entry in asked) < 2_000


@pytest.mark.parametrize("duration", [None, "", "1.5"])
def test_a_result_that_a_tool_wrote_oddly_is_seen_all_the_same(
    world: World, rally: RallyAdapter, duration: str | None
) -> None:
    """Without a Duration or with text for one, without Notes."""
    world.store.add_result(world.cases[0], BUILD, Duration=duration, Notes=None)
    (seen,) = rally.all_results_of([BUILD])
    assert (seen.key, seen.duration_s) == (None, None)


def test_all_pages_are_read(world: World, rally: RallyAdapter) -> None:
    """A page holds 200: each row has its Notes with it."""
    for n in range(450):
        world.store.add_result(world.cases[n % 2], BUILD)
    world.server.log.clear()
    assert len(rally.all_results_of([BUILD])) == 450
    assert len(world.server.log.entries("GET", "/testcaseresult$")) == 3
