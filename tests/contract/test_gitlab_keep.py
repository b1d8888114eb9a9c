"""The one write to GitLab: artifacts that Rally links to are kept beyond their day."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from reconciler.errors import Forbidden, Incomplete, NotThere, ServiceDown, Stopped, Unauthorized
from reconciler.gitlab import GitLabAdapter
from reconciler.model import JobId, ProjectId
from reconciler.sandbox.faults import Answer, Fault, Reset, Truncate, page, too_many, unavailable
from reconciler.sandbox.gitlab import START, FakeClock, GitLabServer, GitLabStore, Role
from reconciler.sandbox.messages import Response
from reconciler.wire import Endpoint, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from reconciler.sandbox.faults import Action
    from reconciler.sandbox.gitlab import Job

DEVELOPER = "glpat-d3veloper"
HASTY = Limits(first_wait_s=0.01, longest_wait_s=0.05, patience_s=1)
DAY = timedelta(days=1)


@pytest.fixture
def clock() -> FakeClock:
    """Make GitLab's clock."""
    return FakeClock()


@pytest.fixture
def server(clock: FakeClock) -> Iterator[GitLabServer]:
    """Serve a GitLab with a developer's token for the whole API."""
    store = GitLabStore(clock)
    store.add_token(DEVELOPER, role=Role.DEVELOPER, scopes=["api"])
    with GitLabServer(store) as running:
        yield running
        assert running.server.crashes == []


@pytest.fixture
def connect(server: GitLabServer) -> Iterator[Callable[[str], GitLabAdapter]]:
    """Make adapters, each with a token of its own."""
    made: list[GitLabAdapter] = []

    def make(token: str) -> GitLabAdapter:
        made.append(GitLabAdapter(Endpoint(server.url, read_s=5), token, stop=threading.Event(), limits=HASTY))
        return made[-1]

    yield make
    for adapter in made:
        adapter.close()


@pytest.fixture
def adapter(connect: Callable[[str], GitLabAdapter]) -> GitLabAdapter:
    """Make the developer's."""
    return connect(DEVELOPER)


@pytest.fixture
def row(server: GitLabServer) -> Job:
    """Make a job whose archive and report expire tomorrow."""
    pipeline = server.store.add_pipeline(server.store.add_project("qa/shop"))
    reports = [("a.xml", b"<testsuite/>")]
    return server.store.add_job(pipeline, "test", archive={"a.mp4": b"1"}, junit=reports, expire_at=START + DAY)


def keep(adapter: GitLabAdapter, row: Job) -> None:
    """Keep a job's artifacts."""
    adapter.keep_artifacts(ProjectId(row.pipeline.project.id), JobId(row.id))


def posts(server: GitLabServer) -> int:
    """Count the writes."""
    return len([entry for entry in server.server.log if entry.method == "POST"])


def test_kept_artifacts_no_longer_expire(
    server: GitLabServer, adapter: GitLabAdapter, clock: FakeClock, row: Job
) -> None:
    """All of the job's; asking twice does nothing more."""
    keep(adapter, row)
    keep(adapter, row)
    clock.advance(DAY.total_seconds() * 30)
    assert [one.file_type for one in server.store.artifacts_of(row)] == ["archive", "metadata", "junit"]
    assert posts(server) == 2


def test_a_token_that_may_not_is_told_why(
    server: GitLabServer, connect: Callable[[str], GitLabAdapter], row: Job
) -> None:
    """Without the scope, and without the role."""
    server.store.add_token("glpat-narrow", role=Role.MAINTAINER)
    server.store.add_token("glpat-r3porter", scopes=["api"])
    with pytest.raises(Forbidden, match=rf"artifacts of job {row.id}: HTTP 403: insufficient_scope: .* privileges"):
        keep(connect("glpat-narrow"), row)
    with pytest.raises(Forbidden, match="HTTP 403: 403 Forbidden"):
        keep(connect("glpat-r3porter"), row)
    with pytest.raises(Unauthorized):
        keep(connect("glpat-unknown"), row)
    assert row.expire_at is not None


@pytest.mark.parametrize("gone", ["expired", "removed", "erased", "never there", "no such job", "no such project"])
def test_what_is_gone_cannot_be_kept(
    server: GitLabServer, adapter: GitLabAdapter, clock: FakeClock, row: Job, gone: str
) -> None:
    """Expired, it is lost even before it is removed, or while GitLab keeps it as the newest of its ref."""
    project, job = ProjectId(row.pipeline.project.id), JobId(row.id)
    match gone:
        case "expired":
            row.locked = True
            clock.advance(DAY.total_seconds() + 1)
        case "removed":
            clock.advance(DAY.total_seconds() + 3600)
        case "erased":
            server.store.erase(row)
        case "never there":
            row.archive = None
        case "no such job":
            job = JobId(1)
        case _:
            project = ProjectId(1)
    with pytest.raises(NotThere, match=f"keeping the artifacts of job {job}: HTTP 404"):
        adapter.keep_artifacts(project, job)


@pytest.mark.parametrize(
    ("action", "error"),
    [
        (page(502), Incomplete),
        (page(200, "Sign in"), Incomplete),
        (unavailable(0), Incomplete),
        (Answer(Response(302, headers={"Location": "/users/sign_in"})), Incomplete),
        (Answer(Response.json({"message": "409 Conflict"}, 409)), Incomplete),
        (Truncate(10), Incomplete),
        (Reset(), Incomplete),
        (too_many(0), ServiceDown),
    ],
    ids=["502", "login page", "503", "redirect", "409", "cut short", "reset", "429"],
)
def test_no_answer_is_not_asked_for_twice(
    server: GitLabServer, adapter: GitLabAdapter, row: Job, action: Action, error: type[Exception]
) -> None:
    """Nobody knows whether it was done: a later pass asks again."""
    server.server.faults.add(Fault(action, path="/keep$"))
    with pytest.raises(error, match=f"^GitLab: keeping the artifacts of job {row.id}: "):
        keep(adapter, row)
    assert posts(server) == 1
    keep(adapter, row)
    assert row.expire_at is None


def test_a_gitlab_that_is_down(server: GitLabServer, adapter: GitLabAdapter, row: Job) -> None:
    """Then nothing was sent."""
    with server.server.refusing(), pytest.raises(ServiceDown, match="refuses connections"):
        keep(adapter, row)
    assert posts(server) == 0


def test_nothing_is_kept_when_we_are_to_stop(server: GitLabServer, row: Job) -> None:
    """As with every other call."""
    stop = threading.Event()
    stop.set()
    adapter = GitLabAdapter(Endpoint(server.url), DEVELOPER, stop=stop)
    with pytest.raises(Stopped):
        keep(adapter, row)
    adapter.close()
