"""What the failed browser test left: what hangs on its result in Rally, and what was fetched of its job's archive."""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, cast

from reconciler.sandbox.demo_company import TRACE
from reconciler.sandbox.gitlab.artifacts import BlobFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from reconciler.sandbox.demo_facts import Result
    from reconciler.sandbox.gitlab import GitLabServer, Job
    from reconciler.sandbox.messages import LogEntry
    from reconciler.sandbox.objectstore import Blob
    from reconciler.sandbox.rally import Store

TEST_CASE = "TC1063"
"""Fails in one browser of three."""
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True, slots=True)
class Attached:
    """An Attachment that is stored in Rally."""

    name: str
    content_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Fetched:
    """What the object store's own log tells of one archive."""

    requests: int
    sent_bytes: int
    archive_bytes: int
    trace_bytes: int
    """How many of the sent ones are of the trace."""


def of_browser_test(results: Iterable[Result], job: Job) -> Result | None:
    """Find the result of the browser test that failed in this job."""
    build = f"GitLab-{job.pipeline.id}"
    return next((one for one in results if (one.build, one.formatted_id) == (build, TEST_CASE)), None)


def attached(store: Store, result: Result) -> list[Attached]:
    """List what hangs on a result, oldest first."""
    [row] = [row for row in store.results(result.build) if row["ObjectID"] == result.object_id]
    found = cast("Sequence[dict[str, object]]", row["Attachments"])
    return [Attached(str(one["Name"]), str(one["ContentType"]), cast("bytes", one["Content"])) for one in found]


def pictures(job: Job) -> set[bytes]:
    """Give the job's PNG files as they lie in its archive."""
    with _opened(job) as archive:
        return {archive.read(name) for name in archive.namelist() if PurePosixPath(name).suffix == ".png"}


def links(result: Result) -> list[str]:
    """List where the Notes lead for files that are links only."""
    items = re.findall(r"<li>(.*?)</li>", result.notes)
    return re.findall(r'href="([^"]+)"', "\n".join(item for item in items if "a link only" in item))


def fetched(gitlab: GitLabServer, job: Job) -> Fetched:
    """Ask the object store's log which bytes of the job's archive left it, and how many of these are the trace's."""
    size = _archive(job).size
    seen = gitlab.objects_server.log.entries(path=f"/{job.id}/artifacts.zip")
    first, stop = _place_of_trace(job)
    spans = [_sent(entry, size) for entry in seen]
    return Fetched(
        requests=len(seen),
        sent_bytes=sum(entry.bytes_out for entry in seen),
        archive_bytes=size,
        trace_bytes=sum(max(0, min(end, stop) - max(start, first)) for start, end in spans),
    )


def _sent(entry: LogEntry, size: int) -> tuple[int, int]:
    """Tell which bytes an answer began with and ended before."""
    match = _RANGE.fullmatch(entry.headers.get("range", ""))
    if entry.status != 206 or match is None:
        return 0, entry.bytes_out
    start = int(match[1]) if match[1] else max(0, size - int(match[2]))
    return start, start + entry.bytes_out


def _place_of_trace(job: Job) -> tuple[int, int]:
    """Tell where in the archive the trace begins, its header included, and where the next file does."""
    with _opened(job) as archive:
        start = archive.getinfo(TRACE).header_offset
        following = [info.header_offset for info in archive.infolist() if info.header_offset > start]
        return start, min([*following, archive.start_dir])


def _opened(job: Job) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BufferedReader(BlobFile(_archive(job))))


def _archive(job: Job) -> Blob:
    if job.archive is None:
        raise ValueError(f"{job.name} has no archive")
    return job.archive
