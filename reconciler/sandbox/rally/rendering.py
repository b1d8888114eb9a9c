"""Objects as JSON: what `fetch` names, refs as objects, collections as a ref with a count (facts 1.2)."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reconciler.sandbox.rally.errors import Unknown
from reconciler.sandbox.rally.schema import Attribute, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.sandbox.rally.objects import Objects, Thing, Value

Json = dict[str, Any]
API = {"_rallyAPIMajor": "2", "_rallyAPIMinor": "0"}
_DEPTH = 3  # sub-objects get the same fetch list; somewhere it has to end


@dataclass(frozen=True, slots=True)
class Fetch:
    """Which attributes are wanted: all of the object itself, or those named, of it and of what it refers to."""

    everything: bool = False
    names: frozenset[str] = frozenset()


EVERYTHING = Fetch(everything=True)
SHELL = Fetch()


def parse_fetch(query: Mapping[str, list[str]], default: Fetch) -> Fetch:
    """Read the `fetch` parameter; names that a type does not have are ignored, as Rally does."""
    text = next(iter(query.get("fetch", ())), "").strip()
    if not text:
        return default
    if text.lower() in ("true", "false"):
        return EVERYTHING if text.lower() == "true" else SHELL
    if any(mark in text for mark in ":["):
        raise Unknown(f"fetch with summaries or shallow lists: {text}")
    return Fetch(names=frozenset(name.strip() for name in text.split(",")))


@dataclass(frozen=True, slots=True)
class Renderer:
    """Writes objects as the server at `base_url` would."""

    objects: Objects
    base_url: str

    def url(self, path: str) -> str:
        """Give the full address of something below the web service."""
        return f"{self.base_url}/slm/webservice/v2.0/{path.lstrip('/')}"

    def shell(self, thing: Thing) -> Json:
        """Write only what identifies an object."""
        return {
            **API,
            "_ref": self.url(thing.ref),
            "_refObjectUUID": thing.uuid,
            "_objectVersion": str(thing.version),
            "_refObjectName": thing.name,
        }

    def write(self, thing: Thing, fetch: Fetch) -> Json:
        """Write an object of a query's results, or of a create's answer."""
        return self._write(thing, fetch, ())

    def _write(self, thing: Thing, fetch: Fetch, above: tuple[int, ...]) -> Json:
        document = self.shell(thing)
        for name, attribute in thing.type.attributes.items():
            if fetch.everything or name in fetch.names:
                document[name] = self._attribute(thing, attribute, fetch, (*above, thing.oid))
        document["_type"] = thing.type.name
        return document

    def _attribute(self, thing: Thing, attribute: Attribute, fetch: Fetch, above: tuple[int, ...]) -> object:
        if attribute.kind is Kind.COLLECTION:
            return self._collection(thing, attribute)
        value = self.objects.value(thing, attribute.name)
        if attribute.kind is Kind.OBJECT:
            return self._reference(self.objects.get(value), fetch, above)
        return _scalar(value)

    def _collection(self, thing: Thing, attribute: Attribute) -> Json:
        return {
            **API,
            "_ref": self.url(f"{thing.type.name}/{thing.oid}/{attribute.name}"),
            "_type": attribute.to,
            "Count": len(self.objects.collection(thing, attribute)),
        }

    def _reference(self, target: Thing | None, fetch: Fetch, above: tuple[int, ...]) -> Json | None:
        if target is None:
            return None
        if fetch.everything or target.oid in above or len(above) >= _DEPTH:
            return {**self.shell(target), "_type": target.type.name}
        return self._write(target, fetch, above)


def _scalar(value: Value) -> Value:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value
