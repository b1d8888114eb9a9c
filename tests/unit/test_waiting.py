"""The order in which results go out, and that no test case is ever given out twice at once."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.model import ObjectID
from reconciler.waiting import Waiting
from tests.building import add

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reconciler.plan import Add


def _told(adds: Iterable[Add]) -> list[str]:
    return [f"{one.key.formatted_id}@{one.key.pipeline_id}" for one in adds]


def _adds(*told: str) -> list[Add]:
    """Make results from `TC1@5`: test case and pipeline, whose id also gives the date."""
    return [
        add(formatted_id, pipeline_id=int(pipeline)) for formatted_id, _, pipeline in (t.partition("@") for t in told)
    ]


def test_the_longest_queue_goes_first_and_each_queue_oldest_first() -> None:
    """Results of one test case keep their order, in whatever order they were planned."""
    waiting = Waiting(_adds("TC1@3", "TC2@1", "TC1@2", "TC1@1", "TC2@2", "TC3@0"), busy=[])
    assert _told(waiting.take(10)) == ["TC1@1", "TC1@2", "TC1@3", "TC2@1", "TC2@2", "TC3@0"]


def test_of_equally_long_queues_the_oldest_goes_first() -> None:
    """By the date of the first result in it."""
    waiting = Waiting(_adds("TC1@3", "TC2@1", "TC3@2"), busy=[])
    assert _told(waiting.take(2)) == ["TC2@1", "TC3@2"]


def test_a_test_case_that_was_taken_from_is_busy_until_it_is_released() -> None:
    """What did not fit waits, although there is room in the next request."""
    waiting = Waiting(_adds("TC1@1", "TC1@2", "TC1@3", "TC2@1"), busy=[])
    first = waiting.take(2)
    assert _told(first) == ["TC1@1", "TC1@2"]
    assert _told(waiting.take(2)) == ["TC2@1"]
    assert waiting.take(2) == []
    assert not waiting.any_left()
    waiting.release([ObjectID(1)])
    assert waiting.any_left()
    assert _told(waiting.take(2)) == ["TC1@3"]
    waiting.release([ObjectID(1), ObjectID(2)])
    assert not waiting.any_left()


def test_what_is_given_back_stands_in_front_in_the_order_in_which_it_was_taken() -> None:
    """Also when it is taken in smaller bites the next time."""
    waiting = Waiting(_adds("TC1@1", "TC1@2", "TC1@3", "TC2@1"), busy=[])
    taken = waiting.take(3)
    waiting.give_back(taken)
    waiting.release(one.test_case for one in taken)
    assert _told(waiting.take(2)) == ["TC1@1", "TC1@2"]
    waiting.release([ObjectID(1)])
    assert _told(waiting.take(5)) == ["TC2@1", "TC1@3"]


def test_what_is_given_back_is_not_given_out_before_its_release() -> None:
    """A part of a queue may go back while the rest is still on its way."""
    waiting = Waiting(_adds("TC1@1", "TC1@2"), busy=[])
    _, second = waiting.take(2)
    waiting.give_back([second])
    assert waiting.take(2) == []
    waiting.release([ObjectID(1)])
    assert _told(waiting.take(2)) == ["TC1@2"]


def test_nothing_is_given_out_of_a_test_case_that_is_busy_from_the_start() -> None:
    """A request of unknown fate may still be writing to it; nor does that count as something left to take."""
    waiting = Waiting(_adds("TC1@1", "TC2@1"), busy=[ObjectID(1)])
    assert _told(waiting.take(5)) == ["TC2@1"]
    assert not waiting.any_left()


def test_releasing_twice_gives_nothing_out_twice() -> None:
    """Offers that are out of date are passed over."""
    waiting = Waiting(_adds("TC1@1", "TC1@2"), busy=[])
    waiting.take(1)
    waiting.release([ObjectID(1), ObjectID(1)])
    waiting.release([ObjectID(1)])
    assert _told(waiting.take(5)) == ["TC1@2"]
    assert waiting.take(5) == []


_planned = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 20)), max_size=20, unique=True)


@settings(deadline=None)
@given(_planned, st.sets(st.integers(1, 4), max_size=2), st.data())
def test_each_result_comes_out_once_in_order_and_never_beside_another_of_its_test_case(
    planned: list[tuple[int, int]], busy: set[int], data: st.DataObject
) -> None:
    """However requests end: landed, given back whole or in part, or never heard of again."""
    waiting = Waiting([add(f"TC{case}", pipeline_id=pipeline) for case, pipeline in planned], map(ObjectID, busy))
    flying: list[list[Add]] = []
    lost: set[ObjectID] = set(map(ObjectID, busy))
    landed: dict[ObjectID, list[int]] = defaultdict(list)
    for _ in range(200):
        taken = waiting.take(data.draw(st.integers(1, 5)))
        cases = Counter(case for letters in [*flying, taken] for case in {one.test_case for one in letters})
        assert not [case for case, requests in cases.items() if requests > 1 or case in lost]
        if taken:
            flying.append(taken)
        elif not flying:
            break
        if flying and (not taken or data.draw(st.booleans())):
            ended = flying.pop(data.draw(st.integers(0, len(flying) - 1)))
            if data.draw(st.integers(0, 9)) == 0:
                lost |= {one.test_case for one in ended}
                continue
            kept = data.draw(st.integers(1, len(ended)))
            waiting.give_back(ended[kept:])
            waiting.release(one.test_case for one in ended)
            for one in ended[:kept]:
                landed[one.test_case].append(one.key.pipeline_id)
    assert not waiting.any_left()
    wanted: dict[ObjectID, list[int]] = defaultdict(list)
    for case, pipeline in sorted(planned, key=lambda one: one[1]):
        wanted[ObjectID(case)].append(pipeline)
    for number, pipelines in wanted.items():
        if number in lost:
            assert landed[number] == pipelines[: len(landed[number])]
        else:
            assert landed[number] == pipelines
