"""What can be made to go wrong between a client and a stand-in server, and when."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from typing import TYPE_CHECKING, Literal, Protocol

from reconciler.sandbox.messages import Dropped, Request, Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

When = Literal["before", "after"]
"""Whether a fault strikes before the application ran (nothing was done), or after (it was done; the answer is lost)."""


class Exchange(Protocol):
    """One request on its way through the server, as a fault sees it."""

    request: Request

    def run(self) -> Response:
        """Let the application do what was asked."""

    def send(self, response: Response) -> None:
        """Answer the client."""

    def reset(self) -> None:
        """Cut the connection with a TCP reset."""

    def sleep(self, seconds: float) -> bool:
        """Pass time; False when the server was stopped before it had passed."""


class Action(Protocol):
    """What is done with a request instead of serving it; its class name stands in the log."""

    def __call__(self, exchange: Exchange) -> None:
        """Carry out the fault, the answer included."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer this, with or without doing what was asked."""

    response: Response
    when: When = "before"

    def __call__(self, exchange: Exchange) -> None:
        """Carry out the fault."""
        if self.when == "after":
            exchange.run()
        exchange.send(self.response)


def page(status: int = 200, title: str = "Down for maintenance", when: When = "before") -> Answer:
    """Make a fault that answers with an HTML page: a proxy, a login screen, maintenance."""
    return Answer(Response.html(title, status), when)


def too_many(seconds: int, *, as_date: bool = False) -> Answer:
    """Make a fault that answers 429 as GitLab does: Retry-After and plain text (lib/gitlab/rack_attack.rb)."""
    response = Response.text("Retry later\n", 429)
    response.headers["Retry-After"] = _retry_after(seconds, as_date=as_date)
    return Answer(response)


def unavailable(seconds: int | None = None, *, as_date: bool = False, when: When = "before") -> Answer:
    """Make a fault that answers 503 with an HTML page, with Retry-After unless `seconds` is None."""
    response = Response.html("503 Service Unavailable", 503)
    if seconds is not None:
        response.headers["Retry-After"] = _retry_after(seconds, as_date=as_date)
    return Answer(response, when)


def _retry_after(seconds: int, *, as_date: bool) -> str:
    return formatdate(time.time() + seconds, usegmt=True) if as_date else str(seconds)


@dataclass(frozen=True, slots=True)
class Reset:
    """Reset the connection; `after` is the answer that got lost."""

    when: When = "before"

    def __call__(self, exchange: Exchange) -> None:
        """Carry out the fault."""
        if self.when == "after":
            exchange.run()
        exchange.reset()


@dataclass(frozen=True, slots=True)
class Stall:
    """Wait, `before` or `after` doing what was asked, then answer properly."""

    seconds: float
    when: When = "after"

    def __call__(self, exchange: Exchange) -> None:
        """Carry out the fault."""
        if self.when == "before":
            exchange.sleep(self.seconds)
            exchange.send(exchange.run())
        else:
            response = exchange.run()
            exchange.sleep(self.seconds)
            exchange.send(response)


@dataclass(frozen=True, slots=True)
class LateLanding:
    """Cut the client off at once, or send it this answer, and do what it asked some seconds later."""

    seconds: float
    answer: Response | None = None

    def __call__(self, exchange: Exchange) -> None:
        """Carry out the fault."""
        if self.answer is None:
            exchange.reset()
        else:
            exchange.send(replace(self.answer, headers={**self.answer.headers, "Connection": "close"}))
        if exchange.sleep(self.seconds):
            exchange.run()


@dataclass(frozen=True, slots=True)
class Truncate:
    """Do what was asked and break off the answer's body after so many bytes.

    =========  =======================================================================
    framing    the client sees
    =========  =======================================================================
    length     fewer bytes than Content-Length says
    chunked    chunks that end without the last one
    close      a body that ends with the connection: nothing shows that it is cut off
    =========  =======================================================================
    """

    after_bytes: int
    framing: Literal["length", "chunked", "close"] = "length"

    def __call__(self, exchange: Exchange) -> None:
        """Carry out the fault."""
        response = exchange.run()
        body = _whole(response)
        headers = {name: value for name, value in response.headers.items() if name.lower() != "content-length"}
        if self.framing == "length":
            headers["Content-Length"] = str(len(body))
        cut = self._pieces(body)
        exchange.send(Response(response.status, cut, headers, close_delimited=self.framing == "close"))

    def _pieces(self, body: bytes) -> Iterator[bytes]:
        yield body[: self.after_bytes]
        raise Dropped


@dataclass(frozen=True, slots=True)
class Drip:
    """Do what was asked and send the answer's body in pieces with pauses between them."""

    piece_bytes: int = 16
    pause_s: float = 0.05

    def __call__(self, exchange: Exchange) -> None:
        """Carry out the fault."""
        response = exchange.run()
        body = _whole(response)
        response.headers["Content-Length"] = str(len(body))
        response.body = self._pieces(exchange, body)
        exchange.send(response)

    def _pieces(self, exchange: Exchange, body: bytes) -> Iterator[bytes]:
        for start in range(0, len(body), self.piece_bytes):
            yield body[start : start + self.piece_bytes]
            exchange.sleep(self.pause_s)


@dataclass(frozen=True, slots=True)
class KillClient:
    """Kill the client's process with SIGKILL before or after its request was carried out; it gets no answer."""

    pid: int | Callable[[], int]
    when: When = "after"

    def __call__(self, exchange: Exchange) -> None:
        """Carry out the fault."""
        if self.when == "after":
            exchange.run()
        pid = self.pid if isinstance(self.pid, int) else self.pid()
        if pid in (0, os.getpid()) or pid < 0:
            raise ValueError(f"not the client's process: {pid}")
        os.kill(pid, signal.SIGKILL)
        exchange.reset()


def _whole(response: Response) -> bytes:
    return response.body if isinstance(response.body, bytes) else b"".join(response.body)


@dataclass(slots=True)
class Fault:
    """An action, the requests that it is for, and how often; `hits` tells how often it has struck."""

    action: Action
    method: str = ""
    """"" = any."""
    path: str = ""
    """A regular expression, found anywhere in the percent-decoded path."""
    body: str | Callable[[bytes], bool] = ""
    """A regular expression found anywhere in the body, or a predicate."""
    writes_only: bool = False
    nth: int = 1
    """The first matching request that is struck."""
    times: int | None = 1
    """How many requests are struck from there on; None = all."""
    after_s: float = 0.0
    """How many seconds after it was added the fault comes into force."""
    for_s: float | None = None
    """How many seconds it is in force; None = until removed."""
    seen: int = field(default=0, init=False)
    hits: int = field(default=0, init=False)
    added: float = field(default=0.0, init=False)

    def strikes(self, request: Request) -> bool:
        """Count the request if it is one that matches, and tell whether the fault is to be carried out on it."""
        if not self._is_in_force() or not self._matches(request):
            return False
        self.seen += 1
        due = self.seen >= self.nth and (self.times is None or self.hits < self.times)
        self.hits += due
        return due

    def _matches(self, request: Request) -> bool:
        return (
            self.method in ("", request.method)
            and (request.is_write or not self.writes_only)
            and re.search(self.path, request.path) is not None
            and self._matches_body(request.body)
        )

    def _matches_body(self, body: bytes) -> bool:
        if isinstance(self.body, str):
            return not self.body or re.search(self.body.encode(), body) is not None
        return self.body(body)

    def _is_in_force(self) -> bool:
        age_s = time.monotonic() - self.added - self.after_s
        return age_s >= 0 and (self.for_s is None or age_s < self.for_s)


class Faults:
    """The faults of one server, to be added and removed while it runs; the first one that strikes a request has it."""

    def __init__(self, *faults: Fault) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        for fault in faults:
            self.add(fault)

    def add(self, fault: Fault) -> Fault:
        """Put a fault in force and give it back, for `hits` and `remove`."""
        fault.added = time.monotonic()
        with self._lock:
            self._faults.append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        """Take a fault out of force; it need not be in force."""
        with self._lock:
            self._faults = [other for other in self._faults if other is not fault]

    def clear(self) -> None:
        """Take all faults out of force."""
        with self._lock:
            self._faults.clear()

    def maintenance(self, status: int = 502, *, after_s: float = 0.0, for_s: float | None = None) -> Fault:
        """Answer everything with an HTML page of this status (Rally: 502 or 401, KB 277242), until removed."""
        return self.add(Fault(page(status), times=None, after_s=after_s, for_s=for_s))

    def pick(self, request: Request) -> Action | None:
        """Choose what is to be done with a request instead of serving it."""
        with self._lock:
            struck = next((fault for fault in self._faults if fault.strikes(request)), None)
        return None if struck is None else struck.action
