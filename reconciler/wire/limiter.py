"""How hard a service is pressed: requests in flight, requests a second, and pauses that it asked for."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LOOK_S = 0.25
"""How often a thread that waits for its turn looks whether it should stop."""


class Limiter:
    """One for each service, shared by all its threads."""

    def __init__(
        self, at_once: int, per_second: float, *, now: Callable[[], float], pause: Callable[[float], None]
    ) -> None:
        """Take `per_second` 0 as no limit; `pause` passes time and raises when the process is to stop."""
        self._slots = threading.BoundedSemaphore(at_once)
        self._gap_s = 1 / per_second if per_second else 0.0
        self._now = now
        self._pause = pause
        self._lock = threading.Lock()
        self._not_before = 0.0
        self._next = 0.0

    def hold(self, seconds: float) -> None:
        """Let nobody start a request for so long."""
        with self._lock:
            self._not_before = max(self._not_before, self._now() + seconds)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until one more request is welcome, and count as in flight inside the block."""
        while not self._slots.acquire(timeout=_LOOK_S):
            self._pause(0)
        try:
            while (wait := self._wait_s()) > 0:
                self._pause(wait)
            yield
        finally:
            self._slots.release()

    def _wait_s(self) -> float:
        """Take the next place in the row where it is our turn now (0), else tell how long to wait."""
        with self._lock:
            now = self._now()
            wait = max(self._not_before, self._next) - now
            if wait <= 0:
                self._next = now + self._gap_s
            return wait
