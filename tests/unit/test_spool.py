"""The temporary file that bytes pass through: parts read side by side, and a disk that is full."""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import textwrap
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from reconciler.archive import BadMember
from reconciler.spool import HEAD_BYTES, Spool, SpoolFull
from tests.archives import noise

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from _typeshed import WriteableBuffer

BIG = noise(300_000)


@pytest.fixture
def spool() -> Iterator[Spool]:
    """Open one."""
    with closing(Spool()) as opened:
        yield opened


class _Breaking(io.RawIOBase):
    """A stream that breaks in the middle."""

    def __init__(self) -> None:
        super().__init__()
        self._left = 3

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        self._left -= 1
        if not self._left:
            raise BadMember("corrupt", "broken")
        view[:] = bytes(len(view))
        return len(view)


def test_parts_are_read_side_by_side_and_each_ends_where_it_ends(spool: Spool) -> None:
    """Each opening has a position of its own; several may be of one part."""
    first, empty, second = (spool.add(io.BytesIO(data)) for data in (BIG, b"", b"second"))
    one, other, third = spool.open(first), spool.open(first), spool.open(second)
    assert one.read(10) == other.read(10) == BIG[:10]
    assert third.read() == b"second"
    assert one.read() == BIG[10:]
    assert one.read(1) == spool.open(empty).read() == b""
    assert spool.size_bytes == len(BIG) + 6


def test_a_part_can_be_read_again_from_any_place(spool: Spool) -> None:
    """Whoever sends it may have to begin anew; a position before the first byte is the first."""
    spool.add(io.BytesIO(b"before"))
    file = spool.open(spool.add(io.BytesIO(b"0123456789")))
    assert file.read() == b"0123456789"
    assert (file.seek(0), file.read(2)) == (0, b"01")
    assert (file.seek(3, io.SEEK_CUR), file.read(2)) == (5, b"56")
    assert (file.seek(-1, io.SEEK_END), file.read(5)) == (9, b"9")
    assert (file.seek(50), file.read(5)) == (50, b"")


def test_the_head_of_a_part_is_no_longer_than_the_part(spool: Spool) -> None:
    """What follows it is another's."""
    short, long = spool.add(io.BytesIO(b"ab")), spool.add(io.BytesIO(BIG))
    assert (spool.head(short), spool.head(long)) == (b"ab", BIG[:HEAD_BYTES])


def test_of_a_stream_that_breaks_nothing_stays(spool: Spool) -> None:
    """What was there before, and what comes next, is whole."""
    before = spool.add(io.BytesIO(b"before"))
    with pytest.raises(BadMember):
        spool.add(io.BufferedReader(_Breaking(), 64 * 1024))
    assert spool.size_bytes == 6
    after = spool.add(io.BytesIO(b"after"))
    assert (spool.open(before).read(), spool.open(after).read()) == (b"before", b"after")


def test_an_emptied_spool_begins_anew(spool: Spool) -> None:
    """The disk has its room back."""
    spool.add(io.BytesIO(BIG))
    spool.empty()
    part = spool.add(io.BytesIO(b"anew"))
    assert (part.start, spool.size_bytes, spool.open(part).read()) == (0, 4, b"anew")


def test_a_folder_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With what to do about it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(SpoolFull, match="nowhere: No such file or directory: free some space there, or set TMPDIR"):
        Spool()


@pytest.mark.parametrize("last", [100, 100_000])
def test_a_full_disk_is_one_error_and_what_was_taken_stays_readable(last: int) -> None:
    """In a process whose files may not grow above a limit; a small rest and a large one take other ways in Python."""
    story = f"""
        import io, resource
        from reconciler.spool import Spool, SpoolFull
        spool = Spool()
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        part = spool.add(io.BytesIO(b"a" * 99_950))
        try:
            spool.add(io.BytesIO(b"b" * {last}))
        except SpoolFull as error:
            assert "File too large: free some space there" in str(error), error
        else:
            raise AssertionError("it fits")
        assert spool.open(part).read() == b"a" * 99_950
        assert spool.size_bytes == 99_950
        small = spool.add(io.BytesIO(b"c" * 50))
        assert spool.open(small).read() == b"c" * 50
        spool.empty()
        spool.add(io.BytesIO(b"d" * 100_000))
        spool.close()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(story)], check=True, timeout=60)
