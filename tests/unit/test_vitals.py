"""Whether the daemon makes progress."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from reconciler.vitals import LONGEST_STALL_S, LastPass, Vitals
from tests.clock import START


@dataclass
class Machine:
    """Time, steps and lateness, as a test sets them."""

    seconds: float = 0.0
    steps: int = 0
    late_s: float = -30.0
    vitals: Vitals = field(init=False)

    def __post_init__(self) -> None:
        """Begin idle."""
        self.vitals = Vitals(lambda: self.steps, lambda: self.late_s, now=lambda: self.seconds)


@pytest.fixture
def machine() -> Machine:
    """Make one that is idle, with a pass due in half a minute."""
    return Machine()


def test_idle_with_the_next_pass_due_in_time_is_progress(machine: Machine) -> None:
    """For however long."""
    machine.seconds = 10 * LONGEST_STALL_S
    assert machine.vitals.stalled_s == 0
    assert machine.vitals.is_alive()


def test_idle_with_a_pass_overdue_is_none(machine: Machine) -> None:
    """A scheduler that fires no more is not alive, though its process is."""
    machine.late_s = LONGEST_STALL_S - 1
    assert machine.vitals.is_alive()
    machine.late_s = LONGEST_STALL_S
    assert machine.vitals.stalled_s == LONGEST_STALL_S
    assert not machine.vitals.is_alive()


def test_a_pass_is_stalled_since_its_last_step(machine: Machine) -> None:
    """However long it takes as a whole; how late the next one is does not matter meanwhile."""
    machine.late_s = 1e6
    machine.vitals.began("gitlab")
    for _ in range(20):
        machine.seconds += LONGEST_STALL_S / 2
        machine.steps += 1
        assert machine.vitals.stalled_s == 0
    machine.seconds += 100
    assert machine.vitals.stalled_s == 100
    machine.seconds += LONGEST_STALL_S
    assert not machine.vitals.is_alive()
    machine.steps += 1
    assert machine.vitals.is_alive()


def test_the_time_before_a_pass_does_not_count_for_it(machine: Machine) -> None:
    """It begins with a step."""
    machine.seconds = 10_000
    machine.vitals.began("gitlab")
    assert machine.vitals.stalled_s == 0


def test_the_newest_pass_of_each_kind_is_known_and_a_stopped_one_counts_for_nothing(machine: Machine) -> None:
    """Ready is who has made one and gets on."""
    vitals = machine.vitals
    assert (dict(vitals.passes), vitals.is_ready()) == ({}, False)
    vitals.began("gitlab")
    machine.seconds = 3
    vitals.ended(START, "stopped")
    assert (dict(vitals.passes), vitals.is_ready()) == ({}, False)
    for kind, ending in (("gitlab", "failed"), ("rally", "ok"), ("gitlab", "down")):
        vitals.began(kind)
        machine.seconds += 2
        vitals.ended(START, ending, 5)  # type: ignore[arg-type]  # a tuple's items are texts to mypy
    assert vitals.passes == {"gitlab": LastPass(START, 2, "down"), "rally": LastPass(START, 2, "ok")}
    assert (vitals.writes, vitals.is_ready()) == (15, True)
    machine.late_s = LONGEST_STALL_S
    assert not vitals.is_ready()
