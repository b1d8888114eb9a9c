"""How much memory the program has at most, with what is big; and how much the daemon has when it is idle."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench import processes
from bench.reports import Plan, pieces
from bench.stage import open_stage
from bench.table import Figure, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.stage import Bench, Stage

MOST_MB, IDLE_MB = 150.0, 80.0


def rows(bench: Bench) -> Iterator[Row]:
    """Measure each in a process of its own."""
    tests = bench.pick(20_000, 200_000)
    yield _peak(bench, f"a report of {tests:,} tests", lambda stage: _big(stage, tests), _plain_mb(bench, tests))
    xml = bench.pick(30, 300)
    yield _peak(bench, f"an XML of {xml} MB", lambda stage: _printed(stage, xml))
    size = bench.pick(100, 1_000) * 1_000_000
    yield _peak(
        bench, f"an archive of {size / 1e9:g} GB", lambda stage: stage.servers.do("add_archive", size_bytes=size)
    )
    yield _idle(bench)


def _big(stage: Stage, tests: int) -> None:
    stage.servers.do("add_big_report", tests=tests, cases=200)


def _printed(stage: Stage, size_mb: int) -> None:
    """Add a report in which every test printed 10 KB, so many that it has this size."""
    stage.servers.do("add_big_report", tests=size_mb * 100, cases=200, printed_bytes=9_900)


def _peak(bench: Bench, what: str, add: Callable[[Stage], object], plain: Figure | None = None) -> Row:
    with open_stage(bench) as stage:
        add(stage)
        peak = stage.peak_mb()
    return Row(
        what=f"peak memory with {what}",
        ours=Figure(peak, "MB"),
        yardstick=plain,
        bound=f"< {MOST_MB:g} MB",
        holds=peak < MOST_MB,
    )


def _plain_mb(bench: Bench, tests: int) -> Figure:
    """Let junitparser alone read a report of so many tests."""
    path = bench.folder / "plain.xml"
    with path.open("wb") as file:
        file.writelines(pieces(Plan([f"TC{number % 200}" for number in range(tests)])))
    _, peak = processes.peak_mb("bench.parse", ["plain", str(path)], bench.environment)
    path.unlink()
    return Figure(peak, "MB", "junitparser")


def _idle(bench: Bench) -> Row:
    with open_stage(bench) as stage:
        path = stage.servers.do("add_projects", count=0)[0][1]
        stage.configure(path, gitlab={"poll_seconds": 1}, rally={"poll_seconds": 1})
        stage.servers.do("add_pipelines", count=20, tests=100)
        with stage.daemon() as daemon:
            time.sleep(bench.pick(4, 15))
            memory = daemon.memory_mb
            sent = stage.servers.do("told")["results"]
    if sent != 20 * 100:
        raise processes.BenchFailed(f"the daemon sent {sent} results")
    return Row(
        what="memory of an idle daemon",
        ours=Figure(memory, "MB"),
        bound=f"< {IDLE_MB:g} MB",
        holds=memory < IDLE_MB,
        note=f"After it sent {sent:,} results and then polled both services every second for a while.",
    )
