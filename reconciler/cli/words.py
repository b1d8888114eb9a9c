"""Words of the command line and what is printed for machines."""

from __future__ import annotations

import os
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
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
