"""What was begun in a sprint that is over by now is found out all the same, and nothing waits for it for ever."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from threading import Event
from typing import TYPE_CHECKING

import pytest

from reconciler.dispatch import Sent
from reconciler.errors import NoAnswer, ServiceDown
from reconciler.ledger import views
from reconciler.ledger.ledger import Ledger, in_memory
from reconciler.sprinting import SprintRun
from reconciler.sprints import Home, Wait, home_of
from tests import building
from tests.fakes import START, Clock, FakeRally

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from reconciler.model import Iteration, TestCase
    from tests.fakes import Answers, Step

HOUR_S = 3_600
DAY_S = 24 * HOUR_S


class World:
    """A sprint that ends in an hour, with one story and its one test case; sets of any age can be settled."""

    def __init__(self, ledger: Ledger) -> None:
        """Nothing was done yet."""
        self.clock = Clock()
        self.rally = FakeRally(self.clock)
        self.ledger = ledger
        config = building.settings()
        self.settings = replace(config, sprints=replace(config.sprints, test_folder="create"))
        begun, over = START - timedelta(days=7), START + timedelta(hours=1)
        self.sprint: Iteration = self.rally.add_iteration("Sprint 1", begun, over)
        self.case: TestCase = self.rally.add_case("TC1", of=self.rally.add_item(self.sprint))

    def run(self) -> None:
        """Look after sprints once."""
        SprintRun(self.rally, self.ledger, self.settings, Event(), self.clock, Sent()).run()

    def run_after_the_sprint(self) -> None:
        """Look after them when the last day's answers are believed; nothing is open in the end."""
        self.clock.advance(3 * DAY_S)
        self.run()
        assert views.left(self.ledger.store) == 0
        requests = len(self.rally.sprint_requests)
        self.run()
        assert len(self.rally.sprint_requests) == requests

    def home(self) -> Home | Wait | None:
        """Tell what a result of the sprint carries."""
        return home_of(START, self.ledger.sprints.memberships(self.case.object_id))


@pytest.fixture
def world() -> Iterator[World]:
    """Give one, and close its ledger."""
    ledger = in_memory()
    with closing(ledger.store):
        yield World(ledger)


def _silent(_rally: FakeRally, _wanted: Sequence[Any]) -> Answers:
    raise NoAnswer("no answer")


def _silent_but_done(rally: FakeRally, wanted: Sequence[Any]) -> Answers:
    rally.carry_out(wanted)
    raise NoAnswer("no answer")


def _away(_rally: FakeRally, _wanted: Sequence[Any]) -> Answers:
    raise ServiceDown("Rally", "no connection")


def test_a_set_that_was_begun_in_vain_is_withdrawn_and_results_go_without(world: World) -> None:
    """No result of the sprint is due, so only the intent itself leads back to it; no set is made for what is over."""
    world.rally.sprint_steps.append(_silent)
    world.run()
    assert (views.left(world.ledger.store), world.home()) == (1, Wait())
    world.run_after_the_sprint()
    assert (world.rally.sets, world.home()) == ({}, None)


def test_a_set_that_was_made_in_silence_is_adopted_and_filled(world: World) -> None:
    """Rally has it, and results of the sprint's dates carry it."""
    world.rally.sprint_steps.append(_silent_but_done)
    world.run()
    world.run_after_the_sprint()
    (made,) = world.rally.sets
    assert world.rally.members() == {"Sprint-1-Automated-Tests": ["TC1"]}
    assert world.home() == Home(made)


@pytest.mark.parametrize("step", [_silent, _silent_but_done])
def test_an_iteration_that_was_deleted_leaves_no_doubt_behind(world: World, step: Step) -> None:
    """Its set is asked for by what the ledger knows of it."""
    world.rally.sprint_steps.append(step)
    world.run()
    del world.rally.sprints[world.sprint.object_id]
    world.run_after_the_sprint()


def test_results_do_not_wait_for_a_set_that_was_never_begun(world: World) -> None:
    """Rally was away until the sprint was over; test cases had been placed in it."""
    world.rally.sprint_steps.append(_away)
    world.run()
    assert world.home() == Wait()
    world.run_after_the_sprint()
    assert world.home() is None


def test_a_sprint_that_is_prolonged_gets_its_set_all_the_same(world: World) -> None:
    """What was let go is wanted again once the sprint is current again."""
    world.rally.sprint_steps.append(_away)
    world.run()
    world.run_after_the_sprint()
    world.rally.change_iteration(world.sprint, ends_at=world.clock() + timedelta(days=1))
    world.run()
    assert world.rally.members() == {"Sprint-1-Automated-Tests": ["TC1"]}


def test_a_set_made_in_silence_is_found_though_the_sprint_was_renamed_since(world: World) -> None:
    """By the name that it was sent with: a second one would be ours as well."""
    world.rally.sprint_steps.append(_silent_but_done)
    world.run()
    world.rally.change_iteration(world.sprint, name="Sprint 2")
    for seconds in (0, HOUR_S / 2):
        world.clock.advance(seconds)
        world.run()
    assert world.rally.members() == {"Sprint-1-Automated-Tests": ["TC1"]}


@pytest.mark.parametrize(("step", "made"), [(_silent, 0), (_silent_but_done, 1)])
@pytest.mark.parametrize("answered", [2, 3])
def test_a_folder_that_was_begun_is_looked_up_when_its_sprint_is_over(
    world: World,
    step: Step,
    made: int,
    answered: int,
) -> None:
    """The one for all sprints or the sprint's own; none is made afterwards."""
    world.rally.sprint_steps.extend([lambda rally, wanted: rally.carry_out(wanted)] * answered)
    world.rally.sprint_steps.append(step)
    world.run()
    assert views.left(world.ledger.store) == 1
    world.run_after_the_sprint()
    assert len(world.rally.folders) == answered - 2 + made
    assert world.ledger.sprints.folders_in_doubt() == {}
