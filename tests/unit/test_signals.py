"""What the process is asked by signals, really sent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from reconciler.signals import Signals, answered_to, stop_on_signals, uninterrupted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _put_back() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in NUMBERS}
    yield
    for number, what in before.items():
        signal.signal(number, what)


def test_each_signal_is_asked_for_once_and_none_is_lost() -> None:
    """Also those that come before anybody waits."""
    signals = Signals()
    for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        os.kill(os.getpid(), number)
    assert [signals.wait(5) for _ in range(4)] == ["reload", "reload", "stop", "stop"]
    assert signals.wait(0.01) is None


@pytest.mark.parametrize("number", NUMBERS)
def test_a_one_shot_is_stopped_by_each(number: signal.Signals) -> None:
    """The event is set by a thread, since the main one may hold the event's own lock in that moment."""
    stop = stop_on_signals()
    assert not stop.is_set()
    os.kill(os.getpid(), number)
    assert stop.wait(5)


def test_what_was_started_with_nohup_goes_on_without_its_terminal() -> None:
    """There the signal is ignored from the beginning."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop = stop_on_signals()
    os.kill(os.getpid(), signal.SIGHUP)
    assert not stop.wait(0.2)


def test_a_signal_in_the_middle_of_waiting_for_the_event_locks_nothing_up() -> None:
    """Hundreds of them, while the main thread takes the event's lock over and over."""
    stop = stop_on_signals()

    def many() -> None:
        for _ in range(300):
            os.kill(os.getpid(), signal.SIGTERM)

    other = threading.Thread(target=many)
    other.start()
    while other.is_alive():
        stop.wait(0.0001)
    assert stop.wait(5)


def test_a_ctrl_c_waits_for_the_end_of_a_step_that_must_be_whole() -> None:
    """And is raised then, once; Ctrl-C works as before after it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    steps = []

    def step(interrupts: int) -> None:
        with uninterrupted():
            for _ in range(interrupts):
                os.kill(os.getpid(), signal.SIGINT)
            steps.append(interrupts)

    with pytest.raises(KeyboardInterrupt):
        step(interrupts=2)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    step(interrupts=0)
    assert steps == [2, 0]


def test_a_step_that_fails_says_why_also_when_it_was_to_be_interrupted() -> None:
    """What went wrong is worth more than that somebody pressed Ctrl-C."""
    before = signal.getsignal(signal.SIGINT)

    def step() -> None:
        with uninterrupted():
            os.kill(os.getpid(), signal.SIGINT)
            raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        step()
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_question_can_be_ended_by_either_signal(number: signal.Signals) -> None:
    """Though all that is under way only notes them; after the question that is so again."""
    stop = stop_on_signals()
    noting = signal.getsignal(number)

    def question() -> None:
        with answered_to():
            os.kill(os.getpid(), number)

    with pytest.raises(KeyboardInterrupt):
        question()
    assert (stop.is_set(), signal.getsignal(number)) == (False, noting)


@pytest.mark.parametrize(("deal", "status"), [("dealt_with()", 75), ("pass", -signal.SIGINT)])
def test_an_interrupt_that_was_dealt_with_leaves_the_exit_status_alone(deal: str, status: int, tmp_path: Path) -> None:
    """Also one that came in the middle of making a dataclass, of which a `python -m` would die in the end."""
    (tmp_path / "interrupted.py").write_text(
        "import sys\n"
        "from reconciler.signals import dealt_with\n"
        "try:\n"
        "    exec('import os, signal; os.kill(os.getpid(), signal.SIGINT)')\n"
        "except KeyboardInterrupt:\n"
        f"    {deal}\n"
        "sys.exit(75)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    ran = subprocess.run([sys.executable, "-m", "interrupted"], env=environment, check=False)
    assert ran.returncode == status
