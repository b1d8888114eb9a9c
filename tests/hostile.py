"""What somebody who wants to do harm may upload as a report or as an archive, made quickly whatever its size."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.sandbox.gitlab.artifacts import pack_reports
from tests.archives import altered, encrypted, lying, packed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MB = 1_000_000
NEVER = "never_TC9"
"""The name of a test that stands at the beginning of every bad document; it must not count."""
PART = f'<testsuite name="s"><testcase classname="shop" name="{NEVER}"/>'.encode()
END = b"</testsuite>"
BOMB = "".join(f'<!ENTITY b{n} "{f"&b{n - 1};" * 20}">' for n in range(1, 12))
CONTROLS = "zipped_TC8\x1b[31m\n.png"
"""A file that is named after a test, and more."""


@dataclass(frozen=True, slots=True)
class Evil:
    """One job's upload, and what must become of it."""

    name: str
    junit: bytes | None = None
    """A `junit.xml.gz`, or what says it is one."""
    archive: bytes | None = None
    kinds: tuple[str, ...] = ()
    """Of the problems; none: it is read, whatever it looks like."""
    said: str = ""
    """Words of the first problem's detail."""
    tests: int = 0
    """How many of its tests count."""


def gzipped(document: bytes) -> bytes:
    """Pack one report."""
    return pack_reports([("report.xml", document)])


def stretched(before: bytes, block: bytes, times: int, after: bytes) -> bytes:
    """Pack a document in which a block comes so many times: it is compressed once, and repeated as it is then."""
    deflate, parts, crc = zlib.compressobj(9, wbits=-15), [], 0
    for piece, count in ((before, 1), (block, times), (after, 1)):
        compressed = deflate.compress(piece) + deflate.flush(zlib.Z_FULL_FLUSH)
        parts.append(compressed * count)
        for _ in range(count):
            crc = zlib.crc32(piece, crc)
    size = (len(before) + len(block) * times + len(after)) & 0xFFFFFFFF
    head = b"\x1f\x8b\x08" + bytes(7)
    return b"".join([head, *parts, deflate.flush(), crc.to_bytes(4, "little"), size.to_bytes(4, "little")])


def doctype(declared: str, text: str) -> bytes:
    """Write a report that declares entities, and uses them."""
    document = f'<?xml version="1.0"?><!DOCTYPE testsuite [{declared}]><testsuite><testcase name="{NEVER}">'
    return f"{document}<failure>{text}</failure></testcase></testsuite>".encode()


def entities(secret: Path) -> Iterator[Evil]:
    """List documents that would read a file, or grow without end, in the hands of a trusting parser."""
    uri = secret.as_uri()
    file = doctype(f'<!ENTITY x SYSTEM "{uri}">', "&x;")
    parameter = doctype(f'<!ENTITY % x SYSTEM "{uri}"> %x;', "text")
    yield Evil("xxe file", gzipped(file), kinds=("doctype",), said="DOCTYPE")
    yield Evil("xxe utf-16", gzipped(file.decode().encode("utf-16")), kinds=("doctype",), said="DOCTYPE")
    yield Evil("xxe parameter", gzipped(parameter), kinds=("doctype",), said="DOCTYPE")
    outside = f'<!DOCTYPE testsuite SYSTEM "{uri}">'.encode() + PART + END
    yield Evil("dtd outside", gzipped(outside), kinds=("doctype",), said="DOCTYPE")
    yield Evil("entity bomb", gzipped(doctype(f'<!ENTITY b0 "ha">{BOMB}', "&b11;")), kinds=("doctype",), said="DOCTYPE")
    undeclared = PART + b"<testcase name='&x;'/>" + END
    yield Evil("entity of nobody", gzipped(undeclared), kinds=("malformed",), said="Entity 'x' not defined")
    include = b'<x xmlns:x="http://www.w3.org/2001/XInclude"><x:include parse="text" href="' + uri.encode() + b'"/></x>'
    included = b"<testsuite><testcase name='include_TC2'><system-out>" + include + b"</system-out></testcase>" + END
    yield Evil("xinclude", gzipped(included), tests=1)


def giants() -> Iterator[Evil]:
    """List documents that are too much, of which some are only long."""
    case = b'<testcase classname="shop" name="text_TC3"><system-out>'
    text = b"0123456789 something happened &lt;here&gt;\n" * 25_000
    long = stretched(b"<testsuite>" + case, text, 300 * MB // len(text), b"</system-out></testcase>" + END)
    yield Evil("300 MB of text", long, tests=1)
    message = stretched(PART + b"<testcase name='m'><failure message='", text, 300 * MB // len(text), b"'/></testcase>")
    yield Evil("300 MB of message", message, kinds=("too-large",), said="tag")
    deep = stretched(PART, b"<a>" * 1_000, 100, b"")
    yield Evil("100,000 deep", deep, kinds=("too-deep",), said="nested")
    deep = stretched(PART + b"<testcase name='d'>", b"<testcase name='d'>" * 1_000, 100, b"")
    yield Evil("100,000 tests deep", deep, kinds=("too-deep",), said="nested")
    some = b"<property name='a' value='b'/>" * 1_000
    of_test = stretched(PART + b"<testcase name='p'><properties>", some, 1_000, b"</properties></testcase>" + END)
    yield Evil("a million properties", of_test, kinds=("too-large",), said="elements")
    case = b'</properties><testcase classname="shop" name="props_TC4"/></testsuite>'
    yield Evil("a million properties of a suite", stretched(b"<testsuite><properties>", some, 1_000, case), tests=1)
    attributes = stretched(PART + b"<testcase ", b"".join(b"a%d='' " % n for n in range(100_000)), 10, b"/>" + END)
    yield Evil("a million attributes", attributes, kinds=("too-large",), said="attributes")
    name = b"n" * MB
    named = b'<testsuite name="%b"><testcase classname="%b" name="%b_TC5" file="%b"/>' % (name, name, name, name)
    yield Evil("1 MB names", gzipped(named + END), tests=1)
    tagged = b'<testsuite><testcase classname="shop" name="tagged_TC5"/><' + name + b"/>"
    yield Evil("a 1 MB tag", gzipped(tagged + END), tests=1)
    odd = b'<testsuite><testcase classname="shop" name="odd\x00\x1b[2J_TC6"><failure message="\x1b]0;x\x07\x00\x08"/>'
    yield Evil("NUL and ESC", gzipped(odd + b"</testcase>" + END), tests=1)


def streams() -> Iterator[Evil]:
    """List what is no good gzip, or no XML in one."""
    good = gzipped(b'<testsuite><testcase classname="shop" name="first_TC7"/></testsuite>')
    bad = gzipped(PART + b"<testcase name='x'/>" + END)
    yield Evil("bad checksum", bad[:-8] + bytes(4) + bad[-4:], kinds=("corrupt",), said="gzip")
    yield Evil("cut in data", bad[:-20], kinds=("truncated",), said="ends within")
    yield Evil("cut in checksum", bad[:-3], kinds=("truncated",), said="ends within")
    yield Evil("garbage behind", good + b"garbage", kinds=("corrupt",), said="follow a member", tests=1)
    yield Evil("cut behind a good one", good + bad[:-5], kinds=("truncated",), said="ends within", tests=1)
    yield Evil("gzip bomb", stretched(PART, b" " * 10 * MB, 100, END), kinds=("too-large",), said="1,000,000,000")
    page = b"<!DOCTYPE html><html><body><testsuite><testcase name='never_TC9'/></testsuite></body></html>"
    yield Evil("HTML packed", gzipped(page), kinds=("not-junit",), said="HTML")
    yield Evil("HTML", page, kinds=("not-junit",), said="HTML")
    named = b"\x1f\x8b\x08\x10" + bytes(6) + b"\x1b[2J/" * 40_000 + b"\0" + gzip.compress(PART)[10:]
    yield Evil("a name of 200 KB", named, kinds=("truncated",), said="\x1b[2J/")
    yield Evil("nothing", gzipped(b""), kinds=("empty",), said="empty")


def zips() -> Iterator[Evil]:
    """List archives; in each lie a good report, and something else."""
    good = ("good.xml", b'<testsuite><testcase classname="shop" name="zipped_TC8"/></testsuite>')
    two = packed([good, ("bad.xml", PART + END)])
    yield Evil("zip: too short", archive=lying(two, "bad.xml", 40), kinds=("corrupt",), said="bad.xml", tests=1)
    yield Evil("zip: too long", archive=lying(two, "bad.xml", 4_000), kinds=("corrupt",), said="bad.xml", tests=1)
    yield Evil("zip: checksum", archive=altered(two, "bad.xml", 16, 1), kinds=("corrupt",), said="bad.xml", tests=1)
    yield Evil("zip: encrypted", archive=encrypted(two, "bad.xml"), kinds=("encrypted",), said="bad.xml", tests=1)
    bomb = packed([good, ("bad.xml", PART + b" " * 20 * MB + END)])
    yield Evil("zip: bomb", archive=bomb, kinds=("too-large",), said="bomb", tests=1)
    liar = lying(bomb, "bad.xml", len(PART + END))
    yield Evil("zip: bomb that lies", archive=liar, kinds=("corrupt",), said="bad.xml", tests=1)
    names = packed([good, ("a\x1b[31m\nb.xml", PART), (CONTROLS, b"?")])
    yield Evil("zip: names", archive=names, kinds=("truncated", "unsafe-name"), said="a\x1b[31m\nb.xml", tests=1)
    many = packed([(f"shots/never/{n}.png", b"") for n in range(99_999)] + [good], 0)
    yield Evil("zip: 100,000 members", archive=many, tests=1)
    more = packed([(f"shots/never/{n}.png", b"") for n in range(100_000)] + [good], 0)
    yield Evil("zip: 100,001 members", archive=more, kinds=("too-large",), said="members")
    yield Evil("zip: none", archive=b"PK\x03\x04" + bytes(1_000), kinds=("corrupt",), said="artifacts.zip")
