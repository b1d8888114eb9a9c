"""File names and content types, by our own table: what a machine's mime.types says differs from machine to machine."""

from __future__ import annotations

from reconciler import terminal

UNKNOWN = "application/octet-stream"
LONGEST_NAME = 255
_LONGEST_EXTENSION = 20
_LOOKED_AT = 4_096  # characters of a path: a name stands at its end

_TYPES = {
    # what a browser shows
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "bmp": "image/bmp",
    "svg": "image/svg+xml",
    "pdf": "application/pdf",
    "mp4": "video/mp4",
    "webm": "video/webm",
    "mov": "video/quicktime",
    "avi": "video/x-msvideo",
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    # text
    "txt": "text/plain",
    "log": "text/plain",
    "out": "text/plain",
    "err": "text/plain",
    "html": "text/html",
    "htm": "text/html",
    "mhtml": "multipart/related",
    "css": "text/css",
    "js": "text/javascript",
    "csv": "text/csv",
    "tsv": "text/tab-separated-values",
    "md": "text/markdown",
    "diff": "text/x-diff",
    "patch": "text/x-diff",
    "yml": "application/yaml",
    "yaml": "application/yaml",
    "json": "application/json",
    "har": "application/json",
    "jsonl": "application/jsonl",
    "xml": "application/xml",
    # archives
    "zip": "application/zip",
    "gz": "application/gzip",
    "tgz": "application/gzip",
    "tar": "application/x-tar",
    "bz2": "application/x-bzip2",
    "xz": "application/x-xz",
    "zst": "application/zstd",
    "7z": "application/x-7z-compressed",
    "jar": "application/java-archive",
}
_EXTENSIONS = {content_type: extension for extension, content_type in reversed(_TYPES.items())}
_MORE_EXTENSIONS = {"image/jpg": "jpg", "text/xml": "xml", "application/javascript": "js", "text/yaml": "yml"}

_SIGNATURES = {
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/gif": (b"GIF87a", b"GIF89a"),
    "image/bmp": (b"BM",),
}


def content_type(name: str, head: bytes) -> str:
    """Tell the type of a file by its name's extension; an image must begin (`head`, some 16 bytes) like one, too.

    What is not known, or lies, is bytes to be saved, not shown: `application/octet-stream`.
    """
    known = _TYPES.get(_extension(name).lower(), UNKNOWN)
    if known == "image/webp":
        return known if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else UNKNOWN
    signatures = _SIGNATURES.get(known)
    return known if signatures is None or head.startswith(signatures) else UNKNOWN


def extension_of(media_type: str) -> str:
    """Give the usual extension, without dot, of a content type; "bin" when it is not known."""
    return _EXTENSIONS.get(media_type) or _MORE_EXTENSIONS.get(media_type, "bin")


def fits_type(name: str, media_type: str) -> bool:
    """Tell whether the name's extension may stay: it is one of that content type, or we know none that is."""
    extension = _extension(name).lower()
    known = _TYPES.get(extension_of(media_type))
    return bool(extension) if known is None else _TYPES.get(extension) == known


def file_name(path: str) -> str:
    """Give the path's last part as a name that can be shown: never empty, of one line, at most `LONGEST_NAME` long."""
    shown = terminal.strip(path[-_LOOKED_AT:]).translate({9: " ", 10: " "}).replace("\\", "/")
    name = shown.rstrip("/ ").rpartition("/")[2].strip()
    if not name.strip(". "):
        return "attachment"
    if len(name) <= LONGEST_NAME:
        return name
    extension = _extension(name)
    ending = f".{extension}" if extension else ""
    return name[: LONGEST_NAME - len(ending)] + ending


def shown_path(path: str) -> str:
    """Give a path on one line, its end where it is too long: never empty, at most `LONGEST_NAME` long."""
    shown = terminal.strip(path[-_LOOKED_AT:]).translate({9: " ", 10: " "}).strip()
    return shown[-LONGEST_NAME:] or "attachment"


def _extension(name: str) -> str:
    stem, dot, extension = name.rpartition(".")
    return extension if dot and stem and len(extension) <= _LONGEST_EXTENSION else ""
