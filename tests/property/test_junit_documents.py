"""Laws of reading reports: what was written is read, however it is portioned, and nothing but BadReport is raised."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from reconciler.junit import BadReport, Limits, Report, clean, looks_like_junit
from reconciler.junit.trim import CUT_NOTE, Trimmer
from reconciler.model import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxml.etree import _Element

    from reconciler.model import TestRun

LIMITS = Limits()

# --- documents -------------------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=20)
RESULTS = st.sampled_from(["failure", "error", "skipped"])
OTHERS = st.sampled_from(["system-out", "system-err", "properties", "unknown", "flakyFailure", "rerunError"])
SEVERITY = {"error": Outcome.ERRORED, "failure": Outcome.FAILED, "skipped": Outcome.SKIPPED}


@st.composite
def leaves(draw: st.DrawFn) -> _Element:
    """Make a child of a test, with something in it that must not count."""
    element = etree.Element(draw(RESULTS | OTHERS))
    element.text = draw(TEXT)
    if draw(st.booleans()):
        element.set("message", draw(TEXT))
    if draw(st.booleans()):
        etree.SubElement(element, draw(RESULTS)).tail = draw(TEXT)
    return element


@st.composite
def cases(draw: st.DrawFn, inner: st.SearchStrategy[_Element] | None = None) -> _Element:
    """Make a test."""
    element = etree.Element("testcase", {"name": draw(TEXT), "classname": draw(TEXT)})
    for child in draw(st.lists(leaves() if inner is None else leaves() | inner, max_size=3)):
        element.append(child)
    return element


def suites(children: st.SearchStrategy[_Element]) -> st.SearchStrategy[_Element]:
    """Make a suite of such children."""

    def suite(name: str, inside: list[_Element], after: str) -> _Element:
        element = etree.Element("testsuite", {"name": name})
        for child in inside:
            child.tail = after
            element.append(child)
        return element

    return st.builds(suite, TEXT, st.lists(children, max_size=4), TEXT)


@st.composite
def documents(draw: st.DrawFn) -> _Element:
    """Make a report's root."""
    root = etree.Element(draw(st.sampled_from(["testsuites", "testsuite", "{urn:x}testsuites"])))
    anything = st.recursive(cases() | cases(cases()), suites, max_leaves=10)
    for child in draw(st.lists(anything, max_size=4)):
        root.append(child)
    return root


def by_the_rule(root: _Element) -> list[tuple[str, Outcome]]:
    """Name and outcome of every element named testcase, by its direct children, worst first."""
    found = []
    for case in root.iter("testcase"):
        names = {child.tag for child in case}
        outcome = next((SEVERITY[name] for name in SEVERITY if name in names), Outcome.PASSED)
        found.append((case.get("name") or "", outcome))
    return found


def written(root: _Element, encoding: str) -> bytes:
    """Write the document; characters that the encoding lacks become references."""
    document = etree.tostring(root, encoding=encoding, xml_declaration=True)
    assert isinstance(document, bytes)
    return document


def read(document: bytes, limits: Limits = LIMITS) -> list[TestRun]:
    """Read a document in memory."""
    return list(Report(io.BytesIO(document), limits))


ENCODINGS = st.sampled_from(["utf-8", "UTF-16", "UTF-16LE", "iso-8859-1", "windows-1252", "us-ascii"])


def read_in_blocks(document: bytes, size: int) -> list[TestRun]:
    """Read with another size of blocks, so that everything lies across their borders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clean, "BLOCK", size)
        return read(document)


@given(documents(), ENCODINGS)
@settings(max_examples=60, deadline=None)
def test_what_was_written_is_read_in_every_encoding(root: _Element, encoding: str) -> None:
    """Count, order, names and outcomes; the positions in the document are 0, 1, 2 ..."""
    runs = read_in_blocks(written(root, encoding), 100)
    expected = [(name if name.strip() else "(no name)", outcome) for name, outcome in by_the_rule(root)]
    assert [(run.name, run.outcome) for run in runs] == expected
    assert [run.ordinal for run in runs] == list(range(len(runs)))


@given(documents(), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_the_size_of_blocks_changes_nothing(root: _Element, size: int) -> None:
    """All of every test; what is swept away between the blocks is never what is still read."""
    document = etree.tostring(root)
    assert isinstance(document, bytes)
    assert read_in_blocks(document, size) == read(document)


@given(documents(), st.data())
@settings(max_examples=80, deadline=None)
def test_a_report_that_was_cut_off_anywhere_is_refused(root: _Element, data: st.DataObject) -> None:
    """A part of a report is never taken for the whole."""
    document = written(root, "utf-8")
    end = data.draw(st.integers(0, len(document) - 1))
    with pytest.raises(BadReport) as caught:
        read(document[:end])
    assert caught.value.kind in {"truncated", "empty"}


# --- anything --------------------------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [
        b"<testsuite>",
        b"</testsuite>",
        b"<testcase",
        b"<testcase/>",
        b" name='a'",
        b">",
        b"/>",
        b"<!--",
        b"-->",
        b"<?x",
        b"?>",
        b"<![CDATA[",
        b"]]>",
        b"<!DOCTYPE a",
        b"&#27;",
        b"&#",
        b"&amp;",
        b"&x;",
        b'"',
        b"'",
        b"<",
        b"\0",
        b"\n",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"<?xml version='1.0' encoding='",
        b"utf-16",
        b"'?>",
        b"<failure>",
        b"a=",
    ]
)


def refused_or_read(document: bytes) -> None:
    """Read it; any exception but BadReport is a fault."""
    with contextlib.suppress(BadReport):
        read(document, Limits(max_depth=20, max_elements_per_test=20))
    assert looks_like_junit(document) in {True, False}


@given(st.binary(max_size=200) | st.lists(PIECES, max_size=20).map(b"".join))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_read_or_refused(document: bytes) -> None:
    """Never a traceback."""
    refused_or_read(document)


@given(documents(), st.data())
@settings(max_examples=80, deadline=None)
def test_a_good_report_with_a_fault_is_read_or_refused(root: _Element, data: st.DataObject) -> None:
    """One place is overwritten."""
    document = written(root, "utf-8")
    start = data.draw(st.integers(0, len(document)))
    end = data.draw(st.integers(start, min(len(document), start + 5)))
    refused_or_read(document[:start] + data.draw(PIECES | st.binary(max_size=3)) + document[end:])


# --- portions --------------------------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    [
        b"text ",
        b"\n",
        b"> ' \" ",
        b"&lt;",
        b"&#65;",
        b"\xe2\x82\xac",
        b"<b a='>'>",
        b"</b>",
        b"<![CDATA[<c>&#27;]]>",
        b"<![CDATA[]]>",
        b"<![CDATA[ ]] ]]>",
        b"<!-- <d> - -->",
        b"<?p <e> ?>",
        b"]] ",
        b"[[ATTACHMENT|x.png]] ",
        b"- ? ",
    ]
)


def pieces(document: bytes, portion: int) -> Iterator[bytes]:
    """Cut into clean blocks that are small."""
    for block in clean.clean_blocks(io.BytesIO(document), LIMITS):
        text = block.decode()
        yield from (text[start : start + portion].encode() for start in range(0, len(text), portion))


def balanced(words: list[bytes]) -> bytes:
    """Close every `<b>`, and only those."""
    out, depth = [], 0
    for word in words:
        depth += (word[:2] == b"<b") - (word == b"</b>")
        if depth < 0:
            depth = 0
            continue
        out.append(word)
    return b"<a>" + b"".join(out) + b"</b>" * depth + b"</a>"


@given(st.lists(WORDS, max_size=30).map(balanced), st.integers(1, 40))
@settings(max_examples=300, deadline=None)
def test_how_a_document_is_portioned_changes_nothing(document: bytes, portion: int) -> None:
    """Markup may lie across any border; CDATA that is split reads the same. References are never torn before."""
    portioned = b"".join(Trimmer(LIMITS).trimmed(pieces(document.replace(b"&", b"&amp;"), portion)))
    whole = etree.fromstring(document.replace(b"&", b"&amp;").replace(b"\0", b""))
    assert _shape(etree.fromstring(portioned)) == _shape(whole)


@given(st.lists(WORDS, max_size=60).map(balanced), st.integers(1, 20), st.integers(1, 60))
@settings(max_examples=300, deadline=None)
def test_what_is_cut_out_of_a_text_is_only_text(document: bytes, portion: int, keep_bytes: int) -> None:
    """All elements, attributes and attachments stay, and every run of text keeps its two ends."""
    trimmer = Trimmer(LIMITS)
    trimmer._keep_bytes = keep_bytes
    document = document.replace(b"&", b"+").replace(b"<?p <e> ?>", b"")  # a PI's name is in its first block
    trimmed = etree.fromstring(b"".join(trimmer.trimmed(pieces(document, portion))))
    whole = etree.fromstring(document)
    assert [element.tag for element in trimmed.iter("*")] == [element.tag for element in whole.iter("*")]
    for short, long in zip(_texts(trimmed), _texts(whole), strict=True):
        assert short.count("[[ATTACHMENT|x.png]]") == long.count("[[ATTACHMENT|x.png]]")
        parts = CUT_NOTE.split(short)
        assert long.startswith(parts[0])
        assert long.encode().endswith(parts[-1].encode()[-keep_bytes:])


def _shape(element: _Element) -> list[tuple[object, ...]]:
    return [(each.tag, sorted(map(str, each.values())), _text(each)) for each in element.iter("*")]


def _text(element: _Element) -> str:
    return "".join(map(str, element.itertext("*")))


def _texts(root: _Element) -> list[str]:
    """List the runs of text between tags, in document order."""
    runs = [""]
    for event, element in etree.iterwalk(root, events=("start", "end", "comment", "pi")):
        if event in {"start", "end"}:
            runs.append(str((element.text if event == "start" else element.tail) or ""))
        else:
            runs[-1] += str(element.tail or "")
    return runs
