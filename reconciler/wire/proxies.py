"""Which proxy a request goes through, as the environment says, and what it means when one does not let it through."""

from __future__ import annotations

import re
import ssl
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from requests.exceptions import InvalidProxyURL
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NameResolutionError, NewConnectionError, ProxyError

from reconciler.wire.address import is_loopback, origin

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Mapping

    from urllib3.util import Url

_PORT_AT_END = re.compile(r"(\[[^\]]*\]|[^:]*):(\d+)")
_ANSWERED = re.compile(r"Tunnel connection failed: (\d{3})")
"""How http.client tells of an answer to CONNECT other than 200."""
_BY_PYRAL = re.compile(r"^http://(?=[a-z][\w+.-]*://)", re.IGNORECASE)
_EXAMPLE = "http://proxy.example.com:3128"


@dataclass(frozen=True, slots=True)
class Proxies:
    """HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY, as they were when this was made.

    pyral puts `http://` before what does not begin with `http`, in the environment itself (restapi.py of 1.6 and 1.7);
    that is taken off again, should it have been there before.

    ===========================  =====================================================================================
    lower and upper case         the lower one counts, as everywhere; `https_proxy=` (empty) is a proxy of none
    plain http to this machine   never goes through a proxy, which is elsewhere
    https to this machine        goes through the proxy like all else, unless NO_PROXY says otherwise
    ===========================  =====================================================================================
    """

    by_scheme: Mapping[str, str]
    """By "https", "http" or "all"."""
    exempt: tuple[Exempt, ...]

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Proxies:
        """Read the environment; entries of NO_PROXY are parted by commas or blanks."""
        names = {scheme: f"{scheme}_proxy" for scheme in ("https", "http", "all")}
        said = {scheme: environ.get(name, environ.get(name.upper(), "")) for scheme, name in names.items()}
        exempt = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
        return cls(
            {scheme: _BY_PYRAL.sub("", value.strip()) for scheme, value in said.items() if value.strip()},
            tuple(map(Exempt.read, re.split(r"[\s,]+", exempt.strip(", \t")))) if exempt.strip(", \t") else (),
        )

    def for_url(self, url: str) -> str:
        """Choose the proxy's url, with user and password where it has them; "" = none.

        Raises:
            UnusableProxy: what the environment says is no proxy that we can use.
        """
        scheme, host, port = origin(url)
        if scheme == "http" and is_loopback(url):
            return ""
        proxy = self.by_scheme.get(scheme) or self.by_scheme.get("all", "")
        if not proxy or any(exempt.covers(host, port) for exempt in self.exempt):
            return ""
        proxy = proxy if "://" in proxy else f"http://{proxy}"
        _raise_if_unusable(proxy, scheme)
        return proxy


@dataclass(frozen=True, slots=True)
class Exempt:
    """One entry of NO_PROXY.

    =================================  ============================================================
    example.com, .example.com          that name and all below it; `*.example.com` too
    10.0.0.0/8, 10.1.2.3, ::1, [::1]   hosts that the url names by such an address
    any of these with :8443            on that port only
    `*`                                everything
    =================================  ============================================================
    """

    name: str
    network: IPv4Network | IPv6Network | None
    port: int | None

    @classmethod
    def read(cls, entry: str) -> Exempt:
        """Read one entry."""
        match = _PORT_AT_END.fullmatch(entry)
        name, port = (match[1], int(match[2])) if match else (entry, None)
        name = name.strip("[]").lower()
        try:
            return cls(name, ip_network(name, strict=False), port)
        except ValueError:
            return cls(name.removeprefix("*.").strip("."), None, port)

    def covers(self, host: str, port: int) -> bool:
        """Tell whether requests to this host and port go without a proxy."""
        if self.port not in {None, port}:
            return False
        if self.name == "*":
            return True
        try:
            address = ip_address(host)
        except ValueError:
            name = host.rstrip(".").lower()
            return name == self.name or name.endswith(f".{self.name}")
        return self.network is not None and address in self.network


class UnusableProxy(InvalidProxyURL):
    """The environment names a proxy that we cannot use; `str()` says what to do, without its password."""


def _raise_if_unusable(proxy: str, scheme: str) -> None:
    variable = f"{scheme.upper()}_PROXY"
    try:
        parts = urlsplit(proxy)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise UnusableProxy(f"{variable} is not the address of a proxy: write it like {_EXAMPLE}")
    if parts.scheme.lower() not in {"http", "https"}:
        raise UnusableProxy(f"{variable} names a {parts.scheme} proxy, which is not supported: use one like {_EXAMPLE}")


class ProxyFailed(ProxyError):
    """The proxy did not let us through: nothing has reached the server behind it."""

    def __init__(self, proxy: Url, error: Exception) -> None:
        """Take the proxy and what was raised on the way through it."""
        self.address = f"{proxy.host}:{proxy.port}"
        self.has_password = bool(proxy.auth)
        super().__init__(f"proxy {self.address}", error)

    @property
    def passing(self) -> bool:
        """Whether it may be otherwise in a moment: not where it said No, nor where it took all the time there was."""
        refused = 400 <= self._status < 500
        return not refused and not isinstance(self.original_error, (TimeoutError, ssl.SSLCertVerificationError))

    def describe(self, netloc: str) -> str:
        """Say what is wrong and what to do, in one line without the proxy's password."""
        host = urlsplit(f"//{netloc}").hostname or netloc
        return f"the proxy {self.address} {self._what(host)}, or name {host} in NO_PROXY"

    @property
    def _status(self) -> int:
        answered = _ANSWERED.search(str(self.original_error))
        return int(answered[1]) if answered else 0

    def _what(self, host: str) -> str:
        status = self._status
        if status == 407 and self.has_password:
            return "does not accept the user and password (HTTP 407): correct them in HTTPS_PROXY"
        if status == 407:
            todo = f"set HTTPS_PROXY to http://USER:PASSWORD@{self.address}"
            return f"asks for a user and password (HTTP 407): {todo}"
        if 400 <= status < 500:
            return f"refuses to connect us to {host} (HTTP {status}): have {host} allowed there"
        if status:
            return f"does not get through to {host} (HTTP {status}): check the url"
        return self._not_reached()

    def _not_reached(self) -> str:
        match self.original_error:
            case NameResolutionError():
                return "has a name that is not known: check HTTPS_PROXY"
            case NewConnectionError() as error:  # urllib3 has it as a kind of ConnectTimeoutError
                said = "refuses connections" if "refused" in str(error) else "cannot be reached"
                return f"{said}: is it up, and HTTPS_PROXY right?"
            case ConnectTimeoutError() | TimeoutError():
                return "does not answer in time: check HTTPS_PROXY and the firewall"
            case ssl.SSLCertVerificationError(verify_message=reason):
                return f"has a certificate that is not trusted ({reason}): see ca_bundle"
            case ssl.SSLError():
                return "does not speak https itself: begin HTTPS_PROXY with http://"
            case _:
                return "does not answer as a proxy does: check HTTPS_PROXY"


@contextmanager
def _through(proxy: Url | None) -> Iterator[None]:
    try:
        yield
    except (HTTPError, HTTPException, OSError) as error:
        if proxy is None:
            raise
        raise ProxyFailed(proxy, error) from error


class ProxyHttpConnection(HTTPConnection):
    """Says of a failure that it was the proxy's; urllib3 2 leaves that open once the proxy took the connection."""

    def _new_conn(self) -> socket.socket:
        with _through(self.proxy):
            return super()._new_conn()


class ProxyHttpsConnection(HTTPSConnection):
    """The same; what goes wrong behind the tunnel is not the proxy's."""

    def _new_conn(self) -> socket.socket:
        with _through(self.proxy):
            return super()._new_conn()

    def _connect_tls_proxy(self, hostname: str, sock: socket.socket) -> ssl.SSLSocket:
        with _through(self.proxy):
            return super()._connect_tls_proxy(hostname, sock)

    def _tunnel(self) -> None:
        with _through(self.proxy):
            super()._tunnel()
