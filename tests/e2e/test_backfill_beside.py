"""A backfill beside a daemon: the command hands it over, watches, and ends as if it had done it itself."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import threading
import time
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from reconciler import handover
from reconciler.cli import building
from reconciler.errors import EXIT_DONE, EXIT_TRY_AGAIN, EXIT_USAGE
from reconciler.ledger.backfills import ANNOUNCED
from reconciler.ledger.ledger import open_ledger
from reconciler.ledger.store import stamp
from reconciler.sandbox.timing import TimeModel
from tests.company import KEY, TOKEN, junit
from tests.e2e.test_backfill import SINCE, history
from tests.manager import eventually, managed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.company import Company


@contextmanager
def daemon(company: Company, begin: threading.Event | None = None) -> Iterator[None]:
    """Take turns at backfills, as a daemon does between its polls, in a thread of this process; none before `begin`."""
    over, ready = threading.Event(), threading.Event()

    def serve() -> None:
        settings, rows = building.read_config(company.folder / "config.toml")
        with (
            building.ledger(settings) as opened,
            building.services(settings, opened, threading.Event(), patience_s=5) as world,
        ):
            opened.tell({ANNOUNCED: stamp(datetime.now(UTC))})
            ready.set()
            while not over.wait(0.05):
                if begin is None or begin.is_set():
                    handover.take_turn(world, lambda: rows)

    thread = threading.Thread(target=serve, name="daemon")
    thread.start()
    try:
        assert ready.wait(20)
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITLAB_TOKEN", TOKEN)
    monkeypatch.setenv("RALLY_API_KEY", KEY)


def test_the_command_hands_it_over_and_tells_what_came_of_it(company: Company) -> None:
    """With the same words and the same status; nothing else stands on standard output."""
    history(company, 5)
    with daemon(company):
        ran = company.run("--json", *SINCE)
        assert (ran.status, ran.json["pipelines_read"], ran.json["results_sent"]) == (EXIT_DONE, 5, 15)
        assert "daemon" in ran.err
        ran = company.run(*SINCE)
        assert (ran.status, "Nothing to do" in ran.out) == (EXIT_DONE, True)
    assert len(company.results()) == 15
    assert not list(company.folder.glob("*.order-*"))


def test_the_real_daemon_carries_it_out_between_its_polls(company: Company) -> None:
    """What finishes meanwhile arrives, too; a one-shot other than a backfill is told to wait."""
    history(company, 40)
    with managed(company) as manager:
        assert eventually(lambda: bool(manager.words("STATUS")[1:]))
        process = subprocess.Popen(
            company.command("--json", *SINCE), stdout=subprocess.PIPE, text=True, env=company.environment()
        )  # fmt: skip
        live = company.pipeline({"unit": junit("live_TC9!")})
        out, _ = process.communicate(timeout=60)
        assert (process.returncode, json.loads(out)["pipelines_found"] >= 40) == (EXIT_DONE, True)
        manager.hang_up()
        assert eventually(lambda: company.verdicts(live) == {"TC9/1": "Fail"})
        assert company.run("--once").status == EXIT_TRY_AGAIN
        assert manager.stop() == 0
    assert len(company.results()) == 121


def test_what_waits_for_a_yes_ends_the_command_and_a_yes_goes_on(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a terminal nobody can be asked: status 2, nothing sent."""
    monkeypatch.setattr(handover, "MUCH", 10)
    (company.folder / "sitecustomize.py").write_text("import reconciler.errors\nreconciler.errors.MUCH = 10\n")
    history(company, 5)
    with daemon(company):
        ran = company.run(*SINCE, PYTHONPATH=str(company.folder))
        assert (ran.status, "15" in ran.err, "Nothing was sent" in ran.err) == (EXIT_USAGE, True, True)
        assert company.writes() == 0
        ran = company.run("--json", *SINCE, "--yes")
        assert (ran.status, ran.json["results_sent"]) == (EXIT_DONE, 15)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("held", [nullcontext, daemon], ids=["alone", "beside a daemon"])
def test_a_question_can_be_left_by_a_signal(
    company: Company,
    monkeypatch: pytest.MonkeyPatch,
    held: Callable[[Company], AbstractContextManager[object]],
    number: signal.Signals,
) -> None:
    """It counts as a No: nothing is sent, and that is said."""
    monkeypatch.setattr(handover, "MUCH", 10)
    (company.folder / "sitecustomize.py").write_text("import reconciler.errors\nreconciler.errors.MUCH = 10\n")
    history(company, 5)
    with held(company):
        status, said = _signalled(company, "Send up to 15 results to Rally?", number)
        assert "Nothing was sent" in said
        assert (status, company.writes()) == (EXIT_USAGE, 0)


def _signalled(company: Company, question: str, number: signal.Signals) -> tuple[int, str]:
    """Run a backfill on a terminal and send a signal when it asks; its exit status, and what was on the screen."""
    ours, its = pty.openpty()
    with closing(os.fdopen(ours, "rb", buffering=0)) as screen:
        environment = company.environment(TERM="xterm", COLUMNS="100", PYTHONPATH=str(company.folder))
        process = subprocess.Popen(company.command(*SINCE), stdin=its, stdout=its, stderr=its, env=environment)
        os.close(its)
        said = b""
        deadline = time.monotonic() + 60
        while question.encode() not in said:
            assert time.monotonic() < deadline, said
            time.sleep(0.05)
            said += _there(screen.fileno())
        time.sleep(0.2)  # it has the line's end still to write, and then to read
        process.send_signal(number)
        try:
            status = process.wait(30)
        finally:
            process.kill()
        return status, (said + _there(screen.fileno())).decode()


def test_interrupted_the_command_leaves_the_order_with_the_daemon(company: Company) -> None:
    """Ctrl-C ends the watching; the same command watches again."""
    history(company, 5)
    begin = threading.Event()
    with daemon(company, begin):
        command = company.command(*SINCE)
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=company.environment())
        assert eventually(lambda: is_left(company))
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
        assert "goes on with it" in said
        assert process.returncode == EXIT_TRY_AGAIN
        begin.set()
        assert eventually(lambda: len(company.results()) == 15)


def is_left(company: Company) -> bool:
    """Tell whether an order lies there that the daemon has not taken."""
    return bool(list(company.folder.glob("*.order-*.json")))


INTERRUPT = "os.kill(os.getpid(), signal.SIGINT)"
MOMENTS = {
    "as the order's file gets its name": f"""
import os, pathlib, signal
really = pathlib.Path.replace
def replace(path, to):
    moved = really(path, to)
    {INTERRUPT}
    return moved
pathlib.Path.replace = replace
""",
    "while a dataclass is made": f"""
import os, signal, sys, time
really = time.sleep
def sleep(seconds):
    really(seconds)
    if "reconciler.handover" in sys.modules:
        exec("{INTERRUPT}")
time.sleep = sleep
""",
}


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS)
def test_interrupted_at_any_moment_the_command_says_what_became_of_the_order(company: Company, moment: str) -> None:
    """The order is left before Python hears of the interrupt: nobody may be told that nothing goes on."""
    history(company, 2)
    (company.folder / "sitecustomize.py").write_text(moment)
    begin = threading.Event()
    with daemon(company, begin):
        ran = company.run(*SINCE, PYTHONPATH=str(company.folder))
        assert "goes on with it" in ran.err
        assert ran.status == EXIT_TRY_AGAIN
        begin.set()
        assert eventually(lambda: len(company.results()) == 6)


def test_beside_a_one_shot_it_is_told_to_wait(company: Company) -> None:
    """Only a daemon takes orders."""
    with open_ledger(company.folder / "ledger.db", skips_count=False):
        ran = company.run(*SINCE)
    assert (ran.status, "in use by pid" in ran.err) == (EXIT_TRY_AGAIN, True)


def test_a_daemon_that_stops_keeps_the_order(company: Company) -> None:
    """The command says so at once; the next daemon goes on."""
    history(company, 3)
    with daemon(company, begin=threading.Event()):
        process = subprocess.Popen(
            company.command(*SINCE), stderr=subprocess.PIPE, text=True, env=company.environment()
        )  # fmt: skip
        assert eventually(lambda: is_left(company))
    _, said = process.communicate(timeout=20)
    assert "daemon has stopped" in said
    assert process.returncode == EXIT_TRY_AGAIN
    with daemon(company):
        assert eventually(lambda: len(company.results()) == 9)


def test_on_a_terminal_a_bar_shows_how_far_it_is(company: Company) -> None:
    """And is gone in the end; log lines stand above it, whole."""
    history(company, 30)
    company.gitlab.server.time_model = TimeModel(0.1, at_once=0)
    reader, writer = pty.openpty()
    with closing(os.fdopen(reader, "rb", buffering=0)) as screen:
        process = subprocess.Popen(
            company.command(*SINCE), stdout=subprocess.PIPE, stderr=writer, text=True,
            env=company.environment(TERM="xterm", COLUMNS="100"),
        )  # fmt: skip
        os.close(writer)
        said = b""
        while process.poll() is None or said == b"":
            time.sleep(0.05)
            said += _there(screen.fileno())
        out, _ = process.communicate(timeout=20)
        said += _there(screen.fileno())
    assert process.returncode == EXIT_DONE
    assert "30 pipelines read, 90 results sent" in out
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said.decode())
    assert "/30 pipelines" in shown
    assert "results, " in shown
    logged = [line.rpartition("\r")[2] for line in shown.replace("\r\n", "\n").split("\n") if " INFO " in line]
    assert logged
    assert all(line.startswith("20") for line in logged), logged


def _there(descriptor: int) -> bytes:
    """Read what is on the screen by now; the end of the process is no error."""
    os.set_blocking(descriptor, False)
    try:
        return os.read(descriptor, 1 << 20)
    except (BlockingIOError, OSError):
        return b""
