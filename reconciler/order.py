"""What one pass is asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Scope:
    """Which pipelines a pass looks for; without `since`, whatever was updated after the last look."""

    since: datetime | None = None
    until: datetime | None = None
    projects: tuple[str, ...] = ()
    """Only these of the config's projects (path or id, as GitLab or the config names them); () = all."""


@dataclass(frozen=True, slots=True)
class Order:
    """What one pass is asked to do."""

    kind: str
    """`once`, `backfill`, `sprint-sets`, `gitlab` or `rally` (the daemon's polls): for the record of passes."""
    scope: Scope = field(default_factory=Scope)
    dry_run: bool = False
    refresh_after: timedelta = timedelta(0)
    """How old the knowledge of Rally's test cases and sprints may be."""
    collects: bool = True
    """Whether GitLab is polled, too."""
    updates: bool = True
    """Whether Rally is brought up to date; without, GitLab is read and nothing else."""
    sends: bool = True
    """Whether results and files are sent; without, only sprints are looked after."""
    guard: Callable[[int], None] | None = None
    """Is told how many results are due before the first is sent; raises `NotAgreed` to send none."""
    catches_up: bool = False
    """Whether a backfill lists once more what came since it was begun."""
    turn_s: float | None = None
    """How long it may take; what is not done then is left to its next turn."""

    @property
    def overlaps(self) -> bool:
        """Whether sending may begin before all is read."""
        return self.guard is None and not self.dry_run
