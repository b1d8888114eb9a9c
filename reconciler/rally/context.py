"""The fence round pyral: it finds workspace, project and schema once, over a session of ours, and is not used again.

Read in pyral 1.6.0 and 1.7.0, which are alike here. What it would do by itself: lose HTTP statuses, take a failure for
an empty answer, ignore NO_PROXY and CA bundles, send without time-outs, follow refs to other hosts with the API key in
a header, put that key into errors, and print.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pyral
import pyral.restapi

from reconciler import __version__
from reconciler.errors import Misconfigured, ReconcilerError, ServiceDown, Unauthorized
from reconciler.prints import capture_prints
from reconciler.rally import wsapi
from reconciler.rally.foresight import Foresight
from reconciler.rally.schema import Attribute, ResultSchema
from reconciler.wire import Answer, Endpoint, LibrarySession, Wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import requests

PATH_SEPARATOR = " // "
"""Between the names of a project's path, as pyral has it; we resolve paths ourselves.

pyral's own resolving fails for a key owner whose default project is in another workspace (seen in 1.6 and 1.7).
"""

_protocol = threading.Lock()


@dataclass(frozen=True, slots=True)
class Names:
    """What a person wrote into the config."""

    workspace: str
    project: str
    """A name, or a path of names, of which each project is the parent of the next."""
    test_case_field: str = ""
    """A further attribute of TestCase to fetch; "" = none."""


@dataclass(frozen=True, slots=True)
class Context:
    """What every later request needs."""

    place: wsapi.Place
    schema: ResultSchema
    attachment: Mapping[str, Attribute]
    """The attributes of Attachment."""
    content: Mapping[str, Attribute]
    """Those of AttachmentContent."""
    test_set: Mapping[str, Attribute]
    """Those of TestSet."""
    folder: Mapping[str, Attribute]
    """Those of TestFolder."""


class RallySession(LibrarySession):
    """Carries pyral's reads, and ours; remembers what pyral swallows."""

    def __init__(self, endpoint: Endpoint, wire: Wire) -> None:
        """Make the session; nothing is opened yet."""
        super().__init__(endpoint, wire)
        self._base = endpoint.url
        self.project_names: list[str] = []
        """Names of the workspace's open projects, as pyral's own list of them had them."""
        self.failure: ReconcilerError | None = None
        """The first read that failed."""
        self.foresight: Foresight | None = None
        """Begins what pyral will ask next."""

    def request(self, method: str | bytes, url: str | bytes, **options: Any) -> requests.Response:  # type: ignore[override]  # noqa: ANN401 - requests' options, passed on
        """Read at our own host, whatever host a ref of Rally's names."""
        if self.failure:
            raise self.failure
        parts = urlsplit(str(url))
        here = f"{self._base}{parts.path}" + (f"?{parts.query}" if parts.query else "")
        try:
            if self.foresight is not None and str(method).upper() == "GET":
                answer = self.foresight.answer_to(here)
            else:
                answer = self.read(here, method=str(method), **options)
            self._note(parts.path, answer)
        except ReconcilerError as error:
            self.failure = error
            raise
        return answer.response

    def _note(self, path: str, answer: Answer) -> None:
        if answer.status != 200:
            raise status_error(answer.status, path)
        _, result = wsapi.envelope(answer.document)
        errors = wsapi.errors_of(result)
        if errors:
            raise wsapi.refused(errors)
        if self.foresight is not None:
            self.foresight.learn(path, answer.document)
        if path.endswith("/Projects"):
            rows = [row for row in result.get("Results") or () if isinstance(row, dict)]
            open_ones = [row for row in rows if row.get("State") != "Closed"]
            self.project_names += [str(row.get("Name") or row.get("_refObjectName")) for row in open_ones]


def status_error(status: int, path: str) -> ReconcilerError:
    """Judge a refusal of a read."""
    if status == 404:
        return Misconfigured(f"Rally: HTTP 404 for {path}: check rally.url")
    if status == 403:
        return Unauthorized("Rally: HTTP 403: the API key may not read here, or a proxy refuses; check rally.api_key")
    return ServiceDown("Rally", f"HTTP {status} for {path}")


def connect(session: RallySession, base_url: str, api_key: str, names: Names) -> Context:
    """Find workspace, project and schema.

    Raises:
        Misconfigured: one of the names does not exist for this key.
        ServiceDown, Unauthorized, Stopped.
    """
    session.failure = None
    session.project_names.clear()
    session.foresight = Foresight(base_url, names.workspace, session.read)
    try:
        with capture_prints(), _speaking(urlsplit(base_url).scheme):
            rally = _Rally(
                session,
                server=urlsplit(base_url).netloc,
                apikey=api_key,
                workspace=names.workspace,
                project=names.project.rpartition(PATH_SEPARATOR)[2],
                isolated_workspace=True,
                warn=False,
                headers={"name": "reconciler", "vendor": "reconciler", "version": __version__},
            )
            context = _read(rally, session, names)
    except Misconfigured:
        raise
    except Exception as error:  # noqa: BLE001 - pyral raises anything, TypeError and KeyError included
        raise _first_failure(session) or _explain(error, names) from None
    finally:
        session.foresight = None
    _check(rally, session, names)
    return context


def _first_failure(session: RallySession) -> ReconcilerError | None:
    return session.failure


class _Rally(pyral.Rally):  # type: ignore[misc]  # pyral has no types
    """pyral with a session that is there before its constructor sends anything; the one that it makes is dropped."""

    def __init__(self, session: RallySession, **options: Any) -> None:  # noqa: ANN401 - pyral's
        self._ours = session
        super().__init__(**options)

    @property
    def session(self) -> RallySession:
        return self._ours

    @session.setter
    def session(self, theirs: object) -> None:
        pass


@contextmanager
def _speaking(scheme: str) -> Iterator[None]:
    """Let pyral use plain http, for loopback; its own scheme is a constant of the module."""
    with _protocol:
        before = pyral.restapi.PROTOCOL
        pyral.restapi.PROTOCOL = scheme
        try:
            yield
        finally:
            pyral.restapi.PROTOCOL = before


def _read(rally: _Rally, session: RallySession, names: Names) -> Context:
    place = wsapi.Place(rally.service_url, int(rally.getWorkspace().oid), int(rally.getProject().oid))
    if PATH_SEPARATOR in names.project:
        place = replace(place, project=_at_path(place, session, names))
    results = _attributes(rally.typedef("TestCaseResult"), session)
    others = (
        _attributes(rally.contextHelper.getSchemaItem(name), session)  # typedef would ask for lists that we do not use
        for name in ("Attachment", "AttachmentContent", "TestSet", "TestFolder")
    )
    return Context(place, ResultSchema(results), *others)


def _attributes(described: Any, session: RallySession) -> dict[str, Attribute]:  # noqa: ANN401 - pyral's
    """Read a type of pyral's schema, which it has fetched whole; {} where the type is not in it."""
    attributes = [_attribute(one, session) for one in described.Attributes] if described else []
    return {one.name: one for one in attributes}


def _at_path(place: wsapi.Place, session: RallySession, names: Names) -> int:
    """Find the one project that has these parents, in a list of all."""
    rows = wsapi.read_all("project", place.projects_url, lambda url: session.get(url).json())
    by_id = {wsapi.object_id(row): row for row in rows}
    found = [number for number in by_id if _ends_with(by_id, number, names.project.split(PATH_SEPARATOR))]
    if not found:
        raise _no_project(names)
    if len(found) > 1:
        raise _several(names)
    return found[0]


def _ends_with(by_id: dict[int, wsapi.Row], number: int, path: list[str]) -> bool:
    for name in reversed(path):
        row = by_id.get(number)
        if row is None or (row.get("Name") or row.get("_refObjectName")) != name:
            return False
        number = wsapi.ref_id(row.get("Parent"))
    return True


def _attribute(described: Any, session: RallySession) -> Attribute:  # noqa: ANN401 - pyral's
    name = str(described.ElementName)
    allowed = described.AllowedValues
    if isinstance(allowed, str) and name == "Verdict":  # pyral follows these refs for some types only
        allowed = wsapi.query_result(session.get(allowed).json()).get("Results")
    return Attribute(
        name,
        required=described.Required is True,
        read_only=described.ReadOnly is True,
        max_length=described.MaxLength if isinstance(described.MaxLength, int) and described.MaxLength > 0 else 0,
        allowed=frozenset(_values(allowed)) if isinstance(allowed, list) else frozenset(),
    )


def _values(allowed: Iterable[Any]) -> Iterator[str]:
    for one in allowed:
        known = one if isinstance(one, dict) else vars(one)  # an attribute that pyral has not fetched costs a request
        value = known.get("StringValue")
        if isinstance(value, str) and value:
            yield value


def _check(rally: _Rally, session: RallySession, names: Names) -> None:
    """Find out what pyral lets pass: another workspace than asked for, and one of several projects of a name."""
    if rally.getWorkspace().Name != names.workspace:
        raise _no_workspace(names)
    if session.project_names.count(names.project) > 1:
        raise _several(names)
    described = rally.contextHelper.getSchemaItem("TestCase")
    known = {str(one.ElementName) for one in described.Attributes} if described else set()
    if names.test_case_field and known and names.test_case_field not in known:
        raise Misconfigured(f"Rally: test cases have no field {names.test_case_field!r}: check mapping.rally_field")


def _explain(error: Exception, names: Names) -> ReconcilerError:
    """Judge what pyral raises when all its reads went well; its own texts may hold the API key, and are not shown."""
    text = str(error)
    if text.startswith(("Specified workspace", "Multiple workspaces", "Workspace specified")):
        return _no_workspace(names)
    if "roject" in text:
        return _no_project(names)
    return ServiceDown("Rally", f"an answer that pyral cannot read ({type(error).__name__})")


def _several(names: Names) -> Misconfigured:
    return Misconfigured(
        f"Rally: several projects are named {names.project!r}: "
        f'set rally.project to the whole path, as "Parent{PATH_SEPARATOR}{names.project}"'
    )


def _no_project(names: Names) -> Misconfigured:
    return Misconfigured(
        f"Rally: no project named {names.project!r} in workspace {names.workspace!r} for this key: "
        "check rally.project and what the key's owner may see"
    )


def _no_workspace(names: Names) -> Misconfigured:
    return Misconfigured(
        f"Rally: no workspace named {names.workspace!r} for this key: "
        "check rally.workspace and what the key's owner may see"
    )
