"""The stand-in GitLab as an application of the sandbox's server."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from reconciler.sandbox.gitlab import routes_jobs, routes_pipelines, routes_projects
from reconciler.sandbox.gitlab.calls import Call, Refused, Route, refuse
from reconciler.sandbox.gitlab.features import Instance
from reconciler.sandbox.gitlab.params import WrongValue, read_params
from reconciler.sandbox.messages import Response
from reconciler.sandbox.objectstore import ObjectStoreApp
from reconciler.sandbox.server import Server

if TYPE_CHECKING:
    from typing import Self

    from reconciler.sandbox.gitlab.records import Token
    from reconciler.sandbox.gitlab.scenario import GitLabStore
    from reconciler.sandbox.messages import Request
    from reconciler.sandbox.tls import TlsContext

API = "/api/v4"


@dataclass(frozen=True, slots=True)
class UnknownParameter:
    """A parameter that GitLab ignores: most likely the client's mistake."""

    route: str
    name: str


class GitLabApp:
    """A GitLab over a store; `objects` is needed unless it delivers from its own disk.

    Unknown routes and wrong values are refused as GitLab does. Unknown parameters it ignores; they are noted in
    `unknown_parameters`, so that a test can say that there are none.
    """

    name = "GitLab"

    def __init__(
        self, store: GitLabStore, instance: Instance | None = None, objects: ObjectStoreApp | None = None
    ) -> None:
        self.store = store
        self.instance = instance or Instance()
        self.objects = objects
        self.unknown_parameters: list[UnknownParameter] = []

    def __call__(self, request: Request) -> Response:
        """Answer one request."""
        with self.store.lock:
            try:
                return self._answer(request)
            except Refused as refused:
                return refused.response

    def _answer(self, request: Request) -> Response:
        found = self._find_route(request)
        if found is None:
            return Response.json({"error": "404 Not Found"}, 404)
        route, path = found
        token = self._authenticate(request, route)
        try:
            params, unknown = read_params(route.params, request.query, frozenset(path))
        except WrongValue as wrong:
            return Response.json({"error": str(wrong)}, 400)
        self.unknown_parameters.extend(UnknownParameter(route.path, name) for name in unknown)
        return route.serve(Call(request, self.store, self.instance, self.objects, token, path, params))

    def _find_route(self, request: Request) -> tuple[Route, dict[str, str]] | None:
        method = "GET" if request.method == "HEAD" else request.method
        for route, pattern in _PATTERNS:
            match = pattern.fullmatch(request.raw_path)
            if match and route.method == method and self.instance.has(*route.since):
                return route, {name: unquote(text) for name, text in match.groupdict().items()}
        return None

    def _authenticate(self, request: Request, route: Route) -> Token | None:
        """Find the token and check it (lib/gitlab/auth/auth_finders.rb, lib/api/api_guard.rb).

        =====================  ============================================================
        token                  answer
        =====================  ============================================================
        none                   goes on as nobody, or 401 where the route needs somebody
        not known              401 `{"message":"401 Unauthorized"}`
        revoked, expired       401 `{"error":"invalid_token",...}`
        without the scope      403 `{"error":"insufficient_scope",...}`
        =====================  ============================================================
        """
        bearer = re.fullmatch(r"Bearer\s+(\S+)", request.header("authorization"), re.IGNORECASE)
        value = request.header("private-token") or (bearer[1] if bearer else "")
        if not value:
            if route.needs_user or route.method != "GET":
                refuse("401 Unauthorized", 401)
            return None
        token = self.store.tokens.get(value)
        if token is None:
            refuse("401 Unauthorized", 401)
        _check(token, route, self.store)
        token.last_used_at = self.store.clock()
        return token


def _check(token: Token, route: Route, store: GitLabStore) -> None:
    if token.revoked:
        _refuse_token("Token was revoked. You have to re-authorize from the user.")
    if token.expires_at is not None and token.expires_at <= store.clock().date():
        _refuse_token("Token is expired. You can either do re-authorization or token refresh.")
    if route.scopes and not set(route.scopes) & set(token.scopes):
        document = {
            "error": "insufficient_scope",
            "error_description": "The request requires higher privileges than provided by the access token.",
            "scope": " ".join(route.scopes),
        }
        raise Refused(Response.json(document, 403))


def _refuse_token(description: str) -> None:
    response = Response.json({"error": "invalid_token", "error_description": description}, 401)
    response.headers["WWW-Authenticate"] = (
        f'Bearer realm="The API", error="invalid_token", error_description="{description}"'
    )
    raise Refused(response)


def _pattern(route: Route) -> re.Pattern[str]:
    """Compile a route's path: `{name}` is one segment as it stands on the wire, `{name*}` all the rest."""
    text = re.escape(API + route.path).replace(r"\{", "{").replace(r"\}", "}").replace(r"\*", "*")
    text = re.sub(r"\{(\w+)\*\}", r"(?P<\1>.+)", text)
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", text))


_PATTERNS = [
    (route, _pattern(route)) for route in (*routes_projects.ROUTES, *routes_pipelines.ROUTES, *routes_jobs.ROUTES)
]


class GitLabServer:
    """A GitLab and its object store, each on a port of its own; use it as a context manager.

    Faults, log and time model are those of `server` and `objects_server`; `port` is GitLab's (0 = any free one).
    """

    def __init__(
        self, store: GitLabStore, instance: Instance | None = None, *, tls: TlsContext | None = None, port: int = 0
    ) -> None:
        self.store = store
        self.objects = ObjectStoreApp(lambda: store.clock())  # noqa: PLW0108 - the store may get another clock
        self.app = GitLabApp(store, instance, self.objects)
        self.instance = self.app.instance
        self.server = Server(self.app, tls=tls, port=port)
        self.objects_server = Server(self.objects, tls=tls)

    @property
    def url(self) -> str:
        """GitLab's address."""
        return self.server.url

    def __enter__(self) -> Self:
        """Start both."""
        self.objects.url = self.objects_server.start().url
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop both."""
        self.server.stop()
        self.objects_server.stop()
