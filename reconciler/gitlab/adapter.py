"""GitLab as the port says, over python-gitlab 8.6, whose requests all go through the wire.

python-gitlab's own retries, obeying of 429 and redirects stay unused: they cannot be interrupted, a Retry-After as a
date crashes them, and a private token follows redirects to other hosts, which a Bearer token does not (seen in 8.6).
"""

from __future__ import annotations

from contextlib import closing, contextmanager
from datetime import UTC
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlsplit

import gitlab
from gitlab.exceptions import GitlabError

from reconciler.archive import RemoteArchive
from reconciler.errors import Forbidden, Incomplete, NoAnswer, NotDone, NotThere, ServiceDown
from reconciler.gitlab import about, rows
from reconciler.gitlab.download import Download, Downloader
from reconciler.gitlab.kept import KeptArchives
from reconciler.gitlab.ranges import ArchiveRanges
from reconciler.ports import PipelinePage, SuiteReport
from reconciler.wire import LibrarySession, Service, Wire

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator
    from datetime import datetime
    from typing import BinaryIO

    import requests

    from reconciler.model import AccessToken, Greeting, Job, JobId, PipelineId, Project, ProjectId
    from reconciler.traffic import Traffic
    from reconciler.wire import Endpoint, Limits

PER_PAGE = 100
"""GitLab gives no more (doc/api/rest/_index.md)."""

_LONGEST_DOWNLOAD_S = 1800.0
_SERVICE = Service("GitLab", "the token is not accepted: check gitlab.token, its scope (read_api) and its expiry date")


class GitLabAdapter:
    """Reads from one GitLab, and keeps artifacts there; made once, used from any number of threads."""

    def __init__(
        self,
        endpoint: Endpoint,
        token: str,
        *,
        stop: threading.Event,
        limits: Limits | None = None,
        max_download_bytes: int = 2 << 30,
    ) -> None:
        """Make the adapter; nothing is sent. `token` is an access token with the scope `read_api`.

        `max_download_bytes` caps temporary files; an archive that is read by ranges may have any size.
        """
        self._wire = Wire(_SERVICE, stop=stop, limits=limits, secrets=(token,))
        self._session = session = LibrarySession(endpoint, self._wire)
        self._client = gitlab.Gitlab(
            endpoint.url,
            oauth_token=token,
            session=session,
            timeout=endpoint.read_s,
            keep_base_url=True,
            retry_transient_errors=False,
            per_page=PER_PAGE,
        )
        self._downloader = Downloader(session, token, stop)
        version, bearer = f"{self._client.api_url}/version", {"Authorization": f"Bearer {token}"}
        self._wire.ask_when_in_doubt(version, lambda: session.once("GET", version, headers=bearer))
        self._bearer = bearer
        self._max_bytes = max_download_bytes
        self._kept = KeptArchives()

    @property
    def traffic(self) -> Traffic:
        """What passed between us and GitLab."""
        return self._wire.traffic

    def close(self) -> None:
        """Close idle connections, and let go of what is kept."""
        self._kept.forget()
        self._session.close()

    def greeting(self) -> Greeting:
        """Ask for the version: `/version`, which 15.5 deprecates, else `/metadata`."""
        try:
            return about.greeting(self._get("/version", "version"))
        except NotThere:
            return about.greeting(self._get("/metadata", "version"))

    def token(self) -> AccessToken:
        """Ask about the token itself; at an old GitLab there is nothing at this path."""
        return about.access_token(self._get("/personal_access_tokens/self", "the token").json())

    def project(self, name: str | int) -> Project:
        """Find a project by its path or numeric id."""
        response = self._get(f"/projects/{_quoted(name)}", f"project {name}")
        return rows.project(response.json())

    def group_projects(self, group: str | int) -> list[Project]:
        """List a group's projects, all pages."""
        query = {"include_subgroups": "true", "archived": "false", "order_by": "id", "sort": "asc"}
        found = self._list(f"/groups/{_quoted(group)}/projects", f"group {group}", query)
        return list({row["id"]: rows.project(row) for row in found if row.get("id")}.values())

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
        """Fetch one page; before GitLab 17.0 an unknown `source` is refused or gives nothing."""
        query = {"order_by": "id" if by_id else "updated_at", "sort": "desc", "updated_after": _time(updated_after)}
        if updated_before is not None:
            query["updated_before"] = _time(updated_before, "microseconds")  # cut shorter, it would leave some out
        if children:
            query["source"] = "parent_pipeline"
        query["page"] = str(page)
        try:
            response = self._get(f"/projects/{project}/pipelines", f"pipelines of project {project}", query)
        except _WrongValueError:
            if children:
                return PipelinePage((), None)
            raise
        found = list(rows.pipelines(_rows(response), project))
        if children:  # a server that ignores the parameter gives the ordinary list
            found = [one for one in found if one.source == "parent_pipeline"]
        return PipelinePage(tuple(found), _next_page(response))

    def jobs(self, project: ProjectId, pipeline: PipelineId) -> list[Job]:
        """List the newest attempts, all pages; a job that comes twice while pages shift is one job."""
        found = self._list(f"/projects/{project}/pipelines/{pipeline}/jobs", f"jobs of pipeline {pipeline}", {})
        return list({job.id: job for job in rows.jobs(found, project, pipeline)}.values())

    def has_bridges(self, project: ProjectId, pipeline: PipelineId) -> bool:
        """Ask for trigger jobs: `/bridges`, which 19.2 deprecates, else `/trigger_jobs`."""
        path, what = f"/projects/{project}/pipelines/{pipeline}", f"trigger jobs of pipeline {pipeline}"
        try:
            return bool(_rows(self._get(f"{path}/bridges", what)))
        except NotThere:
            return bool(_rows(self._get(f"{path}/trigger_jobs", what)))

    @contextmanager
    def junit_artifact(self, job: Job) -> Iterator[BinaryIO | None]:
        """Open the report artifact; a GitLab before 19.4 ignores `file_type` and begins to send the archive."""
        listed = next((one.size_bytes for one in job.artifacts if one.file_type == "junit"), 0)
        wanted = Download(
            f"{self._job_url(job)}/artifacts?file_type=junit",
            f"junit report of job {job.id}",
            self._max_bytes,
            listed_bytes=listed,
            zip_is_none=True,
        )
        file = self._download(wanted)
        if file is None:
            yield None
            return
        with file:
            yield file

    @contextmanager
    def archive(self, job: Job) -> Iterator[RemoteArchive]:
        """Open the archive by byte ranges, or from a temporary file where GitLab or its object store has none."""
        listed = next((one.size_bytes for one in job.artifacts if one.file_type == "archive"), 0)
        url, what = f"{self._job_url(job)}/artifacts", f"archive of job {job.id}"
        wanted = Download(url, what, self._max_bytes, listed_bytes=listed)
        with (
            self._kept.opening(url) as opening,
            closing(ArchiveRanges(self._wire, self._downloader, wanted, opening.known)) as ranges,
        ):
            archive = RemoteArchive(ranges)
            yield archive
            opening.learnt = ranges.learnt(archive.ending())

    def probe_artifacts(self, job: Job) -> None:
        """Begin to fetch the archive, or the report of a job that has no archive."""
        query = "" if job.lists("archive") else "?file_type=junit"
        wanted = Download(f"{self._job_url(job)}/artifacts{query}", f"artifacts of job {job.id}", self._max_bytes)
        self._wire.reading(wanted.url, partial(about.read_first_bytes, self._downloader, wanted))

    def forget_archives(self) -> None:
        """Let go of directories, signed addresses and temporary files."""
        self._kept.forget()

    def keep_artifacts(self, project: ProjectId, job: JobId) -> None:
        """Send one POST (doc/api/job_artifacts.md); no answer is an open question, which a later pass asks anew."""
        url = f"{self._client.api_url}/projects/{project}/jobs/{job}/artifacts/keep"
        what = f"keeping the artifacts of job {job}"
        post = partial(self._session.once, "POST", url, headers=self._bearer, allow_redirects=False)
        try:
            answer = self._wire.write(url, post)
        except NotDone as error:
            raise ServiceDown(_SERVICE.name, f"{what}: {_without_name(error)}") from error
        except NoAnswer as error:
            raise Incomplete(f"GitLab: {what}: {_without_name(error)}") from error
        if not answer.response.ok:
            raise self._no(answer.status, _reasons(answer.document), what)

    def test_report(self, project: ProjectId, pipeline: PipelineId) -> list[SuiteReport]:
        """Fetch GitLab's own reading of the reports; with expired artifacts it has no suites (#296126)."""
        path = f"/projects/{project}/pipelines/{pipeline}/test_report"
        return rows.suites(self._get(path, f"test report of pipeline {pipeline}").json())

    def tested_jobs(self, project: ProjectId, pipeline: PipelineId) -> frozenset[JobId] | None:
        """Fetch which jobs reported tests."""
        path = f"/projects/{project}/pipelines/{pipeline}/test_report_summary"
        try:
            return rows.tested(self._get(path, f"test summary of pipeline {pipeline}").json())
        except (NotThere, Forbidden, Incomplete):
            return None

    def _job_url(self, job: Job) -> str:
        return f"{self._client.api_url}/projects/{job.project_id}/jobs/{job.id}"

    def _download(self, wanted: Download) -> BinaryIO | None:
        fetch = partial(self._downloader.fetch, wanted)
        return self._wire.reading(wanted.url, fetch, longest_s=_LONGEST_DOWNLOAD_S)

    def _list(self, path: str, what: str, query: dict[str, str]) -> list[rows.Row]:
        """Fetch all pages: each next one as the server names it, never counted from totals (absent above 10,000)."""
        found: list[rows.Row] = []
        asked: set[str] = set()
        following: dict[str, str] | None = query
        while following is not None:
            response = self._get(path, what, following)
            found += _rows(response)
            following = _following(response, query)
            if str(following) in asked:
                raise Incomplete(f"GitLab: {what}: its pages go round in a circle")
            asked.add(str(following))
        return found

    def _get(self, path: str, what: str, query: dict[str, str] | None = None) -> requests.Response:
        paging: dict[str, Any] = {"per_page": PER_PAGE} if query is not None else {}
        try:
            response: Any = self._client.http_get(
                path, query_data={**paging, **(query or {})}, raw=True, obey_rate_limit=False
            )
        except GitlabError as error:
            raise self._no(error.response_code, str(error.error_message), what) from error
        answer: requests.Response = response
        return answer

    def _no(self, status: int | None, said: str, what: str) -> NotThere | Forbidden | Incomplete:
        line = self._wire.redact(f"GitLab: {what}: HTTP {status}: {' '.join(said.split())[:200]}")
        match status:
            case 404 | 410:
                return NotThere(line)
            case 403:
                return Forbidden(line)
            case 400:
                return _WrongValueError(line)
            case _:
                return Incomplete(line)


class _WrongValueError(Incomplete):
    """GitLab knows no such value of a parameter: it is too old for the question."""


def _rows(response: requests.Response) -> list[rows.Row]:
    document = response.json()
    if not isinstance(document, list):
        raise Incomplete(f"GitLab: {urlsplit(response.url).path}: an answer that is not a list")
    return [row for row in document if isinstance(row, dict)]


def _reasons(document: object) -> str:
    """Say why GitLab refuses: its own errors have a message, those about tokens have OAuth's words."""
    if not isinstance(document, dict):
        return ""
    return ": ".join(str(document[word]) for word in ("message", "error", "error_description") if document.get(word))


def _without_name(error: Exception) -> str:
    return str(error).removeprefix(f"{_SERVICE.name}: ")


def _following(response: requests.Response, query: dict[str, str]) -> dict[str, str] | None:
    """Tell the next page's query: GitLab's own, sent to where we found it, whatever host its links name."""
    link = response.links.get("next", {}).get("url", "")
    if link:
        return dict(parse_qsl(urlsplit(link).query))
    page = response.headers.get("X-Next-Page", "").strip()
    return {**query, "page": page} if page else None


def _next_page(response: requests.Response) -> int | None:
    following = _following(response, {}) or {}
    page = response.headers.get("X-Next-Page", "").strip() or following.get("page", "")
    return int(page) if page.isdecimal() else None


def _time(moment: datetime, digits: str = "milliseconds") -> str:
    """Write a time as `…Z`: a literal `+00:00` would need escapes (doc/api/rest/_index.md)."""
    return moment.astimezone(UTC).isoformat(timespec=digits).replace("+00:00", "Z")


def _quoted(name: str | int) -> str:
    return quote(str(name), safe="")
