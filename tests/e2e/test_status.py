"""`status` beside a running daemon, after it and without one: what is told, and how little it costs."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.ledger.ledger import open_ledger
from reconciler.ledger.store import stamp
from tests import building

if TYPE_CHECKING:
    from pathlib import Path

    from reconciler.ledger.ledger import Ledger

CONFIG = """
[gitlab]
url = "http://127.0.0.1:1"
token = "env:NO_SUCH_TOKEN"
projects = ["qa/web-shop"]
[rally]
url = "http://127.0.0.1:1"
api_key = "env:NO_SUCH_KEY"
workspace = "Acme"
project = "Web Shop"
"""
HEAVY = {"apscheduler", "gitlab", "loguru", "lxml", "prometheus_client", "pyral", "requests", "rich", "sqlite_utils"}
NOW = datetime.now(UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a config; no secret of it is set."""
    (tmp_path / "config.toml").write_text(CONFIG)
    return tmp_path


def _status(folder: Path) -> dict[str, Any]:
    words = [sys.executable, "-m", "reconciler", "--config", str(folder / "config.toml"), "status", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def _leave_word(ledger: Ledger) -> None:
    """Say what the daemon says."""
    ledger.tell(
        {
            "daemon/started": stamp(datetime.now(UTC)),
            "daemon/next/gitlab": stamp(NOW + timedelta(minutes=1)),
            "daemon/breaker/GitLab": "closed",
            "daemon/breaker/Rally": "open",
            "daemon/alarms": '["Rally: no answer"]',
            "token/GitLab": "2030-01-31",
        }
    )


NOBODY: dict[str, Any] = {"running": False, "pid": None, "host": None, "since": None, "next": {}, "alarms": []}


def test_before_the_first_pass_there_is_nothing_and_no_daemon(folder: Path) -> None:
    """And `status` makes no file."""
    told = _status(folder)
    assert told["daemon"] == NOBODY
    assert told["backlog"] == {"pipelines": 0, "results": 0, "attachments": 0, "members": 0, "oldest": None}
    assert told["token"] == {"gitlab_expires": None}
    assert told["services"]["rally"] == {"last_success": None, "trouble": None, "last_pass": None, "breaker": None}
    assert [one.name for one in folder.iterdir()] == ["config.toml"]


def test_a_daemon_that_runs_is_told_with_its_word_and_after_it_nothing_stale(folder: Path) -> None:
    """What it said of next runs, alarms and breakers is true while it holds the ledger; the token's end stays."""
    with open_ledger(folder / "ledger.db", skips_count=False) as ledger:
        _leave_word(ledger)
        told = _status(folder)
    daemon = told["daemon"]
    assert (daemon["running"], daemon["pid"], daemon["host"]) == (True, os.getpid(), os.uname().nodename)
    assert datetime.now(UTC) - datetime.fromisoformat(daemon["since"]) < timedelta(minutes=1)
    assert daemon["next"] == {"gitlab": stamp(NOW + timedelta(minutes=1))}
    assert daemon["alarms"] == ["Rally: no answer"]
    assert {name: one["breaker"] for name, one in told["services"].items()} == {"gitlab": "closed", "rally": "open"}
    after = _status(folder)
    assert after["daemon"] == NOBODY
    assert {one["breaker"] for one in after["services"].values()} == {None}
    assert after["token"] == told["token"] == {"gitlab_expires": "2030-01-31"}


def test_another_run_that_holds_the_ledger_is_no_daemon(folder: Path) -> None:
    """It left no word since it has the lock; a daemon may have, long ago."""
    with open_ledger(folder / "ledger.db", skips_count=False) as ledger:
        _leave_word(ledger)
        ledger.tell({"daemon/started": stamp(NOW - timedelta(days=1))})
        told = _status(folder)
    assert told["daemon"] | {"since": None} == NOBODY | {"pid": os.getpid(), "host": os.uname().nodename}


def _with_problems(folder: Path, number: int) -> None:
    with open_ledger(folder / "ledger.db", skips_count=False) as ledger:
        ledger.observations.remember_projects("project qa/web-shop", [building.PROJECT])
        pipelines = [building.pipeline(100 + one, at_s=one) for one in range(number)]
        ledger.observations.store_pipelines(pipelines)
        for pipeline in pipelines:
            detail = "the report of the job cannot be read, for what it is said to be is not what it is " * 3
            ledger.observations.pipeline_problem(pipeline.id, ("unreadable", detail), NOW)


def test_no_list_is_cut_for_machines_and_a_screen_for_people_stays_one(folder: Path) -> None:
    """On a terminal of 80 columns no line is longer."""
    _with_problems(folder, 300)
    assert len(_status(folder)["problems"]) == 300
    lines = _on_a_terminal(folder, 80)
    assert max(map(len, lines)) == 80
    assert len(lines) < 25
    assert "Problems (300)" in lines
    assert "    … 297 older: reconciler status --json" in lines


def _on_a_terminal(folder: Path, columns: int) -> list[str]:
    leader, follower = pty.openpty()
    try:
        done = subprocess.Popen(
            [sys.executable, "-m", "reconciler", "--config", str(folder / "config.toml"), "status"],
            stdout=follower, env=os.environ | {"COLUMNS": str(columns)},
        )  # fmt: skip
        assert done.wait(20) == 0
        return os.read(leader, 100_000).decode().splitlines()
    finally:
        os.close(leader)
        os.close(follower)


def test_a_status_needs_nothing_heavy(folder: Path) -> None:
    """Neither a client of one of the services nor a library that only writing needs."""
    _with_problems(folder, 1)
    program = (
        "import sys; from reconciler.cli import cli; cli(standalone_mode=False); print(*sys.modules, file=sys.stderr)"
    )
    words = [sys.executable, "-c", program, "--config", str(folder / "config.toml"), "status"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "Problems (1)" in done.stdout
    assert {name.partition(".")[0] for name in done.stderr.split()} & HEAVY == set()
