"""A job's archive through the adapter: by ranges from wherever GitLab keeps it, or by one download."""

from __future__ import annotations

import tempfile
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

import pytest

from reconciler.archive import PIECE_BYTES, TAIL_BYTES, BadArchive, BadMember
from reconciler.errors import Forbidden, Incomplete, NotThere, ServiceDown, Stopped, TooLarge
from reconciler.gitlab import GitLabAdapter
from reconciler.model import ArtifactListing, Job, PipelineId, ProjectId
from reconciler.sandbox.faults import Answer, Drip, Fault, Reset, Truncate, page, unavailable
from reconciler.sandbox.gitlab import FakeClock, Filler, GitLabServer, GitLabStore, pack_zip
from reconciler.sandbox.messages import Response
from reconciler.wire import Endpoint, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from reconciler.ports import Archive
    from reconciler.sandbox import gitlab as sandbox
    from reconciler.sandbox.faults import Action
    from reconciler.sandbox.gitlab.features import Delivery
    from reconciler.sandbox.server import Server

TOKEN = "glpat-r3ader"  # noqa: S105 - known to the stand-in only
HASTY = Limits(first_wait_s=0.01, longest_wait_s=0.05, patience_s=1)
SMALL = {f"reports/{n}.xml": b"<testsuite name='%d'/>" % n for n in range(200)}
FILES: dict[str, bytes | Filler] = {**SMALL, "trace.bin": Filler(3_000_000)}
SIZES = pytest.mark.parametrize("size", ["listed", "unknown", "too small", "too large"])
EVERYWHERE = pytest.mark.parametrize("delivery", ["local", "proxy", "object store"])


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitLabServer]:
    """Serve a GitLab; the token stays where it belongs, and no temporary file outlives a test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    store = GitLabStore(FakeClock())
    store.add_token(TOKEN)
    with GitLabServer(store) as running:
        yield running
        assert running.server.crashes == running.objects_server.crashes == []
        assert running.app.unknown_parameters == []
        assert running.objects.leaks == []
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def connect(server: GitLabServer) -> Iterator[Callable[..., GitLabAdapter]]:
    """Make adapters."""
    made: list[GitLabAdapter] = []

    def make(limits: Limits = HASTY, **words: Any) -> GitLabAdapter:  # noqa: ANN401 - passed on
        words.setdefault("stop", threading.Event())
        made.append(GitLabAdapter(Endpoint(server.url, read_s=5), TOKEN, limits=limits, **words))
        return made[-1]

    yield make
    for adapter in made:
        adapter.close()


@pytest.fixture
def adapter(connect: Callable[..., GitLabAdapter]) -> GitLabAdapter:
    """Make one adapter."""
    return connect()


@pytest.fixture
def row(server: GitLabServer) -> sandbox.Job:
    """Make a job with an archive."""
    store = server.store
    return store.add_job(store.add_pipeline(store.add_project("qa/shop")), "test", archive=FILES)


@pytest.fixture
def job(adapter: GitLabAdapter, row: sandbox.Job) -> Job:
    """Read that job."""
    return read_job(adapter, row)


def read_job(adapter: GitLabAdapter, row: sandbox.Job) -> Job:
    """Read a job as GitLab lists it."""
    return adapter.jobs(ProjectId(row.pipeline.project.id), PipelineId(row.pipeline.id))[0]


def contents(archive: Archive, paths: Iterable[str] = SMALL) -> dict[str, bytes]:
    """Read members."""
    found = {}
    for member, opened in archive.open(list(paths)):
        assert not isinstance(opened, BadMember)
        found[member.path] = opened.read()
    return found


def sized(job: Job, size: str) -> Job:
    """Let GitLab list another size of the archive."""
    true = next(one.size_bytes for one in job.artifacts if one.file_type == "archive")
    told = {"listed": true, "unknown": 0, "too small": true // 2, "too large": true * 2}[size]
    words = {name: getattr(job, name) for name in job.__slots__}
    return Job(**words | {"artifacts": (ArtifactListing("archive", told, "artifacts.zip"),)})


def sender(server: GitLabServer) -> Server:
    """Tell who sends the bytes."""
    return server.objects_server if server.app.instance.delivery == "object store" else server.server


def fetched(server: GitLabServer) -> tuple[int, int]:
    """Count requests for the archive at both servers, and their bytes."""
    entries = [*server.server.log.entries(path="/artifacts"), *server.objects_server.log.entries(path="/artifacts")]
    return len(entries), sum(entry.bytes_out for entry in entries)


@EVERYWHERE
@SIZES
def test_members_are_read_by_ranges_from_wherever_the_archive_is(
    server: GitLabServer, adapter: GitLabAdapter, job: Job, delivery: Delivery, size: str
) -> None:
    """The address in the object store is asked for once, and the token never goes there (the fixture looks)."""
    server.app.instance.delivery = delivery
    with adapter.archive(sized(job, size)) as archive:
        assert {member.path: member.size_bytes for member in archive.members} == {
            **{path: len(content) for path, content in SMALL.items()},
            "trace.bin": 3_000_000,
        }
        assert contents(archive) == SMALL
    requests, size_bytes = fetched(server)
    assert requests <= 2 + (delivery == "object store") + (size.startswith("too"))
    assert size_bytes < 2 * TAIL_BYTES + 100_000
    assert len(server.server.log.entries(path="/artifacts$")) == (1 if delivery == "object store" else requests)


@EVERYWHERE
@pytest.mark.parametrize("version", ["16.11", "19.4"])
def test_a_server_without_ranges_is_asked_once_and_a_file_is_kept_as_long_as_needed(
    server: GitLabServer, adapter: GitLabAdapter, job: Job, delivery: Delivery, version: str
) -> None:
    """The answer 200 to a range is the download."""
    server.app.instance.delivery, server.app.instance.version = delivery, version
    server.app.instance.ranges = server.objects.ranges = "none"
    with adapter.archive(job) as archive:
        assert contents(archive) == SMALL
    assert fetched(server)[0] == 1 + (delivery == "object store")


@EVERYWHERE
def test_suffix_ranges_are_not_needed(
    server: GitLabServer, adapter: GitLabAdapter, job: Job, delivery: Delivery
) -> None:
    """Where they are refused with 400 the size is found out by an explicit one."""
    server.app.instance.delivery = delivery
    server.app.instance.ranges = server.objects.ranges = "no suffix"
    with adapter.archive(sized(job, "unknown")) as archive:
        assert contents(archive) == SMALL
    assert fetched(server)[1] < 2 * TAIL_BYTES + 100_000


@EVERYWHERE
@pytest.mark.parametrize("status", [400, 501])
def test_a_server_that_refuses_ranges_is_asked_without(
    server: GitLabServer, adapter: GitLabAdapter, job: Job, delivery: Delivery, status: int
) -> None:
    """Then the one download takes their place."""
    server.app.instance.delivery = delivery
    fault = Fault(Answer(Response.text("no ranges", status)), path="artifacts")
    sender(server).faults.add(fault)
    with adapter.archive(job) as archive:
        assert contents(archive) == SMALL
    assert fault.hits == 1


def test_the_address_in_the_store_is_used_again_until_it_expires(
    server: GitLabServer, adapter: GitLabAdapter, job: Job
) -> None:
    """Then GitLab is asked for a new one, once."""
    server.app.instance.delivery = "object store"
    with adapter.archive(job) as archive:
        contents(archive, ["trace.bin"])
        assert len(server.server.log.entries(path="/artifacts$")) == 1
        later = server.store.clock() + timedelta(hours=1)
        server.store.clock = lambda: later
        assert contents(archive) == SMALL
        assert contents(archive, ["trace.bin", "reports/1.xml"])["reports/1.xml"] == SMALL["reports/1.xml"]
    assert len(server.server.log.entries(path="/artifacts$")) == 2


@EVERYWHERE
@pytest.mark.parametrize("change", ["size", "bytes"])
def test_an_archive_that_changes_while_it_is_read_is_incomplete(
    server: GitLabServer, adapter: GitLabAdapter, row: sandbox.Job, delivery: Delivery, change: str
) -> None:
    """By its size, or by its ETag where that is a right one."""
    server.app.instance.delivery = delivery
    job = read_job(adapter, row)
    other = {**FILES, "reports/0.xml": b"<testsuite name='!'/>"} if change == "bytes" else {**FILES, "more": b"x"}
    with adapter.archive(job) as archive:
        row.archive = pack_zip(other)
        server.objects.put(f"artifacts/{row.pipeline.project.id}/{row.id}/artifacts.zip", row.archive)
        with pytest.raises(Incomplete, match="changed while it was read"):
            contents(archive, ["trace.bin"])


@EVERYWHERE
@pytest.mark.parametrize(
    "action",
    [Truncate(50), Truncate(50, "chunked"), Truncate(50, "close"), Reset(), page(502), page(200), unavailable(0)],
)
def test_ranges_get_through_passing_trouble(
    server: GitLabServer, adapter: GitLabAdapter, job: Job, delivery: Delivery, action: Action
) -> None:
    """At the directory and at the members."""
    server.app.instance.delivery = delivery
    fault = sender(server).faults.add(Fault(action, path="artifacts"))
    with adapter.archive(job) as archive:
        assert fault.hits == 1
        later = sender(server).faults.add(Fault(action, path="artifacts"))
        assert contents(archive) == SMALL
        assert len(contents(archive, ["trace.bin"])["trace.bin"]) == 3_000_000
    assert later.hits == 1


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_a_download_that_is_cut_short_is_fetched_again(
    server: GitLabServer, adapter: GitLabAdapter, job: Job, framing: Literal["length", "chunked", "close"]
) -> None:
    """Where ranges are not to be had; the size that GitLab lists tells."""
    server.app.instance.ranges = "none"
    fault = server.server.faults.add(Fault(Truncate(100_000, framing), path="/artifacts$"))
    with adapter.archive(job) as archive:
        assert contents(archive) == SMALL
    assert fault.hits == 1


@EVERYWHERE
def test_an_archive_that_stays_short_is_incomplete(
    server: GitLabServer, adapter: GitLabAdapter, job: Job, delivery: Delivery
) -> None:
    """Others can be read meanwhile."""
    server.app.instance.delivery = delivery
    sender(server).faults.add(Fault(Truncate(100), path="/artifacts", times=None))
    with pytest.raises(Incomplete, match="cut short"), adapter.archive(job):
        pass
    assert adapter.project("qa/shop").path == "qa/shop"


def test_a_range_of_something_else_is_not_taken_for_the_one_asked_for(
    server: GitLabServer, adapter: GitLabAdapter, job: Job
) -> None:
    """More than was asked for, another place, or an answer that does not say what it is."""
    with adapter.archive(job) as archive:
        for content_range, body in (("bytes 0-9/%d", b"0123456789"), ("", b"x"), ("bytes 0-99999999/%d", b"x")):
            response = Response(206, body)
            if content_range:
                size = next(one.size_bytes for one in job.artifacts if one.file_type == "archive")
                response.headers["Content-Range"] = content_range % size
            server.server.faults.add(Fault(Answer(response), path="/artifacts$"))
            with pytest.raises(Incomplete):
                contents(archive, ["trace.bin"])
        assert contents(archive) == SMALL


def test_an_archive_that_is_gone_closed_or_no_zip(
    server: GitLabServer, adapter: GitLabAdapter, row: sandbox.Job, job: Job
) -> None:
    """404, 403 and a problem as a value; expired between two ranges it is gone too."""
    row.artifacts_access = "developer"
    with pytest.raises(Forbidden, match=f"archive of job {job.id}: HTTP 403"), adapter.archive(job):
        pass
    row.artifacts_access = "all"
    with adapter.archive(job) as archive:
        server.store.expire(row)
        with pytest.raises(NotThere):
            contents(archive, ["trace.bin"])
    with pytest.raises(NotThere, match=f"archive of job {job.id}: HTTP 404"), adapter.archive(job):
        pass
    for upload in (b"no zip at all", b""):
        odd = server.store.add_job(row.pipeline, "odd", archive=upload)
        listed = next(one for one in adapter.jobs(job.project_id, job.pipeline_id) if one.id == odd.id)
        with pytest.raises(BadArchive, match="not a zip"), adapter.archive(listed):
            pass


def test_temporary_files_are_capped_and_ranges_are_not(
    server: GitLabServer, connect: Callable[..., GitLabAdapter], job: Job
) -> None:
    """What is read by ranges takes no disk."""
    adapter = connect(max_download_bytes=1_000_000)
    with adapter.archive(job) as archive:
        assert contents(archive) == SMALL
    adapter.forget_archives()
    server.app.instance.ranges = "none"
    with pytest.raises(TooLarge, match="more than 1000000 bytes"), adapter.archive(job):
        pass


def test_servers_that_are_down(server: GitLabServer, connect: Callable[..., GitLabAdapter], job: Job) -> None:
    """GitLab's absence is another thing than the object store's."""
    server.app.instance.delivery = "object store"
    adapter = connect()
    server.objects_server.stop()
    with pytest.raises(Incomplete, match=r"object store: .* refuses connections"), adapter.archive(job):
        pass
    server.objects_server.start()
    server.server.stop()
    with pytest.raises(ServiceDown, match="refuses connections"), adapter.archive(job):
        pass
    server.server.start()


def test_reading_an_archive_is_interrupted(
    server: GitLabServer, connect: Callable[..., GitLabAdapter], job: Job
) -> None:
    """However slowly a range comes."""
    stop = threading.Event()
    adapter = connect(stop=stop)
    server.server.faults.add(Fault(Drip(16, 0.05), path="/artifacts$"))
    threading.Timer(0.2, stop.set).start()
    with pytest.raises(Stopped), adapter.archive(job):
        pass


@EVERYWHERE
def test_a_piece_is_the_most_that_is_asked_for_at_once(
    server: GitLabServer, adapter: GitLabAdapter, row: sandbox.Job, delivery: Delivery
) -> None:
    """A large member is no reason to hold it in memory."""
    server.app.instance.delivery = delivery
    row.archive = pack_zip({"large.bin": Filler(2 * PIECE_BYTES), "end.bin": Filler(TAIL_BYTES)})
    with adapter.archive(read_job(adapter, row)) as archive:
        (opened,) = [opened for _, opened in archive.open(["large.bin"])]
        assert not isinstance(opened, BadMember)
    with adapter.archive(read_job(adapter, row)) as archive:
        assert len(contents(archive, ["large.bin"])["large.bin"]) == 2 * PIECE_BYTES
    assert max(entry.bytes_out for entry in sender(server).log) == PIECE_BYTES
