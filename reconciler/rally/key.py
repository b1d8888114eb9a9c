"""Whose API key it is, and what that user may do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.errors import ServiceDown
from reconciler.model import KeyOwner, ObjectID, ProjectRole
from reconciler.rally import wsapi
from reconciler.wire import date_of

if TYPE_CHECKING:
    from reconciler.rally.contact import Contact
    from reconciler.wire import Answer


def read_owner(answer: Answer) -> KeyOwner:
    """Read `GET /user` without a query: the key's owner (facts 1.2), as `User` or as the only row of a QueryResult."""
    user = _user(answer.document)
    number = wsapi.object_id(user)
    if not number:
        raise ServiceDown("Rally", "an answer about the key's owner that cannot be read")
    name = str(user.get("UserName") or user.get("_refObjectName") or number)
    return KeyOwner(ObjectID(number), name, user.get("SubscriptionAdmin") is True, date_of(answer.response))


def _user(document: object) -> wsapi.Row:
    if isinstance(document, dict) and isinstance(document.get("User"), dict):
        found: wsapi.Row = document["User"]
        return found
    _, result = wsapi.envelope(document)
    if errors := wsapi.errors_of(result):
        raise wsapi.refused(errors)
    rows: Any = result.get("Results")
    return rows[0] if isinstance(rows, list) and rows and isinstance(rows[0], dict) else {}


def roles(contact: Contact, owner: KeyOwner) -> list[ProjectRole]:
    """Look the owner up in ProjectPermission, for the root project and those below it, the root first.

    Its Role is Viewer, Editor or Admin, and Editor is what it takes to change anything (KB 111601). Whether it has rows
    for administrators of a workspace, no source says.
    """
    asked = wsapi.Query("projectpermission", "Role,Project", (f"(User.ObjectID = {owner.object_id})",), everywhere=True)
    known = {wsapi.ref_id(row.get("Project")): str(row.get("Role") or "") for row in contact.rows(asked)}
    rows = wsapi.read_all("project", contact.place.projects_url, contact.read)
    root = contact.place.project
    names = {wsapi.object_id(row): str(row.get("Name") or row.get("_refObjectName") or "") for row in rows}
    family = _family(root, {wsapi.object_id(row): wsapi.ref_id(row.get("Parent")) for row in rows})
    return [ProjectRole(names.get(one, ""), known.get(one, ""), one == root) for one in family]


def _family(root: int, parents: dict[int, int]) -> list[int]:
    """List a project and those below it, whatever circles the answer may have."""
    family = [root]
    for one in family:
        family += [child for child, parent in parents.items() if parent == one and child not in family]
    return family
