"""Tell a person, by a command or a POST of the operator's; a pass never waits for it."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal, Protocol

from loguru import logger

from reconciler import __version__
from reconciler.errors import ReconcilerError
from reconciler.hook_command import Command
from reconciler.redaction import SHORTEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from reconciler.config import NotifySettings

QUEUE = 100
"""Events that may wait. Beyond it the oldest is dropped: the newest says how things are, and since when."""
PAUSES_S = (5.0, 30.0)
"""Between the tries of one event."""
COMMAND_S = 30.0
"""How long a command may take."""
_LONGEST_TEXT = 2_000


class Post(Protocol):
    """How a document is posted; cli gives one."""

    def __call__(self, url: str, body: bytes, longest_s: float) -> None:
        """POST JSON, within so many seconds; raises ReconcilerError where it is not taken."""


@dataclass(frozen=True, slots=True)
class Event:
    """What a hook is told; docs/notify.md describes it for those who write one."""

    kind: Literal["trouble", "recovery", "stale"]
    subject: str
    """What it is about: "GitLab", "Rally", "ledger", "config", "mapping", "passes"."""
    text: str
    since: datetime
    at: datetime
    ledger: Path
    host: str = field(default_factory=socket.gethostname)

    def body(self) -> dict[str, object]:
        """Lay it out as it is sent."""
        text = self.text if len(self.text) <= _LONGEST_TEXT else self.text[:_LONGEST_TEXT] + "..."
        return {
            "event": self.kind,
            "subject": self.subject,
            "text": text,
            "since": _stamp(self.since),
            "at": _stamp(self.at),
            "host": self.host,
            "version": __version__,
            "ledger": str(self.ledger),
        }


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class _Way:
    """One of the ways by which a person is told."""

    name: str
    """The key of the config."""
    tell: Callable[[bytes, float], None]
    """Takes the body and for how long it may take; raises ReconcilerError."""


class Hooks:
    """Delivers events in order, in a thread of its own; each way is tried three times, and no failure leaves here."""

    def __init__(
        self,
        notify: NotifySettings,
        *,
        post: Post,
        secrets: Iterable[str] = (),
        folder: Path | None = None,
        pauses_s: Sequence[float] = PAUSES_S,
    ) -> None:
        """Take the ways from the config; commands run in `folder`, in our environment without our `secrets`."""
        self._give_up = threading.Event()
        self._ways = _ways(notify, post, Command(notify.command, folder, _environ_without(secrets)), self._give_up)
        self._pauses_s = pauses_s
        self._waiting: deque[Mapping[str, object]] = deque()
        self._changed = threading.Condition()
        self._closing_at: float | None = None
        self._thread: threading.Thread | None = None
        self._telling: Mapping[str, object] | None = None

    def send(self, event: Mapping[str, object]) -> None:
        """Queue an event; returns at once, and never raises."""
        if not self._ways:
            return
        with self._changed:
            if self._closing_at is not None:
                logger.warning("A message to a person comes too late", **_named(event))
                return
            if len(self._waiting) >= QUEUE:
                logger.warning("A message to a person is dropped: too many wait", **_named(self._waiting.popleft()))
            self._waiting.append(event)
            if self._thread is None:
                self._thread = threading.Thread(target=self._deliver_all, name="hooks", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def close(self, wait_s: float) -> None:
        """Deliver what is queued, within this time and without pauses; what is not delivered then is dropped."""
        with self._changed:
            self._closing_at = time.monotonic() + wait_s
            self._changed.notify_all()
        if self._thread is None:
            return
        self._thread.join(wait_s)
        if self._thread.is_alive():
            self._give_up.set()  # kills a command
            self._thread.join(1.0)
        with self._changed:  # a POST that still runs ends with the process
            left = [event for event in (self._telling, *self._waiting) if event is not None]
            self._waiting.clear()
        for event in left:
            logger.error("A person could not be told: there was no time", **_named(event))

    def _deliver_all(self) -> None:
        while (event := self._next()) is not None:
            self._deliver(event)
            self._telling = None

    def _next(self) -> Mapping[str, object] | None:
        with self._changed:
            while not self._waiting:
                if self._closing_at is not None:
                    return None
                self._changed.wait()
            self._telling = None if self._give_up.is_set() else self._waiting.popleft()
            return self._telling

    def _deliver(self, event: Mapping[str, object]) -> None:
        """Try each way that has not taken it, in turns, so that one that hangs does not hold up the other for long."""
        left = list(self._ways)
        for pause_s in (*self._pauses_s, None):
            left = [way for way in left if not self._tell(way, event, again=pause_s is not None)]
            if not left or pause_s is None:
                break
            self._pause(pause_s)

    def _tell(self, way: _Way, event: Mapping[str, object], *, again: bool) -> bool:
        """Try one way; whether there is nothing left to do about it."""
        left_s = self._left_s()
        if left_s <= 0:
            logger.error("A person could not be told: there was no time", hook=way.name, **_named(event))
            return True
        try:
            way.tell(json.dumps(event, default=str).encode(), min(COMMAND_S, left_s))
        except ReconcilerError as error:
            text = "it is tried again" if again else "that was the last try"
            logger.error(f"A person could not be told: {text}", hook=way.name, **_named(event), detail=str(error))
            return False
        except Exception as error:  # noqa: BLE001 - whatever a hook does, the next event is still delivered
            logger.opt(exception=True).error("A hook failed", hook=way.name, **_named(event), detail=str(error))
            return True
        logger.info("A person was told", hook=way.name, **_named(event))
        return True

    def _left_s(self) -> float:
        return COMMAND_S if self._closing_at is None else self._closing_at - time.monotonic()

    def _pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing_at is not None, seconds)


def _ways(notify: NotifySettings, post: Post, command: Command, give_up: threading.Event) -> list[_Way]:
    ways = []
    if notify.command:
        ways.append(_Way("notify.command", lambda body, left_s: command.run(body, longest_s=left_s, give_up=give_up)))
    if notify.url:
        ways.append(_Way("notify.url", partial(post, notify.url)))
    return ways


def _environ_without(secrets: Iterable[str]) -> dict[str, str]:
    hidden = [secret for secret in secrets if len(secret) >= SHORTEST]
    return {name: value for name, value in os.environ.items() if not any(secret in value for secret in hidden)}


def _named(event: Mapping[str, object]) -> dict[str, object]:
    return {name: event.get(name, "") for name in ("event", "subject")}
