"""What makes results and files in Rally, built for one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.apply import Push
from reconciler.attach import Attach
from reconciler.verify import Repair

if TYPE_CHECKING:
    from reconciler.world import Done, World


def push_of(world: World, done: Done) -> Push:
    """Build what makes results."""
    return Push(world.rally, world.ledger, world.settings, world.stop, world.now, done.sent)


def repair_of(world: World, push: Push) -> Repair:
    """Build what makes results again that were ordered."""
    return Repair(
        world.rally, world.ledger, world.settings, push.composer, push.sent, push.desk.fresh, world.stop, world.now
    )


def attach_of(world: World, push: Push, done: Done) -> Attach:
    """Build what attaches files to results that are there."""
    return Attach(
        world.gitlab, world.rally, world.ledger, world.settings, world.stop, world.now, done.sent,
        push.desk.fresh, push.attached, done.collected,
    )  # fmt: skip
