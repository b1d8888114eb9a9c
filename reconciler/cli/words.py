"""Words of the command line and what is printed for machines."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JSON_HELP = "Print JSON for machines; the log goes to standard error."
WIDEST, NARROWEST = 80, 50
as_json = click.option("--json", "json_too", is_flag=True, help=JSON_HELP)


class FilePath(click.Path):
    """A path; pathlib is imported when one is given, for it is a twentieth of `--help`."""

    def coerce_path_result(self, value: str | os.PathLike[str]) -> Path:
        """Make it one of pathlib's."""
        from pathlib import Path

        return Path(value)


def help_width() -> int:
    """Tell how wide help may be: as click reckons it, but without shutil, whose imports are a tenth of `--help`."""
    columns = os.environ.get("COLUMNS", "")
    try:
        wide = int(columns) if columns.isdecimal() else os.get_terminal_size().columns
    except OSError:  # not a terminal
        wide = 0
    return max(min(wide or WIDEST, WIDEST) - 2, NARROWEST)


def instant(text: str, option: str, *, end: bool = False) -> datetime:
    """Read a day or an instant; a naive one is UTC, a day as an end is its last microsecond."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(
            f"{option} {text!r} is no date: write it like 2026-01-31 or 2026-01-31T12:00Z."
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    whole_day = len(text) <= len("2026-01-31") and moment.time() == time(0)
    return moment + timedelta(days=1, microseconds=-1) if end and whole_day else moment


def print_json(value: object) -> None:
    """Print a value as the whole answer to a program."""
    import json

    click.echo(json.dumps(value, indent=2))


def complain(text: str) -> None:
    """Tell a person something besides the answer."""
    with to_whoever_hears():
        click.echo(text, err=True)


@contextmanager
def to_whoever_hears() -> Iterator[None]:
    """Write to standard error; where that cannot be written, nobody is there to tell."""
    try:
        yield
    except OSError:
        _let_go(sys.stderr.fileno())


@contextmanager
def telling_what_was_done() -> Iterator[None]:
    """Print what work came to: if that cannot be printed, it is said, and the exit status still tells of the work."""
    try:
        yield
    except OSError as error:
        if not lost_output(error):
            raise


def lost_output(error: OSError) -> bool:
    """Tell whether it was standard output that could not be written, by who failed at it; if so, let go of it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or trace.tb_frame.f_code is not click.echo.__code__:
        return False
    complain(f"cannot write to standard output: {error.strerror}")
    _let_go(sys.stdout.fileno())
    return True


def _let_go(descriptor: int) -> None:
    """Let all that is still to be written go nowhere: Python would fail at it in the end, with a status of its own."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
