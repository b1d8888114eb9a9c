"""Rally as the port says."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from reconciler.errors import Misconfigured, ServiceDown
from reconciler.notes import read_key
from reconciler.rally import writes, wsapi
from reconciler.rally.attachments import (
    ContentBody,
    attachment_attributes,
    content_attributes,
    content_ref,
    read_attachment,
    read_content,
)
from reconciler.rally.contact import Contact
from reconciler.rally.key import read_owner, roles
from reconciler.rally.results import read_result, read_seen, result_attributes, size_in_batch
from reconciler.rally.sprint_calls import SprintCalls
from reconciler.rally.test_cases import TestCaseRows

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from reconciler.model import (
        Build,
        Content,
        FormattedID,
        FoundAttachment,
        FoundResult,
        KeyOwner,
        NewAttachment,
        ObjectID,
        ProjectRole,
        Rejected,
        SeenResult,
        TestCase,
        TestCaseResult,
    )
    from reconciler.rally.context import Names
    from reconciler.traffic import Traffic
    from reconciler.wire import Endpoint, Limits

_SEEN = "ObjectID,Build,TestCase,Verdict,Notes,Date,Duration"
_RESULTS_PAGE = 200  # each row carries up to 30 kB of Notes; big pages are what Rally cuts at 5 minutes (KB 125586)


class RallyAdapter(SprintCalls):
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
        contact = Contact(endpoint, api_key, names, stop=stop, limits=limits)
        super().__init__(contact, TestCaseRows(names.test_case_field))
        self._writes = contact.writes

    @property
    def traffic(self) -> Traffic:
        """What passed between us and Rally."""
        return self._contact.traffic

    def hail(self) -> None:
        """Make the first contact beside what is done meanwhile; what comes of it is told at the first call."""
        self._contact.begin()

    def close(self) -> None:
        """Close idle connections."""
        self._contact.close()

    # --- ourselves ---------------------------------------------------------------------------------------------------

    def owner(self) -> KeyOwner:
        """Ask before pyral asks for anything."""
        return read_owner(self._contact.ask_of_owner("ObjectID,UserName,SubscriptionAdmin"))

    def roles(self, owner: KeyOwner) -> list[ProjectRole]:
        """Ask for all of the user's permissions in the workspace."""
        return roles(self._contact, owner)

    def probe_batch(self) -> None:
        """Read the root project in a batch."""
        self._writes.probe_batch(self._contact.place)

    # --- reads -------------------------------------------------------------------------------------------------------

    def allowed_verdicts(self) -> frozenset[str]:
        """Give the words of the workspace's drop-down list."""
        return self._contact.known().schema.verdicts

    def test_cases(self, updated_since: datetime | None = None) -> Iterator[TestCase]:
        """Fetch all pages, then yield: a list that changed while it was read is read anew."""
        terms = () if updated_since is None else (_since(updated_since),)
        for row in self._contact.rows(wsapi.Query("testcase", self._test_cases.fetch, terms)):
            yield self._test_cases.read(row)

    def test_cases_by_id(self, formatted_ids: Sequence[FormattedID]) -> Mapping[FormattedID, TestCase]:
        """Ask for up to 25 at once; whether the prefix takes part in matching is not known, so answers are compared."""
        terms = [wsapi.term("FormattedID", "=", one) for one in formatted_ids]
        found = self._contact.in_chunks(wsapi.Query("testcase", self._test_cases.fetch), terms)
        cases = [self._test_cases.read(row) for row in found]
        return {case.formatted_id: case for case in cases if case.formatted_id in set(formatted_ids)}

    def results_of(self, builds: Sequence[Build]) -> list[FoundResult]:
        """Ask for up to 25 Builds at once; rows of other Builds, or without a key of ours, are left out."""
        found = []
        for row in self._of_builds(builds, "ObjectID,Build,TestCase,Verdict,Notes,Attachments,TestSet,Date"):
            key = read_key(str(row.get("Notes") or ""))
            if key is not None:
                found.append(read_result(key, row))
        return found

    def all_results_of(self, builds: Sequence[Build]) -> list[SeenResult]:
        """Ask as `results_of` does, and leave out none of these Builds."""
        return [read_seen(row) for row in self._of_builds(builds, _SEEN)]

    def results_by_id(self, results: Sequence[ObjectID]) -> list[SeenResult]:
        """Ask for up to 25 at once, in all projects: a test case may have been moved out of ours."""
        terms = [f"(ObjectID = {one})" for one in results]
        query = wsapi.Query("testcaseresult", _SEEN, page_size=_RESULTS_PAGE, everywhere=True)
        return [read_seen(row) for row in self._contact.in_chunks(query, terms)]

    def _of_builds(self, builds: Sequence[Build], fetch: str) -> Iterator[wsapi.Row]:
        terms = [wsapi.term("Build", "=", build) for build in builds]
        query = wsapi.Query("testcaseresult", fetch, page_size=_RESULTS_PAGE)
        return (row for row in self._contact.in_chunks(query, terms) if row.get("Build") in builds)

    def attachments_of(self, result: ObjectID) -> list[FoundAttachment]:
        """Read the result's own collection; a No to that is only believed when a query does not find the result."""
        url_of = partial(self._contact.place.attachments_url, result)
        rows = self._contact.members("the attachments of a result", ("testcaseresult", result), url_of)
        return [read_attachment(row) for row in rows or ()]

    def content_of(self, attachment: FoundAttachment) -> bytes:
        """Read the Attachment for its AttachmentContent, then that, whole; b"" where Rally says that there is none."""
        place = self._contact.place
        try:
            content = content_ref(self._contact.read(place.attachment_url(attachment.object_id)))
            return read_content(self._contact.read(place.content_url(content))) if content else b""
        except (wsapi.Gone, Misconfigured) as error:  # the latter is a 404: it was deleted since it was listed
            raise ServiceDown("Rally", str(error).removeprefix("Rally: ")) from None

    def check(self, result: TestCaseResult) -> str:
        """Check against the schema, which is fetched once."""
        return self._contact.known().schema.check(result)

    # --- creates -----------------------------------------------------------------------------------------------------

    def payload_size(self, result: TestCaseResult) -> int:
        """Tell how many bytes a result takes in a batch."""
        return size_in_batch(result)

    def add_results(self, results: Sequence[TestCaseResult]) -> list[ObjectID | Rejected]:
        """Create the results with one `/batch`; what it is refused for as a whole was not begun."""
        place = self._contact.place
        each = [result_attributes(result, place.workspace_ref) for result in results]
        return self._writes.create_all(place, "TestCaseResult", each)

    def add_result(self, result: TestCaseResult) -> ObjectID | Rejected:
        """Create one result."""
        place = self._contact.place
        body = writes.single("TestCaseResult", result_attributes(result, place.workspace_ref))
        return self._writes.create(place, "TestCaseResult", body)

    def add_contents(self, contents: Sequence[Content]) -> list[ObjectID | Rejected]:
        """Create the AttachmentContents with one `/batch`, which is in memory whole.

        Raises:
            Incomplete: a file is closed or has another size than it was said to have; nothing was sent.
        """
        known = self._contact.known()
        ref = known.place.workspace_ref
        each = [content_attributes(content, ref, known.content) for content in contents]
        return self._writes.create_all(known.place, "AttachmentContent", each)

    def add_content(self, content: Content) -> ObjectID | Rejected:
        """Create one AttachmentContent, read from its file while it is sent; the file is not read any more afterwards.

        Raises:
            Incomplete: as above, or the file became shorter while it was sent; Rally has done nothing.
        """
        known = self._contact.known()
        with ContentBody(content, known.place.workspace_ref, known.content) as body:
            return self._writes.create(known.place, "AttachmentContent", body)

    def add_attachments(self, attachments: Sequence[NewAttachment]) -> list[ObjectID | Rejected]:
        """Create the Attachments with one `/batch`."""
        known = self._contact.known()
        ref = known.place.workspace_ref
        each = [attachment_attributes(one, ref, known.attachment) for one in attachments]
        return self._writes.create_all(known.place, "Attachment", each)

    def add_attachment(self, attachment: NewAttachment) -> ObjectID | Rejected:
        """Create one Attachment."""
        known = self._contact.known()
        given = attachment_attributes(attachment, known.place.workspace_ref, known.attachment)
        return self._writes.create(known.place, "Attachment", writes.single("Attachment", given))


def _since(moment: datetime) -> str:
    return wsapi.term("LastUpdateDate", ">=", wsapi.write_time(moment))
