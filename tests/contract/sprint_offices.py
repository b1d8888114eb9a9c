"""Two Rallys with sprints, alike from outside: the fake, and the adapter against the stand-in."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from reconciler.model import ObjectID, WorkItem
from tests.fake_sprints import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from reconciler.ports import Rally
    from reconciler.rally import RallyAdapter
    from reconciler.sandbox.rally import Thing
    from tests.fakes import FakeRally
    from tests.rally_world import World

MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
FRIDAY = datetime(2026, 12, 4, 23, 59, 59, tzinfo=UTC)
A_SECOND = timedelta(seconds=1)

ODD = "Sprint \"42\" & 'half' (1) (2) # + % \\ <b> ünï 🚀"
"""A name that breaks any query or URL it is put into as it is."""


class Office(Protocol):
    """Somewhere with a root project, and a port to it."""

    @property
    def rally(self) -> Rally:
        """The port."""

    @property
    def root(self) -> ObjectID:
        """The root project."""

    def project(self, name: str, *, beside: bool = False) -> ObjectID:
        """Make a project below the root one, or beside it."""

    def iteration(
        self, name: str = "Sprint 42", project: ObjectID | None = None, start: datetime = MONDAY, end: datetime = FRIDAY
    ) -> ObjectID:
        """Make an iteration, of the root project unless told."""

    def change_iteration(self, iteration: ObjectID, name: str, start: datetime, end: datetime) -> None:
        """Let a person change it."""

    def story(self, iteration: ObjectID | None) -> ObjectID:
        """Make a story of the root project."""

    def defect(self, iteration: ObjectID | None) -> ObjectID:
        """Make a defect of the root project."""

    def schedule(self, story: ObjectID, iteration: ObjectID | None) -> None:
        """Let a person move a story to another iteration, or out of it."""

    def case(self, formatted_id: str, of: ObjectID | None = None, project: ObjectID | None = None) -> ObjectID:
        """Make a test case, of the root project unless told."""

    def delete_case(self, formatted_id: str) -> None:
        """Let a person delete one."""

    def delete_set(self, test_set: ObjectID) -> None:
        """Let a person delete one."""

    def members(self) -> dict[str, list[str]]:
        """Tell the sets and their members."""

    def filing(self) -> dict[str, str]:
        """Tell where the test cases are that are in folders."""

    def down(self) -> AbstractContextManager[None]:
        """Take Rally away for a while."""


@dataclass(slots=True)
class FakeOffice:
    """The fake."""

    rally: FakeRally
    root: ObjectID = ROOT

    def project(self, name: str, *, beside: bool = False) -> ObjectID:
        """Tell it."""
        return self.rally.add_project(name, beside=beside)

    def iteration(
        self, name: str = "Sprint 42", project: ObjectID | None = None, start: datetime = MONDAY, end: datetime = FRIDAY
    ) -> ObjectID:
        """Tell it."""
        return self.rally.add_iteration(name, start, end, project or ROOT).object_id

    def change_iteration(self, iteration: ObjectID, name: str, start: datetime, end: datetime) -> None:
        """Tell it."""
        self.rally.change_iteration(self.rally.sprints[iteration], name=name, starts_at=start, ends_at=end)

    def story(self, iteration: ObjectID | None) -> ObjectID:
        """Tell it."""
        return self.rally.add_item(self.rally.sprints.get(iteration or ROOT)).object_id

    def defect(self, iteration: ObjectID | None) -> ObjectID:
        """Tell it."""
        return self.rally.add_item(self.rally.sprints.get(iteration or ROOT), "defect").object_id

    def schedule(self, story: ObjectID, iteration: ObjectID | None) -> None:
        """Tell it."""
        self.rally.schedule(self.rally.items[story], self.rally.sprints.get(iteration or ROOT))

    def case(self, formatted_id: str, of: ObjectID | None = None, project: ObjectID | None = None) -> ObjectID:
        """Tell it."""
        item = self.rally.items[of] if of else None
        return self.rally.add_case(formatted_id, project=project or ROOT, of=item).object_id

    def delete_case(self, formatted_id: str) -> None:
        """Tell it."""
        self.rally.delete_case(formatted_id)

    def delete_set(self, test_set: ObjectID) -> None:
        """Tell it."""
        self.rally.delete_set(test_set)

    def members(self) -> dict[str, list[str]]:
        """Ask it."""
        return self.rally.members()

    def filing(self) -> dict[str, str]:
        """Ask it."""
        return self.rally.filing()

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
    world: World

    @property
    def root(self) -> ObjectID:
        """Give the root project."""
        return ObjectID(self.world.root.oid)

    def project(self, name: str, *, beside: bool = False) -> ObjectID:
        """Put it into the store."""
        made = self.world.store.add_project(self.world.workspace, name, None if beside else self.world.root)
        return ObjectID(made.oid)

    def iteration(
        self, name: str = "Sprint 42", project: ObjectID | None = None, start: datetime = MONDAY, end: datetime = FRIDAY
    ) -> ObjectID:
        """Put it into the store."""
        return ObjectID(self.world.store.add_iteration(self._at(project), name, start, end).oid)

    def change_iteration(self, iteration: ObjectID, name: str, start: datetime, end: datetime) -> None:
        """Change it in the store."""
        one = self.world.store.one(iteration)
        self.world.store.change(one, Name=name)
        self.world.store.reschedule(one, start, end)

    def story(self, iteration: ObjectID | None) -> ObjectID:
        """Put it into the store."""
        where = self.world.store.get(iteration)
        return ObjectID(self.world.store.add_story(self.world.root, "As a buyer", where).oid)

    def defect(self, iteration: ObjectID | None) -> ObjectID:
        """Put it into the store."""
        where = self.world.store.get(iteration)
        return ObjectID(self.world.store.add_defect(self.world.root, "It breaks", where).oid)

    def schedule(self, story: ObjectID, iteration: ObjectID | None) -> None:
        """Change it in the store."""
        self.world.store.change(self.world.store.one(story), Iteration=iteration)

    def case(self, formatted_id: str, of: ObjectID | None = None, project: ObjectID | None = None) -> ObjectID:
        """Put it into the store."""
        of_what = self.world.store.get(of)
        made = self.world.store.add_test_case(self._at(project), formatted_id, formatted_id, work_product=of_what)
        return ObjectID(made.oid)

    def delete_case(self, formatted_id: str) -> None:
        """Change the store."""
        (one,) = self.world.store.find("TestCase", FormattedID=formatted_id)
        self.world.store.delete(one)

    def delete_set(self, test_set: ObjectID) -> None:
        """Change the store."""
        self.world.store.delete(self.world.store.one(test_set))

    def members(self) -> dict[str, list[str]]:
        """Look into the store."""
        store = self.world.store
        return {one.name: sorted(store.members(one)) for one in store.find("TestSet")}

    def filing(self) -> dict[str, str]:
        """Look into the store."""
        cases = self.world.store.find("TestCase")
        return {
            case.formatted_id: self._path(self.world.store.one(case.fields["TestFolder"]))
            for case in cases
            if case.fields.get("TestFolder")
        }

    def _path(self, folder: Thing) -> str:
        above = self.world.store.get(folder.fields.get("Parent"))
        project = self.world.store.one(folder.fields["Project"])
        return f"{self._path(above) if above else project.name}/{folder.name}"

    def _at(self, project: ObjectID | None) -> Thing:
        return self.world.store.one(project) if project else self.world.root

    @contextmanager
    def down(self) -> Iterator[None]:
        """Refuse connections."""
        with self.world.server.refusing():
            yield


def item(story: ObjectID, type_path: str = "hierarchicalrequirement") -> WorkItem:
    """Name a story as the port wants it."""
    return WorkItem(story, type_path, ObjectID(0), None, MONDAY)
