"""Where the JUnit XML comes from, in order; and what is said when it comes from nowhere."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from reconciler.sandbox.faults import Answer, Fault, page
from reconciler.sandbox.server import Response
from tests.company import ago, junit

if TYPE_CHECKING:
    from tests.company import Company


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
