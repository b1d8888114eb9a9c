"""Creating, changing and deleting objects."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from reconciler.sandbox.rally.calls import Call, Reply, Service, success
from reconciler.sandbox.rally.errors import Refused
from reconciler.sandbox.rally.members import read_members, replace_members
from reconciler.sandbox.rally.objects import timestamp
from reconciler.sandbox.rally.rendering import EVERYTHING, parse_fetch
from reconciler.sandbox.rally.rules import (
    attached_to,
    parents_of,
    require_all,
    require_fit,
    require_one_workspace,
    require_size,
)
from reconciler.sandbox.rally.schema import Attribute, Kind, TypeDef
from reconciler.sandbox.rally.scope import defaults_of, project_named, workspace_named
from reconciler.sandbox.rally.store import border
from reconciler.sandbox.rally.values import read_ref, read_value

if TYPE_CHECKING:
    from reconciler.sandbox.rally.objects import Thing, Value

_NEED_WORKSPACE = frozenset({"Attachment", "AttachmentContent"})  # KB 47770


@dataclass(slots=True)
class _Payload:
    """A request's JSON, read: what is to be set, and what was ignored."""

    fields: dict[str, Value] = field(default_factory=dict)
    collections: list[tuple[Attribute, list[Thing]]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def create(service: Service, call: Call, entry: TypeDef) -> Reply:
    """Answer `POST /type/create`."""
    if not entry.creatable:
        raise Refused(f"Not authorized to create: {entry.name}")
    element = _element(call, entry)
    workspace = _workspace_for(service, call, entry, element)
    payload = _read_payload(service, entry, element, workspace)
    fields = _complete(service, call, entry, payload, workspace)
    _check(service, call, entry, fields, workspace)
    parents = _hold_parents(service, call, entry, fields)
    if entry.prefix:
        fields["FormattedID"] = service.store.next_formatted_id(workspace, entry.name)
    thing = service.store.insert(entry.name, fields)
    try:
        for attribute, members in payload.collections:
            replace_members(service, call, thing, attribute, members)
    except Refused:
        service.store.discard(thing)
        raise
    for parent in parents:
        service.store.touch(parent)
    written = service.renderer.write(thing, parse_fetch(call.query, EVERYTHING))
    return success("CreateResult", warnings=payload.warnings, created=1, Object=written)


def _hold_parents(service: Service, call: Call, entry: TypeDef, fields: dict[str, Value]) -> list[Thing]:
    """Take what a create changes besides; what it only attaches to is taken when that is asked for."""
    parents = parents_of(service.store, entry, fields)
    test_set = service.store.get(fields.get("TestSet")) if entry.name == "TestCaseResult" else None
    if test_set is not None and service.behaviour.results_change_sets:
        parents.append(test_set)
    for parent in parents:
        service.conflicts.hold(parent, call.request)
    target = attached_to(service.store, entry, fields)
    if target is not None and service.behaviour.attachments_conflict:
        service.conflicts.hold(target, call.request)
    elif target is not None:
        service.conflicts.meet(target)
    return parents


def update(service: Service, call: Call, thing: Thing) -> Reply:
    """Answer `POST /type/oid`."""
    store, entry = service.store, thing.type
    if not entry.creatable:
        raise Refused(f"Not authorized to update: {entry.name}")
    workspace = store.workspace_of(thing) or 0
    payload = _read_payload(service, entry, _element(call, entry), workspace)
    if payload.fields.pop("Workspace", None) is not None:
        payload.warnings.append(_ignored(entry, "Workspace"))
    merged = {**thing.fields, **payload.fields}
    _check(service, call, entry, merged, workspace)
    for changed in (thing, *parents_of(store, entry, payload.fields)):
        service.conflicts.hold(changed, call.request)
    _move_borders(service, entry, payload.fields, workspace)
    for attribute, members in payload.collections:
        replace_members(service, call, thing, attribute, members)
    for name, value in payload.fields.items():
        store.put(thing, name, value)
    store.touch(thing)
    written = service.renderer.write(thing, parse_fetch(call.query, EVERYTHING))
    return success("OperationResult", warnings=payload.warnings, Object=written)


def delete(service: Service, call: Call, thing: Thing) -> Reply:
    """Answer `DELETE /type/oid`."""
    if not thing.type.creatable:
        raise Refused(f"Not authorized to delete: {thing.type.name}")
    _require_editor(service, call, thing.type, service.store.project_of(thing), "delete")
    service.conflicts.hold(thing, call.request)
    service.store.discard(thing)
    return success("OperationResult")


def _element(call: Call, entry: TypeDef) -> dict[str, object]:
    """Take the one JSON element that is named as the type is, in whatever case (the refusal's wording is ours)."""
    if isinstance(call.body, dict) and len(call.body) == 1:
        [(name, element)] = call.body.items()
        if str(name).lower() == entry.path and isinstance(element, dict):
            return element
    raise Refused(f'Could not parse: the request has no JSON element "{entry.name}"')


def _workspace_for(service: Service, call: Call, entry: TypeDef, element: dict[str, object]) -> int:
    """Choose the workspace: the payload's, else the parameter's, else the key owner's default (KB 118587, 47770)."""
    store = service.store
    named = read_ref(store, entry.attributes["Workspace"], element.get("Workspace"))
    named = named or workspace_named(store, call.query)
    if named is None and entry.name in _NEED_WORKSPACE:
        raise Refused(f"Not authorized to create {entry.name}")
    default, _ = defaults_of(store, call.user)
    if named is None and default is None:
        raise Refused(f"Not authorized to create: {entry.name}")
    return named or default or 0


def _read_payload(service: Service, entry: TypeDef, element: dict[str, object], workspace: int) -> _Payload:
    store, payload = service.store, _Payload()
    for name, raw in element.items():
        attribute = entry.attributes.get(name)
        if name.startswith("_"):
            continue
        if attribute is None or attribute.read_only:
            payload.warnings.append(_ignored(entry, name))
        elif attribute.kind is Kind.COLLECTION:
            payload.collections.append((attribute, read_members(store, attribute, raw)))
        elif attribute.kind is Kind.OBJECT:
            payload.fields[name] = read_ref(store, attribute, raw)
        else:
            allowed = store.schema.allowed(workspace, entry.name, attribute)
            payload.fields[name] = read_value(entry, attribute, raw, allowed)
            require_size(entry, name, payload.fields[name], service.behaviour.max_attachment_bytes)
    return payload


def _ignored(entry: TypeDef, name: str) -> str:
    return f"Ignored JSON element {entry.path}.{name} during processing of this request."  # KB 145540


def _complete(service: Service, call: Call, entry: TypeDef, payload: _Payload, workspace: int) -> dict[str, Value]:
    """Add to the payload what a new object gets by itself."""
    store = service.store
    defaults = {attribute.name: attribute.default for attribute in entry.attributes.values() if attribute.default}
    fields: dict[str, Value] = {**defaults, **payload.fields, "Workspace": workspace}
    fields["Subscription"] = store.subscription.oid
    if "CreatedBy" in entry.attributes:
        fields["CreatedBy"] = call.user.oid
    project = entry.attributes.get("Project")
    if project is not None and not project.read_only and fields.get("Project") is None:
        fields["Project"] = _project_for(service, call, entry, workspace)
    if entry.name == "Attachment" and entry.attributes["Size"].read_only:  # where it is not, the client says it
        fields["Size"] = _size_bytes(store.get(fields.get("Content")))
    _move_borders(service, entry, fields, workspace)
    return fields


def _size_bytes(content: Thing | None) -> int:
    data = content.fields["Content"] if content else None
    return len(data) if isinstance(data, bytes) else 0


def _project_for(service: Service, call: Call, entry: TypeDef, workspace: int) -> int:
    """Choose the project when the payload names none: the parameter's, else the key owner's default."""
    _, default = defaults_of(service.store, call.user)
    project = project_named(service.store, call.query) or default
    if project is None or service.store.workspace_of(service.store.one(project)) != workspace:
        raise Refused(f"Not authorized to create: {entry.name}")
    return project


def _move_borders(service: Service, entry: TypeDef, fields: dict[str, Value], workspace: int) -> None:
    """Move an iteration's dates to the start and end of their days in the workspace's time zone (CA-KB47866)."""
    if entry.name != "Iteration":
        return
    zone = service.store.timezone(workspace)
    for name, last in (("StartDate", False), ("EndDate", True)):
        if fields.get(name) is not None:
            day = datetime.fromisoformat(str(fields[name])).astimezone(zone).date()
            fields[name] = timestamp(border(day, zone, last=last))


def _check(service: Service, call: Call, entry: TypeDef, fields: dict[str, Value], workspace: int) -> None:
    store = service.store
    require_all(entry, fields)
    require_one_workspace(store, entry, fields, workspace)
    require_fit(store, entry, fields)
    owner = store.get(fields.get("TestCase")) if entry.name == "TestCaseResult" else None
    project = store.project_of(owner) if owner else fields.get("Project")
    _require_editor(service, call, entry, project, "create")


def _require_editor(service: Service, call: Call, entry: TypeDef, project: object, verb: str) -> None:
    if (call.user.oid, project) in service.store.viewers:
        raise Refused(f"Not authorized to {verb}: {entry.name}")  # KB 47770
