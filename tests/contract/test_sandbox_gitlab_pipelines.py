"""The stand-in GitLab, by plain HTTP: pipelines and jobs, their filters, and what happens to them."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import requests

from reconciler.sandbox.gitlab import START, FakeClock, GitLabServer, GitLabStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.sandbox.gitlab import Pipeline, Project

TOKEN = "glpat-reader"  # noqa: S105 - known to the stand-in only
MINUTE = timedelta(minutes=1)


@pytest.fixture
def clock() -> FakeClock:
    """Make a clock that stands still."""
    return FakeClock()


@pytest.fixture
def gitlab(clock: FakeClock) -> Iterator[GitLabServer]:
    """Serve a GitLab with one reporter's token and a project."""
    store = GitLabStore(clock)
    store.add_token(TOKEN)
    store.add_project("qa/shop")
    with GitLabServer(store) as server:
        yield server
    assert server.server.crashes == []
    assert server.app.unknown_parameters == []


@pytest.fixture
def project(gitlab: GitLabServer) -> Project:
    """Find the project."""
    found = gitlab.store.find_project("qa/shop")
    assert found is not None
    return found


def ask(gitlab: GitLabServer, path: str, **params: Any) -> Any:  # noqa: ANN401 - JSON
    """Ask for a path below the project."""
    url = f"{gitlab.url}/api/v4/projects/qa%2Fshop{path}"
    response = requests.get(url, headers={"PRIVATE-TOKEN": TOKEN}, params=params, timeout=10)
    assert response.status_code == 200, response.text
    return response.json()


def ids(gitlab: GitLabServer, path: str = "/pipelines", **params: Any) -> list[int]:  # noqa: ANN401 - a query
    """List the ids of an answer."""
    return [row["id"] for row in ask(gitlab, path, **params)]


def iso(pipeline: Pipeline) -> str:
    """Write a pipeline's `updated_at` with its microseconds."""
    return pipeline.updated_at.isoformat()


# --- shapes ----------------------------------------------------------------------------------------------------------


def test_rows_have_the_keys_of_the_documentation(gitlab: GitLabServer, project: Project) -> None:
    """As in the samples of doc/api/pipelines.md and doc/api/jobs.md."""
    pipeline = gitlab.store.add_pipeline(project, name="Build pipeline")
    job = gitlab.store.add_job(
        pipeline, "test", "failed", archive={"a": b"1"}, junit=[("a.xml", b"<x/>")], trace=b"log"
    )
    basic = {"id", "iid", "project_id", "sha", "ref", "status", "source", "created_at", "updated_at", "web_url"}
    times = {"started_at", "finished_at", "committed_at", "duration", "queued_duration"}
    detail = {"before_sha", "tag", "yaml_errors", "user", "coverage", "detailed_status", "archived", *times}
    assert set(ask(gitlab, "/pipelines")[0]) == basic | {"name"}
    assert set(ask(gitlab, f"/pipelines/{pipeline.id}")) == basic | {"name"} | detail
    row = ask(gitlab, f"/jobs/{job.id}")
    assert row == ask(gitlab, f"/pipelines/{pipeline.id}/jobs")[0]
    assert set(row["pipeline"]) == basic
    assert set(row) == {
        *("id", "status", "stage", "name", "ref", "tag", "coverage", "allow_failure", "created_at", "started_at"),
        *("finished_at", "erased_at", "duration", "queued_duration", "user", "commit", "pipeline", "failure_reason"),
        *("web_url", "project", "artifacts_file", "artifacts", "runner", "runner_manager", "artifacts_expire_at"),
        *("archived", "tag_list"),
    }
    assert row["web_url"] == f"{gitlab.url}/qa/shop/-/jobs/{job.id}"
    assert row["artifacts_file"]["filename"] == "artifacts.zip"
    assert {one["file_type"]: one["file_format"] for one in row["artifacts"]} == {
        "archive": "zip",
        "metadata": "gzip",
        "junit": "gzip",
        "trace": "raw",
    }


def test_older_versions_leave_out_what_they_do_not_have(gitlab: GitLabServer, project: Project) -> None:
    """The name came with 16.3."""
    gitlab.instance.version = "16.2.0"
    gitlab.store.add_pipeline(project, name="Build pipeline")
    assert "name" not in ask(gitlab, "/pipelines")[0]


# --- filters ---------------------------------------------------------------------------------------------------------


def test_scope_finished_leaves_out_skipped_and_manual(gitlab: GitLabServer, project: Project) -> None:
    """Trap: they are over, but not "finished"; without a scope everything is listed."""
    made = {
        status: gitlab.store.add_pipeline(project, status=status).id
        for status in ("success", "failed", "canceled", "skipped", "manual", "running", "pending")
    }
    assert set(ids(gitlab, scope="finished")) == {made["success"], made["failed"], made["canceled"]}
    assert ids(gitlab, scope="running") == [made["running"]]
    assert ids(gitlab, status="manual") == [made["manual"]]
    assert set(ids(gitlab)) == set(made.values())


def test_children_are_listed_only_when_asked_for(gitlab: GitLabServer, project: Project) -> None:
    """Since 17.0; before, that asks for nothing. Their details can be had at any time."""
    store = gitlab.store
    parent = store.add_pipeline(project)
    child = store.add_pipeline(project, parent=parent)
    other = store.add_pipeline(store.add_project("qa/deploy"), parent=parent)
    assert (child.source, other.source) == ("parent_pipeline", "pipeline")
    assert ids(gitlab) == [parent.id]
    assert ids(gitlab, source="parent_pipeline") == [child.id]
    gitlab.instance.version = "16.11.0"
    assert ids(gitlab, source="parent_pipeline") == []
    assert ask(gitlab, f"/pipelines/{child.id}")["id"] == child.id


def test_trigger_jobs_name_what_they_started(gitlab: GitLabServer, project: Project) -> None:
    """Under two addresses since 19.2; what has not been started yet is null; they are not among the jobs."""
    store = gitlab.store
    parent = store.add_pipeline(project)
    child = store.add_pipeline(project, parent=parent)
    store.add_bridge(parent, "child", downstream=child)
    store.add_bridge(parent, "later", "created")
    path = f"/pipelines/{parent.id}"
    later, first = ask(gitlab, f"{path}/bridges")
    assert (later["name"], later["downstream_pipeline"]) == ("later", None)
    assert first["downstream_pipeline"]["id"] == child.id
    assert ask(gitlab, f"{path}/trigger_jobs") == [later, first]
    assert ask(gitlab, f"{path}/jobs") == []
    assert [row["name"] for row in ask(gitlab, f"{path}/bridges", **{"scope[]": "success"})] == ["child"]
    gitlab.instance.version = "19.1.0"
    url = f"{gitlab.url}/api/v4/projects/qa%2Fshop{path}/trigger_jobs"
    assert requests.get(url, headers={"PRIVATE-TOKEN": TOKEN}, timeout=10).json() == {"error": "404 Not Found"}


def test_simple_filters_match_exactly(gitlab: GitLabServer, project: Project) -> None:
    """Ref, sha, source, name, user and broken configurations."""
    store = gitlab.store
    one = store.add_pipeline(project, ref="feature", sha="a" * 40, source="schedule", name="Nightly")
    two = store.add_pipeline(project, yaml_errors="jobs config should contain at least one visible job")
    assert ids(gitlab, ref="feature") == [one.id]
    assert ids(gitlab, sha="a" * 40) == [one.id]
    assert ids(gitlab, source="schedule") == [one.id]
    assert ids(gitlab, name="Nightly") == [one.id]
    assert ids(gitlab, yaml_errors="true") == [two.id]
    assert ids(gitlab, username="nobody") == []


def test_scope_branches_gives_only_the_newest_of_each_ref(gitlab: GitLabServer, project: Project) -> None:
    """Never to be used for "miss nothing"."""
    store = gitlab.store
    store.add_pipeline(project, ref="main")
    newest = store.add_pipeline(project, ref="main")
    tag = store.add_pipeline(project, ref="v1", tag=True)
    store.add_pipeline(project, ref="refs/merge-requests/7/head", source="merge_request_event")
    assert ids(gitlab, scope="branches") == [newest.id]
    assert ids(gitlab, scope="tags") == [tag.id]


def test_updated_bounds_are_inclusive_and_created_bounds_are_not(gitlab: GitLabServer, project: Project) -> None:
    """Compared with the microseconds that the JSON does not show."""
    made = [
        gitlab.store.add_pipeline(project, created_at=START + n * MINUTE, updated_at=START + n * MINUTE)
        for n in range(3)
    ]
    middle = made[1]
    assert ids(gitlab, updated_after=iso(middle)) == [made[2].id, middle.id]
    assert ids(gitlab, updated_before=iso(middle)) == [middle.id, made[0].id]
    assert ids(gitlab, created_after=iso(middle)) == [made[2].id]
    assert ids(gitlab, created_before=iso(middle)) == [made[0].id]
    assert ids(gitlab, updated_after=iso(made[2]), updated_before=iso(made[0])) == []


def test_the_time_that_the_json_shows_lies_before_the_real_one(gitlab: GitLabServer, project: Project) -> None:
    """Trap for value cursors: `updated_before` with a shown time excludes the very row that showed it."""
    pipeline = gitlab.store.add_pipeline(project)
    shown = ask(gitlab, "/pipelines")[0]["updated_at"]
    assert ids(gitlab, updated_before=shown) == []
    assert ids(gitlab, updated_after=shown) == [pipeline.id]


# --- order and paging ------------------------------------------------------------------------------------------------


def test_order_by_updated_at_in_both_directions(gitlab: GitLabServer, project: Project) -> None:
    """The default is by id, newest first."""
    old = gitlab.store.add_pipeline(project)
    new = gitlab.store.add_pipeline(project)
    gitlab.store.touch(old)
    assert ids(gitlab) == [new.id, old.id]
    assert ids(gitlab, order_by="updated_at") == [old.id, new.id]
    assert ids(gitlab, order_by="updated_at", sort="asc") == [new.id, old.id]


def test_rows_of_one_time_swap_between_pages_unless_told_not_to(gitlab: GitLabServer, project: Project) -> None:
    """There is no tie-breaker: paging through ties by offset misses some and repeats others."""
    made = {gitlab.store.add_pipeline(project).id for _ in range(40)}

    def paged() -> list[int]:
        return [one for page in (1, 2, 3, 4) for one in ids(gitlab, order_by="updated_at", per_page=10, page=page)]

    assert len(paged()) == 40
    assert set(paged()) < made
    assert paged() == paged()
    gitlab.instance.unstable_ties = False
    assert set(paged()) == made


def test_a_row_that_is_touched_during_paging_moves(gitlab: GitLabServer, project: Project) -> None:
    """Descending it jumps to the front, so that another one is seen twice; ascending a row slips through the seam."""
    gitlab.instance.unstable_ties = False
    store = gitlab.store
    made = [store.add_pipeline(project, updated_at=START + n * MINUTE) for n in range(4)]
    first = ids(gitlab, order_by="updated_at", per_page=2)
    store.clock = FakeClock(START + 10 * MINUTE)
    store.touch(made[0])
    assert first + ids(gitlab, order_by="updated_at", per_page=2, page=2) == [made[n].id for n in (3, 2, 2, 1)]
    first = ids(gitlab, order_by="updated_at", sort="asc", per_page=2)
    store.touch(made[1])
    assert first + ids(gitlab, order_by="updated_at", sort="asc", per_page=2, page=2) == [
        made[n].id for n in (1, 2, 0, 1)
    ]


# --- jobs ------------------------------------------------------------------------------------------------------------


def test_jobs_are_newest_first_without_retried_ones(gitlab: GitLabServer, project: Project) -> None:
    """No row says that it was retried: with all attempts, the highest id of a name is the newest."""
    store = gitlab.store
    pipeline = store.add_pipeline(project, status="failed")
    lint, test = store.add_job(pipeline, "lint"), store.add_job(pipeline, "test", "failed")
    again = store.retry_job(test)
    path = f"/pipelines/{pipeline.id}/jobs"
    assert ids(gitlab, path) == [again.id, lint.id]
    assert ids(gitlab, path, include_retried="true") == [again.id, test.id, lint.id]
    assert ids(gitlab, path, **{"include_retried": "true", "scope[]": ["failed", "canceled"]}) == [test.id]
    assert ids(gitlab, path, scope="success") == [again.id, lint.id]
    assert ids(gitlab, path, per_page=1, page=2) == [lint.id]
    assert ask(gitlab, f"/jobs/{test.id}")["status"] == "failed"


def test_a_job_of_a_wrong_scope_is_refused(gitlab: GitLabServer, project: Project) -> None:
    """`finished` is a scope of pipelines, not of jobs."""
    pipeline = gitlab.store.add_pipeline(project)
    url = f"{gitlab.url}/api/v4/projects/qa%2Fshop/pipelines/{pipeline.id}/jobs"
    response = requests.get(url, headers={"PRIVATE-TOKEN": TOKEN}, params={"scope[]": "finished"}, timeout=10)
    assert (response.status_code, response.json()) == (400, {"error": "scope does not have a valid value"})


# --- what happens to pipelines ---------------------------------------------------------------------------------------


def test_a_retry_runs_the_pipeline_again(gitlab: GitLabServer, project: Project, clock: FakeClock) -> None:
    """`updated_at` rises twice, `finished_at` is the last finish and stands while the pipeline runs again."""
    store = gitlab.store
    pipeline = store.add_pipeline(project, status="failed")
    test = store.add_job(pipeline, "test", "failed")
    before = ask(gitlab, f"/pipelines/{pipeline.id}")
    clock.advance(60)
    again = store.retry_job(test, "running")
    during = ask(gitlab, f"/pipelines/{pipeline.id}")
    assert (during["status"], during["finished_at"]) == ("running", before["finished_at"])
    clock.advance(60)
    store.finish_job(again, "success", junit=[("a.xml", b"<testsuite/>")])
    store.finish(pipeline)
    after = ask(gitlab, f"/pipelines/{pipeline.id}")
    assert after["status"] == "success"
    assert before["updated_at"] < during["updated_at"] < after["updated_at"]
    assert before["finished_at"] < after["finished_at"]


def test_a_manual_job_that_is_played_keeps_its_id(gitlab: GitLabServer, project: Project) -> None:
    """A blocked pipeline ends by it, and rises in the list."""
    store = gitlab.store
    pipeline = store.add_pipeline(project, status="manual")
    job = store.add_job(pipeline, "acceptance", "manual")
    before = ask(gitlab, f"/pipelines/{pipeline.id}")
    assert (before["finished_at"], ask(gitlab, f"/jobs/{job.id}")["started_at"]) == (None, None)
    store.play_manual(job, "failed", archive={"a.png": b"x"})
    after = ask(gitlab, f"/pipelines/{pipeline.id}")
    assert (after["status"], after["updated_at"] > before["updated_at"]) == ("failed", True)
    assert ask(gitlab, f"/jobs/{job.id}")["artifacts_file"]["filename"] == "artifacts.zip"
    with pytest.raises(ValueError, match="unplayable"):
        store.play_manual(job)


def test_a_job_that_may_fail_leaves_the_pipeline_green(gitlab: GitLabServer, project: Project) -> None:
    """Test verdicts cannot be read off a pipeline's status."""
    store = gitlab.store
    pipeline = store.add_pipeline(project, status="running")
    store.add_job(pipeline, "flaky", "failed", allow_failure=True)
    store.add_job(pipeline, "unit")
    store.finish(pipeline)
    assert pipeline.status == "success"


def test_touching_changes_nothing_but_the_time(gitlab: GitLabServer, project: Project) -> None:
    """Success → success sets `updated_at` and `finished_at` anew."""
    pipeline = gitlab.store.add_pipeline(project)
    before = ask(gitlab, "/pipelines")[0]
    gitlab.store.touch(pipeline)
    after = ask(gitlab, "/pipelines")[0]
    assert after["updated_at"] > before["updated_at"]
    assert {**after, "updated_at": ""} == {**before, "updated_at": ""}


def test_expiry_erasing_and_moving_do_not_touch_the_pipeline(gitlab: GitLabServer, project: Project) -> None:
    """So no list tells that artifacts are gone."""
    store = gitlab.store
    pipeline = store.add_pipeline(project)
    job = store.add_job(pipeline, "test", archive={"a": b"1"}, trace=b"log", expire_at=START + MINUTE)
    before = pipeline.updated_at
    store.expire(job)
    assert [one["file_type"] for one in ask(gitlab, f"/jobs/{job.id}")["artifacts"]] == ["trace"]
    assert ask(gitlab, f"/jobs/{job.id}")["artifacts_expire_at"] == "2026-11-23T08:00:00.123Z"
    store.erase(job)
    row = ask(gitlab, f"/jobs/{job.id}")
    assert (row["artifacts"], row["artifacts_expire_at"], row["erased_at"]) == ([], None, "2026-11-23T08:00:00.123Z")
    assert "artifacts_file" not in row
    store.move_project(project, "qa/shop2")
    assert pipeline.updated_at == before


def test_the_store_may_change_while_it_is_read(gitlab: GitLabServer, project: Project) -> None:
    """Each answer shows one moment; with the lock held, several changes are one."""
    store = gitlab.store
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.001):
            with store.lock:
                job = store.add_job(store.add_pipeline(project, status="failed"), "test", "failed")
            store.retry_job(job)

    store.add_job(store.add_pipeline(project), "test")
    worker = threading.Thread(target=work)
    worker.start()
    try:
        for _ in range(20):
            newest = max(ids(gitlab, order_by="updated_at"))
            assert len(ids(gitlab, f"/pipelines/{newest}/jobs")) == 1
    finally:
        stop.set()
        worker.join()


def test_a_deleted_pipeline_is_gone(gitlab: GitLabServer, project: Project) -> None:
    """Its jobs too."""
    pipeline = gitlab.store.add_pipeline(project)
    job = gitlab.store.add_job(pipeline, "test")
    gitlab.store.delete_pipeline(pipeline)
    assert ids(gitlab) == []
    url = f"{gitlab.url}/api/v4/projects/qa%2Fshop/jobs/{job.id}"
    assert requests.get(url, headers={"PRIVATE-TOKEN": TOKEN}, timeout=10).status_code == 404
