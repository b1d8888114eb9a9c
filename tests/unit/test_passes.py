"""The daemon's passes: who is told what, and which services are spared."""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reconciler.alarms import Alarm, Alarms
from reconciler.errors import LedgerUnusable, Unauthorized
from reconciler.ledger import views
from reconciler.ledger.ledger import Ledger, in_memory
from reconciler.order import Order
from reconciler.passes import DENIED_EVERY_S, DENIED_FOR_S, Passes
from reconciler.problem import Problem
from reconciler.sd_notify import Supervisor
from reconciler.surroundings import Surroundings
from reconciler.traffic import Traffic
from reconciler.vitals import Vitals
from reconciler.world import World
from tests import building
from tests.fakes import Clock, FakeGitLab, FakeRally

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.config import Settings
    from reconciler.model import Project

POLL = Order("gitlab")
DENIED = Unauthorized("Rally: HTTP 401: the API key is not accepted")


def _no_settings() -> Settings:
    raise NotImplementedError


@dataclass(slots=True)
class ShyRally(FakeRally):
    """Accepts no key, while it is told so, and counts how often that was tried."""

    denies: bool = False
    denied: int = 0
    traffic: Traffic | None = None

    def _read(self) -> None:
        if self.denies:
            self.denied += 1
            if self.traffic is not None:
                self.traffic.note("denied")
            raise DENIED
        FakeRally._read(self)


@dataclass
class Service:
    """A daemon's passes, called one by one, and what they said."""

    clock: Clock
    gitlab: FakeGitLab
    rally: ShyRally
    project: Project
    ledger: Ledger
    told: list[Alarm] = field(default_factory=list)
    mistakes: list[Problem] = field(default_factory=list)
    traffic: dict[str, Traffic] = field(default_factory=dict)
    passes: Passes = field(init=False)

    def __post_init__(self) -> None:
        """Start it."""
        seconds = lambda: self.clock().timestamp()  # noqa: E731 - one clock for all
        self.traffic = {name: Traffic(name, seconds) for name in ("GitLab", "Rally")}
        self.rally.traffic = self.traffic["Rally"]
        world = World(
            self.gitlab,
            self.rally,
            self.ledger,
            building.settings(),
            threading.Event(),
            self.clock,
            traffic=self.traffic,
        )
        around = Surroundings(
            rows=lambda: ([], self.mistakes),
            reread=_no_settings,
            signals=None,  # type: ignore[arg-type]  # the passes ask for none
            supervisor=Supervisor({}),
            alarms=Alarms(timedelta(hours=1)),
            tell=self.told.append,
        )
        vitals = Vitals(world.progress, lambda: 0.0)
        self.passes = Passes(world, around, vitals, next_runs=lambda: {"gitlab": datetime(2026, 2, 1, tzinfo=UTC)})
        self.passes.succeeded = dict.fromkeys(self.passes.succeeded, self.clock())
        self.passes._seconds = seconds

    def once(self, minutes: float = 1) -> list[tuple[str, str]]:
        """Let time pass, then make a pass; what a person is told."""
        self.clock.advance(60 * minutes)
        before = len(self.told)
        self.passes(POLL)
        return [(alarm.kind, alarm.subject) for alarm in self.told[before:]]


@pytest.fixture
def service() -> Iterator[Service]:
    """Start one with a test case."""
    clock = Clock()
    gitlab, rally, ledger = FakeGitLab(clock), ShyRally(clock), in_memory()
    rally.add_case("TC1")
    with closing(ledger.store):
        yield Service(clock, gitlab, rally, gitlab.add_project(), ledger)


def test_all_is_well_says_nothing(service: Service) -> None:
    """And `status` finds the next run and that no alarm is open."""
    service.gitlab.add_job(service.gitlab.add_pipeline(service.project), "unit", "a_TC1")
    assert service.once() == []
    assert len(service.rally.results()) == 1
    assert service.passes.vitals.passes["gitlab"].outcome == "ok"
    assert service.passes.vitals.writes == 1
    assert views.daemon(service.ledger.store)["alarms"] == []


def test_a_service_that_is_away_is_told_once_and_its_return_once(service: Service) -> None:
    """However long it takes."""
    service.gitlab.down = service.traffic["GitLab"].breaker_open = True
    assert service.once() == [("trouble", "GitLab")]
    assert [service.once() for _ in range(20)] == [[]] * 20
    assert service.passes.vitals.passes["gitlab"].outcome == "down"
    service.gitlab.down = service.traffic["GitLab"].breaker_open = False
    assert service.once() == [("recovery", "GitLab")]


def test_one_part_that_fails_is_told_when_it_keeps_failing(service: Service) -> None:
    """The service itself answers: a hiccup is nobody's business."""
    service.gitlab.down = True
    assert [service.once(), service.once(), service.once(), service.once()] == [[], [], [("trouble", "GitLab")], []]


def test_nothing_has_succeeded_for_an_hour(service: Service) -> None:
    """The dead man's switch, once; and that it is over."""
    service.gitlab.down = service.traffic["GitLab"].breaker_open = True
    service.once()
    assert service.once(58) == []
    assert service.once(2) == [("stale", "GitLab")]
    assert service.once(600) == []
    service.gitlab.down = service.traffic["GitLab"].breaker_open = False
    assert sorted(service.once()) == [("recovery", "GitLab"), ("recovery", "GitLab")]


def test_a_key_that_is_not_accepted_is_told_after_some_minutes_and_tried_seldom(service: Service) -> None:
    """Maintenance looks the same; GitLab is read all the time."""
    service.rally.denies = True
    assert [service.once() for _ in range(int(DENIED_FOR_S / 60))] == [[]] * int(DENIED_FOR_S / 60)
    assert service.once() == [("trouble", "Rally")]
    before = service.rally.denied
    for number in range(30):
        service.gitlab.add_job(service.gitlab.add_pipeline(service.project), "unit", f"test_{number}")
        service.once()
    assert service.rally.denied - before == 30 * 60 / DENIED_EVERY_S
    assert views.tests(service.ledger.store)["read"] == 30


def test_a_key_that_is_accepted_again_ends_the_alarm(service: Service) -> None:
    """At the next time that Rally is asked."""
    service.rally.denies = True
    said = [service.once() for _ in range(4)]
    assert said[-2:] == [[("trouble", "Rally")], []]
    service.rally.denies = False
    assert service.once(1) == []
    service.clock.advance(DENIED_EVERY_S)
    service.traffic["Rally"].note("ok")
    assert service.once() == [("recovery", "Rally")]


def test_an_error_that_nobody_expected_is_told_and_ends_nothing(service: Service) -> None:
    """The next pass is whole."""
    service.gitlab.faults["pipelines"].append(ZeroDivisionError("oops"))
    assert service.once() == [("trouble", "passes")]
    assert "oops" in service.told[0].text
    assert service.passes.vitals.passes["gitlab"].outcome == "failed"
    assert service.once() == [("recovery", "passes")]


def test_a_ledger_that_cannot_be_written_is_told(service: Service) -> None:
    """A full disk: nothing is lost, and the next pass may have room."""
    service.gitlab.faults["pipelines"].append(LedgerUnusable("the ledger cannot be used: disk full"))
    assert service.once() == [("trouble", "ledger")]
    assert service.once() == [("recovery", "ledger")]


def test_a_mapping_file_with_a_mistake_is_told(service: Service) -> None:
    """The last good one is in force meanwhile."""
    service.mistakes = [Problem(Path("mapping.csv"), 2, 1, "nonsense", "write it as test,formatted_id")]
    assert service.once() == [("trouble", "mapping")]
    assert service.once() == []
    service.mistakes = []
    assert service.once() == [("recovery", "mapping")]


def test_a_pass_for_sprints_alone_does_not_end_an_alarm_about_results(service: Service) -> None:
    """It asks Rally other things."""
    service.traffic["Rally"].breaker_open = True
    service.rally.down = True
    assert service.once() == [("trouble", "Rally")]
    service.rally.down = False
    service.passes(Order("sprint-sets", collects=False, sends=False))
    assert len(service.told) == 1


def test_after_the_stop_nothing_is_begun(service: Service) -> None:
    """A job that the scheduler had in hand already."""
    service.passes.world.stop.set()
    service.passes(POLL)
    assert service.passes.vitals.passes == {}
