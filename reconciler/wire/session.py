"""A requests session whose trust, proxies, cookies, time-outs and connections are ours to say, whoever uses it."""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass
from functools import cached_property
from http.cookiejar import DefaultCookiePolicy
from ipaddress import ip_address
from os import environ
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool

from reconciler.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from urllib3.connection import HTTPConnection

MAX_IDLE_S = 3.0
"""Connections that lay idle longer are not used again.

Servers close idle ones after 5 s (Apache, Node) or later; a request that meets that close in flight fails with a reset,
and then nobody can tell whether a POST was done.
"""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a service is, whom to trust there, and how long to wait for it."""

    url: str
    """Without a slash at the end."""
    ca_bundle: Path | None = None
    """PEM file of the authorities to trust; None = the system's (or REQUESTS_CA_BUNDLE's)."""
    connect_s: float = 10.0
    read_s: float = 60.0
    """Longest silence while an answer is awaited or read."""


def origin(url: str) -> tuple[str, str, int]:
    """Tell scheme, host and port of an URL."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or ""), parts.port or {"https": 443}.get(parts.scheme, 80)


def is_loopback(url: str) -> bool:
    """Tell whether an URL's host is this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class ServiceSession(requests.Session):
    """Sends one request at a time and thread, exactly once.

    ====================  ============================================================================================
    requests' habit       here
    ====================  ============================================================================================
    REQUESTS_CA_BUNDLE    only where no bundle is configured (requests lets it win over session.verify)
    HTTPS_PROXY           with NO_PROXY, whatever a library wrote into session.proxies (pyral does); never for loopback
    ~/.netrc              not read: it would replace our Authorization
    cookies               not kept: an API key with session cookies is an "Invalid key" to Rally (KB 127054)
    redirects             followed inside the same scheme, host and port only: ZSESSIONID would go along
    no time-out           the endpoint's, whatever a library passes (pyral's writes pass none)
    ====================  ============================================================================================
    """

    def __init__(self, endpoint: Endpoint, *, ca_setting: str = "ca_bundle", connections: int = 16) -> None:
        """Make the session; nothing is opened yet. `ca_setting` is what a person calls the bundle in the config."""
        super().__init__()
        self.trust_env = False
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        bundle = endpoint.ca_bundle
        here = _Trust(bundle, ca_setting, system_too=bundle is None)
        elsewhere = _Transport(endpoint, _Trust(bundle, ca_setting, system_too=True), connections)
        self.mount("https://", elsewhere)
        self.mount("http://", elsewhere)
        self.mount(f"{endpoint.url}/", _Transport(endpoint, here, connections))

    def once(self, method: str, url: str, **options: Any) -> requests.Response:  # noqa: ANN401 - requests' own
        """Send one request; `request` is left to be something else in a subclass."""
        return super().request(method, url, **options)

    def merge_environment_settings(
        self,
        url: str | bytes | None,
        proxies: object,  # noqa: ARG002 - of the session or the caller; see the table above
        stream: bool | None,  # noqa: FBT001 - requests' signature
        verify: object,  # noqa: ARG002 - the transport decides
        cert: object,  # noqa: ARG002 - we have none
    ) -> Any:  # noqa: ANN401 - a TypedDict that requests keeps to itself
        """Choose the proxy for an URL; the rest is fixed."""
        return {"proxies": _proxies(str(url or "")), "stream": bool(stream), "verify": True, "cert": None}

    def rebuild_proxies(self, prepared_request: requests.PreparedRequest, proxies: object) -> dict[str, str]:  # noqa: ARG002 - as above
        """Choose the proxy anew after a redirect."""
        return _proxies(prepared_request.url or "")

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Follow a redirect only where our credentials may go."""
        target = super().get_redirect_target(resp)
        if target and origin(urljoin(resp.url, target)) == origin(resp.url):
            return target
        return None


def _proxies(url: str) -> dict[str, str]:
    return {} if is_loopback(url) else dict(get_environ_proxies(url, no_proxy=None))


class _Trust:
    """Whose certificates are accepted; read at the first use of https."""

    def __init__(self, bundle: Path | None, setting: str, *, system_too: bool) -> None:
        self._bundle = bundle
        self._setting = setting
        self._system_too = system_too

    @cached_property
    def context(self) -> ssl.SSLContext:
        try:
            if self._bundle is None:
                return _system_context()
            context = _system_context() if self._system_too else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(self._bundle)
        except OSError as error:  # ssl.SSLError is one
            reason = getattr(error, "reason", "") or error.strerror or "not a PEM file"
            raise Misconfigured(f"{self._setting}: {self._bundle or 'system'}: {reason}") from error
        return context


def _system_context() -> ssl.SSLContext:
    """Trust what the system trusts, or what REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE name instead, as requests does."""
    bundle = environ.get("REQUESTS_CA_BUNDLE") or environ.get("CURL_CA_BUNDLE")
    context = ssl.create_default_context(cafile=bundle or None)
    paths = ssl.get_default_verify_paths()
    if not bundle and not paths.cafile and not paths.capath:
        context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)  # a machine without a store, as some containers are
    return context


class _Transport(HTTPAdapter):
    """Sends with the endpoint's time-outs, without any retry of urllib3's, over connections that are not stale."""

    def __init__(self, endpoint: Endpoint, trust: _Trust, connections: int) -> None:
        self._trust = trust
        self._timeout = (endpoint.connect_s, endpoint.read_s)
        super().__init__(pool_maxsize=connections, pool_block=True, max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:  # noqa: ANN401, FBT001, FBT002 - requests' signature
        super().init_poolmanager(connections, maxsize, block, **pool_kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _FreshPool, "https": _FreshTlsPool}

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:  # noqa: ANN401 - requests' signature
        manager = super().proxy_manager_for(proxy, **proxy_kwargs)
        manager.pool_classes_by_scheme = {"http": _FreshPool, "https": _FreshTlsPool}
        return manager

    def build_connection_pool_key_attributes(
        self,
        request: requests.PreparedRequest,
        verify: Any,  # noqa: ANN401 - requests' signature
        cert: Any = None,  # noqa: ANN401 - requests' signature
    ) -> tuple[Any, Any]:
        host, options = super().build_connection_pool_key_attributes(request, verify, cert)
        if host["scheme"] == "https":
            options = {"cert_reqs": "CERT_REQUIRED", "ssl_context": self._trust.context}
        return host, options

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:  # noqa: ANN401 - requests' signature
        """Add nothing: requests would load certifi's or the environment's authorities into our context here."""

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:  # noqa: ANN401 - requests' signature
        options["timeout"] = self._timeout
        return super().send(request, *args, **options)


class _Fresh:
    """Closes a pooled connection that lay idle too long, when it is taken out again (urllib3 then reconnects it)."""

    now: Callable[[], float] = staticmethod(time.monotonic)

    def _get_conn(self, timeout: float | None = None) -> HTTPConnection:
        connection: HTTPConnection = super()._get_conn(timeout)  # type: ignore[misc]  # a mix-in; the pools have it
        if self.now() - getattr(connection, "idle_since", float("inf")) > MAX_IDLE_S:
            connection.close()
        return connection

    def _put_conn(self, conn: Any) -> None:  # noqa: ANN401 - urllib3's signature
        if conn is not None:
            conn.idle_since = self.now()
        super()._put_conn(conn)  # type: ignore[misc]  # as above


class _FreshPool(_Fresh, HTTPConnectionPool):
    pass


class _FreshTlsPool(_Fresh, HTTPSConnectionPool):
    pass
