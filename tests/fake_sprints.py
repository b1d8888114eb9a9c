"""The part of the fake Rally that is about sprints: what is scheduled there, test sets, and folders."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from reconciler.dispatch import GONE
from reconciler.errors import NotThere, ServiceDown
from reconciler.model import (
    FormattedID,
    Iteration,
    Move,
    NewTestFolder,
    NewTestSet,
    ObjectID,
    Rejected,
    TestCase,
    TestFolder,
    TestSet,
    WorkItem,
)
from tests.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

ROOT = ObjectID(1)
"""The root project."""
_WRONG_PROJECT = "is an invalid relationship. One or more of the artifacts is in a different project."


@dataclass(frozen=True, slots=True)
class AddMembers:
    """A request to put test cases into a set."""

    test_set: ObjectID
    test_cases: tuple[ObjectID, ...]


WantedInSprint = NewTestSet | AddMembers | NewTestFolder | Move


@dataclass(slots=True)
class FakeSprints:
    """Projects with iterations, stories and defects, test cases, test sets and folders."""

    clock: Clock = field(default_factory=Clock)
    down: bool = False
    projects: dict[ObjectID, str] = field(default_factory=lambda: {ROOT: "Web Shop"})
    beside: set[ObjectID] = field(default_factory=set)
    """Projects of the workspace that are not below the root project."""
    cases: dict[ObjectID, TestCase] = field(default_factory=dict)
    work_products: dict[ObjectID, ObjectID] = field(default_factory=dict)
    """Which story or defect a test case is of."""
    sprints: dict[ObjectID, Iteration] = field(default_factory=dict)
    items: dict[ObjectID, WorkItem] = field(default_factory=dict)
    sets: dict[ObjectID, TestSet] = field(default_factory=dict)
    enrolled: dict[ObjectID, set[ObjectID]] = field(default_factory=dict)
    """The test cases of each set."""
    folders: dict[ObjectID, TestFolder] = field(default_factory=dict)
    filed: dict[ObjectID, ObjectID] = field(default_factory=dict)
    """In which folder a test case is."""
    longest_name: int = 256
    refuses_member: Callable[[ObjectID, ObjectID], str] = lambda _set, _case: ""
    refuses_twice: bool = False
    """Whether adding a member that is one already is refused; nobody knows what Rally does."""
    _last_id: int = 9_000

    # --- what happens there ---

    def add_project(self, name: str, *, beside: bool = False) -> ObjectID:
        """Make a project, below the root one or beside it."""
        number = self._next_id()
        self.projects[number] = name
        if beside:
            self.beside.add(number)
        return number

    def add_case(
        self, formatted_id: str, name: str = "", *, project: ObjectID = ROOT, of: WorkItem | None = None
    ) -> TestCase:
        """Make a TestCase, of a story or defect or of none."""
        number = self._next_id()
        case = TestCase(number, FormattedID(formatted_id), name, project, self.clock.tick())
        self.cases[number] = case
        if of is not None:
            self.work_products[number] = of.object_id
        return case

    def add_iteration(self, name: str, starts_at: datetime, ends_at: datetime, project: ObjectID = ROOT) -> Iteration:
        """Make an iteration of a project."""
        number = self._next_id()
        self.sprints[number] = Iteration(number, name, starts_at, ends_at, project, self.projects[project])
        return self.sprints[number]

    def change_iteration(self, iteration: Iteration, **changes: Any) -> Iteration:  # noqa: ANN401 - any attribute
        """Rename an iteration, or move its window."""
        self.sprints[iteration.object_id] = replace(self.sprints[iteration.object_id], **changes)
        return self.sprints[iteration.object_id]

    def add_item(self, iteration: Iteration | None, type_path: str = "hierarchicalrequirement") -> WorkItem:
        """Make a story, or a defect, in an iteration or in the backlog."""
        return self.schedule(WorkItem(self._next_id(), type_path, ObjectID(0), None, self.clock.tick()), iteration)

    def schedule(self, item: WorkItem, iteration: Iteration | None) -> WorkItem:
        """Schedule a story or defect in another iteration, or in none."""
        number = iteration.object_id if iteration else ObjectID(0)
        self.items[item.object_id] = replace(item, iteration=number, updated_at=self.clock.tick())
        return self.items[item.object_id]

    def add_set_by_hand(self, name: str, iteration: Iteration, *cases: TestCase) -> TestSet:
        """Make a test set as a person would."""
        number = self._next_id()
        self.sets[number] = TestSet(number, name, iteration.object_id, iteration.project_id, self.clock.tick())
        self.enrolled[number] = {case.object_id for case in cases}
        return self.sets[number]

    def delete_set(self, test_set: ObjectID) -> None:
        """Move a test set to the recycle bin."""
        del self.sets[test_set]

    def members(self) -> dict[str, list[str]]:
        """Tell the sets by name with their members; a name that is there twice fails."""
        told: dict[str, list[str]] = {
            one.name: sorted(str(self.cases[case].formatted_id) for case in self.enrolled[number] & set(self.cases))
            for number, one in self.sets.items()
        }
        assert len(told) == len(self.sets), sorted(one.name for one in self.sets.values())
        return told

    def filing(self) -> dict[str, str]:
        """Tell the path of the folder in which each test case is, by FormattedID."""
        return {
            self.cases[case].formatted_id: self.path_of(folder)
            for case, folder in self.filed.items()
            if case in self.cases
        }

    def path_of(self, folder: ObjectID) -> str:
        """Tell a folder's path, its project's name first."""
        one = self.folders[folder]
        above = self.projects[one.project] if one.parent is None else self.path_of(one.parent)
        return f"{above}/{one.name}"

    # --- the port: reads ---

    def name_limit(self) -> int:
        """Give what the schema says."""
        self._read()
        return self.longest_name

    def iterations(self, since: datetime, until: datetime) -> list[Iteration]:
        """List those of the root project and below."""
        self._read()
        there = [one for one in self.sprints.values() if one.project_id not in self.beside]
        return [one for one in there if one.starts_at <= until and one.ends_at >= since]

    def work_items(self, iterations: Sequence[ObjectID]) -> list[WorkItem]:
        """List what is scheduled there, with the count of test cases."""
        self._read()
        scheduled = [item for item in self.items.values() if item.iteration in iterations]
        return [replace(item, test_cases=len(self._cases_of(item))) for item in scheduled]

    def test_cases_of(self, items: Sequence[WorkItem]) -> list[tuple[ObjectID, TestCase]]:
        """List the test cases, of whichever project."""
        self._read()
        there = [item for item in items if item.object_id in self.items]
        return [(item.object_id, case) for item in there for case in self._cases_of(item)]

    def test_sets(self, iterations: Sequence[ObjectID]) -> list[TestSet]:
        """List the oldest first."""
        self._read()
        found = [one for one in self.sets.values() if one.iteration in iterations]
        return sorted(found, key=lambda one: (one.created_at, one.object_id))

    def members_of(self, test_set: ObjectID) -> frozenset[ObjectID]:
        """List the members that are not in the recycle bin."""
        self._read()
        if test_set not in self.sets:
            raise NotThere(f"Rally: test set {test_set} is no longer there")
        return frozenset(self.enrolled[test_set] & set(self.cases))

    def folders_named(self, name: str, projects: Sequence[ObjectID]) -> list[TestFolder]:
        """List the oldest first, which have the lowest ObjectIDs."""
        self._read()
        assert '"' not in name
        return [
            one for one in self.folders.values() if one.name == name and one.parent is None and one.project in projects
        ]

    def folders_in(self, parents: Sequence[ObjectID]) -> list[TestFolder]:
        """List the oldest first, which have the lowest ObjectIDs."""
        self._read()
        return [one for one in self.folders.values() if one.parent in parents]

    # --- what a request does ---

    def carry_out_in_sprint(self, one: WantedInSprint) -> ObjectID | Rejected:
        """Write it; a set that took members answers with its ObjectID."""
        match one:
            case NewTestSet():
                return self._add_test_set(one)
            case AddMembers():
                return self._add_members(one)
            case NewTestFolder():
                return self._add_folder(one)
            case Move():
                return self._move(one)

    def _add_test_set(self, new: NewTestSet) -> ObjectID | Rejected:
        sprint = self.sprints.get(new.iteration)
        if sprint is None or new.project not in self.projects:
            return Rejected(f"Could not read: {GONE} null")
        if sprint.project_id != new.project:
            return Rejected("Could not set value for Iteration: null")
        if reason := self._wrong_name("TestSet", new.name):
            return Rejected(reason)
        number = self._next_id()
        self.sets[number] = TestSet(number, new.name, new.iteration, new.project, self.clock())
        self.enrolled[number] = set()
        return number

    def _add_members(self, new: AddMembers) -> ObjectID | Rejected:
        """All of them, or none when one is wrong."""
        if new.test_set not in self.sets:
            return Rejected("Could not read: Could not read TestSet to update.")
        if not set(new.test_cases) <= set(self.cases):
            return Rejected(f"Could not read: {GONE} null")
        for case in new.test_cases:
            if reason := self.refuses_member(new.test_set, case):
                return Rejected(reason)
        if self.refuses_twice and self.enrolled[new.test_set] & set(new.test_cases):
            return Rejected("Validation error: TestSet.TestCases has duplicates")
        self.enrolled[new.test_set].update(new.test_cases)
        return new.test_set

    def _add_folder(self, new: NewTestFolder) -> ObjectID | Rejected:
        if new.project not in self.projects or (new.parent is not None and new.parent not in self.folders):
            return Rejected(f"Could not read: {GONE} null")
        if new.parent is not None and self.folders[new.parent].project != new.project:
            return Rejected(f"Validation error: TestFolder.Children {_WRONG_PROJECT}")
        if reason := self._wrong_name("TestFolder", new.name):
            return Rejected(reason)
        number = self._next_id()
        self.folders[number] = TestFolder(number, new.name, new.project, new.parent)
        return number

    def _move(self, move: Move) -> ObjectID | Rejected:
        if move.test_case not in self.cases:
            return Rejected("Could not read: Could not read TestCase to update.")
        if move.folder not in self.folders:
            return Rejected(f"Could not read: {GONE} null")
        if self.folders[move.folder].project != self.cases[move.test_case].project_id:
            return Rejected(f"Validation error: TestFolder.TestCases {_WRONG_PROJECT}")
        self.filed[move.test_case] = move.folder
        self.cases[move.test_case] = replace(self.cases[move.test_case], updated_at=self.clock.tick())
        return move.test_case

    def _wrong_name(self, type_name: str, name: str) -> str:
        what = f"Validation error: {type_name}.Name"
        if not name:
            return f"{what} should not be null"
        if len(name.encode("utf-16-le")) // 2 > self.longest_name:  # Rally is Java
            return (
                f"Validation error: {type_name}.Name length is greater than the maximum length of {self.longest_name}"
            )
        return ""

    # --- beneath ---

    def _cases_of(self, item: WorkItem) -> list[TestCase]:
        return [case for number, case in self.cases.items() if self.work_products.get(number) == item.object_id]

    def _next_id(self) -> ObjectID:
        self._last_id += 1
        return ObjectID(self._last_id)

    def _read(self) -> None:
        if self.down:
            raise ServiceDown("Rally", "no answer")
