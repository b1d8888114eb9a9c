"""Kills of the program at its n-th write or commit, one after another, and what must be there in the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.sandbox.faults import Fault, KillClient
from tests.counting import count

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.sandbox.faults import When
    from tests.company import Company

    Run = Callable[[int], bool]
    """Makes a pass that is killed at its n-th write or commit; whether it got that far."""

EVERY = bool(os.environ.get("KILL_AT_EVERY_WRITE"))
"""Whether all points are swept, as `make crash` wants it; `make test` takes some of them."""
MADE = ("TestCaseResult", "Attachment", "AttachmentContent", "TestSet", "TestFolder")
KILLED_AT_A_COMMIT = Path(__file__).with_name("killed_at_a_commit.py")


def sweep(company: Company, run: Run, check: Callable[[], None], *, first: int, step: int) -> int:
    """Kill a pass at its n-th write or commit, then `check`, for n = `first` and so on; the n that is past all.

    Each time from an empty ledger and a Rally in which nothing was made. With a step of 1 the first n is 1.
    """
    nth = first if step > 1 else 1
    while True:
        struck = run(nth)
        check()
        if not struck:
            return nth
        forget(company)
        empty_rally(company)
        nth += step


def killed_at_write(company: Company, when: When, *words: str) -> Run:
    """Give a pass, or the run of these words, that Rally kills before or after it does what the n-th write asks for."""

    def run(nth: int) -> bool:
        process = _begin(company.command(*(words or ["--once"])), company)
        fault = company.rally.faults.add(Fault(KillClient(process.pid, when), writes_only=True, nth=nth))
        status = _ended(process, company)
        company.rally.faults.remove(fault)
        assert status == (-signal.SIGKILL if fault.hits else os.EX_OK), status
        return _counted(bool(fault.hits), f"killed {when} a write")

    return run


def killed_at_commit(company: Company, when: When) -> Run:
    """Give a pass whose process kills itself before or after its n-th commit to the ledger."""

    def run(nth: int) -> bool:
        words = company.command("--once")[3:]
        process = _begin([sys.executable, str(KILLED_AT_A_COMMIT), when, str(nth), *words], company)
        status = _ended(process, company)
        assert status in {-signal.SIGKILL, os.EX_OK}, status
        return _counted(status == -signal.SIGKILL, f"killed {when} a commit")

    return run


def _begin(command: list[str], company: Company) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=company.environment())


def _ended(process: subprocess.Popen[bytes], company: Company) -> int:
    """Wait for its end, and until Rally has done with what it had asked for beside the write that it was killed at."""
    status = process.wait(60)
    deadline = time.monotonic() + 30
    while any(entry.ended is None for entry in company.rally.log):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return status


def _counted(struck: bool, kind: str) -> bool:  # noqa: FBT001 - what happened, not a switch
    if struck:
        count(kind)
    return struck


def forget(company: Company) -> None:
    """Lose the ledger."""
    for file in company.folder.glob("ledger.db*"):
        file.unlink()


def empty_rally(company: Company) -> None:
    """Take away from Rally all that passes make."""
    for thing in [thing for type_name in MADE for thing in company.rally_store.find(type_name)]:
        company.rally_store.delete(thing)
    for case in company.cases.values():
        company.rally_store.change(case, TestFolder=None)
