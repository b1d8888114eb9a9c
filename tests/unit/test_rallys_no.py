"""What Rally says No to for its set or for something that is gone, and what the ledger believes afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reconciler.apply import settle
from reconciler.dispatch import GONE
from reconciler.errors import EXIT_DONE
from reconciler.mapping import Row
from reconciler.order import Order
from reconciler.reconcile import reconcile
from reconciler.world import World
from tests import building
from tests.fates import silent
from tests.unit.sprint_shop import SET, SETTLED_S, Team, team

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reconciler.model import TestCaseResult
    from reconciler.world import Outcome
    from tests.fakes import Answers, FakeRally

NOT_IN_SET = "Validation error: Could not set value for Test Set: null"


@pytest.fixture
def shop() -> Iterator[Team]:
    """Open one."""
    yield from team()


def _one_by_one(shop: Team, *rows: tuple[str, str]) -> Outcome:
    """Make a pass that sends each result in a request of its own, with this mapping."""
    settings = building.settings(building.rally_settings(max_concurrency=1, batch_size=1))
    world = World(shop.gitlab, shop.rally, shop.ledger, settings, shop.stop, shop.clock)
    mapping = [Row(line, f"shop.{test}", said) for line, (test, said) in enumerate(rows, 2)]
    return reconcile(world, mapping, Order("once"))


def test_a_set_that_is_still_there_is_not_taken_for_gone(shop: Team) -> None:
    """Rally could not read something else: its No is a No to the result, and the set stays the sprint's."""
    shop.once()
    shop.rally.refuses = lambda one: f"Could not read: {GONE} 77" if one.test_set else ""
    shop.job("a_TC1")
    outcome = shop.once()
    assert (outcome.exit_status, outcome.summary["refused"], shop.carried()) == (EXIT_DONE, 1, {})
    assert shop.sprint_row()["state"] == "done"


def test_a_set_that_is_gone_is_known_to_be_so_before_the_next_look_at_sprints(shop: Team) -> None:
    """Of the sprint whose set it was; the results of the same pass go without it."""
    shop.once()
    (made,) = shop.rally.sets
    shop.rally.refuses = lambda one: "" if one.test_set in {None, *shop.rally.sets} else f"Could not read: {GONE} null"

    def meanwhile(rally: FakeRally, results: Sequence[TestCaseResult]) -> Answers:
        rally.delete_set(made)
        return rally.carry_out(results)

    shop.rally.steps.append(meanwhile)
    shop.job("a_TC1")
    shop.once()
    assert shop.sprint_row()["state"] == "gone"


def test_results_that_are_refused_for_their_set_one_by_one_all_go_without_in_the_same_pass(shop: Team) -> None:
    """However many answers told of them; the audit says why each was begun twice."""
    shop.once()
    shop.rally.refuses = lambda one: NOT_IN_SET if one.test_set else ""
    shop.job("a_TC1", "b_TC2")
    outcome = _one_by_one(shop)
    assert (outcome.exit_status, outcome.summary["results_sent"]) == (EXIT_DONE, 2)
    assert shop.carried() == {"100/TC1": "", "100/TC2": ""}
    told = shop.ledger.store.rows("SELECT what, key, detail FROM audit WHERE what = 'withdrawn' ORDER BY key")
    assert told == [("withdrawn", f"100/{case}/1", "sent again without its test set") for case in ("TC1", "TC2")]


def test_a_test_that_was_mapped_elsewhere_and_back_leaves_nothing_to_do(shop: Team) -> None:
    """It was held for a test case that Rally does not have; it stands by the result that it was sent in."""
    shop.job("x")
    assert _one_by_one(shop, ("x", "TC1")).summary["results_sent"] == 1
    assert _one_by_one(shop, ("x", "TC77")).summary["held"] == 1
    outcome = _one_by_one(shop, ("x", "TC1"))
    assert (outcome.exit_status, outcome.summary["results_sent"], outcome.summary["left"]) == (EXIT_DONE, 0, 0)
    assert shop.ledger.store.rows("SELECT state FROM tests") == [("sent",)]


def test_the_audit_says_why_an_intent_was_taken_back(shop: Team) -> None:
    """Rally was asked, and does not have it; the set that it would carry is there."""
    shop.once()
    shop.rally.steps.append(silent(0))
    shop.job("a_TC1")
    shop.once()
    shop.settle()
    assert shop.carried() == {"100/TC1": SET}
    told = shop.ledger.store.rows("SELECT what, key, detail FROM audit WHERE what = 'withdrawn'")
    assert told == [("withdrawn", "100/TC1/1", "Rally does not have it")]


def test_settling_tells_how_many_were_asked_about(shop: Team) -> None:
    """None while they are young."""
    shop.rally.steps.append(silent(0))
    shop.job("a_TC1")
    shop.once()
    wait = building.DAY
    assert settle(shop.rally, shop.ledger, wait, shop.clock()) == 0
    assert settle(shop.rally, shop.ledger, wait, shop.clock.advance(86_400 + SETTLED_S)) == 1
