"""What tests of time-outs and interruptions use, so that they hold on a machine that is slow or busy."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from reconciler.errors import ServiceDown
from tests.rally_world import HASTY

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.rally import RallyAdapter
    from reconciler.sandbox.faults import Action, Exchange
    from reconciler.sandbox.messages import Response

IMPATIENT = replace(HASTY, patience_s=1)
"""Soon gives up; but until a service has answered once no exchange may take longer than this patience: see `met`."""
_LOOK_S = 0.02


def eventually(holds: Callable[[], bool]) -> bool:
    """Wait until something holds; give up after half a minute."""
    deadline = time.monotonic() + 30
    while not holds() and time.monotonic() < deadline:
        time.sleep(_LOOK_S)
    return holds()


def met(rally: RallyAdapter) -> RallyAdapter:
    """Let an adapter make its first contact, however soon it gives up."""

    def is_met() -> bool:
        try:
            return bool(rally.allowed_verdicts())
        except ServiceDown:
            return False

    assert eventually(is_met)
    return rally


@dataclass(frozen=True, slots=True)
class Held:
    """Carry out a fault, but let the first pause of it begin only when the test says so."""

    action: Action
    go: threading.Event = field(default_factory=threading.Event)

    def __call__(self, exchange: Exchange) -> None:
        """Carry out the fault."""
        self.action(_Watched(exchange, lambda: self._is_let_go(exchange)))

    def _is_let_go(self, exchange: Exchange) -> bool:
        """Wait for it; False when the server was stopped before."""
        while not self.go.is_set():
            if not exchange.sleep(_LOOK_S):
                return False
        return True


@dataclass(frozen=True, slots=True)
class InPause:
    """Carry out a fault, and do something in the midst of it: when it begins to pass time."""

    action: Action
    do: Callable[[], None]

    def __call__(self, exchange: Exchange) -> None:
        """Carry out the fault."""
        self.action(_Watched(exchange, self._done))

    def _done(self) -> bool:
        self.do()
        return True


class _Watched:
    """One request, and what comes before each pause that a fault makes of it."""

    def __init__(self, exchange: Exchange, before_pause: Callable[[], bool]) -> None:
        self.request = exchange.request
        self._exchange = exchange
        self._before_pause = before_pause

    def run(self) -> Response:
        return self._exchange.run()

    def send(self, response: Response) -> None:
        self._exchange.send(response)

    def reset(self) -> None:
        self._exchange.reset()

    def sleep(self, seconds: float) -> bool:
        return self._before_pause() and self._exchange.sleep(seconds)
