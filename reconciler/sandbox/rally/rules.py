"""What must hold between objects when one is created or changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.sandbox.rally.errors import Refused
from reconciler.sandbox.rally.schema import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.sandbox.rally.objects import Objects, Thing, Value
    from reconciler.sandbox.rally.schema import TypeDef


def require_all(entry: TypeDef, fields: Mapping[str, Value]) -> None:
    """Refuse an object that lacks a required value (no source has the wording)."""
    for attribute in entry.attributes.values():
        if attribute.required and not attribute.read_only and fields.get(attribute.name) in (None, "", b""):
            raise Refused(f"Validation error: {entry.name}.{attribute.name} should not be null")


def elsewhere(title: str, workspace: int, other: int) -> str:
    """Word the refusal of a value of another workspace, as it was recorded on a live server (facts 1.3)."""
    return (
        f"Could not set value for {title}: Cannot connect object to value, {title} value is in a different "
        f"workspace. [object workspace OID={workspace}, value workspace OID={other}]."
    )


def require_one_workspace(objects: Objects, entry: TypeDef, fields: Mapping[str, Value], workspace: int) -> None:
    """Refuse a ref into another workspace."""
    for attribute in entry.attributes.values():
        if attribute.kind is not Kind.OBJECT or attribute.name == "Workspace":
            continue
        target = objects.get(fields.get(attribute.name))
        other = objects.workspace_of(target) if target else None
        if other is not None and other != workspace:
            raise Refused(elsewhere(attribute.display_name, workspace, other))


def require_size(entry: TypeDef, name: str, value: Value, most_bytes: int) -> None:
    """Refuse binary data that is too long (no source has the wording)."""
    if isinstance(value, bytes) and len(value) > most_bytes:
        raise Refused(f"Validation error: {entry.name}.{name} is greater than the maximum of {most_bytes} bytes")


def require_fit(objects: Objects, entry: TypeDef, fields: Mapping[str, Value]) -> None:
    """Refuse what does not belong together: by type, as the table says.

    ================================  =====================================================================
    TestCaseResult.TestSet            of the test case's project, and holding the test case (facts 2.1)
    TestSet, story, defect.Iteration  of the object's own project (facts 2.2)
    TestCase.TestFolder               of the test case's project (KB 57564)
    TestFolder.Parent                 of the folder's project (KB 57564)
    TestCase.WorkProduct              a story or a defect (facts 2.3)
    Attachment                        of an artifact or of a result, not of both or none
    ================================  =====================================================================
    """
    match entry.name:
        case "TestCaseResult":
            _check_test_set(objects, fields)
        case "TestSet" | "HierarchicalRequirement" | "Defect":
            _check_project(objects, fields, "Iteration", "Could not set value for Iteration: null")
        case "TestCase":
            _check_project(objects, fields, "TestFolder", wrong_project("TestFolder", "TestCases"))
            work_product = objects.get(fields.get("WorkProduct"))
            if work_product and work_product.type.name not in ("HierarchicalRequirement", "Defect"):
                raise Refused("Could not set value for Work Product: null")
        case "TestFolder":
            _check_project(objects, fields, "Parent", wrong_project("TestFolder", "Children"))
        case "Attachment":
            if (fields.get("Artifact") is None) == (fields.get("TestCaseResult") is None):
                raise Refused("Validation error: Attachment needs either Artifact or TestCaseResult")


def wrong_project(type_name: str, collection: str) -> str:
    """Word the refusal of a folder, a parent or a test case of another project (KB 57564)."""
    return (
        f"Validation error: {type_name}.{collection} is an invalid relationship. "
        "One or more of the artifacts is in a different project."
    )


def _check_test_set(objects: Objects, fields: Mapping[str, Value]) -> None:
    test_set, test_case = objects.get(fields.get("TestSet")), objects.get(fields.get("TestCase"))
    if test_set is None or test_case is None:
        return
    same_project = objects.project_of(test_set) == objects.project_of(test_case)
    if not same_project or not objects.is_member(test_set, test_case):
        raise Refused("Could not set value for Test Set: null")


def _check_project(objects: Objects, fields: Mapping[str, Value], name: str, error: str) -> None:
    target = objects.get(fields.get(name))
    if target is not None and objects.project_of(target) != fields.get("Project"):
        raise Refused(error)


def parents_of(objects: Objects, entry: TypeDef, fields: Mapping[str, Value]) -> list[Thing]:
    """List the objects that a write changes besides its own: two such writes at once conflict (facts 1.3, 2.1)."""
    names = {"TestCaseResult": ("TestCase",), "TestCase": ("WorkProduct", "TestFolder"), "TestFolder": ("Parent",)}
    targets = [objects.get(fields.get(name)) for name in names.get(entry.name, ())]
    return [target for target in targets if target is not None]


def attached_to(objects: Objects, entry: TypeDef, fields: Mapping[str, Value]) -> Thing | None:
    """Find what a new Attachment is to hang on."""
    if entry.name != "Attachment":
        return None
    return objects.get(fields.get("TestCaseResult")) or objects.get(fields.get("Artifact"))
