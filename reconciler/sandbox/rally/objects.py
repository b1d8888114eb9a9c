"""The objects of a stand-in Rally: their fields, what points at what, and what is in the recycle bin."""

from __future__ import annotations

import itertools
import re
import threading
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from reconciler.sandbox.rally.derived import DERIVED
from reconciler.sandbox.rally.schema import Kind, Schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from reconciler.sandbox.rally.schema import Attribute, TypeDef

Value = str | int | float | bool | bytes | None
"""A stored value; a ref is stored as the ObjectID that it points at."""

FIRST_OBJECT_ID = 52_560_000_001  # ObjectIDs are int64; clients that think of 32 bits should find out here
_REF = re.compile(r"(?:https?://[^/]+/slm/webservice/v2\.0|)/?([A-Za-z]+)/(\d+)")
_INDEXED = frozenset({"Build", "FormattedID", "Name"})


def timestamp(moment: datetime) -> str:
    """Write a moment as Rally does: UTC, milliseconds, Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(slots=True, eq=False)
class Thing:
    """One object."""

    type: TypeDef
    oid: int
    fields: dict[str, Value]
    version: int = 1
    uuid: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def ref(self) -> str:
        """The short ref: `/testcase/123`."""
        return f"/{self.type.path}/{self.oid}"

    @property
    def formatted_id(self) -> str:
        """The FormattedID, "" when the type has none."""
        return str(self.fields.get("FormattedID") or "")

    @property
    def name(self) -> str:
        """What Rally calls `_refObjectName`."""
        for attribute in ("Name", "DisplayName", "UserName", "Build"):
            if self.fields.get(attribute):
                return str(self.fields[attribute])
        return ""


class Objects:
    """All objects by ObjectID, with the indexes that queries use; call with `lock` held."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.schema = Schema()
        self.clock: Callable[[], datetime] = lambda: datetime.now(UTC)
        self._numbers = itertools.count(FIRST_OBJECT_ID)
        self._things: dict[int, Thing] = {}
        self._by_type: dict[str, dict[int, Thing]] = {}
        self._index: dict[tuple[str, str, Value], dict[int, Thing]] = {}
        self._indexable: dict[tuple[str, str], bool] = {}
        self._members: dict[int, dict[int, None]] = {}
        self._sets_of: dict[int, dict[int, None]] = {}

    # --- finding ---------------------------------------------------------------------------------------------------

    def get(self, oid: object) -> Thing | None:
        """Find an object that is not in the recycle bin."""
        return self._things.get(oid) if isinstance(oid, int) else None

    def one(self, oid: object) -> Thing:
        """Find an object that is known to be there."""
        thing = self.get(oid)
        if thing is None:
            raise LookupError(f"there is no object {oid}")
        return thing

    def at_ref(self, ref: str) -> Thing | None:
        """Find an object by its ref: `testcase/1`, `/testcase/1` or the whole URL."""
        match = _REF.fullmatch(ref)
        thing = self.get(int(match[2])) if match else None
        return thing if thing and match and thing.type.path == match[1].lower() else None

    def of_type(self, name: str) -> Iterator[Thing]:
        """List the objects of a type, and of those that inherit from it."""
        for concrete in self.schema.concrete(name):
            yield from self._by_type.get(concrete, {}).values()

    def having(self, type_name: str, attribute: str, value: Value) -> list[Thing]:
        """List the objects of a type whose value is this one; for what `is_indexed` only."""
        if attribute == "ObjectID":
            thing = self.get(value)
            return [thing] if thing and self.schema.is_a(thing.type.name, type_name) else []
        found: list[Thing] = []
        for concrete in self.schema.concrete(type_name):
            found += self._index.get((concrete, attribute, _indexed(attribute, value)), {}).values()
        return found

    def is_indexed(self, type_name: str, attribute: Attribute) -> bool:
        """Tell whether `having` can be asked about an attribute of a type."""
        key = type_name, attribute.name
        if key not in self._indexable:
            stored = not any((concrete, attribute.name) in DERIVED for concrete in self.schema.concrete(type_name))
            self._indexable[key] = stored and (attribute.kind is Kind.OBJECT or attribute.name in _INDEXED)
        return self._indexable[key] or attribute.name == "ObjectID"

    # --- values ----------------------------------------------------------------------------------------------------

    def value(self, thing: Thing, name: str) -> Value:
        """Give an attribute's value, whether it is stored or follows from other objects."""
        derive = DERIVED.get((thing.type.name, name))
        if derive is not None:
            return derive(self, thing)
        if name == "ObjectID":
            return thing.oid
        if name == "ObjectUUID":
            return thing.uuid
        return str(thing.version) if name == "VersionId" else thing.fields.get(name)

    def collection(self, thing: Thing, attribute: Attribute) -> list[Thing]:
        """List the members of a collection, in the order in which they came."""
        if not attribute.via:
            return []
        if (thing.type.name, attribute.name) == ("TestSet", "TestCases"):
            return self._all(self._members.get(thing.oid, {}))
        if (thing.type.name, attribute.name) == ("TestCase", "TestSets"):
            return self._all(self._sets_of.get(thing.oid, {}))
        return self.having(attribute.to, attribute.via, thing.oid)

    def _all(self, oids: Iterable[int]) -> list[Thing]:
        return [self._things[oid] for oid in oids if oid in self._things]

    def project_of(self, thing: Thing) -> int | None:
        """Tell in which project an object lives; None for those above projects."""
        if thing.type.name == "Project":
            return thing.oid
        project = self.value(thing, "Project") if "Project" in thing.type.attributes else None
        return project if isinstance(project, int) else None

    def workspace_of(self, thing: Thing) -> int | None:
        """Tell in which workspace an object lives; None for users, the subscription and the like."""
        if thing.type.name == "Workspace":
            return thing.oid
        workspace = thing.fields.get("Workspace")
        return workspace if isinstance(workspace, int) else None

    # --- changing --------------------------------------------------------------------------------------------------

    def insert(self, type_name: str, fields: dict[str, Value]) -> Thing:
        """Store a new object as it is, with its CreationDate."""
        thing = Thing(self.schema.types[type_name], next(self._numbers), {})
        self._things[thing.oid] = thing
        self._by_type.setdefault(type_name, {})[thing.oid] = thing
        now = timestamp(self.clock())
        fields.setdefault("CreationDate", now)
        if "LastUpdateDate" in thing.type.attributes:
            fields.setdefault("LastUpdateDate", now)
        for name, value in fields.items():
            self.put(thing, name, value)
        return thing

    def put(self, thing: Thing, name: str, value: Value) -> None:
        """Set one field."""
        old = thing.fields.get(name)
        thing.fields[name] = value
        if self.is_indexed(thing.type.name, thing.type.attributes[name]):
            self._reindex(thing, name, old, value)

    def touch(self, thing: Thing) -> None:
        """Note that an object was changed."""
        thing.version += 1
        if "LastUpdateDate" in thing.type.attributes:
            thing.fields["LastUpdateDate"] = timestamp(self.clock())

    def enrol(self, test_set: Thing, test_case: Thing) -> None:
        """Make a test case a member of a test set; once is enough."""
        self._members.setdefault(test_set.oid, {})[test_case.oid] = None
        self._sets_of.setdefault(test_case.oid, {})[test_set.oid] = None

    def expel(self, test_set: Thing, test_case: Thing) -> None:
        """End a membership; there need not be one."""
        self._members.get(test_set.oid, {}).pop(test_case.oid, None)
        self._sets_of.get(test_case.oid, {}).pop(test_set.oid, None)

    def is_member(self, test_set: Thing, test_case: Thing) -> bool:
        """Tell whether a test case is in a test set."""
        return test_case.oid in self._members.get(test_set.oid, {})

    def discard(self, thing: Thing) -> None:
        """Put an object and what hangs on it into the recycle bin: queries and refs no longer find it."""
        for dependent in self._hanging_on(thing):
            self.discard(dependent)
        self._things.pop(thing.oid, None)
        self._by_type[thing.type.name].pop(thing.oid, None)
        for name, value in thing.fields.items():
            if self.is_indexed(thing.type.name, thing.type.attributes[name]):
                self._reindex(thing, name, value, None)

    def _hanging_on(self, thing: Thing) -> list[Thing]:
        match thing.type.name:
            case "TestCase":
                hanging = self.having("TestCaseResult", "TestCase", thing.oid)
                return [*hanging, *self.having("TestCaseStep", "TestCase", thing.oid), *self._attached(thing)]
            case "TestCaseResult":
                return self.having("Attachment", "TestCaseResult", thing.oid)
            case "Attachment":  # deleting an Attachment deletes its content (KB 57532)
                content = self.get(thing.fields.get("Content"))
                return [content] if content else []
            case "HierarchicalRequirement" | "Defect":
                return self._attached(thing)
        return []

    def _attached(self, thing: Thing) -> list[Thing]:
        return self.having("Attachment", "Artifact", thing.oid)

    def _reindex(self, thing: Thing, name: str, old: Value, new: Value) -> None:
        if old is not None:
            self._index.get((thing.type.name, name, _indexed(name, old)), {}).pop(thing.oid, None)
        if new is not None:
            self._index.setdefault((thing.type.name, name, _indexed(name, new)), {})[thing.oid] = thing


def _indexed(name: str, value: Value) -> Value:
    return number_of(str(value)) if name == "FormattedID" else value


def number_of(formatted_id: str) -> str:
    """Take the digits of a FormattedID: the prefix may not take part in matching (facts 1.6), so here it does not."""
    return formatted_id.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
