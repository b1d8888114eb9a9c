"""Rally's WSAPI v2.0 on the wire: queries and their pages, envelopes, and the errors in them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from reconciler.errors import ReconcilerError, ServiceDown, Unauthorized

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

Row = dict[str, Any]

LONGEST_URL_BYTES = 2_000
"""No limit is documented; queries are kept short and are split."""
MOST_TERMS = 25
BIGGEST_PAGE = 2_000
"""KB 47778."""
_ATTACHMENTS_PAGE = 200
_ROUNDS = 3
"""How often a list is read that changes while it is being read."""

_GONE = ("Cannot find object to read", "Could not read")
"""How Errors begin that say so of an object, or of a ref (facts: KB 199512, CA-KB57630)."""

_ENVELOPES = ("QueryResult", "OperationResult", "CreateResult", "BatchResult")
_ANY_ENVELOPE = frozenset(_ENVELOPES)


class Gone(ServiceDown):
    """Rally says that it has no such object; whoever can tell why, may take it for an answer."""


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of one type; without `terms` everything, else what fits any of them."""

    type_path: str
    fetch: str
    terms: tuple[str, ...] = ()
    page_size: int = BIGGEST_PAGE
    everywhere: bool = False
    """In the whole workspace, not just in the root project and those below it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where we work: the service, a workspace, and the project that is the root of all."""

    service_url: str
    workspace: int
    project: int

    @property
    def workspace_ref(self) -> str:
        """The workspace as a ref."""
        return f"/workspace/{self.workspace}"

    def url_of(self, query: Query, start: int = 1) -> str:
        """Write a query's URL: workspace, project and scopes always said, for their defaults are the key owner's.

        `order=ObjectID` makes pages stable: the sort key must be unique. `project=null` is the whole workspace (Rally's
        toolkit for Java, QueryRequest).
        """
        project = "null" if query.everywhere else f"/project/{self.project}"
        wanted = f"query={quote(any_of(query.terms), safe='')}&" if query.terms else ""
        return (
            f"{self.service_url}/{query.type_path}?{wanted}fetch={query.fetch}"
            f"&start={start}&pagesize={query.page_size}&order=ObjectID"
            f"&workspace={self.workspace_ref}&project={project}"
            "&projectScopeUp=false&projectScopeDown=true"
        )

    def projects_url(self, start: int) -> str:
        """Write the URL of the list of all the workspace's projects, as pyral does."""
        return (
            f"{self.service_url}/project?fetch=Name,ObjectID,Parent"
            f"&start={start}&pagesize={BIGGEST_PAGE}&order=ObjectID&workspace={self.workspace_ref}"
        )

    def attachments_url(self, result: int, start: int) -> str:
        """Write the URL of a result's attachments (facts 3); none of their bytes is fetched so."""
        return (
            f"{self.service_url}/testcaseresult/{result}/Attachments?fetch=Name,Size,ObjectID"
            f"&start={start}&pagesize={_ATTACHMENTS_PAGE}&order=ObjectID&workspace={self.workspace_ref}"
        )

    def members_url(self, test_set: int, start: int) -> str:
        """Write the URL of a set's test cases, whichever projects they are of."""
        return (
            f"{self.service_url}/testset/{test_set}/TestCases?fetch=ObjectID"
            f"&start={start}&pagesize={BIGGEST_PAGE}&order=ObjectID&workspace={self.workspace_ref}"
        )

    def write_url(self, path: str, project: int | None = None) -> str:
        """Write the URL of a single write, whose answer is to be short.

        Without `workspace`, and for some types without `project`, Rally says "Not authorized to create" (KB 47770).
        """
        where = f"workspace={self.workspace_ref}" + (f"&project=/project/{project}" if project else "")
        return f"{self.service_url}/{path}?{where}&fetch=ObjectID"

    def attachment_url(self, attachment: int) -> str:
        """Write the URL of one Attachment's ref to its content."""
        return f"{self.service_url}/attachment/{attachment}?fetch=Content&workspace={self.workspace_ref}"

    def content_url(self, content: int) -> str:
        """Write the URL of one AttachmentContent."""
        return f"{self.service_url}/attachmentcontent/{content}?fetch=Content&workspace={self.workspace_ref}"

    def chunks(self, query: Query, terms: Iterable[str]) -> Iterator[Query]:
        """Split many terms into queries of up to 25 terms and 2,000 bytes of URL."""
        chunk: tuple[str, ...] = ()
        for term in terms:
            longer = (*chunk, term)
            too_long = len(self.url_of(replace(query, terms=longer))) > LONGEST_URL_BYTES
            if chunk and (len(chunk) >= MOST_TERMS or too_long):
                yield replace(query, terms=chunk)
                longer = (term,)
            chunk = longer
        if chunk:
            yield replace(query, terms=chunk)


def term(field: str, operator: str, value: str) -> str:
    """Write one condition; the value stands in double quotes.

    Raises:
        ValueError: it holds a quote or a backslash; how Rally reads those is not documented.
    """
    if '"' in value or "\\" in value:
        raise ValueError(f"cannot be asked for in a query: {value!r}")
    return f'({field} {operator} "{value}")'


def any_of(terms: Iterable[str]) -> str:
    """Join conditions by OR, which takes exactly two (KB 131936)."""
    first, *rest = terms
    for other in rest:
        first = f"({first} OR {other})"
    return first


def read_all(
    what: str,
    url_of: Callable[[int], str],
    read: Callable[[str], object],
    read_each: Callable[[Sequence[str]], Sequence[object]] | None = None,
) -> list[Row]:
    """Read all pages of a list, whose URLs begin at a number; whole, or not at all.

    `read_each` reads several, the pages behind the first.

    Raises:
        ServiceDown: pages do not add up, also after reading them anew: the list changes, or an answer is odd.
    """
    for _ in range(_ROUNDS):
        rows = _one_round(url_of, read, read_each or (lambda urls: list(map(read, urls))))
        if rows is not None:
            return rows
    raise ServiceDown("Rally", f"the pages of {what} do not add up to what Rally says there is")


def _one_round(
    url_of: Callable[[int], str],
    read: Callable[[str], object],
    read_each: Callable[[Sequence[str]], Sequence[object]],
) -> list[Row] | None:
    """Read all pages once; None when they do not add up.

    A total that changes means that rows have moved over the seam between two pages.
    """
    first = query_result(read(url_of(1)))
    page, total = first.get("Results"), first.get("TotalResultCount")
    if not isinstance(page, list) or not isinstance(total, int) or (total and not page):
        return None
    starts = range(1 + len(page), total + 1, len(page)) if page else ()
    results = [first, *map(query_result, read_each([url_of(start) for start in starts]))]
    rows: dict[int, Row] = {}
    for start, result in zip((1, *starts), results, strict=True):
        found = result.get("Results")
        if not isinstance(found, list) or result.get("TotalResultCount") != total:
            return None
        size = result.get("PageSize") or len(page)
        if len(found) != min(len(page), total + 1 - start) or (start + len(found) <= total and len(found) != size):
            return None
        rows.update((object_id(row), row) for row in found)
    return list(rows.values()) if len(rows) == total else None


def query_result(document: object) -> Row:
    """Open the envelope of an answer to a query.

    Raises:
        Unauthorized, ReconcilerError, ServiceDown: by what its Errors say.
    """
    root, result = envelope(document)
    errors = errors_of(result)
    if errors:
        raise refused(errors)
    if root != "QueryResult":
        raise ServiceDown("Rally", "an answer to a query without a QueryResult")
    return result


def envelope(document: object) -> tuple[str, Row]:
    """Find the root of an answer; ("", {}) when it has none that we know."""
    if isinstance(document, dict) and not _ANY_ENVELOPE.isdisjoint(document):
        for root in _ENVELOPES:
            if root in document and isinstance(document[root], dict):
                return root, document[root]
    return "", {}


def errors_of(result: Row) -> list[str]:
    """List what Rally objects to; HTTP 200 with Errors is its normal way to fail (KB 199512)."""
    said = result.get("Errors")
    return _texts(said) if said else []


def warnings_of(result: Row) -> list[str]:
    """List what Rally did not like and did all the same."""
    said = result.get("Warnings")
    return _texts(said) if said else []


def _texts(value: object) -> list[str]:
    return [" ".join(str(one).split()) for one in (value if isinstance(value, list) else [value]) if one]


def refused(errors: list[str]) -> ReconcilerError:
    """Judge the Errors of a read."""
    text = "; ".join(errors)[:500]
    if is_invalid_key(errors) or text.startswith("Not authorized"):
        return Unauthorized(f"Rally: {text}: check rally.api_key and what its owner may see")
    if text.startswith("Could not parse"):
        return ReconcilerError(f"Rally does not understand our query: {text}")
    if text.startswith(_GONE):
        return Gone("Rally", text)
    return ServiceDown("Rally", text)


def is_invalid_key(errors: list[str]) -> bool:
    """Tell whether the API key itself is refused (KB 127054)."""
    return any(error.endswith("Invalid key") for error in errors)


def is_conflict(error: str) -> bool:
    """Tell whether two writes met at one object; nothing is wrong with either."""
    return "Concurrency conflict" in error or "ConcurrencyConflictException" in error


def object_id(row: Row) -> int:
    """Read an object's ObjectID, or take it from its ref; 0 when it has neither."""
    known = row.get("ObjectID")
    return known if isinstance(known, int) else ref_id(row)


def ref_id(value: object) -> int:
    """Take the ObjectID from a ref, or from an object that has one; 0 when there is none."""
    ref = value.get("_ref") if isinstance(value, dict) else value
    last = str(ref or "").rpartition("/")[2]
    return int(last) if last.isdecimal() else 0


def count(collection: object) -> int | None:
    """Tell how many members a collection has, which an object shows as a ref with a Count; None: it does not say."""
    found = collection.get("Count") if isinstance(collection, dict) else None
    return found if isinstance(found, int) else None


def write_time(moment: datetime) -> str:
    """Write a time as Rally does: ISO 8601, UTC, milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_time(value: object) -> datetime:
    """Read a time; the epoch when there is none."""
    try:
        return datetime.fromisoformat(str(value)).astimezone(UTC)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
