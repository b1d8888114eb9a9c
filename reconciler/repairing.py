"""Make results again that are gone from Rally, and only those."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from reconciler.apply import settle
from reconciler.collect import Collected
from reconciler.dispatch import Sent
from reconciler.knowing import know_test_cases
from reconciler.ledger import proof
from reconciler.making import attach_of, push_of, repair_of
from reconciler.verify import verify
from reconciler.world import Done

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from reconciler.ledger.proof import Claim
    from reconciler.mapping import Row
    from reconciler.verify import Verified
    from reconciler.world import World


@dataclass(frozen=True, slots=True)
class Repaired:
    """What `repair` came to."""

    found: Verified
    """As things are now."""
    made: tuple[str, ...]
    """Keys of what is there again."""
    refused: dict[str, str]
    """By key: why Rally will not have it any more."""
    unknown: tuple[str, ...]
    """Keys of what stays missing: the ledger does not know what it was made of."""
    down: tuple[str, ...]
    failed: tuple[str, ...]


def repair(world: World, rows: Sequence[Row], since: datetime | None) -> Repaired:
    """Make results again that are gone from Rally, and their files; what of it is left, the next pass does.

    Raises:
        ServiceDown, Unauthorized: Rally could not be asked; nothing was made since.
    """
    store, done = world.ledger.store, Done(Collected(), Sent(), [])
    know_test_cases(world, rows, timedelta(0))
    settle(world.rally, world.ledger, timedelta(seconds=world.settings.rally.settle_after_seconds), world.now())
    gone = verify(world.rally, lambda: nullcontext(store), since).gone
    unknown = _mend(world, gone, done)
    fates = {str(claim.key): proof.fate(store, claim) for claim in gone}
    left = proof.ordered_still(store)
    if left:
        done.sent.down.append(f"{left} of the results that are to be made again wait for the next pass")
    return Repaired(
        found=verify(world.rally, lambda: nullcontext(store), since),
        made=tuple(key for key, fate in fates.items() if fate.is_made),
        refused={key: fate.reason for key, fate in fates.items() if fate.state == "refused"},
        unknown=tuple(str(claim.key) for claim in unknown),
        down=tuple(dict.fromkeys(done.sent.down + done.collected.down)),
        failed=tuple(dict.fromkeys(done.sent.failed + done.collected.failed)),
    )


def _mend(world: World, gone: Sequence[Claim], done: Done) -> list[Claim]:
    """Order these to be made again, and make what is ordered; those of which the ledger knows too little."""
    push = push_of(world, done)
    mending = repair_of(world, push)
    unknown = mending.order(gone)
    try:
        mending.run()
        if not (done.sent.halted or world.stop.is_set()):
            attach_of(world, push, done).run()
    finally:
        world.gitlab.forget_archives()
    return unknown
