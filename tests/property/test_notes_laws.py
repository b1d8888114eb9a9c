"""What holds for Notes whatever the tests, jobs and branches are called and whatever their messages say."""

from __future__ import annotations

import html
from dataclasses import replace
from datetime import UTC
from html.parser import HTMLParser

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.model import FormattedID, Key, PipelineId, ProjectId
from reconciler.notes import LIMIT_BYTES, Content, FileLine, MissingLine, TestLine, read_key, render

ALLOWED = "a b br div span p pre code table thead tbody tr th td ul ol li"

_hostile = st.sampled_from(
    [
        "</pre>",
        "<script>",
        "\n1/2/TC3/4\n",
        "<div>1/2/TC3/4</div>",
        '"',
        "'",
        "&",
        "&#47;",
        "\x1b[31m",
        "\ufffd[0m",
        "<!--",
    ]
)
_any = st.characters(exclude_categories=[])  # surrogates too
_text = st.lists(st.one_of(st.text(_any, max_size=20), _hostile), max_size=6).map("".join)
_long = st.builds(lambda text, times: text * times, _text, st.sampled_from([1, 1, 1, 50, 2_000]))
_url = st.one_of(_long, _long.map("https://gitlab.example.com/".__add__), st.just("javascript:alert(1)"))
_verdict = st.one_of(st.sampled_from(["Error", "Fail", "Pass"]), _text)
_tests = st.builds(
    TestLine,
    verdict=_verdict,
    key=_long,
    job_name=_long,
    job_url=_url,
    duration_s=st.floats(min_value=0),
    message=_long,
    attempts=st.integers(1, 10**6),
    flaky=st.booleans(),
)
_digits = st.integers(0, 10**18 - 1)
_keys = st.builds(
    Key,
    _digits.map(ProjectId),
    _digits.map(PipelineId),
    _digits.map("TC{}".format).map(FormattedID),
    st.integers(1, 10**9 - 1),
)


_files = st.builds(
    FileLine,
    name=_long,
    url=_url,
    size_bytes=st.none() | st.integers(0, 2**63),
    reason=_text,
    note=_long,
    expires_at=st.none() | st.datetimes(timezones=st.just(UTC)),
)
_missing = st.builds(MissingLine, name=_long, reason=_long)
_times = st.sampled_from([1, 1, 1, 100])


@st.composite
def _contents(draw: st.DrawFn) -> tuple[Key, Content]:
    key = draw(_keys)
    tests = draw(st.lists(_tests, max_size=4)) * draw(st.sampled_from([1, 1, 100]))
    return key, Content(
        key=str(key),
        pipeline_url=draw(_url),
        pipeline_id=key.pipeline_id,
        ref=draw(_long),
        sha=draw(_long),
        commit_url=draw(_url),
        tests=tests,
        lossy=draw(st.booleans()),
        files=draw(st.lists(_files, max_size=4)) * draw(_times),
        missing=draw(st.lists(_missing, max_size=2)) * draw(_times),
        troubles=draw(st.lists(_long, max_size=2)) * draw(_times),
        metrics=draw(st.lists(st.tuples(_long, _long, _long), max_size=2)) * draw(_times),
    )


class _Outline(HTMLParser):
    """Collects what a browser would see in Notes."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.balanced = True
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.balanced &= bool(self.open) and self.open.pop() == tag

    def handle_comment(self, data: str) -> None:
        self.tags.append(f"comment {data}")

    def handle_data(self, data: str) -> None:
        self.text += data


@settings(deadline=None)
@given(_contents())
def test_notes_are_within_the_limit_and_end_with_their_key(case: tuple[Key, Content]) -> None:
    """The key is never cut off and always read back; the bytes are those of UTF-8, so surrogates are gone."""
    key, content = case
    notes = render(content)
    assert len(notes.encode()) <= LIMIT_BYTES
    assert notes.endswith(f"\n<div>{key}</div>")
    assert read_key(notes) == key


@settings(deadline=None)
@given(_contents())
def test_notes_hold_only_our_own_markup(case: tuple[Key, Content]) -> None:
    """Allowed tags only, properly nested, no attribute but href, and that only to the web."""
    outline = _Outline()
    outline.feed(render(case[1]))
    outline.close()
    assert set(outline.tags) <= set(ALLOWED.split())
    assert outline.balanced
    assert outline.open == []
    assert all(name == "href" and value and value.startswith("https://") for name, value in outline.attributes)
    assert not any(ord(character) < 32 and character not in "\n\t" for character in outline.text)


_plain = st.text(st.characters(categories=["L", "N", "P", "Sm"], exclude_characters="["), min_size=1, max_size=20)
_few = st.lists(st.builds(FileLine, _plain, _plain.map("https://gitlab.example.com/".__add__), st.none()), max_size=8)


@settings(deadline=None)
@given(_contents(), _few)
def test_of_a_few_files_each_is_named(case: tuple[Key, Content], files: list[FileLine]) -> None:
    """However much else there is to tell."""
    outline = _Outline()
    outline.feed(render(replace(case[1], files=files)))
    outline.close()
    assert all(f"\n{file.name}\n" in outline.text for file in files)


_wrappers = st.sampled_from(
    ["{}", "<p>{}</p>", '<div class="x">{}</div>', "<span>{}</span><br/>", "<div>{}</div> &nbsp;<p></p>\n"]
)


@given(_keys, st.text(), _wrappers, st.sampled_from(["/", "&#47;", "&#x2f;", "&sol;"]))
def test_a_key_survives_rewritten_markup(key: Key, above: str, wrapper: str, slash: str) -> None:
    """Whatever stands above it."""
    line = wrapper.format(str(key).replace("/", slash))
    assert read_key(f"<p>{html.escape(above)}</p>{line}") == key
