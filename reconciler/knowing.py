"""What is known of Rally's test cases, and which tests count for which of them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from loguru import logger

from reconciler.aside import aside
from reconciler.errors import ReconcilerError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from reconciler.mapping import Row
    from reconciler.model import TestCase
    from reconciler.world import World

FULL_REFRESH = timedelta(days=1)
REFRESH_OVERLAP = timedelta(minutes=5)
_FULL, _ANY = "test_cases/full", "test_cases/refreshed"


def know_test_cases(
    world: World, rows: Sequence[Row], refresh_after: timedelta, meanwhile: Callable[[], None] | None = None
) -> None:
    """Refresh what is known of Rally's test cases, apply the mapping, and look up at once what that names anew."""
    trouble: ReconcilerError | None = None
    try:
        _refresh(world, refresh_after, meanwhile)
    except ReconcilerError as error:
        trouble = error
    apply_mapping(world, rows, meanwhile, trouble)


def apply_mapping(
    world: World,
    rows: Sequence[Row],
    meanwhile: Callable[[], None] | None = None,
    trouble: ReconcilerError | None = None,
) -> None:
    """Apply the mapping to what is new of it and of tests, and look up what that names; raise `trouble` between."""
    ledger = world.ledger
    before = set(ledger.test_cases.unknown())
    known = ledger.observations.cursor(_ANY) is not None
    ledger.subjects.apply(ledger.mapping(rows), resolvable=known)
    if trouble is not None:
        raise trouble
    new = [formatted_id for formatted_id in ledger.test_cases.unknown() if formatted_id not in before]
    if new:
        found = aside(lambda: world.rally.test_cases_by_id(new), meanwhile)
        ledger.test_cases.update(found.values())


def _refresh(world: World, refresh_after: timedelta, meanwhile: Callable[[], None] | None) -> None:
    """Fetch Rally's test cases: all of them once a day, between that what changed, and what tests name in vain."""

    def fetched(since: datetime | None) -> list[TestCase]:
        return aside(lambda: list(world.rally.test_cases(since)), meanwhile)

    test_cases, observations, now = world.ledger.test_cases, world.ledger.observations, world.now()
    last = observations.cursor(_ANY)
    if last is not None and now - last < refresh_after:
        return
    full = observations.cursor(_FULL)
    newest = test_cases.newest_update()
    if full is None or newest is None or now - full >= FULL_REFRESH:
        had = test_cases.count()
        if not test_cases.replace(fetched(None)) and had:
            logger.warning("Rally answered that there are no test cases: what was known is kept", known=had)
        observations.set_cursor(_FULL, now)
    else:
        test_cases.update(fetched(newest - REFRESH_OVERLAP))
    unknown = test_cases.unknown()
    if unknown:
        test_cases.update(world.rally.test_cases_by_id(unknown).values())
    observations.set_cursor(_ANY, now)
