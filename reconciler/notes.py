"""A result's Notes: what a person needs, as HTML that Rally takes, with the result's key as the last line."""

from __future__ import annotations

import html
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.model import Key, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LIMIT_BYTES = 30_000
"""What Notes may take in UTF-8, markup and escapes included.

Rally takes 32 kB after its own formatting, and "some formatting types extend each character to more than 1 byte"
(KB 57577), so room is left, and bytes are counted, not characters.
"""

_JOBS_BYTES = 6_000
_MESSAGES_BYTES = 12_000
_MORE_BYTES = 2_000  # the line "… and N more tests"
_LONGEST_URL = 1_500
_LONGEST_NAME = 200
_LONGEST_VERDICT = 40
_SHORT_SHA = 8
_MESSAGE_LINES = 5
_MESSAGE_CHARACTERS = 500
_LOOKED_AT = 20_000  # characters of a message: enough to find its first lines behind any colours
_VERDICTS_COUNTED = 6

_TERMINAL = re.compile(
    r"\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)?"  # titles and links
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # colours and movements
    r"|\x1b[ -/]*[0-~]"
    # The same after a reporter or our XML reader has made ESC, which XML forbids, into something else (pytest: #x1B).
    r"|(?:\ufffd|#x1B|&#27;|&#x1B;)\[[0-9;?]*[A-Za-z]",
    re.IGNORECASE,
)
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff"
    "\u2028\u2029"  # line ends to some
    "\u202a-\u202e\u2066-\u2069]"  # they turn the text that follows round
)
_URL = re.compile(r"https?://[^\s\x00-\x20\x7f-\x9f\ud800-\udfff]+", re.IGNORECASE)

_TAG = re.compile(r"</?+([a-zA-Z][a-zA-Z0-9]*+|!)[^<>]*+>")
_INLINE_TAGS = "a abbr b big code em font i label mark s small span strike strong sub sup tt u wbr"
_INLINE = frozenset(_INLINE_TAGS.split())
_UNSEEN = " \t\r\n\f\u00a0\u200b\u200c\u200d\u2060\ufeff"


@dataclass(frozen=True, slots=True)
class TestLine:
    """One test of a result, as Notes show it; every text is from outside and may hold anything."""

    verdict: str
    key: str
    job_name: str
    job_url: str
    duration_s: float
    message: str
    attempts: int
    flaky: bool


@dataclass(frozen=True, slots=True)
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
    """The tests are from GitLab's test report: without output, properties and files."""


def render(content: Content) -> str:
    """Write Notes of at most `LIMIT_BYTES` that end with a line break and `<div>KEY</div>`, whatever the input.

    Raises:
        ValueError: the key is none, so it could not be found again.
    """
    if Key.parse(content.key) is None:
        raise ValueError(f"not a key: {content.key[:100]!r}")
    above = [_links(content), *_messages(content.tests)]
    below = [*_remarks(content), f"<div>{html.escape(content.key)}</div>"]
    room = LIMIT_BYTES - sum(_size(part) + 1 for part in (*above, *below))
    return "\n".join([*above, *_tests(content.tests, room), *below])


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
    pipeline = _link(content.pipeline_url, f"Pipeline {content.pipeline_id}")
    jobs = list(dict.fromkeys((test.job_name, test.job_url) for test in content.tests))
    shown = _fitting((_link(url, _name(name)) for name, url in jobs), _JOBS_BYTES)
    if len(shown) < len(jobs):
        shown.append(f"{len(jobs) - len(shown)} more jobs")
    ran = f"{pipeline}: {', '.join(shown)}" if shown else pipeline
    commit = _link(content.commit_url, _line(content.sha[:_SHORT_SHA], _SHORT_SHA))
    return f"<div>{ran}</div>\n<div>{_name(content.ref)}, commit {commit}</div>"


def _messages(tests: Sequence[TestLine]) -> list[str]:
    bad = [test for test in tests if test.verdict != Verdict.PASS and test.message.strip()]
    shown = _fitting(map(_message, bad), _MESSAGES_BYTES)
    if len(shown) < len(bad):
        shown.append(f"<div>… and the messages of {_tests_more(len(bad) - len(shown))}</div>")
    return shown


def _message(test: TestLine) -> str:
    first_lines = html.escape(_first_lines(test.message))
    return f"<div><b>{_verdict_name(test.verdict)}</b> {_name(test.key)}</div>\n<pre>{first_lines}</pre>"


def _first_lines(message: str) -> str:
    lines = [line.rstrip() for line in _clean(message[:_LOOKED_AT]).split("\n") if line.strip()]
    text = "\n".join(lines[:_MESSAGE_LINES])
    if len(text) > _MESSAGE_CHARACTERS:
        return text[:_MESSAGE_CHARACTERS] + "…"
    return f"{text}\n…" if len(lines) > _MESSAGE_LINES or len(message) > _LOOKED_AT else text


_HEAD = "<table><thead><tr><th>Verdict</th><th>Test</th><th>Job</th><th>Seconds</th></tr></thead><tbody>"
_FOOT = "</tbody></table>"


def _tests(tests: Sequence[TestLine], room: int) -> list[str]:
    """Show one test as a line, several as a table with as many rows as there is room for."""
    if len(tests) <= 1:
        return [f"<div>{_verdict(test)}: {_name(test.key)}</div>" for test in tests]
    rows = _fitting(map(_row, tests), room - len(_HEAD) - len(_FOOT) - _MORE_BYTES)
    table = "\n".join([_HEAD, *rows, _FOOT])
    return [table, _more(tests[len(rows) :])] if len(rows) < len(tests) else [table]


def _row(test: TestLine) -> str:
    cells = (_verdict(test), _name(test.key), _name(test.job_name), _seconds(test.duration_s))
    return f"<tr><td>{'</td><td>'.join(cells)}</td></tr>"


def _verdict(test: TestLine) -> str:
    verdict = _verdict_name(test.verdict)
    return f"{verdict} after {test.attempts} attempts" if test.attempts > 1 else verdict


def _more(tests: Sequence[TestLine]) -> str:
    """Count what the table has no room for; where all are alike, say so at once."""
    what = f"… and {_tests_more(len(tests))}"
    counts = list(Counter(test.verdict for test in tests).items())  # in the order of the table: worst first
    if len(counts) == 1:
        return f"<div>{what}, all {_verdict_name(counts[0][0])}</div>"
    told = [f"{number} {_verdict_name(verdict)}" for verdict, number in counts[:_VERDICTS_COUNTED]]
    if others := sum(number for _, number in counts[_VERDICTS_COUNTED:]):
        told.append(f"{others} others")
    return f"<div>{what}: {', '.join(told)}</div>"


def _tests_more(number: int) -> str:
    return "1 more test" if number == 1 else f"{number} more tests"


def _remarks(content: Content) -> list[str]:
    remarks = []
    flaky = sum(test.flaky for test in content.tests)
    if flaky:
        what = "1 test" if flaky == 1 else f"{flaky} tests"
        remarks.append(f"{what} failed first and passed only on a rerun.")
    if content.lossy:
        remarks.append(
            "This is from GitLab's own test report, because the JUnit files could not be had: without the tests' "
            "output, properties and files."
        )
    remarks.append(f"Duration is in seconds: {_seconds(sum(test.duration_s for test in content.tests))}")
    return [f"<div>{html.escape(remark)}</div>" for remark in remarks]


# --- text from outside -----------------------------------------------------------------------------------------------


def _clean(text: str) -> str:
    """Take out terminal sequences; every other character that cannot be shown becomes U+FFFD."""
    if text.isascii() and text.isprintable():
        return text if "#" not in text else _TERMINAL.sub("", text)
    text = _TERMINAL.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROLS.sub("\ufffd", text)


def _line(text: str, longest: int) -> str:
    """Show text on one line; when it is too long, its beginning and its end."""
    line = _clean(text[-_LOOKED_AT:]).replace("\n", " ")
    if len(line) > longest:
        half = longest // 2
        line = f"{line[:half]}…{line[-half:]}"
    return html.escape(line)


def _name(name: str) -> str:
    return _line(name, _LONGEST_NAME)


def _verdict_name(verdict: str) -> str:
    return _line(verdict, _LONGEST_VERDICT)


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


def _fitting(parts: Iterable[str], room: int) -> list[str]:
    """Take parts from the beginning as long as they fit with a separator each."""
    shown: list[str] = []
    for part in parts:
        room -= _size(part) + 2
        if room < 0:
            break
        shown.append(part)
    return shown
