"""How a long run gets on: a bar on a terminal, else a line in the log once a minute."""

from __future__ import annotations

import threading
import time
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from loguru import logger
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LINE_EVERY_S = 60.0
_LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class Counts:
    """How far it got."""

    found: int
    """Pipelines to be read, those that are read included."""
    read: int
    sent: int
    """Results."""
    due: int = 0
    """Results that are known to be wanted, those that are sent included; 0: not known."""


@dataclass(slots=True)
class Pace:
    """How fast it gets on, and when it may be over."""

    first: Counts
    began_at: float

    def rate(self, now: Counts, at: float) -> float:
        """Give results a second."""
        return (now.sent - self.first.sent) / max(at - self.began_at, 0.001)

    def left_s(self, now: Counts, at: float) -> float | None:
        """Guess how many seconds it takes yet; None: nobody can tell.

        Reading and sending go on side by side: the slower one decides. Pipelines to come are taken to be as large as
        those that were read.
        """
        elapsed = max(at - self.began_at, 0.001)
        read, sent = now.read - self.first.read, now.sent - self.first.sent
        guesses: list[float] = []
        if read:
            guesses.append((now.found - now.read) * elapsed / read)
        if sent and now.read:
            expected = max(now.due, now.sent) * max(now.found / now.read, 1.0)
            guesses.append((expected - now.sent) * elapsed / sent)
        unknown = now.found > now.read and not read
        return None if unknown or not guesses else max(guesses)


def line(now: Counts, pace: Pace, at: float) -> dict[str, object]:
    """Give the fields of a log line."""
    left_s = pace.left_s(now, at)
    return {
        "pipelines": f"{now.read}/{now.found}",
        "results_sent": now.sent,
        "results_per_second": round(pace.rate(now, at), 1),
    } | ({"left": _duration(left_s)} if left_s is not None else {})


Paused = AbstractContextManager[None]


@contextmanager
def logged(look: Callable[[], Counts], every_s: float = LINE_EVERY_S) -> Iterator[Callable[[], Paused]]:
    """Log a line now and then until the block ends."""
    pace = Pace(look(), time.monotonic())

    def tell() -> None:
        logger.info("Backfill", **line(look(), pace, time.monotonic()))

    with _repeated(tell, every_s):
        yield nullcontext


@contextmanager
def shown(look: Callable[[], Counts], console: Console) -> Iterator[Callable[[], Paused]]:
    """Show a bar until the block ends; what else is written while it stands must go through `Above`.

    The bar is away in a block of what this gives: for a question to a person.
    """
    pace = Pace(look(), time.monotonic())
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[more]}"))
    with Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False) as bar:
        task = bar.add_task("", total=None, more="")

        def draw() -> None:
            _draw(bar, task, look(), pace)

        draw()
        with _repeated(draw, _LOOK_S):
            yield lambda: _away(bar)


@contextmanager
def _away(bar: Progress) -> Iterator[None]:
    bar.stop()
    try:
        yield
    finally:
        bar.start()


def _draw(bar: Progress, task: TaskID, now: Counts, pace: Pace) -> None:
    at = time.monotonic()
    left_s = pace.left_s(now, at)
    more = f"{now.sent:,} results, {pace.rate(now, at):.0f}/s"
    more += f", {_duration(left_s)} left" if left_s is not None else ""
    bar.update(
        task, description=f"{now.read:,}/{now.found:,} pipelines", total=now.found or None,
        completed=now.read, more=more,
    )  # fmt: skip


class Above:
    """A stream whose lines come to stand above the bar: a terminal that two write to tears them apart."""

    def __init__(self, console: Console) -> None:
        """Write to this console, on which the bar stands."""
        self._console = console

    def write(self, text: str) -> int:
        """Write lines; no character of theirs is taken for markup."""
        self._console.print(text, end="", markup=False, highlight=False, emoji=False, soft_wrap=True)
        return len(text)

    def flush(self) -> None:
        """Do nothing: each line is written at once."""

    def isatty(self) -> bool:
        """Tell that no colours are wanted: their codes would be counted as text."""
        return False


@contextmanager
def _repeated(work: Callable[[], None], every_s: float) -> Iterator[None]:
    """Do something again and again, in a thread of its own, until the block ends."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(every_s):
            work()

    thread = threading.Thread(target=run, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def console_of(stream: TextIO) -> Console:
    """Give the console that draws on a stream."""
    return Console(file=stream)
