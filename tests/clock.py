"""A clock that tests move."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 31, 12, tzinfo=UTC)


class Clock:
    """A clock that only moves when told; no two readings of a server's own clock are equal."""

    def __init__(self) -> None:
        """Start at one fixed instant."""
        self._now = START

    def __call__(self) -> datetime:
        """Tell the time."""
        return self._now

    def tick(self) -> datetime:
        """Move on by the least that GitLab shows, and tell the time."""
        return self.advance(0.001)

    def advance(self, seconds: float) -> datetime:
        """Move on, and tell the time."""
        self._now += timedelta(seconds=seconds)
        return self._now
