"""TestCaseResults as Rally's creates want them, and Rally's answers to creates."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from reconciler.errors import BatchRefused, NoAnswer, NotDone, Unauthorized
from reconciler.model import ObjectID, Rejected
from reconciler.rally import wsapi

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.model import TestCaseResult

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_BEFORE, _BETWEEN, _AFTER = b'{"Batch":[', b",", b"]}"


def attributes(result: TestCaseResult, workspace_ref: str) -> dict[str, object]:
    """Write a result's attributes; Workspace too, for else it is looked for in the key owner's default one."""
    return {
        "Build": result.build,
        "Date": wsapi.write_time(result.date),
        "TestCase": f"/testcase/{result.test_case}",
        "Verdict": result.verdict,
        "Duration": result.duration_s,
        "Notes": result.notes,
        "Workspace": workspace_ref,
    }


def entry(result: TestCaseResult, workspace_ref: str) -> bytes:
    """Write one element of a batch; clients that run wrap each in `Entry` (pyral 1.7's multiop.py)."""
    body = {"testcaseresult": attributes(result, workspace_ref)}
    return _json({"Entry": {"Path": "/testcaseresult/create", "Method": "POST", "Body": body}})


def batch(results: Sequence[TestCaseResult], workspace_ref: str) -> bytes:
    """Write a whole batch."""
    return _BEFORE + _BETWEEN.join(entry(result, workspace_ref) for result in results) + _AFTER


def single(result: TestCaseResult, workspace_ref: str) -> bytes:
    """Write one create."""
    return _json({"TestCaseResult": attributes(result, workspace_ref)})


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
