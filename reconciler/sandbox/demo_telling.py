"""How the demo looks on a terminal: tables and lines of text, plain where there is no terminal."""

from __future__ import annotations

import io
import os
import sys
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from reconciler import show
from reconciler.model import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from reconciler.sandbox.demo_facts import PipelineFacts, Result
    from reconciler.sandbox.demo_files import Attached

WIDTH = 100
"""Where no terminal says how wide it is."""
_STYLES = {"Pass": "green", "Fail": "red", "Error": "magenta"}


def make_console() -> Console:
    """Make a console on standard output that takes every text as it is, and knows no text that it cannot print."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    told = sys.stdout.isatty() or os.environ.get("COLUMNS")
    return Console(width=None if told else WIDTH, markup=False, highlight=False, emoji=False)


def paragraph(console: Console, text: str, style: str = "", *, indent: int = 3) -> None:
    """Print text, wrapped and indented."""
    console.print(Padding(text, (0, 0, 0, indent)), style=style)


def verbatim(console: Console, text: str, style: str = "") -> None:
    """Print a line that is to be copied: never wrapped."""
    console.print(f"   {text}", style=style, soft_wrap=True)


def two_columns(console: Console, rows: Iterable[tuple[str, str]]) -> None:
    """Print names and what they are."""
    table = _grid()
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for name, what in rows:
        table.add_row("", name, what)
    console.print(table)


def of_pipelines(facts: Sequence[PipelineFacts]) -> Table:
    """Tell of each pipeline what was read, what Rally has of it, and what is held; the last line is the sum."""
    verdicts = _present({verdict for one in facts for verdict in one.verdicts})
    table = _table()
    table.add_column("Pipeline", no_wrap=True)
    for name in ("Ref", "Jobs"):
        table.add_column(name, overflow="fold")
    for name in ("Tests", *verdicts, "Held"):
        table.add_column(name, justify="right", no_wrap=True, style=_STYLES.get(name, ""))
    for project, rows in groupby(facts, key=lambda one: one.project):
        table.add_row(project)
        for one in rows:
            numbers = [one.tests, *(one.verdicts[verdict] for verdict in verdicts), one.held]
            table.add_row(f"  {one.id}", one.ref, _jobs(one), *map(_number, numbers))
    table.add_section()
    sums = [sum(one.verdicts[verdict] for one in facts) for verdict in verdicts]
    totals = [sum(one.tests for one in facts), *sums, sum(one.held for one in facts)]
    table.add_row(f"all {len(facts)}", "", "", *map(_number, totals), style="bold")
    return table


def of_results(rows: Sequence[tuple[Result, Result | None]]) -> Table:
    """Tell of new results, each with the older one that it stands beside."""
    table = _table()
    for name in ("Build", "Test case", "Revision", "Verdict", "Before"):
        table.add_column(name, overflow="fold", no_wrap=name != "Test case")
    for result, before in rows:
        was = f"{before.verdict} in revision {before.revision}" if before else "held"
        verdict = Text(result.verdict, _STYLES.get(result.verdict, ""))
        table.add_row(result.build, f"{result.formatted_id} {result.name}", str(result.revision), verdict, was)
    return table


def of_sprints(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Tell of each sprint's set what `status` tells: who is in it, what the results say, and what was not run."""
    verdicts = _present({verdict for row in rows for verdict in row["results"]})
    table = _table()
    for name in ("Project", "Test set"):
        table.add_column(name, no_wrap=True)
    for name in ("Test cases", *verdicts, "Not run yet", "Coverage"):
        table.add_column(name, justify="right", no_wrap=True, style=_STYLES.get(name, ""))
    for row in rows:
        numbers = [row["members"], *(row["results"].get(verdict, 0) for verdict in verdicts), len(row["not_run"])]
        table.add_row(row["project"], row["test_set"], *map(_number, numbers), f"{row['coverage']} %")
    return table


def of_queue(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """Show held tests, each with what it may be and the command that says so."""
    for row in rows:
        verbatim(console, f"{show.clean(row['test'])}  (last: {row['last_verdict']})")
        if not row["reason"].startswith("not mapped"):
            verbatim(console, f"   {row['reason']}", style="yellow")
        best = next(iter(row["suggestions"]), None)
        if best is None:
            verbatim(console, "   no test case comes near", style="dim")
            verbatim(console, f"   reconciler ignore {show.quoted(row['test'])}", style="cyan")
            continue
        verbatim(console, f"   maybe {best['formatted_id']} “{show.clean(best['name'])}” ({best['score']:.0%})")
        verbatim(console, f"   {show.map_command(row['test'], best['formatted_id'])}", style="cyan")


def of_one_result(console: Console, result: Result) -> None:
    """Show a result as a tester sees it in Rally."""
    rows = [
        ("Test case", f"{result.formatted_id} {result.name}"),
        ("Build", result.build),
        ("Verdict", result.verdict),
        ("Date", result.date),
        ("Notes", "\n".join(result.lines)),
    ]
    two_columns(console, rows)


def of_files(console: Console, result: Result, files: Sequence[Attached], links: Sequence[str]) -> None:
    """Show what hangs on a result, what its Notes say of files, and where those lead for what is a link only."""
    rows = [
        ("Attached", "\n".join(f"{file.name}, {len(file.data):,} bytes, {file.content_type}" for file in files)),
        ("Notes", "\n".join(result.lines_about_files)),
        ("Link", "\n".join(links)),
    ]
    two_columns(console, rows)


def claims(console: Console, rows: Sequence[tuple[str, bool]]) -> None:
    """Print what must hold, and whether it does."""
    table = _grid()
    table.add_column()
    table.add_column(overflow="fold")
    for text, holds in rows:
        table.add_row("", "yes" if holds else "NO", text, style="" if holds else "bold red")
    console.print(table)


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), collapse_padding=True, header_style="bold")


def _grid() -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=1)
    return table


def _jobs(one: PipelineFacts) -> str:
    words = [
        name + (f" x{times}" if times > 1 else "") + (" (unreadable)" if name in one.unreadable else "")
        for name, times in one.jobs.items()
    ]
    return ", ".join(words)


def _number(number: int) -> str:
    return str(number) if number else "·"


def _present(verdicts: set[str]) -> list[str]:
    """Order verdicts from good to bad; those of a workspace's own come last."""
    known = [str(verdict) for verdict in reversed(Verdict) if str(verdict) in verdicts]
    return known + sorted(verdicts - set(known))
