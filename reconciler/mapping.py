"""From a test to the test cases it counts for: the mapping file's rows, its properties, its name, a field in Rally."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.model import FormattedID

if TYPE_CHECKING:
    from collections import abc
    from collections.abc import Iterable, Iterator

IGNORE = "-"
"""What stands for the FormattedID in a row that says: this test counts for nothing."""
REGEX = "re:"
"""What a row's test begins with when the rest is a regular expression."""
ANY = "*"
"""The only wildcard of a row's test: any characters, none, `/` and line ends included."""

_ID = re.compile(r"TC[0-9]{1,18}")  # as many digits as model.Key holds, and ASCII ones only
_TOKEN = re.compile(rf"(?<![^\W_]){_ID.pattern}(?![^\W_])")
_PROPERTIES = frozenset(("rally_id", "test_id", "testcase_id"))


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the mapping file; `formatted_id` is `TC<digits>` or `-`."""

    line: int
    test: str
    formatted_id: str


@dataclass(frozen=True, slots=True)
class Subject:
    """What mapping looks at: a test's key, its name, and the ids that `property_ids` found."""

    key: str
    name: str
    ids: tuple[FormattedID, ...] = ()


@dataclass(frozen=True, slots=True)
class Mapped:
    """The test counts for these test cases; `by` names the rule, for people."""

    ids: tuple[FormattedID, ...]
    by: str


@dataclass(frozen=True, slots=True)
class Ignored:
    """The mapping file says that the test counts for nothing."""

    by: str


@dataclass(frozen=True, slots=True)
class Unmapped:
    """No rule knows the test: it is held."""


def is_formatted_id(text: str) -> bool:
    """Tell whether the text is `TC` and up to 18 ASCII digits, nothing else."""
    return _ID.fullmatch(text) is not None


def property_ids(properties: Iterable[tuple[str, str]]) -> tuple[FormattedID, ...]:
    """Collect the test cases that a test's own properties name, in document order, each once.

    A value is one FormattedID or several with commas between; a part that is none is passed over, so that a property
    `test_id` of another tool does no harm. The property's name may be written in upper case.
    """
    parts = (part.strip() for name, value in properties if name.lower() in _PROPERTIES for part in value.split(","))
    return _unique(filter(is_formatted_id, parts))


def compile_rule(expression: str) -> re.Pattern[str]:
    """Compile what follows `re:`.

    Raises:
        re.error: it is no regular expression.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "possible nested set": an opinion about a person's expression
        try:
            return re.compile(expression)
        except (OverflowError, RecursionError) as error:
            raise re.error(str(error)) from error


def _unique(ids: Iterable[str]) -> tuple[FormattedID, ...]:
    return tuple(map(FormattedID, dict.fromkeys(ids)))


class Mapping:
    """All rules of one moment; the same rules have the same `fingerprint`.

    The first of these that knows the test decides:

    1. the mapping file: exact rows, then rows with `*` (most characters other than `*` first), then `re:` rows in the
       file's order. Equally specific rows count together; a `-` takes back those above it, so that `ignore` after
       `map`, and `map` after `ignore`, do what they say.
    2. the test's properties
    3. tokens `TC<digits>` in the test's name, between characters that are neither letters nor digits
    4. `field`: test key → test cases whose field `field_name` holds that key
    """

    __slots__ = ("_exact", "_expressions", "_field", "_field_name", "_file", "_wildcards", "fingerprint")

    def __init__(
        self,
        rows: Iterable[Row],
        field: abc.Mapping[str, tuple[FormattedID, ...]] | None = None,
        *,
        file: str = "mapping.csv",
        field_name: str = "rally_field",
    ) -> None:
        """Take rows as `mapping_file.read` returns them; `file` and `field_name` are what `by` calls them."""
        every = tuple(rows)
        self._file = file
        self._field = dict(field or {})
        self._field_name = field_name
        self._exact: dict[str, list[Row]] = {}
        for row in every:
            if not row.test.startswith(REGEX) and ANY not in row.test:
                self._exact.setdefault(row.test, []).append(row)
        self._wildcards = _Wildcards(row for row in every if not row.test.startswith(REGEX) and ANY in row.test)
        self._expressions = _Expressions(row for row in every if row.test.startswith(REGEX))
        self.fingerprint = _fingerprint(every, self._field, field_name)

    def of(self, subject: Subject) -> Mapped | Ignored | Unmapped:
        """Say what the test counts for, and which rule says so: `mapping.csv:12`, `property`, `name` or the field."""
        if rows := self._rows(subject.key):
            return self._by_file(rows)
        if subject.ids:
            return Mapped(subject.ids, "property")
        if tokens := _TOKEN.findall(subject.name):
            return Mapped(_unique(tokens), "name")
        if ids := self._field.get(subject.key):
            return Mapped(ids, self._field_name)
        return Unmapped()

    def _rows(self, key: str) -> list[Row]:
        return self._exact.get(key) or self._wildcards.best(key) or self._expressions.first(key)

    def _by_file(self, rows: list[Row]) -> Mapped | Ignored:
        ignoring = [place for place, row in enumerate(rows) if row.formatted_id == IGNORE]
        telling = rows[ignoring[-1] + 1 :] if ignoring else rows
        by = ", ".join(f"{self._file}:{row.line}" for row in telling or [rows[ignoring[-1]]])
        return Mapped(_unique(row.formatted_id for row in telling), by) if telling else Ignored(by)


def _fingerprint(rows: Iterable[Row], field: abc.Mapping[str, tuple[FormattedID, ...]], field_name: str) -> str:
    parts = [repr((row.line, row.test, row.formatted_id)) for row in rows]
    parts += [repr((field_name, key, field[key])) for key in sorted(field)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


# --- rows with a wildcard --------------------------------------------------------------------------------------------

_GRAM = 8  # characters; long enough to be rare, short enough that most rows have one


@dataclass(frozen=True, slots=True)
class _Wildcard:
    row: Row
    pieces: tuple[str, ...]
    """What stands before, between and after the stars."""
    weight: int
    """Characters other than `*`."""

    @classmethod
    def of(cls, row: Row) -> _Wildcard:
        pieces = tuple(re.split(r"\*+", row.test))
        return cls(row, pieces, sum(map(len, pieces)))

    def grams(self) -> Iterator[str]:
        """Yield runs of characters that every matching key holds, all of one length: `_GRAM`, or less if need be."""
        size = min(_GRAM, max(map(len, self.pieces)))
        return (gram for piece in self.pieces for gram in _runs(piece, size))

    def matches(self, key: str) -> bool:
        """Look for the pieces from left to right; a regular expression would take longer to compile than this runs."""
        first, *middle, last = self.pieces
        at, end = len(first), len(key) - len(last)
        if at > end or not (key.startswith(first) and key.endswith(last)):
            return False
        for piece in middle:
            found = key.find(piece, at, end)
            if found < 0:
                return False
            at = found + len(piece)
        return True


def _runs(text: str, size: int) -> Iterator[str]:
    return (text[at : at + size] for at in range(len(text) - size + 1))


class _Wildcards:
    """Rows with `*`, each filed under its rarest gram, so that a key is held against the few rows that may match."""

    def __init__(self, rows: Iterable[Row]) -> None:
        wildcards = [_Wildcard.of(row) for row in rows]
        counts = Counter(gram for wildcard in wildcards for gram in set(wildcard.grams()))
        self._by_size: dict[int, dict[str, list[_Wildcard]]] = {}
        for wildcard in wildcards:
            gram = min(wildcard.grams(), key=counts.__getitem__)
            self._by_size.setdefault(len(gram), {}).setdefault(gram, []).append(wildcard)

    def best(self, key: str) -> list[Row]:
        matching = [wildcard for wildcard in self._possible(key) if wildcard.matches(key)]
        most = max((wildcard.weight for wildcard in matching), default=0)
        return sorted((one.row for one in matching if one.weight == most), key=lambda row: row.line)

    def _possible(self, key: str) -> Iterator[_Wildcard]:
        for size, index in self._by_size.items():
            for gram in {gram for gram in _runs(key, size) if gram in index}:
                yield from index[gram]


# --- rows with a regular expression ----------------------------------------------------------------------------------


class _Expressions:
    """Rows with `re:`; the first in the file that matches wins, together with its exact repetitions."""

    def __init__(self, rows: Iterable[Row]) -> None:
        groups: dict[str, list[Row]] = {}
        for row in rows:
            groups.setdefault(row.test.removeprefix(REGEX), []).append(row)
        self._rows = list(groups.values())
        self._literal: dict[str, int] = {}
        self._compiled: list[tuple[int, re.Pattern[str]]] = []
        for place, expression in enumerate(groups):
            text = _literal(expression)
            if text is None:
                self._compiled.append((place, compile_rule(expression)))
            else:
                self._literal.setdefault(text, place)

    def first(self, key: str) -> list[Row]:
        literal = self._literal.get(key, len(self._rows))
        for place, pattern in self._compiled:
            if place > literal:
                break
            if pattern.fullmatch(key):
                return self._rows[place]
        return self._rows[literal] if literal < len(self._rows) else []


def _literal(expression: str) -> str | None:
    """Undo `re.escape`, which is how `map` writes a key that holds `*`; None when the expression is a real one."""
    text = re.sub(r"\\(.)", r"\1", expression, flags=re.DOTALL)
    return text if re.escape(text) == expression else None
