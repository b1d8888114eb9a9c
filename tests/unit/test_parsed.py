"""The tests of a report wait in memory while they are few, else on disk, and come back as they were."""

from __future__ import annotations

import tracemalloc
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from reconciler.junit import BadReport
from reconciler.model import Outcome
from reconciler.parsed import Room
from tests import building

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.model import TestRun

RUNS = [
    replace(building.run(f"t{n}", Outcome.FAILED, ids="TC1", ordinal=n), detail="ä\n" * 50, duration_s=n / 7)
    for n in range(20)
]


@pytest.mark.parametrize("memory_bytes", [1, 2_000, 1_000_000])
def test_what_comes_back_is_what_was_kept(memory_bytes: int) -> None:
    """Several documents share the room; each may be read more than once."""
    with closing(Room(memory_bytes)) as room:
        first, second = room.keep(RUNS), room.keep(RUNS[:3])
        assert [list(first), list(second), list(first)] == [RUNS, RUNS[:3], RUNS]


def test_a_document_that_turns_out_bad_leaves_the_others_whole() -> None:
    """It is bad at its very end only."""

    def bad() -> Iterator[TestRun]:
        yield from RUNS
        raise BadReport("malformed", "")

    with closing(Room(2_000)) as room:
        kept = room.keep(RUNS)
        with pytest.raises(BadReport):
            room.keep(bad())
        assert list(kept) == RUNS
        assert list(room.keep(RUNS)) == RUNS


def test_a_giant_report_costs_no_more_memory_than_the_room_has() -> None:
    """Neither on its way in nor on its way out."""
    with closing(Room(200_000)) as room:
        tracemalloc.start()
        kept = room.keep(replace(building.run(f"t{n}"), system_out=f"{n} " * 500) for n in range(4_000))
        assert sum(len(run.system_out) for run in kept) > 8_000_000
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 3_000_000
