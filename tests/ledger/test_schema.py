"""Wrong steps fail in the database itself, whoever takes them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from reconciler.ledger.ledger import Ledger, in_memory
from reconciler.model import ObjectID
from tests import building
from tests.building import BUILD
from tests.fakes import START

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """Hold three intents of one pipeline with one test each: 1 is open, 2 is done, 3 is refused."""
    ledger = in_memory()
    with closing(ledger.store):
        ledger.observations.remember_projects("project qa/web-shop", [building.PROJECT])
        pipeline = building.pipeline()
        job = building.job(of=pipeline)
        ledger.observations.store_pipelines([pipeline])
        ledger.observations.store_jobs(pipeline, [job])
        building.read_job(ledger, job, [building.run(f"t_TC{n}") for n in (1, 2, 3)])
        ids = ledger.entries.intend([(building.add(f"TC{n}", n), BUILD, ()) for n in (1, 2, 3)], START)
        assert ids == [1, 2, 3]
        ledger.entries.confirm([(2, ObjectID(9002))], START)
        ledger.entries.refuse([(3, "no")], START)
        yield ledger


WRONG = {
    "done becomes intended": "UPDATE entries SET state = 'intended', object_id = NULL, settled_at = NULL"
    " WHERE entry_id = 2",
    "done becomes refused": "UPDATE entries SET state = 'refused', object_id = NULL, reason = 'no' WHERE entry_id = 2",
    "done becomes another object": "UPDATE entries SET object_id = 1 WHERE entry_id = 2",
    "refused becomes done": "UPDATE entries SET state = 'done', object_id = 1, reason = NULL WHERE entry_id = 3",
    "refused gets another reason": "UPDATE entries SET reason = 'other' WHERE entry_id = 3",
    "done without an object": "UPDATE entries SET state = 'done', settled_at = 'x' WHERE entry_id = 1",
    "done without a time": "UPDATE entries SET state = 'done', object_id = 1 WHERE entry_id = 1",
    "refused without a reason": "UPDATE entries SET state = 'refused', settled_at = 'x' WHERE entry_id = 1",
    "refused with an object": "UPDATE entries SET state = 'refused', settled_at = 'x', reason = 'no', object_id = 1"
    " WHERE entry_id = 1",
    "intended with an object": "UPDATE entries SET object_id = 1 WHERE entry_id = 1",
    "intended with a reason": "UPDATE entries SET reason = 'no' WHERE entry_id = 1",
    "intended and adopted": "UPDATE entries SET adopted = 1 WHERE entry_id = 1",
    "an unknown state": "UPDATE entries SET state = 'lost' WHERE entry_id = 1",
    "revision 0": "UPDATE entries SET revision = 0 WHERE entry_id = 1",
    "one key twice": "UPDATE entries SET formatted_id = 'TC2' WHERE entry_id = 1",
    "a number where text belongs": "UPDATE entries SET duration_s = 'x' WHERE entry_id = 1",
    "a test in an unknown state": "UPDATE tests SET state = 'gone'",
    "a test of an unknown origin": "UPDATE tests SET was = 'new'",
    "an unknown outcome": "UPDATE tests SET outcome = 'broken'",
    "a negative duration": "UPDATE tests SET duration_s = -0.001",
    "no attempt": "UPDATE tests SET attempts = 0",
    "a report from nowhere": "UPDATE reports SET source = 'mail'",
    "fewer tests than none": "UPDATE reports SET tests = -1",
    "a tally below zero": "UPDATE tallies SET n = -1 WHERE state = 'held'",
    "an unknown job state": "UPDATE jobs SET state = 'half'",
    "an unknown mapping": "UPDATE subjects SET mapping = 'perhaps'",
    "a FormattedID twice": "INSERT INTO test_cases VALUES (1, 'TC1', '', 1, '', ''), (2, 'TC1', '', 1, '', '')",
    "a contribution to no entry": "INSERT INTO contributions VALUES (77, 1, 0)",
    "a contribution of no test": "INSERT INTO contributions VALUES (1, 77, 0)",
    "a test taken from under its result": "DELETE FROM tests WHERE test_id = 2",
    "a pipeline of no project": "UPDATE pipelines SET project_id = 77",
}


@pytest.mark.parametrize("sql", WRONG.values(), ids=WRONG)
def test_a_wrong_step_fails_and_changes_nothing(ledger: Ledger, sql: str) -> None:
    """By a CHECK, a trigger, a key or a type; the transaction around it is undone."""
    tables = ("entries", "tests", "reports", "tallies", "jobs", "subjects", "test_cases", "contributions", "pipelines")
    before = [ledger.store.rows(f"SELECT * FROM {table}") for table in tables]  # noqa: S608 - constants
    with pytest.raises(sqlite3.IntegrityError), ledger.store.transaction():
        ledger.store.run(sql)
    assert before == [ledger.store.rows(f"SELECT * FROM {table}") for table in tables]  # noqa: S608 - constants


@pytest.mark.parametrize("entry_id", [2, 3, 77])
def test_only_an_intent_can_be_settled(ledger: Ledger, entry_id: int) -> None:
    """Settling what is settled, or was never begun, is a bug and stops at once."""
    with pytest.raises(AssertionError, match="is not intended"):
        ledger.entries.confirm([(1, ObjectID(9001)), (entry_id, ObjectID(9003))], START)
    with pytest.raises(AssertionError, match="is not intended"):
        ledger.entries.refuse([(entry_id, "no")], START)
    assert [intent.entry_id for intent in ledger.entries.open_intents()] == [1]


def test_withdrawing_what_is_settled_does_nothing(ledger: Ledger) -> None:
    """A late answer has been faster; only the open intent goes, and the audit names it."""
    ledger.entries.withdraw([1, 2, 3, 77], "Rally does not have it", START)
    assert ledger.store.rows("SELECT entry_id, state FROM entries ORDER BY 1") == [(2, "done"), (3, "refused")]
    assert ledger.store.rows("SELECT what, key, detail FROM audit") == [
        ("withdrawn", "100/TC1/1", "Rally does not have it")
    ]
    assert ledger.store.rows("SELECT entry_id FROM contributions ORDER BY 1") == [(2,), (3,)]
