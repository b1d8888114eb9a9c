"""Run a call that may block, and leave it behind when the process is to stop."""

from __future__ import annotations

import threading
import time
from contextvars import copy_context
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_LOOK_S = 0.2
_IDLE_S = 10.0  # how long a thread waits for a further call: to start one costs half as much as a whole exchange


class LeftBehind(Exception):
    """The call was still running; what became of it will not be known."""

    def __init__(self, *, stopping: bool) -> None:
        """Say why: the process is to stop, or the call took too long."""
        super().__init__("stopping" if stopping else "took too long")
        self.stopping = stopping


def run(call: Callable[[], T], stop: threading.Event, *, longest_s: float, grace_s: float = 0.0) -> T:
    """Run `call` in another thread, for at most `longest_s`, or `grace_s` from when `stop` is set.

    Name look-ups, connects and reads of sockets can be interrupted in no other way that is sure. A thread that is left
    behind ends by its time-outs, or with the process.

    Raises:
        LeftBehind: it did not end in time.
    """
    running = _Running(call)
    _give_away(running)
    give_up_at = time.monotonic() + longest_s
    stopping = False
    while not running.ended.acquire(timeout=_LOOK_S):
        if not stopping and stop.is_set():
            stopping = True
            give_up_at = min(give_up_at, time.monotonic() + grace_s)
        if time.monotonic() >= give_up_at:
            raise LeftBehind(stopping=stopping)
    return running.result()


class _Running(Generic[T]):
    def __init__(self, call: Callable[[], T]) -> None:
        self.ended = threading.Lock()
        """Held until then."""
        self.ended.acquire()
        self._context = copy_context()
        self._call = call
        self._value: list[T] = []
        self._error: BaseException | None = None

    def result(self) -> T:
        """Give what the call gave, once; an error and this would hold each other, and the error's sockets, for long."""
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error
        return self._value[0]

    def run(self) -> None:
        try:
            self._value.append(self._context.run(self._call))
        except BaseException as error:  # noqa: BLE001 - it is raised again, in the thread that waits for it
            self._error = error


_Inbox = SimpleQueue[_Running[Any]]
_idle: list[_Inbox] = []
"""Of threads that wait for a call; the last one to have ended one is the first to get the next."""


def _give_away(running: _Running[Any]) -> None:
    try:
        inbox = _idle.pop()
    except IndexError:
        inbox = SimpleQueue()
        threading.Thread(target=_work, args=(inbox,), name="exchange", daemon=True).start()
    inbox.put(running)


def _work(inbox: _Inbox) -> None:
    while (running := _next(inbox)) is not None:
        running.run()
        _idle.append(inbox)
        running.ended.release()
        del running  # with what it fetched


def _next(inbox: _Inbox) -> _Running[Any] | None:
    """Wait for a call; None when it is time to end."""
    try:
        return inbox.get(timeout=_IDLE_S)
    except Empty:
        pass
    try:
        _idle.remove(inbox)
    except ValueError:  # somebody has just taken it, and is about to put a call in
        return inbox.get()
    return None
