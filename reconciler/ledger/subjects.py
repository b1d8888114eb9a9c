"""Which tests count for which TestCases: the mapping, applied to everything that was ever read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.ledger.standing import restand_subject
from reconciler.mapping import Ignored, Mapped, Subject
from reconciler.model import FormattedID

if TYPE_CHECKING:
    from reconciler.ledger.store import Store
    from reconciler.mapping import Mapping

_FINGERPRINT = "mapping"
_SUBJECTS = "SELECT subject_id, key, name, ids, mapping, rule FROM subjects"
_SOME = "ORDER BY subject_id LIMIT 5000"  # so that memory does not grow with the number of tests


class Subjects:
    """What mapping looks at, and what it says of each; the review queue is what it says nothing of."""

    def __init__(self, store: Store, *, skips_count: bool) -> None:
        """`skips_count`: skipped tests have a verdict (`results.skipped`), so they are not ignored."""
        self._store = store
        self._skips_count = skips_count

    def apply(self, mapping: Mapping, *, resolvable: bool) -> None:
        """Bring every test in line with the mapping as it is now; `resolvable`: see `classify`.

        Cheap when neither the mapping changed nor new tests came. What was sent is never taken back; a test that
        gains a test case is pending again for that one.
        """
        with self._store.transaction():
            applied = self._store.value("SELECT value FROM cursors WHERE name = ?", [_FINGERPRINT])
            which = "mapping = 'new'" if applied == mapping.fingerprint else "TRUE"
            last = 0
            while some := self._store.rows(f"{_SUBJECTS} WHERE {which} AND subject_id > ? {_SOME}", [last]):
                for subject in some:
                    self._decide(mapping, subject)
                last = some[-1][0]
            if applied != mapping.fingerprint:
                self._store.run(
                    "INSERT INTO cursors VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                    [_FINGERPRINT, mapping.fingerprint],
                )
            self.classify(resolvable=resolvable)

    def classify(self, *, resolvable: bool = True) -> None:
        """Give every pending test that nothing is to be sent for the state it is in instead.

        Not `resolvable`: Rally was never asked for its test cases, so none can be said to be missing there.
        """
        with self._store.transaction():
            if not self._skips_count:
                self._store.run("UPDATE tests SET state = 'ignored' WHERE state = 'pending' AND outcome = 'skipped'")
            self._store.run(
                "UPDATE tests SET state = 'ignored' WHERE state = 'pending' AND EXISTS (SELECT 1 FROM subjects s"
                " WHERE s.subject_id = tests.subject_id AND s.mapping = 'ignored')"
            )
            self._store.run(
                "UPDATE tests SET state = 'held' WHERE state = 'pending' AND NOT EXISTS (SELECT 1 FROM targets g"
                " WHERE g.subject_id = tests.subject_id AND (g.object_id IS NOT NULL OR NOT ?))",
                [resolvable],
            )

    def _decide(self, mapping: Mapping, row: tuple[int, str, str, str, str, str]) -> None:
        subject_id, key, name, ids, before, rule_before = row
        said = mapping.of(Subject(key, name, tuple(FormattedID(i) for i in ids.split(",") if i)))
        match said:
            case Mapped(ids=wanted, by=rule):
                state = "mapped"
            case Ignored(by=rule):
                state, wanted = "ignored", ()
            case _:
                state, wanted, rule = "unmapped", (), ""
        had = {r[0] for r in self._store.rows("SELECT formatted_id FROM targets WHERE subject_id = ?", [subject_id])}
        if (state, rule) != (before, rule_before):
            self._store.run("UPDATE subjects SET mapping = ?, rule = ? WHERE subject_id = ?", [state, rule, subject_id])
        if had != set(wanted):
            self._store.run("DELETE FROM targets WHERE subject_id = ?", [subject_id])
            self._store.run_many(
                "INSERT INTO targets SELECT ?, ?, (SELECT object_id FROM test_cases WHERE formatted_id = ?)",
                ((subject_id, formatted_id, formatted_id) for formatted_id in dict.fromkeys(wanted)),
            )
        if before != "new" and (had != set(wanted) or state != before):
            self._reopen(subject_id, gained=bool(set(wanted) - had))

    def _reopen(self, subject_id: int, *, gained: bool) -> None:
        """Let a subject's tests be decided anew; those already sent only when there is a further test case for them.

        Else they stand as the test cases say that are left: the one that was refused may not be among them.
        """
        self._store.run(
            "UPDATE tests SET state = 'pending', was = CASE state WHEN 'held' THEN 'held' WHEN 'ignored' THEN 'ignored'"
            " ELSE 'remapped' END WHERE subject_id = :subject AND (state = 'held'"
            " OR (state = 'ignored' AND (outcome <> 'skipped' OR :skips_count))"
            " OR (:gained AND state IN ('sent', 'merged', 'refused')))",
            {"subject": subject_id, "skips_count": self._skips_count, "gained": gained},
        )
        restand_subject(self._store, subject_id)
