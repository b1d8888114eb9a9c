"""What the ledger says is in Rally, for whoever compares; and the orders to make again what is gone from there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reconciler.ledger.entries import insert_drafts
from reconciler.ledger.standing import restand_entry
from reconciler.ledger.store import moment, stamp
from reconciler.model import Build, FormattedID, Key, ObjectID, Outcome, PipelineId, ProjectId
from reconciler.plan import Add, badness

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from reconciler.ledger.entries import Draft
    from reconciler.ledger.store import Store
    from reconciler.plan import Verdicts


@dataclass(frozen=True, slots=True)
class Claim:
    """One result that is in Rally, as the ledger has it."""

    entry_id: int
    key: Key
    iid: int
    build: Build
    object_id: ObjectID
    test_case: ObjectID | None
    verdict: str
    date: datetime | None
    """None, as the duration is: it was found in Rally and not made from this ledger."""
    duration_s: float | None
    test_set: ObjectID | None


@dataclass(frozen=True, slots=True)
class Fate:
    """What has become of a result that was to be made again."""

    state: str
    """`intended`, `done` or `refused`."""
    is_made: bool
    """It is in Rally again, as another object."""
    reason: str


# --- what is there ---------------------------------------------------------------------------------------------------


def builds(store: Store, since: datetime | None) -> list[tuple[Build, int]]:
    """List the Builds that have results in Rally by the ledger, oldest first, each with how many."""
    rows = store.rows(
        "SELECT build, COUNT(*) FROM entries WHERE state = 'done' AND COALESCE(date, settled_at) >= ? GROUP BY build"
        " ORDER BY MIN(pipeline_id)",
        [_from(since)],
    )
    return [(Build(build), number) for build, number in rows]


def claims(store: Store, of: Sequence[Build], since: datetime | None = None) -> list[Claim]:
    """List the results of these Builds that are in Rally by the ledger."""
    rows = store.rows(
        f"{_CLAIMS} AND e.build IN ({_marks(of)}) AND COALESCE(e.date, e.settled_at) >= ? ORDER BY e.entry_id",
        [*of, _from(since)],
    )
    return [_claim(*row) for row in rows]


def known(store: Store, of: Sequence[Build]) -> tuple[set[Key], set[ObjectID]]:
    """Tell the keys and the objects of all results of these Builds, also of those that are in doubt or refused."""
    rows = store.rows(
        "SELECT project_id, pipeline_id, formatted_id, revision, object_id FROM entries JOIN pipelines"
        f" USING (pipeline_id) WHERE build IN ({_marks(of)})",
        of,
    )
    return {_key(*row[:4]) for row in rows}, {ObjectID(row[4]) for row in rows if row[4] is not None}


# --- what is to be made again ----------------------------------------------------------------------------------------


def order(store: Store, gone: Iterable[Claim]) -> None:
    """Write down that these results, which are gone from Rally, are to be made again: by this pass or a later one."""
    with store.transaction():
        store.run_many(
            "INSERT OR IGNORE INTO remakes VALUES (?, ?)", ((claim.entry_id, claim.object_id) for claim in gone)
        )


def ordered(store: Store) -> list[Claim]:
    """List the results that are to be made again and are not in doubt."""
    rows = store.rows(f"{_CLAIMS} AND e.entry_id IN (SELECT entry_id FROM remakes) ORDER BY e.entry_id")
    return [_claim(*row) for row in rows]


def ordered_still(store: Store) -> int:
    """Count the results that are to be made again, those in doubt included."""
    return int(store.value("SELECT COUNT(*) FROM remakes"))


def cancel(store: Store, there: Iterable[Claim]) -> None:
    """Write down that these need not be made again: they are there."""
    with store.transaction():
        store.run_many("DELETE FROM remakes WHERE entry_id = ?", ([claim.entry_id] for claim in there))


def again(store: Store, claim: Claim, verdicts: Verdicts) -> Add | None:
    """Give a result as it is to be made again; None: the ledger does not know what it was made of.

    Of one that was found in Rally and took in tests of this ledger, date and duration are theirs.
    """
    rows = store.rows(_TESTS, [claim.entry_id])
    test_case = claim.test_case or store.value(
        "SELECT object_id FROM test_cases WHERE formatted_id = ?", [claim.key.formatted_id]
    )
    if not rows or test_case is None:
        return None

    def rank(row: Sequence[Any]) -> tuple[bool, int, int]:
        test, decided, outcome, flaky, *_ = row
        return not decided, badness(verdicts.of(Outcome(outcome), flaky=bool(flaky))), test

    date = claim.date or moment(max(row[5] for row in rows))
    duration_s = round(sum(row[4] for row in rows), 3) if claim.duration_s is None else claim.duration_s
    tests = tuple(row[0] for row in sorted(rows, key=rank))
    return Add(claim.key, claim.iid, ObjectID(test_case), claim.verdict, date, duration_s, tests)


def make_again(store: Store, drafts: Iterable[tuple[ObjectID, Draft]], now: datetime) -> list[int]:
    """Write down that results are about to be created again, in place of the objects that are gone; their entries."""
    with store.transaction():
        return [_make_again(store, gone, draft, now) for gone, draft in drafts]


def _make_again(store: Store, gone: ObjectID, draft: Draft, now: datetime) -> int:
    """Replace the entry: what is done never changes."""
    key = draft.add.key
    old, outdated = store.rows(
        "SELECT entry_id, entry_id IN (SELECT entry_id FROM outdated) FROM entries"
        " WHERE (pipeline_id, formatted_id, revision, state) = (?, ?, ?, 'done')",
        [key.pipeline_id, key.formatted_id, key.revision],
    )[0]
    store.run("DELETE FROM entries WHERE entry_id = ?", [old])
    (entry_id,) = insert_drafts(store, [draft], now)
    store.run("INSERT INTO remakes VALUES (?, ?)", [entry_id, gone])
    if outdated:
        store.run("INSERT INTO outdated VALUES (?)", [entry_id])
    restand_entry(store, entry_id)
    detail = f"ObjectID {gone} is gone from Rally"
    store.run("INSERT INTO audit VALUES (?, ?, ?, ?)", [stamp(now), "made again", str(key), detail])
    return entry_id


def fate(store: Store, claim: Claim) -> Fate:
    """Tell what has become of a result that was to be made again."""
    key = claim.key
    state, object_id, reason = store.rows(
        "SELECT state, object_id, COALESCE(reason, '') FROM entries"
        " WHERE (pipeline_id, formatted_id, revision) = (?, ?, ?)",
        [key.pipeline_id, key.formatted_id, key.revision],
    )[0]
    return Fate(state, state == "done" and object_id != claim.object_id, reason)


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _from(since: datetime | None) -> str:
    return "" if since is None else stamp(since)


def _key(project: int, pipeline: int, formatted_id: str, revision: int) -> Key:
    return Key(ProjectId(project), PipelineId(pipeline), FormattedID(formatted_id), revision)


def _claim(entry_id: int, *row: Any) -> Claim:  # noqa: ANN401 - SQL's types
    project, pipeline, formatted_id, revision, iid, build, *row_of_result = row
    object_id, test_case, verdict, date, duration_s, test_set = row_of_result
    return Claim(
        entry_id,
        _key(project, pipeline, formatted_id, revision),
        iid,
        Build(build),
        ObjectID(object_id),
        None if test_case is None else ObjectID(test_case),
        verdict,
        None if date is None else moment(date),
        duration_s,
        None if test_set is None else ObjectID(test_set),
    )


_CLAIMS = """
SELECT e.entry_id, p.project_id, e.pipeline_id, e.formatted_id, e.revision, p.iid, e.build, e.object_id, e.test_case,
    e.verdict, e.date, e.duration_s, e.test_set
FROM entries e JOIN pipelines p USING (pipeline_id) WHERE e.state = 'done'
"""

_TESTS = """
SELECT c.test_id, c.decided, t.outcome, t.flaky, t.duration_s, j.finished_at
FROM contributions c JOIN tests t USING (test_id) JOIN jobs j ON j.job_id = t.job_id WHERE c.entry_id = ?
"""
