"""The port: /metrics, /health/live and /health/ready, and nothing else.

One thread for each connection, a few connections at once, none for long: whoever reads slowly, or sends nothing, is
cut off after `LONGEST_S`, or as soon as others want to be served.
"""

from __future__ import annotations

import errno
import gzip
import socket
import threading
import time
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any

from loguru import logger
from prometheus_client.exposition import choose_encoder, gzip_accepted

from reconciler.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import CollectorRegistry

    from reconciler.config.urls import Address
    from reconciler.metrics.source import Source

LONGEST_S = 10.0
"""So long a connection may last; Prometheus itself waits no longer by default (scrape_timeout)."""
AT_ONCE = 8
LOOK_EVERY_S = 0.5
PLAIN = "text/plain; charset=utf-8"


@contextmanager
def listening(address: Address, registry: CollectorRegistry, source: Source) -> Iterator[None]:
    """Answer at an address while the block runs.

    Raises:
        Misconfigured: it cannot be listened at.
    """
    named = f"[{address.host}]:{address.port}" if ":" in address.host else f"{address.host}:{address.port}"
    try:
        family, *_, bound = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        server = _Server(family, bound, registry, source)
    except OSError as error:  # socket.gaierror is one
        raise Misconfigured(_why_not(named, error)) from error
    thread = threading.Thread(target=server.serve_forever, args=[LOOK_EVERY_S], name="metrics", daemon=True)
    thread.start()
    logger.info("Metrics can be read", url=f"http://{named}/metrics")
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _why_not(named: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"metrics.listen: {named} is in use by another program: give another port, or end that program"
    todo = "give a port above 1023" if error.errno == errno.EACCES else "give an address of this machine"
    return f"metrics.listen: cannot listen at {named} ({error.strerror or error}): {todo}"


class _Server(ThreadingMixIn, TCPServer):
    """Takes connections; the thread that does also ends those that last too long."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 2 * AT_ONCE

    def __init__(self, family: int, bound: Any, registry: CollectorRegistry, source: Source) -> None:  # noqa: ANN401 - of its family
        self.address_family = family
        self.registry = registry
        self.source = source
        self._lock = threading.Lock()
        self._open: dict[socket.socket, float] = {}
        super().__init__(bound, _Exchange)

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            return super().get_request()
        except OSError:  # no file left to open: the loop would spin
            time.sleep(0.1)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as in the library
        with self._lock:
            if len(self._open) >= AT_ONCE:
                _cut(next(iter(self._open)))
            self._open[request] = time.monotonic() + LONGEST_S
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - as in the library
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Cut off what lasts too long; is called every `LOOK_EVERY_S`."""
        now = time.monotonic()
        with self._lock:
            for connection, ends_at in self._open.items():
                if now > ends_at:
                    _cut(connection)

    def server_close(self) -> None:
        super().server_close()
        with self._lock:
            for connection in self._open:
                _cut(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 - as in the library
        """Is called inside `except`: a client that went away is nothing to tell a person."""
        logger.opt(exception=True).debug("A request for metrics came to nothing")


def _cut(connection: socket.socket) -> None:
    """Wake the thread that reads or writes there: it sees an end, and closes it."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _Exchange(BaseHTTPRequestHandler):
    """One request and its answer; HTTP/1.0, so that no connection is kept."""

    server: _Server
    server_version = "reconciler"
    sys_version = ""
    timeout = LONGEST_S

    def do_GET(self) -> None:
        """Answer by path."""
        match self.path.partition("?")[0]:
            case "/metrics":
                self._metrics()
            case "/health/live":
                self._health(self.server.source.why_not_alive())
            case "/health/ready":
                self._health(self.server.source.why_not_ready())
            case _:
                self.send_error(HTTPStatus.NOT_FOUND, "there are /metrics, /health/live and /health/ready")

    def do_HEAD(self) -> None:
        """Answer the same without its body."""
        self.do_GET()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002 - as in the library
        """Answer in one line of text; the library says 501 where a method is not known, which is 405 (RFC 9110)."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            code, message = HTTPStatus.METHOD_NOT_ALLOWED, "GET and HEAD are answered"
        allowed = {"Allow": "GET, HEAD"} if code == HTTPStatus.METHOD_NOT_ALLOWED else {}
        self._answer(code, f"{message or HTTPStatus(code).phrase}\n".encode(), {"Content-Type": PLAIN} | allowed)

    def _health(self, why_not: str) -> None:
        code = HTTPStatus.SERVICE_UNAVAILABLE if why_not else HTTPStatus.OK
        self._answer(code, f"{why_not or 'ok'}\n".encode(), {"Content-Type": PLAIN})

    def _metrics(self) -> None:
        """Answer in the format and compression that is asked for, as the library's own server does."""
        encode, content_type = choose_encoder(self.headers.get("Accept", ""))
        body, headers = encode(self.server.registry), {"Content-Type": content_type}
        if gzip_accepted(self.headers.get("Accept-Encoding", "")):
            body, headers["Content-Encoding"] = gzip.compress(body), "gzip"
        self._answer(HTTPStatus.OK, body, headers)

    def _answer(self, code: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        fixed = {"Content-Length": str(len(body)), "Cache-Control": "no-store", "Connection": "close"}
        for name, value in (headers | fixed).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as in the library
        """Say nothing: a scrape every few seconds is no news."""
