"""By which way a request leaves this machine, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from reconciler.wire.address import is_loopback, origin
from reconciler.wire.proxies import Proxies, UnusableProxy

if TYPE_CHECKING:
    from collections.abc import Mapping


def route_to(url: str, environ: Mapping[str, str]) -> str:
    """Say whether a proxy stands between us and an URL, and which one, without its password."""
    proxies = Proxies.of(environ)
    try:
        proxy = proxies.for_url(url)
    except UnusableProxy as error:
        return str(error)
    if proxy:
        scheme = urlsplit(url).scheme
        variable = f"{scheme if scheme in proxies.by_scheme else 'all'}_proxy".upper()
        return f"through the proxy {_without_password(proxy)} ({variable})"
    if is_loopback(url) or not proxies.by_scheme:
        return "directly"
    _, host, port = origin(url)
    exempt = any(one.covers(host, port) for one in proxies.exempt)
    return "directly (NO_PROXY names it)" if exempt else "directly"


def _without_password(proxy: str) -> str:
    parts = urlsplit(proxy)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
