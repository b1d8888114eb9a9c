"""What the process is asked from outside: to stop, or to read its config again."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

Asked = Literal["stop", "reload"]


class Signals:
    """SIGTERM and SIGINT ask to stop, SIGHUP to reload; one that comes while another is dealt with is not lost.

    A signal's Python code may run in the middle of any other of the main thread, also while that holds the lock of an
    event: so it only puts a word into a queue that is made for this (`SimpleQueue.put` is reentrant, library/queue).
    """

    def __init__(self) -> None:
        """Take the signals over from now on; in the main thread only."""
        self._asked: SimpleQueue[Asked] = SimpleQueue()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._asked.put("stop"))
        signal.signal(signal.SIGHUP, lambda *_: self._asked.put("reload"))

    def wait(self, seconds: float) -> Asked | None:
        """Wait so long for the next thing that is asked; None when nothing was."""
        try:
            return self._asked.get(timeout=seconds)
        except Empty:
            return None


def stop_on_signals() -> threading.Event:
    """Make SIGTERM, SIGINT and SIGHUP set an event that everything which waits looks at.

    SIGHUP comes when a terminal is gone; whoever was started with `nohup` goes on.
    """
    stop = threading.Event()
    asked: SimpleQueue[None] = SimpleQueue()

    def pass_on() -> None:
        asked.get()
        stop.set()

    threading.Thread(target=pass_on, name="signals", daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda *_: asked.put(None))
    return stop


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let a Ctrl-C wait until a step that is done wholly or not at all is over, and raise it then.

    Raises:
        KeyboardInterrupt: at the end of the step, if it was asked for meanwhile.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # it would be raised elsewhere
        return
    asked = False

    def later(*_: object) -> None:
        nonlocal asked
        asked = True

    before = signal.signal(signal.SIGINT, later)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if asked:
        raise KeyboardInterrupt


@contextmanager
def answered_to() -> Iterator[None]:
    """Let SIGINT and SIGTERM end a question to a person, as a KeyboardInterrupt, whatever they do otherwise.

    A handler that only notes them leaves whoever is asked without a way out: Python goes on reading after it.
    """
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def dealt_with() -> None:
    """Say that a KeyboardInterrupt was dealt with, so that the exit status is the program's own.

    CPython remembers one that came out of an `exec` of a text, as dataclasses and named tuples make while their module
    is imported, and in the end a `python -m` kills itself with SIGINT, whatever became of it; the next such `exec`
    makes it forget (`run_eval_code_obj` in Python/pythonrun.c, `Py_RunMain` in Modules/main.c).
    """
    exec("")  # noqa: S102 - nothing is run
