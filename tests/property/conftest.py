"""Counts the steps of every state machine here; `make crash` and `make soak` print how many they were."""

from __future__ import annotations

from hypothesis.stateful import RuleBasedStateMachine, invariant

from tests.counting import STEPS, count


@invariant()
def a_step_was_made(_machine: RuleBasedStateMachine) -> None:
    """Count a step: invariants are checked after each one, and once when a machine has begun."""
    count(STEPS)


RuleBasedStateMachine.a_step_was_made = a_step_was_made
