"""Backfills: what of the past is still to be listed and to be read, and what was read and waits for a Yes.

A pipeline that a backfill found is in its backlog until it is read and the backfill is agreed to: polls leave it alone,
and nothing of it is sent before. What was listed and what was read is never asked for again by the same backfill,
whenever and however it was interrupted.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reconciler.ledger.store import moment, stamp
from reconciler.ledger.tallies import READY
from reconciler.model import Pipeline, Project

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from reconciler.ledger.observations import Observations
    from reconciler.ledger.store import Store
    from reconciler.model import PipelineId

ANNOUNCED = "daemon/backfills"
"""The cursor in which a daemon says since when it takes orders."""
SOME = 500
"""How many pipelines are fetched from the backlog at once."""
ADDED = (
    "pipelines_read", "results_sent", "attachments_sent", "test_sets_created", "members_added", "writes", "expired",
)  # fmt: skip
"""What is counted of a pass; the rest of its summary says how things stand."""


@dataclass(frozen=True, slots=True)
class Span:
    """What a backfill is asked to bring; two of the same span are one as long as it is not done."""

    since: datetime
    until: datetime | None
    projects: tuple[str, ...]

    def row(self) -> list[str | None]:
        """Give it as the ledger keeps it."""
        names = sorted({name.lower() for name in self.projects})
        return [stamp(self.since), stamp(self.until) if self.until else None, json.dumps(names)]


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of one project's past that is still to be listed."""

    window_id: int
    project: Project
    children: bool
    since: datetime
    before: datetime | None
    page: int


@dataclass(frozen=True, slots=True)
class Backfill:
    """A backfill as it stands."""

    backfill_id: int
    span: Span
    asked_at: datetime
    opened_at: datetime | None
    """When it was last known of all projects what is to be listed."""
    agreed: bool
    handed: bool
    state: str
    due: int
    found: int
    read: int
    summary: Mapping[str, int]
    trouble: Mapping[str, Sequence[str]]


class Backfills:
    """Everything about backfills. Every method is one transaction."""

    def __init__(self, store: Store, observations: Observations) -> None:
        """Write into this store."""
        self._store = store
        self._observations = observations

    # --- orders ---

    def begin(self, span: Span, now: datetime, *, agreed: bool, handed: bool = False) -> Backfill:
        """Begin a backfill, or go on with the one of this span that is not done."""
        with self._store.transaction():
            known = self.unfinished(span)
            if known is None:
                self._store.run(
                    "INSERT INTO backfills (since, until, projects, asked_at) VALUES (?, ?, ?, ?)",
                    [*span.row(), stamp(now)],
                )
                known = self.unfinished(span)
            if known is None:
                raise AssertionError("a backfill that was just begun is not there")
            self._store.run(
                "UPDATE backfills SET handed = MAX(handed, ?) WHERE backfill_id = ?", [handed, known.backfill_id]
            )
            if agreed:
                self.agree(known.backfill_id)
            return self.get(known.backfill_id)

    def unfinished(self, span: Span) -> Backfill | None:
        """Find the backfill of this span that is not done."""
        return self._one(f"{_OF_SPAN} AND state <> 'done'", span.row())

    def get(self, backfill_id: int) -> Backfill:
        """Read one."""
        found = self._one("WHERE backfill_id = ?", [backfill_id])
        if found is None:
            raise LookupError(f"there is no backfill {backfill_id}")
        return found

    def handed(self) -> Backfill | None:
        """Find what the daemon is to go on with: the oldest order that waits for nobody."""
        return self._one("WHERE handed = 1 AND state = 'open'", [], "ORDER BY backfill_id")

    def agree(self, backfill_id: int) -> None:
        """Let what was read for it be sent, and what will be."""
        with self._store.transaction():
            self._store.run(
                "UPDATE backfills SET agreed = 1, state = CASE state WHEN 'asks' THEN 'open' ELSE state END"
                " WHERE backfill_id = ?",
                [backfill_id],
            )
            self._let_go(backfill_id)

    def ask(self, backfill_id: int, due: int) -> None:
        """Let it wait for a Yes to so many results."""
        with self._store.transaction():
            self._store.run(
                "UPDATE backfills SET state = 'asks', due = ? WHERE backfill_id = ? AND agreed = 0", [due, backfill_id]
            )

    def note(self, backfill_id: int, summary: Mapping[str, int], trouble: Mapping[str, Sequence[str]]) -> None:
        """Add what one run of it did; what is not counted but stands so is in `summary` as it was last."""
        with self._store.transaction():
            before = self.get(backfill_id).summary
            told = dict(summary) | {name: before.get(name, 0) + summary[name] for name in ADDED}
            self._store.run(
                "UPDATE backfills SET summary = ?, trouble = ? WHERE backfill_id = ?",
                [json.dumps(told), json.dumps(dict(trouble)), backfill_id],
            )

    def end(self, backfill_id: int, now: datetime) -> None:
        """Call it done."""
        with self._store.transaction():
            self._store.run(
                "UPDATE backfills SET state = 'done', ended_at = ? WHERE backfill_id = ? AND state <> 'done'",
                [stamp(now), backfill_id],
            )

    # --- what is to be listed ---

    def windows(self, backfill_id: int) -> list[Window]:
        """List what is still to be listed."""
        rows = self._store.rows(
            "SELECT window_id, project_id, path, web_url, children, since, before, page FROM windows"
            " JOIN projects USING (project_id) WHERE backfill_id = ? AND state = 'open' ORDER BY window_id",
            [backfill_id],
        )
        return [
            Window(
                window_id, Project(project, path, url), bool(children), moment(since),
                moment(before) if before else None, page,
            )
            for window_id, project, path, url, children, since, before, page in rows
        ]  # fmt: skip

    def open_windows(self, backfill_id: int, projects: Sequence[Project], *, children: bool) -> None:
        """See that these projects are listed as far as the order says, their child pipelines too."""
        with self._store.transaction():
            for kind in range(1 + children):
                self._store.run_many(
                    "INSERT INTO windows (backfill_id, project_id, children, since, before)"
                    " SELECT backfill_id, ?2, ?3, since, until FROM backfills b WHERE backfill_id = ?1"
                    " AND NOT EXISTS (SELECT 1 FROM windows w WHERE w.backfill_id = ?1 AND w.project_id = ?2"
                    " AND w.children = ?3)",
                    ([backfill_id, project.id, kind] for project in projects),
                )

    def reopen(self, backfill_id: int, since: datetime) -> None:
        """List what came since then, too, as far as the order goes: it was interrupted."""
        with self._store.transaction():
            self._store.run(
                "INSERT INTO windows (backfill_id, project_id, children, since, before)"
                " SELECT DISTINCT backfill_id, project_id, children, ?1, b.until FROM windows"
                " JOIN backfills b USING (backfill_id) WHERE backfill_id = ?2 AND (b.until IS NULL OR b.until > ?1)",
                [stamp(since), backfill_id],
            )

    def opened(self, backfill_id: int, now: datetime) -> None:
        """Note that there are windows for all projects."""
        with self._store.transaction():
            self._store.run("UPDATE backfills SET opened_at = ? WHERE backfill_id = ?", [stamp(now), backfill_id])

    def listed(self, window_id: int, before: datetime | None, page: int) -> None:
        """Note how far a window was listed."""
        with self._store.transaction():
            self._store.run(
                "UPDATE windows SET before = ?, page = ? WHERE window_id = ?",
                [stamp(before) if before else None, page, window_id],
            )

    def close(self, window_id: int) -> None:
        """Note that a window was listed whole."""
        with self._store.transaction():
            self._store.run("UPDATE windows SET state = 'done' WHERE window_id = ?", [window_id])

    def halve(self, window_id: int, middle: datetime) -> int:
        """Make two windows of one; the id of the older half. The newer one keeps its id."""
        with self._store.transaction():
            older = self._store.rows(
                "INSERT INTO windows (backfill_id, project_id, children, since, before)"
                " SELECT backfill_id, project_id, children, since, ? FROM windows WHERE window_id = ?"
                " RETURNING window_id",
                [stamp(middle), window_id],
            )[0][0]
            self._store.run("UPDATE windows SET since = ?, page = 1 WHERE window_id = ?", [stamp(middle), window_id])
            return int(older)

    # --- what is to be read ---

    def store(self, backfill_id: int, pipelines: Sequence[Pipeline], worth_another_look: Sequence[str]) -> int:
        """Note pipelines as GitLab lists them, and which of them this backfill is to read; how many it has gained.

        Those that are new, that changed since they were read, or that have a problem of these kinds. One that is known
        and still to be read belongs to the polls.
        """
        ids = [pipeline.id for pipeline in pipelines]
        with self._store.transaction():
            known, ours = self._among(ids, "pipelines"), self._among(ids, "backlog")
            live = self._unread_among(ids) - ours
            self._observations.store_pipelines(pipelines)
            self._observations.reread(worth_another_look, [number for number in ids if number not in ours])
            wanted = self._unread_among(ids) - live
            self._store.run_many(
                "UPDATE backlog SET backfill_id = ? WHERE pipeline_id = ?", ([backfill_id, one] for one in ours)
            )
            self._store.run_many(
                "INSERT INTO backlog (pipeline_id, backfill_id, created_at, is_new)"
                " SELECT pipeline_id, ?, created_at, ? FROM pipelines WHERE pipeline_id = ?"
                " ON CONFLICT (pipeline_id) DO UPDATE SET is_read = 0",
                ([backfill_id, int(one not in known), one] for one in sorted(wanted)),
            )
            self._let_go(backfill_id)
            gained = len(wanted - ours)
            self._count(backfill_id, "found", gained)
            return gained

    def _among(self, pipelines: Sequence[PipelineId], table: str, and_so: str = "") -> set[int]:
        marks = ", ".join("?" * len(pipelines))
        rows = self._store.rows(f"SELECT pipeline_id FROM {table} p WHERE pipeline_id IN ({marks}) {and_so}", pipelines)
        return {row[0] for row in rows}

    def _unread_among(self, pipelines: Sequence[PipelineId]) -> set[int]:
        return self._among(
            pipelines,
            "pipelines",
            f"AND status IN ({READY}) AND (read_update IS NOT updated_at OR EXISTS (SELECT 1 FROM jobs j"
            " WHERE j.pipeline_id = p.pipeline_id AND j.state = 'open' AND j.superseded = 0))",
        )

    def _let_go(self, backfill_id: int) -> None:
        """Leave to all passes what was read for a backfill that is agreed to."""
        self._store.run(
            "DELETE FROM backlog WHERE backfill_id = ? AND is_read = 1"
            " AND backfill_id IN (SELECT backfill_id FROM backfills WHERE agreed = 1)",
            [backfill_id],
        )

    def release(self, pipelines: Sequence[PipelineId]) -> None:
        """Leave these to the polls: something happened to them now."""
        if pipelines and self._store.value("SELECT EXISTS (SELECT 1 FROM backlog)"):
            with self._store.transaction():
                self._store.run_many("DELETE FROM backlog WHERE pipeline_id = ?", ([one] for one in pipelines))

    def unread(self, backfill_id: int) -> Iterator[Pipeline]:
        """Give what is still to be read, by `created_at`; few at a time, as it may be very many."""
        last = "", 0
        while some := self._store.rows(
            "SELECT project_id, pipeline_id, iid, sha, ref, status, source, web_url, p.created_at, updated_at"
            " FROM backlog b JOIN pipelines p USING (pipeline_id)"
            " WHERE backfill_id = ? AND is_read = 0 AND (b.created_at, pipeline_id) > (?, ?)"
            " ORDER BY b.created_at, pipeline_id LIMIT ?",
            [backfill_id, *last, SOME],
        ):
            yield from (Pipeline(*row[:-2], *map(moment, row[-2:])) for row in some)
            last = some[-1][8], some[-1][1]

    def was_read(self, backfill_id: int, pipeline: PipelineId) -> None:
        """Note that a pipeline was read; it stays until the backfill is agreed to."""
        with self._store.transaction():
            read = self._store.run(
                "UPDATE backlog SET is_read = 1 WHERE pipeline_id = ? AND backfill_id = ?", [pipeline, backfill_id]
            )
            self._count(backfill_id, "read", read)
            self._let_go(backfill_id)

    def left(self, backfill_id: int) -> int:
        """Count what is still to be listed, windows, and to be read, pipelines."""
        return int(
            self._store.value(
                "SELECT (SELECT COUNT(*) FROM windows WHERE backfill_id = :id AND state = 'open')"
                " + (SELECT COUNT(*) FROM backlog WHERE backfill_id = :id AND is_read = 0)",
                {"id": backfill_id},
            )
        )

    def _count(self, backfill_id: int, column: str, number: int) -> None:
        self._store.run(f"UPDATE backfills SET {column} = {column} + ? WHERE backfill_id = ?", [number, backfill_id])

    def _one(self, where: str, values: Sequence[object], order: str = "ORDER BY backfill_id DESC") -> Backfill | None:
        rows = self._store.rows(f"SELECT {_COLUMNS} FROM backfills {where} {order} LIMIT 1", values)
        return _backfill(rows[0]) if rows else None


def takes_orders_since(store: Store) -> datetime | None:
    """Tell when a daemon last said that it takes orders."""
    said = store.value("SELECT value FROM cursors WHERE name = ?", [ANNOUNCED])
    return moment(said) if said else None


def newest(store: Store, span: Span) -> Backfill | None:
    """Read the newest backfill of a span."""
    rows = store.rows(f"SELECT {_COLUMNS} FROM backfills {_OF_SPAN} ORDER BY backfill_id DESC LIMIT 1", span.row())
    return _backfill(rows[0]) if rows else None


_OF_SPAN = "WHERE since = ? AND until IS ? AND projects = ?"
_COLUMNS = (
    "backfill_id, since, until, projects, asked_at, opened_at, agreed, handed, state, due, found, read, summary,"
    " trouble"
)


def _backfill(row: Sequence[Any]) -> Backfill:
    number, since, until, projects, asked_at, opened_at, agreed, handed, state, due, found, read, summary, trouble = row
    return Backfill(
        backfill_id=number,
        span=Span(moment(since), moment(until) if until else None, tuple(json.loads(projects))),
        asked_at=moment(asked_at),
        opened_at=moment(opened_at) if opened_at else None,
        agreed=bool(agreed),
        handed=bool(handed),
        state=state,
        due=due,
        found=found,
        read=read,
        summary=json.loads(summary),
        trouble=json.loads(trouble),
    )
