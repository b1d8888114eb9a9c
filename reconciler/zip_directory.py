"""A zip's directory, entry by entry: in a tenth of zipfile's memory, and so that one bad entry is one bad member.

zipfile refuses a directory as a whole for one entry's sake (a newer version of the format, a name that is not the UTF-8
it is said to be, an extra field cut short), and keeps some 600 bytes of each.
Source: PKWARE's APPNOTE 4.3.12 to 4.3.16, 4.4.4 and 4.5.3.
"""

from __future__ import annotations

import struct
from array import array
from typing import NamedTuple
from zipfile import BadZipFile

_END, _END_BYTES = b"PK\x05\x06", 22
_LONGEST_COMMENT = 0xFFFF
_LOCATOR, _LOCATOR_BYTES = b"PK\x06\x07", 20
_END64, _END64_BYTES = b"PK\x06\x06", 56
_ENTRY, _ENTRY_BYTES = b"PK\x01\x02", 46
_FIELDS = struct.Struct("<8xHH4xIIIHHH8xI")
_LENGTHS = struct.Struct("<HHH")
_UTF8 = 0x800
_ZIP64, _IN_ZIP64 = 0x0001, 0xFFFFFFFF


class Bounds(NamedTuple):
    """Where a directory lies in its archive."""

    start: int
    stop: int
    moved_bytes: int
    """How much farther everything lies than the directory says: something stands before the zip."""


class Entry(NamedTuple):
    """What the directory says of a member; all of it may be a lie."""

    path: str
    raw_name: bytes
    flags: int
    method: int
    crc: int
    packed_bytes: int
    size_bytes: int
    offset: int
    """Of its own header, as the directory has it."""
    extra_bytes: int


def bounds(tail: bytes, size: int) -> Bounds:
    """Find the directory by an archive's last bytes: it ends where the end record, or zip64's, begins.

    Raises:
        BadZipFile: this is no zip, or one in several parts.
    """
    at = len(tail) - _END_BYTES
    if not (at >= 0 and tail.startswith(_END, at) and tail.endswith(b"\0\0")):
        at = tail.rfind(_END, max(0, at - _LONGEST_COMMENT))
    if at < 0 or at + _END_BYTES > len(tail):
        raise BadZipFile("it is not a zip file, or its end is missing")
    length, offset = struct.unpack_from("<II", tail, at + 12)
    before = at - _LOCATOR_BYTES - _END64_BYTES
    if before >= 0 and tail.startswith(_LOCATOR, at - _LOCATOR_BYTES):
        if struct.unpack_from("<I", tail, at - 4)[0] > 1:
            raise BadZipFile("it is one part of several")
        if tail.startswith(_END64, before):
            at = before
            length, offset = struct.unpack_from("<QQ", tail, at + 40)
    stop = size - len(tail) + at
    if length > stop:
        raise BadZipFile("its directory would begin before its first byte")
    return Bounds(stop - length, stop, stop - length - offset)


def places(directory: memoryview, most: int) -> array[int]:
    """Find where each entry begins; it is enough to know that there are more than `most`.

    Raises:
        BadZipFile: something else stands where an entry must be.
    """
    found, at = array("I"), 0
    while at < len(directory) and len(found) <= most:
        if at + _ENTRY_BYTES > len(directory) or directory[at : at + 4] != _ENTRY:
            raise BadZipFile(f"entry {len(found) + 1} of it is none")
        found.append(at)
        at += _ENTRY_BYTES + sum(_LENGTHS.unpack_from(directory, at + 28))
    return found


def entry(directory: memoryview, at: int) -> Entry:
    """Read the entry that begins there."""
    flags, method, crc, packed, size, name_bytes, extra_bytes, _, offset = _FIELDS.unpack_from(directory, at)
    start = at + _ENTRY_BYTES
    name = bytes(directory[start : start + name_bytes])
    sizes = size, packed, offset
    if _IN_ZIP64 in sizes:
        start += name_bytes
        sizes = _wide(sizes, bytes(directory[start : start + extra_bytes]))
    return Entry(_path(name, flags), name, flags, method, crc, sizes[1], sizes[0], sizes[2], extra_bytes)


def _path(name: bytes, flags: int) -> str:
    """Decode a name, up to its first NUL as zipfile does; one that is not the UTF-8 it is said to be is cp437."""
    name = name.partition(b"\0")[0]
    if flags & _UTF8:
        try:
            return name.decode()
        except UnicodeDecodeError:
            pass
    return name.decode("cp437")


def _wide(sizes: tuple[int, int, int], extra: bytes) -> tuple[int, int, int]:
    """Read what does not fit into 32 bits out of the extra field; what is not there stays as it was."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == _ZIP64:
            count = min(length, len(extra) - at - 4) // 8
            numbers = list(struct.unpack_from(f"<{count}Q", extra, at + 4))
            wide = [numbers.pop(0) if size == _IN_ZIP64 and numbers else size for size in sizes]
            return wide[0], wide[1], wide[2]
        at += 4 + length
    return sizes
