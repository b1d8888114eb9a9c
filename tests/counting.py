"""Counts that tests take while they run, told in one place at the end: points of killing, steps of machines."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pytest

PREFIX = "count of "
KILLS = ("killed before a write", "killed after a write", "killed before a commit", "killed after a commit")
STEPS = "steps of property machines"
_counted: Counter[str] = Counter()


def count(what: str) -> None:
    """Add one to what the test that is running counts."""
    _counted[what] += 1


def taken() -> list[tuple[str, object]]:
    """Give what was counted since the last call, as properties of a test's report: those reach xdist's controller."""
    found = [(PREFIX + what, n) for what, n in _counted.items()]
    _counted.clear()
    return list(found)


def summary(reports: Iterable[pytest.TestReport]) -> Iterator[str]:
    """Add up what these reports counted; kinds that nothing counted are left out."""
    total: Counter[str] = Counter()
    for report in reports:
        for name, value in report.user_properties:
            if report.when == "call" and name.startswith(PREFIX) and isinstance(value, int):
                total[name.removeprefix(PREFIX)] += value
    kills = sum(total[kind] for kind in KILLS)
    if kills:
        yield f"{kills} kill points: " + ", ".join(f"{total[kind]} {kind.removeprefix('killed ')}" for kind in KILLS)
    if total[STEPS]:
        yield f"{total[STEPS]} {STEPS}, each with all invariants checked after it"
