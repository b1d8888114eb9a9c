"""Killed right before or right after any commit to the ledger: one more run, and everything is there once, all of it.

Between an intent and its request, between an answer and its note, inside a reading: nothing but the ledger's own file
tells where the program was. `make crash` kills at every commit, `make test` at some of them.
"""

from __future__ import annotations

from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest

from reconciler.errors import LedgerUnusable
from reconciler.ledger import views
from reconciler.ledger.store import open_for_reading
from tests import accounting
from tests.archives import noise, packed
from tests.company import case, junit, marked, report
from tests.crash.sweeping import EVERY, killed_at_commit, sweep

if TYPE_CHECKING:
    from reconciler.sandbox.faults import When
    from reconciler.sandbox.gitlab import Pipeline
    from tests.company import Company

pytestmark = pytest.mark.timeout(7_200 if EVERY else 600)
STEP = 1 if EVERY else 24
PNG, LARGE = b"\x89PNG\r\n\x1a\n", noise(600_000)
SPRINT = {"Checkout": ["TC20", "TC21"], "Payments": ["TC30"]}
SET = "Sprint-42-Automated-Tests"
VERDICTS = {"TC1/1": "Pass", "TC20/1": "Fail", "TC21/1": "Pass", "TC30/1": "Error"}
NAMES = {
    "TC1/1": ["a.png"],
    "TC20/1": ["a.png", "large.log", "test_output.log"],
    "TC21/1": [],
    "TC30/1": ["test_output.log"],
}
FILES = {"pending": 0, "done": 5, "linked": 0, "missing": 0, "refused": 0}


@pytest.fixture
def whole(company: Company) -> Pipeline:
    """Prepare a pipeline that needs every kind of write: results, files, sets, members, folders and moves."""
    company.configure(
        rally={"settle_after_seconds": 0, "batch_size": 2, "max_concurrency": 2}, sprints={"test_folder": "move"}
    )
    company.rally_app.behaviour.adds_again = False
    for project, cases in SPRINT.items():
        company.story(company.sprint(project=company.child(project)), *cases)
    tests = [case("a_TC20!", marked("a.png", "large.log")), case("b_TC1", marked("a.png")), case("quince")]
    pipeline = company.ran(report(*tests), packed([("a.png", PNG), ("large.log", LARGE)])).pipeline
    store = company.gitlab.store
    store.add_job(pipeline, "unit", finished_at=store.clock(), junit=[("junit.xml", junit("c_TC21", "d_TC30!!"))])
    return pipeline


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_at_any_commit_loses_nothing_and_doubles_nothing(company: Company, whole: Pipeline, when: When) -> None:
    """Commit n = 1, 2, 3 … until n is past the last one; each time from an empty Rally and an empty ledger."""

    def check() -> None:
        with suppress(LedgerUnusable):  # killed before its first commit a ledger has no schema
            assert company.unaccounted() == 0
        assert company.once()["left"] == 0
        is_whole(company, whole)

    first = 3 + 10 * (when == "after")
    assert sweep(company, killed_at_commit(company, when), check, first=first, step=STEP) > 30
    assert company.once()["writes"] == 0


def test_a_process_that_dies_at_a_later_commit_each_time_only_delays(company: Company, whole: Pipeline) -> None:
    """Nothing is made anew between the runs, so that a run is killed while it settles what the last one left open."""
    kills = {when: killed_at_commit(company, when) for when in ("before", "after")}
    nth = 1
    while kills["before" if nth % 2 else "after"](nth):
        nth += 1 if EVERY else 5

    assert nth > 10
    assert company.once()["left"] == 0
    is_whole(company, whole)
    assert company.once()["writes"] == 0


def is_whole(company: Company, pipeline: Pipeline) -> None:
    """See that everything is there once, nothing is left, and the ledger's counts are those of its rows."""
    assert company.verdicts(pipeline) == VERDICTS
    assert company.names(pipeline) == NAMES
    assert company.sets() == {f"{project}/{SET}": cases for project, cases in SPRINT.items()}
    for project, cases in SPRINT.items():
        (place,) = company.rally_store.find("Project", Name=project)
        folder = {"test_cases": cases, "folders": {}}
        assert company.rally_store.folders(place) == {
            "Automated sprints": {"test_cases": [], "folders": {"Sprint-42": folder}}
        }
        assert [company.set_of(case) for case in cases] == [[f"{project}/{SET}"]] * len(cases)
    with closing(open_for_reading(company.folder / "ledger.db")) as store:
        assert views.entries(store) == {"intended": 0, "done": len(VERDICTS), "refused": 0}
        assert views.attachments(store).items() >= FILES.items()
        accounting.check(store, settled=True, skips_count=False)
