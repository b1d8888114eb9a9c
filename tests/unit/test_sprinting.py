"""Test sets of sprints: made once for each sprint of each project, filled, and never emptied."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reconciler.config.settings import SprintsSettings
from reconciler.errors import EXIT_DONE
from tests.unit.sprint_shop import DAY_S, HOUR_S, SET, Team, team

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def shop() -> Iterator[Team]:
    """Open one."""
    yield from team()


# --- made and filled -------------------------------------------------------------------------------------------------


def test_each_project_gets_one_set_for_the_sprint_that_is_on(shop: Team) -> None:
    """The same sprint is one iteration in each project; stories and defects bring their test cases."""
    mobile = shop.rally.add_project("Mobile")
    twin = shop.sprint_of("Sprint 7", project=mobile)
    shop.cases("TC3", of=shop.rally.add_item(shop.sprint, "defect"))
    shop.cases("TC4", of=shop.rally.add_item(twin), project=mobile)
    shop.config = SprintsSettings(test_set_name="{project} {N}: {iteration}")
    outcome = shop.once()
    assert (outcome.exit_status, outcome.summary["test_sets_created"], outcome.summary["members_added"]) == (
        EXIT_DONE, 2, 4,
    )  # fmt: skip
    assert shop.members() == {"Web Shop 7: Sprint 7": ["TC1", "TC2", "TC3"], "Mobile 7: Sprint 7": ["TC4"]}
    where = {one.name: (one.iteration, one.project) for one in shop.rally.sets.values()}
    assert where["Mobile 7: Sprint 7"] == (twin.object_id, mobile)


def test_a_second_pass_writes_nothing(shop: Team) -> None:
    """A set is made once."""
    shop.once()
    requests = len(shop.rally.sprint_requests)
    outcome = shop.once()
    assert (outcome.exit_status, outcome.summary["writes"], outcome.summary["left"]) == (EXIT_DONE, 0, 0)
    assert len(shop.rally.sprint_requests) == requests


def test_what_comes_into_the_sprint_later_is_put_into_the_set_by_the_next_pass(shop: Team) -> None:
    """A new story, a new test case of an old one, and a story that was in the backlog."""
    backlog = shop.rally.add_item(None)
    shop.cases("TC3", of=backlog)
    shop.once()
    shop.cases("TC4")
    shop.cases("TC5", of=shop.rally.add_item(shop.sprint))
    shop.rally.schedule(backlog, shop.sprint)
    assert shop.once().summary["members_added"] == 3
    assert shop.members() == {SET: ["TC1", "TC2", "TC3", "TC4", "TC5"]}
    assert shop.chunks() == [2, 3]


def test_a_test_case_that_takes_anothers_place_is_seen_within_the_hour(shop: Team) -> None:
    """Nothing of the story tells of it: as many test cases as before, and nobody wrote to the story itself."""
    shop.once()
    shop.rally.work_products.clear()
    shop.cases("TC3", "TC4")
    assert shop.once().summary["members_added"] == 0
    shop.clock.advance(HOUR_S)
    assert shop.once().summary["members_added"] == 2
    assert shop.members() == {SET: ["TC1", "TC2", "TC3", "TC4"]}


def test_who_is_in_a_set_stays_there_whatever_happens_to_the_story(shop: Team) -> None:
    """It is moved out, or it goes; another one is there, so the answer is believed."""
    shop.rally.add_item(shop.sprint)
    shop.once()
    shop.rally.schedule(shop.story, None)
    shop.once()
    del shop.rally.items[shop.story.object_id]
    assert shop.once().summary["writes"] == 0
    assert shop.members() == {SET: ["TC1", "TC2"]}
    assert shop.sprint_row()["members"] == 2


def test_a_story_that_moves_to_another_sprint_brings_its_test_cases_there_too(shop: Team) -> None:
    """Both are on; nothing is taken out of the first."""
    other = shop.sprint_of("Hardening 8", begins=-1)
    shop.once()
    shop.rally.schedule(shop.story, other)
    assert shop.once().summary["members_added"] == 2
    assert shop.members() == {SET: ["TC1", "TC2"], "Sprint-8-Automated-Tests": ["TC1", "TC2"]}


def test_a_sprint_without_stories_has_an_empty_set(shop: Team) -> None:
    """It is there before the first story comes."""
    shop.rally.items.clear()
    assert shop.once().exit_status == EXIT_DONE
    assert shop.members() == {SET: []}
    assert shop.sprint_row()["coverage"] == 0
    shop.once()
    shop.cases("TC3", of=shop.rally.add_item(shop.sprint))
    shop.once()
    assert shop.members() == {SET: ["TC3"]}


def test_only_sprints_that_are_on_get_a_set(shop: Team) -> None:
    """The last day of one is in it; what is over or still to come gets none, until it begins."""
    shop.sprint_of("Sprint 6", begins=-21)
    shop.sprint_of("Sprint 8", begins=7)
    shop.once()
    assert list(shop.members()) == [SET]
    shop.clock.advance(7 * DAY_S)
    shop.once()
    assert list(shop.members()) == [SET, "Sprint-8-Automated-Tests"]


@pytest.mark.parametrize("name", ['Sprint "7" & (half) \\ #1', "Übung 🚀 | 7", "(A AND B) = 'c'"])
def test_a_name_of_any_characters_is_taken_as_it_is(shop: Team, name: str) -> None:
    """What breaks a query is in none."""
    shop.rally.change_iteration(shop.sprint, name=name)
    shop.config = SprintsSettings(test_set_name="{iteration}", test_folder="move", number_pattern="(?P<N>no)")
    for _ in range(2):
        assert shop.once().exit_status == EXIT_DONE
    assert shop.members() == {name: ["TC1", "TC2"]}
    assert set(shop.rally.filing().values()) == {f"Web Shop/Automated sprints/{name}"}


# --- many ------------------------------------------------------------------------------------------------------------


def test_two_thousand_test_cases_go_in_by_the_hundred(shop: Team) -> None:
    """One request after another: a set has one writer."""
    shop.cases(*[f"TC{n}" for n in range(3, 2_001)])
    outcome = shop.once()
    assert (outcome.exit_status, outcome.summary["members_added"]) == (EXIT_DONE, 2_000)
    assert shop.chunks() == [100] * 20
    assert shop.sprint_row()["members"] == 2_000


@pytest.mark.parametrize("cases", [20, 2_000])
def test_a_quiet_pass_asks_the_same_whatever_number_of_test_cases_is_placed(shop: Team, cases: int) -> None:
    """What is scheduled, by stories, and which sets there are; nothing for each test case, neither calls nor rows."""
    shop.cases(*[f"TC{n}" for n in range(3, cases + 1)])
    shop.once()
    shop.rally.asked.clear()
    shop.rally.rows.clear()
    assert shop.once().summary["writes"] == 0
    assert shop.rally.asked == shop.rally.rows == {"iterations": 1, "work_items": 1, "test_sets": 1}


def test_a_new_test_case_costs_one_look_into_its_own_set_alone(shop: Team) -> None:
    """And only the story that has changed is asked for its test cases."""
    other = shop.sprint_of("Sprint 8", begins=-1)
    shop.cases("TC3", of=shop.rally.add_item(other))
    shop.once()
    shop.rally.asked.clear()
    shop.rally.rows.clear()
    shop.cases("TC4")
    shop.once()
    assert (shop.rally.asked["members_of"], shop.rally.rows["members_of"]) == (1, 2)
    assert (shop.rally.asked["test_cases_of"], shop.rally.rows["test_cases_of"]) == (1, 3)


# --- projects --------------------------------------------------------------------------------------------------------


def test_a_test_case_of_another_project_goes_to_that_projects_set_of_the_same_sprint(shop: Team) -> None:
    """Rally takes no result of it in a set of another project."""
    mobile = shop.rally.add_project("Mobile")
    shop.sprint_of("Sprint 7", project=mobile)
    shop.cases("TC3", project=mobile)
    shop.config = SprintsSettings(test_set_name="{project}-{N}")
    shop.once()
    assert shop.members() == {"Web Shop-7": ["TC1", "TC2"], "Mobile-7": ["TC3"]}
    assert shop.sprint_row()["not_placeable"] == []


@pytest.mark.parametrize("beside", [False, True])
def test_a_test_case_without_a_sprint_in_its_project_is_told_with_the_reason(shop: Team, *, beside: bool) -> None:
    """It may be of a project that is not ours at all; once the sprint is planned there, it is placed."""
    mobile = shop.rally.add_project("Mobile", beside=beside)
    twin = shop.sprint_of("Sprint 7", days=13, project=mobile)
    shop.cases("TC3", project=mobile)
    assert shop.once().exit_status == EXIT_DONE
    (told,) = shop.sprint_row()["not_placeable"]
    assert told["test_case"] == "TC3"
    assert told["reason"] == "its project has no iteration 'Sprint 7' with the dates of that of Web Shop"
    assert shop.rally.sets.keys() & {one for one, cases in shop.rally.enrolled.items() if len(cases) > 2} == set()
    if not beside:
        shop.rally.change_iteration(twin, ends_at=shop.sprint.ends_at)
        shop.once()
        assert (shop.sprint_row()["not_placeable"], shop.sprint_row(twin)["members"]) == ([], 1)
