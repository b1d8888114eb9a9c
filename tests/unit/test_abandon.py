"""Calls that may block run in threads that are used again, and can be left behind."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from contextlib import suppress
from contextvars import ContextVar
from functools import partial

import pytest

from reconciler.wire import abandon

NEVER = threading.Event()
LONG_S = 20.0


def _run_in() -> int:
    return abandon.run(threading.get_ident, NEVER, longest_s=LONG_S)


def test_calls_one_after_another_share_a_thread_that_is_not_ours() -> None:
    """The start of a thread for each cost half as much as an exchange."""
    assert len({_run_in() for _ in range(5)}) == 1
    assert _run_in() != threading.get_ident()


def test_what_it_gives_and_raises_is_the_calls_own() -> None:
    """An error keeps its type and is raised where it was waited for; the thread goes on."""
    assert abandon.run(lambda: [1], NEVER, longest_s=LONG_S) == [1]
    with pytest.raises(ZeroDivisionError):
        abandon.run(lambda: 1 // 0, NEVER, longest_s=LONG_S)
    assert abandon.run(lambda: None, NEVER, longest_s=LONG_S) is None


def test_an_error_leaves_nothing_behind_that_only_a_garbage_collection_would_free() -> None:
    """Its traceback has the sockets of an exchange: they are closed when it has been dealt with."""

    class Socket:
        pass

    sockets: list[weakref.ref[Socket]] = []

    def fail() -> None:
        opened = Socket()
        sockets.append(weakref.ref(opened))
        raise ConnectionResetError

    gc.disable()
    try:
        with suppress(ConnectionResetError):
            abandon.run(fail, NEVER, longest_s=LONG_S)
        _run_in()  # by then the thread has let go
        assert [socket() for socket in sockets] == [None]
    finally:
        gc.enable()


def test_a_call_sees_its_callers_context() -> None:
    """And cannot change it."""
    told: ContextVar[str] = ContextVar("told", default="nothing")
    told.set("this")
    assert abandon.run(told.get, NEVER, longest_s=LONG_S) == "this"
    abandon.run(lambda: told.set("that"), NEVER, longest_s=LONG_S)
    assert told.get() == "this"


def test_a_thread_that_is_left_behind_gets_no_call_until_it_has_ended_its_own() -> None:
    """The next one goes to another thread, and gets its own answer."""
    go_on, stop = threading.Event(), threading.Event()
    busy: list[int] = []

    def block() -> str:
        busy.append(threading.get_ident())
        go_on.wait(LONG_S)
        return "late"

    with pytest.raises(abandon.LeftBehind) as left:
        abandon.run(block, NEVER, longest_s=0.3)
    assert not left.value.stopping
    assert _run_in() not in busy
    stop.set()
    began = time.monotonic()
    with pytest.raises(abandon.LeftBehind) as left:
        abandon.run(block, stop, longest_s=LONG_S)
    assert left.value.stopping
    assert time.monotonic() - began < LONG_S / 2
    go_on.set()
    assert abandon.run(lambda: "mine", NEVER, longest_s=LONG_S) == "mine"


def test_many_at_once_each_get_their_own_answer() -> None:
    """As many threads as there are calls at once, and no more than that afterwards."""
    got: dict[int, list[int]] = {}

    def ask(number: int) -> None:
        got[number] = [abandon.run(partial(int, f"{number}{turn:03}"), NEVER, longest_s=LONG_S) for turn in range(200)]

    askers = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(LONG_S)
    assert got == {number: [number * 1000 + turn for turn in range(200)] for number in range(8)}


def test_a_thread_without_calls_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """None is left of a burst; the next call starts one anew."""
    monkeypatch.setattr(abandon, "_IDLE_S", 0.01)
    names = {thread.ident for thread in threading.enumerate()}
    fresh = [threading.Thread(target=_run_in) for _ in range(4)]
    for thread in fresh:
        thread.start()
    for thread in fresh:
        thread.join(LONG_S)
    until = time.monotonic() + LONG_S
    while {thread.ident for thread in threading.enumerate()} - names and time.monotonic() < until:
        time.sleep(0.01)
    assert not {thread.ident for thread in threading.enumerate()} - names
    assert _run_in() != threading.get_ident()


def test_a_thread_that_is_about_to_end_still_does_what_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its patience may be over in the moment in which it is taken."""
    patience_s = 0.002
    monkeypatch.setattr(abandon, "_IDLE_S", patience_s)
    for turn in range(500):
        assert abandon.run(lambda: "done", NEVER, longest_s=LONG_S) == "done"
        time.sleep(patience_s * (0.8 + turn % 5 / 10))
