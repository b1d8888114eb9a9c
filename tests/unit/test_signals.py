"""What the process is asked by signals, really sent."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from reconciler.signals import Signals, stop_on_signals

if TYPE_CHECKING:
    from collections.abc import Iterator

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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_one_shot_is_stopped_by_either(number: signal.Signals) -> None:
    """The event is set by a thread, since the main one may hold the event's own lock in that moment."""
    stop = stop_on_signals()
    assert not stop.is_set()
    os.kill(os.getpid(), number)
    assert stop.wait(5)


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
