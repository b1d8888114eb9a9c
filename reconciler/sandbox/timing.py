"""What a request costs at a stand-in server, in real seconds."""

from __future__ import annotations

import threading
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.sandbox.messages import Response

RALLY_AT_ONCE = 12
"""Rally serves this many requests of one user at once; more are queued, not rejected (KB 95713)."""


@dataclass(slots=True)
class TimeModel:
    """Seconds per request and per created object, and how many requests are in service at once (0 = any number)."""

    request_s: float = 0.0
    created_s: float = 0.0
    at_once: int = RALLY_AT_ONCE
    _slots: threading.Semaphore | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Make the places in which requests are served."""
        self._slots = threading.BoundedSemaphore(self.at_once) if self.at_once else None

    @contextmanager
    def in_service(self) -> Iterator[None]:
        """Hold one of the places; waits for one to be free."""
        with self._slots or nullcontext():
            yield

    def cost_s(self, response: Response) -> float:
        """Tell how long the request with this answer is in service."""
        return self.request_s + self.created_s * response.created
