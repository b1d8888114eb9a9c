"""The audit of the books finds what is lost, doubled or misplaced, however it came about."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from reconciler.ledger.ledger import in_memory
from reconciler.mapping import Row
from reconciler.order import Order
from reconciler.reconcile import reconcile
from reconciler.world import World
from tests import accounting, building
from tests.archives import packed
from tests.fakes import Clock, FakeGitLab, FakeRally
from tests.fates import silent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.ledger.store import Store

ROWS = [Row(2, "shop.grape", "-"), Row(3, "shop.lemon", "TC9")]


@pytest.fixture
def store() -> Iterator[Store]:
    """Keep a ledger with tests in every state but pending, results with files, and one that Rally refused."""
    clock = Clock()
    gitlab, rally, ledger = FakeGitLab(clock), FakeRally(clock), in_memory()
    with closing(ledger.store):
        for formatted_id in ("TC1", "TC2", "TC3"):
            rally.add_case(formatted_id)
        pipeline = gitlab.add_pipeline(gitlab.add_project())
        shots = packed([("banana_TC1/a.png", b"a"), ("banana_TC1/film.mp4", b"film")])
        gitlab.add_job(pipeline, "unit", "apple_TC1!", "banana_TC1", "cherry_TC2", "damson?", "elder", archive=shots)
        gitlab.add_job(pipeline, "more", "fig_TC3", "grape", "lemon")
        rally.refuses = lambda result: "Validation error: no" if result.key.formatted_id == "TC3" else ""
        settings = building.settings(building.rally_settings(max_concurrency=1))
        world = World(gitlab, rally, ledger, settings, threading.Event(), clock)
        assert reconcile(world, ROWS, Order("once")).exit_status == 0
        gitlab.add_job(pipeline, "unit", "apple_TC1", "banana_TC1!", "cherry_TC2", "damson?", "elder", archive=shots)
        rally.steps.append(silent(0))
        assert reconcile(world, ROWS, Order("once")).exit_status == 75
        clock.advance(400)
        assert reconcile(world, ROWS, Order("once")).exit_status == 0
        yield ledger.store


def test_honest_books_pass(store: Store) -> None:
    """Whatever the config says of skips, and with the strictest reading."""
    accounting.check(store)
    accounting.check(store, settled=True, skips_count=False)
    states = {state for (state,) in store.rows("SELECT DISTINCT state FROM tests")}
    assert states == {"sent", "merged", "held", "ignored", "superseded", "refused"}
    assert {state for (state,) in store.rows("SELECT DISTINCT state FROM attachments")} == {"done", "linked"}


@pytest.mark.parametrize(
    ("tampering", "said"),
    [
        ("DELETE FROM tests WHERE state = 'held'", "tests were read"),
        ("UPDATE reports SET tests = tests + 1 WHERE report_id = 1", "report 1 had 6 tests; there are 5"),
        ("UPDATE tests SET report_id = 3 WHERE report_id = 2", "report 2 had 3 tests; there are 0"),
        ("UPDATE tallies SET n = n + 1 WHERE state = 'sent'", "status tells"),
        ("UPDATE tallies SET n = n + IIF(state = 'sent', 1, -1) WHERE state IN ('sent', 'merged')", "status tells"),
        ("UPDATE tests SET state = 'sent' WHERE state = 'held'", "sent, and should be {'held'}"),
        ("UPDATE tests SET state = 'merged' WHERE state = 'sent'", "merged, and should be {'sent'}"),
        ("UPDATE tests SET state = 'held' WHERE state = 'refused'", "held, and should be {'refused'}"),
        ("UPDATE tests SET state = 'pending' WHERE state = 'sent'", "pending, and should be {'sent'}"),
        ("UPDATE tests SET state = 'held' WHERE outcome = 'skipped' AND state = 'ignored'", "should be {'ignored'}"),
        ("UPDATE tests SET state = 'ignored' WHERE state = 'sent'", "ignored, and should be {'sent'}"),
        ("UPDATE jobs SET superseded = 0", "superseded, and should be"),
        ("UPDATE jobs SET superseded = 1", "should be {'superseded'}"),
        ("DELETE FROM targets", "mapped to nothing"),
        ("UPDATE contributions SET decided = 0", "a result of ours that no test"),
        ("UPDATE contributions SET decided = 1", "more than one decided"),
        ("DELETE FROM contributions", "a result of ours that no test"),
        (
            "UPDATE entries SET state = 'intended', object_id = NULL, settled_at = NULL WHERE formatted_id = 'TC2'",
            "pending",
        ),
        ("UPDATE entries SET object_id = 7 WHERE state = 'done'", "one object in Rally for two results"),
        ("INSERT INTO outdated SELECT MAX(entry_id) FROM entries WHERE state = 'done'", "should be {'pending'}"),
        ("UPDATE entry_tallies SET n = n + 1 WHERE state = 'done'", "status tells of results"),
        ("UPDATE entry_tallies SET verdict = verdict || 's'", "counted by verdict"),
        ("UPDATE pipeline_tallies SET n = n + is_read", "status tells of pipelines"),
        (
            "INSERT INTO problems SELECT job_id, pipeline_id, job_id, '', '', '', 0 FROM jobs WHERE superseded = 1",
            "problems; there are 0",
        ),
        ("UPDATE attachment_tallies SET n = n + 1 WHERE state = 'done'", "status tells of files"),
        ("DELETE FROM attachments WHERE state = 'done'", "status tells of files"),
        ("UPDATE attachments SET object_id = 7 WHERE state = 'done'", "one object in Rally for two files"),
        (
            "UPDATE attachments SET entry_id = (SELECT entry_id FROM entries WHERE state = 'refused')",
            "on a result that",
        ),
        ("DELETE FROM test_files", "does not say so"),
        ("UPDATE jobs SET state = 'lost'", "although it is lost"),
        ("UPDATE tests SET subject_id = 99 WHERE state = 'superseded'", "refers to nothing"),
        ("DELETE FROM pipelines", "refers to nothing"),
    ],
)
def test_tampered_books_do_not(store: Store, tampering: str, said: str) -> None:
    """By hand, past every rule of the schema that would have caught it."""
    store.db.execute("PRAGMA foreign_keys = OFF")
    store.db.execute("PRAGMA ignore_check_constraints = ON")
    for (trigger,) in store.rows("SELECT name FROM sqlite_master WHERE type = 'trigger'"):
        store.db.execute(f"DROP TRIGGER {trigger}")
    store.run(tampering)
    with pytest.raises(AssertionError) as caught:
        accounting.check(store, settled=True, skips_count=False)
    assert said in str(caught.value)
