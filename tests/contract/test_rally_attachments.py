"""Attachments as the port Rally promises them: by the fake, and by the adapter against the stand-in."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from reconciler.errors import (
    Incomplete,
    NotDone,
    ServiceDown,
)
from reconciler.model import (
    Build,
    FormattedID,
    FoundAttachment,
    Key,
    ObjectID,
    PipelineId,
    ProjectId,
    Rejected,
    TestCaseResult,
)
from tests.contract.unhurried import IMPATIENT, met
from tests.fakes import FakeRally
from tests.rally_world import NOON, World, content, log_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from reconciler.ports import Rally
    from reconciler.rally import RallyAdapter


class Office(Protocol):
    """Somewhere with one result, and a port to it."""

    rally: Rally
    result: ObjectID

    def attached(self) -> list[tuple[str, bytes]]:
        """Tell what is attached to the result."""

    def orphans(self) -> list[bytes]:
        """Tell the contents without an attachment."""

    def down(self) -> AbstractContextManager[None]:
        """Take Rally away for a while."""


@dataclass(slots=True)
class FakeOffice:
    """The fake."""

    rally: FakeRally
    result: ObjectID

    def attached(self) -> list[tuple[str, bytes]]:
        """Ask it."""
        return next(iter(self.rally.attachments().values()), [])

    def orphans(self) -> list[bytes]:
        """Ask it."""
        return self.rally.orphans()

    @contextmanager
    def down(self) -> Iterator[None]:
        """Tell it."""
        self.rally.down = True
        yield
        self.rally.down = False


@dataclass(slots=True)
class RealOffice:
    """The adapter, and the stand-in's store."""

    rally: RallyAdapter
    result: ObjectID
    world: World

    def attached(self) -> list[tuple[str, bytes]]:
        """Look into the store."""
        [stored] = self.world.store.results()
        attachments: Any = stored["Attachments"]
        assert all(one["Size"] == len(one["Content"]) for one in attachments)
        return sorted((one["Name"], one["Content"]) for one in attachments)

    def orphans(self) -> list[bytes]:
        """Look into the store."""
        return [bytes(one.fields["Content"]) for one in self.world.store.orphaned_contents()]  # type: ignore[arg-type]  # bytes

    @contextmanager
    def down(self) -> Iterator[None]:
        """Refuse connections."""
        with self.world.server.refusing():
            yield


@pytest.fixture(params=["fake", "adapter"])
def office(request: pytest.FixtureRequest) -> FakeOffice | RealOffice:
    """Make both, one after the other."""
    if request.param == "adapter":
        hasty = met(request.getfixturevalue("connect")(limits=IMPATIENT))
        return RealOffice(hasty, request.getfixturevalue("result"), request.getfixturevalue("world"))
    rally = FakeRally()
    case = rally.add_case("TC1")
    key = Key(ProjectId(21), PipelineId(1001), FormattedID("TC1"), 1)
    [made] = rally.add_results(
        [TestCaseResult(key, Build("GitLab-1001"), case.object_id, "Pass", NOON, 1.0, f"<div>{key}</div>")]
    )
    assert not isinstance(made, Rejected)
    return FakeOffice(rally, made)


def test_an_attachment_is_a_content_and_a_name_on_a_result(office: Office) -> None:
    """One by one, or many at once; what was put there is found by the result."""
    assert office.rally.attachments_of(office.result) == []
    alone = office.rally.add_content(content(b"hello"))
    first, second = office.rally.add_contents([content(b"\x00\xff"), content(b"more")])
    assert office.orphans() == [b"hello", b"\x00\xff", b"more"]
    made = office.rally.add_attachment(log_of(office.result, alone))
    others = office.rally.add_attachments(
        [log_of(office.result, first, "ünï “q” \"'\\<&>.png", 2), log_of(office.result, second, "a.log", 4)]
    )
    assert office.attached() == [("a.log", b"hello"), ("a.log", b"more"), ("ünï “q” \"'\\<&>.png", b"\x00\xff")]
    assert office.orphans() == []
    found = office.rally.attachments_of(office.result)
    assert sorted(found, key=lambda one: one.object_id) == [
        FoundAttachment(made, "a.log", 5),  # type: ignore[arg-type]  # ids, or the line would differ
        FoundAttachment(others[0], "ünï “q” \"'\\<&>.png", 2),  # type: ignore[arg-type]  # as above
        FoundAttachment(others[1], "a.log", 4),  # type: ignore[arg-type]  # as above
    ]
    assert [office.rally.content_of(one) for one in found if one.name == "a.log"] in (
        [b"hello", b"more"],
        [b"more", b"hello"],
    )


def test_results_tell_how_many_attachments_they_have(office: Office) -> None:
    """One request for all of them."""
    assert [one.attachments for one in office.rally.results_of([Build("GitLab-1001")])] == [0]
    stored = office.rally.add_contents([content(b"hello"), content(b"hello")])
    office.rally.add_attachments([log_of(office.result, one) for one in stored])
    assert [one.attachments for one in office.rally.results_of([Build("GitLab-1001")])] == [2]


def test_a_result_that_rally_does_not_have_has_no_attachments(office: Office) -> None:
    """And none can be made; the same with a content that is not there."""
    stored = office.rally.add_content(content(b"hello"))
    assert office.rally.attachments_of(ObjectID(4711)) == []
    for lost in (log_of(ObjectID(4711), stored), log_of(office.result, 4711)):
        refused = office.rally.add_attachment(lost)
        assert isinstance(refused, Rejected)
        assert "Could not read referenced object" in refused.reason
        assert not refused.conflict
    assert office.attached() == []


def test_what_has_no_bytes_name_or_type_is_refused(office: Office) -> None:
    """Each by itself: the others of the batch are created."""
    good, empty = office.rally.add_contents([content(b"hello"), content(b"")])
    assert isinstance(empty, Rejected)
    assert isinstance(office.rally.add_content(content(b"")), Rejected)
    whole = log_of(office.result, good)
    nameless, typeless, made = office.rally.add_attachments(
        [replace(whole, name=""), replace(whole, content_type=""), whole]
    )
    assert isinstance(nameless, Rejected)
    assert isinstance(typeless, Rejected)
    assert not isinstance(made, Rejected)
    assert office.attached() == [("a.log", b"hello")]


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("what", ["closed", "shorter", "longer"])
def test_a_file_that_is_not_what_it_was_said_to_be_is_not_sent(
    office: Office,
    what: str,
    alone: bool,  # noqa: FBT001 - a table's column
) -> None:
    """Nothing is claimed of it; another time it may be whole."""
    bad = content(b"hello")
    if what == "closed":
        bad.file.close()
    else:
        bad = replace(bad, size_bytes=6 if what == "shorter" else 4)
    with pytest.raises(Incomplete):
        _ = office.rally.add_content(bad) if alone else office.rally.add_contents([content(b"x"), bad])
    assert office.orphans() == []


def test_a_file_is_sent_from_its_beginning_however_often(office: Office) -> None:
    """Wherever it stands."""
    again = content(b"hello")
    again.file.seek(3)
    for _ in range(2):
        office.rally.add_content(again)
        office.rally.add_contents([again])
    assert office.orphans() == [b"hello"] * 4


def test_rally_being_away_is_not_an_empty_answer(office: Office) -> None:
    """Reads raise, creates were not done."""
    with office.down():
        with pytest.raises(ServiceDown):
            office.rally.attachments_of(office.result)
        with pytest.raises(ServiceDown):
            office.rally.content_of(FoundAttachment(ObjectID(1), "a.log", 5))
        with pytest.raises(NotDone):
            office.rally.add_content(content(b"hello"))
        with pytest.raises(NotDone):
            office.rally.add_attachments([log_of(office.result, 1)])
    assert office.orphans() == []
