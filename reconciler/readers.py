"""Threads that read ahead of the one that writes; how far ahead is bounded by the room between them."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, Full, Queue
from threading import Event
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Step = TypeVar("Step")

ROOM = 2
"""How many steps may wait to be taken: what a kill loses, and what lies in memory, is this and one for each thread."""
_LOOK_S = 0.2
"""How often a thread that waits for room looks whether anybody will still take what it has."""


class _Closed(Exception):
    """Nobody takes any more."""


class _End:
    """One piece of work is over."""


class _Failed(_End):
    def __init__(self, error: BaseException) -> None:
        self.error = error


class Readers(Generic[Step]):
    """Does pieces of work, each a series of steps, in threads; the steps of one work come in their order.

    Without threads each step is made when it is taken, one work after another: the same, but nothing overlaps.
    """

    def __init__(self, threads: int, room: int = ROOM) -> None:
        """Start no thread before there is work."""
        self._threads = threads
        self._closed = Event()
        self._steps: Queue[Step | _End] = Queue(room)
        self._waiting: deque[Iterator[Step]] = deque()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="reader") if threads else None
        self.under_way = 0
        """Pieces of work that were begun and not taken to their end."""

    def wants_more(self) -> bool:
        """Tell whether a thread would be idle soon."""
        return self.under_way < (2 * self._threads or 1)

    def begin(self, work: Callable[[], Iterator[Step]]) -> None:
        """Do this, too; whatever it raises is raised by `take`."""
        self.under_way += 1
        if self._pool is None:
            self._waiting.append(work())
        else:
            self._pool.submit(self._run, work)

    def take(self, wait_s: float = 0.0) -> Step | None:
        """Give the next step; None when there is none within so many seconds."""
        while self.under_way:
            step = self._made() if self._pool is None else self._fetched(wait_s)
            if not isinstance(step, _End):
                return step
            self.under_way -= 1
            if isinstance(step, _Failed):
                raise step.error
        return None

    def _made(self) -> Step | _End:
        for step in self._waiting[0]:
            return step
        self._waiting.popleft()
        return _End()

    def _fetched(self, wait_s: float) -> Step | _End | None:
        try:
            return self._steps.get(timeout=wait_s) if wait_s else self._steps.get_nowait()
        except Empty:
            return None

    def close(self) -> None:
        """Let go of work that was not taken; what is under way ends between two requests."""
        self._closed.set()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _run(self, work: Callable[[], Iterator[Step]]) -> None:
        try:
            for step in work():
                self._put(step)
            self._put(_End())
        except _Closed:
            return
        except BaseException as error:  # noqa: BLE001 - it is raised again, in the thread that takes
            self._put_last(_Failed(error))

    def _put(self, step: Step | _End) -> None:
        while True:
            if self._closed.is_set():
                raise _Closed
            try:
                self._steps.put(step, timeout=_LOOK_S)
            except Full:
                continue
            return

    def _put_last(self, step: _End) -> None:
        try:
            self._put(step)
        except _Closed:
            return
