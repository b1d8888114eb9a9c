"""The mapping file: every mistake is named with its place, and no row is ever lost."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from reconciler.errors import ConfigError
from reconciler.mapping import Row
from reconciler.mapping_file import Unwritable, append, read

if TYPE_CHECKING:
    from pathlib import Path

HEADER = "test,formatted_id\n"
CORRECT = "correct it; it follows re: and must match the whole key"
NOT_OURS = "1:1: the header is not test,formatted_id: "


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Say where the mapping file is; it does not exist yet."""
    return tmp_path / "mapping.csv"


def _mistakes(file: Path, content: str | bytes) -> list[str]:
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    _, problems = read(file)
    return [str(problem).removeprefix(f"{file}:") for problem in problems]


def test_no_file_is_no_rows(file: Path) -> None:
    """A new installation has none; every test is held and shown in review."""
    assert read(file) == ([], [])


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\n\n", b"test,formatted_id"])
def test_an_empty_file_is_no_rows(file: Path, content: bytes) -> None:
    """Nothing is mapped by it, and nothing is wrong with it."""
    assert _mistakes(file, content) == []
    assert read(file) == ([], [])


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_rows_are_read_with_their_lines(file: Path, mark: str, end: str) -> None:
    """Excel's byte order mark, either line end, quoted cells, empty lines and blanks round the FormattedID."""
    lines = ["test,formatted_id", "a.b,TC1", "", '"f[1,2]",TC2', '"say ""hi""\nthere", TC3 ', "*.slow,-", "re:a+,TC4"]
    file.write_text(mark + end.join(lines), newline="")
    rows = [
        Row(2, "a.b", "TC1"),
        Row(4, "f[1,2]", "TC2"),
        Row(5, 'say "hi"\nthere', "TC3"),
        Row(7, "*.slow", "-"),
        Row(8, "re:a+", "TC4"),
    ]
    assert (rows, []) == read(file)


@pytest.mark.parametrize(
    ("row", "mistake"),
    [
        ("f[1,2],TC2", '2:8: 3 columns instead of 2: put a test that holds commas in quotes: "f[1,2]",TC2'),
        ("a", "2:2: 1 column instead of 2: add a comma and the test case's FormattedID, or - to ignore the test"),
        ("a;TC1", "2:6: 1 column instead of 2: separate the columns with a comma, not with semicolons"),
        ("a\tTC1", "2:6: 1 column instead of 2: separate the columns with a comma, not with tabs"),
        ("a,TC1,,", "2:7: 4 columns instead of 2: take out the commas at the end"),
        (f"{'a,' * 200},TC1", "2:5: 202 columns instead of 2: put a test that holds commas in quotes"),
        (",TC1", "2:1: the test is empty: write the test's key, as `reconciler review` shows it"),
        ("a,", "2:3: the FormattedID is empty: write TC and digits, or - to ignore the test"),
        ("a,tc12", "2:3: 'tc12' is no FormattedID of a test case: write TC12"),
        ("a,12", "2:3: '12' is no FormattedID of a test case: write TC12"),
        ('"a,b",TC 12', "2:7: 'TC 12' is no FormattedID of a test case: write TC12"),
        ("a,US12", "2:3: 'US12' is no FormattedID of a test case: a test case's FormattedID begins with TC"),
        ("a,TC1 TC2", "2:3: 'TC1 TC2' is no FormattedID of a test case: write one row for each test case"),
        ("a,\N{EM DASH}", "2:3: '\N{EM DASH}' is no FormattedID of a test case: write a plain - to ignore the test"),
        ("a,skip", "2:3: 'skip' is no FormattedID of a test case: write TC and digits, or - to ignore the test"),
        (
            "re:a(b,TC1",
            "2:5: no regular expression: missing ), unterminated subpattern: " + CORRECT,
        ),
        (
            '"re:""x""\n[",TC1',
            "3:1: no regular expression: unterminated character set: " + CORRECT,
        ),
        (
            "re:,TC1",
            "2:4: the regular expression is empty: " + CORRECT,
        ),
        ('"re:(?\n",TC1', r"2:6: no regular expression: unknown extension ?\n: " + CORRECT),
        ('"a"b,TC1', '2:1: text follows a closing quote: write a quote inside a cell twice: "say ""hello""",TC1'),
        (
            '"a,TC1',
            '2:1: a quote opens a cell and is never closed: close it; a quote inside a cell is written twice: ""',
        ),
        ("a\0b,TC1", "2:2: a NUL byte: take it out: the file is plain text"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_what_to_do(file: Path, row: str, mistake: str) -> None:
    """Line and column count from 1, in characters."""
    assert [mistake] == _mistakes(file, HEADER + row + "\n")


def test_bytes_that_are_not_utf_8_are_found_by_line(file: Path) -> None:
    """A file that Excel saved in an old encoding."""
    expected = ["3:4: the byte 0xE9 is not UTF-8: save the file as UTF-8"]
    assert expected == _mistakes(file, b"test,formatted_id\nok,TC1\ncaf\xe9,TC2\n")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_is_one_mistake(file: Path, encoding: str) -> None:
    """Not one per character."""
    content = ("\ufeff" + HEADER + "a,TC1\n").encode(encoding)
    assert _mistakes(file, content) == ["1:1: the file is UTF-16: save it as UTF-8 (in Excel: CSV UTF-8)"]


@pytest.mark.parametrize(
    ("content", "mistake"),
    [
        ("a,TC1\nb,TC2\n", "1:1: the header is missing: put the line test,formatted_id above this one"),
        ("name,id\na,TC1\n", NOT_OURS + "write test,formatted_id as the first line"),
        (
            "test;formatted_id\na;TC1\nb;TC2\n",
            NOT_OURS + "separate the columns with commas, not with semicolons, in every row",
        ),
        (
            "formatted_id,test\nTC1,a\n",
            NOT_OURS + "put the column test first, in every row",
        ),
    ],
)
def test_a_wrong_header_is_one_mistake(file: Path, content: str, mistake: str) -> None:
    """The rows below it are not reported for the same reason again."""
    assert [mistake] == _mistakes(file, content)


def test_a_repeated_row_names_the_first(file: Path) -> None:
    """Two rows for one test are fine, two equal rows are a slip."""
    mistakes = _mistakes(file, HEADER + "a,TC1\na,TC2\na, TC1\n")
    assert mistakes == ["4:1: the same row as line 2: take one of them out"]


def test_all_mistakes_come_at_once_and_the_other_rows_are_read(file: Path) -> None:
    """One round of correcting is enough."""
    mistakes = _mistakes(file, b'test,formatted_id\na,tc1\n"b"x,TC2\nc,TC3\n\xff,TC4\nd,TC5,TC6\n')
    assert [mistake.partition(":")[0] for mistake in mistakes] == ["2", "3", "5", "6"]
    assert [Row(4, "c", "TC3")] == read(file)[0]


def test_a_file_that_cannot_be_read_is_a_mistake(tmp_path: Path) -> None:
    """Silence would hold every test."""
    rows, problems = read(tmp_path)
    assert rows == []
    assert [f"{tmp_path}:1:1: cannot be read (Is a directory): let it be a file that may be read"] == [
        str(problem) for problem in problems
    ]


def test_the_first_row_makes_the_file(file: Path) -> None:
    """With its header."""
    assert append(file, "a.b", "TC1")
    assert file.read_text() == HEADER + "a.b,TC1\n"


def test_the_same_row_is_not_added_twice(file: Path) -> None:
    """`map` may be repeated."""
    assert append(file, "a*", "TC1")
    content = file.read_bytes()
    assert not append(file, "a*", "TC1")
    assert content == file.read_bytes()
    assert append(file, "a*", "TC2")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"", b"test,formatted_id\nk,TC1\n"),
        (b"\xef\xbb\xbf", b"\xef\xbb\xbftest,formatted_id\nk,TC1\n"),
        (b"test,formatted_id", b"test,formatted_id\nk,TC1\n"),
        (b"test,formatted_id\na,TC2", b"test,formatted_id\na,TC2\nk,TC1\n"),
        (b"test,formatted_id\r\na,TC2", b"test,formatted_id\r\na,TC2\r\nk,TC1\r\n"),
        (b"Test, formatted_id\n\na,TC2\n\n", b"Test, formatted_id\n\na,TC2\n\nk,TC1\n"),
    ],
)
def test_what_was_there_stays_as_it_was(file: Path, old: bytes, new: bytes) -> None:
    """Byte by byte: people version the file. Only a missing line end is added."""
    file.write_bytes(old)
    assert append(file, "k", "TC1")
    assert new == file.read_bytes()


@pytest.mark.parametrize(
    ("test", "row"),
    [
        ("a,b", '"a,b",TC1'),
        ('say "hi"', '"say ""hi""",TC1'),
        ("a\nb", '"a\nb",TC1'),
        ("a\rb", '"a\rb",TC1'),
        ("test_pay[*]", r"re:test_pay\[\*\],TC1"),
        ("re:x", "re:re:x,TC1"),
        ("Größe", "Größe,TC1"),
    ],
)
def test_a_key_is_written_so_that_it_means_itself(file: Path, test: str, row: str) -> None:
    """A key that would be read as a rule becomes an escaped rule."""
    append(file, test, "TC1")
    assert file.read_bytes().decode() == f"{HEADER}{row}\n"


@pytest.mark.parametrize(
    ("test", "formatted_id", "why"),
    [
        ("", "TC1", "the test's name is empty"),
        ("a\0b", "TC1", "the test's name is not UTF-8 text"),
        ("a\udcffb", "TC1", "the test's name is not UTF-8 text"),
        ("a" * 200_000, "TC1", "the test's name is longer than 131072 characters"),
        ("a", "tc1", "'tc1' is no FormattedID of a test case: write TC1"),
    ],
)
def test_a_row_that_would_be_a_mistake_is_not_written(file: Path, test: str, formatted_id: str, why: str) -> None:
    """Nothing is written, not even the header."""
    with pytest.raises(Unwritable, match=re.escape(why)):
        append(file, test, formatted_id)
    assert not file.exists()


def test_nothing_is_added_to_a_file_with_mistakes(file: Path) -> None:
    """Behind an open quote the new row would be part of a cell."""
    file.write_text(HEADER + '"a,TC1\n')
    with pytest.raises(ConfigError, match="never closed"):
        append(file, "b", "TC1")
    assert file.read_text() == HEADER + '"a,TC1\n'


def test_a_folder_that_does_not_exist_is_said(tmp_path: Path) -> None:
    """Making folders by a typing mistake would hide the mistake."""
    with pytest.raises(Unwritable, match="No such file or directory"):
        append(tmp_path / "nowhere" / "mapping.csv", "a", "TC1")


def test_mode_and_link_stay(tmp_path: Path, file: Path) -> None:
    """The file may be a link into a checkout; the daemon's user may read it by its group only."""
    real = tmp_path / "checkout" / "qa.csv"
    real.parent.mkdir()
    real.write_text(HEADER)
    real.chmod(0o640)
    file.symlink_to(real)
    append(file, "a", "TC1")
    assert file.is_symlink()
    assert real.read_text() == HEADER + "a,TC1\n"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


def test_a_killed_writer_leaves_nothing_in_the_way(file: Path) -> None:
    """Its half-written file is not taken for ours, and is gone afterwards."""
    (file.parent / ".mapping.csv.new").write_text("half")
    append(file, "a", "TC1")
    assert [file] == list(file.parent.iterdir())


def test_a_ctrl_c_in_the_middle_of_a_write_waits_for_its_end(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row is whole, and no half-written file lies beside it."""
    append(file, "a", "TC1")
    fsync = os.fsync

    def interrupted(descriptor: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        append(file, "b", "TC2")
    assert [row.test for row in read(file)[0]] == ["a", "b"]
    assert [file] == list(file.parent.iterdir())


def test_a_failed_write_leaves_the_file_as_it_was(file: Path) -> None:
    """Here the new file may not grow beyond 1 kB, as if the disk were full."""
    append(file, "a", "TC1")
    before = file.read_bytes()
    code = (
        "import resource, signal, sys; from pathlib import Path; from reconciler.mapping_file import *\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))\n"
        "try: append(Path(sys.argv[1]), 'b' * 2000, 'TC1')\n"
        "except Unwritable as error: print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code, file], check=True, capture_output=True, text=True)
    assert run.stdout == f"{file}: the row was not written: File too large\n"
    assert before == file.read_bytes()
    assert [file] == list(file.parent.iterdir())


def test_rows_of_writers_at_the_same_time_are_all_there(file: Path) -> None:
    """Each reads, adds and swaps under the lock."""
    code = (
        "import sys; from pathlib import Path; from reconciler.mapping_file import append\n"
        "for n in range(25): append(Path(sys.argv[1]), f'{sys.argv[2]}.{n}', 'TC1')\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, file, name]) for name in "abc"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    rows, problems = read(file)
    assert problems == []
    assert {f"{name}.{n}" for name in "abc" for n in range(25)} == {row.test for row in rows}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_row_added_by_root_leaves_the_file_to_its_owner(file: Path) -> None:
    """Else `sudo reconciler map` would take the file from the daemon's user."""
    file.write_text(HEADER)
    os.chown(file, 65534, 65534)
    append(file, "a", "TC1")
    assert (file.stat().st_uid, file.stat().st_gid) == (65534, 65534)
