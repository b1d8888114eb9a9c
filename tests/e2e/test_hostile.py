"""Whatever is uploaded as a report: it is named in `status`, and good reports beside it arrive with their files."""

from __future__ import annotations

import json
import resource
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.ledger.store import open_for_reading
from reconciler.sandbox.faults import Answer, Fault
from reconciler.sandbox.messages import Dropped, Response
from tests import hostile
from tests.company import case, marked, report

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from reconciler.sandbox.faults import Exchange
    from reconciler.sandbox.gitlab import Job, Pipeline
    from tests.company import Company, Ran
    from tests.hostile import Evil

MOST_KIB = 150_000
LONGEST_S = 60
"""Of processors, for one pass over all of them; measured 15."""
ONLY_HERE = "root:x:0:0:only-this-file-has-it"
PNG = b"\x89PNG\r\n\x1a\n"
SMALL = hostile.gzipped(b'<testsuite><testcase classname="shop" name="small_TC10"/></testsuite>')


@dataclass(frozen=True, slots=True)
class ListedAs:
    """Lets GitLab list the artifacts of some jobs with sizes that they do not have."""

    sizes: Mapping[int, int]

    def __call__(self, exchange: Exchange) -> None:
        """Carry out the fault."""
        response = exchange.run()
        assert isinstance(response.body, bytes)
        jobs: list[dict[str, Any]] = json.loads(response.body)
        for job in jobs:
            for artifact in job["artifacts"]:
                artifact["size"] = self.sizes.get(job["id"], artifact["size"])
        response.body = json.dumps(jobs).encode()
        exchange.send(response)


@dataclass(frozen=True, slots=True)
class LyingLength:
    """Sends a whole answer with another Content-Length, and cuts the connection."""

    more: int

    def __call__(self, exchange: Exchange) -> None:
        """Carry out the fault."""
        response = exchange.run()
        body = response.body if isinstance(response.body, bytes) else b"".join(response.body)
        response.headers["Content-Length"] = str(len(body) + self.more)
        response.body = self._pieces(body)
        exchange.send(response)

    def _pieces(self, body: bytes) -> Iterator[bytes]:
        yield body
        raise Dropped


def upload(company: Company, pipeline: Pipeline, evils: list[Evil]) -> dict[Evil, Job]:
    """Finish a job for each."""
    store, jobs = company.gitlab.store, {}
    for evil in evils:
        words = {"junit": evil.junit, "archive": evil.archive}
        given: Any = {word: data for word, data in words.items() if data is not None}
        jobs[evil] = store.add_job(pipeline, evil.name, finished_at=store.clock(), **given)
    return jobs


def counted(company: Company) -> dict[int, int]:
    """Tell how many tests of each job the ledger has."""
    store = open_for_reading(company.folder / "ledger.db")
    found = dict(store.rows("SELECT job_id, COUNT(*) FROM tests GROUP BY job_id"))
    store.close()
    return found


def check(evil: Evil, problems: list[dict[str, Any]], tests: int) -> None:
    """See that a job has the problems and the tests that it must have."""
    assert (evil.name, *(row["kind"] for row in problems)) == (evil.name, *evil.kinds)
    assert (evil.name, tests) == (evil.name, evil.tests)
    assert not evil.kinds or evil.said in problems[0]["detail"], problems
    assert all(len(row["detail"]) < 1_100 for row in problems), evil.name


def everything(company: Company, ran: list[Ran]) -> str:
    """Put together all that was told, put into Rally, and written down."""
    kinds = ("TestCaseResult", "Attachment", "AttachmentContent")
    things = [thing.fields for kind in kinds for thing in company.rally_store.find(kind)]
    contents = [content for files in company.attachments(pipeline_of(company)).values() for content in files]
    store = open_for_reading(company.folder / "ledger.db")
    outputs = [zlib.decompress(body) for (body,) in store.rows("SELECT body FROM outputs")]
    ledger = "".join(store.db.iterdump())
    store.close()
    return "".join(one.out + one.err for one in ran) + repr((things, contents, outputs)) + ledger


def pipeline_of(company: Company) -> Pipeline:
    """Find the only pipeline."""
    (pipeline,) = company.gitlab.store.pipelines_of(company.project)
    return pipeline


def processors_s() -> float:
    """Tell for how long processors have worked for the programs that we started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.timeout(300)
def test_every_hostile_report_is_named_and_the_good_one_beside_them_arrives(company: Company, tmp_path: Path) -> None:
    """In bounded time and memory; nothing of a bad document counts, and no file of this machine is shown."""
    secret = tmp_path / "passwd"
    secret.write_text(ONLY_HERE)
    store = company.gitlab.store
    pipeline = store.add_pipeline(company.project, status="failed")
    evils = [*hostile.entities(secret), *hostile.giants(), *hostile.streams(), *hostile.zips()]
    jobs = upload(company, pipeline, evils)
    good = company.ran(report(case("see_TC1!", marked("a.png"))), {"a.png": PNG, "b.txt": b"?"}, pipeline)
    company.gitlab.server.faults.add(Fault(Answer(Response.text("", 404)), path="/test_report$", times=None))
    before_s = processors_s()

    ran, peak = company.measured("--once")

    took_s = processors_s() - before_s
    assert (ran.status, took_s < LONGEST_S, peak < MOST_KIB) == (0, True, True), (ran, took_s, peak)
    assert [name for name, _ in company.attachments(pipeline)["TC1/1"]] == ["a.png", "test_output.log"]
    verdicts = {f"TC{n}/1": "Pass" for n in (2, 3, 4, 5, 7, 8)} | {"TC1/1": "Fail", "TC6/1": "Fail"}
    assert company.verdicts(pipeline) == verdicts
    told, tests = company.status()["problems"], counted(company)
    for evil, job in jobs.items():
        check(evil, [row for row in told if row["job"] == job.id], tests.get(job.id, 0))
    assert tests[good.id] == 1
    again = [company.run("status"), company.run("review"), company.run("--json", "--once")]
    assert again[2].json["writes"] == 0
    written = everything(company, [ran, *again])
    assert "see_TC1" in written
    assert ONLY_HERE not in written
    assert "\x1b" not in "".join(one.out + one.err for one in (ran, *again))


def test_sizes_that_lie_are_never_believed(company: Company) -> None:
    """Listed ones change nothing; an answer that is shorter or longer than it says is asked for again, then named."""
    store = company.gitlab.store
    pipeline = store.add_pipeline(company.project, status="failed")
    zipped = {"a.xml": b'<testsuite><testcase classname="shop" name="zipped_TC9"/></testsuite>', "x.bin": bytes(500)}
    words: list[Any] = [{"junit": SMALL}, {"junit": SMALL}, {"archive": zipped}, {"archive": zipped}]
    words += [{"junit": SMALL}, {"junit": SMALL}]
    jobs = [store.add_job(pipeline, f"job {n}", finished_at=store.clock(), **word) for n, word in enumerate(words)]
    good = company.ran(report(case("pay_TC1!", marked("a.png"))), {"a.png": PNG}, pipeline)
    lies = {job.id: size for job, size in zip(jobs, (1, 10**15, 1, 10**15), strict=False)}
    faults = company.gitlab.server.faults
    faults.add(Fault(ListedAs(lies), path=f"/pipelines/{pipeline.id}/jobs$", times=None))
    faults.add(Fault(LyingLength(100), path=f"/jobs/{jobs[4].id}/artifacts$", times=None))
    faults.add(Fault(LyingLength(-10), path=f"/jobs/{jobs[5].id}/artifacts$", times=None))
    faults.add(Fault(Answer(Response.text("", 404)), path="/test_report$", times=None))

    ran = [company.run("--once").status for _ in range(3)]

    assert ran == [75, 75, 0]
    assert company.verdicts(pipeline) == {"TC1/1": "Fail", "TC9/1": "Pass", "TC10/1": "Pass"}
    assert company.names(pipeline)["TC1/1"] == ["a.png", "test_output.log"]
    assert {row["job"]: row["kind"] for row in company.status()["problems"]} == {
        jobs[4].id: "unreadable",
        jobs[5].id: "truncated",
    }
    assert counted(company) == dict.fromkeys((good.id, *(job.id for job in jobs[:4])), 1)
