"""When the sprints' own run is due."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

from apscheduler.triggers.cron import CronTrigger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from reconciler.config import SprintsSettings


def cron(sprints: SprintsSettings) -> CronTrigger:
    """Fire at the config's time of day; sets are keyed by iteration, so a clock that is put back does no harm."""
    at = sprints.schedule
    return CronTrigger(day_of_week=",".join(at.days), hour=at.hour, minute=at.minute, timezone=sprints.timezone)


def next_fires(sprints: SprintsSettings, now: datetime, count: int = 3) -> Iterator[datetime]:
    """Give the next times, in the config's time zone, as APScheduler will have them.

    A time that a change of clocks leaves out fires once, an hour later by the wall; one that comes twice fires twice.
    """
    trigger, previous = cron(sprints), None
    for _ in range(count):
        previous = trigger.get_next_fire_time(previous, previous or now)
        if previous is None:
            return
        yield previous.astimezone(UTC).astimezone(sprints.timezone)  # else it may tell a time that is left out
