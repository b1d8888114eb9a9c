"""The rooms of the ledger under one roof, opened under the writer lock."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from reconciler.ledger import store as _store
from reconciler.ledger.attachments import Attachments
from reconciler.ledger.backfills import Backfills
from reconciler.ledger.entries import Entries
from reconciler.ledger.files import Files
from reconciler.ledger.lock import writer_lock
from reconciler.ledger.observations import Observations
from reconciler.ledger.sprints import Sprints
from reconciler.ledger.store import stamp
from reconciler.ledger.subjects import Subjects
from reconciler.ledger.test_cases import TestCases
from reconciler.mapping import Mapping as TestMapping

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime
    from pathlib import Path

    from reconciler.ledger.store import Store
    from reconciler.mapping import Row

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
        self.backfills = Backfills(store, self.observations)
        self._mapped: tuple[Sequence[Row], object, TestMapping] | None = None

    def mapping(self, rows: Sequence[Row]) -> TestMapping:
        """Give the mapping of these rows and of Rally's test cases as they are known.

        It is made anew only when one of them has changed. Rows that were given are not to be changed.
        """
        field = self.test_cases.by_field()
        if self._mapped is None or self._mapped[1] is not field or self._mapped[0] != rows:
            self._mapped = rows, field, TestMapping(rows, field)
        return self._mapped[2]

    def together(self) -> AbstractContextManager[None]:
        """Write several things in one transaction."""
        return self.store.transaction()

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
                self._note(f"pass/{service}", stamp(now))
                self._note(f"trouble/{service}", text)
                if not text:
                    self._note(f"success/{service}", stamp(now))

    def tell(self, word: Mapping[str, str]) -> None:
        """Leave word for other processes, `status` above all: texts by name, each in place of the one before."""
        with self.store.transaction():
            for name, value in word.items():
                self._note(name, value)

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
    with writer_lock(path), opened(path, skips_count=skips_count) as ledger:
        yield ledger


@contextmanager
def opened(path: Path, *, skips_count: bool) -> Iterator[Ledger]:
    """Open the ledger for whoever has its lock; as `open_ledger`."""
    store = _store.open_for_writing(path)
    try:
        yield Ledger(store, skips_count=skips_count)
    finally:
        store.close()


def in_memory(*, skips_count: bool = False) -> Ledger:
    """Make a ledger that lives as long as the process."""
    return Ledger(_store.in_memory(), skips_count=skips_count)
