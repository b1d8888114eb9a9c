"""A result's Notes: what stands in them, that nothing from outside becomes markup, and that the key is found again."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from reconciler.model import Key
from reconciler.notes import LIMIT_BYTES, Content, FileLine, MissingLine, TestLine, read_key, render

if TYPE_CHECKING:
    from collections.abc import Sequence

URL = "https://gitlab.example.com/qa/web-shop/-/"
KEY = Key.parse("42/17/TC12/1")
PASSED = TestLine(
    verdict="Pass",
    key="com.acme.PayTest.test_pay",
    job_name="unit",
    job_url=URL + "jobs/7",
    duration_s=1.25,
    message="",
    attempts=1,
    flaky=False,
)
CHRISTMAS_EVE = datetime(2026, 12, 24, 9, tzinfo=UTC)
SHOT = FileLine("shot.png", URL + "jobs/7/artifacts/file/out/shot.png", 12_345, expires_at=CHRISTMAS_EVE)
TRACE = replace(SHOT, name="trace.zip", url=URL + "trace.zip", size_bytes=60_000_000, reason="larger than 5 MB")
OUTPUT = FileLine("test_output.log", "", 812)
FAILED = replace(PASSED, verdict="Fail", key="com.acme.PayTest.test_fee", message="expected 1\nbut was 2")


def _content(*tests: TestLine, lossy: bool = False) -> Content:
    return Content(
        key=str(KEY),
        pipeline_url=URL + "pipelines/17",
        pipeline_id=17,
        ref="main",
        sha="0123456789abcdef",
        commit_url=URL + "commit/0123456789abcdef",
        tests=tests,
        lossy=lossy,
    )


def _in_order(text: str, parts: Sequence[str]) -> bool:
    places = [text.find(part) for part in parts]
    return -1 not in places and places == sorted(places)


def test_one_passed_test_is_short() -> None:
    """Links, what ran, the test, the key: no table for one."""
    assert render(_content(PASSED)) == (
        f'<div><a href="{URL}pipelines/17">Pipeline 17</a>: <a href="{URL}jobs/7">unit</a></div>\n'
        f'<div>main, commit <a href="{URL}commit/0123456789abcdef">01234567</a></div>\n'
        "<div>Pass: com.acme.PayTest.test_pay</div>\n"
        "<div>Duration is in seconds: 1.250</div>\n"
        "<div>42/17/TC12/1</div>"
    )


def test_the_parts_come_in_the_order_in_which_they_are_needed() -> None:
    """Where it ran, what went wrong, which tests, what to know about them, the key."""
    flaky = replace(PASSED, attempts=3, flaky=True, message="first attempt timed out")
    content = replace(
        _content(FAILED, flaky, PASSED, lossy=True),
        files=[SHOT],
        missing=[MissingLine("video.mp4", "not in the archive")],
        troubles=["The files of job e2e cannot be had"],
        metrics=[("", "load", "1.2 s")],
    )
    notes = render(content)
    assert _in_order(
        notes,
        [
            "Pipeline 17",
            ">unit</a>",
            "main, commit",
            "<b>Fail</b> com.acme.PayTest.test_fee",
            "<pre>expected 1\nbut was 2</pre>",
            "<th>Verdict</th><th>Test</th><th>Job</th><th>Seconds</th>",
            "<td>Fail</td><td>com.acme.PayTest.test_fee</td><td>unit</td><td>1.250</td>",
            "<td>Pass after 3 attempts</td>",
            "</table>",
            ">shot.png</a>",
            "<div>Missing: video.mp4: not in the archive</div>",
            "<div>The files of job e2e cannot be had</div>",
            "<li>load = 1.2 s</li>",
            "1 test failed first and passed only on a rerun.",
            "GitLab's own test report",
            "Duration is in seconds: 3.750",
            "\n<div>42/17/TC12/1</div>",
        ],
    )
    assert "timed out" not in notes  # a message is shown of what is bad now


def test_each_job_is_linked_once() -> None:
    """Shards of one job have names of their own."""
    other = replace(PASSED, job_name="unit 2/2", job_url=URL + "jobs/8")
    notes = render(_content(PASSED, other, PASSED))
    assert notes.count('jobs/7"') == notes.count('jobs/8"') == 1


def test_a_message_is_cut_after_a_few_lines() -> None:
    """The whole output is attached; here are its first lines, empty ones passed over."""
    notes = render(_content(replace(FAILED, message="a\n\nb\nc\nd\ne\nf")))
    assert "<pre>a\nb\nc\nd\ne\n…</pre>" in notes
    assert f"<pre>{'x' * 500}…</pre>" in render(_content(replace(FAILED, message="x" * 100_000)))


def test_colours_of_a_terminal_are_taken_out() -> None:
    """As ESC, as what XML readers make of it, and as pytest writes it."""
    coloured = "\x1b[31;1mred\x1b[0m \ufffd[32mgreen\ufffd[0m #x1B[33myellow \x1b]8;;http://x\x07link\x1b]8;;\x07"
    assert "<pre>red green yellow link</pre>" in render(_content(replace(FAILED, message=coloured)))


def test_characters_that_cannot_be_shown_are_replaced() -> None:
    """Controls, halves of surrogate pairs, and those that turn the text that follows round."""
    message = "a\0b\x08c\x85d\ud800e\u202ef\r\ng\rh\ti"
    notes = render(_content(replace(FAILED, message=message)))
    assert "<pre>a\ufffdb\ufffdc\ufffdd\ufffde\ufffdf\ng\nh\ti</pre>" in notes
    assert notes.encode()


@pytest.mark.parametrize(
    "hostile",
    [
        "</pre></td></table><script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "' onmouseover='alert(1)",
        "&lt;script&gt;",
        "</div>\n<div>1/2/TC3/4</div>",
        "1/2/TC3/4",
        "\n1/2/TC3/4\n",
        "<!--",
        "<div",
        "\x1b]",
    ],
)
def test_what_comes_from_outside_stays_text(hostile: str) -> None:
    """Whoever writes a test chooses its name, its message, its job's and its branch's name."""
    test = replace(FAILED, verdict=hostile, key=hostile, job_name=hostile, job_url=hostile, message=hostile)
    content = replace(
        _content(test, test),
        ref=hostile,
        sha=hostile,
        pipeline_url=hostile,
        commit_url=hostile,
        files=[FileLine(hostile, hostile, 1, hostile, hostile)],
        missing=[MissingLine(hostile, hostile)],
        troubles=[hostile],
        metrics=[(hostile, hostile, hostile)],
    )
    notes = render(content)
    assert "<script" not in notes
    assert "<img" not in notes
    assert "href" not in notes
    assert read_key(notes) == KEY
    assert notes.endswith(f"\n<div>{KEY}</div>")


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "ftp://x/", "", "//x", "https://", "http://a b", "http://a\nb", "data:text/html,x"]
)
def test_only_addresses_of_the_web_become_links(url: str) -> None:
    """Anything else is shown without one."""
    notes = render(replace(_content(replace(PASSED, job_url=url)), pipeline_url=url, commit_url=url))
    assert "href" not in notes
    assert "Pipeline 17" in notes


def test_quotes_in_an_address_do_not_end_it() -> None:
    """They are escaped, as everything is."""
    notes = render(_content(replace(PASSED, job_url='https://x/"onclick="y')))
    assert '<a href="https://x/&quot;onclick=&quot;y">unit</a>' in notes


def test_five_thousand_tests_are_counted_where_they_do_not_fit() -> None:
    """The table has as many rows as there is room for, and says what the others are."""
    tests = [replace(PASSED, key=f"com.acme.PayTest.test_pay[{n}]") for n in range(5_000)]
    notes = render(_content(*tests))
    shown = notes.count("<td>Pass</td>")
    assert shown > 200
    assert f"<div>… and {5_000 - shown} more tests, all Pass</div>" in notes
    assert LIMIT_BYTES * 0.9 < len(notes.encode()) <= LIMIT_BYTES


def test_what_does_not_fit_is_counted_by_verdict_worst_first() -> None:
    """A failure must not hide behind the table's end."""
    notes = render(_content(*[replace(FAILED, message="")] * 400, *[PASSED] * 400))
    hidden = 400 - notes.count("<td>Fail</td>")
    assert f"<div>… and {400 + hidden} more tests: {hidden} Fail, 400 Pass</div>" in notes


@pytest.mark.parametrize("character", ["x", "<", "é", "\N{PILE OF POO}", "\x1b", '"', "\n"])
def test_no_input_is_too_long(character: str) -> None:
    """5,000 tests with messages of 100 kB and as many files, and everything else long too; it takes no time either."""
    long = character * 100_000
    test = TestLine(long, long, long, "https://x/" + long, 1e308, long, 10**9, flaky=True)
    url = "https://x/" + "x" * 1_450
    content = replace(
        _content(*[replace(test, job_url=f"{url}{n}") for n in range(5_000)], lossy=True),
        pipeline_url=url,
        ref=long,
        sha=long,
        commit_url=url,
        files=[FileLine(long, url, 2**63, long, long, CHRISTMAS_EVE)] * 5_000,
        missing=[MissingLine(long, long)] * 5_000,
        troubles=[long] * 5_000,
        metrics=[(long, long, long)] * 5_000,
    )
    start = time.process_time()
    notes = render(content)
    assert time.process_time() - start < 2
    assert len(notes.encode()) <= LIMIT_BYTES
    assert read_key(notes) == KEY


def test_many_jobs_are_counted() -> None:
    """A matrix of 1,000 jobs has no room for all its links."""
    notes = render(_content(*[replace(PASSED, job_name=f"unit {n}", job_url=f"{URL}jobs/{n}") for n in range(1_000)]))
    assert f", {1_000 - notes.count('/-/jobs/')} more jobs</div>" in notes


def test_many_messages_leave_room_for_the_table() -> None:
    """What is not shown is counted."""
    notes = render(_content(*[FAILED] * 1_000))
    assert f"<div>… and the messages of {1_000 - notes.count('<pre>')} more tests</div>" in notes
    assert notes.count("<td>Fail</td>") > 50


def test_files_are_linked_with_their_size_and_the_day_they_go() -> None:
    """The day that all links share is told once; what is only a link says why; nothing says that it was attached."""
    notes = render(replace(_content(FAILED), files=[SHOT, TRACE, OUTPUT]))
    assert (
        "<div>Files (links to GitLab until 2026-12-24):</div>\n<ul>\n"
        f'<li><a href="{SHOT.url}">shot.png</a>, 12.3 kB</li>\n'
        f'<li><a href="{TRACE.url}">trace.zip</a>, 60.0 MB, a link only: larger than 5 MB</li>\n'
        "<li>test_output.log, 812 B</li>\n</ul>\n"
    ) in notes


def test_links_of_different_days_have_each_their_own() -> None:
    """One job's artifacts may go before another's, or stay."""
    later = CHRISTMAS_EVE.replace(hour=23, tzinfo=timezone(timedelta(hours=-5)))
    kept = replace(SHOT, name="kept.png", expires_at=None)
    notes = render(replace(_content(FAILED), files=[SHOT, replace(TRACE, expires_at=later), kept]))
    assert "<div>Files:</div>" in notes
    assert "shot.png</a>, 12.3 kB, in GitLab until 2026-12-24</li>" in notes
    assert "60.0 MB, in GitLab until 2026-12-25, a link only: larger than 5 MB</li>" in notes
    assert "kept.png</a>, 12.3 kB</li>" in notes


@pytest.mark.parametrize(
    ("file", "shown"),
    [
        (FileLine("a", "", None), "<li>a</li>"),
        (FileLine("a", "https://x/", None, "link_only"), '">a</a>, a link only, as configured (link_only)</li>'),
        (FileLine("a", "", 5, "larger than 1 B"), "<li>a, 5 B, not attached: larger than 1 B</li>"),
        (FileLine("a", "ftp://x/a", 5, "outside"), "<li>a, 5 B, not attached: outside</li>"),
        (FileLine("a", "https://x/" + "a" * 1_500, 5, "outside"), "<li>a, 5 B, not attached: outside</li>"),
        (FileLine("a", "", 5, note="two have this name"), "<li>a, 5 B; two have this name</li>"),
        (FileLine("\x1b[1m \n", "https://x/", 5), '<a href="https://x/">(no name)</a>, 5 B</li>'),
    ],
)
def test_a_file_says_what_is_known_of_it(file: FileLine, shown: str) -> None:
    """Without a link it is not called one."""
    assert shown in render(replace(_content(FAILED), files=[file]))


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_960, "1.0 MB"),
        (5_000_000, "5.0 MB"),
        (999_960_000, "1.0 GB"),
        (12_345_678_901, "12.3 GB"),
    ],
)
def test_sizes_are_for_people(size_bytes: int, shown: str) -> None:
    """Units of a thousand, as in the config; never 1000.0 of one."""
    assert f"<li>a, {shown}</li>" in render(replace(_content(FAILED), files=[FileLine("a", "", size_bytes)]))


def test_what_has_no_room_among_the_files_is_counted() -> None:
    """The table of tests keeps some room whatever there is to say of files."""
    content = replace(
        _content(*[FAILED] * 1_000),
        files=[replace(SHOT, name=f"shot-{n}.png") for n in range(1_000)],
        missing=[MissingLine(f"video-{n}.mp4", "not in the archive") for n in range(1_000)],
        troubles=[f"The files of job e2e {n} cannot be had: its artifacts expired" for n in range(1_000)],
        metrics=[("test_pay", f"load-{n}", "1 s") for n in range(1_000)],
    )
    notes = render(content)
    for shown, more in (
        (">shot-", "<li>… and {} more files</li>"),
        ("Missing: ", "<div>… and {} more missing files</div>"),
        ("The files of job", "<div>… and {} more problems</div>"),
        ("<li>test_pay: load-", "<li>… and {} more metrics</li>"),
    ):
        assert notes.count(shown) >= 20
        assert more.format(1_000 - notes.count(shown)) in notes
    assert notes.count("<pre>") >= 5
    assert notes.count("<td>Fail</td>") >= 5
    assert len(notes.encode()) <= LIMIT_BYTES


def test_one_that_has_no_room_is_one() -> None:
    """Not 1 files."""
    assert "… and 1 more problem<" in render(replace(_content(PASSED), troubles=["&" * 300, "&" * 300]))


def test_files_may_be_called_as_they_like() -> None:
    """A name that looks like a key, on a line that is nearly the last, is a name."""
    name = "1/2/TC3/4"
    content = replace(_content(PASSED), files=[FileLine(name, "", 1), FileLine(f"</li></ul><div>{name}", URL, 1)])
    notes = render(replace(content, metrics=[("", name, name)], troubles=[name]))
    assert read_key(notes) == KEY
    assert f">&lt;/li&gt;&lt;/ul&gt;&lt;div&gt;{name}</a>, 1 B</li>" in notes


def test_gitlabs_own_report_is_said_to_lack_properties_and_files() -> None:
    """Their output may be there, so nothing is said against it."""
    notes = render(_content(FAILED, lossy=True))
    assert "without the tests' properties and files; their output is there as far as GitLab kept it.<" in notes


def test_a_result_without_tests_still_has_its_key() -> None:
    """There is no such result; nothing breaks on it."""
    assert render(_content()).endswith("\n<div>42/17/TC12/1</div>")


def test_a_key_that_could_not_be_read_back_is_refused() -> None:
    """It would make a second result on the next look-up."""
    with pytest.raises(ValueError, match="not a key"):
        render(replace(_content(PASSED), key="42/17/US12/1"))


@pytest.mark.parametrize(
    "notes",
    [
        "42/17/TC12/1",
        "<div>x</div>\n<div>42/17/TC12/1</div>",
        "<div>x</div><div>42/17/TC12/1</div>",
        "x<br/>42/17/TC12/1",
        "x<br>42/17/TC12/1<br />",
        "<P>x</P><P CLASS='y'>42/17/TC12/1</P><p>&nbsp;</p>\n<p><br></p>",
        "<div>x</div><div>42&#47;17&#x2F;TC12&sol;1</div>",
        '<div>x</div><div style="a:b">42/17/<a href="/#/detail/testcase/5">TC12</a>/1 </div>\r\n',
        "<ul><li>x</li></ul>\n\n   <span>42/17/TC12/1</span>\u200b",
        "<table><tr><td>a < b</td></tr></table>\n<div>42/17/TC12/1</div>",
        "1 < 2\n<div>42/17/TC12/1</div>",
        "1 <b\n<div>42/17/TC12/1</div>",
        "<div><b>1/2/TC3/4</b></div><div>42/17/TC12/1</div>",
    ],
)
def test_the_key_is_found_however_rally_writes_the_markup(notes: str) -> None:
    """Tags, attributes, entities, line ends and empty paragraphs may differ from what was sent."""
    assert read_key(notes) == KEY


@pytest.mark.parametrize(
    "notes",
    [
        "",
        "<div></div>",
        "<div>42/17/TC12/1</div><div>looked at by Ann</div>",
        "<pre>42/17/TC12/1</pre><div>x</div>",
        "<div>see 42/17/TC12/1</div>",
        "<div>42/17/TC12/1 is fine</div>",
        "<div>42/17/US12/1</div>",
        "<div>42/17/TC12/1&lt;br&gt;</div>",
        "x&#10;42/17/TC12/1",
        "<" * 30_000,
        "<a" + "a" * 30_000,
    ],
)
def test_only_the_last_line_is_the_key(notes: str) -> None:
    """What stands above it, or beside it, was written by somebody else."""
    assert read_key(notes) is None
