"""What a pass looks for in GitLab: whatever was updated since the last look."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from reconciler import patterns
from reconciler.errors import Forbidden, Incomplete, NotThere
from reconciler.listing import Look, following

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from reconciler.collect import Collected
    from reconciler.config import GitLabSettings, Settings
    from reconciler.ledger.ledger import Ledger
    from reconciler.model import Pipeline, Project
    from reconciler.ports import GitLab, PipelinePage

SERVICE = "GitLab"


@dataclass(frozen=True, slots=True)
class Projects:
    """The projects that the config names, or only some of them."""

    gitlab: GitLab
    ledger: Ledger
    settings: Settings
    done: Collected
    only: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Project]:
        """Resolve the config's names; a project's numeric id is asked for once, a group's members every time."""
        seen: set[int] = set()
        for name in self.settings.gitlab.projects:
            yield from self._wanted(self._resolve("project", name), seen, str(name))
        for name in self.settings.gitlab.groups:
            yield from self._wanted(self._resolve("group", name), seen, "")
        if self.only and not seen and not self.done.failed:
            self.done.failed.append(
                f"{SERVICE}: --project {', '.join(self.only)} is none of the projects that gitlab.projects"
                " and gitlab.groups name: add it there, or correct it"
            )

    def _wanted(self, projects: list[Project], seen: set[int], name: str) -> Iterator[Project]:
        for project in projects:
            names = {name.lower(), str(project.id), project.path.lower()}  # GitLab's paths know no case
            wanted = not self.only or names & {one.lower() for one in self.only}
            if wanted and project.id not in seen:
                seen.add(project.id)
                yield project

    def _resolve(self, kind: str, name: str | int) -> list[Project]:
        observations = self.ledger.observations
        label = f"{kind} {name}"
        known = observations.projects_named(label)
        if known and kind == "project":
            return known
        try:
            found = [self.gitlab.project(name)] if kind == "project" else self.gitlab.group_projects(name)
        except (NotThere, Forbidden):
            self.done.failed.append(
                f"{SERVICE}: {label} is not there for this token: correct its name in gitlab.{kind}s, or give the"
                " token's user at least the Reporter role in it"
            )
            return []
        except Incomplete as error:
            self.done.down.append(str(error))
            return known
        observations.remember_projects(label, found)
        return found

    def refused(self, project: Project, error: NotThere | Forbidden) -> None:
        """Say that a project's pipelines may not be listed; its name is asked for anew at the next pass."""
        self.done.failed.append(
            f"{SERVICE}: the pipelines of project {project.path} cannot be read: {error}: see that the project"
            " still exists, has CI/CD switched on, and that the token's user has at least the Reporter role in it"
        )
        self.ledger.observations.forget_project(project)


@dataclass(frozen=True, slots=True)
class Polls:
    """What was updated since the last look, with an overlap; a cursor moves when all pages of a look are stored.

    Newest first over an open window: a row that is touched meanwhile moves to the front and comes again in the next
    poll. Only GitLab's own times move the cursor.
    """

    projects: Projects
    now: datetime

    def looks(self) -> Iterator[Look]:
        """Begin with each project's pipelines; its child pipelines come after them."""
        for project in self.projects:
            yield self._look(project, children=False)

    def _look(self, project: Project, *, children: bool) -> Look:
        config = self.projects.settings.gitlab
        newest = self.projects.ledger.observations.cursor(_cursor(project, children=children))
        overlap = timedelta(seconds=config.overlap_seconds)
        after = newest - overlap if newest else self.now - timedelta(config.first_look_days)
        return Look(project, children, after, newest=newest)

    def seen(self, look: Look, page: PipelinePage) -> Look | None:
        """Store a page; what a poll lists is no backfill's any more."""
        ledger = self.projects.ledger
        wanted = sifted(page.pipelines, self.projects.settings.gitlab)
        ledger.observations.store_pipelines(wanted)
        ledger.backfills.release([pipeline.id for pipeline in wanted])
        newest = look.newest
        if look.page == 1 and look.before is None:
            newest = max((pipeline.updated_at for pipeline in page.pipelines), default=newest)
        further = following(look, page)
        if further is not None:
            return replace(further, newest=newest)
        if newest is not None:
            ledger.observations.set_cursor(_cursor(look.project, children=look.children), newest)
        if look.children or not self.projects.settings.gitlab.child_pipelines:
            return None
        return self._look(look.project, children=True)

    def failed(self, look: Look, error: NotThere | Forbidden | Incomplete) -> Sequence[Look]:
        """Leave the project to the next pass."""
        if isinstance(error, Incomplete):
            self.projects.done.down.append(str(error))
        else:
            self.projects.refused(look.project, error)
        return ()

    def unread(self) -> Iterator[Pipeline]:
        """Give all that is finished and not read, but for what backfills are to read."""
        return iter(self.projects.ledger.observations.unread())

    def was_read(self, pipeline: Pipeline) -> None:
        """Do nothing more."""


def _cursor(project: Project, *, children: bool) -> str:
    return f"pipelines/{project.id}/{'children' if children else 'main'}"


def sifted(pipelines: Sequence[Pipeline], config: GitLabSettings) -> list[Pipeline]:
    """Leave out what the config does not want of refs and sources."""
    return [
        pipeline
        for pipeline in pipelines
        if (not config.refs or patterns.matches(pipeline.ref, config.refs))
        and (not config.sources or pipeline.source in config.sources)
    ]
