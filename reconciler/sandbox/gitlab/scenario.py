"""What happens in a stand-in GitLab after its rows were added: statuses change, artifacts die, projects move."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Unpack

from reconciler.sandbox.gitlab.records import FINISHED
from reconciler.sandbox.gitlab.store import UNSTARTED, Tables

if TYPE_CHECKING:
    from reconciler.sandbox.gitlab.records import Bridge, Job, JobWords, Pipeline, Project

_STEP = timedelta(milliseconds=1)


class GitLabStore(Tables):
    """A GitLab's state, and what may happen to it.

    A status that is saved raises the pipeline's `updated_at`, at least by a millisecond even while the clock stands
    still; artifact expiry, erasing and moving do not touch it (facts, section 1).
    """

    def touch(self, pipeline: Pipeline) -> None:
        """Save the pipeline again with no visible change: success → success does that (`succeed` event)."""
        with self.lock:
            self._set_status(pipeline, pipeline.status)

    def set_status(self, pipeline: Pipeline, status: str) -> None:
        """Save another status."""
        with self.lock:
            self._set_status(pipeline, status)

    def finish(self, pipeline: Pipeline, status: str = "") -> None:
        """End a pipeline; "" = with the status that its newest jobs give it."""
        with self.lock:
            self._set_status(pipeline, status or self._outcome(pipeline))

    def finish_job(self, job: Job, status: str = "success", **words: Unpack[JobWords]) -> None:
        """End a job that was waiting or running, with what its runner uploaded; its pipeline goes on running."""
        with self.lock:
            if job.pipeline.status != "running":
                self._set_status(job.pipeline, "running")
            job.status = status
            self._fill(job, words)

    def retry_job(self, job: Job, status: str = "success", **words: Unpack[JobWords]) -> Job:
        """Run a job again: a new job of its name, the old one is retried; the pipeline runs and ends once more.

        With a status that is not final the pipeline goes on running: `finish` it.
        """
        with self.lock:
            words.setdefault("stage", job.stage)
            words.setdefault("allow_failure", job.allow_failure)
            job.retried = True
            return self._run_again(job.pipeline, self.add_job(job.pipeline, job.name, status, **words))

    def play_manual(self, job: Job, status: str = "success", **words: Unpack[JobWords]) -> Job:
        """Start a manual job: the same job gets a result, and the pipeline runs and ends once more."""
        if job.status != "manual":
            raise ValueError(f"unplayable: {job.name} is {job.status}")
        with self.lock:
            job.created_at = min(job.created_at, words.get("finished_at", job.created_at))
            self.finish_job(job, status, **words)
            return self._run_again(job.pipeline, job)

    def expire(self, job: Job) -> None:
        """End the time of a job's artifacts now, and let the worker remove them."""
        with self.lock:
            job.expire_at = min(job.expire_at or self.clock(), self.clock())
            job.removed = True

    def erase(self, job: Job) -> None:
        """Erase a job: artifacts and log (`Ci::BuildEraseService`)."""
        with self.lock:
            job.erased_at = self.clock()
            job.expire_at = None

    def move_project(self, project: Project, path: str) -> None:
        """Give a project another path; the old one redirects."""
        with self.lock:
            self.redirects[project.path.lower()] = project
            project.path = path
            project.group = self.add_group(path.rpartition("/")[0])

    def delete_pipeline(self, pipeline: Pipeline) -> None:
        """Remove a pipeline and its jobs for good."""
        with self.lock:
            for job in self._jobs_of.pop(pipeline.id):
                del self.jobs[job.id]
            self._pipelines_of[pipeline.project.id].remove(pipeline)
            del self.pipelines[pipeline.id]

    def _run_again(self, pipeline: Pipeline, job: Job) -> Job:
        if pipeline.status != "running":
            self._set_status(pipeline, "running")
        if job.status in FINISHED:
            self._set_status(pipeline, self._outcome(pipeline))
        return job

    def _outcome(self, pipeline: Pipeline) -> str:
        """Combine the newest jobs' statuses, in the order in which GitLab asks (lib/gitlab/ci/status/composite.rb)."""
        jobs: list[Job | Bridge] = [*self.jobs_of(pipeline), *self.bridges_of(pipeline)]
        statuses = {job.status for job in jobs if not (job.allow_failure and job.status in ("failed", "manual"))}
        if statuses & {"running", "pending"}:
            return "running"
        for status in ("manual", "failed", "canceled"):
            if status in statuses:
                return status
        return "skipped" if statuses == {"skipped"} else "success"

    def _set_status(self, pipeline: Pipeline, status: str) -> None:
        now = max(self.clock(), pipeline.updated_at + _STEP)
        pipeline.status, pipeline.updated_at = status, now
        if status not in UNSTARTED and pipeline.started_at is None:
            pipeline.started_at = now
        if status in FINISHED:
            pipeline.finished_at = now
