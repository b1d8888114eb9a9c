"""Blot secrets out of a text, in every spelling in which they turn up in messages."""

from __future__ import annotations

import re
from binascii import b2a_base64
from json import dumps
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

BLOT = "[secret]"
SHORTEST = 4
"""Characters; blotting out every "a" would hide the text and not the secret."""


_KEY_CHARACTERS = 12
"""From so many on, a piece of an url's path may be a key; shorter ones are words."""


def keys_in(url: str) -> Iterator[str]:
    """Give what may be secret of a web hook's url: itself, and each long piece of its path and its query."""
    if url:
        yield url
        parts = urlsplit(url)
        yield from (
            piece for piece in re.split(r"[/?&=;]", f"{parts.path}?{parts.query}") if len(piece) >= _KEY_CHARACTERS
        )


def proxy_passwords(environ: Mapping[str, str]) -> Iterator[str]:
    """Give the passwords of the proxies that an environment names, also as a request's header has them."""
    for name, value in environ.items():
        login, at, _ = value.rpartition("@")
        if name.lower().endswith("_proxy") and at:
            login = login.rpartition("//")[2]
            _, _, password = login.partition(":")
            yield from (login, password, unquote(password), b2a_base64(unquote(login).encode(), newline=False).decode())


class Redaction:
    """Takes texts and gives them back without the secrets it was told of.

    Needed wherever an error of a library becomes a text: pyral 1.6 puts the API key into some of its exceptions.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        """Learn the secrets; longer spellings go first, for one may be part of another."""
        spellings = {spelling for secret in secrets if len(secret) >= SHORTEST for spelling in _spellings(secret)}
        self._secret = re.compile("|".join(map(re.escape, sorted(spellings, key=len, reverse=True))) or r"(?!)")

    def __call__(self, text: str) -> str:
        """Give the text without any secret."""
        return self._secret.sub(BLOT, text)


def _spellings(secret: str) -> Iterator[str]:
    yield secret
    yield repr(secret)[1:-1]
    yield dumps(secret)[1:-1]
    for encoded in (quote(secret), quote(secret, safe=""), quote_plus(secret)):
        yield encoded
        yield re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), encoded)
