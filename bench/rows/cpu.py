"""Our own CPU: a result end to end with servers that take no time, and the XML alone beside junitparser.

What a command's start costs has rows of its own; a result's cost is what comes on top, and both are told.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import processes
from bench.processes import module
from bench.reports import Plan, pieces
from bench.stage import open_stage
from bench.table import Figure, Row
from bench.yardsticks import plain_pyral

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.stage import Bench

TESTS = 100
MOST_US, TIMES = 200, 2.0


def rows(bench: Bench) -> Iterator[Row]:
    """Measure both."""
    yield from _end_to_end(bench)
    yield _xml(bench)


@dataclass(frozen=True, slots=True)
class Spent:
    """CPU seconds of one pass with so many results."""

    cpu_s: float
    idle_s: float
    """Of a pass that finds nothing."""
    served_s: float
    """The stand-ins', building the reports included."""
    plain_s: float
    """Plain pyral's for each result."""


def _spent(bench: Bench, pipelines: int) -> Spent:
    with open_stage(bench) as stage:
        stage.once()
        idle = stage.once()[0].cpu_s
        before = stage.servers.do("told")["cpu_s"]
        stage.servers.do("add_pipelines", count=pipelines, tests=TESTS)
        ran, did = stage.once()
        served = stage.servers.do("told")["cpu_s"] - before
        plain = plain_pyral(stage, 200)
    if did["results_sent"] != pipelines * TESTS:
        raise processes.BenchFailed(f"{did['results_sent']} results were sent")
    return Spent(ran.cpu_s, idle, served, plain.cpu_s / plain.results)


def _end_to_end(bench: Bench) -> Iterator[Row]:
    pipelines, runs = bench.pick(20, 100), bench.pick(1, 3)
    least = min((_spent(bench, pipelines) for _ in range(runs)), key=lambda one: one.cpu_s)
    results = pipelines * TESTS
    each = (least.cpu_s - least.idle_s) / results * 1e6
    yield Row(
        what=f"own CPU for each of {results:,} results, on top of a pass without any",
        ours=Figure(each, "µs"),
        yardstick=Figure(least.plain_s * 1e6, "µs", "plain pyral"),
        bound=f"≤ {MOST_US} µs",
        holds=None if bench.quick else each <= MOST_US,
        note=(
            "User and system time of the whole command with servers that take no time, reports of 100 tests, less the"
            f" {least.idle_s:.2f} s of one that finds nothing; the least of {runs} runs. The stand-ins used"
            f" {least.served_s / results * 1e6:.0f} µs."
        ),
    )
    yield Row(
        what="the same, with the command's start and log-in divided among them",
        ours=Figure(least.cpu_s / results * 1e6, "µs"),
    )


def _xml(bench: Bench) -> Row:
    tests = bench.pick(20_000, 200_000)
    path = bench.folder / "big.xml"
    with path.open("wb") as file:
        file.writelines(pieces(Plan([f"TC{number % 997}" for number in range(tests)], failing=50)))
    ours, plain = (_least(bench, way, path, tests) for way in ("ours", "plain"))
    size_mb = path.stat().st_size / 1e6
    path.unlink()
    return Row(
        what=f"the XML of {tests:,} tests",
        ours=Figure(ours, "s of CPU"),
        yardstick=Figure(plain, "s", "junitparser"),
        bound="≤ 2 times junitparser",
        holds=ours <= TIMES * plain,
        note=f"{ours / plain:.2f} times; {size_mb:.0f} MB, 2 % of the tests fail; the least of 3 runs each.",
    )


def _least(bench: Bench, way: str, path: Path, tests: int) -> float:
    costs: list[float] = []
    for _ in range(3):
        told = json.loads(processes.run(module("bench.parse", way, str(path)), bench.environment).good().out)
        if told["tests"] != tests:
            raise processes.BenchFailed(f"{way}: {told['tests']} tests were read of {tests}")
        costs.append(told["cpu_s"])
    return min(costs)
