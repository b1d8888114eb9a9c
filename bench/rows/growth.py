"""How our CPU grows with the work: twice the work should cost twice as much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.fit import exponent
from bench.stage import open_stage
from bench.table import Figure, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.stage import Bench, Stage

MOST = 2.3
"""Times the cost for twice the work: linear, and something for the machine's noise."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of work, in growing amounts."""

    what: str
    sizes: Sequence[int]
    add: Callable[[Stage, int], object]


def rows(bench: Bench) -> Iterator[Row]:
    """Grow one thing after another, with servers that take no time."""
    times = bench.pick(1, 4)
    kinds = [
        Kind("pipelines of one test", [50 * times, 100 * times, 200 * times], _pipelines),
        Kind("results of 100 test cases", [1_000 * times, 2_000 * times, 4_000 * times], _results),
        Kind("tests of one report", [4_000 * times, 8_000 * times, 16_000 * times], _tests),
    ]
    for kind in kinds:
        yield _row(bench, kind)


def _pipelines(stage: Stage, size: int) -> None:
    stage.servers.do("add_pipelines", count=size, tests=1, step=1)


def _results(stage: Stage, size: int) -> None:
    stage.servers.do("add_pipelines", count=size // 100, tests=100)


def _tests(stage: Stage, size: int) -> None:
    stage.servers.do("add_big_report", tests=size, cases=200)


def _row(bench: Bench, kind: Kind) -> Row:
    costs = [_cost_s(bench, kind, size) for size in kind.sizes]
    growth = exponent(kind.sizes, costs)
    told = ", ".join(f"{size:,}: {cost:.2f} s" for size, cost in zip(kind.sizes, costs, strict=True))
    return Row(
        what=f"own CPU, when there are twice as many {kind.what}",
        ours=Figure(2**growth, "times"),
        limit=Figure(2, "times"),
        bound=f"≤ {MOST} times",
        holds=2**growth <= MOST,
        note=f"cost = c · size^{growth:.2f}; {told}, each without what a pass costs that finds nothing.",
    )


def _cost_s(bench: Bench, kind: Kind, size: int) -> float:
    with open_stage(bench) as stage:
        kind.add(stage, size)
        whole = stage.once()[0].cpu_s
        return whole - stage.once()[0].cpu_s
