"""The books, audited: every test, result and file of a ledger is counted anew and must be where the ledger says.

Nothing here leans on the triggers, the quick counts or the SQL by which the ledger finds out how a test stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.ledger import views

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.ledger.store import Store

RANKS = {1: "pending", 2: "held", 3: "refused", 4: "sent", 5: "merged"}
"""The least settled first: a test that counts for several test cases takes the first of what they say."""


def check(store: Store, *, settled: bool = False, skips_count: bool | None = None) -> None:
    """Fail when something is lost, doubled or misplaced.

    `settled`: a pass went through and nothing is left to decide, so that a test is pending only where something is
    still to be sent for it. `skips_count`: whether skipped tests have a verdict; None: the config said both in turn.
    """
    found = [*_miscounted(store), *_misplaced(store, settled=settled, skips_count=skips_count), *_unfounded(store)]
    assert not found, found


def _miscounted(store: Store) -> Iterator[str]:
    told, rows = views.tests(store), _counts(store, "SELECT state, COUNT(*) FROM tests GROUP BY state")
    read = store.value("SELECT COALESCE(SUM(tests), 0) FROM reports")
    if told["unaccounted"] or (told["read"], sum(rows.values())) != (read, read):
        yield f"{read} tests were read; status tells {told}; there are {rows}"
    if rows != {state: told[state] for state in views.STATES if told[state]}:
        yield f"status tells {told}; there are {rows}"
    for report, said, there in store.rows(_REPORTS):
        yield f"report {report} had {said} tests; there are {there}"
    yield from _quick_counts(store)
    files = _counts(store, "SELECT state, COUNT(*) FROM attachments WHERE notice = 0 GROUP BY state")
    tallies = _counts(store, "SELECT state, n FROM attachment_tallies WHERE n > 0")
    said = views.attachments(store)
    in_work = files.get("pending", 0) + files.get("intended", 0)
    if tallies != files or said["pending"] != in_work:
        yield f"status tells of files {said}; they are counted as {tallies}; there are {files}"
    if len(views.unattached(store)) != said["missing"] + said["refused"]:
        yield f"status lists {len(views.unattached(store))} files that results go without, and counts {said}"


def _quick_counts(store: Store) -> Iterator[str]:
    """Count anew what `status` has the triggers count."""
    entries = {state: number for state, number in views.entries(store).items() if number}
    if entries != (there := _counts(store, "SELECT state, COUNT(*) FROM entries GROUP BY state")):
        yield f"status tells of results {entries}; there are {there}"
    there = _counts(store, "SELECT verdict, COUNT(*) FROM entries WHERE state = 'done' GROUP BY verdict")
    if (verdicts := views.verdicts(store)) != there:
        yield f"results in Rally are counted by verdict as {verdicts}; there are {there}"
    pipelines = _counts(store, _PIPELINES)
    if (told := {name: number for name, number in views.pipelines(store).items() if number}) != pipelines:
        yield f"status tells of pipelines {told}; there are {pipelines}"
    problems = int(store.value(_PROBLEMS))
    if (said := (views.count_problems(store), len(views.problems(store)))) != (problems, problems):
        yield f"status tells of {said} problems; there are {problems}"


_PIPELINES = """
SELECT 'seen', COUNT(*) FROM pipelines HAVING COUNT(*) > 0
UNION ALL SELECT CASE
    WHEN status NOT IN ('success', 'failed', 'canceled', 'manual') THEN 'unfinished'
    WHEN read_update = updated_at THEN 'read' ELSE 'unread' END, COUNT(*) FROM pipelines GROUP BY 1
"""
_PROBLEMS = """
SELECT COUNT(*) FROM problems p LEFT JOIN jobs j USING (job_id) WHERE COALESCE(j.superseded, 0) = 0
"""


def _counts(store: Store, sql: str) -> dict[str, int]:
    return {state: int(number) for state, number in store.rows(sql)}


_REPORTS = """
SELECT report_id, r.tests, COUNT(t.test_id) FROM reports r LEFT JOIN tests t USING (report_id)
GROUP BY report_id HAVING r.tests <> COUNT(t.test_id) OR SUM(t.job_id <> r.job_id) > 0
"""


# --- where each test is ----------------------------------------------------------------------------------------------


def _misplaced(store: Store, *, settled: bool, skips_count: bool | None) -> Iterator[str]:
    if settled and store.value("SELECT COUNT(*) FROM entries WHERE state = 'intended'"):
        yield "a result is in doubt"
    for test, number, state, superseded, mapping, skipped, sent, rank in store.rows(_STANDING):
        allowed = {RANKS[rank]} if rank else {"held"}
        if superseded:
            allowed = {"superseded"}
        elif mapping == "ignored" or (skipped and not skips_count):
            if skips_count is not None and settled and not sent:
                allowed = set()
            allowed.add("ignored")
        if not settled and not superseded:
            allowed.add("pending")
        if state not in allowed:
            yield f"test {test} and {number - 1} more: {state}, and should be {allowed} ({mapping})"


# An intent changes nothing yet: until its answer is known a test may be pending, or where it was before.
_STANDING = """
WITH took AS (
    SELECT c.test_id, e.entry_id, e.pipeline_id, e.formatted_id, e.revision, e.state, c.decided,
        MAX(e.state = 'done') OVER (PARTITION BY c.test_id, e.formatted_id) AS ever_done,
        ROW_NUMBER() OVER (PARTITION BY c.test_id, e.formatted_id ORDER BY e.revision DESC) AS place
    FROM contributions c JOIN entries e USING (entry_id) WHERE e.state <> 'intended'
),
newest AS (SELECT pipeline_id, formatted_id, MAX(revision) AS revision FROM entries GROUP BY 1, 2),
stale AS (
    SELECT entry_id FROM outdated JOIN entries USING (entry_id) JOIN newest USING (pipeline_id, formatted_id, revision)
),
said (test_id, sent, rank) AS (
    SELECT t.test_id, k.test_id IS NOT NULL, CASE
        WHEN k.entry_id IN (SELECT entry_id FROM stale) THEN IIF(g.object_id IS NULL, 2, 1)
        WHEN g.object_id IS NULL AND COALESCE(k.ever_done, 0) = 0 THEN 2
        WHEN k.test_id IS NULL THEN 1
        WHEN k.state = 'refused' THEN 3
        ELSE 5 - k.decided END
    FROM tests t JOIN targets g USING (subject_id)
    LEFT JOIN took k ON k.test_id = t.test_id AND k.formatted_id = g.formatted_id AND k.place = 1
    UNION ALL
    SELECT k.test_id, 1, IIF(k.state = 'refused', 3, 5 - k.decided)
    FROM took k JOIN tests t USING (test_id)
    WHERE k.place = 1 AND t.subject_id NOT IN (SELECT subject_id FROM targets)
),
stands AS (SELECT test_id, MAX(sent) AS sent, MIN(rank) AS rank FROM said GROUP BY test_id)
SELECT MIN(t.test_id), COUNT(*), t.state, j.superseded, s.mapping, t.outcome = 'skipped', COALESCE(sent, 0), rank
FROM tests t JOIN jobs j USING (job_id) JOIN subjects s USING (subject_id) LEFT JOIN stands USING (test_id)
GROUP BY 3, 4, 5, 6, 7, 8
"""


# --- what each result and file stands on -----------------------------------------------------------------------------


def _unfounded(store: Store) -> Iterator[str]:
    for what, sql in _UNFOUNDED.items():
        for row in store.rows(sql):
            yield f"{what}: {row}"


_UNFOUNDED = {
    "a result of ours that no test or more than one decided": """
        SELECT entry_id, state, SUM(decided) FROM entries LEFT JOIN contributions USING (entry_id)
        WHERE adopted = 0 GROUP BY entry_id HAVING COALESCE(SUM(decided), 0) <> 1""",
    "a result that was found in Rally and that several tests decided": """
        SELECT entry_id FROM entries JOIN contributions USING (entry_id)
        WHERE adopted = 1 GROUP BY entry_id HAVING SUM(decided) > 1""",
    "a result made of another pipeline's test": """
        SELECT entry_id, test_id FROM contributions JOIN entries e USING (entry_id) JOIN tests t USING (test_id)
        WHERE t.pipeline_id <> e.pipeline_id""",
    "one object in Rally for two results": """
        SELECT object_id FROM entries WHERE object_id IS NOT NULL GROUP BY object_id HAVING COUNT(*) > 1""",
    "a result that is in work beside another one of its test case": """
        SELECT pipeline_id, formatted_id FROM entries WHERE state = 'intended'
        GROUP BY pipeline_id, formatted_id HAVING COUNT(*) > 1""",
    "one object in Rally for two files": """
        SELECT object_id FROM attachments WHERE object_id IS NOT NULL GROUP BY object_id HAVING COUNT(*) > 1""",
    "a file that is in Rally on a result that is not": """
        SELECT attachment_id, e.state FROM attachments a JOIN entries e USING (entry_id)
        WHERE a.state IN ('intended', 'done') AND e.state <> 'done'""",
    "a file of a refused result": """
        SELECT attachment_id FROM attachments JOIN entries e USING (entry_id) WHERE e.state = 'refused'""",
    "a test that has files or an output and does not say so": """
        SELECT test_id, evidence FROM tests t WHERE
        (evidence & 1 > 0) <> EXISTS (SELECT 1 FROM test_outputs o WHERE o.test_id = t.test_id)
        OR (evidence & 2 > 0) <> EXISTS (SELECT 1 FROM test_files f WHERE f.test_id = t.test_id)
        OR (evidence & 4 > 0) <> EXISTS (SELECT 1 FROM test_metrics m WHERE m.test_id = t.test_id)""",
    "a test that is mapped to nothing, or not mapped to something": """
        SELECT subject_id, key, mapping FROM subjects s
        WHERE (mapping = 'mapped') <> EXISTS (SELECT 1 FROM targets g WHERE g.subject_id = s.subject_id)""",
    "a job of whose report something counts although it is lost": """
        SELECT job_id FROM jobs JOIN reports USING (job_id) WHERE state IN ('lost', 'empty')""",
    "a row that refers to nothing": "PRAGMA foreign_key_check",
}
