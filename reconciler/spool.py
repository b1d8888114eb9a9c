"""Bytes on their way from GitLab to Rally: in one temporary file on disk, never in memory."""

from __future__ import annotations

import io
import os
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

from reconciler.errors import ReconcilerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import WriteableBuffer

_BLOCK = 64 * 1024
HEAD_BYTES = 64


class SpoolFull(ReconcilerError):
    """The disk is full, or the temporary folder cannot be written."""


@dataclass(frozen=True, slots=True)
class Part:
    """Where one file lies in the spool."""

    start: int
    size_bytes: int


class Spool:
    """Takes files one after another; what was taken can be read by several at once, until it is emptied."""

    def __init__(self) -> None:
        """Open an unnamed temporary file: it is gone when the process is, however that ends."""
        with _named_trouble():
            # Unbuffered: what a full disk does not take would stay in a buffer, and make every later step fail too.
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed by `close`
        self.size_bytes = 0

    def close(self) -> None:
        """Let the file go."""
        self._file.close()

    def empty(self) -> None:
        """Let go of all parts."""
        self._file.truncate(0)
        self.size_bytes = 0

    def add(self, stream: BinaryIO) -> Part:
        """Take a stream to its end; when that raises, nothing of it stays.

        Raises:
            SpoolFull: and whatever reading the stream raises.
        """
        start = self.size_bytes
        self._file.seek(start)
        try:
            while block := stream.read(_BLOCK):
                self._write(block)
        except BaseException:
            self._file.truncate(start)
            raise
        self.size_bytes = self._file.tell()
        return Part(start, self.size_bytes - start)

    def _write(self, block: bytes) -> None:
        rest = memoryview(block)
        with _named_trouble():
            while rest:
                rest = rest[self._file.write(rest) :]

    def open(self, part: Part) -> BinaryIO:
        """Give a part as a file of its own, at its first byte."""
        return cast("BinaryIO", io.BufferedReader(_Window(self._file.fileno(), part), _BLOCK))

    def head(self, part: Part) -> bytes:
        """Give the first bytes of a part."""
        return os.pread(self._file.fileno(), min(HEAD_BYTES, part.size_bytes), part.start)


class _Window(io.RawIOBase):
    """A stretch of a file, with a position of its own."""

    def __init__(self, descriptor: int, part: Part) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._part = part
        self._at = 0

    def readable(self) -> bool:
        """Can be read."""
        return True

    def seekable(self) -> bool:
        """Can be moved about in."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to another position."""
        self._at = max(0, {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._part.size_bytes}[whence] + offset)
        return self._at

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read on."""
        view = memoryview(buffer).cast("B")
        length = max(0, min(len(view), self._part.size_bytes - self._at))
        data = os.pread(self._descriptor, length, self._part.start + self._at)
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


@contextmanager
def _named_trouble() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SpoolFull(
            f"temporary files cannot be written in {tempfile.gettempdir()}: {error.strerror}: free some space there, or"
            " set TMPDIR; nothing was lost, the next pass goes on"
        ) from error
