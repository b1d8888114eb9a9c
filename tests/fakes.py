"""GitLab and Rally in memory, as `reconciler.ports` promises them: no network, and no lenience either."""

from __future__ import annotations

import gzip
import io
from collections import defaultdict, deque
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, BinaryIO

from reconciler.archive import LocalFile, RemoteArchive
from reconciler.errors import Forbidden, NotThere, ServiceDown
from reconciler.model import (
    AccessToken,
    ArtifactListing,
    Greeting,
    Job,
    JobId,
    Pipeline,
    PipelineId,
    Project,
    ProjectId,
)
from reconciler.ports import PipelinePage
from tests.clock import START, Clock
from tests.fake_rally import Answers, FakeRally, Step

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from reconciler.ports import Archive, SuiteReport

__all__ = ["START", "Answers", "Clock", "FakeGitLab", "FakeRally", "Step", "junit"]


def junit(*cases: str) -> bytes:
    """Write a report: `name` passes, `name!` fails, `name!!` errors, `name?` is skipped, `name~` passes on a rerun."""
    return ("<testsuite>" + "".join(map(_case, cases)) + "</testsuite>").encode()


_CHILDREN = {
    "!": '<failure message="no"/>',
    "!!": '<error message="no"/>',
    "?": "<skipped/>",
    "~": '<flakyFailure message="once"/>',
}


def _case(said: str) -> str:
    name = said.rstrip("!?~")
    return f'<testcase classname="shop" name="{name}" time="0.5">{_CHILDREN.get(said[len(name) :], "")}</testcase>'


# --- GitLab ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class FakeGitLab:
    """Pipelines with jobs whose one report is a JUnit artifact; some have an archive too."""

    clock: Clock
    page_size: int = 3
    listings: int = 0
    down: bool = False
    faults: dict[str, deque[BaseException]] = field(default_factory=lambda: defaultdict(deque))
    """What the next calls of a method raise, by its name."""
    version: str = "19.4.0-ee"
    access: AccessToken = field(default_factory=lambda: AccessToken("ci", frozenset({"read_api"}), None, active=True))
    closed: set[JobId] = field(default_factory=set)
    """Jobs whose artifacts we may not read."""
    _projects: dict[ProjectId, Project] = field(default_factory=dict)
    _pipelines: dict[PipelineId, Pipeline] = field(default_factory=dict)
    _jobs: dict[PipelineId, list[Job]] = field(default_factory=lambda: defaultdict(list))
    kept: list[JobId] = field(default_factory=list)
    """Whose artifacts we asked to keep, every time."""
    forgotten: int = 0
    """How often we were told to forget archives."""
    _reports: dict[JobId, bytes] = field(default_factory=dict)
    _archives: dict[JobId, bytes] = field(default_factory=dict)

    # --- what happens there ---

    def add_project(self, path: str = "qa/web-shop") -> Project:
        """Make a project."""
        number = ProjectId(len(self._projects) + 1)
        self._projects[number] = Project(number, path, f"https://gitlab.test/{path}")
        return self._projects[number]

    def add_pipeline(self, project: Project, *, status: str = "success", source: str = "push") -> Pipeline:
        """Start a pipeline."""
        number, now = PipelineId(100 + len(self._pipelines)), self.clock.tick()
        url = f"{project.web_url}/-/pipelines/{number}"
        self._pipelines[number] = Pipeline(
            project.id, number, len(self._pipelines) + 1, "0123abcd", "main", status, source, url, now, now
        )
        return self._pipelines[number]

    def add_job(
        self, pipeline: Pipeline, name: str, *cases: str, status: str = "success", archive: bytes | None = None
    ) -> Job:
        """Finish a job with these cases in its report; a further job of one name is a further attempt."""
        number = JobId(1000 + sum(map(len, self._jobs.values())))
        url = f"{self._projects[pipeline.project_id].web_url}/-/jobs/{number}"
        listed = [ArtifactListing("junit", 100, "junit.xml.gz")] if cases else []
        if archive is not None:
            listed.append(ArtifactListing("archive", len(archive), "artifacts.zip"))
            self._archives[number] = archive
        finished_at = self.clock.tick()
        job = Job(number, pipeline.id, pipeline.project_id, name, "test", status, url, finished_at, tuple(listed), None)
        self._jobs[pipeline.id].append(job)
        self._reports[number] = junit(*cases)
        self.change(pipeline)
        return job

    def change(self, pipeline: Pipeline, status: str = "") -> Pipeline:
        """Let something happen to a pipeline."""
        known = self._pipelines[pipeline.id]
        self._pipelines[pipeline.id] = replace(known, status=status or known.status, updated_at=self.clock.tick())
        return self._pipelines[pipeline.id]

    def _call(self, method: str) -> None:
        if self.down:
            raise ServiceDown("GitLab", "no answer")
        if self.faults[method]:
            raise self.faults[method].popleft()

    # --- the port ---

    def greeting(self) -> Greeting:
        """Tell version and time."""
        self._call("greeting")
        return Greeting(self.version, self.clock())

    def token(self) -> AccessToken:
        """Tell of the token."""
        self._call("token")
        return self.access

    def project(self, name: str | int) -> Project:
        """Find a project."""
        self._call("project")
        for project in self._projects.values():
            if name in {project.id, project.path}:
                return project
        raise NotThere(f"no project {name}")

    def group_projects(self, group: str | int) -> list[Project]:
        """List the projects below a group, by their paths."""
        self._call("group_projects")
        return [project for project in self._projects.values() if project.path.startswith(f"{group}/")]

    def pipelines(
        self,
        project: ProjectId,
        *,
        updated_after: datetime,
        updated_before: datetime | None = None,
        children: bool = False,
        page: int = 1,
        by_id: bool = False,
    ) -> PipelinePage:
        """List newest update first, those of equal time in another order each time; or by id."""
        self._call("pipelines")
        found = [
            pipeline
            for pipeline in self._pipelines.values()
            if pipeline.project_id == project
            and pipeline.updated_at >= updated_after
            and (updated_before is None or pipeline.updated_at <= updated_before)
            and children == (pipeline.source == "parent_pipeline")
        ]
        self.listings += 1
        found = found[self.listings % len(found) :] + found[: self.listings % len(found)] if found else []
        found.sort(key=lambda pipeline: pipeline.id if by_id else pipeline.updated_at, reverse=True)
        start, end = (page - 1) * self.page_size, page * self.page_size
        return PipelinePage(tuple(found[start:end]), page + 1 if end < len(found) else None)

    def jobs(self, project: ProjectId, pipeline: PipelineId) -> list[Job]:
        """List the newest attempts."""
        self._call("jobs")
        assert self._pipelines[pipeline].project_id == project
        return list({job.name: job for job in self._jobs[pipeline]}.values())

    def has_bridges(self, project: ProjectId, pipeline: PipelineId) -> bool:
        """Tell that there are none."""
        self._call("has_bridges")
        assert self._pipelines[pipeline].project_id == project
        return False

    @contextmanager
    def junit_artifact(self, job: Job) -> Iterator[BinaryIO | None]:
        """Open the report."""
        self._call("junit_artifact")
        if not job.lists("junit"):
            raise NotThere(f"job {job.id} has no such artifact")
        yield io.BytesIO(gzip.compress(self._reports[job.id], compresslevel=1))

    @contextmanager
    def archive(self, job: Job) -> Iterator[Archive]:
        """Open the archive."""
        self._call("archive")
        if job.id not in self._archives:
            raise NotThere(f"job {job.id} has no archive")
        yield RemoteArchive(LocalFile(io.BytesIO(self._archives[job.id])))

    def probe_artifacts(self, job: Job) -> None:
        """Look whether there is something, and whether we may have it."""
        self._call("probe_artifacts")
        if job.id in self.closed:
            raise Forbidden(f"GitLab: artifacts of job {job.id}: HTTP 403")
        if job.id not in self._archives and not job.lists("junit"):
            raise NotThere(f"GitLab: artifacts of job {job.id}: HTTP 404")

    def forget_archives(self) -> None:
        """Keep nothing anyway."""
        self.forgotten += 1

    def keep_artifacts(self, project: ProjectId, job: JobId) -> None:
        """Note it."""
        self._call("keep_artifacts")
        assert job in {one.id for jobs in self._jobs.values() for one in jobs if one.project_id == project}
        if job not in self._archives:
            raise NotThere(f"job {job} has nothing to keep")
        self.kept.append(job)

    def test_report(self, project: ProjectId, pipeline: PipelineId) -> list[SuiteReport]:
        """Tell that GitLab parsed nothing."""
        self._call("test_report")
        assert self._pipelines[pipeline].project_id == project
        return []

    def tested_jobs(self, project: ProjectId, pipeline: PipelineId) -> frozenset[JobId] | None:
        """Tell which jobs had a report."""
        self._call("tested_jobs")
        assert self._pipelines[pipeline].project_id == project
        return frozenset(job.id for job in self._jobs[pipeline] if job.lists("junit"))
