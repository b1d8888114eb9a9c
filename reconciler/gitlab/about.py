"""What GitLab says of itself and of our token, and whether it gives us a job's files."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from reconciler.errors import Incomplete
from reconciler.gitlab.download import check
from reconciler.model import AccessToken, Greeting
from reconciler.wire import date_of

if TYPE_CHECKING:
    import requests

    from reconciler.gitlab.download import Download, Downloader

_FIRST = {"Range": "bytes=0-1"}
"""Servers that know no ranges send all; no more than the beginning of that is read."""


def greeting(response: requests.Response) -> Greeting:
    """Read `GET /version` (doc/api/version.md), which needs a token with the scope read_api or read_user."""
    document = response.json()
    version = document.get("version") if isinstance(document, dict) else None
    if not isinstance(version, str):
        raise Incomplete("GitLab: /version: an answer without a version: check gitlab.url")
    return Greeting(version, date_of(response))


def access_token(document: object) -> AccessToken:
    """Read `GET /personal_access_tokens/self`, which any token may ask (doc/api/personal_access_tokens.md)."""
    if not isinstance(document, dict) or not isinstance(document.get("scopes"), list):
        raise Incomplete("GitLab: an answer about the token that cannot be read")
    return AccessToken(
        name=str(document.get("name") or ""),
        scopes=frozenset(map(str, document["scopes"])),
        expires_on=_day(document.get("expires_at")),
        active=document.get("active") is not False and document.get("revoked") is not True,
    )


def read_first_bytes(downloader: Downloader, wanted: Download) -> None:
    """Begin to fetch a file, once; raises as `Downloader.fetch` does."""
    with downloader.follow(wanted.url, _FIRST) as answer:
        check(answer, wanted, brings=206 if answer.response.status_code == 206 else 200)
        next(answer.response.iter_content(2), b"")


def _day(value: object) -> date | None:
    """Read a day, which GitLab's own OpenAPI calls a time."""
    if value is None:
        return None
    try:
        return date.fromisoformat(str(value)[: len("2026-01-31")])
    except ValueError:
        raise Incomplete("GitLab: an answer about the token with a day of expiry that cannot be read") from None
