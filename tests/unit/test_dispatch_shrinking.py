"""How much smaller batches get when Rally cannot take them."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from reconciler.apply import ResultDesk
from reconciler.compose import Parcel
from reconciler.dispatch import Dispatcher, Sent
from reconciler.errors import NotDone
from reconciler.ledger.ledger import in_memory
from reconciler.model import Build, ObjectID, TestCaseResult
from tests import building
from tests.fakes import START, FakeRally
from tests.fates import fails, later

if TYPE_CHECKING:
    from reconciler.plan import Add
    from tests.fakes import Step

TOO_LARGE = fails(NotDone("too large", too_large=True))


def _compose(add: Add) -> Parcel:
    build, notes = Build(f"GitLab-{add.key.pipeline_id}"), f"<div>{add.key}</div>"
    return Parcel(TestCaseResult(add.key, build, add.test_case, add.verdict, add.date, add.duration_s, notes), ())


def _sizes(steps: list[Step], cases: range, *, batch_size: int, at_once: int = 1) -> list[int]:
    """Send four results of each of these test cases; tell how many each request held."""
    rally = FakeRally(latency_s=0.02)
    rally.steps.extend(steps)
    rally.cases = {ObjectID(number): building.case(f"TC{number}") for number in cases}
    adds = [building.add(f"TC{number}", pipeline_id=pipeline) for number in cases for pipeline in range(100, 104)]
    limits = building.rally_settings(batch_size=batch_size, max_concurrency=at_once)
    ledger = in_memory()
    with closing(ledger.store):
        ledger.observations.remember_projects("project", [building.PROJECT])
        ledger.observations.store_pipelines(building.pipeline(number) for number in range(100, 104))
        sent = Sent()
        desk = ResultDesk(rally, ledger, lambda adds: map(_compose, adds), sent)
        Dispatcher(desk, limits, threading.Event(), sent).send(adds, busy=(), now=lambda: START)
    return [len(keys) for keys in rally.requests]


@pytest.mark.parametrize("step", [TOO_LARGE, later()], ids=["too large", "no answer"])
def test_batches_are_halved_once_for_all_that_were_under_way(step: Step) -> None:
    """Several that meet one limit at the same time are no reason to go down to single results."""
    sizes = _sizes([step] * 3, range(1, 7), batch_size=4, at_once=3)
    assert (sizes[:3], set(sizes[3:])) == ([4, 4, 4], {2})


def test_a_batch_that_is_too_large_is_halved_whatever_the_config_allows() -> None:
    """Its own size counts: the same results never go twice in one request that was too large."""
    assert _sizes([TOO_LARGE], range(1, 2), batch_size=50) == [4, 2, 2]


def test_each_further_no_halves_again() -> None:
    """Down to one by one."""
    assert _sizes([TOO_LARGE, TOO_LARGE], range(1, 2), batch_size=4) == [4, 2, 1, 1, 1, 1]


def test_silence_upon_silence_halves_again() -> None:
    """What was silent is asked about later; what follows is smaller each time."""
    assert _sizes([later(), later()], range(1, 4), batch_size=4) == [4, 2, 1, 1, 1, 1]
