"""The lines that commands print of the ledger, whole: every key and every value."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from reconciler import suggest
from reconciler.ledger import proof, review, views
from reconciler.ledger.entries import Draft
from reconciler.ledger.ledger import Ledger, in_memory
from reconciler.mapping import Mapping
from reconciler.model import FoundResult, ObjectID, Outcome, TestRun
from reconciler.plan import Verdicts
from tests import building
from tests.building import BUILD, DAY
from tests.fakes import START

if TYPE_CHECKING:
    from collections.abc import Iterator

PIPELINE = building.pipeline()
JOB = building.job(of=PIPELINE, at_s=30)


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """Know one pipeline with a job that was not read yet, and two test cases."""
    ledger = in_memory()
    with closing(ledger.store):
        ledger.observations.remember_projects("project qa/web-shop", [building.PROJECT])
        ledger.observations.store_pipelines([PIPELINE])
        ledger.observations.store_jobs(PIPELINE, [JOB])
        ledger.test_cases.replace([building.case("TC1"), replace(building.case("TC2"), name="Pay with a voucher card")])
        yield ledger


def _read(ledger: Ledger, *runs: TestRun) -> None:
    building.read_job(ledger, JOB, runs)
    ledger.subjects.apply(Mapping([]), resolvable=True)


# --- the review queue ------------------------------------------------------------------------------------------------


def test_a_suggestion_is_told_with_name_score_and_reason(ledger: Ledger) -> None:
    """The score is a part of one, in three digits: nobody compares more."""
    _read(ledger, building.run("pays_by_voucher"))
    (row,) = review.rows(ledger.store)
    (wanted,) = suggest.suggest("shop.pays_by_voucher", ledger.test_cases.names())
    assert 0 < wanted.score < 1
    assert row["suggestions"] == [
        {"formatted_id": "TC2", "name": wanted.name, "score": wanted.score, "reason": wanted.reason}
    ]


@pytest.mark.parametrize(("outcome", "verdict"), [("passed", "Pass"), ("failed", "Fail"), ("errored", "Error")])
def test_the_last_verdict_of_a_held_test_is_in_rallys_words(ledger: Ledger, outcome: str, verdict: str) -> None:
    """A flaky one has passed."""
    _read(ledger, replace(building.run("login", Outcome(outcome)), flaky=True))
    assert [row["last_verdict"] for row in review.rows(ledger.store)] == [verdict]


def test_the_last_verdict_of_a_held_test_that_was_skipped_says_so() -> None:
    """It is held where skipped tests count."""
    ledger = in_memory(skips_count=True)
    with closing(ledger.store):
        ledger.observations.remember_projects("project qa/web-shop", [building.PROJECT])
        ledger.observations.store_pipelines([PIPELINE])
        ledger.observations.store_jobs(PIPELINE, [JOB])
        _read(ledger, building.run("login", Outcome.SKIPPED))
        assert [row["last_verdict"] for row in review.rows(ledger.store)] == ["Skipped"]


# --- status ----------------------------------------------------------------------------------------------------------


def test_the_last_pass_is_told_with_when_it_began_and_ended(ledger: Ledger) -> None:
    """And with everything that it did."""
    number = ledger.begin_pass("once", START)
    ledger.end_pass(number, {"rally": "away"}, {"writes": 3}, START + timedelta(seconds=5))
    assert views.last_pass(ledger.store) == {
        "kind": "once", "started_at": "2026-01-31T12:00:00.000000Z", "ended_at": "2026-01-31T12:00:05.000000Z",
        "writes": 3,
    }  # fmt: skip


# --- verify ----------------------------------------------------------------------------------------------------------


def test_claims_are_of_the_time_that_was_asked_for(ledger: Ledger) -> None:
    """The instant itself belongs to it."""
    _read(ledger, building.run("a_TC1"))
    (entry,) = ledger.entries.intend([Draft(building.add("TC1", 1), BUILD)], START)
    ledger.entries.confirm([(entry, ObjectID(9001))], START)
    date = building.add("TC1").date
    for since, claims in [(None, 1), (date, 1), (date + timedelta(seconds=1), 0)]:
        assert len(proof.claims(ledger.store, [BUILD], since)) == claims


def test_a_result_that_is_made_again_has_the_test_that_decided_first_and_then_the_worst(ledger: Ledger) -> None:
    """Its duration is that of all of them, in milliseconds."""
    runs = [
        replace(building.run("calm_TC1"), duration_s=0.1111),
        replace(building.run("flaky_TC1"), flaky=True, duration_s=0.1111),
        replace(building.run("failed_TC1", Outcome.FAILED), duration_s=0.1111),
        replace(building.run("decided_TC1"), duration_s=0.1111),
    ]
    _read(ledger, *runs)
    found = FoundResult(building.add("TC1").key, ObjectID(9001), BUILD, "Pass")
    ledger.entries.adopt([found], {PIPELINE.id: PIPELINE.project_id}, START + DAY)
    with ledger.store.transaction():
        ledger.store.run_many("INSERT INTO contributions VALUES (1, ?, ?)", [(1, 0), (2, 0), (3, 0), (4, 1)])
    (claim,) = proof.claims(ledger.store, [BUILD])
    again = proof.again(ledger.store, claim, Verdicts("ignore", "Inconclusive"))
    assert again is not None
    assert (again.tests, again.duration_s) == ((4, 3, 2, 1), 0.444)
