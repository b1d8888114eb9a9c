"""The rows of a stand-in GitLab's database, and the words that a scenario may use for them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Literal, TypedDict

from reconciler.sandbox.gitlab.artifacts import Artifact, Filler
from reconciler.sandbox.objectstore import Blob, Segments

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime

STATUSES = (
    "created",
    "waiting_for_resource",
    "preparing",
    "waiting_for_callback",
    "pending",
    "running",
    "success",
    "failed",
    "canceling",
    "canceled",
    "skipped",
    "manual",
    "scheduled",
)
"""Of pipelines and jobs (app/models/concerns/ci/has_status.rb)."""

FINISHED = frozenset({"success", "failed", "canceled"})
"""What `scope=finished` means; also the statuses that set `finished_at` (facts, section 1)."""

SOURCES = (
    "unknown",
    "push",
    "web",
    "trigger",
    "schedule",
    "api",
    "external",
    "pipeline",
    "chat",
    "webide",
    "merge_request_event",
    "external_pull_request_event",
    "parent_pipeline",
    "ondemand_dast_scan",
    "ondemand_dast_validation",
    "security_orchestration_policy",
    "container_registry_push",
    "duo_workflow",
    "pipeline_execution_policy_schedule",
)
"""Values of a pipeline's `source` (GitLab's generated OpenAPI)."""

ArtifactsAccess = Literal["all", "developer", "maintainer", "none"]
"""The `artifacts:access` keyword (doc/ci/yaml/_index.md)."""


class Role(IntEnum):
    """Access levels (doc/api/access_requests.md)."""

    GUEST = 10
    REPORTER = 20
    DEVELOPER = 30
    MAINTAINER = 40
    OWNER = 50


@dataclass(eq=False, slots=True)
class User:
    """A person or a token's bot; `role` is what it is in every project for which nothing else is said."""

    id: int
    username: str
    name: str
    role: Role | None


@dataclass(eq=False, slots=True)
class Token:
    """A personal, project or group access token."""

    id: int
    value: str
    name: str
    user: User
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: date | None = None
    """The first day on which it is no longer valid."""
    revoked: bool = False
    last_used_at: datetime | None = None


@dataclass(eq=False, slots=True)
class Group:
    """A group; subgroups have the group above them in their path."""

    id: int
    path: str
    name: str
    parent: Group | None


@dataclass(eq=False, slots=True)
class Project:
    """A project; its namespace is a group."""

    id: int
    group: Group
    path: str
    """With its namespace: `qa/web-shop`."""
    created_at: datetime
    name: str = ""
    visibility: Literal["private", "internal", "public"] = "private"
    archived: bool = False
    builds_enabled: bool = True
    public_jobs: bool = False
    """Let guests (of public projects: everybody) see pipelines and jobs."""
    default_branch: str = "main"
    last_activity_at: datetime | None = None


@dataclass(eq=False, slots=True)
class Pipeline:
    """A CI pipeline."""

    id: int
    iid: int
    project: Project
    sha: str
    user: User
    status: str
    created_at: datetime
    updated_at: datetime
    ref: str = "main"
    tag: bool = False
    source: str = "push"
    name: str | None = None
    yaml_errors: str | None = None
    before_sha: str = "0" * 40
    started_at: datetime | None = None
    finished_at: datetime | None = None
    parent: Pipeline | None = None
    """The pipeline whose trigger job started this one, in this project or another."""


@dataclass(eq=False, slots=True)
class Job:
    """One attempt of a CI job, with what its runner uploaded."""

    id: int
    pipeline: Pipeline
    name: str
    status: str
    created_at: datetime
    stage: str = "test"
    allow_failure: bool = False
    started_at: datetime | None = None
    finished_at: datetime | None = None
    failure_reason: str = "script_failure"
    coverage: float | None = None
    tag_list: tuple[str, ...] = ("docker",)
    archive: Blob | None = None
    junit: Blob | None = None
    trace: Blob | None = None
    expire_at: datetime | None = None
    locked: bool = False
    """Artifacts of the newest successful pipeline of a ref may be kept beyond their time ("keep latest")."""
    artifacts_access: ArtifactsAccess = "all"
    retried: bool = False
    erased_at: datetime | None = None
    removed: bool = False
    """The expiry worker has removed archive and reports."""
    summary_at: datetime | None = None
    """When the asynchronous worker has counted its tests; None = with the job."""

    def uploads(self) -> list[Artifact]:
        """List what was uploaded and not erased, expiry apart."""
        artifacts: list[Artifact] = []
        if self.archive is not None:
            artifacts.append(Artifact("archive", "zip", "artifacts.zip", self.archive))
            artifacts.append(Artifact("metadata", "gzip", "metadata.gz", _METADATA))
        if self.junit is not None:
            artifacts.append(Artifact("junit", "gzip", "junit.xml.gz", self.junit))
        return artifacts

    @property
    def group(self) -> str:
        """The name that shards share: `test 1/5` and `test: [a, b]` belong to `test` (app/models/commit_status.rb)."""
        return _GROUP_SUFFIX.sub("", self.name)

    @property
    def test_suite(self) -> str:
        """The suite that its tests go to: a matrix job keeps its full name (app/models/ci/build.rb)."""
        return self.name if _MATRIX.search(self.name) else self.group


_METADATA = Segments([bytes(186)])
_GROUP_SUFFIX = re.compile(r"([\b\s:]+((\[.*\])|(\d+[\s:/\\]+\d+)))+\s*\Z")
_MATRIX = re.compile(r":\s*\[.*\]\s*\Z")


@dataclass(eq=False, slots=True)
class Bridge:
    """A trigger job; `downstream` is None until it has started a pipeline."""

    id: int
    pipeline: Pipeline
    name: str
    status: str
    created_at: datetime
    stage: str = "test"
    allow_failure: bool = False
    downstream: Pipeline | None = None
    finished_at: datetime | None = None
    retried: bool = False


# --- what a scenario may say -----------------------------------------------------------------------------------------


class ProjectWords(TypedDict, total=False):
    """Keywords of `add_project`."""

    name: str
    visibility: Literal["private", "internal", "public"]
    archived: bool
    builds_enabled: bool
    public_jobs: bool
    default_branch: str


class PipelineWords(TypedDict, total=False):
    """Keywords of `add_pipeline`."""

    ref: str
    sha: str
    source: str
    status: str
    parent: Pipeline
    user: User
    tag: bool
    name: str
    yaml_errors: str
    created_at: datetime
    updated_at: datetime
    started_at: datetime
    finished_at: datetime


class JobWords(TypedDict, total=False):
    """Keywords of `add_job` and `retry_job`."""

    stage: str
    allow_failure: bool
    created_at: datetime
    started_at: datetime
    finished_at: datetime
    failure_reason: str
    coverage: float
    tag_list: tuple[str, ...]
    junit: Sequence[tuple[str, bytes]] | bytes
    archive: Mapping[str, bytes | Filler] | Blob | bytes
    trace: bytes
    expire_at: datetime
    locked: bool
    artifacts_access: ArtifactsAccess
    summary_at: datetime
