"""When the sprints' own run is due, also while clocks are changed."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from reconciler.config import Schedule, SprintsSettings
from reconciler.schedule import cron, next_fires

BERLIN = ZoneInfo("Europe/Berlin")


def due(days: str, hour: int, minute: int, now: datetime) -> list[str]:
    """Tell the next three times, by the wall in Berlin and in UTC."""
    sprints = SprintsSettings(schedule=Schedule(tuple(days.split(",")), hour, minute), timezone=BERLIN)
    return [f"{fire:%a %m-%d %H:%M %Z} = {fire.astimezone(UTC):%H:%MZ}" for fire in next_fires(sprints, now)]


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (
            datetime(2026, 3, 20, tzinfo=UTC),
            ["Mon 03-23 06:00 CET = 05:00Z", "Mon 03-30 06:00 CEST = 04:00Z", "Mon 04-06 06:00 CEST = 04:00Z"],
        ),
        (
            datetime(2026, 10, 18, tzinfo=UTC),
            ["Mon 10-19 06:00 CEST = 04:00Z", "Mon 10-26 06:00 CET = 05:00Z", "Mon 11-02 06:00 CET = 05:00Z"],
        ),
    ],
)
def test_the_wall_clocks_time_stays_when_clocks_are_changed(now: datetime, expected: list[str]) -> None:
    """Six in the morning is six in the morning, in summer and in winter."""
    assert due("mon", 6, 0, now) == expected


def test_a_time_that_is_left_out_fires_once_an_hour_later_by_the_wall() -> None:
    """02:30 does not exist on the last Sunday of March: no time is told that no clock shows."""
    assert due("sun", 2, 30, datetime(2026, 3, 23, tzinfo=UTC)) == [
        "Sun 03-29 03:30 CEST = 01:30Z",
        "Sun 04-05 02:30 CEST = 00:30Z",
        "Sun 04-12 02:30 CEST = 00:30Z",
    ]


def test_a_time_that_comes_twice_fires_twice() -> None:
    """02:30 is there twice on the last Sunday of October; sets are keyed by iteration, so that does no harm."""
    assert due("sun", 2, 30, datetime(2026, 10, 24, tzinfo=UTC)) == [
        "Sun 10-25 02:30 CEST = 00:30Z",
        "Sun 10-25 02:30 CET = 01:30Z",
        "Sun 11-01 02:30 CET = 01:30Z",
    ]


def test_several_days_fire_in_their_order() -> None:
    """Whatever the order in which they are written."""
    told = due("thu,mon", 6, 0, datetime(2026, 1, 1, 12, tzinfo=UTC))
    assert [one.partition(" ")[0] for one in told] == ["Mon", "Thu", "Mon"]


def test_a_fire_that_is_due_now_is_among_them() -> None:
    """The scheduler has it just so."""
    sprints = SprintsSettings(schedule=Schedule(("thu",), 6, 0), timezone=UTC)
    now = datetime(2026, 1, 1, 6, tzinfo=UTC)
    assert next(next_fires(sprints, now)) == now == cron(sprints).get_next_fire_time(None, now)
