"""Sprints in trouble: silence, conflicts, refusals, two ledgers or none; never two sets of ours for one sprint."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from threading import Event
from typing import TYPE_CHECKING

import pytest

from reconciler.config.settings import SprintsSettings
from reconciler.dispatch import GONE
from reconciler.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_TRY_AGAIN,
    Misconfigured,
    NotDone,
    ServiceDown,
    Stopped,
    Unauthorized,
)
from reconciler.ledger.ledger import Ledger, in_memory
from tests.fakes import FakeRally
from tests.fates import Killed, fails, killed, later, says_no, silent
from tests.unit.sprint_shop import SET, Team, team

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from tests.fakes import Answers, Step

CONFLICT = "Concurrency conflict: [Object has been modified since being read for update in this context]"
LETS = FakeRally.carry_out


@pytest.fixture
def shop() -> Iterator[Team]:
    """Open one."""
    yield from team()


# --- silence ---------------------------------------------------------------------------------------------------------


def test_a_young_intent_of_a_set_waits_and_an_old_one_is_settled(shop: Team) -> None:
    """Its request may still be alive: made again now, there would be two."""
    shop.rally.sprint_steps.append(later())
    assert shop.once().exit_status == EXIT_TRY_AGAIN
    shop.clock.advance(300)
    outcome = shop.once()
    assert (outcome.exit_status, outcome.summary["left"], outcome.summary["writes"]) == (EXIT_TRY_AGAIN, 1, 0)
    shop.rally.land(begun_before=shop.clock())
    outcome = shop.settle()
    assert (outcome.exit_status, outcome.summary["test_sets_created"]) == (EXIT_DONE, 0)
    assert shop.members() == {SET: ["TC1", "TC2"]}


@pytest.mark.parametrize("done", [0, 1])
def test_a_set_in_doubt_is_confirmed_where_it_is_found_and_made_where_it_is_not(shop: Team, done: int) -> None:
    """Once, either way."""
    shop.rally.sprint_steps.append(silent(done))
    shop.once()
    outcome = shop.settle()
    assert (outcome.exit_status, outcome.summary["test_sets_created"]) == (EXIT_DONE, 1 - done)
    assert shop.members() == {SET: ["TC1", "TC2"]}


def test_a_set_in_doubt_holds_up_no_other(shop: Team) -> None:
    """Another project's is made in the same pass, another one of the same project in the next."""
    mobile = shop.rally.add_project("Mobile")
    shop.cases("TC3", of=shop.rally.add_item(shop.sprint_of("Sprint 8", project=mobile)), project=mobile)
    shop.cases("TC4", of=shop.rally.add_item(shop.sprint_of("Sprint 9", begins=-1)))
    shop.at_once = 1  # so that the first of the two sets gets no answer
    shop.rally.sprint_steps.append(later())
    assert shop.once().exit_status == EXIT_TRY_AGAIN
    assert shop.members() == {"Sprint-8-Automated-Tests": ["TC3"]}
    assert shop.once().exit_status == EXIT_TRY_AGAIN
    assert shop.members() == {"Sprint-8-Automated-Tests": ["TC3"], "Sprint-9-Automated-Tests": ["TC4"]}


def test_members_in_doubt_wait_and_are_put_in_again_when_they_are_not_there(shop: Team) -> None:
    """A set has one writer: the chunks after the one in doubt wait for it too."""
    shop.cases(*[f"TC{n}" for n in range(3, 251)])
    shop.rally.sprint_steps += [LETS, LETS, silent(0)]
    outcome = shop.once()
    assert (outcome.exit_status, outcome.summary["left"], shop.chunks()) == (EXIT_TRY_AGAIN, 150, [100, 100])
    assert shop.once().summary["writes"] == 0
    assert shop.settle().exit_status == EXIT_DONE
    assert shop.chunks() == [100, 100, 100, 50]
    assert len(shop.members()[SET]) == 250


def test_members_that_are_seen_in_the_set_are_no_longer_in_doubt_however_young(shop: Team) -> None:
    """Only those that are not there yet may still come; they are not put in again."""
    shop.rally.refuses_twice = True
    shop.cases(*[f"TC{n}" for n in range(3, 251)])
    shop.rally.sprint_steps += [LETS, LETS, silent(1)]
    assert shop.once().exit_status == EXIT_TRY_AGAIN
    assert shop.once().exit_status == EXIT_DONE
    assert shop.chunks() == [100, 100, 50]
    assert len(shop.members()[SET]) == 250


def test_what_was_put_in_before_the_process_died_is_found(shop: Team) -> None:
    """At any write: with or without its effect."""
    shop.config = SprintsSettings(test_folder="move")
    for writes in range(5):
        for done in (0, 1):
            for sprint in shop.rally.sprints.values():
                shop.rally.change_iteration(sprint, name="over", ends_at=shop.clock())
            shop.clock.advance(400)
            sprint = shop.sprint_of(f"Sprint 1{writes}{done}")
            shop.rally.refuses_twice = True
            shop.cases(f"TC1{writes}{done}", of=shop.rally.add_item(sprint))
            shop.rally.sprint_steps.extend([LETS] * writes + [killed(done)])
            try:
                shop.once()
                assert writes == 4, "the root folder is there by then"
            except Killed:
                pass
            shop.rally.sprint_steps.clear()
            outcome = shop.settle()
            assert (outcome.exit_status, outcome.summary["left"]) == (EXIT_DONE, 0)
            assert shop.members()[f"Sprint-1{writes}{done}-Automated-Tests"] == [f"TC1{writes}{done}"]
            assert shop.rally.filing()[f"TC1{writes}{done}"].endswith(f"/Sprint-1{writes}{done}")
    assert max(Counter((one.name, one.parent) for one in shop.rally.folders.values()).values()) == 1


# --- conflicts -------------------------------------------------------------------------------------------------------


def test_members_in_a_conflict_are_looked_at_before_they_are_put_in_again(shop: Team) -> None:
    """Another writer was in the way: it may have put in some of them, and then the same request is refused."""

    def other_writer(rally: FakeRally, wanted: Sequence[Any]) -> Answers:
        rally.carry_out([type(wanted[0])(wanted[0].test_set, wanted[0].test_cases[:1])])
        return says_no([0], CONFLICT, conflict=True)(rally, wanted)

    shop.rally.refuses_twice = True
    shop.rally.sprint_steps += [LETS, other_writer]
    outcome = shop.once()
    assert (outcome.exit_status, shop.members()) == (EXIT_DONE, {SET: ["TC1", "TC2"]})
    assert (shop.chunks(), shop.rally.asked["members_of"]) == ([2, 1], 1)
    assert shop.sprint_row()["refused"] == []


class Hasty(Event):
    """Never waits."""

    def wait(self, timeout: float | None = None) -> bool:
        """Tell at once."""
        del timeout
        return self.is_set()


def test_members_in_one_conflict_after_another_are_left_to_the_next_pass(shop: Team) -> None:
    """They are missing, not refused; each time they were looked for."""
    shop.stop = Hasty()
    shop.rally.sprint_steps += [LETS, *[says_no([0], CONFLICT, conflict=True)] * 20]
    outcome = shop.once()
    assert (outcome.exit_status, outcome.summary["left"]) == (EXIT_TRY_AGAIN, 2)
    assert shop.sprint_row()["refused"] == []
    assert shop.rally.asked["members_of"] == len(shop.chunks()) - 1
    shop.rally.sprint_steps.clear()
    assert shop.once().exit_status == EXIT_DONE
    assert shop.members() == {SET: ["TC1", "TC2"]}


def test_a_set_in_a_conflict_is_sent_again_in_the_same_pass(shop: Team) -> None:
    """It is a plain No."""
    shop.rally.sprint_steps.append(says_no([0], CONFLICT, conflict=True))
    assert shop.once().exit_status == EXIT_DONE
    assert shop.members() == {SET: ["TC1", "TC2"]}


# --- refusals --------------------------------------------------------------------------------------------------------


def test_one_test_case_that_is_gone_keeps_none_of_its_chunk_out(shop: Team) -> None:
    """Rally refuses the whole request; the one is found by halves, and told."""
    shop.cases(*[f"TC{n}" for n in range(3, 101)])
    shop.rally.sprint_steps += [LETS, _meanwhile_gone("TC57")]
    outcome = shop.once()
    assert (outcome.exit_status, outcome.summary["members_added"]) == (EXIT_DONE, 99)
    assert "TC57" not in shop.members()[SET]
    (told,) = shop.sprint_row()["refused"]
    assert (told["test_case"], GONE in told["reason"]) == ("TC57", True)
    assert len(shop.chunks()) < 20
    assert shop.once().summary["writes"] == 0


def test_a_no_that_cannot_be_looked_into_now_is_looked_into_by_the_next_pass_at_once(shop: Team) -> None:
    """It was a plain one: nothing of the request is alive, so nobody has to wait for it."""
    shop.rally.sprint_steps += [LETS, says_no([0], "Validation error: no")]
    shop.rally.troubles["members_of"].append(ServiceDown("Rally", "no answer"))
    assert shop.once().exit_status == EXIT_TRY_AGAIN
    assert shop.once().exit_status == EXIT_DONE
    assert shop.members() == {SET: ["TC1", "TC2"]}


def test_a_test_case_that_rally_refuses_for_a_reason_of_its_own_is_told_with_it(shop: Team) -> None:
    """Two of them, and the others are in."""
    bad = {number for number, case in shop.rally.cases.items() if case.formatted_id == "TC2"}
    shop.cases("TC3", "TC4")
    shop.rally.refuses_member = lambda _, case: "Validation error: no" if case in bad else ""
    assert shop.once().exit_status == EXIT_DONE
    assert shop.members() == {SET: ["TC1", "TC3", "TC4"]}
    assert shop.sprint_row()["refused"] == [{"test_case": "TC2", "reason": "Validation error: no"}]


def test_members_that_were_put_in_by_another_hand_are_no_trouble_where_rally_takes_none_twice(shop: Team) -> None:
    """After the No, a look shows that they are in."""

    def by_hand(rally: FakeRally, wanted: Sequence[Any]) -> Answers:
        rally.carry_out(wanted)
        return rally.carry_out(wanted)

    shop.rally.refuses_twice = True
    shop.rally.sprint_steps += [LETS, by_hand]
    assert shop.once().exit_status == EXIT_DONE
    assert (shop.sprint_row()["members"], shop.sprint_row()["refused"]) == (2, [])


def test_a_set_that_rally_refuses_is_told_and_not_tried_again(shop: Team) -> None:
    """Until people make one of its name; the sprint of another project has its own."""
    mobile = shop.rally.add_project("Mobile")
    shop.sprint_of("Sprint 8", project=mobile)
    shop.at_once = 1  # so that the first of the two sets gets the No
    shop.rally.sprint_steps.append(says_no([0], "Validation error: TestSet.Colour should not be null"))
    assert shop.once().exit_status == EXIT_DONE
    assert shop.warned("refuses a test set") == 1
    row = shop.sprint_row()
    assert (row["state"], row["reason"]) == ("refused", "Validation error: TestSet.Colour should not be null")
    assert shop.once().summary["writes"] == 0
    assert shop.members() == {"Sprint-8-Automated-Tests": []}
    shop.rally.add_set_by_hand(SET, shop.sprint)
    shop.once()
    assert shop.members()[SET] == ["TC1", "TC2"]


def test_a_name_that_comes_out_empty_is_refused_before_it_is_sent(shop: Team) -> None:
    """The reason says which key of the config to look at."""
    shop.config = SprintsSettings(test_set_name="{project}")
    shop.rally.change_iteration(shop.sprint, project_name=" ")
    outcome = shop.once()
    assert (outcome.exit_status, outcome.summary["writes"], shop.rally.sets) == (EXIT_DONE, 0, {})
    assert "sprints.test_set_name" in shop.sprint_row()["reason"]


@pytest.mark.parametrize("longest", [256, 40])
def test_names_are_cut_to_what_rally_takes(shop: Team, longest: int) -> None:
    """It counts as Java does, where a rocket is two; the workspace's own limit may be lower."""
    shop.rally.longest_name = longest
    shop.rally.change_iteration(shop.sprint, name="🚀" * 300)
    shop.config = SprintsSettings(test_set_name="{iteration}", test_folder="create")
    assert shop.once().exit_status == EXIT_DONE
    assert list(shop.members()) == ["🚀" * (longest // 2)]
    assert len(shop.rally.folders) == 2
    assert shop.once().summary["writes"] == 0


@pytest.mark.parametrize(
    ("error", "exit_status"),
    [
        (NotDone("Rally: turned away", retry_after_s=0.0), EXIT_TRY_AGAIN),
        (Unauthorized("Rally: no"), EXIT_FAILED),
        (ServiceDown("Rally", "away"), EXIT_TRY_AGAIN),
    ],
)
@pytest.mark.parametrize("before", [0, 1])
def test_what_was_certainly_not_done_is_done_by_the_next_pass(
    shop: Team, error: Exception, exit_status: int, before: int
) -> None:
    """It is withdrawn at once: no time need pass."""
    shop.rally.sprint_steps += [LETS] * before + [fails(error)] * 40
    outcome = shop.once()
    assert outcome.exit_status == exit_status
    shop.rally.sprint_steps.clear()
    assert shop.once().exit_status == EXIT_DONE
    assert shop.members() == {SET: ["TC1", "TC2"]}


def test_a_pass_that_is_stopped_between_chunks_is_gone_on_with(shop: Team) -> None:
    """What was on its way came to its end."""
    shop.cases(*[f"TC{n}" for n in range(3, 251)])

    def stops(rally: FakeRally, wanted: Sequence[Any]) -> Answers:
        shop.stop.set()
        return rally.carry_out(wanted)

    shop.rally.sprint_steps += [LETS, stops]
    with pytest.raises(Stopped):
        shop.once()
    assert len(shop.members()[SET]) == 100
    shop.stop.clear()
    assert shop.once().exit_status == EXIT_DONE
    assert shop.chunks() == [100, 100, 50]


# --- ledgers ---------------------------------------------------------------------------------------------------------


def test_two_ledgers_that_race_use_the_oldest_set_from_the_next_pass_on(shop: Team) -> None:
    """Each looked before the other had made its own; the second set is told and not deleted."""
    with closing(in_memory().store) as store:
        other = Ledger(store, skips_count=False)
        shop.rally.meanwhile["test_sets"].append(lambda: shop.once(ledger=other))
        shop.once()
        first, second = sorted(shop.rally.sets)
        shop.rally.add_case("TC3", of=shop.story)
        for ledger in (shop.ledger, other):
            assert shop.once(ledger=ledger).exit_status == EXIT_DONE
            known = ledger.sprints.known_set(shop.sprint.object_id, shop.clock())
            assert known is not None
            assert known.object_id == first
        assert [len(shop.rally.enrolled[one]) for one in (first, second)] == [3, 2]
        assert shop.sprint_row()["doubles"] == [second]


@pytest.mark.parametrize("folder", ["off", "create", "move"])
def test_a_lost_ledger_finds_sets_members_and_folders_and_makes_none(shop: Team, folder: str) -> None:
    """But for filing test cases once more: where they were put, Rally is not asked."""
    shop.config = SprintsSettings(test_folder=folder)
    shop.rally.refuses_twice = True
    shop.once()
    before = shop.members(), set(shop.rally.folders), shop.rally.filing()
    with closing(in_memory().store) as store:
        shop.ledger = Ledger(store, skips_count=False)
        outcome = shop.once()
        assert outcome.exit_status == EXIT_DONE
        assert (outcome.summary["test_sets_created"], outcome.summary["members_added"]) == (0, 0)
        assert (shop.members(), set(shop.rally.folders), shop.rally.filing()) == before
        assert shop.sprint_row()["members"] == 2


# --- reads -----------------------------------------------------------------------------------------------------------

QUESTIONS = ["iterations", "work_items", "test_cases_of", "test_sets"]


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("error", [Unauthorized("Rally: no"), Misconfigured("Rally: could not parse the query")])
def test_a_no_to_a_question_is_told_and_holds_up_no_result(shop: Team, question: str, error: Exception) -> None:
    """A person must look; the results have nothing to wait for."""
    shop.job("a_TC9")
    shop.rally.add_case("TC9")
    shop.rally.troubles[question].append(error)
    outcome = shop.once()
    assert (outcome.exit_status, outcome.failed, outcome.summary["results_sent"]) == (EXIT_FAILED, (str(error),), 1)
    assert shop.rally.sets == {}
    assert shop.once().exit_status == EXIT_DONE
    assert shop.members() == {SET: ["TC1", "TC2"]}


@pytest.mark.parametrize("question", QUESTIONS)
def test_when_rally_is_away_everything_waits(shop: Team, question: str) -> None:
    """Sent now, a result would be without its set for ever."""
    shop.job("a_TC1")
    shop.rally.troubles[question].append(ServiceDown("Rally", "no answer"))
    outcome = shop.once()
    assert (outcome.exit_status, outcome.down, shop.rally.stored) == (EXIT_TRY_AGAIN, ("Rally: no answer",), {})
    assert shop.once().exit_status == EXIT_DONE
    assert list(shop.carried().values()) == [SET]


def test_a_no_to_a_look_into_one_set_leaves_the_results_of_its_members_waiting(shop: Team) -> None:
    """Whether they are in it, nobody knows; other results go."""
    shop.rally.add_set_by_hand(SET, shop.sprint)
    shop.rally.add_case("TC9")
    shop.job("a_TC1", "b_TC9")
    shop.rally.troubles["members_of"].append(Misconfigured("Rally: no"))
    outcome = shop.once()
    assert (outcome.exit_status, list(shop.carried().values())) == (EXIT_FAILED, [""])
    assert shop.once().exit_status == EXIT_DONE
    assert sorted(shop.carried().values()) == ["", SET]


def _meanwhile_gone(formatted_id: str) -> Step:
    def step(rally: FakeRally, wanted: Sequence[Any]) -> Answers:
        rally.delete_case(formatted_id)
        return rally.carry_out(wanted)

    return step
