"""Where log lines go and how they read: one sink on standard error that never shows a secret."""

from __future__ import annotations

import logging
import math
import os
import sys
import threading
from contextlib import suppress
from datetime import UTC
from json import dumps
from traceback import format_exception
from typing import TYPE_CHECKING, Protocol, TextIO

from loguru import logger

from reconciler.prints import capture_prints
from reconciler.redaction import Redaction, proxy_passwords

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from loguru import Message, Record

__all__ = ["capture_prints", "configure", "journal_mark"]

_LONGEST = 2_000
"""Characters of one field: names and paths come from pipelines, and anybody may have written those."""

_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"


def configure(level: str, *, json: bool, secrets: Iterable[str], stream: TextIO | None = None) -> None:
    """Send all log lines from `level` up to `stream` (standard error), and those of the libraries from WARNING up.

    With `json` each line is one object: time, level, message, the fields, and exception where there is one. In
    systemd's journal, lines have their priority before them, and text no time: the journal has its own.
    Passwords of proxies in the environment are secrets too. What ends the process or a thread unexpectedly is logged,
    so that its traceback is redacted. May be called again; the last call counts.
    """
    stream = sys.stderr if stream is None else stream
    stream = getattr(stream, "beneath", stream)  # a line about a print must not be captured as a print
    journal = is_journal(stream, os.environ)
    line: Line = JsonLine() if json else TextLine(dim=_is_terminal(stream), timed=not journal)
    line = JournalLine(line) if journal else line
    logger.remove()
    logger.add(
        _Sink(stream, line, Redaction([*secrets, *proxy_passwords(os.environ)])).write,
        level=level,
        format=lambda _: "",  # the sink lays the line out itself, so that nothing gets past redaction
        backtrace=False,
        diagnose=False,  # True would print the values of variables, tokens included, into tracebacks
        catch=False,  # True would print a record that could not be written, unredacted
    )
    _take_over_standard_logging()
    sys.excepthook = _log_crash
    threading.excepthook = _log_crash_of_thread
    sys.unraisablehook = _log_unraisable


def is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Tell whether the stream ends in systemd's journal, which writes a time before each line itself.

    Source: systemd.exec(5), `$JOURNAL_STREAM`: device and inode of the stream, for comparison with fstat.
    """
    with suppress(OSError, ValueError, AttributeError):
        status = os.fstat(stream.fileno())
        return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
    return False


def journal_mark(level: int, stream: TextIO) -> str:
    """Give what a line that is no log line, but of this level, begins with in the journal; "" elsewhere."""
    return f"<{priority(level)}>" if is_journal(stream, os.environ) else ""


def _is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and "NO_COLOR" not in os.environ


class Line(Protocol):
    """How a record reads."""

    def lay_out(self, record: Record, message: str, fields: Mapping[str, object], trace: str) -> str:
        """Give its line or lines, without a line end at the end."""


class _Sink:
    """Redacts each part of a record, then lays it out."""

    def __init__(self, stream: TextIO, line: Line, redact: Redaction) -> None:
        self._stream = stream
        self._line = line
        self._redact = redact

    def write(self, message: Message) -> None:
        record = message.record
        fields = {self._clean(name): self._field(value) for name, value in record["extra"].items()}
        text = self._line.lay_out(record, self._clean(record["message"]), fields, self._trace(record))
        with suppress(OSError, ValueError):  # a closed terminal or a full disk stops the log, not the work
            self._stream.write(text + "\n")
            self._stream.flush()

    def _clean(self, value: object) -> str:
        text = self._redact(str(value))
        return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."

    def _field(self, value: object) -> object:
        """Keep numbers and truth values as they are; everything else becomes a text."""
        if value is None or isinstance(value, bool):
            return value
        text = self._clean(value)
        is_number = type(value) is int or (type(value) is float and math.isfinite(value))
        return value if is_number and text == str(value) else text

    def _trace(self, record: Record) -> str:
        exception = record["exception"]
        if exception is None or exception.value is None:
            return ""
        lines = format_exception(exception.type, exception.value, exception.traceback)
        return self._redact("".join(lines)).rstrip("\n")


class TextLine:
    """A line for people: time, level, message, then the fields as name=value."""

    def __init__(self, *, dim: bool, timed: bool) -> None:
        """Choose whether fields are dimmed, and whether the line begins with the time."""
        self._dim = dim
        self._timed = timed

    def lay_out(self, record: Record, message: str, fields: Mapping[str, object], trace: str) -> str:
        """Give the line, and the trace below it, set in so that none of its lines can pass for one of ours."""
        head = f"{_time(record)} " if self._timed else ""
        text = f"{head}{record['level'].name:<7} {_printable(message)}"
        if fields:
            pairs = " ".join(f"{_printable(name)}={_value(value)}" for name, value in fields.items())
            text += f" {_DIM}{pairs}{_PLAIN}" if self._dim else f" {pairs}"
        return "\n".join([text, *(f"    {_printable(below)}" for below in trace.splitlines())])


class JsonLine:
    """A line for programs; everything outside of ASCII is escaped, so no field can steer a terminal."""

    def lay_out(self, record: Record, message: str, fields: Mapping[str, object], trace: str) -> str:
        """Give one JSON object; a field that is named like one of ours gets an underscore."""
        line: dict[str, object] = {"time": _time(record), "level": record["level"].name, "message": message}
        for name, value in fields.items():
            line[f"{name}_" if name in {"time", "level", "message", "exception"} else name] = value
        if trace:
            line["exception"] = trace
        return dumps(line)


class JournalLine:
    """Any other line, as the journal wants it: `journalctl -p err` finds what begins with `<3>` or less.

    Source: sd-daemon(3).
    """

    def __init__(self, line: Line) -> None:
        """Take how it reads otherwise."""
        self._line = line

    def lay_out(self, record: Record, message: str, fields: Mapping[str, object], trace: str) -> str:
        """Mark each line, for each is an entry of its own there."""
        mark = f"<{priority(record['level'].no)}>"
        return "\n".join(mark + part for part in self._line.lay_out(record, message, fields, trace).split("\n"))


def priority(level: int) -> int:
    """Tell syslog's priority of a level (by its number in logging and loguru): 2 is critical, 7 is debug."""
    return next((number for least, number in _PRIORITIES if level >= least), 7)


_PRIORITIES = ((50, 2), (40, 3), (30, 4), (25, 5), (20, 6))


def _time(record: Record) -> str:
    return record["time"].astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _value(value: object) -> str:
    """Write a field so that its end can be seen and its text cannot be taken for another field."""
    text = _printable(str(value))
    if text and not any(mark in text for mark in ' "=\\'):
        return text
    return '"' + text.replace('"', '\\"') + '"'


def _printable(text: str) -> str:
    """Escape what moves a cursor, changes a colour, ends a line or turns the direction of writing."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class _Intercept(logging.Handler):
    """Hands the records of the standard library's logging, and Python's warnings, to loguru."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except (TypeError, ValueError, KeyError):
            text = str(record.msg)  # the arguments do not fit the text
        known = record.levelname in {"WARNING", "ERROR", "CRITICAL"}
        level: str | int = record.levelname if known else record.levelno
        logger.opt(exception=record.exc_info).bind(logger=record.name).log(level, text)


def _take_over_standard_logging() -> None:
    root = logging.getLogger()
    if not any(isinstance(handler, _Intercept) for handler in root.handlers):
        root.addHandler(_Intercept(logging.WARNING))
    logging.captureWarnings(capture=True)


def _log_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        logger.opt(exception=(kind, error, trace)).critical("ended by an error that nobody expected")


def _log_unraisable(crash: sys.UnraisableHookArgs) -> None:
    """Log what was raised where nobody can catch it, as in a `__del__`."""
    if crash.exc_value is not None:
        error = (crash.exc_type, crash.exc_value, crash.exc_traceback)
        logger.opt(exception=error).error("an error that nobody could catch", said=crash.err_msg or "")


def _log_crash_of_thread(crash: threading.ExceptHookArgs) -> None:
    if crash.exc_value is not None and not isinstance(crash.exc_value, SystemExit):
        error = (crash.exc_type, crash.exc_value, crash.exc_traceback)
        name = crash.thread.name if crash.thread else ""
        logger.opt(exception=error).critical("a thread ended by an error that nobody expected", thread=name)
