"""What a job's reports bring with them beside their tests: files, and words about what was wrong."""

from __future__ import annotations

import zlib
from base64 import b64encode
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.ledger import job_reading, views
from reconciler.ledger.job_reading import DETAIL_CHARS
from reconciler.ledger.ledger import Ledger, in_memory
from reconciler.model import Outcome
from tests import building
from tests.fakes import START

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.model import TestRun

PIPELINE = building.pipeline()
JOB = building.job(of=PIPELINE)


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """Know one pipeline with one finished job that was not read yet."""
    ledger = in_memory()
    with closing(ledger.store):
        ledger.observations.remember_projects("project qa/web-shop", [building.PROJECT])
        ledger.observations.store_pipelines([PIPELINE])
        ledger.observations.store_jobs(PIPELINE, [JOB])
        yield ledger


def _brings(*files: bytes, said: str = "") -> TestRun:
    uris = [f"data:image/png;base64,{b64encode(data).decode()}" for data in files] + ([said] if said else [])
    properties = tuple((f"attachment{place}", uri) for place, uri in enumerate(uris))
    return replace(building.run("t", Outcome.FAILED), properties=properties)


def _files(ledger: Ledger) -> list[tuple[Any, ...]]:
    return ledger.store.rows("SELECT kind, path, size_bytes, crc, note, metric FROM files ORDER BY file_id")


# --- files that stand in the report itself ---------------------------------------------------------------------------


def test_bytes_in_a_report_are_a_file_of_their_test(ledger: Ledger) -> None:
    """Counted, summed up and kept at once; nothing is to be said of it."""
    building.read_job(ledger, JOB, [_brings(b"picture")])
    (row,) = _files(ledger)
    assert (row[0], row[2:]) == ("inline", (7, zlib.crc32(b"picture"), "", 0))
    assert row[1].endswith(".png")
    kept = ledger.store.rows("SELECT body, size_bytes FROM outputs JOIN files USING (output_id, size_bytes)")
    assert [(zlib.decompress(body), size) for body, size in kept] == [(b"picture", 7)]


def test_bytes_that_cannot_be_read_are_missing_under_the_name_they_would_have(ledger: Ledger) -> None:
    """With the reason why."""
    building.read_job(ledger, JOB, [_brings(said="data:image/png;base64,%%%")])
    ((kind, path, size, crc, note, metric),) = _files(ledger)
    assert (kind, size, crc, metric) == ("missing", None, None, 0)
    assert path.endswith(".png")
    assert note


def test_a_job_may_bring_as_many_bytes_as_are_allowed_and_no_more(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that reaches the limit is kept, the one that goes beyond it is missing; both are files of the test."""
    monkeypatch.setattr(job_reading, "INLINE_BYTES_OF_ONE_JOB", 10)
    building.read_job(ledger, JOB, [_brings(b"12345"), _brings(b"67890")], [_brings(b"x")])
    rows = _files(ledger)
    assert [row[0] for row in rows] == ["inline", "inline", "missing"]
    assert "more than 10 bytes" in rows[2][4]
    assert [len(one.files) for one in ledger.files.evidence_of([1, 2, 3])] == [1, 1, 1]


# --- words about what was wrong --------------------------------------------------------------------------------------


def test_of_a_long_detail_the_beginning_and_the_end_are_kept(ledger: Ledger) -> None:
    """One that is as long as may be stays whole."""
    half = DETAIL_CHARS // 2
    whole = "a" * half + "b" * half
    with ledger.observations.reading(JOB, START) as record:
        record.problem("malformed", whole)
        record.problem("malformed", "a" * half + "middle" + "b" * half)
        record.close("lost")
    details = [row["detail"] for row in views.problems(ledger.store)]
    assert sorted(details) == sorted([whole, "a" * half + "…" + "b" * half])
