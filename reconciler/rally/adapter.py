"""Rally as the port says."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from reconciler.errors import Incomplete, Misconfigured, ServiceDown
from reconciler.model import Build, FormattedID, FoundResult, ObjectID, TestCase
from reconciler.notes import read_key
from reconciler.rally import creates, wsapi
from reconciler.rally.attachments import (
    ContentBody,
    attachment_attributes,
    content_attributes,
    content_ref,
    read_attachment,
    read_content,
)
from reconciler.rally.context import Context, Names, RallySession, connect, status_error
from reconciler.rally.creates import Creates
from reconciler.rally.results import result_attributes, size_in_batch
from reconciler.wire import Endpoint, Limits, Service, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from reconciler.model import Content, FoundAttachment, NewAttachment, Rejected, TestCaseResult

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
        self._creates = Creates(self._session, self._wire)
        self._lock = threading.Lock()
        self._known: Context | None = None

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
        fetch = "ObjectID,Build,TestCase,Verdict,Notes,Attachments"
        query = wsapi.Query("testcaseresult", fetch, page_size=_RESULTS_PAGE)
        found = []
        for row in self._in_chunks(query, terms):
            key = read_key(str(row.get("Notes") or ""))
            if key is not None and row.get("Build") in builds:
                object_id, build = ObjectID(wsapi.object_id(row)), Build(row["Build"])
                verdict, attached = str(row.get("Verdict") or ""), wsapi.count(row.get("Attachments"))
                found.append(FoundResult(key, object_id, build, verdict, attached))
        return found

    def attachments_of(self, result: ObjectID) -> list[FoundAttachment]:
        """Read the result's own collection; a No to that is only believed when a query does not find the result."""
        place = self._context().place
        try:
            rows = wsapi.read_all("the attachments of a result", partial(place.attachments_url, result), self._read)
        except (wsapi.Gone, Misconfigured):  # the latter is a 404
            if self._rows(wsapi.Query("testcaseresult", "ObjectID", (f"(ObjectID = {result})",))):
                raise
            return []
        return [read_attachment(row) for row in rows]

    def content_of(self, attachment: FoundAttachment) -> bytes:
        """Read the Attachment for its AttachmentContent, then that, whole; b"" where Rally says that there is none."""
        place = self._context().place
        try:
            content = content_ref(self._read(place.attachment_url(attachment.object_id)))
            return read_content(self._read(place.content_url(content))) if content else b""
        except (wsapi.Gone, Misconfigured) as error:  # the latter is a 404: it was deleted since it was listed
            raise ServiceDown("Rally", str(error).removeprefix("Rally: ")) from None

    def check(self, result: TestCaseResult) -> str:
        """Check against the schema, which is fetched once."""
        return self._context().schema.check(result)

    # --- creates -----------------------------------------------------------------------------------------------------

    def payload_size(self, result: TestCaseResult) -> int:
        """Tell how many bytes a result takes in a batch."""
        return size_in_batch(result)

    def add_results(self, results: Sequence[TestCaseResult]) -> list[ObjectID | Rejected]:
        """Create the results with one `/batch`; what it is refused for as a whole was not begun."""
        place = self._context().place
        each = [result_attributes(result, place.workspace_ref) for result in results]
        return self._creates.several(place, "TestCaseResult", each)

    def add_result(self, result: TestCaseResult) -> ObjectID | Rejected:
        """Create one result."""
        place = self._context().place
        body = creates.single("TestCaseResult", result_attributes(result, place.workspace_ref))
        return self._creates.one(place, "TestCaseResult", body)

    def add_contents(self, contents: Sequence[Content]) -> list[ObjectID | Rejected]:
        """Create the AttachmentContents with one `/batch`, which is in memory whole.

        Raises:
            Incomplete: a file is closed or has another size than it was said to have; nothing was sent.
        """
        known = self._context()
        ref = known.place.workspace_ref
        each = [content_attributes(content, ref, known.content) for content in contents]
        return self._creates.several(known.place, "AttachmentContent", each)

    def add_content(self, content: Content) -> ObjectID | Rejected:
        """Create one AttachmentContent, read from its file while it is sent; the file is not read any more afterwards.

        Raises:
            Incomplete: as above, or the file became shorter while it was sent; Rally has done nothing.
        """
        known = self._context()
        with ContentBody(content, known.place.workspace_ref, known.content) as body:
            return self._creates.one(known.place, "AttachmentContent", body)

    def add_attachments(self, attachments: Sequence[NewAttachment]) -> list[ObjectID | Rejected]:
        """Create the Attachments with one `/batch`."""
        known = self._context()
        ref = known.place.workspace_ref
        each = [attachment_attributes(one, ref, known.attachment) for one in attachments]
        return self._creates.several(known.place, "Attachment", each)

    def add_attachment(self, attachment: NewAttachment) -> ObjectID | Rejected:
        """Create one Attachment."""
        known = self._context()
        given = attachment_attributes(attachment, known.place.workspace_ref, known.attachment)
        return self._creates.one(known.place, "Attachment", creates.single("Attachment", given))

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
