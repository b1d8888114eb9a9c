"""What a backfill looks for in GitLab: the past, window by window, as far as the ledger does not have it yet."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from loguru import logger

from reconciler import reading
from reconciler.agendas import sifted
from reconciler.errors import Incomplete
from reconciler.listing import Look, following

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from reconciler.agendas import Projects
    from reconciler.errors import Forbidden, NotThere
    from reconciler.ledger.backfills import Backfills, Window
    from reconciler.model import Pipeline
    from reconciler.ports import PipelinePage

SMALLEST = timedelta(hours=1)
"""A window that keeps failing is halved down to this."""
OVERLAP = timedelta(minutes=10)
"""Covers clocks that differ."""


@dataclass(frozen=True, slots=True)
class History:
    """The pipelines of a backfill, each project by itself.

    How far a window was listed stands in the ledger with the page itself.
    """

    projects: Projects
    backfills: Backfills
    backfill_id: int
    now: datetime
    alone: bool
    """Nobody polls beside: what polls have left unread is read, too."""
    catches_up: bool = False
    """Whether all is listed once more from when it was begun: it was interrupted, and GitLab went on meanwhile."""

    def looks(self) -> Iterator[Look]:
        """Give what is left of each window; first see that each project has one."""
        backfill = self.backfills.get(self.backfill_id)
        self.projects.done.pipelines_found += backfill.found - backfill.read
        if backfill.opened_at is None or self.catches_up:
            self._open(again_since=backfill.opened_at)
        for window in self.backfills.windows(self.backfill_id):
            yield self._look(window)

    def _open(self, again_since: datetime | None) -> None:
        done = self.projects.done
        troubles = len(done.failed) + len(done.down)
        found = list(self.projects)
        children = self.projects.settings.gitlab.child_pipelines
        if again_since is not None:
            self.backfills.reopen(self.backfill_id, again_since - OVERLAP)
        self.backfills.open_windows(self.backfill_id, found, children=children)
        if troubles == len(done.failed) + len(done.down):
            self.backfills.opened(self.backfill_id, self.now)

    def _look(self, window: Window) -> Look:
        return Look(
            window.project, window.children, window.since, window.before, window.page, window=window.window_id
        )  # fmt: skip

    def seen(self, look: Look, page: PipelinePage) -> Look | None:
        """Store a page and how far the window was listed, all or nothing."""
        wanted = sifted(page.pipelines, self.projects.settings.gitlab)
        further = following(look, page)
        with self.projects.ledger.observations.together():
            found = self.backfills.store(self.backfill_id, wanted, reading.WORTH_ANOTHER_LOOK)
            if further is None:
                self.backfills.close(look.window)
            elif further.floor is None:  # else it is not further than before: interrupted, the instant is listed anew
                self.backfills.listed(look.window, further.before, further.page)
        self.projects.done.pipelines_found += found
        return further

    def failed(self, look: Look, error: NotThere | Forbidden | Incomplete) -> Sequence[Look]:
        """Halve a window that GitLab cannot answer (#545027: 500 and time-outs on much history), down to an hour.

        What keeps failing stays open in the ledger, and is asked for when the backfill is run again.
        """
        if not isinstance(error, Incomplete):
            self.projects.refused(look.project, error)
            return ()
        end = look.before or self.now
        if end - look.after <= SMALLEST:
            self.projects.done.down.append(f"{error} (pipelines of {look.project.path} up to {end:%Y-%m-%d %H:%M}Z)")
            return ()
        middle = look.after + (end - look.after) / 2
        logger.info("A window is halved", project=look.project.path, since=str(look.after), until=str(end))
        older = self.backfills.halve(look.window, middle)
        newer = Look(look.project, look.children, middle, look.before, window=look.window)
        return newer, Look(look.project, look.children, look.after, middle, window=older)

    def unread(self) -> Iterator[Pipeline]:
        """Give what it found and was not read yet."""
        found = self.backfills.unread(self.backfill_id)
        live = self.projects.ledger.observations.unread() if self.alone else []
        self.projects.done.pipelines_found += len(live)
        return heapq.merge(live, found, key=lambda pipeline: (pipeline.created_at, pipeline.id))

    def was_read(self, pipeline: Pipeline) -> None:
        """Note it; asked again, it is not read again."""
        self.backfills.was_read(self.backfill_id, pipeline.id)
