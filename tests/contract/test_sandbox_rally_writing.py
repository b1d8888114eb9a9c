"""The stand-in Rally creates, changes and deletes as WSAPI does, and refuses what Rally would refuse."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any
from urllib.parse import urlencode

import pytest

from reconciler.sandbox.messages import Request, Response
from reconciler.sandbox.rally import Kind, RallyApp, Thing

BASE = "/slm/webservice/v2.0/"
GONE = "Could not read: Could not read referenced object null"
Body = dict[str, Any]


@dataclass(slots=True)
class World:
    """A stand-in with two workspaces and three projects; requests stay in service until `finish`."""

    app: RallyApp
    workspace: Thing
    other: Thing
    shop: Thing
    cart: Thing
    sprint: Thing
    story: Thing
    case: Thing
    second: Thing
    foreign: Thing
    sent: int = 0
    open: list[Response] = field(default_factory=list)

    def post(self, path: str, body: object, method: str = "POST", **query: str) -> Response:
        """Send one write with the full key; it stays in service."""
        self.sent += 1
        target = f"{BASE}{path}?{urlencode(query)}"
        request = Request.parse(method, target, [("ZSESSIONID", "_full")], json.dumps(body).encode())
        response = self.app(replace(request, n=self.sent))
        self.open.append(response)
        return response

    def finish(self) -> None:
        """Let all requests leave service."""
        for response in self.open:
            response.release()
        self.open.clear()

    def write(self, path: str, body: object, method: str = "POST", **query: str) -> Body:
        """Send one write that leaves service at once, and give what is under the envelope's root."""
        response = self.post(path, body, method, **query)
        self.finish()
        assert response.status == 200, response
        assert isinstance(response.body, bytes)
        [content] = json.loads(response.body).values()
        return dict(content)

    def result(self, **changes: object) -> Body:
        """Give the payload of a result; None leaves a field out."""
        fields = {
            "Build": "GitLab-1",
            "Date": "2026-05-05T10:00:00.000Z",
            "TestCase": self.case.ref,
            "Verdict": "Pass",
            **changes,
        }
        return {"TestCaseResult": {name: value for name, value in fields.items() if value is not None}}

    def refusal(self, path: str, body: object, **query: str) -> str:
        """Send a write that must be refused, and give the one error."""
        content = self.write(path, body, **query)
        assert "Object" not in content
        [error] = content["Errors"]
        return str(error)


@pytest.fixture
def world() -> World:
    """Build the world."""
    app = RallyApp()
    store = app.store
    workspace, other = store.add_workspace("Acme", timezone="America/Denver"), store.add_workspace("Other")
    shop = store.add_project(workspace, "Web Shop")
    cart = store.add_project(workspace, "Cart", shop)
    store.add_key("_full", store.add_user("qa@example.com"))
    sprint = store.add_iteration(shop, "Sprint 42", date(2026, 5, 4), date(2026, 5, 17))
    story = store.add_story(shop, "As a buyer", sprint)
    case, second = store.add_test_case(shop, "pays", work_product=story), store.add_test_case(cart, "adds")
    foreign = store.add_test_case(store.add_project(other, "Elsewhere"), "far away")
    return World(app, workspace, other, shop, cart, sprint, story, case, second, foreign)


# --- creating a result -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_result_is_created_with_all_fields_in_the_answer(world: World, method: str) -> None:
    """POST or PUT; the root is CreateResult; `fetch` shortens the Object."""
    created = world.write("TestCaseResult/create", world.result(Duration=1.5, Notes="<b>ok</b>"), method)
    assert (created["Errors"], created["Warnings"]) == ([], [])
    assert created["Object"]["Date"] == "2026-05-05T10:00:00.000Z"
    assert created["Object"]["Project"]["_refObjectName"] == "Web Shop"
    assert created["Object"]["WorkProduct"]["_refObjectName"] == "As a buyer"
    short = world.write("testcaseresult/create", world.result(), fetch="ObjectID")["Object"]
    assert "Build" not in short
    [first, second] = world.app.store.results("GitLab-1")
    assert (first["Duration"], first["Notes"], first["FormattedID"]) == (1.5, "<b>ok</b>", world.case.formatted_id)
    assert second["ObjectID"] == short["ObjectID"]


@pytest.mark.parametrize("name", ["Build", "Date", "TestCase", "Verdict"])
def test_a_result_without_a_required_field_is_refused(world: World, name: str) -> None:
    """Nothing is stored."""
    error = world.refusal("testcaseresult/create", world.result(**{name: None}))
    assert error == f"Validation error: TestCaseResult.{name} should not be null"
    assert world.app.store.results() == []


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"Verdict": "Passed"}, "TestCaseResult.Verdict has no value 'Passed'"),
        ({"Duration": "fast"}, "to a number"),
        ({"Duration": True}, "to a number"),
        ({"Date": "5.5.2026"}, "as a date"),
        ({"Date": "2026-05-05T10:00:00"}, "as a date"),
        ({"Build": 7}, "to a string"),
        ({"Build": "x" * 257}, "TestCaseResult.Build length is greater than the maximum length of 256"),
        ({"Notes": "x" * 32769}, "TestCaseResult.Notes length is greater than the maximum length of 32768"),
        ({"TestCase": "/testcase/1"}, GONE),
        ({"TestCase": "52560000010"}, GONE),
        ({"TestSet": "/testcase/1"}, GONE),
    ],
)
def test_a_result_with_a_wrong_value_is_refused(world: World, changes: Body, error: str) -> None:
    """With status 200 and the reason in Errors."""
    assert error in world.refusal("testcaseresult/create", world.result(**changes))


def test_the_length_of_notes_is_that_of_the_stored_html(world: World) -> None:
    """A bare & becomes &amp;, and characters outside the basic plane count twice."""
    assert world.write("testcaseresult/create", world.result(Notes="x" * 32768))["Errors"] == []
    assert "maximum length" in world.refusal("testcaseresult/create", world.result(Notes="&" * 6554))
    assert "maximum length" in world.refusal("testcaseresult/create", world.result(Notes="\U0001f600" * 16385))
    assert world.write("testcaseresult/create", world.result(Notes="a & b"))["Object"]["Notes"] == "a &amp; b"


def test_what_cannot_be_set_is_dropped_with_a_warning(world: World) -> None:
    """Unknown or read-only: the object is created all the same (KB 145540)."""
    created = world.write("testcaseresult/create", world.result(Foo=1, Project=world.cart.ref))
    assert created["Warnings"] == [
        "Ignored JSON element testcaseresult.Foo during processing of this request.",
        "Ignored JSON element testcaseresult.Project during processing of this request.",
    ]
    assert created["Object"]["Project"]["_refObjectName"] == "Web Shop"


@pytest.mark.parametrize(
    "body", [None, [], {}, {"TestCase": {}}, {"TestCaseResult": []}, {"TestCaseResult": {}, "x": 1}]
)
def test_a_body_needs_one_element_named_as_the_type(world: World, body: object) -> None:
    """Its case does not matter."""
    assert world.refusal("testcaseresult/create", body).startswith("Could not parse: ")
    [fields] = world.result().values()
    assert world.write("testcaseresult/create", {"testcaseresult": fields})["Errors"] == []


def test_an_own_list_of_verdicts_and_a_custom_field(world: World) -> None:
    """Both belong to the workspace."""
    schema = world.app.store.schema
    schema.allow(world.workspace.oid, "TestCaseResult", "Verdict", ("Pass", "Not Applicable"))
    schema.add_field("TestCaseResult", "c_ExternalKey", Kind.STRING)
    created = world.write("testcaseresult/create", world.result(Verdict="Not Applicable", c_ExternalKey="k"))
    assert (created["Object"]["c_ExternalKey"], created["Warnings"]) == ("k", [])
    assert "no value 'Fail'" in world.refusal("testcaseresult/create", world.result(Verdict="Fail"))


# --- workspaces, projects, rights ------------------------------------------------------------------------------------


def test_a_result_in_another_workspace_than_its_test_case_is_refused(world: World) -> None:
    """Without Workspace or ?workspace= the key owner's default counts."""
    body = world.result(TestCase=world.foreign.ref)
    assert world.refusal("testcaseresult/create", body) == (
        "Could not set value for Test Case: Cannot connect object to value, Test Case value is in a different "
        f"workspace. [object workspace OID={world.workspace.oid}, value workspace OID={world.other.oid}]."
    )
    assert world.write("testcaseresult/create", body, workspace=f"/workspace/{world.other.oid}")["Errors"] == []
    named = world.result(TestCase=world.foreign.ref, Workspace=world.other.ref)
    assert world.write("testcaseresult/create", named)["Errors"] == []


def test_a_result_takes_a_test_set_only_if_it_holds_the_test_case_and_is_of_its_project(world: World) -> None:
    """`Could not set value for Test Set: null` either way."""
    store = world.app.store
    test_set = store.add_test_set(world.shop, "Sprint-42", world.sprint, world.second)
    refused = "Could not set value for Test Set: null"
    for case in (world.case, world.second):
        body = world.result(TestSet=test_set.ref, TestCase=case.ref)
        assert world.refusal("testcaseresult/create", body) == refused
    store.enrol(test_set, world.case)
    assert world.write("testcaseresult/create", world.result(TestSet=test_set.ref))["Errors"] == []


def test_a_project_is_the_payloads_the_parameters_or_the_key_owners_default(world: World) -> None:
    """In that order; a default in another workspace does not help (KB 47770)."""
    in_cart = world.write(
        "testset/create", {"TestSet": {"Name": "a", "Project": world.cart.ref}}, project=world.shop.ref
    )
    by_parameter = world.write("testset/create", {"TestSet": {"Name": "a"}}, project=world.cart.ref)
    by_default = world.write("testset/create", {"TestSet": {"Name": "a"}})
    names = [answer["Object"]["Project"]["_refObjectName"] for answer in (in_cart, by_parameter, by_default)]
    assert names == ["Cart", "Cart", "Web Shop"]
    error = world.refusal("testset/create", {"TestSet": {"Name": "a"}}, workspace=world.other.ref)
    assert error == "Not authorized to create: TestSet"


def test_a_viewer_may_not_write(world: World) -> None:
    """Rights are per project."""
    store = world.app.store
    store.forbid(store.keys["_full"].user, world.shop)
    assert world.refusal("testcaseresult/create", world.result()) == "Not authorized to create: TestCaseResult"
    assert world.write("testcaseresult/create", world.result(TestCase=world.second.ref))["Errors"] == []
    assert world.refusal("project/create", {"Project": {"Name": "x"}}) == "Not authorized to create: Project"


def test_folders_and_iterations_stay_in_their_project(world: World) -> None:
    """KB 57564; iterations belong to one project."""
    store = world.app.store
    folder = store.add_test_folder(world.shop, "Sprint-42")
    error = world.refusal(f"testcase/{world.second.oid}", {"TestCase": {"TestFolder": folder.ref}})
    assert error == (
        "Validation error: TestFolder.TestCases is an invalid relationship. "
        "One or more of the artifacts is in a different project."
    )
    child = {"TestFolder": {"Name": "x", "Parent": folder.ref, "Project": world.cart.ref}}
    assert "different project" in world.refusal("testfolder/create", child)
    stray = {"TestSet": {"Name": "x", "Iteration": world.sprint.ref, "Project": world.cart.ref}}
    assert world.refusal("testset/create", stray) == "Could not set value for Iteration: null"
    moved = world.write(f"testcase/{world.case.oid}", {"TestCase": {"TestFolder": folder.ref}})
    assert moved["Object"]["TestFolder"]["_refObjectName"] == "Sprint-42"


def test_an_iterations_dates_move_to_the_borders_of_days(world: World) -> None:
    """In the workspace's time zone."""
    fields = {"Name": "Sprint 43", "State": "Planning", "StartDate": "2026-05-18T12:00:00Z", "EndDate": "2026-05-31"}
    created = world.write("iteration/create", {"Iteration": fields})["Object"]
    assert (created["StartDate"], created["EndDate"]) == ("2026-05-18T06:00:00.000Z", "2026-05-31T05:59:59.000Z")


# --- changing and deleting -------------------------------------------------------------------------------------------


def test_an_update_changes_what_it_names_and_counts_the_version(world: World) -> None:
    """OperationResult; read-only fields are warnings; what is gone cannot be updated."""
    test_set = world.app.store.add_test_set(world.shop, "a", world.sprint)
    answer = world.write(f"testset/{test_set.oid}", {"TestSet": {"Name": "b", "ObjectID": 5}})
    assert (answer["Object"]["Name"], answer["Object"]["_objectVersion"]) == ("b", "2")
    assert answer["Object"]["Iteration"]["_refObjectName"] == "Sprint 42"
    assert answer["Warnings"] == ["Ignored JSON element testset.ObjectID during processing of this request."]
    assert world.refusal("testset/1", {"TestSet": {"Name": "b"}}) == "Could not read: Could not read TestSet to update."
    assert "should not be null" in world.refusal(f"testset/{test_set.oid}", {"TestSet": {"Name": None}})


def test_a_deleted_test_case_vanishes_and_refs_to_it_are_wrong(world: World) -> None:
    """Its results and their attachments go with it; a test set forgets it."""
    store = world.app.store
    test_set = store.add_test_set(world.shop, "a", world.sprint, world.case)
    result = store.add_result(world.case, "1")
    assert world.write(f"testcase/{world.case.oid}", None, "DELETE") == {
        "_rallyAPIMajor": "2",
        "_rallyAPIMinor": "0",
        "Errors": [],
        "Warnings": [],
    }
    assert store.get(result.oid) is None
    assert store.members(test_set) == []
    assert world.refusal("testcaseresult/create", world.result()) == GONE
    assert world.write(f"testcase/{world.case.oid}", None, "DELETE")["Errors"]


def test_members_are_added_and_removed_by_refs(world: World) -> None:
    """Adding twice is adding once; one wrong ref and none is added; strings are no items (KB 225337)."""
    test_set = world.app.store.add_test_set(world.shop, "a", world.sprint)
    path = f"testset/{test_set.oid}/TestCases"
    items = [{"_ref": world.case.ref}, {"_ref": world.second.ref}]
    added = world.write(f"{path}/add", {"CollectionItems": items}, fetch="Name")
    assert [row["Name"] for row in added["Results"]] == ["pays", "adds"]
    assert world.write(f"{path}/add", {"CollectionItems": items[:1]})["Errors"] == []
    assert world.app.store.members(test_set) == ["TC1", "TC2"]
    assert world.write(f"{path}/remove", {"CollectionItems": items[:1]})["Errors"] == []
    assert world.refusal(f"{path}/add", {"CollectionItems": [*items, {"_ref": "/testcase/1"}]}) == GONE
    assert "array of objects" in world.refusal(f"{path}/add", {"CollectionItems": [world.case.ref]})
    assert world.refusal(f"{path}/add", {"TestCases": items}).startswith("Could not parse: ")
    assert "different workspace" in world.refusal(f"{path}/add", {"CollectionItems": [{"_ref": world.foreign.ref}]})
    assert world.app.store.members(test_set) == ["TC2"]


def test_a_whole_list_in_an_update_replaces_the_members(world: World) -> None:
    """That is why a client should not send one."""
    test_set = world.app.store.add_test_set(world.shop, "a", world.sprint, world.case)
    body = {"TestSet": {"TestCases": [{"_ref": world.second.ref}]}}
    assert world.write(f"testset/{test_set.oid}", body)["Errors"] == []
    assert world.app.store.members(test_set) == ["TC2"]


# --- attachments -----------------------------------------------------------------------------------------------------


def attach(world: World, target: Body, content: bytes = b"hello") -> Body:
    """Make the two creates of an attachment."""
    workspace = world.workspace.ref
    encoded = base64.b64encode(content).decode()
    stored = world.write("attachmentcontent/create", {"AttachmentContent": {"Content": encoded}}, workspace=workspace)
    fields = {"Name": "a.log", "ContentType": "text/plain", "Content": stored["Object"]["_ref"], **target}
    return world.write("attachment/create", {"Attachment": fields}, workspace=workspace)


def test_an_attachment_is_content_and_a_name_on_a_result(world: World) -> None:
    """Its size is that of the decoded bytes, whatever the client says."""
    result = world.app.store.add_result(world.case, "1")
    created = attach(world, {"TestCaseResult": result.ref, "Size": 99})
    assert created["Object"]["Size"] == 5
    assert created["Warnings"] == ["Ignored JSON element attachment.Size during processing of this request."]
    [stored] = world.app.store.results()
    assert [(a["Name"], a["Content"]) for a in stored["Attachments"]] == [("a.log", b"hello")]  # type: ignore[attr-defined]  # a list
    world.app.store.delete(created["Object"]["_ref"])
    assert world.app.store.find("AttachmentContent") == []


def test_a_result_is_no_artifact(world: World) -> None:
    """`Artifact` is for test cases, stories and defects (KB 47770)."""
    result = world.app.store.add_result(world.case, "1")
    assert attach(world, {"Artifact": result.ref})["Errors"] == ["Could not set value for Artifact: null"]
    assert attach(world, {"Artifact": world.case.ref})["Errors"] == []
    assert attach(world, {})["Errors"] == ["Validation error: Attachment needs either Artifact or TestCaseResult"]


def test_attachments_need_the_workspace_and_base64(world: World) -> None:
    """Without `workspace` Rally says that one is not authorized (KB 47770)."""
    body = {"AttachmentContent": {"Content": "aGVsbG8="}}
    assert world.refusal("attachmentcontent/create", body) == "Not authorized to create AttachmentContent"
    wrong = {"AttachmentContent": {"Content": "hello!"}}
    assert "not base64" in world.refusal("attachmentcontent/create", wrong, workspace=world.workspace.ref)


def test_a_content_has_bytes_and_not_too_many(world: World) -> None:
    """50,000,000 of them, unless the test says otherwise; counted decoded."""
    assert world.app.behaviour.max_attachment_bytes == 50_000_000
    world.app.behaviour.max_attachment_bytes = 6
    for content, refusal in ((b"", "should not be null"), (b"1234567", "greater than the maximum of 6 bytes")):
        body = {"AttachmentContent": {"Content": base64.b64encode(content).decode()}}
        assert refusal in world.refusal("attachmentcontent/create", body, workspace=world.workspace.ref)
    result = world.app.store.add_result(world.case, "1")
    assert attach(world, {"TestCaseResult": result.ref}, b"123456")["Errors"] == []


def test_contents_without_an_attachment_are_known(world: World) -> None:
    """Nobody else would see them."""
    result = world.app.store.add_result(world.case, "1")
    attach(world, {"TestCaseResult": result.ref}, b"used")
    assert world.app.store.orphaned_contents() == []
    attach(world, {"TestCaseResult": "/testcaseresult/1"}, b"lost")
    assert [content.fields["Content"] for content in world.app.store.orphaned_contents()] == [b"lost"]


@pytest.mark.parametrize("missing", ["Name", "ContentType", "Content", "TestCaseResult"])
def test_an_attachment_needs_all_of_it(world: World, missing: str) -> None:
    """And a result that is there."""
    result = world.app.store.add_result(world.case, "1")
    error = attach(world, {"TestCaseResult": result.ref, missing: None})["Errors"]
    assert [text.startswith("Validation error: Attachment") for text in error] == [True]
    assert attach(world, {"TestCaseResult": "/testcaseresult/1"})["Errors"] == [GONE]


def test_an_old_server_wants_to_be_told_the_size(world: World) -> None:
    """Where its schema does not say that Size is read-only."""
    result = world.app.store.add_result(world.case, "1")
    attributes = world.app.store.schema.types["Attachment"].attributes
    attributes["Size"] = replace(attributes["Size"], read_only=False, required=True)
    refused = attach(world, {"TestCaseResult": result.ref})
    assert refused["Errors"] == ["Validation error: Attachment.Size should not be null"]
    assert attach(world, {"TestCaseResult": result.ref, "Size": 5})["Errors"] == []


def test_attaching_meets_the_conflicts_that_were_planned(world: World) -> None:
    """On that result, whoever the other client was."""
    result, other = (world.app.store.add_result(world.case, build) for build in "12")
    world.app.mishaps.conflict(result)
    assert attach(world, {"TestCaseResult": other.ref})["Errors"] == []
    (error,) = attach(world, {"TestCaseResult": result.ref})["Errors"]
    assert error.startswith("Concurrency conflict: ")
    assert attach(world, {"TestCaseResult": result.ref})["Errors"] == []


@pytest.mark.parametrize("conflicting", [True, False])
def test_attaching_to_one_result_twice_at_once_conflicts_when_told_to(
    world: World,
    conflicting: bool,  # noqa: FBT001 - a table's column
) -> None:
    """No source says what Rally does."""
    world.app.behaviour.attachments_conflict = conflicting
    result = world.app.store.add_result(world.case, "1")
    encoded = {"AttachmentContent": {"Content": "aGVsbG8="}}
    refs = [
        world.write("attachmentcontent/create", encoded, workspace=world.workspace.ref)["Object"]["_ref"]
        for _ in range(2)
    ]
    given = {"Name": "a.log", "ContentType": "text/plain", "TestCaseResult": result.ref}
    for ref in refs:
        world.post("attachment/create", {"Attachment": {**given, "Content": ref}}, workspace=world.workspace.ref)
    world.finish()
    attached = world.app.store.find("Attachment", TestCaseResult=result.oid)
    assert len(attached) == (1 if conflicting else 2)
