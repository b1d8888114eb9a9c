"""A result as Rally gets it: its Notes tell of every file, whatever becomes of it."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from reconciler.archive import Member
from reconciler.compose import Composer, Parcel
from reconciler.config.settings import AttachmentsSettings
from reconciler.ledger.ledger import Ledger, in_memory
from reconciler.model import Outcome
from tests import building
from tests.building import DAY
from tests.fakes import START

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.model import Job
    from reconciler.plan import Add

PIPELINE = building.pipeline()
JOB = replace(building.job(of=PIPELINE), artifacts_expire_at=START + 30 * DAY)
DAY_IT_GOES = "2026-03-02"


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """Know a failed test with a file of each fate, and one with nothing."""
    ledger = in_memory()
    with closing(ledger.store):
        ledger.observations.remember_projects("project qa/web-shop", [building.PROJECT])
        ledger.observations.store_pipelines([PIPELINE])
        _read(ledger, JOB)
        yield ledger


def _read(ledger: Ledger, job: Job) -> None:
    ledger.observations.store_jobs(PIPELINE, [job])
    failed = replace(building.run("a", Outcome.FAILED), detail="boom", properties=(("performance.load_ms", "12"),))
    with ledger.observations.reading(job, START) as record:
        record.document("junit", "", [failed, building.run("b", ordinal=1)])
        (first,) = [test for test, name in record.names() if name == "a"]
        record.member(Member("shots/a.png", 10, 7), "two of this name", [first])
        record.member(Member("a.mp4", 20, 8), "", [first])
        record.missing("gone.png", "not there", [first])
        record.close("read")


def _composer(ledger: Ledger, *, keep_linked: bool = False) -> Composer:
    settings = replace(building.settings(), attachments=AttachmentsSettings(keep_linked=keep_linked))
    return Composer(ledger, settings)


def _written(composer: Composer, add: Add) -> Parcel:
    (parcel,) = composer.parcels([add])
    return parcel


def test_a_parcel_holds_a_result_and_what_becomes_of_each_of_its_files(ledger: Ledger) -> None:
    """Each file has its line in the Notes with a link, whether it is uploaded or not; what is missing its reason."""
    parcel = _written(_composer(ledger), building.add("TC1", 1, 2, verdict="Fail"))
    assert [(one.name, one.fate) for one in parcel.wanted] == [
        ("test_output.log", "upload"),
        ("a.png", "upload"),
        ("a.mp4", "link"),
        ("gone.png", "missing"),
    ]
    notes = parcel.result.notes
    for said in ("artifacts/file/shots/a.png", "artifacts/file/a.mp4", "two of this name", "gone.png", "not there"):
        assert said in notes
    assert notes.count(DAY_IT_GOES) >= 1
    assert "load_ms" in notes
    assert notes.endswith("<div>1/100/TC1/1</div>")


def test_a_test_without_anything_costs_nothing(ledger: Ledger) -> None:
    """And its Notes tell of no files."""
    parcel = _written(_composer(ledger), building.add("TC1", 2))
    assert parcel.wanted == []
    assert "artifacts/file" not in parcel.result.notes


def test_why_an_archive_cannot_be_had_is_told_once_for_each_job(ledger: Ledger) -> None:
    """Not once for each of its tests."""
    with ledger.observations.reading(JOB, START) as record:
        record.no_files("it expired <yesterday>")
    notes = _written(_composer(ledger), building.add("TC1", 1, 2)).result.notes
    assert notes.count("it expired &lt;yesterday&gt;") == 1


def test_the_day_is_not_told_of_links_that_gitlab_is_asked_to_keep(ledger: Ledger) -> None:
    """Unless it said No: then it is told again. What is uploaded is not asked for, and its link goes on that day."""
    assert DAY_IT_GOES not in _line_of_the_film(_composer(ledger, keep_linked=True))
    ledger.attachments.kept(JOB.id, "denied")
    assert DAY_IT_GOES in _line_of_the_film(_composer(ledger, keep_linked=True))
    ledger.attachments.kept(JOB.id, "yes")
    assert DAY_IT_GOES not in _line_of_the_film(_composer(ledger))


def _line_of_the_film(composer: Composer) -> str:
    lines = _written(composer, building.add("TC1", 1)).result.notes.split("<li>")
    return next(line for line in lines if "a.mp4" in line)
