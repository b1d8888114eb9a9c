"""Sprints and test sets that people change: theirs are taken, their decisions kept, and odd answers not believed."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from reconciler.errors import EXIT_DONE
from tests.unit.sprint_shop import DAY_S, HOUR_S, SET, WEEK, Team, team

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def shop() -> Iterator[Team]:
    """Open one."""
    yield from team()


# --- sets ------------------------------------------------------------------------------------------------------------


def test_a_set_that_people_made_is_taken_and_filled(shop: Team) -> None:
    """Who is in it already counts as a member, and is not put in again."""
    shop.rally.refuses_twice = True
    theirs = shop.rally.add_set_by_hand(SET, shop.sprint, shop.rally.add_case("TC2000"), *shop.rally.cases.values())
    shop.cases("TC3")
    outcome = shop.once()
    assert (outcome.exit_status, outcome.summary["test_sets_created"], outcome.summary["members_added"]) == (
        EXIT_DONE, 0, 1,
    )  # fmt: skip
    assert list(shop.rally.sets) == [theirs.object_id]
    assert shop.members() == {SET: ["TC1", "TC2", "TC2000", "TC3"]}
    assert shop.sprint_row()["members"] == 4


def test_of_several_sets_of_one_name_the_oldest_is_used_and_the_others_are_told_once(shop: Team) -> None:
    """None is deleted, and none but the oldest is written to; `status` goes on telling of them."""
    first, second, third = (shop.rally.add_set_by_hand(SET, shop.sprint) for _ in range(3))
    shop.once()
    assert shop.warned("second test set of its name") == 2
    shop.once()
    assert shop.warned("second test set of its name") == 0
    assert {number: len(cases) for number, cases in shop.rally.enrolled.items()} == {
        first.object_id: 2, second.object_id: 0, third.object_id: 0,
    }  # fmt: skip
    assert shop.sprint_row()["doubles"] == [second.object_id, third.object_id]
    shop.rally.delete_set(second.object_id)
    shop.once()
    assert shop.sprint_row()["doubles"] == [third.object_id]


def test_a_set_of_the_name_in_another_sprint_or_project_is_none_of_ours(shop: Team) -> None:
    """Last year's sprint had the same number."""
    mobile = shop.rally.add_project("Mobile")
    others = [shop.sprint_of("Sprint 7", begins=-60), shop.sprint_of("Sprint 7", begins=-60, project=mobile)]
    theirs = [shop.rally.add_set_by_hand(SET, one).object_id for one in others]
    shop.once()
    assert [len(shop.rally.enrolled[one]) for one in theirs] == [0, 0]
    assert len(shop.rally.sets) == 3
    assert shop.warned("second") == 0


def test_a_set_that_a_person_renamed_stays_the_sprints(shop: Team) -> None:
    """It is known by its ObjectID; no second one is made."""
    shop.once()
    (made,) = shop.rally.sets.values()
    shop.rally.sets[made.object_id] = type(made)(made.object_id, "Ours", made.iteration, made.project, made.created_at)
    shop.cases("TC3")
    shop.once()
    assert shop.members() == {"Ours": ["TC1", "TC2", "TC3"]}


@pytest.mark.parametrize("scheduled_elsewhere", [False, True])
def test_a_set_that_a_person_took_away_is_not_made_again(shop: Team, *, scheduled_elsewhere: bool) -> None:
    """It is told once, and as `gone` in `status`; nothing is left to do, though a test case comes."""
    shop.once()
    (made,) = shop.rally.sets.values()
    if scheduled_elsewhere:
        shop.rally.sets[made.object_id] = type(made)(made.object_id, SET, shop.story.object_id, 1, made.created_at)  # type: ignore[arg-type] # some other object
    else:
        shop.rally.delete_set(made.object_id)
    requests = len(shop.rally.sprint_requests)
    shop.cases("TC3")
    for warnings in (1, 0):
        outcome = shop.once()
        assert (outcome.exit_status, outcome.summary["left"]) == (EXIT_DONE, 0)
        assert shop.warned("gone from Rally") == warnings
    assert (len(shop.rally.sprint_requests), shop.sprint_row()["state"]) == (requests, "gone")


def test_a_set_that_comes_back_is_the_sprints_again(shop: Team) -> None:
    """Out of the recycle bin, or a new one that people made."""
    shop.once()
    ((number, made),) = shop.rally.sets.items()
    shop.rally.delete_set(number)
    shop.cases("TC3")
    shop.once()
    shop.rally.sets[number] = made
    shop.once()
    assert shop.members() == {SET: ["TC1", "TC2", "TC3"]}
    shop.rally.delete_set(number)
    shop.once()
    theirs = shop.rally.add_set_by_hand(SET, shop.sprint)
    shop.once()
    assert (list(shop.rally.sets), shop.members()) == ([theirs.object_id], {SET: ["TC1", "TC2", "TC3"]})


def test_a_set_that_goes_while_it_is_looked_into_holds_up_no_other(shop: Team) -> None:
    """It was listed a moment ago."""
    shop.cases("TC3", of=shop.rally.add_item(shop.sprint_of("Sprint 8", begins=-1)))
    shop.once()
    first = min(shop.rally.sets)
    shop.cases("TC4")
    shop.cases("TC5", of=next(item for item in shop.rally.items.values() if item.iteration != shop.sprint.object_id))
    listed = list(shop.rally.sets.values())
    shop.rally.delete_set(first)
    shop.rally.listed = listed
    assert shop.once().exit_status == EXIT_DONE
    assert shop.members() == {"Sprint-8-Automated-Tests": ["TC3", "TC5"]}
    assert shop.sprint_row()["state"] == "gone"


# --- iterations ------------------------------------------------------------------------------------------------------


def test_a_sprint_that_is_renamed_keeps_its_set(shop: Team) -> None:
    """It is known by its ObjectID; no second one is made under the new name."""
    shop.once()
    shop.rally.change_iteration(shop.sprint, name='Sprint "8" & (late)')
    shop.cases("TC3")
    assert shop.once().summary["test_sets_created"] == 0
    assert shop.members() == {SET: ["TC1", "TC2", "TC3"]}
    assert shop.sprint_row()["iteration"] == 'Sprint "8" & (late)'


def test_a_sprint_that_is_prolonged_is_filled_on(shop: Team) -> None:
    """Its dates are read anew in each pass."""
    shop.once()
    shop.rally.change_iteration(shop.sprint, ends_at=shop.sprint.ends_at + WEEK)
    shop.clock.advance(10 * DAY_S)
    shop.cases("TC3")
    shop.once()
    assert shop.members() == {SET: ["TC1", "TC2", "TC3"]}


@pytest.mark.parametrize("what", ["later", "earlier", "deleted"])
def test_a_sprint_that_is_moved_away_or_deleted_leaves_its_set_as_it_is(shop: Team, what: str) -> None:
    """Another one is on, so the answer is believed; when it is on again, its set is filled on."""
    shop.sprint_of("Sprint 8", begins=-1)
    shop.once()
    if what == "deleted":
        shop.rally.deleted.add(shop.sprint.object_id)
    else:
        by = 3 * WEEK if what == "later" else -3 * WEEK
        shop.rally.change_iteration(shop.sprint, starts_at=shop.sprint.starts_at + by, ends_at=shop.sprint.ends_at + by)
    shop.cases("TC3")
    outcome = shop.once()
    assert (outcome.exit_status, outcome.summary["writes"]) == (EXIT_DONE, 0)
    assert shop.members()[SET] == ["TC1", "TC2"]
    if what == "later":
        shop.clock.advance(15 * DAY_S)
        assert shop.once().exit_status == EXIT_DONE
        assert shop.members()[SET] == ["TC1", "TC2", "TC3"]


def test_sprints_that_overlap_in_one_project_have_a_set_each(shop: Team) -> None:
    """Each with the test cases of its own stories."""
    shop.cases("TC3", of=shop.rally.add_item(shop.sprint_of("Sprint 8", begins=-1)))
    shop.once()
    assert shop.members() == {SET: ["TC1", "TC2"], "Sprint-8-Automated-Tests": ["TC3"]}


def test_two_sprints_of_one_number_have_a_set_each_of_one_name(shop: Team) -> None:
    """They are told apart by their ObjectIDs; neither set is a double of the other."""
    other = shop.sprint_of("Sprint 7 again", begins=-1)
    shop.cases("TC3", of=shop.rally.add_item(other))
    shop.once()
    shop.once()
    assert {one.iteration: len(shop.rally.enrolled[number]) for number, one in shop.rally.sets.items()} == {
        shop.sprint.object_id: 2, other.object_id: 1,
    }  # fmt: skip
    assert shop.warned("second") == 0


# --- answers that are not believed -----------------------------------------------------------------------------------


@pytest.mark.parametrize("question", ["iterations", "work_items"])
def test_an_empty_answer_is_not_believed_for_a_day(shop: Team, question: str) -> None:
    """Where there was something yesterday; nothing is changed, and that is said. Results go on."""
    shop.once()
    shop.rally.empty.add(question)
    shop.job("a_TC1")
    for hours in (0, 23):
        shop.clock.advance(hours * HOUR_S)
        outcome = shop.once()
        assert (outcome.exit_status, outcome.summary["left"]) == (EXIT_DONE, 0)
        assert shop.warned("nothing is changed") == 1
    assert list(shop.carried().values()) == [SET]
    shop.rally.empty.clear()
    shop.cases("TC3")
    shop.once()
    assert shop.members() == {SET: ["TC1", "TC2", "TC3"]}


@pytest.mark.parametrize("question", ["iterations", "work_items"])
def test_an_empty_answer_is_believed_after_a_day(shop: Team, question: str) -> None:
    """Then it is so; members stay all the same."""
    shop.once()
    shop.rally.empty.add(question)
    shop.clock.advance(DAY_S + 1)
    assert shop.once().exit_status == EXIT_DONE
    assert shop.warned("nothing is changed") == 0
    assert shop.members() == {SET: ["TC1", "TC2"]}


@pytest.mark.parametrize("question", ["iterations", "work_items"])
def test_an_empty_answer_where_there_was_never_anything_is_believed(shop: Team, question: str) -> None:
    """A project that begins."""
    shop.rally.empty.add(question)
    assert shop.once().exit_status == EXIT_DONE
    assert shop.warned("") == 0


def test_between_two_sprints_there_is_none_and_nothing_to_warn_of(shop: Team) -> None:
    """The one that ended is not one that is missing."""
    shop.once()
    shop.rally.change_iteration(shop.sprint, ends_at=shop.clock() + timedelta(hours=1))
    shop.once()
    shop.clock.advance(2 * HOUR_S)
    assert shop.once().exit_status == EXIT_DONE
    assert shop.warned("") == 0
