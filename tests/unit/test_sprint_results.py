"""Results of sprints: each carries the set of its own date once its test case is in it, waits, or goes without."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from reconciler.config.settings import ResultsSettings
from reconciler.dispatch import GONE
from reconciler.errors import EXIT_DONE, EXIT_FAILED, EXIT_TRY_AGAIN, NotDone
from reconciler.ledger.ledger import Ledger, in_memory
from tests.fakes import FakeRally
from tests.fates import fails, later, says_no, silent
from tests.unit.sprint_shop import DAY_S, HOUR_S, SET, WEEK, Team, team

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from reconciler.model import TestCaseResult
    from tests.fakes import Answers

LETS = FakeRally.carry_out
NOT_IN_SET = "Validation error: Could not set value for Test Set: null"
TURNED_AWAY = [fails(NotDone("turned away", retry_after_s=0.0))] * 40
"""More often than a pass tries, whichever of its requests are under way together."""
READ_ONLY = "TestSet is read-only in this workspace"


@pytest.fixture
def shop() -> Iterator[Team]:
    """Open one."""
    yield from team()


# --- carried ---------------------------------------------------------------------------------------------------------


def test_a_result_carries_the_set_that_the_same_pass_has_made(shop: Team) -> None:
    """Its test case is in it before the result is sent; one of no story carries none."""
    shop.job("a_TC1", "b_TC2!", "c_TC9")
    shop.rally.add_case("TC9")
    outcome = shop.once()
    assert (outcome.exit_status, outcome.summary["results_sent"]) == (EXIT_DONE, 3)
    assert shop.carried() == {"100/TC1": SET, "100/TC2": SET, "100/TC9": ""}
    row = shop.sprint_row()
    assert (row["results"], row["not_run"], row["coverage"]) == ({"Pass": 1, "Fail": 1}, [], 100.0)


def test_each_revision_carries_the_set(shop: Team) -> None:
    """`status` counts the newest one alone, and tells who has none yet."""
    pipeline = shop.job("a_TC1!")
    shop.once()
    shop.job("a_TC1", pipeline=pipeline)
    shop.once()
    assert [one.test_set is not None for one in shop.rally.stored.values()] == [True, True]
    row = shop.sprint_row()
    assert (row["results"], row["not_run"], row["coverage"]) == ({"Pass": 1}, ["TC2"], 50.0)


def test_a_result_of_another_date_than_the_sprints_carries_no_set(shop: Team) -> None:
    """It ran before the sprint began, when there was none."""
    shop.rally.change_iteration(shop.sprint, starts_at=shop.clock() + timedelta(hours=1))
    shop.job("a_TC1")
    shop.clock.advance(2 * HOUR_S)
    shop.job("a_TC1")
    shop.once()
    assert shop.carried() == {"100/TC1": "", "101/TC1": SET}


def test_a_backfilled_result_takes_the_set_of_its_own_date(shop: Team) -> None:
    """The ledger never saw that sprint: its set and members are found by the date."""
    over = shop.clock() + timedelta(hours=1)
    last = shop.rally.change_iteration(shop.sprint_of("Sprint 6"), ends_at=over)
    shop.rally.change_iteration(shop.sprint, starts_at=over + timedelta(seconds=1))
    shop.rally.add_set_by_hand("Sprint-6-Automated-Tests", last, *shop.rally.cases.values())
    shop.job("a_TC1", "b_TC2")
    shop.clock.advance(2 * DAY_S)
    shop.job("a_TC1")
    assert shop.once().exit_status == EXIT_DONE
    last_set = "Sprint-6-Automated-Tests"
    assert shop.carried() == {"100/TC1": last_set, "100/TC2": last_set, "101/TC1": SET}


def test_a_backfilled_result_goes_without_where_its_sprint_has_no_set(shop: Team) -> None:
    """None is made for what is over, nor is a test case put into a set that is there."""
    shop.rally.change_iteration(shop.sprint, ends_at=shop.clock() + timedelta(hours=1))
    theirs = shop.sprint_of("Sprint 5", begins=-8, days=9)
    shop.rally.change_iteration(theirs, ends_at=shop.clock() + timedelta(hours=1))
    shop.rally.add_set_by_hand("Sprint-5-Automated-Tests", theirs)
    shop.job("a_TC1")
    shop.clock.advance(2 * DAY_S)
    outcome = shop.once()
    assert (outcome.exit_status, shop.carried(), shop.rally.sprint_requests) == (EXIT_DONE, {"100/TC1": ""}, [])


def test_of_sprints_that_overlap_a_result_carries_the_set_of_the_one_that_began_last(shop: Team) -> None:
    """Its test case is in both."""
    other = shop.sprint_of("Sprint 8", begins=-1)
    shop.once()
    shop.rally.schedule(shop.story, other)
    shop.job("a_TC1")
    shop.once()
    assert shop.carried() == {"100/TC1": "Sprint-8-Automated-Tests"}


def test_a_test_case_whose_story_was_moved_out_is_still_in_the_set(shop: Team) -> None:
    """Nobody took it out; so its results carry the set."""
    shop.rally.add_item(shop.sprint)
    shop.once()
    shop.rally.schedule(shop.story, None)
    shop.job("a_TC1")
    shop.once()
    assert shop.carried() == {"100/TC1": SET}


@pytest.mark.parametrize("what", ["later", "deleted"])
def test_a_result_carries_no_set_of_a_sprint_that_is_no_longer_there(shop: Team, what: str) -> None:
    """It was moved to next month, or deleted: the dates that were known are not its dates any more."""
    shop.sprint_of("Sprint 8", begins=-1)
    shop.once()
    if what == "deleted":
        shop.rally.deleted.add(shop.sprint.object_id)
    else:
        shop.rally.change_iteration(
            shop.sprint, starts_at=shop.sprint.starts_at + 3 * WEEK, ends_at=shop.sprint.ends_at + 3 * WEEK
        )
    shop.job("a_TC1")
    assert shop.once().exit_status == EXIT_DONE
    assert shop.carried() == {"100/TC1": ""}


def test_no_result_waits_for_a_set_of_a_sprint_that_was_deleted_before_it_had_one(shop: Team) -> None:
    """Its test cases were placed already; there is no one to make the set any more."""
    shop.sprint_of("Sprint 8", project=shop.rally.add_project("Mobile"))
    shop.rally.sprint_steps += TURNED_AWAY
    assert shop.once().exit_status == EXIT_TRY_AGAIN
    shop.rally.sprint_steps.clear()
    shop.rally.deleted.add(shop.sprint.object_id)
    shop.job("a_TC1")
    assert shop.once().exit_status == EXIT_DONE
    assert shop.carried() == {"100/TC1": ""}


def test_a_lost_ledger_still_counts_the_results_of_a_set(shop: Team) -> None:
    """Rally is asked which set each of them carries."""
    shop.job("a_TC1")
    shop.once()
    with closing(in_memory().store) as store:
        shop.ledger = Ledger(store, skips_count=False)
        assert shop.once().summary["writes"] == 0
        row = shop.sprint_row()
        assert (row["results"], row["not_run"]) == ({"Pass": 1}, ["TC2"])


# --- waiting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [[], [LETS]], ids=["set", "members"])
def test_a_result_waits_while_its_set_or_its_membership_is_in_doubt(shop: Team, steps: list[Any]) -> None:
    """Nothing is edited later; others go, and later ones of the same test case wait, whatever set they have."""
    shop.rally.sprint_steps += [*steps, later()]
    shop.job("a_TC1", "c_TC9")
    shop.rally.add_case("TC9")
    assert shop.once().exit_status == EXIT_TRY_AGAIN
    assert shop.carried() == {"100/TC9": ""}
    shop.job("a_TC1")
    outcome = shop.once()
    assert (outcome.exit_status, outcome.summary["results_sent"]) == (EXIT_TRY_AGAIN, 0)
    shop.rally.land(begun_before=shop.clock.advance(300))
    shop.settle()
    assert shop.once().exit_status == EXIT_DONE
    assert shop.carried() == {"100/TC1": SET, "100/TC9": "", "101/TC1": SET}
    assert [one.key.pipeline_id for one in shop.rally.stored.values()] == [100, 100, 101]


def test_a_later_result_without_a_sprint_waits_for_the_one_before_it(shop: Team) -> None:
    """However many pipelines are between them: results of one test case keep their order."""
    shop.rally.change_iteration(shop.sprint, ends_at=shop.clock() + timedelta(hours=1))
    shop.rally.sprint_steps += [LETS, silent(0)]
    shop.job("a_TC1")
    shop.once()
    shop.clock.advance(2 * HOUR_S)
    shop.gitlab.page_size = 1_000
    for _ in range(260):
        shop.job("b_TC7?", "a_TC1")
    shop.rally.sprint_steps += [later()]
    outcome = shop.once()
    assert (outcome.summary["results_sent"], shop.rally.stored) == (0, {})
    shop.rally.sprint_steps.clear()
    shop.settle()
    assert shop.once().exit_status == EXIT_DONE
    assert [one.key.pipeline_id for one in shop.rally.stored.values()] == list(range(100, 361))
    assert set(list(shop.carried().values())[1:]) == {""}


def test_a_result_waits_for_a_set_that_could_not_be_made_now(shop: Team) -> None:
    """Rally turned the request away; of overlapping sprints, the other's set is not taken instead."""
    shop.once()
    shop.rally.schedule(shop.story, shop.sprint_of("Sprint 8", begins=-1))
    shop.rally.sprint_steps += [says_no([0], "Concurrency conflict", conflict=True), *TURNED_AWAY]
    shop.job("a_TC1")
    assert shop.once().exit_status == EXIT_TRY_AGAIN
    assert shop.carried() == {}
    shop.rally.sprint_steps.clear()
    assert shop.once().exit_status == EXIT_DONE
    assert shop.carried() == {"100/TC1": "Sprint-8-Automated-Tests"}


# --- without ---------------------------------------------------------------------------------------------------------


def test_a_result_goes_without_a_set_that_rally_refused(shop: Team) -> None:
    """A plain No; nothing is to be waited for."""
    shop.rally.sprint_steps.append(says_no([0], "Validation error: no"))
    shop.job("a_TC1")
    assert shop.once().exit_status == EXIT_DONE
    assert shop.carried() == {"100/TC1": ""}


def test_a_result_goes_without_when_its_test_case_was_refused_as_a_member(shop: Team) -> None:
    """The other one carries it."""
    bad = min(shop.rally.cases)
    shop.rally.refuses_member = lambda _, case: "Validation error: no" if case == bad else ""
    shop.job("a_TC1", "b_TC2")
    assert shop.once().exit_status == EXIT_DONE
    assert shop.carried() == {"100/TC1": "", "100/TC2": SET}


def test_a_result_goes_without_a_set_that_a_person_deleted(shop: Team) -> None:
    """Its making was not wanted."""
    shop.once()
    shop.rally.delete_set(min(shop.rally.sets))
    shop.job("a_TC1")
    assert shop.once().exit_status == EXIT_DONE
    assert shop.carried() == {"100/TC1": ""}


def test_a_result_that_rally_does_not_take_with_its_set_goes_without_in_the_same_pass(shop: Team) -> None:
    """A person took the test case out; that is told as a refused member, and later results go without at once."""
    shop.once()
    (members,) = shop.rally.enrolled.values()
    members.remove(min(shop.rally.cases))
    shop.job("a_TC1", "b_TC2")
    outcome = shop.once()
    assert (outcome.exit_status, outcome.summary["refused"]) == (EXIT_DONE, 0)
    assert shop.carried() == {"100/TC1": "", "100/TC2": SET}
    (told,) = shop.sprint_row()["refused"]
    assert (told["test_case"], "Could not set value for Test Set" in told["reason"]) == ("TC1", True)
    shop.job("a_TC1")
    requests = len(shop.rally.requests)
    shop.once()
    assert len(shop.rally.requests) == requests + 1


def test_of_overlapping_sprints_the_other_set_is_carried_after_a_no(shop: Team) -> None:
    """A person took the test case out of the one; it is in both by what is known."""
    other = shop.sprint_of("Sprint 8", begins=-1)
    shop.once()
    shop.rally.schedule(shop.story, other)
    shop.once()
    shop.rally.enrolled[max(shop.rally.sets)].clear()
    shop.job("a_TC1")
    assert shop.once().exit_status == EXIT_DONE
    assert shop.carried() == {"100/TC1": SET}


def test_of_overlapping_sprints_the_other_set_is_waited_for_after_a_no(shop: Team) -> None:
    """It is in doubt yet: sent without a set now, the result would be so for ever."""
    other = shop.sprint_of("Sprint 8", begins=-1)
    story = shop.rally.schedule(shop.story, other)
    shop.once()
    shop.rally.enrolled[max(shop.rally.sets)].clear()
    shop.rally.schedule(story, shop.sprint)
    shop.rally.sprint_steps.append(later())
    shop.job("a_TC1")
    assert shop.once().exit_status == EXIT_TRY_AGAIN
    assert shop.carried() == {}
    shop.rally.land(begun_before=shop.clock.advance(300))
    assert shop.once().exit_status == EXIT_DONE
    assert shop.carried() == {"100/TC1": SET}


@pytest.mark.parametrize("words", [NOT_IN_SET, READ_ONLY])
def test_what_makes_a_result_go_without_its_set_is_its_set_alone(shop: Team, words: str) -> None:
    """Said by Rally, or before that by the workspace's schema; any other No is a No to the result."""
    if words == READ_ONLY:
        shop.rally.checks = lambda result: words if result.test_set else ""
    else:
        shop.rally.refuses = lambda result: words if result.test_set else ""
    shop.job("a_TC1", "b_TC2")
    outcome = shop.once()
    assert (outcome.exit_status, outcome.summary["refused"]) == (EXIT_DONE, 0)
    assert shop.carried() == {"100/TC1": "", "100/TC2": ""}

    shop.rally.checks = shop.rally.refuses = lambda _: words
    shop.rally.add_case("TC9")
    shop.job("c_TC9")
    assert shop.once().summary["refused"] == 1
    assert shop.carried() == {"100/TC1": "", "100/TC2": ""}


def test_results_go_without_a_set_that_is_gone_while_they_are_sent(shop: Team) -> None:
    """Rally cannot read what they refer to: it is the set, not their test cases; all of them, not just the first."""
    shop.once()
    (made,) = shop.rally.sets
    shop.rally.refuses = lambda one: "" if one.test_set in {None, *shop.rally.sets} else f"Could not read: {GONE} null"
    shop.job("a_TC1", "b_TC2")

    def meanwhile(rally: FakeRally, results: Sequence[TestCaseResult]) -> Answers:
        rally.delete_set(made)
        return rally.carry_out(results)

    shop.rally.steps.append(meanwhile)
    shop.once()
    outcome = shop.once()
    assert (outcome.exit_status, outcome.summary["refused"]) == (EXIT_DONE, 0)
    assert shop.carried() == {"100/TC1": "", "100/TC2": ""}
    assert shop.sprint_row()["state"] == "gone"


def test_a_test_case_that_was_moved_to_another_project_leaves_its_old_set_behind(shop: Team) -> None:
    """Rally takes no result of it there; the sprint of its new project has a set for it."""
    mobile = shop.rally.add_project("Mobile")
    twin = shop.sprint_of("Sprint 7", project=mobile)
    shop.once()
    number = min(shop.rally.cases)
    case = shop.rally.cases[number]
    shop.rally.cases[number] = type(case)(number, case.formatted_id, "", mobile, shop.clock.tick())
    shop.rally.schedule(shop.story, shop.sprint)
    shop.job("a_TC1")
    shop.once()
    shop.once()
    (result,) = shop.rally.stored.values()
    assert result.test_set is not None
    assert shop.rally.sets[result.test_set].iteration == twin.object_id


# --- beside ----------------------------------------------------------------------------------------------------------


def test_words_of_the_config_are_checked_before_the_first_result_though_a_set_was_made(shop: Team) -> None:
    """A verdict that the workspace does not have is said, and nothing is sent with it."""
    shop.results = ResultsSettings(flaky="Flaky")
    shop.job("a_TC1~")
    outcome = shop.once()
    assert outcome.exit_status == EXIT_FAILED
    assert "no Verdict 'Flaky'" in outcome.failed[0]
    assert (shop.rally.requests, shop.members()) == ([], {SET: ["TC1", "TC2"]})
