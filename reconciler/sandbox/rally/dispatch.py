"""From a path and a method to the operation, and from its outcome to the envelope that belongs to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.sandbox.rally import describing, members, reading, writing
from reconciler.sandbox.rally.calls import Call, Reply, Service, failure
from reconciler.sandbox.rally.errors import Refused, Unknown

if TYPE_CHECKING:
    from reconciler.sandbox.rally.objects import Thing
    from reconciler.sandbox.rally.schema import TypeDef

_SINGLETONS = frozenset({"User", "Subscription"})
_PARAMETERS = frozenset({"query", "fetch", "order", "start", "pagesize", "workspace", "project", "key"}) | {
    "projectScopeUp",
    "projectScopeDown",
}
"""`key` is the security token of basic authentication; pyral sends `key=None` with an API key."""


class NoSuchPath(Exception):
    """There is nothing at this path (404)."""


class WrongMethod(Exception):
    """There is something at this path, but not for this method (405)."""


def perform(service: Service, call: Call) -> Reply:
    """Carry out one operation; a refusal comes back in the envelope of what was asked.

    Raises:
        NoSuchPath, WrongMethod: these are answered by HTTP statuses.
        Unknown: Rally may have it; the stand-in does not.
    """
    require_known(call)
    entry = service.store.schema.at(call.path[0]) if call.path else None
    if entry is None:
        if len(call.path) == 3 and call.path[0].lower() == "attributedefinition":
            return describing.allowed_values(service, call)
        raise NoSuchPath
    try:
        return _operate(service, call, entry)
    except Refused as refusal:
        return failure(_root(call), str(refusal))


def require_known(call: Call) -> None:
    """Refuse query parameters that the stand-in does not know: Rally may ignore them, or not."""
    strange = sorted(set(call.query) - _PARAMETERS)
    if strange:
        raise Unknown(f"the query parameters {', '.join(strange)}")


def _operate(service: Service, call: Call, entry: TypeDef) -> Reply:
    return _read(service, call, entry) if call.method == "GET" else _write(service, call, entry)


def _read(service: Service, call: Call, entry: TypeDef) -> Reply:
    match call.path[1:]:
        case [] if entry.name in _SINGLETONS and not call.first("query"):
            return reading.read(service, call, call.user if entry.name == "User" else service.store.subscription)
        case []:
            return reading.query(service, call, entry)
        case [number]:
            return reading.read(service, call, _find(service, entry, number, "Cannot find object to read"))
        case [number, name]:
            owner = _find(service, entry, number, "Cannot find object to read")
            return reading.collection(service, call, owner, name)
    raise NoSuchPath


def _write(service: Service, call: Call, entry: TypeDef) -> Reply:
    match (call.method, *call.path[1:]):
        case ["POST" | "PUT", "create"]:
            return writing.create(service, call, entry)
        case ["POST", number]:
            return writing.update(service, call, _find(service, entry, number, _gone(entry, "update")))
        case ["DELETE", number]:
            return writing.delete(service, call, _find(service, entry, number, _gone(entry, "delete")))
        case ["POST", number, name, ("add" | "remove") as verb]:
            return members.change(service, call, _find(service, entry, number, _gone(entry, "update")), name, verb)
    raise WrongMethod


def _gone(entry: TypeDef, verb: str) -> str:
    return f"Could not read: Could not read {entry.name} to {verb}."


def _find(service: Service, entry: TypeDef, number: str, error: str) -> Thing:
    if not number.isdigit():
        raise NoSuchPath
    thing = service.store.get(int(number))
    if thing is None or thing.type.name != entry.name:
        raise Refused(error)
    return thing


def _root(call: Call) -> str:
    """Name the envelope of a failure: a read that fails is an OperationResult (facts 1.1)."""
    match (call.method, *call.path[1:]):
        case ["GET"] | ["GET", _, _]:
            return "QueryResult"
        case ["POST" | "PUT", "create"]:
            return "CreateResult"
    return "OperationResult"
