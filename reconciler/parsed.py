"""The tests of a job's reports, between the thread that read them and the one that writes them down."""

from __future__ import annotations

import pickle
import tempfile
from dataclasses import fields
from operator import attrgetter
from typing import TYPE_CHECKING, BinaryIO, cast

from reconciler.model import TestRun

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MEMORY_BYTES = 1_000_000
"""How much text of one job's tests is held in memory; more goes to disk, so that a giant report costs no memory."""
_RUN_BYTES = 500
"""What a test takes besides its texts, roughly."""
_TEXTS = attrgetter("suite", "classname", "name", "file", "message", "detail", "system_out", "system_err")
_FIELDS = attrgetter(*(field.name for field in fields(TestRun)))


class Room:
    """Holds the tests of one job: in memory while they are few, else in a temporary file that has no name."""

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        """Hold no more text than this in memory."""
        self._most = memory_bytes
        self._held = 0
        self._file: BinaryIO | None = None

    def keep(self, runs: Iterable[TestRun]) -> Runs:
        """Take all of these; raises what they raise, and then holds none of them."""
        before = self._held
        parts: list[list[TestRun] | tuple[int, int]] = []
        some: list[TestRun] = []
        try:
            for run in runs:
                some.append(run)
                self._held += sum(map(len, _TEXTS(run))) + _RUN_BYTES
                if self._held > self._most:
                    parts.append(self._put_away(some))
                    some, self._held = [], before
        except BaseException:
            self._held = before
            raise
        if some:
            parts.append(some)
        return Runs(self, parts)

    def _put_away(self, runs: list[TestRun]) -> tuple[int, int]:
        if self._file is None:
            self._file = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115 - closed by `close`
        data = pickle.dumps([_FIELDS(run) for run in runs], protocol=pickle.HIGHEST_PROTOCOL)
        start = self._file.seek(0, 2)
        self._file.write(data)
        return start, len(data)

    def fetch(self, start: int, size: int) -> Iterator[TestRun]:
        """Give back what was put away there."""
        if self._file is None:
            raise ValueError("nothing was put away")
        self._file.seek(start)
        rows = pickle.loads(self._file.read(size))  # noqa: S301 - written above, into a file that nobody else can open
        return (TestRun(*row) for row in rows)

    def close(self) -> None:
        """Let the file go."""
        if self._file is not None:
            self._file.close()


class Runs:
    """The tests of one document, in its order; may be iterated any number of times, by one thread."""

    def __init__(self, room: Room, parts: list[list[TestRun] | tuple[int, int]]) -> None:
        """Made by `Room.keep`."""
        self._room = room
        self._parts = parts

    def __iter__(self) -> Iterator[TestRun]:
        """Give them one after another."""
        for part in self._parts:
            yield from part if isinstance(part, list) else self._room.fetch(*part)
