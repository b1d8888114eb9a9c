"""Everything round the daemon's passes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from reconciler.alarms import Alarm, Alarms
    from reconciler.config import Settings
    from reconciler.mapping import Row
    from reconciler.problem import Problem
    from reconciler.sd_notify import Supervisor
    from reconciler.signals import Signals
    from reconciler.vitals import Vitals


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Who is told of what, and where config and mapping come from; built by cli."""

    rows: Callable[[], tuple[Sequence[Row], Sequence[Problem]]]
    """The mapping as it is now: the last good one, and what is wrong with the file."""
    reread: Callable[[], Settings]
    """Read the config again; raises `ConfigError`."""
    signals: Signals
    supervisor: Supervisor
    alarms: Alarms
    tell: Callable[[Alarm], None]
    """Tell a person; returns at once."""
    look: Callable[[Vitals], None] = lambda _: None
    """Is called every few seconds with how the daemon gets on."""
