"""The daemon's own passes in a process of its own whose clock a test moves: a day of them takes a minute.

Run as a module it reads a moment and a job's name from each line, does that job as the scheduler would, and answers
with what the process holds then: memory, threads, open files.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.alarms import Alarm, Alarms
from reconciler.cli import building
from reconciler.daemon import SPRINT_SETS
from reconciler.order import Order
from reconciler.passes import Passes
from reconciler.sd_notify import Supervisor
from reconciler.signals import Signals
from reconciler.surroundings import Surroundings
from reconciler.upkeep import Upkeep
from reconciler.vitals import Vitals
from reconciler.wire import breaker
from tests.driven import COOLS_S, PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.world import World
    from tests.company import Company


@dataclass(frozen=True, slots=True)
class Holds:
    """What the process holds after a job, and what a person was told by it."""

    rss_kib: int
    threads: int
    files: int
    told: list[str]


@dataclass(frozen=True, slots=True)
class Day:
    """The process, from outside."""

    process: subprocess.Popen[str]

    def at(self, moment: datetime, job: str) -> Holds:
        """Let it be this time there, and do one job: gitlab, rally, sprint-sets or upkeep."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{moment.isoformat()} {job}\n")
        self.process.stdin.flush()
        return Holds(**json.loads(self.process.stdout.readline()))


@contextmanager
def day(company: Company) -> Iterator[Day]:
    """Start it with a company's config; it must come to a good end."""
    words = [sys.executable, "-m", "tests.day", str(company.folder / "config.toml")]
    with (
        (company.folder / "day.log").open("w") as log,
        subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=company.environment()
        ) as process,
    ):
        try:
            yield Day(process)
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(20) == 0
        finally:
            process.kill()
    assert "Traceback" not in (company.folder / "day.log").read_text()
    assert company.unaccounted() == 0


def main() -> None:
    """Do what each line says."""
    clock: list[datetime] = []
    breaker.COOLING_S = breaker.LONGEST_COOLING_S = COOLS_S
    settings, rows = building.configured(Path(sys.argv[1]))
    told: list[Alarm] = []
    with (
        building.ledger(settings) as opened,
        building.services(settings, opened, threading.Event(), patience_s=PATIENCE_S) as built,
    ):
        world: World = replace(built, now=lambda: clock[-1])
        around = Surroundings(
            rows=building.mapping_reader(settings, rows),
            reread=lambda: settings,
            signals=Signals(),
            supervisor=Supervisor({}),
            alarms=Alarms(timedelta(minutes=settings.notify.stale_after_minutes)),
            tell=told.append,
        )
        passes: Passes | None = None
        for line in sys.stdin:
            moment, job = line.split()
            clock[:] = [datetime.fromisoformat(moment)]
            passes = passes or Passes(world, around, Vitals(world.progress, lambda: 0.0), next_runs=dict)
            _do(passes, world, job)
            answer = _holds() | {"told": [f"{alarm.kind} {alarm.subject}" for alarm in told]}
            told.clear()
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


def _do(passes: Passes, world: World, job: str) -> None:
    match job:
        case "upkeep":
            passes.look_after(Upkeep(world, passes.report))
        case "sprint-sets":
            passes(SPRINT_SETS)
        case _:
            every = timedelta(seconds=world.settings.rally.poll_seconds)
            passes(Order(job, collects=job == "gitlab", refresh_after=every))


def _holds() -> dict[str, Any]:
    status = Path("/proc/self/status").read_text()
    told = {
        name: int(re.findall(rf"{field}:\s*(\d+)", status)[0])
        for name, field in (("rss_kib", "VmRSS"), ("threads", "Threads"))
    }
    return told | {"files": len(os.listdir("/proc/self/fd"))}  # noqa: PTH208 - pathlib would open one more


if __name__ == "__main__":
    main()
