"""One file from GitLab, into a temporary file; GitLab's object store never sees our token."""

from __future__ import annotations

import itertools
import tempfile
from contextlib import contextmanager, suppress
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
    from collections.abc import Iterator, Mapping

    from reconciler.wire import ServiceSession

_CHUNK_BYTES = 64 * 1024
_SHORT_BYTES = 16 * 1024
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
    zip_is_none: bool = False
    """Whether a zip is the answer of a server that does not know the question."""


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer whose body is still to be read."""

    response: requests.Response
    url: str
    at_home: bool
    """Whether GitLab itself gave it."""


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
        with self.follow(wanted.url) as answer:
            check(answer, wanted)
            return self.save(answer, wanted)

    @contextmanager
    def follow(self, url: str, more: Mapping[str, str] | None = None) -> Iterator[Answered]:
        """Follow redirects by hand: presigned URLs get no token."""
        home, at_home = origin(url), True
        for _ in range(_HOPS):
            response = self._ask(url, more or {}, at_home=at_home)
            if response.status_code not in _REDIRECTS:
                break
            _let_go(response)
            url = urljoin(url, response.headers.get("Location", ""))
            at_home = at_home and origin(url) == home
        with response, _reading(url, at_home=at_home):
            yield Answered(response, url, at_home=at_home)

    @contextmanager
    def signed(self, url: str, more: Mapping[str, str]) -> Iterator[Answered]:
        """Ask for a presigned URL that a redirect led to before."""
        with self._ask(url, more, at_home=False) as response, _reading(url, at_home=False):
            yield Answered(response, url, at_home=False)

    def _ask(self, url: str, more: Mapping[str, str], *, at_home: bool) -> requests.Response:
        headers = {"Accept": "*/*", "Accept-Encoding": "identity", **more}
        if at_home:
            headers["Authorization"] = f"Bearer {self._token}"
            return self._session.once("GET", url, headers=headers, stream=True, allow_redirects=False)
        if urlsplit(url).scheme not in {"http", "https"}:
            raise Trouble("GitLab sends us to something that is not a web address", Scope.ANSWER)
        try:
            return self._session.once("GET", url, headers=headers, stream=True, allow_redirects=False)
        except (requests.RequestException, HTTPError) as error:
            raise _store_failed(error, url) from error

    def save(self, answer: Answered, wanted: Download) -> BinaryIO | None:
        """Put the body into a temporary file, at its first byte; raises as `fetch` does."""
        response = answer.response
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


def _let_go(response: requests.Response) -> None:
    """Let the connection be used again, or close it where that would cost more than a new one."""
    if _length(response) <= _SHORT_BYTES and "Transfer-Encoding" not in response.headers:
        with suppress(requests.RequestException, HTTPError, OSError):
            response.raw.drain_conn()
    response.close()


def check(answer: Answered, wanted: Download, *, brings: int = 200) -> None:
    """Let pass only an answer that brings the thing itself; raises as `Downloader.fetch` does."""
    response, status = answer.response, answer.response.status_code
    if status in {404, 410}:
        raise NotThere(f"GitLab: {wanted.what}: HTTP {status}")
    if not answer.at_home and status != brings:  # an expired signature is 403 there: the next try gets a new one
        raise Trouble(f"the object store answers HTTP {status}", Scope.ELSEWHERE)
    judge(response)
    if status == 403:
        raise Forbidden(f"GitLab: {wanted.what}: HTTP 403")
    if status != brings:
        raise Incomplete(f"GitLab: {wanted.what}: HTTP {status}")
    if is_html(response):
        raise Trouble("a page instead of the file: a login or maintenance page, or a proxy", Scope.ANSWER)


@contextmanager
def _reading(url: str, *, at_home: bool) -> Iterator[None]:
    """Lay it at the object store's door when its answer breaks off."""
    try:
        yield
    except (requests.RequestException, HTTPError) as error:
        if at_home:
            raise
        raise _store_failed(error, url) from error


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
