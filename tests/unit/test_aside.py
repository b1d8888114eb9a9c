"""Asking in another thread while something else goes on."""

from __future__ import annotations

import threading

import pytest

from reconciler.aside import aside, begun
from reconciler.errors import ServiceDown


def test_something_else_goes_on_until_the_answer_is_there() -> None:
    """In the thread that asked."""
    done: list[int] = []
    enough = threading.Event()

    def meanwhile() -> None:
        done.append(threading.get_ident())
        if len(done) == 3:
            enough.set()

    assert aside(lambda: enough.wait(10), meanwhile) is True
    assert set(done) == {threading.get_ident()}


def test_without_anything_else_it_is_a_plain_call() -> None:
    """No thread is made for it."""
    assert aside(threading.get_ident, None) == threading.get_ident()


def test_what_goes_wrong_is_raised_here() -> None:
    """On either side; the other one is waited for."""

    def down() -> None:
        raise ServiceDown("Rally", "no answer")

    with pytest.raises(ServiceDown):
        aside(down, lambda: None)
    asked = threading.Event()
    with pytest.raises(ZeroDivisionError):
        aside(lambda: asked.wait(0.1), lambda: 1 // 0)


def test_what_was_begun_is_over_when_the_block_is() -> None:
    """Whatever becomes of it."""
    over: list[str] = []

    def fails() -> None:
        over.append("asked")
        raise ServiceDown("Rally", "no answer")

    with begun(fails):
        pass
    assert over == ["asked"]
