"""The stand-in GitLab, by plain HTTP: archives, reports, single files and logs, and the object store behind them."""

from __future__ import annotations

import io
import zipfile
import zlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import requests

from reconciler.sandbox.gitlab import START, FakeClock, Filler, GitLabServer, GitLabStore, Job, Role, pack_reports
from reconciler.sandbox.objectstore import Leak

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.sandbox.objectstore import Ranges

TOKEN = "glpat-reader"  # noqa: S105 - known to the stand-in only
FILES: dict[str, bytes | Filler] = {
    "reports/": b"",
    "reports/a.xml": b"<testsuite/>",
    "shots/login page.png": b"\x89PNG" + bytes(range(256)) * 40,
    "ümlaut#1.log": "grün\n".encode(),
}


@pytest.fixture
def gitlab() -> Iterator[GitLabServer]:
    """Serve a GitLab with one reporter's token."""
    store = GitLabStore(FakeClock())
    store.add_token(TOKEN)
    with GitLabServer(store) as server:
        yield server
    assert server.server.crashes == server.objects_server.crashes == []


@pytest.fixture
def job(gitlab: GitLabServer) -> Job:
    """Make a job with an archive, two reports and a log."""
    pipeline = gitlab.store.add_pipeline(gitlab.store.add_project("qa/shop"))
    reports = [("out/a.xml", b"<testsuite/>"), ("out/ü 1.xml", b"<testsuites/>"), ("out/100%.xml", b"<testsuites/>")]
    return gitlab.store.add_job(pipeline, "test", archive=FILES, junit=reports, trace=b"line one\nline two\n")


def get(gitlab: GitLabServer, job: Job, path: str = "/artifacts", **options: Any) -> requests.Response:  # noqa: ANN401
    """Ask for something below a job, with extra `headers` and `params`."""
    headers = {"Authorization": f"Bearer {TOKEN}", **options.pop("headers", {})}
    url = f"{gitlab.url}/api/v4/projects/{job.pipeline.project.id}/jobs/{job.id}{path}"
    return requests.get(url, headers=headers, timeout=10, **options)


def ranged(value: str) -> dict[str, Any]:
    """Write the options of a request for a range."""
    return {"headers": {"Range": value}}


# --- the archive, in three ways --------------------------------------------------------------------------------------


@pytest.mark.parametrize("delivery", ["local", "proxy", "object store"])
def test_the_archive_is_a_real_zip_however_it_is_delivered(gitlab: GitLabServer, job: Job, delivery: Any) -> None:  # noqa: ANN401
    """From GitLab's disk, through GitLab, or by a redirect."""
    gitlab.instance.delivery = delivery
    response = get(gitlab, job)
    assert bool(response.history) == (delivery == "object store")
    assert response.headers["Content-Disposition"] == 'attachment; filename="artifacts.zip"'
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == FILES


@pytest.mark.parametrize("delivery", ["local", "proxy", "object store"])
def test_ranges_of_the_archive(gitlab: GitLabServer, job: Job, delivery: Any) -> None:  # noqa: ANN401
    """From the front, from the back, open, beyond the end, and not at all there."""
    gitlab.instance.delivery = delivery
    whole = get(gitlab, job).content
    size = len(whole)
    for text, start, stop in (
        ("bytes=0-3", 0, 4),
        (f"bytes=10-{size + 5}", 10, size),
        ("bytes=7-", 7, size),
        ("bytes=-22", size - 22, size),
        (f"bytes=-{size * 2}", 0, size),
    ):
        response = get(gitlab, job, **ranged(text))
        assert (response.status_code, response.content) == (206, whole[start:stop])
        assert response.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"
    beyond = get(gitlab, job, **ranged(f"bytes={size}-"))
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{size}")


@pytest.mark.parametrize(
    ("ranges", "prefix", "suffix"), [("all", 206, 206), ("no suffix", 206, 400), ("none", 200, 200)]
)
def test_ranges_can_be_refused(gitlab: GitLabServer, job: Job, ranges: Ranges, prefix: int, suffix: int) -> None:
    """Suffix ranges only, or all of them: then everything comes with 200."""
    gitlab.instance.ranges = gitlab.objects.ranges = ranges
    for delivery in ("local", "object store"):
        gitlab.instance.delivery = delivery
        assert get(gitlab, job, **ranged("bytes=0-3")).status_code == prefix
        assert get(gitlab, job, **ranged("bytes=-3")).status_code == suffix


def test_if_range_with_another_etag_gives_everything(gitlab: GitLabServer, job: Job) -> None:
    """That is how a client sees that the archive has changed."""
    etag = get(gitlab, job).headers["ETag"]
    same = get(gitlab, job, headers={"Range": "bytes=0-3", "If-Range": etag})
    other = get(gitlab, job, headers={"Range": "bytes=0-3", "If-Range": '"other"'})
    assert (same.status_code, other.status_code) == (206, 200)


def test_old_versions_have_one_weak_etag_for_everything(gitlab: GitLabServer, job: Job) -> None:
    """Trap: If-None-Match gives a false 304 (#371991), and If-Range never matches a weak ETag."""
    gitlab.instance.version = "18.9.0"
    other = gitlab.store.add_job(job.pipeline, "other", archive={"b": b"2"})
    etag = get(gitlab, job).headers["ETag"]
    assert etag.startswith("W/")
    assert get(gitlab, other, headers={"If-None-Match": etag}).status_code == 304
    assert get(gitlab, job, headers={"Range": "bytes=0-3", "If-Range": etag}).status_code == 200
    gitlab.instance.version = "19.4.0"
    assert get(gitlab, job).headers["ETag"] != get(gitlab, other).headers["ETag"]


def test_a_huge_archive_costs_no_memory(gitlab: GitLabServer) -> None:
    """One gigabyte of stored zeros between small files, read through its directory by range."""
    files: dict[str, bytes | Filler] = {"a.txt": b"first", "video.mp4": Filler(1024**3 + 17), "z.txt": b"last"}
    huge = gitlab.store.add_job(gitlab.store.add_pipeline(gitlab.store.add_project("qa/shop")), "e2e", archive=files)
    size = get(gitlab, huge, path="").json()["artifacts_file"]["size"]
    assert size > 1024**3
    tail = get(gitlab, huge, **ranged("bytes=-400")).content
    with zipfile.ZipFile(io.BytesIO(bytes(100) + tail)) as archive:
        assert [info.file_size for info in archive.infolist()] == [5, 1024**3 + 17, 4]
    middle = get(gitlab, huge, **ranged(f"bytes={size // 2}-{size // 2 + 999_999}"))
    assert middle.content == bytes(1_000_000)
    assert get(gitlab, huge, "/artifacts/z.txt").content == b"last"


# --- the object store ------------------------------------------------------------------------------------------------


def presigned(gitlab: GitLabServer, job: Job) -> str:
    """Ask where the archive lies."""
    gitlab.instance.delivery = "object store"
    response = get(gitlab, job, allow_redirects=False)
    assert response.status_code == 302
    return response.headers["Location"]


def test_a_presigned_url_needs_no_token_and_dies(gitlab: GitLabServer, job: Job) -> None:
    """After its lifetime it is 403 with an XML body, and another one must be asked for."""
    url = presigned(gitlab, job)
    assert url.startswith(gitlab.objects_server.url)
    assert requests.get(url, headers={"Range": "bytes=0-1"}, timeout=10).content == b"PK"
    gitlab.store.clock = FakeClock(START + timedelta(minutes=11))
    late = requests.get(url, timeout=10)
    assert (late.status_code, "<Code>AccessDenied</Code>" in late.text) == (403, True)
    assert late.headers["Content-Type"].startswith("application/xml")
    assert requests.get(presigned(gitlab, job), timeout=10).ok


def test_a_presigned_url_is_good_for_its_method_and_object_only(gitlab: GitLabServer, job: Job) -> None:
    """HEAD with a URL signed for GET is 403, and so is any change to it."""
    url = presigned(gitlab, job)
    assert requests.head(url, timeout=10).status_code == 403
    assert requests.get(url.replace("artifacts.zip", "other.zip", 1), timeout=10).status_code == 403
    assert requests.get(url.replace("Expires=600", "Expires=6000"), timeout=10).status_code == 403
    assert requests.post(url, timeout=10).status_code == 405
    gitlab.objects.signs_head = True
    headers = {"Authorization": f"Bearer {TOKEN}"}
    api = f"{gitlab.url}/api/v4/projects/{job.pipeline.project.id}/jobs/{job.id}/artifacts"
    assert requests.head(api, headers=headers, allow_redirects=True, timeout=10).status_code == 200


def test_a_token_that_reaches_the_object_store_is_recorded(gitlab: GitLabServer, job: Job) -> None:
    """`requests` strips Authorization on the way to another host, and sends PRIVATE-TOKEN on."""
    gitlab.instance.delivery = "object store"
    assert get(gitlab, job).ok
    assert gitlab.objects.leaks == []
    api = f"{gitlab.url}/api/v4/projects/{job.pipeline.project.id}/jobs/{job.id}/artifacts"
    with requests.Session() as session:
        session.headers["PRIVATE-TOKEN"] = TOKEN
        assert session.get(api, timeout=10).ok
    path = f"/artifacts/{job.pipeline.project.id}/{job.id}/artifacts.zip"
    assert gitlab.objects.leaks == [Leak("private-token", path)]
    assert [headers.get("private-token") for headers in gitlab.objects.received] == [None, TOKEN]
    twice = requests.get(presigned(gitlab, job), headers={"Authorization": "Bearer x"}, timeout=10)
    assert twice.status_code == 400


# --- reports ---------------------------------------------------------------------------------------------------------


def members(packed: bytes) -> list[tuple[bytes, bytes]]:
    """Split a gzip file into its members: the header's strings, and the content."""
    found = []
    while packed:
        one = zlib.decompressobj(31)
        content = one.decompress(packed)
        strings = packed[10:].split(b"\x00", 2)[:2]
        found.append((b" | ".join(strings), content))
        packed = one.unused_data
    return found


@pytest.mark.parametrize("delivery", ["local", "object store"])
def test_the_report_has_one_gzip_member_a_file(gitlab: GitLabServer, job: Job, delivery: Any) -> None:  # noqa: ANN401
    """Named by basename, with the path as comment; there the runner escapes all that is not ASCII or has a "%"."""
    gitlab.instance.delivery = delivery
    response = get(gitlab, job, params={"file_type": "junit"})
    assert response.headers["Content-Disposition"] == 'attachment; filename="junit.xml.gz"'
    assert members(response.content) == [
        (b"a.xml | out/a.xml", b"<testsuite/>"),
        ("ü 1.xml".encode("latin-1") + b" | e:out%2F%C3%BC%201.xml", b"<testsuites/>"),
        (b"100%.xml | e:out%2F100%25.xml", b"<testsuites/>"),
    ]
    assert zlib.decompress(response.content, 31) == b"<testsuite/>"


def test_before_19_4_the_file_type_is_ignored_silently(gitlab: GitLabServer, job: Job) -> None:
    """Trap: 200 and the whole archive; a job with reports only is 404."""
    gitlab.instance.version = "19.3.0"
    only_reports = gitlab.store.add_job(job.pipeline, "unit", junit=[("a.xml", b"<testsuite/>")])
    assert get(gitlab, job, params={"file_type": "junit"}).content.startswith(b"PK")
    missing = get(gitlab, only_reports, params={"file_type": "junit"})
    assert (missing.status_code, missing.json()) == (404, {"message": "404 Not Found"})


@pytest.mark.parametrize(("file_type", "status"), [("sast", 404), ("trace", 400), ("metadata", 400), ("xml", 400)])
def test_other_file_types(gitlab: GitLabServer, job: Job, file_type: str, status: int) -> None:
    """Not there, not downloadable, not known."""
    assert get(gitlab, job, params={"file_type": file_type}).status_code == status


def test_a_report_may_be_any_bytes(gitlab: GitLabServer, job: Job) -> None:
    """For tests of what clients do with rubbish."""
    broken = gitlab.store.add_job(job.pipeline, "odd", junit=pack_reports([("a.xml", b"x")])[:-4], archive=b"no zip")
    assert len(get(gitlab, broken, params={"file_type": "junit"}).content) == broken.uploads()[-1].blob.size
    assert get(gitlab, broken).content == b"no zip"
    assert get(gitlab, broken, "/artifacts/a.txt").status_code == 500
    assert get(gitlab, broken, "/artifacts/tree").status_code == 404


# --- single files and the tree ---------------------------------------------------------------------------------------


def test_a_single_file_ignores_ranges(gitlab: GitLabServer, job: Job) -> None:
    """Workhorse unpacks it: whole, with its length and a type guessed from the name."""
    response = get(gitlab, job, "/artifacts/shots/login%20page.png", **ranged("bytes=0-3"))
    assert (response.status_code, response.content) == (200, FILES["shots/login page.png"])
    assert response.headers["Content-Type"] == "image/png"
    assert response.headers["Content-Disposition"] == 'attachment; filename="login page.png"'
    assert get(gitlab, job, "/artifacts/%C3%BCmlaut%231.log").content == FILES["ümlaut#1.log"]


def test_a_file_that_is_not_in_the_archive_is_workhorses_404(gitlab: GitLabServer, job: Job) -> None:
    """Plain text, where a job without any archive is 404 in JSON."""
    missing = get(gitlab, job, "/artifacts/ümlaut%23")
    assert (missing.status_code, missing.text) == (404, "404 page not found\n")
    bare = gitlab.store.add_job(job.pipeline, "bare")
    assert get(gitlab, bare, "/artifacts/a.xml").json() == {"message": "404 Not Found"}
    assert get(gitlab, job, "/artifacts/a%00b").status_code == 400


def test_the_tree_lists_folders_that_no_entry_names(gitlab: GitLabServer, job: Job) -> None:
    """One level or all, in pages; keys as in the documentation's sample."""
    root = get(gitlab, job, "/artifacts/tree").json()
    assert root == [
        {"name": "reports", "path": "reports/", "type": "directory", "mode": "040755"},
        {"name": "shots", "path": "shots/", "type": "directory", "mode": "040755"},
        {"name": "ümlaut#1.log", "path": "ümlaut#1.log", "type": "file", "size": 6, "mode": "100644"},
    ]
    everything = [row["path"] for row in get(gitlab, job, "/artifacts/tree", params={"recursive": "true"}).json()]
    assert everything == ["reports/", "reports/a.xml", "shots/", "shots/login page.png", "ümlaut#1.log"]
    below = get(gitlab, job, "/artifacts/tree", params={"path": "reports"})
    assert [row["name"] for row in below.json()] == ["a.xml"]
    assert get(gitlab, job, "/artifacts/tree", params={"path": "nothing"}).status_code == 404
    page = get(gitlab, job, "/artifacts/tree", params={"recursive": "true", "per_page": 2, "page": 3})
    assert ([row["path"] for row in page.json()], page.headers["X-Total"]) == (["ümlaut#1.log"], "5")


def test_before_18_8_the_tree_is_a_file_that_is_not_there(gitlab: GitLabServer, job: Job) -> None:
    """The older route takes `tree` for a path in the archive."""
    gitlab.instance.version = "18.7.0"
    assert get(gitlab, job, "/artifacts/tree").text == "404 page not found\n"


# --- when they may not be had ----------------------------------------------------------------------------------------


def test_expired_artifacts_vanish_when_the_worker_comes(gitlab: GitLabServer, job: Job) -> None:
    """Until then the archive can be had and single files cannot; the log stays."""
    gitlab.store.clock = clock = FakeClock()
    job.expire_at = START
    assert (get(gitlab, job).status_code, get(gitlab, job, "/artifacts/reports/a.xml").status_code) == (200, 404)
    clock.advance(7 * 60)
    for params in ({}, {"file_type": "junit"}):
        response = get(gitlab, job, params=params)
        assert (response.status_code, response.json()) == (404, {"message": "404 Not Found"})
    assert [one["file_type"] for one in get(gitlab, job, path="").json()["artifacts"]] == ["trace"]
    assert get(gitlab, job, "/trace").text == "line one\nline two\n"


def test_the_newest_artifacts_of_a_ref_may_outlive_their_time(gitlab: GitLabServer, job: Job) -> None:
    """`artifacts_expire_at` is past, and yet they are there ("keep latest")."""
    job.expire_at, job.locked = START - timedelta(days=30), True
    assert get(gitlab, job, path="").json()["artifacts_expire_at"] < "2026-11-01"
    assert get(gitlab, job).ok


def test_kept_artifacts_do_not_expire(gitlab: GitLabServer, job: Job) -> None:
    """With the scope api and the role of a developer."""
    gitlab.store.add_token("dev", role=Role.DEVELOPER, scopes=["api"])
    job.expire_at = START + timedelta(days=1)
    url = f"{gitlab.url}/api/v4/projects/{job.pipeline.project.id}/jobs/{job.id}/artifacts/keep"
    response = requests.post(url, headers={"PRIVATE-TOKEN": "dev"}, timeout=10)
    assert (response.status_code, response.json()["artifacts_expire_at"]) == (200, None)


def test_artifacts_may_be_forbidden_where_the_job_is_readable(gitlab: GitLabServer, job: Job) -> None:
    """`artifacts:access: developer` and a reporter's token."""
    job.artifacts_access = "developer"
    for path in ("/artifacts", "/artifacts/tree", "/artifacts/reports/a.xml", "/artifacts?file_type=junit"):
        response = get(gitlab, job, path)
        assert (response.status_code, response.json()) == (403, {"message": "403 Forbidden"})
    assert get(gitlab, job, path="").ok
    assert get(gitlab, job, "/trace").ok


# --- logs ------------------------------------------------------------------------------------------------------------


def test_logs_and_their_ranges(gitlab: GitLabServer, job: Job) -> None:
    """From the front once the job is over, suffix ranges are 400; none while it runs; without a log 200, empty."""
    assert get(gitlab, job, "/trace", **ranged("bytes=5-7")).text == "one"
    assert get(gitlab, job, "/trace", **ranged("bytes=-4")).status_code == 400
    running = gitlab.store.add_job(job.pipeline, "running", "running", trace=b"so far")
    silent = gitlab.store.add_job(job.pipeline, "silent")
    assert get(gitlab, running, "/trace", **ranged("bytes=0-1")).text == "so far"
    assert (get(gitlab, silent, "/trace").status_code, get(gitlab, silent, "/trace").text) == (200, "")
