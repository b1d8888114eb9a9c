"""One pipeline's reports as GitLab has them: each job's from the first source that has a document, else what is wrong.

Everything here may run in any thread: it asks GitLab and parses, and touches no ledger. `recording` writes down what
comes of it, in the one thread that does.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from loguru import logger

from reconciler import patterns
from reconciler.archive import BadArchive, BadMember
from reconciler.errors import Forbidden, Incomplete, NotThere, ReconcilerError, TooLarge
from reconciler.gzipped import BadGzip, is_gzip, members
from reconciler.junit import BadReport, Limits, Report, looks_like_junit
from reconciler.ledger.observations import KnownJob
from reconciler.model import FINISHED
from reconciler.parsed import Room

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from reconciler.archive import Member
    from reconciler.config import Settings
    from reconciler.model import Job, JobId, Pipeline, TestRun
    from reconciler.parsed import Runs
    from reconciler.ports import Archive, GitLab, SuiteReport

TRIES = 3
"""In how many passes a job's report is asked for before it is called lost."""
FILES_OF_ONE_ARCHIVE = 5000
"""How many XML files of one archive are looked at."""
HEAD_BYTES = 4096
REPORT_BYTES = Limits().max_bytes

EXPIRED, FORBIDDEN, MISSING, NO_JOBS, UNREADABLE = "expired", "forbidden", "missing", "no-jobs", "unreadable"
WORTH_ANOTHER_LOOK = (FORBIDDEN, MISSING, NO_JOBS, UNREADABLE)
"""Problems that may be gone by now: a backfill asks again."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A pipeline to be read, and what is known of its jobs."""

    pipeline: Pipeline
    known: Mapping[JobId, KnownJob]

    def of(self, job: Job) -> KnownJob:
        """Tell what is known of a job."""
        return self.known.get(job.id, KnownJob("open", 0))


@dataclass(frozen=True, slots=True)
class Document:
    """One report, or one suite of GitLab's own."""

    source: str
    name: str
    runs: Runs


@dataclass(frozen=True, slots=True)
class Files:
    """The directory of a job's archive, or why there is none."""

    members: Sequence[Member] | None
    why: str = ""
    """Told of the files that tests name."""
    note: str = ""
    """Told in the Notes of the job's results; "" where a job just has no archive."""


@dataclass(slots=True)
class JobFound:
    """What asking for one job's reports came to."""

    job: Job
    state: str = "open"
    """`read`, `empty` or `lost`; `open`: it is left to a later pass, and nothing of it counts."""
    documents: list[Document] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    files: Files | None = None
    """None: there are no tests that files could belong to."""
    expects: bool = False
    """GitLab says that there is, or was, something."""
    room: Room = field(default_factory=Room)

    def note(self, kind: str, detail: str) -> None:
        """Note something that is wrong."""
        self.problems.append((kind, detail))
        logger.warning("A report cannot be read", job=self.job.id, name=self.job.name, kind=kind, detail=detail)

    def document(self, source: str, name: str, runs: Iterable[TestRun]) -> None:
        """Take one document; raises what `runs` raises, and then takes nothing of it."""
        self.documents.append(Document(source, name, self.room.keep(runs)))


@dataclass(frozen=True, slots=True)
class JobsListed:
    """The newest attempts of a pipeline's jobs, and what is wrong with the list."""

    pipeline: Pipeline
    jobs: Sequence[Job]
    problem: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class PipelineEnd:
    """Nothing more of this pipeline comes."""

    pipeline: Pipeline
    trouble: ReconcilerError | None
    """Why it was not read whole; what came of it stands."""


Found = JobsListed | JobFound | PipelineEnd


def read_pipeline(gitlab: GitLab, settings: Settings, wanted: Wanted, now: datetime) -> Iterator[Found]:
    """Read the reports of every finished job that was not read before; what came stands, also when the rest fails."""
    pipeline, trouble = wanted.pipeline, None
    with logger.contextualize(project=pipeline.project_id, pipeline=pipeline.id):
        try:
            jobs = gitlab.jobs(pipeline.project_id, pipeline.id)
            yield JobsListed(pipeline, jobs, _no_jobs(gitlab, pipeline, jobs))
            yield from _Reader(gitlab, settings, wanted, now).read(jobs)
        except ReconcilerError as error:
            trouble = error
    yield PipelineEnd(pipeline, trouble)


def _no_jobs(gitlab: GitLab, pipeline: Pipeline, jobs: Sequence[Job]) -> tuple[str, str] | None:
    """Suspect an empty list: GitLab gives one, with status 200, to a token that may not see the jobs."""
    if jobs or gitlab.has_bridges(pipeline.project_id, pipeline.id):
        return None
    detail = "GitLab lists no jobs: the token's user may lack the right to see them (Reporter, or public pipelines)"
    logger.warning("A pipeline has no jobs that can be seen", kind=NO_JOBS, detail=detail)
    return NO_JOBS, detail


@dataclass(frozen=True, slots=True)
class _Reader:
    gitlab: GitLab
    settings: Settings
    wanted: Wanted
    now: datetime

    def read(self, jobs: Sequence[Job]) -> Iterator[JobFound]:
        """Read each job's own reports, then ask elsewhere for what they did not give."""
        finished = [job for job in jobs if job.status in FINISHED]
        states = {job.id: self.wanted.of(job).state for job in finished}
        fruitless: list[JobFound] = []
        for job in finished:
            if states[job.id] != "open":
                continue
            found = self._read_job(job)
            if found.state == "undecided":
                fruitless.append(found)
            else:
                states[job.id] = found.state
                yield found
        yield from self._read_elsewhere(fruitless, _whole_groups(finished, fruitless, states))

    def _read_job(self, job: Job) -> JobFound:
        """Read a job's own reports; `undecided` when they gave nothing."""
        found = JobFound(job, expects=job.lists("junit"))
        last_try = self.wanted.of(job).tries + 1 >= TRIES
        try:
            self._from_sources(found)
            if found.documents:
                found.files = self._files(found, last_try=last_try)
                found.state = "read"
            else:
                found.state = self._undecided(found) or ("lost" if found.problems else "empty")
        except Incomplete as error:
            found.documents.clear()
            if not last_try:
                logger.warning("A report is left to the next pass", job=job.id, name=job.name, detail=str(error))
                return found
            found.expects = True
            found.note(UNREADABLE, str(error))
            found.state = "undecided"
        return found

    def _undecided(self, found: JobFound) -> str:
        """Tell whether something else must be asked before the job can be called empty or lost."""
        job = found.job
        listed = job.lists("junit") or job.lists("archive")
        return "undecided" if found.expects or (self._is_expired(job) and not listed) else ""

    def _from_sources(self, found: JobFound) -> None:
        for listed, source in (("junit", self._from_junit), ("archive", self._from_archive)):
            if found.job.lists(listed) and not found.documents:
                try:
                    source(found)
                except Forbidden as error:
                    found.note(FORBIDDEN, f"the job's {listed} artifact may not be read: {error}")
                except NotThere:
                    logger.info("A listed artifact is not there", job=found.job.id, artifact=listed)

    def _from_junit(self, found: JobFound) -> None:
        with self.gitlab.junit_artifact(found.job) as spooled:
            if spooled is None:
                return
            try:
                for name, stream in _documents(spooled):
                    self._document(found, ("junit", name), stream)
            except BadGzip as error:
                found.note(error.kind, f"junit.xml.gz: {error.detail}")

    def _from_archive(self, found: JobFound) -> None:
        try:
            with self.gitlab.archive(found.job) as archive:
                self._members(archive, found)
        except BadArchive as error:
            found.note(error.kind, f"artifacts.zip: {error.detail}")

    def _members(self, archive: Archive, found: JobFound) -> None:
        wanted = self.settings.results.junit_paths
        paths = [member.path for member in archive.members if patterns.matches(member.path, wanted)]
        if len(paths) > FILES_OF_ONE_ARCHIVE:
            found.note("too-many", f"{len(paths)} files match results.junit_paths; {FILES_OF_ONE_ARCHIVE} were read")
        for member, opened in archive.open(paths[:FILES_OF_ONE_ARCHIVE]):
            try:
                if isinstance(opened, BadMember):
                    raise opened
                head = opened.peek(HEAD_BYTES)[:HEAD_BYTES]
                if looks_like_junit(head):
                    self._document(found, ("archive", member.path), opened)
            except BadMember as error:
                found.note(error.kind, f"{member.path}: {error.detail}")

    def _document(self, found: JobFound, origin: tuple[str, str], stream: BinaryIO) -> None:
        source, name = origin
        report = Report(stream)
        try:
            found.document(source, name, report)
        except BadReport as error:
            found.note(error.kind, f"{name or 'its report'}: {error.detail}")
            return
        for notice in report.notices:
            found.note("suspicious", f"{name or 'its report'}: {notice}")

    def _files(self, found: JobFound, *, last_try: bool) -> Files:
        """Read the archive's directory, from which it is told which files belong to which tests.

        Raises:
            Incomplete: it cannot be had now.
        """
        job = found.job
        if not job.lists("archive"):
            return Files(None, "the job has no archive" + (" any more" if self._is_expired(job) else ""))
        kind: str
        try:
            with self.gitlab.archive(job) as archive:
                return Files(archive.members)
        except BadArchive as error:
            kind, why = error.kind, error.detail
        except TooLarge as error:
            kind, why = "too-large", str(error)
        except Forbidden as error:
            kind, why = FORBIDDEN, f"it may not be read: {error}"
        except NotThere as error:
            kind, why = self._why_not_there(job, error, last_try=last_try)
        except Incomplete as error:
            if not last_try:
                raise
            kind, why = UNREADABLE, str(error)
        found.note(kind, f"artifacts.zip: {why}")
        return Files(None, f"the job's archive cannot be had: {why}", note=why)

    def _why_not_there(self, job: Job, error: NotThere, *, last_try: bool) -> tuple[str, str]:
        """Take a 404 for the last word only when it must be (facts: it may be a passing one)."""
        if self._is_expired(job):
            return EXPIRED, f"it expired on {job.artifacts_expire_at:%Y-%m-%d}"
        if not last_try:
            raise Incomplete(str(error)) from error
        return MISSING, f"GitLab lists it and has none; it was asked {TRIES} times"

    def _is_expired(self, job: Job) -> bool:
        return job.artifacts_expire_at is not None and job.artifacts_expire_at <= self.now

    def _read_elsewhere(self, fruitless: Sequence[JobFound], whole: frozenset[str]) -> Iterator[JobFound]:
        """Ask GitLab's own report for jobs that list one and whose own gave nothing; then say what is lost."""
        suites = self._suites([one for one in fruitless if one.job.lists("junit") and one.job.group in whole])
        groups: dict[str, list[JobFound]] = defaultdict(list)
        for found in fruitless:
            groups[found.job.group].append(found)
        tested = self._tested(fruitless)
        for group, some in groups.items():
            theirs = _of_group(suites, some) if group in whole else []
            answered = any(not suite.error for suite in theirs)
            last = max(some, key=lambda found: (found.job.finished_at or self.now, found.job.id))
            for found in some:
                self._settle(found, theirs if found is last else [], answered=answered, tested=tested)
                yield found

    def _suites(self, wanting: Sequence[JobFound]) -> Sequence[SuiteReport]:
        if not wanting:
            return ()
        pipeline = self.wanted.pipeline
        try:
            return self.gitlab.test_report(pipeline.project_id, pipeline.id)
        except (NotThere, Forbidden) as error:
            logger.warning("GitLab's own test report cannot be had", detail=str(error))
            return ()

    def _tested(self, fruitless: Sequence[JobFound]) -> frozenset[int] | None:
        """Tell which jobs had tests once, when some job has nothing listed any more."""
        if all(found.job.lists("junit") or found.job.lists("archive") for found in fruitless):
            return None
        return self.gitlab.tested_jobs(self.wanted.pipeline.project_id, self.wanted.pipeline.id)

    def _settle(
        self, found: JobFound, suites: Sequence[SuiteReport], *, answered: bool, tested: frozenset[int] | None
    ) -> None:
        for suite in suites:
            if suite.error and not found.problems:
                found.note("suite-error", f"GitLab could not parse the report of {suite.name}: {suite.error}")
            elif suite.tests:
                found.document("test_report", suite.name, suite.tests)
        found.state = "read" if found.documents or answered else self._why_nothing(found, tested)

    def _why_nothing(self, found: JobFound, tested: frozenset[int] | None) -> str:
        """Say what becomes of a job that gave no document: `empty`, `lost` with a problem, or `open`: later."""
        job = found.job
        gone = self._is_expired(job)
        if gone and not (job.lists("junit") or job.lists("archive")) and tested is not None and job.id not in tested:
            return "empty"
        if gone and not found.problems:
            found.note(EXPIRED, f"its artifacts expired on {job.artifacts_expire_at:%Y-%m-%d} before they were read")
        elif not found.problems:
            if self.wanted.of(job).tries + 1 < TRIES:
                return "open"
            found.note(MISSING, f"GitLab lists a JUnit report for {job.name} and has none; it was asked {TRIES} times")
        return "lost"


def _whole_groups(
    finished: Sequence[Job], fruitless: Sequence[JobFound], states: Mapping[JobId, str]
) -> frozenset[str]:
    """Name the groups none of whose jobs gave a document, or may yet: GitLab's report of others would double tests."""
    tried = {found.job.id for found in fruitless}
    partly = {job.group for job in finished if job.id not in tried and states[job.id] in {"read", "open"}}
    return frozenset(found.job.group for found in fruitless) - partly


def _documents(spooled: BinaryIO) -> Iterator[tuple[str, BinaryIO]]:
    """Give each file of a `junit.xml.gz`: the runner compresses every file as a member of its own.

    A proxy on the way may have taken the compression off: then it is the one document itself.
    """
    head = spooled.read(HEAD_BYTES)
    spooled.seek(0)
    if is_gzip(head):
        yield from members(spooled, max_bytes=REPORT_BYTES)
    else:
        yield "", spooled


def _of_group(suites: Sequence[SuiteReport], some: Sequence[JobFound]) -> list[SuiteReport]:
    names = {found.job.name for found in some} | {found.job.group for found in some}
    return [suite for suite in suites if suite.name in names]
