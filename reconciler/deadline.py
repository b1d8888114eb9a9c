"""An event that is also set by the passing of time."""

from __future__ import annotations

import threading
import time


class Deadline(threading.Event):
    """Is set when another event is, or so many seconds after it was made."""

    def __init__(self, stop: threading.Event, seconds: float) -> None:
        """Begin to count."""
        super().__init__()
        self._stop = stop
        self._ends_at = time.monotonic() + seconds

    def is_set(self) -> bool:
        """Tell whether it is over."""
        return self._stop.is_set() or time.monotonic() >= self._ends_at

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for that, at most so long; whether it is over."""
        left_s = max(0.0, self._ends_at - time.monotonic())
        self._stop.wait(left_s if timeout is None else min(timeout, left_s))
        return self.is_set()
