"""One WSAPI operation, whether it came as an HTTP request or as an entry of a batch, and the answers to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from reconciler.sandbox.rally.rendering import API, Json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reconciler.sandbox.rally.conflicts import Conflicts
    from reconciler.sandbox.rally.objects import Thing
    from reconciler.sandbox.rally.rendering import Renderer
    from reconciler.sandbox.rally.store import Store


@dataclass(frozen=True, slots=True)
class Call:
    """What is asked of the web service."""

    method: str
    path: tuple[str, ...]
    """Below `/slm/webservice/v2.0`."""
    query: Mapping[str, list[str]]
    body: object
    """The parsed JSON; None when there is none."""
    user: Thing
    request: int
    """The running number of the HTTP request."""

    def first(self, name: str) -> str:
        """Give a query parameter's first value, "" when it is absent."""
        return next(iter(self.query.get(name, ())), "")


@dataclass(slots=True)
class Behaviour:
    """Where no source says what Rally does, or where it may differ between servers; may be changed while it runs."""

    batch: Literal["on", "errors"] | int = "on"
    """`errors` = top-level Errors; a number = that HTTP status."""
    batch_entries: int = 200
    """More entries than this are refused as a whole."""
    batch_bytes: int = 4_000_000
    """A larger batch is answered with 413."""
    batch_style: Literal["flat", "wrapped"] = "flat"
    """`flat` = `{"Object", "Errors", "Warnings"}`; `wrapped` = the same under `CreateResult` or `OperationResult`."""
    allowed_values: Literal["inline", "ref"] = "inline"
    """How the schema gives the lists of allowed values: as they are, or as a collection to be fetched."""
    sends_cookies: bool = False
    """Set a session cookie with each answer."""
    unstable_order: bool = False
    """Objects that the `order` does not tell apart come in another order with each request."""
    max_attachment_bytes: int = 50_000_000
    """More, decoded, are refused: pyral 1.2's MAX_ATTACHMENT_SIZE, "to match Agile Central limit"."""
    attachments_conflict: bool = False
    """Attachments of one result or artifact, created by two requests at once, conflict; no source says that they do."""
    foreign_members: bool = True
    """A test set may hold test cases of other projects, as the UI lets one pick them; no source has WSAPI's rule."""
    adds_again: bool = True
    """Adding a member that is one already changes nothing; otherwise the whole addition is refused (facts 2.2)."""
    results_change_sets: bool = False
    """Results in one test set, created by two requests at once, conflict; no source says that they do (facts 2.1)."""
    max_target: int = 8192
    """A longer path and query is answered with 414."""


class Mishaps:
    """What shall go wrong inside the next requests; each strikes once."""

    def __init__(self, conflicts: Conflicts) -> None:
        self._conflicts = conflicts
        self.bad_entries: dict[int, str] = {}
        """Entries (from 0) of the next batch that are refused, with the text."""
        self.batch_dies_after: int | None = None
        """The next batch is cut off, without an answer, once so many entries are done."""

    def refuse_entry(self, index: int, text: str = "Validation error: TestCaseResult.Build is cursed") -> None:
        """Refuse one entry of the next batch."""
        self.bad_entries[index] = text

    def conflict(self, thing: Thing | None = None, times: int = 1) -> None:
        """Answer the next writes that change this object, or attach to it, or to any, with a Concurrency conflict."""
        self._conflicts.plan(thing, times)


@dataclass(frozen=True, slots=True)
class Service:
    """What the operations work with."""

    store: Store
    behaviour: Behaviour
    conflicts: Conflicts
    mishaps: Mishaps
    renderer: Renderer


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer before it becomes HTTP."""

    root: str
    content: Json
    created: int = 0

    @property
    def document(self) -> Json:
        """The whole JSON document."""
        return {self.root: self.content}


def success(root: str, *, warnings: Sequence[str] = (), created: int = 0, **more: object) -> Reply:
    """Make an answer without errors."""
    return Reply(root, {**API, "Errors": [], "Warnings": list(warnings), **more}, created)


def failure(root: str, error: str, warnings: Sequence[str] = ()) -> Reply:
    """Make the normal form of a failure: HTTP 200 and a filled `Errors` (KB 199512)."""
    content: Json = {**API, "Errors": [error], "Warnings": list(warnings)}
    if root == "QueryResult":
        content |= {"TotalResultCount": 0, "StartIndex": 0, "PageSize": 0, "Results": []}
    return Reply(root, content)
