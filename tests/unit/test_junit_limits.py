"""What one report may cost, and what is left of a text that is too long."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from typing import TYPE_CHECKING, BinaryIO, cast

import junitparser
import pytest

from reconciler.junit import BadReport, Limits, Report
from reconciler.junit.case import cut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from _typeshed import WriteableBuffer

    from reconciler.model import TestRun

LINE = b"2026-01-01 INFO something &lt;happened&gt; here \xc3\xa9\n"
MB = 1_000_000


class Made(io.RawIOBase):
    """A document that is never in memory as a whole."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        """Take the pieces."""
        super().__init__()
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        """Tell that it can be."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Give of the next piece what fits."""
        view = memoryview(buffer).cast("B")
        data = self._rest or next(self._pieces, b"")
        part = data[: len(view)]
        view[: len(part)] = part
        self._rest = data[len(view) :]
        return len(part)


def made(before: bytes, piece: bytes, size: int, after: bytes) -> Iterator[bytes]:
    """Repeat a piece until it has the size, within one suite."""
    yield b"<testsuite name='s'>" + before
    many = piece * max(1, 50_000 // (len(piece) or 1))
    for _ in range(size // len(many) if size else 0):
        yield many
    yield after + b"</testsuite>"


def read(pieces: Iterator[bytes], limits: Limits | None = None) -> list[TestRun]:
    """Read what was made."""
    return list(Report(cast("BinaryIO", io.BufferedReader(Made(pieces))), limits or Limits()))


OUT = (b"<testcase name='t'><system-out>", b"</system-out></testcase>")


# --- what is cut -----------------------------------------------------------------------------------------------------


def test_a_text_keeps_its_ends_and_says_how_much_is_missing() -> None:
    """The beginning says what was run, the end what happened."""
    assert cut("0123456789", 10) == "0123456789"
    assert cut("0123456789", 4) == "01\n[... 6 characters cut ...]\n89"


def test_cutting_what_was_cut_counts_what_was_missing_before() -> None:
    """A giant text is cut twice: before the parser sees it, and after."""
    assert cut("a" * 10 + cut("b" * 1000, 100) + "c" * 10, 8) == "aaaa\n[... 1,012 characters cut ...]\ncccc"


def test_cutting_keeps_the_markers_of_attachments() -> None:
    """Also one that the cut goes through."""
    text = "x" * 100 + "[[ATTACHMENT|a b.png]]" + "y" * 100 + "[[ATTACHMENT|c.png]]" + "z" * 40
    assert cut(text, 100).splitlines()[2:4] == ["[[ATTACHMENT|a b.png]]", "[[ATTACHMENT|c.png]]"]


@pytest.mark.parametrize("cdata", [False, True])
def test_a_real_output_of_11_mb_is_read(*, cdata: bool) -> None:
    """libxml2 alone refuses texts above 10 MB. What is kept is the ends; the count of what is not is right."""
    before, after = (OUT[0] + b"<![CDATA[", b"]]>" + OUT[1]) if cdata else OUT
    (run,) = read(made(before, LINE, 11 * MB, after))
    line = LINE.decode() if cdata else LINE.decode().replace("&lt;", "<").replace("&gt;", ">")
    head, note, tail = run.system_out.partition("\n[... ")
    missing = int(tail.split(maxsplit=1)[0].replace(",", ""))
    assert (head.startswith(line * 100), tail.endswith(line * 100), bool(note)) == (True, True, True)
    assert len(head) + len(tail) == pytest.approx(MB, abs=100)
    whole = 11 * MB // len(LINE) * len(line)
    assert missing + MB == pytest.approx(whole, rel=0.2)


def test_markers_of_attachments_survive_in_giant_texts() -> None:
    """Wherever they stand, in text and in CDATA, across the borders of blocks too."""
    noise = b"n" * 1_999_990
    body = b"".join(noise + b"[[ATTACHMENT|shot-%d.png]]" % number for number in range(8))
    for before, after in ((b"", b""), (b"<![CDATA[", b"]]>")):
        (run,) = read(made(OUT[0] + before, body, len(body), after + OUT[1]))
        assert [run.system_out.count(f"[[ATTACHMENT|shot-{number}.png]]") for number in range(8)] == [1] * 8


def test_markup_around_a_giant_text_is_intact() -> None:
    """Comments, CDATA sections, entities, quotes and `>` in it, tags before and after."""
    text = b"a > b \" ' &amp; <!-- <c> --><![CDATA[<d> ]] ]]>]<?pi ?> "
    before = b"<testcase name='1' file='>'/><testcase name=\"2\"><failure message='x > y'/><system-out>"
    after = b"</system-out><system-err>e</system-err></testcase><testcase name='3'/>"
    runs = read(made(before, text, 8 * MB, after))
    assert [(run.name, run.outcome.value, run.system_err) for run in runs] == [
        ("1", "passed", ""),
        ("2", "failed", "e"),
        ("3", "passed", ""),
    ]
    assert set(runs[1].system_out.split("\n[... ")[0].split()) == {"a", ">", "b", '"', "'", "&", "<d>", "]]", "]"}


def test_positions_stay_true_behind_a_giant_text() -> None:
    """The lines that were left out are counted."""
    lines = 5 * MB // len(LINE * (50_000 // len(LINE))) * (50_000 // len(LINE))
    with pytest.raises(BadReport, match=f"^line {lines + 2}, column"):
        read(made(OUT[0], LINE, 5 * MB, OUT[1] + b"\n<a></b>"))


def test_names_and_other_texts_are_cut_too() -> None:
    """A name of a million characters is nobody's."""
    long = "x" * 1000
    document = (
        f"<testsuite name='{long}'><testcase name='{long}' classname='{long}' file='{long}'><properties>"
        f"<property name='{long}' value='{long}'/></properties><failure message='{long}'>{long}</failure>"
        f"<system-err>{long}</system-err></testcase></testsuite>"
    )
    (run,) = Report(io.BytesIO(document.encode()), Limits(max_name_chars=10, max_text_chars=20))
    name, text = "xxxxx[... 990 characters cut ...]xxxxx", cut(long, 20)
    assert (run.suite, run.name, run.classname, run.file, run.properties) == (name, name, name, name, ((name, text),))
    assert (run.message, run.detail, run.system_err) == (text, text, text)


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pieces", "limits", "kind"),
    [
        (made(b"", b" ", 200_000, b""), Limits(max_bytes=100_000), "too-large"),
        (made(b"", b"<a/>", 200_000, b""), Limits(max_elements_total=1_000), "too-large"),
        (made(b"<testcase>", b"<a/>", MB, b"</testcase>"), Limits(), "too-large"),
        (made(b"<testcase>", b"<testcase/>", MB, b"</testcase>"), Limits(), "too-large"),
        (made(b"<testcase>", b"<testsuite/>", MB, b"</testcase>"), Limits(), "too-large"),
        (made(b"<testcase>", b"<a>" + LINE * 99 + b"</a>", 40 * MB, b"</testcase>"), Limits(), "too-large"),
        (made(b"<testcase name='", LINE, 17 * MB, b"'/>"), Limits(), "too-large"),
        (made(b"<testcase ", b"a=' ' ", MB, b"/>"), Limits(), "too-large"),
        (made(b"<a " + b"b" * 17 * MB, b"", 0, b"/>"), Limits(), "too-large"),
        (made(b"", b"<a>", 60_000, b""), Limits(), "too-deep"),
        (made(b"<a>" * 300, b"", 0, b"</a>" * 300), Limits(), "too-deep"),
        (made(b"<a>" * 20, b"", 0, b"</a>" * 20), Limits(max_depth=20), "too-deep"),
    ],
)
def test_a_document_beyond_the_limits_is_refused(pieces: Iterator[bytes], limits: Limits, kind: str) -> None:
    """Early, and as a problem."""
    with pytest.raises(BadReport) as caught:
        read(pieces, limits)
    assert caught.value.kind == kind


def test_a_document_within_the_limits_is_read() -> None:
    """Depth, elements of one test, and a message of 11 MB in an attribute."""
    assert len(read(made(b"<a>" * 255, b"", 0, b"</a>" * 255))) == 0
    properties = b"<testcase><properties>", b"<property name='a'/>", 40_000 * 20, b"</properties></testcase>"
    assert len(read(made(*properties))[0].properties) == 40_000
    (run,) = read(made(b"<testcase><failure message='", LINE, 11 * MB, b"'/></testcase>"))
    assert len(run.message) == pytest.approx(MB, abs=100)


def test_marks_that_are_never_closed_cost_no_time() -> None:
    """Each is looked for only up to the next."""
    begun = time.process_time()
    (run,) = read(made(OUT[0], b"[[PROPERTY|a=", 2 * MB, b"[[ATTACHMENT|" * 50_000 + OUT[1]))
    assert run.properties == ()
    assert time.process_time() - begun < 5


# --- what it costs ---------------------------------------------------------------------------------------------------

MEASURE = """
import sys, time
from pathlib import Path
from reconciler.junit import Report
begun = time.process_time()
with open(sys.argv[1], "rb") as stream:
    report = Report(stream)
    print(sum(1 for _ in report), report.notices)
print(time.process_time() - begun)
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""


def measured(path: Path) -> tuple[str, float, float]:
    """Read a file in a process of its own: the answer, seconds of CPU, and the peak of memory in MB.

    Not ru_maxrss, which a child inherits from the process that started it (Linux, seen with 6.1).
    """
    done = subprocess.run([sys.executable, "-c", MEASURE, path], capture_output=True, text=True, check=True)
    answer, cpu_s, rss_kb = done.stdout.splitlines()
    return answer, float(cpu_s), int(rss_kb) / 1024


def write(path: Path, pieces: Iterator[bytes]) -> Path:
    """Write what was made."""
    with path.open("wb") as file:
        file.writelines(pieces)
    return path


CASE = b"<testcase classname='tests.test_mod' name='test_thing' time='0.001'/>\n"
FAILED_CASE = b"<testcase classname='tests.test_mod' name='t'><failure message='m'>assert 0</failure></testcase>\n"


def many_tests(count: int) -> Iterator[bytes]:
    """Make a report in pytest's shape: one suite, every tenth test failed."""
    yield b"<testsuites><testsuite name='pytest'>"
    for _ in range(count // 10):
        yield CASE * 9 + FAILED_CASE
    yield b"</testsuite></testsuites>"


def test_memory_does_not_grow_with_the_number_of_tests(tmp_path: Path) -> None:
    """Measured 23 MB; junitparser keeps the tree, 110 MB."""
    answer, cpu_s, rss_mb = measured(write(tmp_path / "many.xml", many_tests(100_000)))
    assert answer == "100000 []"
    assert rss_mb < 60
    assert cpu_s < 5


@pytest.mark.parametrize(
    ("before", "piece", "after", "tests"),
    [
        (OUT[0], LINE, OUT[1], 1),
        (OUT[0] + b"<![CDATA[", b"<b>" + LINE, b"]]>" + OUT[1], 1),
        (OUT[0] + b"<!--", LINE, b"-->" + OUT[1], 1),
        (b"<properties>", b"<property name='a' value='b'/>", b"</properties>", 0),
        (b"", b"<system-out>" + LINE + b"</system-out>", b"", 0),
        (b"<system-out>", LINE, b"</system-out>", 0),
    ],
    ids=["text", "cdata", "comment", "properties", "outputs", "output"],
)
def test_memory_does_not_grow_with_what_no_test_needs(
    tmp_path: Path, before: bytes, piece: bytes, after: bytes, tests: int
) -> None:
    """Of the test or of the suite; 60 MB show it as well as 300 do."""
    answer, _cpu_s, rss_mb = measured(write(tmp_path / "big.xml", made(before, piece, 60 * MB, after)))
    assert answer == f"{tests} []"
    assert rss_mb < 60


def test_reading_costs_at_most_twice_what_junitparser_itself_takes(tmp_path: Path) -> None:
    """Reading the same of each test; measured: about once."""
    path = write(tmp_path / "many.xml", many_tests(20_000))

    def theirs() -> int:
        cases = [case for suite in junitparser.JUnitXml.fromfile(str(path)) for case in suite]
        read = [(c.name, c.classname, c.time, c.result, c.system_out, c.system_err) for c in cases]
        return len(read)

    def ours() -> int:
        with path.open("rb") as stream:
            return len(list(Report(stream)))

    def cpu_s(work: Callable[[], int]) -> float:
        begun = time.process_time()
        assert work() == 20_000
        return time.process_time() - begun

    assert min(cpu_s(ours) for _ in range(3)) <= 2 * min(cpu_s(theirs) for _ in range(3))
