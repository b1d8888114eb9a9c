"""One request to the stand-in GitLab on its way to an answer: who asks, for what, and how GitLab says no."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlencode

from reconciler.sandbox.gitlab.paging import offset_page
from reconciler.sandbox.messages import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from reconciler.sandbox.gitlab.features import Instance
    from reconciler.sandbox.gitlab.params import Param
    from reconciler.sandbox.gitlab.records import Job, Pipeline, Project, Token, User
    from reconciler.sandbox.gitlab.scenario import GitLabStore
    from reconciler.sandbox.messages import Request
    from reconciler.sandbox.objectstore import ObjectStoreApp


class Refused(Exception):
    """The answer is a No, and this is how it reads."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


def refuse(message: str, status: int) -> NoReturn:
    """Say no as `render_api_error!` does (lib/api/helpers.rb)."""
    raise Refused(Response.json({"message": message}, status))


def not_found(what: str = "") -> NoReturn:
    """Say 404 as `not_found!` does."""
    refuse(" ".join(filter(None, ["404", what, "Not Found"])), 404)


def no_such_row() -> NoReturn:
    """Say 404 as Rails' RecordNotFound is rescued (lib/api/api.rb); note the small "f"."""
    refuse("404 Not found", 404)


@dataclass(frozen=True, slots=True)
class Route:
    """A path with `{names}`, and what serves it."""

    method: str
    path: str
    serve: Callable[[Call], Response]
    params: Mapping[str, Param] = field(default_factory=dict)
    since: tuple[int, int] = (0, 0)
    scopes: tuple[str, ...] = ("api", "read_api")
    """A token needs one of these; () = any token will do."""
    needs_user: bool = False
    """Ask for a token even where the project is public (`before { authenticate! }`)."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request that has a route."""

    request: Request
    store: GitLabStore
    instance: Instance
    objects: ObjectStoreApp | None
    token: Token | None
    path: Mapping[str, str]
    """The path's parts by name, percent-decoded."""
    params: Mapping[str, Any]

    @property
    def user(self) -> User | None:
        """Who asks."""
        return self.token.user if self.token else None

    @property
    def base(self) -> str:
        """Where GitLab believes to be found (`external_url`)."""
        return (self.instance.external_url or self.request.base_url).rstrip("/")

    @property
    def url(self) -> str:
        """The request's own address, without its query."""
        return f"{self.base}{self.request.raw_path}"

    def may(self, ability: str, project: Project) -> bool:
        """Tell whether the user may do this."""
        return self.store.may(self.user, ability, project)

    def authorize(self, ability: str, project: Project) -> None:
        """Say 403 to a user who may not do this."""
        if not self.may(ability, project):
            refuse("403 Forbidden", 403)

    def project(self) -> Project:
        """Find the path's project; a former path redirects (`find_project!`, lib/api/helpers.rb; since 16.7)."""
        key = self.path["id"]
        project = self.store.find_project(key)
        if project is None or not self.may("read_project", project):
            not_found("Project")
        if not key.isdecimal() and key.lower() != project.path.lower() and self.instance.has(16, 7):
            self._redirect(project)
        return project

    def pipeline(self, project: Project) -> Pipeline:
        """Find the path's pipeline within the project."""
        pipeline = self.store.pipelines.get(self.number("pipeline_id"))
        if pipeline is None or pipeline.project is not project:
            no_such_row()
        return pipeline

    def job(self, project: Project) -> Job:
        """Find the path's job within the project; trigger jobs are not found here."""
        job = self.store.jobs.get(self.number("job_id"))
        if job is None or job.pipeline.project is not project:
            no_such_row()
        return job

    def number(self, name: str) -> int:
        """Read a part of the path that must be a number."""
        text = self.path[name]
        if not (text.isascii() and text.isdecimal()):
            raise Refused(Response.json({"error": f"{name} is invalid"}, 400))
        return int(text)

    def page(self, rows: Sequence[Any], write: Callable[[Any], object]) -> Response:
        """Answer with one page of rows."""
        params = {**self.params, **self.path}
        page, headers = offset_page(rows, params, self.url, self.instance.count_limit)
        response = Response.json([write(row) for row in page])
        response.headers |= headers
        return response

    def _redirect(self, project: Project) -> NoReturn:
        if self.request.method not in ("GET", "HEAD"):
            refuse("Non GET methods are not allowed for moved projects", 405)
        parts = self.request.raw_path.split("/")
        parts[4] = str(project.id)  # ["", "api", "v4", "projects", ID, ...]
        query = urlencode(self.request.query, doseq=True)
        location = f"{self.base}{'/'.join(parts)}{'?' if query else ''}{query}"
        response = Response.text(f"This resource has been moved permanently to {location}", 301)
        response.headers["Location"] = location
        raise Refused(response)
