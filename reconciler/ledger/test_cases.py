"""Rally's TestCases in scope, kept so that a FormattedID costs no request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.ledger.standing import restand_subject
from reconciler.ledger.store import moment, stamp
from reconciler.model import FormattedID

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
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
        self._by_field: dict[str, tuple[FormattedID, ...]] | None = None

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
            answered, _ = self._take(cases, also="INSERT OR IGNORE INTO answered VALUES (?)")
            if answered:
                self._store.run("DELETE FROM test_cases WHERE object_id NOT IN (SELECT object_id FROM answered)")
                self._resolve()
        return answered

    def update(self, cases: Iterable[TestCase]) -> int:
        """Take TestCases that are new or changed; how many there were."""
        with self._store.transaction():
            taken, changed = self._take(cases)
            if changed:
                self._resolve(changed)
        return taken

    def forget(self, formatted_id: FormattedID) -> None:
        """Drop a TestCase that Rally turns out not to have any more."""
        with self._store.transaction():
            self._store.run("DELETE FROM test_cases WHERE formatted_id = ?", [formatted_id])
            self._resolve({formatted_id})

    def unknown(self) -> list[FormattedID]:
        """List the FormattedIDs that tests are mapped to and that are not known."""
        rows = self._store.rows("SELECT DISTINCT formatted_id FROM targets WHERE object_id IS NULL ORDER BY 1")
        return [FormattedID(row[0]) for row in rows]

    def by_field(self) -> dict[str, tuple[FormattedID, ...]]:
        """Index the TestCases by the value of `mapping.rally_field`; the same object until one of them changes."""
        if self._by_field is not None:
            return self._by_field
        index: dict[str, tuple[FormattedID, ...]] = {}
        for value, formatted_id in self._store.rows(
            "SELECT field_value, formatted_id FROM test_cases WHERE field_value <> '' ORDER BY object_id"
        ):
            index[value] = (*index.get(value, ()), FormattedID(formatted_id))
        self._by_field = index
        return index

    def names(self) -> list[tuple[FormattedID, str]]:
        """List FormattedID and name of every TestCase."""
        return [
            (FormattedID(i), name)
            for i, name in self._store.rows("SELECT formatted_id, name FROM test_cases ORDER BY object_id")
        ]

    def _take(self, cases: Iterable[TestCase], also: str = "") -> tuple[int, set[str]]:
        """Write down what differs from what is known; how many there were, and the FormattedIDs it is about."""
        taken, changed = 0, set[str]()
        for case in cases:
            row = _row(case)
            known = self._store.rows("SELECT * FROM test_cases WHERE object_id = ?", [case.object_id])
            if known != [row]:
                # A FormattedID that moved to another object (deleted and restored, say) belongs to the newer one.
                self._store.run(
                    "DELETE FROM test_cases WHERE formatted_id = ? AND object_id <> ?",
                    [case.formatted_id, case.object_id],
                )
                self._store.run(_UPSERT, row)
                changed |= {case.formatted_id, *(before[1] for before in known)}
            if also:
                self._store.run(also, [case.object_id])
            taken += 1
        return taken, changed

    def _resolve(self, of: Collection[str] | None = None) -> None:
        """Let the targets of these FormattedIDs, or all, follow the cache.

        A held test whose test case has appeared is pending again; one that was refused for a test case that is gone
        is held for it.
        """
        self._by_field = None
        follow = f"UPDATE targets SET object_id = {_KNOWN} WHERE object_id IS NOT {_KNOWN}"
        told = " RETURNING subject_id, object_id"
        if of is None:
            changed = self._store.rows(follow + told)
        else:
            changed = [row for one in of for row in self._store.rows(f"{follow} AND formatted_id = ?{told}", [one])]
        for subject, object_id in changed:
            if object_id is None:
                restand_subject(self._store, subject)
            else:
                self._store.run(
                    "UPDATE tests SET state = 'pending', was = 'held' WHERE subject_id = ? AND state = 'held'",
                    [subject],
                )


def _row(case: TestCase) -> tuple[object, ...]:
    return (
        case.object_id, case.formatted_id, case.name, case.project_id, stamp(case.updated_at), case.field_value,
    )  # fmt: skip
