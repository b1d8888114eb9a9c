"""A shop whose jobs have archives, for tests of whole passes that bring files to results."""

from __future__ import annotations

import threading
from collections import Counter, deque
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from reconciler.config.settings import AttachmentsSettings
from reconciler.ledger import views
from reconciler.ledger.ledger import Ledger, in_memory
from reconciler.mapping import Row
from reconciler.order import Order
from reconciler.reconcile import reconcile
from reconciler.world import World
from tests import accounting, building
from tests.archives import packed
from tests.fakes import Clock, FakeGitLab, FakeRally

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from reconciler.model import Job, JobId, Pipeline, PipelineId, Project, ProjectId
    from reconciler.ports import Archive
    from reconciler.world import Outcome

OUTPUT = ("test_output.log", b"no\n")
"""What each failed test of `FakeGitLab` printed."""


@dataclass(slots=True)
class Storehouse(FakeGitLab):
    """A GitLab that remembers which archives were opened, and may no longer give what it listed."""

    expires_at: datetime | None = None
    opened: list[JobId] = field(default_factory=list)
    swapped: dict[JobId, bytes] = field(default_factory=dict)
    """Archives as they are once their directory was read."""
    later: deque[BaseException] = field(default_factory=deque)
    """What opening an archive raises whose directory was read before."""

    def jobs(self, project: ProjectId, pipeline: PipelineId) -> list[Job]:
        """List them with the day on which their artifacts go."""
        return [replace(job, artifacts_expire_at=self.expires_at) for job in FakeGitLab.jobs(self, project, pipeline)]

    @contextmanager
    def archive(self, job: Job) -> Iterator[Archive]:
        """Open it."""
        again = job.id in self.opened
        self.opened.append(job.id)
        if again and self.later:
            raise self.later.popleft()
        if again and job.id in self.swapped:
            self._archives[job.id] = self.swapped[job.id]
        with FakeGitLab.archive(self, job) as archive:
            yield archive


@dataclass
class Depot:
    """One project, three test cases, and a ledger."""

    clock: Clock
    gitlab: Storehouse
    rally: FakeRally
    project: Project
    ledger: Ledger
    config: AttachmentsSettings = field(default_factory=AttachmentsSettings)
    batch_size: int = 50
    rows: dict[str, str] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)

    def job(
        self,
        *cases: str,
        files: Mapping[str, bytes] | bytes | None = None,
        pipeline: Pipeline | None = None,
        name: str = "e2e",
    ) -> Job:
        """Finish a job that leaves these files, in a pipeline of its own if none is given."""
        archive = files if files is None or isinstance(files, bytes) else packed(files.items())
        pipeline = pipeline or self.gitlab.add_pipeline(self.project)
        return self.gitlab.add_job(pipeline, name, *cases, archive=archive)

    def once(self, order: Order | None = None) -> Outcome:
        """Make a pass."""
        rally = building.rally_settings(max_concurrency=1, batch_size=self.batch_size)
        settings = replace(building.settings(rally), attachments=self.config)
        world = World(self.gitlab, self.rally, self.ledger, settings, self.stop, self.clock)
        rows = [Row(line, f"shop.{test}", said) for line, (test, said) in enumerate(self.rows.items(), 2)]
        outcome = reconcile(world, rows, order or Order("once"))
        accounting.check(self.ledger.store)
        return outcome

    def plan(self) -> list[tuple[str, str, int]]:
        """Tell which files a dry run announces: test case, name and size."""
        actions = self.once(Order("once", dry_run=True)).actions
        return sorted((a["test_case"], a["name"], a["size"]) for a in actions if a["kind"] == "attachment")

    def attached(self) -> dict[str, list[tuple[str, bytes]]]:
        """Tell what Rally holds, by test case and revision."""
        return {f"{key.formatted_id}/{key.revision}": files for key, files in self.rally.attachments().items()}

    def names(self) -> dict[str, list[str]]:
        """Tell the names of what Rally holds."""
        return {key: [name for name, _ in files] for key, files in self.attached().items()}

    def text(self, key: str, name: str) -> str:
        """Read the one attachment of this name."""
        (data,) = [data for one, data in self.attached()[key] if one == name]
        return data.decode()

    def notes(self, job: Job) -> str:
        """Read the Notes of the one result of a job's pipeline."""
        (found,) = [one.notes for one in self.rally.stored.values() if one.key.pipeline_id == job.pipeline_id]
        return found

    def counts(self) -> dict[str, int]:
        """Count the files by state, as `status` does."""
        return {state: number for state, number in views.attachments(self.ledger.store).items() if number}

    def problems(self) -> Counter[str]:
        """Count the problems by kind."""
        return Counter(problem["kind"] for problem in views.problems(self.ledger.store))

    def copy(self) -> Ledger:
        """Copy the ledger as it is now."""
        copy = in_memory()
        self.ledger.store.db.conn.backup(copy.store.db.conn)
        return copy


def depot() -> Depot:
    """Open one; TC1, TC2 and TC3 are there."""
    clock = Clock()
    gitlab, rally = Storehouse(clock), FakeRally(clock)
    for formatted_id in ("TC1", "TC2", "TC3"):
        rally.add_case(formatted_id)
    return Depot(clock, gitlab, rally, gitlab.add_project(), in_memory())


def config(**keys: Any) -> AttachmentsSettings:  # noqa: ANN401 - any key of the section
    """Give the section [attachments], with these keys."""
    return AttachmentsSettings(**keys)
