"""Creates of any type: how they are written, sent exactly once, and how Rally's answers to them are judged."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from loguru import logger

from reconciler.errors import BatchRefused, NoAnswer, NotDone, Unauthorized
from reconciler.model import ObjectID, Rejected
from reconciler.rally import wsapi

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from reconciler.rally.attachments import ContentBody
    from reconciler.wire import Answer, LibrarySession, Wire

Attributes = dict[str, object]

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_BEFORE, _BETWEEN, _AFTER = b'{"Batch":[', b",", b"]}"


class Creates:
    """Sends creates, each exactly once; from any number of threads."""

    def __init__(self, session: LibrarySession, wire: Wire) -> None:
        """Nothing is sent yet."""
        self._session = session
        self._wire = wire
        self._warned: set[str] = set()

    def several(self, place: wsapi.Place, type_name: str, wanted: Sequence[Attributes]) -> list[ObjectID | Rejected]:
        """Create objects of one type with one `/batch`; what it is refused for as a whole was not begun."""
        url = f"{place.service_url}/batch?workspace={place.workspace_ref}"
        answer = self._post(url, batch(type_name, wanted))
        if answer.status != 200:
            raise BatchRefused(f"Rally: HTTP {answer.status} for /batch")
        return read_batch(answer.document, len(wanted))

    def one(self, place: wsapi.Place, type_name: str, body: bytes | ContentBody) -> ObjectID | Rejected:
        """Create one object by a request of its own."""
        path = f"{place.service_url}/{type_name.lower()}/create"
        answer = self._post(f"{path}?workspace={place.workspace_ref}&fetch=ObjectID", body)
        root, made = wsapi.envelope(answer.document)
        errors = wsapi.errors_of(made)
        if wsapi.is_invalid_key(errors):
            raise Unauthorized(f"Rally: {errors[0]}: check rally.api_key")
        if answer.status == 403:
            raise Unauthorized("Rally: HTTP 403: the API key may not write here, or a proxy refuses")
        if answer.status in {404, 405}:
            raise NotDone(f"Rally: HTTP {answer.status} for a create: check rally.url, and any proxy before it")
        if answer.status != 200:
            return Rejected("; ".join(errors) or f"HTTP {answer.status}")
        if not root:
            raise NoAnswer("Rally: an answer to a create that is neither a yes nor a no")
        return read_create(made)

    def _post(self, url: str, body: bytes | ContentBody) -> Answer:
        headers = {"Content-Type": "application/json"}
        answer = self._wire.write(
            url, lambda: self._session.once("POST", url, data=body, headers=headers, allow_redirects=False)
        )
        for warning in warnings_in(answer.document) - self._warned:
            self._warned.add(warning)
            logger.warning("Rally created something with a warning", text=warning)
        return answer


def entry(type_name: str, attributes: Attributes) -> bytes:
    """Write one element of a batch; clients that run wrap each in `Entry` (pyral 1.7's multiop.py)."""
    path = type_name.lower()
    return _json({"Entry": {"Path": f"/{path}/create", "Method": "POST", "Body": {path: attributes}}})


def batch(type_name: str, wanted: Iterable[Attributes]) -> bytes:
    """Write a whole batch."""
    return _BEFORE + _BETWEEN.join(entry(type_name, attributes) for attributes in wanted) + _AFTER


def single(type_name: str, attributes: Attributes) -> bytes:
    """Write one create."""
    return _json({type_name: attributes})


def _json(document: object) -> bytes:
    return _ENCODER.encode(document).encode("utf-8", "replace")


def read_batch(document: object, count: int) -> list[ObjectID | Rejected]:
    """Read the answers to a batch, by position; their form is not documented, so read what may come.

    ========================================================  =============================
    answer                                                    means
    ========================================================  =============================
    as many Results as entries, each with Object or Errors    these
    Errors and no Results                                     BatchRefused
    the same, and it is a conflict of two writes              NotDone
    anything else                                             NoAnswer
    ========================================================  =============================
    """
    _, result = wsapi.envelope(document)
    found, errors = result.get("Results"), wsapi.errors_of(result)
    if errors and not found:
        raise _refused(errors)
    if not isinstance(found, list) or len(found) != count:
        raise NoAnswer(f"Rally: an answer to a batch of {count} that is not one for each")
    answers = [read_create(_inner(one)) for one in found]
    created = [one for one in answers if not isinstance(one, Rejected)]
    if len(set(created)) != len(created):
        raise NoAnswer("Rally: an answer to a batch that names one object twice")
    return answers


def warnings_in(document: object) -> set[str]:
    """Collect the warnings of an answer to a batch or to a create; each tells of something that Rally dropped."""
    _, result = wsapi.envelope(document)
    found = result.get("Results")
    elements = [result, *map(_inner, found)] if isinstance(found, list) else [result]
    return {warning for element in elements for warning in wsapi.warnings_of(element)}


def _refused(errors: list[str]) -> BatchRefused | NotDone | Unauthorized:
    text = f"Rally: {'; '.join(errors)[:500]}"
    if wsapi.is_invalid_key(errors):
        return Unauthorized(f"{text}: check rally.api_key")
    return NotDone(text) if any(map(wsapi.is_conflict, errors)) else BatchRefused(text)


def _inner(element: object) -> wsapi.Row:
    """Open an element: Object and Errors may stand in it, or in a CreateResult or OperationResult inside."""
    root, result = wsapi.envelope(element)
    if root:
        return result
    return element if isinstance(element, dict) else {}


def read_create(result: wsapi.Row) -> ObjectID | Rejected:
    """Read the answer to one create.

    Raises:
        NoAnswer: it has neither an Object nor Errors, or both.
    """
    made, errors = result.get("Object"), wsapi.errors_of(result)
    object_id = wsapi.object_id(made) if isinstance(made, dict) else 0
    if bool(object_id) == bool(errors):
        raise NoAnswer("Rally: an answer to a create that is neither a yes nor a no")
    if errors:
        return Rejected("; ".join(errors)[:1000], conflict=any(map(wsapi.is_conflict, errors)))
    return ObjectID(object_id)
