"""GitLab as we reach it: the server, the token, each project and group, and whether artifacts may be read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from reconciler.doctor.finding import Check
from reconciler.errors import Forbidden, NotThere, ReconcilerError, ServiceDown, Unauthorized
from reconciler.model import READY

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from datetime import date, datetime

    from reconciler.config import Settings
    from reconciler.doctor.finding import Finding
    from reconciler.model import AccessToken, Greeting, Job, Project
    from reconciler.ports import GitLab

CONNECTION, TOKEN = "gitlab.connection", "gitlab.token"
LOOKS_BACK = timedelta(days=30)
PIPELINES_LOOKED_AT = 5
"""Among so many of the newest that ended, a job with artifacts is looked for."""
GROUP_LOOKS = 10
"""Into so many of a group's projects we look; a role in a group is one in all of them."""
WARN_DAYS, LAST_DAYS = 30, 1
_NEW_TOKEN = "make a new token with the scope read_api, store it, and restart the reconciler"  # noqa: S105 - advice
_ROLE = "give the token's user at least the role Reporter there"


@dataclass(frozen=True, slots=True)
class GitLabExam:
    """One look at one GitLab."""

    gitlab: GitLab
    settings: Settings
    route: str
    """By which way it is asked."""
    now: Callable[[], datetime]

    def findings(self) -> Iterator[Finding]:
        """Look at one thing after another; what cannot be looked at is told, too."""
        place = Check(CONNECTION, self.settings.gitlab.url)
        before = self.now()
        try:
            greeting = self.gitlab.greeting()
        except Unauthorized:
            yield place.ok(f"answers, {self.route}")
            yield Check(TOKEN, "").fail("it is not accepted (HTTP 401): mistyped, revoked or expired", _NEW_TOKEN)
            yield from self._rest("the token is not accepted")
        except Forbidden:  # a token that may not even ask for the version
            yield place.ok(f"answers, {self.route}")
            yield from self._with_token()
        except NotThere:
            todo = "check gitlab.url, if nothing else is there either"
            yield place.warn(f"answers, {self.route}, but does not tell its version (HTTP 404)", todo)
            yield from self._with_token()
        except ReconcilerError as error:
            yield place.trouble(error, f"see that it is up and can be reached from here ({self.route})")
            yield from self.unseen("GitLab was not reached", unreached=isinstance(error, ServiceDown))
        else:
            yield place.ok(f"answers, {self.route}")
            yield from Check("gitlab.clock", self.settings.gitlab.url).skew(greeting.at, before, self.now())
            yield self._version(greeting)
            yield from self._with_token()

    def unseen(self, why: str, *, unreached: bool = False) -> Iterator[Finding]:
        """Tell that nothing was looked at, and why."""
        yield Check(TOKEN, "").skip(why, unreached=unreached)
        yield from self._rest(why, unreached=unreached)

    def _rest(self, why: str, *, unreached: bool = False) -> Iterator[Finding]:
        gitlab = self.settings.gitlab
        for name in gitlab.projects:
            yield Check("gitlab.project", str(name)).skip(why, unreached=unreached)
        for name in gitlab.groups:
            yield Check("gitlab.group", str(name)).skip(why, unreached=unreached)

    def _version(self, greeting: Greeting) -> Finding:
        check = Check("gitlab.version", greeting.version)
        match = re.match(r"(\d+)\.(\d+)", greeting.version)
        version = (int(match[1]), int(match[2])) if match else (0, 0)
        if version < (17, 0) and self.settings.gitlab.child_pipelines:  # doc/api/pipelines.md, `source`
            todo = "update GitLab, or set gitlab.child_pipelines = false"
            return check.warn("before 17.0 GitLab does not list child pipelines: their results are missed", todo)
        if version < (19, 4):  # doc/api/job_artifacts.md, `file_type`
            return check.ok("reports are read from the jobs' archives, or as GitLab has parsed them")
        return check.ok("gives each job's report itself")

    def _with_token(self) -> Iterator[Finding]:
        why = yield from self._token()
        if why:
            yield from self._rest(why)
            return
        for name in self.settings.gitlab.projects:
            yield from self._project(name)
        for name in self.settings.gitlab.groups:
            yield from self._group(name)

    # --- the token ---------------------------------------------------------------------------------------------------

    def _token(self) -> Generator[Finding, None, str]:
        """Look at the token; why nothing can be read with it, "" when that may go well."""
        check = Check(TOKEN, "")
        try:
            token = self.gitlab.token()
        except (NotThere, Forbidden):
            yield check.warn("GitLab does not tell about it", "note yourself when it expires")
            return ""
        except Unauthorized:
            yield check.fail("it is not accepted (HTTP 401): mistyped, revoked or expired", _NEW_TOKEN)
            return "the token is not accepted"
        except ReconcilerError as error:
            yield check.trouble(error, "run doctor again")
            return ""
        yield self._expiry(token)
        yield from self._scopes(token)
        return "" if token.scopes & {"api", "read_api"} else "the token has not the scope read_api"

    def _scopes(self, token: AccessToken) -> Iterator[Finding]:
        check, has = Check("gitlab.scopes", token.name), ", ".join(sorted(token.scopes)) or "none"
        if not token.scopes & {"api", "read_api"}:
            yield check.fail(f"has {has}, but not read_api", _NEW_TOKEN)
        elif self.settings.attachments.keep_linked and "api" not in token.scopes:
            todo = "make a token with the scope api and the role Developer, or set attachments.keep_linked = false"
            yield check.fail(f"has {has}, but attachments.keep_linked needs api", todo)
        else:
            yield check.ok(f"has {has}")

    def _expiry(self, token: AccessToken) -> Finding:
        check = Check(TOKEN, token.name)
        if not token.active:
            return check.fail("it is no longer active", _NEW_TOKEN)
        if token.expires_on is None:
            return check.ok("is accepted, and has no day of expiry")
        days = self._days_until(token.expires_on)
        found = f"expires in {days} days, on {token.expires_on}" if days > 0 else f"expired on {token.expires_on}"
        if days <= LAST_DAYS:
            return check.fail(found.replace("1 days", "1 day"), _NEW_TOKEN)
        return check.warn(found, f"{_NEW_TOKEN}, before then") if days <= WARN_DAYS else check.ok(found)

    def _days_until(self, day: date) -> int:
        return (day - self.now().date()).days

    # --- projects and groups -----------------------------------------------------------------------------------------

    def _project(self, name: str | int) -> Iterator[Finding]:
        check = Check("gitlab.project", str(name))
        try:
            project = self.gitlab.project(name)
            jobs = self._jobs_with_artifacts(project)
        except ReconcilerError as error:
            yield _no_access(check, error, "gitlab.projects")
            return
        if isinstance(name, str) and name.lower() != project.path.lower():
            yield check.warn(f"is called {project.path} now", "write its new path, or its number, in gitlab.projects")
        else:
            yield check.ok("its pipelines and jobs can be read")
        yield self._artifacts(str(name), jobs)

    def _group(self, name: str | int) -> Iterator[Finding]:
        check = Check("gitlab.group", str(name))
        try:
            projects = self.gitlab.group_projects(name)
            if not projects:
                yield check.warn("no project is to be seen below it", _ROLE)
                return
            closed, jobs = self._look_into(projects[:GROUP_LOOKS])
        except ReconcilerError as error:
            yield _no_access(check, error, "gitlab.groups")
            return
        looked = f"{len(projects)} projects below it; looked into {min(len(projects), GROUP_LOOKS)}"
        if closed:
            yield check.fail(f"{looked}: pipelines cannot be read in {', '.join(closed)}", f"{_ROLE}, or turn on CI/CD")
        else:
            yield check.ok(f"{looked}: pipelines and jobs can be read")
        yield self._artifacts(str(name), jobs)

    def _look_into(self, projects: list[Project]) -> tuple[list[str], list[Job]]:
        """Tell in which of these nothing may be read, and the first jobs with artifacts that are found."""
        closed: list[str] = []
        jobs: list[Job] = []
        for project in projects:
            try:
                found = self._jobs_with_artifacts(project)
            except (NotThere, Forbidden):
                closed.append(project.path)
            else:
                jobs = jobs or found
        return closed, jobs

    def _jobs_with_artifacts(self, project: Project) -> list[Job]:
        """Find the newest pipeline that ended and has such jobs; [] where the newest ones have none."""
        since = self.now() - LOOKS_BACK
        page = self.gitlab.pipelines(project.id, updated_after=since)
        ended = [pipeline for pipeline in page.pipelines if pipeline.status in READY]
        for pipeline in ended[:PIPELINES_LOOKED_AT]:
            jobs = [job for job in self.gitlab.jobs(project.id, pipeline.id) if self._has_artifacts(job)]
            if jobs:
                return jobs
        return []

    def _has_artifacts(self, job: Job) -> bool:
        expired = job.artifacts_expire_at is not None and job.artifacts_expire_at <= self.now()
        return not expired and (job.lists("archive") or job.lists("junit"))

    def _artifacts(self, name: str, jobs: list[Job]) -> Finding:
        """Begin to fetch one job's files."""
        check = Check("gitlab.artifacts", name)
        if not jobs:
            return check.ok("nothing to try it with: no job of the newest pipelines has artifacts")
        job = min(jobs, key=lambda one: not one.lists("archive"))
        try:
            self.gitlab.probe_artifacts(job)
        except Forbidden:
            todo = "give the token's user the role that `artifacts:access` of the job asks for (developer, maintainer)"
            return check.fail(f"those of job {job.id} ({job.name}) may not be read (HTTP 403)", todo)
        except NotThere:
            if not job.lists("archive"):
                return check.ok("this GitLab (before 19.4) gives no report itself: it is read as GitLab has parsed it")
            todo = "see in GitLab whether they were deleted, and whether its object storage is in order"
            return check.warn(f"those of job {job.id} ({job.name}) are listed, but not there (HTTP 404)", todo)
        except ReconcilerError as error:
            return check.trouble(error, "see that GitLab's object storage can be reached from here")
        return check.ok(f"those of job {job.id} ({job.name}) can be read")


def _no_access(check: Check, error: ReconcilerError, key: str) -> Finding:
    match error:
        case NotThere():
            return check.fail("is not there, or not for this token (HTTP 404)", f"correct {key}, or {_ROLE}")
        case Forbidden():
            return check.fail(f"may not be read: {error}", f"{_ROLE}, and see that CI/CD is turned on")
        case _:
            return check.trouble(error, "run doctor again")
