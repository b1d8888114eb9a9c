"""How a long run tells how far it is: a bar that log lines do not tear, or a line a minute."""

from __future__ import annotations

import io
import itertools
import logging
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from loguru import logger
from rich.console import Console

from reconciler import log, progress
from reconciler.progress import Counts, Pace

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _leave_logging_as_it_was() -> Iterator[None]:
    root, hooks = logging.getLogger(), (sys.excepthook, threading.excepthook, sys.unraisablehook)
    before = list(root.handlers)
    yield
    logger.remove()
    logging.captureWarnings(capture=False)
    root.handlers[:] = before
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks


@pytest.mark.parametrize(
    ("now", "left_s"),
    [
        (Counts(100, 0, 0), None),  # nothing was read yet
        (Counts(100, 50, 0), 10),  # as long again
        (Counts(100, 50, 500, 500), 10),  # reading and sending are level
        (Counts(100, 100, 500, 1000), 10),  # all is read
        (Counts(100, 80, 100, 1000), 115),  # sending is slower: 1,250 results in all, of which 1,150 are to come
        (Counts(0, 0, 0), None),
    ],
)
def test_the_time_that_is_left_is_what_the_slower_half_takes(now: Counts, left_s: float | None) -> None:
    """After ten seconds."""
    assert Pace(Counts(100, 0, 0), 0.0).left_s(now, 10.0) == (None if left_s is None else pytest.approx(left_s))


def test_what_an_earlier_run_did_counts_as_done_and_not_as_pace() -> None:
    """A resumed backfill."""
    pace = Pace(Counts(100, 50, 1000), 0.0)
    assert pace.rate(Counts(100, 60, 1100), 10.0) == 10.0
    assert pace.left_s(Counts(100, 60, 1000), 10.0) == 40.0


def test_without_a_terminal_a_line_comes_now_and_then() -> None:
    """With how far it is, how fast, and how long it may take."""
    stream = io.StringIO()
    log.configure("INFO", json=False, secrets=(), stream=stream)
    steps = itertools.chain([Counts(4, 0, 0)], itertools.repeat(Counts(4, 2, 30)))
    with progress.logged(lambda: next(steps), every_s=0.05) as paused, paused():
        deadline = time.monotonic() + 5
        while "\n" not in stream.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
    line = stream.getvalue().splitlines()[0]
    assert "Backfill pipelines=2/4 results_sent=30 results_per_second=" in line
    assert "left=" in line


def test_log_lines_stand_whole_above_the_bar() -> None:
    """Whatever a test is called: markup, colours and long names are text."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=60, color_system=None)
    name = "x[/red][bold]" + "y" * 80
    with progress.shown(lambda: Counts(10, 5, 1234), console):
        log.configure("INFO", json=False, secrets=(), stream=progress.Above(console))  # type: ignore[arg-type]  # as much of one as is used
        logger.info("Results sent", which=name)
        time.sleep(0.2)
    said = stream.getvalue()
    assert f"which={name}\n" in said
    assert "5/10 pipelines" in said
    assert "1,234 results" in said
    (line,) = [line for line in said.split("\n") if name in line]
    assert line.rpartition("\x1b[2K")[2].startswith("20"), line


def test_the_bar_is_away_while_a_person_is_asked() -> None:
    """Nothing is drawn into the answer."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=60)
    with progress.shown(lambda: Counts(10, 5, 0), console) as paused, paused():
        time.sleep(0.1)
        before = stream.getvalue()
        time.sleep(1.2)
        assert stream.getvalue() == before
