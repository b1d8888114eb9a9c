"""What is wrong now, and what a person has been told of it: once when it begins, once when it is over."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

Kind = Literal["trouble", "recovery", "stale"]


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something to tell a person."""

    kind: Kind
    subject: str
    """What it is about: "GitLab", "Rally", "ledger", "config", "mapping", "passes"."""
    text: str
    since: datetime


@dataclass(slots=True)
class Alarms:
    """Keeps one trouble for each subject; an outage of days is two messages, not thousands."""

    stale_after: timedelta
    _open: dict[str, Alarm] = field(default_factory=dict)
    _stale: Alarm | None = None

    @property
    def open(self) -> Mapping[str, str]:
        """What is wrong now, by subject; asked for by any thread while another notes."""
        stale = {"stale": self._stale.text} if self._stale else {}
        return {subject: alarm.text for subject, alarm in list(self._open.items())} | stale

    def note(self, subject: str, text: str, now: datetime) -> Alarm | None:
        """Note what is wrong with a subject, "" when nothing is; what a person is to be told now, if anything."""
        before = self._open.get(subject)
        if not text:
            if before is None:
                return None
            del self._open[subject]
            return Alarm("recovery", subject, f"over: {before.text}", before.since)
        alarm = Alarm("trouble", subject, text, before.since if before else now)
        self._open[subject] = alarm
        return None if before else alarm

    def watch(self, succeeded: Mapping[str, datetime], now: datetime) -> Alarm | None:
        """Note when each service last did all that was asked of it; what a person is to be told now, if anything."""
        service, last = min(succeeded.items(), key=lambda item: item[1])
        if now - last < self.stale_after:
            over, self._stale = self._stale, None
            return Alarm("recovery", over.subject, f"over: {over.text}", over.since) if over else None
        if self._stale is not None:
            return None
        minutes = round(self.stale_after.total_seconds() / 60)
        text = f"{service} has not done all that was asked of it for {minutes} minutes: `reconciler status` says why"
        self._stale = Alarm("stale", service, text, last)
        return self._stale
