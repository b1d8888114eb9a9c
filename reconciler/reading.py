"""One pipeline's reports: each job's from the first source that has a document, else what is wrong with it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from loguru import logger

from reconciler import patterns
from reconciler.archive import BadArchive, BadMember
from reconciler.errors import Forbidden, Incomplete, NotThere, TooLarge
from reconciler.filing import Cabinet
from reconciler.gzipped import BadGzip, is_gzip, members
from reconciler.junit import BadReport, Limits, Report, looks_like_junit
from reconciler.model import FINISHED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from reconciler.config import Settings
    from reconciler.ledger.job_reading import JobReading
    from reconciler.ledger.observations import KnownJob, Observations
    from reconciler.model import Job, JobId, Pipeline
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


@dataclass(slots=True)
class _Attempt:
    """What asking for one job's reports came to."""

    job: Job
    documents: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)
    expects: bool = False
    """GitLab says that there is, or was, something."""

    def note(self, kind: str, detail: str) -> None:
        self.problems.append((kind, detail))
        logger.warning("A report cannot be read", job=self.job.id, name=self.job.name, kind=kind, detail=detail)


def read_pipeline(
    gitlab: GitLab, observations: Observations, settings: Settings, pipeline: Pipeline, now: datetime
) -> None:
    """Read the reports of every finished job that was not read before.

    Raises:
        ServiceDown: GitLab is not to be had; the pipeline counts as not read, jobs already read stay so.
        NotThere, Forbidden, Incomplete: its jobs cannot be listed.
    """
    jobs = gitlab.jobs(pipeline.project_id, pipeline.id)
    observations.pipeline_problem(pipeline.id, _no_jobs(gitlab, pipeline, jobs), now)
    known = observations.store_jobs(pipeline, jobs)
    reader = _Reader(gitlab, observations, settings, observations.project_path(pipeline.project_id), now)
    finished = [job for job in jobs if job.status in FINISHED]
    fruitless = [
        attempt
        for job in finished
        if known[job.id].state == "open" and (attempt := reader.read_job(job, known[job.id].tries)) is not None
    ]
    reader.read_elsewhere(pipeline, fruitless, _whole_groups(finished, fruitless, observations.jobs_of(pipeline.id)))
    observations.mark_read(pipeline)


def _no_jobs(gitlab: GitLab, pipeline: Pipeline, jobs: Sequence[Job]) -> tuple[str, str] | None:
    """Suspect an empty list: GitLab gives one, with status 200, to a token that may not see the jobs."""
    if jobs or gitlab.has_bridges(pipeline.project_id, pipeline.id):
        return None
    return (
        NO_JOBS,
        "GitLab lists no jobs: the token's user may lack the right to see them (Reporter, or public pipelines)",
    )


def _whole_groups(
    finished: Sequence[Job], fruitless: Sequence[_Attempt], known: Mapping[JobId, KnownJob]
) -> frozenset[str]:
    """Name the groups none of whose jobs gave a document, or may yet: GitLab's report of others would double tests."""
    tried = {attempt.job.id for attempt in fruitless}
    partly = {job.group for job in finished if job.id not in tried and known[job.id].state in {"read", "open"}}
    return frozenset(attempt.job.group for attempt in fruitless) - partly


@dataclass(frozen=True, slots=True)
class _Reader:
    gitlab: GitLab
    observations: Observations
    settings: Settings
    project_path: str
    now: datetime

    def read_job(self, job: Job, tries: int) -> _Attempt | None:
        """Read a job's own reports; the attempt when they gave nothing, None when the job is done with in this pass."""
        attempt = _Attempt(job, expects=job.lists("junit"))
        try:
            with self.observations.reading(job, self.now) as record:
                self._from_sources(job, record, attempt)
                if record.documents:
                    self._files(job, record, attempt, last_try=tries + 1 >= TRIES)
                if record.documents or not self._undecided(attempt):
                    self._close(
                        record, attempt, "read" if record.documents else "lost" if attempt.problems else "empty"
                    )
                    return None
        except Incomplete as error:
            if self.observations.try_again(job) < TRIES:
                logger.warning("A report is left to the next pass", job=job.id, name=job.name, detail=str(error))
                return None
            attempt.expects = True
            attempt.note(UNREADABLE, str(error))
        return attempt

    def _undecided(self, attempt: _Attempt) -> bool:
        """Tell whether something else must be asked before the job can be called empty or lost."""
        job = attempt.job
        gone = self._is_expired(job)
        listed = job.lists("junit") or job.lists("archive")
        return attempt.expects or (gone and not listed)

    def _from_sources(self, job: Job, record: JobReading, attempt: _Attempt) -> None:
        for listed, source in (("junit", self._from_junit), ("archive", self._from_archive)):
            if job.lists(listed) and not record.documents:
                try:
                    source(job, record, attempt)
                except Forbidden as error:
                    attempt.note(FORBIDDEN, f"the job's {listed} artifact may not be read: {error}")
                except NotThere:
                    logger.info("A listed artifact is not there", job=job.id, artifact=listed)

    def _from_junit(self, job: Job, record: JobReading, attempt: _Attempt) -> None:
        with self.gitlab.junit_artifact(job) as spooled:
            if spooled is None:
                return
            try:
                for name, stream in _documents(spooled):
                    self._document(record, attempt, ("junit", name), stream)
            except BadGzip as error:
                attempt.note(error.kind, f"junit.xml.gz: {error.detail}")

    def _from_archive(self, job: Job, record: JobReading, attempt: _Attempt) -> None:
        try:
            with self.gitlab.archive(job) as archive:
                self._members(archive, record, attempt)
        except BadArchive as error:
            attempt.note(error.kind, f"artifacts.zip: {error.detail}")

    def _members(self, archive: Archive, record: JobReading, attempt: _Attempt) -> None:
        wanted = self.settings.results.junit_paths
        paths = [member.path for member in archive.members if patterns.matches(member.path, wanted)]
        if len(paths) > FILES_OF_ONE_ARCHIVE:
            attempt.note("too-many", f"{len(paths)} files match results.junit_paths; {FILES_OF_ONE_ARCHIVE} were read")
        for member, opened in archive.open(paths[:FILES_OF_ONE_ARCHIVE]):
            try:
                if isinstance(opened, BadMember):
                    raise opened
                head = opened.peek(HEAD_BYTES)[:HEAD_BYTES]
                if looks_like_junit(head):
                    self._document(record, attempt, ("archive", member.path), opened)
            except BadMember as error:
                attempt.note(error.kind, f"{member.path}: {error.detail}")

    def _document(self, record: JobReading, attempt: _Attempt, origin: tuple[str, str], stream: BinaryIO) -> None:
        source, name = origin
        report = Report(stream)
        try:
            record.document(source, name, report)
        except BadReport as error:
            attempt.note(error.kind, f"{name or 'its report'}: {error.detail}")
            return
        for notice in report.notices:
            attempt.note("suspicious", f"{name or 'its report'}: {notice}")

    def _files(self, job: Job, record: JobReading, attempt: _Attempt, *, last_try: bool) -> None:
        """Read the archive's directory, and write down which files belong to which tests."""
        config = self.settings.attachments
        cabinet = Cabinet(record, attempt.note, config.artifact_paths, config.upload_max_bytes, self.project_path)
        why = self._look_into_archive(job, cabinet, attempt, last_try=last_try)
        if why:
            record.no_files(why)
            cabinet.without_archive(f"the job's archive cannot be had: {why}")

    def _look_into_archive(self, job: Job, cabinet: Cabinet, attempt: _Attempt, *, last_try: bool) -> str:
        """File what is in the archive; say why it cannot be had for good, "" when it can.

        Raises:
            Incomplete: it cannot be had now.
        """
        if not job.lists("archive"):
            cabinet.without_archive("the job has no archive" + (" any more" if self._is_expired(job) else ""))
            return ""
        kind: str
        try:
            with self.gitlab.archive(job) as archive:
                cabinet.file(archive.members)
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
        else:
            return ""
        attempt.note(kind, f"artifacts.zip: {why}")
        return why

    def _why_not_there(self, job: Job, error: NotThere, *, last_try: bool) -> tuple[str, str]:
        """Take a 404 for the last word only when it must be (facts: it may be a passing one)."""
        if self._is_expired(job):
            return EXPIRED, f"it expired on {job.artifacts_expire_at:%Y-%m-%d}"
        if not last_try:
            raise Incomplete(str(error)) from error
        return MISSING, f"GitLab lists it and has none; it was asked {TRIES} times"

    def _is_expired(self, job: Job) -> bool:
        return job.artifacts_expire_at is not None and job.artifacts_expire_at <= self.now

    def read_elsewhere(self, pipeline: Pipeline, fruitless: Sequence[_Attempt], whole: frozenset[str]) -> None:
        """Ask GitLab's own report for jobs that list one and whose own gave nothing; then say what is lost."""
        suites = self._suites(pipeline, [a for a in fruitless if a.job.lists("junit") and a.job.group in whole])
        groups: dict[str, list[_Attempt]] = defaultdict(list)
        for attempt in fruitless:
            groups[attempt.job.group].append(attempt)
        tested = self._tested(pipeline, fruitless)
        for group, attempts in groups.items():
            found = _of_group(suites, attempts) if group in whole else []
            last = max(attempts, key=lambda attempt: (attempt.job.finished_at or self.now, attempt.job.id))
            for attempt in attempts:
                answered = any(not suite.error for suite in found)
                self._settle(attempt, found if attempt is last else [], answered=answered, tested=tested)

    def _suites(self, pipeline: Pipeline, wanting: Sequence[_Attempt]) -> Sequence[SuiteReport]:
        if not wanting:
            return ()
        try:
            return self.gitlab.test_report(pipeline.project_id, pipeline.id)
        except (NotThere, Forbidden) as error:
            logger.warning("GitLab's own test report cannot be had", detail=str(error))
            return ()

    def _tested(self, pipeline: Pipeline, fruitless: Sequence[_Attempt]) -> frozenset[int] | None:
        """Tell which jobs had tests once, when some job has nothing listed any more."""
        if all(attempt.job.lists("junit") or attempt.job.lists("archive") for attempt in fruitless):
            return None
        return self.gitlab.tested_jobs(pipeline.project_id, pipeline.id)

    def _settle(
        self, attempt: _Attempt, suites: Sequence[SuiteReport], *, answered: bool, tested: frozenset[int] | None
    ) -> None:
        job = attempt.job
        with self.observations.reading(job, self.now) as record:
            for suite in suites:
                if suite.error and not attempt.problems:
                    attempt.note("suite-error", f"GitLab could not parse the report of {suite.name}: {suite.error}")
                elif suite.tests:
                    record.document("test_report", suite.name, suite.tests)
            if record.documents or answered:
                self._close(record, attempt, "read")
                return
            verdict = self._why_nothing(attempt, tested)
            if verdict == "later":
                return
            self._close(record, attempt, verdict)

    def _why_nothing(self, attempt: _Attempt, tested: frozenset[int] | None) -> str:
        """Say what becomes of a job that gave no document: `empty`, `lost` with a problem, or `later`."""
        job = attempt.job
        gone = self._is_expired(job)
        if gone and not (job.lists("junit") or job.lists("archive")) and tested is not None and job.id not in tested:
            return "empty"
        if gone and not attempt.problems:
            attempt.note(EXPIRED, f"its artifacts expired on {job.artifacts_expire_at:%Y-%m-%d} before they were read")
        elif not attempt.problems:
            if self.observations.try_again(job) < TRIES:
                return "later"
            attempt.note(
                MISSING, f"GitLab lists a JUnit report for {job.name} and has none; it was asked {TRIES} times"
            )
        return "lost"

    def _close(self, record: JobReading, attempt: _Attempt, state: str) -> None:
        for kind, detail in attempt.problems:
            record.problem(kind, detail)
        record.close(state)


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


def _of_group(suites: Sequence[SuiteReport], attempts: Sequence[_Attempt]) -> list[SuiteReport]:
    names = {attempt.job.name for attempt in attempts} | {attempt.job.group for attempt in attempts}
    return [suite for suite in suites if suite.name in names]
