"""What a test says of files: markers, properties, data in the report; performance metrics."""

from __future__ import annotations

import base64
import io
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.evidence import Mention, mentions, metrics
from reconciler.junit import Limits, Report
from tests.building import run

if TYPE_CHECKING:
    from reconciler.model import TestRun

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
ENCODED = base64.b64encode(PNG).decode()


def saying(**fields: Any) -> TestRun:  # noqa: ANN401 - any field of a TestRun
    """Make a test that has these fields."""
    return replace(run("login fails"), **fields)


def with_property(name: str, value: str) -> TestRun:
    """Make a test with one property."""
    return saying(properties=((name, value),))


@pytest.mark.parametrize(
    "said",
    [
        "shots/one.png",
        "shots/two words.png",
        "shots/größe.png",
        "../../test-results/a/b.png",
        "/builds/qa/web-shop/test-results/c.png",
        "C:\\agent\\shots\\d.png",
        "file:///builds/qa/web-shop/a%20b.png",
        "a/./b/../c.png",
    ],
)
def test_a_marker_names_a_path_as_it_is_written(said: str) -> None:
    """Reading a path is the directory's work; a marker may stand anywhere in system-out and system-err."""
    assert mentions(saying(system_out=f"before [[ATTACHMENT|{said}]] after")) == (Mention("path", said),)
    assert mentions(saying(system_err=f"[[ATTACHMENT|{said}]]")) == (Mention("path", said),)


def test_what_is_no_marker_names_nothing() -> None:
    """Empty, blank, unclosed, and with brackets in it (GitLab's pattern excludes them)."""
    text = "[[ATTACHMENT|]] [[ATTACHMENT|  ]] [[ATTACHMENT|a[1].png]] [[ATTACHMENT|a|b]] [[ATTACHMENT|unclosed.png\n"
    assert mentions(saying(system_out=text)) == ()


def test_each_file_is_named_once_in_order_of_system_out_system_err_and_properties() -> None:
    """The first place counts."""
    one = saying(
        system_out="[[ATTACHMENT|b.png]] [[ATTACHMENT|a.png]] [[ATTACHMENT|b.png]]",
        system_err="[[ATTACHMENT|a.png]][[ATTACHMENT|https://ci.example.com/c.png]]",
        properties=(("owner", "qa/team"), ("attachment", "d.png"), ("attachment", "a.png")),
    )
    assert [mention.said for mention in mentions(one)] == [
        "b.png",
        "a.png",
        "https://ci.example.com/c.png",
        "d.png",
    ]


def test_a_url_is_told_from_a_path() -> None:
    """Only addresses of the web are URLs."""
    kinds = {said: mentions(with_property("attachment", said))[0].kind for said in URLS_AND_PATHS}
    assert kinds == URLS_AND_PATHS


URLS_AND_PATHS = {
    "https://example.invalid/e.png": "url",
    "HTTP://example.invalid/e.png": "url",
    "file:///tmp/e.png": "path",
    "javascript:alert(1)": "path",
    "s3://bucket/e.png": "path",
    "httpd/error.log": "path",
}


@pytest.mark.parametrize(
    "name",
    [
        "attachment",
        "Attachment",
        "attachments",
        "attachment.video",
        "attachment_1",
        "testrail_attachment",
        "x:attachment",
    ],
)
def test_a_property_of_that_name_is_an_attachment(name: str) -> None:
    """Whatever stands after the word, and one word before it."""
    assert mentions(with_property(name, " shots/one, two.png ")) == (Mention("path", "shots/one, two.png"),)


@pytest.mark.parametrize("name", ["rally_id", "reattachment", "screenshot", "an attached file", ""])
def test_other_properties_are_none(name: str) -> None:
    """A property is about many things."""
    assert mentions(with_property(name, "shots/one.png")) == ()


def test_a_property_may_name_several_files_a_line_each() -> None:
    """Commas are parts of names; line ends are not."""
    found = mentions(with_property("attachments", "a, b.png\r\n\n  c.png\n"))
    assert [mention.said for mention in found] == ["a, b.png", "c.png"]


def test_at_most_a_hundred_files_of_one_test_count() -> None:
    """Whoever writes a test can name any number."""
    text = "".join(f"[[ATTACHMENT|{number}.png]]" for number in range(5_000))
    assert [mention.said for mention in mentions(saying(system_out=text))] == [f"{n}.png" for n in range(100)]


def test_a_path_beyond_all_measure_is_kept_short_and_matches_nothing() -> None:
    """It is told as missing; a part of it is another path."""
    (mention,) = mentions(with_property("attachment", "a/" * 500_000))
    assert mention.said == "a/" * 2_048 + "…"


# --- performance metrics ---------------------------------------------------------------------------------------------

METRIC_NAMES = ["perf", "performance", "metric", "metrics", "Perf.trace", "performance_report", "metrics:p95", "perf-x"]
METRIC_FILES = [
    "out/perf/run",
    "trace.json",
    "lighthouse.HTML",
    "https://perf.example.com/run/7",
    "perf\\run",
    "../a/b",
]
METRIC_VALUES = [
    "12",
    "12.5",
    "-3e7",
    "99.9%",
    "12 MB/s",
    "3.5 req/s",
    "120/s",
    "10/12",
    "fast",
    "p95 below target",
    "1.5s",
]


@pytest.mark.parametrize("name", METRIC_NAMES)
@pytest.mark.parametrize("value", METRIC_FILES)
def test_a_metric_that_is_a_file_is_marked_as_one(name: str, value: str) -> None:
    """So that it is linked and never uploaded."""
    (mention,) = mentions(with_property(name, value))
    assert (mention.said, mention.metric) == (value, True)
    assert metrics(with_property(name, value)) == ()


@pytest.mark.parametrize("value", METRIC_VALUES)
def test_a_metric_that_is_a_value_is_no_file(value: str) -> None:
    """Numbers with units, and words."""
    assert mentions(with_property("metric", value)) == ()
    assert metrics(with_property("metric.load", value)) == (("metric.load", value),)


@pytest.mark.parametrize("name", ["perfect", "metrical", "performances", "superperf", "my_metric", "metric2"])
def test_a_name_that_only_begins_alike_is_no_metric(name: str) -> None:
    """The word ends where it ends."""
    assert mentions(with_property(name, "out/perf.json")) == ()
    assert metrics(with_property(name, "12")) == ()


def test_a_file_that_is_both_attached_and_a_metric_is_a_metric() -> None:
    """Performance metrics are never uploaded."""
    one = saying(system_out="[[ATTACHMENT|out/run.json]]", properties=(("perf", "out/run.json"),))
    assert mentions(one) == (Mention("path", "out/run.json", metric=True),)


def test_twenty_short_metrics_are_kept() -> None:
    """Long texts, several lines and nothing are no values."""
    many = tuple((f"metric.{number}", str(number)) for number in range(30))
    none = (("metric", ""), ("metric", "x" * 101), ("metric", "a\nb"))
    assert metrics(saying(properties=none + many)) == many[:20]
    assert metrics(saying()) == ()


# --- data: URIs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uri",
    [
        f"data:image/png;base64,{ENCODED}",
        f"DATA:IMAGE/PNG;BASE64,{ENCODED}",
        f"data:image/png;charset=utf-8;base64,{ENCODED.rstrip('=')}",
        f"data:image/png;base64,{base64.urlsafe_b64encode(PNG).decode()}",
        f"data:image/png;base64,{ENCODED.replace('+', '%2B').replace('/', '%2F').replace('=', '%3D')}",
        "data:image/png;base64,\n" + "\n".join(ENCODED[at : at + 76] for at in range(0, len(ENCODED), 76)),
        "data:image/png," + "".join(f"%{byte:02x}" for byte in PNG),
    ],
)
def test_data_in_the_report_is_decoded(uri: str) -> None:
    """Base64 of either alphabet, folded, without padding; or percent-encoded."""
    expected = Mention("data", "data:image/png", name="attachment.png", data=PNG)
    assert mentions(with_property("attachment", uri)) == (expected,)
    assert mentions(saying(system_out=f"[[ATTACHMENT|{uri}]]")) == (expected,)


@pytest.mark.parametrize(
    ("name", "uri", "expected"),
    [
        ("attachment", "data:,hello", "attachment.txt"),
        ("attachment.screenshot", "data:image/jpeg,x", "attachment.screenshot.jpg"),
        ("attachment.log", "data:text/plain,x", "attachment.log"),
        ("attachment.log", "data:image/svg+xml,x", "attachment.log.svg"),
        ("attachment:shots/login.JPG", "data:image/jpeg,x", "login.JPG"),
        ("attachment", "data:text/html;name=page%20one.html,x", "page one.html"),
        ("attachment", "data:text/html;filename=../../etc/passwd,x", "passwd.html"),
        ("attachment", "data:application/x-thing,x", "attachment.bin"),
        ("attachment", "data:application/x-thing;name=a.thing,x", "a.thing"),
    ],
)
def test_data_has_the_name_it_gives_itself_or_its_propertys(name: str, uri: str, expected: str) -> None:
    """With the extension of its type, so that it opens."""
    assert [mention.name for mention in mentions(with_property(name, uri))] == [expected]


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("data:image/png;base64,%%%", "it is not base64"),
        ("data:image/png;base64,AAAAA", "it is not base64"),
        ("data:image/png;base64,größe", "it is not base64"),
        ("data:image/png;base64,AA=A", "it is not base64"),
        ("data:image/png;base64", "the data: URI has no data"),
        ("data:text/plain," + "x" * 5_000_001, "it is larger than 5 MB"),
        ("data:text/plain;base64," + "A" * 6_666_672, "it is larger than 5 MB"),
        ("data:text/plain;base64," + "A" * 20_000_000, "it is larger than 5 MB"),
    ],
)
def test_data_that_cannot_be_had_has_a_problem(uri: str, problem: str) -> None:
    """It is told as missing, with the reason."""
    (mention,) = mentions(with_property("attachment", uri))
    assert (mention.kind, mention.data, mention.problem) == ("data", b"", problem)


def test_several_data_uris_of_one_property_are_several() -> None:
    """A line of nothing but base64 goes on with the data before it; another does not."""
    value = f"data:image/png;base64,{ENCODED[:40]}\n{ENCODED[40:]}\nshots/a.png\ndata:,x\ndata:,y"
    found = mentions(with_property("attachment", value))
    assert [mention.data for mention in found] == [PNG, b"", b"x", b"y"]
    assert found[1].said == "shots/a.png"


@pytest.mark.parametrize("where", ["property", "marker"])
def test_data_that_the_reader_cut_has_a_problem(where: str) -> None:
    """Both of the reader's ways to cut; an attachment that is named after the cut is found all the same."""
    uri = f"data:image/png;base64,{'A' * 9_000}"
    told = {
        "property": f'<properties><property name="attachment" value="{uri}"/></properties>',
        "marker": f"<system-out>[[ATTACHMENT|{uri}]]\n[[ATTACHMENT|b.png]]\n{'x' * 2_000}</system-out>",
    }[where]
    document = f"<testsuite><testcase name='t'>{told}</testcase></testsuite>"
    (one,) = Report(io.BytesIO(document.encode()), Limits(max_text_chars=2_000))
    found = {mention.said: mention.problem for mention in mentions(one)}
    assert found["data:image/png"] == "the report is so long that this was cut"
    assert where == "property" or "b.png" in found


def test_data_and_metrics_do_not_mix() -> None:
    """Data in a metric is marked, so that it is not uploaded either."""
    (mention,) = mentions(with_property("perf", "data:application/json,{}"))
    assert (mention.kind, mention.metric, mention.name) == ("data", True, "perf.json")


@pytest.mark.parametrize(
    "text",
    [
        "[[ATTACHMENT|a.png]]" * 50_000,
        "[[ATTACHMENT|data:" * 50_000,
        "[[ATTACHMENT|" + "a" * 1_000_000,
        "[[ATTACHMENT|data:" + "\n" * 1_000_000,
        "\n[... 5 characters cut ...]\n[[ATTACHMENT|data:" * 20_000,
    ],
)
def test_a_text_made_to_be_slow_is_not(text: str) -> None:
    """A report may hold thousands of such tests."""
    begun = time.process_time()
    mentions(saying(system_out=text, properties=(("attachment", text), ("perf", text))))
    assert time.process_time() - begun < 2
