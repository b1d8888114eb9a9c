"""Members of a zip, read out of byte ranges: what is asked for, and what becomes of bad ones."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING

import pytest

from reconciler.archive import GAP_BYTES, PIECE_BYTES, TAIL_BYTES, BadArchive, BadMember, Caps, LocalFile, RemoteArchive
from reconciler.errors import Incomplete
from reconciler.sandbox.gitlab import Filler, pack_zip
from reconciler.sandbox.objectstore import Segments
from tests.archives import (
    BOMB,
    CLIMBING,
    FIELDS,
    MB,
    altered,
    directory_entry,
    encrypted,
    gigabyte,
    lying,
    noise,
    packed,
    zip64_ended,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reconciler.sandbox.objectstore import Blob

XML = b"<testsuite><testcase name='a'/></testsuite>"


class Source:
    """A blob that notes what is asked of it."""

    def __init__(self, blob: Blob | bytes) -> None:
        self.blob = Segments([blob]) if isinstance(blob, bytes) else blob
        self.asked: list[tuple[int, int]] = []

    def tail(self, length: int) -> tuple[int, bytes]:
        """Give the end."""
        start = max(0, self.blob.size - length)
        return self.blob.size, self.read(start, self.blob.size - start)

    def read(self, start: int, length: int) -> bytes:
        """Give a range."""
        self.asked.append((start, length))
        assert 0 <= start <= start + length <= self.blob.size
        return b"".join(self.blob.pieces(start, start + length))


def read_all(archive: RemoteArchive, paths: Iterable[str] | None = None) -> dict[str, bytes | str]:
    """Read members: their content, or the kind of what is wrong with them."""
    wanted = [member.path for member in archive.members] if paths is None else list(paths)
    found: dict[str, bytes | str] = {}
    for member, opened in archive.open(wanted):
        try:
            found[member.path] = opened.kind if isinstance(opened, BadMember) else opened.read()
        except BadMember as error:
            found[member.path] = error.kind
    return found


# --- what is asked for -----------------------------------------------------------------------------------------------


def test_a_small_archive_is_one_range() -> None:
    """It lies within the tail that is read first."""
    source = Source(packed([("a.xml", XML), ("ü/b c.txt", b"hello"), ("folder/", b"")]))
    archive = RemoteArchive(source)
    assert [(one.path, one.size_bytes) for one in archive.members] == [("a.xml", len(XML)), ("ü/b c.txt", 5)]
    assert read_all(archive) == {"a.xml": XML, "ü/b c.txt": b"hello"}
    assert len(source.asked) == 1


def test_of_a_gigabyte_only_the_small_files_are_fetched() -> None:
    """200 of them in two ranges, the directory included; zip64, as the runner packs large files."""
    files = {f"reports/{n}.xml": noise(4000, n) for n in range(200)}
    source = Source(pack_zip(gigabyte(files)))
    archive = RemoteArchive(source)
    assert read_all(archive, files) == files
    assert len(source.asked) == 2
    assert sum(length for _, length in source.asked) < source.blob.size / 500


def test_gaps_between_wanted_members_are_bridged_while_they_are_small() -> None:
    """32 KiB always; more only while it stays within half a percent of the archive."""
    gap = GAP_BYTES - 1000
    files = {f"{n}.{kind}": noise(size, n) for n in range(20) for kind, size in (("xml", 100), ("bin", gap))}
    files["end.bin"] = noise(TAIL_BYTES)
    source = Source(pack_zip(files))
    read_all(RemoteArchive(source), [f"{n}.xml" for n in range(20)])
    assert len(source.asked) == 2
    wide = {f"{n}.{kind}": noise(size, n) for n in range(4) for kind, size in (("xml", 100), ("bin", 3 * GAP_BYTES))}
    source = Source(pack_zip(wide | {"end.bin": noise(TAIL_BYTES)}))
    read_all(RemoteArchive(source), [f"{n}.xml" for n in range(4)])
    assert len(source.asked) == 5
    source = Source(pack_zip(wide | {"end.bin": Filler(100 * MB)}))
    read_all(RemoteArchive(source), [f"{n}.xml" for n in range(4)])
    assert len(source.asked) == 2


def test_a_large_member_comes_in_pieces_and_only_as_far_as_it_is_read() -> None:
    """Never more than a piece is held."""
    content = noise(2 * PIECE_BYTES + 5)
    source = Source(packed([("large.xml", content), ("end", noise(TAIL_BYTES))]))
    archive = RemoteArchive(source)
    for _, opened in archive.open(["large.xml"]):
        assert not isinstance(opened, BadMember)
        assert opened.peek(10)[:10] == content[:10]
        assert len(source.asked) == 2
    assert read_all(archive, ["large.xml"]) == {"large.xml": content}
    assert max(length for _, length in source.asked) == PIECE_BYTES


def test_a_directory_longer_than_the_tail_costs_one_more_range() -> None:
    """Thousands of members with long paths; then the wanted one is read from its own range."""
    files = [(f"{'d' * 150}/{n}.txt", b"x") for n in range(3000)]
    source = Source(packed([("a.xml", XML), *files]))
    archive = RemoteArchive(source)
    assert len(archive.members) == 3001
    assert read_all(archive, ["a.xml", "no such.xml"]) == {"a.xml": XML}
    assert len(source.asked) == 3


def test_members_own_headers_may_be_longer_than_the_directory_says() -> None:
    """Info-ZIP writes other extra fields there; what is missing is fetched."""
    content = noise(1000)
    data = packed([("a.xml", content), ("end", noise(TAIL_BYTES))], zipfile.ZIP_STORED)
    extra = struct.pack("<HH", 0x7075, 5000) + bytes(5000)
    local = data[:28] + struct.pack("<H", len(extra)) + data[30:35] + extra + data[35:]
    at = local.rindex(b"PK\x05\x06")
    directory_start = struct.unpack_from("<I", local, at + 16)[0] + len(extra)
    local = local[: at + 16] + struct.pack("<I", directory_start) + local[at + 20 :]
    local = altered(local, "end", FIELDS["offset"], 35 + len(extra) + len(content))
    assert read_all(RemoteArchive(Source(local)), ["a.xml"]) == {"a.xml": content}


def test_bytes_before_the_zip_do_not_matter() -> None:
    """A self-extracting archive has some."""
    assert read_all(RemoteArchive(Source(b"#!/bin/sh\n" * 100 + packed([("a.xml", XML)])))) == {"a.xml": XML}


# --- bad members -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "form", "kind"),
    [
        ("flags", 0x1, "<H", "encrypted"),
        ("method", 12, "<H", "unsupported"),
        ("method", 99, "<H", "unsupported"),
        ("crc", 1, "<I", "corrupt"),
        ("size", 10, "<I", "corrupt"),
        ("size", 4000, "<I", "corrupt"),
        ("size", 0xFFFFFFF0, "<I", "too-large"),
        ("packed", 5, "<I", "corrupt"),
        ("packed", 0x7FFFFFFF, "<I", None),
        ("offset", 5, "<I", "corrupt"),
        ("offset", 0x7FFFFFFF, "<I", "corrupt"),
    ],
)
def test_a_directory_that_lies_about_one_member_is_found_out(
    field: str, value: int, form: str, kind: str | None
) -> None:
    """Its neighbours are read; nothing beyond the archive's end is asked for."""
    data = packed([("a.xml", XML), ("bad.xml", XML * 3), ("c.xml", XML)])
    found = read_all(RemoteArchive(Source(altered(data, "bad.xml", FIELDS[field], value, form))))
    assert found == {"a.xml": XML, "bad.xml": kind or XML * 3, "c.xml": XML}


def test_damaged_bytes_are_found_out() -> None:
    """By zlib or by the checksum."""
    data = packed([("a.xml", XML), ("bad.xml", noise(5000)), ("c.xml", XML)])
    at = data.index(b"bad.xml") + 1000
    data = data[:at] + b"\xff" * 50 + data[at + 50 :]
    assert read_all(RemoteArchive(Source(data))) == {"a.xml": XML, "bad.xml": "corrupt", "c.xml": XML}


def with_extra(extra: bytes, size: int | None = None) -> bytes:
    """Pack three members, the second with this extra field in the directory, perhaps with another size there."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr("a.xml", XML)
        info = zipfile.ZipInfo("bad.xml")
        info.extra = b"\xee\xee" + struct.pack("<H", len(extra) - 4) + bytes(len(extra) - 4)
        made.writestr(info, XML)
        made.writestr("c.xml", XML)
    data = buffer.getvalue()
    at = directory_entry(data, "bad.xml") + 46 + len("bad.xml")
    data = data[:at] + extra + data[at + len(extra) :]
    return data if size is None else altered(data, "bad.xml", FIELDS["size"], size)


@pytest.mark.parametrize(
    ("data", "path", "found"),
    [
        (with_extra(b"\xee\xee\xff\x00abcd"), "bad.xml", XML),
        (with_extra(struct.pack("<HHI", 1, 4, 7), 0xFFFFFFFF), "bad.xml", "too-large"),
        (with_extra(struct.pack("<HHBIB", 0x7075, 6, 1, 0, 0xFF)), "bad.xml", XML),
        (with_extra(struct.pack("<HH", 0x7075, 0)), "bad.xml", XML),
        (altered(with_extra(bytes(4)), "bad.xml", 6, 99, "<B"), "bad.xml", XML),
        (with_extra(bytes(4)).replace(b"bad.xml", b"b\xffd.xml"), "b\xa0d.xml", XML),
    ],
    ids=["extra too long", "zip64 too short", "unicode path", "unicode path empty", "version 9.9", "cp437"],
)
def test_an_entry_that_zipfile_stumbles_over_does_not_spoil_the_directory(
    data: bytes, path: str, found: bytes | str
) -> None:
    """It is read all the same, or bad by itself."""
    assert read_all(RemoteArchive(Source(data))) == {"a.xml": XML, path: found, "c.xml": XML}


def test_a_name_that_is_not_the_utf8_it_is_said_to_be_is_a_name_all_the_same() -> None:
    """Its own header says so again."""
    data = packed([("a.xml", XML), ("ü.xml", XML), ("c.xml", XML)]).replace("ü".encode(), b"\xff\xff")
    assert read_all(RemoteArchive(Source(data))) == {"a.xml": XML, "\xa0\xa0.xml": XML, "c.xml": XML}


def test_a_member_without_a_name_is_one_like_any_other() -> None:
    """Also one whose name begins with NUL: nothing is left of it, as zipfile has it."""
    data = packed([("a.xml", XML), ("?", XML)]).replace(b"?", b"\0")
    assert read_all(RemoteArchive(Source(data))) == {"a.xml": XML, "": XML}


def test_a_member_whose_own_header_names_another_file_is_bad() -> None:
    """Two readers would see two archives."""
    data = packed([("a.xml", XML), ("bad.xml", XML)]).replace(b"bad.xml", b"evil.so", 1)
    assert read_all(RemoteArchive(Source(data))) == {"a.xml": XML, "bad.xml": "corrupt"}


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        (packed([("a.xml", XML)]).replace(b"PK\x01\x02", b"PK\x01\x03"), "entry 1 of it is none"),
        (altered(packed([("a.xml", XML), ("b.xml", XML)]), "a.xml", 30, 1, "<H"), "entry 2 of it is none"),
        (packed([("a.xml", XML)])[:-10] + b"\xff\xff\0\0" + bytes(6), "before its first byte"),
        (zip64_ended(packed([("a.xml", XML)]))[:-26] + b"\2\0\0\0" + packed([])[-22:], "one part of several"),
    ],
)
def test_a_directory_that_makes_no_sense_is_a_bad_archive(spoilt: bytes, said: str) -> None:
    """Nothing of it is believed."""
    with pytest.raises(BadArchive, match=said) as error:
        RemoteArchive(Source(spoilt))
    assert error.value.kind == "corrupt"


def test_of_two_members_with_one_name_the_last_counts() -> None:
    """As every unzip leaves it."""
    archive = RemoteArchive(Source(packed([("a.xml", b"first"), ("b.xml", XML), ("a.xml", b"second")])))
    assert [(member.path, member.copies) for member in archive.members] == [("a.xml", 2), ("b.xml", 1)]
    assert archive.members[0].crc == zlib.crc32(b"second")
    assert read_all(archive) == {"a.xml": b"second", "b.xml": XML}


def test_names_are_only_names() -> None:
    """Whatever they point at, and in whatever coding they were written."""
    names = [CLIMBING, "/etc/passwd", "a\\b.xml", "C:/x.xml", "ä.xml"]
    assert read_all(RemoteArchive(Source(packed([(name, XML) for name in names])))) == dict.fromkeys(names, XML)
    data = packed([("u.xml", XML)]).replace(b"u.xml", b"\x81.xml")
    assert [member.path for member in RemoteArchive(Source(data)).members] == ["ü.xml"]


def test_caps_on_size_ratio_and_total() -> None:
    """Told from the directory before a byte is fetched; the total as it is read; members never opened do not count."""
    files = [("bomb.xml", BOMB), ("large.xml", noise(300_000)), ("a.xml", XML), ("end", noise(TAIL_BYTES))]
    source = Source(packed(files))
    caps = Caps(member_bytes=30 * MB)
    assert read_all(RemoteArchive(source, caps), ["bomb.xml", "a.xml"]) == {"bomb.xml": "too-large", "a.xml": XML}
    archive = RemoteArchive(source, Caps(member_bytes=200_000))
    assert read_all(archive, ["large.xml", "a.xml"]) == {"large.xml": "too-large", "a.xml": XML}
    archive = RemoteArchive(source, Caps(total_bytes=200_000))
    assert read_all(archive, ["a.xml"]) == {"a.xml": XML}
    assert read_all(archive, ["large.xml", "a.xml"]) == {"large.xml": "too-large", "a.xml": "too-large"}


def test_what_is_wrong_with_a_member_is_known_before_a_byte_of_it_is_fetched() -> None:
    """Encrypted, a method that nobody uses, a bomb, larger than is read; a lie about its size is not among them."""
    files = [("bomb", BOMB), ("large", noise(300_000)), ("lying", XML), ("method", XML), ("secret", XML), ("good", XML)]
    data = lying(altered(packed(files), "method", FIELDS["method"], 12, "<H"), "lying", 7)
    source = Source(encrypted(data, "secret"))
    archive = RemoteArchive(source, Caps(member_bytes=200_000))
    found = {member.path: member.objection and member.objection.kind for member in archive.members}
    bad = {"bomb": "too-large", "large": "too-large", "method": "unsupported", "secret": "encrypted"}
    assert found == {**bad, "lying": None, "good": None}
    asked = list(source.asked)
    assert read_all(archive, bad) == bad
    assert source.asked == asked
    assert read_all(archive) == {**bad, "lying": "corrupt", "good": XML}


# --- bad archives ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"no zip", packed([("a.xml", XML)])[:-10], b"PK\x05\x06" + b"\xff" * 18])
def test_what_is_no_zip_is_a_bad_archive(data: bytes) -> None:
    """In one line."""
    with pytest.raises(BadArchive, match="its directory cannot be read") as error:
        RemoteArchive(Source(data))
    assert error.value.kind == "corrupt"


def test_an_archive_with_too_many_members_is_not_read() -> None:
    """Before anything is made of them; so is a directory that claims to be huge."""
    data = packed([(f"{'d' * 100}/{n}", b"") for n in range(2500)])
    with pytest.raises(BadArchive, match="more than 2,000 members"):
        RemoteArchive(Source(data), Caps(members=2000))
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 60 * MB, 0, 0)
    with pytest.raises(BadArchive, match="its directory has") as error:
        RemoteArchive(Source(Segments([bytes(MB)] * 60 + [end])))
    assert error.value.kind == "too-large"


def test_what_the_source_raises_passes_through() -> None:
    """At the directory and within a member: it is not the archive's fault."""

    class Changed(Source):
        """A source that gives its end and nothing else."""

        def read(self, start: int, length: int) -> bytes:
            """Fail from the second range on."""
            if self.asked:
                raise Incomplete("changed")
            return super().read(start, length)

    data = packed([("a.xml", XML), ("end", noise(TAIL_BYTES))])
    with pytest.raises(Incomplete, match="changed"):
        read_all(RemoteArchive(Changed(data)))
    with pytest.raises(Incomplete, match="changed"):
        RemoteArchive(Changed(packed([("d" * 200 + str(n), b"") for n in range(2000)])))


def test_a_file_at_hand_is_read_the_same_way() -> None:
    """The temporary file, where ranges are not to be had."""
    files = {"a.xml": XML, "large.bin": noise(PIECE_BYTES + 1)}
    assert read_all(RemoteArchive(LocalFile(io.BytesIO(packed(files.items()))))) == files


# --- opening it once more --------------------------------------------------------------------------------------------


class Remembering(Source):
    """A source that has the archive's end from an earlier opening."""

    def __init__(self, blob: Blob | bytes, end: bytes) -> None:
        """Have `end` at hand."""
        super().__init__(blob)
        self.end = end

    def tail(self, length: int) -> tuple[int, bytes]:
        """Give the end, however long."""
        del length
        return self.blob.size, self.end


def commented(data: bytes, comment: bytes) -> bytes:
    """Put a comment at a zip's end."""
    return data[:-2] + struct.pack("<H", len(comment)) + comment


LATE = [("a.xml", XML), ("noise", noise(2 * TAIL_BYTES))]


@pytest.mark.parametrize(
    "data",
    [
        packed([("a.xml", XML)]),
        packed(LATE),
        packed([]),
        b"#!/bin/sh\n" * 100 + packed(LATE),
        commented(packed(LATE), b"made by hand " * 4000),
        commented(packed(LATE), b"!"),
        zip64_ended(packed(LATE)),
        packed([("a.xml", XML), *((f"{'d' * 150}/{n}.txt", b"x") for n in range(3000))]),
    ],
    ids=["small", "large", "empty", "prefix", "long comment", "short comment", "zip64", "long directory"],
)
@pytest.mark.parametrize("kept", ["all", "directory"])
def test_an_archive_is_opened_again_from_its_ending_without_asking(data: bytes, kept: str) -> None:
    """All that is at hand of its end, or just what was read to open it."""
    first = RemoteArchive(Source(data))
    ending = first.ending()
    end = ending.data if kept == "all" else ending.data[len(ending.data) - ending.directory_bytes :]
    again = Remembering(data, end)
    archive = RemoteArchive(again)
    assert again.asked == []
    assert archive.members == first.members
    assert read_all(archive, ["a.xml"]) == read_all(first, ["a.xml"]) == ({"a.xml": XML} if archive.members else {})
    assert RemoteArchive(Remembering(data, archive.ending().data)).members == first.members


def test_the_total_is_counted_by_the_opening() -> None:
    """An earlier one takes nothing away from a later one."""
    data, caps = packed([("a.xml", XML)]), Caps(total_bytes=len(XML))
    for _ in range(2):
        archive = RemoteArchive(Source(data), caps)
        assert read_all(archive) == {"a.xml": XML}
        assert read_all(archive) == {"a.xml": "too-large"}
