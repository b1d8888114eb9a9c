"""What the daemon does once a day."""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from reconciler.config.settings import LedgerSettings
from reconciler.errors import ServiceDown, Stopped
from reconciler.ledger import views
from reconciler.ledger.ledger import Ledger, open_ledger
from reconciler.mapping import Row
from reconciler.order import Order
from reconciler.reconcile import reconcile
from reconciler.upkeep import Upkeep
from reconciler.world import World
from tests import building
from tests.fakes import Clock, FakeGitLab, FakeRally

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass
class Vm:
    """A machine with a ledger of its own, and what was reported there."""

    clock: Clock
    gitlab: FakeGitLab
    ledger: Ledger
    world: World
    reported: list[tuple[str, str]] = field(default_factory=list)

    def upkeep(self, hours: float = 0) -> str:
        """Let time pass, then do what is due."""
        self.clock.advance(3600 * hours)
        return Upkeep(self.world, lambda subject, text: self.reported.append((subject, text)))()[0]

    def copies(self) -> list[str]:
        """List the copies of the ledger."""
        path = self.world.settings.ledger.path
        return sorted(one.name for one in path.parent.glob(f"{path.name}.daily-*"))

    def said(self, subject: str) -> str:
        """Tell what was said last of a subject."""
        return next(text for about, text in reversed(self.reported) if about == subject)


@pytest.fixture
def vm(tmp_path: Path) -> Iterator[Vm]:
    """Start one with a project that has a pipeline which was sent."""
    clock = Clock()
    gitlab, rally = FakeGitLab(clock), FakeRally(clock)
    rally.add_case("TC1")
    rally.add_case("TC2")
    project = gitlab.add_project()
    settings = replace(building.settings(), ledger=LedgerSettings(path=tmp_path / "ledger.db", retention_days=30))
    with open_ledger(settings.ledger.path, skips_count=False) as ledger, closing(ledger.store):
        world = World(gitlab, rally, ledger, settings, threading.Event(), clock)
        for _ in range(2):
            gitlab.add_job(gitlab.add_pipeline(project), "unit", "a_TC1", "held")
            reconcile(world, [], Order("once"))
            clock.advance(3600 * 24 * 10)
        yield Vm(clock, gitlab, ledger, world)


def test_each_part_is_done_once_a_day(vm: Vm) -> None:
    """Though it is called every hour."""
    for _ in range(49):
        assert vm.upkeep(1) == "ok"
    assert vm.copies() == [f"ledger.db.daily-202602{day}" for day in (20, 21, 22)]


def test_pipelines_older_than_the_retention_leave(vm: Vm) -> None:
    """The newest one of a project stays: polls list it again and again."""
    vm.upkeep(24 * 5)
    assert views.tests(vm.ledger.store)["read"] == 4
    vm.upkeep(24 * 10)
    assert views.tests(vm.ledger.store)["read"] == 2
    assert reconcile(vm.world, [Row(2, "shop.held", "TC2")], Order("once")).summary["results_sent"] == 1


def test_a_token_that_ends_soon_is_told_from_14_days_before(vm: Vm) -> None:
    """And that it was renewed."""
    today = vm.clock().date()
    vm.gitlab.access = replace(vm.gitlab.access, expires_on=today + timedelta(days=16))
    vm.upkeep()
    assert vm.said("GitLab token") == ""
    vm.upkeep(48)
    assert str(today + timedelta(days=16)) in vm.said("GitLab token")
    assert views.daemon(vm.ledger.store)["gitlab_expires"] == str(today + timedelta(days=16))
    vm.gitlab.access = replace(vm.gitlab.access, expires_on=None)
    vm.upkeep(24)
    assert vm.said("GitLab token") == ""


def test_a_gitlab_that_is_away_is_asked_again_in_an_hour(vm: Vm) -> None:
    """It is no trouble of the upkeep's."""
    vm.gitlab.faults["token"].append(ServiceDown("GitLab", "no answer"))
    assert vm.upkeep() == "ok"
    assert not vm.reported or vm.reported[-1][0] != "GitLab token"
    vm.upkeep(1)
    assert vm.said("GitLab token") == ""


def test_a_copy_that_fails_is_told_and_tried_again(vm: Vm) -> None:
    """Nothing else waits for it."""
    blocked = vm.world.settings.ledger.path.with_name("ledger.db.daily-20260220.partial")
    blocked.mkdir()
    (blocked / "x").touch()
    assert vm.upkeep() == "failed"
    assert vm.said("ledger copy") != ""
    (blocked / "x").unlink()
    blocked.rmdir()
    assert vm.upkeep(1) == "ok"
    assert vm.said("ledger copy") == ""


def test_a_stop_in_between_is_heeded(vm: Vm) -> None:
    """What is left is done after the next start."""
    vm.world.stop.set()
    with pytest.raises(Stopped):
        vm.upkeep(24 * 100)
