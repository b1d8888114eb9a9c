"""The stand-in GitLab's `test_report` and its summary: GitLab's own reading of JUnit, with its losses."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import requests

from reconciler.sandbox.gitlab import START, FakeClock, GitLabServer, GitLabStore, pack_reports

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.sandbox.gitlab import Pipeline

TOKEN = "glpat-reader"  # noqa: S105 - known to the stand-in only


@pytest.fixture
def gitlab() -> Iterator[GitLabServer]:
    """Serve a GitLab with one reporter's token."""
    store = GitLabStore(FakeClock())
    store.add_token(TOKEN)
    with GitLabServer(store) as server:
        yield server
    assert server.server.crashes == []


@pytest.fixture
def pipeline(gitlab: GitLabServer) -> Pipeline:
    """Make a pipeline without jobs."""
    return gitlab.store.add_pipeline(gitlab.store.add_project("qa/shop"))


def report(gitlab: GitLabServer, pipeline: Pipeline, what: str = "test_report") -> Any:  # noqa: ANN401 - JSON
    """Ask for a report."""
    url = f"{gitlab.url}/api/v4/projects/{pipeline.project.id}/pipelines/{pipeline.id}/{what}"
    response = requests.get(url, headers={"PRIVATE-TOKEN": TOKEN}, timeout=10)
    assert response.status_code == 200, response.text
    return response.json()


def cases(gitlab: GitLabServer, pipeline: Pipeline, *bodies: str) -> list[dict[str, Any]]:
    """Put test cases into a job's report, and list what GitLab makes of them."""
    document = f"<testsuites><testsuite name='s'>{''.join(bodies)}</testsuite></testsuites>".encode()
    gitlab.store.add_job(pipeline, "test", junit=[("a.xml", document)])
    listed: list[dict[str, Any]] = report(gitlab, pipeline)["test_suites"][0]["test_cases"]
    return listed


# --- one test --------------------------------------------------------------------------------------------------------


def test_a_failure_wins_over_an_error_and_an_error_over_a_skip(gitlab: GitLabServer, pipeline: Pipeline) -> None:
    """Whatever stands first in the element."""
    listed = cases(
        gitlab,
        pipeline,
        "<testcase name='all'><skipped/><error>e</error><failure>f</failure></testcase>",
        "<testcase name='two'><skipped/><error>e</error></testcase>",
        "<testcase name='one'><skipped message='later'/></testcase>",
        "<testcase name='none'/>",
    )
    found = {case["name"]: (case["status"], case["system_output"]) for case in listed}
    assert found == {
        "all": ("failed", "f"),
        "two": ("error", "e"),
        "one": ("skipped", {"message": "later"}),
        "none": ("success", None),
    }


def test_the_message_is_lost_where_there_is_text(gitlab: GitLabServer, pipeline: Pipeline) -> None:
    """The text alone is kept, output of failed tests is appended, output of passed ones is dropped."""
    failed, passed = cases(
        gitlab,
        pipeline,
        "<testcase name='f'><failure message='m' type='T'>trace</failure>"
        "<system-out>out</system-out><system-err>err</system-err></testcase>",
        "<testcase name='p'><system-out>hello</system-out></testcase>",
    )
    assert failed["system_output"] == "trace\n\nSystem Out:\n\nout\n\nSystem Err:\n\nerr"
    assert passed["system_output"] is None


@pytest.mark.parametrize(
    ("version", "one", "two"),
    [("19.4.0", '{"message"=>"m"}', "a\n\nb"), ("15.0.0", {"message": "m"}, ["a", "b"])],
)
def test_output_without_text_or_twice(
    gitlab: GitLabServer, pipeline: Pipeline, version: str, one: object, two: object
) -> None:
    """Old versions answer with an object or a list, as in go-gitlab's sample; new ones always with text."""
    gitlab.instance.version = version
    listed = cases(
        gitlab,
        pipeline,
        "<testcase name='1' time='2'><failure message='m'/></testcase>",
        "<testcase name='2' time='1'><failure>a</failure><failure>b</failure></testcase>",
    )
    assert [case["system_output"] for case in listed] == [one, two]


def test_the_first_attachment_of_a_bad_test_becomes_a_link_for_people(gitlab: GitLabServer, pipeline: Pipeline) -> None:
    """Passed tests have none, and the key is left out."""
    out = "<system-out>[[ATTACHMENT|shots/a b.png]] [[ATTACHMENT|c.png]]</system-out>"
    failed, passed = cases(
        gitlab,
        pipeline,
        f"<testcase name='f'><failure/>{out}</testcase>",
        f"<testcase name='p'>{out}</testcase>",
    )
    job = gitlab.store.jobs_of(pipeline)[0]
    assert failed["attachment_url"] == f"{gitlab.url}/qa/shop/-/jobs/{job.id}/artifacts/file/shots/a%20b.png"
    assert "attachment_url" not in passed


@pytest.mark.parametrize(
    ("time", "seconds"), [("0.5", 0.5), ("1,234.5", 1.0), ("1e-3", 0.001), ("soon", 0.0), ("", 0.0), ("-2", -2.0)]
)
def test_times_are_read_as_ruby_does(gitlab: GitLabServer, pipeline: Pipeline, time: str, seconds: float) -> None:
    """`to_f` takes the number that the text begins with."""
    assert cases(gitlab, pipeline, f"<testcase name='t' time='{time}'/>")[0]["execution_time"] == seconds


def test_a_case_has_the_keys_of_gitlabs_serializer(gitlab: GitLabServer, pipeline: Pipeline) -> None:
    """A missing name gets a substitute, everything else is null."""
    (case,) = cases(gitlab, pipeline, "<testcase time='1'/>")
    assert case == {
        "status": "success",
        "name": "(No name)",
        "classname": None,
        "file": None,
        "execution_time": 1.0,
        "system_output": None,
        "stack_trace": None,
        "recent_failures": None,
    }


# --- suites ----------------------------------------------------------------------------------------------------------


def test_the_last_of_equal_tests_is_kept_per_status(gitlab: GitLabServer, pipeline: Pipeline) -> None:
    """Trap: a repeated key counts once if it ended alike and twice if not; the time of all of them is summed."""
    listed = cases(
        gitlab,
        pipeline,
        "<testcase classname='c' name='t' time='1'/>",
        "<testcase classname='c' name='t' time='2'/>",
        "<testcase classname='c' name='t' time='4'><failure>x</failure></testcase>",
    )
    assert [(case["status"], case["execution_time"]) for case in listed] == [("failed", 4.0), ("success", 2.0)]
    suite = report(gitlab, pipeline)["test_suites"][0]
    assert (suite["total_count"], suite["failed_count"], suite["total_time"]) == (2, 1, 7.0)


def test_shards_share_a_suite_and_matrix_jobs_do_not(gitlab: GitLabServer, pipeline: Pipeline) -> None:
    """One suite a job group; no job's id is told."""
    for name in ("unit 1/2", "unit 2/2", "e2e: [chrome, linux]", "e2e: [firefox, linux]"):
        document = f"<testsuite name='s'><testcase name='{name}'/></testsuite>".encode()
        gitlab.store.add_job(pipeline, name, junit=[("a.xml", document)])
    suites = report(gitlab, pipeline)["test_suites"]
    assert [(suite["name"], suite["total_count"]) for suite in suites] == [
        ("unit", 2),
        ("e2e: [chrome, linux]", 1),
        ("e2e: [firefox, linux]", 1),
    ]


def test_where_tests_may_stand(gitlab: GitLabServer, pipeline: Pipeline) -> None:
    """Nested suites count, tests directly below `testsuites` too, a bare test does not."""
    nested = b"<testsuite name='outer'><testsuite><testcase name='deep'/></testsuite></testsuite>"
    documents = [
        b"<testsuites><testcase name='top'/>" + nested + b"</testsuites>",
        b"<testsuite><!-- note --><testcase name='plain'/></testsuite>",
        b"<testcase name='bare'/>",
    ]
    gitlab.store.add_job(pipeline, "test", junit=[("a.xml", document) for document in documents])
    names = {case["name"] for case in report(gitlab, pipeline)["test_suites"][0]["test_cases"]}
    assert names == {"top", "deep", "plain"}


@pytest.mark.parametrize(
    ("broken", "begins"),
    [
        (b"<testsuite><testcase></testsuite>", "JUnit XML parsing failed: 1:"),
        (b"", "JUnit XML parsing failed: 1:1: FATAL: Document is empty"),
        (b"<testsuite><testcase>text only</testcase></testsuite>", "JUnit data parsing failed: string not matched"),
    ],
)
def test_one_broken_file_empties_its_whole_suite(
    gitlab: GitLabServer, pipeline: Pipeline, broken: bytes, begins: str
) -> None:
    """Trap: its good sibling counts 0 too."""
    good = b"<testsuite><testcase name='t'/></testsuite>"
    gitlab.store.add_job(pipeline, "test", junit=[("a.xml", good), ("b.xml", broken)])
    document = report(gitlab, pipeline)
    (suite,) = document["test_suites"]
    assert suite["suite_error"].startswith(begins)
    assert (suite["total_count"], suite["test_cases"], document["total_count"]) == (0, [], 0)


def test_a_report_that_is_cut_off_is_an_error_too(gitlab: GitLabServer, pipeline: Pipeline) -> None:
    """Not XML, but gzip that ends too early, or is none."""
    packed = pack_reports([("a.xml", b"<testsuite/>")])
    gitlab.store.add_job(pipeline, "cut", junit=packed[:-9])
    gitlab.store.add_job(pipeline, "none", junit=b"<testsuite/>")
    errors = [suite["suite_error"] for suite in report(gitlab, pipeline)["test_suites"]]
    assert all(error.startswith("JUnit data parsing failed: ") for error in errors)
    assert len(errors) == 2


def test_only_the_newest_attempts_and_only_this_pipeline_count(gitlab: GitLabServer, pipeline: Pipeline) -> None:
    """Children have a report of their own."""
    store = gitlab.store
    failed = b"<testsuite><testcase name='t'><failure/></testcase></testsuite>"
    passed = b"<testsuite><testcase name='t'/></testsuite>"
    first = store.add_job(pipeline, "test", "failed", junit=[("a.xml", failed)])
    store.retry_job(first, junit=[("a.xml", passed)])
    child = store.add_pipeline(pipeline.project, parent=pipeline)
    store.add_job(child, "child", junit=[("a.xml", failed)])
    document = report(gitlab, pipeline)
    assert (document["success_count"], document["failed_count"]) == (1, 0)
    assert report(gitlab, child)["failed_count"] == 1


# --- what outlives the artifacts -------------------------------------------------------------------------------------


def test_expired_reports_are_zeros_and_the_summary_survives(gitlab: GitLabServer, pipeline: Pipeline) -> None:
    """Trap: zero tests is not "no tests"; the summary still counts, and names the jobs."""
    document = b"<testsuite><testcase name='t' time='3'/><testcase name='u'><failure/></testcase></testsuite>"
    jobs = [gitlab.store.add_job(pipeline, f"unit {n}/2", junit=[("a.xml", document)]) for n in (1, 2)]
    summary = report(gitlab, pipeline, "test_report_summary")
    for job in jobs:
        gitlab.store.expire(job)
    assert report(gitlab, pipeline) == {
        "total_time": 0,
        "total_count": 0,
        "success_count": 0,
        "failed_count": 0,
        "skipped_count": 0,
        "error_count": 0,
        "test_suites": [],
    }
    assert report(gitlab, pipeline, "test_report_summary") == summary
    counts = {"time": 6.0, "count": 4, "success": 2, "failed": 2, "skipped": 0, "error": 0}
    assert summary["total"] == {**counts, "suite_error": None}
    assert summary["test_suites"] == [
        {
            "name": "unit",
            "total_time": 6.0,
            "total_count": 4,
            "success_count": 2,
            "failed_count": 2,
            "skipped_count": 0,
            "error_count": 0,
            "build_ids": [job.id for job in jobs],
            "suite_error": None,
        }
    ]


def test_the_summary_may_lag_behind_the_job(gitlab: GitLabServer, pipeline: Pipeline) -> None:
    """An asynchronous worker writes it."""
    document = b"<testsuite><testcase name='t'/></testsuite>"
    gitlab.store.add_job(pipeline, "test", junit=[("a.xml", document)], summary_at=START + timedelta(seconds=30))
    assert report(gitlab, pipeline, "test_report_summary")["test_suites"] == []
    gitlab.store.clock = FakeClock(START + timedelta(seconds=31))
    assert report(gitlab, pipeline, "test_report_summary")["total"]["count"] == 1


def test_a_pipeline_without_tests_has_empty_reports(gitlab: GitLabServer, pipeline: Pipeline) -> None:
    """Both of them, with zeros."""
    assert report(gitlab, pipeline)["test_suites"] == []
    assert report(gitlab, pipeline, "test_report_summary")["total"]["count"] == 0
