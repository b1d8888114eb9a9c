"""One file from GitLab, into a temporary file; GitLab's object store never sees our token."""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.exceptions import HTTPError

from reconciler.errors import Forbidden, Incomplete, NotThere, Stopped, TooLarge
from reconciler.wire import Scope, Trouble, is_html, judge, origin
from reconciler.wire.trouble import explain

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from reconciler.wire import ServiceSession

_CHUNK_BYTES = 64 * 1024
_HOPS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_ZIP = b"PK"


@dataclass(frozen=True, slots=True)
class Download:
    """What is to be fetched, and what is known of it."""

    url: str
    what: str
    """Which thing, for a person."""
    max_bytes: int
    listed_bytes: int = 0
    """Its size as GitLab lists it; 0 = not known. Tells whether a body that ends with the connection is whole."""
    may_be_page: bool = False
    """Whether HTML may be what was asked for."""
    zip_is_none: bool = False
    """Whether a zip is the answer of a server that does not know the question."""


class Downloader:
    """Fetches files over a session that carries no token of its own."""

    def __init__(self, session: ServiceSession, token: str, stop: threading.Event) -> None:
        """Send `token` to the session's endpoint and nowhere else."""
        self._session = session
        self._token = token
        self._stop = stop

    def fetch(self, wanted: Download) -> BinaryIO | None:
        """Try once; the file stands at its first byte.

        Raises:
            Trouble: another try may help.
            NotThere, Forbidden, TooLarge, Incomplete, Stopped.
        """
        with self._open(wanted) as response:
            try:
                return self._save(response, wanted)
            except (requests.RequestException, HTTPError) as error:
                if origin(response.url) == origin(wanted.url):
                    raise
                raise _store_failed(error, response.url) from error

    def _open(self, wanted: Download) -> requests.Response:
        """Follow redirects by hand: presigned URLs get no token, and they are never kept."""
        url, at_home = wanted.url, True
        for _ in range(_HOPS):
            response = self._ask(url, at_home=at_home)
            if response.status_code not in _REDIRECTS:
                break
            response.close()
            url = urljoin(url, response.headers.get("Location", ""))
            at_home = at_home and origin(url) == origin(wanted.url)
        try:
            self._check(response, wanted, at_home=at_home)
        except BaseException:
            response.close()
            raise
        return response

    def _ask(self, url: str, *, at_home: bool) -> requests.Response:
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        if at_home:
            headers["Authorization"] = f"Bearer {self._token}"
            return self._session.once("GET", url, headers=headers, stream=True, allow_redirects=False)
        if urlsplit(url).scheme not in {"http", "https"}:
            raise Trouble("GitLab sends us to something that is not a web address", Scope.ANSWER)
        try:
            return self._session.once("GET", url, headers=headers, stream=True, allow_redirects=False)
        except (requests.RequestException, HTTPError) as error:
            raise _store_failed(error, url) from error

    def _check(self, response: requests.Response, wanted: Download, *, at_home: bool) -> None:
        status = response.status_code
        if status in {404, 410}:
            raise NotThere(f"GitLab: {wanted.what}: HTTP {status}")
        if not at_home and status != 200:  # an expired signature is 403 there: the next try gets a new one
            raise Trouble(f"the object store answers HTTP {status}", Scope.ELSEWHERE)
        judge(response)
        if status == 403:
            raise Forbidden(f"GitLab: {wanted.what}: HTTP 403")
        if status != 200:
            raise Incomplete(f"GitLab: {wanted.what}: HTTP {status}")
        if is_html(response) and not wanted.may_be_page:
            raise Trouble("a page instead of the file: a login or maintenance page, or a proxy", Scope.ANSWER)

    def _save(self, response: requests.Response, wanted: Download) -> BinaryIO | None:
        if _length(response) > wanted.max_bytes and not wanted.zip_is_none:
            raise TooLarge(f"GitLab: {wanted.what} has more than {wanted.max_bytes} bytes")
        chunks: Iterator[bytes] = response.iter_content(_CHUNK_BYTES)
        first = b""
        while len(first) < len(_ZIP) and (chunk := next(chunks, b"")):
            first += chunk
        if wanted.zip_is_none and first.startswith(_ZIP):
            return None
        file = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115 - the caller closes it
        try:
            size = self._copy(first, chunks, file, wanted)
            _check_size(response, size, wanted)
        except BaseException:
            file.close()
            raise
        file.seek(0)
        return file

    def _copy(self, first: bytes, chunks: Iterator[bytes], file: BinaryIO, wanted: Download) -> int:
        size = 0
        for chunk in itertools.chain([first], chunks):
            size += len(chunk)
            if size > wanted.max_bytes:
                raise TooLarge(f"GitLab: {wanted.what} has more than {wanted.max_bytes} bytes")
            if self._stop.is_set():
                raise Stopped("stopped")
            file.write(chunk)
        return size


def _store_failed(error: Exception, url: str) -> Trouble:
    return Trouble(f"object store: {explain(error, url, 'gitlab.ca_bundle').detail}", Scope.ELSEWHERE)


def _length(response: requests.Response) -> int:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isdecimal() else 0


def _check_size(response: requests.Response, size: int, wanted: Download) -> None:
    """Find out a body that ended with its connection; the other two framings are checked below (urllib3)."""
    framed = "Content-Length" in response.headers or "Transfer-Encoding" in response.headers
    if not framed and size < wanted.listed_bytes:
        raise Trouble(f"cut short after {size} of {wanted.listed_bytes} bytes", Scope.ANSWER)
