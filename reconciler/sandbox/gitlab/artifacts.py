"""What a runner uploads: archives with their directories, and reports as it packs them."""

from __future__ import annotations

import io
import mimetypes
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple, TypedDict
from urllib.parse import quote

from reconciler.sandbox.objectstore import PIECE_BYTES, Blob, Segments

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from _typeshed import WriteableBuffer

BLOCK = bytes(1024 * 1024)
_MADE = (2026, 11, 23, 8, 0, 0)


@dataclass(frozen=True, slots=True)
class Filler:
    """A file of so many zero bytes that is stored uncompressed and takes no memory, however big."""

    size: int


class Artifact(NamedTuple):
    """An entry of a job's `artifacts[]`, with its bytes."""

    file_type: str
    file_format: str
    filename: str
    blob: Blob


class TreeEntry(TypedDict, total=False):
    """A row of `artifacts/tree`; directories have no size (doc/api/job_artifacts.md)."""

    name: str
    path: str
    type: str
    size: int
    mode: str


# --- packing ---------------------------------------------------------------------------------------------------------


class _Recorder:
    """A file that keeps what is written as it is: a block written a thousand times is kept once."""

    def __init__(self) -> None:
        self.segments: list[bytes] = []

    def write(self, data: bytes) -> int:
        self.segments.append(data)
        return len(data)

    def flush(self) -> None:
        """Satisfy zipfile, which takes the recorder for a pipe: sizes follow the data, as in the runner's archives."""


def pack_zip(files: Mapping[str, bytes | Filler]) -> Blob:
    """Pack an `artifacts.zip`; a path that ends in "/" is a folder."""
    recorder = _Recorder()
    with zipfile.ZipFile(recorder, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[call-overload] # a pipe will do
        for path, content in files.items():
            info = zipfile.ZipInfo(path, _MADE)
            info.external_attr = (0o40755 if info.is_dir() else 0o100644) << 16
            info.compress_type = zipfile.ZIP_STORED if isinstance(content, Filler) else zipfile.ZIP_DEFLATED
            with archive.open(info, "w", force_zip64=isinstance(content, Filler)) as member:
                for piece in _pieces(content):
                    member.write(piece)
    return Segments(recorder.segments)


def _pieces(content: bytes | Filler) -> Iterator[bytes]:
    if not isinstance(content, Filler):
        yield content
        return
    for _ in range(content.size // len(BLOCK)):
        yield BLOCK
    yield BLOCK[: content.size % len(BLOCK)]


def pack_reports(files: Iterable[tuple[str, bytes]]) -> bytes:
    """Pack a `junit.xml.gz` as the runner does: one gzip member a file, one after another.

    Source: gitlab-runner helpers/archives/gzip_create.go.
    """
    return b"".join(_gzip_member(path, content) for path, content in files)


def _gzip_member(path: str, content: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-15)
    name = PurePosixPath(path).name.encode("latin-1", "replace")  # Go refuses other names, and the upload fails
    return b"".join(
        [
            b"\x1f\x8b\x08\x18\x00\x00\x00\x00\x00\x03",  # deflate, FNAME and FCOMMENT follow, Unix
            name + b"\x00" + _comment(path).encode("latin-1") + b"\x00",
            deflate.compress(content) + deflate.flush(),
            zlib.crc32(content).to_bytes(4, "little") + (len(content) & 0xFFFFFFFF).to_bytes(4, "little"),
        ]
    )


def _comment(path: str) -> str:
    """Escape like the runner's sanitizePath: also for the sake of a "%", and with Go's PathEscape, slashes included."""
    if path.isascii() and "%" not in path:
        return path
    return "e:" + quote(path, safe="$&+=:@")


# --- looking into an archive -----------------------------------------------------------------------------------------


class BlobFile(io.RawIOBase):
    """A blob as a file to read from."""

    def __init__(self, blob: Blob) -> None:
        super().__init__()
        self._blob = blob
        self._at = 0

    def readable(self) -> bool:
        """Say yes."""
        return True

    def seekable(self) -> bool:
        """Say yes."""
        return True

    def tell(self) -> int:
        """Tell the position."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to another position."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._blob.size}[whence]
        self._at = origin + offset
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Read some bytes."""
        view = memoryview(buffer).cast("B")
        stop = min(self._blob.size, self._at + len(view))
        data = b"".join(self._blob.pieces(self._at, stop)) if self._at < stop else b""
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


class Member(NamedTuple):
    """One file of an archive, to be sent."""

    name: str
    size: int
    content_type: str
    pieces: Iterator[bytes]


def open_member(archive: Blob, path: str) -> Member | None:
    """Find a file in an archive; None when there is no such file.

    Raises:
        zipfile.BadZipFile: what was uploaded is not a zip.
    """
    opened = zipfile.ZipFile(io.BufferedReader(BlobFile(archive)))  # the pieces' generator closes it
    try:
        info = opened.getinfo(path)
    except KeyError:
        opened.close()
        return None
    guessed = mimetypes.guess_type(path)[0] or "application/octet-stream"
    return Member(PurePosixPath(path).name, info.file_size, guessed, _read(opened, info))


def _read(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    with opened, opened.open(info) as member:
        while piece := member.read(PIECE_BYTES):
            yield piece


def list_tree(archive: Blob, folder: str, *, recursive: bool) -> list[TreeEntry] | None:
    """List what lies in a folder ("" = the root) of an archive; None when there is no such folder.

    Folders that no entry names are listed too: workhorse adds them (workhorse/internal/zipartifacts/metadata.go).
    """
    with zipfile.ZipFile(io.BufferedReader(BlobFile(archive))) as opened:
        sizes = {info.filename: info.file_size for info in opened.infolist()}
    for path in list(sizes):
        sizes.update({f"{parent}/": 0 for parent in map(str, PurePosixPath(path).parents) if parent not in (".", "/")})
    prefix = f"{folder.rstrip('/')}/" if folder else ""
    if prefix and prefix not in sizes:
        return None
    inside = [path for path in sorted(sizes) if path.startswith(prefix) and path != prefix]
    return [_entry(path, sizes[path]) for path in inside if recursive or "/" not in path[len(prefix) : -1]]


def _entry(path: str, size: int) -> TreeEntry:
    name = PurePosixPath(path).name
    if path.endswith("/"):
        return {"name": name, "path": path, "type": "directory", "mode": "040755"}
    return {"name": name, "path": path, "type": "file", "size": size, "mode": "100644"}


def as_archive(given: Mapping[str, bytes | Filler] | Blob | bytes) -> Blob:
    """Take what a scenario gives for an archive: its files, its bytes (which need not be a zip), or a blob."""
    if isinstance(given, bytes):
        return Segments([given])
    return pack_zip(given) if isinstance(given, Mapping) else given


def as_reports(given: Sequence[tuple[str, bytes]] | bytes) -> Blob:
    """Take what a scenario gives for `junit.xml.gz`: files with their paths, or its bytes (which need not be gzip)."""
    return Segments([given if isinstance(given, bytes) else pack_reports(given)])


def as_log(given: bytes) -> Blob:
    """Take what a scenario gives for a job's log."""
    return Segments([given])
