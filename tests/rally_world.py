"""A stand-in Rally on loopback with a little in it, and adapters to it."""

from __future__ import annotations

import io
import threading
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from reconciler.model import (
    Build,
    Content,
    FormattedID,
    Key,
    NewAttachment,
    ObjectID,
    PipelineId,
    ProjectId,
    Rejected,
    TestCaseResult,
)
from reconciler.rally import Names, RallyAdapter
from reconciler.sandbox.faults import Action, Answer, Fault, Reset, Truncate, page, unavailable
from reconciler.sandbox.messages import Request, Response
from reconciler.sandbox.rally import Behaviour, RallyApp, Store
from reconciler.sandbox.server import Server
from reconciler.wire import Endpoint, Limits

KEY = "_s3cretKey"
HASTY = Limits(first_wait_s=0.01, longest_wait_s=0.05, patience_s=2)
IMPATIENT = replace(HASTY, patience_s=0.3)
NOON = datetime(2026, 11, 23, 12, 0, 0, 123000, tzinfo=UTC)


class App(RallyApp):
    """A stand-in that may think that it is elsewhere."""

    external_url = ""
    """What its refs begin with; "" = where it is."""

    def __call__(self, request: Request) -> Response:
        """Answer one request."""
        return super().__call__(replace(request, base_url=self.external_url or request.base_url))


class World:
    """A Rally with a root project, a team below it and another team beside it, three test cases in all."""

    def __init__(self) -> None:
        """Fill it."""
        self.store = Store()
        self.workspace = self.store.add_workspace("Acme")
        self.root = self.store.add_project(self.workspace, "Web Shop")
        self.team = self.store.add_project(self.workspace, "Team A", self.root)
        self.other = self.store.add_project(self.workspace, "Elsewhere")
        elsewhere = self.store.add_workspace("Default of the key's owner")
        self.store.add_key(KEY, self.store.add_user("qa@example.com", workspace=elsewhere))
        self.store.add_project(elsewhere, "Default")
        self.cases = [
            self.store.add_test_case(self.root, "Pays", "TC1"),
            self.store.add_test_case(self.team, "Returns", "TC2"),
            self.store.add_test_case(self.other, "Else", "TC3"),
        ]
        self.app = App(self.store, Behaviour(sends_cookies=True, unstable_order=True))
        self.server = Server(self.app)

    def result(self, number: int = 0, revision: int = 1, **changes: Any) -> TestCaseResult:  # noqa: ANN401 - passed on
        """Make a result for one of the test cases."""
        case = self.cases[number]
        key = Key(ProjectId(21), PipelineId(1001), FormattedID(case.formatted_id), revision)
        notes = f"<div>ü &amp; more</div><div>{key}</div>"
        plain = TestCaseResult(key, Build("GitLab-1001"), ObjectID(case.oid), "Pass", NOON, 1.25, notes)
        return replace(plain, **changes)

    def fail(self, action: Action, path: str = "", times: int | None = 1, method: str = "") -> Fault:
        """Make the server misbehave."""
        return self.server.faults.add(Fault(action, path=path, times=times, method=method))


class Connections:
    """Adapters to a world."""

    def __init__(self, world: World) -> None:
        """Open none."""
        self._world = world
        self._made: list[RallyAdapter] = []

    def __call__(
        self,
        workspace: str = "Acme",
        project: str = "Web Shop",
        field: str = "",
        *,
        key: str = KEY,
        read_s: float = 5,
        stop: threading.Event | None = None,
        limits: Limits = HASTY,
    ) -> RallyAdapter:
        """Make an adapter."""
        endpoint = Endpoint(self._world.server.url, read_s=read_s)
        names = Names(workspace, project, field)
        self._made.append(RallyAdapter(endpoint, key, names, stop=stop or threading.Event(), limits=limits))
        return self._made[-1]

    def close(self) -> None:
        """Close all."""
        for adapter in self._made:
            adapter.close()


SILENCE: list[Action] = [
    page(200),
    page(502),
    page(502, when="after"),
    unavailable(1),
    Reset(),
    Reset("after"),
    Truncate(20),
    Truncate(20, "chunked"),
    Truncate(20, "close"),
    Answer(Response(302, headers={"Location": "/login"})),
    Answer(Response.json({"surprise": 1})),
    Answer(Response.json([])),
]
"""Answers to a write that say neither yes nor no."""


def content(data: bytes) -> Content:
    """Put bytes into a file."""
    return Content(io.BytesIO(data), len(data))


def log_of(result: ObjectID, stored: object, name: str = "a.log", size_bytes: int = 5) -> NewAttachment:
    """Attach a stored content to a result."""
    assert not isinstance(stored, Rejected)
    assert isinstance(stored, int)
    return NewAttachment(result, ObjectID(stored), name, "text/plain", size_bytes)


def bodies_sent(world: World, path: str) -> list[bytes]:
    """Note the bodies that are sent there from now on."""
    seen: list[bytes] = []

    def look(body: bytes) -> bool:
        seen.append(body)
        return False

    world.fail(page(500), path).body = look
    return seen
