"""GitLab and Rally in memory, as `reconciler.ports` promises them: no network, and no lenience either."""

from __future__ import annotations

import gzip
import io
import threading
import time
from collections import Counter, defaultdict, deque
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, BinaryIO

from reconciler.archive import LocalFile, RemoteArchive
from reconciler.dispatch import GONE
from reconciler.errors import Incomplete, NotDone, NotThere, ServiceDown
from reconciler.model import (
    ArtifactListing,
    FormattedID,
    FoundAttachment,
    FoundResult,
    Job,
    JobId,
    NewAttachment,
    ObjectID,
    Pipeline,
    PipelineId,
    Project,
    ProjectId,
    Rejected,
    TestCase,
    TestCaseResult,
    Verdict,
)
from reconciler.notes import read_key
from reconciler.ports import PipelinePage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from reconciler.model import Build, Content, Key
    from reconciler.ports import Archive, SuiteReport

    Answers = list[ObjectID | Rejected]
    Step = Callable[["FakeRally", Sequence[Any]], Answers]
    """Given what one create request holds: TestCaseResults, NewAttachments, or the bytes of contents."""

START = datetime(2026, 1, 31, 12, tzinfo=UTC)


class Clock:
    """A clock that only moves when told; no two readings of a server's own clock are equal."""

    def __init__(self) -> None:
        """Start at one fixed instant."""
        self._now = START

    def __call__(self) -> datetime:
        """Tell the time."""
        return self._now

    def tick(self) -> datetime:
        """Move on by the least that GitLab shows, and tell the time."""
        return self.advance(0.001)

    def advance(self, seconds: float) -> datetime:
        """Move on, and tell the time."""
        self._now += timedelta(seconds=seconds)
        return self._now


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
    down: bool = False
    faults: dict[str, deque[BaseException]] = field(default_factory=lambda: defaultdict(deque))
    """What the next calls of a method raise, by its name."""
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
    ) -> PipelinePage:
        """List newest update first."""
        self._call("pipelines")
        found = [
            pipeline
            for pipeline in self._pipelines.values()
            if pipeline.project_id == project
            and pipeline.updated_at >= updated_after
            and (updated_before is None or pipeline.updated_at <= updated_before)
            and children == (pipeline.source == "parent_pipeline")
        ]
        found.sort(key=lambda pipeline: pipeline.updated_at, reverse=True)
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


# --- Rally -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class FakeRally:
    """TestCases, TestCaseResults and Attachments; a create request first follows the next step, if there is one."""

    clock: Clock = field(default_factory=Clock)
    verdicts: frozenset[str] = frozenset(Verdict)
    down: bool = False
    steps: deque[Step] = field(default_factory=deque)
    """For creates of results; the others have their own."""
    content_steps: deque[Step] = field(default_factory=deque)
    attachment_steps: deque[Step] = field(default_factory=deque)
    latency_s: float = 0.0
    """How long a create request takes."""
    bytes_each: int = 1_000
    checks: Callable[[TestCaseResult], str] = lambda _: ""
    refuses: Callable[[TestCaseResult], str] = lambda _: ""
    refuses_content: Callable[[bytes], str] = lambda _: ""
    refuses_attachment: Callable[[NewAttachment], str] = lambda _: ""
    requests: list[tuple[Key, ...]] = field(default_factory=list)
    """The keys of each create request, in the order of arrival."""
    most_at_once: int = 0
    cases: dict[ObjectID, TestCase] = field(default_factory=dict)
    content_requests: list[tuple[int, ...]] = field(default_factory=list)
    """The sizes in each create request of contents."""
    attachment_requests: list[tuple[tuple[ObjectID, str], ...]] = field(default_factory=list)
    """Result and name of each, by create request."""
    late: list[tuple[datetime, Sequence[Any]]] = field(default_factory=list)
    """Requests that gave up waiting for an answer and are still alive, since when."""
    stored: dict[ObjectID, TestCaseResult] = field(default_factory=dict)
    contents: dict[ObjectID, bytes] = field(default_factory=dict)
    attached: dict[ObjectID, NewAttachment] = field(default_factory=dict)
    _flying: list[frozenset[ObjectID]] = field(default_factory=list)
    _bin: dict[ObjectID, TestCase] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _last_id: int = 9_000

    # --- what happens there ---

    def add_case(self, formatted_id: str, name: str = "") -> TestCase:
        """Make a TestCase."""
        number = self._next_id()
        case = TestCase(number, FormattedID(formatted_id), name, ObjectID(1), self.clock.tick())
        self.cases[number] = case
        return case

    def delete_case(self, formatted_id: str) -> None:
        """Move a TestCase to the recycle bin; its results are then not to be seen."""
        for number in [number for number, case in self.cases.items() if case.formatted_id == formatted_id]:
            self._bin[number] = self.cases.pop(number)

    def restore_case(self, formatted_id: str) -> None:
        """Take a TestCase out of the recycle bin, its results with it."""
        for number in [number for number, case in self._bin.items() if case.formatted_id == formatted_id]:
            self.cases[number] = replace(self._bin.pop(number), updated_at=self.clock.tick())

    def land(self, *, begun_before: datetime) -> None:
        """Carry out the requests that are still alive and began before this."""
        for begun, results in [late for late in self.late if late[0] < begun_before]:
            self.late.remove((begun, results))
            self.carry_out(results)

    def results(self) -> dict[Key, str]:
        """Tell the Verdict of each result that can be seen; a key that is there twice fails."""
        seen = [result for result in self.stored.values() if result.test_case in self.cases]
        found = {result.key: result.verdict for result in seen}
        assert len(found) == len(seen), sorted(str(result.key) for result in seen)
        return found

    def attachments(self) -> dict[Key, list[tuple[str, bytes]]]:
        """Tell names and bytes of what is attached to each result that can be seen, sorted."""
        found: dict[Key, list[tuple[str, bytes]]] = defaultdict(list)
        for one in self.attached.values():
            if self._sees(one.result):
                found[self.stored[one.result].key].append((one.name, self.contents[one.content]))
        return {key: sorted(files) for key, files in found.items()}

    def orphans(self) -> list[bytes]:
        """Tell the contents that no attachment refers to."""
        used = {one.content for one in self.attached.values()}
        return [data for number, data in self.contents.items() if number not in used]

    def carry_out(self, wanted: Sequence[TestCaseResult | NewAttachment | bytes]) -> Answers:
        """Create one by one."""
        return [self._create(one) for one in wanted]

    def _create(self, one: TestCaseResult | NewAttachment | bytes) -> ObjectID | Rejected:
        match one:
            case TestCaseResult():
                return self._create_result(one)
            case NewAttachment():
                return self._create_attachment(one)
            case bytes():
                return self._create_content(one)

    def _create_content(self, data: bytes) -> ObjectID | Rejected:
        if reason := self.refuses_content(data):
            return Rejected(reason)
        if not data:
            return Rejected("Validation error: AttachmentContent.Content should not be null")
        number = self._next_id()
        self.contents[number] = data
        return number

    def _create_attachment(self, new: NewAttachment) -> ObjectID | Rejected:
        if not self._sees(new.result) or new.content not in self.contents:
            return Rejected(f"Could not read: {GONE} null")
        assert new.size_bytes == len(self.contents[new.content])
        if reason := self.refuses_attachment(new):
            return Rejected(reason)
        if not new.name or not new.content_type:
            return Rejected("Validation error: Attachment.Name or .ContentType should not be null")
        number = self._next_id()
        self.attached[number] = new
        return number

    def _sees(self, result: ObjectID) -> bool:
        return result in self.stored and self.stored[result].test_case in self.cases

    def _create_result(self, result: TestCaseResult) -> ObjectID | Rejected:
        assert read_key(result.notes) == result.key
        if result.test_case not in self.cases:
            return Rejected(f"{GONE} /testcase/{result.test_case}")
        if reason := self.refuses(result):
            return Rejected(reason)
        if result.verdict not in self.verdicts:
            return Rejected(f"Not a Verdict: {result.verdict}")
        number = self._next_id()
        self.stored[number] = result
        return number

    def _next_id(self) -> ObjectID:
        self._last_id += 1
        return ObjectID(self._last_id)

    def _read(self) -> None:
        if self.down:
            raise ServiceDown("Rally", "no answer")

    @contextmanager
    def _one_request(self, wanted: Sequence[TestCaseResult | NewAttachment | bytes]) -> Iterator[None]:
        touched = _touched(wanted)
        with self._lock:
            alive = [_touched(others) for _, others in self.late]
            assert not any(touched & others for others in (*self._flying, *alive)), (
                "two requests write to one test case"
            )
            self._flying.append(touched)
            self.most_at_once = max(self.most_at_once, len(self._flying))
        try:
            time.sleep(self.latency_s)
            yield
        finally:
            with self._lock:
                self._flying.remove(touched)

    # --- the port ---

    def allowed_verdicts(self) -> frozenset[str]:
        """Give the drop-down list."""
        self._read()
        return self.verdicts

    def test_cases(self, updated_since: datetime | None = None) -> Iterator[TestCase]:
        """List all, or what changed; one that came out of the recycle bin has changed."""
        self._read()
        return iter([case for case in self.cases.values() if updated_since is None or case.updated_at >= updated_since])

    def test_cases_by_id(self, formatted_ids: Sequence[FormattedID]) -> Mapping[FormattedID, TestCase]:
        """Look up single ones."""
        self._read()
        return {case.formatted_id: case for case in self.cases.values() if case.formatted_id in formatted_ids}

    def results_of(self, builds: Sequence[Build]) -> list[FoundResult]:
        """List what carries a key."""
        self._read()
        attached = Counter(one.result for one in self.attached.values())
        return [
            FoundResult(key, number, result.build, result.verdict, attached[number])
            for number, result in self.stored.items()
            if result.build in builds and result.test_case in self.cases and (key := read_key(result.notes))
        ]

    def check(self, result: TestCaseResult) -> str:
        """Check as told."""
        return self.checks(result)

    def payload_size(self, result: TestCaseResult) -> int:
        """Let every result be equally large."""
        del result
        return self.bytes_each

    def add_results(self, results: Sequence[TestCaseResult]) -> Answers:
        """Create in one request."""
        self.requests.append(tuple(result.key for result in results))
        with self._one_request(results):
            return self._follow(self.steps, results)

    def add_result(self, result: TestCaseResult) -> ObjectID | Rejected:
        """Create one."""
        return self.add_results([result])[0]

    def attachments_of(self, result: ObjectID) -> list[FoundAttachment]:
        """List what is attached."""
        self._read()
        return [
            FoundAttachment(number, one.name, one.size_bytes)
            for number, one in self.attached.items()
            if one.result == result and self._sees(result)
        ]

    def content_of(self, attachment: FoundAttachment) -> bytes:
        """Give the bytes."""
        self._read()
        return self.contents[self.attached[attachment.object_id].content]

    def add_contents(self, contents: Sequence[Content]) -> Answers:
        """Create in one request; what the files hold by then is what is sent."""
        sent = [_bytes_of(content) for content in contents]
        self.content_requests.append(tuple(map(len, sent)))
        with self._one_request(sent):
            return self._follow(self.content_steps, sent)

    def add_content(self, content: Content) -> ObjectID | Rejected:
        """Create one."""
        return self.add_contents([content])[0]

    def add_attachments(self, attachments: Sequence[NewAttachment]) -> Answers:
        """Create in one request."""
        self.attachment_requests.append(tuple((one.result, one.name) for one in attachments))
        with self._one_request(attachments):
            return self._follow(self.attachment_steps, attachments)

    def add_attachment(self, attachment: NewAttachment) -> ObjectID | Rejected:
        """Create one."""
        return self.add_attachments([attachment])[0]

    def _follow(self, steps: deque[Step], wanted: Sequence[TestCaseResult | NewAttachment | bytes]) -> Answers:
        with self._lock:
            if self.down:
                raise NotDone("Rally: no connection", retry_after_s=0.0)
            step = steps.popleft() if steps else None
            return step(self, wanted) if step else self.carry_out(wanted)


def _touched(wanted: Sequence[TestCaseResult | NewAttachment | bytes]) -> frozenset[ObjectID]:
    """Tell which TestCases a request changes; whether attaching to a result changes that, nobody knows."""
    return frozenset(one.test_case for one in wanted if isinstance(one, TestCaseResult))


def _bytes_of(content: Content) -> bytes:
    try:
        content.file.seek(0)
        data = content.file.read()
    except ValueError as error:
        raise Incomplete(f"Rally: the file cannot be read: {error}") from error
    if len(data) != content.size_bytes:
        raise Incomplete(f"Rally: the file has {len(data)} bytes, not {content.size_bytes}")
    return data
