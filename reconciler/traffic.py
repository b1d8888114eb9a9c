"""What passes between this process and one service: counted by `wire`, told by the daemon and its metrics."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Outcome = Literal["ok", "refused", "denied", "limited", "bad_answer", "unreachable"]
OUTCOMES: tuple[Outcome, ...] = ("ok", "refused", "denied", "limited", "bad_answer", "unreachable")
"""2xx · 4xx other than these · 401 · 429 or held back by Retry-After · 5xx, HTML, cut short, late · no connection."""


@dataclass(frozen=True, slots=True)
class Denied:
    """How long a service has accepted no token; both are 0 after any good answer."""

    times: int = 0
    for_s: float = 0.0


class Traffic:
    """Of one service; written and read from any thread."""

    def __init__(self, service: str, now: Callable[[], float]) -> None:
        """Name the service ("GitLab" or "Rally"); `now` is a clock that never goes back, in seconds."""
        self.service = service
        self._now = now
        self._lock = threading.Lock()
        self._counts: Counter[Outcome] = Counter()
        self._denials = 0
        self._denied_since = 0.0
        self.breaker_open = False
        """Whether nothing is sent for a while, because the service does not answer."""

    def note(self, outcome: Outcome) -> None:
        """Count one request that was sent and how it ended."""
        with self._lock:
            self._counts[outcome] += 1
            if outcome == "denied":
                self._denied_since = self._denied_since if self._denials else self._now()
                self._denials += 1
            elif outcome in {"ok", "refused"}:
                self._denials = 0

    @property
    def requests(self) -> Mapping[Outcome, int]:
        """How many requests ended how, since the process began; each outcome is named."""
        with self._lock:
            return {outcome: self._counts[outcome] for outcome in OUTCOMES}

    @property
    def total(self) -> int:
        """How many requests were sent."""
        return sum(self.requests.values())

    @property
    def denied(self) -> Denied:
        """How long the token has not been accepted; maintenance looks the same for a while (KB 277242)."""
        with self._lock:
            return Denied(self._denials, self._now() - self._denied_since) if self._denials else Denied()
