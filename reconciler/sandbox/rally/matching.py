"""The query language: from a tree and a type to the objects that match."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from reconciler.sandbox.rally.errors import Refused
from reconciler.sandbox.rally.objects import Objects, Thing, Value, number_of, timestamp
from reconciler.sandbox.rally.query import Both, Condition, Node
from reconciler.sandbox.rally.schema import Attribute, Kind, TypeDef

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Predicate = Callable[[Thing], bool]

_COMPARISONS: dict[str, Callable[[str | float, str | float], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TEXTS = frozenset({Kind.STRING, Kind.TEXT, Kind.STATE, Kind.RATING})
_NUMBERS = frozenset({Kind.INTEGER, Kind.QUANTITY})
_REF = re.compile(r"(?:https?://[^/]+/slm/webservice/v2\.0|)/?[A-Za-z]+/\d+")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d))?")


def parse_moment(text: str) -> datetime | None:
    """Read an ISO 8601 date, with a time and a zone or with neither; None when it is not one."""
    if not _MOMENT.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Matcher:
    """Compiles queries on one type; attributes and values are checked before any object is looked at."""

    objects: Objects
    type: TypeDef

    def select(self, node: Node) -> list[Thing]:
        """Give the objects of the type that match; an index saves looking at all of them."""
        predicate = self.compile(node)
        candidates = self._candidates(node)
        among = self.objects.of_type(self.type.name) if candidates is None else candidates
        return [thing for thing in among if predicate(thing)]

    def sift(self, node: Node, among: Iterable[Thing]) -> list[Thing]:
        """Give those of these objects that match."""
        return list(filter(self.compile(node), among))

    def compile(self, node: Node) -> Predicate:
        """Make a test for one object.

        Raises:
            Refused: with Rally's `Could not parse: …`.
        """
        match node:
            case Both(left, "AND", right):
                first, second = self.compile(left), self.compile(right)
                return lambda thing: first(thing) and second(thing)
            case Both(left, _, right):
                first, second = self.compile(left), self.compile(right)
                return lambda thing: first(thing) or second(thing)
            case Condition():
                return self._compile_condition(node)

    def path(self, field: str) -> list[Attribute]:
        """Resolve a dotted name, attribute by attribute.

        Raises:
            Refused: with the text that pyral's issue 155 shows.
        """
        steps: list[Attribute] = []
        current = self.type
        for name in field.split("."):
            if steps:
                current = self.objects.schema.types.get(steps[-1].to, current)
            if name not in current.attributes or (steps and not steps[-1].to):
                raise Refused(
                    f'Could not parse: Could not find attribute "{name}" on type {current.name} '
                    f'in the query segment "{field}"'
                )
            steps.append(current.attributes[name])
        return steps

    def _compile_condition(self, condition: Condition) -> Predicate:
        steps = self.path(condition.field)
        test = self._test(steps[-1], condition)
        has_collection = any(step.kind is Kind.COLLECTION for step in steps)
        if condition.value is None and has_collection:  # (Tags.ObjectID = null): there is none
            is_null = condition.operator == "="
            return lambda thing: is_null == (not self._walk([thing], steps))
        if has_collection:
            return lambda thing: any(map(test, self._walk([thing], steps)))
        return lambda thing: test(next(iter(self._walk([thing], steps)), None))

    def _test(self, attribute: Attribute, condition: Condition) -> Callable[[Value], bool]:
        """Make a test for one value of an attribute."""
        sign, text = condition.operator, condition.value
        if text is None:
            if sign not in ("=", "!="):
                raise Refused(f'Could not parse: Unknown operator "{sign}" for null')
            return lambda value: (value is None) == (sign == "=")
        if attribute.kind in (Kind.OBJECT, Kind.COLLECTION):
            return self._test_ref(attribute, sign, text)
        return _test_scalar(attribute, sign, text)

    def _test_ref(self, attribute: Attribute, sign: str, text: str) -> Callable[[Value], bool]:
        """Make the test for an object, which is compared with a ref, or a collection, which contains one.

        A ref of another type than its object has, or to what is not there, is no object's.
        """
        allowed = ("contains", "!contains", "=") if attribute.kind is Kind.COLLECTION else ("=", "!=")
        if sign not in allowed:
            raise Refused(f'Could not parse: Unknown operator "{sign}" for {attribute.name}')
        if not _REF.fullmatch(text):
            raise Refused(f'Could not parse: Cannot parse "{text}" as a reference for {attribute.name}')
        target = self.objects.at_ref(text)
        oid = target.oid if target else -1
        return lambda value: (value == oid) != sign.startswith("!")

    def _walk(self, things: list[Thing], steps: list[Attribute]) -> list[Value]:
        """Give the values at the end of a path: several when a collection is on it, none when a ref on it is null."""
        step, *rest = steps
        if step.kind is Kind.COLLECTION:
            members = [member for thing in things for member in self.objects.collection(thing, step)]
            return self._walk(members, rest) if rest else [member.oid for member in members]
        values = [self.objects.value(thing, step.name) for thing in things]
        if not rest:
            return values
        return self._walk([thing for thing in map(self.objects.get, values) if thing], rest) if values else []

    def _candidates(self, node: Node) -> list[Thing] | None:
        """Use an index where there is one: equality on a ref, Build, Name, FormattedID or ObjectID. None = no help."""
        match node:
            case Both(left, "AND", right):
                first = self._candidates(left)
                return first if first is not None else self._candidates(right)
            case Both(left, _, right):
                first, second = self._candidates(left), self._candidates(right)
                return None if first is None or second is None else list(dict.fromkeys([*first, *second]))
            case Condition(field, "=", str() as text):
                return self._indexed(field, text)
        return None

    def _indexed(self, field: str, text: str) -> list[Thing] | None:
        name, _, rest = field.partition(".")
        attribute = self.type.attributes[name]
        if rest not in ("", "ObjectID") or not self.objects.is_indexed(self.type.name, attribute):
            return None
        if rest or name == "ObjectID" or attribute.kind is Kind.OBJECT:
            return self.objects.having(self.type.name, name, int(text.rsplit("/", 1)[-1]))
        return self.objects.having(self.type.name, name, text)


def _test_scalar(attribute: Attribute, sign: str, text: str) -> Callable[[Value], bool]:
    if sign.endswith("contains"):
        return _test_contains(attribute, sign, text)
    wanted = _wanted(attribute, text)
    compare = _COMPARISONS[sign]
    return lambda value: sign == "!=" if value is None else compare(_comparable(attribute, value), wanted)


def _test_contains(attribute: Attribute, sign: str, text: str) -> Callable[[Value], bool]:
    if attribute.kind not in _TEXTS:
        raise Refused(f'Could not parse: Unknown operator "{sign}" for {attribute.name}')
    return lambda value: (text in str(value or "")) == (sign == "contains")


def _wanted(attribute: Attribute, text: str) -> str | float:
    """Read the value of a condition as its attribute's kind."""
    if attribute.kind in _NUMBERS:
        if not re.fullmatch(r"-?\d+(\.\d+)?", text):
            raise Refused(f'Could not parse: Cannot parse "{text}" as a number for {attribute.name}')
        return float(text) if "." in text else int(text)
    if attribute.kind is Kind.BOOLEAN and text not in ("true", "false"):
        raise Refused(f'Could not parse: Cannot parse "{text}" as a boolean for {attribute.name}')
    if attribute.kind is Kind.DATE:
        moment = parse_moment(text)
        if moment is None:
            raise Refused(f'Could not parse: Cannot parse "{text}" as a date for {attribute.name}')
        return timestamp(moment)
    return number_of(text) if attribute.name == "FormattedID" else text


def _comparable(attribute: Attribute, value: Value) -> str | float:
    if attribute.name == "FormattedID":
        return number_of(str(value))
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, (int, float)) else str(value)
