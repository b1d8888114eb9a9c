"""Runs that need both services: the one-shots and the daemon."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli import backfilling, building
from reconciler.cli.words import complain, instant, print_json, telling_what_was_done
from reconciler.errors import EXIT_DONE, EXIT_FAILED, EXIT_TRY_AGAIN

if TYPE_CHECKING:
    from pathlib import Path

    from reconciler.order import Order
    from reconciler.world import Outcome


def one_shot(config_path: Path, options: dict[str, Any]) -> int:
    """Make one pass and print what it did; the exit status."""
    from reconciler import show

    order = _order(options)
    settings, rows = building.configured(config_path)
    if options["backfill"]:
        return backfilling.run(settings, rows, order, options)
    with building.world(settings, patience_s=building.PATIENCE_S) as world:
        from reconciler.reconcile import reconcile

        done = reconcile(world, rows, order)
    if order.dry_run:
        _tell_plan(done, as_json=options["as_json"])
    else:
        with telling_what_was_done():
            if options["as_json"]:
                print_json(done.summary)
            else:
                click.echo(show.outcome(done.summary, whole=not (done.down or done.failed)))
    for text in (*done.failed, *done.down):
        complain(show.clean(text))
    return _dry_status(done) if order.dry_run else done.exit_status


def _tell_plan(done: Outcome, *, as_json: bool) -> None:
    from reconciler import show

    if as_json:
        print_json({"actions": list(done.actions)})
    else:
        click.echo(show.plan(done.actions))


def _dry_status(done: Outcome) -> int:
    """Tell a dry run's status: a plan is no work left, only what kept it from being whole counts."""
    if done.failed:
        return EXIT_FAILED
    return EXIT_TRY_AGAIN if done.down else EXIT_DONE


def _order(options: dict[str, Any]) -> Order:
    from reconciler.order import Order, Scope

    if options["once"]:
        return Order("once", dry_run=options["dry_run"])
    if options["sprint_sets"]:
        return Order("sprint-sets", dry_run=options["dry_run"], collects=False, sends=False)
    since, until = instant(options["since"], "--since"), None
    if options["until"]:
        until = instant(options["until"], "--until", end=True)
        if until < since:
            raise click.UsageError("--until lies before --since.")
    if since > datetime.now(UTC):
        raise click.UsageError("--since lies in the future.")
    return Order(
        "backfill",
        scope=Scope(since, until, options["projects"]),
        dry_run=options["dry_run"],
        guard=None if options["yes"] else backfilling.ask,
    )
