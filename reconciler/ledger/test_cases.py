"""Rally's TestCases in scope, kept so that a FormattedID costs no request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.ledger.standing import restand_subject
from reconciler.ledger.store import moment, stamp
from reconciler.model import FormattedID

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from reconciler.ledger.store import Store
    from reconciler.model import TestCase

_UPSERT = (
    "INSERT INTO test_cases VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (object_id) DO UPDATE SET"
    " formatted_id = excluded.formatted_id, name = excluded.name, project_id = excluded.project_id,"
    " updated_at = excluded.updated_at, field_value = excluded.field_value"
)

_KNOWN = "(SELECT object_id FROM test_cases c WHERE c.formatted_id = targets.formatted_id)"


class TestCases:
    """The cache FormattedID → TestCase, and the targets that follow it."""

    def __init__(self, store: Store) -> None:
        """Write into this store."""
        self._store = store

    def count(self) -> int:
        """Count the TestCases that are known."""
        return int(self._store.value("SELECT COUNT(*) FROM test_cases"))

    def newest_update(self) -> datetime | None:
        """Tell the newest LastUpdateDate seen, by Rally's clock; None before the first refresh."""
        value = self._store.value("SELECT MAX(updated_at) FROM test_cases")
        return None if value is None else moment(value)

    def replace(self, cases: Iterable[TestCase]) -> int:
        """Take a whole answer in place of what was known; how many it had.

        An empty answer changes nothing: it is no proof that everything was deleted. When `cases` raises, nothing
        changes either.
        """
        with self._store.transaction():
            self._store.run("CREATE TEMP TABLE IF NOT EXISTS answered (object_id INTEGER PRIMARY KEY)")
            self._store.run("DELETE FROM answered")
            answered = self._take(cases, also="INSERT OR IGNORE INTO answered VALUES (?)")
            if answered:
                self._store.run("DELETE FROM test_cases WHERE object_id NOT IN (SELECT object_id FROM answered)")
                self._resolve()
        return answered

    def update(self, cases: Iterable[TestCase]) -> int:
        """Take TestCases that are new or changed; how many there were."""
        with self._store.transaction():
            taken = self._take(cases)
            if taken:
                self._resolve()
        return taken

    def forget(self, formatted_id: FormattedID) -> None:
        """Drop a TestCase that Rally turns out not to have any more."""
        with self._store.transaction():
            self._store.run("DELETE FROM test_cases WHERE formatted_id = ?", [formatted_id])
            self._resolve()

    def unknown(self) -> list[FormattedID]:
        """List the FormattedIDs that tests are mapped to and that are not known."""
        rows = self._store.rows("SELECT DISTINCT formatted_id FROM targets WHERE object_id IS NULL ORDER BY 1")
        return [FormattedID(row[0]) for row in rows]

    def by_field(self) -> dict[str, tuple[FormattedID, ...]]:
        """Index the TestCases by the value of `mapping.rally_field`."""
        index: dict[str, tuple[FormattedID, ...]] = {}
        for value, formatted_id in self._store.rows(
            "SELECT field_value, formatted_id FROM test_cases WHERE field_value <> '' ORDER BY object_id"
        ):
            index[value] = (*index.get(value, ()), FormattedID(formatted_id))
        return index

    def names(self) -> list[tuple[FormattedID, str]]:
        """List FormattedID and name of every TestCase."""
        return [
            (FormattedID(i), name)
            for i, name in self._store.rows("SELECT formatted_id, name FROM test_cases ORDER BY object_id")
        ]

    def _take(self, cases: Iterable[TestCase], also: str = "") -> int:
        taken = 0
        for case in cases:
            # A FormattedID that moved to another object (deleted and restored, say) belongs to the newer one.
            self._store.run(
                "DELETE FROM test_cases WHERE formatted_id = ? AND object_id <> ?", [case.formatted_id, case.object_id]
            )
            self._store.run(
                _UPSERT,
                [
                    case.object_id,
                    case.formatted_id,
                    case.name,
                    case.project_id,
                    stamp(case.updated_at),
                    case.field_value,
                ],
            )
            if also:
                self._store.run(also, [case.object_id])
            taken += 1
        return taken

    def _resolve(self) -> None:
        """Let the targets follow the cache: a held test whose test case has appeared is pending again.

        One that was refused for a test case that is gone is held for it.
        """
        changed = self._store.rows(
            f"UPDATE targets SET object_id = {_KNOWN} WHERE object_id IS NOT {_KNOWN} RETURNING subject_id, object_id"
        )
        for subject, object_id in changed:
            if object_id is None:
                restand_subject(self._store, subject)
            else:
                self._store.run(
                    "UPDATE tests SET state = 'pending', was = 'held' WHERE subject_id = ? AND state = 'held'",
                    [subject],
                )
