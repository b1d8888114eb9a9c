"""The stand-in's HTTP side: who is asking, what is asked, and the statuses that are not 200."""

from __future__ import annotations

import itertools
import json
from http.cookies import CookieError, SimpleCookie

from reconciler.sandbox.messages import Request, Response
from reconciler.sandbox.rally import batch, describing
from reconciler.sandbox.rally.calls import Behaviour, Call, Mishaps, Reply, Service, failure
from reconciler.sandbox.rally.conflicts import Conflicts
from reconciler.sandbox.rally.dispatch import NoSuchPath, WrongMethod, perform
from reconciler.sandbox.rally.errors import Unknown
from reconciler.sandbox.rally.rendering import Renderer
from reconciler.sandbox.rally.store import ApiKey, Store

_SERVICE = "/slm/webservice/v2.0/"
_SCHEMA = "/slm/schema/v2.0/workspace/"
_SESSION = "JSESSIONID"


class RallyApp:
    """A stand-in Rally, to be carried by a `Server`."""

    name = "rally"

    def __init__(self, store: Store | None = None, behaviour: Behaviour | None = None) -> None:
        self.store = store or Store()
        self.behaviour = behaviour or Behaviour()
        self.conflicts = Conflicts()
        self.mishaps = Mishaps(self.conflicts)
        self._sessions: dict[str, str] = {}
        self._session_numbers = itertools.count(1)

    def __call__(self, request: Request) -> Response:
        """Answer one request."""
        if len(request.target) > self.behaviour.max_target:
            return Response.html("414 URI Too Long", 414)
        if not request.path.startswith((_SERVICE, _SCHEMA)):
            return Response.html("404 Not Found", 404)
        key = self.store.keys.get(request.header("ZSESSIONID"))
        if key is None or (key.read_only and request.is_write):  # KB 11568; the body may be HTML (KB 277242)
            return Response.html("Error 401 The username or password you entered is incorrect.", 401)
        with self.store.lock:
            response = self._answer(request, key)
        if self.behaviour.sends_cookies:
            response.headers["Set-Cookie"] = f"{_SESSION}={self._session_of(key)}; Path=/; HttpOnly"
        response.release = lambda: self._release(request)
        return response

    def _release(self, request: Request) -> None:
        with self.store.lock:
            self.conflicts.release(request.n)

    def _answer(self, request: Request, key: ApiKey) -> Response:
        if not self._session_fits(request, key):
            return _as_json(failure("OperationResult", "Not authorized to perform action: Invalid key"))
        service = Service(
            self.store, self.behaviour, self.conflicts, self.mishaps, Renderer(self.store, request.base_url)
        )
        try:
            return self._route(service, request, key)
        except NoSuchPath:
            return Response.html("404 Not Found", 404)
        except WrongMethod:
            return Response.html("405 Method Not Allowed", 405)
        except Unknown as unknown:
            return Response.text(f"The stand-in does not know {unknown}.\n", 501)

    def _route(self, service: Service, request: Request, key: ApiKey) -> Response:
        if request.path.startswith(_SCHEMA):
            return self._schema(service, request)
        try:
            body = json.loads(request.body) if request.body else None
        except ValueError:
            return _as_json(failure("OperationResult", "Could not parse: the request's body is not JSON"))
        path = tuple(request.path.removeprefix(_SERVICE).rstrip("/").split("/"))
        call = Call(request.method, path, request.query, body, key.user, request.n)
        if path == ("batch",):
            return self._batch(service, request, call)
        return _as_json(perform(service, call))

    def _schema(self, service: Service, request: Request) -> Response:
        number = request.path.removeprefix(_SCHEMA)
        workspace = self.store.at_ref(f"/workspace/{number}")
        if workspace is None:
            raise NoSuchPath
        if request.method != "GET":
            raise WrongMethod
        return _as_json(describing.schema(service, workspace.oid))

    def _batch(self, service: Service, request: Request, call: Call) -> Response:
        if isinstance(self.behaviour.batch, int):
            return Response.html(f"{self.behaviour.batch} batch", self.behaviour.batch)
        if request.method != "POST":
            raise WrongMethod
        if len(request.body) > self.behaviour.batch_bytes:
            return Response.html("413 Content Too Large", 413)
        return _as_json(batch.run(service, call))

    def _session_of(self, key: ApiKey) -> str:
        known = next((session for session, owner in self._sessions.items() if owner == key.key), None)
        session = known or f"node{next(self._session_numbers)}"
        self._sessions[session] = key.key
        return session

    def _session_fits(self, request: Request, key: ApiKey) -> bool:
        """Refuse an API key that comes with the cookie of somebody else's session (KB 127054)."""
        try:
            cookies = SimpleCookie(request.header("Cookie"))
        except CookieError:
            return False
        return _SESSION not in cookies or self._sessions.get(cookies[_SESSION].value) == key.key


def _as_json(reply: Reply) -> Response:
    response = Response.json(reply.document)
    response.created = reply.created
    return response
