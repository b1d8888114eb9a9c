"""Killed at any write, before or after it was stored: one more run, and each result is there once, all of them."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from reconciler.sandbox.faults import Fault, KillClient
from tests.company import junit

if TYPE_CHECKING:
    from reconciler.sandbox.faults import When
    from tests.company import Company

pytest_plugins: list[str] = []

RESULTS = 9
BATCH = 3


@pytest.fixture
def killed(company: Company) -> Company:
    """Prepare two pipelines whose results need several writes."""
    company.configure(rally={"settle_after_seconds": 0, "batch_size": BATCH, "max_concurrency": 2})
    company.pipeline({"unit": junit(*(f"t{n}_TC{n}" for n in range(1, RESULTS + 1)))})
    company.pipeline({"unit": junit(*(f"t{n}_TC{n}!" for n in range(1, RESULTS + 1)))})
    return company


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_at_any_write_loses_nothing_and_doubles_nothing(killed: Company, when: When) -> None:
    """Write n = 1, 2, 3 … until n is past the last one; each time from an empty Rally and an empty ledger."""
    nth = 0
    while True:
        nth += 1
        struck = run_killed(killed, nth, when)
        assert killed.once()["left"] == 0
        assert len(killed.results()) == 2 * RESULTS
        assert killed.status()["entries"] == {"intended": 0, "done": 2 * RESULTS, "refused": 0}
        assert killed.once()["writes"] == 0
        if not struck:
            break
        start_afresh(killed)
    assert nth > 2 * RESULTS // BATCH


def run_killed(company: Company, nth: int, when: When) -> bool:
    """Make a pass whose process is killed at its n-th write; whether it got that far."""
    process = subprocess.Popen(
        company.command("--once"), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=company.environment()
    )
    fault = company.rally.faults.add(Fault(KillClient(process.pid, when), writes_only=True, nth=nth))
    status = process.wait(60)
    company.rally.faults.remove(fault)
    assert status == (-signal.SIGKILL if fault.hits else os.EX_OK)
    return bool(fault.hits)


def start_afresh(company: Company) -> None:
    """Forget everything that was sent, in Rally and here."""
    for result in company.rally_store.find("TestCaseResult"):
        company.rally_store.delete(result)
    for file in company.folder.glob("ledger.db*"):
        file.unlink()
