"""`POST /batch`: entries one after another, answers by position; one bad entry does not stop the rest (facts 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote

from reconciler.sandbox.messages import Dropped
from reconciler.sandbox.rally.calls import Call, Reply, Service, failure, success
from reconciler.sandbox.rally.dispatch import NoSuchPath, WrongMethod, perform, require_known
from reconciler.sandbox.rally.errors import Refused

if TYPE_CHECKING:
    from reconciler.sandbox.rally.rendering import Json

_METHODS = frozenset({"GET", "POST", "PUT", "DELETE"})
_SHARED = ("workspace", "project", "projectScopeUp", "projectScopeDown")


def run(service: Service, call: Call) -> Reply:
    """Carry out a batch; `fetch` on its own URL has no effect, as far as anyone knows: each entry has its own.

    Raises:
        Dropped: the connection is to be cut, with the first entries done.
    """
    require_known(call)
    if service.behaviour.batch != "on":
        return failure("BatchResult", "Not authorized to perform action: batch is not available")
    try:
        entries = _entries(service, call)
    except Refused as refusal:
        return failure("BatchResult", str(refusal))
    bad, service.mishaps.bad_entries = service.mishaps.bad_entries, {}
    last, service.mishaps.batch_dies_after = service.mishaps.batch_dies_after, None
    results: list[Json] = []
    created = 0
    for index, entry in enumerate(entries):
        if index == last:
            raise Dropped
        reply = failure(_root(entry), bad[index]) if index in bad else _run_entry(service, entry)
        created += reply.created
        results.append(_result(service, reply))
    return success("BatchResult", created=created, Results=results)


def _entries(service: Service, call: Call) -> list[Call]:
    """Read the batch as a whole: what is not in its form is refused before anything is done."""
    batch = call.body.get("Batch") if isinstance(call.body, dict) else None
    if not isinstance(batch, list) or not batch:
        raise Refused('Could not parse: the request has no JSON element "Batch"')
    if len(batch) > service.behaviour.batch_entries:
        raise Refused(f"Could not parse: a batch has at most {service.behaviour.batch_entries} entries")
    return [_entry(call, item) for item in batch]


def _entry(call: Call, item: object) -> Call:
    entry = item.get("Entry") if isinstance(item, dict) and len(item) == 1 else None
    if not isinstance(entry, dict) or not set(entry) <= {"Path", "Method", "Body"}:
        raise Refused('Could not parse: each element of a batch is {"Entry": {"Path", "Method", "Body"}}')
    path, method = entry.get("Path"), entry.get("Method")
    if not isinstance(path, str) or not path.startswith("/") or method not in _METHODS:
        raise Refused('Could not parse: an entry needs a "Path" from / and a "Method"')
    raw_path, _, query = path.partition("?")
    shared = {name: call.query[name] for name in _SHARED if name in call.query}
    return Call(
        method=method,
        path=tuple(unquote(raw_path).strip("/").split("/")),
        query={**shared, **parse_qs(query, keep_blank_values=True)},
        body=entry.get("Body"),
        user=call.user,
        request=call.request,
    )


def _run_entry(service: Service, entry: Call) -> Reply:
    try:
        return perform(service, entry)
    except (NoSuchPath, WrongMethod):
        return failure(_root(entry), f"Could not read: there is no {entry.method} /{'/'.join(entry.path)}")


def _root(entry: Call) -> str:
    return "CreateResult" if entry.path[-1] == "create" else "OperationResult"


def _result(service: Service, reply: Reply) -> Json:
    if service.behaviour.batch_style == "wrapped":
        return reply.document
    if "Object" in reply.content or reply.content["Errors"]:
        return {key: reply.content[key] for key in ("Object", "Errors", "Warnings") if key in reply.content}
    return reply.content
