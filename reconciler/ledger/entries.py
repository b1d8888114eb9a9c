"""Results: which are due, and the record of each: intended → done | refused, or withdrawn."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from reconciler.ledger.attachments import want
from reconciler.ledger.standing import STANDING, restand_entries, restand_entry
from reconciler.ledger.store import moment, placeholders, stamp
from reconciler.ledger.views import held_back
from reconciler.model import READY, Build, FormattedID, JobId, Key, ObjectID, Outcome, PipelineId, ProjectId
from reconciler.notes import TestLine
from reconciler.plan import Element, Entry, Group
from reconciler.record import record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from reconciler.evidence import Wanted
    from reconciler.ledger.store import Store
    from reconciler.model import FoundResult
    from reconciler.plan import Absorb, Add, Verdicts

_READY = ", ".join(f"'{status}'" for status in sorted(READY))


@dataclass(frozen=True, slots=True)
class Intent:
    """An intended entry that was begun and never heard the end of."""

    entry_id: int
    key: Key
    build: Build
    test_case: ObjectID
    intended_at: datetime


@record
class Draft:
    """A result about to be created, as far as the ledger keeps it."""

    add: Add
    build: Build
    wanted: Sequence[Wanted] = ()
    """The files that it is to have."""
    test_set: ObjectID | None = None


@record
class Contribution(TestLine):
    """One test of a result, with what Notes tell of its job."""

    lossy: bool
    files_note: str
    """Why the files of its job cannot be had; "" when they can."""
    has_more: bool
    """There is output, a file or a metric of it."""


@dataclass(frozen=True, slots=True)
class PipelineLine:
    """A pipeline, as Notes tell it."""

    url: str
    ref: str
    sha: str
    commit_url: str


class Entries:
    """The write-ahead ledger of results. Every method is one transaction."""

    def __init__(self, store: Store) -> None:
        """Write into this store."""
        self._store = store

    # --- what is due ---

    def due(self, horizon: datetime | None = None, *, backfill: int = 0) -> list[tuple[PipelineId, int]]:
        """List the pipelines that are ready, wholly read and have pending tests, with their number, by `first_end`.

        Those of a backfill that is not agreed to are left out, unless it is this one; so are those of which all is as
        young as the `horizon`.
        """
        rows = self._store.rows(
            "SELECT t.pipeline_id, COUNT(*) FROM tests t JOIN pipelines p USING (pipeline_id)"
            f" WHERE t.state = 'pending' AND p.status IN ({_READY}) AND p.read_update = p.updated_at"
            f" AND t.pipeline_id NOT IN ({_OTHERS}) AND ({_FIRST_END} t.pipeline_id) < ?"
            f" GROUP BY t.pipeline_id ORDER BY ({_FIRST_END} t.pipeline_id), t.pipeline_id",
            [backfill, stamp(horizon) if horizon else _NEVER],
        )
        return [(PipelineId(pipeline), number) for pipeline, number in rows]

    def first_end(self, pipeline: PipelineId) -> datetime:
        """Tell when the first of a pipeline's jobs finished: no result of it has an older date."""
        return moment(self._store.value(f"{_FIRST_END} ?", [pipeline]))

    def count_due(self, *, backfill: int = 0) -> int:
        """Count the results that pending tests may make: one for each pipeline and test case; see `due`."""
        return int(
            self._store.value(
                "SELECT COUNT(*) FROM (SELECT DISTINCT pipeline_id, formatted_id FROM tests"
                " JOIN targets USING (subject_id) WHERE state = 'pending' AND object_id IS NOT NULL"
                f" AND pipeline_id NOT IN ({_OTHERS}))",
                [backfill],
            )
        )

    def days_due(self) -> list[datetime]:
        """List the days, by their first instant, on which jobs finished that pending tests are of."""
        rows = self._store.rows(
            "SELECT DISTINCT substr(finished_at, 1, 10) FROM jobs WHERE job_id IN"
            f" (SELECT job_id FROM tests WHERE state = 'pending' AND pipeline_id NOT IN ({held_back()}))"
        )
        return [moment(f"{day}T00:00:00.000000Z") for (day,) in rows]

    def groups(self, pipeline: PipelineId) -> Iterator[Group]:
        """Gather everything that decides about the test cases that pending tests of this pipeline count for.

        One test case after another: a report may have 200,000 tests. Nothing is to be written meanwhile.
        """
        rows = self._store.each(_ELEMENTS, [pipeline, pipeline])
        head, entries = None, dict[str, list[Entry]]()
        for (formatted_id, test_case), members in groupby(rows, itemgetter(0, 1)):
            if head is None:
                head = self._store.rows("SELECT project_id, iid FROM pipelines WHERE pipeline_id = ?", [pipeline])[0]
                entries = self._entries(pipeline)
            yield Group(
                project_id=ProjectId(head[0]),
                pipeline_id=pipeline,
                iid=head[1],
                formatted_id=FormattedID(formatted_id),
                test_case=ObjectID(test_case),
                elements=tuple(_element(row[2:]) for row in members),
                entries=tuple(entries.get(formatted_id, ())),
            )

    def _entries(self, pipeline: PipelineId) -> dict[str, list[Entry]]:
        tests: dict[int, set[int]] = defaultdict(set)
        for entry_id, test_id in self._store.rows(
            "SELECT c.entry_id, c.test_id FROM entries e CROSS JOIN contributions c USING (entry_id)"
            " WHERE e.pipeline_id = ?",
            [pipeline],
        ):
            tests[entry_id].add(test_id)
        # While a job is still to be read, what the newest attempts say is not known.
        unread = self._store.value(_UNREAD_JOBS, [pipeline])
        outdated = set() if unread else {row[0] for row in self._store.rows(_OUTDATED, [pipeline])}
        found: dict[str, list[Entry]] = defaultdict(list)
        for entry_id, formatted_id, revision, verdict, state, adopted in self._store.rows(
            "SELECT entry_id, formatted_id, revision, verdict, state, adopted FROM entries"
            " WHERE pipeline_id = ? ORDER BY revision",
            [pipeline],
        ):
            evidence = frozenset(tests[entry_id])
            entry = Entry(entry_id, revision, verdict, state, evidence, entry_id in outdated, bool(adopted))
            found[formatted_id].append(entry)
        return found

    def contributions(self, tests: Sequence[int], verdicts: Verdicts) -> list[Contribution]:
        """Fetch what Notes say of these tests, in the order given."""
        found: dict[int, Contribution] = {}
        for start in range(0, len(tests), 500):
            some = tests[start : start + 500]
            marks = ", ".join("?" * len(some))
            for row in self._store.rows(f"{_CONTRIBUTIONS} ({marks})", some):
                test_id, outcome, key, job_name, job_url, duration_s, message, attempts, flaky, lossy, note, more = row
                verdict = verdicts.of(_outcome(outcome), flaky=bool(flaky))
                found[test_id] = Contribution(
                    verdict, key, job_name, job_url, duration_s, message, attempts, bool(flaky),
                    lossy=bool(lossy), files_note=note, has_more=bool(more),
                )  # fmt: skip
        return [found[test] for test in tests]

    def pipeline_line(self, pipeline: PipelineId) -> PipelineLine:
        """Fetch what Notes say of a pipeline."""
        return PipelineLine(
            *self._store.rows(
                "SELECT p.web_url, p.ref, p.sha, j.web_url || '/-/commit/' || p.sha"
                " FROM pipelines p JOIN projects j USING (project_id) WHERE pipeline_id = ?",
                [pipeline],
            )[0]
        )

    # --- steps ---

    def intend(self, drafts: Sequence[Draft], now: datetime) -> list[int]:
        """Write down that these results are about to be created; their entry ids, by position."""
        with self._store.transaction():
            return insert_drafts(self._store, drafts, now)

    def confirm(self, created: Iterable[tuple[int, ObjectID]], now: datetime) -> None:
        """Write down that these intents were carried out, and as which object."""
        with self._store.transaction():
            self._settle("state = 'done', object_id", list(created), now)

    def unheard(self, entry_ids: Iterable[int], now: datetime) -> None:
        """Write down that no answer came: from now on, not from when it was written down, the request may live on.

        It may have waited before it was sent, for its turn or with the whole machine.
        """
        with self._store.transaction():
            self._store.run_many(
                "UPDATE entries SET intended_at = ? WHERE entry_id = ? AND state = 'intended'",
                ([stamp(now), entry_id] for entry_id in entry_ids),
            )

    def refuse(self, refused: Iterable[tuple[int, str]], now: datetime) -> None:
        """Write down that Rally, or its schema, said No to these intents, and why."""
        with self._store.transaction():
            final = list(refused)
            self._settle("state = 'refused', reason", final, now)
            self._store.run_many("DELETE FROM attachments WHERE entry_id = ?", ([entry_id] for entry_id, _ in final))

    def withdraw(self, entry_ids: Iterable[int], why: str, now: datetime) -> None:
        """Take back intents that certainly were not carried out; their tests are pending again.

        One that was to make a result again is what it was before: done, gone, and still to be made again.
        """
        with self._store.transaction():
            for entry_id in entry_ids:
                self._put_back(entry_id, why, now)
                rows = self._store.rows(
                    "DELETE FROM entries WHERE entry_id = ? AND state = 'intended'"
                    " RETURNING pipeline_id, formatted_id, revision",
                    [entry_id],
                )
                for pipeline, formatted_id, revision in rows:
                    self._note(now, "withdrawn", f"{pipeline}/{formatted_id}/{revision}", why)

    def _put_back(self, entry_id: int, why: str, now: datetime) -> None:
        rows = self._store.rows(
            "UPDATE entries SET state = 'done', settled_at = ?,"
            " object_id = (SELECT object_id FROM remakes WHERE entry_id = entries.entry_id)"
            " WHERE entry_id = ? AND state = 'intended' AND entry_id IN (SELECT entry_id FROM remakes)"
            " RETURNING pipeline_id, formatted_id, revision",
            [stamp(now), entry_id],
        )
        for pipeline, formatted_id, revision in rows:
            self._store.run("DELETE FROM attachments WHERE entry_id = ?", [entry_id])
            restand_entry(self._store, entry_id)
            self._note(now, "withdrawn", f"{pipeline}/{formatted_id}/{revision}", why)

    def absorb(self, absorbed: Sequence[tuple[Absorb, Sequence[Wanted]]], now: datetime) -> None:
        """Count tests to results that are there already, and write down which files those are to have by them."""
        with self._store.transaction():
            for action, wanted in absorbed:
                _contribute(self._store, action.entry_id, action.tests, decides=action.decides)
                want(self._store, action.entry_id, wanted, now)
                restand_entry(self._store, action.entry_id)

    def adopt(self, found: Sequence[FoundResult], pipelines: Mapping[PipelineId, ProjectId], now: datetime) -> int:
        """Take over what Rally already has of these pipelines under keys of ours; how many were new to the ledger."""
        adopted = 0
        with self._store.transaction():
            for result in sorted(found, key=lambda result: result.object_id):
                key = result.key
                if pipelines.get(key.pipeline_id) == key.project_id:
                    adopted += self._adopt(result, now)
        return adopted

    def _adopt(self, result: FoundResult, now: datetime) -> int:
        key = result.key
        known = self._store.rows(
            "SELECT entry_id, state FROM entries WHERE (pipeline_id, formatted_id, revision) = (?, ?, ?)",
            [key.pipeline_id, key.formatted_id, key.revision],
        )
        if known and known[0][1] == "intended":
            self._settle("state = 'done', object_id", [(known[0][0], result.object_id)], now)
        if known:
            return 0
        self._store.run(
            "INSERT INTO entries (pipeline_id, formatted_id, revision, build, test_case, verdict, date, state,"
            " object_id, test_set, adopted, intended_at, settled_at) VALUES (?, ?, ?, ?,"
            " (SELECT object_id FROM test_cases WHERE formatted_id = ?), ?, ?, 'done', ?, ?, 1, ?, ?)",
            [key.pipeline_id, key.formatted_id, key.revision, result.build, key.formatted_id, result.verdict,
             None if result.date is None else stamp(result.date), result.object_id, result.test_set, stamp(now),
             stamp(now)],
        )  # fmt: skip
        self._note(now, "adopted", str(key), f"ObjectID {result.object_id}")
        return 1

    def open_intents(self) -> list[Intent]:
        """List what was begun and not heard the end of, oldest first."""
        rows = self._store.rows(
            "SELECT entry_id, project_id, pipeline_id, formatted_id, revision, build, test_case, intended_at"
            " FROM entries JOIN pipelines USING (pipeline_id) WHERE state = 'intended' ORDER BY intended_at, entry_id"
        )
        return [
            Intent(
                entry_id,
                Key(ProjectId(project), PipelineId(pipeline), FormattedID(formatted_id), revision),
                Build(build),
                ObjectID(test_case),
                moment(intended_at),
            )
            for entry_id, project, pipeline, formatted_id, revision, build, test_case, intended_at in rows
        ]

    def restand(self, *pipelines: PipelineId) -> None:
        """Bring the pending tests of these pipelines in line with their entries, where they have any."""
        with self._store.transaction():
            self._store.run_many(
                f"UPDATE tests AS t SET state = {STANDING} WHERE t.pipeline_id = ? AND t.state = 'pending'"
                " AND EXISTS (SELECT 1 FROM entries e WHERE e.pipeline_id = t.pipeline_id)",
                ([pipeline] for pipeline in pipelines),
            )

    def _settle(self, step: str, values: Sequence[tuple[int, object]], now: datetime) -> None:
        at, entry_ids = stamp(now), [entry_id for entry_id, _ in values]
        if not values:
            return
        touched = self._store.run(
            f"UPDATE entries SET {step} = v.column2, settled_at = ? FROM (VALUES {placeholders(values)}) AS v"
            " WHERE entry_id = v.column1 AND state = 'intended'",
            [at, *chain.from_iterable(values)],
        )
        if touched != len(values):
            raise AssertionError(f"one of the entries {entry_ids} is not intended: it cannot take the step {step}")
        self._store.run(f"DELETE FROM remakes WHERE entry_id IN ({', '.join('?' * len(entry_ids))})", entry_ids)
        restand_entries(self._store, entry_ids)

    def _note(self, now: datetime, what: str, key: str, detail: str) -> None:
        self._store.run("INSERT INTO audit VALUES (?, ?, ?, ?)", [stamp(now), what, key, detail])


def insert_drafts(store: Store, drafts: Sequence[Draft], now: datetime) -> list[int]:
    """Write down, inside a transaction, that results are about to be created; their entry ids, by position."""
    first = int(store.value("SELECT COALESCE(MAX(entry_id), 0) + 1 FROM entries"))
    numbered = list(enumerate(drafts, first))
    at = stamp(now)
    store.insert(
        "INSERT INTO entries (entry_id, pipeline_id, formatted_id, revision, build, test_case, verdict, date,"
        " duration_s, intended_at, test_set, state)",
        ((entry_id, *_draft_row(draft), at, draft.test_set, "intended") for entry_id, draft in numbered),
    )
    store.insert(
        _CONTRIBUTE,
        (
            (entry_id, test, int(position == 0))
            for entry_id, draft in numbered
            for position, test in enumerate(draft.add.tests)
        ),
    )
    for entry_id, draft in numbered:
        want(store, entry_id, draft.wanted, now)
    return [entry_id for entry_id, _ in numbered]


def _draft_row(draft: Draft) -> tuple[object, ...]:
    add = draft.add
    return (
        add.key.pipeline_id, add.key.formatted_id, add.key.revision, draft.build, add.test_case, add.verdict,
        _stamp(add.date), add.duration_s,
    )  # fmt: skip


def _contribute(store: Store, entry_id: int, tests: Sequence[int], *, decides: bool) -> None:
    store.insert(
        _CONTRIBUTE,
        ((entry_id, test, int(decides and position == 0)) for position, test in enumerate(tests)),
    )


_CONTRIBUTE = "INSERT INTO contributions"
_moment = lru_cache(maxsize=1024)(moment)  # the tests of one job share one instant
_stamp = lru_cache(maxsize=1024)(stamp)


_outcome = {outcome.value: outcome for outcome in Outcome}.__getitem__  # a tenth of the time of Outcome(...)


def _element(row: Sequence[Any]) -> Element:
    test_id, job_id, finished_at, outcome, flaky, duration_s, was = row
    return Element(test_id, JobId(job_id), _moment(finished_at), _outcome(outcome), bool(flaky), duration_s, was)


_OTHERS = f"{held_back()} AND backfill_id <> ?"
_NEVER = "9999"
_FIRST_END = "SELECT MIN(finished_at) FROM jobs j WHERE j.pipeline_id ="

# CROSS JOIN is SQLite's way to fix the order of a join: without it a query on one pipeline walks through all history.
_ELEMENTS = """
SELECT g.formatted_id, g.object_id, t.test_id, t.job_id, j.finished_at, t.outcome, t.flaky, t.duration_s, t.was
FROM jobs j CROSS JOIN tests t USING (job_id) CROSS JOIN targets g ON g.subject_id = t.subject_id
WHERE j.pipeline_id = ? AND j.superseded = 0 AND t.state IN ('pending', 'sent', 'merged', 'refused', 'held')
AND g.object_id IS NOT NULL AND (t.state = 'pending' OR g.formatted_id IN (
    SELECT formatted_id FROM tests JOIN targets USING (subject_id) WHERE pipeline_id = ? AND state = 'pending'))
ORDER BY g.formatted_id, g.object_id, t.test_id
"""

_OUTDATED = "SELECT entry_id FROM entries JOIN outdated USING (entry_id) WHERE pipeline_id = ?"
_UNREAD_JOBS = "SELECT EXISTS (SELECT 1 FROM jobs WHERE pipeline_id = ? AND state = 'open' AND superseded = 0)"

_CONTRIBUTIONS = """
SELECT t.test_id, t.outcome, s.key, j.name, j.web_url, t.duration_s, t.message, t.attempts, t.flaky,
    r.source = 'test_report', j.files_note, t.evidence <> 0
FROM tests t JOIN subjects s USING (subject_id) JOIN jobs j ON j.job_id = t.job_id JOIN reports r USING (report_id)
WHERE t.test_id IN
"""
