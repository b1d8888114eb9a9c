"""A clock that only moves when it is told to."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

START = datetime(2026, 11, 23, 8, 0, 0, 123456, tzinfo=UTC)
"""With microseconds: GitLab's database has them, its JSON cuts them off, and its filters compare the uncut values."""


class FakeClock:
    """Tells the same aware UTC time until it is moved."""

    def __init__(self, now: datetime = START) -> None:
        self._now = now
        self._lock = threading.Lock()

    def __call__(self) -> datetime:
        """Tell the time."""
        return self._now

    def advance(self, seconds: float) -> datetime:
        """Move on, and tell the new time."""
        with self._lock:
            self._now += timedelta(seconds=seconds)
            return self._now

    def set(self, now: datetime) -> None:
        """Jump to a time."""
        self._now = now


def real_clock() -> datetime:
    """Tell the machine's time."""
    return datetime.now(UTC)
