"""A backfill beside a running daemon: the order is handed to it, and it carries the order out between its polls.

An order is a small file beside the ledger, because only one process ever writes to the ledger: two that write to one
SQLite file at the same moment can damage it (the "WAL-reset" bug of 3.7.0 to 3.51.2, sqlite.org/wal.html). The file has
its name when it is whole; the daemon writes it into the ledger, then removes it. Killed between the two, it finds the
order a second time, and two orders of one span are one.
"""

from __future__ import annotations

import json
import os
import uuid
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from loguru import logger

from reconciler.collect import Collected
from reconciler.dispatch import Sent
from reconciler.errors import MUCH, LedgerUnusable, NotAgreed
from reconciler.ledger.backfills import Span
from reconciler.order import Order, Scope
from reconciler.reconcile import reconcile
from reconciler.world import Done

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from reconciler.ledger.backfills import Backfills
    from reconciler.mapping import Row
    from reconciler.world import Outcome, World

TURN_S = 10.0
"""How long a backfill goes on before polls have their turn."""


def leave(ledger: Path, span: Span, *, agreed: bool) -> Path:
    """Leave an order for the daemon; the file is gone when it was taken.

    Raises:
        LedgerUnusable: the ledger's folder cannot be written.
    """
    order = ledger.with_name(f"{ledger.name}.order-{uuid.uuid4().hex}.json")
    partial = order.with_suffix(".partial")
    said = {
        "since": span.since.isoformat(),
        "until": span.until.isoformat() if span.until else None,
        "projects": list(span.projects),
        "agreed": agreed,
    }
    try:
        with partial.open("w") as file:
            json.dump(said, file)
            file.flush()
            os.fsync(file.fileno())
        partial.chmod(0o644)  # the daemon may be another user
        partial.replace(order)
    except OSError as error:
        advice = ": run this as the daemon's user" if isinstance(error, PermissionError) else ""
        raise LedgerUnusable(
            f"cannot leave an order beside the ledger: {order.parent}: {error.strerror}{advice}"
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    return order


def put_aside(order: Path) -> Path:
    """Tell what an order that cannot be read is renamed to."""
    return order.with_suffix(".unreadable")


def is_wanted(world: World) -> bool:
    """Tell whether an order was left, or one is to be gone on with; costs next to nothing."""
    ledger = world.settings.ledger.path
    return any(ledger.parent.glob(f"{ledger.name}.order-*.json")) or world.ledger.backfills.handed() is not None


def take(ledger: Path, backfills: Backfills, now: datetime) -> None:
    """Write the orders that were left into the ledger."""
    for order in sorted(ledger.parent.glob(f"{ledger.name}.order-*.json")):
        try:
            said = json.loads(order.read_bytes())
            until = datetime.fromisoformat(said["until"]) if said["until"] else None
            span = Span(datetime.fromisoformat(said["since"]), until, tuple(map(str, said["projects"])))
            agreed = said["agreed"] is True
        except (PermissionError, IsADirectoryError, ValueError, TypeError, KeyError) as error:
            logger.error("An order for a backfill cannot be read: it is put aside", file=str(order), error=repr(error))
            order.replace(put_aside(order))
            continue
        except OSError as error:  # too many open files, say: it is there still, and is read in the next turn
            logger.warning("An order for a backfill cannot be read now", file=str(order), error=repr(error))
            continue
        backfills.begin(span, now, agreed=agreed, handed=True)
        logger.info("A backfill was handed over", since=str(span.since), until=str(span.until), agreed=agreed)
        order.unlink(missing_ok=True)


def take_turn(world: World, rows: Callable[[], Sequence[Row]], turn_s: float = TURN_S) -> Outcome | None:
    """Go on for a while with the oldest backfill that was handed over; None when there is none.

    What was begun when the time is over ends; nothing is in flight when this returns. Raises as `reconcile` does, but
    for `NotAgreed`: then whoever ordered the backfill is asked.
    """
    room = world.ledger.backfills
    take(world.settings.ledger.path, room, world.now())
    backfill = room.handed()
    if backfill is None:
        return None
    span, due = backfill.span, 0

    def guard(results: int) -> None:
        nonlocal due
        due = results
        if results > MUCH:
            raise NotAgreed(f"{results} results wait for a Yes")

    order = Order(
        "backfill",
        scope=Scope(span.since, span.until, span.projects),
        refresh_after=timedelta(seconds=world.settings.rally.poll_seconds),
        guard=None if backfill.agreed else guard,
        turn_s=turn_s,
    )
    done = Done(Collected(), Sent(), [])
    try:
        outcome = reconcile(world, rows(), order, done)
    except NotAgreed:
        room.ask(backfill.backfill_id, due)
        logger.warning("A backfill waits for a Yes", results=due)
        return None
    return outcome
