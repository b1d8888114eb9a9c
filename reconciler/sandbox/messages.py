"""What passes between the sandbox's server and a stand-in application, and the log of it."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qs, unquote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_NUMBER_IN_PATH = re.compile(r"(?<=/)-?\d+(?=/|$)")


class Dropped(Exception):
    """Raised by an application, or by a body while it is sent: cut the connection here."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request; `query` and `path` are percent-decoded, `raw_path` is the path as it stood on the wire."""

    method: str
    path: str
    raw_path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    """Names are lower case; the values of a repeated header are joined with ", "."""
    body: bytes = b""
    n: int = 0
    """The request's running number on its server, from 1."""
    base_url: str = "http://127.0.0.1"
    """Where this server is to be found, for links to itself."""
    target: str = ""
    """Path and query exactly as they stood on the wire."""

    @classmethod
    def parse(cls, method: str, target: str, headers: Iterable[tuple[str, str]] = (), body: bytes = b"") -> Request:
        """Take apart what stands on the wire; number and address are the server's to add."""
        raw_path, _, query = target.partition("?")
        joined: dict[str, str] = {}
        for name, value in headers:
            key = name.lower()
            joined[key] = f"{joined[key]}, {value}" if key in joined else value
        return cls(
            method=method,
            path=unquote(raw_path),
            raw_path=raw_path,
            query=parse_qs(query, keep_blank_values=True, max_num_fields=1000),
            headers=joined,
            body=body,
            target=target,
        )

    def header(self, name: str, default: str = "") -> str:
        """Look up a header, whatever the case of its name."""
        return self.headers.get(name.lower(), default)

    def first(self, name: str, default: str = "") -> str:
        """Look up a query parameter's first value."""
        return next(iter(self.query.get(name, ())), default)

    @property
    def is_write(self) -> bool:
        """Tell whether the method may change something."""
        return self.method in WRITES


def _nothing() -> None:
    pass


@dataclass(slots=True)
class Response:
    """One answer: a body of bytes gets its Content-Length; an iterable without one in `headers` is sent chunked."""

    status: int = 200
    body: bytes | Iterable[bytes] = b""
    headers: dict[str, str] = field(default_factory=dict)
    close_delimited: bool = False
    """Send neither length nor chunks: the end of the connection is the end of the body."""
    created: int = 0
    """Objects made by this request, for the time model."""
    release: Callable[[], None] = _nothing
    """Called once the request is no longer in service, before the answer is sent."""

    @classmethod
    def json(cls, document: object, status: int = 200, content_type: str = "application/json") -> Response:
        """Answer with a JSON document."""
        body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
        return cls(status, body, {"Content-Type": f"{content_type}; charset=utf-8"})

    @classmethod
    def text(cls, text: str, status: int = 200, content_type: str = "text/plain") -> Response:
        """Answer with text."""
        return cls(status, text.encode(), {"Content-Type": f"{content_type}; charset=utf-8"})

    @classmethod
    def html(cls, title: str, status: int = 200) -> Response:
        """Answer with a page for people, as proxies and login screens do."""
        page = f"<!DOCTYPE html><html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
        return cls.text(page, status, "text/html")


class App(Protocol):
    """A stand-in application; called from many threads at once."""

    name: str

    def __call__(self, request: Request) -> Response:
        """Answer one request."""


@dataclass(slots=True)
class LogEntry:
    """One request as the server saw it; written on arrival, completed before the answer's last byte leaves."""

    n: int
    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    bytes_in: int
    started: float
    """`time.monotonic()` on arrival."""
    ended: float | None = None
    status: int = 0
    """0 = the client got no answer."""
    bytes_out: int = 0
    """Body bytes handed to the connection."""
    target: str = ""
    """Path and query exactly as they stood on the wire: their length is that of the URL less the host."""
    fault: str = ""
    """The fault that had its way with this request, "" for none."""

    @property
    def is_write(self) -> bool:
        """Tell whether the method may change something."""
        return self.method in WRITES

    @property
    def route(self) -> str:
        """The path with `{n}` for every segment that is a number."""
        return _NUMBER_IN_PATH.sub("{n}", self.path)


class RequestLog:
    """All requests of a server, in the order of their arrival."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[LogEntry] = []

    def add(self, entry: LogEntry) -> None:
        """Append one entry."""
        with self._lock:
            self._entries.append(entry)

    def clear(self) -> None:
        """Forget everything so far."""
        with self._lock:
            self._entries.clear()

    def entries(self, method: str = "", path: str = "") -> list[LogEntry]:
        """List the entries of a method ("" = any) whose path matches a regular expression somewhere."""
        with self._lock:
            entries = list(self._entries)
        return [e for e in entries if method in ("", e.method) and re.search(path, e.path)]

    def writes(self) -> list[LogEntry]:
        """List the entries whose method may change something."""
        return [entry for entry in self.entries() if entry.is_write]

    def counts(self) -> Counter[tuple[str, str]]:
        """Count the entries by (method, route)."""
        return Counter((entry.method, entry.route) for entry in self.entries())

    def most_at_once(self) -> int:
        """Tell how many requests were at most on their way through the server at the same moment."""
        entries = self.entries()
        steps = [(entry.started, 1) for entry in entries]
        steps += [(entry.ended, -1) for entry in entries if entry.ended is not None]
        most = now = 0
        for _, step in sorted(steps):
            now += step
            most = max(most, now)
        return most

    def __iter__(self) -> Iterator[LogEntry]:
        """Iterate over a copy."""
        return iter(self.entries())

    def __len__(self) -> int:
        """Count the entries."""
        return len(self.entries())
