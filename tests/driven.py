"""The program in a process of its own whose clock a test moves: days pass in seconds, and its memory is its own.

Run as a module it reads moments from standard input, makes one poll's pass at each, and answers in one line of JSON.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.cli import building
from reconciler.errors import Incomplete, ServiceDown
from reconciler.order import Order
from reconciler.reconcile import reconcile
from reconciler.wire import breaker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.world import World
    from tests.company import Company

PATIENCE_S = 0.3
"""How long a service that is down is waited for in each pass; a minute of the daemon's, more or less."""
GREETING_S = 60
"""For so long at most the services, which are up then, are waited for at first."""
COOLS_S = 0.03
"""For so long, by the machine's clock, a service that is down is left alone; a minute of the daemon's."""


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass came to, and how much memory the process has after it."""

    exit_status: int
    summary: dict[str, int]
    down: list[str]
    failed: list[str]
    now_kib: int
    peak_kib: int


@dataclass(frozen=True, slots=True)
class Driven:
    """The process, from outside."""

    process: subprocess.Popen[str]

    def at(self, moment: datetime) -> Pass:
        """Let it be this time there, and make one pass."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(moment.isoformat() + "\n")
        self.process.stdin.flush()
        return Pass(**json.loads(self.process.stdout.readline()))


@contextmanager
def driven(company: Company) -> Iterator[Driven]:
    """Start it with a company's config; it must come to a good end."""
    words = [sys.executable, "-m", "tests.driven", str(company.folder / "config.toml")]
    with (
        (company.folder / "driven.log").open("w") as log,
        subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=company.environment()
        ) as process,
    ):
        try:
            yield Driven(process)
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(20) == 0
        finally:
            process.kill()
    assert "Traceback" not in (company.folder / "driven.log").read_text()
    assert company.unaccounted() == 0


def main() -> None:
    """Make a pass for each moment that is read, as the daemon's poll of GitLab does."""
    told: list[datetime] = []
    breaker.COOLING_S = breaker.LONGEST_COOLING_S = COOLS_S
    settings, rows = building.configured(Path(sys.argv[1]))
    order = Order("gitlab", refresh_after=timedelta(seconds=settings.rally.poll_seconds))
    with building.world(settings, patience_s=PATIENCE_S) as built:
        _greet(built)
        world = replace(built, now=lambda: told[-1])
        for line in sys.stdin:
            told[:] = [datetime.fromisoformat(line.strip())]
            done = reconcile(world, rows, order)
            answer = {"exit_status": done.exit_status, "summary": done.summary} | _memory()
            answer |= {"down": list(done.down), "failed": list(done.failed)}
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


def _greet(world: World) -> None:
    """Ask both services until they have answered once: up to then an exchange may last no longer than our patience.

    That is too little for a first one on a busy machine: modules are still imported for it.
    """
    give_up_at = time.monotonic() + GREETING_S
    for ask in (world.gitlab.greeting, world.rally.allowed_verdicts):
        while True:
            try:
                ask()
                break
            except (Incomplete, ServiceDown):
                if time.monotonic() > give_up_at:
                    raise
                time.sleep(COOLS_S)


def _memory() -> dict[str, Any]:
    status = Path("/proc/self/status").read_text()
    return {
        name: int(re.findall(rf"{field}:\s*(\d+) kB", status)[0])
        for name, field in (("now_kib", "VmRSS"), ("peak_kib", "VmHWM"))
    }


if __name__ == "__main__":
    main()
