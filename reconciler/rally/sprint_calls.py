"""The port's calls about sprints."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from reconciler.errors import NotThere
from reconciler.model import ObjectID, Rejected
from reconciler.rally import sprints, writes, wsapi

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from reconciler.model import (
        Iteration,
        Move,
        NewTestFolder,
        NewTestSet,
        TestCase,
        TestFolder,
        TestSet,
        WorkItem,
    )
    from reconciler.rally.contact import Contact
    from reconciler.rally.test_cases import TestCaseRows

_USUAL_NAME_LIMIT = 256
"""Of a plain string, as Rally's clients have it; for workspaces whose schema names none."""


class SprintCalls:
    """Iterations, stories, test sets and folders; a part of the adapter."""

    def __init__(self, contact: Contact, test_cases: TestCaseRows) -> None:
        """Nothing is sent yet."""
        self._contact = contact
        self._test_cases = test_cases

    def name_limit(self) -> int:
        """Give the lower of the schema's lengths for a set's and a folder's name."""
        known = self._contact.known()
        named = [attributes["Name"] for attributes in (known.test_set, known.folder) if "Name" in attributes]
        return min((one.max_length for one in named if one.max_length), default=_USUAL_NAME_LIMIT)

    # --- reads -------------------------------------------------------------------------------------------------------

    def iterations(self, since: datetime, until: datetime) -> list[Iteration]:
        """Ask by dates alone; Rally has moved them to the borders of days in the workspace's time zone."""
        return [sprints.read_iteration(row) for row in self._contact.rows(sprints.iterations_between(since, until))]

    def work_items(self, iterations: Sequence[ObjectID]) -> list[WorkItem]:
        """Ask for stories and for defects, up to 25 iterations at once."""
        terms = sprints.scheduled_in(iterations)
        found = [
            sprints.read_work_item(type_path, row)
            for type_path in sprints.WORK_ITEM_TYPES
            for row in self._contact.in_chunks(wsapi.Query(type_path, sprints.WORK_ITEMS_FETCH), terms)
        ]
        return [item for item in found if item.iteration in iterations]

    def test_cases_of(self, items: Sequence[WorkItem]) -> list[tuple[ObjectID, TestCase]]:
        """Ask by WorkProduct, with refs (pyral #202), in the whole workspace: a story's cases may be of any project."""
        terms = [wsapi.term("WorkProduct", "=", item.ref) for item in items]
        query = wsapi.Query("testcase", f"{self._test_cases.fetch},WorkProduct", everywhere=True)
        known = {item.object_id for item in items}
        found = [(sprints.work_product_of(row), row) for row in self._contact.in_chunks(query, terms)]
        return [(item, self._test_cases.read(row)) for item, row in found if item in known]

    def test_sets(self, iterations: Sequence[ObjectID]) -> list[TestSet]:
        """Ask for up to 25 iterations at once, by ObjectID: names change."""
        rows = self._contact.in_chunks(sprints.TEST_SETS, sprints.scheduled_in(iterations))
        found = [test_set for test_set in map(sprints.read_test_set, rows) if test_set.iteration in iterations]
        return sorted(found, key=lambda test_set: (test_set.created_at, test_set.object_id))

    def members_of(self, test_set: ObjectID) -> frozenset[ObjectID]:
        """Read the set's own collection, 2,000 ObjectIDs a page."""
        url_of = partial(self._contact.place.members_url, test_set)
        rows = self._contact.members("the test cases of a test set", ("testset", test_set), url_of)
        if rows is None:
            raise NotThere(f"Rally: test set {test_set} is no longer there")
        return frozenset(ObjectID(wsapi.object_id(row)) for row in rows)

    def folders_named(self, name: str, projects: Sequence[ObjectID]) -> list[TestFolder]:
        """Ask once for the whole workspace, and pick the projects from that."""
        if not projects:
            return []
        found = sprints.read_folders(self._contact.rows(replace(sprints.FOLDERS, terms=(sprints.at_the_top(name),))))
        return [one for one in found if one.project in projects and one.parent is None and one.name == name]

    def folders_in(self, parents: Sequence[ObjectID]) -> list[TestFolder]:
        """Ask for up to 25 parents at once."""
        terms = [f"(Parent.ObjectID = {number})" for number in parents]
        found = sprints.read_folders(self._contact.in_chunks(sprints.FOLDERS, terms))
        return [one for one in found if one.parent in parents]

    # --- writes ------------------------------------------------------------------------------------------------------

    def add_test_set(self, new: NewTestSet) -> ObjectID | Rejected:
        """Create one TestSet, with its project in the URL too."""
        known = self._contact.known()
        given = sprints.test_set_attributes(new, known.place.workspace_ref, known.test_set)
        body = writes.single("TestSet", given)
        return self._contact.writes.create(known.place, "TestSet", body, new.project)

    def add_members(self, test_set: ObjectID, test_cases: Sequence[ObjectID]) -> Rejected | None:
        """Add them; what is in the set besides stays. One wrong ref, and Rally adds none."""
        refs = [f"/testcase/{one}" for one in test_cases]
        return self._contact.writes.add_to(self._contact.place, f"testset/{test_set}/TestCases", refs)

    def add_folder(self, new: NewTestFolder) -> ObjectID | Rejected:
        """Create one TestFolder, with its project in the URL too."""
        known = self._contact.known()
        given = sprints.folder_attributes(new, known.place.workspace_ref, known.folder)
        body = writes.single("TestFolder", given)
        return self._contact.writes.create(known.place, "TestFolder", body, new.project)

    def move_test_cases(self, moves: Sequence[Move]) -> list[ObjectID | Rejected]:
        """Change the test cases' one folder with one `/batch`."""
        changes = [(move.test_case, sprints.move_attributes(move)) for move in moves]
        return self._contact.writes.change_all(self._contact.place, "TestCase", changes)

    def move_test_case(self, move: Move) -> ObjectID | Rejected:
        """Change one test case's folder."""
        given = sprints.move_attributes(move)
        return self._contact.writes.change(self._contact.place, "TestCase", move.test_case, given)
