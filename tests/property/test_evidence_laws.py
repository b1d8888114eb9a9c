"""What holds for evidence whatever tests, archives and reports are made of."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.archive import Member
from reconciler.evidence import (
    MAX_UPLOADS,
    OUTPUT_BYTES,
    Directory,
    File,
    Naming,
    Output,
    Rules,
    TestEvidence,
    is_unsafe,
    mentions,
    metrics,
    output,
    slug,
    wanted,
)
from reconciler.model import Outcome
from tests.building import run

_any = st.characters(exclude_categories=[])  # surrogates too

# --- mentions --------------------------------------------------------------------------------------------------------

_PIECES = """[[ATTACHMENT| ]] data: image/png ;base64 , AAAA ../ a.png %41 = https://h/ " | [ ;name=x 12 MB/s é"""
_pieces = st.sampled_from([*_PIECES.split(), "\n[... 5 characters cut ...]\n", "\n", "\r", " "])
_said = st.lists(_pieces, max_size=15).map("".join)
_names = st.sampled_from(
    ["attachment", "Attachment.x", "testrail_attachment", "perf", "metrics.y", "other", "attachment/a"]
)


@given(_said, _said, st.lists(st.tuples(_names, _said), max_size=4))
def test_mentions_are_distinct_and_whole(out: str, err: str, properties: list[tuple[str, str]]) -> None:
    """Data has a name, and bytes or a problem; a path or URL is never blank, and has neither."""
    found = mentions(replace(run("t"), system_out=out, system_err=err, properties=tuple(properties)))
    assert len(set(found)) == len(found)
    for mention in found:
        assert mention.said.strip()
        assert "\n" not in mention.name
        assert bool(mention.name) is (mention.kind == "data")
        assert not (mention.data and mention.problem)
        assert mention.kind == "data" or not (mention.data or mention.problem)


@given(st.lists(st.tuples(_names, _said), max_size=4))
def test_a_metric_is_either_a_file_or_a_value(properties: list[tuple[str, str]]) -> None:
    """Never both."""
    one = replace(run("t"), properties=tuple(properties))
    values = {value for _, value in metrics(one)}
    assert not values & {mention.said for mention in mentions(one) if mention.metric}


# --- output ----------------------------------------------------------------------------------------------------------

_text = st.text(_any, max_size=30)
_part = st.builds(
    lambda start, middle, times, end: start + middle * times + end,
    _text,
    st.sampled_from(["x", "é", "漢\n", "🙂", "\x1b[31m.", "\n[... 7 characters cut ...]\n"]),
    st.sampled_from([0, 1, 1_000, 30_000, 250_000]),
    _text,
)


@settings(max_examples=25, deadline=None)
@given(_part, _part, _part, _part)
def test_an_output_fits_and_shows_the_beginning_and_end_of_each_part(m: str, trace: str, out: str, err: str) -> None:
    """It is UTF-8, and the same for the same texts."""
    parts = [f"{letter}<{part}\n>{letter}" for letter, part in zip("MTOE", (m, trace, out, err), strict=True)]
    one = replace(run("t", Outcome.FAILED), message=parts[0], detail=parts[1], system_out=parts[2], system_err=parts[3])
    text = output(one)
    assert len(text.encode()) <= OUTPUT_BYTES
    assert text == output(replace(one, name="another"))
    places = [0, *(text.index(f"\n--- {name} ---\n") for name in ("trace", "system-out", "system-err")), len(text) - 1]
    assert places == sorted(places)
    assert text.startswith("M<")
    for letter, end in zip("MTOE", places[1:], strict=True):
        assert text[:end].endswith(f">{letter}")
        assert f"{letter}<" in text
    if sum(len(part.encode(errors="replace")) for part in parts) < OUTPUT_BYTES - 100:
        assert text.count("characters cut") <= "".join(parts).count("characters cut")


# --- directory -------------------------------------------------------------------------------------------------------

_step = st.sampled_from(["a", "b", "é", "e\u0301", "..", ".", "", "qa", "shop", "C:", "a b"])
_path = st.lists(_step, min_size=1, max_size=5).map("/".join)
_tool_path = st.one_of(
    _path, _path.map(lambda path: f"/builds/qa/shop/{path}"), _path.map(lambda path: path.replace("/", "\\"))
)


@given(st.lists(_path, max_size=8, unique=True), _tool_path, st.one_of(st.just(""), _path))
def test_a_directory_gives_only_what_it_was_given(paths: list[str], said: str, report: str) -> None:
    """What is found ends like what was said; an unsafe member is found by its very name only."""
    members = [Member(path, 1) for path in paths]
    found = Directory(members, project_path="QA/shop").find(said, report)
    if found is None:
        assert said not in paths or said.endswith("/")
        return
    assert any(found is member for member in members)
    assert found.path == said or not is_unsafe(found.path)
    last = slug(said.replace("\\", "/").rstrip("/.").rpartition("/")[2])
    assert found.path == said or ".." in said or slug(found.path.rstrip("/.").rpartition("/")[2]) == last


@given(st.lists(_path, max_size=8, unique=True), _path)
def test_the_order_of_the_members_changes_nothing(paths: list[str], said: str) -> None:
    """So nothing is found just because it comes first."""
    members = [Member(path, 1) for path in paths]
    one = Directory(members, project_path="").find(said, "")
    assert one is Directory(members[::-1], project_path="").find(said, "")


_plain = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map("/".join)


@given(st.lists(_plain, unique=True), _plain)
def test_one_of_two_is_never_guessed(paths: list[str], said: str) -> None:
    """A path from an unknown folder is found when one member ends in it, and not when none or several do."""
    ending = [path for path in paths if f"/{path}".endswith(f"/{said}")]
    found = Directory([Member(path, 1) for path in paths], project_path="").find(f"../{said}", "")
    assert (found and found.path) == (ending[0] if len(ending) == 1 else None)


# --- naming ----------------------------------------------------------------------------------------------------------

_word = st.sampled_from(["log", "logs", "a", "fails", "fail", "1", "ß"])
_name = st.lists(_word, min_size=1, max_size=4).map("_".join)
_file = st.lists(st.lists(_word, min_size=1, max_size=5).map("-".join), min_size=1, max_size=3).map("/".join)


def _slow(path: str, names: list[str]) -> list[int]:
    """Try each test with each part."""
    best: dict[str, str] = {}
    for part in path.split("/"):
        for name in names:
            at = f"-{slug(part)}-".find(f"-{slug(name)}-")
            if at >= 0 and len(slug(name)) >= 6:
                old = best.get(part)
                key = (-len(slug(name)), at)
                if old is None or key < (-len(old), f"-{slug(part)}-".find(f"-{old}-")):
                    best[part] = slug(name)
    longest = max(map(len, best.values()), default=0)
    meant = {found for found in best.values() if len(found) == longest}
    return [place for place, name in enumerate(names) if slug(name) in meant]


@settings(max_examples=300, deadline=None)
@given(st.lists(_file, max_size=6, unique=True), st.lists(_name, max_size=10))
def test_naming_finds_what_a_slow_search_finds(paths: list[str], names: list[str]) -> None:
    """The longest run of whole words, and all tests that have it."""
    expected = {path: found for path in paths if (found := _slow(path, names))}
    assert Naming(paths).match(lambda: enumerate(names)) == expected


@given(st.text(_any, max_size=50))
def test_a_slug_of_a_slug_is_itself(text: str) -> None:
    """And holds letters and digits with single lines between."""
    words = slug(text)
    assert slug(words) == words
    assert not words or all(word.isalnum() for word in words.split("-"))


# --- wanted ----------------------------------------------------------------------------------------------------------

_shared = {"note": st.just(""), "metric": st.booleans(), "job_name": st.just("e2e"), "expires_at": st.none()}
_files = st.builds(
    File,
    file_id=st.integers(1, 40),
    kind=st.sampled_from(["member", "member", "member", "inline", "url", "missing"]),
    path=st.one_of(
        st.text(_any, max_size=8),
        st.sampled_from(["a.png", "b/a.png", "v.mp4", "https://h/x", "x" * 400 + ".log"]),
    ),
    size_bytes=st.sampled_from([0, 1, 2, 10**6, 10**9, None]),
    crc=st.sampled_from([1, 2, None]),
    job_url=st.sampled_from(["", "https://gitlab/-/jobs/1", "https://gitlab/-/jobs/2"]),
    **_shared,
)
_outputs = st.builds(
    Output, st.integers(1, 30), st.integers(0, 2000), st.integers(1, 3), st.just("e2e"), st.just("https://j")
)
_tests = st.lists(st.builds(TestEvidence, st.none() | _outputs, st.lists(_files, max_size=6).map(tuple)), max_size=30)
_rules = st.builds(Rules, st.sampled_from([0, 1_000, 10**12]), st.sampled_from([(), ("**/*.mp4",), ("**",)]))


@settings(max_examples=200, deadline=None)
@given(_tests, _rules)
def test_everything_has_one_fate_in_order(tests: list[TestEvidence], rules: Rules) -> None:
    """At most twenty uploads, none doubled; what has no line of its own is what another line shows already."""
    found = wanted(tests, rules)
    assert found == wanted(tests, rules)
    uploads = [(each.name, each.size_bytes, each.crc) for each in found if each.fate == "upload"]
    assert len(uploads) == len(set(uploads)) <= MAX_UPLOADS
    links = [each.url for each in found if each.fate == "link" and each.url and each.file_id]
    assert len(links) == len(set(links))
    assert all(0 < len(each.name) <= 255 and each.name.splitlines() == [each.name] for each in found)
    assert all(bool(each.reason) or each.fate != "missing" for each in found)
    assert all(not each.reason for each in found if each.fate == "upload")
    given_files = list(dict.fromkeys(file.file_id for test in tests for file in test.files))
    shown = [each.file_id for each in found if each.file_id]
    assert shown == [file_id for file_id in given_files if file_id in set(shown)]
    first = {file.file_id: file for test in reversed(tests) for file in reversed(test.files)}
    names = {name for name, *_ in uploads}
    for file_id in set(given_files) - set(shown):
        alone = wanted([TestEvidence(None, (first[file_id],))], rules)[0]
        assert alone.url in links or alone.name in names
    outputs = list(dict.fromkeys(test.output.output_id for test in tests if test.output))
    assert [each.output_id for each in found if each.output_id] == outputs
