"""What was learnt of archives, while there is room for it: opening one again asks for nothing that was asked before."""

from __future__ import annotations

import threading
import zlib
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO

from reconciler.archive import Ending, LocalFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MEMORY_BYTES = 16 * 1024 * 1024
DISK_BYTES = 2 * 1024 * 1024 * 1024
_ENTRY_BYTES = 1024
"""What an entry takes besides its bytes."""
_LIGHT_BYTES = 256 * 1024
"""Longer ends are packed at once."""


class SharedFile(LocalFile):
    """A temporary file with any number of readers; it is gone when the last of them has let go."""

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        """Take the file over; whoever makes this is its first reader."""
        super().__init__(file)
        self.size_bytes = size_bytes
        self._readers = 1

    def hold(self) -> SharedFile:
        """Let one more read; only while somebody does."""
        with self._lock:
            self._readers += 1
        return self

    def let_go(self) -> None:
        """Read no more."""
        with self._lock:
            self._readers -= 1
            if not self._readers:
                self._file.close()


@dataclass(frozen=True, slots=True)
class Known:
    """What an opening learnt of an archive."""

    size: int
    etag: str
    signed_url: str
    """Where the object store has it; "" = GitLab sends it itself."""
    end: Ending
    """As it was fetched, or its directory alone, packed; without bytes where there is a file."""
    file: SharedFile | None
    """All of it: the server does not know ranges."""
    is_packed: bool = False

    @property
    def memory_bytes(self) -> int:
        """What it takes, roughly."""
        return len(self.end.data) + len(self.signed_url) + _ENTRY_BYTES

    @property
    def disk_bytes(self) -> int:
        """What its file takes."""
        return self.file.size_bytes if self.file is not None else 0

    def ending(self) -> bytes:
        """Give its last bytes, at least from where its directory begins."""
        return zlib.decompress(self.end.data) if self.is_packed else self.end.data

    def lighter(self) -> Known:
        """Keep of its end the directory alone, packed: a few KB, where an end of media files takes 256."""
        if self.is_packed or self.file is not None:
            return self
        directory = self.end.data[len(self.end.data) - self.end.directory_bytes :]
        return replace(self, end=replace(self.end, data=zlib.compress(directory, 1)), is_packed=True)


@dataclass(slots=True)
class Opening:
    """One opening of an archive."""

    known: Known | None
    """From an earlier one; whoever takes it lets go of its file."""
    learnt: Known | None = None
    """Set when all went well: it is kept, and takes its file over; else the archive is forgotten."""


class KeptArchives:
    """What is known of archives, by their addresses; the one that was used longest ago goes first.

    An archive's file that is being read stays for its readers, whatever becomes of it here.
    """

    def __init__(self, memory_bytes: int = MEMORY_BYTES, disk_bytes: int = DISK_BYTES) -> None:
        """Keep so much at most."""
        self._most_memory = memory_bytes
        self._most_disk = disk_bytes
        self.memory_bytes = 0
        self.disk_bytes = 0
        self._known: dict[str, Known] = {}
        self._forgotten = 0
        self._lock = threading.Lock()

    @contextmanager
    def opening(self, url: str) -> Iterator[Opening]:
        """Lend what is known of an archive, and note what is learnt of it, unless all is forgotten meanwhile."""
        with self._lock:
            forgotten, known = self._forgotten, self._known.get(url)
            if known is not None and known.file is not None:
                known.file.hold()
        opening = Opening(known)
        try:
            yield opening
        finally:
            with self._lock:
                if forgotten == self._forgotten:
                    self._replace(url, opening.learnt)
                elif opening.learnt is not None:
                    _release(opening.learnt)

    def forget(self) -> None:
        """Let go of everything; what is being read now is not kept afterwards either."""
        with self._lock:
            self._forgotten += 1
            for url in list(self._known):
                self._replace(url, None)

    def _replace(self, url: str, known: Known | None) -> None:
        older = self._known.pop(url, None)
        if older is not None:
            self._count(older, -1)
            _release(older)
        if known is not None:
            self._known[url] = kept = known.lighter() if len(known.end.data) > _LIGHT_BYTES else known
            self._count(kept, 1)
            self._make_room()

    def _count(self, known: Known, sign: int) -> None:
        self.memory_bytes += sign * known.memory_bytes
        self.disk_bytes += sign * known.disk_bytes

    def _make_room(self) -> None:
        """Pack first, which costs at most one request later, then forget; a quarter at once, for it takes a while."""
        if self.memory_bytes > self._most_memory:
            enough = self._most_memory * 3 // 4
            self._shed(self._lighten, lambda: self.memory_bytes <= enough)
            self._shed(lambda url: self._replace(url, None), lambda: self.memory_bytes <= enough)
        self._shed(self._drop_file, lambda: self.disk_bytes <= self._most_disk)

    def _shed(self, less: Callable[[str], None], is_enough: Callable[[], bool]) -> None:
        for url in list(self._known):
            if is_enough():
                break
            less(url)

    def _lighten(self, url: str) -> None:
        known = self._known[url]
        self._known[url] = light = known.lighter()
        self._count(known, -1)
        self._count(light, 1)

    def _drop_file(self, url: str) -> None:
        if self._known[url].file is not None:
            self._replace(url, None)


def _release(known: Known) -> None:
    if known.file is not None:
        known.file.let_go()
