"""The promises of the port GitLab, kept by the adapter against the stand-in GitLab."""

from __future__ import annotations

import threading
import time
import zlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import pytest

from reconciler.errors import Forbidden, Incomplete, NotThere, ServiceDown, Stopped, TooLarge, Unauthorized
from reconciler.gitlab import GitLabAdapter
from reconciler.model import ArtifactListing, Job, JobId, Outcome, PipelineId, ProjectId
from reconciler.sandbox.faults import Action, Answer, Drip, Fault, Reset, Truncate, page, too_many, unavailable
from reconciler.sandbox.gitlab import START, FakeClock, Filler, GitLabServer, GitLabStore, Role
from reconciler.sandbox.messages import Response
from reconciler.wire import Endpoint, Limits
from tests.contract.unhurried import InPause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from reconciler.ports import GitLab
    from reconciler.sandbox import gitlab as sandbox
    from reconciler.sandbox.gitlab.features import Delivery

TOKEN = "glpat-r3ader"  # noqa: S105 - known to the stand-in only
REPORT = b"<testsuite name='s'><testcase classname='c' name='t' time='0.5'/></testsuite>"
HASTY = Limits(first_wait_s=0.01, longest_wait_s=0.05, patience_s=2)
IMPATIENT = replace(HASTY, patience_s=1)
Framing = Literal["length", "chunked", "close"]
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def server() -> Iterator[GitLabServer]:
    """Serve a GitLab with one reporter's token; nothing we send may puzzle it, and the token stays where it belongs."""
    store = GitLabStore(FakeClock())
    store.add_token(TOKEN)
    with GitLabServer(store) as running:
        yield running
        assert running.server.crashes == running.objects_server.crashes == []
        assert running.app.unknown_parameters == []
        assert running.objects.leaks == []


@pytest.fixture
def connect(server: GitLabServer) -> Iterator[Callable[..., GitLabAdapter]]:
    """Make adapters."""
    made: list[GitLabAdapter] = []

    def make(token: str = TOKEN, limits: Limits = HASTY, **words: Any) -> GitLabAdapter:  # noqa: ANN401 - passed on
        words.setdefault("stop", threading.Event())
        made.append(GitLabAdapter(Endpoint(server.url, read_s=5), token, limits=limits, **words))
        return made[-1]

    yield make
    for adapter in made:
        adapter.close()


@pytest.fixture
def adapter(connect: Callable[..., GitLabAdapter]) -> GitLabAdapter:
    """Make one adapter."""
    return connect()


@pytest.fixture
def project(server: GitLabServer) -> sandbox.Project:
    """Make a project."""
    return server.app.store.add_project("qa/shop")


@pytest.fixture
def store(server: GitLabServer) -> GitLabStore:
    """Give what the server serves."""
    return server.app.store


@pytest.fixture
def report_job(store: GitLabStore, project: sandbox.Project, adapter: GitLabAdapter) -> Job:
    """Make a job with a report and an archive, and read it."""
    pipeline = store.add_pipeline(project)
    store.add_job(pipeline, "test", junit=[("a.xml", REPORT), ("b.xml", REPORT)], archive={"out/a b#1.log": b"log"})
    return adapter.jobs(ProjectId(project.id), PipelineId(pipeline.id))[0]


def fail(server: GitLabServer, action: Action, path: str, times: int | None = 1) -> Fault:
    """Make the server misbehave."""
    return server.server.faults.add(Fault(action, path=path, times=times))


def test_the_adapter_is_the_port(adapter: GitLabAdapter) -> None:
    """Types say so."""
    port: GitLab = adapter
    assert port is adapter


# --- projects --------------------------------------------------------------------------------------------------------


def test_a_project_is_found_by_path_and_number(adapter: GitLabAdapter, project: sandbox.Project) -> None:
    """Slashes in a path are percent-encoded."""
    assert adapter.project("qa/shop") == adapter.project(project.id)
    assert (adapter.project("qa/shop").path, adapter.project("qa/shop").id) == ("qa/shop", project.id)


def test_a_renamed_project_is_followed(adapter: GitLabAdapter, store: GitLabStore, project: sandbox.Project) -> None:
    """GitLab answers 301 with the number."""
    store.move_project(project, "qa/web-shop")
    assert adapter.project("qa/shop").path == "qa/web-shop"


def test_a_missing_project_and_a_closed_one(adapter: GitLabAdapter, project: sandbox.Project) -> None:
    """404 is NotThere; CI turned off is Forbidden."""
    with pytest.raises(NotThere, match="GitLab: project no/such: HTTP 404"):
        adapter.project("no/such")
    project.builds_enabled = False
    with pytest.raises(Forbidden, match=f"GitLab: pipelines of project {project.id}: HTTP 403"):
        adapter.pipelines(ProjectId(project.id), updated_after=LONG_AGO)


def test_a_groups_projects_are_listed_with_those_of_subgroups(adapter: GitLabAdapter, store: GitLabStore) -> None:
    """All pages, without archived ones."""
    made = [store.add_project(f"qa/{'' if number % 2 else 'sub/'}p{number}").id for number in range(105)]
    store.add_project("qa/old", archived=True)
    store.add_project("other/x")
    assert [one.id for one in adapter.group_projects("qa")] == made
    assert len(adapter.group_projects("qa/sub")) == 53


# --- pipelines -------------------------------------------------------------------------------------------------------


def test_pipelines_come_newest_update_first_with_inclusive_bounds(
    adapter: GitLabAdapter, store: GitLabStore, project: sandbox.Project
) -> None:
    """Times are sent with milliseconds, in UTC."""
    at = [START.replace(microsecond=0) + timedelta(hours=hour) for hour in range(4)]
    rows = [store.add_pipeline(project, created_at=one, updated_at=one) for one in at]
    found = adapter.pipelines(ProjectId(project.id), updated_after=at[1], updated_before=at[2])
    assert [one.id for one in found.pipelines] == [rows[2].id, rows[1].id]
    assert (found.pipelines[0].updated_at, found.next_page) == (at[2], None)


def test_pages_are_followed_by_what_the_server_names(
    server: GitLabServer, adapter: GitLabAdapter, project: sandbox.Project
) -> None:
    """Above a limit GitLab tells no totals, and a proxy may have dropped one of the two headers."""
    server.app.instance.count_limit = 10
    server.app.instance.unstable_ties = False
    for number in range(101):
        moment = START + timedelta(seconds=number)
        server.app.store.add_pipeline(project, created_at=moment, updated_at=moment)
    first = adapter.pipelines(ProjectId(project.id), updated_after=LONG_AGO)
    second = adapter.pipelines(ProjectId(project.id), updated_after=LONG_AGO, page=first.next_page or 0)
    assert (len(first.pipelines), first.next_page, len(second.pipelines), second.next_page) == (100, 2, 1, None)


def test_the_first_request_is_exactly_this(
    server: GitLabServer, adapter: GitLabAdapter, project: sandbox.Project
) -> None:
    """And Bearer, not PRIVATE-TOKEN, which follows redirects to other hosts."""
    adapter.pipelines(ProjectId(project.id), updated_after=START)
    (entry,) = server.server.log
    assert entry.query == {
        "order_by": ["updated_at"],
        "sort": ["desc"],
        "per_page": ["100"],
        "updated_after": ["2026-11-23T08:00:00.123Z"],
        "page": ["1"],
    }
    assert entry.headers["authorization"] == f"Bearer {TOKEN}"
    assert "private-token" not in entry.headers


def test_child_pipelines_are_listed_apart(adapter: GitLabAdapter, store: GitLabStore, project: sandbox.Project) -> None:
    """The default list leaves them out."""
    parent = store.add_pipeline(project)
    child = store.add_pipeline(project, parent=parent)
    ids = [
        [
            one.id
            for one in adapter.pipelines(ProjectId(project.id), updated_after=LONG_AGO, children=children).pipelines
        ]
        for children in (False, True)
    ]
    assert ids == [[parent.id], [child.id]]


@pytest.mark.parametrize("status", [400, 200])
def test_a_gitlab_that_cannot_list_children_gives_none(
    server: GitLabServer, adapter: GitLabAdapter, project: sandbox.Project, status: int
) -> None:
    """It refuses the value, or ignores the parameter and lists everything else."""
    row = {"id": 5, "status": "success", "source": "push", "updated_at": "2026-01-01T00:00:00.000Z"}
    refusal: object = {"error": "source does not have a valid value"}
    fail(server, Answer(Response.json(refusal if status == 400 else [row], status)), "pipelines$")
    assert adapter.pipelines(ProjectId(project.id), updated_after=LONG_AGO, children=True).pipelines == ()


def test_old_and_odd_rows_harm_nobody(server: GitLabServer, adapter: GitLabAdapter, project: sandbox.Project) -> None:
    """Fields may be missing or null; a row without an id or a time is left out."""
    when = "2026-01-02T03:04:05.678+02:00"
    rows: list[object] = [
        {"id": 7, "status": "success", "updated_at": when},
        {"id": 8, "status": "success", "created_at": when, "updated_at": None, "iid": None, "source": None},
        {"id": 9, "status": "success", "updated_at": "yesterday"},
        {"status": "success", "updated_at": when},
        None,
    ]
    fail(server, Answer(Response.json(rows)), "pipelines$")
    found = adapter.pipelines(ProjectId(project.id), updated_after=LONG_AGO).pipelines
    assert [(one.id, one.iid, one.source, one.ref) for one in found] == [(7, 0, "", ""), (8, 0, "", "")]
    assert {one.updated_at for one in found} == {datetime(2026, 1, 2, 1, 4, 5, 678000, tzinfo=UTC)}


# --- jobs ------------------------------------------------------------------------------------------------------------


def test_jobs_are_the_newest_attempts_with_what_they_uploaded(
    adapter: GitLabAdapter, store: GitLabStore, project: sandbox.Project
) -> None:
    """Sizes, names and the day of expiry come with the list."""
    pipeline = store.add_pipeline(project)
    day = START + timedelta(days=30)
    first = store.add_job(pipeline, "test 1/2", "failed")
    again = store.retry_job(first, junit=[("a.xml", REPORT)], expire_at=day)
    store.add_bridge(pipeline, "deploy")
    (job,) = adapter.jobs(ProjectId(project.id), PipelineId(pipeline.id))
    assert (job.id, job.name, job.group, job.status) == (again.id, "test 1/2", "test", "success")
    assert job.lists("junit")
    assert not job.lists("archive")
    assert job.artifacts_expire_at == day.replace(microsecond=123000)
    assert job.finished_at is not None


def test_all_pages_of_jobs_are_read_and_doubles_are_one(
    server: GitLabServer, adapter: GitLabAdapter, store: GitLabStore, project: sandbox.Project
) -> None:
    """A row may come twice when pages shift under us."""
    pipeline = store.add_pipeline(project)
    ids = {store.add_job(pipeline, f"test {number}").id for number in range(250)}
    found = adapter.jobs(ProjectId(project.id), PipelineId(pipeline.id))
    assert {job.id for job in found} == ids
    assert len(server.server.log.entries(path="/jobs$")) == 3
    rows = Response.json(
        [{"id": 1, "name": "a"}, {"id": 1, "name": "a"}, {"name": "no id"}, {"id": 2, "artifacts": None}]
    )
    fail(server, Answer(rows), "jobs$")
    assert [job.id for job in adapter.jobs(ProjectId(project.id), PipelineId(pipeline.id))] == [1, 2]


def test_next_pages_are_asked_of_us_not_of_the_host_in_the_link(
    server: GitLabServer, adapter: GitLabAdapter, store: GitLabStore, project: sandbox.Project
) -> None:
    """GitLab writes its external URL into links; the token must not go there."""
    server.app.instance.external_url = "http://gitlab.invalid"
    pipeline = store.add_pipeline(project)
    for number in range(101):
        store.add_job(pipeline, f"test {number}")
    assert len(adapter.jobs(ProjectId(project.id), PipelineId(pipeline.id))) == 101


def test_pages_without_a_link_are_followed_too(server: GitLabServer, adapter: GitLabAdapter) -> None:
    """A proxy that drops Link leaves X-Next-Page; a list that never ends is not read for ever."""
    rows = [{"id": 1, "name": "a"}]
    for number, following in ((1, "2"), (2, "")):
        response = Response.json([{**rows[0], "id": number}])
        response.headers["X-Next-Page"] = following
        fail(server, Answer(response), "jobs$")
    assert [job.id for job in adapter.jobs(ProjectId(1), PipelineId(1))] == [1, 2]
    endless = Response.json(rows)
    endless.headers["X-Next-Page"] = "1"
    fail(server, Answer(endless), "jobs$", times=None)
    with pytest.raises(Incomplete, match="circle"):
        adapter.jobs(ProjectId(1), PipelineId(1))


@pytest.mark.parametrize("version", ["16.0.0", "19.4.0-ee"])
def test_trigger_jobs_are_seen(
    server: GitLabServer, adapter: GitLabAdapter, store: GitLabStore, project: sandbox.Project, version: str
) -> None:
    """On servers that have both routes, and on those that have one."""
    server.app.instance.version = version
    pipeline = store.add_pipeline(project)
    assert not adapter.has_bridges(ProjectId(project.id), PipelineId(pipeline.id))
    store.add_bridge(pipeline, "deploy")
    assert adapter.has_bridges(ProjectId(project.id), PipelineId(pipeline.id))
    if version.startswith("19"):
        fail(server, Answer(Response.json({"error": "404 Not Found"}, 404)), "/bridges$")
        assert adapter.has_bridges(ProjectId(project.id), PipelineId(pipeline.id))


# --- artifacts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delivery", ["local", "proxy", "object store"])
def test_a_report_comes_from_wherever_it_is_kept(
    server: GitLabServer, adapter: GitLabAdapter, report_job: Job, delivery: Delivery
) -> None:
    """The object store never sees the token: the fixture looks."""
    server.app.instance.delivery = delivery
    with adapter.junit_artifact(report_job) as file:
        assert file is not None
        unpack = zlib.decompressobj(31)
        assert unpack.decompress(file.read()) == REPORT
    assert len(unpack.unused_data) > 0


def test_an_old_gitlab_answers_with_the_archive_and_that_is_none(
    server: GitLabServer, adapter: GitLabAdapter, store: GitLabStore, project: sandbox.Project
) -> None:
    """Of a large archive only the beginning is taken."""
    server.app.instance.version = "18.0.0"
    pipeline = store.add_pipeline(project)
    store.add_job(pipeline, "test", junit=[("a.xml", REPORT)], archive={"big.bin": Filler(200_000_000)})
    (job,) = adapter.jobs(ProjectId(project.id), PipelineId(pipeline.id))
    with adapter.junit_artifact(job) as file:
        assert file is None
    (entry,) = server.server.log.entries(path="artifacts$")
    assert entry.bytes_out < 20_000_000


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("delivery", ["local", "object store"])
def test_a_report_that_was_cut_short_is_fetched_again(
    server: GitLabServer, adapter: GitLabAdapter, report_job: Job, framing: Framing, delivery: Delivery
) -> None:
    """A body that ends with its connection is told by the size that GitLab lists."""
    server.app.instance.delivery = delivery
    faults = (server.objects_server if delivery == "object store" else server.server).faults
    fault = faults.add(Fault(Truncate(40, framing), path="artifacts", times=2))
    with adapter.junit_artifact(report_job) as file:
        assert file is not None
        assert len(file.read()) == next(a.size_bytes for a in report_job.artifacts if a.file_type == "junit")
    assert fault.hits == 2


def test_a_report_that_stays_short_is_incomplete_and_others_are_read(
    server: GitLabServer, adapter: GitLabAdapter, report_job: Job, project: sandbox.Project
) -> None:
    """One bad file is no reason to think that the server is down."""
    fail(server, Truncate(40), "artifacts$", times=None)
    with pytest.raises(Incomplete, match="cut short"), adapter.junit_artifact(report_job):
        pass
    assert adapter.project(project.id).id == project.id


def test_an_object_store_that_is_down_is_not_gitlab_being_down(
    server: GitLabServer, adapter: GitLabAdapter, report_job: Job, project: sandbox.Project
) -> None:
    """However often it is asked."""
    server.app.instance.delivery = "object store"
    server.objects_server.stop()
    for _ in range(6):
        with (
            pytest.raises(Incomplete, match=r"object store: .* refuses connections"),
            adapter.junit_artifact(report_job),
        ):
            pass
    assert adapter.project(project.id).id == project.id
    server.objects_server.start()
    with adapter.junit_artifact(report_job) as file:
        assert file is not None


def test_an_expired_signature_is_renewed_by_asking_again(
    server: GitLabServer, adapter: GitLabAdapter, report_job: Job
) -> None:
    """403 of the store is not 403 of GitLab."""
    server.app.instance.delivery = "object store"
    server.objects_server.faults.add(Fault(Answer(Response.text("<Error/>", 403, "application/xml"))))
    with adapter.junit_artifact(report_job) as file:
        assert file is not None


def test_reports_that_are_gone_or_closed(adapter: GitLabAdapter, store: GitLabStore, report_job: Job) -> None:
    """404 when it has expired, 403 when artifacts:access says so."""
    row = store.jobs[report_job.id]
    row.artifacts_access = "developer"
    for read in (adapter.junit_artifact, adapter.archive):
        with pytest.raises(Forbidden), read(report_job):
            pass
    row.artifacts_access = "all"
    store.expire(row)
    with pytest.raises(NotThere, match=f"junit report of job {report_job.id}: HTTP 404"):
        adapter.junit_artifact(report_job).__enter__()
    with pytest.raises(NotThere, match=f"archive of job {report_job.id}: HTTP 404"):
        adapter.archive(report_job).__enter__()


def test_a_page_is_not_a_report(server: GitLabServer, adapter: GitLabAdapter, report_job: Job) -> None:
    """A login page with status 200 is asked again."""
    fail(server, page(200, "Sign in"), "artifacts$", times=2)
    with adapter.junit_artifact(report_job) as file:
        assert file is not None
        assert file.read(2) == b"\x1f\x8b"


def test_files_are_capped(connect: Callable[..., GitLabAdapter], report_job: Job) -> None:
    """By their announced size, or while they come; it is a kind of Forbidden."""
    adapter = connect(max_download_bytes=10)
    with pytest.raises(TooLarge, match="more than 10 bytes"), adapter.junit_artifact(report_job):
        pass
    assert issubclass(TooLarge, Forbidden)


def test_a_download_is_interrupted(
    server: GitLabServer, connect: Callable[..., GitLabAdapter], report_job: Job
) -> None:
    """However slowly it comes, within a moment."""
    stop = threading.Event()
    adapter = connect(stop=stop)
    fail(server, InPause(Drip(1, 0.2), stop.set), "artifacts$")
    began = time.monotonic()
    with pytest.raises(Stopped), adapter.junit_artifact(report_job):
        pass
    assert time.monotonic() - began < 5


# --- GitLab's own reading --------------------------------------------------------------------------------------------


def test_a_test_report_is_read_into_test_runs(
    adapter: GitLabAdapter, store: GitLabStore, project: sandbox.Project
) -> None:
    """Statuses become outcomes; zeros mean that there is nothing left."""
    pipeline = store.add_pipeline(project)
    xml = (
        b"<testsuite name='s'><testcase classname='c' name='ok' time='0.5' file='f.py'/>"
        b"<testcase classname='c' name='bad' time='-1'><failure>first\nsecond</failure></testcase>"
        b"<testcase name='worse'><error>boom</error></testcase><testcase name='no'><skipped/></testcase></testsuite>"
    )
    job = store.add_job(pipeline, "test 1/2", junit=[("a.xml", xml)])
    (suite,) = adapter.test_report(ProjectId(project.id), PipelineId(pipeline.id))
    assert (suite.name, suite.error) == ("test", "")
    outcomes = {test.name: test.outcome for test in suite.tests}
    assert outcomes == {
        "ok": Outcome.PASSED,
        "bad": Outcome.FAILED,
        "worse": Outcome.ERRORED,
        "no": Outcome.SKIPPED,
    }
    bad = next(test for test in suite.tests if test.name == "bad")
    assert (bad.message, bad.duration_s, bad.key) == ("first", 0.0, "c.bad")
    assert "second" in bad.detail
    store.expire(job)
    assert adapter.test_report(ProjectId(project.id), PipelineId(pipeline.id)) == []


def test_odd_forms_of_a_test_report(server: GitLabServer, adapter: GitLabAdapter) -> None:
    """`system_output` as text, object or list, and fields that are null or of another kind (go-gitlab's sample)."""
    cases: list[dict[str, object]] = [
        {"status": "error", "name": "a", "system_output": {"message": "Failed", "type": "T"}, "stack_trace": None},
        {"status": "failed", "name": "b", "system_output": ["one", {"message": "two"}], "execution_time": "1.5"},
        {"status": "success", "name": None, "classname": None, "system_output": None, "execution_time": None},
        {"status": "new in 20.0", "name": "d\x00"},
    ]
    document = {"test_suites": [{"name": "Failing", "suite_error": "no good", "test_cases": [*cases, None]}, None]}
    fail(server, Answer(Response.json(document)), "test_report$")
    (suite,) = adapter.test_report(ProjectId(1), PipelineId(1))
    read = [(test.name, test.outcome, test.message, test.duration_s) for test in suite.tests]
    assert suite.error == "no good"
    assert read == [
        ("a", Outcome.ERRORED, "Failed", 0.0),
        ("b", Outcome.FAILED, "one", 1.5),
        ("(No name)", Outcome.PASSED, "", 0.0),
        ("d\ufffd", Outcome.ERRORED, "GitLab reports the status 'new in 20.0'", 0.0),
    ]
    assert suite.tests[0].detail == "Failed\ntype: T"
    fail(server, Answer(Response.json([])), "test_report$")
    assert adapter.test_report(ProjectId(1), PipelineId(1)) == []


def test_jobs_that_reported_tests_are_known_after_expiry(
    adapter: GitLabAdapter, store: GitLabStore, project: sandbox.Project
) -> None:
    """A report that could not be parsed counts as tests: nobody knows better."""
    pipeline = store.add_pipeline(project)
    good = store.add_job(pipeline, "good", junit=[("a.xml", REPORT)])
    bad = store.add_job(pipeline, "bad", junit=[("a.xml", b"<testsuite")])
    store.add_job(pipeline, "empty", junit=[("a.xml", b"<testsuite/>")])
    store.add_job(pipeline, "build")
    store.expire(good)
    assert adapter.tested_jobs(ProjectId(project.id), PipelineId(pipeline.id)) == frozenset(
        {JobId(good.id), JobId(bad.id)}
    )


@pytest.mark.parametrize(
    "answer",
    [
        Response.json({"message": "404 Not Found"}, 404),
        Response.json({"message": "403 Forbidden"}, 403),
        Response.json({"test_suites": None}),
        Response.json([]),
        Response.json({"test_suites": [{"total_count": 1, "build_ids": ["x"]}]}),
    ],
    ids=lambda answer: f"{answer.status} {answer.body!r}",
)
def test_a_summary_that_tells_nothing_is_none(server: GitLabServer, adapter: GitLabAdapter, answer: Response) -> None:
    """Old servers have no such route; None is not "no tests"."""
    fail(server, Answer(answer), "summary$")
    assert adapter.tested_jobs(ProjectId(1), PipelineId(1)) is None


# --- trouble ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "action",
    [
        *(page(502), page(200), unavailable(0), unavailable(0, as_date=True), too_many(0), too_many(0, as_date=True)),
        *(Reset(), Truncate(30), Truncate(30, "chunked"), Truncate(30, "close")),
    ],
)
def test_reads_get_through_passing_trouble(
    server: GitLabServer, adapter: GitLabAdapter, report_job: Job, project: sandbox.Project, action: Action
) -> None:
    """Each kind of read, twice."""
    fail(server, action, "/jobs$", times=2)
    fail(server, action, "/artifacts$", times=2)
    assert adapter.jobs(ProjectId(project.id), report_job.pipeline_id) == [report_job]
    with adapter.junit_artifact(report_job) as file:
        assert file is not None


def test_a_wrong_token_is_told_at_once_and_not_shown(
    server: GitLabServer, connect: Callable[..., GitLabAdapter], report_job: Job
) -> None:
    """401 ends the asking, in every kind of read; no text has the token."""
    adapter = connect("glpat-wr0ng")
    server.server.log.clear()
    for read in (lambda: adapter.project("qa/shop"), lambda: adapter.junit_artifact(report_job).__enter__()):
        with pytest.raises(Unauthorized, match=r"GitLab: HTTP 401: .*check gitlab\.token.*read_api") as error:
            read()
        assert "wr0ng" not in str(error.value)
    assert len(server.server.log) == 2


def test_a_token_without_the_scope_is_forbidden(
    connect: Callable[..., GitLabAdapter], store: GitLabStore, project: sandbox.Project
) -> None:
    """GitLab says 403 insufficient_scope."""
    store.add_token("glpat-narrow", scopes=("read_user",), role=Role.REPORTER)
    with pytest.raises(Forbidden, match="insufficient_scope"):
        connect("glpat-narrow").project(project.id)


def test_a_server_that_is_down(server: GitLabServer, connect: Callable[..., GitLabAdapter]) -> None:
    """After patience; then at once."""
    adapter = connect(limits=IMPATIENT)
    server.server.stop()
    for _ in range(7):
        with pytest.raises(ServiceDown, match="refuses connections"):
            adapter.project("qa/shop")
    server.server.start()


def test_a_job_with_no_known_size(adapter: GitLabAdapter, report_job: Job) -> None:
    """Sizes are a help, not a must."""
    bare = Job(
        **{
            **{name: getattr(report_job, name) for name in report_job.__slots__},
            "artifacts": (ArtifactListing("junit", 0, ""),),
            "id": JobId(report_job.id),
        }
    )
    with adapter.junit_artifact(bare) as file:
        assert file is not None


def test_many_threads_share_one_adapter(
    server: GitLabServer, connect: Callable[..., GitLabAdapter], report_job: Job
) -> None:
    """No answer goes to the wrong one, and no more are in flight than allowed."""
    adapter = connect(limits=Limits(at_once=4))
    server.server.time_model.request_s = 0.005
    found: list[tuple[int, int]] = []
    others = [server.app.store.add_project(f"qa/p{number}").id for number in range(24)]

    def ask(number: int) -> None:
        found.append((number, adapter.project(number).id))
        with adapter.junit_artifact(report_job) as file:
            assert file is not None

    threads = [threading.Thread(target=ask, args=(number,)) for number in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [(number, number) for number in others]
    assert server.server.log.most_at_once() <= 4
