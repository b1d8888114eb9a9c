"""A zip's directory, mended where zipfile would refuse it as a whole: one bad entry is then one bad member."""

from __future__ import annotations

import struct

ENTRY = b"PK\x01\x02"
"""What an entry of a directory begins with."""
_ENTRY_BYTES = 46
_ZIP64_VERSION = 45
_UTF8 = 0x800
_ZIP64, _UNICODE_PATH, _UNKNOWN = 0x0001, 0x7075, 0xFFFF
"""Kinds of extra fields (PKWARE's APPNOTE 4.5 and 4.6.9)."""


def mended(directory: bytes) -> bytes:
    """Change what would make zipfile refuse the directory for one entry's sake; that member is then bad by itself.

    A newer version of the format than zipfile knows, a name that is not the UTF-8 that it is said to be, and extra
    fields that do not hold what they must (CPython's Lib/zipfile, `_RealGetContents` and `_decodeExtra`).
    """
    data, at = bytearray(directory), 0
    while data.startswith(ENTRY, at) and at + _ENTRY_BYTES <= len(data):
        data[at + 6] = min(data[at + 6], _ZIP64_VERSION)
        flags, sizes = struct.unpack_from("<H", data, at + 8)[0], struct.unpack_from("<II", data, at + 20)
        name, extra, comment = struct.unpack_from("<HHH", data, at + 28)
        start = at + _ENTRY_BYTES
        if flags & _UTF8 and not _is_utf8(bytes(data[start : start + name])):
            struct.pack_into("<H", data, at + 8, flags & ~_UTF8)
        wide = [*sizes, *struct.unpack_from("<I", data, at + 42)].count(0xFFFFFFFF)
        _mend_extra(data, start + name, min(start + name + extra, len(data)), zip64_bytes=8 * wide)
        at = start + name + extra + comment
    return bytes(data)


def _mend_extra(data: bytearray, at: int, stop: int, *, zip64_bytes: int) -> None:
    """Turn extra fields that zipfile stumbles over into such as nobody knows."""
    while at + 4 <= stop:
        kind, length = struct.unpack_from("<HH", data, at)
        fitting = min(length, stop - at - 4)
        too_short = kind == _ZIP64 and length < zip64_bytes
        if fitting != length or too_short or kind == _UNICODE_PATH:
            struct.pack_into("<HH", data, at, _UNKNOWN, fitting)
        at += 4 + fitting


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True
