"""Writes of any type: how they are written, sent exactly once, and how Rally's answers to them are judged."""

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


class Writes:
    """Sends writes, each exactly once; from any number of threads."""

    def __init__(self, session: LibrarySession, wire: Wire) -> None:
        """Nothing is sent yet."""
        self._session = session
        self._wire = wire
        self._warned: set[str] = set()

    def create_all(self, place: wsapi.Place, type_name: str, wanted: Sequence[Attributes]) -> list[ObjectID | Rejected]:
        """Create objects of one type with one `/batch`; what it is refused for as a whole was not begun."""
        path = f"/{type_name.lower()}/create"
        return self._batch(place, [entry(path, type_name, attributes) for attributes in wanted])

    def change_all(
        self, place: wsapi.Place, type_name: str, wanted: Sequence[tuple[ObjectID, Attributes]]
    ) -> list[ObjectID | Rejected]:
        """Change objects of one type with one `/batch`; answers are the objects changed.

        Raises:
            NoAnswer: as for creates, or the answers speak of others.
        """
        path = type_name.lower()
        entries = [entry(f"/{path}/{number}", type_name, attributes) for number, attributes in wanted]
        answers = self._batch(place, entries)
        for (number, _), answer in zip(wanted, answers, strict=True):
            _require_same(number, answer)
        return answers

    def create(
        self, place: wsapi.Place, type_name: str, body: bytes | ContentBody, project: ObjectID | None = None
    ) -> ObjectID | Rejected:
        """Create one object by a request of its own."""
        answer = self._single(place.write_url(f"{type_name.lower()}/create", project), body)
        return answer if isinstance(answer, Rejected) else read_create(answer[1])

    def change(
        self, place: wsapi.Place, type_name: str, number: ObjectID, attributes: Attributes
    ) -> ObjectID | Rejected:
        """Change one object by a request of its own; what is not named stays."""
        url = place.write_url(f"{type_name.lower()}/{number}")
        answer = self._single(url, single(type_name, attributes))
        changed = answer if isinstance(answer, Rejected) else read_create(answer[1])
        _require_same(number, changed)
        return changed

    def add_to(self, place: wsapi.Place, collection: str, refs: Iterable[str]) -> Rejected | None:
        """Add objects to a collection (`/testset/1/TestCases`) by one request; None: Rally took them.

        `CollectionItems` is what Rally's own toolkits for Java and node send; pyral's two versions disagree.
        """
        body = encoded({"CollectionItems": [{"_ref": ref} for ref in refs]})
        answer = self._single(place.write_url(f"{collection}/add"), body)
        if isinstance(answer, Rejected):
            return answer
        root, result = answer
        if errors := wsapi.errors_of(result):
            return _no(errors)
        if root != "OperationResult":
            raise NoAnswer("Rally: an answer to an addition that is neither a yes nor a no")
        return None

    def probe_batch(self, place: wsapi.Place) -> None:
        """Send a batch of one read, which Rally's OpenAPI document lists among an entry's methods; raises as others do.

        How an entry of this kind is answered is not known, so any answer to it will do.
        """
        document = self._send_batch(place, [{"Entry": {"Path": f"/project/{place.project}", "Method": "GET"}}])
        _results_of(document, 1)

    def _batch(self, place: wsapi.Place, entries: Sequence[Attributes]) -> list[ObjectID | Rejected]:
        return read_batch(self._send_batch(place, entries), len(entries))

    def _send_batch(self, place: wsapi.Place, entries: Sequence[Attributes]) -> object:
        url = f"{place.service_url}/batch?workspace={place.workspace_ref}"
        answer = self._post(url, encoded({"Batch": entries}))
        if answer.status != 200:
            raise BatchRefused(f"Rally: HTTP {answer.status} for /batch")
        document: object = answer.document
        return document

    def _single(self, url: str, body: bytes | ContentBody) -> tuple[str, wsapi.Row] | Rejected:
        """Send one write, and give the answer's root and what is under it; a refusal by status is a No already."""
        answer = self._post(url, body)
        root, result = wsapi.envelope(answer.document)
        errors = wsapi.errors_of(result)
        if wsapi.is_invalid_key(errors):
            raise Unauthorized(f"Rally: {errors[0]}: check rally.api_key")
        if answer.status == 403:
            raise Unauthorized("Rally: HTTP 403: the API key may not write here, or a proxy refuses")
        if answer.status in {404, 405}:
            raise NotDone(f"Rally: HTTP {answer.status} for a write: check rally.url, and any proxy before it")
        if answer.status != 200:
            return _no(errors or [f"HTTP {answer.status}"])
        if not root:
            raise NoAnswer("Rally: an answer to a write that is neither a yes nor a no")
        return root, result

    def _post(self, url: str, body: bytes | ContentBody) -> Answer:
        headers = {"Content-Type": "application/json"}
        answer = self._wire.write(
            url, lambda: self._session.once("POST", url, data=body, headers=headers, allow_redirects=False)
        )
        for warning in warnings_in(answer.document) - self._warned:
            self._warned.add(warning)
            logger.warning("Rally wrote something with a warning", text=warning)
        return answer


def _require_same(number: ObjectID, answer: ObjectID | Rejected) -> None:
    if not isinstance(answer, Rejected) and answer != number:
        raise NoAnswer("Rally: an answer to a change that names another object")


def _no(errors: list[str]) -> Rejected:
    return Rejected("; ".join(errors)[:1000], conflict=any(map(wsapi.is_conflict, errors)))


def entry(path: str, type_name: str, attributes: Attributes) -> Attributes:
    """Write one element of a batch; clients that run wrap each in `Entry` (pyral 1.7's multiop.py)."""
    return {"Entry": {"Path": path, "Method": "POST", "Body": {type_name.lower(): attributes}}}


def single(type_name: str, attributes: Attributes) -> bytes:
    """Write one create or change."""
    return encoded({type_name: attributes})


def encoded(document: object) -> bytes:
    """Write anything as JSON; half a surrogate pair, which JSON cannot carry, becomes a question mark."""
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
    answers = [read_create(_inner(one)) for one in _results_of(document, count)]
    made = [one for one in answers if not isinstance(one, Rejected)]
    if len(set(made)) != len(made):
        raise NoAnswer("Rally: an answer to a batch that names one object twice")
    return answers


def _results_of(document: object, count: int) -> list[object]:
    _, result = wsapi.envelope(document)
    found, errors = result.get("Results"), wsapi.errors_of(result)
    if errors and not found:
        raise _refused(errors)
    if not isinstance(found, list) or len(found) != count:
        raise NoAnswer(f"Rally: an answer to a batch of {count} that is not one for each")
    return found


def warnings_in(document: object) -> set[str]:
    """Collect the warnings of an answer to a write; each tells of something that Rally dropped."""
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
    if not isinstance(element, dict):
        return {}
    root, result = wsapi.envelope(element)
    return result if root else element


def read_create(result: wsapi.Row) -> ObjectID | Rejected:
    """Read the answer to one create, or to one change.

    Raises:
        NoAnswer: it has neither an Object nor Errors, or both.
    """
    made, errors = result.get("Object"), wsapi.errors_of(result)
    object_id = wsapi.object_id(made) if isinstance(made, dict) else 0
    if bool(object_id) == bool(errors):
        raise NoAnswer("Rally: an answer to a write that is neither a yes nor a no")
    return _no(errors) if errors else ObjectID(object_id)
