"""Commands run as processes of their own, and what they cost."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).parent.parent
LONGEST_S = 300
_TICKS = os.sysconf("SC_CLK_TCK")
_MEASURED = """
import atexit, pathlib, re, runpy, sys
peak, status = pathlib.Path(sys.argv.pop()), pathlib.Path("/proc/self/status")
atexit.register(lambda: peak.write_text(re.search(r"VmHWM:\\s*(\\d+) kB", status.read_text())[1]))
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
"""Runs a module and writes down its peak of memory in KiB: what getrusage tells begins with the parent's."""


class BenchFailed(Exception):
    """Something that is measured did not do what it should; the message says what it said."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that came to its end."""

    status: int
    out: str
    err: str
    wall_s: float
    cpu_s: float
    """User and system time of the process."""

    def good(self) -> Ran:
        """Insist on exit status 0."""
        if self.status:
            raise BenchFailed(f"exit status {self.status}:\n{self.out[-2000:]}\n{self.err[-2000:]}")
        return self


def run(command: Sequence[str], environment: Mapping[str, str]) -> Ran:
    """Run a command to its end."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.perf_counter()
        process = subprocess.Popen(  # noqa: S603 - our own commands, without a shell
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment, cwd=ROOT
        )
        late = threading.Timer(LONGEST_S, process.kill)
        late.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - began
        late.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        said = []
        for stream in (out, err):
            stream.seek(0)
            said.append(stream.read().decode(errors="replace"))
    return Ran(process.returncode, said[0], said[1], wall_s, usage.ru_utime + usage.ru_stime)


def module(name: str, *words: str) -> list[str]:
    """Write the command that runs a module of Python's."""
    return [sys.executable, "-m", name, *words]


def peak_mb(name: str, words: Sequence[str], environment: Mapping[str, str]) -> tuple[Ran, float]:
    """Run a module to a good end; the most memory that it had, in MB."""
    with tempfile.NamedTemporaryFile("r") as peak:
        ran = run([sys.executable, "-c", _MEASURED, name, *words, peak.name], environment).good()
        return ran, int(peak.read()) * 1024 / 1e6


def cheapest(command: Sequence[str], environment: Mapping[str, str], times: int) -> float:
    """Run a command several times; the least CPU seconds, for whatever else the machine does only adds to them."""
    return min(run(command, environment).cpu_s for _ in range(times))


@dataclass(frozen=True, slots=True)
class Running:
    """A process that goes on."""

    process: subprocess.Popen[bytes]

    @property
    def cpu_s(self) -> float:
        """Tell its user and system time so far, with the clock's ticks of usually 10 ms."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    @property
    def memory_mb(self) -> float:
        """Tell how much memory it has now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s*(\d+) kB", status)
        return int(found[1]) * 1024 / 1e6 if found else 0.0


@contextmanager
def running(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Iterator[Running]:
    """Start a command, and end it with SIGTERM, to which it must answer with status 0."""
    with (
        log.open("wb") as err,
        subprocess.Popen(  # noqa: S603 - our own commands, without a shell
            command, stdin=subprocess.DEVNULL, stdout=err, stderr=err, env=environment, cwd=ROOT
        ) as process,
    ):
        try:
            yield Running(process)
            process.terminate()
            if process.wait(20):
                raise BenchFailed(f"exit status {process.returncode}:\n{log.read_text()[-2000:]}")
        finally:
            process.kill()
