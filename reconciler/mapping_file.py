"""The mapping file on disk: read with every mistake named, and appended to without ever losing a row."""

from __future__ import annotations

import codecs
import contextlib
import csv
import fcntl
import io
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.errors import EXIT_USAGE, ConfigError, ReconcilerError
from reconciler.mapping import ANY, IGNORE, REGEX, Row, compile_rule, is_formatted_id
from reconciler.problem import Problem
from reconciler.signals import uninterrupted

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER = ["test", "formatted_id"]

_HEADER_LINE = ",".join(HEADER)
_LONGEST_EXAMPLE = 200
_CELL = re.compile(r'"(?:[^"]|"")*"?[^,\r\n]*|[^,\r\n]*')
_SURROGATE = re.compile("[\ud800-\udfff]")
_UNDECODED = re.compile("[\udc80-\udcff]")  # what "surrogateescape" makes of bytes that are not UTF-8


class Unwritable(ReconcilerError):
    """The row cannot be written; the file is as it was."""

    exit_status = EXIT_USAGE


def read(path: Path) -> tuple[list[Row], list[Problem]]:
    """Read the rows that are right and the mistakes of all others, both in file order; no file is no rows."""
    try:
        return _Reading(path, path.read_bytes()).result()
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [Problem(path, 1, 1, f"cannot be read ({error.strerror})", "let it be a file that may be read")]


def append(path: Path, test: str, formatted_id: str) -> bool:
    """Add a row for exactly this test, unless the file has it (then False); make the file when there is none.

    A key that holds `*` or begins with `re:` would be read as a rule, so it is written as an escaped `re:` row.

    Raises:
        Unwritable: the row would not be read back as it is meant, or the file cannot be written.
        ConfigError: the file has mistakes; a row added after them might not be read.
    """
    cell = REGEX + re.escape(test) if ANY in test or test.startswith(REGEX) else test
    _check(test, cell, formatted_id)
    real = Path(os.path.realpath(path))  # a link stays a link
    try:
        with _locked(real.parent) as folder:
            old = real.read_bytes() if real.exists() else b""
            rows, problems = _Reading(path, old).result()
            if problems:
                raise ConfigError(problems)
            if any((row.test, row.formatted_id) == (cell, formatted_id) for row in rows):
                return False
            _replace(real, _with_row(old, cell, formatted_id), folder)
    except OSError as error:
        raise Unwritable(f"{path}: the row was not written: {error.strerror}") from error
    return True


# --- writing ---------------------------------------------------------------------------------------------------------


def _check(test: str, cell: str, formatted_id: str) -> None:
    if not test.strip():
        raise Unwritable("the test's name is empty")
    if _SURROGATE.search(test) or "\0" in test:
        raise Unwritable("the test's name is not UTF-8 text")
    if len(cell) > csv.field_size_limit():
        raise Unwritable(f"the test's name is longer than {csv.field_size_limit()} characters")
    if formatted_id != IGNORE and not is_formatted_id(formatted_id):
        raise Unwritable(": ".join(_id_mistake(formatted_id)))


def _with_row(old: bytes, cell: str, formatted_id: str) -> bytes:
    """Put the row behind what is there, with the line ends that are used there."""
    end = b"\r\n" if b"\r\n" in old else b"\n"
    if not old.removeprefix(codecs.BOM_UTF8).strip():
        old = old.rstrip() + _HEADER_LINE.encode() + end
    elif not old.endswith((b"\n", b"\r")):
        old += end
    return old + _csv(cell, formatted_id).encode() + end


def _csv(*cells: str) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow(cells)  # this line end makes the writer quote both \r and \n
    return out.getvalue().removesuffix("\r\n")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """Let one writer at a time into the folder; the kernel lets go of the lock when its holder dies."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _replace(real: Path, content: bytes, folder: int) -> None:
    """Swap the file for a complete new one: a reader sees the old or the new, whenever the power fails."""
    new = real.with_name(f".{real.name}.new")
    new.unlink(missing_ok=True)  # left by a writer that was killed; we hold the lock, so it is nobody's
    with uninterrupted():
        try:
            with new.open("xb") as file:
                if real.exists():
                    _take_over_rights(file.fileno(), real.stat())
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            new.replace(real)
        except OSError:
            new.unlink(missing_ok=True)
            raise
        os.fsync(folder)


def _take_over_rights(descriptor: int, old: os.stat_result) -> None:
    """Keep mode and owner: a row added by root must not take the file from the daemon's user."""
    with contextlib.suppress(PermissionError):
        os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))  # after fchown, which may clear bits


# --- reading ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Record:
    """One record of the CSV file as it stands there; a quoted cell may hold line ends."""

    line: int
    raw: str
    cells: list[str]

    def start(self, cell: int) -> int:
        """Say where in `raw` a cell begins."""
        at = 0
        for _ in range(cell):
            at = _end_of_cell(self.raw, at) + 1
        return at

    def place(self, at: int) -> tuple[int, int]:
        """Turn an offset in `raw` into a line and a column of the file, both from 1."""
        before = re.split(r"\r\n|\r|\n", self.raw[:at])
        return self.line + len(before) - 1, len(before[-1]) + 1

    def place_in(self, cell: int, offset: int) -> tuple[int, int]:
        """Find the character `offset` of a cell's value."""
        at = self.start(cell)
        if self.raw[at : at + 1] == '"':
            at += 1 + offset + self.cells[cell][:offset].count('"')  # a quote inside stands there twice
        else:
            at += offset
        return self.place(at)


def _end_of_cell(raw: str, at: int) -> int:
    found = _CELL.match(raw, at)
    return found.end() if found else at


class _Reading:
    """One pass over the file's bytes."""

    def __init__(self, path: Path, content: bytes) -> None:
        self._path = path
        self._content = content
        self._rows: list[Row] = []
        self._problems: list[Problem] = []
        self._first_line: dict[tuple[str, str], int] = {}

    def result(self) -> tuple[list[Row], list[Problem]]:
        if self._content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            self._report((1, 1), "the file is UTF-16", "save it as UTF-8 (in Excel: CSV UTF-8)")
            return [], self._problems
        records = self._records(self._content.removeprefix(codecs.BOM_UTF8).decode(errors="surrogateescape"))
        header = next(records, None)
        if header is not None and self._header(header):
            for record in records:
                self._row(record)
        self._problems.sort(key=lambda problem: (problem.line, problem.column))
        return self._rows, self._problems

    def _report(self, place: tuple[int, int], what: str, todo: str) -> None:
        self._problems.append(Problem(self._path, *place, what, todo))

    def _records(self, text: str) -> Iterator[_Record]:
        """Yield the records that are CSV and text, empty lines passed over; report the others."""
        lines = list(io.StringIO(text, newline=""))
        reader = csv.reader(lines, strict=True)
        while True:
            above = reader.line_num
            try:
                cells = next(reader, None)
            except csv.Error as error:
                self._report((above + 1, 1), *_csv_mistake(error))
                continue
            if cells is None:
                return
            record = _Record(above + 1, "".join(lines[above : reader.line_num]), cells)
            if self._is_text(record) and (len(cells) > 1 or "".join(cells).strip()):
                yield record

    def _is_text(self, record: _Record) -> bool:
        if found := _UNDECODED.search(record.raw):
            byte = ord(found.group()) - 0xDC00
            self._report(record.place(found.start()), f"the byte 0x{byte:02X} is not UTF-8", "save the file as UTF-8")
        elif "\0" in record.raw:
            self._report(record.place(record.raw.index("\0")), "a NUL byte", "take it out: the file is plain text")
        else:
            return True
        return False

    def _header(self, record: _Record) -> bool:
        """Report a header that is not ours; False when the rows below it cannot be read either."""
        names = [cell.strip().lower() for cell in record.cells]
        if names == HEADER:
            return True
        mistake = _header_mistake(names)
        self._report((record.line, 1), *mistake)
        if mistake == _NO_HEADER:
            self._row(record)
        return mistake in (_NO_HEADER, _OTHER_HEADER)

    def _row(self, record: _Record) -> None:
        if len(record.cells) != len(HEADER):
            at = record.start(len(HEADER)) if len(record.cells) > 1 else _end_of_cell(record.raw, 0)
            self._report(record.place(at), *_columns_mistake(record.cells))
            return
        test, formatted_id = record.cells[0], record.cells[1].strip()
        right = self._test(record, test)
        if formatted_id != IGNORE and not is_formatted_id(formatted_id):
            self._report(record.place(record.start(1)), *_id_mistake(formatted_id))
            right = False
        if right and self._is_new(record, test, formatted_id):
            self._rows.append(Row(record.line, test, formatted_id))

    def _test(self, record: _Record, test: str) -> bool:
        if not test.strip():
            self._report((record.line, 1), "the test is empty", "write the test's key, as `reconciler review` shows it")
            return False
        if not test.startswith(REGEX):
            return True
        return self._expression(record, test.removeprefix(REGEX))

    def _expression(self, record: _Record, expression: str) -> bool:
        todo = f"correct it; it follows {REGEX} and must match the whole key"
        if not expression:
            self._report(record.place_in(0, len(REGEX)), "the regular expression is empty", todo)
            return False
        try:
            compile_rule(expression)
        except re.error as error:
            place = record.place_in(0, len(REGEX) + (error.pos or 0))
            self._report(place, f"no regular expression: {_one_line(error.msg)}", todo)
            return False
        return True

    def _is_new(self, record: _Record, test: str, formatted_id: str) -> bool:
        first = self._first_line.setdefault((test, formatted_id), record.line)
        if first != record.line:
            self._report((record.line, 1), f"the same row as line {first}", "take one of them out")
        return first == record.line


# --- what to say -----------------------------------------------------------------------------------------------------


def _separator_name(separator: str) -> str:
    return "semicolons" if separator == ";" else "tabs"


_NO_HEADER = ("the header is missing", f"put the line {_HEADER_LINE} above this one")
_OTHER_HEADER = (f"the header is not {_HEADER_LINE}", f"write {_HEADER_LINE} as the first line")


def _header_mistake(names: list[str]) -> tuple[str, str]:
    what, _ = _OTHER_HEADER
    if names == HEADER[::-1]:
        return what, "put the column test first, in every row"
    if len(names) == 1 and (separator := re.search(r"[;\t]", names[0])):
        return what, f"separate the columns with commas, not with {_separator_name(separator.group())}, in every row"
    if len(names) == len(HEADER) and (names[1] == IGNORE or is_formatted_id(names[1].upper())):
        return _NO_HEADER
    return _OTHER_HEADER


def _one_line(text: str) -> str:
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def _csv_mistake(error: csv.Error) -> tuple[str, str]:
    match str(error):
        case "unexpected end of data":
            return "a quote opens a cell and is never closed", 'close it; a quote inside a cell is written twice: ""'
        case message if "expected after" in message:
            return "text follows a closing quote", 'write a quote inside a cell twice: "say ""hello""",TC1'
        case message:
            return message, "write the row as CSV"


def _columns_mistake(cells: list[str]) -> tuple[str, str]:
    what = f"{len(cells)} columns instead of 2"
    if len(cells) == 1:
        what = "1 column instead of 2"
        if found := re.search(r"[;\t]", cells[0]):
            return what, f"separate the columns with a comma, not with {_separator_name(found.group())}"
        return what, "add a comma and the test case's FormattedID, or - to ignore the test"
    *test, formatted_id = "\0".join(cells).rstrip("\0 ").split("\0")
    if len(test) <= 1:
        return what, "take out the commas at the end"
    example = _csv(",".join(test), formatted_id.strip())
    if len(example) > _LONGEST_EXAMPLE or not example.isprintable():
        return what, "put a test that holds commas in quotes"
    return what, f"put a test that holds commas in quotes: {example}"


def _id_mistake(text: str) -> tuple[str, str]:
    """Guess what was meant by something that is no FormattedID of a test case."""
    what = f"{text[:40]!r} is no FormattedID of a test case" if text else "the FormattedID is empty"
    several = re.findall(r"TC[0-9]+", text, re.IGNORECASE)
    if len(several) > 1:
        return what, "write one row for each test case"
    if found := re.fullmatch(r"(?:TC)?[\s#:_-]*([0-9]{1,18})", text, re.IGNORECASE):
        return what, f"write TC{found.group(1)}"
    if re.fullmatch(r"[A-Z]{1,3}[0-9]+", text, re.IGNORECASE):
        return what, "a test case's FormattedID begins with TC"
    if text in {"–", "—", "−"}:  # noqa: RUF001 - what editors make of a hyphen
        return what, "write a plain - to ignore the test"
    return what, "write TC and digits, or - to ignore the test"
