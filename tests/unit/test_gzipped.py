"""A gzip file of several members, as GitLab's runner writes it."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
import zlib
from functools import partial
from typing import TYPE_CHECKING

import pytest

from reconciler.gzipped import BadGzip, is_gzip, members

if TYPE_CHECKING:
    from pathlib import Path

MB = 1_000_000


def member(content: bytes, *, name: bytes = b"", comment: bytes = b"", extra: bytes = b"", crc: bool = False) -> bytes:
    """Write one member with such a header (RFC 1952)."""
    flags = 2 * crc | 4 * bool(extra) | 8 * bool(name) | 16 * bool(comment)
    header = b"\x1f\x8b\x08" + bytes([flags]) + b"\0\0\0\0\0\xff"
    header += len(extra).to_bytes(2, "little") + extra if extra else b""
    header += name + b"\0" if name else b""
    header += comment + b"\0" if comment else b""
    header += (zlib.crc32(header) & 0xFFFF).to_bytes(2, "little") if crc else b""
    return header + gzip.compress(content)[10:]


def read(data: bytes, max_bytes: int = MB) -> list[tuple[str, bytes]]:
    """Read all members whole."""
    return [(name, stream.read()) for name, stream in members(io.BytesIO(data), max_bytes=max_bytes)]


def refused(data: bytes, max_bytes: int = MB) -> str:
    """Read what must be refused; answer the kind."""
    with pytest.raises(BadGzip) as caught:
        read(data, max_bytes)
    assert caught.value.detail
    return caught.value.kind


def test_each_member_is_a_file_with_its_path() -> None:
    """The runner writes the base name as Name and the path as Comment; glueing them makes no XML document."""
    data = member(b"<a/>", name=b"a.xml", comment=b"out/a.xml") + member(b"<b/>", name=b"b.xml", comment=b"out/b.xml")
    assert read(data) == [("out/a.xml", b"<a/>"), ("out/b.xml", b"<b/>")]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({}, ""),
        ({"name": b"a.xml"}, "a.xml"),
        ({"comment": b"x/a b.xml"}, "x/a b.xml"),
        ({"comment": b"e:x%2Fgr%C3%BC%C3%9Fe%25+%20.xml"}, "x/grüße%+ .xml"),
        ({"comment": "x/grüße.xml".encode()}, "x/grüße.xml"),
        ({"comment": "x/grüße.xml".encode("latin-1")}, "x/grüße.xml"),
        ({"name": b"a.xml", "extra": b"\0" * 300, "crc": True}, "a.xml"),
        ({"comment": b"long/" * 20_000 + b"a.xml"}, "long/" * 20_000 + "a.xml"),
    ],
)
def test_the_name_is_the_comment_else_the_name(header: dict[str, bytes], expected: str) -> None:
    """Newer runners escape a path that holds `%` or other than ASCII (helpers/archives/gzip_create.go)."""
    assert read(member(b"x", **header)) == [(expected, b"x")]  # type: ignore[arg-type] # a table of keywords


def test_what_is_left_unread_is_passed_over() -> None:
    """A reader may stop early; its problem does not become the next member's."""
    data = member(b"x" * 300_000, name=b"1") + member(b"y", name=b"2") + member(b"", name=b"3")
    seen = [(name, stream.read(2)) for name, stream in members(io.BytesIO(data), max_bytes=MB)]
    assert seen == [("1", b"xx"), ("2", b"y"), ("3", b"")]


def test_a_member_cannot_be_read_into_the_next() -> None:
    """Its stream has ended, also when it is asked late."""
    streams = [stream for _name, stream in members(io.BytesIO(member(b"1") + member(b"2")), max_bytes=MB)]
    assert [stream.read() for stream in streams] == [b"", b""]


def test_zeros_after_a_member_are_padding() -> None:
    """As gzip itself has it."""
    data = member(b"1") + b"\0" * 200_000 + member(b"2") + b"\0"
    assert [content for _name, content in read(data)] == [b"1", b"2"]


def test_any_portions_of_input_and_output_give_the_same() -> None:
    """Also where all input is taken and output is still held back."""

    class Dripping(io.BytesIO):
        def read(self, _size: int | None = -1, /) -> bytes:
            return super().read(3)

    content = b"0123456789" * 10_000
    data = member(content, name=b"n", comment=b"c") * 2
    for size in (1_000, 70_000):
        read_in_parts = [
            (name, b"".join(iter(partial(stream.read, size), b"")))
            for name, stream in members(Dripping(data), max_bytes=MB)
        ]
        assert read_in_parts == [("c", content), ("c", content)]


@pytest.mark.parametrize("end", [1, 2, 5, 10, 12, 20, -9, -8, -1])
def test_a_file_that_was_cut_off_is_told(end: int) -> None:
    """In the header, in the data and in the checksum."""
    assert refused(member(b"some content that is long enough", name=b"name.xml", extra=b"e")[:end]) == "truncated"


def test_the_members_before_a_cut_are_whole() -> None:
    """The caller decides what they are worth."""
    walk = members(io.BytesIO(member(b"1") + member(b"2")[:-3]), max_bytes=MB)
    assert next(walk)[1].read() == b"1"
    with pytest.raises(BadGzip):
        next(walk)[1].read()


def test_a_cut_in_an_unread_member_is_told_when_the_next_is_asked_for() -> None:
    """Passing over is reading."""
    walk = members(io.BytesIO(member(b"x" * 300_000)[:-3]), max_bytes=MB)
    assert next(walk)[1].read(1) == b"x"
    with pytest.raises(BadGzip, match="ends within a member"):
        next(walk)


@pytest.mark.parametrize(
    "data",
    [
        b"<testsuite/>",
        b"PK\x03\x04",
        member(b"1") + b"junk",
        b"\x1f\x8b\x07" + member(b"1")[3:],
        member(b"1")[:-8] + b"\xff" * 8,
        member(b"1")[:10] + b"\xff" * 20,
        b"\x1f\x8b\x08\x08" + b"\0" * 6 + b"n" * 400_000,
    ],
)
def test_what_is_no_gzip_is_corrupt(data: bytes) -> None:
    """Also behind a good member, and when a checksum is wrong."""
    assert refused(data) == "corrupt"


def test_an_empty_file_is_truncated() -> None:
    """No member is no answer."""
    assert refused(b"") == "truncated"


def test_more_than_the_cap_is_refused_over_all_members() -> None:
    """A bomb: a thousandth of its size in the file."""
    assert read(member(b"x" * 500) * 2, 1_000) == [("", b"x" * 500)] * 2
    assert refused(member(b"x" * 501) * 2, 1_000) == "too-large"


MEASURE = """
import sys
from pathlib import Path
from reconciler.gzipped import members
size = 0
with open(sys.argv[1], "rb") as file:
    for name, stream in members(file, max_bytes=10**9):
        while block := stream.read(50_000):
            size += len(block)
print(size, Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""


def test_no_member_is_in_memory_as_a_whole(tmp_path: Path) -> None:
    """Measured 15 MB for 100."""
    path = tmp_path / "big.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(100):
            file.write(b"x" * MB)
    done = subprocess.run([sys.executable, "-c", MEASURE, path], capture_output=True, text=True, check=True)
    size, rss_kb = map(int, done.stdout.split())
    assert size == 100 * MB
    assert rss_kb < 40_000


def test_magic_bytes_tell_gzip_from_other_files() -> None:
    """GitLab before 19.4 sends the archive when asked for the report."""
    assert is_gzip(member(b""))
    assert not is_gzip(b"PK\x03\x04")
    assert not is_gzip(b"\x1f")
