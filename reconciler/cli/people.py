"""Commands for people."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli import building
from reconciler.cli.words import as_json, instant, print_json
from reconciler.errors import EXIT_DONE, EXIT_FAILED, EXIT_TRY_AGAIN

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from reconciler.config import Settings
    from reconciler.mapping import Row
    from reconciler.reconcile import Repaired
    from reconciler.verify import Verified


@click.command()
@as_json
@click.pass_obj
def status(where: dict[str, Any], *, json_too: bool) -> None:
    """Show how things stand: tests, results, problems, services."""
    from reconciler import show
    from reconciler.ledger import views
    from reconciler.ledger.store import open_for_reading

    store = open_for_reading(building.offline(where["config"]).ledger.path)
    told = {
        "tests": views.tests(store),
        "entries": views.entries(store),
        "attachments": views.attachments(store),
        "pipelines": views.pipelines(store),
        "problems": views.problems(store),
        "sprints": views.sprints(store),
        "services": views.services(store),
        "last_success": views.last_success(store),
        "refused": views.refusals(store),
        "unattached": views.unattached(store),
        "last_pass": views.last_pass(store),
    }
    store.close()
    if where["json"] or json_too:
        print_json(told)
    else:
        click.echo(show.status(told))


@click.command()
@as_json
@click.pass_obj
def review(where: dict[str, Any], *, json_too: bool) -> None:
    """Show the tests that no Rally test case is mapped to, with suggestions."""
    from reconciler import show
    from reconciler.ledger import review as queue
    from reconciler.ledger.store import open_for_reading

    settings = building.offline(where["config"])
    store = open_for_reading(settings.ledger.path)
    rows = queue.rows(store)
    store.close()
    if where["json"] or json_too:
        print_json(rows)
    else:
        click.echo(show.review(rows))


@click.command("map")
@click.argument("test")
@click.argument("formatted_id", metavar="TC")
@as_json
@click.pass_obj
def map_(where: dict[str, Any], test: str, formatted_id: str, *, json_too: bool) -> None:
    """Let TEST (a key: classname.name) count for a Rally test case, e.g. TC12; the next pass sends what was held."""
    _write_mapping(where, test, formatted_id.strip(), as_json=where["json"] or json_too)


@click.command()
@click.argument("test")
@as_json
@click.pass_obj
def ignore(where: dict[str, Any], test: str, *, json_too: bool) -> None:
    """Let TEST count for nothing: it leaves the review queue."""
    _write_mapping(where, test, "-", as_json=where["json"] or json_too)


def _write_mapping(where: dict[str, Any], test: str, formatted_id: str, *, as_json: bool) -> None:
    from reconciler import mapping_file, show
    from reconciler.mapping import Ignored, Mapping, Subject, is_formatted_id

    if formatted_id != "-" and not is_formatted_id(formatted_id):
        raise click.UsageError(f"{formatted_id!r} is no FormattedID of a test case: write it like TC12.")
    path = building.offline(where["config"]).mapping.file
    added = mapping_file.append(path, test, formatted_id)
    rows, _ = mapping_file.read(path)
    said = Mapping(rows, file=path.name).of(Subject(test, ""))
    effective = isinstance(said, Ignored) if formatted_id == "-" else formatted_id in getattr(said, "ids", ())
    if as_json:
        told = {"test": test, "formatted_id": formatted_id, "added": added, "effective": effective, "file": str(path)}
        print_json(told)
        return
    what = "is ignored" if formatted_id == "-" else f"counts for {formatted_id}"
    click.echo(f"{show.clean(test)} {what}: {'added to' if added else 'already in'} {path}")
    if not effective:
        click.echo(f"But {getattr(said, 'by', 'another row')} is more specific and wins: remove that row.", err=True)


@click.command()
@click.option("--since", metavar="DATE", help="Only results of this date and later, e.g. 2026-01-01; default: all.")
@click.option("--repair", is_flag=True, help="Send what is missing in Rally again, as the ledger has it.")
@as_json
@click.pass_obj
def verify(where: dict[str, Any], since: str | None, *, repair: bool, json_too: bool) -> None:
    """Read Rally back and compare it with the ledger: what is missing, altered, foreign, doubled."""
    from reconciler import show

    after = None if since is None else instant(since, "--since")
    settings, rows = building.configured(where["config"])
    done = _repaired(settings, rows, after) if repair else None
    found = done.found if done else _verified(settings, after)
    told = found.told()
    if done:
        told |= {"repaired": list(done.made), "refused": list(done.refused), "unknown": list(done.unknown)}
        told["details"] |= {"refused": done.refused}
    if where["json"] or json_too:
        print_json(told)
    else:
        click.echo(show.verified(told))
    failed, down = (done.failed, done.down) if done else ((), ())
    for text in (*failed, *down):
        click.echo(show.clean(text), err=True)
    sys.exit(EXIT_TRY_AGAIN if down and not failed else EXIT_DONE if found.is_true and not failed else EXIT_FAILED)


def _verified(settings: Settings, since: datetime | None) -> Verified:
    """Compare without the ledger's lock: a daemon may go on beside."""
    from contextlib import closing

    from reconciler import daemon
    from reconciler.ledger.store import open_for_reading
    from reconciler.verify import verify as compare

    rally = building.rally_of(settings, daemon.stop_on_signals(), patience_s=building.PATIENCE_S)
    return compare(rally, lambda: closing(open_for_reading(settings.ledger.path)), since)


def _repaired(settings: Settings, rows: Sequence[Row], since: datetime | None) -> Repaired:
    """Send what is missing, and its files, under the ledger's lock."""
    from reconciler.reconcile import repair

    with building.world(settings, patience_s=building.PATIENCE_S) as world:
        return repair(world, rows, since)


@click.command()
@click.option(
    "--keep", type=click.Path(path_type=Path), help="Keep config, mapping and ledger of the demo in this folder."
)
def demo(keep: Path | None) -> None:
    """Run the main job against stand-ins for GitLab and Rally on this machine."""
    from reconciler.sandbox import demo as sandbox

    sys.exit(sandbox.run(keep))
