"""Rules for urls, addresses and certificates."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from reconciler.config.rule import Place, Rule, Shape, Wrong, shown, shown_path

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen."""

    host: str
    port: int


def service_url(example: str) -> Rule:
    """Take the url of a server that is sent a secret: https, or http on this machine; no trailing slash is kept."""

    def read(url: str, _: Place) -> str:
        parts = _split(url, example)
        if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
            raise Wrong(
                "sends its secret over http to another machine",
                "write https:// (http:// is accepted for loopback addresses only)",
            )
        if parts.query or parts.fragment or url.endswith(("?", "#")):
            raise Wrong("has a part after ? or #", f"write only the server's address, like {example}")
        return url.rstrip("/")

    return Rule(Shape.TEXT, read, example=f'"{example}"')


def web_hook() -> Rule:
    """Take any http(s) url, or "" for none; it may hold a key of its own and is never shown."""
    example = "https://hooks.example.com/reconciler"

    def read(url: str, _: Place) -> str:
        if url:
            _split(url, example)
        return url

    return Rule(Shape.TEXT, read, example=f'"{example}"')


def _split(url: str, example: str) -> SplitResult:
    """Take a url apart; no message repeats it, for it may hold a password."""
    todo = f"write it like {example}"
    if not url:
        raise Wrong("is empty", todo)
    if not url.isascii() or not url.isprintable() or " " in url:
        raise Wrong("has a blank, control or non-ASCII character in it", todo)
    try:
        parts = urlsplit(url)
        bad_port = parts.port == 0
    except ValueError:
        raise Wrong("is not a valid url", todo) from None
    if parts.scheme not in {"http", "https"}:
        raise Wrong("does not begin with https://", todo)
    if "@" in parts.netloc:
        raise Wrong("has a user or password in it", "take out everything up to the @")
    if not parts.hostname or bad_port:
        raise Wrong("is not a valid url", todo)
    return parts


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    from ipaddress import ip_address  # noqa: PLC0415 - where all is https, as it should be, no command needs it

    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def listen_address() -> Rule:
    """Take HOST:PORT, or "" for no port at all."""

    def read(text: str, _: Place) -> Address | None:
        if not text:
            return None
        match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})", text)
        if match is None or not 1 <= int(match[2]) <= 65535:
            raise Wrong(f"is {shown(text)}, not HOST:PORT", 'write it like "127.0.0.1:9464"')
        return Address(match[1].strip("[]"), int(match[2]))

    return Rule(Shape.TEXT, read)


def ca_bundle() -> Rule:
    """Take a PEM file with certificates to trust, or "" for the system's."""

    def read(text: str, place: Place) -> Path | None:
        if not text:
            return None
        path = place.folder / text
        _raise_if_no_certificate(path)
        return path

    return Rule(Shape.TEXT, read)


def _raise_if_no_certificate(path: Path) -> None:
    import ssl  # noqa: PLC0415 - costs more than the rest of a start, and most configs name no bundle

    named = f"names the file {shown_path(path)}, which"
    try:
        path.read_bytes()
        found = ssl.create_default_context(cafile=path).cert_store_stats()["x509"]
    except FileNotFoundError:
        raise Wrong(f"{named} does not exist", 'name a PEM file, or "" for the system\'s trust store') from None
    except ssl.SSLError:
        found = 0
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise Wrong(f"{named} cannot be read ({reason or 'bad name'})", "let this user read it") from None
    if not found:
        raise Wrong(
            f"{named} holds no certificate that can be read",
            "name a PEM file with -----BEGIN CERTIFICATE----- in it",
        )
