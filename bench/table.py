"""The lines of the table, for people and as JSON."""

from __future__ import annotations

import textwrap
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

HEAD = ("what", "ours", "yardstick", "model's limit", "to reach", "")
WIDE = 120


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that was measured or worked out, and its unit."""

    value: float
    unit: str
    of: str = ""
    """What it is a number of, where that is not what the row says."""

    def __str__(self) -> str:
        """Write it with three digits that count."""
        return " ".join(part for part in (_number(self.value), self.unit, self.of) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line: what was measured, beside what it is held against."""

    what: str
    ours: Figure
    yardstick: Figure | None = None
    limit: Figure | None = None
    """What the model of time, or the protocol, allows at most or at least."""
    bound: str = ""
    holds: bool | None = None
    """None: nothing is asked of this one."""
    note: str = ""


def _number(value: float) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.001 else f"{value:.1e}"


def told(row: Row) -> dict[str, object]:
    """Give a row as JSON has it."""
    return asdict(row)


def lines(rows: Sequence[Row]) -> list[str]:
    """Write the table as Markdown that can be read as it is, with the notes under it."""
    cells = [_cells(row, number) for number, row in _numbered(rows)]
    widths = [max(len(line[column]) for line in [HEAD, *cells]) for column in range(len(HEAD))]
    ruler = ["-" * width for width in widths]
    table = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in [HEAD, ruler, *cells]]
    return [*table, *_notes(rows)]


def _numbered(rows: Iterable[Row]) -> Iterable[tuple[int, Row]]:
    """Give each row the number of its note, 0 where it has none."""
    number = 0
    for row in rows:
        number += bool(row.note)
        yield (number if row.note else 0), row


def _cells(row: Row, note: int) -> tuple[str, ...]:
    verdict = {None: "", True: "ok", False: "NOT"}[row.holds]
    what = f"{row.what} ({note})" if note else row.what
    others = [str(figure) if figure else "" for figure in (row.yardstick, row.limit)]
    return (what, str(row.ours), *others, row.bound, verdict)


def _notes(rows: Sequence[Row]) -> list[str]:
    found = [
        textwrap.fill(row.note, WIDE, initial_indent=f"{number}. ", subsequent_indent="   ")
        for number, row in _numbered(rows)
        if number
    ]
    return ["", *found] if found else []


def machine_lines(machine: Mapping[str, str]) -> list[str]:
    """Say on what machine it ran, and when."""
    return [f"{name}: {value}" for name, value in machine.items()]
