"""What a person is told of troubles: once when they begin, once when they are over."""

from __future__ import annotations

from datetime import timedelta

from reconciler.alarms import Alarm, Alarms
from tests.clock import START

LATER = START + timedelta(minutes=59)
LATE = START + timedelta(minutes=60)


def test_a_trouble_is_told_when_it_begins_and_when_it_is_over() -> None:
    """Not in between, even when its words change; the end names the newest."""
    alarms = Alarms(timedelta(hours=1))
    assert alarms.note("Rally", "", START) is None
    assert alarms.note("Rally", "no answer", START) == Alarm("trouble", "Rally", "no answer", START)
    assert alarms.note("Rally", "HTTP 503", LATER) is None
    assert alarms.open == {"Rally": "HTTP 503"}
    assert alarms.note("Rally", "", LATE) == Alarm("recovery", "Rally", "over: HTTP 503", START)
    assert alarms.note("Rally", "", LATE) is None
    assert alarms.open == {}


def test_troubles_of_different_things_are_different() -> None:
    """One is over while the other goes on."""
    alarms = Alarms(timedelta(hours=1))
    alarms.note("Rally", "no answer", START)
    assert alarms.note("GitLab", "no answer", LATER) == Alarm("trouble", "GitLab", "no answer", LATER)
    alarms.note("Rally", "", LATE)
    assert alarms.open == {"GitLab": "no answer"}


def test_silence_is_told_once_when_a_service_has_not_succeeded_for_so_long() -> None:
    """The one that is the longest without; and that it is over."""
    alarms = Alarms(timedelta(hours=1))
    succeeded = {"GitLab": START, "Rally": LATER}
    assert alarms.watch(succeeded, LATER) is None
    stale = alarms.watch(succeeded, LATE)
    assert stale is not None
    assert (stale.kind, stale.subject, stale.since) == ("stale", "GitLab", START)
    assert "60 minutes" in stale.text
    assert "stale" in alarms.open
    assert alarms.watch(succeeded, LATE + timedelta(days=3)) is None
    over = alarms.watch({"GitLab": LATE, "Rally": LATE}, LATE)
    assert over == Alarm("recovery", "GitLab", f"over: {stale.text}", START)
    assert alarms.watch({"GitLab": LATE, "Rally": LATE}, LATE) is None
    assert alarms.open == {}
