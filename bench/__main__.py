"""The command: `python -m bench [--quick] [--json FILE] [GROUP …]`."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench import machine
from bench.rows import cpu, daemon, gitlab, growth, ledger, memory, results, start
from bench.stage import Bench, warm
from bench.table import lines, machine_lines, told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.table import Row

GROUPS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "start": start.rows,
    "cpu": cpu.rows,
    "gitlab": gitlab.rows,
    "memory": memory.rows,
    "ledger": ledger.rows,
    "growth": growth.rows,
    "daemon": daemon.rows,
    "results": results.rows,
}
RESULTS = Path(__file__).parent / "results.json"


@click.command()
@click.argument("groups", nargs=-1, type=click.Choice(list(GROUPS)))
@click.option("--quick", is_flag=True, help="Everything smaller: a minute instead of ten.")
@click.option(
    "--json", "to", type=click.Path(path_type=Path), default=RESULTS, show_default=True, help="Where the numbers go."
)
def main(groups: tuple[str, ...], to: Path, *, quick: bool) -> None:
    """Measure these groups of lines (default: all) and print the table; 1 when something is not reached."""
    described, began = machine.describe(), time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="reconciler-bench-") as name:
        bench = Bench(Path(name), quick)
        warm(bench)
        found = [row for group in groups or GROUPS for row in _measured(group, bench)]
    described["took"] = f"{time.perf_counter() - began:.0f} s{', the short form' if quick else ''}"
    click.echo("\n".join([*machine_lines(described), "", *lines(found)]))
    to.write_text(json.dumps({"machine": described, "rows": [told(row) for row in found]}, indent=1) + "\n")
    sys.exit(any(row.holds is False for row in found))


def _measured(group: str, bench: Bench) -> list[Row]:
    began = time.perf_counter()
    click.echo(f"{group} …", nl=False, err=True)
    found = list(GROUPS[group](bench))
    click.echo(f" {time.perf_counter() - began:.0f} s", err=True)
    return found


if __name__ == "__main__":
    main()
