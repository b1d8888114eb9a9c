"""Members of sprint sets, folders and moves are written down step by step; a wrong step changes nothing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from reconciler.ledger.ledger import in_memory
from reconciler.model import FormattedID, ObjectID
from tests import building
from tests.fakes import START
from tests.sprint_steps import (
    MEMBERS,
    OTHER,
    SECOND,
    SETS,
    SPRINT,
    WEEK,
    a_set,
    bring_members,
    bring_set,
    ids,
    placed,
    states,
    unplaced,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from reconciler.ledger.sprints import Sprints


@pytest.fixture
def room() -> Iterator[Sprints]:
    """Know TC1 and two sprints."""
    ledger = in_memory()
    with closing(ledger.store):
        ledger.test_cases.replace([building.case("TC1")])
        ledger.sprints.store_iterations([SPRINT, OTHER], START)
        yield ledger.sprints


# --- members ---------------------------------------------------------------------------------------------------------


def test_what_was_wanted_stays_so_and_what_could_not_be_placed_is_what_cannot_be_now(room: Sprints) -> None:
    """A member's state is not changed by wanting it again; a reason that no longer holds is gone."""
    bring_members(room)
    room.want(placed(1), unplaced(5, 6))
    assert states(room) == list(MEMBERS)
    room.want(placed(2, 3, 4, 5), [*unplaced(6, reason="other"), *unplaced(6)])
    assert states(room) == [*MEMBERS, "wanted"]
    assert room._store.rows("SELECT * FROM unplaced") == [(100, 6, "TC6", "other")]


def test_sprints_that_are_over_and_have_no_set_want_nobody_any_more(room: Sprints) -> None:
    """None is made for them, and results must not wait for it for ever; what has a set, in any state, stays."""
    room.want([*placed(1), *placed(2, iteration=OTHER)], [])
    room.let_go(SPRINT.ends_at)
    assert states(room) == ["wanted", "wanted"]
    room.store_iterations([replace(OTHER, ends_at=OTHER.ends_at + SECOND)], START)
    room.let_go(SPRINT.ends_at + SECOND)
    assert [len(room.memberships(ObjectID(case))) for case in (1, 2)] == [0, 1]
    room.want(placed(1), [])
    assert states(room) == ["wanted", "wanted"]


@pytest.mark.parametrize("state", SETS)
def test_members_of_a_set_stay_after_the_sprint(room: Sprints, state: str) -> None:
    """They are put in later, are found there, or explain why results went without."""
    bring_set(room, state)
    bring_members(room)
    room.let_go(SPRINT.ends_at + SECOND)
    assert states(room) == list(MEMBERS)


MEMBER_STEPS: dict[str, tuple[Callable[[Sprints, list[ObjectID]], None], set[str], str]] = {
    "intend": (lambda room, cases: room.intend_members(SPRINT.object_id, cases, START), {"wanted"}, "intended"),
    "confirm": (lambda room, cases: room.confirm_members(SPRINT.object_id, cases), {"wanted", "intended"}, "done"),
    "withdraw": (lambda room, cases: room.withdraw_members(SPRINT.object_id, cases), {"intended"}, "wanted"),
    "refuse": (
        lambda room, cases: room.refuse_members(SPRINT.object_id, cases, "never"),
        {"wanted", "intended", "done"},
        "refused",
    ),
    "find": (lambda room, cases: room.found_members(SPRINT.object_id, cases), set(MEMBERS), "done"),
}


@pytest.mark.parametrize(("step", "before", "after"), MEMBER_STEPS.values(), ids=MEMBER_STEPS)
def test_a_member_moves_only_from_the_states_that_a_step_is_for(
    room: Sprints, step: Callable[[Sprints, list[ObjectID]], None], before: set[str], after: str
) -> None:
    """And no test case that was not named, nor any of another sprint."""
    bring_members(room)
    room.want([*placed(5), *placed(1, 2, iteration=OTHER)], [])
    step(room, ids(1, 2, 3, 4))
    moved = [after if state in before else state for state in MEMBERS]
    assert states(room) == [*moved, "wanted", "wanted", "wanted"]
    step(room, [])
    assert states(room) == [*moved, "wanted", "wanted", "wanted"]
    reason = room._store.value("SELECT reason FROM members WHERE test_case = 4")
    assert reason == ("" if after == "done" and "refused" in before else "no")


def test_open_members_are_the_wanted_ones_and_those_in_doubt_with_the_time_since_when(room: Sprints) -> None:
    """In the order of test cases; settled ones are not among them, nor another sprint's."""
    room.want(placed(5, iteration=OTHER), [])
    bring_members(room)
    assert room.open_members(SPRINT.object_id) == [(1, None), (2, START)]
    assert room.missing_members(SPRINT.object_id) == ["TC1", "TC2"]
    room.withdraw_members(SPRINT.object_id, ids(2))
    assert room.open_members(SPRINT.object_id) == [(1, None), (2, None)]


@pytest.mark.parametrize("state", SETS)
def test_only_sets_that_rally_has_and_that_lack_members_are_open(room: Sprints, state: str) -> None:
    """A set with all members in it costs no request."""
    bring_set(room, state)
    bring_set(room, "done", OTHER)
    assert room.open_sets() == []
    room.want(placed(1), [])
    expected = [(100, 9)] if state == "done" else []
    assert room.open_sets() == expected
    room.intend_members(SPRINT.object_id, ids(1), START)
    assert room.open_sets() == expected
    room.want(placed(2, iteration=OTHER), [])
    assert room.open_sets() == [*expected, (200, 9)]
    room.confirm_members(SPRINT.object_id, ids(1))
    room.refuse_members(OTHER.object_id, ids(2), "no")
    assert room.open_sets() == []


def test_people_put_test_cases_into_sets_too(room: Sprints) -> None:
    """Their FormattedID is the known one, or comes with the next story that has them."""
    room.found_members(SPRINT.object_id, ids(1, 77))
    told = "SELECT test_case, formatted_id, state FROM members"
    assert room._store.rows(told) == [(1, "TC1", "done"), (77, "", "done")]
    room.want(placed(1, 77), [])
    assert room._store.rows(told) == [(1, "TC1", "done"), (77, "TC77", "done")]
    room.want([replace(placed(77)[0], formatted_id=FormattedID("TC78"))], [])
    assert room._store.rows(told) == [(1, "TC1", "done"), (77, "TC77", "done")]


def test_a_result_refused_for_its_set_ends_that_membership_alone(room: Sprints) -> None:
    """Of the sprints that have this set; a result without a set ends none."""
    bring_set(room, "done")
    room.adopt_set(OTHER.object_id, a_set(8, iteration=OTHER), START)
    for iteration in (SPRINT, OTHER):
        room.found_members(iteration.object_id, ids(1, 2))
    assert [room.iterations_of(one) for one in (ObjectID(9), ObjectID(8), ObjectID(77), None)] == [[100], [200], [], []]
    room.refuse_membership(None, ObjectID(1), "no")
    room.refuse_membership(ObjectID(77), ObjectID(1), "no")
    assert states(room) == ["done"] * 4
    room.refuse_membership(ObjectID(9), ObjectID(1), "Could not set value for Test Set")
    assert states(room) == ["refused", "done", "done", "done"]
    assert room._store.value("SELECT reason FROM members") == "Could not set value for Test Set"


SURE, HOPELESS, NEITHER = (True, False), (False, True), (False, False)


@pytest.mark.parametrize(
    ("set_state", "expected"),
    [
        ("", (NEITHER, NEITHER, NEITHER, HOPELESS)),
        ("intended", (NEITHER, NEITHER, NEITHER, HOPELESS)),
        ("done", (NEITHER, NEITHER, SURE, HOPELESS)),
        ("refused", (HOPELESS, HOPELESS, HOPELESS, HOPELESS)),
        ("gone", (HOPELESS, HOPELESS, HOPELESS, HOPELESS)),
    ],
)
def test_a_membership_is_sure_when_set_and_member_are_and_hopeless_when_one_of_them_is(
    room: Sprints, set_state: str, expected: tuple[tuple[bool, bool], ...]
) -> None:
    """Wanted, intended, done and refused members of a set in each state."""
    bring_set(room, set_state)
    bring_members(room)
    told = [one for case in (1, 2, 3, 4) for one in room.memberships(ObjectID(case))]
    assert [(one.is_sure, one.is_hopeless) for one in told] == list(expected)
    assert {one.test_set for one in told} == {9 if set_state in {"done", "gone"} else None}
    assert {(one.iteration, one.starts_at, one.ends_at) for one in told} == {(100, SPRINT.starts_at, SPRINT.ends_at)}


def test_a_test_case_may_have_places_in_several_sprints_and_in_none(room: Sprints) -> None:
    """Only its own."""
    room.want([*placed(1), *placed(1, 2, iteration=OTHER)], [])
    assert sorted(one.iteration for one in room.memberships(ObjectID(1))) == [100, 200]
    assert [one.iteration for one in room.memberships(ObjectID(2))] == [200]
    assert room.memberships(ObjectID(3)) == []


# --- folders and moves -----------------------------------------------------------------------------------------------


def _folders(room: Sprints) -> list[tuple[str, ObjectID | None, datetime] | None]:
    return [room.folder(ObjectID(project), iteration) for project in (1, 2) for iteration in (0, 100)]


def test_a_folder_is_known_by_project_and_sprint_and_is_begun_once(room: Sprints) -> None:
    """Each of the four below is another one."""
    assert _folders(room) == [None] * 4
    room.intend_folder(ObjectID(1), 0, "Automated sprints", START)
    room.intend_folder(ObjectID(1), 100, "Sprint-42", START + SECOND)
    assert _folders(room) == [("intended", None, START), ("intended", None, START + SECOND), None, None]
    with pytest.raises(sqlite3.IntegrityError):
        room.intend_folder(ObjectID(1), 100, "Sprint-42", START)
    room.confirm_folder(ObjectID(1), 100, "Sprint-42", ObjectID(5), START + WEEK)
    room.refuse_folder(ObjectID(1), 0, "no")
    room.confirm_folder(ObjectID(2), 0, "Automated sprints", ObjectID(6), START + WEEK)
    assert _folders(room) == [("refused", None, START), ("done", 5, START + SECOND), ("done", 6, START + WEEK), None]
    room.withdraw_folder(ObjectID(1), 100, "late", START)
    room.withdraw_folder(ObjectID(1), 0, "late", START)
    with pytest.raises(sqlite3.IntegrityError):
        room.refuse_folder(ObjectID(1), 100, "no")
    assert _folders(room) == [("refused", None, START), ("done", 5, START + SECOND), ("done", 6, START + WEEK), None]
    room.intend_folder(ObjectID(2), 100, "Sprint-42", START)
    room.withdraw_folder(ObjectID(2), 100, "not there", START)
    assert room.folder(ObjectID(2), 100) is None
    room.confirm_folder(ObjectID(1), 0, "Automated sprints", ObjectID(4), START)
    assert room._store.rows("SELECT object_id, reason FROM folders WHERE iteration_id = 0 ORDER BY 1") == [
        (4, ""),
        (6, ""),
    ]


def test_folders_in_doubt_are_told_with_their_names_and_the_folder_they_are_in(room: Sprints) -> None:
    """Each project's own; what is settled is not in doubt."""
    assert room.folders_in_doubt() == {}
    for project, iteration, name in ((1, 0, "Top"), (1, 100, "Sprint-42"), (2, 0, "Top"), (2, 200, "Sprint-42")):
        room.intend_folder(ObjectID(project), iteration, name, START)
    room.confirm_folder(ObjectID(1), 0, "Top", ObjectID(5), START)
    room.refuse_folder(ObjectID(2), 200, "no")
    assert room.folders_in_doubt() == {(1, 100): ("Sprint-42", 5), (2, 0): ("Top", None)}
    room.confirm_folder(ObjectID(1), 100, "Sprint-42", ObjectID(6), START)
    room.intend_folder(ObjectID(1), 200, "Sprint-43", START)
    room.intend_folder(ObjectID(3), 200, "Sprint-43", START)
    assert room.folders_in_doubt() == {
        (1, 200): ("Sprint-43", 5),
        (2, 0): ("Top", None),
        (3, 200): ("Sprint-43", None),
    }


def test_a_test_case_is_filed_once_in_each_sprint_wherever_people_put_it_afterwards(room: Sprints) -> None:
    """An intent says nothing and is tried again; done and refused are for good."""
    room.want([*placed(3, 2, 1), *placed(1, iteration=OTHER)], [])
    assert room.to_move(SPRINT.object_id) == [1, 2, 3]
    room.move(SPRINT.object_id, ids(1, 2, 3), "intended")
    assert room.to_move(SPRINT.object_id) == [1, 2, 3]
    room.move(SPRINT.object_id, ids(1), "done")
    room.move(SPRINT.object_id, ids(2), "refused", "no")
    assert room.to_move(SPRINT.object_id) == [3]
    assert room.to_move(OTHER.object_id) == [1]
    assert room._store.rows("SELECT test_case, state, reason FROM moves ORDER BY 1") == [
        (1, "done", ""), (2, "refused", "no"), (3, "intended", "")
    ]  # fmt: skip
    with pytest.raises(sqlite3.IntegrityError):
        room.move(SPRINT.object_id, ids(3), "refused")
