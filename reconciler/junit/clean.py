"""Bytes of an XML file as clean UTF-8 blocks: whatever its encoding, no character in them is one that XML forbids."""

from __future__ import annotations

import codecs
import re
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO

from reconciler.junit.problems import BadReport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.junit.limits import Limits

BLOCK = 64 * 1024


def clean_blocks(stream: BinaryIO, limits: Limits) -> Iterator[bytes]:
    """Read the stream as UTF-8 without a byte order mark, an XML declaration, or characters that XML forbids.

    Undecodable bytes and forbidden characters become U+FFFD: six of 36 real tools write them, and the report is
    whole. What is left out is replaced by blanks, so that positions stay true. No block ends within a character, or
    within what may become a character reference.

    Raises:
        BadReport: "too-large", or "encoding" when the declared one is not known.
    """
    raw = _raw_blocks(stream, limits.max_bytes)
    first = next(raw, b"")
    decoded = _utf8_blocks(chain((first,), raw), _codec(first))
    return _without_forbidden(_without_declaration(decoded))


def _raw_blocks(stream: BinaryIO, max_bytes: int) -> Iterator[bytes]:
    size = 0
    first = b""
    while len(first) < BLOCK and (more := stream.read(BLOCK - len(first))):
        first += more
    block = first
    while block:
        size += len(block)
        if size > max_bytes:
            raise BadReport("too-large", f"the file is larger than {max_bytes:,} bytes")
        yield block
        block = stream.read(BLOCK)


# --- encodings -------------------------------------------------------------------------------------------------------

_SIGNS = (
    (re.compile(rb"\xef\xbb\xbf"), "utf-8"),
    (re.compile(rb"\xff\xfe\x00\x00"), "utf-32-le"),
    (re.compile(rb"\x00\x00\xfe\xff"), "utf-32-be"),
    (re.compile(rb"\xff\xfe|(?:[ \t\r\n]\x00)*<\x00"), "utf-16-le"),
    (re.compile(rb"\xfe\xff|(?:\x00[ \t\r\n])*\x00<"), "utf-16-be"),
)
"""Byte order marks, or a first `<` in two bytes: stronger than any declaration (PowerShell's `>` writes UTF-16LE
with a mark under `encoding="UTF-8"`)."""

_LEADING = re.compile(rb"(?:\xef\xbb\xbf|[ \t\r\n])*")
_DECLARATION = re.compile(rb"<\?xml(?:[ \t\r\n]+[A-Za-z]+[ \t\r\n]*=[ \t\r\n]*(?:\"[^\"<]*\"|'[^'<]*'))+[ \t\r\n]*\?>")
_DECLARED = re.compile(rb"[ \t\r\n]encoding[ \t\r\n]*=[ \t\r\n]*[\"']([^\"']*)")
_ENCODING_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,39}")

_PROBE = b"<?xml \\x41\\u0041 +AGE- ~{ .xn--bcher-kva. ?>"
"""What an encoding must read as ASCII does: Python's codecs include escapes and transport forms (utf-7, idna, hz)."""


def _codec(first: bytes) -> str:
    for sign, codec in _SIGNS:
        if sign.match(first):
            return codec
    return _usable(_declared(first) or "utf-8")


def _declared(head: bytes) -> str | None:
    """Read the encoding's name from the XML declaration that the head begins with; None when there is none."""
    declaration = _DECLARATION.match(head, _leading_end(head))
    name = _DECLARED.search(declaration[0]) if declaration else None
    if name is None:
        return None
    text = name[1].decode("ascii", "replace")
    if not _ENCODING_NAME.fullmatch(text):
        raise BadReport("encoding", f"line 1: the declared encoding {text[:60]!r} is no encoding's name")
    return text


def _usable(name: str) -> str:
    try:
        codec = codecs.lookup(name).name
        if codec.startswith(("utf-16", "utf-32")) or codec == "ascii":
            return "utf-8"  # the declaration itself was read as single bytes, so it cannot be what it says
        if _PROBE.decode(codec) == _PROBE.decode("ascii"):
            return codec
    except (LookupError, UnicodeError):
        pass
    raise BadReport("encoding", f"line 1: the declared encoding {name!r} is not known")


def _leading_end(head: bytes) -> int:
    leading = _LEADING.match(head)
    return leading.end() if leading else 0


def _utf8_blocks(blocks: Iterator[bytes], codec: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(codec)(errors="replace")
    plain = codec == "utf-8"
    for block in blocks:
        if plain and block.isascii() and not decoder.getstate()[0]:
            yield block
        else:
            yield decoder.decode(block).encode()
    yield decoder.decode(b"", final=True).encode()


def _without_declaration(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Blank the XML declaration out: what it says is dealt with, and blanks or a mark before it are no error then."""
    first = next(blocks, b"")
    _declared(first)
    start = _leading_end(first)
    declaration = _DECLARATION.match(first, start)
    end = declaration.end() if declaration else start
    yield first[:start].replace(codecs.BOM_UTF8, b"") + re.sub(rb"[^\r\n]", b" ", first[start:end]) + first[end:]
    yield from blocks


# --- characters ------------------------------------------------------------------------------------------------------

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}".encode()
_CONTROLS = bytes(sorted({*range(0x20)} - {*b"\t\r\n"}))
_CONTROL = re.compile(b"[" + re.escape(_CONTROLS) + b"]")
_NONCHARACTER = re.compile(rb"\xef\xbf[\xbe\xbf]")
_REFERENCE = re.compile(rb"&#(?:x0*([0-9a-fA-F]{1,8})|0*([0-9]{1,10}));")
_LONGEST_REFERENCE = 32


def _without_forbidden(blocks: Iterator[bytes]) -> Iterator[bytes]:
    begun = b""
    for block in blocks:
        data = begun + block
        start = data.rfind(b"&", max(0, len(data) - _LONGEST_REFERENCE))
        if start < 0 or data.find(b";", start) >= 0:
            start = len(data)
        begun = data[start:]
        yield _replaced(data[:start])
    yield _replaced(begun)


def _replaced(block: bytes) -> bytes:
    if len(block.translate(None, _CONTROLS)) != len(block):
        block = _CONTROL.sub(_REPLACEMENT, block)
    if b"\xef\xbf" in block:
        block = _NONCHARACTER.sub(_REPLACEMENT, block)
    return block


def allowed_references(markup: bytes) -> bytes:
    """Put U+FFFD for character references to what XML forbids (bats writes `&#27;`); not meant for CDATA."""
    return _REFERENCE.sub(_allowed_reference, markup) if b"&#" in markup else markup


def _allowed_reference(match: re.Match[bytes]) -> bytes:
    code = int(match[1], 16) if match[1] else int(match[2])
    allowed = code in {9, 10, 13} or 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or 0x10000 <= code <= 0x10FFFF
    return match[0] if allowed else _REPLACEMENT
