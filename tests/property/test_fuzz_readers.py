"""Real files, spoilt: each reader reads or refuses them in its own words, and nothing of a bad one counts."""

from __future__ import annotations

import io
import zlib
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from lxml import etree

from reconciler.archive import BadArchive, BadMember, Caps, RemoteArchive
from reconciler.gzipped import BadGzip, members
from reconciler.junit import BadReport, Limits, Report, clean, looks_like_junit
from reconciler.junit.problems import ROOTS
from reconciler.junit.trim import Trimmer
from reconciler.ledger.ledger import in_memory
from reconciler.sandbox.gitlab.artifacts import pack_reports
from tests import accounting, building
from tests.archives import encrypted, noise, packed, zip64_ended
from tests.fakes import START
from tests.property.mutations import bounded, documents, fuzz, spoilt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.archive import Member
    from reconciler.ledger.ledger import Ledger
    from reconciler.model import TestRun

MB = 1_000_000
LIMITS = Limits(max_depth=60, max_elements_per_test=200, max_text_chars=2_000, max_name_chars=200)
CAPS = Caps(members=30, member_bytes=200_000, total_bytes=400_000)
DOCUMENTS = documents()
FILES = [(f"reports/{place}.xml", document) for place, document in enumerate(DOCUMENTS[::7])]
GZIPS = [pack_reports(FILES[place : place + 3]) for place in range(6)]
ZIPS = [
    packed(FILES[:4]),
    packed(FILES[4:6], 0),
    zip64_ended(packed(FILES[5:8])),
    encrypted(packed(FILES[2:5]), FILES[3][0]),
    packed([*FILES[:2], ("noise", noise(20_000)), ("folder/", b""), ("ü.xml", b"<testsuite/>")]),
    b"#!/bin/sh\n" + packed(FILES[1:3]),
    packed([]),
]
CAP = 30_000
KNOWN = {document for _, document in FILES}


# --- XML -------------------------------------------------------------------------------------------------------------


def by_lxml(document: bytes) -> int | None:
    """Count the tests of what the parser is given, read as a whole; None: it is no JUnit document."""
    try:
        text = b"".join(Trimmer(LIMITS).trimmed(clean.clean_blocks(io.BytesIO(document), LIMITS)))
        parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True)
        root = etree.fromstring(text, parser)
    except (BadReport, etree.XMLSyntaxError, ValueError):
        return None
    names = [str(etree.QName(element).localname) for element in root.iter("*")]
    depths = max((len(list(element.iterancestors())) for element in root.iter("*")), default=0)
    return names.count("testcase") if names[0] in ROOTS and depths < LIMITS.max_depth else None


def read(document: bytes, limits: Limits = LIMITS) -> list[TestRun] | BadReport:
    """Read a report, or tell why it is none; what looks green and may not be is of one line each."""
    report = Report(io.BytesIO(document), limits)
    try:
        runs = list(report)
    except BadReport as error:
        return error
    assert all(notice.isprintable() for notice in report.notices)
    return runs


@fuzz()
@given(spoilt(DOCUMENTS))
def test_a_spoilt_report_is_read_as_lxml_reads_it_or_refused(document: bytes) -> None:
    """Whole, or not at all."""
    expected = by_lxml(document)
    with bounded():
        runs = read(document)
    if isinstance(runs, BadReport):
        assert expected is None or runs.kind == "too-large", (runs.kind, runs.detail, expected)
        assert 0 < len(runs.detail) < 1_000
        return
    assert len(runs) == expected
    assert [run.ordinal for run in runs] == list(range(len(runs)))
    assert all(0 < len(run.name) <= 300 and len(run.system_out) < 20_000 for run in runs)
    assert looks_like_junit(document[:4096])


BLOCK = 1_024


@fuzz(0.5)
@given(spoilt(DOCUMENTS, most=8))
def test_the_portions_in_which_a_spoilt_report_comes_change_nothing(document: bytes) -> None:
    """Neither what is read of it nor that it is refused; its encoding must be told in the first one."""
    begin = document[:BLOCK]
    assume(len(document) <= BLOCK or (begin.count(b"<") > 1 and b"?xml" not in document[BLOCK - 400 :]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clean, "BLOCK", BLOCK)
        portioned = read(document)
    whole = read(document)
    if isinstance(whole, BadReport):
        assert isinstance(portioned, BadReport)
        return
    assert portioned == whole


@pytest.fixture(scope="module")
def ledger() -> Iterator[Ledger]:
    """Open one ledger for all."""
    ledger = in_memory()
    ledger.observations.remember_projects("project qa/web-shop", [building.PROJECT])
    yield ledger
    ledger.store.close()


@fuzz(0.5)
@given(st.lists(spoilt(DOCUMENTS), min_size=1, max_size=3))
def test_nothing_of_a_bad_report_stays_in_the_ledger(ledger: Ledger, uploads: list[bytes]) -> None:
    """Neither tests nor what they printed or named; its good neighbours are there."""
    number = 1 + int(ledger.store.value("SELECT COALESCE(MAX(job_id), 0) FROM jobs"))
    pipeline = building.pipeline(number)
    ledger.observations.store_pipelines([pipeline])
    job = building.job(number, of=pipeline)
    ledger.observations.store_jobs(pipeline, [job])
    good = []
    with ledger.observations.reading(job, START) as record:
        for place, document in enumerate(uploads):
            try:
                good.append((f"{place}.xml", record.document("junit", f"{place}.xml", Report(io.BytesIO(document)))))
            except BadReport as error:
                record.problem(error.kind, error.detail)
        assert {name for _, name, _ in record.mentions} <= {name for name, _ in good}
        record.close("read" if good else "lost")
    assert ledger.store.rows("SELECT name, tests FROM reports WHERE job_id = ? ORDER BY 1", [job.id]) == good
    accounting.check(ledger.store)
    assert ledger.store.value(_ORPHANS) == 0


_ORPHANS = """
SELECT COUNT(*) FROM outputs o WHERE NOT EXISTS (SELECT 1 FROM test_outputs t WHERE t.output_id = o.output_id)
    AND NOT EXISTS (SELECT 1 FROM files f WHERE f.output_id = o.output_id)
"""


# --- gzip ------------------------------------------------------------------------------------------------------------


def unpacked(data: bytes, size: int) -> Iterator[bytes]:
    """Give the members that can be read to their end, as portions of this size, up to the first that cannot."""
    with suppress(BadGzip):
        for name, stream in members(io.BytesIO(data), max_bytes=CAP):
            assert len(name) < 300_000
            yield b"".join(iter(partial(stream.read, size), b""))


@fuzz()
@given(spoilt(GZIPS), st.integers(1, 70_000))
def test_a_spoilt_gzip_gives_only_whole_members(data: bytes, size: int) -> None:
    """Each is one of the files that were packed; together they are no more than the cap."""
    with bounded():
        whole = list(unpacked(data, size))
    assert set(whole) <= KNOWN
    assert sum(map(len, whole)) <= CAP


# --- zip -------------------------------------------------------------------------------------------------------------


class Strict:
    """A source that is never asked for what it does not have."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def tail(self, length: int) -> tuple[int, bytes]:
        """Give the end."""
        return len(self.data), self.data[-length:]

    def read(self, start: int, length: int) -> bytes:
        """Give a range."""
        assert 0 <= start < start + length <= len(self.data)
        return self.data[start : start + length]


def contents(data: bytes) -> Iterator[tuple[Member, bytes]]:
    """Give the members that can be read to their end."""
    with suppress(BadArchive):
        archive = RemoteArchive(Strict(data), CAPS)
        assert len({member.path for member in archive.members}) == len(archive.members) <= CAPS.members
        for member, opened in archive.open([member.path for member in archive.members]):
            with suppress(BadMember):
                if not isinstance(opened, BadMember):
                    yield member, opened.read()


@fuzz(1.5)
@given(spoilt(ZIPS))
def test_a_spoilt_zip_gives_only_whole_members(data: bytes) -> None:
    """Of the size and checksum that its directory tells, and together no more than the cap."""
    with bounded():
        whole = list(contents(data))
    for member, content in whole:
        assert (len(content), zlib.crc32(content)) == (member.size_bytes, member.crc)
    assert sum(len(content) for _, content in whole) <= CAPS.total_bytes
