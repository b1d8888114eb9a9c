"""Sending: each request that wrote to Rally leaves one line, from which a person finds what it wrote."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from loguru import logger

from reconciler.apply import ResultDesk
from reconciler.compose import Parcel
from reconciler.dispatch import Dispatcher, Sent
from reconciler.ledger.ledger import in_memory
from reconciler.model import Build, ObjectID, TestCaseResult
from tests import building
from tests.fakes import START, FakeRally
from tests.fates import says_no, silent
from tests.unit.listening import from_now_on

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.plan import Add
    from tests.fakes import Step


@pytest.fixture
def log() -> Iterator[list[dict[str, Any]]]:
    """Collect what is logged from INFO up."""
    lines: list[dict[str, Any]] = []
    number = logger.add(
        lambda m: lines.append({"said": m.record["message"], **m.record["extra"]}), level="INFO", filter=from_now_on()
    )
    yield lines
    logger.remove(number)


def _compose(add: Add) -> Parcel:
    build, notes = Build(f"GitLab-{add.key.pipeline_id}"), f"<div>{add.key}</div>"
    return Parcel(TestCaseResult(add.key, build, add.test_case, add.verdict, add.date, add.duration_s, notes), ())


def _send(cases: int, *steps: Step, batch_size: int = 50) -> FakeRally:
    rally = FakeRally()
    rally.steps.extend(steps)
    rally.cases = {ObjectID(number): building.case(f"TC{number}") for number in range(1, cases + 1)}
    adds = [building.add(f"TC{number}", pipeline_id=100 + number % 2) for number in range(1, cases + 1)]
    ledger = in_memory()
    with closing(ledger.store):
        ledger.observations.remember_projects("project", [building.PROJECT])
        ledger.observations.store_pipelines(map(building.pipeline, (100, 101)))
        sent = Sent()
        limits = building.rally_settings(batch_size=batch_size, max_concurrency=1)
        desk = ResultDesk(rally, ledger, lambda adds: map(_compose, adds), sent)
        Dispatcher(desk, limits, threading.Event(), sent).send(adds, busy=(), now=lambda: START)
    return rally


def test_a_request_is_one_line_with_what_came_to_be(log: list[dict[str, Any]]) -> None:
    """Keys, pipelines and ObjectIDs; what was refused has lines of its own besides."""
    rally = _send(3, says_no({1}, "Validation error"))
    [line] = [line for line in log if line["said"] == "Results sent"]
    assert line == {
        "said": "Results sent",
        "created": 2,
        "refused": 1,
        "conflicts": 0,
        "which": ", ".join(map(str, rally.requests[0])),
        "pipelines": "100, 101",
        "object_ids": ", ".join(map(str, rally.stored)),
    }


def test_of_many_the_first_and_the_last_are_named(log: list[dict[str, Any]]) -> None:
    """A line stays one that can be read."""
    rally = _send(40, batch_size=20)
    assert [line["created"] for line in log] == [20, 20]
    for keys, line in zip(rally.requests, log, strict=True):
        assert line["which"] == f"{keys[0]} … {keys[-1]}"
        assert " … " in line["object_ids"]


def test_silence_is_told_with_what_it_was_about(log: list[dict[str, Any]]) -> None:
    """Nobody knows what was done of these."""
    _send(2, silent(1))
    [line] = log
    assert line["said"] == "Rally gave no answer about results: asked later"
    assert (line["sent"], line["which"]) == (2, "1/100/TC2/1, 1/101/TC1/1")
