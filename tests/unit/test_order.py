"""Results of one test case come to Rally in the order of their dates, also when there are too many to plan at once."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from reconciler import apply, dispatch
from reconciler.errors import EXIT_DONE, EXIT_TRY_AGAIN
from reconciler.ledger.ledger import in_memory
from reconciler.model import Rejected
from reconciler.order import Order
from reconciler.reconcile import reconcile
from reconciler.world import World
from tests import building
from tests.fakes import Clock, FakeGitLab, FakeRally

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from reconciler.ledger.ledger import Ledger
    from reconciler.model import TestCaseResult
    from reconciler.world import Outcome
    from tests.fakes import Answers


@dataclass
class Shop:
    """One project whose pipelines overlap."""

    clock: Clock
    gitlab: FakeGitLab
    rally: FakeRally
    ledger: Ledger

    def pipelines(self, *jobs: str) -> None:
        """Begin a pipeline for each letter, in alphabetical order; a job of it finishes where its letter stands."""
        project = self.gitlab.add_project()
        begun = {name: self.gitlab.add_pipeline(project) for name in sorted({job[0] for job in jobs})}
        for job in jobs:
            self.clock.advance(60)
            self.gitlab.add_job(begun[job[0]], f"unit {job}", *(f"t_TC{n}" for n in job[1:]))

    def once(self) -> Outcome:
        """Make a pass."""
        settings = building.settings(building.rally_settings(max_concurrency=3, batch_size=2))
        world = World(self.gitlab, self.rally, self.ledger, settings, threading.Event(), self.clock)
        return reconcile(world, (), Order("once"))

    def dates(self) -> dict[str, list[datetime]]:
        """Tell the dates of each test case's results, in the order in which they came."""
        came: dict[str, list[datetime]] = defaultdict(list)
        for number in sorted(self.rally.stored):
            came[self.rally.stored[number].key.formatted_id].append(self.rally.stored[number].date)
        return came


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """Open the shop; two pipelines are planned together."""
    monkeypatch.setattr(apply, "PIPELINES_AT_ONCE", 2)
    clock = Clock()
    rally, ledger = FakeRally(clock), in_memory()
    for n in range(1, 5):
        rally.add_case(f"TC{n}")
    with closing(ledger.store):
        yield Shop(clock, FakeGitLab(clock), rally, ledger)


@pytest.mark.parametrize(
    "jobs",
    [
        ("a1", "b1", "c1", "d1", "e1"),
        ("e12", "d12", "c12", "b12", "a12"),
        ("b1", "c1", "d12", "e2", "a12"),
        ("a1", "a2", "b12", "c12", "d12", "e12", "a3", "a1", "b1"),
        ("c1", "a2", "d1", "b2", "a1", "e12", "c2", "b1", "d2"),
    ],
    ids=" ".join,
)
def test_a_pipeline_that_ends_late_comes_after_those_that_began_later(shop: Shop, jobs: tuple[str, ...]) -> None:
    """Whatever falls into which plan; everything comes in one pass, with requests as full as they can be."""
    shop.pipelines(*jobs)

    outcome = shop.once()

    wanted = len({(job[0], case) for job in jobs for case in job[1:]})
    assert (outcome.exit_status, outcome.summary["results_sent"]) == (EXIT_DONE, wanted)
    assert {case: came for case, came in shop.dates().items() if came != sorted(came)} == {}
    assert shop.once().summary["writes"] == 0


def test_what_other_writers_keep_out_is_not_overtaken_by_what_is_planned_later(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After so many conflicts its test case waits for the next pass, all of it; others go on."""
    monkeypatch.setattr(dispatch, "CONFLICTS", 2)
    shop.pipelines("a1", "b2", "c1", "d2", "e1")
    conflicts: Counter[str] = Counter()  # by result

    def in_the_way(rally: FakeRally, results: Sequence[TestCaseResult]) -> Answers:
        found: Answers = []
        for one in results:
            case = str(one.key)
            if one.key.formatted_id == "TC1" and conflicts[case] < 2:
                conflicts[case] += 1
                found.append(Rejected("Concurrency conflict", conflict=True))
            else:
                found += rally.carry_out([one])
        return found

    shop.rally.steps.extend([in_the_way] * 6)
    outcome = shop.once()

    assert (outcome.exit_status, {case: len(came) for case, came in shop.dates().items()}) == (
        EXIT_TRY_AGAIN,
        {"TC2": 2},
    )
    shop.rally.steps.clear()
    assert shop.once().exit_status == EXIT_DONE
    assert {case: came for case, came in shop.dates().items() if came != sorted(came)} == {}
    assert len(shop.dates()["TC1"]) == 3
