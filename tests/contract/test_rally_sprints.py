"""Sprints as the port Rally promises them: by the fake, and by the adapter against the stand-in."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from reconciler.errors import NotDone, NotThere, ServiceDown
from reconciler.model import (
    Build,
    FormattedID,
    Iteration,
    Key,
    Move,
    NewTestFolder,
    NewTestSet,
    ObjectID,
    PipelineId,
    ProjectId,
    Rejected,
    TestCaseResult,
    TestFolder,
)
from tests.contract.sprint_offices import A_SECOND, FRIDAY, MONDAY, ODD, FakeOffice, Office, RealOffice, item
from tests.contract.unhurried import IMPATIENT, met
from tests.fakes import FakeRally
from tests.rally_world import NOON

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

LOST = ObjectID(4711)
"""An ObjectID that Rally does not have."""


@pytest.fixture(params=["fake", "adapter"])
def office(request: pytest.FixtureRequest) -> Office:
    """Make both, one after the other."""
    if request.param == "fake":
        return FakeOffice(FakeRally())
    hasty = met(request.getfixturevalue("connect")(limits=IMPATIENT))
    return RealOffice(hasty, request.getfixturevalue("world"))


def made(answer: ObjectID | Rejected) -> ObjectID:
    """Expect a yes."""
    assert not isinstance(answer, Rejected), answer
    return answer


def refused(answer: ObjectID | Rejected | None) -> str:
    """Expect a plain no."""
    assert isinstance(answer, Rejected), answer
    assert not answer.conflict
    return answer.reason


# --- iterations ------------------------------------------------------------------------------------------------------


def test_an_iteration_has_a_window_and_a_project(office: Office) -> None:
    """That of the root project, and each child project's own, though name and dates are equal; none from beside."""
    team, beside = office.project("Team & B"), office.project("Beside", beside=True)
    ours, theirs = office.iteration(), office.iteration(project=team)
    office.iteration(project=beside)
    assert office.rally.iterations(MONDAY, FRIDAY) == [
        Iteration(ours, "Sprint 42", MONDAY, FRIDAY, office.root, "Web Shop"),
        Iteration(theirs, "Sprint 42", MONDAY, FRIDAY, team, "Team & B"),
    ]


@pytest.mark.parametrize(
    ("since", "until", "is_found"),
    [
        (FRIDAY, FRIDAY + timedelta(days=9), True),
        (FRIDAY + A_SECOND, FRIDAY + timedelta(days=9), False),
        (MONDAY - timedelta(days=9), MONDAY, True),
        (MONDAY - timedelta(days=9), MONDAY - A_SECOND, False),
        (MONDAY - A_SECOND, FRIDAY + A_SECOND, True),
        (MONDAY + A_SECOND, FRIDAY - A_SECOND, True),
    ],
)
def test_iterations_are_those_whose_windows_touch(
    office: Office,
    since: datetime,
    until: datetime,
    is_found: bool,  # noqa: FBT001 - a table's column
) -> None:
    """The first and the last second count."""
    office.iteration()
    assert bool(office.rally.iterations(since, until)) == is_found


def test_a_renamed_and_moved_iteration_is_the_same_one(office: Office) -> None:
    """By ObjectID; whatever it is called."""
    number = office.iteration()
    later, end = MONDAY + timedelta(days=14), FRIDAY + timedelta(days=14)
    office.change_iteration(number, ODD, later, end)
    assert office.rally.iterations(MONDAY, FRIDAY) == []
    [one] = office.rally.iterations(later, end)
    assert one == Iteration(number, ODD, later, end, office.root, "Web Shop")


# --- what is scheduled -----------------------------------------------------------------------------------------------


def test_stories_and_defects_are_scheduled_in_an_iteration(office: Office) -> None:
    """With the number of their test cases; what is in the backlog or in another sprint is not among them."""
    first, second = office.iteration(), office.iteration("Sprint 43")
    story, defect, later = office.story(first), office.defect(first), office.story(second)
    backlog = office.story(None)
    for number in (1, 2):
        office.case(f"TC10{number}", story)
    office.case("TC103", backlog)
    found = office.rally.work_items([first])
    assert {(one.object_id, one.type_path, one.iteration, one.test_cases) for one in found} == {
        (story, "hierarchicalrequirement", first, 2),
        (defect, "defect", first, 0),
    }
    assert {one.object_id for one in office.rally.work_items([first, second, first])} == {story, defect, later}
    assert office.rally.work_items([]) == office.rally.work_items([LOST]) == []


def test_a_story_that_is_moved_out_is_no_longer_there(office: Office) -> None:
    """It shows in its new iteration, or nowhere."""
    first, second = office.iteration(), office.iteration("Sprint 43")
    story = office.story(first)
    [before] = office.rally.work_items([first])
    office.schedule(story, second)
    assert office.rally.work_items([first]) == []
    [after] = office.rally.work_items([second])
    assert (after.object_id, after.iteration) == (story, second)
    assert after.updated_at >= before.updated_at
    office.schedule(story, None)
    assert office.rally.work_items([first, second]) == []


def test_test_cases_are_those_of_the_stories_and_defects(office: Office) -> None:
    """Of whichever project, those beside the root project included; each with its story's ObjectID."""
    beside, sprint = office.project("Beside", beside=True), office.iteration()
    story, defect = office.story(sprint), office.defect(sprint)
    one, far, other = office.case("TC101", story), office.case("TC102", story, beside), office.case("TC103", defect)
    office.case("TC104")
    office.case("TC105", office.story(sprint))
    found = office.rally.test_cases_of([item(story), item(defect, "defect")])
    assert {(of, case.object_id, case.formatted_id, case.project_id) for of, case in found} == {
        (story, one, "TC101", office.root),
        (story, far, "TC102", beside),
        (defect, other, "TC103", office.root),
    }
    office.delete_case("TC101")
    assert [case.formatted_id for _, case in office.rally.test_cases_of([item(story)])] == ["TC102"]
    assert office.rally.test_cases_of([]) == office.rally.test_cases_of([item(LOST)]) == []


# --- test sets -------------------------------------------------------------------------------------------------------


def test_a_test_set_is_made_in_an_iteration_and_found_by_it(office: Office) -> None:
    """Whatever its name; each project's own."""
    team = office.project("Team B")
    ours, theirs = office.iteration(), office.iteration(project=team)
    first = made(office.rally.add_test_set(NewTestSet(ODD, ours, office.root)))
    second = made(office.rally.add_test_set(NewTestSet("Sprint-42", theirs, team)))
    found = office.rally.test_sets([theirs, ours])
    assert [(one.object_id, one.name, one.iteration, one.project) for one in found] == [
        (first, ODD, ours, office.root),
        (second, "Sprint-42", theirs, team),
    ]
    assert [one.object_id for one in office.rally.test_sets([theirs])] == [second]
    assert office.rally.test_sets([]) == office.rally.test_sets([LOST]) == []
    assert office.members() == {ODD: [], "Sprint-42": []}


def test_the_oldest_of_several_sets_comes_first(office: Office) -> None:
    """Rally lets anyone make a second one of the same name."""
    sprint = office.iteration()
    numbers = [made(office.rally.add_test_set(NewTestSet("Sprint-42", sprint, office.root))) for _ in range(3)]
    found = office.rally.test_sets([sprint])
    assert [one.object_id for one in found] == numbers
    assert sorted(found, key=lambda one: (one.created_at, one.object_id)) == found
    office.delete_set(numbers[0])
    assert [one.object_id for one in office.rally.test_sets([sprint])] == numbers[1:]


def test_a_test_set_that_rally_would_not_take(office: Office) -> None:
    """An iteration of another project, or one that is gone; no name, or too long a one."""
    team, sprint = office.project("Team B"), office.iteration()
    good = NewTestSet("a" * office.rally.name_limit(), sprint, office.root)
    assert "Iteration" in refused(office.rally.add_test_set(replace(good, project=team)))
    assert refused(office.rally.add_test_set(replace(good, iteration=LOST))).startswith("Could not read")
    assert "Name" in refused(office.rally.add_test_set(replace(good, name="")))
    assert "maximum length" in refused(office.rally.add_test_set(replace(good, name=f"{good.name}a")))
    assert "maximum length" in refused(office.rally.add_test_set(replace(good, name=f"{good.name[:-1]}🚀")))
    assert made(office.rally.add_test_set(good))
    assert office.rally.name_limit() == 256


def test_members_are_added_and_stay(office: Office) -> None:
    """Twice is once; of other projects too, as far as anyone knows."""
    team, sprint = office.project("Team B"), office.iteration()
    one, other, third = office.case("TC101"), office.case("TC102"), office.case("TC103", project=team)
    test_set = made(office.rally.add_test_set(NewTestSet("Sprint-42", sprint, office.root)))
    assert office.rally.members_of(test_set) == frozenset()
    assert office.rally.add_members(test_set, [one]) is None
    assert office.rally.add_members(test_set, [one, other, third]) is None
    assert office.rally.members_of(test_set) == {one, other, third}
    office.delete_case("TC102")
    assert office.rally.members_of(test_set) == {one, third}
    assert office.members() == {"Sprint-42": ["TC101", "TC103"]}


def test_one_test_case_that_is_gone_spoils_the_whole_addition(office: Office) -> None:
    """None of the others is added."""
    one, gone = office.case("TC101"), office.case("TC102")
    office.delete_case("TC102")
    test_set = made(office.rally.add_test_set(NewTestSet("Sprint-42", office.iteration(), office.root)))
    assert "Could not read referenced object" in refused(office.rally.add_members(test_set, [one, gone]))
    assert office.members() == {"Sprint-42": []}


def test_a_set_that_is_gone_has_no_members_and_takes_none(office: Office) -> None:
    """That is another thing than an empty set."""
    one = office.case("TC101")
    test_set = made(office.rally.add_test_set(NewTestSet("Sprint-42", office.iteration(), office.root)))
    office.rally.add_members(test_set, [one])
    office.delete_set(test_set)
    with pytest.raises(NotThere):
        office.rally.members_of(test_set)
    assert refused(office.rally.add_members(test_set, [one])).startswith("Could not read")


# --- results in sets -------------------------------------------------------------------------------------------------


def result(formatted_id: str, case: ObjectID, test_set: ObjectID | None, revision: int = 1) -> TestCaseResult:
    """Make a result that carries a set."""
    key = Key(ProjectId(21), PipelineId(1001), FormattedID(formatted_id), revision)
    notes = f"<div>{key}</div>"
    return TestCaseResult(key, Build("GitLab-1001"), case, "Pass", NOON, 1.0, notes, test_set)


def test_a_result_carries_the_set_that_its_test_case_is_in(office: Office) -> None:
    """And tells so when it is found again, until the set is deleted."""
    one, other = office.case("TC101"), office.case("TC102")
    test_set = made(office.rally.add_test_set(NewTestSet("Sprint-42", office.iteration(), office.root)))
    office.rally.add_members(test_set, [one])
    batch = [result("TC101", one, test_set), result("TC102", other, None)]
    assert [office.rally.check(each) for each in batch] == ["", ""]
    list(map(made, office.rally.add_results(batch)))
    made(office.rally.add_result(result("TC101", one, test_set, revision=2)))
    found = office.rally.results_of([Build("GitLab-1001")])
    assert {(each.key.formatted_id, each.key.revision, each.test_set) for each in found} == {
        ("TC101", 1, test_set),
        ("TC101", 2, test_set),
        ("TC102", 1, None),
    }
    office.delete_set(test_set)
    assert {each.test_set for each in office.rally.results_of([Build("GitLab-1001")])} == {None}


def test_a_result_may_not_carry_a_set_that_does_not_hold_its_test_case(office: Office) -> None:
    """Or one of another project, or one that is gone; the words are Rally's, who says no more."""
    team = office.project("Team B")
    one, other = office.case("TC101"), office.case("TC102", project=team)
    test_set = made(office.rally.add_test_set(NewTestSet("Sprint-42", office.iteration(), office.root)))
    office.rally.add_members(test_set, [other])
    [first, second] = office.rally.add_results([result("TC101", one, test_set), result("TC102", other, test_set)])
    assert refused(first) == refused(second) == "Could not set value for Test Set: null"
    refused(office.rally.add_result(result("TC101", one, LOST)))
    assert office.rally.results_of([Build("GitLab-1001")]) == []


# --- folders ---------------------------------------------------------------------------------------------------------


def test_folders_stand_at_the_top_or_in_each_other(office: Office) -> None:
    """Looked up by the name of the top one and by parent; oldest first, for anyone may make another."""
    team = office.project("Team B")
    top = made(office.rally.add_folder(NewTestFolder("Automated sprints", office.root, None)))
    theirs = made(office.rally.add_folder(NewTestFolder("Automated sprints", team, None)))
    sprint = made(office.rally.add_folder(NewTestFolder(ODD, office.root, top)))
    nested = made(office.rally.add_folder(NewTestFolder("Automated sprints", office.root, top)))
    second = made(office.rally.add_folder(NewTestFolder("Automated sprints", office.root, None)))
    made(office.rally.add_folder(NewTestFolder("Automated Sprints", office.root, None)))
    assert office.rally.folders_named("Automated sprints", [office.root]) == [
        TestFolder(top, "Automated sprints", office.root, None),
        TestFolder(second, "Automated sprints", office.root, None),
    ]
    both = office.rally.folders_named("Automated sprints", [team, office.root])
    assert [one.object_id for one in both] == [top, theirs, second]
    assert office.rally.folders_in([top, theirs]) == [
        TestFolder(sprint, ODD, office.root, top),
        TestFolder(nested, "Automated sprints", office.root, top),
    ]
    assert office.rally.folders_named("Automated sprints", []) == office.rally.folders_named("x", [team]) == []
    assert office.rally.folders_in([]) == office.rally.folders_in([LOST]) == []


def test_a_folder_and_what_is_in_it_are_of_one_project(office: Office) -> None:
    """KB 57564."""
    team = office.project("Team B")
    top = made(office.rally.add_folder(NewTestFolder("Automated sprints", office.root, None)))
    assert "different project" in refused(office.rally.add_folder(NewTestFolder("Sprint-42", team, top)))
    assert "Could not read" in refused(office.rally.add_folder(NewTestFolder("Sprint-42", team, LOST)))
    assert "Name" in refused(office.rally.add_folder(NewTestFolder("", team, None)))


def test_test_cases_are_filed_one_by_one_or_many_at_once(office: Office) -> None:
    """Answers by position: what cannot be filed does not hold up the others; a case is in one folder."""
    team = office.project("Team B")
    first, second = office.case("TC101"), office.case("TC102")
    foreign, gone = office.case("TC103", project=team), office.case("TC104")
    office.delete_case("TC104")
    top = made(office.rally.add_folder(NewTestFolder("Automated sprints", office.root, None)))
    sprint = made(office.rally.add_folder(NewTestFolder("Sprint-42", office.root, top)))
    answers = office.rally.move_test_cases(
        [Move(first, top), Move(foreign, top), Move(gone, top), Move(second, sprint)],
    )
    assert answers[0::3] == [first, second]
    assert "different project" in refused(answers[1])
    assert refused(answers[2]).startswith("Could not read")
    assert office.filing() == {"TC101": "Web Shop/Automated sprints", "TC102": "Web Shop/Automated sprints/Sprint-42"}
    assert office.rally.move_test_case(Move(first, sprint)) == first
    assert refused(office.rally.move_test_case(Move(first, LOST))).startswith("Could not read")
    assert refused(office.rally.move_test_case(Move(gone, sprint))).startswith("Could not read")
    assert set(office.filing().values()) == {"Web Shop/Automated sprints/Sprint-42"}


# --- away ------------------------------------------------------------------------------------------------------------


def test_rally_being_away_is_not_an_empty_answer(office: Office) -> None:
    """Reads raise, writes were not done."""
    sprint, case = office.iteration(), office.case("TC101")
    story = office.story(sprint)
    test_set = made(office.rally.add_test_set(NewTestSet("Sprint-42", sprint, office.root)))
    folder = made(office.rally.add_folder(NewTestFolder("Automated sprints", office.root, None)))
    rally = office.rally
    reads: list[Callable[[], object]] = [
        lambda: rally.iterations(MONDAY, FRIDAY),
        lambda: rally.work_items([sprint]),
        lambda: rally.test_cases_of([item(story)]),
        lambda: rally.test_sets([sprint]),
        lambda: rally.members_of(test_set),
        lambda: rally.folders_named("Automated sprints", [office.root]),
        lambda: rally.folders_in([folder]),
    ]
    writes: list[Callable[[], object]] = [
        lambda: rally.add_test_set(NewTestSet("Sprint-43", sprint, office.root)),
        lambda: rally.add_members(test_set, [case]),
        lambda: rally.add_folder(NewTestFolder("Sprint-42", office.root, folder)),
        lambda: rally.move_test_cases([Move(case, folder)]),
        lambda: rally.move_test_case(Move(case, folder)),
    ]
    with office.down():
        for read in reads:
            with pytest.raises(ServiceDown):
                read()
        for write in writes:
            with pytest.raises(NotDone):
                write()
    assert office.members() == {"Sprint-42": []}
    assert office.filing() == {}
