"""The tests of one JUnit document, in document order, one test in memory at a time."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, BinaryIO

from reconciler.junit.case import NO_NAME, cut_name, local_name, read_case, result_message
from reconciler.junit.clean import clean_blocks
from reconciler.junit.limits import Limits
from reconciler.junit.parser import Parser
from reconciler.junit.problems import ROOTS, BadReport, not_junit
from reconciler.junit.trim import Trimmer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lxml.etree import _Element

    from reconciler.model import TestRun

_DEFAULT_LIMITS = Limits()
_SUITES = frozenset({"testsuites", "testsuite"})
_BAD_RESULTS = frozenset({"failure", "error"})

_JSON = re.compile(rb"\{\s*[\"}]|\[\s*[\[\]{\"]")
_PROLOG = re.compile(rb"(?:[ \t\r\n]+|<!--(?:(?!-->).)*-->|<\?(?:(?!\?>).)*\?>)*", re.DOTALL)
_ROOT = re.compile(rb"(?:<!DOCTYPE[ \t\r\n]+|<)(?:[^\s<>/:!?]+:)?([^\s<>/:!?\[]+)")


def looks_like_junit(head: bytes) -> bool:
    """Tell from the first bytes of a file (4 KB are plenty) whether its root element is one of JUnit's.

    A head that ends within a long comment before the root counts as one, and so does a JUnit document that cannot
    be read for its encoding or its DOCTYPE: reading it says what is wrong, and skipping it would be silent.
    """
    try:
        text = b"".join(clean_blocks(io.BytesIO(head), _DEFAULT_LIMITS))
    except BadReport:
        return b"<test" in head.replace(b"\0", b"")
    prolog = _PROLOG.match(text)
    rest = text[prolog.end() :] if prolog else text
    root = _ROOT.match(rest)
    if root is None:
        return rest.startswith((b"<!--", b"<?"))
    name = root[1].decode(errors="replace")
    return name in ROOTS or (root.end() == len(rest) and any(known.startswith(name) for known in ROOTS))


class Report:
    """Iterable once. The document may turn out bad at its very end: what was yielded before must then be discarded."""

    def __init__(self, stream: BinaryIO, limits: Limits = _DEFAULT_LIMITS) -> None:
        """Read nothing yet."""
        self.notices: list[str] = []
        """What looks green and may not be, one line each; complete when the iteration ends."""
        self._runs: Iterator[TestRun] | None = _read(stream, limits, self.notices)

    def __iter__(self) -> Iterator[TestRun]:
        """Yield the tests in document order: every element named testcase, wherever it stands, is one.

        Raises:
            BadReport: the document cannot be read; nothing of it counts.
        """
        runs, self._runs = self._runs, None
        if runs is None:
            raise RuntimeError("a report is read once")
        return runs


def _read(stream: BinaryIO, limits: Limits, notices: list[str]) -> Iterator[TestRun]:
    parser, trimmer, document = Parser(), Trimmer(limits), _Document(limits, notices)
    for block in trimmer.trimmed(_with_markup(clean_blocks(stream, limits))):
        parser.feed(block)
        yield from _tests(parser, document)
        parser.raise_problem(finished=document.finished, lines_cut=trimmer.lines_cut)
        document.sweep(len(block))
    parser.close()
    parser.raise_problem(finished=document.finished, lines_cut=trimmer.lines_cut)
    yield from _tests(parser, document)


def _tests(parser: Parser, document: _Document) -> Iterator[TestRun]:
    for event, element in parser.events():
        if event == "start":
            document.start(element)
        else:
            yield from document.end(element)


def _with_markup(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Name what begins like no XML at all, before the parser does so in its own words."""
    blank = True
    for block in blocks:
        if blank and (begin := block.lstrip()[:40]):
            blank = False
            _refuse_other_text(begin)
        yield block
    if blank:
        raise BadReport("empty", "the file is empty: it holds no element")


def _refuse_other_text(begin: bytes) -> None:
    if _JSON.match(begin):
        raise BadReport("not-junit", "not a JUnit report: the file holds JSON, not XML")
    if begin.lower().startswith(b"<!doctype html"):
        raise not_junit("html")
    if not begin.startswith(b"<"):
        word = begin.split(maxsplit=1)[0].decode(errors="replace")
        raise BadReport("malformed", f"not XML: the file begins with {word!r}, not with a tag")


# --- the document ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Suite:
    """An open suite, and what it says of itself."""

    name: str
    path: str
    declared: str
    cases: int = 0
    told: bool = False


class _Document:
    """Follows the open elements, and lets every finished one go that no open test needs."""

    def __init__(self, limits: Limits, notices: list[str]) -> None:
        self._limits = limits
        self._notices = notices
        self._open: list[tuple[str, _Element]] = []
        self._suites = [_Suite("", "", "")]
        self._cases: list[int] = []
        self._inner: list[TestRun] = []
        self._ordinal = self._elements = self._elements_before_test = self._bytes_of_test = 0

    @property
    def finished(self) -> bool:
        """Whether the root element was closed."""
        return self._elements > 0 and not self._open

    def start(self, element: _Element) -> None:
        """Enter an element; only its attributes are known."""
        name = local_name(element)
        if self._cases:
            self._weigh_elements()
        if name == "testcase":
            self._start_case()
        elif name in _SUITES:
            self._suites.append(self._suite(name, element))
        elif not self._open:
            raise not_junit(name)
        self._elements += 1
        self._open.append((name, element))
        if len(self._open) > self._limits.max_depth:
            raise BadReport("too-deep", f"elements are nested more than {self._limits.max_depth} deep")

    def _start_case(self) -> None:
        if not self._cases:
            self._elements_before_test = self._elements
            self._bytes_of_test = 0
        self._cases.append(self._ordinal)
        self._ordinal += 1
        self._suites[-1].cases += 1

    def _weigh_elements(self) -> None:
        if self._elements - self._elements_before_test > self._limits.max_elements_per_test:
            raise BadReport("too-large", f"one test has more than {self._limits.max_elements_per_test:,} elements")

    def end(self, element: _Element) -> Sequence[TestRun]:
        """Leave an element; answer the tests that are complete with it, in document order."""
        name = self._open.pop()[0]
        if name == "testcase":
            return self._end_case(element)
        if name in _SUITES:
            self._close_suite()
        elif name in _BAD_RESULTS and self._open and self._open[-1][0] in _SUITES:
            self._notice(f"has <{name}> of its own: {result_message(element.get('message'), _text(element))}")
        return ()

    def _end_case(self, element: _Element) -> Sequence[TestRun]:
        run = read_case(element, ordinal=self._cases.pop(), suite=self._suites[-1].path, limits=self._limits)
        if self._cases:
            element.clear()
            self._inner.append(run)
            return ()
        if not self._inner:
            return (run,)
        inner, self._inner = self._inner, []
        return (run, *sorted(inner, key=_by_ordinal))

    def sweep(self, size_bytes: int) -> None:
        """Free what is finished outside the open test, after a block of this size; weigh what that test holds.

        Each open element keeps its last child: it may be open itself, or the parser may be at work just behind it.
        """
        if self._elements > self._limits.max_elements_total:
            raise BadReport("too-large", f"more than {self._limits.max_elements_total:,} elements")
        if self._cases:
            self._bytes_of_test += size_bytes
            if self._bytes_of_test > self._limits.max_bytes_per_test:
                raise BadReport("too-large", f"one test is longer than {self._limits.max_bytes_per_test:,} bytes")
        elif self._open and len(self._open[-1][1]):
            self._open[-1][1][-1].clear()
        for _name, element in takewhile(_is_no_case, self._open):
            if len(element) > 1:
                del element[:-1]

    # --- suites ------------------------------------------------------------------------------------------------------

    def _suite(self, tag: str, element: _Element) -> _Suite:
        name = element.get("name") or ""
        above = self._suites[-1].path
        own = name if tag == "testsuite" else ""
        path = cut_name(" / ".join(filter(None, (above, own))), self._limits.max_name_chars)
        counts = [f"{word}={element.get(word)}" for word in ("failures", "errors") if _is_positive(element.get(word))]
        return _Suite(cut_name(name, 100), path, " ".join(counts))

    def _close_suite(self) -> None:
        suite = self._suites[-1]
        if suite.declared and not suite.cases and not suite.told:
            self._notice(f"declares {suite.declared} and holds no test")
        self._suites.pop()
        self._suites[-1].cases += suite.cases
        self._suites[-1].told |= suite.told

    def _notice(self, what: str) -> None:
        """Keep a notice about the innermost open suite, which is then told."""
        suite = self._suites[-1]
        suite.told = True
        room = self._limits.max_notices - len(self._notices)
        if room > 1:
            self._notices.append(cut_name(" ".join(f"suite {suite.name or NO_NAME} {what}".split()), 500))
        elif room == 1:
            self._notices.append("and more of that kind")


def _is_no_case(opened: tuple[str, _Element]) -> bool:
    return opened[0] != "testcase"


def _by_ordinal(run: TestRun) -> int:
    return run.ordinal


def _text(element: _Element) -> str:
    return "".join(map(str, element.itertext()))


def _is_positive(count: str | None) -> bool:
    """Tell whether a count attribute says one or more; some tools write `1.0` or `1,000`."""
    return count is not None and "-" not in count and any(digit in "123456789" for digit in count)
