"""What holds for the mapping whatever the keys and rows are."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.mapping import Mapped, Mapping, Row, Subject, Unmapped
from reconciler.mapping_file import append, read

_tests = st.text("ab*", min_size=1, max_size=6)
_keys = st.text("ab", min_size=1, max_size=6)
_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
_real_keys = st.one_of(_texts, st.text('re:*,"\r\n a', min_size=1)).filter(str.strip)


def _slow(tests: list[str], key: str) -> list[int]:
    """Find the rows that decide, one by one."""
    exact = [place for place, test in enumerate(tests) if "*" not in test and test == key]
    matching = [
        (len(test.replace("*", "")), place)
        for place, test in enumerate(tests)
        if "*" in test and re.fullmatch(".*".join(map(re.escape, test.split("*"))), key, re.DOTALL)
    ]
    most = max(matching, default=(0, 0))[0]
    return exact or [place for weight, place in matching if weight == most]


@settings(max_examples=300)
@given(st.lists(_tests, max_size=12, unique=True), _keys)
def test_the_index_finds_what_a_slow_search_finds(tests: list[str], key: str) -> None:
    """Exact rows and wildcards, with all equally specific ones."""
    rows = [Row(place, test, f"TC{place}") for place, test in enumerate(tests)]
    found = Mapping(rows).of(Subject(key, ""))
    ids = [int(formatted_id[2:]) for formatted_id in found.ids] if isinstance(found, Mapped) else []
    assert _slow(tests, key) == ids


@settings(deadline=None)
@given(st.lists(_real_keys, min_size=1, max_size=5, unique=True), st.sampled_from(["", "test,formatted_id\r\n"]))
def test_a_key_that_is_mapped_is_mapped_and_no_other(keys: list[str], start: str) -> None:
    """What `map` writes is read back as exactly these keys, whatever characters they hold."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mapping.csv"
        file.write_text(start, newline="")
        for place, key in enumerate(keys):
            assert append(file, key, f"TC{place}")
        before = file.read_bytes()
        assert not append(file, keys[0], "TC0")
        assert before == file.read_bytes()
        rows, problems = read(file)
    assert problems == []
    mapping = Mapping(rows)
    for place, key in enumerate(keys):
        found = mapping.of(Subject(key, ""))
        assert isinstance(found, Mapped)
        assert found.ids == (f"TC{place}",)
        assert key + "x" in keys or mapping.of(Subject(key + "x", "")) == Unmapped()


@given(st.binary(max_size=200))
def test_any_bytes_are_rows_or_mistakes_with_a_place(content: bytes) -> None:
    """Reading never fails, and each mistake is one line that names a place in the file."""
    _never_fails(b"test,formatted_id\n" + content)
    _never_fails(content)


@given(st.text('ab,"\n\r;re:([TC1-*', max_size=40))
def test_any_text_is_rows_or_mistakes_with_a_place(content: str) -> None:
    """The same with what nearly is a row."""
    _never_fails(b"test,formatted_id\n" + content.encode())


def _never_fails(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mapping.csv"
        file.write_bytes(content)
        rows, problems = read(file)
    Mapping(rows)
    lines = re.split(rb"\r\n|\r|\n", content)
    for problem in problems:
        assert 1 <= problem.line <= len(lines)
        assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1
        assert len(str(problem).splitlines()) == 1
