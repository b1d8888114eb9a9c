"""Members of a gzip file as streams: GitLab's runner puts every JUnit file of a job into one file as its own member."""

from __future__ import annotations

import io
import zlib
from typing import TYPE_CHECKING, BinaryIO, Literal, cast
from urllib.parse import unquote

from reconciler.errors import ReconcilerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import WriteableBuffer

_BLOCK = 64 * 1024
_GZIP = b"\x1f\x8b"
_LONGEST_HEADER = 256 * 1024

_HEADER_BYTES = 10
_HAS_EXTRA, _HAS_NAME, _HAS_COMMENT = 4, 8, 16
_ZLIB_GZIP = 31


class BadGzip(ReconcilerError):
    """The file cannot be decompressed to its end; members that were read to their end before are whole."""

    def __init__(self, kind: Literal["truncated", "corrupt", "too-large"], detail: str) -> None:
        """Say in one line for a person what is wrong."""
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


def is_gzip(head: bytes) -> bool:
    """Tell from the first bytes whether this is a gzip file."""
    return head.startswith(_GZIP)


def members(stream: BinaryIO, *, max_bytes: int) -> Iterator[tuple[str, BinaryIO]]:
    """Yield each member's name and its content, decompressed while it is read.

    The name is the path that the runner keeps in the header's Comment, else the header's Name, else "". What is left
    unread of a member is passed over (and checked) when the next one is asked for. Zeros after a member are padding.

    Raises:
        BadGzip: here or while a member is read: "truncated", "corrupt" (then also when there is no member at all),
            or "too-large": all members together are more than `max_bytes` when decompressed.
    """
    source = _Source(stream, max_bytes)
    begun = False
    while source.more_members(first=not begun):
        begun = True
        name = source.read_header()
        member = _Member(source)
        yield name, cast("BinaryIO", io.BufferedReader(member, _BLOCK))
        member.pass_over()


class _Source:
    """The compressed bytes, of which one block is at hand, and what may still come out of them."""

    def __init__(self, stream: BinaryIO, max_bytes: int) -> None:
        self._stream = stream
        self._max_bytes = max_bytes
        self._left = max_bytes
        self.at_hand = b""

    def fill(self) -> bool:
        """Read on; False at the end of the file."""
        more = self._stream.read(_BLOCK)
        self.at_hand += more
        return bool(more)

    def spend(self, size: int) -> None:
        """Count decompressed bytes against the cap."""
        self._left -= size
        if self._left < 0:
            raise BadGzip("too-large", f"more than {self._max_bytes:,} bytes when decompressed")

    def more_members(self, *, first: bool) -> bool:
        """Pass zeros over; tell whether a member begins behind them."""
        if not first:
            self.at_hand = self.at_hand.lstrip(b"\0")
            while not self.at_hand and self.fill():
                self.at_hand = self.at_hand.lstrip(b"\0")
            if not self.at_hand:
                return False
        self._need(2)
        if not is_gzip(self.at_hand):
            raise BadGzip("corrupt", "not a gzip file" if first else "bytes that are no gzip follow a member")
        return True

    def read_header(self) -> str:
        """Read the names out of the member's header, which stays at hand for zlib (RFC 1952)."""
        self._need(_HEADER_BYTES)
        flags = self.at_hand[3]
        position = _HEADER_BYTES
        if flags & _HAS_EXTRA:
            self._need(position + 2)
            position += 2 + int.from_bytes(self.at_hand[position : position + 2], "little")
        name = comment = ""
        if flags & _HAS_NAME:
            name, position = self._text(position)
        if flags & _HAS_COMMENT:
            comment, position = self._text(position)
        return _path(comment) or name

    def _text(self, start: int) -> tuple[str, int]:
        end = self.at_hand.find(b"\0", start)
        while end < 0:
            if len(self.at_hand) > _LONGEST_HEADER:
                raise BadGzip("corrupt", "the header of a gzip member has no end")
            self._need(len(self.at_hand) + 1)
            end = self.at_hand.find(b"\0", start)
        text = self.at_hand[start:end]
        try:
            return text.decode(), end + 1
        except UnicodeDecodeError:
            return text.decode("latin-1"), end + 1

    def _need(self, size: int) -> None:
        while len(self.at_hand) < size:
            if not self.fill():
                raise BadGzip("truncated", "the gzip file ends within a member's header")


class _Member(io.RawIOBase):
    """One member's content."""

    def __init__(self, source: _Source) -> None:
        super().__init__()
        self._source = source
        self._inflate = zlib.decompressobj(_ZLIB_GZIP)

    def readable(self) -> bool:
        """Can be read, once."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Decompress as much as the buffer holds, never more."""
        view = memoryview(buffer).cast("B")
        data = self._next(len(view))
        view[: len(data)] = data
        return len(data)

    def pass_over(self) -> None:
        """Read what is left of the member, so that its end is found and its checksum compared."""
        while self._next(_BLOCK):
            pass

    def _next(self, size: int) -> bytes:
        data, source = b"", self._source
        while not data and not self._inflate.eof:
            at_end = not source.at_hand and not source.fill()
            data = self._inflated(source.at_hand, size)  # zlib may hold output back even when all input was taken
            source.at_hand = self._inflate.unused_data or self._inflate.unconsumed_tail
            if at_end and not data and not self._inflate.eof:
                raise BadGzip("truncated", "the gzip file ends within a member")
        source.spend(len(data))
        return data

    def _inflated(self, compressed: bytes, size: int) -> bytes:
        try:
            return self._inflate.decompress(compressed, size)
        except zlib.error as error:
            raise BadGzip("corrupt", f"a gzip member cannot be decompressed ({error})") from error


def _path(comment: str) -> str:
    """Read the runner's path; it escapes one with `%` or other than ASCII in it (helpers/archives/gzip_create.go)."""
    if comment.startswith("e:"):
        return unquote(comment.removeprefix("e:"))
    return comment
