"""What is known beforehand of a service: its name, how long it is waited for, how hard it is pressed."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Service:
    """Which service, and what is told to a person of it."""

    name: str
    """"GitLab" or "Rally"."""
    denied: str
    """What to do when the token or key is not accepted."""
    denies_in_maintenance: bool = False
    """Whether a 401 may pass by itself."""

    @property
    def ca_setting(self) -> str:
        """What a person calls the CA bundle in the config."""
        return f"{self.name.lower()}.ca_bundle"


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a service is waited for, and how hard it is pressed."""

    at_once: int = 8
    """Requests in flight."""
    per_second: float = 0.0
    """0 = no limit."""
    tries: int = 5
    """After so many bad answers in a row it is found out whether only the thing asked for is bad."""
    first_wait_s: float = 0.5
    """The longest first pause between two tries; it doubles, and every pause is a random part of it (full jitter)."""
    longest_wait_s: float = 10.0
    patience_s: float = 60.0
    """How long a service that is down is waited for, in all, until it answers again."""
    longest_exchange_s: float = 300.0
    """Rally cuts requests at 5 minutes (KB 125586); an answer that only drips is cut here too."""
    write_grace_s: float = 3.0
    """How long a write in flight may take to end when the process is to stop."""
    breaker_after: int = 5
    """Failures in a row after which nothing is sent for a while."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Time, for tests to replace."""

    now: Callable[[], float] = time.monotonic
    pause: Callable[[threading.Event, float], object] = threading.Event.wait
    """Passes so many seconds, or fewer when the event is set."""
