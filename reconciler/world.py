"""What a pass works with, what it has done so far, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from reconciler.errors import EXIT_DONE, EXIT_FAILED, EXIT_TRY_AGAIN

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping

    from reconciler.collect import Collected
    from reconciler.config import Settings
    from reconciler.dispatch import Sent
    from reconciler.ledger.backfills import Backfill
    from reconciler.ledger.ledger import Ledger
    from reconciler.model import ObjectID
    from reconciler.ports import GitLab, Rally
    from reconciler.traffic import Traffic


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a pass did, what it left, and what a person or the next pass must do."""

    summary: dict[str, int]
    """As `--json` prints it."""
    down: tuple[str, ...]
    failed: tuple[str, ...]
    actions: tuple[dict[str, Any], ...] = ()
    """With `--dry-run`: what the next pass would send."""

    @property
    def exit_status(self) -> int:
        """0: nothing left to do; 75: try again; 1: a person must look."""
        if self.failed:
            return EXIT_FAILED
        return EXIT_TRY_AGAIN if self.down or self.summary["left"] else EXIT_DONE


@dataclass(frozen=True, slots=True)
class World:
    """Everything a pass works with; built by cli, or by a test."""

    gitlab: GitLab
    rally: Rally
    ledger: Ledger
    settings: Settings
    stop: threading.Event
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    readers: int = 0
    """Threads that read from GitLab; without, it is read in turn with everything else."""
    traffic: Mapping[str, Traffic] = field(default_factory=dict)
    """By service: what passed between it and us."""
    rest: Callable[[], None] = lambda: None
    """Closes the connections that lie idle; a daemon does so between passes."""

    def progress(self) -> int:
        """Give a number that grows with every answer of a service and every commit to the ledger."""
        return self.ledger.store.commits + sum(self.asked().values())

    def asked(self) -> dict[str, int]:
        """Tell how many requests each service got so far; nothing of a service whose traffic is not known."""
        return {service: traffic.total for service, traffic in self.traffic.items()}


@dataclass(slots=True)
class Done:
    """What a pass has done so far."""

    collected: Collected
    sent: Sent
    actions: list[dict[str, Any]]
    fills: set[ObjectID] = field(default_factory=set)
    """With `--dry-run`: the iterations whose sets the next pass makes or fills."""
    backfill: Backfill | None = None
    """As it was when the pass began."""
    is_over: bool = False
    """All that there was to read was asked for, with whatever success."""
    days: set[datetime] = field(default_factory=set)
    """Of which Rally was asked what sprints there were."""
    due: int = 0
    """Results that are known to be wanted, those that are sent included."""
