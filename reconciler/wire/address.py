"""What an url says about where a request goes."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit


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
