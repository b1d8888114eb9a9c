"""The daemon: passes on intervals, sees an edited mapping, stops in an orderly way."""

from __future__ import annotations

import signal
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.company import junit
from tests.manager import managed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.company import Company


@contextmanager
def daemon(company: Company, inside: Sequence[str] = ()) -> Iterator[subprocess.Popen[str]]:
    """Run the daemon, perhaps inside of something, with polls every second; it must end with status 0 on SIGTERM."""
    quick = {"poll_seconds": 1}
    company.configure(gitlab=quick, rally=quick | {"settle_after_seconds": 0})
    log = (company.folder / "daemon.log").open("w+")
    process = subprocess.Popen(
        [*inside, *company.command()], stderr=log, stdout=log, text=True, env=company.environment()
    )  # fmt: skip
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        log.seek(0)
        said = log.read()
        log.close()
    assert "Traceback" not in said, said


def eventually(holds: Callable[[], bool], seconds: float = 20) -> bool:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.1)
    return holds()


def test_the_daemon_sends_what_finishes_and_sees_an_edited_mapping(company: Company) -> None:
    """A pipeline that ends while it runs, a row that is added while it runs; SIGTERM ends it with 0."""
    first = company.pipeline({"unit": junit("a_TC1", "login")})
    with daemon(company):
        assert eventually(lambda: company.verdicts(first) == {"TC1/1": "Pass"})
        second = company.pipeline({"unit": junit("b_TC2!")})
        assert eventually(lambda: company.verdicts(second) == {"TC2/1": "Fail"})
        company.map(("shop.login", "TC3"))
        assert eventually(lambda: company.verdicts(first) == {"TC1/1": "Pass", "TC3/1": "Pass"})
        assert eventually(lambda: company.status()["tests"]["sent"] == 3)


def test_the_daemon_survives_both_services_being_away(company: Company) -> None:
    """It says so, goes on polling, and catches up; a mapping file with a mistake keeps the last good one in force."""
    pipeline = company.pipeline({"unit": junit("a_TC1")})
    with company.rally.refusing(), company.gitlab.server.refusing(), daemon(company) as process:
        time.sleep(2)
        assert process.poll() is None
        company.rally.start()
        company.gitlab.server.start()
        (company.folder / "mapping.csv").write_text("nonsense\n")
        assert eventually(lambda: company.verdicts(pipeline) == {"TC1/1": "Pass"}, 40)


def test_a_one_shot_beside_the_daemon_is_told_to_wait(company: Company) -> None:
    """Status, review and map work beside it."""
    company.pipeline({"unit": junit("a_TC1", "held")})
    with daemon(company) as process:
        assert eventually(lambda: company.results() != {})
        ran = company.run("--once")
        assert (ran.status, f"pid {process.pid}" in ran.err) == (75, True)
        assert company.run("status").status == 0
        assert company.run("review").status == 0
        assert company.run("map", "shop.held", "TC2").status == 0
        assert eventually(lambda: len(company.results()) == 2)


MEANWHILE = """
import os, signal, threading, time
from reconciler import daemon
really = daemon._next_runs
def next_runs(scheduler):
    if threading.current_thread() is not threading.main_thread():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
    return really(scheduler)
daemon._next_runs = next_runs
"""


def test_it_stops_also_while_a_pass_asks_when_the_next_is_due(company: Company) -> None:
    """Who waits for the pass may hold nothing that the pass waits for."""
    (company.folder / "sitecustomize.py").write_text(MEANWHILE)
    with managed(company, PYTHONPATH=str(company.folder)) as manager:
        assert manager.process.wait(30) == 0
