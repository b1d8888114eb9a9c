"""The vocabulary that all rooms share: GitLab's and Rally's things, ids and keys; no I/O, no clock."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NewType

from reconciler.record import record

if TYPE_CHECKING:
    from datetime import date, datetime
    from typing import BinaryIO

ProjectId = NewType("ProjectId", int)
PipelineId = NewType("PipelineId", int)
JobId = NewType("JobId", int)
FormattedID = NewType("FormattedID", str)
ObjectID = NewType("ObjectID", int)
Build = NewType("Build", str)

READY = frozenset({"success", "failed", "canceled", "manual"})
"""Pipeline statuses whose finished jobs count (GitLab's words)."""

FINISHED = frozenset({"success", "failed", "canceled"})
"""Job statuses after which a job's report no longer changes."""


# --- what GitLab has -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Project:
    """A GitLab project."""

    id: ProjectId
    path: str
    web_url: str


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A row of GitLab's pipeline list; times are aware UTC."""

    project_id: ProjectId
    id: PipelineId
    iid: int
    sha: str
    ref: str
    status: str
    source: str
    web_url: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ArtifactListing:
    """An entry of a job's `artifacts[]`."""

    file_type: str
    size_bytes: int
    filename: str


@dataclass(frozen=True, slots=True)
class Job:
    """One attempt of a CI job; a retry is another Job of the same name with a higher id."""

    id: JobId
    pipeline_id: PipelineId
    project_id: ProjectId
    name: str
    stage: str
    status: str
    web_url: str
    finished_at: datetime | None
    artifacts: tuple[ArtifactListing, ...]
    artifacts_expire_at: datetime | None

    def lists(self, file_type: str) -> bool:
        """Tell whether GitLab lists an artifact of this type for the job."""
        return self.size_of(file_type) is not None

    def size_of(self, file_type: str) -> int | None:
        """Tell how many bytes GitLab lists for an artifact of this type; None: it lists none."""
        return next((artifact.size_bytes for artifact in self.artifacts if artifact.file_type == file_type), None)

    @property
    def group(self) -> str:
        """GitLab's group name: the job's name without its shard or matrix suffix.

        Source: `CommitStatus#group_name` in GitLab's app/models/commit_status.rb.
        """
        return _GROUP_SUFFIX.sub("", self.name)


_GROUP_SUFFIX = re.compile(r"(?:[\s:]+(?:\[.*\]|\d+[\s:/\\]+\d+))+\s*$")


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a GitLab says of itself."""

    version: str
    at: datetime | None
    """Its own clock as it answered; None: it did not say."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """What GitLab says of the token that asks."""

    name: str
    scopes: frozenset[str]
    expires_on: date | None
    """The first day on which it is no longer accepted; None: it has none."""
    active: bool


# --- what a report says ----------------------------------------------------------------------------------------------


LONGEST_S = 1e9
"""Of one test, about 32 years: a longer time is a bad one and counts 0, lest a sum of them be infinite."""


class Outcome(StrEnum):
    """What one test case element of a JUnit report says, worst first in `WORST_FIRST`."""

    ERRORED = "errored"
    FAILED = "failed"
    SKIPPED = "skipped"
    PASSED = "passed"


@record
class TestRun:
    """One `<testcase>` element as its report tells it; text is free of characters that XML forbids."""

    ordinal: int
    """Position in the document, from 0."""
    suite: str
    """Names of all enclosing suites, outermost first, joined with " / "."""
    classname: str
    name: str
    file: str
    outcome: Outcome
    flaky: bool
    """Passed in the end, after explicit failed attempts (surefire's flakyFailure, flakyError)."""
    attempts: int
    """1 + the explicit reruns that the element lists."""
    duration_s: float
    """Finite and >= 0; a missing or bad time is 0."""
    message: str
    """The worst result's message, for people; "" when it has none."""
    detail: str
    """Texts of all result children (traces), in document order."""
    system_out: str
    system_err: str
    properties: tuple[tuple[str, str], ...]
    """The element's own, as attribute, as text or as `[[PROPERTY|name=value]]` in its system-out, in document order."""

    @property
    def key(self) -> str:
        """The test's key: `classname.name`, or `name` when there is no classname."""
        return f"{self.classname}.{self.name}" if self.classname else self.name


# --- what Rally has --------------------------------------------------------------------------------------------------


class Verdict(StrEnum):
    """Rally's standard verdicts of a TestCaseResult, worst first; a workspace may have others."""

    ERROR = "Error"
    FAIL = "Fail"
    BLOCKED = "Blocked"
    INCONCLUSIVE = "Inconclusive"
    PASS = "Pass"  # noqa: S105 - a verdict, not a password


@dataclass(frozen=True, slots=True)
class TestCase:
    """A Rally TestCase, as far as results need it."""

    object_id: ObjectID
    formatted_id: FormattedID
    name: str
    project_id: ObjectID
    updated_at: datetime
    field_value: str = ""
    """The value of `mapping.rally_field`, when that is set."""


@record
class Key:
    """What a result is, derived from what it stands for; written on the Rally object as its last line of Notes."""

    project_id: ProjectId
    pipeline_id: PipelineId
    formatted_id: FormattedID
    revision: int

    def __str__(self) -> str:
        """Read as `<project_id>/<pipeline_id>/<FormattedID>/<revision>`."""
        return f"{self.project_id}/{self.pipeline_id}/{self.formatted_id}/{self.revision}"

    @staticmethod
    def is_written(text: str) -> bool:
        """Tell whether a text is exactly one, as a key is written, without white space around it."""
        return _KEY.fullmatch(text) is not None

    @classmethod
    def parse(cls, text: str) -> Key | None:
        """Read a key back; None when the text is not exactly one."""
        match = _KEY.fullmatch(text.strip())
        if match is None:
            return None
        project, pipeline, formatted_id, revision = match.groups()
        return cls(ProjectId(int(project)), PipelineId(int(pipeline)), FormattedID(formatted_id), int(revision))


_KEY = re.compile(r"([0-9]{1,18})/([0-9]{1,18})/(TC[0-9]{1,18})/([0-9]{1,9})")


@record
class TestCaseResult:
    """A TestCaseResult to be created in Rally."""

    key: Key
    build: Build
    test_case: ObjectID
    verdict: str
    date: datetime
    duration_s: float
    notes: str
    test_set: ObjectID | None = None


@dataclass(frozen=True, slots=True)
class FoundResult:
    """A TestCaseResult that Rally already has and that carries a key of ours."""

    key: Key
    object_id: ObjectID
    build: Build
    verdict: str
    attachments: int | None = None
    """How many attachments it has; None: Rally did not say."""
    test_set: ObjectID | None = None
    date: datetime | None = None
    """None: Rally did not say."""


@dataclass(frozen=True, slots=True)
class SeenResult:
    """A TestCaseResult as Rally has it, whoever made it."""

    object_id: ObjectID
    build: Build
    key: Key | None
    """None: it carries none of ours."""
    test_case: ObjectID
    verdict: str
    date: datetime
    duration_s: float | None


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes for an AttachmentContent, in a file of their own; read from its beginning by whoever sends them."""

    file: BinaryIO
    size_bytes: int


@dataclass(frozen=True, slots=True)
class NewAttachment:
    """An Attachment to be created on a result; its AttachmentContent is in Rally already."""

    result: ObjectID
    content: ObjectID
    name: str
    content_type: str
    size_bytes: int
    """Of the content, decoded."""


@dataclass(frozen=True, slots=True)
class FoundAttachment:
    """An Attachment that a result in Rally has."""

    object_id: ObjectID
    name: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Iteration:
    """A sprint of one project; every project has its own, though names and dates may be equal."""

    object_id: ObjectID
    name: str
    starts_at: datetime
    ends_at: datetime
    """Both as Rally has them: moved to the borders of days in the workspace's time zone."""
    project_id: ObjectID
    project_name: str


@dataclass(frozen=True, slots=True)
class WorkItem:
    """A story or a defect that is scheduled in an iteration."""

    object_id: ObjectID
    type_path: str
    """`hierarchicalrequirement` or `defect`."""
    iteration: ObjectID
    test_cases: int | None
    """How many it has; None: Rally did not say."""
    updated_at: datetime

    @property
    def ref(self) -> str:
        """As Rally's queries take it."""
        return f"/{self.type_path}/{self.object_id}"


@dataclass(frozen=True, slots=True)
class NewTestSet:
    """A TestSet to be created; its iteration is one of its project."""

    name: str
    iteration: ObjectID
    project: ObjectID


@dataclass(frozen=True, slots=True)
class TestSet:
    """A TestSet that Rally has."""

    object_id: ObjectID
    name: str
    iteration: ObjectID
    project: ObjectID
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NewTestFolder:
    """A TestFolder to be created; `parent` None: at the top of its project."""

    name: str
    project: ObjectID
    parent: ObjectID | None


@dataclass(frozen=True, slots=True)
class TestFolder:
    """A TestFolder that Rally has."""

    object_id: ObjectID
    name: str
    project: ObjectID
    parent: ObjectID | None


@dataclass(frozen=True, slots=True)
class Move:
    """A test case to be filed in a folder of its project."""

    test_case: ObjectID
    folder: ObjectID


@dataclass(frozen=True, slots=True)
class KeyOwner:
    """The user whose API key asks Rally."""

    object_id: ObjectID
    name: str
    is_admin: bool
    """Of the whole subscription."""
    at: datetime | None
    """Rally's clock as it answered; None: it did not say."""


@dataclass(frozen=True, slots=True)
class ProjectRole:
    """What a user is in one project in scope."""

    project: str
    role: str
    """Viewer, Editor or Admin in Rally's words; "" where it lists none."""
    is_root: bool


@dataclass(frozen=True, slots=True)
class Rejected:
    """Rally's plain No to one create; `conflict` means: the same may be sent again in a moment."""

    reason: str
    conflict: bool = False
