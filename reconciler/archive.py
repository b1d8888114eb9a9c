"""Members of a job's artifacts.zip, read out of byte ranges: its directory first, then only what is wanted."""

from __future__ import annotations

import errno
import io
import struct
import threading
import zipfile
import zlib
from array import array
from bisect import bisect_right
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol, cast

from reconciler import zip_directory
from reconciler.errors import ReconcilerError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from _typeshed import WriteableBuffer

    from reconciler.zip_directory import Entry

TAIL_BYTES = 256 * 1024
"""What is read first, from the end: the end record with its longest comment, and a directory of some 1,500 members."""
GAP_BYTES = 32 * 1024
"""Unwanted bytes between two wanted members that cost less than a further request."""
PIECE_BYTES = 8 * 1024 * 1024
"""The most that is asked for, and held in memory, at once."""
_BLOCK = 64 * 1024
_HEADER_BEGINS, _HEADER = b"PK\x03\x04", struct.Struct("<26xHH")
"""Of a member itself: how long its name is, and its extra field (PKWARE's APPNOTE 4.3.7)."""
_LONGER_EXTRA_BYTES = 512
"""How much more a member's own header may hold than the directory says of it (times and owners, by Info-ZIP)."""
_DIRECTORY_BYTES = 16 * 1024 * 1024
"""100,000 members with names of 120 characters; it is held in memory, and every name a second time."""
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
        self._file = _Sparse(source)
        try:
            self._directory, self._moved_bytes = self._file.directory()
            places = zip_directory.places(self._directory, caps.members)
        except zipfile.BadZipFile as error:
            raise BadArchive("corrupt", f"its directory cannot be read: {error}") from error
        if len(places) > caps.members:
            raise BadArchive("too-large", f"it has more than {caps.members:,} members")
        self._places: dict[str, int] = {}
        self._starts = array("q", [self._file.size])
        copies: Counter[str] = Counter()
        for place in places:
            entry = zip_directory.entry(self._directory, place)
            self._starts.append(min(self._start(entry), self._file.size))
            if not entry.path.endswith("/"):
                self._places[entry.path] = place
                copies[entry.path] += 1
        self._members = {path: self._member(path, copies.pop(path)) for path in self._places}
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
        found = [self._entry(path) for path in set(paths) & self._places.keys()]
        entries = sorted(found, key=self._start)
        self._file.plan(self._runs(entry for entry in entries if self._members[entry.path].objection is None))
        for entry in entries:
            member = self._members[entry.path]
            objection = member.objection or (self._spent_all() if self._left <= 0 else None)
            if objection is not None:
                yield member, objection
                continue
            try:
                content = self._content(entry)
            except BadMember as error:
                yield member, error
                continue
            with content:
                yield member, io.BufferedReader(content, _BLOCK)

    def _entry(self, path: str) -> Entry:
        return zip_directory.entry(self._directory, self._places[path])

    def _start(self, entry: Entry) -> int:
        return entry.offset + self._moved_bytes

    def _member(self, path: str, copies: int) -> Member:
        entry = self._entry(path)
        return Member(path, entry.size_bytes, entry.crc, copies, self._objection(entry))

    def _objection(self, entry: Entry) -> BadMember | None:
        caps = self._caps
        if entry.flags & _ENCRYPTED:
            return BadMember("encrypted", "it is encrypted")
        if entry.method not in _METHODS:
            return BadMember("unsupported", f"it is compressed by method {entry.method}")
        if entry.size_bytes > caps.member_bytes:
            return BadMember("too-large", f"it has {entry.size_bytes:,} bytes, more than {caps.member_bytes:,}")
        if entry.size_bytes > max(caps.ratio_free_bytes, caps.ratio * entry.packed_bytes):
            told = f"{entry.packed_bytes:,} bytes that unpack to {entry.size_bytes:,}: a zip bomb"
            return BadMember("too-large", told)
        return None

    def _content(self, entry: Entry) -> _Content:
        """Find where the member's bytes begin, behind a header of its own that must be of the same name."""
        start = self._start(entry)
        with _judging():
            head = self._file.read_at(start, _HEADER.size)
            if len(head) < _HEADER.size or not head.startswith(_HEADER_BEGINS):
                raise BadMember("corrupt", "it does not begin where the directory says")
            name_bytes, extra_bytes = _HEADER.unpack(head)
            if self._file.read_at(start + _HEADER.size, name_bytes) != entry.raw_name:
                raise BadMember("corrupt", "its own header and the directory name different files")
            self._file.seek(start + _HEADER.size + name_bytes + extra_bytes)
            return _Content(_opened(self._file, entry), entry.size_bytes, self._spend)

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise self._spent_all()

    def _spent_all(self) -> BadMember:
        return BadMember("too-large", f"more than {self._caps.total_bytes:,} bytes were unpacked of this archive")

    def _runs(self, entries: Iterable[Entry]) -> list[tuple[int, int]]:
        """Tell what is to be fetched in one go: where members lie, small gaps between them included."""
        starts = sorted({*self._starts, self._file.directory_start})
        spans: list[tuple[int, int]] = []
        for entry in entries:
            start = self._start(entry)
            if not 0 <= start < self._file.size:
                continue
            names = len(entry.raw_name) + entry.extra_bytes
            guess = start + _HEADER.size + names + _LONGER_EXTRA_BYTES + entry.packed_bytes
            spans.append((start, min(guess, starts[bisect_right(starts, start)])))
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


def _opened(file: _Sparse, entry: Entry) -> zipfile.ZipExtFile:
    """Let zipfile unpack what follows in the file."""
    info = zipfile.ZipInfo(entry.path or "-")
    info.flag_bits, info.compress_type, info.CRC = entry.flags, entry.method, entry.crc
    info.compress_size, info.file_size = entry.packed_bytes, entry.size_bytes
    return zipfile.ZipExtFile(cast("BinaryIO", file), "r", info)


class _Sparse(io.RawIOBase):
    """The archive as a file of which only two pieces are at hand: its end, and what was fetched last."""

    def __init__(self, source: RangeSource) -> None:
        super().__init__()
        self._source = source
        self.size, self._tail = source.tail(TAIL_BYTES)
        self._tail_start = self.size - len(self._tail)
        self.directory_start = self.size
        self._piece, self._piece_start = b"", 0
        self._runs: list[tuple[int, int]] = []
        self._at = 0

    def directory(self) -> tuple[memoryview, int]:
        """Give the directory, which is at hand from now on, and how many bytes of something else precede the zip.

        Raises:
            zipfile.BadZipFile: there is none.
            BadArchive: it is too large.
        """
        start, stop, moved_bytes = zip_directory.bounds(self._tail, self.size)
        if stop - start > _DIRECTORY_BYTES:
            told = f"its directory has {stop - start:,} bytes, more than {_DIRECTORY_BYTES:,}"
            raise BadArchive("too-large", told)
        self.directory_start = start
        if start < self._tail_start:
            starts = range(start, self._tail_start, PIECE_BYTES)
            pieces = [self._source.read(at, min(PIECE_BYTES, self._tail_start - at)) for at in starts]
            self._tail, self._tail_start = b"".join([*pieces, self._tail]), start
        return memoryview(self._tail)[start - self._tail_start : stop - self._tail_start], moved_bytes

    def ending(self) -> Ending:
        """Give what is at hand of its end, after it was opened."""
        return Ending(self._tail, self.size - self.directory_start)

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

    def read_at(self, offset: int, size: int) -> bytes:
        """Read some bytes from a position; raises OSError where there is none."""
        self.seek(offset)
        return self.read(size)

    def read(self, size: int | None = -1, /) -> bytes:
        """Read all of `size` bytes, short only at the end of the file."""
        stop = self.size if size is None or size < 0 else min(self.size, self._at + size)
        parts: list[bytes] = []
        while self._at < stop:
            parts.append(self._some(self._at, stop))
            self._at += len(parts[-1])
        return b"".join(parts)

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

    def __init__(self, opened: zipfile.ZipExtFile, size_bytes: int, spend: Spend) -> None:
        super().__init__()
        self._opened = opened
        self._missing = size_bytes
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
