"""What reading a pipeline came to, on its way into the ledger; in the one thread that writes there."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from reconciler.errors import Forbidden, NotThere
from reconciler.filing import Cabinet
from reconciler.reading import UNREADABLE, JobFound, JobsListed

if TYPE_CHECKING:
    from datetime import datetime

    from reconciler.config import Settings
    from reconciler.ledger.job_reading import JobReading
    from reconciler.ledger.observations import Observations
    from reconciler.reading import PipelineEnd

REFUSED_FOR, GONE_FOR = timedelta(days=7), timedelta(hours=1)
"""How long jobs that may not be listed (403), or are not there (404), are asked for: a block or a token may be mended.

gitlab.com answers 403 to everything from an address that it blocks (facts/gitlab-api, section 1).
"""


@dataclass(frozen=True, slots=True)
class Recorder:
    """Writes down what was found."""

    observations: Observations
    settings: Settings

    def listed(self, found: JobsListed, now: datetime) -> None:
        """Note a pipeline's jobs."""
        self.observations.pipeline_problem(found.pipeline.id, found.problem, now)
        self.observations.store_jobs(found.pipeline, found.jobs)

    def job(self, found: JobFound, now: datetime) -> int:
        """Note one job's reports; how many tests they have."""
        if found.state == "open":
            self.observations.try_again(found.job)
            return 0
        tests = 0
        with closing(found.room), self.observations.reading(found.job, now) as record:
            for document in found.documents:
                tests += record.document(document.source, document.name, document.runs)
            if found.files is not None:
                self._file(found, record)
            for kind, detail in found.problems:
                record.problem(kind, detail)
            record.close(found.state)
        return tests

    def ended(self, found: PipelineEnd, now: datetime) -> bool:
        """Note that a pipeline was read; False where it was not, and is to be read again."""
        pipeline, trouble = found.pipeline, found.trouble
        if isinstance(trouble, NotThere | Forbidden):
            problem = UNREADABLE, f"its jobs cannot be listed: {trouble}"
            since = self.observations.pipeline_problem(pipeline.id, problem, now)
            if now - since < (REFUSED_FOR if isinstance(trouble, Forbidden) else GONE_FOR):
                return False
        elif trouble is not None:
            return False
        self.observations.mark_read(pipeline)
        return True

    def _file(self, found: JobFound, record: JobReading) -> None:
        """Write down which files belong to which tests."""
        files, config = found.files, self.settings.attachments
        path = self.observations.project_path(found.job.project_id)
        cabinet = Cabinet(record, found.note, config.artifact_paths, config.upload_max_bytes, path)
        if files is None:
            return
        if files.members is not None:
            cabinet.file(files.members)
            return
        if files.note:
            record.no_files(files.note)
        cabinet.without_archive(files.why)
