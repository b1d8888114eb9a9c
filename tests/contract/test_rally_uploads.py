"""How the adapter to Rally judges answers to creates of attachments, and what an upload does to its file."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import pytest

from reconciler.errors import (
    BatchRefused,
    Incomplete,
    NoAnswer,
    NotDone,
    ReconcilerError,
    Unauthorized,
)
from reconciler.model import (
    Content,
    ObjectID,
    Rejected,
)
from reconciler.rally.attachments import BLOCK_BYTES
from reconciler.sandbox.faults import Action, Answer, Stall, page, too_many
from reconciler.sandbox.messages import Response
from tests.contract.unhurried import eventually, met
from tests.rally_world import HASTY, KEY, SILENCE, World, content, log_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from reconciler.ports import Rally
    from reconciler.rally import RallyAdapter


# --- answers to creates ----------------------------------------------------------------------------------------------


Way = Literal["content", "contents", "attachment", "attachments"]
WAYS: tuple[Way, ...] = ("content", "contents", "attachment", "attachments")


def create(rally: Rally, result: ObjectID, way: Way, stored: int = 0) -> object:
    """Create something in one of the four ways."""
    match way:
        case "content":
            return rally.add_content(content(b"hello"))
        case "contents":
            return rally.add_contents([content(b"hello"), content(b"world")])
        case "attachment":
            return rally.add_attachment(log_of(result, stored))
        case "attachments":
            return rally.add_attachments([log_of(result, stored), log_of(result, stored, "b.log")])


@pytest.fixture
def stored(world: World, rally: RallyAdapter) -> int:
    """Store a content to attach."""
    made = rally.add_content(content(b"hello"))
    world.server.log.clear()
    assert isinstance(made, int)
    return made


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("action", SILENCE)
def test_silence_is_not_an_answer(  # noqa: PLR0917 - fixtures and a table's columns
    world: World, rally: RallyAdapter, result: ObjectID, stored: int, action: Action, way: Way
) -> None:
    """It may have been done; it is never sent a second time."""
    fault = world.fail(action, times=None, method="POST")
    with pytest.raises(NoAnswer):
        create(rally, result, way, stored)
    assert fault.hits == 1


@pytest.mark.parametrize("way", ["contents", "attachments"])
def test_a_batch_answer_that_does_not_fit_is_silence(
    world: World, rally: RallyAdapter, result: ObjectID, stored: int, way: Way
) -> None:
    """One answer for two, or three."""
    yes = {"Object": {"_ref": "https://x/attachment/77"}, "Errors": [], "Warnings": []}
    other = {"Object": {"ObjectID": 78}, "Errors": [], "Warnings": []}
    for wrong in ([yes], [yes, yes], [yes, other, yes], []):
        document = {"BatchResult": {"Errors": [], "Warnings": [], "Results": wrong}}
        world.fail(Answer(Response.json(document), "after"), "/batch$")
        with pytest.raises(NoAnswer):
            create(rally, result, way, stored)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("action", "error"),
    [
        (too_many(0), NotDone),
        (page(413), NotDone),
        (page(401), Unauthorized),
        (
            Answer(Response.json({"OperationResult": {"Errors": ["Not authorized to perform action: Invalid key"]}})),
            Unauthorized,
        ),
    ],
)
def test_writes_that_are_turned_away_at_the_door(  # noqa: PLR0917 - fixtures and a table's columns
    world: World,
    rally: RallyAdapter,
    result: ObjectID,
    stored: int,
    action: Action,
    error: type[ReconcilerError],
    way: Way,
) -> None:
    """They were not done."""
    world.fail(action, times=None, method="POST")
    with pytest.raises(error) as raised:
        create(rally, result, way, stored)
    if isinstance(raised.value, NotDone):
        assert raised.value.too_large == ("413" in str(raised.value))


@pytest.mark.parametrize("way", ["contents", "attachments"])
@pytest.mark.parametrize("behaviour", [404, 403, 405, "errors"])
def test_a_batch_that_is_refused_as_a_whole_did_nothing(  # noqa: PLR0917 - fixtures and a table's columns
    world: World,
    rally: RallyAdapter,
    result: ObjectID,
    stored: int,
    behaviour: int | Literal["errors"],
    way: Way,
) -> None:
    """What it held is to be sent one by one."""
    world.app.behaviour.batch = behaviour
    with pytest.raises(BatchRefused):
        create(rally, result, way, stored)
    assert [one.oid for one in world.store.orphaned_contents()] == [stored]


def test_a_batch_that_is_too_large(world: World, rally: RallyAdapter) -> None:
    """It says so."""
    world.app.behaviour.batch_bytes = 2000
    with pytest.raises(NotDone) as error:
        rally.add_contents([content(bytes(1000)), content(bytes(1000))])
    assert error.value.too_large


@pytest.mark.parametrize("style", ["flat", "wrapped"])
def test_answers_are_by_position(
    world: World, rally: RallyAdapter, result: ObjectID, style: Literal["flat", "wrapped"]
) -> None:
    """In either form; one No does not spoil the others."""
    world.app.behaviour.batch_style = style
    world.app.mishaps.refuse_entry(1, "Not authorized to create AttachmentContent")
    first, second, third = rally.add_contents([content(b"a"), content(b"b"), content(b"c")])
    assert second == Rejected("Not authorized to create AttachmentContent")
    world.app.mishaps.refuse_entry(0, "Validation error: Attachment.Name is cursed")
    refused, made = rally.add_attachments([log_of(result, first, "a", 1), log_of(result, third, "c", 1)])
    assert refused == Rejected("Validation error: Attachment.Name is cursed")
    assert [(one.object_id, one.name) for one in rally.attachments_of(result)] == [(made, "c")]
    assert [one.fields["Content"] for one in world.store.orphaned_contents()] == [b"a"]


@pytest.mark.parametrize("way", ["attachment", "attachments"])
def test_a_conflict_of_two_writes_is_a_no_that_may_be_sent_again(
    world: World, rally: RallyAdapter, result: ObjectID, stored: int, way: Way
) -> None:
    """Nothing is wrong with the attachment."""
    world.app.mishaps.conflict(world.store.one(result))
    made: Any = create(rally, result, way, stored)
    answer = made if way == "attachment" else made[0]
    assert isinstance(answer, Rejected)
    assert answer.conflict
    assert len(rally.attachments_of(result)) == (0 if way == "attachment" else 1)


def test_a_content_above_the_limit_is_refused(world: World, rally: RallyAdapter) -> None:
    """Rally's is 50 MB; the others of a batch are none the worse."""
    world.app.behaviour.max_attachment_bytes = 100_000
    assert not isinstance(rally.add_content(content(bytes(100_000))), Rejected)
    too_long = rally.add_content(content(bytes(100_001)))
    assert isinstance(too_long, Rejected)
    assert "greater than the maximum of 100000 bytes" in too_long.reason
    small, big = rally.add_contents([content(b"a"), content(bytes(100_001))])
    assert not isinstance(small, Rejected)
    assert isinstance(big, Rejected)


def test_a_request_without_rights_is_a_plain_no(world: World, rally: RallyAdapter) -> None:
    """Not one about the key."""
    text = "Not authorized to create AttachmentContent"
    document = {"CreateResult": {"Errors": [text], "Warnings": []}}
    world.fail(Answer(Response.json(document)), "/attachmentcontent/create$")
    assert rally.add_content(content(b"hello")) == Rejected(text)


def test_a_late_answer_is_none(world: World, connect: Callable[..., RallyAdapter], result: ObjectID) -> None:
    """The content and the attachment are there all the same."""
    rally = connect(read_s=1)
    rally.allowed_verdicts()
    world.fail(Stall(5), "/attachmentcontent/")
    with pytest.raises(NoAnswer):
        rally.add_content(content(b"hello"))
    assert eventually(lambda: len(world.store.orphaned_contents()) == 1)
    [stored] = world.store.orphaned_contents()
    world.fail(Stall(5), "/attachment/")
    with pytest.raises(NoAnswer):
        rally.add_attachment(log_of(result, stored.oid))
    assert eventually(lambda: world.store.orphaned_contents() == [])
    assert [rally.content_of(one) for one in rally.attachments_of(result)] == [b"hello"]


# --- the file while it is sent ---------------------------------------------------------------------------------------


class Shrinking(io.BytesIO):
    """A file that ends early, once its size was asked for."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Give nothing after the first block."""
        return super().read(size) if self.tell() == 0 else b""


def test_a_file_that_shrinks_while_it_is_sent_was_not_stored(world: World, rally: RallyAdapter) -> None:
    """Rally was promised more bytes than it got; the next upload is none the worse."""
    size_bytes = 3 * BLOCK_BYTES
    with pytest.raises(Incomplete, match="only 49152 could be read"):
        rally.add_content(Content(Shrinking(bytes(size_bytes)), size_bytes))
    assert world.store.orphaned_contents() == []
    assert not isinstance(rally.add_content(content(b"hello")), Rejected)


class Slow(io.BytesIO):
    """A file that takes its time, and counts how often it is read."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Wait a little."""
        self.reads += 1
        time.sleep(0.02)
        return super().read(size)


def test_an_upload_that_is_given_up_lets_go_of_its_file(world: World, connect: Callable[..., RallyAdapter]) -> None:
    """Its thread may still be alive; the file may be closed, or sent anew, and nothing is mixed up."""
    rally = met(connect(limits=replace(HASTY, longest_exchange_s=0.3)))
    size_bytes = 100 * BLOCK_BYTES
    slow = Slow(bytes(size_bytes))
    with pytest.raises(NoAnswer, match=r"no whole answer within 0\.3 s"):
        rally.add_content(Content(slow, size_bytes))
    reads = slow.reads
    assert 1 <= reads < 100
    time.sleep(0.1)
    assert slow.reads == reads
    assert world.store.orphaned_contents() == []


UPLOADS = """
import sys, threading
from pathlib import Path
from reconciler.model import Content
from reconciler.rally import Names, RallyAdapter
from reconciler.wire import Endpoint, Limits

def peak_mb(name="VmHWM:"):
    return int(Path("/proc/self/status").read_text().partition(name)[2].split()[0]) / 1024

url, key, path, size_bytes = *sys.argv[1:4], int(sys.argv[4])
names = Names("Acme", "Web Shop")
rally = RallyAdapter(Endpoint(url), key, names, stop=threading.Event(), limits=Limits(at_once=12))
rally.allowed_verdicts()
made = []

def upload():
    with open(path, "rb") as file:
        made.append(rally.add_content(Content(file, size_bytes)))

before = peak_mb()
threads = [threading.Thread(target=upload) for _ in range(12)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(peak_mb() - before, len({one for one in made if isinstance(one, int)}))
"""


def test_twelve_uploads_at_once_take_little_memory(world: World, tmp_path: Path) -> None:
    """Of 5 MB each, 80 MB on the wire; measured: 4 MB. The peak of a process of its own."""
    size_bytes = 5_000_000
    path = tmp_path / "trace.zip"
    path.write_bytes(bytes(range(250)) * (size_bytes // 250))
    command = [sys.executable, "-c", UPLOADS, world.server.url, KEY, str(path), str(size_bytes)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    grown_mb, count = done.stdout.split()
    assert int(count) == 12
    assert {one.fields["Content"] for one in world.store.orphaned_contents()} == {path.read_bytes()}
    assert float(grown_mb) < 30
