"""What people ask the ledger: how things stand, and which tests wait for a mapping. Reads only."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reconciler.ledger.tallies import READY

if TYPE_CHECKING:
    from reconciler.ledger.store import Store

STATES = ("sent", "merged", "pending", "held", "ignored", "superseded", "refused")
"""The states that every test case element is in exactly one of."""
SERVICES = ("GitLab", "Rally")
ALL = -1
"""SQL's word for no limit."""


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
    found = dict(store.rows("SELECT state, SUM(n) FROM entry_tallies GROUP BY state"))
    return {state: int(found.get(state, 0)) for state in ("intended", "done", "refused")}


def verdicts(store: Store) -> dict[str, int]:
    """Count the results that are in Rally by verdict, adopted ones included."""
    return dict(store.rows("SELECT verdict, n FROM entry_tallies WHERE state = 'done' AND n > 0 ORDER BY verdict"))


def attachments(store: Store) -> dict[str, int]:
    """Count the files of results by state, links apart; `orphaned` counts contents that nothing refers to."""
    tallies = dict(store.rows("SELECT state, n FROM attachment_tallies"))
    counts = {state: int(tallies[state]) for state in ("pending", "done", "linked", "missing", "refused")}
    counts["pending"] += int(tallies["intended"])
    counts["orphaned"] = int(store.value("SELECT COUNT(*) FROM audit WHERE what = 'orphaned'"))
    return counts


def unattached(store: Store, newest: int = ALL) -> list[dict[str, Any]]:
    """List the files that results go without, newest last, with the reason: they cannot be had, or Rally refuses them.

    `newest`, as of the other lists: no more than so many; `ALL` of them when it is not given.
    """
    rows = store.rows(
        "SELECT project_id || '/' || pipeline_id || '/' || formatted_id || '/' || revision, a.name, a.state, a.reason"
        " FROM attachments a CROSS JOIN entries e USING (entry_id) CROSS JOIN pipelines USING (pipeline_id)"
        " WHERE a.state IN ('missing', 'refused') AND a.notice = 0 ORDER BY attachment_id DESC LIMIT ?",
        [newest],
    )
    return [dict(zip(("key", "name", "state", "reason"), row, strict=True)) for row in reversed(rows)]


def sprints(store: Store, newest: int = ALL) -> list[dict[str, Any]]:
    """Tell of each sprint's test set who is in it and what its results say so far, newest sprint first."""
    return [_sprint(store, *row) for row in store.rows(_SPRINTS, [newest])]


def _sprint(store: Store, iteration: int, test_set: int | None, *told: Any) -> dict[str, Any]:  # noqa: ANN401 - SQL's types
    name, state, reason, *about = told
    members = dict(store.rows("SELECT state, COUNT(*) FROM members WHERE iteration_id = ? GROUP BY 1", [iteration]))
    inside = int(members.get("done", 0))
    newest = store.rows(_NEWEST_RESULTS, {"test_set": test_set, "iteration": iteration})
    run = [(case, verdict) for case, verdict in newest if verdict is not None]
    listed = "SELECT formatted_id, reason FROM {} WHERE iteration_id = ? {} ORDER BY test_case"
    return dict(zip(("iteration", "project", "starts_at", "ends_at"), about, strict=True)) | {
        "test_set": name,
        "object_id": test_set,
        "state": state,
        "reason": reason,
        "members": inside,
        "missing_members": int(members.get("wanted", 0) + members.get("intended", 0)),
        "results": dict(Counter(verdict for _, verdict in run)),
        "not_run": [case for case, verdict in newest if verdict is None],
        "coverage": coverage(inside, len(run)),
        "refused": _pairs(store, listed.format("members", "AND state = 'refused'"), iteration),
        "not_placeable": _pairs(store, listed.format("unplaced", ""), iteration),
        "doubles": [row[0] for row in store.rows("SELECT object_id FROM doubles WHERE iteration_id = ?", [iteration])],
    }


def coverage(members: int, run: int) -> float:
    """Tell in per cent how many members have a result; 100 for a set without members is no claim, so 0."""
    return round(100.0 * run / members, 1) if members else 0.0


def _pairs(store: Store, sql: str, iteration: int) -> list[dict[str, str]]:
    return [{"test_case": case, "reason": reason} for case, reason in store.rows(sql, [iteration])]


def pipelines(store: Store) -> dict[str, int]:
    """Count the pipelines that were seen: wholly read, still to be read, and not finished (nothing to read yet)."""
    seen, ready, read = store.rows(
        f"SELECT COALESCE(SUM(n), 0), COALESCE(SUM(n * (status IN ({READY}))), 0),"
        f" COALESCE(SUM(n * (status IN ({READY}) AND is_read)), 0) FROM pipeline_tallies"
    )[0]
    return {"seen": seen, "read": read, "unread": ready - read, "unfinished": seen - ready}


def backfills(store: Store) -> list[dict[str, Any]]:
    """Tell of all backfills, newest first."""
    rows = store.rows(
        "SELECT since, until, projects, asked_at, handed, state, due, found, read FROM backfills"
        " ORDER BY backfill_id DESC"
    )
    return [
        {
            "since": since,
            "until": until,
            "projects": json.loads(projects),
            "asked_at": asked_at,
            "state": "interrupted" if state == "open" and not handed else state,
            "results_due": due,
            "pipelines_found": found,
            "pipelines_read": read,
        }
        for since, until, projects, asked_at, handed, state, due, found, read in rows
    ]


def problems(store: Store, newest: int = ALL) -> list[dict[str, Any]]:
    """List what could not be read and why, newest last; problems of attempts that were retried since are left out."""
    rows = store.rows(
        "SELECT pipeline_id, job_id, kind, detail FROM problems WHERE superseded = 0 ORDER BY problem_id DESC LIMIT ?",
        [newest],
    )
    return [dict(zip(("pipeline", "job", "kind", "detail"), row, strict=True)) for row in reversed(rows)]


def count_problems(store: Store) -> int:
    """Count what `problems` lists."""
    return int(store.value("SELECT COUNT(*) FROM problems WHERE superseded = 0"))


def count_sprints(store: Store) -> int:
    """Count what `sprints` lists."""
    return int(store.value("SELECT COUNT(*) FROM test_sets"))


def refusals(store: Store, newest: int = ALL) -> list[dict[str, Any]]:
    """List the results that Rally refused, newest last, with its reasons."""
    rows = store.rows(
        "SELECT project_id || '/' || pipeline_id || '/' || formatted_id || '/' || revision, reason FROM entries"
        " CROSS JOIN pipelines USING (pipeline_id) WHERE state = 'refused' ORDER BY entry_id DESC LIMIT ?",
        [newest],
    )
    return [{"key": key, "reason": reason} for key, reason in reversed(rows)]


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


def last_used(store: Store) -> dict[str, str | None]:
    """Tell for each service when a pass that used it last came to its end, whatever came of it."""
    known = dict(store.rows("SELECT name, value FROM cursors WHERE name LIKE 'pass/%'"))
    return {service.lower(): known.get(f"pass/{service}") for service in SERVICES}


def daemon(store: Store) -> dict[str, Any]:
    """Tell what the daemon last left word of; whether it runs, only its lock can tell.

    `started` and the instants in `next`, by job, are stamps; `breakers` say "open" or "closed", by service; `alarms`
    are texts. `gitlab_expires` is the day, as 2026-01-31, on which GitLab's token ends; None: never, or not known.
    """
    said = dict(store.rows("SELECT name, value FROM cursors WHERE name LIKE 'daemon/%' OR name LIKE 'token/%'"))
    below = {
        part: {name.removeprefix(part): value for name, value in said.items() if name.startswith(part)}
        for part in ("daemon/next/", "daemon/breaker/")
    }
    return {
        "started": said.get("daemon/started"),
        "next": below["daemon/next/"],
        "breakers": below["daemon/breaker/"],
        "alarms": json.loads(said.get("daemon/alarms", "[]")),
        "gitlab_expires": said.get("token/GitLab") or None,
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
    return sum(todo(store).values())


def backlog(store: Store) -> dict[str, Any]:
    """Tell what is left to do and, as `oldest`, since when the oldest of it waits: None when nothing does.

    A pipeline waits from its last update, a test from the end of its job, a file from the date of its result.
    """
    waits = [store.value(sql) for sql in _OLDEST]
    return {**todo(store), "oldest": min((since for since in waits if since), default=None)}


def todo(store: Store) -> dict[str, int]:
    """Count what is left to do, by what it is.

    `results` are tests whose result is to be sent, and results that are in doubt or to be made again; `members` are
    also test sets, folders and moves in doubt.
    """
    pending = store.value("SELECT n FROM tallies WHERE state = 'pending'") - store.value(
        f"SELECT COUNT(*) FROM tests WHERE state = 'pending' AND pipeline_id IN ({held_back()})"
    )
    doubtful = store.value(
        "SELECT COUNT(*) FROM entries e WHERE state = 'intended' AND NOT EXISTS (SELECT 1 FROM contributions"
        " JOIN tests t USING (test_id) WHERE entry_id = e.entry_id AND t.state = 'pending')"
    )
    ordered = store.value("SELECT COUNT(*) FROM remakes CROSS JOIN entries USING (entry_id) WHERE state = 'done'")
    return {
        "pipelines": int(store.value(f"SELECT COUNT(*) FROM ({unread_pipelines()})")),
        "results": int(pending + doubtful + ordered),
        "attachments": int(store.value(f"SELECT COUNT(*) {_TO_ATTACH}")),
        "members": sprints_left(store),
    }


def soonest_expiry(store: Store) -> str | None:
    """Tell when GitLab drops the first artifacts of which something is not yet read: a report, or a file to attach."""
    waits = [store.value(sql) for sql in _EXPIRES]
    return min((expiry for expiry in waits if expiry), default=None)


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
    """Give the query for pipelines that are finished and have something left to read, but for those of backfills."""
    spared = " AND pipeline_id NOT IN (SELECT pipeline_id FROM backlog)"
    return (
        f"SELECT pipeline_id FROM pipelines WHERE status IN ({READY}) AND read_update IS NOT updated_at{spared}"
        f" UNION SELECT pipeline_id FROM jobs j CROSS JOIN pipelines p USING (pipeline_id) WHERE j.state = 'open'"
        f" AND j.superseded = 0 AND p.status IN ({READY}){spared}"
    )


def held_back() -> str:
    """Give the query for pipelines that were read for a backfill that is not agreed to: nothing of them is sent."""
    return "SELECT pipeline_id FROM backlog JOIN backfills USING (backfill_id) WHERE is_new = 1 AND agreed = 0"


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
FROM test_sets s JOIN iterations i USING (iteration_id) ORDER BY i.starts_at DESC, i.iteration_id DESC LIMIT ?
"""

# of each member the verdict of the result with the newest Date; NULL: it has none
_NEWEST_RESULTS = """
SELECT m.formatted_id, (
    SELECT e.verdict FROM entries e WHERE e.test_set = :test_set AND e.test_case = m.test_case AND e.state = 'done'
    ORDER BY COALESCE(e.date, e.intended_at) DESC, e.entry_id DESC LIMIT 1)
FROM members m WHERE m.iteration_id = :iteration AND m.state = 'done' ORDER BY m.test_case
"""

_TO_ATTACH = """
FROM attachments a CROSS JOIN entries e USING (entry_id) WHERE a.state IN ('pending', 'intended') AND e.state = 'done'
"""

# one step for each pipeline that has pending tests, and not one for each test
_JOBS_WITH_PENDING_TESTS = """
WITH RECURSIVE due(pipeline_id) AS (
    SELECT MIN(pipeline_id) FROM tests WHERE state = 'pending'
    UNION ALL
    SELECT (SELECT MIN(pipeline_id) FROM tests WHERE state = 'pending' AND pipeline_id > due.pipeline_id)
    FROM due WHERE due.pipeline_id IS NOT NULL
)
SELECT MIN(j.finished_at) FROM due CROSS JOIN jobs j USING (pipeline_id) WHERE EXISTS (
    SELECT 1 FROM tests t WHERE t.pipeline_id = j.pipeline_id AND t.job_id = j.job_id AND t.state = 'pending')
"""

_OLDEST = (
    f"SELECT MIN(updated_at) FROM pipelines WHERE pipeline_id IN ({unread_pipelines()})",
    _JOBS_WITH_PENDING_TESTS,
    "SELECT MIN(intended_at) FROM entries WHERE state = 'intended'",
    f"SELECT MIN(COALESCE(e.date, e.intended_at)) {_TO_ATTACH}",
    "SELECT MIN(intended_at) FROM members WHERE state IN ('wanted', 'intended')",
)

_EXPIRES = (
    "SELECT MIN(expires_at) FROM jobs WHERE state = 'open' AND superseded = 0",
    """
SELECT MIN(j.expires_at) FROM attachments a CROSS JOIN files f USING (file_id) CROSS JOIN jobs j USING (job_id)
WHERE a.state IN ('pending', 'intended') AND a.content_id IS NULL AND f.kind = 'member' AND j.kept <> 'yes'
""",
)
