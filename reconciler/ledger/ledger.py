"""The rooms of the ledger under one roof, opened under the writer lock."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from reconciler.ledger import store as _store
from reconciler.ledger.attachments import Attachments
from reconciler.ledger.entries import Entries
from reconciler.ledger.files import Files
from reconciler.ledger.lock import writer_lock
from reconciler.ledger.observations import Observations
from reconciler.ledger.sprints import Sprints
from reconciler.ledger.store import stamp
from reconciler.ledger.subjects import Subjects
from reconciler.ledger.test_cases import TestCases

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from reconciler.ledger.store import Store

PASSES_KEPT = 10_000


class Ledger:
    """The rooms of the ledger over one connection, used by one thread."""

    def __init__(self, store: Store, *, skips_count: bool) -> None:
        """`skips_count`: skipped tests have a verdict, see `Subjects`."""
        self.store = store
        self.observations = Observations(store)
        self.test_cases = TestCases(store)
        self.subjects = Subjects(store, skips_count=skips_count)
        self.entries = Entries(store)
        self.files = Files(store)
        self.attachments = Attachments(store)
        self.sprints = Sprints(store)

    def begin_pass(self, kind: str, now: datetime) -> int:
        """Note that a pass begins; its id."""
        with self.store.transaction():
            return int(
                self.store.rows(
                    "INSERT INTO passes (kind, started_at) VALUES (?, ?) RETURNING pass_id", [kind, stamp(now)]
                )[0][0]
            )

    def end_pass(self, pass_id: int, trouble: Mapping[str, str], summary: Mapping[str, Any], now: datetime) -> None:
        """Note how a pass ended; `trouble` names each service that was used, with "" when it did all that was asked."""
        with self.store.transaction():
            self.store.run(
                "UPDATE passes SET ended_at = ?, trouble = ?, summary = ? WHERE pass_id = ?",
                [stamp(now), json.dumps(dict(trouble)), json.dumps(dict(summary)), pass_id],
            )
            self.store.run("DELETE FROM passes WHERE pass_id <= ?", [pass_id - PASSES_KEPT])
            for service, text in trouble.items():
                self._note(f"trouble/{service}", text)
                if not text:
                    self._note(f"success/{service}", stamp(now))

    def _note(self, name: str, value: str) -> None:
        self.store.run(
            "INSERT INTO cursors VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", [name, value]
        )


@contextmanager
def open_ledger(path: Path, *, skips_count: bool) -> Iterator[Ledger]:
    """Hold the writer lock and the ledger, created or brought up to date as need be.

    Raises:
        LedgerBusy: another process writes.
        LedgerUnusable: the file cannot be used as it is.
    """
    with writer_lock(path):
        opened = _store.open_for_writing(path)
        try:
            yield Ledger(opened, skips_count=skips_count)
        finally:
            opened.close()


def in_memory(*, skips_count: bool = False) -> Ledger:
    """Make a ledger that lives as long as the process."""
    return Ledger(_store.in_memory(), skips_count=skips_count)
