"""lxml's pull parser, without entities, network and comments, and its errors in words for a person."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, cast

from lxml import etree

from reconciler.junit.problems import BadReport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxml.etree import _Element

_POSITION = re.compile(r", line \d+, column \d+.*$| line \d+", re.DOTALL)
"""What libxml2 says of places within its words: it does not know what was cut before."""
_LONGEST_MESSAGE = 300


class Parser:
    """Turns blocks into events. A problem waits until it is asked for, because the events before it come first."""

    def __init__(self) -> None:
        """Start a document. Our own limits apply: libxml2's would refuse a real system-out of 11 MB."""
        self._parser = etree.XMLPullParser(
            events=("start", "end"),
            encoding="utf-8",
            huge_tree=True,
            resolve_entities=False,
            no_network=True,
            load_dtd=False,
            remove_comments=True,
            remove_pis=True,
        )
        self._closed = False
        self._error: _Error | None = None

    def feed(self, block: bytes) -> None:
        """Parse the next block of UTF-8.

        Without resolve_entities lxml stops at `&nbsp;` without a word, and would begin anew with the next block:
        only its log says so.
        """
        try:
            self._parser.feed(block)
        except etree.XMLSyntaxError as error:
            self._error = _Error(error.msg, *error.position)
        else:
            fatal = (entry for entry in self._parser.feed_error_log if entry.level >= etree.ErrorLevels.FATAL)
            self._error = next((_Error(entry.message, entry.line, entry.column) for entry in fatal), None)

    def close(self) -> None:
        """Say that nothing follows."""
        self._closed = True
        try:
            self._parser.close()
        except etree.XMLSyntaxError as error:
            self._error = _Error(error.msg, *error.position)

    def events(self) -> Iterator[tuple[str, _Element]]:
        """Yield what was completed since the last call: "start" and "end" of elements."""
        return cast("Iterator[tuple[str, _Element]]", self._parser.read_events())

    def raise_problem(self, *, finished: bool, lines_cut: int) -> None:
        """Raise the problem, if there is one.

        `finished` tells whether the root element was closed; `lines_cut` were left out of what the parser saw.

        Raises:
            BadReport: "malformed", "truncated" or "too-deep".
        """
        if self._error is None:
            return
        message, line, column = self._error
        place = f"line {line + lines_cut}, column {column}"
        if self._closed and not finished:
            raise BadReport("truncated", f"{place}: the file ends in the middle of the report")
        if "Excessive depth" in message:
            raise BadReport("too-deep", f"{place}: elements are nested too deep")
        if finished and "amespace" not in message:  # those are found in the middle and told at the end
            raise BadReport("malformed", f"{place}: something follows the end of the report")
        words = " ".join(_POSITION.sub("", message).split())
        raise BadReport("malformed", f"{place}: {words[:_LONGEST_MESSAGE]}")


class _Error(NamedTuple):
    message: str
    line: int
    column: int
