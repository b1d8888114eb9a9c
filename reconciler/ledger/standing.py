"""How one test stands, as SQL over the row `t` of tests: what mapping and entries say of it, the least settled first.

A test counts for the test cases that it is mapped to now, or, when that is none, for those it was sent for; of each,
the newest revision that it took part in says how it stands, and the least settled of these is the test's state.

A result is outdated when a test that it was made of belongs to an attempt that was run again: what is left of it is
pending, for one further result; held, when Rally does not have the test case any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.ledger.store import Store

_AT_ONCE = 500

_COUNTS = """
FROM contributions c CROSS JOIN entries e USING (entry_id) WHERE c.test_id = t.test_id
AND NOT EXISTS (SELECT 1 FROM contributions c2 CROSS JOIN entries e2 USING (entry_id) WHERE c2.test_id = t.test_id
    AND e2.formatted_id = e.formatted_id AND e2.revision > e.revision)
AND (e.formatted_id IN (SELECT formatted_id FROM targets WHERE subject_id = t.subject_id)
    OR NOT EXISTS (SELECT 1 FROM targets WHERE subject_id = t.subject_id))
"""
_PENDING, _HELD, _REFUSED, _SENT, _MERGED = range(5)
_LEFT_OF_OUTDATED = f"""
CASE WHEN EXISTS (SELECT 1 FROM outdated o WHERE o.entry_id = e.entry_id)
    AND NOT EXISTS (SELECT 1 FROM entries e3 WHERE e3.pipeline_id = e.pipeline_id
        AND e3.formatted_id = e.formatted_id AND e3.revision > e.revision)
THEN (SELECT CASE WHEN g.object_id IS NULL THEN {_HELD} ELSE {_PENDING} END
    FROM targets g WHERE g.subject_id = t.subject_id AND g.formatted_id = e.formatted_id) END
"""
_BY_ENTRIES = f"""
(SELECT MIN(CASE e.state WHEN 'intended' THEN {_PENDING} ELSE COALESCE({_LEFT_OF_OUTDATED}, CASE
    WHEN e.state = 'refused' THEN {_REFUSED} WHEN c.decided THEN {_SENT} ELSE {_MERGED} END) END) {_COUNTS})
"""
_WAITS_FOR_CASE = f"""
CASE WHEN EXISTS (SELECT 1 FROM targets g WHERE g.subject_id = t.subject_id AND g.object_id IS NULL AND NOT EXISTS (
    SELECT 1 FROM contributions c CROSS JOIN entries e USING (entry_id)
    WHERE c.test_id = t.test_id AND e.formatted_id = g.formatted_id AND e.state = 'done')) THEN {_HELD} ELSE 9 END
"""
STANDING = f"""CASE
WHEN EXISTS (SELECT 1 FROM targets g WHERE g.subject_id = t.subject_id AND g.object_id IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM contributions c CROSS JOIN entries e USING (entry_id)
    WHERE c.test_id = t.test_id AND e.formatted_id = g.formatted_id)) THEN 'pending'
ELSE CASE MIN(COALESCE({_BY_ENTRIES}, 9), {_WAITS_FOR_CASE})
    WHEN {_PENDING} THEN 'pending' WHEN {_HELD} THEN 'held' WHEN {_REFUSED} THEN 'refused'
    WHEN {_SENT} THEN 'sent' WHEN {_MERGED} THEN 'merged' ELSE t.state END
END"""


def restand_entry(store: Store, entry_id: int) -> None:
    """Bring the tests of an entry in line with it, inside a transaction."""
    restand_entries(store, [entry_id])


def restand_entries(store: Store, entry_ids: Sequence[int]) -> None:
    """Bring the tests of entries in line with them, inside a transaction."""
    for start in range(0, len(entry_ids), _AT_ONCE):
        some = entry_ids[start : start + _AT_ONCE]
        store.run(
            f"UPDATE tests AS t SET state = {STANDING} WHERE t.state <> 'superseded'"
            f" AND t.test_id IN (SELECT test_id FROM contributions WHERE entry_id IN ({', '.join('?' * len(some))}))",
            some,
        )


def restand_subject(store: Store, subject_id: int) -> None:
    """Bring what was sent or refused of a subject in line with the test cases that it has now, inside a transaction."""
    store.run(
        f"UPDATE tests AS t SET state = {STANDING} WHERE t.subject_id = ? AND t.state IN ('sent', 'merged', 'refused')",
        [subject_id],
    )
