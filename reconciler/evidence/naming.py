"""The naming convention: files whose name or folder contains the name of a test."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING
from unicodedata import normalize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Tests = Callable[[], Iterable[tuple[int, str]]]

SHORTEST = 6
"""Characters of a test's slug; shorter ones ("login") are in too many names."""
LONGEST_SLUG = 1_000
_LONGEST_PLACE = 255
"""Of a file's or folder's slug: no file system has longer names."""
_LOOKS = 20_000_000
"""How often slugs are compared, some seconds of work; only names made for it need more, and have no matches then."""

_REMEMBERED = 4_096
"""Names of folders and files; the files of one folder lie beside each other."""

_BETWEEN = re.compile(r"[\W_]+")


def slug(text: str) -> str:
    """Write a name as words of lower case letters and digits with `-` between them, at most `LONGEST_SLUG` long."""
    text = text[: 4 * LONGEST_SLUG]
    if not text.isascii():
        text = normalize("NFC", text)
    return _BETWEEN.sub("-", text.lower())[: LONGEST_SLUG + 1].strip("-")[:LONGEST_SLUG].rstrip("-")


class Naming:
    """Finds the tests that a job's files are named after.

    A test's slug must be a run of whole words in the slug of the file's name or of one of its folders. Of several, the
    longest is meant, and all tests that have it (parameters, browsers): `login-fails-1.png` is of `login fails`, not of
    `login`. Two equally long ones in different folders are both meant.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        """Take the files that may be evidence at all; there may be so many that nothing more is kept of them."""
        self._paths = paths

    def match(self, tests: Tests) -> dict[str, list[int]]:
        """Find the ids of the tests that each file belongs to; files of none are left out.

        `tests` gives all the tests anew, (id, name), each time it is called: once, or twice when there are matches.
        Files that belong to the same tests share one list.
        """
        if not self._paths:
            return {}
        place = lru_cache(_REMEMBERED)(_place)
        longest = _Runs(
            tests(), {word for path in self._paths for part in _parts(path) for word in place(part).split("-")}
        )
        run = lru_cache(_REMEMBERED)(lambda part: longest.of(place(part)))
        meant = {path: names for path in self._paths if (names := _longest(map(run, _parts(path))))}
        ids: dict[tuple[str, ...], list[int]] = {names: [] for names in meant.values()}
        if ids:
            _collect(tests(), ids)
        return {path: ids[names] for path, names in meant.items() if ids[names]}


class _Runs:
    """Which runs of words are the slug of a test; of the tests' slugs only hashes are kept."""

    def __init__(self, tests: Iterable[tuple[int, str]], words: set[str]) -> None:
        """Look at the tests that begin with one of the files' words and end with one."""
        self._looks = _LOOKS
        self._hashes: set[int] = set()
        lengths: dict[str, set[int]] = {}
        for _, name in tests:
            words_of = slug(name)
            first = words_of.partition("-")[0]
            if first in words and len(words_of) >= SHORTEST and words_of.rpartition("-")[2] in words:
                self._hashes.add(hash(words_of))
                lengths.setdefault(first, set()).add(len(words_of))
        self._lengths = {word: sorted(found, reverse=True) for word, found in lengths.items()}

    def of(self, place: str) -> str:
        """Find the longest run of words that is a test's slug, the first of equally long ones; "" when none is."""
        best = ""
        start = 0
        for word in place.split("-"):
            for length in self._lengths.get(word, ()):
                self._looks -= 1
                if length <= len(best) or self._looks < 0:
                    break
                end = start + length
                whole_words = end == len(place) or place[end : end + 1] == "-"
                if whole_words and hash(place[start:end]) in self._hashes:
                    best = place[start:end]
                    break
            start += len(word) + 1
        return best


def _longest(names: Iterable[str]) -> tuple[str, ...]:
    found = set(names)
    longest = max(map(len, found))
    return tuple(sorted(name for name in found if len(name) == longest > 0))


def _collect(tests: Iterable[tuple[int, str]], ids: dict[tuple[str, ...], list[int]]) -> None:
    """Add each test to the lists of those who have its slug among theirs."""
    lists: dict[str, list[list[int]]] = {}
    for names, found in ids.items():
        for name in names:
            lists.setdefault(name, []).append(found)
    for test_id, name in tests:
        for found in lists.get(slug(name), ()):
            found.append(test_id)


def _place(part: str) -> str:
    """Write a file's or folder's name as a slug of whole words."""
    words = slug(part)
    return words if len(words) <= _LONGEST_PLACE else words[: _LONGEST_PLACE + 1].rpartition("-")[0]


def _parts(path: str) -> list[str]:
    return path.replace("\\", "/").split("/")
