"""Members of a job's artifacts.zip, read out of byte ranges: its directory first, then only what is wanted."""

from __future__ import annotations

import errno
import io
import threading
import zipfile
import zlib
from bisect import bisect_right
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol, cast

from reconciler.errors import ReconcilerError
from reconciler.zip_directory import ENTRY, mended

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from _typeshed import WriteableBuffer

TAIL_BYTES = 256 * 1024
"""What is read first, from the end: the end record with its longest comment, and a directory of some 1,500 members."""
GAP_BYTES = 32 * 1024
"""Unwanted bytes between two wanted members that cost less than a further request."""
PIECE_BYTES = 8 * 1024 * 1024
"""The most that is asked for, and held in memory, at once."""
_BLOCK = 64 * 1024
_HEADER_BYTES = 30
_LONGER_EXTRA_BYTES = 512
"""How much more a member's own header may hold than the directory says of it (times and owners, by Info-ZIP)."""
_DIRECTORY_BYTES = 32 * 1024 * 1024
_WASTE = 200
"""Up to one in so many of the archive's bytes may be fetched for nothing, to save requests."""

_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
"""What GitLab's runner writes; zipfile decompresses the others without a bound on what comes out at once."""
_ENCRYPTED = 0x1

Kind = Literal["corrupt", "truncated", "encrypted", "unsupported", "too-large"]


class BadArchive(ReconcilerError):
    """The archive as a whole cannot be read."""

    def __init__(self, kind: Kind, detail: str) -> None:
        """Say in one line for a person what is wrong."""
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


class BadMember(ReconcilerError):
    """One member of an archive cannot be read, or not to its end; the others can."""

    def __init__(self, kind: Kind, detail: str) -> None:
        """Say in one line for a person what is wrong."""
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive, as the archive's directory tells it."""

    path: str
    """As the zip has it, whatever that is: only ever compared, never opened."""
    size_bytes: int
    """Unpacked; not to be relied on before the member was read to its end."""
    crc: int = 0
    """CRC-32 of its bytes, as the directory has it."""
    copies: int = 1
    """How many members have this path; the last one counts, as every unzip leaves it."""
    objection: BadMember | None = None
    """What is known to be wrong with it before a byte is fetched: encrypted, a bomb, a method that nobody uses."""


@dataclass(frozen=True, slots=True)
class Caps:
    """How much of an archive is read; what is never opened may be as large as it likes."""

    members: int = 100_000
    member_bytes: int = 1_000_000_000
    total_bytes: int = 2_000_000_000
    """Of all members that are read, unpacked, as far as they are read."""
    ratio: int = 500
    """Deflate reaches 1,032 with a byte that never changes; reports of one repeated test stay far below this."""
    ratio_free_bytes: int = 8_000_000
    """Up to here a member may have any ratio."""


_DEFAULT_CAPS = Caps()


@dataclass(frozen=True, slots=True)
class Ending:
    """An archive's last bytes, its directory among them: a source that has them lets it be opened without a request."""

    data: bytes
    directory_bytes: int
    """How many of them, counted from the end, were read to open it."""


class RangeSource(Protocol):
    """Bytes somewhere else, of which ranges can be had; whatever it raises passes through the archive."""

    def tail(self, length: int) -> tuple[int, bytes]:
        """Tell the size of the whole, and give its last bytes: so many, or more where they are at hand.

        Called once, before `read`.
        """

    def read(self, start: int, length: int) -> bytes:
        """Give exactly these bytes, which lie within the whole."""


class LocalFile:
    """A file at hand as a source, for any number of threads."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lock = threading.Lock()

    def tail(self, length: int) -> tuple[int, bytes]:
        """Tell the size and give the last bytes."""
        with self._lock:
            size = self._file.seek(0, io.SEEK_END)
        start = max(0, size - length)
        return size, self.read(start, size - start)

    def read(self, start: int, length: int) -> bytes:
        """Give these bytes."""
        with self._lock:
            self._file.seek(start)
            return self._file.read(length)


class RemoteArchive:
    """An archive whose directory has been read."""

    def __init__(self, source: RangeSource, caps: Caps = _DEFAULT_CAPS) -> None:
        """Read the directory: one range, or two where it is longer than `TAIL_BYTES`.

        Raises:
            BadArchive: this is no zip, its directory is damaged or too large.
        """
        self._caps = caps
        self._left = caps.total_bytes
        self._file = _Sparse(source, caps.members)
        try:
            self._zip = zipfile.ZipFile(cast("BinaryIO", self._file))
        except ReconcilerError:
            raise
        except Exception as error:  # what zipfile raises over a hostile directory is of no fixed kind
            raise BadArchive("corrupt", f"its directory cannot be read: {_said(error)}") from error
        self._file.is_opening = False
        infos = [info for info in self._zip.infolist() if not info.is_dir()]
        copies = Counter(info.filename for info in infos)
        self._infos = {info.filename: info for info in infos}
        self._members = {path: self._member(info, copies[path]) for path, info in self._infos.items()}
        self.members = tuple(self._members.values())
        """The files in it, without folders; of several with one path the last, as every unzip leaves it."""

    def ending(self) -> Ending:
        """Give what is at hand of its end."""
        return self._file.ending()

    def open(self, paths: Collection[str]) -> Iterator[tuple[Member, io.BufferedReader | BadMember]]:
        """Give the members with these paths in the order of their bytes, each to be read before the next is asked for.

        A member that is known to be bad is given as what is wrong with it; reading one may raise `BadMember` too. Its
        size is held against the caps before a byte of it is fetched; its checksum and size are compared at its end.
        """
        infos = sorted((self._infos[path] for path in set(paths) & self._infos.keys()), key=_offset)
        self._file.plan(self._runs(info for info in infos if self._members[info.filename].objection is None))
        for info in infos:
            member = self._members[info.filename]
            objection = member.objection or (self._spent_all() if self._left <= 0 else None)
            if objection is not None:
                yield member, objection
                continue
            try:
                with _judging():
                    opened = cast("zipfile.ZipExtFile", self._zip.open(info))
            except BadMember as error:
                yield member, error
                continue
            with opened:
                yield member, io.BufferedReader(_Content(opened, info, self._spend), _BLOCK)

    def _member(self, info: zipfile.ZipInfo, copies: int) -> Member:
        return Member(info.filename, info.file_size, info.CRC, copies, self._objection(info))

    def _objection(self, info: zipfile.ZipInfo) -> BadMember | None:
        caps = self._caps
        if info.flag_bits & _ENCRYPTED:
            return BadMember("encrypted", "it is encrypted")
        if info.compress_type not in _METHODS:
            return BadMember("unsupported", f"it is compressed by method {info.compress_type}")
        if info.file_size > caps.member_bytes:
            return BadMember("too-large", f"it has {info.file_size:,} bytes, more than {caps.member_bytes:,}")
        if info.file_size > max(caps.ratio_free_bytes, caps.ratio * info.compress_size):
            return BadMember("too-large", f"{info.compress_size:,} bytes that unpack to {info.file_size:,}: a zip bomb")
        return None

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise self._spent_all()

    def _spent_all(self) -> BadMember:
        return BadMember("too-large", f"more than {self._caps.total_bytes:,} bytes were unpacked of this archive")

    def _runs(self, infos: Iterable[zipfile.ZipInfo]) -> list[tuple[int, int]]:
        """Tell what is to be fetched in one go: where members lie, small gaps between them included."""
        starts = sorted({info.header_offset for info in self._zip.infolist()} | {self._zip.start_dir})
        spans: list[tuple[int, int]] = []
        for info in infos:
            names = len(info.orig_filename.encode()) + len(info.extra)
            guess = info.header_offset + _HEADER_BYTES + names + _LONGER_EXTRA_BYTES + info.compress_size
            following = bisect_right(starts, info.header_offset)
            stop = min(guess, starts[following]) if following < len(starts) else guess
            spans.append((info.header_offset, min(stop, self._file.size)))
        return _joined(spans, spare=self._file.size // _WASTE)


def _joined(spans: list[tuple[int, int]], *, spare: int) -> list[tuple[int, int]]:
    """Join neighbours across gaps up to `GAP_BYTES`, and the smallest others while these fit into `spare`."""
    gaps = {index + 1: after[0] - before[1] for index, (before, after) in enumerate(pairwise(spans))}
    closed = {index for index, gap in gaps.items() if gap <= GAP_BYTES}
    for index in sorted(gaps.keys() - closed, key=gaps.__getitem__):
        spare -= gaps[index]
        if spare < 0:
            break
        closed.add(index)
    runs: list[tuple[int, int]] = []
    for index, (start, stop) in enumerate(spans):
        if index in closed:
            runs[-1] = (runs[-1][0], max(stop, runs[-1][1]))
        else:
            runs.append((start, stop))
    return runs


def _offset(info: zipfile.ZipInfo) -> int:
    return info.header_offset


class _Sparse(io.RawIOBase):
    """The archive as a file of which only two pieces are at hand: its end, and what was fetched last."""

    def __init__(self, source: RangeSource, most_members: int) -> None:
        super().__init__()
        self._source = source
        self._most_members = most_members
        self.size, self._tail = source.tail(TAIL_BYTES)
        self._tail_start = self.size - len(self._tail)
        self._opened_from = self.size
        self._piece, self._piece_start = b"", 0
        self._runs: list[tuple[int, int]] = []
        self._at = 0
        self.is_opening = True
        """Whether what begins like a directory is one."""

    def ending(self) -> Ending:
        """Give what is at hand of its end, after it was opened."""
        return Ending(self._tail, self.size - self._opened_from)

    def plan(self, runs: list[tuple[int, int]]) -> None:
        """Fetch these stretches each as one from now on, or in as few pieces as `PIECE_BYTES` allows."""
        self._runs = runs

    def readable(self) -> bool:
        """Can be read."""
        return True

    def seekable(self) -> bool:
        """Can be moved about in."""
        return True

    def tell(self) -> int:
        """Tell the position."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to another position; one before the first byte is none."""
        position = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence] + offset
        if position < 0:
            raise OSError(errno.EINVAL, "it points before its own beginning")
        self._at = position
        return position

    def read(self, size: int | None = -1, /) -> bytes:
        """Read all of `size` bytes, short only at the end of the file.

        zipfile reads members by the block; what is longer than the tail is the directory.
        """
        stop = self.size if size is None or size < 0 else min(self.size, self._at + size)
        if stop - self._at > _DIRECTORY_BYTES:
            raise BadArchive(
                "too-large", f"its directory has {stop - self._at:,} bytes, more than {_DIRECTORY_BYTES:,}"
            )
        if self.is_opening:
            self._lengthen_tail(self._at)
        parts: list[bytes] = []
        while self._at < stop:
            parts.append(self._some(self._at, stop))
            self._at += len(parts[-1])
        data = b"".join(parts)
        if len(data) > TAIL_BYTES and data.count(ENTRY) > self._most_members:
            raise BadArchive("too-large", f"it has more than {self._most_members:,} members")
        return mended(data) if data.startswith(ENTRY) and self.is_opening else data

    def _lengthen_tail(self, start: int) -> None:
        """Hold all from here on: zipfile looks for the directory from the end, and its parts adjoin one another."""
        self._opened_from = min(self._opened_from, start)
        if self._tail_start - start > _DIRECTORY_BYTES:
            raise BadArchive("corrupt", "parts of its directory lie far from its end")
        if start < self._tail_start:
            starts = range(start, self._tail_start, PIECE_BYTES)
            pieces = [self._source.read(at, min(PIECE_BYTES, self._tail_start - at)) for at in starts]
            self._tail, self._tail_start = b"".join([*pieces, self._tail]), start

    def _some(self, start: int, stop: int) -> bytes:
        if start >= self._tail_start:
            return self._tail[start - self._tail_start : stop - self._tail_start]
        if not 0 <= start - self._piece_start < len(self._piece):
            self._piece = b""  # before the next one comes: never two in memory
            self._piece = self._source.read(start, self._reach(start, stop) - start)
            self._piece_start = start
        return self._piece[start - self._piece_start : stop - self._piece_start]

    def _reach(self, start: int, stop: int) -> int:
        """Tell how far to fetch: to the end of the run, where there is one, but not into what is at hand already."""
        following = bisect_right(self._runs, (start, self.size))
        if following and start < self._runs[following - 1][1]:
            stop = max(stop, self._runs[following - 1][1])
        return min(stop, start + PIECE_BYTES, self._tail_start)


class _Content(io.RawIOBase):
    """One member's bytes, unpacked while they are read."""

    def __init__(self, opened: zipfile.ZipExtFile, info: zipfile.ZipInfo, spend: Spend) -> None:
        super().__init__()
        self._opened = opened
        self._missing = info.file_size
        self._spend = spend

    def readable(self) -> bool:
        """Can be read, once."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Unpack as much as the buffer holds, never more."""
        view = memoryview(buffer).cast("B")
        with _judging():
            data = self._opened.read(len(view))
        self._spend(len(data))
        self._missing -= len(data)
        if not data and self._missing and len(view):  # zipfile cuts what is longer, and minds its checksum
            raise BadMember("corrupt", f"it ends {self._missing:,} bytes before the size that the directory tells")
        view[: len(data)] = data
        return len(data)


class Spend(Protocol):
    """Counts unpacked bytes."""

    def __call__(self, size: int, /) -> None:
        """Count so many; raises `BadMember` when they are too many."""


@contextmanager
def _judging() -> Iterator[None]:
    """Turn what zipfile and zlib raise over a bad member into `BadMember`."""
    try:
        yield
    except EOFError as error:
        raise BadMember("truncated", "its bytes end too early") from error
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, ValueError, OSError) as error:
        raise BadMember("corrupt", f"it cannot be unpacked: {_said(error)}") from error


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
