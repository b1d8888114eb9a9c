"""Run a call that may block, and leave it behind when the process is to stop."""

from __future__ import annotations

import threading
import time
from contextvars import copy_context
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_LOOK_S = 0.2


class LeftBehind(Exception):
    """The call was still running; what became of it will not be known."""

    def __init__(self, *, stopping: bool) -> None:
        """Say why: the process is to stop, or the call took too long."""
        super().__init__("stopping" if stopping else "took too long")
        self.stopping = stopping


def run(call: Callable[[], T], stop: threading.Event, *, longest_s: float, grace_s: float = 0.0) -> T:
    """Run `call` in a thread of its own, for at most `longest_s`, or `grace_s` from when `stop` is set.

    Name look-ups, connects and reads of sockets can be interrupted in no other way that is sure. A thread that is left
    behind ends by its time-outs, or with the process.

    Raises:
        LeftBehind: it did not end in time.
    """
    running = _Running(call)
    give_up_at = time.monotonic() + longest_s
    stopping = False
    while not running.ended.wait(_LOOK_S):
        if not stopping and stop.is_set():
            stopping = True
            give_up_at = min(give_up_at, time.monotonic() + grace_s)
        if time.monotonic() >= give_up_at:
            raise LeftBehind(stopping=stopping)
    return running.result()


class _Running(Generic[T]):
    def __init__(self, call: Callable[[], T]) -> None:
        self.ended = threading.Event()
        self._call = call
        self._value: list[T] = []
        self._error: BaseException | None = None
        threading.Thread(target=copy_context().run, args=(self._run,), name="exchange", daemon=True).start()

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return self._value[0]

    def _run(self) -> None:
        try:
            self._value.append(self._call())
        except BaseException as error:  # noqa: BLE001 - it is raised again, in the thread that waits for it
            self._error = error
        finally:
            self.ended.set()
