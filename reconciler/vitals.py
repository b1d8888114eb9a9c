"""How the daemon gets on: its last passes, and whether it makes progress."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

LONGEST_STALL_S = 900.0
"""Longer than anything lawful takes without a sign of progress: an answer may take 5 minutes, and be tried again."""


Ending = Literal["ok", "down", "failed", "stopped"]


@dataclass(frozen=True, slots=True)
class LastPass:
    """How the newest pass of its kind went."""

    ended_at: datetime
    seconds: float
    outcome: Literal["ok", "down", "failed"]
    """`down`: a service was away; `failed`: a person must look."""


class Vitals:
    """Written by the thread that makes the passes, read by any."""

    def __init__(
        self,
        progress: Callable[[], int],
        overdue_s: Callable[[], float],
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Judge by a number that changes with every step of a pass, and by how late the next pass is."""
        self._progress = progress
        self._overdue_s = overdue_s
        self._now = now
        self._lock = threading.Lock()
        self._running: tuple[str, float] | None = None
        self._mark = progress()
        self._moved_at = now()
        self._passes: dict[str, LastPass] = {}
        self.writes = 0
        """Requests that wrote to Rally, since the process began."""

    @property
    def passes(self) -> Mapping[str, LastPass]:
        """The newest pass of each kind."""
        with self._lock:
            return dict(self._passes)

    def began(self, kind: str) -> None:
        """Note that a pass begins."""
        with self._lock:
            self._running = (kind, self._now())
            self._moved_at = self._now()

    def ended(self, at: datetime, ending: Ending, writes: int = 0) -> None:
        """Note how the pass that is running ended; one that was `stopped` counts for nothing."""
        with self._lock:
            if self._running is not None and ending != "stopped":
                kind, began = self._running
                self._passes[kind] = LastPass(at, self._now() - began, ending)
            self._running = None
            self.writes += writes

    @property
    def stalled_s(self) -> float:
        """Seconds without progress: of a pass since its last step, between passes since the next one was due.

        Being alive is no progress: a scheduler that fires no more and a pass that hangs are stalled.
        """
        with self._lock:
            mark, now = self._progress(), self._now()
            if mark != self._mark:
                self._mark, self._moved_at = mark, now
            if self._running is not None:
                return now - self._moved_at
        return max(0.0, self._overdue_s())

    def is_alive(self) -> bool:
        """Tell whether the daemon gets on."""
        return self.stalled_s < LONGEST_STALL_S

    def is_ready(self) -> bool:
        """Tell whether a first pass has ended, and it gets on."""
        return bool(self.passes) and self.is_alive()
