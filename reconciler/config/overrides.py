"""RECONCILER_<SECTION>__<KEY> in the environment stands in for a key of the file."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

from reconciler.config.rule import Rule, Shape, Wrong, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PREFIX = "RECONCILER_"
FORM = "RECONCILER_<SECTION>__<KEY>"


def variable_for(section: str, key: str) -> str:
    """Name the variable that overrides a key."""
    return f"{PREFIX}{section}__{key}".upper()


def section_of(variable: str) -> str:
    """Name the section that a variable, even one of no known key, speaks of."""
    return variable.removeprefix(PREFIX).partition("__")[0].lower()


def nearest_to(variable: str, known: Iterable[str]) -> str | None:
    """Find the variable that was probably meant; the prefix that all share is no likeness."""
    close = nearest(variable.removeprefix(PREFIX), [name.removeprefix(PREFIX) for name in known])
    return close and PREFIX + close


def given(environ: Mapping[str, str]) -> dict[str, str]:
    """Pick our variables, in the order of their names."""
    return {name: environ[name] for name in sorted(environ) if name.startswith(PREFIX)}


def parse(text: str, rule: Rule) -> object:
    """Read a variable as the TOML value that it stands in for.

    A list is JSON when it begins with a bracket, else its elements are parted by commas.

    Raises:
        Wrong: it cannot be read as the rule's shape.
    """
    match rule.shape:
        case Shape.TEXT:
            return text
        case Shape.FLAG:
            if text in {"true", "false"}:
                return text == "true"
            raise Wrong("is not true or false", "set it to true or false")
        case Shape.WHOLE | Shape.NUMBER:
            return _number(text, rule.shape)
        case Shape.LIST:
            return _listed(text, rule.item)
        case Shape.NAME_OR_ID:
            return int(text) if text.isdecimal() else text


def _number(text: str, shape: Shape) -> float:
    with suppress(ValueError):
        return int(text)
    if shape is Shape.NUMBER:
        with suppress(ValueError):
            return float(text)
    raise Wrong(f"is not {shape.title}", "set it to digits only")


def _listed(text: str, item: Rule | None) -> list[object]:
    if text.lstrip().startswith("["):
        try:
            return list(json.loads(text))
        except ValueError:
            raise Wrong("begins like JSON but is none", 'set it to ["one", "two"] or to one,two') from None
    if not text.strip():
        return []
    return [parse(part.strip(), item) if item else part for part in text.split(",")]
