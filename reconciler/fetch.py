"""The bytes of attachments: out of the ledger, or out of the archives of jobs in GitLab."""

from __future__ import annotations

import io
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loguru import logger

from reconciler import evidence
from reconciler.archive import BadArchive, BadMember
from reconciler.desks import Fetched, Upload
from reconciler.errors import Forbidden, Incomplete, NotThere, ServiceDown, TooLarge, Unauthorized
from reconciler.model import Content

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from datetime import datetime

    from reconciler.errors import ReconcilerError
    from reconciler.ledger.ledger import Ledger
    from reconciler.model import Job, JobId
    from reconciler.ports import Archive, GitLab
    from reconciler.spool import Part, Spool

TRIES = 3
"""In how many passes a file is asked for before it is called missing."""


@dataclass(frozen=True, slots=True)
class Fetcher:
    """Fetches what is wanted, oldest first; what cannot be had is noted in the ledger."""

    gitlab: GitLab
    ledger: Ledger
    now: Callable[[], datetime]
    down: list[str]
    """Why GitLab could not be asked; the rest is left to the next pass."""
    failed: list[str]

    def fetch(self, uploads: Sequence[Upload], spool: Spool) -> Generator[list[Fetched]]:
        """Put bytes into the spool, and give all whose bytes they are; it may be emptied before more is asked for."""
        by_job: dict[JobId, list[Upload]] = defaultdict(list)
        for upload in uploads:
            if upload.row.job_id is not None:
                by_job[upload.row.job_id].append(upload)
            elif upload.row.output_id is not None:
                part = spool.add(io.BytesIO(self.ledger.files.body(upload.row.output_id)))
                yield [_fetched(upload, spool, part)]
        try:
            for job_id, wanted in by_job.items():
                yield from self._of_job(self.ledger.attachments.job(job_id), wanted, spool)
        except ServiceDown as error:
            self.down.append(str(error))
        except Unauthorized as error:
            self.failed.append(str(error))

    def _of_job(self, job: Job, uploads: Sequence[Upload], spool: Spool) -> Iterator[list[Fetched]]:
        left = {upload.row.attachment_id: upload for upload in uploads}
        try:
            with self.gitlab.archive(job) as archive:
                yield from self._members(job, archive, left, spool)
        except BadArchive as error:
            self._lose(job, left.values(), error.kind, error.detail)
        except TooLarge as error:
            self._lose(job, left.values(), "too-large", str(error))
        except Forbidden as error:
            self._lose(job, left.values(), "forbidden", f"GitLab does not let the archive be read: {error}")
        except NotThere as error:
            self._not_there(job, left.values(), error)
        except Incomplete as error:
            self._again(job, left.values(), error, ("unreadable", str(error)))

    def _not_there(self, job: Job, uploads: Iterable[Upload], error: NotThere) -> None:
        """Take a 404 for the last word only when it must be (facts: it may be a passing one)."""
        gone = "GitLab no longer has the job's archive"
        if job.artifacts_expire_at is not None and job.artifacts_expire_at <= self.now():
            expired = f"the job's artifacts expired on {job.artifacts_expire_at:%Y-%m-%d}"
            self._lose(job, uploads, "expired", expired)
        elif job.lists("archive"):
            self._again(job, uploads, error, ("missing", f"{gone}; it was asked {TRIES} times"))
        else:
            self._lose(job, uploads, "missing", gone)

    def _members(self, job: Job, archive: Archive, left: dict[int, Upload], spool: Spool) -> Iterator[list[Fetched]]:
        wanted: dict[str, list[Upload]] = defaultdict(list)
        there = {member.path: (member.size_bytes, member.crc) for member in archive.members}
        for upload in list(left.values()):
            if there.get(upload.row.path) == (upload.row.size_bytes, upload.row.crc):
                wanted[upload.row.path].append(upload)
            else:
                del left[upload.row.attachment_id]
                self._lose(job, [upload], "changed", "the job's archive is another one than when it was read")
        for member, opened in archive.open(wanted.keys()):
            uploads = wanted[member.path]
            for upload in uploads:
                del left[upload.row.attachment_id]
            try:
                part = opened if isinstance(opened, BadMember) else spool.add(opened)
            except BadMember as error:
                part = error
            except BaseException:
                left.update((upload.row.attachment_id, upload) for upload in uploads)
                raise
            if isinstance(part, BadMember):
                self._lose(job, uploads, part.kind, part.detail, path=member.path)
                continue
            yield [_fetched(upload, spool, part) for upload in uploads]

    def _lose(self, job: Job, uploads: Iterable[Upload], kind: str, detail: str, *, path: str = "") -> None:
        """Call files missing, and say once why."""
        uploads = list(uploads)
        if not uploads:
            return
        path = path or (uploads[0].row.path if len(uploads) == 1 else f"{len(uploads)} files")
        logger.warning("Files cannot be had", job=job.id, files=path, kind=kind, detail=detail)
        self.ledger.attachments.problem(job.id, kind, f"{path}: {detail}", self.now())
        self.ledger.attachments.lose([(upload.row.attachment_id, detail) for upload in uploads], self.now())

    def _again(self, job: Job, uploads: Iterable[Upload], error: ReconcilerError, last: tuple[str, str]) -> None:
        """Leave files to the next pass, but not for ever."""
        uploads = list(uploads)
        self.ledger.attachments.try_again(upload.row.attachment_id for upload in uploads)
        tired = [upload for upload in uploads if upload.row.tries + 1 >= TRIES]
        self._lose(job, tired, *last)
        if len(tired) < len(uploads):
            self.down.append(str(error))


def _fetched(upload: Upload, spool: Spool, part: Part) -> Fetched:
    content = Content(spool.open(part), part.size_bytes)
    return Fetched(upload, content, evidence.content_type(upload.row.name, spool.head(part)))
