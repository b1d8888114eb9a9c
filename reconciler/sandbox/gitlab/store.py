"""The state of a stand-in GitLab: what is in it, how it gets there, and who may see it."""

from __future__ import annotations

import hashlib
import threading
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Unpack

from reconciler.sandbox.gitlab.artifacts import Artifact, as_archive, as_log, as_reports
from reconciler.sandbox.gitlab.clock import FakeClock
from reconciler.sandbox.gitlab.records import (
    FINISHED,
    Bridge,
    Group,
    Job,
    Pipeline,
    Project,
    Role,
    Token,
    User,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import date, datetime

    from reconciler.sandbox.gitlab.records import JobWords, PipelineWords, ProjectWords
    from reconciler.sandbox.objectstore import Blob

UNSTARTED = frozenset({"created", "waiting_for_resource", "preparing", "pending", "manual", "scheduled", "skipped"})


class Tables:
    """The rows, and the ways to add and to find them; hold `lock` to see several of them at one moment."""

    def __init__(self, clock: Callable[[], datetime] | None = None) -> None:
        self.clock: Callable[[], datetime] = clock or FakeClock()
        self.lock = threading.RLock()
        self.expiry_worker_lag = timedelta(minutes=7)
        """How long after its expiry an artifact may still be there (gitlab-org/gitlab#346261)."""
        self.groups: dict[int, Group] = {}
        self.projects: dict[int, Project] = {}
        self.pipelines: dict[int, Pipeline] = {}
        self.jobs: dict[int, Job] = {}
        self.bridges: dict[int, Bridge] = {}
        self.tokens: dict[str, Token] = {}
        self.redirects: dict[str, Project] = {}
        """Former paths of projects, in lower case."""
        self._jobs_of: dict[int, list[Job]] = {}
        self._pipelines_of: dict[int, list[Pipeline]] = {}
        self._members: dict[tuple[int, int], Role | None] = {}
        self._denied: set[tuple[int, int, str]] = set()
        self._ids = {kind: count(start) for kind, start in _FIRST_IDS.items()}
        self.root = User(self._next("user"), "root", "Administrator", Role.OWNER)

    # --- adding ------------------------------------------------------------------------------------------------------

    def add_token(
        self,
        value: str,
        *,
        role: Role | None = Role.REPORTER,
        scopes: Sequence[str] = ("read_api",),
        expires_at: date | None = None,
    ) -> Token:
        """Add an access token and its bot, which has this role in all projects until `grant` says otherwise."""
        with self.lock:
            number = self._next("user")
            user = User(number, f"group_1_bot_{number}", "reconciler", role)
            token = Token(number, value, "reconciler", user, tuple(scopes), self.clock(), expires_at)
            self.tokens[value] = token
            return token

    def grant(self, token: Token, project: Project, role: Role | None) -> None:
        """Set what a token's user is in one project; None = not a member."""
        with self.lock:
            self._members[token.user.id, project.id] = role

    def deny(self, token: Token, project: Project, ability: str) -> None:
        """Take one ability away (`read_pipeline`, `read_build`, ...), whatever the role."""
        with self.lock:
            self._denied.add((token.user.id, project.id, ability))

    def add_group(self, path: str) -> Group:
        """Add a group, with the groups above it; one that is there already is given back."""
        with self.lock:
            for group in self.groups.values():
                if group.path == path:
                    return group
            above, _, name = path.rpartition("/")
            group = Group(self._next("group"), path, name, self.add_group(above) if above else None)
            self.groups[group.id] = group
            return group

    def add_project(self, path: str, **words: Unpack[ProjectWords]) -> Project:
        """Add a project `group/subgroup/name`; missing groups are made."""
        above, _, last = path.rpartition("/")
        if not above:
            raise ValueError(f"a project has a namespace: {path}")
        with self.lock:
            project = Project(self._next("project"), self.add_group(above), path, self.clock(), **words)
            project.name = project.name or last
            self.projects[project.id] = project
            self._pipelines_of[project.id] = []
            return project

    def add_pipeline(self, project: Project, **words: Unpack[PipelineWords]) -> Pipeline:
        """Add a pipeline, by default a push to main that has just succeeded; a child gets its source by itself."""
        with self.lock:
            number, now = self._next("pipeline"), self.clock()
            parent = words.get("parent")
            if parent is not None:
                words.setdefault("source", "parent_pipeline" if parent.project is project else "pipeline")
            words.setdefault("sha", hashlib.sha1(str(number).encode(), usedforsecurity=False).hexdigest())
            words.setdefault("status", "success")
            words.setdefault("user", self.root)
            words.setdefault("created_at", now)
            words.setdefault("updated_at", max(now, words["created_at"]))
            _set_times(words)
            rows = self._pipelines_of[project.id]
            pipeline = Pipeline(number, len(rows) + 1, project, **words)
            self.pipelines[number] = pipeline
            self._jobs_of[number] = []
            rows.append(pipeline)
            return pipeline

    def add_job(self, pipeline: Pipeline, name: str, status: str = "success", **words: Unpack[JobWords]) -> Job:
        """Add a job with what its runner uploaded; the pipeline's own status and `updated_at` stay as they are."""
        with self.lock:
            now = self.clock()
            words.setdefault("created_at", min(now, words.get("finished_at", now)))
            job = Job(self._next("job"), pipeline, name, status, words["created_at"])
            self._fill(job, words)
            self.jobs[job.id] = job
            self._jobs_of[pipeline.id].append(job)
            return job

    def add_bridge(
        self, pipeline: Pipeline, name: str, status: str = "success", *, downstream: Pipeline | None = None
    ) -> Bridge:
        """Add a trigger job; `downstream` may be set later."""
        with self.lock:
            now = self.clock()
            bridge = Bridge(self._next("job"), pipeline, name, status, now, downstream=downstream)
            bridge.finished_at = now if status in FINISHED else None
            self.bridges[bridge.id] = bridge
            return bridge

    def _fill(self, job: Job, words: JobWords) -> None:
        """Set what a scenario says of a job, and the times that its status implies."""
        convert: dict[str, Callable[..., Blob]] = {"junit": as_reports, "archive": as_archive, "trace": as_log}
        for word, value in words.items():
            setattr(job, word, convert[word](value) if word in convert else value)
        if job.status not in UNSTARTED:
            job.started_at = job.started_at or job.created_at
        if job.status in FINISHED:
            job.finished_at = job.finished_at or self.clock()

    # --- finding -----------------------------------------------------------------------------------------------------

    def find_project(self, key: str) -> Project | None:
        """Find a project by number or path, also by a former path; the case of letters does not matter."""
        if key.isdecimal():
            return self.projects.get(int(key))
        wanted = key.lower()
        here = (project for project in self.projects.values() if project.path.lower() == wanted)
        return next(here, None) or self.redirects.get(wanted)

    def find_group(self, key: str) -> Group | None:
        """Find a group by number or path."""
        if key.isdecimal():
            return self.groups.get(int(key))
        return next((group for group in self.groups.values() if group.path.lower() == key.lower()), None)

    def pipelines_of(self, project: Project) -> list[Pipeline]:
        """List a project's pipelines, children included, oldest first."""
        return list(self._pipelines_of[project.id])

    def jobs_of(self, pipeline: Pipeline, *, include_retried: bool = False) -> list[Job]:
        """List a pipeline's jobs, oldest first."""
        return [job for job in self._jobs_of[pipeline.id] if include_retried or not job.retried]

    def bridges_of(self, pipeline: Pipeline) -> list[Bridge]:
        """List a pipeline's trigger jobs, oldest first."""
        return [bridge for bridge in self.bridges.values() if bridge.pipeline is pipeline]

    def artifacts_of(self, job: Job) -> list[Artifact]:
        """List the artifacts that are still there; a job's log outlives the rest."""
        artifacts = [] if job.erased_at or self._is_removed(job) else job.uploads()
        if job.trace is not None and job.trace.size and not job.erased_at and job.status in FINISHED:
            artifacts.append(Artifact("trace", "raw", "job.log", job.trace))
        return artifacts

    def artifact(self, job: Job, file_type: str) -> Artifact | None:
        """Find one of a job's artifacts."""
        return next((one for one in self.artifacts_of(job) if one.file_type == file_type), None)

    def is_expired(self, job: Job) -> bool:
        """Tell whether the artifacts' time is over, whether or not they have been removed."""
        return not job.locked and job.expire_at is not None and job.expire_at <= self.clock()

    def _is_removed(self, job: Job) -> bool:
        if not job.removed and self.is_expired(job) and job.expire_at is not None:
            job.removed = job.expire_at + self.expiry_worker_lag <= self.clock()
        return job.removed

    # --- access ------------------------------------------------------------------------------------------------------

    def role_of(self, user: User | None, project: Project) -> Role | None:
        """Tell what a user is in a project; None = not a member, or nobody in particular."""
        if user is None:
            return None
        return self._members.get((user.id, project.id), user.role)

    def may(self, user: User | None, ability: str, project: Project) -> bool:
        """Tell whether GitLab lets a user do this (app/policies/project_policy.rb).

        ==================  ==================================================================
        ability             who
        ==================  ==================================================================
        read_project        members; everybody where the project is public
        read_pipeline,      reporters; with `public_jobs` guests, and everybody where the
        read_build          project is public; nobody while CI/CD is turned off
        keep_artifacts      developers, unless the project is archived
        ==================  ==================================================================
        """
        if user is not None and (user.id, project.id, ability) in self._denied:
            return False
        role = self.role_of(user, project) or (Role.GUEST if project.visibility == "public" else 0)
        match ability:
            case "read_project":
                return role > 0
            case "read_pipeline" | "read_build":
                needed = Role.GUEST if project.public_jobs else Role.REPORTER
                return project.builds_enabled and role >= needed
            case "keep_artifacts":
                return project.builds_enabled and not project.archived and role >= Role.DEVELOPER
        raise ValueError(ability)

    def may_read_artifacts(self, user: User | None, job: Job) -> bool:
        """Tell whether `artifacts:access` lets a user who may see the job have its files too."""
        needed = {"all": 0, "developer": Role.DEVELOPER, "maintainer": Role.MAINTAINER, "none": 99}
        return (self.role_of(user, job.pipeline.project) or 0) >= needed[job.artifacts_access]

    def visible_projects(self, user: User | None, group: Group) -> Iterator[Project]:
        """Iterate over the projects below a group that a user may see."""
        prefix = f"{group.path}/"
        for project in self.projects.values():
            if project.path.startswith(prefix) and self.may(user, "read_project", project):
                yield project

    def _next(self, kind: str) -> int:
        return next(self._ids[kind])


_FIRST_IDS = {"user": 1, "group": 10, "project": 21, "pipeline": 1001, "job": 50001}


def _set_times(words: PipelineWords) -> None:
    """Fill in when a pipeline started and finished; skipped and manual ones never finish (facts, section 1)."""
    if words["status"] not in UNSTARTED:
        words.setdefault("started_at", words["created_at"])
    if words["status"] in FINISHED:
        words.setdefault("finished_at", words["updated_at"])
