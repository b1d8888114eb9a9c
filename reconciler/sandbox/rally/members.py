"""Collections that a client may change: `…/add`, `…/remove`, and whole lists in an update."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.sandbox.rally.calls import Call, Reply, Service, success
from reconciler.sandbox.rally.errors import GONE, Refused, Unknown
from reconciler.sandbox.rally.rendering import SHELL, parse_fetch
from reconciler.sandbox.rally.rules import elsewhere, require_fit, wrong_project
from reconciler.sandbox.rally.schema import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reconciler.sandbox.rally.objects import Objects, Thing
    from reconciler.sandbox.rally.schema import Attribute

_CHANGEABLE = frozenset(
    {
        ("TestSet", "TestCases"),
        ("TestCase", "TestSets"),
        ("HierarchicalRequirement", "TestCases"),
        ("Defect", "TestCases"),
        ("TestFolder", "TestCases"),
    }
)


def change(service: Service, call: Call, thing: Thing, name: str, verb: str) -> Reply:
    """Answer `POST /type/oid/Collection/add` and `…/remove`: all items, or none when one of them is wrong."""
    attribute = thing.type.attributes.get(name)
    if attribute is None or attribute.kind is not Kind.COLLECTION:
        raise Refused(f'Could not read: Could not find collection "{name}" on type {thing.type.name}')
    body = call.body
    if not isinstance(body, dict) or list(body) != ["CollectionItems"]:
        raise Refused('Could not parse: the request has no JSON element "CollectionItems"')
    members = read_members(service.store, attribute, body["CollectionItems"])
    if verb == "add":
        _add(service, call, thing, attribute, members)
    else:
        _remove(service, call, thing, attribute, members)
    fetch = parse_fetch(call.query, SHELL)
    return success("OperationResult", Results=[service.renderer.write(member, fetch) for member in members])


def read_members(objects: Objects, attribute: Attribute, raw: object) -> list[Thing]:
    """Read an array of `{"_ref": …}` objects; nothing else will do (KB 225337)."""
    if not isinstance(raw, list) or not all(isinstance(item, dict) and "_ref" in item for item in raw):
        raise Refused(f"Could not parse: {attribute.name} is not an array of objects with a _ref")
    members = [objects.at_ref(str(item["_ref"])) for item in raw]
    found = [member for member in members if member and objects.schema.is_a(member.type.name, attribute.to)]
    if len(found) < len(members):
        raise Refused(GONE)
    return found


def replace_members(service: Service, call: Call, thing: Thing, attribute: Attribute, members: list[Thing]) -> None:
    """Make these the members, and no others."""
    present = service.store.collection(thing, attribute)
    _remove(service, call, thing, attribute, [member for member in present if member not in members])
    _add(service, call, thing, attribute, [member for member in members if member not in present])


def _add(service: Service, call: Call, thing: Thing, attribute: Attribute, members: list[Thing]) -> None:
    store = service.store
    for member in members:
        own, other = store.workspace_of(thing) or 0, store.workspace_of(member) or 0
        if own != other:
            raise Refused(elsewhere(attribute.display_name, own, other))
        if attribute.via not in ("TestSets", "TestCases"):
            require_fit(store, member.type, {**member.fields, attribute.via: thing.oid})
    _require_welcome(service, thing, attribute, members)
    _hold(service, call, thing, attribute, members)
    for member in members:
        match attribute.via:
            case "TestSets":
                store.enrol(thing, member)
            case "TestCases":
                store.enrol(member, thing)
            case _:
                store.put(member, attribute.via, thing.oid)
        store.touch(member)
    store.touch(thing)


def _require_welcome(service: Service, thing: Thing, attribute: Attribute, members: list[Thing]) -> None:
    """Refuse, where told to, members of other projects and those that are there already (the wordings are ours)."""
    if attribute.via not in ("TestSets", "TestCases"):
        return
    store, behaviour = service.store, service.behaviour
    if not behaviour.foreign_members and any(store.project_of(one) != store.project_of(thing) for one in members):
        raise Refused(wrong_project(thing.type.name, attribute.name))
    present = set() if behaviour.adds_again else {one.oid for one in store.collection(thing, attribute)}
    if any(member.oid in present for member in members):
        raise Refused(f"Validation error: {thing.type.name}.{attribute.name} has duplicates")


def _remove(service: Service, call: Call, thing: Thing, attribute: Attribute, members: list[Thing]) -> None:
    store = service.store
    _hold(service, call, thing, attribute, members)
    for member in members:
        match attribute.via:
            case "TestSets":
                store.expel(thing, member)
            case "TestCases":
                store.expel(member, thing)
            case _ if member.fields.get(attribute.via) == thing.oid:
                store.put(member, attribute.via, None)
        store.touch(member)
    store.touch(thing)


def _hold(service: Service, call: Call, thing: Thing, attribute: Attribute, members: Iterable[Thing]) -> None:
    """Hold what a change of the collection changes; only then may it be made."""
    if (thing.type.name, attribute.name) not in _CHANGEABLE:
        raise Unknown(f"changing {thing.type.name}.{attribute.name}")
    for changed in (thing, *(members if attribute.via == "TestCases" else ())):
        service.conflicts.hold(changed, call.request)
