"""Iterations, what is scheduled in them, test sets and folders as Rally's calls want them and as its reads give them.

No name is ever part of a query, but for the one folder's that we choose ourselves: names hold quotes, ampersands and
brackets. Nothing is asked through `WorkProduct.Iteration`: WorkProduct is an Artifact, which has none (KB 57618).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.errors import ServiceDown
from reconciler.model import Iteration, ObjectID, TestFolder, TestSet, WorkItem
from reconciler.rally import wsapi
from reconciler.rally.schema import workspace_attribute

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from reconciler.model import Move, NewTestFolder, NewTestSet
    from reconciler.rally.schema import Attribute
    from reconciler.rally.writes import Attributes

WORK_ITEM_TYPES = ("hierarchicalrequirement", "defect")

WORK_ITEMS_FETCH = "ObjectID,Iteration,TestCases,LastUpdateDate"
TEST_SETS = wsapi.Query("testset", "ObjectID,Name,Iteration,Project,CreationDate")
FOLDERS = wsapi.Query("testfolder", "ObjectID,Name,Project,Parent,CreationDate", everywhere=True)


# --- queries ---------------------------------------------------------------------------------------------------------


def iterations_between(since: datetime, until: datetime) -> wsapi.Query:
    """Ask for the iterations whose windows touch this one."""
    begun = wsapi.term("StartDate", "<=", wsapi.write_time(until))
    not_over = wsapi.term("EndDate", ">=", wsapi.write_time(since))
    return wsapi.Query("iteration", "ObjectID,Name,StartDate,EndDate,Project", (f"({begun} AND {not_over})",))


def scheduled_in(iterations: Iterable[ObjectID]) -> list[str]:
    """Write the conditions for being scheduled in one of them."""
    return [f"(Iteration.ObjectID = {number})" for number in iterations]


def at_the_top(name: str) -> str:
    """Write the condition for a folder of this name that is in no other; raises as `wsapi.term` does."""
    return f"({wsapi.term('Name', '=', name)} AND (Parent = null))"


# --- payloads --------------------------------------------------------------------------------------------------------


def test_set_attributes(new: NewTestSet, workspace_ref: str, schema: Mapping[str, Attribute]) -> Attributes:
    """Write a TestSet's attributes; Rally has a default for ScheduleState, the last that it requires."""
    given: Attributes = {
        "Name": new.name,
        "Iteration": f"/iteration/{new.iteration}",
        "Project": f"/project/{new.project}",
    }
    return given | workspace_attribute(workspace_ref, schema)


def folder_attributes(new: NewTestFolder, workspace_ref: str, schema: Mapping[str, Attribute]) -> Attributes:
    """Write a TestFolder's attributes; it is in the same project as its parent (KB 57564)."""
    given: Attributes = {"Name": new.name, "Project": f"/project/{new.project}"}
    if new.parent is not None:
        given["Parent"] = f"/testfolder/{new.parent}"
    return given | workspace_attribute(workspace_ref, schema)


def move_attributes(move: Move) -> Attributes:
    """Write what files a test case: it sits in one folder, and leaves the one where it was."""
    return {"TestFolder": f"/testfolder/{move.folder}"}


# --- rows ------------------------------------------------------------------------------------------------------------


def read_iteration(row: wsapi.Row) -> Iteration:
    """Read an iteration; its project's name may stand in the ref or in the fetched attribute."""
    project = row.get("Project")
    named = project if isinstance(project, dict) else {}
    return Iteration(
        object_id=ObjectID(wsapi.object_id(row)),
        name=_text(row.get("Name"), "an Iteration's Name"),
        starts_at=_time(row, "StartDate"),
        ends_at=_time(row, "EndDate"),
        project_id=_ref(row, "Project"),
        project_name=_text(named.get("Name") or named.get("_refObjectName"), "an Iteration's Project's Name"),
    )


def read_work_item(type_path: str, row: wsapi.Row) -> WorkItem:
    """Read a story or a defect; its test cases are a ref with a count."""
    return WorkItem(
        object_id=ObjectID(wsapi.object_id(row)),
        type_path=type_path,
        iteration=_ref(row, "Iteration"),
        test_cases=wsapi.count(row.get("TestCases")),
        updated_at=wsapi.read_time(row.get("LastUpdateDate")),
    )


def work_product_of(row: wsapi.Row) -> ObjectID:
    """Read which story or defect a test case is of."""
    return _ref(row, "WorkProduct")


def read_test_set(row: wsapi.Row) -> TestSet:
    """Read a test set."""
    return TestSet(
        object_id=ObjectID(wsapi.object_id(row)),
        name=str(row.get("Name") or ""),
        iteration=_ref(row, "Iteration"),
        project=_ref(row, "Project"),
        created_at=_time(row, "CreationDate"),
    )


def read_folders(rows: Iterable[wsapi.Row]) -> list[TestFolder]:
    """Read folders, oldest first."""
    return [_folder(row) for row in sorted(rows, key=lambda row: (_time(row, "CreationDate"), wsapi.object_id(row)))]


def _folder(row: wsapi.Row) -> TestFolder:
    return TestFolder(
        object_id=ObjectID(wsapi.object_id(row)),
        name=str(row.get("Name") or ""),
        project=_ref(row, "Project"),
        parent=ObjectID(wsapi.ref_id(row["Parent"])) if row.get("Parent") else None,
    )


# What was asked for by an attribute, or has it always, and comes without it, is no row of ours: leaving it out would
# read as "there is none", and then a second one would be made.


def _ref(row: wsapi.Row, name: str) -> ObjectID:
    number = wsapi.ref_id(row.get(name))
    if not number:
        raise _lacks(name)
    return ObjectID(number)


def _time(row: wsapi.Row, name: str) -> datetime:
    moment = wsapi.read_time(row.get(name))
    if not moment.timestamp():
        raise _lacks(name)
    return moment


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or not value:
        raise _lacks(what)
    return value


def _lacks(what: str) -> ServiceDown:
    return ServiceDown("Rally", f"an answer to a query has a row without {what}")
