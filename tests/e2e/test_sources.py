"""Where the JUnit XML comes from, in order; and what is said when it comes from nowhere."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from reconciler.sandbox.faults import Answer, Fault, Truncate, page
from reconciler.sandbox.gitlab import Filler
from reconciler.sandbox.server import Response
from tests.company import ago, junit

if TYPE_CHECKING:
    from pathlib import Path

    from tests.company import Company


MEASURED = """
import atexit, pathlib, re, sys
from reconciler.cli import main
peak, status = pathlib.Path(sys.argv.pop()), pathlib.Path("/proc/self/status")
atexit.register(lambda: peak.write_text(re.search(r"VmHWM:\\s*(\\d+) kB", status.read_text())[1]))
main()
"""
"""Runs the command line and writes down its peak of memory in KiB: what getrusage tells begins with the parent's."""


def kinds(company: Company) -> list[str]:
    """List the kinds of the problems that status tells."""
    return [problem["kind"] for problem in company.status()["problems"]]


def paths(company: Company, word: str) -> list[str]:
    """List the requests to GitLab whose path holds a word."""
    return [entry.target for entry in company.gitlab.server.log if word in entry.path]


def test_every_file_of_a_junit_artifact_is_a_document(company: Company) -> None:
    """The runner compresses each file as a member of its own; a new pipeline costs 1 request + 1 per report."""
    store = company.gitlab.store
    pipeline = store.add_pipeline(company.project, status="success")
    reports = [("a/one.xml", junit("a_TC1")), ("b/two.xml", junit("b_TC2")), ("ü/drei.xml", junit("c_TC3!"))]
    store.add_job(pipeline, "unit", finished_at=store.clock(), junit=reports)

    company.once()

    assert company.verdicts(pipeline) == {"TC1/1": "Pass", "TC2/1": "Pass", "TC3/1": "Fail"}
    assert len(paths(company, f"/pipelines/{pipeline.id}/jobs")) == 1
    assert len(paths(company, "/artifacts")) == 1


def test_xml_files_of_the_archive_count_when_there_is_no_junit_artifact(company: Company) -> None:
    """Only those under `results.junit_paths` whose root is JUnit; others are passed over in silence."""
    company.configure(rally={"settle_after_seconds": 0}, results={"junit_paths": ["reports/**/*.xml"]})
    store = company.gitlab.store
    pipeline = store.add_pipeline(company.project, status="success")
    archive = {
        "reports/deep/er/TEST-a b.xml": junit("a_TC1"),
        "reports/coverage.xml": b"<coverage/>",
        "other/TEST-b.xml": junit("b_TC2"),
        "reports/broken.xml": b"<testsuite><testcase",
        "log.txt": b"hello",
    }
    store.add_job(pipeline, "unit", finished_at=store.clock(), archive=archive)

    company.once()

    assert company.verdicts(pipeline) == {"TC1/1": "Pass"}
    assert kinds(company) == ["truncated"]


@pytest.mark.parametrize("version", ["16.11", "18.9", "19.4"])
@pytest.mark.parametrize("delivery", ["local", "proxy", "object store"])
@pytest.mark.parametrize("ranges", ["all", "none"])
def test_an_archive_is_read_from_any_gitlab(
    company: Company, tmp_path: Path, version: str, delivery: str, ranges: str
) -> None:
    """Jobs that have nothing but an archive are read whatever the version, and no temporary file stays."""
    company.gitlab.instance.version, company.gitlab.instance.delivery = version, delivery  # type: ignore[assignment] # one of its words
    company.gitlab.instance.ranges = company.gitlab.objects.ranges = ranges  # type: ignore[assignment] # one of its words
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    store = company.gitlab.store
    pipeline = store.add_pipeline(company.project, status="success")
    archive = {"a.xml": junit("a_TC1"), "deep/er/b.xml": junit("b_TC2!"), "log.txt": b"hello"}
    store.add_job(pipeline, "unit", finished_at=store.clock(), archive=archive)

    assert company.run("--once", TMPDIR=str(temporary)).status == 0

    assert company.verdicts(pipeline) == {"TC1/1": "Pass", "TC2/1": "Fail"}
    assert kinds(company) == []
    assert len(paths(company, "/artifacts")) == 1
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(("ranges", "megabytes"), [("all", 1024), ("no suffix", 1024), ("none", 200)])
def test_small_files_of_a_large_archive_cost_few_requests_and_bytes(
    company: Company, tmp_path: Path, ranges: str, megabytes: int
) -> None:
    """200 of 1 GB: at most 4 requests and 1 % of its bytes; without Range a file on disk, which is removed."""
    company.gitlab.instance.delivery = "object store"
    company.gitlab.objects.ranges = ranges  # type: ignore[assignment] # one of its words
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    store = company.gitlab.store
    pipeline = store.add_pipeline(company.project, status="success")
    files: dict[str, bytes | Filler] = {"videos/0.webm": Filler(megabytes * 2**19)}
    files |= {f"reports/{n}.xml": junit(f"t{n}_TC1") for n in range(200)}
    files["videos/1.webm"] = Filler(megabytes * 2**19)
    row = store.add_job(pipeline, "e2e", finished_at=store.clock(), archive=files)

    words = [*company.command("--once")[3:], str(tmp_path / "peak")]
    environment = company.environment(TMPDIR=str(temporary))
    assert subprocess.run([sys.executable, "-c", MEASURED, *words], check=False, env=environment).returncode == 0

    assert int((tmp_path / "peak").read_text()) < 150_000
    assert company.verdicts(pipeline) == {"TC1/1": "Pass"}
    assert company.status()["tests"]["read"] == 200
    sent = list(company.gitlab.objects_server.log)
    assert len(paths(company, "/artifacts")) + len(sent) <= 4
    if ranges != "none":
        assert row.archive is not None
        assert sum(entry.bytes_out for entry in sent) < row.archive.size / 100
    assert list(temporary.iterdir()) == []


def test_a_bad_member_of_an_archive_is_a_problem_and_the_others_count(company: Company) -> None:
    """An encrypted one, a damaged one, one that only looks like a path out; the problems name them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for name in ("a_TC1", "damaged", "encrypted", "d_TC2"):
            made.writestr(f"../../{name}.xml", junit(name))
    data = bytearray(buffer.getvalue())
    data[data.rindex(b"PK\x01\x02", 0, data.rindex(b"encrypted")) + 8] |= 1
    at = data.index(b"damaged", data.index(b"<testcase", data.index(b"damaged")))
    data[at : at + 7] = b"DAMAGED"
    store = company.gitlab.store
    pipeline = store.add_pipeline(company.project, status="success")
    store.add_job(pipeline, "unit", finished_at=store.clock(), archive=bytes(data))
    store.add_job(pipeline, "more", finished_at=store.clock(), archive=b"no zip")

    company.once()

    assert company.verdicts(pipeline) == {"TC1/1": "Pass", "TC2/1": "Pass"}
    assert {(problem["kind"], problem["detail"].split(":")[0]) for problem in company.status()["problems"]} == {
        ("corrupt", "../../damaged.xml"),
        ("encrypted", "../../encrypted.xml"),
        ("corrupt", "artifacts.zip"),
    }


@pytest.mark.parametrize("delivery", ["local", "object store"])
def test_an_archive_that_is_cut_short_is_asked_for_again_in_the_next_pass(company: Company, delivery: str) -> None:
    """The job's neighbours do not wait for it."""
    company.gitlab.instance.delivery = delivery  # type: ignore[assignment] # one of its words
    store = company.gitlab.store
    pipeline = company.pipeline({"unit": junit("b_TC2")})
    job = store.add_job(pipeline, "more", finished_at=store.clock(), archive={"a.xml": junit("a_TC1")})
    server = company.gitlab.objects_server if delivery == "object store" else company.gitlab.server
    fault = server.faults.add(Fault(Truncate(30), path=f"/{job.id}/artifacts", times=None))

    assert company.run("--once").status == 75
    assert company.verdicts(pipeline) == {"TC2/1": "Pass"}

    server.faults.remove(fault)
    company.once()
    assert company.verdicts(pipeline) == {"TC1/1": "Pass", "TC2/1": "Pass"}


def test_an_old_gitlab_gives_its_own_report_and_notes_say_that_it_is_lossy(company: Company) -> None:
    """Before 19.4 the artifact cannot be had by token; the group's suite is dated by its latest job."""
    company.gitlab.instance.version = "16.11"
    store = company.gitlab.store
    pipeline = store.add_pipeline(company.project, status="success")
    early, late = ago(minutes=30), ago(minutes=20)
    store.add_job(pipeline, "unit 1/2", finished_at=early, junit=[("a.xml", junit("a_TC1"))])
    store.add_job(pipeline, "unit 2/2", finished_at=late, junit=[("b.xml", junit("b_TC2!"))])

    company.once()

    assert company.verdicts(pipeline) == {"TC1/1": "Pass", "TC2/1": "Fail"}
    assert kinds(company) == []
    notes = str(company.rally_store.results()[0]["Notes"])
    assert "GitLab" in notes
    assert {str(result["Date"])[:16] for result in company.rally_store.results()} == {f"{late:%Y-%m-%dT%H:%M}"}


def test_an_old_gitlab_whose_archive_answers_for_the_report_is_seen_through(company: Company) -> None:
    """The parameter is ignored there and the zip comes with status 200; its bytes are not taken for a report."""
    company.gitlab.instance.version = "18.9"
    store = company.gitlab.store
    pipeline = store.add_pipeline(company.project, status="success")
    store.add_job(
        pipeline, "unit", finished_at=store.clock(),
        junit=[("a.xml", junit("a_TC1"))], archive={"a.xml": junit("a_TC1"), "x.bin": b"x"},
    )  # fmt: skip

    company.once()

    assert company.verdicts(pipeline) == {"TC1/1": "Pass"}
    assert company.status()["tests"]["read"] == 1


@pytest.mark.parametrize("delivery", ["local", "proxy", "object store"])
def test_artifacts_come_from_wherever_gitlab_keeps_them(company: Company, delivery: str) -> None:
    """The token never reaches the object store (the fixture looks at what it recorded)."""
    company.gitlab.instance.delivery = delivery  # type: ignore[assignment] # one of its words
    pipeline = company.pipeline({"unit": junit("a_TC1")})

    company.once()

    assert company.verdicts(pipeline) == {"TC1/1": "Pass"}
    assert bool(company.gitlab.objects.received) == (delivery == "object store")


def test_reports_that_expired_before_they_were_read_are_a_problem(company: Company) -> None:
    """Never silent; jobs that GitLab knows to have had no tests are none."""
    store = company.gitlab.store
    gone = ago(days=1)
    pipeline = store.add_pipeline(company.project, status="success", updated_at=ago(days=2))
    had = store.add_job(pipeline, "unit", finished_at=ago(days=2), junit=[("a.xml", junit("a_TC1"))], expire_at=gone)
    store.add_job(pipeline, "build", finished_at=ago(days=2), archive={"x": b"x"}, expire_at=gone)
    store.add_job(pipeline, "lint", finished_at=ago(days=2))

    told = company.once()

    assert told["problems"] == 1
    problem = company.status()["problems"][0]
    assert (problem["job"], problem["kind"]) == (had.id, "expired")
    assert company.once()["pipelines_read"] == 0


def test_what_was_read_before_it_expired_is_not_lost(company: Company) -> None:
    """A mapping made after the artifacts are gone still sends what was read."""
    store = company.gitlab.store
    pipeline = company.pipeline({"unit": junit("login")})
    company.once()
    store.expire(company.job(pipeline, "unit"))
    store.touch(pipeline)
    company.map(("shop.login", "TC1"))

    told = company.once()

    assert company.verdicts(pipeline) == {"TC1/1": "Pass"}
    assert told["problems"] == 0


def test_artifacts_that_the_token_may_not_read_are_a_problem_and_a_backfill_asks_again(company: Company) -> None:
    """403 for one job: the other jobs count; with the right granted, the past is brought up to date."""
    store = company.gitlab.store
    pipeline = store.add_pipeline(company.project, status="success")
    job = store.add_job(
        pipeline, "secret", finished_at=store.clock(), junit=[("a.xml", junit("a_TC1"))], artifacts_access="maintainer"
    )
    store.add_job(pipeline, "open", finished_at=store.clock(), junit=[("b.xml", junit("b_TC2"))])
    company.gitlab.server.faults.add(Fault(page(403), path="/test_report$", times=None))
    company.once()
    assert company.verdicts(pipeline) == {"TC2/1": "Pass"}
    assert kinds(company) == ["forbidden"]

    job.artifacts_access = "all"
    ran = company.run("--json", "--backfill", "--since", ago(days=1).isoformat())

    assert ran.status == 0
    assert company.verdicts(pipeline) == {"TC1/1": "Pass", "TC2/1": "Pass"}
    assert kinds(company) == []


def test_a_report_that_gitlab_lists_and_does_not_have_is_asked_for_in_some_passes(company: Company) -> None:
    """404 may pass; after that it is a problem. The job's neighbours do not wait."""
    pipeline = company.pipeline({"unit": junit("a_TC1"), "more": junit("b_TC2")})
    job = company.job(pipeline, "unit")
    company.gitlab.server.faults.add(Fault(page(404), path=f"/jobs/{job.id}/artifacts", times=None))
    company.gitlab.server.faults.add(Fault(page(404), path="/test_report$", times=None))

    statuses = [company.run("--once").status for _ in range(3)]

    assert statuses == [75, 75, 0]
    assert company.verdicts(pipeline) == {"TC2/1": "Pass"}
    assert kinds(company) == ["missing"]


def test_a_report_that_cannot_be_read_now_does_not_hold_up_the_rest(company: Company) -> None:
    """One artifact answers 500 for a while: the other job is sent at once, and this one when it can be read."""
    pipeline = company.pipeline({"unit": junit("a_TC1"), "more": junit("b_TC2")})
    job = company.job(pipeline, "unit")
    fault = company.gitlab.server.faults.add(Fault(page(500), path=f"/jobs/{job.id}/artifacts", times=None))

    ran = company.run("--once")
    assert ran.status == 75
    assert company.verdicts(pipeline) == {"TC2/1": "Pass"}

    company.gitlab.server.faults.remove(fault)
    company.once()
    assert company.verdicts(pipeline) == {"TC1/1": "Pass", "TC2/1": "Pass"}
    assert kinds(company) == []


def test_an_empty_job_list_is_no_proof_of_no_jobs(company: Company) -> None:
    """GitLab gives one, with status 200, to a token that may not see the jobs; a backfill asks again."""
    pipeline = company.pipeline({"unit": junit("a_TC1")})
    fault = company.gitlab.server.faults.add(Fault(Answer(Response.json([])), path="/jobs$", times=None))

    company.once()
    assert kinds(company) == ["no-jobs"]

    company.gitlab.server.faults.remove(fault)
    assert company.run("--backfill", "--since", ago(days=1).isoformat()).status == 0
    assert company.verdicts(pipeline) == {"TC1/1": "Pass"}
    assert kinds(company) == []


def test_a_report_of_another_format_is_a_problem_that_names_it(company: Company) -> None:
    """Plain words, never a traceback."""
    company.pipeline({"unit": b"<TestRun/>", "html": b"<!DOCTYPE html><html></html>", "empty": b""})

    company.once()

    assert sorted(kinds(company)) == ["empty", "not-junit", "not-junit"]


def test_a_pipeline_read_again_downloads_only_what_is_new(company: Company) -> None:
    """A manual job played later is read; the reports that were read before are not asked for again."""
    store = company.gitlab.store
    pipeline = company.pipeline({"unit": junit("a_TC1")}, status="manual")
    manual = store.add_job(pipeline, "deploy test", "manual")
    company.once()
    before = len(paths(company, "/artifacts"))

    store.play_manual(manual, finished_at=store.clock(), junit=[("b.xml", junit("b_TC2", "c_TC1!"))])
    company.once()

    assert company.verdicts(pipeline) == {"TC1/1": "Pass", "TC1/2": "Fail", "TC2/1": "Pass"}
    assert len(paths(company, "/artifacts")) == before + 1


def test_the_cursor_looks_again_a_little_behind_the_newest_update(company: Company) -> None:
    """A pipeline that GitLab shows late, with an older time, is found as long as it lies within the overlap."""
    company.pipeline({"unit": junit("a_TC1")})
    company.once()
    moment = company.gitlab.store.clock()
    late = company.pipeline({"unit": junit("b_TC2")}, created_at=ago(hours=1), updated_at=moment - timedelta(minutes=8))

    company.once()

    assert company.verdicts(late) == {"TC2/1": "Pass"}


def test_an_idle_pass_asks_gitlab_twice_a_project(company: Company) -> None:
    """Once for its pipelines, once for child pipelines; nothing else."""
    company.pipeline({"unit": junit("a_TC1")})
    company.once()
    company.gitlab.server.log.clear()

    company.once()

    assert len(list(company.gitlab.server.log)) == 2
