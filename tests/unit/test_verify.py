"""Rally is read back and compared with the ledger; what a person deleted is made again, that alone, and once."""

from __future__ import annotations

from collections import deque
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from reconciler import show
from reconciler.dispatch import GONE
from reconciler.errors import NotDone, ServiceDown
from reconciler.ledger import views
from reconciler.ledger.ledger import in_memory
from reconciler.mapping import Row
from reconciler.model import Build, ObjectID
from reconciler.order import Order
from reconciler.repairing import Repaired, repair
from reconciler.verify import Verified, portions, verify
from reconciler.world import World
from tests import accounting, building
from tests.fakes import FakeRally
from tests.fates import Killed, fails, killed, later, says_no, silent
from tests.unit.attaching import Depot, depot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from reconciler.model import SeenResult, TestCaseResult
    from tests.fakes import Step

SETTLED_S = 400
DRY_RUN = Order("once", dry_run=True)


@dataclass(slots=True)
class Archive(FakeRally):
    """A Rally that counts what it is asked to read back, and in which something happens before it answers."""

    asked: list[tuple[Build, ...]] = field(default_factory=list)
    asked_by_id: list[int] = field(default_factory=list)
    meanwhile: deque[Callable[[], object]] = field(default_factory=deque)
    moved: set[ObjectID] = field(default_factory=set)
    """Results of test cases that are in projects beside ours by now."""

    def all_results_of(self, builds: Sequence[Build]) -> list[SeenResult]:
        """List them."""
        self.asked.append(tuple(builds))
        if self.meanwhile:
            self.meanwhile.popleft()()
        return [one for one in FakeRally.all_results_of(self, builds) if one.object_id not in self.moved]

    def results_by_id(self, results: Sequence[ObjectID]) -> list[SeenResult]:
        """List them."""
        self.asked_by_id.append(len(results))
        return FakeRally.results_by_id(self, results)


@dataclass
class Audit:
    """A depot whose Rally is read back."""

    depot: Depot
    rally: Archive

    # --- what happens ---

    def send(self, *cases: str) -> str:
        """Finish a pipeline with these tests and send its results; the Build."""
        job = self.depot.job(*cases)
        self.depot.once()
        return f"GitLab-{job.pipeline_id}"

    def number(self, said: str, build: str = "") -> ObjectID:
        """Find the one result of a test case and revision, in this Build if one is given: `TC1/1`."""
        (found,) = [
            number
            for number, one in self.rally.stored.items()
            if f"{one.key.formatted_id}/{one.key.revision}" == said and build in ("", one.build)
        ]
        return found

    def change(self, said: str, **changes: Any) -> None:  # noqa: ANN401 - any attribute
        """Let a person change a result."""
        number = self.number(said)
        self.rally.stored[number] = replace(self.rally.stored[number], **changes)

    def delete(self, said: str, build: str = "") -> TestCaseResult:
        """Let a person delete a result; what it was."""
        number = self.number(said, build)
        for attachment in [one for one, made in self.rally.attached.items() if made.result == number]:
            del self.rally.attached[attachment]
        return self.rally.stored.pop(number)

    def put(self, result: TestCaseResult, **changes: Any) -> ObjectID:  # noqa: ANN401 - any attribute
        """Let somebody else make a result."""
        number = self.rally._next_id()
        self.rally.stored[number] = replace(result, **changes)
        return number

    def once(self) -> dict[str, int]:
        """Make a pass when everything that was begun can no longer be alive."""
        self.depot.clock.advance(SETTLED_S)
        return self.depot.once().summary

    # --- what is told ---

    def verify(self, since: datetime | None = None) -> Verified:
        """Compare."""
        return verify(self.rally, lambda: nullcontext(self.depot.ledger.store), since)

    def repair(self, since: datetime | None = None) -> Repaired:
        """Make again what is missing; every test is accounted for."""
        settings = building.settings(building.rally_settings(max_concurrency=2, batch_size=self.depot.batch_size))
        settings = replace(settings, attachments=self.depot.config)
        world = World(self.depot.gitlab, self.rally, self.depot.ledger, settings, self.depot.stop, self.depot.clock)
        rows = [Row(line, f"shop.{test}", said) for line, (test, said) in enumerate(self.depot.rows.items(), 2)]
        try:
            return repair(world, rows, since)
        finally:
            accounting.check(self.depot.ledger.store)

    def states(self) -> dict[str, int]:
        """Count the tests by state."""
        accounting.check(self.depot.ledger.store)
        told = views.tests(self.depot.ledger.store)
        return {state: n for state, n in told.items() if n and state != "read"}

    def held(self) -> dict[str, str]:
        """Tell what Rally holds, by Build's number, test case and revision; a key that is there twice fails."""
        found = self.rally.results()
        return {f"{key.pipeline_id}/{key.formatted_id}/{key.revision}": str(said) for key, said in found.items()}


@pytest.fixture
def audit() -> Iterator[Audit]:
    """Open a depot; TC1, TC2 and TC3 are there."""
    made = depot()
    rally = Archive(made.clock)
    for formatted_id in ("TC1", "TC2", "TC3"):
        rally.add_case(formatted_id)
    made.rally = rally
    with closing(made.ledger.store):
        yield Audit(made, rally)
        made.ledger.store.close()  # another by now, perhaps


def found(verified: Verified) -> dict[str, Any]:
    """Tell what was found, without what is empty and without the details."""
    return {kind: value for kind, value in verified.told().items() if value and kind != "details"}


# --- comparing -------------------------------------------------------------------------------------------------------


def test_a_rally_that_has_what_the_ledger_says_is_found_true(audit: Audit) -> None:
    """Every done result is compared; the shape is the documented one."""
    audit.send("a_TC1", "b_TC2!")
    audit.send("a_TC1", "held")
    told = audit.verify()
    assert told.is_true
    assert {kind: told.told()[kind] for kind in ("checked", "missing", "altered", "foreign", "doubled")} == {
        "checked": 3, "missing": [], "altered": [], "foreign": [], "doubled": []
    }  # fmt: skip


def test_an_empty_ledger_asks_nothing(audit: Audit) -> None:
    """There is nothing to compare."""
    assert found(audit.verify()) == {}
    assert audit.rally.asked == []


def test_a_result_that_was_deleted_is_missing(audit: Audit) -> None:
    """By its key; the others are as they were. Nothing is written by looking."""
    audit.send("a_TC1", "b_TC2")
    audit.delete("TC1/1")
    told = audit.verify()
    assert found(told) == {"checked": 2, "missing": ["1/100/TC1/1"]}
    assert not told.is_true
    assert found(audit.verify()) == found(told)


EDITS: dict[str, tuple[dict[str, Any], str]] = {
    "verdict": ({"verdict": "Fail"}, "Verdict is Fail, not Pass"),
    "duration": ({"duration_s": 0.501}, "Duration is 0.501, not 0.5"),
    "test case": ({"test_case": ObjectID(9002)}, "test case is ObjectID 9002, not 9001"),
    "build": ({"build": Build("1.2.3")}, "Build is 1.2.3, not GitLab-100"),
    "no key": ({"notes": "<div>all is well</div>"}, "the last line of its Notes is not its key"),
    "a line after the key": (
        {"notes": "<div>1/100/TC1/1</div><div>seen</div>"},
        "the last line of its Notes is not its key",
    ),
    "another key": ({"notes": "<div>1/100/TC3/1</div>"}, "the last line of its Notes is not its key but 1/100/TC3/1"),
}


@pytest.mark.parametrize(("edit", "said"), EDITS.values(), ids=EDITS)
def test_a_result_that_a_person_edited_is_altered_and_not_made_again(
    audit: Audit, edit: dict[str, Any], said: str
) -> None:
    """Its object is there: with another Build it is found by its ObjectID. No edit is undone."""
    audit.send("a_TC1", "b_TC2")
    audit.change("TC1/1", **edit)
    told = audit.verify()
    assert told.altered == {"1/100/TC1/1": said}
    assert found(told) == {"checked": 2, "altered": ["1/100/TC1/1"]}
    requests = list(audit.rally.requests)
    assert found(audit.repair().found) == found(told)
    assert audit.rally.requests == requests
    assert audit.once()["writes"] == 0


def test_a_changed_date_is_altered_and_a_rounded_one_is_not(audit: Audit) -> None:
    """Rally shows milliseconds."""
    audit.send("a_TC1")
    date = audit.rally.stored[audit.number("TC1/1")].date
    audit.change("TC1/1", date=date + timedelta(microseconds=900))
    assert audit.verify().is_true
    audit.change("TC1/1", date=date + timedelta(days=1))
    (said,) = audit.verify().altered.values()
    assert said.startswith("Date is 2026-02-01T12:")


def test_two_edits_are_both_told(audit: Audit) -> None:
    """In one line."""
    audit.send("a_TC1")
    audit.change("TC1/1", verdict="Error", duration_s=None)
    assert audit.verify().altered == {"1/100/TC1/1": "Verdict is Error, not Pass; Duration is None, not 0.5"}


def test_a_result_that_is_no_longer_seen_in_our_projects_is_not_missing(audit: Audit) -> None:
    """Its test case was moved to a project beside ours: asked by ObjectID, Rally has it as it was."""
    audit.send("a_TC1", "b_TC2")
    audit.rally.moved.add(audit.number("TC1/1"))
    assert found(audit.verify()) == {"checked": 2}
    assert audit.rally.asked_by_id == [1]
    assert audit.repair().made == ()


def test_what_other_tools_and_people_put_into_our_builds_is_foreign(audit: Audit) -> None:
    """It is told, with nothing wrong about it: by Build and ObjectID, or by a key that the ledger does not know."""
    audit.send("a_TC1")
    ours = audit.rally.stored[audit.number("TC1/1")]
    number = audit.put(ours, notes="<p>by hand</p>", test_case=ObjectID(9002))
    audit.put(ours, notes="<div>1/100/TC9/1</div>")
    told = audit.verify()
    assert told.foreign.keys() == {f"GitLab-100/ObjectID {number}", "1/100/TC9/1"}
    assert told.foreign[f"GitLab-100/ObjectID {number}"] == f"ObjectID {number} of test case 9002: Pass"
    assert told.is_true


def test_a_copy_by_hand_is_doubled(audit: Audit) -> None:
    """Both ObjectIDs are told; ours is the one that is compared, and neither is foreign or made again."""
    audit.send("a_TC1")
    copy = audit.put(audit.rally.stored[audit.number("TC1/1")], verdict="Fail")
    told = audit.verify()
    assert found(told) == {"checked": 1, "doubled": ["1/100/TC1/1"]}
    assert told.doubled["1/100/TC1/1"] == f"ObjectIDs {copy - 1}, {copy}"
    assert not told.is_true
    assert audit.repair().made == ()
    assert len(audit.rally.stored) == 2


def test_a_doubled_and_altered_result_is_told_as_both_each_with_its_own_words(audit: Audit) -> None:
    """The details are by kind."""
    audit.send("a_TC1")
    audit.put(audit.rally.stored[audit.number("TC1/1")])
    ours = min(audit.rally.stored)
    audit.rally.stored[ours] = replace(audit.rally.stored[ours], verdict="Fail")
    details = audit.verify().told()["details"]
    assert details["altered"] == {"1/100/TC1/1": "Verdict is Fail, not Pass"}
    assert details["doubled"]["1/100/TC1/1"].startswith("ObjectIDs ")


def test_a_key_of_a_lost_ledger_that_is_there_twice_is_foreign_and_doubled(audit: Audit) -> None:
    """Nobody's key may be there twice."""
    audit.send("a_TC1")
    ours = audit.rally.stored[audit.number("TC1/1")]
    for _ in range(2):
        audit.put(ours, notes="<div>1/100/TC9/1</div>")
    told = audit.verify()
    assert (list(told.foreign), list(told.doubled)) == (["1/100/TC9/1"], ["1/100/TC9/1"])
    assert told.foreign["1/100/TC9/1"].count("ObjectID") == 2


def test_what_is_in_doubt_or_refused_is_neither_missing_nor_foreign(audit: Audit) -> None:
    """The next pass settles the one; the other is a state."""
    audit.rally.refuses = lambda result: "cursed" if result.key.formatted_id == "TC3" else ""
    audit.send("c_TC3", "a_TC1")
    audit.rally.steps.append(silent(1))
    audit.depot.job("b_TC2", "a_TC1")
    audit.depot.once()
    assert views.entries(audit.depot.ledger.store) == {"intended": 2, "done": 1, "refused": 1}
    assert found(audit.verify()) == {"checked": 1}


def test_what_a_daemon_sends_while_rally_answers_is_not_foreign(audit: Audit) -> None:
    """The ledger is read again after the answer, and everything is written down before it is sent."""
    audit.send("a_TC1", "held")
    audit.depot.rows["held"] = "TC2"
    audit.rally.meanwhile.append(audit.depot.once)
    assert found(audit.verify()) == {"checked": 1}
    assert found(audit.verify()) == {"checked": 2}


def test_since_leaves_out_older_results(audit: Audit) -> None:
    """By the results' dates; Builds that have none as young are not asked about."""
    audit.send("a_TC1")
    audit.delete("TC1/1")
    since = audit.depot.clock.advance(60)
    build = audit.send("b_TC2")
    assert found(audit.verify(since)) == {"checked": 1}
    assert audit.rally.asked == [(build,)]
    assert audit.repair(since).made == ()
    assert found(audit.verify()) == {"checked": 2, "missing": ["1/100/TC1/1"]}


def test_a_rally_that_is_away_is_not_an_empty_one(audit: Audit) -> None:
    """Nothing is called missing that nobody could look for."""
    audit.send("a_TC1")
    audit.rally.down = True
    with pytest.raises(ServiceDown):
        audit.verify()


@pytest.mark.parametrize(
    ("numbers", "wanted"),
    [
        ([], []),
        ([1], [1]),
        ([1] * 25, [25]),
        ([1] * 60, [25, 25, 10]),
        ([40] * 60, [25, 25, 10]),
        ([100] * 12, [10, 2]),
        ([5_000, 1, 999, 1, 1], [1, 2, 2]),
        ([1, 20_000, 1], [1, 1, 1]),
    ],
)
def test_builds_are_asked_for_together_as_long_as_their_results_are_few(numbers: list[int], wanted: list[int]) -> None:
    """25 Builds, or a thousand results, whichever comes first; never less than one Build."""
    asked = [(Build(f"GitLab-{place}"), number) for place, number in enumerate(numbers)]
    parts = list(portions(asked))
    assert [len(part) for part in parts] == wanted
    assert [build for part in parts for build in part] == [build for build, _ in asked]


# --- making again ----------------------------------------------------------------------------------------------------


def test_what_is_missing_is_made_again_as_it_was(audit: Audit) -> None:
    """Key, Build, verdict, date, duration, Notes: all the same; and then there is nothing to do."""
    audit.send("z_TC1!", "a_TC1", "y_TC1!!", "b_TC2")
    audit.depot.clock.advance(86_400)
    before = audit.delete("TC1/1")
    told = audit.repair()
    assert (told.made, told.found.is_true, told.down, told.failed) == (("1/100/TC1/1",), True, (), ())
    assert audit.rally.stored[audit.number("TC1/1")] == before
    assert audit.states() == {"sent": 2, "merged": 2}
    assert audit.repair().made == ()
    assert audit.once()["writes"] == 0


def test_files_are_attached_again(audit: Audit) -> None:
    """Those of the archive and the test's output, with the same names and bytes, each once."""
    audit.depot.job("pay_TC1!", "buy_TC2", files={"pay_TC1/shot.png": b"png", "buy_TC2/b.log": b"log"})
    audit.depot.once()
    before = audit.depot.attached()
    assert [len(files) for files in before.values()] == [2, 1]
    audit.delete("TC1/1")
    assert audit.repair().found.is_true
    assert audit.depot.attached() == before
    assert audit.depot.counts() == {"done": 3}


def test_files_that_cannot_be_had_any_more_are_said_on_the_result(audit: Audit) -> None:
    """GitLab expired them: the result is there all the same."""
    job = audit.depot.job("pay_TC1", files={"pay_TC1/shot.png": b"png"})
    audit.depot.once()
    audit.delete("TC1/1")
    audit.depot.gitlab._archives.pop(job.id)
    told = audit.repair()
    assert told.made == ("1/100/TC1/1",)
    assert told.down == ("job 1000 has no archive",)
    while audit.once()["left"]:
        pass
    assert audit.depot.names() == {"TC1/1": ["not attached.txt"]}
    assert audit.depot.counts()["missing"] == 1


FATES: dict[str, Step] = {
    "silence, nothing done": silent(0),
    "silence, one done": silent(1),
    "silence, all done": silent(3),
    "killed, nothing done": killed(0),
    "killed, one done": killed(1),
    "killed, all done": killed(3),
    "late": later(),
    "away": fails(ServiceDown("Rally", "away")),
    "turned away": fails(NotDone("turned away", retry_after_s=0.0)),
    "a conflict": says_no([1], "Concurrency conflict", conflict=True),
}


@pytest.mark.parametrize("again", ["pass", "repair"])
@pytest.mark.parametrize("fate", FATES.values(), ids=FATES)
def test_whatever_becomes_of_the_request_each_is_made_again_once(audit: Audit, fate: Step, again: str) -> None:
    """What was ordered stands in the ledger: the next pass makes the rest, and so does the next repair."""
    audit.send("a_TC1", "b_TC2", "c_TC3")
    before = sorted((audit.delete(f"TC{n}/1") for n in (1, 2, 3)), key=str)
    audit.rally.steps.append(fate)
    try:
        told = audit.repair()
        assert len(told.made) + len(told.found.missing) + len(audit.depot.ledger.entries.open_intents()) == 3
        assert len(told.made) == 3 or told.down
    except Killed:
        pass
    audit.rally.land(begun_before=audit.depot.clock.advance(300))
    audit.depot.clock.advance(SETTLED_S)
    if again == "pass":
        assert audit.depot.once().exit_status == 0
    else:
        assert audit.repair().down == ()
    assert found(audit.verify()) == {"checked": 3}
    assert sorted(audit.rally.stored.values(), key=str) == before
    assert audit.states() == {"sent": 3}
    assert audit.once()["writes"] == 0


def test_an_order_that_was_not_carried_out_is_left_over_work(audit: Audit) -> None:
    """Status and exit status tell of it; a dry run announces it; and Rally is asked before it is made."""
    audit.send("a_TC1")
    before = audit.delete("TC1/1")
    audit.rally.steps.append(fails(ServiceDown("Rally", "away")))
    told = audit.repair()
    assert told.down == ("Rally: away", "1 of the results that are to be made again wait for the next pass")
    assert told.found.missing
    assert views.left(audit.depot.ledger.store) == 1
    (action,) = audit.depot.once(DRY_RUN).actions
    assert (action["key"], action["build"], action["verdict"]) == ("1/100/TC1/1", "GitLab-100", "Pass")
    assert audit.depot.once().summary["results_sent"] == 1
    assert list(audit.rally.stored.values()) == [before]
    assert views.left(audit.depot.ledger.store) == 0


def test_what_came_back_by_itself_is_not_made_again(audit: Audit) -> None:
    """A person took it out of the recycle bin since it was ordered."""
    audit.send("a_TC1")
    number = audit.number("TC1/1")
    before = audit.delete("TC1/1")
    audit.rally.steps.append(fails(ServiceDown("Rally", "away")))
    audit.repair()
    audit.rally.stored[number] = before
    assert audit.once()["writes"] == 0
    assert audit.held() == {"100/TC1/1": "Pass"}
    assert views.left(audit.depot.ledger.store) == 0


@pytest.mark.parametrize("fate", [FakeRally.carry_out, silent(0), killed(0)], ids=["done", "silence", "killed"])
def test_an_older_revision_is_made_again_though_no_plan_would_want_it(audit: Audit, fate: Step) -> None:
    """Its job was retried since: the ledger says that it was there."""
    job = audit.depot.job("a_TC1!")
    audit.depot.once()
    pipeline = audit.depot.gitlab._pipelines[job.pipeline_id]
    audit.depot.job("a_TC1", pipeline=pipeline)
    audit.depot.once()
    assert audit.held() == {"100/TC1/1": "Fail", "100/TC1/2": "Pass"}
    before = audit.delete("TC1/1")
    audit.rally.steps.append(fate)
    with suppress(Killed):
        audit.repair()
    audit.once()
    assert audit.rally.stored[audit.number("TC1/1")] == before
    assert audit.held() == {"100/TC1/1": "Fail", "100/TC1/2": "Pass"}
    assert audit.states() == {"sent": 1, "superseded": 1}


@pytest.mark.parametrize("fate", [FakeRally.carry_out, silent(0), killed(0)], ids=["done", "silence", "killed"])
def test_a_result_whose_test_is_mapped_elsewhere_now_is_made_again_as_it_was(audit: Audit, fate: Step) -> None:
    """Re-mapping retracts nothing."""
    audit.depot.rows["x"] = "TC1"
    audit.send("x")
    audit.depot.rows["x"] = "TC2"
    audit.depot.once()
    assert audit.held() == {"100/TC1/1": "Pass", "100/TC2/1": "Pass"}
    audit.delete("TC1/1")
    audit.rally.steps.append(fate)
    with suppress(Killed):
        audit.repair()
    audit.once()
    assert audit.held() == {"100/TC1/1": "Pass", "100/TC2/1": "Pass"}
    assert audit.states() == {"sent": 1}


def test_a_revision_that_is_due_is_still_due_after_the_first_was_made_again(audit: Audit) -> None:
    """The job was retried before the repair, and is read after it."""
    job = audit.depot.job("a_TC1!")
    audit.depot.once()
    audit.delete("TC1/1")
    audit.depot.job("a_TC1!", pipeline=audit.depot.gitlab._pipelines[job.pipeline_id])
    assert audit.repair().made == ("1/100/TC1/1",)
    audit.once()
    assert audit.held() == {"100/TC1/1": "Fail", "100/TC1/2": "Fail"}


def test_results_of_a_test_case_that_is_deleted_are_refused_and_said(audit: Audit) -> None:
    """Its results went with it: nobody wants new ones. The others are made, and the next repair has nothing to do."""
    audit.send("a_TC1", "b_TC2")
    audit.rally.delete_case("TC1")
    audit.delete("TC2/1")
    told = audit.repair()
    assert told.made == ("1/100/TC2/1",)
    (reason,) = told.refused.values()
    assert list(told.refused) == ["1/100/TC1/1"]
    assert "Could not read referenced object" in reason
    assert (told.found.is_true, told.down, told.failed) == (True, (), ())
    assert audit.states() == {"refused": 1, "sent": 1}
    assert audit.repair().refused == {}
    assert audit.once()["writes"] == 0


def test_a_result_that_rally_refuses_now_is_said(audit: Audit) -> None:
    """With its reason, also where the workspace's schema says so already."""
    audit.send("a_TC1", "b_TC2")
    audit.delete("TC1/1")
    audit.delete("TC2/1")
    audit.rally.refuses = lambda result: "cursed" if result.key.formatted_id == "TC1" else ""
    audit.rally.checks = lambda result: "too long" if result.key.formatted_id == "TC2" else ""
    assert audit.repair().refused == {"1/100/TC1/1": "cursed", "1/100/TC2/1": "too long"}
    assert views.entries(audit.depot.ledger.store) == {"intended": 0, "done": 0, "refused": 2}


def test_a_result_of_a_test_case_with_another_in_doubt_waits(audit: Audit) -> None:
    """Results of one test case never travel in two requests at once."""
    audit.send("a_TC1")
    audit.rally.steps.append(later())
    audit.depot.job("a_TC1!")
    audit.depot.once()
    audit.delete("TC1/1", "GitLab-100")
    told = audit.repair()
    assert (told.made, len(told.down)) == ((), 1)
    audit.rally.land(begun_before=audit.depot.clock.advance(300))
    audit.once()
    assert audit.held() == {"100/TC1/1": "Pass", "101/TC1/1": "Fail"}


# --- what was found in Rally -----------------------------------------------------------------------------------------


def lose_ledger(audit: Audit) -> None:
    """Start a new one."""
    audit.depot.ledger.store.close()
    audit.depot.ledger = in_memory()


def test_a_result_that_another_ledger_made_is_compared_and_made_again_from_its_tests(audit: Audit) -> None:
    """After a backfill with a new ledger: the date and duration of the tests that it took in."""
    audit.send("a_TC1!", "b_TC1", "c_TC2")
    lose_ledger(audit)
    assert audit.depot.once().summary["writes"] == 0
    assert found(audit.verify()) == {"checked": 2}
    before = audit.delete("TC1/1")
    assert audit.repair().made == ("1/100/TC1/1",)
    assert audit.rally.stored[audit.number("TC1/1")] == before
    assert audit.once()["writes"] == 0


def test_a_result_of_which_the_ledger_knows_nothing_is_said_to_stay_missing(audit: Audit) -> None:
    """It was found in Rally, of a revision whose tests were superseded before this ledger began."""
    job = audit.depot.job("a_TC1!")
    audit.depot.once()
    audit.depot.job("a_TC1", pipeline=audit.depot.gitlab._pipelines[job.pipeline_id])
    audit.depot.once()
    lose_ledger(audit)
    audit.depot.once()
    audit.delete("TC1/1")
    audit.delete("TC1/2")
    told = audit.repair()
    assert (told.made, told.unknown) == (("1/100/TC1/2",), ("1/100/TC1/1",))
    assert list(told.found.missing) == ["1/100/TC1/1"]
    assert told.down == ()
    assert views.left(audit.depot.ledger.store) == 0


# --- test sets -------------------------------------------------------------------------------------------------------


@pytest.fixture
def sprint(audit: Audit) -> Audit:
    """Send one result that carries a set."""
    now = audit.depot.clock()
    iteration = audit.rally.add_iteration("Sprint 7", now - timedelta(days=7), now + timedelta(days=7))
    story = audit.rally.add_item(iteration)
    audit.rally.add_case("TC7", of=story)
    audit.send("a_TC7")
    assert audit.rally.stored[audit.number("TC7/1")].test_set is not None
    return audit


def test_a_result_carries_the_set_that_it_had(sprint: Audit) -> None:
    """Long after the sprint, too."""
    before = sprint.delete("TC7/1")
    sprint.depot.clock.advance(86_400 * 30)
    assert sprint.repair().found.is_true
    assert sprint.rally.stored[sprint.number("TC7/1")] == before


def test_a_result_that_had_no_set_gets_none(audit: Audit) -> None:
    """As the ledger has it: the sprint was planned afterwards."""
    audit.send("a_TC1")
    before = audit.delete("TC1/1")
    now = audit.depot.clock()
    story = audit.rally.add_item(audit.rally.add_iteration("S 1", now - timedelta(days=7), now + timedelta(days=7)))
    audit.rally.work_products[before.test_case] = story.object_id
    audit.once()
    audit.repair()
    assert list(audit.rally.stored.values()) == [before]


@pytest.mark.parametrize("words", ["Could not set value for Test Set: null", f"{GONE} /testset/9007"])
def test_a_result_whose_set_rally_does_not_have_any_more_is_made_again_without(sprint: Audit, words: str) -> None:
    """Whichever words it has for that."""
    before = sprint.delete("TC7/1")
    sprint.rally.refuses = lambda result: words if result.test_set is not None else ""
    told = sprint.repair()
    assert (told.made, told.refused) == (("1/100/TC7/1",), {})
    assert sprint.rally.stored[sprint.number("TC7/1")] == replace(before, test_set=None)
    assert found(sprint.verify()) == {"checked": 1}


def test_a_test_case_that_is_gone_with_its_set_is_refused(sprint: Audit) -> None:
    """It is tried without the set, once."""
    sprint.rally.delete_case("TC7")
    assert list(sprint.repair().refused) == ["1/100/TC7/1"]
    assert [len(keys) for keys in sprint.rally.requests] == [1, 1, 1]


# --- for people ------------------------------------------------------------------------------------------------------


def test_people_read_what_was_found_and_what_to_do(audit: Audit) -> None:
    """Kind by kind, each with its reason."""
    audit.send("a_TC1", "b_TC2", "c_TC3")
    assert show.verified(audit.verify().told()) == (
        "3 results compared with Rally.\nRally has them all, once, as the ledger has them."
    )
    audit.delete("TC1/1")
    audit.change("TC2/1", verdict="\x1b[31mFail")
    assert show.verified(audit.verify().told()).splitlines() == [
        "3 results compared with Rally.",
        "",
        "Missing in Rally (1)",
        "    1/100/TC1/1: ObjectID 9004 is not there",
        "",
        "Altered in Rally (1)",
        "    1/100/TC2/1: Verdict is \\x1b[31mFail, not Pass",
        "",
        "`reconciler verify --repair` makes again what is missing.",
    ]
