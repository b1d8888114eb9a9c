"""Queries, single objects and collections."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

from reconciler.sandbox.rally.calls import Call, Reply, Service, success
from reconciler.sandbox.rally.errors import Refused
from reconciler.sandbox.rally.matching import Matcher
from reconciler.sandbox.rally.query import parse
from reconciler.sandbox.rally.rendering import EVERYTHING, SHELL, parse_fetch
from reconciler.sandbox.rally.schema import Kind
from reconciler.sandbox.rally.scope import scope_of

if TYPE_CHECKING:
    from reconciler.sandbox.rally.objects import Thing, Value
    from reconciler.sandbox.rally.schema import TypeDef

DEFAULT_PAGE = 20
MAX_PAGE = 2000
"""KB 47778; no source says what becomes of a larger one, so here it is refused."""


def query(service: Service, call: Call, entry: TypeDef) -> Reply:
    """Answer `GET /type?query=…`."""
    store = service.store
    matcher = Matcher(store, entry)
    scope = scope_of(store, call.query, call.user)
    text = call.first("query").strip()
    if not entry.queryable:
        found: list[Thing] = []
    elif text:
        found = matcher.select(parse(text))
    else:
        found = list(store.of_type(entry.name))
    in_scope = [thing for thing in found if scope.holds(store, thing)]
    return _page(service, call, _sorted(service, call, matcher, in_scope))


def collection(service: Service, call: Call, thing: Thing, name: str) -> Reply:
    """Answer `GET /type/oid/Collection`; the scope plays no part in it."""
    attribute = thing.type.attributes.get(name)
    if attribute is None or attribute.kind is not Kind.COLLECTION:
        raise Refused(f'Could not read: Could not find collection "{name}" on type {thing.type.name}')
    store = service.store
    members = store.collection(thing, attribute)
    matcher = Matcher(store, store.schema.types[attribute.to])
    text = call.first("query").strip()
    if text:
        members = matcher.sift(parse(text), members)
    return _page(service, call, _sorted(service, call, matcher, members))


def read(service: Service, call: Call, thing: Thing) -> Reply:
    """Answer `GET /type/oid`: the root is the type's name, and without `fetch` everything is given."""
    fetch = parse_fetch(call.query, EVERYTHING)
    document = service.renderer.write(thing, fetch)
    return Reply(thing.type.name, {**document, "Errors": [], "Warnings": []})


def _page(service: Service, call: Call, things: list[Thing]) -> Reply:
    start = _number(call, "start", 1)
    size = _number(call, "pagesize", DEFAULT_PAGE)
    if size > MAX_PAGE:
        raise Refused(f"Could not parse: pagesize {size} is greater than the maximum of {MAX_PAGE}")
    fetch = parse_fetch(call.query, SHELL)
    page = things[start - 1 : start - 1 + size]
    return success(
        "QueryResult",
        TotalResultCount=len(things),
        StartIndex=start,
        PageSize=size,
        Results=[service.renderer.write(thing, fetch) for thing in page],
    )


def _number(call: Call, name: str, default: int) -> int:
    text = call.first(name)
    if not text:
        return default
    if not re.fullmatch(r"\d{1,9}", text) or int(text) < 1:
        raise Refused(f'Could not parse: {name} "{text}" is not a number from 1')
    return int(text)


def _sorted(service: Service, call: Call, matcher: Matcher, things: list[Thing]) -> list[Thing]:
    """Sort as `order` says; what it does not tell apart comes by ObjectID, or in any order when that is asked for."""
    ordered = sorted(things, key=lambda thing: thing.oid)
    if service.behaviour.unstable_order:
        random.Random(call.request).shuffle(ordered)
    terms = [term.strip() for term in call.first("order").split(",") if term.strip()]
    for term in reversed(terms):
        match = re.fullmatch(r"([\w.]+)(?:\s+(ASC|DESC))?", term, re.IGNORECASE)
        if match is None:
            raise Refused(f'Could not parse: cannot order by "{term}"')
        names = [step.name for step in matcher.path(match[1])]
        ordered.sort(
            key=lambda thing, names=names: _sort_key(service, thing, names),  # type: ignore[misc]  # bound per term
            reverse=(match[2] or "").upper() == "DESC",
        )
    return ordered


def _sort_key(service: Service, thing: Thing, names: list[str]) -> tuple[bool, float, str]:
    target: Thing | None = thing
    value: Value = None
    for name in names:
        value = service.store.value(target, name) if target else None
        target = service.store.get(value)
    if isinstance(value, (int, float)):
        return True, float(value), ""
    return value is not None, 0.0, "" if value is None else str(value)
