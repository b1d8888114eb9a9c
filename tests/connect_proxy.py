"""A proxy that opens tunnels (HTTP CONNECT), as a company has; it can demand a password, refuse and hang."""

from __future__ import annotations

import base64
import socket
import socketserver
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.sandbox.tls import TlsContext


@dataclass
class ConnectProxy:
    """Listens on a loopback port while it is entered."""

    names: Mapping[str, int] = field(default_factory=dict)
    """Hosts that only the proxy knows, and the loopback port that each of them is."""
    password: str = ""
    """`user:password`; "" = everybody is let through."""
    answer: str = "200 Connection established"
    """Given to everybody who may pass; another than 200 ends it there, "" is silence."""
    tls: TlsContext | None = None
    """With it, the proxy itself is spoken to over TLS."""
    asked: list[str] = field(default_factory=list)
    """Who was to be reached: `host:port`, in order, whatever came of it."""
    _server: socketserver.ThreadingTCPServer | None = None
    _over: threading.Event = field(default_factory=threading.Event)

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        port: int = self._server.server_address[1]
        return port

    @property
    def url(self) -> str:
        """What is to stand in HTTPS_PROXY."""
        secret = f"{self.password}@" if self.password else ""
        return f"{'https' if self.tls else 'http'}://{secret}127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        """Start."""
        proxy = self

        class Client(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with suppress(OSError):
                    proxy.serve(self.connection)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Client)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop; whoever still waits is let go."""
        assert self._server is not None
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    def serve(self, plain: socket.socket) -> None:
        """Serve one client."""
        client = self.tls.server_side.wrap_socket(plain, server_side=True) if self.tls else plain
        with client:
            head = _head(client)
            verb, target, _ = head.split("\r\n")[0].split(" ")
            self.asked.append(target)
            answer = self._judge(verb, head)
            if not answer:
                self._over.wait(60)
                return
            client.sendall(f"HTTP/1.1 {answer}\r\n\r\n".encode())
            if answer.startswith("200"):
                host, _, port = target.rpartition(":")
                with socket.create_connection(("127.0.0.1", self.names.get(host, int(port)))) as server:
                    _carry(client, server)

    def _judge(self, verb: str, head: str) -> str:
        if verb != "CONNECT":
            return "405 Method Not Allowed"
        expected = f"proxy-authorization: basic {base64.b64encode(self.password.encode()).decode()}"
        if self.password and expected.lower() not in head.lower():
            return "407 Proxy Authentication Required"
        return self.answer


def _head(client: socket.socket) -> str:
    head = b""
    while b"\r\n\r\n" not in head and (more := client.recv(1)):
        head += more
    return head.decode("latin-1")


def _carry(client: socket.socket, server: socket.socket) -> None:
    """Carry bytes both ways until one of them has had enough."""
    back = threading.Thread(target=_pour, args=(server, client), daemon=True)
    back.start()
    _pour(client, server)
    back.join(10)


def _pour(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError, ssl.SSLError):
        while some := source.recv(65536):
            sink.sendall(some)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
