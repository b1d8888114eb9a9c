"""The stand-in Rally under several writes: batches, and two clients at the same time."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

import pytest

from reconciler.sandbox.messages import Dropped, Request, Response
from reconciler.sandbox.rally import RallyApp, Thing

BASE = "/slm/webservice/v2.0/"
Body = dict[str, Any]


@dataclass(slots=True)
class World:
    """A stand-in with two test cases; requests stay in service until `finish`."""

    app: RallyApp
    shop: Thing
    case: Thing
    second: Thing
    sent: int = 0
    open: list[Response] = field(default_factory=list)

    def post(self, path: str, body: object, **query: str) -> Response:
        """Send one write with the full key; it stays in service."""
        self.sent += 1
        target = f"{BASE}{path}?{urlencode(query)}"
        request = Request.parse("POST", target, [("ZSESSIONID", "_full")], json.dumps(body).encode())
        response = self.app(replace(request, n=self.sent))
        self.open.append(response)
        return response

    def finish(self) -> None:
        """Let all requests leave service."""
        for response in self.open:
            response.release()
        self.open.clear()

    def write(self, path: str, body: object) -> Body:
        """Send one write that leaves service at once, and give what is under the envelope's root."""
        response = self.post(path, body)
        self.finish()
        assert isinstance(response.body, bytes)
        [content] = json.loads(response.body).values()
        return dict(content)

    def result(self, **changes: object) -> Body:
        """Give the payload of a result."""
        fields = {"Build": "GitLab-1", "Date": "2026-05-05T10:00:00.000Z", "TestCase": self.case.ref, "Verdict": "Pass"}
        return {"TestCaseResult": {**fields, **changes}}


@pytest.fixture
def world() -> World:
    """Build the world."""
    app = RallyApp()
    shop = app.store.add_project(app.store.add_workspace("Acme"), "Web Shop")
    app.store.add_key("_full")
    return World(app, shop, app.store.add_test_case(shop, "pays"), app.store.add_test_case(shop, "adds"))


# --- at the same time ------------------------------------------------------------------------------------------------


def test_two_results_of_one_test_case_at_the_same_time_conflict(world: World) -> None:
    """The second one is refused while the first is in service, and may be sent again afterwards."""
    world.post("testcaseresult/create", world.result())
    second = world.post("testcaseresult/create", world.result())
    assert (
        "Concurrency conflict: [Object has been modified since being read for update in this context] - "
        "ConcurrencyConflictException : Modified since read on update : "
        f"Object Class : com.f4tech.slm.domain.TestCase : ObjectID : {world.case.oid}"
    ) in str(second.body)
    assert '"Errors":[]' in str(world.post("testcaseresult/create", world.result(TestCase=world.second.ref)).body)
    world.finish()
    assert world.write("testcaseresult/create", world.result())["Errors"] == []


def test_two_changes_of_one_test_sets_members_conflict(world: World) -> None:
    """One writer per test set."""
    test_set = world.app.store.add_test_set(world.shop, "a")
    path = f"testset/{test_set.oid}/TestCases/add"
    world.post(path, {"CollectionItems": [{"_ref": world.case.ref}]})
    assert "Concurrency conflict" in str(world.post(path, {"CollectionItems": [{"_ref": world.second.ref}]}).body)
    assert world.app.store.members(test_set) == ["TC1"]


def test_a_conflict_can_be_ordered(world: World) -> None:
    """For one object or any, so many times."""
    world.app.mishaps.conflict(world.case, times=2)
    answers = [world.write("testcaseresult/create", world.result())["Errors"] for _ in range(3)]
    assert [bool(errors) for errors in answers] == [True, True, False]


# --- batches ---------------------------------------------------------------------------------------------------------


def entry(body: Body, path: str = "/testcaseresult/create?fetch=ObjectID", method: str = "POST") -> Body:
    """Wrap one operation."""
    return {"Entry": {"Path": path, "Method": method, "Body": body}}


def test_a_batch_answers_by_position_and_one_bad_entry_stops_nothing(world: World) -> None:
    """It is not atomic; several results of one test case in one batch do not conflict."""
    entries = [entry(world.result()), entry(world.result(Verdict="?")), entry(world.result(Build="GitLab-2"))]
    response = world.post("batch", {"Batch": entries}, project=world.shop.ref)
    assert response.created == 2
    answer = json.loads(bytes(response.body))["BatchResult"]  # type: ignore[arg-type]  # bytes
    assert answer["Errors"] == []
    assert [bool(row["Errors"]) for row in answer["Results"]] == [False, True, False]
    ids = [row["Object"]["ObjectID"] for row in answer["Results"] if "Object" in row]
    assert [stored["ObjectID"] for stored in world.app.store.results()] == ids


def test_a_batch_may_answer_in_wrapped_form(world: World) -> None:
    """No source says which it is: a client reads both."""
    world.app.behaviour.batch_style = "wrapped"
    [row] = world.write("batch", {"Batch": [entry(world.result())]})["Results"]
    assert row["CreateResult"]["Object"]["ObjectID"]


def test_a_batch_may_be_unavailable(world: World) -> None:
    """As a path, as a method, or as a right."""
    body = {"Batch": [entry(world.result())]}
    for status in (404, 403, 405):
        world.app.behaviour.batch = status
        assert world.post("batch", body).status == status
    world.app.behaviour.batch = "errors"
    [error] = world.write("batch", body)["Errors"]
    assert error.startswith("Not authorized to perform action")
    assert world.app.store.results() == []


def test_a_batch_in_another_form_is_refused_as_a_whole(world: World) -> None:
    """Each element is wrapped in Entry; there is a limit to their number and their bytes."""
    world.app.behaviour.batch_entries = 2
    good = entry(world.result())
    for batch in ([], [good["Entry"]], [{"Entry": {"Path": "x", "Method": "POST"}}], [good] * 3):
        [error] = world.write("batch", {"Batch": batch})["Errors"]
        assert error.startswith("Could not parse: ")
    world.app.behaviour.batch_bytes = 10
    assert world.post("batch", {"Batch": [good]}).status == 413
    assert world.app.store.results() == []


def test_one_entry_of_the_next_batch_can_be_made_bad(world: World) -> None:
    """Once."""
    world.app.mishaps.refuse_entry(1, "Validation error: no luck")
    body = {"Batch": [entry(world.result()), entry(world.result())]}
    errors = [[row["Errors"] for row in world.write("batch", body)["Results"]] for _ in range(2)]
    assert errors == [[[], ["Validation error: no luck"]], [[], []]]
    assert len(world.app.store.results()) == 3


def test_a_batch_can_die_in_the_middle(world: World) -> None:
    """The first entries are done, and nobody says so."""
    world.app.mishaps.batch_dies_after = 2
    with pytest.raises(Dropped):
        world.post("batch", {"Batch": [entry(world.result())] * 3})
    assert len(world.app.store.results()) == 2


def test_a_batch_reads_updates_and_deletes_too(world: World) -> None:
    """And a path that is not there fails alone."""
    batch = [
        entry({"TestCase": {"Name": "new"}}, f"/testcase/{world.case.oid}?fetch=Name"),
        entry({}, f"/testcase/{world.case.oid}?fetch=Name", "GET"),
        entry({}, f"/testcase/{world.second.oid}", "DELETE"),
        entry({}, "/nonsense", "GET"),
    ]
    rows = world.write("batch", {"Batch": batch})["Results"]
    assert rows[0]["Object"]["Name"] == "new"
    assert rows[1]["Name"] == "new"
    assert [rows[2]["Errors"], bool(rows[3]["Errors"])] == [[], True]
