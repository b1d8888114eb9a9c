"""What a large ledger costs: a pass of the daemon that finds nothing, and `status`."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import processes
from bench.big_ledger import Owner, fill
from bench.fit import exponent
from bench.processes import BenchFailed, module
from bench.stage import open_stage
from bench.table import Figure, Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.stage import Bench, Stage

PASS_MS, STATUS_MS = 100.0, 50.0
LISTS = "/api/v4/projects/{n}/pipelines"
"""What each poll asks twice of each project: for pipelines, then for child pipelines."""


@dataclass(frozen=True, slots=True)
class Size:
    """What a ledger of one size cost, in milliseconds of CPU."""

    tests: int
    pass_ms: float
    status_ms: float
    """Of the whole command."""
    built_s: float
    megabytes: float


def rows(bench: Bench) -> Iterator[Row]:
    """Measure ledgers of 10³ to 10⁶ tests."""
    with open_stage(bench) as stage:
        python_ms = processes.cheapest([sys.executable, "-c", "pass"], bench.environment, 10) * 1e3
        start_ms = processes.cheapest(module("reconciler", "--help"), bench.environment, 10) * 1e3
        none_ms = _status_ms(stage)
    sizes = [_measure(bench, 10**power) for power in ((3, 4) if bench.quick else (3, 4, 5, 6))]
    for size in sizes:
        yield Row(
            what=f"idle pass with {size.tests:,} tests in the ledger",
            ours=Figure(size.pass_ms, "ms of CPU"),
            bound=f"< {PASS_MS:g} ms",
            holds=size.pass_ms < PASS_MS,
        )
    last = sizes[-1]
    yield Row(
        what=f"status with {last.tests:,} tests, on top of a command's start",
        ours=Figure(last.status_ms - start_ms, "ms of CPU"),
        yardstick=Figure(none_ms - start_ms, "ms", "without a ledger"),
        bound=f"< {STATUS_MS:g} ms",
        holds=last.status_ms - start_ms < STATUS_MS,
        note=(
            f"The start is `--help`: {start_ms:.0f} ms. The ledger has {last.megabytes:.0f} MB and was written in"
            f" {last.built_s:.0f} s."
        ),
    )
    yield Row(
        what="the same, with the command's start on top of Python's",
        ours=Figure(last.status_ms - python_ms, "ms of CPU"),
        yardstick=Figure(none_ms - python_ms, "ms", "without a ledger"),
        note=f"The start of Python is `python -c pass`: {python_ms:.0f} ms.",
    )
    growth = exponent([size.tests for size in sizes], [size.pass_ms for size in sizes])
    yield Row(
        what="an idle pass, when the ledger is twice as large",
        ours=Figure(2**growth, "times"),
        limit=Figure(1, "times"),
        bound="≤ 1.1 times",
        holds=2**growth <= 1.1,
        note=f"cost = c · size^{growth:.2f}, fitted over these sizes.",
    )


def _measure(bench: Bench, tests: int) -> Size:
    with open_stage(bench) as stage:
        (number, path), *_ = stage.servers.do("add_projects", count=0)
        stage.configure(path, gitlab={"poll_seconds": 1}, rally={"poll_seconds": 3600})
        ledger = stage.folder / "ledger.db"
        began = time.perf_counter()
        fill(ledger, tests, Owner(number, path))
        built_s = time.perf_counter() - began
        return Size(tests, _pass_ms(bench, stage), _status_ms(stage), built_s, ledger.stat().st_size / 1e6)


def _pass_ms(bench: Bench, stage: Stage) -> float:
    """Let the daemon poll every second for a while; its CPU for each poll."""
    with stage.daemon() as daemon:
        time.sleep(bench.pick(1, 3))
        stage.servers.do("forget")
        before = daemon.cpu_s
        time.sleep(bench.pick(3, 12))
        used = daemon.cpu_s - before
        told = stage.servers.do("told")
    polls = float(told["gitlab"]["routes"].get(f"GET {LISTS}", 0)) / 2
    if polls < 2 or told["rally"]["writes"]:
        raise BenchFailed(f"the daemon was not idle: {told}")
    return used / polls * 1e3


def _status_ms(stage: Stage) -> float:
    command = module("reconciler", *stage.words, "status")
    return processes.cheapest(command, stage.bench.environment, 10) * 1e3
