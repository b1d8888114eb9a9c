"""One job's reports on their way into the ledger: its tests, what they printed, and the files that belong to them."""

from __future__ import annotations

import zlib
from hashlib import sha256
from typing import TYPE_CHECKING

from reconciler import evidence
from reconciler.ledger.store import stamp
from reconciler.mapping import property_ids
from reconciler.model import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from reconciler.archive import Member
    from reconciler.evidence import Mention
    from reconciler.ledger.store import Store
    from reconciler.model import Job, TestRun

MESSAGE_CHARS = 2_000
DETAIL_CHARS = 1_000
"""Of a problem: the names in it are from a pipeline, where one may have 64 KB."""
SUBJECTS_REMEMBERED = 20_000
MENTIONS_OF_ONE_JOB = 20_000
INLINE_BYTES_OF_ONE_JOB = 50_000_000
OUTPUT, FILES, METRICS = 1, 2, 4
"""What `tests.evidence` is the sum of."""
_BAD = frozenset({Outcome.FAILED, Outcome.ERRORED})


class JobReading:
    """One job's reports on their way into the ledger; they stand when the `reading` block ends well."""

    def __init__(self, store: Store, job: Job, now: datetime, subjects: dict[tuple[str, str, str], int]) -> None:
        """Made by `Observations.reading`."""
        self._store = store
        self._job = job
        self._now = now
        self._subjects = subjects
        self.documents = 0
        self.mentions: list[tuple[int, str, Mention]] = []
        """Which test said in which report what of a file."""
        self.unheard_mentions = 0
        """How many more there were than are looked at."""
        self._inline_bytes = 0

    def document(self, source: str, name: str, runs: Iterable[TestRun]) -> int:
        """Write down one document; how many tests it had. When `runs` raises, nothing of the document stays."""
        before = len(self.mentions), self.unheard_mentions, self._inline_bytes
        try:
            with self._store.transaction():
                report = self._store.rows(
                    "INSERT INTO reports (job_id, source, name, tests) VALUES (?, ?, ?, 0) RETURNING report_id",
                    [self._job.id, source, name],
                )[0][0]
                first = int(self._store.value("SELECT COALESCE(MAX(test_id), 0) + 1 FROM tests"))
                counted = _Counted(runs)
                rows = (self._test_row(first + place, (report, name), run) for place, run in enumerate(counted))
                self._store.insert(_INTO_TESTS, rows)
                self._store.run("UPDATE reports SET tests = ? WHERE report_id = ?", [counted.count, report])
        except BaseException:
            self._subjects.clear()  # some may have been rolled back
            mentions, self.unheard_mentions, self._inline_bytes = before
            del self.mentions[mentions:]
            raise
        self.documents += 1
        return counted.count

    def problem(self, kind: str, detail: str) -> None:
        """Note something that was wrong with this job's reports or files."""
        self._store.run(
            "INSERT INTO problems (pipeline_id, job_id, kind, detail, seen_at) VALUES (?, ?, ?, ?, ?)",
            [self._job.pipeline_id, self._job.id, kind, shortened(detail), stamp(self._now)],
        )

    def close(self, state: str) -> None:
        """End with the job `read`, `empty` (it has no report) or `lost` (its report cannot be had)."""
        self._store.run("UPDATE jobs SET state = ? WHERE job_id = ?", [state, self._job.id])

    # --- files ---

    def names(self) -> Iterator[tuple[int, str]]:
        """Give every test of the job by its id and its name."""
        return iter(
            self._store.connection.execute(
                "SELECT test_id, s.name FROM tests JOIN subjects s USING (subject_id) WHERE job_id = ?", [self._job.id]
            )
        )

    def no_files(self, why: str) -> None:
        """Note why the job's archive cannot be had: its results say so."""
        self._store.run("UPDATE jobs SET files_note = ? WHERE job_id = ?", [why, self._job.id])

    def member(self, member: Member, note: str, tests: Iterable[int], *, metric: bool = False) -> None:
        """Note that a file of the archive belongs to these tests."""
        self._file(("member", member.path, member.size_bytes, member.crc, None, note, metric), tests)

    def missing(self, said: str, why: str, tests: Iterable[int]) -> None:
        """Note that these tests named a file that cannot be had."""
        self._file(("missing", said, None, None, None, why, False), tests)

    def url(self, address: str, tests: Iterable[int], *, metric: bool) -> None:
        """Note that these tests named an address."""
        self._file(("url", address, None, None, None, "", metric), tests)

    def _file(self, row: tuple[object, ...], tests: Iterable[int]) -> None:
        file_id = self._store.rows(
            "INSERT INTO files (job_id, kind, path, size_bytes, crc, output_id, note, metric)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING file_id",
            [self._job.id, *row],
        )[0][0]
        ids = list(tests)
        self._store.run_many("INSERT OR IGNORE INTO test_files VALUES (?, ?)", ((test, file_id) for test in ids))
        self._store.run_many(
            f"UPDATE tests SET evidence = evidence | {FILES} WHERE test_id = ?", ((test,) for test in ids)
        )

    # --- tests ---

    def _test_row(self, test_id: int, report: tuple[int, str], run: TestRun) -> tuple[object, ...]:
        return (
            test_id,
            report[0],
            self._job.id,
            self._job.pipeline_id,
            self._subject(run),
            run.ordinal,
            run.outcome.value,
            int(run.flaky),
            run.attempts,
            run.duration_s,
            "" if run.outcome is Outcome.PASSED else run.message[:MESSAGE_CHARS],
            self._evidence(test_id, report[1], run),
        )

    def _evidence(self, test_id: int, report: str, run: TestRun) -> int:
        """Keep what else there is of a test; what of it there is."""
        known = 0
        if run.outcome in _BAD and (text := evidence.output(run)):
            known |= OUTPUT
            output_id = keep_output(self._store, text.encode())
            self._store.run("INSERT INTO test_outputs VALUES (?, ?)", [test_id, output_id])
        if not (run.system_out or run.system_err or run.properties):
            return known
        for mention in evidence.mentions(run):
            if mention.kind == "data":
                self._inline(test_id, mention)
                known |= FILES
            elif len(self.mentions) < MENTIONS_OF_ONE_JOB:
                self.mentions.append((test_id, report, mention))
            else:
                self.unheard_mentions += 1
        values = evidence.metrics(run)
        self._store.run_many(
            "INSERT INTO test_metrics VALUES (?, ?, ?, ?)",
            ((test_id, place, *value) for place, value in enumerate(values)),
        )
        return known | (METRICS if values else 0)

    def _inline(self, test_id: int, mention: Mention) -> None:
        """Keep bytes that stand in the report itself; at once, for a report may bring many."""
        problem = mention.problem
        self._inline_bytes += len(mention.data)
        if not problem and self._inline_bytes > INLINE_BYTES_OF_ONE_JOB:
            problem = f"the job's reports bring more than {INLINE_BYTES_OF_ONE_JOB:,} bytes of files with them"
        if problem:
            self.missing(mention.name or mention.said, problem, [test_id])
            return
        output_id = keep_output(self._store, mention.data)
        crc = zlib.crc32(mention.data)
        self._file(("inline", mention.name, len(mention.data), crc, output_id, "", mention.metric), [test_id])

    def _subject(self, run: TestRun) -> int:
        identity = (run.key, run.name, ",".join(property_ids(run.properties)) if run.properties else "")
        subject = self._subjects.get(identity)
        if subject is None:
            subject = self._store.value("SELECT subject_id FROM subjects WHERE (key, name, ids) = (?, ?, ?)", identity)
            if subject is None:
                subject = self._store.rows(
                    "INSERT INTO subjects (key, name, ids) VALUES (?, ?, ?) RETURNING subject_id", identity
                )[0][0]
            if len(self._subjects) >= SUBJECTS_REMEMBERED:
                self._subjects.clear()
            self._subjects[identity] = subject
        return subject


def shortened(detail: str) -> str:
    """Keep the beginning and the end of a long detail: what it is about, and what is wrong with it."""
    half = DETAIL_CHARS // 2
    return detail if len(detail) <= DETAIL_CHARS else f"{detail[:half]}…{detail[-half:]}"


def keep_output(store: Store, data: bytes) -> int:
    """Keep these bytes, once however often they come, inside a transaction; their id."""
    digest = sha256(data).digest()
    known = store.value("SELECT output_id FROM outputs WHERE digest = ?", [digest])
    if known is not None:
        return int(known)
    row = [digest, len(data), zlib.crc32(data), zlib.compress(data, 1)]
    inserted = "INSERT INTO outputs (digest, size_bytes, crc, body) VALUES (?, ?, ?, ?) RETURNING output_id"
    return int(store.rows(inserted, row)[0][0])


class _Counted:
    """Counts what passes through, so that the count is the reader's and not the table's."""

    def __init__(self, runs: Iterable[TestRun]) -> None:
        self._runs = runs
        self.count = 0

    def __iter__(self) -> Iterator[TestRun]:
        for run in self._runs:
            self.count += 1
            yield run


_INTO_TESTS = (
    "INSERT INTO tests (test_id, report_id, job_id, pipeline_id, subject_id, ordinal, outcome, flaky, attempts,"
    " duration_s, message, evidence)"
)
