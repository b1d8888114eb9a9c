"""A sprint that was moved to another project, days without a sprint, and members whose request was given up late."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from reconciler.ledger import views
from reconciler.ledger.ledger import in_memory
from reconciler.model import ObjectID
from tests import building
from tests.fakes import START
from tests.sprint_steps import OTHER, SECOND, SETS, SPRINT, a_set, bring_set, ids, placed, states

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.ledger.sprints import Sprints

COUNTS = """
SELECT (SELECT COUNT(*) FROM test_sets WHERE iteration_id = ?1), (SELECT COUNT(*) FROM doubles WHERE iteration_id = ?1),
    (SELECT COUNT(*) FROM members WHERE iteration_id = ?1), (SELECT COUNT(*) FROM moves WHERE iteration_id = ?1)
"""
"""What a sprint has: sets, further sets of the name, members, and test cases that were filed."""
MOVED = replace(SPRINT, project_id=ObjectID(3), project_name="Shop")


@pytest.fixture
def room() -> Iterator[Sprints]:
    """Know TC1 and two sprints that each lack a member, know of another set of the name, and have filed one."""
    ledger = in_memory()
    with closing(ledger.store):
        ledger.test_cases.replace([building.case("TC1")])
        ledger.sprints.store_iterations([SPRINT, OTHER], START)
        for number, sprint in enumerate((SPRINT, OTHER)):
            ledger.sprints.want(placed(1, iteration=sprint), [])
            ledger.sprints.store_doubles(sprint.object_id, [a_set(70 + number, iteration=sprint)])
            ledger.sprints.move(sprint.object_id, ids(1), "done")
        yield ledger.sprints


def _counted(room: Sprints, sprint: int) -> list[int]:
    return list(room._store.rows(COUNTS, [sprint])[0])


@pytest.mark.parametrize("state", ["", *SETS])
def test_a_sprint_that_is_of_another_project_now_begins_anew_there(room: Sprints, state: str) -> None:
    """What it had stays in the old project, and the audit says so; a set in doubt is settled first."""
    bring_set(room, state)
    bring_set(room, "done", OTHER)
    told = room._store.value("SELECT COUNT(*) FROM audit")
    room.store_iterations([MOVED, OTHER], START + SECOND)
    left = state in {"done", "refused", "gone"}
    assert _counted(room, 100) == ([0, 0, 0, 0] if left else [int(bool(state)), 1, 1, 1])
    assert _counted(room, 200) == [1, 1, 1, 1]
    assert room._store.rows("SELECT at, what, key, detail FROM audit ORDER BY rowid")[told:] == (
        [("2026-01-31T12:00:01.000000Z", "left", "test set of iteration 100", "it is of project 3 now")] if left else []
    )
    room.store_iterations([MOVED], START + SECOND)
    assert room._store.value("SELECT COUNT(*) FROM audit") == told + left


@pytest.mark.parametrize(("days", "known"), [(-8, False), (-7, True), (0, True), (7, True), (8, False)])
def test_a_day_is_known_when_a_sprint_of_it_was_ever_seen(room: Sprints, days: int, *, known: bool) -> None:
    """Also the day on which it begins, and the one on which it ends."""
    midnight = START.replace(hour=0)
    assert room.knows(midnight + timedelta(days=days)) is known


def test_members_of_a_request_that_was_given_up_late_are_in_doubt_from_then_on(room: Sprints) -> None:
    """Of one sprint, and only those that were begun."""
    room.want(placed(2), [])
    room.intend_members(SPRINT.object_id, ids(1), START)
    room.intend_members(OTHER.object_id, ids(1), START)
    room.unheard_members(SPRINT.object_id, ids(1, 2), START + SECOND)
    assert room.open_members(SPRINT.object_id) == [(1, START + SECOND), (2, None)]
    assert room.open_members(OTHER.object_id) == [(1, START)]
    assert states(room) == ["intended", "wanted", "intended"]


def test_left_counts_moves_in_doubt(room: Sprints) -> None:
    """Each is done again."""
    before = views.sprints_left(room._store)
    room.move(SPRINT.object_id, ids(1), "intended")
    assert views.sprints_left(room._store) == before + 1
