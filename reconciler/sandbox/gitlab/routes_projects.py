"""Routes about the instance, the token, projects and groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.sandbox.gitlab import entities
from reconciler.sandbox.gitlab.calls import Call, Route, not_found, refuse
from reconciler.sandbox.gitlab.paging import keyset_page
from reconciler.sandbox.gitlab.params import PAGING, Param, truth, whole_number
from reconciler.sandbox.messages import Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.sandbox.gitlab.records import Project


def version(call: Call) -> Response:
    """Tell the version (doc/api/version.md, doc/api/metadata.md)."""
    return Response.json(entities.version_json(call.instance))


def token_itself(call: Call) -> Response:
    """Describe the token that asks (doc/api/personal_access_tokens.md)."""
    if call.token is None:
        refuse("401 Unauthorized", 401)
    return Response.json(entities.token_json(call.token, active=True))


def me(call: Call) -> Response:
    """Describe the token's user (doc/api/users.md)."""
    if call.user is None:
        refuse("401 Unauthorized", 401)
    return Response.json(entities.me_json(call.user, call.base))


def project(call: Call) -> Response:
    """Describe one project (doc/api/projects.md)."""
    return Response.json(entities.project_json(call.project(), call.base))


def group_projects(call: Call) -> Response:
    """List a group's projects (doc/api/groups.md)."""
    rows = _group_rows(call)
    simple = call.params["simple"]

    def write(row: Project) -> object:
        return entities.project_json(row, call.base, simple=simple)

    if call.params["pagination"] == "keyset" and call.instance.group_keyset:
        if call.params["order_by"] != "id":
            refuse("Keyset pagination is not yet available for this type of request", 405)
        page, headers = keyset_page(rows, {**call.params, **call.path}, call.url)
        response = Response.json([write(row) for row in page])
        response.headers |= headers
        return response
    return call.page(rows, write)


def _group_rows(call: Call) -> list[Project]:
    group = call.store.find_group(call.path["id"])
    if group is None:
        not_found("Group")
    rows = list(call.store.visible_projects(call.user, group))
    if not rows and (call.user is None or call.user.role is None):
        not_found("Group")
    if not call.params["include_subgroups"]:
        rows = [row for row in rows if row.group is group]
    rows = [row for row in rows if _wanted(row, call)]
    key = _ORDERS[call.params["order_by"]]
    rows.sort(key=lambda row: (key(row), row.id), reverse=call.params["sort"] == "desc")
    return rows


def _wanted(row: Project, call: Call) -> bool:
    params = call.params
    role = call.store.role_of(call.user, row) or 0
    return (
        params["archived"] in (None, row.archived)
        and params["visibility"] in (None, row.visibility)
        and (params["search"] or "").lower() in row.path.lower()
        and role >= (params["min_access_level"] or 0)
        and row.id > (params["id_after"] or 0)
        and (params["id_before"] is None or row.id < params["id_before"])
    )


_ORDERS: dict[str, Callable[[Project], Any]] = {
    "id": lambda row: row.id,
    "name": lambda row: row.name.lower(),
    "path": lambda row: row.path.rpartition("/")[2],
    "created_at": lambda row: row.created_at,
    "updated_at": lambda row: row.last_activity_at or row.created_at,
    "last_activity_at": lambda row: row.last_activity_at or row.created_at,
}

_PROJECT = {
    "statistics": Param(truth, default=False),
    "with_custom_attributes": Param(truth, default=False),
    "license": Param(truth, default=False),
}

_GROUP_PROJECTS = {
    **PAGING,
    "archived": Param(truth),
    "visibility": Param(str, values=("private", "internal", "public")),
    "search": Param(str),
    "order_by": Param(str, "created_at", tuple(_ORDERS)),
    "sort": Param(str, "desc", ("asc", "desc")),
    "simple": Param(truth, default=False),
    "include_subgroups": Param(truth, default=False),
    "min_access_level": Param(whole_number, values=("10", "15", "20", "30", "40", "50")),
    "pagination": Param(str, values=("keyset", "legacy")),
    "id_after": Param(whole_number),
    "id_before": Param(whole_number),
    "owned": Param(truth, default=False, modelled=False),
    "starred": Param(truth, default=False, modelled=False),
    "with_issues_enabled": Param(truth, default=False, modelled=False),
    "with_merge_requests_enabled": Param(truth, default=False, modelled=False),
    "with_shared": Param(truth, default=True),
    "include_ancestor_groups": Param(truth, default=False, modelled=False),
    "with_custom_attributes": Param(truth, default=False),
    "with_security_reports": Param(truth, default=False, modelled=False),
}

_ANY_READER = ("api", "read_api", "read_user")

ROUTES = (
    Route("GET", "/version", version, scopes=_ANY_READER, needs_user=True),
    Route("GET", "/metadata", version, since=(15, 2), scopes=_ANY_READER, needs_user=True),
    Route("GET", "/personal_access_tokens/self", token_itself, scopes=(), needs_user=True),
    Route("GET", "/user", me, scopes=_ANY_READER, needs_user=True),
    Route("GET", "/projects/{id}", project, _PROJECT),
    Route("GET", "/groups/{id}/projects", group_projects, _GROUP_PROJECTS),
)
