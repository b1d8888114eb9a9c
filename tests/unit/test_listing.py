"""Listing by value: every pipeline is seen, however many have one time and in whatever order these come."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from reconciler.listing import Look, following
from reconciler.ports import PipelinePage
from tests import building
from tests.fakes import START

if TYPE_CHECKING:
    from random import Random

    from reconciler.model import Pipeline

SIZE = 4
"""Of a page."""


def served(pipelines: list[Pipeline], look: Look, order: Random) -> PipelinePage:
    """Answer as GitLab does: bounds inclusive and to the microsecond, ties in any order, times shown to the ms."""
    found = [one for one in pipelines if look.after <= one.updated_at <= (look.before or one.updated_at)]
    order.shuffle(found)
    found.sort(key=lambda one: one.id if look.floor is not None else one.updated_at, reverse=True)
    first, end = (look.page - 1) * SIZE, look.page * SIZE
    return PipelinePage(tuple(map(_shown, found[first:end])), look.page + 1 if end < len(found) else None)


def _shown(pipeline: Pipeline) -> Pipeline:
    at = pipeline.updated_at
    return replace(pipeline, updated_at=at.replace(microsecond=at.microsecond // 1000 * 1000))


def listed(pipelines: list[Pipeline], order: Random) -> tuple[set[int], int]:
    """List to the end; which were seen, and how many pages that took."""
    seen: set[int] = set()
    pages = 0
    look: Look | None = Look(building.PROJECT, children=False, after=START)
    while look is not None:
        page = served(pipelines, look, order)
        seen |= {one.id for one in page.pipelines}
        pages += 1
        assert pages <= 3 * len(pipelines) + 1
        look = following(look, page)
    return seen, pages


@given(
    st.lists(st.sampled_from([0, 1, 999, 1000, 1001, 2000, 60_000_000, 60_000_500, 60_001_000]), max_size=40),
    st.randoms(use_true_random=False),
)
def test_whatever_times_pipelines_have_all_are_seen(times_us: list[int], order: Random) -> None:
    """Of one time there may be more than fit on a page, and some at the very beginning of what is looked at."""
    pipelines = [
        replace(building.pipeline(100 + n), updated_at=START + timedelta(microseconds=us))
        for n, us in enumerate(times_us)
    ]
    seen, _ = listed(pipelines, order)
    assert seen == {one.id for one in pipelines}


@given(st.randoms(use_true_random=False))
def test_times_that_differ_cost_hardly_a_page_more(order: Random) -> None:
    """A page begins with the oldest of the one before: 13 of four each, where offsets would take 10."""
    pipelines = [building.pipeline(100 + n, at_s=60 * n) for n in range(40)]
    assert listed(pipelines, order) == ({one.id for one in pipelines}, 13)


@given(st.randoms(use_true_random=False))
def test_one_instant_with_more_than_a_page_is_listed_by_id(order: Random) -> None:
    """Here 13 of it, some of which the ledger's milliseconds cannot tell from others; then what is older."""
    pipelines = [
        replace(building.pipeline(100 + n), updated_at=START + timedelta(seconds=n < 13, microseconds=n % 2))
        for n in range(18)
    ]
    assert listed(pipelines, order)[0] == {one.id for one in pipelines}


@given(st.randoms(use_true_random=False))
def test_a_server_that_heeds_no_upper_bound_is_listed_by_offset_and_comes_to_an_end(order: Random) -> None:
    """Else its first page would be asked for over and over."""
    pipelines = [building.pipeline(100 + n, at_s=60 * n) for n in range(18)]
    seen: set[int] = set()
    look: Look | None = Look(building.PROJECT, children=False, after=START)
    for _ in range(40):
        if look is None:
            break
        page = served(pipelines, replace(look, before=None), order)
        seen |= {one.id for one in page.pipelines}
        look = following(look, page)
    assert (look, seen) == (None, {one.id for one in pipelines})
