"""Years of history in one command: interrupted at any moment it goes on, and it asks before a flood.

`make soak` lets the killed one bring 5,000 pipelines, `make test` 300.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from reconciler.errors import EXIT_DONE, EXIT_USAGE
from reconciler.sandbox.faults import Fault, KillClient
from tests.company import ago, junit
from tests.crash.sweeping import empty_rally, forget

if TYPE_CHECKING:
    from tests.company import Company

PIPELINES = int(os.environ.get("BACKFILL_PIPELINES", "300"))
SINCE = ("--backfill", "--since", ago(days=400).date().isoformat())
KILLS = 3
MANY, IN_FLIGHT = 5_000, 16
"""From how many pipelines on a share bounds what is asked twice; and what a kill may lose, which weighs more in few.

Four readers ask two things each, and what they read waits for its transaction.
"""
pytestmark = pytest.mark.timeout(1_800 if PIPELINES >= MANY else 120)


def history(company: Company, pipelines: int, *, days: float = 390) -> None:
    """Let pipelines have run, evenly over so many days, each with three tests of ten test cases."""
    for n in range(pipelines):
        began = ago(days=days * (pipelines - n) / pipelines + 1)
        ended = began + timedelta(minutes=9)
        cases = (f"t_TC{1 + (n + k) % 10}" for k in range(3))
        old = company.gitlab.store.add_pipeline(company.project, status="success", created_at=began, updated_at=ended)
        company.gitlab.store.add_job(
            old, "unit", finished_at=began + timedelta(minutes=8), junit=[("junit.xml", junit(*cases))]
        )


def killed(company: Company, nth: int) -> bool:
    """Run a backfill that is killed at its n-th request to GitLab; whether it got that far."""
    process = subprocess.Popen(
        company.command(*SINCE, "--yes"), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        env=company.environment(),
    )  # fmt: skip
    fault = company.gitlab.server.faults.add(Fault(KillClient(process.pid, "after"), nth=nth))
    status = process.wait(600)
    company.gitlab.server.faults.remove(fault)
    assert status == (-signal.SIGKILL if fault.hits else EXIT_DONE)
    return bool(fault.hits)


@pytest.mark.slow
def test_killed_three_times_it_ends_as_if_nothing_had_been_and_asks_for_little_twice(company: Company) -> None:
    """What was listed and what was read stands in the ledger; only what was in flight is asked for again."""
    history(company, PIPELINES)
    ran = company.run("--json", *SINCE, "--yes")
    assert (ran.status, ran.json["pipelines_read"], ran.json["left"]) == (EXIT_DONE, PIPELINES, 0)
    undisturbed, whole = len(company.gitlab.server.log), company.results()
    assert len(whole) == 3 * PIPELINES
    forget(company)
    empty_rally(company)

    points = random.Random(PIPELINES)  # noqa: S311 - when to kill is no secret
    for _ in range(KILLS):
        assert killed(company, points.randint(undisturbed // 10, undisturbed // 4))
    ran = company.run("--json", *SINCE, "--yes")

    assert (ran.status, ran.json["left"]) == (EXIT_DONE, 0)
    assert company.results() == whole
    twice = len(company.gitlab.server.log) - 2 * undisturbed
    few = 0.05 * undisturbed if PIPELINES >= MANY else KILLS * IN_FLIGHT + 0.01 * undisturbed + 8
    assert twice < few, (twice, undisturbed)


def test_it_says_how_many_reports_are_gone_and_status_lists_them(company: Company) -> None:
    """They are counted by the summary, for people and for programs."""
    history(company, 2)
    gone = company.gitlab.store.add_pipeline(
        company.project, status="success", created_at=ago(days=90), updated_at=ago(days=90)
    )
    company.gitlab.store.add_job(
        gone, "unit", finished_at=ago(days=90), junit=[("junit.xml", junit("a_TC1"))], expire_at=ago(days=60)
    )

    ran = company.run(*SINCE)

    assert (ran.status, "found in that time that were not known: 3" in ran.out) == (EXIT_DONE, True)
    assert "Reports that are gone from GitLab: 1" in ran.out
    assert [kind for kind, _ in company.problems()] == ["expired"]


def test_a_dry_run_counts_and_the_run_after_it_reads_nothing_again(company: Company) -> None:
    """What it read is kept back from other passes until somebody orders it to be sent."""
    history(company, 4)
    ran = company.run("--json", *SINCE, "--dry-run")
    assert (ran.status, len(ran.json["actions"]), ran.json["pipelines_found"]) == (EXIT_DONE, 12, 4)
    assert company.once()["results_sent"] == 0
    asked = len(company.gitlab.server.log)
    ran = company.run("--json", *SINCE)
    assert (ran.status, ran.json["pipelines_read"], ran.json["results_sent"]) == (EXIT_DONE, 0, 12)
    assert len(company.gitlab.server.log) == asked + 2  # whether anything came meanwhile, of child pipelines too


def test_above_the_guard_nothing_is_sent_by_anyone_until_somebody_says_yes(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by that run nor by the passes after it; `--yes` then sends what was read."""
    history(company, 4)
    monkeypatch.setenv("PYTHONPATH", str(company.folder))
    (company.folder / "sitecustomize.py").write_text("import reconciler.errors\nreconciler.errors.MUCH = 10\n")

    ran = company.run(*SINCE)
    assert (ran.status, "Nothing was sent" in ran.err, company.writes()) == (EXIT_USAGE, True, 0)
    told = company.once()
    assert (told["writes"], told["left"]) == (0, 0)
    assert "4 of 4 pipelines read; is not done: the same command goes on with it" in company.run("status").out
    assert [one["state"] for one in company.status()["backfills"]] == ["interrupted"]
    ran = company.run("--json", *SINCE, "--yes")
    assert [one["state"] for one in company.status()["backfills"]] == ["done"]
    assert (ran.status, ran.json["pipelines_read"], ran.json["results_sent"]) == (EXIT_DONE, 0, 12)


def test_it_asks_no_more_often_than_it_is_told(company: Company) -> None:
    """The share of both services is the operator's to set."""
    history(company, 4)
    ran = company.run("--json", *SINCE, "--requests-per-second", "10")
    assert ran.status == EXIT_DONE
    for server in (company.gitlab.server, company.rally):
        times = sorted(entry.started for entry in server.log)
        assert len(times) > 5
        assert times[-1] - times[0] > 0.1 * (len(times) - 2)
