"""Whether a service is worth asking: closed, open, or half-open with exactly one probe."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from loguru import logger

if TYPE_CHECKING:
    from collections.abc import Callable

COOLING_S = 5.0
LONGEST_COOLING_S = 60.0


class Breaker:
    """Counts failures that say the server is down, over all threads; each thread tells of its own requests.

    ==========================================  =====================================================
    failure                                     counts
    ==========================================  =====================================================
    no connection                               each time
    a bad answer (5xx, cut short, HTML, late)   once a resource, so that one bad file opens nothing
    anything answered well                      ends the count, closes the breaker
    ==========================================  =====================================================
    """

    def __init__(self, service: str, *, after: int, now: Callable[[], float]) -> None:
        """Open after so many failures in a row."""
        self._service = service
        self._after = after
        self._now = now
        self._lock = threading.Lock()
        self._connects = 0
        self._bad: set[str] = set()
        self._cooling_s = COOLING_S
        self._open_until: float | None = None
        self._prober: int | None = None
        self._down_since: float | None = None
        self.detail = ""
        """The newest failure, for a person."""
        self.answered = False
        """Whether the service has ever answered well."""

    def admits(self) -> bool:
        """Tell whether a request may be sent now; while half-open, only to the first who asks."""
        with self._lock:
            if self._open_until is None:
                return True
            if self._prober is not None or self._now() < self._open_until:
                return False
            self._prober = threading.get_ident()
            return True

    def succeeded(self) -> None:
        """Note a good answer."""
        with self._lock:
            was_open, self._open_until = self._open_until is not None, None
            self._connects = 0
            self._bad.clear()
            self._cooling_s = COOLING_S
            self._prober = None
            self._down_since = None
            self.answered = True
        if was_open:
            logger.info("Service answers again", service=self._service)

    def failed(self, resource: str, detail: str, *, is_down: bool, began: float) -> None:
        """Note a failure of what began then; `is_down`: it was the connection, not the answer."""
        with self._lock:
            self.detail = detail
            self._down_since = began if self._down_since is None else self._down_since
            if is_down:
                self._connects += 1
            else:
                self._bad.add(resource)
            if self._prober == threading.get_ident():
                self._reopen()
            elif self._open_until is None and self._connects + len(self._bad) >= self._after:
                self._open()

    def gave_up(self) -> None:
        """Open now: someone waited for the service as long as is sensible."""
        with self._lock:
            if self._open_until is None:
                self._open()

    def abandoned(self) -> None:
        """Note that a request ended without telling anything; were it the probe, another may be made."""
        with self._lock:
            if self._prober == threading.get_ident():
                self._prober = None

    @property
    def is_open(self) -> bool:
        """Whether nothing is sent for now, but a probe."""
        return self._open_until is not None

    @property
    def wait_s(self) -> float:
        """Seconds until a probe may be sent; 0 when closed."""
        with self._lock:
            return max(0.0, (self._open_until or 0.0) - self._now()) if self._open_until is not None else 0.0

    @property
    def down_s(self) -> float:
        """Seconds since the first failure after the last good answer."""
        with self._lock:
            return 0.0 if self._down_since is None else self._now() - self._down_since

    def _open(self) -> None:
        logger.warning("Service does not answer", service=self._service, detail=self.detail)
        self._open_until = self._now() + self._cooling_s

    def _reopen(self) -> None:
        self._prober = None
        self._cooling_s = min(self._cooling_s * 2, LONGEST_COOLING_S)
        self._open_until = self._now() + self._cooling_s
