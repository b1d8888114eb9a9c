"""Threads that read ahead: how far is bounded, order and errors are kept, and nobody is left behind."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from reconciler.readers import Readers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

THREADS = [0, 1, 3]


def counting(first: int, made: list[int]) -> Callable[[], Iterator[int]]:
    """Give work of three steps, which says what it has made."""

    def work() -> Iterator[int]:
        for n in range(first, first + 3):
            made.append(n)
            yield n

    return work


def all_of(readers: Readers[int]) -> list[int]:
    """Take everything that comes."""
    taken = []
    while readers.under_way:
        if (step := readers.take(0.05)) is not None:
            taken.append(step)
    return taken


@pytest.mark.parametrize("threads", THREADS)
def test_all_steps_come_once_those_of_one_work_in_their_order(threads: int) -> None:
    """Whether there are threads or not."""
    with closing(Readers[int](threads)) as readers:
        for first in (0, 10, 20):
            readers.begin(counting(first, []))
        taken = all_of(readers)
    assert sorted(taken) == [0, 1, 2, 10, 11, 12, 20, 21, 22]
    for first in (0, 10, 20):
        assert [n for n in taken if first <= n < first + 3] == [first, first + 1, first + 2]


def test_without_threads_a_step_is_made_when_it_is_taken() -> None:
    """One work after another: nothing overlaps."""
    made: list[int] = []
    with closing(Readers[int](0)) as readers:
        assert readers.wants_more()
        readers.begin(counting(0, made))
        assert (readers.wants_more(), made) == (False, [])
        assert (readers.take(), made) == (0, [0])
        assert all_of(readers) == [1, 2]


def test_no_more_is_made_than_there_is_room_for() -> None:
    """Back-pressure: a thread that finds no room waits with what it has."""
    made: list[int] = []
    with closing(Readers[int](2, room=1)) as readers:
        for first in (0, 10, 20, 30):
            readers.begin(counting(first, made))
        deadline = time.monotonic() + 30
        while len(made) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.3)
        assert len(made) == 3
        assert not readers.wants_more()
        assert len(all_of(readers)) == 12


@pytest.mark.parametrize("threads", THREADS)
def test_an_error_comes_to_whoever_takes_and_the_rest_goes_on(threads: int) -> None:
    """Also one that nobody expected."""

    def bad() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError

    with closing(Readers[int](threads)) as readers:
        readers.begin(bad)
        assert readers.take(1) == 1
        with pytest.raises(ZeroDivisionError):
            readers.take(1)
        readers.begin(counting(5, []))
        assert all_of(readers) == [5, 6, 7]


def test_closing_leaves_no_thread_behind() -> None:
    """Neither one that waits for room nor one that has not begun."""
    before = set(threading.enumerate())
    made: list[int] = []
    readers = Readers[int](2, room=1)
    for first in range(0, 100, 10):
        readers.begin(counting(first, made))
    time.sleep(0.1)
    readers.close()
    assert set(threading.enumerate()) <= before
    assert len(made) < 30
