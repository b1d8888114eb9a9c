"""Asking a service in a thread of its own, while this one goes on with something else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

LOOK_S = 0.02


def aside(work: Callable[[], T], meanwhile: Callable[[], object] | None) -> T:
    """Do `work`, which only asks, and call `meanwhile` again and again until its answer is there; raises as both do.

    Without a `meanwhile` nothing else is done.
    """
    if meanwhile is None:
        return work()
    with ThreadPoolExecutor(1, thread_name_prefix="aside") as pool:
        answer = pool.submit(work)
        while not wait([answer], timeout=LOOK_S).done:
            meanwhile()
        return answer.result()


@contextmanager
def begun(work: Callable[[], object]) -> Iterator[None]:
    """Let `work` begin now, beside the block; what becomes of it is found out by whoever needs it."""
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        pool.submit(work)
        yield
