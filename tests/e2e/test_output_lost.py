"""Standard output and error on a full disk, or not given at all: the work is done, and the exit status tells of it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reconciler.errors import EXIT_DONE, EXIT_FAILED, EXIT_USAGE
from tests.company import junit

if TYPE_CHECKING:
    from tests.company import Company

FULL = Path("/dev/full")
LOST = "cannot write to standard output: No space left on device\n"

pytestmark = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")


def run(company: Company, redirection: str, *words: str, unbuffered: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command with its output redirected as a shell does it."""
    return subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {redirection}', "sh", *company.command(*words)],
        env=company.environment(PYTHONUNBUFFERED=unbuffered),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [["status"], ["--json", "status"], ["review"], ["--help"], ["--once", "--dry-run"]])
def test_an_answer_that_cannot_be_given_is_a_failure_of_one_line(
    company: Company, words: list[str], unbuffered: str
) -> None:
    """Whoever asked has nothing, or half of it."""
    ran = run(company, ">/dev/full", *words, unbuffered=unbuffered)
    assert (ran.returncode, ran.stderr) == (EXIT_FAILED, LOST)


@pytest.mark.parametrize("words", [["--once"], ["--json", "--once"], ["--backfill", "--since", "2025-01-01"]])
def test_work_that_is_done_is_done_whoever_hears_of_it(company: Company, words: list[str]) -> None:
    """Its status is that of the work: systemd would give up what ends with 1."""
    pipeline = company.pipeline({"unit": junit("a_TC1")})
    ran = run(company, ">/dev/full", *words)
    assert (ran.returncode, LOST in ran.stderr, "Traceback" in ran.stderr) == (EXIT_DONE, True, False)
    assert company.verdicts(pipeline) == {"TC1/1": "Pass"}


def test_a_row_of_the_mapping_is_added_whoever_hears_of_it(company: Company) -> None:
    """And that is no failure."""
    ran = run(company, ">/dev/full", "map", "shop.login", "TC3")
    assert (ran.returncode, ran.stderr) == (EXIT_DONE, LOST)
    assert "shop.login,TC3" in (company.folder / "mapping.csv").read_text()


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_without_anybody_to_tell_the_status_is_the_same(company: Company, redirection: str) -> None:
    """No file of ours takes the number of a standard one: what is written there would end in the ledger."""
    pipeline = company.pipeline({"unit": junit("a_TC1")})
    assert run(company, redirection, "--config", "nowhere.toml", "--once").returncode == EXIT_USAGE
    assert run(company, redirection, "--nonsense").returncode == EXIT_USAGE
    assert run(company, redirection, "--once").returncode == EXIT_DONE
    assert company.verdicts(pipeline) == {"TC1/1": "Pass"}
    assert company.unaccounted() == 0
