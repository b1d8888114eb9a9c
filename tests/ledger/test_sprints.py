"""What Rally schedules in sprints, and their sets, are written down step by step; a wrong step changes nothing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from reconciler.ledger.ledger import in_memory
from reconciler.model import FormattedID, Iteration, ObjectID, WorkItem
from reconciler.sprints import Known, Membership, Scheduled
from tests import building
from tests.fakes import START
from tests.sprint_steps import OTHER, SECOND, SETS, SPRINT, WEEK, a_set, bring_members, bring_set, ids, placed, states

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from reconciler.ledger.sprints import Sprints

HOUR = timedelta(hours=1)


@pytest.fixture
def room() -> Iterator[Sprints]:
    """Know TC1 and two sprints."""
    ledger = in_memory()
    with closing(ledger.store):
        ledger.test_cases.replace([building.case("TC1")])
        ledger.sprints.store_iterations([SPRINT, OTHER], START)
        yield ledger.sprints


def _item(number: int, *, test_cases: int | None = 1, iteration: Iteration = SPRINT, at_s: float = 0) -> WorkItem:
    updated_at = START + at_s * SECOND
    return WorkItem(ObjectID(number), "defect", iteration.object_id, test_cases, updated_at)


def _audit(room: Sprints) -> list[tuple[str, ...]]:
    return room._store.rows("SELECT what, key, detail FROM audit ORDER BY rowid")


# --- iterations ------------------------------------------------------------------------------------------------------


def test_an_iteration_is_known_by_its_id_whatever_else_of_it_changes(room: Sprints) -> None:
    """Name, dates and even the project's name may change at any time; the last answer holds."""
    moved = replace(
        SPRINT, name="Sprint 43", starts_at=START, ends_at=START + SECOND, project_id=ObjectID(3), project_name="Shop"
    )
    room.want(placed(1), [])
    room.store_iterations([moved], START + SECOND)
    assert room._store.rows("SELECT * FROM iterations WHERE iteration_id = 100") == [
        (100, 3, "Shop", "Sprint 43", "2026-01-31T12:00:00.000000Z", "2026-01-31T12:00:01.000000Z",
         "2026-01-31T12:00:01.000000Z", None, 1)
    ]  # fmt: skip
    assert room.memberships(ObjectID(1)) == [
        Membership(ObjectID(100), START, START + SECOND, None, is_sure=False, is_hopeless=False)
    ]


def test_an_empty_answer_is_held_against_the_iterations_that_were_listed_lately_and_are_current(room: Sprints) -> None:
    """Listed at or after the instant asked about; the borders of a sprint belong to it."""
    assert room.seen_since(START, START) == 2
    assert room.seen_since(START + SECOND, START) == 0
    for now, current in [
        (SPRINT.starts_at, 2),
        (SPRINT.starts_at - SECOND, 0),
        (SPRINT.ends_at, 2),
        (SPRINT.ends_at + SECOND, 0),
    ]:
        assert room.seen_since(START, now) == current
    room.store_iterations([OTHER], START + SECOND)
    assert room.seen_since(START + SECOND, START) == 1


def _listed(room: Sprints) -> list[int]:
    return [row[0] for row in room._store.rows("SELECT iteration_id FROM iterations WHERE listed ORDER BY 1")]


@pytest.mark.parametrize(
    ("since", "until", "left"),
    [
        (START, START, [200]),
        (SPRINT.ends_at, START + WEEK, [200]),
        (SPRINT.ends_at + SECOND, START + 2 * WEEK, [100, 200]),
        (START - 2 * WEEK, SPRINT.starts_at, [200]),
        (START - 2 * WEEK, SPRINT.starts_at - SECOND, [100, 200]),
    ],
)
def test_a_sprint_that_is_not_where_it_was_has_no_results_until_it_is_listed_again(
    room: Sprints, since: datetime, until: datetime, left: list[int]
) -> None:
    """It was moved, deleted, or is out of scope; one that lies beyond what was asked for is none of these."""
    room.want(placed(1), [])
    room.unlist(ids(200, 300), since, until)
    assert _listed(room) == left
    assert [one.iteration for one in room.memberships(ObjectID(1))] == ([100] if 100 in left else [])
    assert room.seen_since(START, START) == len(left)
    room.unlist([], since, until)
    room.store_iterations([SPRINT], START)
    assert _listed(room) == ([100] if left == [200] else [100, 200])
    assert len(room.memberships(ObjectID(1))) == 1


# --- stories, defects and their test cases ---------------------------------------------------------------------------


def test_a_sprint_without_stories_is_held_against_those_it_had_lately(room: Sprints) -> None:
    """Only of the sprints asked about; an answer without stories leaves the note of when there were some."""
    both = ids(100, 200)
    assert room.had_items_since(both, START) == 0
    room.store_items([_item(1)], [], [], START)
    assert [room.had_items_since(asked, START) for asked in (both, ids(100), ids(200), [])] == [1, 1, 0, 0]
    room.store_items([], [], [], START + SECOND)
    assert room.had_items_since(both, START) == 1
    assert room.had_items_since(both, START + SECOND) == 0
    room.store_items([_item(1), _item(2, iteration=OTHER)], [], [], START + SECOND)
    assert room.had_items_since(both, START + SECOND) == 2


@pytest.mark.parametrize(
    ("item", "after", "asked"),
    [
        (_item(1), HOUR - SECOND, False),
        (_item(1), HOUR, True),
        (_item(1, test_cases=2), SECOND, True),
        (_item(1, test_cases=None), SECOND, True),
        (_item(1, at_s=1), SECOND, True),
        (_item(1, iteration=OTHER), SECOND, False),
        (_item(2), SECOND, True),
    ],
    ids=["known", "known for an hour", "other count", "no count", "changed", "in another sprint", "new"],
)
def test_only_stories_that_may_have_changed_are_asked_for_their_test_cases(
    room: Sprints,
    item: WorkItem,
    after: timedelta,
    asked: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """A quiet pass asks for none, however many there are."""
    room.store_items([_item(1)], [_item(1)], [(ObjectID(1), building.case("TC1"))], START)
    assert room.to_ask([item], START + after) == ([item] if asked else [])


def test_a_storys_test_cases_are_those_of_the_last_answer_about_it(room: Sprints) -> None:
    """One that was taken from it goes; what was not asked about stays; nothing is there twice."""
    first, second = _item(1), _item(2, iteration=OTHER)
    cases = {n: replace(building.case(f"TC{n}"), project_id=ObjectID(n)) for n in (1, 2, 3)}
    answer = [(ObjectID(1), cases[1]), (ObjectID(1), cases[1]), (ObjectID(1), cases[2]), (ObjectID(2), cases[3])]
    room.store_items([second, first], [second, first], answer, START)
    scheduled = [Scheduled(ObjectID(100), ObjectID(n), FormattedID(f"TC{n}"), ObjectID(n)) for n in (1, 2)]
    third = Scheduled(ObjectID(200), ObjectID(3), FormattedID("TC3"), ObjectID(3))
    assert room.scheduled() == [*scheduled, third]
    changed = replace(first, test_cases=1, updated_at=START + SECOND)
    room.store_items([changed, second], [changed], [(ObjectID(1), cases[2])], START + SECOND)
    assert room.scheduled() == [scheduled[1], third]
    assert room.to_ask([changed, second], START + HOUR) == [second]


def test_a_story_that_is_moved_takes_its_test_cases_along_and_one_moved_out_takes_them_away(room: Sprints) -> None:
    """Neither needs a question about test cases; members that were wanted stay wanted."""
    item, moved = _item(1), _item(1, iteration=OTHER)
    room.store_items([item], [item], [(ObjectID(1), building.case("TC1"))], START)
    room.want(placed(1), [])
    room.store_items([moved], [], [], START)
    assert [one.iteration for one in room.scheduled()] == [200]
    assert room.had_items_since(ids(200), START) == 1
    room.store_items([], [], [], START)
    assert room.scheduled() == []
    assert room._store.rows("SELECT * FROM work_item_cases") == []
    assert room.to_ask([item], START) == [item]
    assert room.missing_members(SPRINT.object_id) == ["TC1"]


# --- sets ------------------------------------------------------------------------------------------------------------

STEPS: dict[str, tuple[Callable[[Sprints], None], str, str]] = {
    "confirm": (lambda room: room.confirm_set(SPRINT.object_id, ObjectID(7)), "intended", "done"),
    "refuse": (lambda room: room.refuse_set(SPRINT.object_id, "no"), "intended", "refused"),
    "withdraw": (lambda room: room.withdraw_set(SPRINT.object_id, "not there", START), "intended", ""),
    "lose": (lambda room: room.lose_set(SPRINT.object_id, START), "done", "gone"),
}


def _known(state: str, object_id: ObjectID | None, *, old: bool = True, name: str = "Tests") -> Known:
    return Known(state, object_id, old, name)


def _told(room: Sprints) -> Known | None:
    return room.known_set(SPRINT.object_id, START)


@pytest.mark.parametrize("state", ["", *SETS])
@pytest.mark.parametrize(("step", "before", "after"), STEPS.values(), ids=STEPS)
def test_a_set_moves_only_from_the_state_that_a_step_is_for(
    room: Sprints, step: Callable[[Sprints], None], before: str, after: str, state: str
) -> None:
    """A late answer changes nothing that is settled; losing what was never there fails in the database."""
    bring_set(room, state)
    bring_set(room, "intended", OTHER)
    told = _told(room)
    if (state, after) in {("intended", "gone"), ("refused", "gone")}:
        with pytest.raises(sqlite3.IntegrityError):
            step(room)
        assert _told(room) == told
    else:
        step(room)
        now = _told(room)
        assert (now.state if now else "") == (after if state == before else state)
        assert now == told or state == before
    assert room.known_set(OTHER.object_id, START) == _known("intended", None)


@pytest.mark.parametrize("state", SETS)
def test_a_set_is_begun_once(room: Sprints, state: str) -> None:
    """A second intent would be a second set."""
    bring_set(room, state)
    with pytest.raises(sqlite3.IntegrityError):
        room.intend_set(SPRINT.object_id, "Tests", START)


def test_what_is_known_of_a_set_is_its_state_its_object_and_whether_an_intent_is_old(room: Sprints) -> None:
    """Begun at or before the instant asked about is old."""
    assert _told(room) is None
    room.intend_set(SPRINT.object_id, "Tests", START)
    assert room.known_set(SPRINT.object_id, START) == _known("intended", None)
    assert room.known_set(SPRINT.object_id, START - SECOND) == _known("intended", None, old=False)
    room.confirm_set(SPRINT.object_id, ObjectID(9))
    assert _told(room) == _known("done", ObjectID(9))
    room.lose_set(SPRINT.object_id, START)
    assert _told(room) == _known("gone", ObjectID(9))


@pytest.mark.parametrize("state", ["", *SETS])
def test_adopting_a_set_is_right_in_every_state_and_makes_all_members_wanted(room: Sprints, state: str) -> None:
    """Who is in it has to be looked up; another sprint's members are not touched."""
    bring_set(room, state)
    bring_members(room)
    room.want(placed(1, iteration=OTHER), [])
    room.confirm_members(OTHER.object_id, ids(1))
    told = _audit(room)
    room.adopt_set(SPRINT.object_id, a_set(7, "By hand"), START)
    assert _told(room) == _known("done", ObjectID(7), name="By hand")
    assert room._store.rows("SELECT name, adopted, reason FROM test_sets") == [("By hand", 1, "")]
    assert states(room) == ["wanted"] * 4 + ["done"]
    assert set(room._store.rows("SELECT intended_at, reason FROM members")) == {(None, "")}
    assert _audit(room) == [*told, ("adopted", "test set of iteration 100", "ObjectID 7")]


def test_the_audit_names_what_was_withdrawn_and_what_is_gone(room: Sprints) -> None:
    """Any state can be explained from the ledger alone."""
    room.intend_set(SPRINT.object_id, "Tests", START)
    room.withdraw_set(SPRINT.object_id, "Rally does not have it", START)
    bring_set(room, "gone")
    room.intend_folder(ObjectID(1), 100, "Sprint-42", START)
    room.withdraw_folder(ObjectID(1), 100, "no answer", START)
    assert _audit(room) == [
        ("withdrawn", "test set of iteration 100", "Rally does not have it"),
        ("gone", "test set of iteration 100", "Rally no longer has it there"),
        ("withdrawn", "folder of project 1, iteration 100", "no answer"),
    ]
    assert room._store.value("SELECT MIN(at) = MAX(at) FROM audit") == 1


def test_sets_in_doubt_are_those_that_were_begun_with_their_sprints_as_last_seen(room: Sprints) -> None:
    """Whether the sprint is over, or is no longer listed at all."""
    assert room.in_doubt() == []
    bring_set(room, "intended", OTHER)
    bring_set(room, "intended")
    assert room.in_doubt() == [SPRINT, OTHER]
    moved = replace(OTHER, name="Sprint 43", ends_at=START - SECOND)
    room.store_iterations([moved], START)
    room.confirm_set(SPRINT.object_id, ObjectID(9))
    assert room.in_doubt() == [moved]
    room.lose_set(SPRINT.object_id, START)
    assert room.in_doubt() == [moved]
    room.refuse_set(OTHER.object_id, "no")
    assert room.in_doubt() == []


def test_each_further_set_of_a_sprint_is_told_once(room: Sprints) -> None:
    """One that is deleted is forgotten; one that is scheduled in another sprint is told of that one."""
    first, second = a_set(7), a_set(8)
    assert room.store_doubles(SPRINT.object_id, iter([second, first])) == [second, first]
    assert room.store_doubles(SPRINT.object_id, [first, second]) == []
    assert room.store_doubles(OTHER.object_id, []) == []
    assert room.store_doubles(SPRINT.object_id, [first]) == []
    assert room.store_doubles(SPRINT.object_id, [first, second]) == [second]
    assert room.store_doubles(OTHER.object_id, [second]) == [second]
    assert room._store.rows("SELECT * FROM doubles") == [(7, 100, "Tests"), (8, 200, "Tests")]


# --- wrong steps -----------------------------------------------------------------------------------------------------

WRONG = {
    "a set in an unknown state": "UPDATE test_sets SET state = 'wanted', object_id = NULL",
    "a done set without an object": "UPDATE test_sets SET object_id = NULL WHERE state = 'done'",
    "a gone set without an object": "UPDATE test_sets SET state = 'gone', object_id = NULL WHERE state = 'done'",
    "an intended set with an object": "UPDATE test_sets SET object_id = 1 WHERE state = 'intended'",
    "an intended set that is gone": "UPDATE test_sets SET state = 'gone' WHERE state = 'intended'",
    "an intended set that is done": "UPDATE test_sets SET state = 'done' WHERE state = 'intended'",
    "a refused set without a reason": "UPDATE test_sets SET state = 'refused' WHERE state = 'intended'",
    "a refused set with an object": "UPDATE test_sets SET state = 'refused', reason = 'no' WHERE state = 'done'",
    "a set adopted twice over": "UPDATE test_sets SET adopted = 2",
    "a set without a name": "UPDATE test_sets SET name = NULL",
    "a set that nobody began": "UPDATE test_sets SET intended_at = NULL",
    "a second set of a sprint": "INSERT INTO test_sets (iteration_id, name, state, intended_at)"
    " VALUES (100, 'Tests', 'intended', '')",
    "a set of no sprint": "INSERT INTO test_sets (iteration_id, name, state, intended_at)"
    " VALUES (77, 'Tests', 'intended', '')",
    "a double of no sprint": "INSERT INTO doubles VALUES (1, 77, 'Tests')",
    "a member in an unknown state": "UPDATE members SET state = 'gone' WHERE state = 'wanted'",
    "an intended member without a time": "UPDATE members SET state = 'intended' WHERE state = 'wanted'",
    "a wanted member with a time": "UPDATE members SET intended_at = '' WHERE state = 'wanted'",
    "a done member with a time": "UPDATE members SET intended_at = '' WHERE state = 'done'",
    "a refused member without a reason": "UPDATE members SET state = 'refused' WHERE state = 'done'",
    "a member twice": "INSERT INTO members (iteration_id, test_case, formatted_id, state)"
    " VALUES (100, 1, 'TC1', 'wanted')",
    "a member of no sprint": "INSERT INTO members (iteration_id, test_case, formatted_id, state)"
    " VALUES (77, 1, 'TC1', 'wanted')",
    "an unplaced test case of no sprint": "INSERT INTO unplaced VALUES (77, 1, 'TC1', 'no')",
    "a folder in an unknown state": "UPDATE folders SET state = 'gone' WHERE state = 'intended'",
    "a done folder without an object": "UPDATE folders SET object_id = NULL WHERE state = 'done'",
    "an intended folder with an object": "UPDATE folders SET object_id = 1 WHERE state = 'intended'",
    "a refused folder without a reason": "UPDATE folders SET state = 'refused' WHERE state = 'intended'",
    "a refused folder with an object": "UPDATE folders SET state = 'refused', reason = 'no' WHERE state = 'done'",
    "a move in an unknown state": "UPDATE moves SET state = 'wanted'",
    "a refused move without a reason": "UPDATE moves SET state = 'refused'",
    "a move of no sprint": "INSERT INTO moves VALUES (77, 1, 'done', '')",
    "a story of no sprint": "INSERT INTO work_items VALUES (2, 77, 0, '', '')",
    "a test case of no story": "INSERT INTO work_item_cases VALUES (77, 1, 'TC1', 1)",
    "a sprint listed twice over": "UPDATE iterations SET listed = 2",
    "a sprint without an end": "UPDATE iterations SET ends_at = NULL",
    "a sprint taken from under its set": "DELETE FROM iterations WHERE iteration_id = 200",
    "a number where text belongs": "UPDATE test_sets SET object_id = 'x' WHERE state = 'done'",
}
TABLES = (
    "iterations", "work_items", "work_item_cases", "test_sets", "doubles", "members", "unplaced", "folders", "moves"
)  # fmt: skip


@pytest.mark.parametrize("sql", WRONG.values(), ids=WRONG)
def test_a_wrong_step_fails_in_the_database_whoever_takes_it(room: Sprints, sql: str) -> None:
    """By a CHECK, a key or a type; the transaction around it is undone."""
    bring_set(room, "done")
    bring_set(room, "intended", OTHER)
    bring_members(room)
    room.intend_folder(ObjectID(1), 0, "Automated sprints", START)
    room.confirm_folder(ObjectID(1), 100, "Sprint-42", ObjectID(5), START)
    room.move(SPRINT.object_id, ids(1), "intended")
    room.store_items([_item(1)], [_item(1)], [(ObjectID(1), building.case("TC1"))], START)
    before = [room._store.rows(f"SELECT * FROM {table}") for table in TABLES]  # noqa: S608 - constants
    with pytest.raises(sqlite3.IntegrityError), room._store.transaction():
        room._store.run(sql)
    assert before == [room._store.rows(f"SELECT * FROM {table}") for table in TABLES]  # noqa: S608 - constants
