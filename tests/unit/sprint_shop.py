"""A shop with sprints, for tests of whole passes that look after test sets."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict, deque
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from loguru import logger

from reconciler.config.settings import ResultsSettings, SprintsSettings
from reconciler.ledger import views
from reconciler.ledger.ledger import in_memory
from reconciler.order import Order
from reconciler.reconcile import reconcile
from reconciler.world import World
from tests import accounting, building
from tests.fake_sprints import ROOT, AddMembers
from tests.fakes import START, Clock, FakeGitLab, FakeRally
from tests.unit.listening import from_now_on

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from datetime import datetime

    from reconciler.ledger.ledger import Ledger
    from reconciler.model import Iteration, ObjectID, Pipeline, Project, TestCase, TestFolder, TestSet, WorkItem
    from reconciler.world import Outcome

    Rows = TypeVar("Rows", bound="Collection[Any]")

SPRINT_SETS = Order("sprint-sets", collects=False, sends=False)
DRY_RUN = Order("once", dry_run=True)
DAY_S, HOUR_S, SETTLED_S = 86_400, 3_600, 400
WEEK = timedelta(days=7)
SET = "Sprint-7-Automated-Tests"


@dataclass(slots=True)
class Board(FakeRally):
    """A Rally that remembers what it was asked about sprints, and may give trouble or an empty answer."""

    asked: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    """How many rows each question was answered with."""
    troubles: dict[str, deque[BaseException]] = field(default_factory=lambda: defaultdict(deque))
    meanwhile: dict[str, deque[Callable[[], object]]] = field(default_factory=lambda: defaultdict(deque))
    """What happens between an answer and its arrival."""
    empty: set[str] = field(default_factory=set)
    """Questions that are answered with nothing."""
    listed: list[TestSet] | None = None
    """Test sets that the next answer lists, there or not."""
    deleted: set[ObjectID] = field(default_factory=set)
    """Iterations that a person deleted; sets that were in them are in none."""

    def iterations(self, since: datetime, until: datetime) -> list[Iteration]:
        """List them."""
        found = FakeRally.iterations(self, since, until)
        return self._answer("iterations", [one for one in found if one.object_id not in self.deleted])

    def work_items(self, iterations: Sequence[ObjectID]) -> list[WorkItem]:
        """List them."""
        return self._answer("work_items", FakeRally.work_items(self, iterations))

    def test_cases_of(self, items: Sequence[WorkItem]) -> list[tuple[ObjectID, TestCase]]:
        """List them."""
        return self._answer("test_cases_of", FakeRally.test_cases_of(self, items))

    def test_sets(self, iterations: Sequence[ObjectID]) -> list[TestSet]:
        """List them."""
        found, self.listed = self.listed or FakeRally.test_sets(self, iterations), None
        return self._answer("test_sets", [one for one in found if one.iteration not in self.deleted])

    def members_of(self, test_set: ObjectID) -> frozenset[ObjectID]:
        """List them."""
        return self._answer("members_of", FakeRally.members_of(self, test_set))

    def folders_named(self, name: str, projects: Sequence[ObjectID]) -> list[TestFolder]:
        """List them."""
        return self._answer("folders_named", FakeRally.folders_named(self, name, projects))

    def folders_in(self, parents: Sequence[ObjectID]) -> list[TestFolder]:
        """List them."""
        return self._answer("folders_in", FakeRally.folders_in(self, parents))

    def _answer(self, question: str, rows: Rows) -> Rows:
        self.asked[question] += 1
        if self.troubles[question]:
            raise self.troubles[question].popleft()
        if question in self.empty:
            return type(rows)()
        self.rows[question] += len(rows)
        if self.meanwhile[question]:
            self.meanwhile[question].popleft()()
        return rows


@dataclass
class Team:
    """One project with a sprint of two weeks, a story in it with TC1 and TC2, and a ledger."""

    clock: Clock
    gitlab: FakeGitLab
    rally: Board
    project: Project
    sprint: Iteration
    story: WorkItem
    ledger: Ledger
    config: SprintsSettings = field(default_factory=SprintsSettings)
    at_once: int = 4
    results: ResultsSettings = field(default_factory=ResultsSettings)
    stop: threading.Event = field(default_factory=threading.Event)
    warnings: list[str] = field(default_factory=list)

    # --- what happens ---

    def job(self, *cases: str, pipeline: Pipeline | None = None) -> Pipeline:
        """Finish a job with these tests, in a pipeline of its own if none is given."""
        pipeline = pipeline or self.gitlab.add_pipeline(self.project)
        self.gitlab.add_job(pipeline, "unit", *cases)
        return pipeline

    def cases(self, *formatted_ids: str, of: WorkItem | None = None, project: ObjectID = ROOT) -> None:
        """Add test cases, to the story unless told."""
        for formatted_id in formatted_ids:
            self.rally.add_case(formatted_id, of=of or self.story, project=project)

    def sprint_of(self, name: str, *, begins: int = -7, days: int = 14, project: ObjectID = ROOT) -> Iteration:
        """Plan a sprint that begins so many days from the start of the test."""
        begins_at = START + timedelta(days=begins)
        return self.rally.add_iteration(name, begins_at, begins_at + timedelta(days=days), project)

    def once(self, order: Order | None = None, *, ledger: Ledger | None = None) -> Outcome:
        """Make a pass, perhaps with another ledger."""
        rally = building.rally_settings(max_concurrency=self.at_once)
        settings = replace(building.settings(rally, self.results), sprints=self.config)
        world = World(self.gitlab, self.rally, ledger or self.ledger, settings, self.stop, self.clock)
        outcome = reconcile(world, (), order or Order("once"))
        accounting.check(self.ledger.store)
        return outcome

    def sprint_sets(self) -> Outcome:
        """Make a pass that looks after sprints alone."""
        return self.once(SPRINT_SETS)

    def settle(self) -> Outcome:
        """Make a pass when everything that was begun can no longer be alive."""
        self.clock.advance(SETTLED_S)
        return self.once()

    # --- what is told ---

    def plan(self, kind: str) -> list[tuple[str, ...]]:
        """Tell what a dry run announces of this kind: its values but for the kind."""
        return [tuple(a.values())[1:] for a in self.once(DRY_RUN).actions if a["kind"] == kind]

    def members(self) -> dict[str, list[str]]:
        """Tell the sets with their members."""
        return self.rally.members()

    def carried(self) -> dict[str, str]:
        """Tell the name of the set that each result carries, by test case and revision; "" for none."""
        self.rally.results()
        return {
            f"{one.key.pipeline_id}/{one.key.formatted_id}": self.rally.sets[one.test_set].name if one.test_set else ""
            for one in self.rally.stored.values()
        }

    def chunks(self) -> list[int]:
        """Tell how many test cases each request wanted to put into a set."""
        held = [one for wanted in self.rally.sprint_requests for one in wanted]
        return [len(one.test_cases) for one in held if isinstance(one, AddMembers)]

    def sprint_row(self, iteration: Iteration | None = None) -> dict[str, Any]:
        """Tell what `status` tells of a sprint."""
        wanted = self.rally.sprints[(iteration or self.sprint).object_id]
        rows = [row for row in views.sprints(self.ledger.store) if row["iteration"] == wanted.name]
        (row,) = [row for row in rows if row["project"] == wanted.project_name]
        return row

    def warned(self, words: str) -> int:
        """Count the warnings with these words, since the last time."""
        found = sum(words in text for text in self.warnings)
        self.warnings.clear()
        return found


def team() -> Iterator[Team]:
    """Gather one; what a fixture yields."""
    clock = Clock()
    gitlab, rally, ledger = FakeGitLab(clock), Board(clock), in_memory()
    sprint = rally.add_iteration("Sprint 7", START - WEEK, START + WEEK)
    story = rally.add_item(sprint)
    made = Team(clock, gitlab, rally, gitlab.add_project(), sprint, story, ledger)
    made.cases("TC1", "TC2")
    sink = logger.add(
        lambda message: made.warnings.append(str(message)),
        level="WARNING",
        format="{message} {extra}",
        filter=from_now_on(),
    )
    with closing(ledger.store):
        yield made
    logger.remove(sink)
