"""Archives to test with, bad ones too; what is made goes into a stand-in's `archive=` as it is.

Ordinary members of any size, a gigabyte too, are a dict of paths with bytes or `Filler`: the stand-in packs those.
What no dict can say is made by `packed`, and spoilt by `encrypted`, `lying`, `altered` and `zip64_ended`.
"""

from __future__ import annotations

import io
import random
import struct
import warnings
import zipfile
from typing import TYPE_CHECKING

from reconciler.sandbox.gitlab import Filler

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MB = 1024 * 1024
CLIMBING = "../../etc/passwd"
"""A path that leads out of wherever it is unpacked."""
BOMB = bytes(20 * MB)
"""A content that packs to a thousandth."""
FIELDS: Mapping[str, int] = {"flags": 8, "method": 10, "crc": 16, "packed": 20, "size": 24, "offset": 42}
"""Where an entry of the directory has its fields (PKWARE's APPNOTE 4.3.12)."""
_END = b"PK\x05\x06"


def noise(size: int, seed: int = 1) -> bytes:
    """Make bytes that do not get smaller by compression."""
    return random.Random(seed).randbytes(size)  # noqa: S311 - not a secret


def packed(files: Iterable[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Pack a zip, two members of one name and names that climb included."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as made, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Duplicate name")
        for path, content in files:
            info = zipfile.ZipInfo(path)
            info.compress_type = method
            made.writestr(info, content)
    return buffer.getvalue()


def gigabyte(small: Mapping[str, bytes], *, size_bytes: int = 1024 * MB) -> dict[str, bytes | Filler]:
    """Lay small files between two that fill up the archive to this size, stored and in zip64."""
    before = size_bytes * 7 // 10
    return {"0/trace.bin": Filler(before), **small, "~/video.bin": Filler(size_bytes - before)}


def directory_entry(data: bytes, path: str) -> int:
    """Find where the directory speaks of a member."""
    at = data.rindex(path.encode())
    return data.rindex(b"PK\x01\x02", 0, at)


def altered(data: bytes, path: str, offset: int, value: int, form: str = "<I") -> bytes:
    """Change a field of a member's entry in the directory."""
    return _written(data, directory_entry(data, path) + offset, value, form)


def encrypted(data: bytes, path: str) -> bytes:
    """Make a member one that is encrypted, as its own header says too."""
    (local,) = struct.unpack_from("<I", data, directory_entry(data, path) + FIELDS["offset"])
    return _written(altered(data, path, FIELDS["flags"], 0x1, "<H"), local + 6, 0x1, "<H")


def lying(data: bytes, path: str, size_bytes: int) -> bytes:
    """Let the directory tell another size of a member than it has."""
    return altered(data, path, FIELDS["size"], size_bytes)


def zip64_ended(data: bytes) -> bytes:
    """Give a zip the end of one with more than 65,535 members or 4 GB (PKWARE's APPNOTE 4.3.14 and 4.3.15)."""
    at = data.rindex(_END)
    count, size, start = struct.unpack_from("<HII", data, at + 10)
    record = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, start)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, at, 1)
    end = struct.pack("<4sHHHHIIH", _END, 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return data[:at] + record + locator + end


def _written(data: bytes, at: int, value: int, form: str) -> bytes:
    return data[:at] + struct.pack(form, value) + data[at + struct.calcsize(form) :]
