"""Commands for people."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli import building
from reconciler.cli.words import FilePath, as_json, complain, instant, print_json, telling_what_was_done
from reconciler.errors import EXIT_DONE, EXIT_FAILED, EXIT_TRY_AGAIN

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from reconciler.config import Settings
    from reconciler.ledger.store import Store
    from reconciler.mapping import Row
    from reconciler.repairing import Repaired
    from reconciler.verify import Verified


@click.command()
@as_json
@click.pass_obj
def status(where: dict[str, Any], *, json_too: bool) -> None:
    """Show how things stand: tests, results, problems, services."""
    from contextlib import closing
    from datetime import UTC, datetime

    from reconciler import show
    from reconciler.ledger.store import open_for_reading

    for_machines = where["json"] or json_too
    ledger = building.offline(where["config"]).ledger.path
    with closing(open_for_reading(ledger)) as store:
        told = _standing(store, whole=for_machines)
    _look_for_daemon(told, ledger)
    if for_machines:
        print_json(told)
    else:
        click.echo(show.status(told, datetime.now(UTC), width=_width()))


def _standing(store: Store, *, whole: bool) -> dict[str, Any]:
    """Tell what the ledger knows; not `whole`: of lists the newest rows, with their lengths in `counts`."""
    from reconciler.ledger import views

    used, said = views.last_used(store), views.daemon(store)
    told = {
        "tests": views.tests(store),
        "entries": views.entries(store),
        "attachments": views.attachments(store),
        "pipelines": views.pipelines(store),
        "backfills": views.backfills(store),
        **_lists(store, whole=whole),
        "services": {name: one | {"last_pass": used[name]} for name, one in views.services(store).items()},
        "last_success": views.last_success(store),
        "last_pass": views.last_pass(store),
        "backlog": views.backlog(store),
        "soonest_expiry": views.soonest_expiry(store),
        "daemon": said,
        "token": {"gitlab_expires": said.pop("gitlab_expires")},
    }
    return told if whole else told | {"counts": _lengths(store, told)}


def _lists(store: Store, *, whole: bool) -> dict[str, Any]:
    from reconciler import show
    from reconciler.ledger import views

    rows, sprints = (views.ALL, views.ALL) if whole else (show.ROWS_OF_STATUS, show.SPRINTS_SHOWN)
    return {
        "problems": views.problems(store, rows),
        "sprints": views.sprints(store, sprints),
        "refused": views.refusals(store, rows),
        "unattached": views.unattached(store, rows),
    }


def _lengths(store: Store, told: dict[str, Any]) -> dict[str, int]:
    from reconciler.ledger import views

    return {
        "problems": views.count_problems(store),
        "sprints": views.count_sprints(store),
        "refused": told["entries"]["refused"],
        "unattached": told["attachments"]["missing"] + told["attachments"]["refused"],
    }


def _look_for_daemon(told: dict[str, Any], ledger: Path) -> None:
    """Tell who writes to the ledger: the daemon, when it left word since it has the lock; its word is stale if not."""
    from datetime import datetime

    from reconciler.errors import LedgerUnusable
    from reconciler.ledger.lock import holder_of

    try:
        holder = holder_of(ledger)
    except LedgerUnusable as error:
        complain(str(error))
        holder = None
    said = told["daemon"]
    since, started = holder.since if holder else None, said.pop("started")
    runs = bool(holder and started and (since is None or datetime.fromisoformat(started) >= since))
    breakers = said.pop("breakers") if runs else {}
    for name, service in told["services"].items():
        service["breaker"] = next((state for of, state in breakers.items() if of.lower() == name), None)
    told["daemon"] = {
        "running": runs,
        "pid": holder.pid if holder else None,
        "host": holder.host if holder else None,
        "since": since.isoformat().replace("+00:00", "Z") if since else None,
        "next": said["next"] if runs else {},
        "alarms": said["alarms"] if runs else [],
    }


def _width() -> int | None:
    """Tell how wide the terminal is; None when people read this in another way."""
    if not sys.stdout.isatty():
        return None
    import shutil

    return shutil.get_terminal_size().columns


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
    what = "is ignored" if formatted_id == "-" else f"counts for {formatted_id}"
    with telling_what_was_done():
        if as_json:
            print_json(
                {"test": test, "formatted_id": formatted_id, "added": added, "effective": effective, "file": str(path)}
            )
            return
        click.echo(f"{show.clean(test)} {what}: {'added to' if added else 'already in'} {path}")
    if not effective:
        complain(f"But {getattr(said, 'by', 'another row')} is more specific and wins: remove that row.")


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
        complain(show.clean(text))
    sys.exit(EXIT_TRY_AGAIN if down and not failed else EXIT_DONE if found.is_true and not failed else EXIT_FAILED)


def _verified(settings: Settings, since: datetime | None) -> Verified:
    """Compare without the ledger's lock: a daemon may go on beside."""
    from contextlib import closing

    from reconciler.ledger.store import open_for_reading
    from reconciler.signals import stop_on_signals
    from reconciler.verify import verify as compare

    rally = building.rally_of(settings, stop_on_signals(), patience_s=building.PATIENCE_S)
    return compare(rally, lambda: closing(open_for_reading(settings.ledger.path)), since)


def _repaired(settings: Settings, rows: Sequence[Row], since: datetime | None) -> Repaired:
    """Send what is missing, and its files, under the ledger's lock."""
    with building.world(settings, patience_s=building.PATIENCE_S) as world:
        from reconciler.repairing import repair

        return repair(world, rows, since)


@click.command()
@as_json
@click.pass_obj
def doctor(where: dict[str, Any], *, json_too: bool) -> None:
    """Look whether all is set up right; writes nothing anywhere."""
    from reconciler.cli import examine

    sys.exit(examine.run(where["config"], as_json=where["json"] or json_too))


@click.command()
@click.option("--keep", type=FilePath(), help="Keep config, mapping and ledger of the demo in this folder.")
def demo(keep: Path | None) -> None:
    """Run the main job against stand-ins for GitLab and Rally on this machine."""
    from reconciler.sandbox import demo as sandbox

    sys.exit(sandbox.run(keep))
