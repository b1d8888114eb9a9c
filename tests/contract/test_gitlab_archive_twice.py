"""An archive that is opened twice in a pass: for its directory, then for some of its files; each costs what it must."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from reconciler.archive import BadMember
from reconciler.errors import Incomplete, NotThere
from reconciler.gitlab import GitLabAdapter
from reconciler.model import Job, PipelineId, ProjectId
from reconciler.sandbox.faults import Answer, Fault
from reconciler.sandbox.gitlab import FakeClock, Filler, GitLabServer, GitLabStore, pack_zip
from reconciler.sandbox.messages import Response
from reconciler.wire import Endpoint, Limits
from tests.archives import BOMB, CLIMBING, MB, encrypted, gigabyte, lying, noise, packed, zip64_ended

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from io import BufferedReader

    from reconciler.ports import Archive
    from reconciler.sandbox import gitlab as sandbox
    from reconciler.sandbox.gitlab.features import Delivery
    from reconciler.sandbox.objectstore import Blob, Ranges

TOKEN = "glpat-r3ader"  # noqa: S105 - known to the stand-in only
HASTY = Limits(first_wait_s=0.01, longest_wait_s=0.05, patience_s=1)
SHOTS = {f"shots/{n}.png": noise(8_000, n) for n in range(200)}
MODES = pytest.mark.parametrize("ranges", ["all", "no suffix", "none"])
EVERYWHERE = pytest.mark.parametrize("delivery", ["local", "proxy", "object store"])


class Fetched(NamedTuple):
    """What was asked for of archives at both servers."""

    requests: int
    size_bytes: int


@pytest.fixture(scope="module")
def large() -> Blob:
    """Pack 200 screenshots into a gigabyte."""
    return pack_zip(gigabyte(SHOTS))


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitLabServer]:
    """Serve a GitLab; the token stays where it belongs."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    store = GitLabStore(FakeClock())
    store.add_token(TOKEN)
    with GitLabServer(store) as running:
        yield running
        assert running.server.crashes == running.objects_server.crashes == []
        assert running.app.unknown_parameters == []
        assert running.objects.leaks == []


@pytest.fixture
def adapter(server: GitLabServer) -> Iterator[GitLabAdapter]:
    """Make an adapter; closed, it leaves no file behind."""
    made = GitLabAdapter(Endpoint(server.url, read_s=5), TOKEN, stop=threading.Event(), limits=HASTY)
    yield made
    made.close()
    assert open_files() == []


def open_files() -> list[str]:
    """List the temporary files that this process holds open; they have no name any more."""
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    targets = []
    for link in links:
        with suppress(FileNotFoundError):  # the one of the listing itself is closed by now
            targets.append(str(link.readlink()))
    return [target for target in targets if target.startswith(tempfile.gettempdir())]


def add_job(server: GitLabServer, archive: Mapping[str, bytes | Filler] | Blob | bytes) -> sandbox.Job:
    """Finish a job."""
    store = server.store
    return store.add_job(
        store.add_pipeline(store.add_project(f"qa/shop{len(store.projects)}")), "test", archive=archive
    )


def read_job(adapter: GitLabAdapter, row: sandbox.Job) -> Job:
    """Read a job as GitLab lists it."""
    return adapter.jobs(ProjectId(row.pipeline.project.id), PipelineId(row.pipeline.id))[0]


def set_up(server: GitLabServer, delivery: Delivery, ranges: Ranges = "all") -> None:
    """Choose how archives are delivered."""
    server.app.instance.delivery = delivery
    server.app.instance.ranges = server.objects.ranges = ranges


def fetched(server: GitLabServer) -> Fetched:
    """Count."""
    entries = [*server.server.log.entries(path="/artifacts"), *server.objects_server.log.entries(path="/artifacts")]
    return Fetched(len(entries), sum(entry.bytes_out for entry in entries))


def look(adapter: GitLabAdapter, job: Job) -> dict[str, int]:
    """Open an archive for its directory alone."""
    with adapter.archive(job) as archive:
        return {member.path: member.size_bytes for member in archive.members}


def contents(archive: Archive, wanted: Mapping[str, bytes] = SHOTS) -> dict[str, bytes]:
    """Read members of an open archive."""
    found = {}
    for member, opened in archive.open(list(wanted)):
        assert not isinstance(opened, BadMember)
        found[member.path] = opened.read()
    return found


def outcome(opened: BufferedReader | BadMember) -> bytes | str:
    """Read a member, or tell what is wrong with it."""
    try:
        return opened.kind if isinstance(opened, BadMember) else opened.read()
    except BadMember as error:
        return error.kind


def read(adapter: GitLabAdapter, job: Job, wanted: Mapping[str, bytes] = SHOTS) -> dict[str, bytes]:
    """Open an archive for some of its members."""
    with adapter.archive(job) as archive:
        return contents(archive, wanted)


# --- what it costs ---------------------------------------------------------------------------------------------------


@EVERYWHERE
@MODES
def test_both_openings_of_an_archive_cost_four_requests_at_most(
    server: GitLabServer, adapter: GitLabAdapter, large: Blob, delivery: Delivery, ranges: Ranges
) -> None:
    """A gigabyte by ranges, of which less than a hundredth is fetched; without ranges one download of a smaller one."""
    set_up(server, delivery, ranges)
    blob = pack_zip(gigabyte(SHOTS, size_bytes=20 * MB)) if ranges == "none" else large
    job = read_job(adapter, add_job(server, blob))
    assert look(adapter, job).keys() > SHOTS.keys()
    first = fetched(server)
    assert first.requests == 1 + (delivery == "object store")
    assert read(adapter, job) == SHOTS
    both = fetched(server)
    assert both.requests == first.requests + (ranges != "none")
    assert read(adapter, job) == SHOTS
    assert both.requests <= 4
    if ranges == "none":
        assert fetched(server) == both
    else:
        assert both.size_bytes < blob.size / 100


@EVERYWHERE
def test_a_long_directory_is_fetched_once(server: GitLabServer, adapter: GitLabAdapter, delivery: Delivery) -> None:
    """That is the request more which makes it four, by way of the object store."""
    set_up(server, delivery)
    many = {f"data/{'d' * 120}/{n}.txt": b"x" for n in range(3_000)}
    job = read_job(adapter, add_job(server, {**SHOTS, "trace.bin": Filler(30 * MB), **many}))
    assert len(look(adapter, job)) == 3_201
    assert read(adapter, job) == SHOTS
    assert fetched(server).requests == 3 + (delivery == "object store")


def test_a_small_archive_is_not_asked_for_again(server: GitLabServer, adapter: GitLabAdapter) -> None:
    """It came whole with its directory."""
    small = {"a.png": noise(50_000), "b.log": b"hello"}
    job = read_job(adapter, add_job(server, small))
    assert look(adapter, job) == {"a.png": 50_000, "b.log": 5}
    assert read(adapter, job, small) == small
    assert fetched(server).requests == 1


def test_an_address_that_expired_between_the_openings_is_asked_for_anew(
    server: GitLabServer, adapter: GitLabAdapter, large: Blob
) -> None:
    """The directory is not: the store's No, GitLab's redirect and the members."""
    set_up(server, "object store")
    job = read_job(adapter, add_job(server, large))
    look(adapter, job)
    before = fetched(server).requests
    later = server.store.clock() + timedelta(hours=1)
    server.store.clock = lambda: later
    assert read(adapter, job) == SHOTS
    assert fetched(server).requests == before + 3
    assert read(adapter, job) == SHOTS
    assert fetched(server).requests == before + 4


def test_archives_beyond_the_memory_that_is_kept_still_cost_four_requests(
    server: GitLabServer, adapter: GitLabAdapter
) -> None:
    """Of the older ones the directory alone is kept; what lay beside it is fetched with the rest."""
    set_up(server, "object store")
    wanted = {"a.png": noise(1_000), "z.png": noise(1_000, 2)}
    blob = pack_zip({"a.png": wanted["a.png"], "b.bin": noise(300_000), "z.png": wanted["z.png"]})
    jobs = [read_job(adapter, add_job(server, blob)) for _ in range(80)]
    for job in jobs:
        look(adapter, job)
    looked = fetched(server).requests
    assert looked == 2 * len(jobs)
    for job in jobs:
        assert read(adapter, job, wanted) == wanted
    assert fetched(server).requests - looked <= 2 * len(jobs)


# --- what changed, and what failed -----------------------------------------------------------------------------------


@EVERYWHERE
@pytest.mark.parametrize("change", ["size", "bytes"])
def test_an_archive_that_changed_between_the_openings_is_incomplete_once(
    server: GitLabServer, adapter: GitLabAdapter, delivery: Delivery, change: str
) -> None:
    """Then it is a new one."""
    set_up(server, delivery)
    old: dict[str, bytes | Filler] = {"a.txt": b"old", "trace.bin": Filler(3 * MB)}
    row = add_job(server, old)
    job = read_job(adapter, row)
    look(adapter, job)
    row.archive = pack_zip({**old, "a.txt": b"new", **({"more": b"x"} if change == "size" else {})})
    server.objects.put(f"artifacts/{row.pipeline.project.id}/{row.id}/artifacts.zip", row.archive)
    with pytest.raises(Incomplete, match="changed while it was read"):
        read(adapter, job, {"a.txt": b""})
    assert read(adapter, job, {"a.txt": b""}) == {"a.txt": b"new"}


@pytest.mark.parametrize("caught", ["outside", "inside"])
def test_what_failed_while_it_was_read_is_not_kept(server: GitLabServer, adapter: GitLabAdapter, caught: str) -> None:
    """Wherever the caller notices it."""
    row = add_job(server, {"a.txt": b"text", "trace.bin": Filler(3 * MB)})
    job = read_job(adapter, row)
    look(adapter, job)
    server.server.faults.add(Fault(Answer(Response.json({"message": "404 Not Found"}, 404)), path="/artifacts$"))
    if caught == "outside":
        with pytest.raises(NotThere):
            read(adapter, job, {"a.txt": b""})
    else:
        with adapter.archive(job) as archive, pytest.raises(NotThere):
            contents(archive, {"a.txt": b""})
    before = fetched(server).requests
    look(adapter, job)
    assert fetched(server).requests == before + 1


@EVERYWHERE
@MODES
def test_bad_members_are_known_at_the_first_opening_and_do_not_touch_the_others(
    server: GitLabServer, adapter: GitLabAdapter, delivery: Delivery, ranges: Ranges
) -> None:
    """Of two with one path the last counts; a lie about a size comes out when the member is read."""
    set_up(server, delivery, ranges)
    text = b"what a test wrote"
    paths = [CLIMBING, "twice", "twice", "secret", "lying", "bomb", "good"]
    data = packed([*((path, BOMB if path == "bomb" else text) for path in paths), ("media", noise(300_000))])
    data = zip64_ended(lying(encrypted(data, "secret"), "lying", 5))
    job = read_job(adapter, add_job(server, data))
    with adapter.archive(job) as archive:
        members = {member.path: member for member in archive.members}
    assert {path for path, member in members.items() if member.copies == 2} == {"twice"}
    kinds = {path: member.objection.kind for path, member in members.items() if member.objection}
    assert kinds == {"secret": "encrypted", "bomb": "too-large"}
    with adapter.archive(job) as archive:
        found = {member.path: outcome(opened) for member, opened in archive.open(paths)}
    assert found == {CLIMBING: text, "twice": text, "good": text, **kinds, "lying": "corrupt"}
    assert fetched(server).requests <= 3


# --- letting go ------------------------------------------------------------------------------------------------------


@MODES
def test_what_is_forgotten_is_asked_for_again(server: GitLabServer, adapter: GitLabAdapter, ranges: Ranges) -> None:
    """Its temporary file is gone."""
    set_up(server, "local", ranges)
    job = read_job(adapter, add_job(server, SHOTS))
    for opened in (1, 2):
        look(adapter, job)
        assert fetched(server).requests == opened
        assert len(open_files()) == (ranges == "none")
        adapter.forget_archives()
        assert open_files() == []


@MODES
def test_an_archive_that_is_being_read_is_not_taken_away(
    server: GitLabServer, adapter: GitLabAdapter, ranges: Ranges
) -> None:
    """Its file goes when it was read, and nothing of it is kept."""
    set_up(server, "local", ranges)
    job = read_job(adapter, add_job(server, {**SHOTS, "trace.bin": Filler(3 * MB)}))
    look(adapter, job)
    with adapter.archive(job) as archive:
        adapter.forget_archives()
        assert contents(archive) == SHOTS
        assert len(open_files()) == (ranges == "none")
    assert open_files() == []
    before = fetched(server).requests
    look(adapter, job)
    assert fetched(server).requests == before + 1


@MODES
def test_any_number_of_threads_may_read_one_archive(
    server: GitLabServer, adapter: GitLabAdapter, ranges: Ranges
) -> None:
    """While it is forgotten again and again, too."""
    set_up(server, "object store", ranges)
    job = read_job(adapter, add_job(server, {**SHOTS, "trace.bin": Filler(3 * MB)}))
    with ThreadPoolExecutor(4) as pool, ExitStack() as stack:
        stack.enter_context(adapter.archive(job))
        running = [pool.submit(read, adapter, job) for _ in range(12)]
        for one in running[::3]:
            one.result()
            adapter.forget_archives()
        assert all(one.result() == SHOTS for one in running)
    adapter.forget_archives()
    assert open_files() == []


# --- memory ----------------------------------------------------------------------------------------------------------

CLIENT = """
import json, pathlib, re, sys, threading
from reconciler.gitlab import GitLabAdapter
from reconciler.model import PipelineId, ProjectId
from reconciler.wire import Endpoint

def status(name):
    return int(re.search(name + r":\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]) // 1024

def files():
    return sum("(deleted)" in str(link.readlink()) for link in pathlib.Path("/proc/self/fd").iterdir()
               if link.is_symlink())

url, token, project, pipeline = sys.argv[1:]
adapter = GitLabAdapter(Endpoint(url, read_s=20), token, stop=threading.Event())
(job,) = adapter.jobs(ProjectId(int(project)), PipelineId(int(pipeline)))
start = status("VmHWM")
with adapter.archive(job) as archive:
    wanted = [member.path for member in archive.members if member.path.startswith("shots/")]
with adapter.archive(job) as archive:
    size = sum(len(opened.read()) for _, opened in archive.open(wanted))
kept = files()
adapter.forget_archives()
print(json.dumps({"wanted": len(wanted), "size": size, "start": start, "peak": status("VmHWM"), "kept": kept,
                  "left": files()}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
@pytest.mark.parametrize("ranges", ["all", "none"])
@pytest.mark.timeout(300)
def test_200_small_files_of_a_gigabyte_take_little_memory(server: GitLabServer, large: Blob, ranges: Ranges) -> None:
    """Over both openings; without ranges the gigabyte goes through a temporary file, which does not outlive them."""
    set_up(server, "object store", ranges)
    row = add_job(server, large)
    command = [sys.executable, "-c", CLIENT, server.url, TOKEN, str(row.pipeline.project.id), str(row.pipeline.id)]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=180).stdout)
    assert (told["wanted"], told["size"]) == (200, 200 * 8_000)
    assert told["peak"] - told["start"] < 25
    assert told["peak"] < 100
    assert (told["kept"], told["left"]) == (ranges == "none", 0)
    assert fetched(server).requests <= 4
