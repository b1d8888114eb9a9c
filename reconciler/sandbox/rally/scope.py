"""Which objects a request is about: workspace, project, and the projects above and below it (facts 1.6)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.sandbox.rally.errors import GONE, Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.sandbox.rally.objects import Objects, Thing


@dataclass(frozen=True, slots=True)
class Scope:
    """A workspace, and the projects in it; `projects` None = all of them."""

    workspace: int
    projects: frozenset[int] | None

    def holds(self, objects: Objects, thing: Thing) -> bool:
        """Tell whether an object is in scope; the project plays no part for types that have none."""
        if objects.workspace_of(thing) not in (self.workspace, None):
            return False
        if self.projects is None or thing.type.name == "Project" or "Project" not in thing.type.attributes:
            return True
        return objects.project_of(thing) in self.projects


def _first(query: Mapping[str, list[str]], name: str) -> str:
    return next(iter(query.get(name, ())), "")


def workspace_named(objects: Objects, query: Mapping[str, list[str]]) -> int | None:
    """Read `?workspace=`; None when it is absent."""
    ref = _first(query, "workspace")
    if not ref:
        return None
    workspace = objects.at_ref(ref)
    if workspace is None or workspace.type.name != "Workspace":
        raise Refused(GONE)
    return workspace.oid


def project_named(objects: Objects, query: Mapping[str, list[str]]) -> int | None:
    """Read `?project=`; None when it is absent or `null`."""
    ref = _first(query, "project")
    if ref in ("", "null"):
        return None
    project = objects.at_ref(ref)
    if project is None or project.type.name != "Project":
        raise Refused(GONE)
    return project.oid


def defaults_of(objects: Objects, user: Thing) -> tuple[int | None, int | None]:
    """Give the default workspace and project of a user's profile."""
    profile = objects.one(user.fields["UserProfile"])
    workspace, project = profile.fields.get("DefaultWorkspace"), profile.fields.get("DefaultProject")
    return (workspace if isinstance(workspace, int) else None), (project if isinstance(project, int) else None)


def scope_of(objects: Objects, query: Mapping[str, list[str]], user: Thing) -> Scope:
    """Read a query's scope.

    ==================  ============================================================================
    workspace absent    the key owner's default workspace (KB 118587)
    project absent      the key owner's default project, where that is in the workspace (uncertain)
    project=null        the whole workspace
    project=<digits>    nothing: a bare ObjectID is no ref, and silently matches nothing
    scope up, down      both true when absent (old Ruby client's documentation)
    ==================  ============================================================================
    """
    default_workspace, default_project = defaults_of(objects, user)
    workspace = workspace_named(objects, query) or default_workspace
    if workspace is None:
        raise Refused("Not authorized to perform action: no workspace given, and the user has no default workspace")
    text = _first(query, "project")
    if re.fullmatch(r"\d+", text):
        return Scope(workspace, frozenset())
    project = project_named(objects, query)
    if text == "" and default_project and objects.workspace_of(objects.one(default_project)) == workspace:
        project = default_project
    if project is None:
        return Scope(workspace, None)
    return Scope(workspace, frozenset(_family(objects, project, query)))


def _family(objects: Objects, project: int, query: Mapping[str, list[str]]) -> list[int]:
    family = [project]
    if _is_on(query, "projectScopeUp"):
        above = objects.one(project).fields.get("Parent")
        while isinstance(above, int):
            family.append(above)
            above = objects.one(above).fields.get("Parent")
    if _is_on(query, "projectScopeDown"):
        family += _below(objects, project)
    return family


def _below(objects: Objects, project: int) -> list[int]:
    below: list[int] = []
    for child in objects.having("Project", "Parent", project):
        below += [child.oid, *_below(objects, child.oid)]
    return below


def _is_on(query: Mapping[str, list[str]], name: str) -> bool:
    match _first(query, name).lower():
        case "" | "true":
            return True
        case "false":
            return False
    raise Refused(f"Could not parse: {name} is neither true nor false")
