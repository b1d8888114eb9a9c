"""What people ask the ledger: how things stand, and which tests wait for a mapping. Reads only."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reconciler.model import READY
from reconciler.sprints import coverage

if TYPE_CHECKING:
    from reconciler.ledger.store import Store

STATES = ("sent", "merged", "pending", "held", "ignored", "superseded", "refused")
"""The states that every test case element is in exactly one of."""
SERVICES = ("GitLab", "Rally")


@dataclass(frozen=True, slots=True)
class Waiting:
    """A test that is held, for the review queue."""

    test: str
    seen: int
    pipelines: int
    last_outcome: str
    held: int
    unknown: str
    """The FormattedIDs that it is mapped to and that Rally does not have in scope; "" when it is not mapped."""


def tests(store: Store) -> dict[str, int]:
    """Count the test case elements that were read, by state; `unaccounted` must be 0."""
    read = int(store.value("SELECT COALESCE(SUM(tests), 0) FROM reports"))
    tallies = dict(store.rows("SELECT state, n FROM tallies"))
    counts = {"read": read} | {state: int(tallies[state]) for state in STATES}
    counts["unaccounted"] = read - sum(tallies.values())
    return counts


def entries(store: Store) -> dict[str, int]:
    """Count the results by state, adopted ones included."""
    found = dict(store.rows("SELECT state, COUNT(*) FROM entries GROUP BY state"))
    return {state: int(found.get(state, 0)) for state in ("intended", "done", "refused")}


def attachments(store: Store) -> dict[str, int]:
    """Count the files of results by state, links apart; `orphaned` counts contents that nothing refers to."""
    tallies = dict(store.rows("SELECT state, n FROM attachment_tallies"))
    counts = {state: int(tallies[state]) for state in ("pending", "done", "linked", "missing", "refused")}
    counts["pending"] += int(tallies["intended"])
    counts["orphaned"] = int(store.value("SELECT COUNT(*) FROM audit WHERE what = 'orphaned'"))
    return counts


def unattached(store: Store) -> list[dict[str, Any]]:
    """List the files that results go without, with the reason: they cannot be had, or Rally refuses them."""
    rows = store.rows(
        "SELECT project_id || '/' || pipeline_id || '/' || formatted_id || '/' || revision, a.name, a.state, a.reason"
        " FROM attachments a JOIN entries e USING (entry_id) JOIN pipelines USING (pipeline_id)"
        " WHERE a.state IN ('missing', 'refused') AND a.notice = 0 ORDER BY attachment_id"
    )
    return [dict(zip(("key", "name", "state", "reason"), row, strict=True)) for row in rows]


def sprints(store: Store) -> list[dict[str, Any]]:
    """Tell of each sprint's test set who is in it and what its results say so far, newest sprint first."""
    return [_sprint(store, *row) for row in store.rows(_SPRINTS)]


def _sprint(store: Store, iteration: int, test_set: int | None, *told: Any) -> dict[str, Any]:  # noqa: ANN401 - SQL's types
    name, state, reason, *about = told
    members = dict(store.rows("SELECT state, COUNT(*) FROM members WHERE iteration_id = ? GROUP BY 1", [iteration]))
    inside = int(members.get("done", 0))
    newest = store.rows(_NEWEST_RESULTS, [test_set, iteration])
    listed = "SELECT formatted_id, reason FROM {} WHERE iteration_id = ? {} ORDER BY test_case"
    return dict(zip(("iteration", "project", "starts_at", "ends_at"), about, strict=True)) | {
        "test_set": name,
        "object_id": test_set,
        "state": state,
        "reason": reason,
        "members": inside,
        "missing_members": int(members.get("wanted", 0) + members.get("intended", 0)),
        "results": dict(Counter(verdict for _, verdict in newest)),
        "not_run": [row[0] for row in store.rows(_NOT_RUN, [iteration, test_set])],
        "coverage": coverage(inside, len(newest)),
        "refused": _pairs(store, listed.format("members", "AND state = 'refused'"), iteration),
        "not_placeable": _pairs(store, listed.format("unplaced", ""), iteration),
        "doubles": [row[0] for row in store.rows("SELECT object_id FROM doubles WHERE iteration_id = ?", [iteration])],
    }


def _pairs(store: Store, sql: str, iteration: int) -> list[dict[str, str]]:
    return [{"test_case": case, "reason": reason} for case, reason in store.rows(sql, [iteration])]


def pipelines(store: Store) -> dict[str, int]:
    """Count the pipelines that were seen: wholly read, still to be read, and not finished (nothing to read yet)."""
    marks = ", ".join(f"'{status}'" for status in sorted(READY))
    seen, ready, read = store.rows(
        f"SELECT COUNT(*), COALESCE(SUM(status IN ({marks})), 0),"
        f" COALESCE(SUM(status IN ({marks}) AND read_update IS updated_at), 0) FROM pipelines"
    )[0]
    return {"seen": seen, "read": read, "unread": ready - read, "unfinished": seen - ready}


def problems(store: Store) -> list[dict[str, Any]]:
    """List what could not be read and why, newest last; problems of attempts that were retried since are left out."""
    rows = store.rows(
        "SELECT pipeline_id, job_id, kind, detail FROM problems p WHERE NOT EXISTS"
        " (SELECT 1 FROM jobs j WHERE j.job_id = p.job_id AND j.superseded = 1) ORDER BY problem_id"
    )
    return [dict(zip(("pipeline", "job", "kind", "detail"), row, strict=True)) for row in rows]


def refusals(store: Store) -> list[dict[str, Any]]:
    """List the results that Rally refused, with its reasons."""
    rows = store.rows(
        "SELECT project_id || '/' || pipeline_id || '/' || formatted_id || '/' || revision, reason"
        " FROM entries JOIN pipelines USING (pipeline_id) WHERE state = 'refused' ORDER BY entry_id"
    )
    return [{"key": key, "reason": reason} for key, reason in rows]


def services(store: Store) -> dict[str, dict[str, str | None]]:
    """Tell for each service when it last did all that was asked of it, and what its trouble is now."""
    known = dict(store.rows("SELECT name, value FROM cursors WHERE name LIKE 'success/%' OR name LIKE 'trouble/%'"))
    return {
        service.lower(): {
            "last_success": known.get(f"success/{service}"),
            "trouble": known.get(f"trouble/{service}") or None,
        }
        for service in SERVICES
    }


def last_success(store: Store) -> str | None:
    """Tell when both services last did all that was asked of them: the earlier of their last successes."""
    times = [service["last_success"] for service in services(store).values()]
    return None if None in times else min(time for time in times if time)


def last_pass(store: Store) -> dict[str, Any] | None:
    """Tell what the last pass that came to its end did."""
    rows = store.rows(
        "SELECT kind, started_at, ended_at, summary FROM passes WHERE ended_at IS NOT NULL"
        " ORDER BY pass_id DESC LIMIT 1"
    )
    if not rows:
        return None
    kind, started_at, ended_at, summary = rows[0]
    did: dict[str, Any] = json.loads(summary)
    return {"kind": kind, "started_at": started_at, "ended_at": ended_at} | did


def left(store: Store) -> int:
    """Count what is left to do: pipelines to read, tests to send, results in doubt or to remake, files to attach."""
    unread = store.value(f"SELECT COUNT(*) FROM ({unread_pipelines()})")
    pending = store.value("SELECT n FROM tallies WHERE state = 'pending'")
    doubtful = store.value(
        "SELECT COUNT(*) FROM entries e WHERE state = 'intended' AND NOT EXISTS (SELECT 1 FROM contributions"
        " JOIN tests t USING (test_id) WHERE entry_id = e.entry_id AND t.state = 'pending')"
    )
    files = store.value(
        "SELECT COUNT(*) FROM attachments a JOIN entries e USING (entry_id)"
        " WHERE a.state IN ('pending', 'intended') AND e.state = 'done'"
    )
    ordered = store.value("SELECT COUNT(*) FROM remakes JOIN entries USING (entry_id) WHERE state = 'done'")
    return int(unread + pending + doubtful + files + ordered) + sprints_left(store)


def sprints_left(store: Store) -> int:
    """Count what is left to do for sprints: sets, folders and moves in doubt, members to be put in."""
    members = store.value(
        "SELECT COUNT(*) FROM members m JOIN test_sets s USING (iteration_id)"
        " WHERE m.state IN ('wanted', 'intended') AND s.state = 'done'"
    )
    sets = store.value("SELECT COUNT(*) FROM test_sets WHERE state = 'intended'")
    folders = store.value("SELECT COUNT(*) FROM folders WHERE state = 'intended'")
    moves = store.value("SELECT COUNT(*) FROM moves WHERE state = 'intended'")
    return int(members + sets + folders + moves)


def unread_pipelines() -> str:
    """Give the query for pipelines that are finished and have something left to read."""
    marks = ", ".join(f"'{status}'" for status in sorted(READY))
    return (
        f"SELECT pipeline_id FROM pipelines WHERE status IN ({marks}) AND read_update IS NOT updated_at"
        f" UNION SELECT j.pipeline_id FROM jobs j JOIN pipelines p USING (pipeline_id) WHERE j.state = 'open'"
        f" AND j.superseded = 0 AND p.status IN ({marks})"
    )


def waiting(store: Store) -> list[Waiting]:
    """List the tests that are held, most often held first."""
    rows = store.rows(
        "WITH held AS (SELECT s.key, COUNT(*) AS held FROM tests t JOIN subjects s USING (subject_id)"
        " WHERE t.state = 'held' GROUP BY s.key)"
        " SELECT held.key, COUNT(*), COUNT(DISTINCT t.pipeline_id), MAX(t.test_id), held.held"
        " FROM held JOIN subjects s USING (key) JOIN tests t USING (subject_id) GROUP BY held.key"
        " ORDER BY held.held DESC, held.key"
    )
    return [
        Waiting(
            test=key,
            seen=seen,
            pipelines=in_pipelines,
            last_outcome=store.value("SELECT outcome FROM tests WHERE test_id = ?", [newest]),
            held=held,
            unknown=store.value(
                "SELECT GROUP_CONCAT(DISTINCT formatted_id) FROM targets JOIN subjects USING (subject_id)"
                " WHERE key = ? AND object_id IS NULL",
                [key],
            )
            or "",
        )
        for key, seen, in_pipelines, newest, held in rows
    ]


def recount(store: Store) -> dict[str, int]:
    """Count the tests by state row by row: the slow truth that `tests` must agree with."""
    return {state: int(n) for state, n in store.rows("SELECT state, COUNT(*) FROM tests GROUP BY state")}


_SPRINTS = """
SELECT i.iteration_id, s.object_id, s.name, s.state, s.reason, i.name, i.project_name, i.starts_at, i.ends_at
FROM test_sets s JOIN iterations i USING (iteration_id) ORDER BY i.starts_at DESC, i.iteration_id DESC
"""

# of each member the result with the newest Date
_NEWEST_RESULTS = """
SELECT e.test_case, e.verdict FROM entries e JOIN members m ON m.test_case = e.test_case
WHERE e.test_set = ? AND m.iteration_id = ? AND e.state = 'done' AND m.state = 'done' AND NOT EXISTS (
    SELECT 1 FROM entries n WHERE n.test_set = e.test_set AND n.test_case = e.test_case AND n.state = 'done'
    AND (COALESCE(n.date, n.intended_at), n.entry_id) > (COALESCE(e.date, e.intended_at), e.entry_id))
"""

_NOT_RUN = """
SELECT m.formatted_id FROM members m WHERE m.iteration_id = ? AND m.state = 'done' AND NOT EXISTS (
    SELECT 1 FROM entries e WHERE e.test_set = ? AND e.test_case = m.test_case AND e.state = 'done')
ORDER BY m.test_case
"""
