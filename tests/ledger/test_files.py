"""What is kept of tests beside their outcome: what they printed, their files and their metrics."""

from __future__ import annotations

import zlib
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from reconciler.archive import Member
from reconciler.evidence import TestEvidence
from reconciler.junit import BadReport
from reconciler.ledger import job_reading
from reconciler.ledger.ledger import Ledger, in_memory
from reconciler.model import Outcome
from tests import building
from tests.building import DAY
from tests.fakes import START

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.model import TestRun

PIPELINE = building.pipeline()
JOB = replace(building.job(of=PIPELINE), artifacts_expire_at=START + DAY)
PNG = "data:text/plain;base64,aGVsbG8="


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """Know a job."""
    ledger = in_memory()
    with closing(ledger.store):
        ledger.observations.remember_projects("project qa/web-shop", [building.PROJECT])
        ledger.observations.store_pipelines([PIPELINE])
        ledger.observations.store_jobs(PIPELINE, [JOB])
        yield ledger


def _failed(name: str, said: str, **more: object) -> TestRun:
    return replace(building.run(name, Outcome.FAILED), detail=said, **more)  # type: ignore[arg-type] # fields of TestRun


def test_what_bad_tests_printed_is_kept_equal_texts_once(ledger: Ledger) -> None:
    """Tests that passed or were skipped have no output of their own."""
    runs = [
        _failed("a", "boom"),
        replace(building.run("b"), system_out="fine"),
        replace(building.run("c", Outcome.SKIPPED), detail="why", message="m"),
        replace(_failed("d", "boom"), outcome=Outcome.ERRORED),
        _failed("e", "other"),
        building.run("f", Outcome.FAILED),
    ]
    building.read_job(ledger, JOB, runs)
    outputs = [one.output for one in ledger.files.evidence_of([1, 2, 3, 4, 5, 6])]
    assert [output and output.output_id for output in outputs] == [1, None, None, 1, 2, None]
    assert outputs[0] is not None
    body = ledger.files.body(1)
    assert b"boom" in body
    assert (outputs[0].size_bytes, outputs[0].crc) == (len(body), zlib.crc32(body))
    assert (outputs[0].job_name, outputs[0].job_url) == (JOB.name, JOB.web_url)


def test_files_are_given_with_all_that_a_link_needs_in_the_order_asked_for(ledger: Ledger) -> None:
    """By test; a file of several tests is one file."""
    with ledger.observations.reading(JOB, START) as record:
        record.document("junit", "", [building.run("a"), building.run("b", ordinal=1), building.run("c", ordinal=2)])
        record.member(Member("shots/a.png", 10, 7), "odd", [1, 3])
        record.url("https://host/x", [1], metric=True)
        record.missing("gone.png", "not there", [3])
        record.close("read")
    first, second, third = ledger.files.evidence_of([3, 2, 1])
    assert [(file.kind, file.path, file.note) for file in first.files] == [
        ("member", "shots/a.png", "odd"),
        ("missing", "gone.png", "not there"),
    ]
    assert second == TestEvidence(None, ())
    member, url = third.files
    assert (member.file_id, member.size_bytes, member.crc, member.metric) == (first.files[0].file_id, 10, 7, False)
    assert (url.kind, url.path, url.metric, url.size_bytes) == ("url", "https://host/x", True, None)
    assert (member.job_url, member.expires_at) == (JOB.web_url, START + DAY)
    ledger.attachments.kept(JOB.id, "yes")
    assert ledger.files.evidence_of([3])[0].files[0].expires_at is None


def test_bytes_that_stand_in_a_report_are_kept_with_it(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to a sum for each job: what is more is missing, and says so. A broken report takes nothing of the sum."""
    monkeypatch.setattr(job_reading, "INLINE_BYTES_OF_ONE_JOB", 9)
    said = f"[[ATTACHMENT|{PNG}]]"
    runs = [replace(building.run(name), system_out=said) for name in "ab"]

    def broken() -> Iterator[TestRun]:
        yield from runs
        raise BadReport("malformed", "cut short")

    with ledger.observations.reading(JOB, START) as record:
        with pytest.raises(BadReport):
            record.document("junit", "broken.xml", broken())
        record.document("junit", "ok.xml", runs)
        record.close("read")
    (one,), (other,) = (found.files for found in ledger.files.evidence_of([1, 2]))
    assert (one.kind, one.size_bytes, one.crc) == ("inline", 5, zlib.crc32(b"hello"))
    assert (other.kind, other.size_bytes) == ("missing", None)
    assert "more than 9 bytes of files" in other.note
    assert ledger.store.rows("SELECT size_bytes FROM outputs") == [(5,)]


def test_mentions_are_collected_with_their_report_up_to_a_number(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A document that turns out to be broken takes its own with it."""
    monkeypatch.setattr(job_reading, "MENTIONS_OF_ONE_JOB", 2)
    runs = [replace(building.run(name), system_out=f"[[ATTACHMENT|{name}.png]]") for name in "abc"]

    def broken() -> Iterator[TestRun]:
        yield from runs
        raise BadReport("malformed", "cut short")

    with ledger.observations.reading(JOB, START) as record:
        with pytest.raises(BadReport):
            record.document("junit", "broken.xml", broken())
        assert (record.mentions, record.unheard_mentions) == ([], 0)
        record.document("archive", "out/ok.xml", runs)
        assert [(test, report, mention.said) for test, report, mention in record.mentions] == [
            (1, "out/ok.xml", "a.png"),
            (2, "out/ok.xml", "b.png"),
        ]
        assert record.unheard_mentions == 1
        assert list(record.names()) == [(1, "a"), (2, "b"), (3, "c")]
        record.close("read")


def test_metrics_are_given_by_test_in_the_order_asked_for(ledger: Ledger) -> None:
    """With the test's key."""
    runs = [
        replace(building.run("a"), properties=(("performance.load_ms", "12"), ("performance.paint_ms", "3"))),
        building.run("b"),
        replace(building.run("c"), properties=(("performance.load_ms", "9"),)),
    ]
    building.read_job(ledger, JOB, runs)
    told = ledger.files.metrics_of([3, 2, 1])
    assert [key for key, _, _ in told] == ["shop.c", "shop.a", "shop.a"]
    assert [value for _, _, value in told] == ["9", "12", "3"]
    assert ledger.files.metrics_of([2]) == []


def test_more_tests_than_one_query_takes_are_asked_for_in_parts(ledger: Ledger) -> None:
    """SQLite bounds the number of parameters."""
    building.read_job(ledger, JOB, [_failed(f"t{n}", f"{n % 3}") for n in range(1_200)])
    found = ledger.files.evidence_of(range(1, 1_201))
    assert [one.output.output_id for one in found if one.output] == [1, 2, 3] * 400


def test_a_job_that_goes_takes_its_files_with_it(ledger: Ledger) -> None:
    """Rows that nothing refers to any more are not left behind."""
    with ledger.observations.reading(JOB, START) as record:
        record.document("junit", "", [_failed("a", "x")])
        record.member(Member("a.png", 1, 1), "", [1])
        record.close("read")
    with ledger.store.transaction():
        ledger.store.run("DELETE FROM jobs")
    for table in ("files", "test_files", "test_outputs"):
        assert ledger.store.value(f"SELECT COUNT(*) FROM {table}") == 0  # noqa: S608 - constants
