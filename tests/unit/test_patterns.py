"""Path patterns: `**/`, `*` and `?`, the whole path, upper and lower case alike."""

from __future__ import annotations

import time
from itertools import product

import pytest

from reconciler.patterns import compile_path, matches


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("**/*.xml", "report.xml"),
        ("**/*.xml", "build/test-results/TEST-a.xml"),
        ("**/*.PNG", "shots/Login.png"),
        ("build/**/report.xml", "build/report.xml"),
        ("build/**/report.xml", "build/a/b/report.xml"),
        ("build/**", "build/a/b/report.xml"),
        ("**/perf/**", "perf/run.log"),
        ("**/perf/**", "out/perf/day/run.log"),
        ("**", "anything/at/all"),
        ("**/**/a", "a"),
        ("**/a/**/a/b", "a/a/b"),
        ("*.log", "run.log"),
        ("*", ".hidden"),
        ("shot-?.png", "shot-1.png"),
        ("a**b.txt", "axxb.txt"),
        ("release/*", "release/1.2"),
        ("main", "Main"),
        ("test[1]{x}.log", "test[1]{x}.log"),
        ("**/*.log", "line\nbreak/run.log"),
        ("build/**", "build/line\nbreak"),
        ("**/größe.txt", "x/GRÖSSE.txt".replace("SS", "ß")),
    ],
)
def test_a_path_matches(pattern: str, path: str) -> None:
    """`**/` is zero or more folders, `*` and `?` stay in their folder, all else is literal."""
    assert matches(path, [pattern])


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*.xml", "build/report.xml"),
        ("report.xml", "build/report.xml"),
        ("**/report.xml", "build/my-report.xml"),
        ("build/**", "build"),
        ("build/**", "build/"),
        ("build/**", "rebuild/a"),
        ("**/perf/**", "out/perform/run.log"),
        ("a**b.txt", "a/b.txt"),
        ("shot-?.png", "shot-/.png"),
        ("shot-?.png", "shot-.png"),
        ("test[1].log", "test1.log"),
        ("a.b", "axb"),
        ("main", "main\n"),
        ("", "a"),
    ],
)
def test_a_path_does_not_match(pattern: str, path: str) -> None:
    """The whole path is matched, not a part of it."""
    assert not matches(path, [pattern])


def test_no_patterns_match_nothing() -> None:
    """What no patterns mean is for the caller to say."""
    assert not matches("a", [])


def test_one_of_several_patterns_is_enough() -> None:
    """The patterns of a list are alternatives."""
    assert matches("a.png", ["*.jpg", "*.png"])


def _slow(pattern: list[str], path: list[str]) -> bool:
    """Match segments with no cleverness at all."""
    if not pattern:
        return not path
    head, *rest = pattern
    if head == "**":
        if not rest:
            return path not in ([], [""])
        return _slow(rest, path) or (bool(path) and _slow(pattern, path[1:]))
    return bool(path) and _slow_segment(head, path[0]) and _slow(rest, path[1:])


def _slow_segment(pattern: str, text: str) -> bool:
    if not pattern:
        return not text
    if pattern[0] == "*":
        return _slow_segment(pattern[1:], text) or (bool(text) and _slow_segment(pattern, text[1:]))
    return bool(text) and pattern[0] in ("?", text[0]) and _slow_segment(pattern[1:], text[1:])


def test_patterns_agree_with_a_slow_reading_of_the_rules() -> None:
    """All patterns of up to four segments, on all paths of up to four."""
    segments = ["**", "a", "?", "a*b"]
    names = ["a", "b", "abb"]
    paths = ["/".join(path) for depth in range(1, 5) for path in product(names, repeat=depth)]
    for depth in range(1, 5):
        for pattern in product(segments, repeat=depth):
            compiled = compile_path("/".join(pattern))
            for path in paths:
                assert bool(compiled.fullmatch(path)) == _slow(list(pattern), path.split("/")), (pattern, path)


@pytest.mark.parametrize("pattern", ["**/a/**/b/**/c/**/d", "**/*a*a*a*a*a*b", "**/a*/**/*b", "*a*a*a*a*b/**"])
@pytest.mark.parametrize("path", ["a/" * 15_000, "a" * 30_000, "a/b/" * 7_000])
def test_a_hostile_path_takes_no_time(pattern: str, path: str) -> None:
    """Whoever writes an archive chooses its paths; zip allows 65,535 bytes."""
    start = time.process_time()
    matches(path, [pattern])
    assert time.process_time() - start < 3
