"""Pages of a project's pipelines, as GitLab lists them; in any thread."""

from __future__ import annotations

from dataclasses import dataclass
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
            page=look.page,
        )  # fmt: skip
    except ReconcilerError as error:
        yield LookFailed(look, error)
    else:
        yield PageSeen(look, page)
