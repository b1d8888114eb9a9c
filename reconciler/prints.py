"""Turn what a library prints into log lines."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from threading import Lock, local
from typing import TYPE_CHECKING, Any, TextIO, cast

from loguru import logger

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Capture(local):
    """What this thread printed and has not ended with a newline; None outside of every block."""

    pending: str | None = None


_capture = _Capture()
_lock = Lock()
_blocks = 0


@contextmanager
def capture_prints() -> Iterator[None]:
    """Log, at DEBUG, what this thread prints inside the block; pyral 1.6 has 14 bare print()s.

    Other threads print as ever, and blocks of several threads may overlap.
    """
    outermost = _capture.pending is None
    if not outermost:
        yield
        return
    _enter()
    _capture.pending = ""
    try:
        yield
    finally:
        rest, _capture.pending = _capture.pending, None
        _leave()
        _log(rest)


class _Routed:
    """Stands in for sys.stdout or sys.stderr while any thread is inside a block."""

    def __init__(self, beneath: TextIO) -> None:
        self.beneath = beneath

    def write(self, text: str) -> int:
        if _capture.pending is None:
            return self.beneath.write(text)
        *lines, _capture.pending = (_capture.pending + text).split("\n")
        for line in lines:
            _log(line)
        return len(text)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - all else is the stream's own affair
        return getattr(self.beneath, name)


def _enter() -> None:
    global _blocks  # noqa: PLW0603 - sys.stdout is global too
    with _lock:
        _blocks += 1
        if _blocks == 1:
            sys.stdout = cast("TextIO", _Routed(sys.stdout))
            sys.stderr = cast("TextIO", _Routed(sys.stderr))


def _leave() -> None:
    global _blocks  # noqa: PLW0603 - as above
    with _lock:
        _blocks -= 1
        if _blocks == 0:
            sys.stdout = getattr(sys.stdout, "beneath", sys.stdout)
            sys.stderr = getattr(sys.stderr, "beneath", sys.stderr)


def _log(line: str | None) -> None:
    if line and line.strip():
        logger.debug("a library printed", text=line)
