"""What the ledger says is in Rally, for whoever compares; and the step that makes a result anew that is gone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.ledger.entries import insert_draft
from reconciler.ledger.store import moment, stamp
from reconciler.model import Build, FormattedID, Key, ObjectID, PipelineId, ProjectId
from reconciler.plan import Add

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from reconciler.ledger.entries import Draft
    from reconciler.ledger.store import Store


@dataclass(frozen=True, slots=True)
class Claim:
    """One result, as the ledger has it."""

    entry_id: int
    key: Key
    iid: int
    build: Build
    is_done: bool
    """Else it is in doubt or refused, and Rally may or may not have it."""
    object_id: ObjectID | None
    test_case: ObjectID | None
    verdict: str
    date: datetime | None
    """None: it was found in Rally and not made from this ledger."""
    duration_s: float | None
    tests: tuple[int, ...]
    """What it was made of, the one that decided first."""

    def add(self) -> Add | None:
        """Give the result as it is to be made again; None: the ledger does not know enough of it."""
        if self.test_case is None or self.date is None or self.duration_s is None or not self.tests:
            return None
        return Add(self.key, self.iid, self.test_case, self.verdict, self.date, self.duration_s, self.tests)


def builds(store: Store, since: datetime | None) -> list[Build]:
    """List the Builds that have results in Rally by the ledger, oldest first; `since` is compared with their dates."""
    rows = store.rows(
        "SELECT build FROM entries WHERE state = 'done' AND COALESCE(date, settled_at) >= ? GROUP BY build"
        " ORDER BY MIN(pipeline_id)",
        ["" if since is None else stamp(since)],
    )
    return [Build(row[0]) for row in rows]


def claims(store: Store, of: Sequence[Build]) -> list[Claim]:
    """List all results of these Builds."""
    marks = ", ".join("?" * len(of))
    rows = store.rows(f"{_CLAIMS} ({marks}) ORDER BY e.entry_id", of)
    return [_claim(store, *row) for row in rows]


def _claim(store: Store, entry_id: int, project: int, pipeline: int, *row: object) -> Claim:
    formatted_id, revision, iid, build, state, object_id, test_case, verdict, date, duration_s = row
    tests = store.rows(
        "SELECT test_id FROM contributions WHERE entry_id = ? ORDER BY decided DESC, test_id", [entry_id]
    )
    return Claim(
        entry_id,
        Key(ProjectId(project), PipelineId(pipeline), FormattedID(str(formatted_id)), int(str(revision))),
        int(str(iid)),
        Build(str(build)),
        is_done=state == "done",
        object_id=None if object_id is None else ObjectID(int(str(object_id))),
        test_case=None if test_case is None else ObjectID(int(str(test_case))),
        verdict=str(verdict),
        date=None if date is None else moment(str(date)),
        duration_s=None if duration_s is None else float(str(duration_s)),
        tests=tuple(row[0] for row in tests),
    )


def make_again(store: Store, gone: Sequence[tuple[Claim, Draft]], now: datetime) -> list[int]:
    """Write down that results which were done and are gone from Rally are about to be created again; their entries."""
    ids = []
    with store.transaction():
        for claim, draft in gone:
            detail = f"ObjectID {claim.object_id} is gone from Rally"
            store.run("INSERT INTO audit VALUES (?, ?, ?, ?)", [stamp(now), "repaired", str(claim.key), detail])
            store.run("DELETE FROM attachments WHERE entry_id = ?", [claim.entry_id])
            store.run("DELETE FROM entries WHERE entry_id = ? AND state = 'done'", [claim.entry_id])
            ids.append(insert_draft(store, draft, now))
    return ids


_CLAIMS = """
SELECT e.entry_id, p.project_id, e.pipeline_id, e.formatted_id, e.revision, p.iid, e.build, e.state, e.object_id,
    e.test_case, e.verdict, e.date, e.duration_s
FROM entries e JOIN pipelines p USING (pipeline_id) WHERE e.build IN
"""
