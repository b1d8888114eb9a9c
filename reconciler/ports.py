"""GitLab and Rally as the rest of the program sees them, with the promises that adapters make.

Promises of every adapter: reads are retried inside (with back-off, Retry-After and a breaker per service); a create is
never retried; a look-up that failed raises and never reads as "nothing there"; names of pyral's and python-gitlab's
exceptions never leave it; no error text holds a secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime
    from io import BufferedReader
    from typing import BinaryIO

    from reconciler.archive import BadMember, Member
    from reconciler.model import (
        AccessToken,
        Build,
        Content,
        FormattedID,
        FoundAttachment,
        FoundResult,
        Greeting,
        Iteration,
        Job,
        JobId,
        KeyOwner,
        Move,
        NewAttachment,
        NewTestFolder,
        NewTestSet,
        ObjectID,
        Pipeline,
        PipelineId,
        Project,
        ProjectId,
        ProjectRole,
        Rejected,
        SeenResult,
        TestCase,
        TestCaseResult,
        TestFolder,
        TestRun,
        TestSet,
        WorkItem,
    )


@dataclass(frozen=True, slots=True)
class PipelinePage:
    """One page of a project's pipelines, newest `updated_at` first."""

    pipelines: tuple[Pipeline, ...]
    next_page: int | None


@dataclass(frozen=True, slots=True)
class SuiteReport:
    """One suite of GitLab's `test_report`: what the jobs of one group reported, as GitLab parsed it (lossy)."""

    name: str
    """A job's full name, or GitLab's group name."""
    error: str
    """GitLab's `suite_error`; "" when there is none."""
    tests: tuple[TestRun, ...]


class Archive(Protocol):
    """A job's artifacts.zip, as its directory tells it."""

    @property
    def members(self) -> Sequence[Member]:
        """The files in it, without folders; each path once."""

    def open(self, paths: Collection[str]) -> Iterator[tuple[Member, BufferedReader | BadMember]]:
        """Give the members with these paths, each to be read before the next is asked for; others are passed over.

        A bad member is given as what is wrong with it, and reading one may raise `BadMember`; the others are none the
        worse. Fetching raises as the port does.
        """


class GitLab(Protocol):
    """Where pipelines and their reports come from; read, but for `keep_artifacts`.

    Every method may raise `ServiceDown` (ask again in the next pass), `Unauthorized` (the token is not accepted),
    `NotThere` (404), `Forbidden` (403), `Incomplete` (this one thing was cut short or keeps failing while GitLab
    answers others: try it again in a later pass) and `Stopped`. The two that open a file raise on entering, `TooLarge`
    too.
    """

    def greeting(self) -> Greeting:
        """Ask which version it is, and what time."""

    def token(self) -> AccessToken:
        """Ask about our own token, in one request; `NotThere` or `Forbidden` where this GitLab does not tell."""

    def project(self, name: str | int) -> Project:
        """Find a project by its path or numeric id; a renamed path is followed."""

    def group_projects(self, group: str | int) -> list[Project]:
        """List every project that is not archived below a group, subgroups included."""

    def pipelines(  # noqa: PLR0913 - GitLab's own parameters
        self,
        project: ProjectId,
        *,
        updated_after: datetime,
        updated_before: datetime | None = None,
        children: bool = False,
        page: int = 1,
        by_id: bool = False,
    ) -> PipelinePage:
        """Fetch one page of pipelines, newest update first, or by id; both bounds are inclusive.

        `children` lists child pipelines instead, which the default list leaves out; a GitLab older than 17.0, which
        cannot, gives an empty page.
        """

    def jobs(self, project: ProjectId, pipeline: PipelineId) -> list[Job]:
        """List the newest attempt of every job; bridges are not among them."""

    def has_bridges(self, project: ProjectId, pipeline: PipelineId) -> bool:
        """Tell whether the pipeline has trigger jobs: then an empty job list may be the whole truth."""

    def junit_artifact(self, job: Job) -> AbstractContextManager[BinaryIO | None]:
        """Open the job's `junit` report artifact (`?file_type=junit`), spooled to disk, at its first byte.

        The bytes are usually gzip with a member per file. None: this GitLab (before 19.4) does not serve it and
        answered with the archive instead.
        """

    def archive(self, job: Job) -> AbstractContextManager[Archive]:
        """Open the job's archive at its directory; only what is wanted of it is fetched, and never into memory whole.

        Entering may raise `BadArchive` too: what was uploaded is not a zip that can be read. What was learnt of it is
        kept for a while, so that opening it again in the same pass costs no request that was made before.
        """

    def probe_artifacts(self, job: Job) -> None:
        """Ask for the first bytes of what a job uploaded, and keep nothing; raises as the two above do on entering."""

    def forget_archives(self) -> None:
        """Let go of all that is kept of archives, temporary files too; a pass ends so."""

    def keep_artifacts(self, project: ProjectId, job: JobId) -> None:
        """Ask GitLab to keep a job's artifacts beyond their day; asking twice does nothing more.

        The one call that changes something in GitLab: `Forbidden` when the token lacks the scope `api` or its user the
        Developer role, `NotThere` when there is nothing left to keep.
        """

    def test_report(self, project: ProjectId, pipeline: PipelineId) -> list[SuiteReport]:
        """Fetch what GitLab itself parsed from the reports of the pipeline's newest jobs."""

    def tested_jobs(self, project: ProjectId, pipeline: PipelineId) -> frozenset[JobId] | None:
        """Tell which jobs reported tests, from `test_report_summary`, which survives expiry; None: it cannot tell."""


class Rally(Protocol):
    """Where results go. Contacted at the first call; an adapter never retries a create.

    Reads, and the contact that any first call makes, raise `ServiceDown`, `Unauthorized`, `Misconfigured` (no such
    workspace, project or field) and `Stopped`; then nothing was sent.
    """

    def owner(self) -> KeyOwner:
        """Ask whose key it is; the one call that needs neither workspace nor project."""

    def roles(self, owner: KeyOwner) -> list[ProjectRole]:
        """Tell what a user is in the root project and each below it, as far as Rally lists it."""

    def probe_batch(self) -> None:
        """Send a `/batch` that only reads.

        Raises:
            BatchRefused: `/batch` is not to be had.
            Unauthorized: the key may not send a POST: to Rally every one is a write.
            NoAnswer, NotDone.
        """

    def allowed_verdicts(self) -> frozenset[str]:
        """Fetch the words that the workspace allows as a TestCaseResult's Verdict."""

    def test_cases(self, updated_since: datetime | None = None) -> Iterator[TestCase]:
        """Fetch every TestCase of the root project and its child projects, or those updated since (inclusive).

        The iterator raises when the answer is not whole: what was yielded before is then worth nothing.
        """

    def test_cases_by_id(self, formatted_ids: Sequence[FormattedID]) -> Mapping[FormattedID, TestCase]:
        """Look up single TestCases; what Rally does not have in scope is absent from the answer."""

    def results_of(self, builds: Sequence[Build]) -> list[FoundResult]:
        """Fetch every TestCaseResult of these Builds that carries a key of ours; whole or not at all."""

    def all_results_of(self, builds: Sequence[Build]) -> list[SeenResult]:
        """Fetch every TestCaseResult of these Builds, whoever made it; whole or not at all."""

    def results_by_id(self, results: Sequence[ObjectID]) -> list[SeenResult]:
        """Fetch these, of whatever Build and wherever in the workspace they are by now; without those that are gone."""

    def check(self, result: TestCaseResult) -> str:
        """Check a result against the workspace's schema without a request; "" when Rally can be expected to take it."""

    def payload_size(self, result: TestCaseResult) -> int:
        """Tell how many bytes a result takes in a batch."""

    def add_results(self, results: Sequence[TestCaseResult]) -> list[ObjectID | Rejected]:
        """Create the results in one `/batch` request; answers by position. Called from several threads at once.

        Raises:
            NoAnswer: any of them may have been created.
            NotDone: none was created; the same may be sent again (at once, while Rally is known to be down).
            BatchRefused: none was created; `/batch` is not to be had.
            Unauthorized: none was created.
        """

    def add_result(self, result: TestCaseResult) -> ObjectID | Rejected:
        """Create one result with a request of its own; raises as `add_results` does, but for `BatchRefused`."""

    def attachments_of(self, result: ObjectID) -> list[FoundAttachment]:
        """Fetch all attachments of a result, whole or not at all; [] also when Rally no longer has the result."""

    def content_of(self, attachment: FoundAttachment) -> bytes:
        """Fetch an attachment's bytes, into memory; b"" when it has none."""

    def add_contents(self, contents: Sequence[Content]) -> list[ObjectID | Rejected]:
        """Create AttachmentContents in one `/batch`; answers and raises as `add_results` does.

        `Incomplete` too: a file is not what it was said to be; none was created.
        """

    def add_content(self, content: Content) -> ObjectID | Rejected:
        """Create one AttachmentContent of any size, streamed; raises as `add_result` does, and `Incomplete`."""

    def add_attachments(self, attachments: Sequence[NewAttachment]) -> list[ObjectID | Rejected]:
        """Create Attachments in one `/batch`; answers and raises as `add_results` does."""

    def add_attachment(self, attachment: NewAttachment) -> ObjectID | Rejected:
        """Create one Attachment; raises as `add_result` does."""

    # --- sprints ---

    def name_limit(self) -> int:
        """Tell how many UTF-16 units the name of a TestSet or a TestFolder may have; known from the first contact."""

    def iterations(self, since: datetime, until: datetime) -> list[Iteration]:
        """Fetch the iterations of the root project and those below it whose windows touch this one; whole."""

    def work_items(self, iterations: Sequence[ObjectID]) -> list[WorkItem]:
        """Fetch the stories and defects that are scheduled in these iterations; whole."""

    def test_cases_of(self, items: Sequence[WorkItem]) -> list[tuple[ObjectID, TestCase]]:
        """Fetch the test cases whose WorkProduct is one of these, each with that one's ObjectID; whole.

        Test cases of projects outside the root project's scope are among them.
        """

    def test_sets(self, iterations: Sequence[ObjectID]) -> list[TestSet]:
        """Fetch every TestSet that is scheduled in these iterations, oldest first; whole."""

    def members_of(self, test_set: ObjectID) -> frozenset[ObjectID]:
        """Fetch a set's test cases; whole.

        Raises:
            NotThere: Rally no longer has the set.
        """

    def add_test_set(self, new: NewTestSet) -> ObjectID | Rejected:
        """Create one TestSet; raises as `add_result` does."""

    def add_members(self, test_set: ObjectID, test_cases: Sequence[ObjectID]) -> Rejected | None:
        """Put test cases into a set, in one request; None: they are in it. Raises as `add_result` does.

        After a No nothing is known of the single ones: look before trying again.
        """

    def folders_named(self, name: str, projects: Sequence[ObjectID]) -> list[TestFolder]:
        """Fetch the folders of this name at the top of these projects, oldest first; whole. The name has no quotes."""

    def folders_in(self, parents: Sequence[ObjectID]) -> list[TestFolder]:
        """Fetch the folders directly in these, oldest first; whole."""

    def add_folder(self, new: NewTestFolder) -> ObjectID | Rejected:
        """Create one TestFolder; raises as `add_result` does."""

    def move_test_cases(self, moves: Sequence[Move]) -> list[ObjectID | Rejected]:
        """File test cases in folders with one `/batch`; answers (the test cases) and raises as `add_results` does."""

    def move_test_case(self, move: Move) -> ObjectID | Rejected:
        """File one test case; raises as `add_result` does."""
