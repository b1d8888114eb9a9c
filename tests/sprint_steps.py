"""Sprints and short ways to bring what the ledger knows of them into each of its states."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from reconciler.model import FormattedID, Iteration, ObjectID, TestSet
from reconciler.sprints import Placed, Unplaced
from tests.fakes import START

if TYPE_CHECKING:
    from reconciler.ledger.sprints import Sprints

SECOND = timedelta(seconds=1)
WEEK = timedelta(days=7)
SPRINT = Iteration(ObjectID(100), 'Sprint "42" & (ü)', START - WEEK, START + WEEK, ObjectID(1), "Web Shop")
OTHER = Iteration(ObjectID(200), SPRINT.name, SPRINT.starts_at, SPRINT.ends_at, ObjectID(2), "Mobile")
SETS = ("intended", "done", "refused", "gone")
MEMBERS = ("wanted", "intended", "done", "refused")


def ids(*numbers: int) -> list[ObjectID]:
    """Give ObjectIDs."""
    return [ObjectID(number) for number in numbers]


def placed(*cases: int, iteration: Iteration = SPRINT) -> list[Placed]:
    """Place test cases in a sprint; 7 is TC7's ObjectID."""
    return [Placed(iteration.object_id, ObjectID(case), FormattedID(f"TC{case}")) for case in cases]


def unplaced(*cases: int, reason: str = "no such sprint") -> list[Unplaced]:
    """Tell that test cases have no place."""
    return [Unplaced(SPRINT.object_id, ObjectID(case), FormattedID(f"TC{case}"), reason) for case in cases]


def a_set(number: int, name: str = "Tests", iteration: Iteration = SPRINT) -> TestSet:
    """Make a set as Rally has it."""
    return TestSet(ObjectID(number), name, iteration.object_id, iteration.project_id, START)


def bring_set(room: Sprints, state: str, iteration: Iteration = SPRINT) -> None:
    """Bring a sprint's set into this state, as object 9 if it is one; "" is none."""
    number = iteration.object_id
    if state:
        room.intend_set(number, "Tests", START)
    if state in {"done", "gone"}:
        room.confirm_set(number, ObjectID(9))
    if state == "refused":
        room.refuse_set(number, "no")
    if state == "gone":
        room.lose_set(number, START)


def bring_members(room: Sprints) -> None:
    """Put test cases 1 to 4 of the sprint into the states of `MEMBERS`."""
    room.want(placed(1, 2, 3, 4), [])
    room.intend_members(SPRINT.object_id, ids(2), START)
    room.confirm_members(SPRINT.object_id, ids(3))
    room.refuse_members(SPRINT.object_id, ids(4), "no")
    assert states(room)[:4] == list(MEMBERS)


def states(room: Sprints) -> list[str]:
    """Tell the states of all members, by sprint and test case."""
    return [row[0] for row in room._store.rows("SELECT state FROM members ORDER BY iteration_id, test_case")]
