"""What is known of tests beside their outcome: what they printed, and their files."""

from __future__ import annotations

import zlib
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from reconciler.evidence import File, Output, TestEvidence
from reconciler.ledger.job_reading import FILES, METRICS, OUTPUT
from reconciler.ledger.store import moment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.ledger.store import Store

_AT_ONCE = 500
_NOTHING = TestEvidence(None, ())


class Files:
    """Reads only; `JobReading` writes."""

    def __init__(self, store: Store) -> None:
        """Read from this store."""
        self._store = store

    def evidence_of(self, tests: Sequence[int]) -> list[TestEvidence]:
        """Fetch the output and the files of these tests, in the order given; most tests have neither."""
        flags = dict(self._of("SELECT test_id, evidence FROM tests WHERE evidence <> 0 AND test_id IN", tests))
        if not flags:
            return [_NOTHING] * len(tests)
        outputs = self._outputs([test for test in tests if flags.get(test, 0) & OUTPUT])
        files = self._files([test for test in tests if flags.get(test, 0) & FILES])
        return [TestEvidence(outputs.get(test), tuple(files.get(test, ()))) for test in tests]

    def metrics_of(self, tests: Sequence[int]) -> list[tuple[str, str, str]]:
        """Fetch the performance metrics of these tests: test, name and value."""
        wanted = "SELECT test_id FROM tests WHERE evidence & ? AND test_id IN"
        having = [row[0] for row in self._of(wanted, tests, METRICS)]
        if not having:
            return []
        rows = self._of(_METRICS, having)
        places = {test: place for place, test in enumerate(tests)}
        rows.sort(key=lambda row: (places[row[0]], row[1]))
        return [(key, name, value) for _, _, key, name, value in rows]

    def body(self, output_id: int) -> bytes:
        """Fetch a text or other bytes of our own."""
        return zlib.decompress(self._store.value("SELECT body FROM outputs WHERE output_id = ?", [output_id]))

    def _outputs(self, tests: Sequence[int]) -> dict[int, Output]:
        return {test: Output(*row) for test, *row in self._of(_OUTPUTS, tests)}

    def _files(self, tests: Sequence[int]) -> dict[int, list[File]]:
        found: dict[int, list[File]] = defaultdict(list)
        for test, file_id, kind, path, size, crc, note, metric, *job in self._of(_FILES, tests):
            name, url, expires_at = job
            expiry = None if expires_at is None else moment(expires_at)
            found[test].append(File(file_id, kind, path, size, crc, note, bool(metric), name, url, expiry))
        for files in found.values():
            files.sort(key=lambda file: file.file_id)
        return found

    def _of(self, sql: str, tests: Sequence[int], *more: object) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        for start in range(0, len(tests), _AT_ONCE):
            some = tests[start : start + _AT_ONCE]
            rows += self._store.rows(f"{sql} ({', '.join('?' * len(some))})", [*more, *some])
        return rows


_OUTPUTS = """
SELECT t.test_id, o.output_id, o.size_bytes, o.crc, j.name, j.web_url
FROM test_outputs x JOIN outputs o USING (output_id) JOIN tests t USING (test_id) JOIN jobs j USING (job_id)
WHERE x.test_id IN
"""

_FILES = """
SELECT x.test_id, f.file_id, f.kind, f.path, f.size_bytes, f.crc, f.note, f.metric, j.name, j.web_url,
    CASE j.kept WHEN 'yes' THEN NULL ELSE j.expires_at END
FROM test_files x JOIN files f USING (file_id) JOIN jobs j USING (job_id) WHERE x.test_id IN
"""

_METRICS = """
SELECT m.test_id, m.position, s.key, m.name, m.value
FROM test_metrics m JOIN tests t USING (test_id) JOIN subjects s USING (subject_id) WHERE m.test_id IN
"""
