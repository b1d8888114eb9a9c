"""Attachments of results: one row for each (result, file), pending → intended → done, or linked, missing, refused."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reconciler.ledger.job_reading import keep_output, shortened
from reconciler.ledger.store import moment, stamp
from reconciler.model import ArtifactListing, Build, FormattedID, Job, JobId, ObjectID, PipelineId, ProjectId

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from reconciler.evidence import Wanted
    from reconciler.ledger.store import Store

NOTICE_NAME = "not attached.txt"
NOTICE_BEGIN = "These files could not be attached to this result:\n"


@dataclass(frozen=True, slots=True)
class Holder:
    """A result that is in Rally and has attachments to come."""

    entry_id: int
    result: ObjectID
    build: Build
    formatted_id: FormattedID
    pipeline_id: PipelineId
    date: datetime


@dataclass(frozen=True, slots=True)
class Row:
    """One attachment that is pending, intended or done."""

    attachment_id: int
    state: str
    name: str
    size_bytes: int
    crc: int
    job_id: JobId | None
    """The job whose archive has the bytes; None: they are in the ledger, as `output_id`."""
    path: str
    """In that archive."""
    output_id: int | None
    url: str
    tries: int
    content: ObjectID | None
    """The AttachmentContent that Rally has of it already."""
    content_type: str
    """Of that content; "" before there is one."""
    object_id: ObjectID | None
    intended_at: datetime | None
    notice: bool


class Attachments:
    """The write-ahead ledger of attachments. Every method is one transaction."""

    def __init__(self, store: Store) -> None:
        """Write into this store."""
        self._store = store

    # --- what is due ---

    def holders(self) -> list[Holder]:
        """List the results in Rally that have attachments pending or in doubt, oldest first."""
        rows = self._store.rows(
            "SELECT e.entry_id, e.object_id, e.build, e.formatted_id, e.pipeline_id, COALESCE(e.date, e.intended_at)"
            " FROM entries e WHERE e.state = 'done' AND e.entry_id IN"
            " (SELECT entry_id FROM attachments WHERE state IN ('pending', 'intended')) ORDER BY 6, 1"
        )
        return [
            Holder(entry, ObjectID(result), Build(build), FormattedID(case), PipelineId(pipeline), moment(date))
            for entry, result, build, case, pipeline, date in rows
        ]

    def rows(self, entry_id: int) -> list[Row]:
        """List a result's attachments that are pending, intended or done, in the order in which they are wanted."""
        return [
            _row(row)
            for row in self._store.rows(
                "SELECT attachment_id, state, a.name, a.size_bytes, a.crc, f.job_id, f.path,"
                " COALESCE(a.output_id, f.output_id), url, tries,"
                " content_id, content_type, object_id, intended_at, notice"
                " FROM attachments a LEFT JOIN files f USING (file_id)"
                " WHERE entry_id = ? AND state IN ('pending', 'intended', 'done') ORDER BY attachment_id",
                [entry_id],
            )
        ]

    def in_doubt(self) -> set[ObjectID]:
        """Tell which results a request of unknown fate may still be writing to."""
        rows = self._store.rows(
            "SELECT DISTINCT e.object_id FROM attachments a CROSS JOIN entries e USING (entry_id)"
            " WHERE a.state IN ('pending', 'intended') AND a.state = 'intended'"  # the first is the index's own
        )
        return {ObjectID(row[0]) for row in rows}

    def job(self, job_id: JobId) -> Job:
        """Fetch a job as opening its archive needs it."""
        row = self._store.rows(
            "SELECT j.pipeline_id, p.project_id, j.name, j.status, j.web_url, j.finished_at, j.archive_bytes,"
            " j.expires_at FROM jobs j JOIN pipelines p USING (pipeline_id) WHERE j.job_id = ?",
            [job_id],
        )[0]
        pipeline, project, name, status, url, finished_at, size, expires_at = row
        listed = () if size is None else (ArtifactListing("archive", size, "artifacts.zip"),)
        expiry = None if expires_at is None else moment(expires_at)
        finished = moment(finished_at)
        return Job(job_id, PipelineId(pipeline), ProjectId(project), name, "", status, url, finished, listed, expiry)

    def to_keep(self) -> list[tuple[ProjectId, JobId]]:
        """List the jobs that results in Rally link to and that GitLab was not asked to keep."""
        rows = self._store.rows(
            "SELECT p.project_id, j.job_id FROM linked_jobs CROSS JOIN jobs j USING (job_id)"
            " CROSS JOIN pipelines p USING (pipeline_id) WHERE j.kept = 'no' AND j.expires_at IS NOT NULL"
            " AND EXISTS (SELECT 1 FROM files f CROSS JOIN attachments a USING (file_id)"
            " CROSS JOIN entries e USING (entry_id) WHERE f.job_id = j.job_id AND f.kind = 'member'"
            " AND a.state = 'linked' AND e.state = 'done') ORDER BY j.job_id"
        )
        return [(ProjectId(project), JobId(job)) for project, job in rows]

    # --- steps ---

    def begin(self, attachment_ids: Iterable[int]) -> None:
        """Write down that contents are about to be sent."""
        with self._store.transaction():
            for one in attachment_ids:
                self._store.run("UPDATE attachments SET begun = 1 WHERE attachment_id = ?", [one])

    def unsent(self, attachment_ids: Iterable[int]) -> None:
        """Take that back: no content came to be."""
        with self._store.transaction():
            for one in attachment_ids:
                self._store.run("UPDATE attachments SET begun = 0 WHERE attachment_id = ?", [one])

    def content(self, sent: Iterable[tuple[int, ObjectID, str]]) -> None:
        """Write down which contents came to be, and of which type they are."""
        with self._store.transaction():
            for one, content, content_type in sent:
                self._store.run(
                    "UPDATE attachments SET content_id = ?, content_type = ?, begun = 0 WHERE attachment_id = ?",
                    [content, content_type, one],
                )

    def lost_content(self, attachment_ids: Iterable[int], why: str, now: datetime) -> None:
        """Count contents that may be in Rally with nothing that refers to them: invisible, and harmless."""
        with self._store.transaction():
            for one in attachment_ids:
                self._store.run(
                    "UPDATE attachments SET content_id = NULL, content_type = NULL, begun = 0 WHERE attachment_id = ?",
                    [one],
                )
                self._note(now, "orphaned", str(one), why)

    def begun(self) -> list[int]:
        """List the attachments whose content was sent and not heard of: by a process that ended in the middle."""
        rows = self._store.rows(
            "SELECT attachment_id FROM attachments WHERE state IN ('pending', 'intended') AND state = 'pending'"
            " AND begun = 1"  # the first condition is the index's own
        )
        return [row[0] for row in rows]

    def intend(self, attachment_ids: Iterable[int], now: datetime) -> None:
        """Write down that Attachments are about to be created."""
        with self._store.transaction():
            for one in attachment_ids:
                self._store.run(
                    "UPDATE attachments SET state = 'intended', intended_at = ? WHERE attachment_id = ?"
                    " AND state = 'pending'",
                    [stamp(now), one],
                )

    def unheard(self, attachment_ids: Iterable[int], now: datetime) -> None:
        """Write down that no answer came: from now on the request may live on (as with results)."""
        with self._store.transaction():
            self._store.run_many(
                "UPDATE attachments SET intended_at = ? WHERE attachment_id = ? AND state = 'intended'",
                ([stamp(now), one] for one in attachment_ids),
            )

    def withdraw(self, attachment_ids: Iterable[int], why: str, now: datetime) -> None:
        """Take back intents that certainly were not carried out."""
        with self._store.transaction():
            for one in attachment_ids:
                self._store.run(
                    "UPDATE attachments SET state = 'pending', intended_at = NULL WHERE attachment_id = ?"
                    " AND state = 'intended'",
                    [one],
                )
                self._note(now, "withdrawn", f"attachment {one}", why)

    def confirm(self, created: Iterable[tuple[int, ObjectID]], now: datetime) -> None:
        """Write down which Attachments are in Rally."""
        with self._store.transaction():
            for one, object_id in created:
                self._settle(one, "done", now, object_id=object_id)

    def refuse(self, refused: Iterable[tuple[int, str]], now: datetime) -> None:
        """Write down what Rally said No to, and why; the result is to say it too. Its content is left an orphan."""
        with self._store.transaction():
            for one, reason in refused:
                content = self._store.value("SELECT content_id FROM attachments WHERE attachment_id = ?", [one])
                self._settle(one, "refused", now, reason=reason)
                if content is not None:
                    self._note(now, "orphaned", str(one), reason)
                self._tell(one, f"Rally refuses it: {reason}")

    def lose(self, missing: Iterable[tuple[int, str]], now: datetime) -> None:
        """Write down whose bytes cannot be had, and why; the result is to say it too."""
        with self._store.transaction():
            for one, reason in missing:
                self._settle(one, "missing", now, reason=reason)
                self._tell(one, reason)

    def try_again(self, attachment_ids: Iterable[int]) -> None:
        """Leave attachments to a later pass, and count that."""
        with self._store.transaction():
            for one in attachment_ids:
                self._store.run("UPDATE attachments SET tries = tries + 1 WHERE attachment_id = ?", [one])

    def problem(self, job_id: JobId, kind: str, detail: str, now: datetime) -> None:
        """Note something that was wrong with a job's files, unless it was known when its archive was looked into."""
        with self._store.transaction():
            self._store.run(
                "INSERT INTO problems (pipeline_id, job_id, kind, detail, seen_at)"
                " SELECT pipeline_id, job_id, ?1, ?2, ?3 FROM jobs WHERE job_id = ?4 AND NOT EXISTS"
                " (SELECT 1 FROM problems WHERE (job_id, kind, detail) = (?4, ?1, ?2))",
                [kind, shortened(detail), stamp(now), job_id],
            )

    def keep_denied(self) -> bool:
        """Tell whether GitLab last said No to keeping a job's artifacts."""
        newest = "SELECT kept FROM jobs WHERE kept IN ('yes', 'denied') ORDER BY job_id DESC LIMIT 1"
        return bool(self._store.value(newest) == "denied")

    def kept(self, job_id: JobId, answer: str) -> None:
        """Write down what GitLab said to keeping a job's artifacts: `yes`, `denied` or `gone`."""
        with self._store.transaction():
            self._store.run("UPDATE jobs SET kept = ? WHERE job_id = ?", [answer, job_id])

    def _settle(
        self, attachment_id: int, state: str, now: datetime, *, object_id: ObjectID | None = None, reason: str = ""
    ) -> None:
        touched = self._store.run(
            "UPDATE attachments SET state = ?, object_id = ?, reason = ?, settled_at = ?, begun = 0"
            " WHERE attachment_id = ? AND state IN ('pending', 'intended')",
            [state, object_id, reason, stamp(now), attachment_id],
        )
        if touched != 1:
            raise AssertionError(f"attachment {attachment_id} is settled: it cannot become {state}")

    def _tell(self, attachment_id: int, why: str) -> None:
        """Want a text of ours on the result, for its Notes are never edited: it says what could not be attached."""
        entry_id, name, url, notice = self._store.rows(
            "SELECT entry_id, name, url, notice FROM attachments WHERE attachment_id = ?", [attachment_id]
        )[0]
        if notice:
            return
        told = self._store.rows(
            "SELECT attachment_id, body FROM attachments JOIN outputs USING (output_id) WHERE entry_id = ?"
            " AND notice = 1 AND state = 'pending' AND content_id IS NULL AND begun = 0",
            [entry_id],
        )
        before = zlib.decompress(told[0][1]).decode() if told else NOTICE_BEGIN
        text = f"{before}\n{name}\n    {why}\n" + (f"    {url}\n" if url else "")
        output_id = keep_output(self._store, text.encode())
        if told:
            self._store.run("DELETE FROM attachments WHERE attachment_id = ?", [told[0][0]])
        self._store.run(
            "INSERT INTO attachments (entry_id, name, size_bytes, crc, output_id, url, notice, state)"
            " SELECT ?, ?, size_bytes, crc, output_id, '', 1, 'pending' FROM outputs WHERE output_id = ?",
            [entry_id, NOTICE_NAME, output_id],
        )

    def _note(self, now: datetime, what: str, key: str, detail: str) -> None:
        self._store.run("INSERT INTO audit VALUES (?, ?, ?, ?)", [stamp(now), what, key, detail])


def want(store: Store, entry_id: int, wanted: Sequence[Wanted], now: datetime) -> None:
    """Write down, inside a transaction, which files a result is to have."""
    if wanted:
        store.run_many(_WANT, (_wanted_row(entry_id, one, now) for one in wanted))


_WANT = (
    "INSERT INTO attachments (entry_id, name, size_bytes, crc, file_id, output_id, url, state, reason, settled_at)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_FATES = {"upload": "pending", "link": "linked", "missing": "missing"}


def _wanted_row(entry_id: int, one: Wanted, now: datetime) -> list[object]:
    settled_at = None if one.fate == "upload" else stamp(now)
    return [
        entry_id, one.name, one.size_bytes, one.crc, one.file_id, one.output_id, one.url, _FATES[one.fate], one.reason,
        settled_at,
    ]  # fmt: skip


def _row(row: Sequence[Any]) -> Row:
    one, state, name, size, crc, job_id, path, output_id, url, tries, *rest = row
    content, content_type, object_id, intended_at, notice = rest
    return Row(
        one,
        state,
        name,
        size,
        crc,
        None if job_id is None or output_id is not None else JobId(job_id),
        path or "",
        output_id,
        url,
        tries,
        None if content is None else ObjectID(content),
        content_type or "",
        None if object_id is None else ObjectID(object_id),
        None if intended_at is None else moment(intended_at),
        bool(notice),
    )
