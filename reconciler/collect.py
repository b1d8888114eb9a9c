"""Use case: list what GitLab finished, read the reports, write down what they say."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from loguru import logger

from reconciler import patterns, reading
from reconciler.errors import Forbidden, Incomplete, NotThere, ServiceDown, Unauthorized

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from reconciler.config import Settings
    from reconciler.ledger.ledger import Ledger
    from reconciler.model import Pipeline, Project
    from reconciler.ports import GitLab

SERVICE = "GitLab"


@dataclass(frozen=True, slots=True)
class Scope:
    """Which pipelines a pass looks for; without `since`, whatever was updated after the last look."""

    since: datetime | None = None
    until: datetime | None = None
    projects: tuple[str, ...] = ()
    """Only these of the config's projects (path or id, as GitLab or the config names them); () = all."""


@dataclass(slots=True)
class Collected:
    """What collecting did and what stood in its way."""

    pipelines_read: int = 0
    down: list[str] = field(default_factory=list)
    """GitLab could not be reached or gave no sensible answer: the next pass asks again."""
    failed: list[str] = field(default_factory=list)
    """A person must look: the token, a project's name, a permission."""


def collect(gitlab: GitLab, ledger: Ledger, settings: Settings, scope: Scope, now: datetime) -> Collected:
    """Bring the ledger up to date with everything that GitLab finished within the scope.

    One project that cannot be read never holds up the others; a server that is down, or a token that is not accepted,
    ends collecting, and what was written down before stays.
    """
    collector = _Collector(gitlab, ledger, settings, scope, now)
    try:
        for project in collector.projects():
            collector.list_pipelines(project)
        for pipeline in ledger.observations.unread():
            collector.read(pipeline)
    except ServiceDown as error:
        collector.done.down.append(str(error))
    except Unauthorized as error:
        collector.done.failed.append(str(error))
    return collector.done


@dataclass(frozen=True, slots=True)
class _Collector:
    gitlab: GitLab
    ledger: Ledger
    settings: Settings
    scope: Scope
    now: datetime
    done: Collected = field(default_factory=Collected)

    def projects(self) -> Iterator[Project]:
        """Resolve the config's names; a project's numeric id is asked for once, a group's members every time."""
        seen: set[int] = set()
        for name in self.settings.gitlab.projects:
            yield from self._wanted(self._resolve("project", name), seen, str(name))
        for name in self.settings.gitlab.groups:
            yield from self._wanted(self._resolve("group", name), seen, "")
        if self.scope.projects and not seen and not self.done.failed:
            self.done.failed.append(
                f"{SERVICE}: --project {', '.join(self.scope.projects)} is none of the projects that gitlab.projects"
                " and gitlab.groups name: add it there, or correct it"
            )

    def _wanted(self, projects: list[Project], seen: set[int], name: str) -> Iterator[Project]:
        for project in projects:
            names = {name.lower(), str(project.id), project.path.lower()}  # GitLab's paths know no case
            wanted = not self.scope.projects or names & {one.lower() for one in self.scope.projects}
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

    def list_pipelines(self, project: Project) -> None:
        """List one project's pipelines, and its child pipelines, into the ledger."""
        look = _Look(self.gitlab, self.ledger, self.settings, project)
        try:
            for children in (False, True) if self.settings.gitlab.child_pipelines else (False,):
                if self.scope.since is None:
                    look.poll(self.now, children=children)
                else:
                    look.back(self.scope.since, self.scope.until, children=children)
        except (NotThere, Forbidden) as error:
            self.done.failed.append(
                f"{SERVICE}: the pipelines of project {project.path} cannot be read: {error}: see that the project"
                " still exists, has CI/CD switched on, and that the token's user has at least the Reporter role in it"
            )
            self.ledger.observations.forget_project(project)
        except Incomplete as error:
            self.done.down.append(str(error))

    def read(self, pipeline: Pipeline) -> None:
        """Read one pipeline's reports; what cannot be read is noted, or left to a later pass."""
        observations = self.ledger.observations
        try:
            with logger.contextualize(project=pipeline.project_id, pipeline=pipeline.id):
                reading.read_pipeline(self.gitlab, observations, self.settings, pipeline, self.now)
        except (NotThere, Forbidden) as error:
            problem = (reading.UNREADABLE, f"its jobs cannot be listed: {error}")
            observations.pipeline_problem(pipeline.id, problem, self.now)
            observations.mark_read(pipeline)
        except Incomplete as error:
            self.done.down.append(str(error))
            return
        self.done.pipelines_read += 1


@dataclass(frozen=True, slots=True)
class _Look:
    """The ways of listing one project's pipelines."""

    gitlab: GitLab
    ledger: Ledger
    settings: Settings
    project: Project

    def poll(self, now: datetime, *, children: bool) -> None:
        """List what was updated since the last look, with an overlap; the cursor moves when all pages are stored.

        Newest first over an open window: a row that is touched meanwhile moves to the front and comes again in the next
        poll, and none is missed at a page's seam. Only GitLab's own times move the cursor.
        """
        name = f"pipelines/{self.project.id}/{'children' if children else 'main'}"
        newest = self.ledger.observations.cursor(name)
        config = self.settings.gitlab
        after = (
            newest - timedelta(seconds=config.overlap_seconds) if newest else now - timedelta(config.first_look_days)
        )
        page: int | None = 1
        while page is not None:
            answer = self.gitlab.pipelines(self.project.id, updated_after=after, children=children, page=page)
            self._store(answer.pipelines)
            newest = max((p.updated_at for p in answer.pipelines), default=newest) if page == 1 else newest
            page = answer.next_page
        if newest is not None:
            self.ledger.observations.set_cursor(name, newest)

    def back(self, since: datetime, until: datetime | None, *, children: bool) -> None:
        """List a closed window of the past by value: always the first page up to the oldest time seen.

        Offsets would lose rows that leave the window while it is paged through. GitLab compares microseconds and shows
        milliseconds, so the next window reaches one millisecond further than the oldest time shown.
        """
        before, page = until, 1
        while True:
            answer = self.gitlab.pipelines(
                self.project.id, updated_after=since, updated_before=before, children=children, page=page
            )
            self._store(answer.pipelines)
            self.ledger.observations.reread(reading.WORTH_ANOTHER_LOOK, [p.id for p in answer.pipelines])
            if answer.next_page is None:
                return
            reach = min(p.updated_at for p in answer.pipelines) + timedelta(milliseconds=1)
            stuck = before is not None and reach >= before
            page, before = (answer.next_page, before) if stuck else (1, reach)

    def _store(self, pipelines: tuple[Pipeline, ...]) -> None:
        config = self.settings.gitlab
        self.ledger.observations.store_pipelines(
            pipeline
            for pipeline in pipelines
            if (not config.refs or patterns.matches(pipeline.ref, config.refs))
            and (not config.sources or pipeline.source in config.sources)
        )
