"""Uploaded, linked or missing: what becomes of each file on a result."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

import pytest

from reconciler.evidence import MAX_UPLOADS, RALLY_MAX_BYTES, File, Output, Rules, TestEvidence, Wanted, wanted

JOB = "https://gitlab.example.com/qa/web-shop/-/jobs/7"
EXPIRES = datetime(2026, 12, 1, tzinfo=UTC)
RULES = Rules(5_000_000, ["**/*.mp4", "**/perf/**"])
Kind = Literal["member", "inline", "url", "missing"]


def file(file_id: int, path: str, size: int | None = 10, kind: Kind = "member", **fields: Any) -> File:  # noqa: ANN401 - any other field of a File
    """Make a file of a job; its CRC is its id where none is given."""
    usual: dict[str, Any] = {
        "crc": file_id,
        "note": "",
        "metric": False,
        "job_name": "e2e",
        "job_url": JOB,
        "expires_at": EXPIRES,
    }
    return File(file_id, kind, path, size, **(usual | fields))


def printed(output_id: int, size: int = 10) -> Output:
    """Make an output."""
    return Output(output_id, size, output_id, "e2e", JOB)


def one(file_: File, rules: Rules = RULES) -> Wanted:
    """Decide for a single file."""
    (only,) = wanted([TestEvidence(None, (file_,))], rules)
    return only


def test_a_file_of_the_archive_is_uploaded() -> None:
    """With all that the ledger and the Notes need."""
    expected = Wanted(
        name="two words.png",
        fate="upload",
        size_bytes=10,
        crc=3,
        file_id=3,
        output_id=None,
        url=f"{JOB}/artifacts/file/shots/two%20words.png",
        reason="",
        note="2 of this name",
        job_name="e2e",
        expires_at=EXPIRES,
    )
    assert one(file(3, "shots/two words.png", note="2 of this name")) == expected


@pytest.mark.parametrize(
    ("candidate", "reason"),
    [
        (file(1, "a.mp4"), "link_only"),
        (file(1, "out/PERF/a.json"), "link_only"),
        (file(1, "a.json", metric=True), "performance metrics"),
        (file(1, "a.zip", 5_000_001), "larger than attachments.upload_max_bytes"),
        (file(1, "a.zip", RALLY_MAX_BYTES + 1), "Rally takes no file of more than 50 MB"),
        (file(1, "a.mp4", RALLY_MAX_BYTES + 1), "link_only"),
        (file(1, "a.log", 0), "empty file"),
        (file(1, "a.log", None), "its size is not known"),
    ],
)
def test_what_is_not_uploaded_is_linked_with_the_reason(candidate: File, reason: str) -> None:
    """The file stays in GitLab, and Notes say why."""
    found = one(candidate)
    assert (found.fate, found.reason, found.file_id) == ("link", reason, 1)
    assert found.url.startswith(f"{JOB}/artifacts/file/")


def test_rallys_limit_stands_above_the_configs() -> None:
    """An operator may write any number."""
    generous = Rules(10**12, [])
    assert one(file(1, "a.zip", RALLY_MAX_BYTES), generous).fate == "upload"
    assert one(file(1, "a.zip", RALLY_MAX_BYTES + 1), generous).fate == "link"
    assert one(file(1, "a.zip", 5_000_000)).fate == "upload"
    assert one(file(1, "a.zip", 1), Rules(0, [])).fate == "link"


@pytest.mark.parametrize(
    ("path", "end"),
    [
        ("a/b c.png", "a/b%20c.png"),
        ("größe/#1?.png", "gr%C3%B6%C3%9Fe/%231%3F.png"),
        ("a%20b.png", "a%2520b.png"),
        ("a\\b.png", "a%5Cb.png"),
        ("\ud800.png", "%3F.png"),
    ],
)
def test_a_link_has_each_part_of_the_path_encoded(path: str, end: str) -> None:
    """GitLab's `/artifacts/file/PATH`."""
    assert one(file(1, path)).url == f"{JOB}/artifacts/file/{end}"


@pytest.mark.parametrize(
    ("url", "name", "href"),
    [
        ("https://ci.example.com/run/7/shot.png?x=1&y#z", "shot.png", "https://ci.example.com/run/7/shot.png?x=1&y#z"),
        ("https://ci.example.com/größe 1.png", "größe 1.png", "https://ci.example.com/gr%C3%B6%C3%9Fe%201.png"),
        ("https://ci.example.com/a%20b.png", "a b.png", "https://ci.example.com/a%20b.png"),
        ("http://ci.example.com", "ci.example.com", "http://ci.example.com"),
        ("https://ci.example.com/?a=/b", "ci.example.com", "https://ci.example.com/?a=/b"),
    ],
)
def test_a_url_is_a_link_to_itself(url: str, name: str, href: str) -> None:
    """Nothing is fetched from it, and it does not expire with the job's artifacts."""
    found = one(file(1, url, None, "url", crc=None))
    assert (found.fate, found.name, found.url, found.reason, found.expires_at) == ("link", name, href, "", None)


@pytest.mark.parametrize("url", ["javascript:alert(1)", "https://", "http:///x", "ftp://example.com/x", ""])
def test_what_is_no_address_of_the_web_is_missing(url: str) -> None:
    """Links in Notes are http(s) only."""
    found = one(file(1, url, None, "url", crc=None))
    assert (found.fate, found.url, found.reason) == ("missing", "", "it is no address of the web")


def test_what_is_missing_says_why() -> None:
    """The ledger's note is the reason."""
    found = one(file(1, "../x/a.png", None, "missing", crc=None, note="the archive has expired"))
    told = (found.name, found.fate, found.reason, found.note)
    assert told == ("../x/a.png", "missing", "the archive has expired", "")
    assert one(file(1, "a.png", None, "missing", crc=None)).reason == "it is not in the job's artifacts"
    assert one(file(1, "data:image/png", None, "missing", crc=None)).name == "attachment.png"


@pytest.mark.parametrize(
    ("candidate", "fate", "reason"),
    [
        (file(1, "attachment.png", kind="inline"), "upload", ""),
        (file(1, "attachment.mp4", kind="inline"), "upload", ""),
        (file(1, "a.png", 5_000_001, "inline"), "missing", "larger than attachments.upload_max_bytes"),
        (file(1, "a.png", 0, "inline"), "missing", "empty file"),
        (file(1, "a.json", kind="inline", metric=True), "missing", "performance metrics"),
    ],
)
def test_data_of_the_report_is_uploaded_or_missing(candidate: File, fate: str, reason: str) -> None:
    """There is nothing in GitLab to link to, so `link_only` does not apply."""
    found = one(candidate)
    assert (found.fate, found.reason, found.url) == (fate, reason, "")


def test_outputs_are_numbered_in_order_and_equal_ones_count_once() -> None:
    """The worst test's is `test_output.log`."""
    tests = [TestEvidence(printed(5), (file(1, "a.png"),)), TestEvidence(printed(5), ()), TestEvidence(printed(3), ())]
    found = [(each.name, each.output_id, each.url) for each in wanted(tests, RULES)]
    assert found == [
        ("test_output.log", 5, JOB),
        ("a.png", None, f"{JOB}/artifacts/file/a.png"),
        ("test_output-2.log", 3, JOB),
    ]


def test_an_output_that_is_not_uploaded_links_to_its_job() -> None:
    """The job's log has it too. The operator's patterns are about artifacts, and an output is none."""
    tests = [TestEvidence(printed(1, 200), ()), TestEvidence(printed(2, 50), ())]
    big, small = wanted(tests, Rules(100, ["**"]))
    assert (big.fate, big.url, big.reason) == ("link", JOB, "larger than attachments.upload_max_bytes")
    assert (small.name, small.fate) == ("test_output-2.log", "upload")


def test_the_same_bytes_under_the_same_name_are_uploaded_once() -> None:
    """From whichever job or folder; another name or other bytes are another file."""
    files = (
        file(1, "a/x.png", crc=9),
        file(2, "b/x.png", crc=9),
        file(3, "b/y.png", crc=9),
        file(4, "c/x.png", crc=8),
        file(5, "c/x.png", 11, crc=9),
        file(1, "a/x.png", crc=9),
    )
    assert [each.file_id for each in wanted([TestEvidence(None, files)], RULES)] == [1, 3, 4, 5]


def test_a_link_to_one_place_is_given_once() -> None:
    """Two tests may name one file."""
    video = file(1, "a.mp4")
    files = (video, file(2, "a.mp4"), file(3, "b/a.mp4"), video)
    assert [each.file_id for each in wanted([TestEvidence(None, files)], RULES)] == [1, 3]


def test_after_twenty_uploads_the_rest_is_linked_or_missing() -> None:
    """The worst tests come first; a file that is uploaded already needs no link."""
    tests = [TestEvidence(printed(n), (file(n, f"{n}.png"),)) for n in range(1, 12)]
    tests.append(TestEvidence(None, (file(90, "9.png", crc=9), file(91, "i.png", kind="inline"))))
    found = wanted(tests, RULES)
    assert [each.fate for each in found] == ["upload"] * MAX_UPLOADS + ["link", "link", "missing"]
    assert {each.reason for each in found[MAX_UPLOADS:]} == {"more than 20 files"}
    assert [each.name for each in found[MAX_UPLOADS:]] == ["test_output-11.log", "11.png", "i.png"]


def test_a_file_of_an_unknown_job_is_a_link_to_nowhere() -> None:
    """It is still told."""
    found = one(file(1, "a.mp4", job_url=""))
    assert (found.fate, found.url) == ("link", "")
