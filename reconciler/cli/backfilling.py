"""The command `--backfill`: alone with the ledger, or beside a daemon that carries it out."""

from __future__ import annotations

import sys
import time
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TextIO, cast

import click

from reconciler.cli import building
from reconciler.cli.words import complain, print_json, telling_what_was_done
from reconciler.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_TRY_AGAIN,
    MUCH,
    LedgerBusy,
    LedgerUnusable,
    NotAgreed,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from reconciler.config import Settings
    from reconciler.ledger.backfills import Backfill
    from reconciler.mapping import Row
    from reconciler.order import Order
    from reconciler.progress import Counts, Paused
    from reconciler.world import Outcome

LOOK_S = 0.5
STARTING_S = 1.5
"""How long whoever holds the ledger may take to say that it takes orders."""


def run(settings: Settings, rows: Sequence[Row], order: Order, options: Mapping[str, Any]) -> int:
    """Carry out a backfill, or have it carried out; the exit status."""
    as_json, per_second = options["as_json"], options["requests_per_second"] or 0.0
    try:
        done = _alone(settings, rows, order, quiet=as_json, per_second=per_second)
    except LedgerBusy:
        if order.dry_run or not _daemon_holds(settings.ledger.path):
            raise
        if per_second:
            raise click.UsageError(
                "A daemon holds the ledger and carries the backfill out between its polls, never more than a few"
                " requests at once: leave out --requests-per-second, or stop the daemon."
            ) from None
        return _Beside(settings, order, quiet=as_json).run()
    if order.dry_run:
        _tell_plan(done, as_json=as_json)
        return EXIT_FAILED if done.failed else EXIT_TRY_AGAIN if done.down else EXIT_DONE
    tell(done.summary, done.failed, done.down, as_json=as_json)
    return done.exit_status


def ask(results: int) -> None:
    """Ask before a flood; without a terminal the answer is No."""
    if results <= MUCH:
        return
    if not sys.stdin.isatty():
        raise NotAgreed(
            f"This would send up to {results:,} results to Rally. Nothing was sent: give --yes to send them."
        )
    from reconciler.signals import answered_to

    try:
        with answered_to():
            agreed = click.confirm(f"Send up to {results:,} results to Rally?", err=True)
    except click.Abort:
        complain("")  # the question's line has no end yet
        agreed = False
    if not agreed:
        raise NotAgreed(
            "Nothing was sent. Given again with --yes, the same command sends them and reads nothing twice."
        )


def tell(summary: Mapping[str, int], failed: Sequence[str], down: Sequence[str], *, as_json: bool) -> None:
    """Print what a backfill did."""
    from reconciler import show

    with telling_what_was_done():
        if as_json:
            print_json(dict(summary))
        else:
            click.echo(show.outcome(summary, whole=not (down or failed)))
            click.echo(_of_the_past(summary))
    for text in (*failed, *down):
        complain(show.clean(text))


def _tell_plan(done: Outcome, *, as_json: bool) -> None:
    from reconciler import show

    counts = {name: done.summary[name] for name in ("pipelines_found", "pipelines_read", "expired")}
    if as_json:
        print_json({"actions": list(done.actions)} | counts)
    else:
        click.echo(show.plan(done.actions))
        click.echo(_of_the_past(done.summary))
    for text in (*done.failed, *done.down):
        complain(show.clean(text))


def _of_the_past(summary: Mapping[str, int]) -> str:
    found, expired = summary.get("pipelines_found", 0), summary.get("expired", 0)
    line = f"Pipelines found in that time that were not known: {found:,}."
    if expired:
        line += f" Reports that are gone from GitLab: {expired:,}: `reconciler status` lists them as expired."
    return line


# --- alone -----------------------------------------------------------------------------------------------------------


def _alone(settings: Settings, rows: Sequence[Row], order: Order, *, quiet: bool, per_second: float) -> Outcome:
    with building.world(settings, patience_s=building.PATIENCE_S, per_second=per_second) as world:
        from reconciler.collect import Collected
        from reconciler.dispatch import Sent
        from reconciler.progress import Counts
        from reconciler.reconcile import reconcile
        from reconciler.world import Done

        done = Done(Collected(), Sent(), [])

        def counts() -> Counts:
            return Counts(done.collected.pipelines_found, done.collected.pipelines_read, done.sent.results, done.due)

        with _showing(settings, counts, quiet=quiet) as paused:
            if order.guard is not None:
                order = replace(order, guard=_asking(paused))
            return reconcile(world, rows, order, done)


def _asking(paused: Callable[[], Paused]) -> Callable[[int], None]:
    def guard(results: int) -> None:
        with paused():
            ask(results)

    return guard


@contextmanager
def _showing(settings: Settings, counts: Callable[[], Counts], *, quiet: bool) -> Iterator[Callable[[], Paused]]:
    """Show how it gets on: a bar on a terminal, with the log above it; else a line of the log each minute."""
    from reconciler import log, progress

    if quiet or not sys.stderr.isatty():
        with progress.logged(counts) as paused:
            yield paused
        return
    console = progress.console_of(getattr(sys.stderr, "beneath", sys.stderr))
    with progress.shown(counts, console) as paused:
        log.configure(
            settings.log.level,
            json=settings.log.json,
            secrets=settings.secrets(),
            stream=cast("TextIO", progress.Above(console)),
        )
        try:
            yield paused
        finally:
            building.set_up_log(settings)


# --- beside a daemon -------------------------------------------------------------------------------------------------


def _daemon_holds(ledger: Path) -> bool:
    """Tell whether it is a daemon that holds the ledger: one says so soon after it has the lock."""
    from reconciler.ledger.lock import holder_of

    give_up_at = time.monotonic() + STARTING_S
    while (holder := holder_of(ledger)) is not None:
        said = _takes_orders_since(ledger)
        if said is not None and holder.since is not None and said >= holder.since:
            return True
        if time.monotonic() >= give_up_at:
            return False
        time.sleep(LOOK_S)
    return False


def _takes_orders_since(ledger: Path) -> datetime | None:
    from reconciler.ledger.backfills import takes_orders_since
    from reconciler.ledger.store import open_for_reading

    try:
        with closing(open_for_reading(ledger)) as store:
            return takes_orders_since(store)
    except LedgerUnusable:  # it may be of an older schema, which the daemon is about to bring up to date
        return None


class _Beside:
    """Watches a daemon carry out a backfill."""

    def __init__(self, settings: Settings, order: Order, *, quiet: bool) -> None:
        from reconciler.ledger.backfills import Span

        if order.scope.since is None:
            raise ValueError("a backfill has a beginning")
        self._settings = settings
        self._ledger = settings.ledger.path
        self._span = Span(order.scope.since, order.scope.until, order.scope.projects)
        self._agreed = order.guard is None
        self._quiet = quiet
        self._stand: Backfill | None = None
        self._ordered = False
        """Whether the daemon goes on with it whatever becomes of this process."""

    def run(self) -> int:
        """Hand the order over and watch it to its end; the exit status."""
        from reconciler.signals import dealt_with

        try:
            letter = self._order(agreed=self._agreed)
            complain("The daemon that holds the ledger carries this out between its polls.")
            with _showing(self._settings, self._counts, quiet=self._quiet) as paused:
                stand = self._watch(letter, paused)
        except KeyboardInterrupt:
            if not self._ordered:
                raise
            dealt_with()
            complain("The daemon goes on with it; the same command shows again how far it is.")
            return EXIT_TRY_AGAIN
        failed, down = stand.trouble.get("failed", ()), stand.trouble.get("down", ())
        summary = dict(stand.summary) | {"pipelines_read": stand.read, "pipelines_found": stand.found}
        tell(summary, failed, down, as_json=self._quiet)
        left = down or summary.get("left")
        return EXIT_FAILED if failed else EXIT_TRY_AGAIN if left else EXIT_DONE

    def _order(self, *, agreed: bool) -> Path:
        from reconciler.handover import leave
        from reconciler.signals import uninterrupted

        with uninterrupted():
            letter = leave(self._ledger, self._span, agreed=agreed)
            self._ordered = True
        return letter

    def _watch(self, letter: Path, paused: Callable[[], Paused]) -> Backfill:
        from reconciler.handover import put_aside
        from reconciler.ledger.lock import holder_of

        while True:
            time.sleep(LOOK_S)
            has_stopped = holder_of(self._ledger) is None
            stand = None if letter.exists() else self._look()
            if stand is not None and stand.state == "done":
                return stand
            if put_aside(letter).exists():
                raise LedgerUnusable("The daemon could not read the order, and put it aside: its log says why.")
            if stand is not None and stand.state == "asks":
                self._ordered = False
                with paused():
                    ask(stand.due)
                letter = self._order(agreed=True)
            if has_stopped:
                raise LedgerBusy("The daemon has stopped: it goes on with this when it is started again.")

    def _look(self) -> Backfill | None:
        from reconciler.ledger.backfills import newest
        from reconciler.ledger.store import open_for_reading

        with closing(open_for_reading(self._ledger)) as store:
            self._stand = newest(store, self._span)
        return self._stand

    def _counts(self) -> Counts:
        from reconciler.progress import Counts

        stand = self._stand
        if stand is None:
            return Counts(0, 0, 0)
        return Counts(stand.found, stand.read, stand.summary.get("results_sent", 0))
