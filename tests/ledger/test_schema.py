"""Wrong steps fail in the database itself, whoever takes them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from reconciler.ledger.entries import Draft
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
        ids = ledger.entries.intend([Draft(building.add(f"TC{n}", n), BUILD) for n in (1, 2, 3)], START)
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


ATTACHMENTS = """
INSERT INTO outputs VALUES (1, x'00', 3, 7, x'01');
INSERT INTO files (file_id, job_id, kind, path, size_bytes, crc, note, metric)
    VALUES (1, 1000, 'member', 'a.png', 10, 7, '', 0);
INSERT INTO attachments (entry_id, name, size_bytes, crc, file_id, url, state, content_id, content_type, object_id,
    reason, intended_at, settled_at) VALUES
    (2, 'pending', 10, 7, 1, '', 'pending', NULL, NULL, NULL, '', NULL, NULL),
    (2, 'intended', 10, 7, 1, '', 'intended', 5, 'image/png', NULL, '', 'x', NULL),
    (2, 'done', 10, 7, 1, '', 'done', 5, 'image/png', 6, '', 'x', 'x'),
    (2, 'linked', 10, 7, 1, '', 'linked', NULL, NULL, NULL, '', NULL, 'x'),
    (2, 'missing', NULL, NULL, NULL, '', 'missing', NULL, NULL, NULL, 'gone', NULL, 'x'),
    (2, 'refused', 10, 7, 1, '', 'refused', NULL, NULL, NULL, 'no', NULL, 'x');
"""
"""One attachment of each state, named after it."""

WRONG_FOR_FILES = {
    "done becomes pending": "UPDATE attachments SET state = 'pending', object_id = NULL, settled_at = NULL"
    " WHERE name = 'done'",
    "done becomes another object": "UPDATE attachments SET object_id = 7 WHERE name = 'done'",
    "linked becomes pending": "UPDATE attachments SET state = 'pending', settled_at = NULL WHERE name = 'linked'",
    "missing gets another reason": "UPDATE attachments SET reason = 'other' WHERE name = 'missing'",
    "refused becomes done": "UPDATE attachments SET state = 'done', object_id = 1 WHERE name = 'refused'",
    "refused gets a content": "UPDATE attachments SET content_id = 1, content_type = 'x' WHERE name = 'refused'",
    "done without an object": "UPDATE attachments SET state = 'done', settled_at = 'x' WHERE name = 'intended'",
    "done without a time": "UPDATE attachments SET state = 'done', object_id = 1 WHERE name = 'intended'",
    "pending with an object": "UPDATE attachments SET object_id = 1 WHERE name = 'pending'",
    "pending with a time of settling": "UPDATE attachments SET settled_at = 'x' WHERE name = 'pending'",
    "intended without a content": "UPDATE attachments SET state = 'intended', intended_at = 'x' WHERE name = 'pending'",
    "intended loses its content": "UPDATE attachments SET content_id = NULL, content_type = NULL"
    " WHERE name = 'intended'",
    "intended without a time": "UPDATE attachments SET intended_at = NULL WHERE name = 'intended'",
    "a content without a type": "UPDATE attachments SET content_id = 1 WHERE name = 'pending'",
    "a type without a content": "UPDATE attachments SET content_type = 'x' WHERE name = 'pending'",
    "missing without a reason": "UPDATE attachments SET state = 'missing', settled_at = 'x' WHERE name = 'pending'",
    "refused without a reason": "UPDATE attachments SET state = 'refused', settled_at = 'x' WHERE name = 'pending'",
    "to be sent without a size": "UPDATE attachments SET size_bytes = NULL WHERE name = 'pending'",
    "to be sent without a checksum": "UPDATE attachments SET crc = NULL WHERE name = 'intended'",
    "an unknown state of a file": "UPDATE attachments SET state = 'lost' WHERE name = 'pending'",
    "half begun": "UPDATE attachments SET begun = 2 WHERE name = 'pending'",
    "of no result": "UPDATE attachments SET entry_id = 77 WHERE name = 'pending'",
    "of no file": "UPDATE attachments SET file_id = 77 WHERE name = 'pending'",
    "of no output": "UPDATE attachments SET output_id = 77 WHERE name = 'pending'",
    "a file taken from under its attachment": "DELETE FROM files",
    "an output twice": "INSERT INTO outputs VALUES (2, x'00', 3, 7, x'01')",
    "an output of less than nothing": "UPDATE outputs SET size_bytes = -1",
    "a member without a size": "UPDATE files SET size_bytes = NULL",
    "a member that is inline": "UPDATE files SET output_id = 1",
    "inline without bytes": "UPDATE files SET kind = 'inline'",
    "an address with a size": "UPDATE files SET kind = 'url'",
    "a file of an unknown kind": "UPDATE files SET kind = 'odd'",
    "a file of no job": "UPDATE files SET job_id = 77",
    "more evidence than there is": "UPDATE tests SET evidence = 8",
    "an unknown answer to keeping": "UPDATE jobs SET kept = 'perhaps'",
    "a tally of files below zero": "UPDATE attachment_tallies SET n = -1 WHERE state = 'done'",
    "an output of no test": "INSERT INTO test_outputs VALUES (77, 1)",
    "a file of no test": "INSERT INTO test_files VALUES (77, 1)",
}


@pytest.mark.parametrize("sql", WRONG_FOR_FILES.values(), ids=WRONG_FOR_FILES)
def test_a_wrong_step_of_a_file_fails_and_changes_nothing(ledger: Ledger, sql: str) -> None:
    """What is settled never changes, and every state has what it needs."""
    with ledger.store.transaction():
        for statement in ATTACHMENTS.split(";"):
            ledger.store.run(statement)
    tables = ("attachments", "attachment_tallies", "files", "outputs", "test_files", "test_outputs", "tests", "jobs")
    before = [ledger.store.rows(f"SELECT * FROM {table}") for table in tables]  # noqa: S608 - constants
    assert dict(before[1]) == {"pending": 1, "intended": 1, "done": 1, "linked": 1, "missing": 1, "refused": 1}
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
