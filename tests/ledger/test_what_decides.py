"""What the planner and the Notes are given of tests and results: everything that was seen, as it was seen."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from reconciler.evidence import Wanted
from reconciler.ledger.entries import Draft
from reconciler.ledger.ledger import Ledger, in_memory
from reconciler.mapping import Mapping, Row
from reconciler.model import FoundResult, JobId, ObjectID, Outcome
from reconciler.plan import Absorb, Element, Verdicts
from tests import building
from tests.building import BUILD, DAY
from tests.fakes import START

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.plan import Group

PIPELINE = building.pipeline()
UNIT = building.job(1000, of=PIPELINE, at_s=30)
MORE = building.job(1001, of=PIPELINE, name="more", at_s=45)
AGAIN = building.job(1002, of=PIPELINE, at_s=60)
"""A further attempt of the first job."""
OWNERS = {PIPELINE.id: PIPELINE.project_id}


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """Know a pipeline with two jobs that were not read yet, and TC1."""
    ledger = in_memory()
    with closing(ledger.store):
        ledger.observations.remember_projects("project qa/web-shop", [building.PROJECT])
        ledger.observations.store_pipelines([PIPELINE])
        ledger.observations.store_jobs(PIPELINE, [UNIT, MORE])
        ledger.test_cases.replace([building.case("TC1")])
        yield ledger


def _map(ledger: Ledger, *rows: tuple[str, str]) -> None:
    mapping = Mapping([Row(line, f"shop.{test}", said) for line, (test, said) in enumerate(rows, 2)])
    ledger.subjects.apply(mapping, resolvable=True)


def _group(ledger: Ledger) -> Group:
    (group,) = ledger.entries.groups(PIPELINE.id)
    return group


def _send(ledger: Ledger, *tests: int) -> int:
    (entry,) = ledger.entries.intend([Draft(building.add("TC1", *tests), BUILD)], START)
    ledger.entries.confirm([(entry, ObjectID(9001))], START)
    return entry


def _adopt(ledger: Ledger, *, dated: bool = False) -> int:
    date = START + DAY if dated else None
    found = FoundResult(building.add("TC1").key, ObjectID(9001), BUILD, "Pass", date=date)
    assert ledger.entries.adopt([found], OWNERS, START) == 1
    return int(ledger.store.value("SELECT entry_id FROM entries"))


# --- the planner -----------------------------------------------------------------------------------------------------


def test_a_test_is_given_with_everything_that_decides(ledger: Ledger) -> None:
    """Its job, when that finished, whether it was flaky, how long it took, and whether it was held before."""
    flaky = replace(building.run("a_TC1"), flaky=True, duration_s=1.5)
    building.read_job(ledger, UNIT, [flaky, building.run("x", Outcome.FAILED)])
    _map(ledger)
    _map(ledger, ("x", "TC1"))
    ended_at = START + timedelta(seconds=30)
    assert _group(ledger).elements == (
        Element(1, JobId(1000), ended_at, Outcome.PASSED, True, 1.5, "read"),  # noqa: FBT003 - as the ledger gives it
        Element(2, JobId(1000), ended_at, Outcome.FAILED, False, 0.5, "held"),  # noqa: FBT003 - the same
    )


def test_a_result_is_outdated_only_when_all_newest_attempts_are_read(ledger: Ledger) -> None:
    """Until then it is not known what they say: the one that is still to be read may say the same."""
    building.read_job(ledger, UNIT, [building.run("a_TC1")])
    building.read_job(ledger, MORE, [building.run("b_TC1")])
    _map(ledger)
    _send(ledger, 1, 2)
    ledger.observations.store_jobs(PIPELINE, [AGAIN])
    assert [entry.outdated for entry in _group(ledger).entries] == [False]
    building.read_job(ledger, AGAIN, [building.run("a_TC1", Outcome.FAILED)])
    _map(ledger)
    assert [entry.outdated for entry in _group(ledger).entries] == [True]


@pytest.mark.parametrize("found", [False, True])
def test_a_result_that_was_found_in_rally_is_told_from_one_that_was_made(ledger: Ledger, *, found: bool) -> None:
    """Neither is outdated."""
    building.read_job(ledger, UNIT, [building.run("a_TC1"), building.run("b_TC1")])
    _map(ledger)
    _ = _adopt(ledger) if found else _send(ledger, 1)
    (entry,) = _group(ledger).entries
    assert (entry.adopted, entry.outdated) == (found, False)


@pytest.mark.parametrize("dated", [False, True])
def test_a_result_that_was_found_keeps_its_date_if_rally_told_one(ledger: Ledger, *, dated: bool) -> None:
    """The audit names it by its key and its object."""
    _adopt(ledger, dated=dated)
    (date,) = ledger.store.rows("SELECT date FROM entries")[0]
    assert (date or "")[:10] == ("2026-02-01" if dated else "")
    assert ledger.store.rows("SELECT what, key, detail FROM audit") == [("adopted", "1/100/TC1/1", "ObjectID 9001")]


def test_files_that_a_found_result_goes_without_are_settled_when_its_tests_are_counted(ledger: Ledger) -> None:
    """A link is nothing to wait for."""
    building.read_job(ledger, UNIT, [building.run("a_TC1")])
    _map(ledger)
    entry = _adopt(ledger)
    film = Wanted(
        name="a.mp4", fate="link", size_bytes=10, crc=7, file_id=None, output_id=None, url="https://gitlab.test/a.mp4",
        reason="too large", note="", job_name="unit", expires_at=None,
    )  # fmt: skip
    ledger.entries.absorb([(Absorb(entry, (1,), decides=True), [film])], START + DAY)
    assert ledger.store.rows("SELECT state, reason, settled_at FROM attachments") == [
        ("linked", "too large", "2026-02-01T12:00:00.000000Z")
    ]


# --- Notes -----------------------------------------------------------------------------------------------------------


def test_notes_are_told_which_tests_were_flaky_and_which_only_gitlab_parsed(ledger: Ledger) -> None:
    """GitLab's own summary of a report is not all of it."""
    with ledger.observations.reading(UNIT, START) as record:
        record.document("junit", "junit.xml", [replace(building.run("a_TC1"), flaky=True, attempts=2)])
        record.document("test_report", "unit", [building.run("b_TC1", Outcome.FAILED)])
        record.close("read")
    told = [
        (one.flaky, one.attempts, one.lossy, one.verdict)
        for one in ledger.entries.contributions([1, 2], Verdicts("ignore", "Inconclusive"))
    ]
    assert told == [(True, 2, False, "Inconclusive"), (False, 1, True, "Fail")]
