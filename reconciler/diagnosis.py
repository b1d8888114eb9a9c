"""What `reconciler doctor` found, as people read it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from reconciler.show import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MOST_OF_A_KIND = 20
"""Lines of one check that are printed for people; `--json` has all."""
_TITLES = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


def diagnosis(rows: Sequence[Mapping[str, str]]) -> str:
    """Tell line by line what was looked at and found, below it what to do, and in the end how many of each."""
    counts = Counter(row["state"] for row in rows)
    summary = f"{counts['ok']} ok, {_count(counts['warn'], 'warning')}, {counts['fail']} failed."
    return "\n".join([*_lines(rows), "", summary])


def _lines(rows: Sequence[Mapping[str, str]]) -> Iterator[str]:
    of_a_kind = Counter((row["check"], row["state"]) for row in rows)
    shown: Counter[tuple[str, str]] = Counter()
    todo = ""
    for row in rows:
        kind = row["check"], row["state"]
        shown[kind] += 1
        if shown[kind] > MOST_OF_A_KIND:
            if shown[kind] == of_a_kind[kind]:
                yield f"      … and {of_a_kind[kind] - MOST_OF_A_KIND} more of these: reconciler doctor --json"
            continue
        about = f"{row['check']} {row['subject']}".rstrip()
        yield f"{_TITLES[row['state']]}  {clean(about)}: {clean(row['found'])}"
        if row["todo"] and row["todo"] != todo:
            yield f"      → {clean(row['todo'])}"
        todo = row["todo"]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
