"""A job's archive as byte ranges; where it cannot be had so, one download into a temporary file stands in for it."""

from __future__ import annotations

import io
import re
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from reconciler.archive import Ending
from reconciler.errors import Incomplete
from reconciler.gitlab.download import Answered, Download, Downloader, check
from reconciler.gitlab.kept import Known, SharedFile
from reconciler.wire import Scope, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from reconciler.wire import Wire

T = TypeVar("T")

_LONGEST_DOWNLOAD_S = 1800.0
_CHUNK_BYTES = 64 * 1024
_CONTENT_RANGE = re.compile(r"bytes\s+(?:(\d+)-(\d+)|\*)/(\d+)")
_REFUSED = frozenset({400, 405, 501})
"""What servers say that do not know this kind of range (400: a suffix range on gitlab.com, facts section 4)."""
_NO_LONGER_SIGNED = frozenset({400, 401, 403, 404, 410})


@dataclass(frozen=True, slots=True)
class _Part:
    """A range of the archive, or, without data, only its size."""

    start: int
    data: bytes
    total: int
    etag: str
    signed_url: str
    """Where the object store has it; "" = GitLab sent it itself."""


@dataclass(frozen=True, slots=True)
class _Whole:
    """All of it: the server does not know ranges."""

    file: BinaryIO
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class _Asking:
    """What a request asks for; `header` "" = all of it."""

    header: str
    most_bytes: int = 0


class _RangeRefused(Exception):
    """The server says that it cannot do this kind of range; never leaves this file."""

    def __init__(self, signed_url: str) -> None:
        super().__init__(signed_url)
        self.signed_url = signed_url


class ArchiveRanges:
    """One archive; used by one thread, closed when done with."""

    def __init__(self, wire: Wire, downloader: Downloader, wanted: Download, known: Known | None = None) -> None:
        """Ask nothing yet, and nothing that is `known` from an earlier opening, whose file is let go of in the end.

        `wanted.listed_bytes` saves a request, `wanted.max_bytes` caps the temporary file.
        """
        self._wire = wire
        self._downloader = downloader
        self._wanted = wanted
        self._known = known
        self._signed_url = known.signed_url if known else ""
        self._size = known.size if known else 0
        self._etag = known.etag if known else ""
        self._file = known.file if known else None
        self._has_failed = False

    def close(self) -> None:
        """Let the temporary file go, if there is one."""
        if self._file is not None:
            self._file.let_go()

    def learnt(self, ending: Ending) -> Known | None:
        """Tell what another opening need not ask for; None when something went wrong: that one starts anew."""
        if self._has_failed:
            return None
        if self._file is not None:
            return Known(self._size, self._etag, self._signed_url, Ending(b"", 0), self._file.hold())
        return Known(self._size, self._etag, self._signed_url, ending, None)

    def tail(self, length: int) -> tuple[int, bytes]:
        """Tell the size and give the last bytes: an explicit range where GitLab lists the size, else a suffix range.

        The size that counts is that of the answer; where it is another than the listed one, the tail is fetched anew.
        """
        if self._file is not None:
            return self._file.tail(length)
        if self._known is not None:
            return self._size, self._known.ending()
        listed = self._wanted.listed_bytes
        if listed:
            part = self._first_of(_stretch(max(0, listed - length), listed))
        else:
            part = self._first_of(_Asking(f"bytes=-{length}", length), _stretch(0, 1))
        if part is None:
            return self._local().tail(length)
        start = max(0, part.total - length)
        data = part.data[start - part.start :] if start >= part.start else b""
        if len(data) < part.total - start:
            data = self.read(start, part.total - start)
        return self._size, data

    def read(self, start: int, length: int) -> bytes:
        """Give these bytes.

        Raises:
            Incomplete: the archive is not the one whose end was read before, or it keeps coming in pieces.
            ServiceDown, NotThere, Forbidden, TooLarge, Unauthorized, Stopped: as the port says.
        """
        try:
            return self._read(start, length)
        except BaseException:
            self._has_failed = True
            raise

    def _read(self, start: int, length: int) -> bytes:
        part = self._first_of(_stretch(start, start + length)) if self._file is None else None
        if part is None:
            return self._local().read(start, length)
        if (part.start, len(part.data)) != (start, length):
            raise self._changed()
        return part.data

    def _local(self) -> SharedFile:
        return self._file or SharedFile(io.BytesIO(), 0)

    def _first_of(self, *askings: _Asking) -> _Part | None:
        """Ask for the first of these that the server can do; None: it can do none, and the file is there."""
        for asking in askings:
            try:
                return self._took(self._reading(partial(self._attempt, asking)))
            except _RangeRefused as refused:
                self._signed_url = refused.signed_url
        return self._took(self._reading(partial(self._attempt, _Asking(""))))

    def _reading(self, attempt: Callable[[], T]) -> T:
        return self._wire.reading(self._wanted.url, attempt, longest_s=_LONGEST_DOWNLOAD_S)

    def _took(self, answer: _Part | _Whole) -> _Part | None:
        """Note what an answer tells, in the thread that asked: one that was left behind must not."""
        size = answer.total if isinstance(answer, _Part) else answer.size
        other_etag = bool(self._etag and answer.etag) and answer.etag != self._etag
        if other_etag or self._size not in {0, size}:
            if isinstance(answer, _Whole):
                answer.file.close()
            raise self._changed()
        self._size, self._etag = size, answer.etag or self._etag
        if isinstance(answer, _Whole):
            self._file = SharedFile(answer.file, answer.size)
            return None
        self._signed_url = answer.signed_url
        return answer

    def _changed(self) -> Incomplete:
        return Incomplete(f"GitLab: {self._wanted.what} was changed while it was read")

    def _attempt(self, asking: _Asking) -> _Part | _Whole:
        with self._asked(asking) as answer:
            status = answer.response.status_code
            if asking.header and status in _REFUSED:
                raise _RangeRefused(_signed(answer))
            if asking.header and status == 416:
                return self._size_only(answer)
            if asking.header and status == 206:
                check(answer, self._wanted, brings=206)
                return self._part(answer, asking)
            check(answer, self._wanted)
            return self._whole(answer)

    @contextmanager
    def _asked(self, asking: _Asking) -> Iterator[Answered]:
        """Ask where the last answer came from, and GitLab for a new address when that one has expired."""
        headers = {"Range": asking.header} if asking.header else {}
        if self._signed_url:
            with self._downloader.signed(self._signed_url, headers) as answer:
                if answer.response.status_code not in _NO_LONGER_SIGNED:
                    yield answer
                    return
        with self._downloader.follow(self._wanted.url, headers) as answer:
            yield answer

    def _size_only(self, answer: Answered) -> _Part:
        """Read the size out of a 416: the archive is shorter than GitLab lists it, or than it was."""
        _, _, total = self._content_range(answer)
        return _Part(total, b"", total, answer.response.headers.get("ETag", ""), _signed(answer))

    def _part(self, answer: Answered, asking: _Asking) -> _Part:
        start, stop, total = self._content_range(answer)
        length = stop - start
        if not 0 < length <= asking.most_bytes:
            raise Incomplete(f"GitLab: {self._wanted.what}: {length} bytes instead of {asking.most_bytes}")
        chunks, size = [], 0
        for chunk in answer.response.iter_content(_CHUNK_BYTES):
            chunks.append(chunk)
            size += len(chunk)
            if size > length:
                break
        if size != length:
            scope = Scope.ANSWER if answer.at_home else Scope.ELSEWHERE
            raise Trouble(f"a range of {length} bytes was cut short", scope)
        return _Part(start, b"".join(chunks), total, answer.response.headers.get("ETag", ""), _signed(answer))

    def _whole(self, answer: Answered) -> _Whole:
        file = self._downloader.save(answer, self._wanted)
        if file is None:
            raise Incomplete(f"GitLab: {self._wanted.what}: nothing came")
        return _Whole(file, file.seek(0, io.SEEK_END), answer.response.headers.get("ETag", ""))

    def _content_range(self, answer: Answered) -> tuple[int, int, int]:
        match = _CONTENT_RANGE.fullmatch(answer.response.headers.get("Content-Range", "").strip())
        if match is None:
            raise Incomplete(f"GitLab: {self._wanted.what}: a range that does not say which (HTTP 206 or 416)")
        first, last, total = match.groups()
        return (int(first), int(last) + 1, int(total)) if first else (int(total), int(total), int(total))


def _stretch(start: int, stop: int) -> _Asking:
    return _Asking(f"bytes={start}-{stop - 1}", stop - start)


def _signed(answer: Answered) -> str:
    return "" if answer.at_home else answer.url
