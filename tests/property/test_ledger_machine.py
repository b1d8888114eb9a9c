"""Whatever GitLab, Rally, people and the power supply do in whatever order: nothing is doubled, nothing is lost."""

from __future__ import annotations

import os
import threading
from collections import Counter, defaultdict
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from loguru import logger

from reconciler.config import ResultsSettings
from reconciler.errors import BatchRefused, Incomplete, NotDone, NotThere, ReconcilerError, ServiceDown, Unauthorized
from reconciler.ledger.ledger import in_memory
from reconciler.mapping import Row
from reconciler.order import Order
from reconciler.reconcile import reconcile
from reconciler.world import World
from tests import accounting, building
from tests.fakes import Clock, FakeGitLab, FakeRally
from tests.fates import Killed, fails, killed, later, says_no, silent
from tests.property import evidence_model
from tests.property.evidence_model import NO_FILE, TOO_LARGE, Attempt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.model import FormattedID, Job, NewAttachment, ObjectID, Pipeline, PipelineId, TestCaseResult
    from reconciler.world import Outcome
    from tests.fakes import Answers, Step
    from tests.property.evidence_model import Files

    Pair = tuple[PipelineId, str]
    Made = tuple[list[str], Files]

EXAMPLES = int(os.environ.get("MACHINE_EXAMPLES", "80"))
pytestmark = pytest.mark.timeout(86_400 if "MACHINE_EXAMPLES" in os.environ else 600)
STILL_ALIVE_S = 300
"""How long a request that gave no answer may go on in Rally; below `settle_after_seconds`."""

UNMAPPED = ("quince", "raisin")
NAMES = ("apple_TC1", "berry_TC1", "cherry_TC2", "damson_TC1_TC3", "elder_TC9", *UNMAPPED)
CASES = ("TC1", "TC2", "TC3", "TC9")
WORST_FIRST = ("!!", "!", "~", "")
WORDS = {"!!": "Error", "!": "Fail", "~": "Inconclusive", "": "Pass"}


def _too_large(rally: FakeRally, results: Sequence[Any]) -> Answers:
    if len(results) > 1:
        raise NotDone("too large", too_large=True)
    return rally.carry_out(results)


_spec = st.builds("{}{}".format, st.sampled_from(NAMES), st.sampled_from(["", "", "!", "!!", "?", "~"]))
_report = st.lists(_spec, min_size=1, max_size=4)
_files = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(evidence_model.KINDS)), max_size=2)
_job = st.tuples(_report, _files)
_place = st.integers(0, 99)
_fate = st.one_of(
    st.builds(silent, st.integers(0, 3)),
    st.builds(killed, st.integers(0, 3)),
    st.builds(later),
    st.sampled_from(
        [
            fails(NotDone("turned away", retry_after_s=0.0)),
            _too_large,
            fails(BatchRefused("no /batch")),
            fails(Unauthorized("no")),
            fails(ServiceDown("Rally", "away")),
            FakeRally.carry_out,
            FakeRally.carry_out,
        ]
    ),
)
_file_fate = st.one_of(_fate, st.just(fails(NotDone(TOO_LARGE, too_large=True))))
_fault = st.tuples(
    st.sampled_from(["pipelines", "jobs", "junit_artifact", "archive"]),
    st.sampled_from([ServiceDown("GitLab", "away"), Killed()]),
)


def _mark(spec: str) -> str:
    return spec[len(spec.rstrip("!?~")) :]


class Machine(RuleBasedStateMachine):
    """One project with its pipelines, three test cases at first, and a ledger that may get lost.

    What Rally should hold is told from what happened, not by the planner: the worst verdict of the newest attempts'
    tests of a (pipeline, test case). Where a person took a test away from it, or where Rally refused, what was sent
    stays: such pairs are `settled_otherwise` until the ledger is lost. Files come with the tests that made a result:
    where a test counted for it later and changed nothing, or may have, the pair's files are `not_foretold`.
    """

    def __init__(self) -> None:
        """Start with nothing but the project and the test cases."""
        super().__init__()
        self.clock = Clock()
        self.gitlab = FakeGitLab(self.clock)
        self.project = self.gitlab.add_project()
        self.rally = FakeRally(self.clock)
        for formatted_id in CASES[:3]:
            self.rally.add_case(formatted_id)
        self.ledger = in_memory()
        self.rows: dict[str, str] = {}
        self.pipelines: list[Pipeline] = []
        self.attempts: dict[PipelineId, dict[str, list[Attempt]]] = defaultdict(lambda: defaultdict(list))
        self.workshop = evidence_model.Workshop()
        self.settled_otherwise: set[Pair] = set()
        self.not_foretold: set[Pair] = set()
        self.deleted: dict[ObjectID, NewAttachment] = {}
        self.found_again: set[PipelineId] = set()
        self.cut_short = self.conflicts = 0
        logger.disable("reconciler")

    # --- GitLab ---

    @initialize(batch_size=st.sampled_from([1, 2, 50]), jobs=st.lists(_job, min_size=1, max_size=3))
    def begins(self, batch_size: int, jobs: list[Made]) -> None:
        """One pipeline is there already."""
        rally = building.rally_settings(batch_size=batch_size, max_concurrency=1)
        self.settings = building.settings(rally, ResultsSettings(flaky="Inconclusive"))
        self.pipeline_finishes(jobs)

    @rule(jobs=st.lists(_job, min_size=1, max_size=3))
    def pipeline_finishes(self, jobs: list[Made]) -> None:
        """Add a pipeline with these jobs."""
        pipeline = self.gitlab.add_pipeline(self.project)
        self.pipelines.append(pipeline)
        for place, made in enumerate(jobs):
            self._job(pipeline, f"job {place}", made)

    @rule(which=_place, name=st.sampled_from(["job 0", "job 1", "played"]), made=_job)
    def job_is_retried_or_played(self, which: int, name: str, made: Made) -> None:
        """Run a job again, or play a further one."""
        pipeline = self.pipelines[which % len(self.pipelines)]
        self._job(pipeline, name, made)

    @rule(which=_place, status=st.sampled_from(["running", "success"]))
    def pipeline_changes(self, which: int, status: str) -> None:
        """Let a pipeline run again, or end."""
        self.gitlab.change(self.pipelines[which % len(self.pipelines)], status)

    def _job(self, pipeline: Pipeline, name: str, made: Made) -> Job:
        specs, files = made
        attempt = Attempt(tuple(specs), self.workshop.files(files))
        self.attempts[pipeline.id][name].append(attempt)
        if pipeline.id in self.found_again:  # it may have been part of what was found in Rally
            self.not_foretold |= {(pipeline.id, formatted_id) for formatted_id in CASES}
        return self.gitlab.add_job(pipeline, name, *specs, archive=evidence_model.archive_of(attempt))

    # --- people ---

    @rule(name=st.sampled_from(NAMES), said=st.sampled_from(["TC1", "TC2", "TC9", "-", ""]))
    def mapping_changes(self, name: str, said: str) -> None:
        """Map or ignore a test, or take its row out."""
        before, ignored = set(self._targets(name)), self.rows.get(name) == "-"
        if said:
            self.rows[name] = said
        else:
            self.rows.pop(name, None)
        touched = before | set(self._targets(name))
        self.not_foretold |= {(pipeline, formatted_id) for pipeline in self.attempts for formatted_id in touched}
        if before or ignored:
            self.settled_otherwise |= {
                (pipeline, formatted_id)
                for pipeline, jobs in self.attempts.items()
                for formatted_id in touched
                if any(spec.rstrip("!?~") == name for tries in jobs.values() for one in tries for spec in one.specs)
            }

    @rule(name=st.sampled_from(UNMAPPED), said=st.sampled_from(["TC1", "TC2"]))
    def review_queue_is_worked(self, name: str, said: str) -> None:
        """Map a test that is held after a pass."""
        self._pass()
        if not self._targets(name):
            self.mapping_changes(name, said)

    @rule(formatted_id=st.sampled_from(CASES))
    def test_case_is_deleted(self, formatted_id: str) -> None:
        """It goes to the recycle bin."""
        self.rally.delete_case(formatted_id)
        self._nobody_foretells(formatted_id)

    @rule(formatted_id=st.sampled_from(CASES))
    def test_case_is_there(self, formatted_id: str) -> None:
        """It comes back from the recycle bin, or is made."""
        self.rally.restore_case(formatted_id)
        if formatted_id not in self._there():
            self.rally.add_case(formatted_id)
        self._nobody_foretells(formatted_id)

    def _nobody_foretells(self, formatted_id: str) -> None:
        self.not_foretold |= {(pipeline, formatted_id) for pipeline in self.attempts}

    @precondition(lambda self: self.rally.attached)
    @rule(which=_place)
    def attachment_is_deleted(self, which: int) -> None:
        """Somebody takes it away: it does not come back."""
        number = sorted(self.rally.attached)[which % len(self.rally.attached)]
        self.deleted[number] = self.rally.attached.pop(number)

    # --- passes ---

    @rule(fates=st.lists(_fate, max_size=4), refused=st.sampled_from(["", "", "", "TC1", "TC2"]))
    def pass_with_trouble_in_rally(self, fates: list[object], refused: str) -> None:
        """Each request meets its fate; results of one test case may be refused."""
        self.rally.refuses = lambda result: self._refuses(result, refused)
        self.rally.steps.extend(fates)  # type: ignore[arg-type] # a union of strategies has no common type
        self._pass()
        self.rally.steps.clear()
        self.rally.refuses = lambda _: ""

    @rule(contents=st.lists(_file_fate, max_size=3), attachments=st.lists(_fate, max_size=3))
    def pass_with_trouble_over_files(self, contents: list[Step], attachments: list[Step]) -> None:
        """Each request that brings files meets its fate."""
        self.rally.content_steps.extend(contents)
        self.rally.attachment_steps.extend(attachments)
        self._pass()
        self.rally.content_steps.clear()
        self.rally.attachment_steps.clear()

    @rule(beginning=st.sampled_from([b"s", b"a copy", b"no"]), name=st.sampled_from(["", "step.txt", "shot.txt"]))
    def pass_in_which_rally_refuses_files(self, beginning: bytes, name: str) -> None:
        """Say No to some contents, or to some attachments."""
        if name:
            self.rally.refuses_attachment = lambda new: NO_FILE if new.name == name else ""
        else:
            self.rally.refuses_content = lambda data: NO_FILE if data.startswith(beginning) else ""
        self._pass()
        self.rally.refuses_attachment = lambda _: ""
        self.rally.refuses_content = lambda _: ""

    @precondition(lambda self: self.conflicts < 1 and len(self.pipelines) > 3)  # each costs a wait
    @rule(positions=st.sets(st.integers(0, 3), min_size=1), what=st.sampled_from(["steps", "attachment_steps"]))
    def pass_with_a_conflict(self, positions: set[int], what: str) -> None:
        """Another writer is in the way once."""
        self.conflicts += 1
        steps = getattr(self.rally, what)
        steps.append(says_no(positions, "Concurrency conflict", conflict=True))
        self._pass()
        steps.clear()

    @rule(fault=_fault)
    def pass_with_trouble_in_gitlab(self, fault: tuple[str, BaseException]) -> None:
        """GitLab goes away in the middle, or our process does."""
        method, error = fault
        self.gitlab.faults[method].append(error)
        self._pass()
        self.gitlab.faults.clear()

    @precondition(lambda self: self.cut_short < 2)
    @rule(what=st.sampled_from(["junit_artifact", "archive"]))
    def pass_with_something_cut_short(self, what: str) -> None:
        """Leave one job to the next pass."""
        self.cut_short += 1
        self.gitlab.faults[what].append(Incomplete("cut short"))
        self._pass()
        self.gitlab.faults.clear()

    @precondition(lambda self: self.cut_short < 2)
    @rule(error=st.sampled_from([ServiceDown("GitLab", "away"), Killed(), Incomplete("short"), NotThere("none")]))
    def pass_with_trouble_after_the_first_result(self, error: BaseException) -> None:
        """Let the archive that is opened next be one whose files are to be attached."""
        self.cut_short += 1

        def step(rally: FakeRally, wanted: Sequence[Any]) -> Answers:
            self.gitlab.faults["archive"].append(error)
            return rally.carry_out(wanted)

        self.rally.steps.append(step)
        self._pass()
        self.rally.steps.clear()
        self.gitlab.faults.clear()

    @rule(gitlab=st.booleans())
    def pass_without_a_service(self, gitlab: bool) -> None:  # noqa: FBT001 - drawn by name
        """One of the two is down."""
        self.gitlab.down, self.rally.down = gitlab, not gitlab
        self._pass()
        self.gitlab.down = self.rally.down = False

    @rule(seconds=st.sampled_from([10, 200, 400]))
    def time_passes(self, seconds: int) -> None:
        """Let what was alive in Rally end after a while."""
        now = self.clock.advance(seconds)
        self.rally.land(begun_before=now - timedelta(seconds=STILL_ALIVE_S))

    @rule()
    def ledger_is_lost(self) -> None:
        """No process of the old one is alive; what Rally has is found again."""
        self._rest()
        self.ledger.store.close()
        self.ledger = in_memory()
        self.found_again = set(self.attempts)
        self.settled_otherwise.clear()

    @rule()
    def all_is_quiet(self) -> None:
        """One pass without trouble leaves nothing to do, and Rally holds what it should."""
        for pipeline in self.pipelines:
            self.gitlab.change(pipeline, "success")
        self._rest()
        planned = self._reconcile(dry_run=True).actions
        before, had = len(self.rally.requests), set(self.rally.attached)
        outcome = self._reconcile()
        assert (outcome.exit_status, outcome.summary["left"]) == (0, 0), outcome
        sent = {str(key) for keys in self.rally.requests[before:] for key in keys}
        assert sent == {action["key"] for action in planned if action["kind"] == "result"}
        self._compare_plan(planned, had)
        again = self._reconcile()
        assert (again.summary["writes"], again.summary["pipelines_read"], again.summary["left"]) == (0, 0, 0)
        accounting.check(self.ledger.store, settled=True, skips_count=False)
        self._compare()

    def _pass(self) -> None:
        with suppress(Killed, ReconcilerError):
            self._reconcile()

    def _reconcile(self, *, dry_run: bool = False) -> Outcome:
        world = World(self.gitlab, self.rally, self.ledger, self.settings, threading.Event(), self.clock)
        rows = [Row(place, f"shop.{name}", said) for place, (name, said) in enumerate(self.rows.items())]
        return reconcile(world, rows, Order("once", dry_run=dry_run))

    def _rest(self) -> None:
        now = self.clock.advance(400)
        self.rally.land(begun_before=now)

    # --- what should be ---

    def _targets(self, name: str) -> list[str]:
        said = self.rows.get(name)
        if said is not None:
            return [] if said == "-" else [said]
        return name.split("_")[1:]

    def _counted(self, specs: tuple[str, ...] | list[str]) -> set[str]:
        """Tell the test cases that these tests have a verdict for."""
        return {i for spec in specs if "?" not in spec for i in self._targets(spec.rstrip("!?~"))}

    def _newest(self, pipeline: PipelineId) -> list[Attempt]:
        return [tries[-1] for tries in self.attempts[pipeline].values() if tries]

    def _there(self) -> set[FormattedID]:
        return {case.formatted_id for case in self.rally.cases.values()}

    def _refuses(self, result: TestCaseResult, refused: str) -> str:
        if result.key.formatted_id != refused:
            return ""
        self.settled_otherwise.add((result.key.pipeline_id, refused))
        return "Validation error: no"

    def _wanted(self) -> dict[Pair, str]:
        """Tell the verdict that each pair's newest revision should have."""
        marks: dict[Pair, set[str]] = defaultdict(set)
        for pipeline in self.attempts:
            for spec in [spec for attempt in self._newest(pipeline) for spec in attempt.specs]:
                for formatted_id in self._counted([spec]):
                    marks[pipeline, formatted_id].add(_mark(spec))
        return {pair: WORDS[min(found, key=WORST_FIRST.index)] for pair, found in marks.items()}

    def _compare(self) -> None:
        newest: dict[Pair, tuple[int, str, ObjectID]] = {}
        for number, one in self.rally.stored.items():
            pair = one.key.pipeline_id, str(one.key.formatted_id)
            newest[pair] = max(newest.get(pair, (0, "", number)), (one.key.revision, one.verdict, number))
        there = self._there()
        store = self.ledger.store
        evidence_model.rows_are_true(store, self.rally, self.deleted)
        for pair, verdict in self._wanted().items():
            if pair[1] in there and pair not in self.settled_otherwise:
                _, said, number = newest[pair]
                assert said == verdict, (pair, newest[pair], verdict)
                if pair not in self.not_foretold:
                    wanted = self._uploads(pair)
                    evidence_model.has_all(store, self.rally, number, wanted, self.deleted.values())
        if not (self.found_again or self.deleted):
            evidence_model.orphans_are_counted(store, self.rally)

    def _uploads(self, pair: Pair) -> set[tuple[str, bytes]]:
        """Tell what a pair's newest revision should have been given."""
        pipeline, formatted_id = pair
        return evidence_model.uploads(
            (attempt, [spec for spec in attempt.specs if formatted_id in self._counted([spec])])
            for attempt in self._newest(pipeline)
        )

    def _compare_plan(self, planned: Sequence[dict[str, Any]], had: set[ObjectID]) -> None:
        """See that what was announced was attached, and nothing else."""
        there = self._there()
        said = Counter(
            (row["build"], row["test_case"], row["name"], row["size"])
            for row in planned
            if row["kind"] == "attachment" and row["test_case"] in there
        )
        done: Counter[tuple[str, str, str, int]] = Counter()
        for new in [one for number, one in self.rally.attached.items() if number not in had]:
            result = self.rally.stored[new.result]
            done[result.build, result.key.formatted_id, new.name, new.size_bytes] += 1
        assert done == said

    @invariant()
    def every_test_is_accounted_for(self) -> None:
        """Audit the books, whatever was broken off."""
        accounting.check(self.ledger.store)

    @invariant()
    def nothing_is_doubled(self) -> None:
        """No key is in Rally twice, and no file on a result."""
        self.rally.results()
        evidence_model.has_no_doubles(self.rally)

    def teardown(self) -> None:
        """End every story well."""
        try:
            self.all_is_quiet()
        finally:
            self.ledger.store.close()
            logger.enable("reconciler")


test_nothing_is_doubled_and_nothing_is_lost = Machine.TestCase
test_nothing_is_doubled_and_nothing_is_lost.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=30,
    deadline=None,
    derandomize="MACHINE_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
