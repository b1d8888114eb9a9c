"""What the daemon does once a day: let go of what is old, keep a copy of the ledger, see when GitLab's token ends."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from loguru import logger

from reconciler.errors import LedgerUnusable, ReconcilerError, Stopped
from reconciler.ledger import keeping

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from reconciler.vitals import Ending
    from reconciler.world import World

EVERY = timedelta(days=1)
TOKEN_ENDS_SOON = timedelta(days=14)
_RETIRED, _TOKEN = "upkeep/retired", "upkeep/token"


@dataclass(frozen=True, slots=True)
class Upkeep:
    """Called every hour; each part is done once a day, and again in an hour where it failed."""

    world: World
    report: Callable[[str, str], None]
    """Says what is wrong with a subject, "" when nothing is."""

    def __call__(self) -> tuple[Ending, int]:
        """Do what is due."""
        now = self.world.now()
        troubles = [self._retire(now), self._copy(now), self._look_at_token(now)]
        return "ok" if all(troubles) else "failed", 0

    def _is_due(self, name: str, now: datetime) -> bool:
        last = self.world.ledger.observations.cursor(name)
        return last is None or not timedelta(0) <= now - last < EVERY

    def _retire(self, now: datetime) -> bool:
        if not self._is_due(_RETIRED, now):
            return True
        days = self.world.settings.ledger.retention_days
        overlap = timedelta(seconds=self.world.settings.gitlab.overlap_seconds)
        gone = keeping.retire(
            self.world.ledger, now - timedelta(days=days), self.world.stop, listed_again=max(overlap, EVERY)
        )
        if gone.pipelines:
            logger.info(
                "Pipelines older than ledger.retention_days have left the ledger",
                days=days, pipelines=gone.pipelines, tests=gone.tests, held=gone.held,
            )  # fmt: skip
        if self.world.stop.is_set():
            raise Stopped("stopped")
        self.world.ledger.observations.set_cursor(_RETIRED, now)
        return True

    def _copy(self, now: datetime) -> bool:
        path: Path = self.world.settings.ledger.path
        try:
            keeping.copy(self.world.ledger.store, path, now)
        except LedgerUnusable as error:
            logger.error("The ledger could not be copied: the next hour tries again", error=str(error))
            self.report("ledger copy", str(error))
            return False
        self.report("ledger copy", "")
        return True

    def _look_at_token(self, now: datetime) -> bool:
        """See when the token ends; a GitLab that cannot tell, or is away, is no trouble of this."""
        if not self._is_due(_TOKEN, now):
            return True
        try:
            token = self.world.gitlab.token()
        except Stopped:
            raise
        except ReconcilerError as error:
            logger.debug("GitLab does not tell when its token ends", error=str(error))
            return True
        day = token.expires_on
        self.world.ledger.tell({"token/GitLab": day.isoformat() if day else ""})
        self.world.ledger.observations.set_cursor(_TOKEN, now)
        text = ""
        if day is not None and day - now.date() <= TOKEN_ENDS_SOON:
            text = (
                f"the token ends on {day}: give another one to gitlab.token and restart the service (a reload does,"
                " where the token stands in a file of its own)"
            )
            logger.warning("GitLab's token ends soon", day=str(day))
        self.report("GitLab token", text)
        return True
