"""What the start of a command costs, beside the start of Python."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench import processes
from bench.processes import module
from bench.stage import open_stage
from bench.table import Figure, Row

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.stage import Bench

NOTHING = [sys.executable, "-c", "pass"]


def rows(bench: Bench) -> Iterator[Row]:
    """Measure `--help` and `status`, each between starts of Python that do nothing."""
    with open_stage(bench) as stage:
        stage.servers.do("add_pipelines", count=2, tests=50)
        stage.once()
        yield _row(bench, "--help", ["--help"], 5)
        yield _row(bench, "status", [*stage.words, "status"], 12)


def _row(bench: Bench, name: str, words: Sequence[str], most: int) -> Row:
    script = Path(sys.executable).with_name("reconciler")
    command = [str(script), *words] if script.exists() else module("reconciler", *words)
    runs = bench.pick(5, 20)
    pairs = [[processes.run(one, bench.environment).good().cpu_s for one in (NOTHING, command)] for _ in range(runs)]
    nothing, ours = (min(costs) for costs in zip(*pairs, strict=True))
    return Row(
        what=f"start of `reconciler {name}`",
        ours=Figure(ours / nothing, "times"),
        yardstick=Figure(1, "times", "`python -c pass`"),
        bound=f"≤ {most} times",
        holds=ours / nothing <= most,
        note=f"{ours * 1e3:.0f} ms and {nothing * 1e3:.1f} ms of CPU, the least of {runs} runs each.",
    )
