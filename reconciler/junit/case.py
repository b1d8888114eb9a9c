"""One finished `<testcase>` element, whatever tool wrote it, as a TestRun."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from junitparser import Error, Failure, Skipped, SystemErr, SystemOut
from junitparser.junitparser import FinalResult, Result, System
from junitparser.xunit2 import InterimResult, TestCase

from reconciler.junit.trim import CUT_NOTE, MARKER, MAX_MARKERS, cut_note
from reconciler.model import LONGEST_S, Outcome, TestRun

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lxml.etree import _Element

    from reconciler.junit.limits import Limits

NO_NAME = "(no name)"
"""What a test without a name is called; GitLab's test_report has "(No name)"."""

_NOT_RUN = frozenset({"disabled", "notrun", "suppressed"})
"""Of the attributes `status` (gtest, ctest) and `result` (gtest), in any case: the test has no result child then."""

_WORST_FIRST = ((Error, Outcome.ERRORED), (Failure, Outcome.FAILED), (Skipped, Outcome.SKIPPED))
_PROPERTY = re.compile(r"\[\[PROPERTY\|([^=|\[\]\n]+)=((?:[^\n\[]|\[(?!\[))*?)\]\]")
_THOUSANDS = re.compile(r"\s*[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]*)?\s*")
_LINE = re.compile(r"\S[^\r\n]*")
_LOOK_AROUND = 1024
"""How far beside a cut an attachment's marker is looked for."""


def local_name(element: _Element) -> str:
    """Name the element without its namespace, which only a few tools have and none needs."""
    tag = str(element.tag)
    return tag if tag[0] != "{" else tag.rpartition("}")[2]


def seconds(text: str | None) -> float:
    """Read a `time` attribute; 0.0 when it is missing, or is no plain number that a duration can be.

    `1,234.56` is the thousands separator of surefire and others; `0,123` could only be a decimal comma, which
    nobody is known to write, so it is not guessed at (junitparser 5.0.3 reads 123.0).
    """
    if not text:
        return 0.0
    if "," in text and _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    try:
        value = float(text)
    except ValueError:
        return 0.0
    # float() takes digits of every script, and the underscores of Python's own literals
    return value if 0.0 <= value < LONGEST_S and text.isascii() and "_" not in text else 0.0


def first_line(text: str) -> str:
    """Find the first line that is not blank."""
    match = _LINE.search(text)
    return match[0].rstrip() if match else ""


def cut(text: str, limit: int) -> str:
    """Keep about `limit` characters, half from each end, and every attachment marker between them."""
    if len(text) <= limit:
        return text
    start = limit // 2
    end = len(text) - (limit - start)
    chars = end - start
    for note in CUT_NOTE.finditer(text, start, end):
        chars += int(note[1].replace(",", "") or "0") - len(note[0])
    found = MARKER.finditer(text, max(0, start - _LOOK_AROUND), end + _LOOK_AROUND)
    markers = [marker[0] for marker in found if marker.end() > start and marker.start() < end][:MAX_MARKERS]
    return text[:start] + cut_note(chars) + "".join(f"{marker}\n" for marker in markers) + text[end:]


def cut_name(name: str, limit: int) -> str:
    """Keep about `limit` characters of a name, half from each end, on one line."""
    if len(name) <= limit:
        return name
    start = limit // 2
    end = len(name) - (limit - start)
    return f"{name[:start]}[... {end - start:,} characters cut ...]{name[end:]}"


def read_case(element: _Element, *, ordinal: int, suite: str, limits: Limits) -> TestRun:
    """Read the element with junitparser, after taking out of it what junitparser 5.0.3 reads wrong.

    Its `result` weighs all descendants, so `<system-out><failure/></system-out>` or a nested test would count;
    its texts stop at a child element; it knows no namespaces, one system-out, and no property whose value is text.
    """
    said = _said(element, limits) if len(element) else _NOTHING
    reason = _not_run(element) if said.outcome is Outcome.PASSED else ""
    name, file, most = element.get("name") or "", element.get("file"), limits.max_name_chars
    return TestRun(
        ordinal=ordinal,
        suite=suite,
        classname=cut_name(element.get("classname") or "", most),
        name=cut_name(name, most) if name.strip() else NO_NAME,
        file=cut_name(file, most) if file else "",
        outcome=Outcome.SKIPPED if reason else said.outcome,
        flaky=said.attempts > 1 and said.outcome is Outcome.PASSED and not reason,
        attempts=said.attempts,
        duration_s=seconds(element.get("time")),
        message=reason or said.message,
        detail=said.detail,
        system_out=said.system_out,
        system_err=said.system_err,
        properties=said.properties,
    )


def _not_run(element: _Element) -> str:
    """Find a status that says "not run"; it counts where no result child says more."""
    status, result = element.get("status"), element.get("result")
    if status and status.strip().lower() in _NOT_RUN:
        return status.strip()
    if result and result.strip().lower() in _NOT_RUN:
        return result.strip()
    return ""


def result_message(message: str | None, text: str | None) -> str:
    """Say in a few words what a result says: its message, or else the first line of its text."""
    return (message or "").strip() or first_line(text or "")


# --- what junitparser reads wrong ------------------------------------------------------------------------------------


def _flatten(element: _Element) -> list[tuple[str, str]]:
    """Leave only direct children that junitparser knows, each with all its text as one; answer the properties."""
    properties: list[tuple[str, str]] = []
    for child in list(element):
        name = local_name(child)
        if name in TestCase.ITER_TYPES:
            _flatten_text(child, name)
            if name == "system-out":
                properties += _marked(child.text or "")
            continue
        if name == "properties":
            properties += (pair for each in child for pair in _property(each))
        element.remove(child)
    return properties


def _flatten_text(child: _Element, name: str) -> None:
    if child.tag != name:
        child.tag = name
    if len(child):
        text = "".join(map(str, child.itertext()))
        del child[:]
        child.text = text


def _property(element: _Element) -> Iterator[tuple[str, str]]:
    """Read a property whose value is its attribute or its text; without a name it says nothing."""
    name = (element.get("name") or "").strip()
    if name and local_name(element) == "property":
        yield name, element.get("value") or "".join(map(str, element.itertext())).strip()


def _marked(text: str) -> Iterator[tuple[str, str]]:
    if "[[PROPERTY|" in text:
        for match in _PROPERTY.finditer(text):
            yield match[1].strip(), match[2]


# --- what the children say -------------------------------------------------------------------------------------------


class _Said(NamedTuple):
    """What a test's children say; most tests have none."""

    outcome: Outcome = Outcome.PASSED
    message: str = ""
    attempts: int = 1
    detail: str = ""
    system_out: str = ""
    system_err: str = ""
    properties: tuple[tuple[str, str], ...] = ()


_NOTHING = _Said()


def _said(element: _Element, limits: Limits) -> _Said:
    names, texts = limits.max_name_chars, limits.max_text_chars
    properties = _flatten(element)
    entries: tuple[Result | System, ...] = tuple(
        TestCase.fromelem(element)  # type: ignore[no-untyped-call] # junitparser has types for little
    )
    outcome, message = _judge(entries)
    return _Said(
        outcome=outcome,
        message=cut(message, texts),
        attempts=1 + sum(isinstance(entry, InterimResult) for entry in entries),
        detail=cut(_detail(entries, message), texts),
        system_out=cut(_joined(entries, SystemOut), texts),
        system_err=cut(_joined(entries, SystemErr), texts),
        properties=tuple((cut_name(name, names), cut(value, texts)) for name, value in properties),
    )


def _judge(entries: Iterable[Result | System]) -> tuple[Outcome, str]:
    """Weigh all results: error > failure > skipped > passed."""
    results = [entry for entry in entries if isinstance(entry, FinalResult)]
    for kind, outcome in _WORST_FIRST:
        worst = [result_message(entry.message, entry.text) for entry in results if isinstance(entry, kind)]
        if worst:
            return outcome, next(filter(None, worst), "")
    return Outcome.PASSED, ""


def _detail(entries: Iterable[Result | System], told: str) -> str:
    """Join the texts of all results, reruns included; of one without a text its message, unless it is told already."""
    parts = []
    for entry in entries:
        if isinstance(entry, Result):
            text, message = (entry.text or "").strip("\r\n"), (entry.message or "").strip()
            if text.strip():
                parts.append(text)
            elif message and message != told:
                parts.append(message)
    return "\n".join(parts)


def _joined(entries: Iterable[Result | System], kind: type[System]) -> str:
    return "\n".join(entry.text for entry in entries if isinstance(entry, kind) and entry.text)
