"""What the adapter to Rally sends and reads of attachments."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from reconciler.errors import (
    Misconfigured,
    ServiceDown,
)
from reconciler.model import (
    ObjectID,
    Rejected,
)
from reconciler.rally.attachments import BLOCK_BYTES
from reconciler.sandbox.faults import Action, Answer, page
from reconciler.sandbox.messages import Response
from tests.contract.unhurried import IMPATIENT, met
from tests.rally_world import World, bodies_sent, content, log_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.rally import RallyAdapter
    from reconciler.sandbox.rally.objects import Value


# --- what is on the wire ---------------------------------------------------------------------------------------------


def test_a_content_is_sent_as_one_object_of_known_length(world: World, rally: RallyAdapter) -> None:
    """Neither chunked nor told back; the workspace stands in the URL and in the object (KB 47770)."""
    ref = world.workspace.ref
    bodies = bodies_sent(world, "/attachmentcontent/")
    rally.add_content(content(b"hello"))
    assert bodies == [b'{"AttachmentContent":{"Content":"aGVsbG8=","Workspace":"%b"}}' % ref.encode()]
    (write,) = world.server.log.writes()
    assert (write.path, write.query) == (
        "/slm/webservice/v2.0/attachmentcontent/create",
        {"workspace": [ref], "fetch": ["ObjectID"]},
    )
    assert (write.headers["content-type"], write.headers["content-length"]) == ("application/json", str(len(bodies[0])))
    assert write.bytes_out < 500


def test_the_workspace_stands_only_where_the_type_has_it(world: World, connect: Callable[..., RallyAdapter]) -> None:
    """As the workspace's own schema says; in the URL it stands in any case."""
    attributes = world.store.schema.types["AttachmentContent"].attributes
    attributes["Workspace"] = replace(attributes["Workspace"], read_only=True)
    rally = connect()
    bodies = bodies_sent(world, "/attachmentcontent/")
    rally.add_content(content(b"hello"))
    assert bodies == [b'{"AttachmentContent":{"Content":"aGVsbG8="}}']


SIZES = [1, 2, 3, 4, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 5 * BLOCK_BYTES + 2]


@pytest.mark.parametrize("size_bytes", SIZES)
def test_blocks_make_one_content(world: World, rally: RallyAdapter, result: ObjectID, size_bytes: int) -> None:
    """The seams between them are not to be seen."""
    data = bytes(number * 31 % 251 for number in range(size_bytes))
    assert not isinstance(rally.add_content(content(data)), Rejected)
    [stored] = world.store.orphaned_contents()
    assert stored.fields["Content"] == data
    rally.add_attachment(log_of(result, ObjectID(stored.oid), size_bytes=size_bytes))
    assert [rally.content_of(one) for one in rally.attachments_of(result)] == [data]


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("alone", [True, False])
def test_the_size_is_said_where_the_schema_lets_us(
    world: World,
    connect: Callable[..., RallyAdapter],
    alone: bool,  # noqa: FBT001 - a table's column
    old: bool,  # noqa: FBT001 - as above
) -> None:
    """Older servers required it, today's know it; neither has a reason to warn."""
    attributes = world.store.schema.types["Attachment"].attributes
    attributes["Size"] = replace(attributes["Size"], read_only=not old, required=old)
    rally = connect()
    [result] = rally.add_results([world.result()])
    assert not isinstance(result, Rejected)
    new = log_of(result, rally.add_content(content(b"hello")))
    bodies = bodies_sent(world, "/(attachment/create|batch)$")
    made = rally.add_attachment(new) if alone else rally.add_attachments([new])[0]
    assert [one.size_bytes for one in rally.attachments_of(result)] == [5]
    assert not isinstance(made, Rejected)
    assert (b'"Size":5' in bodies[0]) == old


def test_attachments_are_of_a_result_and_in_a_workspace(world: World, rally: RallyAdapter, result: ObjectID) -> None:
    """`TestCaseResult`, for a result is no artifact; one `/batch` for many."""
    stored = rally.add_contents([content(b"hello"), content(b"world")])
    made = rally.add_attachments([log_of(result, one) for one in stored])
    first, second = world.server.log.writes()
    query = {"workspace": [world.workspace.ref]}
    assert (first.path, first.query) == (second.path, second.query) == ("/slm/webservice/v2.0/batch", query)
    attached = world.store.find("Attachment", TestCaseResult=result, Workspace=world.workspace.oid, Artifact=None)
    assert [one.oid for one in attached] == made
    assert {one.fields["ContentType"] for one in attached} == {"text/plain"}
    assert len(world.store.find("AttachmentContent", Workspace=world.workspace.oid)) == 2


def test_the_schema_is_not_asked_for_again(world: World, rally: RallyAdapter, result: ObjectID) -> None:
    """It came whole with the first contact."""
    stored = rally.add_content(content(b"hello"))
    rally.add_attachment(log_of(result, stored))
    (found,) = rally.attachments_of(result)
    rally.content_of(found)
    assert len(world.server.log) == 5


# --- reads -----------------------------------------------------------------------------------------------------------


def _attach(world: World, result: ObjectID, count: int, data: bytes = b"x") -> None:
    place: dict[str, Value] = {"Workspace": world.workspace.oid, "Subscription": world.store.subscription.oid}
    with world.store.lock:
        for number in range(count):
            stored = world.store.insert("AttachmentContent", {**place, "Content": data})
            named: dict[str, Value] = {"Name": f"{number}.log", "ContentType": "text/plain", "Size": len(data)}
            world.store.insert("Attachment", {**place, **named, "TestCaseResult": result, "Content": stored.oid})


def test_many_attachments_come_in_pages(world: World, rally: RallyAdapter, result: ObjectID) -> None:
    """Each of them once; none of their bytes is fetched with them."""
    _attach(world, result, 450, bytes(10_000))
    found = rally.attachments_of(result)
    assert len({one.object_id for one in found}) == len(found) == 450
    entries = world.server.log.entries(path=f"/testcaseresult/{result}/Attachments$")
    assert [entry.query["start"] for entry in entries] == [["1"], ["201"], ["401"]]
    assert all(entry.query["workspace"] == [world.workspace.ref] for entry in entries)
    assert sum(entry.bytes_out for entry in entries) < 450 * 2_000


def test_only_its_own_attachments_belong_to_a_result(world: World, rally: RallyAdapter, result: ObjectID) -> None:
    """Not those of the test case's other results, nor one without a content or with an odd size."""
    other = rally.add_result(world.result(0, 2))
    assert isinstance(other, int)
    _attach(world, ObjectID(other), 2)
    _attach(world, result, 1)
    [mine] = rally.attachments_of(result)
    attachment = world.store.one(mine.object_id)
    world.store.delete(world.store.one(int(str(attachment.fields["Content"]))))
    world.store.change(attachment, Size=None)
    [bare] = rally.attachments_of(result)
    assert bare == replace(mine, size_bytes=0)
    assert rally.content_of(bare) == b""


GONE: list[Action] = [
    page(404),
    Answer(Response.json({"OperationResult": {"Errors": ["Cannot find object to read"], "Warnings": []}})),
    Answer(Response.json({"QueryResult": {"Errors": ["Could not read: Object not found for Object ID: null"]}})),
]


@pytest.mark.parametrize("action", GONE)
def test_a_no_is_believed_when_a_query_does_not_find_the_result_either(
    world: World, rally: RallyAdapter, result: ObjectID, action: Action
) -> None:
    """A proxy says 404, and a workspace that is closed "Could not read": then it would be attached once more."""
    _attach(world, result, 1)
    fault = world.fail(action, "/Attachments$", times=None)
    with pytest.raises((ServiceDown, Misconfigured)):
        rally.attachments_of(result)
    world.store.delete(world.store.one(result))
    assert rally.attachments_of(result) == []
    assert fault.hits == 2


@pytest.mark.parametrize("action", GONE)
def test_a_no_to_everything_is_not_believed(
    world: World, rally: RallyAdapter, result: ObjectID, action: Action
) -> None:
    """It is not about this result."""
    world.fail(action, times=None)
    with pytest.raises((ServiceDown, Misconfigured)):
        rally.attachments_of(result)


@pytest.mark.parametrize(
    "action",
    [
        page(200),
        Answer(Response.json({"QueryResult": {"Errors": ["Something broke"], "Results": [], "TotalResultCount": 0}})),
        Answer(Response.json({"QueryResult": {"Errors": [], "Results": [], "TotalResultCount": 3, "PageSize": 200}})),
        Answer(Response.json({"OperationResult": {"Errors": [], "Warnings": []}})),
        Answer(Response.json({"surprise": 1})),
    ],
)
def test_a_look_up_that_failed_is_not_an_empty_answer(
    world: World, connect: Callable[..., RallyAdapter], result: ObjectID, action: Action
) -> None:
    """An empty answer here would attach twice."""
    rally = met(connect(limits=IMPATIENT))
    world.fail(action, "/Attachments$", times=None)
    with pytest.raises(ServiceDown):
        rally.attachments_of(result)


@pytest.mark.parametrize(
    "document",
    [
        {"AttachmentContent": {"Content": None, "Errors": [], "Warnings": []}},
        {"AttachmentContent": {"Content": "not base64!", "Errors": [], "Warnings": []}},
        {"AttachmentContent": {"Content": "aGVsbG8", "Errors": [], "Warnings": []}},
        {"AttachmentContent": {"Content": "aGVsbG8=", "Errors": ["and yet"], "Warnings": []}},
        {"OperationResult": {"Errors": ["Cannot find object to read"], "Warnings": []}},
        {"OperationResult": {"Errors": [], "Warnings": []}},
        ["aGVsbG8="],
        None,
    ],
)
def test_a_content_that_is_none(world: World, rally: RallyAdapter, result: ObjectID, document: object) -> None:
    """What is not whole base64 is not compared with anything."""
    _attach(world, result, 1)
    [one] = rally.attachments_of(result)
    world.fail(Answer(Response.json(document)) if document else page(404), r"/attachmentcontent/\d+$")
    with pytest.raises(ServiceDown):
        rally.content_of(one)


def test_base64_may_have_line_breaks(world: World, rally: RallyAdapter, result: ObjectID) -> None:
    """As MIME has them."""
    _attach(world, result, 1)
    [one] = rally.attachments_of(result)
    broken = {"AttachmentContent": {"Content": "aGVs\r\nbG8=\r\n"}}
    world.fail(Answer(Response.json(broken)), r"/attachmentcontent/\d+$")
    assert rally.content_of(one) == b"hello"


@pytest.mark.parametrize(
    "document",
    [
        {"OperationResult": {"Errors": ["Cannot find object to read"], "Warnings": []}},
        {"Attachment": {"Errors": ["and yet"], "Warnings": []}},
        {"QueryResult": {"Errors": [], "Warnings": []}},
    ],
)
def test_an_attachment_that_is_none_has_no_content_to_compare(
    world: World, rally: RallyAdapter, result: ObjectID, document: object
) -> None:
    """It is no empty file either."""
    _attach(world, result, 1)
    [one] = rally.attachments_of(result)
    world.fail(Answer(Response.json(document)), r"/attachment/\d+$")
    with pytest.raises(ServiceDown):
        rally.content_of(one)
