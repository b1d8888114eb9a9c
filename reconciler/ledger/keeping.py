"""How long the ledger keeps what it knows, and the copies of it: retention, and a whole copy for each day."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from reconciler.errors import LedgerUnusable
from reconciler.ledger.store import moment, stamp
from reconciler.ledger.tallies import READY

if TYPE_CHECKING:
    import threading
    from collections.abc import Collection, Iterable, Iterator
    from datetime import datetime
    from pathlib import Path

    from reconciler.ledger.ledger import Ledger
    from reconciler.ledger.store import Store

TESTS_AT_ONCE = 2_000
"""About so many tests go in one transaction."""
LISTED_AGAIN = timedelta(days=1)
"""How far behind the newest update of a project a poll may look again: what lies there would be read again, too."""
COPIES_KEPT = 7
TEST_CASES_AT_ONCE = 200
_AUDIT_ROWS_AT_ONCE = 5_000


@dataclass(frozen=True, slots=True)
class Retired:
    """What was let go of."""

    pipelines: int
    tests: int
    held: int
    """Of the tests: those that were held or ignored, of which Rally never had a result."""


def retire(
    ledger: Ledger, before: datetime, stop: threading.Event, *, listed_again: timedelta = LISTED_AGAIN
) -> Retired:
    """Let go of pipelines that last changed before this, with all that hangs on them, and of sprints that ended before.

    Only of what is wholly settled: read, sent, attached, nothing in doubt and nothing to be made again. Rally keeps
    its results, and whoever reads such a pipeline again finds them there by their keys. The newest pipelines of each
    project stay, however old: its polls list them again.

    Goes in small transactions, after each of which the books are right, and ends early when `stop` is set; the next
    call goes on.

    Raises:
        LedgerUnusable: SQLite could not write.
    """
    books = _Books(ledger.store)
    try:
        for some in books.portions(_settled(ledger.store, before, listed_again)):
            if stop.is_set():
                break
            books.remove(some)
    finally:
        ledger.observations.forget_subjects()
    _retire_sprints(ledger, stamp(before), stop)
    _forget_audit(ledger.store, stamp(before), stop)
    gone = books.gone
    return Retired(books.pipelines, gone.total(), gone["held"] + gone["ignored"])


def _settled(store: Store, before: datetime, listed_again: timedelta) -> list[int]:
    """List the pipelines that may go, oldest first."""
    seen = store.rows("SELECT name, value FROM cursors WHERE name LIKE 'pipelines/%'")
    listed = {name: stamp(moment(newest) - listed_again) for name, newest in seen}
    return [
        pipeline
        for pipeline, updated_at, cursor in store.rows(_SETTLED, [stamp(before)])
        if updated_at < listed.get(cursor, updated_at + "~")
    ]


# `collect` names its cursors so. What is in doubt, ordered or pending is little: it is not looked for in each pipeline.
_SETTLED = f"""
SELECT pipeline_id, updated_at,
    'pipelines/' || project_id || '/' || IIF(source = 'parent_pipeline', 'children', 'main')
FROM pipelines p
WHERE updated_at < ? AND NOT (status IN ({READY}) AND read_update IS NOT updated_at)
AND NOT EXISTS (SELECT 1 FROM tests t WHERE t.pipeline_id = p.pipeline_id AND t.state = 'pending')
AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.pipeline_id = p.pipeline_id AND j.state = 'open' AND j.superseded = 0)
AND pipeline_id NOT IN (
    SELECT pipeline_id FROM entries WHERE state = 'intended'
    UNION SELECT e.pipeline_id FROM remakes CROSS JOIN entries e USING (entry_id)
    UNION SELECT e.pipeline_id FROM attachments a CROSS JOIN entries e USING (entry_id)
        WHERE a.state IN ('pending', 'intended')
    UNION SELECT pipeline_id FROM backlog)
ORDER BY updated_at, pipeline_id
"""


@dataclass(slots=True)
class _Books:
    """Takes pipelines out of the books."""

    store: Store
    pipelines: int = 0
    gone: Counter[str] = field(default_factory=Counter)
    """Tests that were removed, by state."""

    def portions(self, pipelines: Iterable[int]) -> Iterator[list[int]]:
        """Take pipelines together for one transaction; a large one comes alone."""
        some: list[int] = []
        tests = 0
        for pipeline in pipelines:
            number = self._count(pipeline)
            if some and tests + number > TESTS_AT_ONCE:
                yield some
                some, tests = [], 0
            some.append(pipeline)
            tests += number
        if some:
            yield some

    def remove(self, pipelines: Collection[int]) -> None:
        """Remove pipelines whole, in one transaction; a large one is made small first."""
        for pipeline in pipelines:
            if self._count(pipeline) > TESTS_AT_ONCE:
                self._remove_bystanders(pipeline)
                self._remove_results(pipeline)
        with self.store.transaction():
            for pipeline in pipelines:
                self._remove(pipeline)
        self.pipelines += len(pipelines)

    def _remove(self, pipeline: int) -> None:
        entries = self._ids("SELECT entry_id FROM entries WHERE pipeline_id = ?", pipeline)
        self._delete(entries, self._ids("SELECT test_id FROM tests WHERE pipeline_id = ?", pipeline))
        outputs = self._ids("SELECT output_id FROM files JOIN jobs USING (job_id) WHERE pipeline_id = ?", pipeline)
        self.store.run("DELETE FROM pipelines WHERE pipeline_id = ?", [pipeline])
        self._drop_outputs(outputs)

    def _count(self, pipeline: int) -> int:
        return int(self.store.value("SELECT COUNT(*) FROM tests WHERE pipeline_id = ?", [pipeline]))

    def _ids(self, sql: str, about: object) -> set[int]:
        return {row[0] for row in self.store.rows(sql, [about])}

    # --- a large pipeline, part by part ---

    def _remove_bystanders(self, pipeline: int) -> None:
        """Remove, some at a time, the tests that decided no result: each result keeps the one that it stands on."""
        last = 0
        while some := self.store.rows(_NEXT_TESTS, [pipeline, last, TESTS_AT_ONCE]):
            with self.store.transaction():
                self._delete(set(), {test for test, decides in some if not decides})
            last = some[-1][0]

    def _remove_results(self, pipeline: int) -> None:
        """Remove, some at a time, results together with the tests that they are made of."""
        while some := self.store.rows(_NEXT_TEST_CASES, [pipeline, TEST_CASES_AT_ONCE]):
            with self.store.transaction():
                self._delete(*self._knot(pipeline, {row[0] for row in some}))

    def _knot(self, pipeline: int, test_cases: set[str]) -> tuple[set[int], set[int]]:
        """Find all results of these test cases, with their tests, and of those that these tests decided as well."""
        while True:
            rows = self.store.rows(_RESULTS_OF, [pipeline, json.dumps([*test_cases])])
            entries = {row[0] for row in rows}
            tests = self._ids(f"SELECT test_id FROM contributions WHERE entry_id IN {_THESE}", json.dumps([*entries]))
            decided = {row[0] for row in self.store.rows(_DECIDED_BY, [json.dumps([*tests])])}
            if decided <= test_cases:
                return entries, tests
            test_cases |= decided

    # --- rows ---

    def _delete(self, entries: set[int], tests: set[int]) -> None:
        """Delete results and tests, and what nothing refers to any more then; their reports have so many fewer."""
        store, of_entries, of_tests = self.store, json.dumps([*entries]), json.dumps([*tests])
        outputs = self._ids(f"SELECT output_id FROM attachments WHERE entry_id IN {_THESE}", of_entries)
        outputs |= self._ids(f"SELECT output_id FROM test_outputs WHERE test_id IN {_THESE}", of_tests)
        subjects = store.rows(f"SELECT DISTINCT subject_id FROM tests WHERE test_id IN {_THESE}", [of_tests])
        fewer = store.rows(f"SELECT COUNT(*), report_id FROM tests WHERE test_id IN {_THESE} GROUP BY 2", [of_tests])
        states = store.rows(f"SELECT state, COUNT(*) FROM tests WHERE test_id IN {_THESE} GROUP BY 1", [of_tests])
        for table in ("attachments", "contributions", "entries"):
            store.run(f"DELETE FROM {table} WHERE entry_id IN {_THESE}", [of_entries])
        for table in ("contributions", "tests"):
            store.run(f"DELETE FROM {table} WHERE test_id IN {_THESE}", [of_tests])
        store.run_many("UPDATE reports SET tests = tests - ? WHERE report_id = ?", fewer)
        store.run_many(_DROP_SUBJECT, subjects)
        self._drop_outputs(outputs)
        self.gone.update(dict(states))

    def _drop_outputs(self, outputs: Iterable[int]) -> None:
        self.store.run_many(_DROP_OUTPUT, ([output] for output in outputs))


_THESE = "(SELECT value FROM json_each(?))"

_NEXT_TESTS = """
SELECT test_id, EXISTS (SELECT 1 FROM contributions c WHERE c.test_id = t.test_id AND c.decided)
FROM tests t WHERE pipeline_id = ? AND test_id > ? ORDER BY test_id LIMIT ?
"""
_NEXT_TEST_CASES = """
SELECT DISTINCT formatted_id FROM entries WHERE pipeline_id = ? ORDER BY formatted_id LIMIT ?
"""
_RESULTS_OF = f"SELECT entry_id FROM entries WHERE pipeline_id = ? AND formatted_id IN {_THESE}"
_DECIDED_BY = f"""
SELECT DISTINCT e.formatted_id FROM contributions c CROSS JOIN entries e USING (entry_id)
WHERE c.test_id IN {_THESE} AND c.decided
"""
_DROP_SUBJECT = """
DELETE FROM subjects WHERE subject_id = ?1 AND NOT EXISTS (SELECT 1 FROM tests WHERE subject_id = ?1)
"""
_DROP_OUTPUT = """
DELETE FROM outputs WHERE output_id = ?1
AND NOT EXISTS (SELECT 1 FROM test_outputs WHERE output_id = ?1)
AND NOT EXISTS (SELECT 1 FROM files WHERE output_id = ?1)
AND NOT EXISTS (SELECT 1 FROM attachments WHERE output_id = ?1)
"""


# --- sprints, and notes of what was done -----------------------------------------------------------------------------


def _retire_sprints(ledger: Ledger, before: str, stop: threading.Event) -> None:
    """Let go of sprints that ended before this, unless something of them is open or a pending test may need them."""
    store, days = ledger.store, [stamp(day) for day in ledger.entries.days_due()]
    for iteration, starts_at, ends_at in store.rows(_ENDED, [before]):
        if stop.is_set():
            return
        if any(starts_at[:10] <= day[:10] <= ends_at[:10] for day in days):
            continue
        with store.transaction():
            for table in _OF_SPRINTS:
                store.run(f"DELETE FROM {table} WHERE iteration_id = ?", [iteration])


_OF_SPRINTS = ("work_items", "doubles", "members", "unplaced", "moves", "folders", "test_sets", "iterations")

_ENDED = """
SELECT iteration_id, starts_at, ends_at FROM iterations WHERE ends_at < ? AND iteration_id NOT IN (
    SELECT iteration_id FROM test_sets WHERE state = 'intended'
    UNION SELECT iteration_id FROM folders WHERE state = 'intended'
    UNION SELECT iteration_id FROM moves WHERE state = 'intended'
    UNION SELECT iteration_id FROM members m JOIN test_sets s USING (iteration_id)
        WHERE m.state IN ('wanted', 'intended') AND s.state = 'done')
"""


def _forget_audit(store: Store, before: str, stop: threading.Event) -> None:
    some = f"SELECT rowid FROM audit WHERE at < ? LIMIT {_AUDIT_ROWS_AT_ONCE}"
    gone = True
    while gone and not stop.is_set():
        with store.transaction():
            gone = store.run(f"DELETE FROM audit WHERE rowid IN ({some})", [before]) > 0


# --- copies ----------------------------------------------------------------------------------------------------------


def copy(store: Store, path: Path, now: datetime, keep: int = COPIES_KEPT) -> Path:
    """Keep a whole copy of the ledger beside it, one for each day, and no more than the newest `keep`; where it is.

    It has its name only when it is whole and on the disk. Nothing else in the folder is touched.

    Raises:
        LedgerUnusable: it cannot be written; nothing of it is left, and the ledger is as it was.
    """
    target = path.with_name(f"{path.name}.daily-{now:%Y%m%d}")
    if not target.exists():
        partial = target.with_name(f"{target.name}.partial")
        try:
            _write_copy(store, partial, path.stat().st_mode & 0o777)
            partial.replace(target)
            _sync(target.parent)
        except (OSError, store.connection.DatabaseError) as error:
            why = getattr(error, "strerror", None) or error
            raise LedgerUnusable(
                f"the ledger's daily copy {target} cannot be written: {why}: see that the disk has room for it; the"
                " ledger itself is as it was"
            ) from error
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
    for old in [*_copies(path)[keep:], *_copies(path, ".partial")]:
        old.unlink(missing_ok=True)
    return target


def _write_copy(store: Store, partial: Path, mode: int) -> None:
    """Let SQLite write it into a file that nobody may read who may not read the ledger; it takes an empty one."""
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, mode)
        store.connection.execute("VACUUM INTO ?", [str(partial)])
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync(folder: Path) -> None:
    """Make a new name in a folder last."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copies(path: Path, end: str = "") -> list[Path]:
    """List the daily copies of this ledger, newest first; with an `end`, what is left of those that broke off."""
    name = re.compile(rf"{re.escape(path.name)}\.daily-[0-9]{{8}}{re.escape(end)}")
    return sorted((one for one in path.parent.iterdir() if name.fullmatch(one.name)), reverse=True)
