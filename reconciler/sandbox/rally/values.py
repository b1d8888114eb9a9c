"""What a client may write into one attribute: kinds, lengths, lists of allowed values."""

from __future__ import annotations

import base64
import binascii
import math
import re
from typing import TYPE_CHECKING

from reconciler.sandbox.rally.errors import GONE, Refused
from reconciler.sandbox.rally.matching import parse_moment
from reconciler.sandbox.rally.objects import Objects, Value, timestamp
from reconciler.sandbox.rally.schema import Attribute, Kind, TypeDef

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_BARE_AMPERSAND = re.compile(r"&(?!(?:[A-Za-z]\w*|#\d+|#[xX][0-9A-Fa-f]+);)")
_BARE_BRACKET = re.compile(r"<(?![A-Za-z/!])")


def read_value(owner: TypeDef, attribute: Attribute, raw: object, allowed: Sequence[str]) -> Value:
    """Turn a JSON value into what is stored; refs have their own `read_ref`.

    Raises:
        Refused: the value does not fit. The text about lengths is Rally's own (CA-KB57630); no source has the others.
    """
    if raw is None:
        return None
    place = f"{owner.name}.{attribute.name}"
    if attribute.kind in (Kind.STATE, Kind.RATING):
        return _read_choice(place, raw, allowed)
    return _READERS[attribute.kind](place, attribute, raw)


def read_ref(objects: Objects, attribute: Attribute, raw: object) -> int | None:
    """Turn `testcase/1`, `/testcase/1`, the whole URL, or an object with such a `_ref` into an ObjectID."""
    if isinstance(raw, dict):
        raw = raw.get("_ref")
    if raw is None:
        return None
    target = objects.at_ref(raw) if isinstance(raw, str) else None
    if target is None:
        raise Refused(GONE)
    if not objects.schema.is_a(target.type.name, attribute.to):
        raise Refused(f"Could not set value for {attribute.display_name}: null")
    return target.oid


def _read_choice(place: str, raw: object, allowed: Sequence[str]) -> str:
    if not isinstance(raw, str) or raw not in allowed:
        raise Refused(f"Validation error: {place} has no value {raw!r}; allowed are {', '.join(allowed)}")
    return raw


def _read_text(place: str, attribute: Attribute, raw: object) -> str:
    if not isinstance(raw, str):
        raise Refused(f"Could not convert: Cannot convert {raw!r} to a string for {place}")
    text = stored_html(raw) if attribute.kind is Kind.TEXT else raw
    length = len(text.encode("utf-16-le", "surrogatepass")) // 2  # Rally is Java: it counts UTF-16 units
    if attribute.max_length and length > attribute.max_length:
        raise Refused(f"Validation error: {place} length is greater than the maximum length of {attribute.max_length}")
    return text


def stored_html(text: str) -> str:
    """Give a formatted text as it is stored, which is what its length is counted on (KB 57577)."""
    text = _BARE_AMPERSAND.sub("&amp;", text)
    text = _BARE_BRACKET.sub("&lt;", text)
    return text.replace("<br/>", "<br />")


def _read_number(place: str, attribute: Attribute, raw: object) -> int | float:
    whole = attribute.kind is Kind.INTEGER
    if isinstance(raw, bool) or not isinstance(raw, int if whole else (int, float)) or not math.isfinite(raw):
        raise Refused(f"Could not convert: Cannot convert {raw!r} to a number for {place}")
    return raw


def _read_boolean(place: str, _: Attribute, raw: object) -> bool:
    if not isinstance(raw, bool):
        raise Refused(f"Could not convert: Cannot convert {raw!r} to a boolean for {place}")
    return raw


def _read_date(place: str, _: Attribute, raw: object) -> str:
    moment = parse_moment(raw) if isinstance(raw, str) else None
    if moment is None:
        raise Refused(f"Could not convert: Cannot parse {raw!r} as a date for {place}")
    return timestamp(moment)


def _read_binary(place: str, _: Attribute, raw: object) -> bytes:
    if not isinstance(raw, str):
        raise Refused(f"Could not convert: Cannot convert {raw!r} to binary data for {place}")
    try:
        return base64.b64decode(raw, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(f"Could not convert: {place} is not base64") from error


_READERS: dict[Kind, Callable[[str, Attribute, object], Value]] = {
    Kind.STRING: _read_text,
    Kind.TEXT: _read_text,
    Kind.INTEGER: _read_number,
    Kind.QUANTITY: _read_number,
    Kind.BOOLEAN: _read_boolean,
    Kind.DATE: _read_date,
    Kind.BINARY: _read_binary,
}
