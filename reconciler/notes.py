"""A result's Notes: what a person needs, as HTML that Rally takes, with the result's key as the last line."""

from __future__ import annotations

import html
import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING

from reconciler import terminal
from reconciler.model import Key, Verdict
from reconciler.record import record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

LIMIT_BYTES = 30_000
"""What Notes may take in UTF-8, markup and escapes included.

Rally takes 32 kB after its own formatting, and "some formatting types extend each character to more than 1 byte"
(KB 57577), so room is left, and bytes are counted, not characters.
"""

_JOBS_BYTES = 6_000
_MESSAGES_BYTES = 12_000
_TESTS_BYTES = 3_000  # what messages leave to the table of tests at least
_MORE_BYTES = 2_000  # the line "… and N more tests"
_FILES_BYTES = 8_000
_MISSING_BYTES = 3_000
_TROUBLES_BYTES = 2_000
_METRICS_BYTES = 2_000
_FRAME_BYTES = 200  # of these: a list's title and tags, and the line "… and N more"
_LONGEST_URL = 1_500
_LONGEST_NAME = 200
_LONGEST_VERDICT = 40
_LONGEST_TROUBLE = 300
_LONGEST_VALUE = 60
_SHORT_SHA = 8
_MESSAGE_LINES = 5
_MESSAGE_CHARACTERS = 500
_LOOKED_AT = 20_000  # characters of a message: enough to find its first lines behind any colours
_VERDICTS_COUNTED = 6
_REMEMBERED = 1_000  # links and names: the results of a pipeline have most of them in common

_FLAKY, _DURATION_S = attrgetter("flaky"), attrgetter("duration_s")

_URL = re.compile(r"https?://[^\s\x00-\x20\x7f-\x9f\ud800-\udfff]+", re.IGNORECASE)

_TAG = re.compile(r"</?+([a-zA-Z][a-zA-Z0-9]*+|!)[^<>]*+>")
_INLINE_TAGS = "a abbr b big code em font i label mark s small span strike strong sub sup tt u wbr"
_INLINE = frozenset(_INLINE_TAGS.split())
_UNSEEN = " \t\r\n\f\u00a0\u200b\u200c\u200d\u2060\ufeff"


@record
class TestLine:
    """One test of a result, as Notes tell it; every text is from outside and may hold anything."""

    verdict: str
    key: str
    job_name: str
    job_url: str
    duration_s: float
    message: str
    attempts: int
    flaky: bool


@dataclass(frozen=True, slots=True)
class FileLine:
    """A file that belongs to a result, as Notes show it; every text is from outside and may hold anything."""

    name: str
    url: str
    """Where it is in GitLab; "": there is nothing to link to."""
    size_bytes: int | None
    """None: not known."""
    reason: str = ""
    """Why it is only a link; "": it will be attached."""
    note: str = ""
    """What is odd about it."""
    expires_at: datetime | None = None
    """When GitLab removes it; None: never, or not told."""


@dataclass(frozen=True, slots=True)
class MissingLine:
    """A file that a test named and that is not there."""

    name: str
    reason: str


@record
class Content:
    """What one result's Notes tell; `tests` are the contributing ones, worst first."""

    key: str
    """The text of the result's Key."""
    pipeline_url: str
    pipeline_id: int
    ref: str
    sha: str
    commit_url: str
    tests: Sequence[TestLine]
    lossy: bool = False
    """The tests are from GitLab's test report: without properties and files, and with the output that it kept."""
    files: Sequence[FileLine] = ()
    """Those that matter most first: where there is no room, the last are only counted."""
    missing: Sequence[MissingLine] = ()
    troubles: Sequence[str] = ()
    """What stood in the way of files, a line each."""
    metrics: Sequence[tuple[str, str, str]] = ()
    """Performance metrics that are plain values: test key ("": of no single test), name, value."""


def render(content: Content) -> str:
    """Write Notes of at most `LIMIT_BYTES` that end with a line break and `<div>KEY</div>`, whatever the input.

    Raises:
        ValueError: the key is none, so it could not be found again.
    """
    if not Key.is_written(content.key):
        raise ValueError(f"not a key: {content.key[:100]!r}")
    links, tests = _links(content), content.tests
    below = [*_evidence(content), *_remarks(content), f"<div>{content.key}</div>"]
    if len(tests) == 1 and not tests[0].message:  # most results: what each part may take leaves room for this line
        return "\n".join([links, _test(tests[0]), *below])
    room = LIMIT_BYTES - _lines_size([links, *below])
    messages = _messages(tests, min(_MESSAGES_BYTES, room - _TESTS_BYTES))
    room -= _lines_size(messages)
    return "\n".join([links, *messages, *_tests(tests, room), *below])


def read_key(notes: str) -> Key | None:
    """Find the key on the last line of Notes that shows anything, however Rally has rewritten the markup.

    Lines above it are not looked at: test messages stand there, and whoever writes a test may write a key.
    """
    seen = _TAG.sub(lambda tag: "" if tag.group(1).lower() in _INLINE else "\n", notes)
    for line in reversed(seen.split("\n")):
        if text := html.unescape(line).strip(_UNSEEN):
            return Key.parse(text)
    return None


# --- the parts, from top to bottom -----------------------------------------------------------------------------------


def _links(content: Content) -> str:
    pipeline = _pipeline(content.pipeline_url, content.pipeline_id)
    ran = f"{pipeline}: {jobs}" if (jobs := _jobs(content.tests)) else pipeline
    return f"<div>{ran}</div>\n{_commit(content.ref, content.sha, content.commit_url)}"


@lru_cache(maxsize=_REMEMBERED)
def _pipeline(url: str, pipeline_id: int) -> str:
    return _link(url, f"Pipeline {pipeline_id}")


@lru_cache(maxsize=_REMEMBERED)
def _commit(ref: str, sha: str, url: str) -> str:
    return f"<div>{_name(ref)}, commit {_link(url, _line(sha[:_SHORT_SHA], _SHORT_SHA))}</div>"


@lru_cache(maxsize=_REMEMBERED)
def _job(name: str, url: str) -> str:
    return _link(url, _name(name))


def _jobs(tests: Sequence[TestLine]) -> str:
    if len(tests) == 1:
        return _job(tests[0].job_name, tests[0].job_url)  # always has room
    jobs = list(dict.fromkeys([(test.job_name, test.job_url) for test in tests]))
    shown = _fitting((_job(name, url) for name, url in jobs), _JOBS_BYTES)
    if len(shown) < len(jobs):
        shown.append(_more_of(len(jobs) - len(shown), "job"))
    return ", ".join(shown)


def _messages(tests: Sequence[TestLine], room: int) -> list[str]:
    bad = [test for test in tests if test.verdict != Verdict.PASS and test.message.strip()]
    shown = _fitting(map(_message, bad), room - _FRAME_BYTES)
    if len(shown) < len(bad):
        shown.append(f"<div>… and the messages of {_more_of(len(bad) - len(shown), 'test')}</div>")
    return shown


def _message(test: TestLine) -> str:
    first_lines = html.escape(_first_lines(test.message))
    return f"<div><b>{_verdict_name(test.verdict)}</b> {_name(test.key)}</div>\n<pre>{first_lines}</pre>"


def _first_lines(message: str) -> str:
    lines = [line.rstrip() for line in terminal.strip(message[:_LOOKED_AT]).split("\n") if line.strip()]
    text = "\n".join(lines[:_MESSAGE_LINES])
    if len(text) > _MESSAGE_CHARACTERS:
        return text[:_MESSAGE_CHARACTERS] + "…"
    return f"{text}\n…" if len(lines) > _MESSAGE_LINES or len(message) > _LOOKED_AT else text


_HEAD = "<table><thead><tr><th>Verdict</th><th>Test</th><th>Job</th><th>Seconds</th></tr></thead><tbody>"
_FOOT = "</tbody></table>"


def _tests(tests: Sequence[TestLine], room: int) -> list[str]:
    """Show one test as a line, several as a table with as many rows as there is room for."""
    if len(tests) <= 1:
        return list(map(_test, tests))
    rows = _fitting(map(_row, tests), room - len(_HEAD) - len(_FOOT) - _MORE_BYTES)
    table = "\n".join([_HEAD, *rows, _FOOT])
    return [table, _more(tests[len(rows) :])] if len(rows) < len(tests) else [table]


def _test(test: TestLine) -> str:
    return f"<div>{_verdict(test)}: {_name(test.key)}</div>"


def _row(test: TestLine) -> str:
    cells = (_verdict(test), _name(test.key), _name(test.job_name), _seconds(test.duration_s))
    return f"<tr><td>{'</td><td>'.join(cells)}</td></tr>"


def _verdict(test: TestLine) -> str:
    verdict = _verdict_name(test.verdict)
    return f"{verdict} after {test.attempts} attempts" if test.attempts > 1 else verdict


def _more(tests: Sequence[TestLine]) -> str:
    """Count what the table has no room for; where all are alike, say so at once."""
    what = f"… and {_more_of(len(tests), 'test')}"
    counts = list(Counter(test.verdict for test in tests).items())  # in the order of the table: worst first
    if len(counts) == 1:
        return f"<div>{what}, all {_verdict_name(counts[0][0])}</div>"
    told = [f"{number} {_verdict_name(verdict)}" for verdict, number in counts[:_VERDICTS_COUNTED]]
    if others := sum(number for _, number in counts[_VERDICTS_COUNTED:]):
        told.append(f"{others} others")
    return f"<div>{what}: {', '.join(told)}</div>"


def _evidence(content: Content) -> list[str]:
    """Tell of files; they are uploaded after Notes are written, so nothing here says that they were."""
    if not (content.files or content.missing or content.troubles or content.metrics):
        return []  # most results: of tests that passed
    metrics = map(_metric, content.metrics)
    missing = (f"<div>Missing: {_file_name(line.name)}: {_name(line.reason)}</div>" for line in content.missing)
    troubles = (f"<div>{_line(trouble, _LONGEST_TROUBLE)}</div>" for trouble in content.troubles)
    return [
        *_files(content.files),
        *_counted(missing, len(content.missing), _MISSING_BYTES, "<div>… and {}</div>", "missing file"),
        *_counted(troubles, len(content.troubles), _TROUBLES_BYTES, "<div>… and {}</div>", "problem"),
        *_list("Performance metrics:", metrics, len(content.metrics), _METRICS_BYTES, "metric"),
    ]


def _files(files: Sequence[FileLine]) -> list[str]:
    """List files; a day that all links share is told once, above them."""
    days = {_day(file) for file in files if file.url or file.expires_at}
    shared = days.pop() if len(days) == 1 else ""
    title = f"Files (links to GitLab until {shared}):" if shared else "Files:"
    return _list(title, (_file(file, with_day=not shared) for file in files), len(files), _FILES_BYTES, "file")


def _file(file: FileLine, *, with_day: bool) -> str:
    name = _file_name(file.name)
    link = _link(file.url, name)
    told = [link]
    if file.size_bytes is not None:
        told.append(_people_size(file.size_bytes))
    if with_day and file.expires_at is not None:
        told.append(f"in GitLab until {_day(file)}")
    if file.reason:
        what = "not attached" if link == name else "a link only"
        told.append(f"{what}{_why(file.reason)}")
    text = ", ".join(told)
    return f"{text}; {_name(file.note)}" if file.note else text


def _why(reason: str) -> str:
    return ", as configured (link_only)" if reason == "link_only" else f": {_name(reason)}"


def _day(file: FileLine) -> str:
    return file.expires_at.astimezone(UTC).date().isoformat() if file.expires_at else ""


def _file_name(name: str) -> str:
    shown = _name(name)
    return shown if shown.strip(_UNSEEN) else "(no name)"  # a link must have something to click on


def _people_size(size_bytes: int) -> str:
    if size_bytes < 1_000:
        return f"{size_bytes} B"
    for unit, unit_bytes in (("kB", 1e3), ("MB", 1e6)):
        if round(size_bytes / unit_bytes, 1) < 1_000:
            return f"{size_bytes / unit_bytes:.1f} {unit}"
    return f"{size_bytes / 1e9:.1f} GB"


def _metric(metric: tuple[str, str, str]) -> str:
    key, name, value = metric
    told = f"{_name(name)} = {_line(value, _LONGEST_VALUE)}"
    return f"{_name(key)}: {told}" if key else told


def _list(title: str, items: Iterable[str], total: int, room: int, thing: str) -> list[str]:
    """Show items in a list of at most `room` bytes; nothing when there is none."""
    if not total:
        return []
    lines = _counted((f"<li>{item}</li>" for item in items), total, room, "<li>… and {}</li>", thing)
    return [f"<div>{title}</div>", "<ul>", *lines, "</ul>"]


def _counted(lines: Iterable[str], total: int, room: int, more: str, thing: str) -> list[str]:
    """Show as many of `total` lines as fit, and count the rest."""
    shown = _fitting(lines, room - _FRAME_BYTES)
    if len(shown) < total:
        shown.append(more.format(_more_of(total - len(shown), thing)))
    return shown


def _more_of(number: int, thing: str) -> str:
    return f"1 more {thing}" if number == 1 else f"{number} more {thing}s"


def _remarks(content: Content) -> list[str]:
    remarks, tests = [], content.tests
    if flaky := sum(map(_FLAKY, tests)):
        what = "1 test" if flaky == 1 else f"{flaky} tests"
        remarks.append(f"{what} failed first and passed only on a rerun.")
    if content.lossy:
        remarks.append(
            "This is from GitLab's own test report, because the JUnit files could not be had: without the tests' "
            "properties and files; their output is there as far as GitLab kept it."
        )
    remarks.append(f"Duration is in seconds: {_seconds(sum(map(_DURATION_S, tests)))}")
    return [f"<div>{remark}</div>" for remark in remarks]


# --- text from outside -----------------------------------------------------------------------------------------------


@lru_cache(maxsize=_REMEMBERED)
def _line(text: str, longest: int) -> str:
    """Show text on one line; when it is too long, its beginning and its end."""
    line = terminal.strip(text[-_LOOKED_AT:]).replace("\n", " ")
    if len(line) > longest:
        half = longest // 2
        line = f"{line[:half]}…{line[-half:]}"
    return html.escape(line)


def _name(name: str) -> str:
    return _line(name, _LONGEST_NAME)


def _verdict_name(verdict: str) -> str:
    return _line(verdict, _LONGEST_VERDICT)


@lru_cache(maxsize=_REMEMBERED)
def _link(url: str, shown: str) -> str:
    """Make a link of an address of the web; of anything else only what is shown, which is HTML already."""
    href = html.escape(url)
    if len(href) > _LONGEST_URL or not href.isascii() or not _URL.fullmatch(url):
        return shown
    return f'<a href="{href}">{shown}</a>'


def _seconds(duration_s: float) -> str:
    return f"{duration_s:.3f}" if duration_s < 1e9 else f"{duration_s:.3g}"


# --- room ------------------------------------------------------------------------------------------------------------


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _lines_size(lines: Sequence[str]) -> int:
    return len(lines) + _size("".join(lines))


def _fitting(parts: Iterable[str], room: int) -> list[str]:
    """Take parts from the beginning as long as they fit with a separator each."""
    shown: list[str] = []
    for part in parts:
        room -= _size(part) + 2
        if room < 0:
            break
        shown.append(part)
    return shown
