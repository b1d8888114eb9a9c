"""Our own clock may be wrong, and may be set while we run: nothing is lost, and nothing is doubled."""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from reconciler.errors import EXIT_DONE, EXIT_TRY_AGAIN
from reconciler.ledger.ledger import Ledger, in_memory
from reconciler.order import Order
from reconciler.reconcile import reconcile
from reconciler.world import World
from tests import accounting, building
from tests.fakes import Clock, FakeGitLab, FakeRally
from tests.fates import later

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.world import Outcome

DAY_S = 86_400
HOUR_S = 3_600


@dataclass
class Shop:
    """Two servers that agree on the time, and a program that may have another."""

    theirs: Clock = field(default_factory=Clock)
    ours: Clock = field(default_factory=Clock)
    ledger: Ledger = field(default_factory=in_memory)

    def __post_init__(self) -> None:
        """Have two test cases."""
        self.gitlab, self.rally = FakeGitLab(self.theirs), FakeRally(self.theirs)
        self.project = self.gitlab.add_project()
        for formatted_id in ("TC1", "TC2"):
            self.rally.add_case(formatted_id)

    def finish(self, *cases: str) -> None:
        """Finish a pipeline of one job."""
        self.gitlab.add_job(self.gitlab.add_pipeline(self.project), "unit", *cases)

    def once(self) -> Outcome:
        """Make a pass; the fakes refuse to be written to beside a request that is alive."""
        settings = building.settings(building.rally_settings(max_concurrency=1))
        world = World(self.gitlab, self.rally, self.ledger, settings, threading.Event(), self.ours)
        outcome = reconcile(world, [], Order("once"))
        accounting.check(self.ledger.store)
        return outcome

    def told(self) -> list[str]:
        """List what Rally holds; a key that is there twice fails."""
        return [f"{key.formatted_id}/{key.revision}" for key in self.rally.results()]


@pytest.fixture
def shop() -> Iterator[Shop]:
    """Open the shop."""
    opened = Shop()
    with closing(opened.ledger.store):
        yield opened


@pytest.mark.parametrize("wrong_s", [-DAY_S, DAY_S])
def test_a_clock_that_is_a_day_off_overlooks_nothing(shop: Shop, wrong_s: int) -> None:
    """How far GitLab was read is told in GitLab's own times."""
    shop.ours.advance(wrong_s)
    for _ in range(3):
        shop.finish("a_TC1", "b_TC2!")
        assert shop.once().exit_status == EXIT_DONE
        for clock in (shop.theirs, shop.ours):
            clock.advance(HOUR_S)

    assert sorted(shop.told()) == ["TC1/1"] * 3 + ["TC2/1"] * 3


@pytest.mark.parametrize("set_by_s", [-DAY_S, HOUR_S])
def test_a_clock_that_is_set_between_two_passes_overlooks_nothing(shop: Shop, set_by_s: int) -> None:
    """What finishes before, between and after is sent once."""
    shop.finish("a_TC1")
    shop.once()
    shop.ours.advance(set_by_s)
    shop.finish("a_TC1", "b_TC2")

    assert [shop.once().summary["results_sent"] for _ in range(2)] == [2, 0]


def test_a_clock_that_is_set_back_makes_a_doubt_wait_longer_and_holds_up_nothing_else(shop: Shop) -> None:
    """The request may be alive until the clock has come back to where the bound is; what came of it is found then."""
    shop.finish("a_TC1")
    shop.rally.steps.append(later())
    assert shop.once().exit_status == EXIT_TRY_AGAIN
    shop.ours.advance(-HOUR_S)
    shop.finish("b_TC2")
    assert (shop.once().exit_status, shop.told()) == (EXIT_TRY_AGAIN, ["TC2/1"])
    shop.ours.advance(HOUR_S)
    assert shop.once().summary["writes"] == 0
    shop.rally.land(begun_before=shop.theirs.advance(HOUR_S))
    shop.ours.advance(HOUR_S)

    assert (shop.once().exit_status, sorted(shop.told())) == (EXIT_DONE, ["TC1/1", "TC2/1"])
