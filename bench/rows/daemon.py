"""The daemon: from a pipeline's end to its results in Rally, and what many projects cost it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from bench.processes import BenchFailed
from bench.rows.ledger import LISTS
from bench.stage import CREATED_S, REQUEST_S, open_stage
from bench.table import Figure, Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.processes import Running
    from bench.stage import Bench, Stage

LATENCY_S, PATIENCE_S = 30.0, 60.0
PROJECTS, ACTIVE = 200, 10


def rows(bench: Bench) -> Iterator[Row]:
    """Measure both."""
    yield _latency(bench)
    yield from _steady(bench)


def _latency(bench: Bench) -> Row:
    poll = bench.pick(2, 10)
    with open_stage(bench) as stage:
        stage.configure("qa/shop-0", gitlab={"poll_seconds": poll}, rally={"poll_seconds": poll})
        stage.servers.do("take_time", request_s=REQUEST_S, created_s=CREATED_S)
        with stage.daemon():
            _wait_for(stage, stage.servers.do("add_pipelines", count=1, tests=100)[0])
            waited = [_arrival_s(stage, n * poll / 3) for n in range(bench.pick(1, 4))]
    worst = max(waited)
    return Row(
        what=f"pipeline's end → its 100 results in Rally, polling every {poll} s",
        ours=Figure(worst, "s", "at most"),
        limit=Figure(poll + REQUEST_S * 2 + CREATED_S * 50, "s"),
        bound=f"≤ {poll} + {LATENCY_S:g} s",
        holds=worst <= poll + LATENCY_S,
        note=f"{', '.join(f'{one:.1f}' for one in waited)} s; the limit is a poll, one look-up and one batch.",
    )


def _arrival_s(stage: Stage, after_s: float) -> float:
    """Finish a pipeline a while after the one before was sent; how long its results take."""
    time.sleep(after_s)
    began = time.perf_counter()
    _wait_for(stage, stage.servers.do("add_pipelines", count=1, tests=100)[0])
    return time.perf_counter() - began


def _wait_for(stage: Stage, pipeline: int) -> None:
    until = time.perf_counter() + PATIENCE_S
    while stage.servers.do("arrived", pipeline=pipeline) < 100:
        if time.perf_counter() > until:
            raise BenchFailed(f"pipeline {pipeline} is not in Rally after {PATIENCE_S:g} s")
        time.sleep(0.05)


def _steady(bench: Bench) -> Iterator[Row]:
    poll = bench.pick(3, 10)
    with open_stage(bench, projects=PROJECTS) as stage:
        paths = [path for _, path in stage.servers.do("add_projects", count=0)]
        stage.configure(*paths, gitlab={"poll_seconds": poll}, rally={"poll_seconds": poll})
        for project in range(PROJECTS):
            stage.servers.do("add_pipelines", count=1, tests=10, project=project)
        with stage.daemon() as daemon:
            time.sleep(2 * poll)
            quiet = _polls(stage, daemon, bench.pick(2, 3), poll, active=0)
            busy = _polls(stage, daemon, bench.pick(2, 3), poll, active=ACTIVE)
            memory = daemon.memory_mb
    yield _of_polls(f"{PROJECTS} projects, none active", quiet, 2 * PROJECTS, "≤ 2 a project")
    yield _of_polls(
        f"{PROJECTS} projects, {ACTIVE} active", busy, 2 * PROJECTS + 2 * ACTIVE, "≤ 2 a project + 2 a pipeline"
    )
    yield Row(
        what=f"CPU of a poll of {PROJECTS} projects",
        ours=Figure(quiet["cpu_s"] * 1e3, "ms of CPU", "none active"),
        yardstick=Figure(busy["cpu_s"] * 1e3, "ms of CPU", f"{ACTIVE} active"),
        note=(
            f"{quiet['cpu_s'] / 60:.2%} of a core when polled every minute, {busy['cpu_s'] / 60:.2%} with {ACTIVE} new"
            f" pipelines of 100 tests each minute; {memory:.0f} MB of memory."
        ),
    )


def _polls(stage: Stage, daemon: Running, polls: int, poll: int, *, active: int) -> dict[str, Any]:
    """Let some polls pass, each with a new pipeline in the active projects; the mean traffic and CPU of one."""
    stage.servers.do("forget")
    before = daemon.cpu_s
    for _ in range(polls):
        for project in range(active):
            stage.servers.do("add_pipelines", count=1, tests=100, project=project)
        time.sleep(poll)
    used, told = daemon.cpu_s - before, stage.servers.do("told")
    seen = told["gitlab"]["routes"][f"GET {LISTS}"] / (2 * PROJECTS)
    return {
        "cpu_s": used / seen,
        "gitlab": told["gitlab"]["requests"] / seen,
        "rally": told["rally"]["requests"] / seen,
    }


def _of_polls(what: str, told: dict[str, Any], most: int, bound: str) -> Row:
    return Row(
        what=f"GitLab requests of a poll: {what}",
        ours=Figure(told["gitlab"], "requests"),
        limit=Figure(most, "requests"),
        bound=bound,
        holds=told["gitlab"] <= most * 1.05,
        note=f"And {told['rally']:.1f} Rally requests, with one poll of Rally for each of GitLab.",
    )
