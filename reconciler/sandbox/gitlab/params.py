"""Query parameters as Grape reads them: what has a wrong value is refused, what is unknown is let through."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_WHOLE = re.compile(r"[+-]?\d+")
_TRUE, _FALSE = ("true", "t", "1", "on"), ("false", "f", "0", "off")
_ISO = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?)?", re.IGNORECASE)


class WrongValue(Exception):
    """A parameter that Grape refuses; the text is what it says."""


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter of a route."""

    read: Callable[[str], Any]
    default: Any = None
    values: tuple[str, ...] = ()
    """What it may be; () = anything."""
    many: bool = False
    """Given as `name[]=a&name[]=b`, or once as `name=a`."""
    modelled: bool = True
    """False = GitLab knows it and this stand-in does not: any value but the default is refused loudly."""


def whole_number(text: str) -> int:
    """Read an integer."""
    if not _WHOLE.fullmatch(text):
        raise ValueError(text)
    return int(text)


def truth(text: str) -> bool:
    """Read a boolean (Grape's Virtus booleans)."""
    word = text.lower()
    if word not in _TRUE + _FALSE:
        raise ValueError(text)
    return word in _TRUE


def moment(text: str) -> datetime:
    """Read an ISO 8601 date or time; without a zone it is UTC.

    Stricter than Ruby's `DateTime.parse`, which would take a blank where a "+" was not percent-encoded for something
    else: here that is an error.
    """
    if not _ISO.fullmatch(text):
        raise ValueError(text)
    read = datetime.fromisoformat(text)
    return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)


PAGING: dict[str, Param] = {"page": Param(whole_number, 1), "per_page": Param(whole_number, 20)}


def read_params(
    spec: Mapping[str, Param], query: Mapping[str, list[str]], known: frozenset[str]
) -> tuple[dict[str, Any], list[str]]:
    """Read a query: values by name, defaults included, and the names that are neither in `spec` nor `known`.

    Raises:
        WrongValue: Grape would refuse one of them.
    """
    values = {name: param.default for name, param in spec.items()}
    unknown: list[str] = []
    for given, texts in query.items():
        name = given.removesuffix("[]")
        param = spec.get(name)
        if param is not None and (param.many or name == given):
            values[name] = _read(name, param, texts)
        elif given not in known:
            unknown.append(given)
    return values, unknown


def _read(name: str, param: Param, texts: list[str]) -> object:
    if param.many:
        return [_read_one(name, param, text) for text in texts]
    value = _read_one(name, param, texts[-1])  # Rack keeps the last one
    if not param.modelled and value != param.default:
        raise WrongValue(f"{name} is not modelled by this stand-in")
    return value


def _read_one(name: str, param: Param, text: str) -> object:
    if param.read is not str and not text:
        return param.default
    try:
        value = param.read(text)
    except ValueError:
        raise WrongValue(f"{name} is invalid") from None
    if param.values and text not in param.values:
        raise WrongValue(f"{name} does not have a valid value")
    if name in PAGING and value < 1:
        raise WrongValue(f"{name} does not have a valid value")
    return value
