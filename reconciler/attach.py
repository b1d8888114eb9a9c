"""Use case: bring the files of results to Rally, each with its own row, and settle what is in doubt."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from loguru import logger

from reconciler.apply import attachment_action
from reconciler.desks import AttachmentDesk, ContentDesk, Fetched, Upload
from reconciler.dispatch import Dispatcher
from reconciler.errors import Forbidden, Incomplete, NotThere, ServiceDown, Unauthorized
from reconciler.fetch import Fetcher
from reconciler.matching import match
from reconciler.spool import Spool, SpoolFull

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from reconciler.collect import Collected
    from reconciler.config import Settings
    from reconciler.dispatch import Sent
    from reconciler.ledger.attachments import Holder, Row
    from reconciler.ledger.ledger import Ledger
    from reconciler.model import ObjectID
    from reconciler.ports import GitLab, Rally

CARRIED_BYTES = 64_000_000
"""How much is fetched before it is sent on; what lies on disk meanwhile."""
CARRIED_FILES = 500
_ROUNDS = 3
"""What could not be attached is told in a text, which is attached in a further round; so is what is sent anew."""


@dataclass(slots=True)
class Attach:
    """Uploads what results in Rally are still to have."""

    gitlab: GitLab
    rally: Rally
    ledger: Ledger
    settings: Settings
    stop: threading.Event
    now: Callable[[], datetime]
    sent: Sent
    fresh: set[int]
    """Entries that were created in this pass: nothing hangs on them yet."""
    attached: dict[ObjectID, int | None]
    """How many attachments results have that Rally was asked about in this pass."""
    collected: Collected
    """Takes the trouble with GitLab."""
    _asked: set[int] = field(default_factory=set)
    """Attachments of which Rally was asked in this pass whether it has them."""
    _tried: set[int] = field(default_factory=set)
    """Attachments that are not to be sent again in this pass."""

    def run(self) -> None:
        """Attach everything that is pending; what cannot be had now is left to the next pass.

        Raises:
            ServiceDown, Unauthorized: Rally could not be asked what it has.
        """
        self.ledger.attachments.lost_content(
            self.ledger.attachments.begun(), "the process ended before Rally's answer came", self.now()
        )
        for _ in range(_ROUNDS):
            uploads = [upload for upload in self._open() if upload.row.attachment_id not in self._tried]
            if not uploads or self.sent.halted:
                break
            self._tried.update(upload.row.attachment_id for upload in uploads)
            self._carry(uploads)
            self.attached.clear()  # there are more by now
        if self.settings.attachments.keep_linked:
            self._keep_linked()

    def preview(self) -> list[dict[str, Any]]:
        """List what is pending on results that Rally has, as `--dry-run --json` prints it."""
        return [
            attachment_action(upload.holder.build, upload.holder.formatted_id, upload.row.name, upload.row.size_bytes)
            for upload in self._open()
        ]

    # --- what is to be sent ---

    def _open(self) -> list[Upload]:
        """List what is pending, after asking Rally about everything of which it may already have something."""
        holders = self.ledger.attachments.holders()
        rows = {holder.entry_id: self.ledger.attachments.rows(holder.entry_id) for holder in holders}
        suspects = [holder for holder in holders if self._is_suspect(holder, rows[holder.entry_id])]
        self._count_attached(suspects)
        for holder in suspects:
            if self._may_have_more(holder, rows[holder.entry_id]):
                self._look(holder, rows[holder.entry_id])
                rows[holder.entry_id] = self.ledger.attachments.rows(holder.entry_id)
            self._asked.update(row.attachment_id for row in rows[holder.entry_id])
        return [
            Upload(holder, row)
            for holder in holders
            if not any(row.state == "intended" for row in rows[holder.entry_id])
            for row in rows[holder.entry_id]
            if row.state == "pending"
        ]

    def _is_suspect(self, holder: Holder, rows: Sequence[Row]) -> bool:
        """Tell whether Rally must be asked: a doubt is old enough, or nobody knows what hangs on the result."""
        doubts = [row for row in rows if row.state == "intended"]
        if doubts:
            return any(self._is_old(row) for row in doubts)
        return holder.entry_id not in self.fresh and any(row.attachment_id not in self._asked for row in rows)

    def _is_old(self, row: Row) -> bool:
        age = timedelta(seconds=self.settings.rally.settle_after_seconds)
        return row.intended_at is not None and row.intended_at <= self.now() - age

    def _count_attached(self, holders: Sequence[Holder]) -> None:
        """Ask for the numbers of attachments: one request tells of many results."""
        builds = {holder.build for holder in holders if holder.result not in self.attached}
        if builds:
            found = self.rally.results_of(sorted(builds))
            self.attached.update((result.object_id, result.attachments) for result in found)

    def _may_have_more(self, holder: Holder, rows: Sequence[Row]) -> bool:
        known = sum(row.state == "done" for row in rows)
        doubts = any(row.state == "intended" for row in rows)
        return self.attached.get(holder.result) != known or doubts

    def _look(self, holder: Holder, rows: Sequence[Row]) -> None:
        """Confirm what a result has already; withdraw old intents that it has nothing of."""
        found = self.rally.attachments_of(holder.result)
        matched = match(rows, found, self.rally.content_of)
        self.ledger.attachments.confirm(matched.items(), self.now())
        lost = [
            row.attachment_id
            for row in rows
            if row.state == "intended" and row.attachment_id not in matched and self._is_old(row)
        ]
        self.ledger.attachments.withdraw(lost, "Rally does not have it", self.now())
        logger.info("A result's attachments were looked up", result=holder.result, found=len(found), lost=len(lost))

    # --- sending ---

    def _carry(self, uploads: Sequence[Upload]) -> None:
        """Fetch some, send them on, fetch the next; what has a content in Rally needs no fetching."""
        self._attach(upload for upload in uploads if upload.row.content is not None)
        fetcher = Fetcher(self.gitlab, self.ledger, self.now, self.collected.down, self.collected.failed)
        carried: list[Fetched] = []
        wanted = [upload for upload in uploads if upload.row.content is None]
        with closing(Spool()) as spool, closing(fetcher.fetch(wanted, spool)) as fetching:
            try:
                for fetched in fetching:
                    carried += fetched
                    if spool.size_bytes >= CARRIED_BYTES or len(carried) >= CARRIED_FILES:
                        self._send(carried)
                        carried.clear()
                        spool.empty()
                    if self.sent.halted or self.stop.is_set():
                        return
            except SpoolFull:
                self._send(carried)  # so that each pass gets some way, however little room there is
                raise
            self._send(carried)

    def _send(self, carried: Sequence[Fetched]) -> None:
        """Create the contents, then the Attachments of those that came to be."""
        desk = ContentDesk(self.rally, self.ledger)
        Dispatcher(desk, self.settings.rally, self.stop, self.sent).send(carried, busy=(), now=self.now)
        made = desk.made
        self._attach(one.upload.with_content(*made[one.lane]) for one in carried if one.lane in made)

    def _attach(self, uploads: Iterable[Upload]) -> None:
        desk = AttachmentDesk(self.rally, self.ledger, self.sent)
        dispatcher = Dispatcher(desk, self.settings.rally, self.stop, self.sent)
        dispatcher.send(uploads, busy=self.ledger.attachments.in_doubt(), now=self.now)
        self._tried -= desk.stale

    # --- links ---

    def _keep_linked(self) -> None:
        """Ask GitLab to keep the artifacts that results link to."""
        answers: Counter[str] = Counter()
        try:
            for project, job in self.ledger.attachments.to_keep():
                try:
                    self.gitlab.keep_artifacts(project, job)
                    answer = "yes"
                except Forbidden as error:
                    answer = "denied"
                    if not answers[answer]:
                        logger.warning(_DENIED, detail=str(error))
                except NotThere:
                    answer = "gone"
                except Incomplete as error:
                    self.collected.down.append(str(error))
                    continue
                answers[answer] += 1
                self.ledger.attachments.kept(job, answer)
        except ServiceDown as error:
            self.collected.down.append(str(error))
        except Unauthorized as error:
            self.collected.failed.append(str(error))
        if answers:
            logger.info("GitLab was asked to keep linked artifacts", **answers)


_DENIED = (
    "GitLab will not keep linked artifacts: attachments.keep_linked needs a token with the scope api whose user has the"
    " Developer role"
)
