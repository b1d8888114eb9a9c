"""What GitLab says of itself and of our token, and whether a job's files are to be had."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from reconciler.errors import Forbidden, Incomplete, NotThere, ServiceDown, Unauthorized
from reconciler.gitlab import GitLabAdapter
from reconciler.model import AccessToken
from reconciler.sandbox.faults import Answer, Fault, page
from reconciler.sandbox.gitlab import START, FakeClock, Filler, GitLabServer, GitLabStore, Role
from reconciler.sandbox.messages import Response
from reconciler.wire import Endpoint
from tests.rally_world import HASTY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.model import Job
    from reconciler.sandbox import gitlab as sandbox
    from reconciler.sandbox.gitlab.features import Delivery

TOKEN = "glpat-r3ader"  # noqa: S105 - known to the stand-in only
SELF = "/personal_access_tokens/self"
REPORT = b"<testsuite name='s'><testcase classname='c' name='t' time='0.5'/></testsuite>"


@pytest.fixture
def server() -> Iterator[GitLabServer]:
    """Serve a GitLab without a token; nothing we send may puzzle it."""
    with GitLabServer(GitLabStore(FakeClock())) as running:
        yield running
        assert running.server.crashes == running.objects_server.crashes == []
        assert running.app.unknown_parameters == []
        assert running.objects.leaks == []


@pytest.fixture
def gitlab(server: GitLabServer) -> Iterator[GitLabAdapter]:
    """Make an adapter that soon gives up."""
    adapter = GitLabAdapter(Endpoint(server.url, read_s=5), TOKEN, stop=threading.Event(), limits=HASTY)
    yield adapter
    adapter.close()


def add_job(server: GitLabServer, archive: bytes | None = None, **words: str) -> sandbox.Job:
    """Add a job with a report, and perhaps with an archive."""
    store = server.store
    more = {} if archive is None else {"archive": {"a.txt": archive}}
    pipeline = store.add_pipeline(store.add_project("qa/web-shop"))
    return store.add_job(pipeline, "unit", junit=[("junit.xml", REPORT)], **more, **words)  # type: ignore[arg-type] # the store's own words


def as_read(gitlab: GitLabAdapter, job: sandbox.Job) -> Job:
    """Read it back through the port."""
    pipeline = job.pipeline
    [read] = gitlab.jobs(gitlab.project(pipeline.project.path).id, pipeline.id)  # type: ignore[arg-type] # a number
    return read


# --- the server ------------------------------------------------------------------------------------------------------


def test_a_greeting_tells_version_and_clock(server: GitLabServer, gitlab: GitLabAdapter) -> None:
    """The clock is that of the Date header, to the second."""
    server.store.add_token(TOKEN)
    server.instance.version = "17.5.1-ee"
    server.server.clock_ahead_s = 3600

    greeting = gitlab.greeting()

    assert greeting.version == "17.5.1-ee"
    assert greeting.at is not None
    assert abs(greeting.at - datetime.now(UTC) - timedelta(hours=1)) < timedelta(seconds=10)


def test_a_token_that_may_not_ask_for_the_version_is_forbidden_to(server: GitLabServer, gitlab: GitLabAdapter) -> None:
    """The server answers, which is what the caller may conclude."""
    server.store.add_token(TOKEN, scopes=("read_repository",))
    with pytest.raises(Forbidden, match="insufficient_scope"):
        gitlab.greeting()


def test_an_unknown_token_is_unauthorized_in_one_request(server: GitLabServer, gitlab: GitLabAdapter) -> None:
    """Neither the greeting nor the token's own page is asked for twice."""
    for ask in (gitlab.greeting, gitlab.token):
        with pytest.raises(Unauthorized):
            ask()
    assert len(server.server.log) == 2


def test_a_gitlab_that_has_dropped_the_old_path_is_asked_by_the_new_one(
    server: GitLabServer, gitlab: GitLabAdapter
) -> None:
    """`/version` is deprecated since 15.5 (GitLab's OpenAPI)."""
    server.store.add_token(TOKEN)
    server.server.faults.add(Fault(Answer(Response.json({"error": "404 Not Found"}, 404)), path="/version"))
    assert gitlab.greeting().version == server.instance.version


@pytest.mark.parametrize("document", [[], {"version": 17}, {}])
def test_an_answer_without_a_version_is_no_greeting(
    server: GitLabServer, gitlab: GitLabAdapter, document: object
) -> None:
    """Something else answers there."""
    server.server.faults.add(Fault(Answer(Response.json(document)), path="/version", times=None))
    with pytest.raises(Incomplete, match=r"check gitlab\.url"):
        gitlab.greeting()


# --- the token -------------------------------------------------------------------------------------------------------


def test_the_token_tells_name_scopes_and_day_of_expiry(server: GitLabServer, gitlab: GitLabAdapter) -> None:
    """In one request, whatever its scopes."""
    server.store.add_token(TOKEN, scopes=("read_user", "self_rotate"), expires_at=date(2027, 1, 31))

    token = gitlab.token()

    assert token == AccessToken("reconciler", frozenset({"read_user", "self_rotate"}), date(2027, 1, 31), active=True)
    assert [entry.path for entry in server.server.log] == [f"/api/v4{SELF}"]


def test_a_token_may_have_no_day_of_expiry(server: GitLabServer, gitlab: GitLabAdapter) -> None:
    """As on servers that do not demand one."""
    server.store.add_token(TOKEN)
    assert gitlab.token().expires_on is None


@pytest.mark.parametrize("change", ["expired", "revoked"])
def test_a_token_that_has_ended_is_unauthorized(server: GitLabServer, gitlab: GitLabAdapter, change: str) -> None:
    """It cannot even ask about itself."""
    token = server.store.add_token(TOKEN, expires_at=START.date() if change == "expired" else None)
    token.revoked = change == "revoked"
    with pytest.raises(Unauthorized):
        gitlab.token()


def test_a_server_that_does_not_know_the_path_is_told_apart(server: GitLabServer, gitlab: GitLabAdapter) -> None:
    """An old one has no such path; that says nothing about the token."""
    server.server.faults.add(Fault(Answer(Response.json({"error": "404 Not Found"}, 404)), path=SELF))
    with pytest.raises(NotThere):
        gitlab.token()


@pytest.mark.parametrize(
    ("field", "value"), [("scopes", None), ("scopes", "api"), ("expires_at", "soon"), ("expires_at", 7)]
)
def test_what_cannot_be_read_of_a_token_is_not_made_up(
    server: GitLabServer, gitlab: GitLabAdapter, field: str, value: object
) -> None:
    """An expiry that is not understood is not "none"."""
    document = {"name": "x", "scopes": ["api"], "active": True, "revoked": False, "expires_at": None, field: value}
    server.server.faults.add(Fault(Answer(Response.json(document)), path=SELF, times=None))
    with pytest.raises(Incomplete, match="cannot be read"):
        gitlab.token()


def test_a_token_that_is_said_to_be_inactive_is_so(server: GitLabServer, gitlab: GitLabAdapter) -> None:
    """And a day of expiry may come as a time, which GitLab's OpenAPI calls it."""
    document = {"scopes": ["api"], "active": False, "expires_at": "2027-01-31T00:00:00.000Z"}
    server.server.faults.add(Fault(Answer(Response.json(document)), path=SELF))
    token = gitlab.token()
    assert (token.active, token.expires_on) == (False, date(2027, 1, 31))


def test_maintenance_is_no_word_about_the_token(server: GitLabServer, gitlab: GitLabAdapter) -> None:
    """It is the server that is down."""
    server.server.faults.add(Fault(page(502), times=None))
    with pytest.raises(ServiceDown):
        gitlab.token()


# --- artifacts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delivery", ["local", "proxy", "object store"])
def test_artifacts_that_may_be_read_are_begun_and_left(
    server: GitLabServer, gitlab: GitLabAdapter, delivery: Delivery
) -> None:
    """Of a big archive next to nothing is fetched, also from an object store; it never sees our token."""
    server.store.add_token(TOKEN)
    server.instance.delivery = delivery
    pipeline = server.store.add_pipeline(server.store.add_project("qa/web-shop"))
    job = as_read(gitlab, server.store.add_job(pipeline, "e2e", archive={"big.mp4": Filler(50_000_000)}))

    gitlab.probe_artifacts(job)

    sent = [*server.server.log.entries("GET", "/artifacts"), *server.objects_server.log]
    assert sum(entry.bytes_out for entry in sent) < 1000


def test_a_server_without_ranges_is_left_after_the_first_bytes(server: GitLabServer, gitlab: GitLabAdapter) -> None:
    """It begins to send all of it; what was begun is not waited for."""
    server.store.add_token(TOKEN)
    server.instance.ranges = "none"
    gitlab.probe_artifacts(as_read(gitlab, add_job(server, b"x" * 1000)))


def test_a_job_with_a_report_alone_is_asked_for_that(server: GitLabServer, gitlab: GitLabAdapter) -> None:
    """Which GitLab gives since 19.4; before, there is nothing for it (doc/api/job_artifacts.md)."""
    server.store.add_token(TOKEN)
    job = as_read(gitlab, add_job(server))
    gitlab.probe_artifacts(job)
    server.instance.version = "19.3.0"
    with pytest.raises(NotThere):
        gitlab.probe_artifacts(job)


def test_artifacts_for_other_roles_are_forbidden(server: GitLabServer, gitlab: GitLabAdapter) -> None:
    """As `artifacts:access: developer` has it for a reporter."""
    server.store.add_token(TOKEN, role=Role.REPORTER)
    job = as_read(gitlab, add_job(server, b"x", artifacts_access="developer"))
    with pytest.raises(Forbidden):
        gitlab.probe_artifacts(job)
