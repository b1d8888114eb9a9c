"""Pages of a project's pipelines, as GitLab lists them; in any thread."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from reconciler.errors import ReconcilerError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from reconciler.model import Project
    from reconciler.ports import GitLab, PipelinePage


@dataclass(frozen=True, slots=True)
class Look:
    """One page to be asked for."""

    project: Project
    children: bool
    after: datetime
    before: datetime | None = None
    page: int = 1
    newest: datetime | None = None
    """Of a poll: the newest update that its first page showed, or that was known before."""
    window: int = 0
    """Of a backfill: which window of the ledger this is of."""
    floor: datetime | None = None
    """Where this is about one instant alone, by id: where the look that it interrupts begins."""


@dataclass(frozen=True, slots=True)
class PageSeen:
    """GitLab's answer."""

    look: Look
    page: PipelinePage


@dataclass(frozen=True, slots=True)
class LookFailed:
    """There was none, or a No."""

    look: Look
    error: ReconcilerError


Seen = PageSeen | LookFailed


def take(gitlab: GitLab, look: Look) -> Iterator[Seen]:
    """Ask for one page."""
    try:
        page = gitlab.pipelines(
            look.project.id, updated_after=look.after, updated_before=look.before, children=look.children,
            page=look.page, by_id=look.floor is not None,
        )  # fmt: skip
    except ReconcilerError as error:
        yield LookFailed(look, error)
    else:
        yield PageSeen(look, page)


def following(look: Look, page: PipelinePage) -> Look | None:
    """Say what is to be asked after this page: the first page again, up to the oldest time seen; None: all was seen.

    Offsets would lose rows that leave the window while it is paged through, and rows of equal time, which GitLab may
    order differently on each page (facts/gitlab-api, section 1). It compares microseconds and shows milliseconds, so
    the next page reaches one millisecond further than the oldest time shown. Where one instant has more rows than a
    page, they are listed by id, then all that is older.
    """
    if look.floor is not None:
        if page.next_page is not None:
            return replace(look, page=page.next_page)
        before = look.after - timedelta(microseconds=1)
        return replace(look, after=look.floor, before=before, page=1, floor=None) if before >= look.floor else None
    if page.next_page is None:
        return None
    oldest = min((pipeline.updated_at for pipeline in page.pipelines), default=None)
    if oldest is None or (look.before is not None and oldest > look.before):
        return replace(look, page=page.next_page)  # rows of another kind, which were left out; or no heed of the bound
    reach = oldest + timedelta(milliseconds=1)
    if look.before is None or reach < look.before:
        return replace(look, before=reach, page=1)
    return replace(look, after=oldest, before=reach, page=1, floor=look.after)
