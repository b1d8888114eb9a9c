"""Rally as the port says."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from loguru import logger

from reconciler.errors import BatchRefused, Incomplete, NoAnswer, NotDone, ServiceDown, Unauthorized
from reconciler.model import Build, FormattedID, FoundResult, ObjectID, Rejected, TestCase
from reconciler.notes import read_key
from reconciler.rally import results as creates
from reconciler.rally import wsapi
from reconciler.rally.context import Context, Names, RallySession, connect, status_error
from reconciler.wire import Answer, Endpoint, Limits, Service, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from reconciler.model import TestCaseResult

_SERVICE = Service(
    "Rally",
    "the API key is not accepted (check rally.api_key), or Rally is in maintenance",
    denies_in_maintenance=True,  # KB 277242
)

_RESULTS_PAGE = 200  # each row carries up to 30 kB of Notes; big pages are what Rally cuts at 5 minutes (KB 125586)


class RallyAdapter:
    """Writes to one Rally project and those below it; made once, used from any number of threads."""

    def __init__(
        self,
        endpoint: Endpoint,
        api_key: str,
        names: Names,
        *,
        stop: threading.Event,
        limits: Limits | None = None,
    ) -> None:
        """Make the adapter; nothing is sent before the first call."""
        self._names = names
        self._api_key = api_key
        self._base_url = endpoint.url
        self._wire = Wire(_SERVICE, stop=stop, limits=limits, secrets=(api_key,))
        self._session = RallySession(endpoint, self._wire)
        self._lock = threading.Lock()
        self._known: Context | None = None
        self._warned: set[str] = set()

    def close(self) -> None:
        """Close idle connections."""
        self._session.close()

    # --- reads -------------------------------------------------------------------------------------------------------

    def allowed_verdicts(self) -> frozenset[str]:
        """Give the words of the workspace's drop-down list."""
        return self._context().schema.verdicts

    def test_cases(self, updated_since: datetime | None = None) -> Iterator[TestCase]:
        """Fetch all pages, then yield: a list that changed while it was read is read anew."""
        terms = () if updated_since is None else (_since(updated_since),)
        for row in self._rows(wsapi.Query("testcase", self._test_case_fields(), terms)):
            yield self._test_case(row)

    def test_cases_by_id(self, formatted_ids: Sequence[FormattedID]) -> Mapping[FormattedID, TestCase]:
        """Ask for up to 25 at once; whether the prefix takes part in matching is not known, so answers are compared."""
        terms = [wsapi.term("FormattedID", "=", one) for one in dict.fromkeys(formatted_ids)]
        found = self._in_chunks(wsapi.Query("testcase", self._test_case_fields()), terms)
        cases = [self._test_case(row) for row in found]
        return {case.formatted_id: case for case in cases if case.formatted_id in set(formatted_ids)}

    def results_of(self, builds: Sequence[Build]) -> list[FoundResult]:
        """Ask for up to 25 Builds at once; rows of other Builds, or without a key of ours, are left out."""
        terms = [wsapi.term("Build", "=", build) for build in dict.fromkeys(builds)]
        query = wsapi.Query("testcaseresult", "ObjectID,Build,TestCase,Verdict,Notes", page_size=_RESULTS_PAGE)
        found = []
        for row in self._in_chunks(query, terms):
            key = read_key(str(row.get("Notes") or ""))
            if key is not None and row.get("Build") in builds:
                object_id, build = ObjectID(wsapi.object_id(row)), Build(row["Build"])
                found.append(FoundResult(key, object_id, build, str(row.get("Verdict") or "")))
        return found

    def check(self, result: TestCaseResult) -> str:
        """Check against the schema, which is fetched once."""
        return self._context().schema.check(result)

    # --- creates -----------------------------------------------------------------------------------------------------

    def payload_size(self, result: TestCaseResult) -> int:
        """Tell how many bytes a result takes in a batch."""
        return len(creates.entry(result, "/workspace/9007199254740991")) + 1

    def add_results(self, results: Sequence[TestCaseResult]) -> list[ObjectID | Rejected]:
        """Create the results with one `/batch`; what it is refused for as a whole was not begun."""
        place = self._context().place
        url = f"{place.service_url}/batch?workspace={place.workspace_ref}"
        answer = self._post(url, creates.batch(results, place.workspace_ref))
        if answer.status != 200:
            raise BatchRefused(f"Rally: HTTP {answer.status} for /batch")
        return creates.read_batch(answer.document, len(results))

    def add_result(self, result: TestCaseResult) -> ObjectID | Rejected:
        """Create one result."""
        place = self._context().place
        url = f"{place.service_url}/testcaseresult/create?workspace={place.workspace_ref}&fetch=ObjectID"
        answer = self._post(url, creates.single(result, place.workspace_ref))
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
        return creates.read_create(made)

    def _post(self, url: str, body: bytes) -> Answer:
        headers = {"Content-Type": "application/json"}
        answer = self._wire.write(
            url, lambda: self._session.once("POST", url, data=body, headers=headers, allow_redirects=False)
        )
        for warning in creates.warnings_in(answer.document) - self._warned:
            self._warned.add(warning)
            logger.warning("Rally took a result with a warning", text=warning)
        return answer

    # --- beneath -----------------------------------------------------------------------------------------------------

    def _context(self) -> Context:
        """Contact Rally, unless that was done; others wait for the first who does."""
        if self._known is None:
            with self._lock:
                if self._known is None:
                    try:
                        self._known = connect(self._session, self._base_url, self._api_key, self._names)
                    except Incomplete as error:
                        raise _down(error) from None
        return self._known

    def _in_chunks(self, query: wsapi.Query, terms: Sequence[str]) -> Iterator[wsapi.Row]:
        place = self._context().place
        for chunk in place.chunks(query, terms):
            yield from self._rows(chunk)

    def _rows(self, query: wsapi.Query) -> list[wsapi.Row]:
        place = self._context().place
        return wsapi.read_all(query.type_path, partial(place.url_of, query), self._read)

    def _read(self, url: str) -> object:
        try:
            answer = self._session.read(url)
        except Incomplete as error:
            raise _down(error) from None
        if answer.status != 200:
            raise status_error(answer.status, url.partition("?")[0])
        return answer.document

    def _test_case_fields(self) -> str:
        further = f",{self._names.test_case_field}" if self._names.test_case_field else ""
        return f"FormattedID,ObjectID,Name,Project,LastUpdateDate{further}"

    def _test_case(self, row: wsapi.Row) -> TestCase:
        value: Any = row.get(self._names.test_case_field) if self._names.test_case_field else None
        return TestCase(
            object_id=ObjectID(wsapi.object_id(row)),
            formatted_id=FormattedID(str(row.get("FormattedID") or "")),
            name=str(row.get("Name") or ""),
            project_id=ObjectID(wsapi.ref_id(row.get("Project"))),
            updated_at=wsapi.read_time(row.get("LastUpdateDate")),
            field_value="" if value is None else str(value),
        )


def _since(moment: datetime) -> str:
    return wsapi.term("LastUpdateDate", ">=", wsapi.write_time(moment))


def _down(error: Incomplete) -> ServiceDown:
    return ServiceDown("Rally", str(error).removeprefix("Rally: "))
