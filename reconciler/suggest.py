"""Test cases that an unmapped test may belong to, best first: for the review queue, where a person decides."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from heapq import nlargest
from math import log
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

THRESHOLD = 0.3
"""Suggestions that score less are noise: one common word shared, as a rule."""

_LONGEST = 1000  # characters of a key that are looked at: its end, where the test's own name stands
_REASONS = 4  # shared words that are told
_UNKNOWN = 0.25  # what a word that no test case has weighs, in parts of a word that one has: packages, fixtures
_NAMED = 0.95  # the score of a FormattedID that the key spells out in a way that mapping does not take

_WORD = re.compile(r"[^\W\d_]+|\d+")
_HUMP = re.compile(
    r"(?<=[a-zß-öø-ÿ])(?=[A-ZÀ-ÖØ-Þ])|(?<=[A-ZÀ-ÖØ-Þ])(?=[A-ZÀ-ÖØ-Þ][a-zß-öø-ÿ])"
)  # payWithVisa, PDFExport
_SPELLED_ID = re.compile(r"(?<![^\W_])(tc[\W_]?0*([0-9]{1,18}))(?![^\W_])", re.IGNORECASE)
_ENDINGS = ("ing", "ed", "es", "s", "e")
_SHORTEST_STEM = 3
_STOP_WORDS = (
    "a an and are as at be but by can com do does for from given has have if in into io is it its net of on or org py "
    "should so spec src test testcase tests that the their then this to ts via was when will with without"
)
_STOPPED = frozenset(_STOP_WORDS.split())


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A test case that may be meant; `score` is above 0 and at most 1, `reason` is for people."""

    formatted_id: str
    name: str
    score: float
    reason: str


@dataclass(frozen=True, slots=True)
class _Entry:
    formatted_id: str
    name: str
    stems: frozenset[str]


def suggest(key: str, test_cases: Iterable[tuple[str, str]], limit: int = 3) -> list[Suggestion]:
    """Suggest test cases, given as (FormattedID, name), for one test; for many tests build an `Index` once."""
    return Index(test_cases).suggest(key, limit)


class Index:
    """Test cases by the words of their names.

    Words are compared without their endings and upper case; the fewer test cases have a word, the more it weighs. The
    score is what key and name share, in parts of what both have (Dice's coefficient, weighted).
    """

    def __init__(self, test_cases: Iterable[tuple[str, str]]) -> None:
        """Take test cases as (FormattedID, name)."""
        in_order = sorted(test_cases, key=lambda case: (len(case[0]), case[0]))  # so that equal scores are too
        known = [(formatted_id, name, frozenset(words(name))) for formatted_id, name in in_order]
        self._places: dict[str, list[int]] = defaultdict(list)
        for place, (_, _, stems) in enumerate(known):
            for stem in stems:
                self._places[stem].append(place)
        self._weights = {stem: log(1 + len(known) / len(places)) for stem, places in self._places.items()}
        self._entries = [_Entry(*case) for case in known]
        self._totals = [sum(self._weights[stem] for stem in entry.stems) for entry in self._entries]
        self._by_id = {entry.formatted_id: entry for entry in self._entries}

    def suggest(self, key: str, limit: int = 3) -> list[Suggestion]:
        """Suggest at most `limit` test cases for the test, best first; none when nothing is near."""
        found = {one.formatted_id: one for one in self._by_words(key[-_LONGEST:], limit)}
        if (named := self._by_spelled_id(key)) is not None:
            found[named.formatted_id] = named
        return sorted(found.values(), key=_best_first)[:limit]

    def _by_spelled_id(self, key: str) -> Suggestion | None:
        for match in _SPELLED_ID.finditer(key):
            spelled, digits = match.groups()
            if entry := self._by_id.get(f"TC{digits}"):
                return Suggestion(entry.formatted_id, entry.name, _NAMED, f'the test is called "{spelled}"')
        return None

    def _by_words(self, key: str, limit: int) -> list[Suggestion]:
        spelled = words(key)
        known = sorted(spelled.keys() & self._weights.keys(), key=lambda stem: (-self._weights[stem], stem))
        if not known:
            return []
        unknown = (len(spelled) - len(known)) * _UNKNOWN * self._weights[known[0]]
        weight = sum(self._weights[stem] for stem in known) + unknown
        totals = self._totals
        scores = (
            (2 * shared / (weight + totals[place]), -place) for place, shared in self._shared(known, weight).items()
        )
        best = nlargest(limit, [score for score in scores if score[0] >= THRESHOLD])
        return [self._suggestion(-place, round(min(1.0, score), 3), known, spelled) for score, place in best]

    def _shared(self, stems: list[str], weight: float) -> dict[int, float]:
        """Add up what each test case shares with the key; those that cannot reach the threshold are left out."""
        shared: dict[int, float] = {}
        ahead = sum(self._weights[stem] for stem in stems)
        for stem in stems:
            own = self._weights[stem]
            if 2 * ahead >= THRESHOLD * (weight + ahead):
                for place in self._places[stem]:
                    shared[place] = shared.get(place, 0.0) + own
            else:  # common words only: they can lift what is there, and bring in nothing new
                for place in shared:
                    shared[place] += own if stem in self._entries[place].stems else 0.0
            ahead -= own
        return shared

    def _suggestion(self, place: int, score: float, stems: list[str], spelled: dict[str, str]) -> Suggestion:
        entry = self._entries[place]
        shared = ", ".join([f'"{spelled[stem]}"' for stem in stems if stem in entry.stems][:_REASONS])
        return Suggestion(entry.formatted_id, entry.name, score, f"shares {shared}")


def words(text: str) -> dict[str, str]:
    """Split an identifier or a sentence into words: stem → the word as it was first met, in lower case."""
    found: dict[str, str] = {}
    for run in _WORD.findall(text):
        for word in _HUMP.split(run):
            lower = word.lower()
            if lower not in _STOPPED:
                found.setdefault(_stem(lower), lower)
    return found


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        stem = word.removesuffix(ending)
        if stem != word and len(stem) >= _SHORTEST_STEM and not word.endswith("ss"):
            return stem
    return word


def _best_first(suggestion: Suggestion) -> tuple[float, int, str]:
    return -suggestion.score, len(suggestion.formatted_id), suggestion.formatted_id
