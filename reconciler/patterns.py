"""Path patterns, one dialect for archive paths and for branch names."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_ANY_FOLDERS = "**"


def matches(path: str, patterns: Iterable[str]) -> bool:
    """Tell whether any of the patterns matches the whole path; no patterns, no match."""
    return any(compile_path(pattern).fullmatch(path) for pattern in patterns)


@lru_cache(maxsize=1024)
def compile_path(pattern: str) -> re.Pattern[str]:
    """Compile a pattern for `fullmatch`; upper and lower case are the same.

    ============  ====================================================
    `**/`         zero or more folders
    `**` at end   everything below: at least one character, any depth
    `*`           any characters but `/`, none included
    `?`           one character but `/`
    other         itself: brackets, braces and backslashes are literal
    ============  ====================================================

    Paths come from artifacts, so anyone may write them: what a wildcard took is not given back (atomic groups), and no
    path makes a match take longer than about its length squared.
    """
    return re.compile(_expression(pattern.split("/")), re.IGNORECASE | re.DOTALL)


def _expression(segments: list[str]) -> str:
    everything_below = segments[-1] == _ANY_FOLDERS
    folders = segments[:-1] if everything_below else segments
    runs = [(starred, list(run)) for starred, run in groupby(folders, key=_ANY_FOLDERS.__eq__)]
    parts = []
    for index, (starred, run) in enumerate(runs):
        if not starred:
            last = index == len(runs) - 1 and not everything_below
            fixed = "/".join(map(_segment, run)) + ("" if last else "/")
            parts.append(_place(fixed, anywhere=index > 0, last=last))
    return "".join(parts) + (".+" if everything_below else "")


def _place(fixed: str, *, anywhere: bool, last: bool) -> str:
    """Put a run of segments where it belongs: the leftmost place is enough unless it is the last run."""
    if not anywhere:
        return fixed
    return f"(?:[^/]*/)*{fixed}" if last else f"(?>(?:[^/]*/)*?{fixed})"


def _segment(segment: str) -> str:
    """Translate what stands between two slashes; it always begins and ends where a path's segment does."""
    first, *rest = (_literal(piece) for piece in re.split(r"\*+", segment))
    if not rest:
        return first
    *middle, last = rest
    return first + "".join(f"(?>[^/]*?{piece})" for piece in middle) + f"[^/]*{last}"


def _literal(piece: str) -> str:
    return re.escape(piece).replace(r"\?", "[^/]")
