"""A requests session whose trust, proxies, cookies, time-outs and connections are ours to say, whoever uses it."""

from __future__ import annotations

import re
import ssl
import time
from dataclasses import dataclass
from functools import cached_property
from os import environ
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.cookies import RequestsCookieJar
from requests.structures import CaseInsensitiveDict
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool

from reconciler.errors import Misconfigured
from reconciler.redaction import BLOT, SHORTEST
from reconciler.wire.address import is_loopback, origin
from reconciler.wire.proxies import Proxies, ProxyHttpConnection, ProxyHttpsConnection

if TYPE_CHECKING:
    from collections.abc import Callable
    from http.cookiejar import Cookie

    from urllib3.connection import HTTPConnection

__all__ = ["Endpoint", "ServiceSession", "is_loopback", "origin"]

MAX_IDLE_S = 3.0
"""Connections that lay idle longer are not used again.

Servers close idle ones after 5 s (Apache, Node) or later; a request that meets that close in flight fails with a reset,
and then nobody can tell whether a POST was done.
"""

_READ_BYTES = 1 << 18


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


class ServiceSession(requests.Session):
    """Sends one request at a time and thread, exactly once.

    ====================  ============================================================================================
    requests' habit       here
    ====================  ============================================================================================
    REQUESTS_CA_BUNDLE    only where no bundle is configured (requests lets it win over session.verify)
    HTTPS_PROXY           with NO_PROXY, whatever a library wrote into session.proxies (pyral does): see `Proxies`
    ~/.netrc              not read: it would replace our Authorization
    cookies               not kept: an API key with session cookies is an "Invalid key" to Rally (KB 127054)
    redirects             followed inside the same scheme, host and port only: ZSESSIONID would go along
    an answer is as sent  it loses our credentials where it repeats them: parts of it become messages and rows
    no time-out           the endpoint's, whatever a library passes (pyral's writes pass none)
    ====================  ============================================================================================
    """

    def __init__(self, endpoint: Endpoint, *, ca_setting: str = "ca_bundle", connections: int = 16) -> None:
        """Make the session; nothing is opened yet. `ca_setting` is what a person calls the bundle in the config."""
        super().__init__()
        self.trust_env = False
        self._proxies = Proxies.of(environ)
        self.cookies = _NO_COOKIES
        bundle = endpoint.ca_bundle
        here = _Trust(bundle, ca_setting, system_too=bundle is None)
        elsewhere = _Trust(bundle, ca_setting, system_too=True)
        others = _Transport(endpoint, elsewhere, elsewhere, connections)
        self.mount("https://", others)
        self.mount("http://", others)
        self.mount(f"{endpoint.url}/", _Transport(endpoint, here, elsewhere, connections))

    def once(self, method: str, url: str, **options: Any) -> requests.Response:  # noqa: ANN401 - requests' own
        """Send one request; `request` is left to be something else in a subclass."""
        response = super().request(method, url, **options)
        if not options.get("stream"):
            _blot_out_credentials(response)
        return response

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """Add the session's headers and authentication; its parameters and cookies, of which it has none, cost as much.

        That is 80 µs less for each request, where what follows takes 400.
        """
        headers: CaseInsensitiveDict[Any] = CaseInsensitiveDict(self.headers)
        headers.update(request.headers or {})
        prepared = _Request()
        prepared.prepare(
            method=str(request.method).upper(),
            url=request.url,
            headers={name: value for name, value in headers.items() if value is not None},
            files=request.files,
            data=request.data,
            params=request.params,
            auth=request.auth if request.auth is not None else self.auth,
            hooks=request.hooks,
            json=request.json,
        )
        return prepared

    def merge_environment_settings(
        self,
        url: str | bytes | None,
        proxies: object,  # noqa: ARG002 - of the session or the caller; see the table above
        stream: bool | None,  # noqa: FBT001 - requests' signature
        verify: object,  # noqa: ARG002 - the transport decides
        cert: object,  # noqa: ARG002 - we have none
    ) -> Any:  # noqa: ANN401 - a TypedDict that requests keeps to itself
        """Choose the proxy for an URL; the rest is fixed."""
        return {"proxies": self._route(str(url or "")), "stream": bool(stream), "verify": True, "cert": None}

    def rebuild_proxies(self, prepared_request: requests.PreparedRequest, proxies: object) -> dict[str, str]:  # noqa: ARG002 - as above
        """Choose the proxy anew after a redirect."""
        return self._route(prepared_request.url or "")

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Follow a redirect only where our credentials may go."""
        target = super().get_redirect_target(resp)
        if target and origin(urljoin(resp.url, target)) == origin(resp.url):
            return target
        return None

    def _route(self, url: str) -> dict[str, str]:
        proxy = self._proxies.for_url(url)
        return {urlsplit(url).scheme: proxy} if proxy else {}


class _NoCookies(RequestsCookieJar):
    """A jar that nothing can be put into."""

    def set_cookie(self, cookie: Cookie, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - requests' signature
        pass

    def extract_cookies(self, response: object, request: object) -> None:
        pass

    def copy(self) -> _NoCookies:
        return self  # else a redirect's request would get a jar of another kind


_NO_COOKIES = _NoCookies()


class _Request(requests.PreparedRequest):
    def prepare_cookies(self, cookies: object) -> None:  # noqa: ARG002 - requests' signature
        self._cookies = _NO_COOKIES

    def prepare_url(self, url: Any, params: Any) -> None:  # noqa: ANN401 - requests' signature
        """Leave an address as it is that is written as requests would: it looks at each character six times."""
        if params or not isinstance(url, str) or _AS_REQUESTS_WRITES.fullmatch(url) is None:
            super().prepare_url(url, params)
        else:
            self.url = url


_ESCAPE = "%(?:[0189A-F][0-9A-F]|2[0-9A-CF]|3[A-F]|40|5[B-E]|60|7[B-DF])"  # not of what needs none
_AS_REQUESTS_WRITES = re.compile(
    r"https?://[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[1-9][0-9]{0,4})?"
    rf"(?:/(?!\.)(?:[\w.~!$&'()*+,;=:@-]|{_ESCAPE})*)+(?:\?(?:[\w.~!$&'()*+,;=:@/?-]|{_ESCAPE})+)?",
    re.ASCII,
)


def _blot_out_credentials(response: requests.Response) -> None:
    for name in ("Authorization", "ZSESSIONID"):
        secret = response.request.headers.get(name, "").rpartition(" ")[2].encode()
        if len(secret) >= SHORTEST and secret in response.content:
            response._content = response.content.replace(secret, BLOT.encode())  # noqa: SLF001 - no other way


class _Trust:
    """Whose certificates are accepted; read at the first use of https."""

    def __init__(self, bundle: Path | None, setting: str, *, system_too: bool) -> None:
        self._bundle = bundle
        self._setting = setting
        self._system_too = system_too

    @cached_property
    def context(self) -> ssl.SSLContext:
        if self._bundle is None:
            return _system_context()
        context = _system_context(bundled=True) if self._system_too else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _trust(context, self._bundle, self._setting)
        return context


def _system_context(*, bundled: bool = False) -> ssl.SSLContext:
    """Trust what the system trusts, or what REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE name instead, as requests does.

    Where the config names a bundle (`bundled`), one of theirs that cannot be read is passed over.
    """
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if bundle := environ.get(variable):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            try:
                _trust(context, Path(bundle), variable)
            except Misconfigured:
                if not bundled:
                    raise
                break
            return context
    context = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    if not paths.cafile and not paths.capath:
        context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)  # a machine without a store, as some containers are
    return context


def _trust(context: ssl.SSLContext, bundle: Path, setting: str) -> None:
    """Accept the certificates of a file or folder; requests takes either."""
    try:
        if bundle.is_dir():
            context.load_verify_locations(capath=bundle)
        else:
            context.load_verify_locations(bundle)
    except OSError as error:  # ssl.SSLError is one
        reason = getattr(error, "reason", "") or error.strerror or "not a PEM file"
        raise Misconfigured(f"{setting}: {bundle}: {reason}") from error


class _Transport(HTTPAdapter):
    """Sends with the endpoint's time-outs, without any retry of urllib3's, over connections that are not stale."""

    def __init__(self, endpoint: Endpoint, trust: _Trust, elsewhere: _Trust, connections: int) -> None:
        self._trust = trust
        self._elsewhere = elsewhere
        self._timeout = (endpoint.connect_s, endpoint.read_s)
        self._latest: tuple[object, Any] | None = None
        super().__init__(pool_maxsize=connections, pool_block=True, max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:  # noqa: ANN401, FBT001, FBT002 - requests' signature
        super().init_poolmanager(connections, maxsize, block, **pool_kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _FreshPool, "https": _FreshTlsPool}

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:  # noqa: ANN401 - requests' signature
        if proxy.lower().startswith("https:"):  # TLS to the proxy itself
            proxy_kwargs["proxy_ssl_context"] = self._elsewhere.context
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

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,
        verify: Any,  # noqa: ANN401 - requests' signature
        proxies: Any = None,  # noqa: ANN401 - requests' signature
        cert: Any = None,  # noqa: ANN401 - requests' signature
    ) -> Any:  # noqa: ANN401 - urllib3's pools, which it gives two types
        """Remember the latest server that is reached without a proxy; most requests go there again."""
        if proxies:
            return super().get_connection_with_tls_context(request, verify, proxies, cert)
        latest, server = self._latest, urlsplit(request.url)[:2]
        if latest is None or latest[0] != server:
            latest = self._latest = server, super().get_connection_with_tls_context(request, verify, proxies, cert)
        return latest[1]

    def close(self) -> None:
        self._latest = None
        super().close()

    def request_url(self, request: requests.PreparedRequest, proxies: Any) -> str:  # noqa: ANN401 - requests' signature
        """Spare requests its three looks at the whole URL where there is no proxy."""
        return super().request_url(request, proxies) if proxies else request.path_url

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:  # noqa: ANN401 - requests' signature
        """Add nothing: requests would load certifi's or the environment's authorities into our context here."""

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:  # noqa: ANN401 - requests' signature
        options["timeout"] = self._timeout
        response = super().send(request, *args, **options)
        if not (options.get("stream") or response.is_redirect):
            response._content = b"".join(response.iter_content(_READ_BYTES))  # noqa: SLF001 - `content` reads 10 kB at a time
        return response


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
    ConnectionCls = ProxyHttpConnection


class _FreshTlsPool(_Fresh, HTTPSConnectionPool):
    ConnectionCls = ProxyHttpsConnection
