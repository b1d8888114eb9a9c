"""What came of it: the results as the stand-in Rally stores them, and the tests as the ledger knows them."""

from __future__ import annotations

import html
import re
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from reconciler.ledger.store import open_for_reading
from reconciler.notes import read_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from reconciler.model import Key
    from reconciler.sandbox.gitlab import GitLabStore
    from reconciler.sandbox.rally import Store

_CELLS = re.compile(r"</t[dh]><t[dh]>")
_TAGS = re.compile(r"<[^<>]*>")


@dataclass(frozen=True, slots=True)
class Result:
    """A TestCaseResult that is stored in Rally."""

    object_id: int
    build: str
    formatted_id: str
    name: str
    verdict: str
    key: Key | None
    date: str
    notes: str
    test_set: int | None = None
    """ObjectID of the TestSet that it carries."""

    @property
    def revision(self) -> int:
        """The revision that its key tells; 0 when it has no key."""
        return self.key.revision if self.key else 0

    @property
    def lines(self) -> list[str]:
        """Its Notes as lines of text."""
        text = _CELLS.sub("  ", self.notes).replace("</tr>", "\n")
        lines = (html.unescape(_TAGS.sub("", line)).rstrip() for line in text.splitlines())
        return [line for line in lines if line]

    @property
    def lines_about_files(self) -> list[str]:
        """Those of its lines that tell of files."""
        lines = self.lines
        starts = [place for place, line in enumerate(lines) if line.startswith(("Files:", "Files (", "Missing:"))]
        ends = [place for place, line in enumerate(lines) if line.startswith("Duration is in seconds")]
        return lines[starts[0] : ends[-1]] if starts and ends else []


@dataclass(slots=True)
class PipelineFacts:
    """One pipeline, as GitLab ran it, the ledger read it and Rally shows it."""

    project: str
    id: int
    ref: str
    jobs: Counter[str] = field(default_factory=Counter)
    """Names that shards and cells of a matrix share → how many of them."""
    unreadable: set[str] = field(default_factory=set)
    tests: int = 0
    held: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)


def stored_results(store: Store) -> list[Result]:
    """List what Rally has, oldest first."""
    names = {thing.formatted_id: thing.name for thing in store.find("TestCase")}
    return [
        Result(
            object_id=cast("int", row["ObjectID"]),
            build=str(row["Build"]),
            formatted_id=str(row["FormattedID"]),
            name=names.get(str(row["FormattedID"]), ""),
            verdict=str(row["Verdict"]),
            key=read_key(str(row["Notes"])),
            date=str(row["Date"]),
            notes=str(row["Notes"]),
            test_set=cast("int | None", row.get("TestSet")),
        )
        for row in store.results()
    ]


def doubled_keys(results: Iterable[Result]) -> list[str]:
    """List the keys that more than one result carries, and the Builds of results that carry none."""
    keys = Counter(str(result.key) if result.key else f"no key in {result.build}" for result in results)
    return [key for key, times in keys.items() if times > 1 or key.startswith("no key")]


def pipelines(ledger: Path, gitlab: GitLabStore, results: Iterable[Result]) -> list[PipelineFacts]:
    """Tell of each pipeline in the ledger, oldest first."""
    with closing(open_for_reading(ledger)) as store:
        rows = store.rows("SELECT pipeline_id, path, ref, source FROM pipelines JOIN projects USING (project_id)")
        jobs = store.rows("SELECT pipeline_id, job_id FROM jobs WHERE superseded = 0 ORDER BY job_id")
        lost = store.rows("SELECT DISTINCT job_id FROM problems WHERE job_id NOT IN (SELECT job_id FROM reports)")
        tests = store.rows("SELECT pipeline_id, COUNT(*), SUM(state = 'held') FROM tests GROUP BY pipeline_id")
    facts = {number: PipelineFacts(path, number, _ref(ref, source)) for number, path, ref, source in sorted(rows)}
    for number, job_id in jobs:
        facts[number].jobs[gitlab.jobs[job_id].group] += 1
        if (job_id,) in lost:
            facts[number].unreadable.add(gitlab.jobs[job_id].group)
    for number, read, held in tests:
        facts[number].tests, facts[number].held = read, held
    for result in results:
        if result.key and result.key.pipeline_id in facts:
            facts[result.key.pipeline_id].verdicts[result.verdict] += 1
    return list(facts.values())


def made_of_most_jobs(ledger: Path, results: Sequence[Result]) -> list[Result]:
    """Choose the bad result that the most jobs contributed to; none when all is well."""
    with closing(open_for_reading(ledger)) as store:
        rows = store.rows(
            "SELECT object_id FROM entries JOIN contributions USING (entry_id) JOIN tests USING (test_id)"
            " WHERE verdict <> 'Pass' GROUP BY entry_id ORDER BY COUNT(DISTINCT job_id) DESC, COUNT(*) DESC LIMIT 1"
        )
    return [result for result in results if (result.object_id,) in rows]


def _ref(ref: str, source: str) -> str:
    """Shorten a merge request's ref, and say what else than a push began the pipeline."""
    if match := re.fullmatch(r"refs/merge-requests/(\d+)/head", ref):
        return f"merge request {match[1]}"
    word = {"push": "", "schedule": "scheduled", "parent_pipeline": "child"}.get(source, source)
    return f"{ref}, {word}" if word else ref
