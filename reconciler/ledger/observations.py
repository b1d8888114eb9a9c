"""What was seen in GitLab: projects, pipelines, jobs, reports with their tests, and problems."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.ledger.job_reading import JobReading
from reconciler.ledger.standing import STANDING
from reconciler.ledger.store import moment, stamp
from reconciler.ledger.views import unread_pipelines
from reconciler.model import FINISHED, JobId, Pipeline, PipelineId, Project

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from reconciler.ledger.store import Store
    from reconciler.model import Job, ProjectId


@dataclass(frozen=True, slots=True)
class KnownJob:
    """What the ledger knows of a job: its state, and how often reading it was tried in vain."""

    state: str
    tries: int


class Observations:
    """Everything that collecting writes down. Observations are added, never changed."""

    def __init__(self, store: Store) -> None:
        """Write into this store."""
        self._store = store
        self._subjects: dict[tuple[str, str, str], int] = {}

    @contextmanager
    def together(self) -> Iterator[None]:
        """Write several things in one transaction."""
        try:
            with self._store.transaction():
                yield
        except BaseException:
            self._subjects.clear()  # some may have been rolled back
            raise

    def forget_subjects(self) -> None:
        """Look subjects up anew from now on: some may have been deleted."""
        self._subjects.clear()

    # --- projects and cursors ---

    def remember_projects(self, name: str, projects: Sequence[Project]) -> None:
        """Note which projects a name in the config stands for, in place of what it stood for before."""
        with self._store.transaction():
            self._store.run("DELETE FROM project_names WHERE name = ?", [name])
            for project in projects:
                self._store.run(
                    "INSERT INTO projects VALUES (?, ?, ?) ON CONFLICT (project_id) DO UPDATE"
                    " SET path = excluded.path, web_url = excluded.web_url",
                    [project.id, project.path, project.web_url],
                )
                self._store.run("INSERT OR IGNORE INTO project_names VALUES (?, ?)", [name, project.id])

    def projects_named(self, name: str) -> list[Project]:
        """List the projects that a name in the config stood for when GitLab was last asked."""
        rows = self._store.rows(
            "SELECT project_id, path, web_url FROM project_names JOIN projects USING (project_id)"
            " WHERE name = ? ORDER BY project_id",
            [name],
        )
        return [Project(*row) for row in rows]

    def project_path(self, project: ProjectId) -> str:
        """Tell a project's path; "" when it is not known."""
        return str(self._store.value("SELECT path FROM projects WHERE project_id = ?", [project]) or "")

    def forget_project(self, project: Project) -> None:
        """Ask GitLab anew at the next pass which project the config's name stands for."""
        with self._store.transaction():
            self._store.run("DELETE FROM project_names WHERE project_id = ?", [project.id])

    def cursor(self, name: str) -> datetime | None:
        """Read a cursor; None before it was ever set."""
        value = self._store.value("SELECT value FROM cursors WHERE name = ?", [name])
        return None if value is None else moment(value)

    def set_cursor(self, name: str, value: datetime) -> None:
        """Move a cursor; it never moves back."""
        with self._store.transaction():
            self._store.run(
                "INSERT INTO cursors VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = MAX(value, excluded.value)",
                [name, stamp(value)],
            )

    # --- pipelines ---

    def store_pipelines(self, pipelines: Iterable[Pipeline]) -> None:
        """Note pipelines as GitLab lists them."""
        with self._store.transaction():
            self._store.run_many(
                "INSERT INTO pipelines VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL) ON CONFLICT (pipeline_id) DO UPDATE"
                " SET status = excluded.status, updated_at = excluded.updated_at, ref = excluded.ref"
                " WHERE excluded.updated_at >= updated_at",
                (_pipeline_row(pipeline) for pipeline in pipelines),
            )

    def unread(self) -> list[Pipeline]:
        """List the finished pipelines with something left to read, oldest first; those of backfills are left out."""
        rows = self._store.rows(
            "SELECT project_id, pipeline_id, iid, sha, ref, status, source, web_url, created_at, updated_at"
            f" FROM pipelines WHERE pipeline_id IN ({_UNREAD}) ORDER BY created_at, updated_at, pipeline_id"
        )
        return [Pipeline(*row[:-2], *map(moment, row[-2:])) for row in rows]

    def mark_read(self, pipeline: Pipeline) -> None:
        """Note that the jobs of this pipeline were read as of this update."""
        with self._store.transaction():
            self._store.run(
                "UPDATE pipelines SET read_update = ? WHERE pipeline_id = ?", [stamp(pipeline.updated_at), pipeline.id]
            )

    def reread(self, kinds: Sequence[str], pipelines: Iterable[PipelineId]) -> None:
        """Open the jobs of these pipelines again that were lost for a reason of these kinds."""
        marks = ", ".join("?" * len(kinds))
        with self._store.transaction():
            for pipeline in pipelines:
                self._store.run(
                    "UPDATE jobs SET state = 'open', tries = 0 WHERE pipeline_id = ? AND state = 'lost'"
                    f" AND job_id IN (SELECT job_id FROM problems WHERE pipeline_id = ? AND kind IN ({marks}))",
                    [pipeline, pipeline, *kinds],
                )
                self._store.run(
                    "UPDATE pipelines SET read_update = NULL WHERE pipeline_id = ? AND EXISTS (SELECT 1 FROM problems"
                    f" WHERE pipeline_id = ? AND job_id IS NULL AND kind IN ({marks}))",
                    [pipeline, pipeline, *kinds],
                )

    # --- jobs ---

    def store_jobs(self, pipeline: Pipeline, jobs: Sequence[Job]) -> Mapping[JobId, KnownJob]:
        """Note the newest attempts of a pipeline's jobs and what they supersede; what is known of each finished one."""
        with self._store.transaction():
            for job in jobs:
                if job.status in FINISHED:
                    self._store.run(
                        "INSERT INTO jobs (job_id, pipeline_id, name, status, web_url, finished_at, state, expires_at,"
                        " archive_bytes) VALUES (?, ?, ?, ?, ?, ?, 'open', ?, ?) ON CONFLICT DO UPDATE"
                        " SET expires_at = excluded.expires_at, archive_bytes = excluded.archive_bytes",
                        [job.id, pipeline.id, job.name, job.status, job.web_url,
                         stamp(job.finished_at or pipeline.updated_at),
                         stamp(job.artifacts_expire_at) if job.artifacts_expire_at else None, job.size_of("archive")],
                    )  # fmt: skip
                self._supersede(pipeline.id, job)
        return self.jobs_of(pipeline.id)

    def jobs_of(self, pipeline: PipelineId) -> Mapping[JobId, KnownJob]:
        """Tell what is known of each finished job of a pipeline."""
        rows = self._store.rows("SELECT job_id, state, tries FROM jobs WHERE pipeline_id = ?", [pipeline])
        return {JobId(job_id): KnownJob(state, tries) for job_id, state, tries in rows}

    def _supersede(self, pipeline: PipelineId, job: Job) -> None:
        older = self._store.rows(
            "UPDATE jobs SET superseded = 1 WHERE pipeline_id = ? AND name = ? AND job_id < ? AND superseded = 0"
            " RETURNING job_id",
            [pipeline, job.name, job.id],
        )
        for row in older:
            self._store.run("UPDATE tests SET state = 'superseded' WHERE job_id = ?", row)
            self._store.run(_OUTDATE, row)
            self._store.run(_RESTAND_NEIGHBOURS, row)

    @contextmanager
    def reading(self, job: Job, now: datetime) -> Iterator[JobReading]:
        """Write down what one job's reports say, all or nothing; see `JobReading`."""
        try:
            with self._store.transaction():
                # What was wrong at an earlier try is told again if it still is.
                self._store.run("DELETE FROM problems WHERE job_id = ?", [job.id])
                yield JobReading(self._store, job, now, self._subjects)
        except BaseException:
            self._subjects.clear()  # some may have been rolled back
            raise

    def try_again(self, job: Job) -> int:
        """Leave a job to a later pass; how often that was said of it by now."""
        with self._store.transaction():
            self._store.run("UPDATE jobs SET tries = tries + 1 WHERE job_id = ?", [job.id])
        return int(self._store.value("SELECT tries FROM jobs WHERE job_id = ?", [job.id]))

    def pipeline_problem(self, pipeline: PipelineId, problem: tuple[str, str] | None, now: datetime) -> datetime:
        """Note what is wrong with a pipeline as a whole, in place of what was noted before; None: nothing is.

        Tells since when a problem of this kind has been seen.
        """
        kind = problem[0] if problem else ""
        whole = "FROM problems WHERE pipeline_id = ? AND job_id IS NULL"
        with self._store.transaction():
            before = self._store.rows(f"SELECT seen_at {whole} AND kind = ?", [pipeline, kind])
            seen_at = before[0][0] if before else stamp(now)
            self._store.run(f"DELETE {whole}", [pipeline])
            if problem is not None:
                self._store.run(
                    "INSERT INTO problems (pipeline_id, kind, detail, seen_at) VALUES (?, ?, ?, ?)",
                    [pipeline, *problem, seen_at],
                )
        return moment(seen_at)


_TOUCHED = """
SELECT DISTINCT c.entry_id FROM tests old CROSS JOIN contributions c ON c.test_id = old.test_id WHERE old.job_id = ?
"""
_OUTDATE = f"INSERT OR IGNORE INTO outdated {_TOUCHED}"
_RESTAND_NEIGHBOURS = f"""
UPDATE tests AS t SET state = {STANDING} WHERE t.state <> 'superseded'
AND t.test_id IN (SELECT test_id FROM contributions WHERE entry_id IN ({_TOUCHED}))
"""

_UNREAD = unread_pipelines()


def _pipeline_row(pipeline: Pipeline) -> tuple[object, ...]:
    return (
        pipeline.id,
        pipeline.project_id,
        pipeline.iid,
        pipeline.sha,
        pipeline.ref,
        pipeline.status,
        pipeline.source,
        pipeline.web_url,
        stamp(pipeline.created_at),
        stamp(pipeline.updated_at),
    )
