"""How a pass went: written down, counted, said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loguru import logger

from reconciler.errors import Stopped
from reconciler.ledger import views
from reconciler.world import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.ledger.backfills import Backfill
    from reconciler.order import Order
    from reconciler.world import Done, World

_DEEDS = ("pipelines_read", "results_sent", "attachments_sent", "test_sets_created", "members_added", "writes")


def conclude(world: World, pass_id: int, order: Order, done: Done, asked: Mapping[str, int]) -> Outcome:
    """Write down and say how the pass went; `asked`: the requests of each service before it."""
    collected, sent = done.collected, done.sent
    summary = _summary(world, order, done)
    # A plan is no success of sending: a dry run leaves what is known of the services as it was.
    world.ledger.end_pass(pass_id, {} if order.dry_run else _news(world, order, done, asked), summary, world.now())
    if done.backfill is not None and not order.dry_run:
        _note_backfill(world, done.backfill, done, summary)
    if world.stop.is_set():
        raise Stopped("asked to stop; what was begun is in the ledger, the next pass goes on")
    did = any(summary[name] for name in _DEEDS)  # a quiet daemon's log is quiet
    logger.log("INFO" if did else "DEBUG", "Pass done", **{name: number for name, number in summary.items() if number})
    return Outcome(
        summary=summary,
        down=tuple(dict.fromkeys(collected.down + sent.down)),
        failed=tuple(dict.fromkeys(collected.failed + sent.failed)),
        actions=tuple(done.actions),
    )


def _news(world: World, order: Order, done: Done, asked: Mapping[str, int]) -> dict[str, str]:
    """Tell what is wrong with each service, "" when it did all that was asked of it.

    Nothing is said of one that was not asked, and of one that was interrupted only what was wrong by then.
    """
    texts = {}
    if order.updates:
        texts["Rally"] = "; ".join(done.sent.down + done.sent.failed)
    if order.collects:
        texts["GitLab"] = "; ".join(dict.fromkeys(done.collected.down + done.collected.failed))
    now, stopped = world.asked(), world.stop.is_set()
    return {
        service: text
        for service, text in texts.items()
        if text or not (stopped or (service in now and now[service] == asked[service]))
    }


def _note_backfill(world: World, backfill: Backfill, done: Done, summary: Mapping[str, int]) -> None:
    """Write down how a backfill stands: done, when nothing is left of it.

    One that the daemon carries out is done, too, when the rest cannot be had: else it would ask for ever.
    """
    room, number = world.ledger.backfills, backfill.backfill_id
    trouble = {
        "down": list(dict.fromkeys(done.collected.down + done.sent.down)),
        "failed": list(dict.fromkeys(done.collected.failed + done.sent.failed)),
    }
    hopeless = backfill.handed and bool(done.collected.failed or done.collected.down)
    with world.ledger.store.transaction():
        room.note(number, summary, trouble)
        if done.is_over and not world.stop.is_set() and (hopeless or not summary["left"]):
            room.end(number, world.now())


def _summary(world: World, order: Order, done: Done) -> dict[str, int]:
    store = world.ledger.store
    return {
        "pipelines_read": done.collected.pipelines_read,
        "results_sent": done.sent.results,
        "attachments_sent": done.sent.attachments,
        "test_sets_created": done.sent.test_sets,
        "members_added": done.sent.members,
        "held": views.tests(store)["held"],
        "refused": views.entries(store)["refused"],
        "problems": views.count_problems(store),
        "writes": done.sent.writes,
        "left": (views.left(store) if order.sends else views.sprints_left(store)) + _left_of(world, order, done),
    } | ({} if done.backfill is None else _past(world, done.backfill, done))


def _left_of(world: World, order: Order, done: Done) -> int:
    """Count what is left of this backfill alone; a plan leaves nothing undone."""
    if done.backfill is None or order.dry_run:
        return 0
    return world.ledger.backfills.left(done.backfill.backfill_id)


def _past(world: World, backfill: Backfill, done: Done) -> dict[str, int]:
    """Tell of a backfill what no other pass has."""
    known = world.ledger.backfills.get(backfill.backfill_id)
    return {"pipelines_found": known.found, "expired": done.collected.expired}
