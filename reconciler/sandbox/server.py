"""A threaded HTTP/1.1 server on loopback that carries a stand-in application and can be told to misbehave."""

from __future__ import annotations

import itertools
import socket
import socketserver
import struct
import sys
import threading
import time
import traceback
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self

from reconciler.sandbox.faults import Faults
from reconciler.sandbox.messages import WRITES, App, Dropped, LogEntry, Request, RequestLog, Response
from reconciler.sandbox.timing import TimeModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.sandbox.tls import TlsContext

__all__ = ["App", "Dropped", "LogEntry", "Request", "RequestLog", "Response", "Server", "TimeModel"]

MAX_BODY_BYTES = 128 * 1024 * 1024
_ABORT = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 seconds: close() sends RST instead of FIN


_Socket = socket.socket | tuple[bytes, socket.socket]  # as socketserver has it; ours are always the first


class Server:
    """Serves `app` on `host:port` (0 = any free port) until stopped; one thread a connection."""

    def __init__(  # noqa: PLR0913 - all but the application have defaults, and callers name them
        self,
        app: App,
        *,
        tls: TlsContext | None = None,
        faults: Faults | None = None,
        time_model: TimeModel | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.app = app
        self.tls = tls
        self.faults = faults or Faults()
        self.time_model = time_model or TimeModel()
        self.log = RequestLog()
        self.crashes: list[BaseException] = []
        """What the application (answered with 500) or a fault raised by mistake; it is printed, too."""
        self.clock_ahead_s = 0.0
        """How far the clock that its answers' Date headers tell is ahead of this machine's."""
        self.stopping = threading.Event()
        self.numbers = itertools.count(1)
        self._address = (host, port)
        self._listener: _Listener | None = None
        self._placeholder: socket.socket | None = None

    @property
    def port(self) -> int:
        """The port; known once started, and kept while connections are refused."""
        return self._address[1]

    @property
    def url(self) -> str:
        """The server's address without a slash at the end."""
        return f"{'https' if self.tls else 'http'}://{self._address[0]}:{self.port}"

    def start(self) -> Self:
        """Listen; does nothing when listening already."""
        if self._listener is None:
            self.stopping.clear()
            self._listener = _Listener(self._address, self)
            self._address = (self._address[0], self._listener.server_port)
            self._listener.start()
            self._let_port_go()  # the listener has it now
        return self

    def stop(self) -> None:
        """Stop listening, cut all connections and wait for their threads; requests to the port are then refused."""
        self._let_port_go()
        self._end(keeps_port=False)

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Refuse connections for a while, as a server that is down does; the port stays the same, and ours."""
        self._end(keeps_port=True)
        try:
            yield
        finally:
            self.start()

    def _end(self, *, keeps_port: bool) -> None:
        self.stopping.set()
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
            if keeps_port:
                self._placeholder = _bound(self._address)
            listener.cut()

    def _let_port_go(self) -> None:
        placeholder, self._placeholder = self._placeholder, None
        if placeholder is not None:
            placeholder.close()

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()


def _bound(address: tuple[str, int]) -> socket.socket:
    """Take a port without listening: nobody else is given it, connects to it are refused, and a server may bind it."""
    placeholder = socket.socket()
    placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    placeholder.bind(address)
    return placeholder


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], owner: Server) -> None:
        self.owner = owner
        self._open: dict[threading.Thread, _Socket] = {}
        self._lock = threading.Lock()
        super().__init__(address, _Exchange)
        self._acceptor = threading.Thread(target=self.serve_forever, args=(0.05,), name="sandbox-accept", daemon=True)

    def start(self) -> None:
        self._acceptor.start()

    def close(self) -> None:
        self.shutdown()
        self._acceptor.join()
        self.server_close()

    def cut(self) -> None:
        with self._lock:
            connections = dict(self._open)
        for connection in connections.values():
            if isinstance(connection, socket.socket):
                with suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)  # SSLSocket's own forgets the session first
        for thread in connections:
            thread.join(5)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer's asks the name service for the host's name
        self.server_name, self.server_port = self.socket.getsockname()

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        connection, address = self.socket.accept()
        if self.owner.tls is None:
            return connection, address
        context = self.owner.tls.server_side
        return context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def process_request(self, request: _Socket, client_address: object) -> None:
        thread = threading.Thread(
            target=self._serve_connection, args=(request, client_address), name="sandbox-connection", daemon=True
        )
        with self._lock:
            self._open[thread] = request
        thread.start()

    def _serve_connection(self, request: _Socket, client_address: object) -> None:
        try:
            self.process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._open.pop(threading.current_thread(), None)

    def handle_error(self, request: _Socket, client_address: object) -> None:
        error = sys.exception()
        if error is not None and not isinstance(error, OSError):  # those are clients that went away or do not trust us
            self.owner.crashes.append(error)
            super().handle_error(request, client_address)


class _Exchange(BaseHTTPRequestHandler):
    """One connection, and the request on it that is being served."""

    server: _Listener
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65536  # headers and a small body leave in one send: Nagle's algorithm costs 40 ms an answer otherwise

    request: Request  # the base class has the socket here, and in `connection` too

    def serve(self) -> None:
        """Read one request, and answer it or let a fault have it."""
        owner = self.server.owner
        body = self._read_body()
        if body is None:
            return
        parsed = Request.parse(self.command, self.path, self.headers.items(), body)
        self.request = replace(parsed, n=next(owner.numbers), base_url=owner.url)
        self.entry = _entry(self.request)
        owner.log.add(self.entry)
        action = owner.faults.pick(self.request)
        try:
            if action is None:
                self.send(self.run())
            else:
                self.entry.fault = type(action).__name__
                action(self)
        except Dropped:
            self.reset()
        finally:
            self.entry.ended = self.entry.ended or time.monotonic()

    def run(self) -> Response:
        """Let the application do what was asked, within the time that the model says."""
        owner = self.server.owner
        with owner.time_model.in_service():
            try:
                response = owner.app(self.request)
            except Dropped:
                raise
            except Exception as error:  # noqa: BLE001 - a mistake in a stand-in must not look like a network fault
                owner.crashes.append(error)
                traceback.print_exc()
                return Response.text(f"the stand-in crashed: {error!r}", 500)
            self.sleep(owner.time_model.cost_s(response))
            response.release()
            return response

    def send(self, response: Response) -> None:
        """Send the answer; a body that raises `Dropped` ends the connection there."""
        self.entry.status = response.status
        self.send_response(response.status)
        headers = {name.lower(): value for name, value in response.headers.items()}
        for name, value in response.headers.items():
            self.send_header(name, value)
        if isinstance(response.body, bytes):
            self._send_bytes(response, headers)
        else:
            self._send_pieces(response, headers)

    def reset(self) -> None:
        """Cut the connection with a TCP reset."""
        self.close_connection = True
        with suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
            # The buffered files keep the socket object open; only closing the descriptor itself sends the reset.
            socket.close(self.connection.detach())

    def sleep(self, seconds: float) -> bool:
        """Pass time; False when the server was stopped before it had passed."""
        return seconds <= 0 or not self.server.owner.stopping.wait(seconds)

    def _send_bytes(self, response: Response, headers: dict[str, str]) -> None:
        body = response.body if isinstance(response.body, bytes) else b""
        if response.close_delimited:
            self.send_header("Connection", "close")
        elif "content-length" not in headers and response.status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
            self.entry.bytes_out = len(body)
        self.entry.ended = time.monotonic()
        self.wfile.flush()

    def _send_pieces(self, response: Response, headers: dict[str, str]) -> None:
        chunked = "content-length" not in headers and not response.close_delimited
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        if response.close_delimited:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "HEAD":
            return
        try:
            for piece in response.body:
                self._send_piece(piece if isinstance(piece, bytes) else bytes(piece), chunked=chunked)
        except Dropped:
            self.wfile.flush()
            self.close_connection = True
            return
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _send_piece(self, piece: bytes, *, chunked: bool) -> None:
        if not piece:
            return
        self.entry.bytes_out += len(piece)
        self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        self.wfile.flush()

    def _read_body(self) -> bytes | None:
        length = int(self.headers.get("content-length") or 0)
        if "transfer-encoding" in self.headers or length > MAX_BODY_BYTES:
            self.close_connection = True
            self.send_error(413 if length else 411)
            return None
        body = self.rfile.read(length) if length else b""
        if len(body) < length:  # the client went away in the middle of its request
            self.close_connection = True
            return None
        return body

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Tell the time by this server's clock."""
        return super().date_time_string((timestamp or time.time()) + self.server.owner.clock_ahead_s)

    def version_string(self) -> str:
        """Name the server in its answers."""
        return "sandbox"

    def log_message(self, *_: object) -> None:
        """Keep quiet: the server has its own log."""


for _verb in sorted(WRITES | {"GET", "HEAD", "OPTIONS"}):
    setattr(_Exchange, f"do_{_verb}", _Exchange.serve)  # http.server looks its methods up by these names


def _entry(request: Request) -> LogEntry:
    return LogEntry(
        n=request.n,
        method=request.method,
        path=request.path,
        query=request.query,
        headers=request.headers,
        bytes_in=len(request.body),
        started=time.monotonic(),
        target=request.target,
    )
