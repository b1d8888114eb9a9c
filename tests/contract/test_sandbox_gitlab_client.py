"""The stand-in GitLab, by the real python-gitlab: what the adapter's library sees is what GitLab would show it."""

from __future__ import annotations

import io
import zipfile
import zlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import gitlab as python_gitlab
import pytest
import requests
from gitlab.exceptions import GitlabAuthenticationError, GitlabGetError, GitlabHttpError

from reconciler.sandbox.faults import Fault, Truncate, too_many
from reconciler.sandbox.gitlab import FakeClock, GitLabServer, GitLabStore, Project, Role, real_clock
from reconciler.sandbox.tls import make_tls

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "glpat-reader"  # noqa: S105 - known to the stand-in only
REPORT = b"<testsuite name='s'><testcase classname='c' name='t' time='0.5'/></testsuite>"


@pytest.fixture
def server() -> Iterator[GitLabServer]:
    """Serve a GitLab with one reporter's token."""
    store = GitLabStore(FakeClock())
    store.add_token(TOKEN)
    with GitLabServer(store) as running:
        yield running
    assert running.server.crashes == running.objects_server.crashes == []
    assert running.app.unknown_parameters == []


@pytest.fixture
def client(server: GitLabServer) -> Iterator[python_gitlab.Gitlab]:
    """Make a client with the token as Bearer."""
    with python_gitlab.Gitlab(server.url, oauth_token=TOKEN, timeout=10, per_page=2, keep_base_url=True) as made:
        yield made


@pytest.fixture
def project(server: GitLabServer) -> Project:
    """Make a project."""
    return server.store.add_project("qa/shop")


def test_list_iterators_follow_the_links(server: GitLabServer, client: python_gitlab.Gitlab, project: Project) -> None:
    """Filters stay in force on every page, and each page is one request."""
    server.instance.unstable_ties = False
    made = [server.store.add_pipeline(project).id for _ in range(5)]
    server.store.add_pipeline(project, status="running")
    rows = client.projects.get(project.id, lazy=True).pipelines.list(
        iterator=True, order_by="updated_at", status="success", updated_after="2026-11-23T00:00:00Z"
    )
    assert len(rows) == 5
    assert sorted(row.id for row in rows) == made
    assert len(server.server.log.entries("GET", "/pipelines$")) == 3


def test_iterators_work_without_totals(server: GitLabServer, client: python_gitlab.Gitlab, project: Project) -> None:
    """Above the limit the length is 0, and the rows come all the same."""
    server.instance.count_limit = 3
    for _ in range(5):
        server.store.add_pipeline(project)
    rows = client.projects.get(project.id, lazy=True).pipelines.list(iterator=True)
    assert (len(rows), len(list(rows))) == (0, 5)


def test_jobs_bridges_reports_and_details(server: GitLabServer, client: python_gitlab.Gitlab, project: Project) -> None:
    """The objects that the library makes have the attributes that GitLab sent."""
    store = server.store
    pipeline = store.add_pipeline(project)
    test = store.add_job(pipeline, "test", "failed", junit=[("a.xml", REPORT)])
    again = store.retry_job(test, junit=[("a.xml", REPORT)])
    child = store.add_pipeline(project, parent=pipeline)
    store.add_bridge(pipeline, "child", downstream=child)
    remote = client.projects.get("qa/shop").pipelines.get(pipeline.id)
    assert remote.finished_at is not None
    assert [job.id for job in remote.jobs.list(iterator=True, include_retried=True)] == [again.id, test.id]
    assert [job.id for job in remote.jobs.list(iterator=True, scope=["success"])] == [again.id]
    assert next(iter(remote.bridges.list(iterator=True))).downstream_pipeline["id"] == child.id
    assert remote.test_report.get().test_suites[0]["test_cases"][0]["execution_time"] == 0.5
    assert remote.test_report_summary.get().test_suites[0]["build_ids"] == [again.id]


def test_groups_projects_through_the_library(
    server: GitLabServer, client: python_gitlab.Gitlab, project: Project
) -> None:
    """By keyset and by offset."""
    others = [server.store.add_project(f"qa/sub/p{number}").id for number in range(3)]
    group = client.groups.get("qa", lazy=True)
    for paging in ({"pagination": "keyset", "order_by": "id"}, {"order_by": "id"}):
        rows = group.projects.list(iterator=True, include_subgroups=True, archived=False, **paging)
        assert sorted(row.id for row in rows) == [project.id, *others]


@pytest.mark.parametrize("delivery", ["local", "proxy", "object store"])
def test_artifacts_stream_whole_and_by_type(
    server: GitLabServer, client: python_gitlab.Gitlab, project: Project, delivery: str
) -> None:
    """`file_type` is passed on as a query parameter, a Range as an extra header; the token stays with GitLab."""
    server.instance.delivery = delivery  # type: ignore[assignment] # parametrize knows only str
    made = server.store.add_job(
        server.store.add_pipeline(project), "test", archive={"a.txt": b"x"}, junit=[("a.xml", REPORT)], trace=b"log"
    )
    job = client.projects.get(project.id, lazy=True).jobs.get(made.id)
    archive, report = io.BytesIO(), io.BytesIO()
    job.artifacts(streamed=True, action=archive.write, chunk_size=65536)
    job.artifacts(file_type="junit", streamed=True, action=report.write, chunk_size=65536)
    assert zipfile.ZipFile(archive).namelist() == ["a.txt"]
    assert zlib.decompress(report.getvalue(), 31) == REPORT
    assert job.artifacts(extra_headers={"Range": "bytes=0-1"}) == b"PK"
    assert (job.artifact("a.txt"), job.trace()) == (b"x", b"log")
    assert server.objects.leaks == []


def test_a_private_token_leaks_to_the_object_store(server: GitLabServer, project: Project) -> None:
    """Trap: given as `private_token`, the library's session sends it to the other host too."""
    server.instance.delivery = "object store"
    made = server.store.add_job(server.store.add_pipeline(project), "test", archive={"a.txt": b"x"})
    with python_gitlab.Gitlab(server.url, private_token=TOKEN, timeout=10) as leaky:
        leaky.projects.get(project.id, lazy=True).jobs.get(made.id).artifacts()
    assert [leak.header for leak in server.objects.leaks] == ["private-token"]


def test_errors_are_the_librarys(server: GitLabServer, client: python_gitlab.Gitlab, project: Project) -> None:
    """401, 403 and 404 keep their status; a wrong value is 400."""
    made = server.store.add_job(
        server.store.add_pipeline(project), "test", artifacts_access="none", archive={"a": b"x"}
    )
    remote = client.projects.get(project.id, lazy=True)
    with pytest.raises(GitlabGetError) as forbidden:
        remote.jobs.get(made.id).artifacts()
    with pytest.raises(GitlabGetError) as missing:
        remote.pipelines.get(1)
    with pytest.raises(GitlabHttpError) as wrong:
        client.http_list(f"/projects/{project.id}/pipelines", iterator=True, order_by="finished_at")
    statuses = [error.value.response_code for error in (forbidden, missing, wrong)]
    assert statuses == [403, 404, 400]
    stranger = python_gitlab.Gitlab(server.url, oauth_token="other", timeout=10)  # noqa: S106 - nobody's
    with stranger, pytest.raises(GitlabAuthenticationError):
        stranger.http_get("/metadata")


def test_a_moved_project_is_followed(server: GitLabServer, client: python_gitlab.Gitlab, project: Project) -> None:
    """By its old path the library ends at the number."""
    server.store.move_project(project, "shop/web")
    assert client.projects.get("qa/shop").path_with_namespace == "shop/web"


def test_the_token_is_checked_at_start(server: GitLabServer, client: python_gitlab.Gitlab) -> None:
    """Version and the token's own expiry."""
    server.store.tokens[TOKEN].expires_at = datetime(2027, 6, 1, tzinfo=UTC).date()
    assert client.version()[0] == "19.4.0-ee"
    token = client.personal_access_tokens.get("self")
    assert (token.scopes, token.expires_at) == (["read_api"], "2027-06-01")


def test_keep_through_the_library(server: GitLabServer, project: Project) -> None:
    """POST with the scope api."""
    server.store.add_token("dev", role=Role.DEVELOPER, scopes=["api"])
    at = server.store.clock()
    made = server.store.add_job(
        server.store.add_pipeline(project), "test", archive={"a": b"x"}, expire_at=at.replace(year=2027)
    )
    with python_gitlab.Gitlab(server.url, oauth_token="dev", timeout=10) as developer:  # noqa: S106 - the stand-in's
        developer.projects.get(project.id, lazy=True).jobs.get(made.id, lazy=True).keep_artifacts()
    assert made.expire_at is None


def test_faults_of_the_server_reach_the_library(
    server: GitLabServer, client: python_gitlab.Gitlab, project: Project
) -> None:
    """A 429 in plain text, and a body that breaks off."""
    server.server.faults.add(Fault(too_many(30), path="/projects/"))
    with pytest.raises(GitlabHttpError) as slow_down:
        client.http_get(f"/projects/{project.id}", obey_rate_limit=False)
    assert slow_down.value.response_code == 429
    made = server.store.add_job(server.store.add_pipeline(project), "test", archive={"a": bytes(5000)})
    server.server.faults.add(Fault(Truncate(20), path="/artifacts"))
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        client.projects.get(project.id, lazy=True).jobs.get(made.id, lazy=True).artifacts()


def test_the_whole_works_over_tls_and_real_time(tmp_path: Path) -> None:
    """For the demo: https on both servers, and a clock that runs."""
    store = GitLabStore(real_clock)
    store.add_token(TOKEN)
    made = store.add_job(store.add_pipeline(store.add_project("qa/shop")), "test", archive={"a.txt": b"x"})
    tls = make_tls(tmp_path)
    with GitLabServer(store, tls=tls) as server:
        server.instance.delivery = "object store"
        with python_gitlab.Gitlab(server.url, oauth_token=TOKEN, ssl_verify=str(tls.ca_pem), timeout=10) as client:
            assert client.projects.get("qa/shop").jobs.get(made.id).artifacts().startswith(b"PK")
