"""The yardsticks as they are run beside us."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bench import processes
from bench.processes import module
from bench.reports import Plan, report
from bench.stand_in import KEY, ROOT, WORKSPACE

if TYPE_CHECKING:
    from bench.stage import Stage


@dataclass(frozen=True, slots=True)
class Plain:
    """What the plain pyral script did."""

    results: int
    wall_s: float
    cpu_s: float


def plain_pyral(stage: Stage, results: int, *, attach: bool = False) -> Plain:
    """Let the script send so many results to the stage's Rally."""
    path = stage.folder / "plain.xml"
    path.write_bytes(report(Plan([f"TC{number}" for number in range(1, results + 1)])))
    words = {
        "--server": urlsplit(stage.servers.do("where")["rally"]).netloc,
        "--key": KEY, "--workspace": WORKSPACE, "--project": ROOT,
    }  # fmt: skip
    flags = [word for pair in words.items() for word in pair] + (["--attach"] if attach else [])
    ran = processes.run(module("bench.plain_pyral", *flags, str(path)), stage.bench.environment).good()
    return Plain(**json.loads(ran.out.splitlines()[-1]))
