"""Clean UTF-8 blocks of XML, with the middle of giant texts cut out before a parser has to hold them."""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING

from reconciler.junit.clean import BLOCK, allowed_references
from reconciler.junit.problems import BadReport, has_doctype

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from reconciler.junit.limits import Limits

MARKER = re.compile(r"\[\[ATTACHMENT\|[^\[\]\|]+?\]\]")
"""GitLab's pattern (lib/gitlab/ci/parsers/test/junit.rb): it must survive wherever a text is cut."""
MAX_MARKERS = 100
_LONGEST_MARKER = 1024

_MARKER_BYTES = re.compile(MARKER.pattern.encode())
_SPECIAL = re.compile(rb"<[!?]")
_OPENERS = (b"<![CDATA[", b"<!--", b"<?", b"<!DOCTYPE")
_TERMINATORS = {b"<![CDATA[": b"]]>", b"<!--": b"-->", b"<?": b"?>"}
_DOCTYPE_NAME = re.compile(rb"<!DOCTYPE[ \t\r\n]+([^ \t\r\n>\[]{1,100})")
_ATTRIBUTE = re.compile(rb"=[ \t\r\n]*[\"']")
_TAG_STEP = re.compile(rb"[\"'>]")
_CONTINUATION = bytes(range(0x80, 0xC0))


def cut_note(chars: int) -> str:
    """Say in the cut text itself how much is missing."""
    return f"\n[... {chars:,} characters cut ...]\n"


CUT_NOTE = re.compile(r"\n\[\.\.\. ([\d,]{1,20}) characters cut \.\.\.\]\n")


class Trimmer:
    """Follows markup just closely enough to know text from tags, and passes on everything but the middle of long texts.

    A run of text, CDATA sections and comments without a tag between keeps its first and its last `keep_bytes`
    or a little more. No tag is ever left out, so a document that is not well-formed stays so.
    """

    def __init__(self, limits: Limits) -> None:
        """Keep about four bytes on each side for every two characters that are wanted in the end."""
        self.lines_cut = 0
        self._limits = limits
        self._keep_bytes = max(2 * limits.max_text_chars, 16 * BLOCK)
        self._out: list[bytes] = []
        self._held = b""
        self._section = b""
        self._section_bytes = 0
        self._in_tag = False
        self._quote = b""
        self._tag_bytes = 0
        self._attributes = 0
        self._run_bytes = 0
        self._tail: deque[tuple[bytes, bool]] = deque()
        self._tail_bytes = 0
        self._chars_cut = 0
        self._markers: list[tuple[bytes, bool]] = []
        self._begun = (b"", False)

    def trimmed(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """Pass the blocks on as the parser may see them.

        Raises:
            BadReport: a DOCTYPE stands outside text, comments and CDATA; or "too-large": one tag is beyond the limits.
        """
        for block in blocks:
            data = self._held + block
            self._held = b""
            position = 0
            while position < len(data):
                position = self._in_section(data, position) if self._section else self._in_content(data, position)
            yield self._taken()
        yield self._held

    def _taken(self) -> bytes:
        out = b"".join(self._out)
        self._out.clear()
        return out

    def _in_content(self, data: bytes, position: int) -> int:
        special = _SPECIAL.search(data, position)
        if special is None:
            end = len(data) - data.endswith(b"<")
            self._tags_and_text(data[position:end])
            self._held = data[end:]
            return len(data)
        start = special.start()
        self._tags_and_text(data[position:start])
        return self._special(data, start)

    def _special(self, data: bytes, start: int) -> int:
        for opener in _OPENERS:
            if data.startswith(opener, start):
                return self._open(opener, data, start)
        begun = data[start : start + 9]
        if start + len(begun) == len(data) and any(opener.startswith(begun) for opener in _OPENERS):
            self._held = begun
            return len(data)
        self._out.append(special := data[start : start + 2])
        return start + len(special)

    def _open(self, opener: bytes, data: bytes, start: int) -> int:
        if opener == b"<!DOCTYPE":
            if self._in_tag:  # not well-formed, and the parser will say so better
                self._out.append(opener)
                return start + len(opener)
            name = _DOCTYPE_NAME.match(data, start)
            raise has_doctype(name[1].decode(errors="replace") if name else "")
        self._section = opener
        self._section_bytes = 0
        if opener != b"<![CDATA[":
            self._out.append(opener)
        return start + len(opener)

    def _in_section(self, data: bytes, position: int) -> int:
        terminator = _TERMINATORS[self._section]
        end = data.find(terminator, position)
        if end < 0:
            tail = data[max(position, len(data) - len(terminator) + 1) :]
            end = len(data) - (len(tail) - len(tail.rstrip(terminator[:1])))
            self._part(data[position:end])
            self._held = data[end:]
            return len(data)
        self._part(data[position:end])
        if self._section != b"<![CDATA[":
            self._out.append(terminator)
        self._section = b""
        return end + len(terminator)

    def _part(self, chunk: bytes) -> None:
        """Take a part of a section; one of CDATA becomes a section of its own, which reads the same."""
        if self._section == b"<![CDATA[":
            self._text(chunk, cdata=True)
            return
        self._section_bytes += len(chunk)
        if self._section_bytes <= self._keep_bytes:
            self._out.append(chunk)
        else:
            self.lines_cut += chunk.count(b"\n")

    # --- tags --------------------------------------------------------------------------------------------------------

    def _tags_and_text(self, markup: bytes) -> None:
        piece = allowed_references(markup)
        last = piece.rfind(b"<")
        if last >= 0:
            if self._tail:
                first = piece.find(b"<")
                self._text(piece[:first], cdata=False)
                self._end_run()
                self._out.append(piece[first:last])
            else:
                self._out.append(piece[:last])
            piece = piece[last:]
            self._begin_tag()
        if self._in_tag:
            end = self._tag_end(piece)
            self._out.append(piece[:end])
            piece = piece[end:]
        if piece:
            self._text(piece, cdata=False)

    def _begin_tag(self) -> None:
        self._in_tag = True
        self._quote = b""
        self._tag_bytes = self._attributes = self._run_bytes = 0
        self._begun = (b"", False)

    def _tag_end(self, piece: bytes) -> int:
        """Find where the open tag ends; the piece's length when it goes on."""
        position = 0
        while True:
            if self._quote:
                position = piece.find(self._quote, position) + 1
                if position == 0:
                    break
                self._quote = b""
            step = _TAG_STEP.search(piece, position)
            if step is None:
                break
            position = step.end()
            if step[0] == b">":
                self._in_tag = False
                return position
            self._quote = step[0]
        self._weigh_tag(piece)
        return len(piece)

    def _weigh_tag(self, piece: bytes) -> None:
        self._tag_bytes += len(piece)
        if self._tag_bytes > self._limits.max_bytes_per_tag:
            raise BadReport("too-large", f"one tag is longer than {self._limits.max_bytes_per_tag:,} bytes")
        self._attributes += len(_ATTRIBUTE.findall(piece))
        if self._attributes > self._limits.max_attributes_per_tag:
            raise BadReport("too-large", f"one tag has more than {self._limits.max_attributes_per_tag:,} attributes")

    # --- text --------------------------------------------------------------------------------------------------------

    def _text(self, chunk: bytes, *, cdata: bool) -> None:
        if not self._tail and self._run_bytes + len(chunk) <= self._keep_bytes:
            self._run_bytes += len(chunk)
            self._with_begun(chunk, cdata=cdata)
            self._emit(chunk, cdata=cdata)
            return
        self._tail.append((chunk, cdata))
        self._tail_bytes += len(chunk)
        while self._tail_bytes - len(self._tail[0][0]) >= self._keep_bytes:
            self._cut(*self._tail.popleft())

    def _cut(self, chunk: bytes, cdata: bool) -> None:  # noqa: FBT001 - an entry of the tail, unpacked
        self._tail_bytes -= len(chunk)
        self._chars_cut += len(chunk.translate(None, _CONTINUATION))
        self.lines_cut += chunk.count(b"\n")
        markers = _MARKER_BYTES.findall(self._with_begun(chunk, cdata=cdata))
        self._markers += ((marker + b"\n", cdata) for marker in markers[: MAX_MARKERS - len(self._markers)])

    def _with_begun(self, chunk: bytes, *, cdata: bool) -> bytes:
        """Put before the chunk what may be a marker that began in the one before; keep what begins in it."""
        begun, kind = self._begun
        whole = begun + chunk if begun and kind is cdata else chunk
        self._begun = (_begun_marker(whole), cdata)
        return whole

    def _end_run(self) -> None:
        if self._chars_cut:
            note = cut_note(self._chars_cut).encode()
            for chunk, cdata in ((note, False), *self._markers, self._begun):
                self.lines_cut -= chunk.count(b"\n")
                self._emit(chunk, cdata=cdata)
        for chunk, cdata in self._tail:
            self._emit(chunk, cdata=cdata)
        self._markers.clear()
        self._tail.clear()
        self._tail_bytes = self._chars_cut = 0

    def _emit(self, chunk: bytes, *, cdata: bool) -> None:
        if cdata:
            self._out += (b"<![CDATA[", chunk, b"]]>")
        else:
            self._out.append(chunk)


def _begun_marker(chunk: bytes) -> bytes:
    """Answer the end of the chunk from where a marker may begin that the next chunk ends."""
    start = chunk.rfind(b"[[", -_LONGEST_MARKER)
    if start >= 0 and chunk.find(b"]]", start) < 0:
        return chunk[start:]
    return b"[" if chunk.endswith(b"[") else b""
