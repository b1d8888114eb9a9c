"""Whatever people plan, Rally answers and the power supply does: one set of ours for each sprint, and results in it."""

from __future__ import annotations

import os
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from loguru import logger

from reconciler import sprints
from reconciler.config.settings import SprintsSettings
from reconciler.errors import NotDone, ReconcilerError, ServiceDown, Unauthorized
from reconciler.ledger import views
from reconciler.ledger.ledger import in_memory
from reconciler.model import Move, NewTestFolder, NewTestSet
from reconciler.order import Order
from reconciler.reconcile import reconcile
from reconciler.world import World
from tests import accounting, building
from tests.fake_sprints import ROOT, AddMembers
from tests.fakes import Clock, FakeGitLab, FakeRally
from tests.fates import Killed, fails, killed, later, says_no, silent
from tests.property.sprint_model import Registry, by_hand_too, conflict, is_in, order

if TYPE_CHECKING:
    from reconciler.model import Iteration, ObjectID, TestCase, TestCaseResult, WorkItem
    from reconciler.world import Outcome
    from tests.fakes import Step

EXAMPLES = int(os.environ.get("MACHINE_EXAMPLES", "30"))
pytestmark = pytest.mark.timeout(86_400 if "MACHINE_EXAMPLES" in os.environ else 600)
STILL_ALIVE_S = 300
"""How long a request that gave no answer may go on in Rally; below `settle_after_seconds`."""
SETTLED_S, DAY_S = 400, 86_400
NO = "Validation error: no"
NOT_IN_SET = "Could not set value for Test Set"
CASES = ("TC1", "TC2", "TC3", "TC4")
OURS, OTHERS = 0, 1
"""Ledgers; the other one's process looks after sprints alone."""

_place = st.integers(0, 99)
_formatted_id = st.sampled_from(CASES)

_fate = st.one_of(
    st.builds(silent, st.integers(0, 1)),
    st.builds(killed, st.integers(0, 1)),
    st.builds(later),
    st.sampled_from(
        [
            fails(NotDone("turned away", retry_after_s=0.0)),
            fails(ServiceDown("Rally", "away")),
            fails(Unauthorized("no")),
            says_no([0], NO),
            FakeRally.carry_out,
            FakeRally.carry_out,
        ]
    ),
)
_trouble = st.sampled_from(
    [later(), later(), silent(0), silent(1), killed(0), killed(1), by_hand_too, fails(NotDone("no", retry_after_s=0.0))]
)
_kind = st.sampled_from([NewTestSet, AddMembers, AddMembers, NewTestFolder, Move])


class Machine(RuleBasedStateMachine):
    """Two projects with sprints, four test cases, and two ledgers of which one may get lost.

    Who must be in a set, and which set a result must carry, is told from what Rally schedules at that moment.
    """

    def __init__(self) -> None:
        """Start with a sprint of two weeks in the root project, and a story in it."""
        super().__init__()
        logger.disable("reconciler")
        self.clock = Clock()
        self.gitlab = FakeGitLab(self.clock)
        self.project = self.gitlab.add_project()
        self.rally = Registry(self.clock, refuses_twice=True, inspect=self._inspect)
        self.projects = (ROOT, self.rally.add_project("Mobile"))
        self.ledgers = [in_memory(), in_memory()]
        self.by_hand: set[ObjectID] = set()
        """Iterations that were renamed, or whose sets people made or took away."""
        self.without_set: set[str] = set()
        """FormattedIDs whose results Rally takes with no set."""
        self.seen: set[tuple[ObjectID, ObjectID]] = set()
        """Members of sets."""
        self.noted: list[tuple[TestCaseResult, Iteration | None, list[Iteration]]] = []
        """Results that were created in this pass, the sprint whose set they carry, and those they belong in."""
        self.conflicts = self.number = 0
        self.sprint_begins(days=14, project=0)
        self.story_changes(None, 0)
        for place, formatted_id in enumerate(CASES):
            self.rally.add_case(formatted_id, of=self._items()[0] if place < 3 else None)

    @initialize(
        folder=st.sampled_from(["off", "create", "move"]),
        template=st.sampled_from(["Sprint-{N}-Automated-Tests", "{iteration}", "{project} {N}"]),
    )
    def begins(self, folder: str, template: str) -> None:
        """Choose a config."""
        config = building.settings(building.rally_settings(max_concurrency=1))
        self.settings = replace(config, sprints=SprintsSettings(test_folder=folder, test_set_name=template))

    # --- what is planned ---

    @rule(days=st.sampled_from([1, 7, 14]), project=st.integers(0, 1))
    def sprint_begins(self, days: int, project: int) -> None:
        """Plan one that is on from now."""
        self.number += 1
        begins = self.clock.advance(1).replace(microsecond=0)
        name = f'Sprint "{self.number}" & (ü)'
        self.rally.add_iteration(name, begins, begins + timedelta(days=days), self.projects[project])

    @rule(which=_place, what=st.sampled_from(["twin", "renamed", "renamed", "shorter", "longer"]))
    def sprint_changes(self, which: int, what: str) -> None:
        """Plan it in the other project too, give it another number, or move its end: perhaps it is over by that."""
        one = self._sprint(which)
        match what:
            case "twin":
                other = next(project for project in self.projects if project != one.project_id)
                if all((twin.name, twin.project_id) != (one.name, other) for twin in self.rally.sprints.values()):
                    self.rally.add_iteration(one.name, one.starts_at, one.ends_at, other)
            case "renamed":
                self.number += 1
                self.by_hand.add(self.rally.change_iteration(one, name=f"Part {self.number}").object_id)
            case _:
                days = timedelta(days=2 if what == "longer" else -3)
                self.rally.change_iteration(one, ends_at=max(one.starts_at, one.ends_at + days))

    @rule(which=st.none() | _place, where=st.none() | _place)
    def story_changes(self, which: int | None, where: int | None) -> None:
        """Let one come, or move one into another sprint or into none."""
        sprint = None if where is None else self._sprint(where)
        if which is None:
            self.rally.add_item(sprint)
        else:
            self.rally.schedule(self._items()[which % len(self._items())], sprint)

    @rule(formatted_id=_formatted_id, which=_place, what=st.sampled_from(["linked", "moved", "deleted", "back"]))
    def test_case_changes(self, formatted_id: str, which: int, what: str) -> None:
        """Make it another story's or project's, put it into the recycle bin, or take it out."""
        if what == "deleted":
            self.rally.delete_case(formatted_id)
        if what == "back":
            self.rally.restore_case(formatted_id)
        for case in self._cases(formatted_id):
            if what == "linked":
                self.rally.work_products[case.object_id] = self._items()[which % len(self._items())].object_id
            if what == "moved":
                self.rally.cases[case.object_id] = replace(case, project_id=self.projects[which % 2])
            self._touch(self.rally.work_products.get(case.object_id))

    # --- people and test sets ---

    @rule(which=_place, formatted_id=_formatted_id, what=st.sampled_from(["makes", "deletes", "puts in"]))
    def person_changes_a_set(self, which: int, formatted_id: str, what: str) -> None:
        """Make one of the name that ours has, delete one, or put a test case into one."""
        cases = self._cases(formatted_id)
        if what == "makes":
            sprint = self._sprint(which)
            name = sprints.set_name(self.settings.sprints.test_set_name, "", sprint, self.rally.longest_name)
            self.rally.add_set_by_hand(name, sprint, *cases)
            self.by_hand.add(sprint.object_id)
        elif self.rally.sets:
            number = sorted(self.rally.sets)[which % len(self.rally.sets)]
            if what == "puts in":
                self.rally.enrolled[number] |= {case.object_id for case in cases}
            else:
                self.by_hand.add(self.rally.sets[number].iteration)
                self.rally.delete_set(number)

    # --- passes ---

    @rule(
        which=_place,
        kind=_kind,
        fate=_trouble,
        then=st.sampled_from(["", "renamed", "renamed", "over", "result", "set", "another"]),
    )
    def sprint_begins_with_trouble(self, which: int, kind: type, fate: Step, then: str) -> None:
        """Meet trouble over the first writes of a new sprint; make a pass before that can be settled, and one after."""
        newest = self._sprint_with_cases(which)
        self.rally.fates[kind] = fate
        self._pass()
        self.rally.fates.clear()
        match then:
            case "renamed":
                self.sprint_changes(newest, "renamed")
            case "over":
                self.clock.advance(8 * DAY_S)
            case "result":
                self.pipeline_finishes(set(CASES))
            case "set":
                self.person_changes_a_set(newest, CASES[0], "makes")
            case "another":
                self._sprint_with_cases(which + 1)
        self._pass()
        self._rest()
        self._pass()

    def _sprint_with_cases(self, which: int) -> int:
        """Begin a sprint whose story has some of the test cases; its place."""
        self.sprint_begins(days=7, project=int(which % 4 == 0))
        newest = len(self.rally.sprints) - 1
        self.story_changes(None, newest)
        for formatted_id in CASES[which % 3 :]:
            self.test_case_changes(formatted_id, len(self.rally.items) - 1, "linked")
        return newest

    @rule(which=_place, kind=_kind, fate=_trouble, then=st.sampled_from(["renamed", "another"]))
    def another_sprint_begins_with_trouble(self, which: int, kind: type, fate: Step, then: str) -> None:
        """Let it happen more often."""
        self.sprint_begins_with_trouble(which, kind, fate, then)

    @rule(formatted_ids=st.sets(_formatted_id, min_size=1))
    def pipeline_finishes(self, formatted_ids: set[str]) -> None:
        """Run a test for each of these."""
        pipeline = self.gitlab.add_pipeline(self.project)
        self.gitlab.add_job(pipeline, "unit", *[f"test_{one}" for one in sorted(formatted_ids)])

    @rule(fates=st.lists(_fate, max_size=5), ledger=st.sampled_from([OURS, OURS, OTHERS]))
    def pass_with_trouble_over_sprints(self, fates: list[Step], ledger: int) -> None:
        """Each request that is to write about sprints meets its fate."""
        self.rally.sprint_steps.extend(fates)
        self._pass(ledger)
        self.rally.sprint_steps.clear()

    @rule(fates=st.lists(_fate, max_size=3))
    def pass_with_trouble_over_results(self, fates: list[Step]) -> None:
        """Each request that is to create results meets its fate."""
        self.rally.steps.extend(fates)
        self._pass()
        self.rally.steps.clear()

    @rule(formatted_id=_formatted_id)
    def pass_in_which_rally_refuses_a_member(self, formatted_id: str) -> None:
        """And, with it, whatever is in its request."""
        bad = {case.object_id for case in self._cases(formatted_id)}
        self.rally.refuses_member = lambda _, case: NO if case in bad else ""
        self._pass()
        self.rally.refuses_member = lambda _set, _case: ""

    @rule(formatted_id=_formatted_id)
    def pass_in_which_rally_takes_no_set_for_a_test_case(self, formatted_id: str) -> None:
        """Let results go without."""
        self.without_set.add(formatted_id)
        self.rally.refuses = lambda one: NOT_IN_SET if one.test_set and one.key.formatted_id in self.without_set else ""
        self._pass()
        self.without_set.clear()

    @precondition(lambda self: self.conflicts < 1)  # each costs a wait
    @rule(which=_place, kind=_kind)
    def sprint_begins_with_a_conflict(self, which: int, kind: type) -> None:
        """Let another writer be in the way once."""
        self.conflicts += 1
        self.sprint_begins_with_trouble(which, kind, conflict, "")

    @rule(seconds=st.sampled_from([10, 200, SETTLED_S, 3_600, DAY_S]))
    def time_passes(self, seconds: int) -> None:
        """Let what was alive in Rally end after a while."""
        now = self.clock.advance(seconds)
        self.rally.land(begun_before=now - timedelta(seconds=STILL_ALIVE_S))

    @rule()
    def ledger_is_lost(self) -> None:
        """No process of the old one is alive; what Rally has is found again."""
        self._rest()
        self.ledgers[OURS].store.close()
        self.ledgers[OURS] = in_memory()

    @rule()
    def all_is_quiet(self) -> None:
        """One pass without trouble makes what it announces, and leaves nothing to do; then sets are filled."""
        self._rest()
        if not self._believable():
            self.clock.advance(DAY_S + 1)
        planned = self._reconcile(dry_run=True).actions
        sets, members, sent = set(self.rally.sets), self._members(), len(self.rally.requests)
        outcome = self._reconcile()
        assert (outcome.exit_status, outcome.summary["left"]) == (0, 0), outcome
        assert self._said(planned, "test_set", "name") == {
            one.name for number, one in self.rally.sets.items() if number not in sets
        }
        put_in = {self._name_of(case) for _, case in self._members() - members}
        assert put_in <= self._said(planned, "member", "test_case") <= put_in | self._away()
        keys = {str(key) for request in self.rally.requests[sent:] for key in request}
        assert keys == self._said(planned, "result", "key")
        again = self._reconcile()
        assert (again.exit_status, again.summary["writes"], again.summary["left"]) == (0, 0, 0), again
        self._sets_are_filled()
        assert self._reconcile(OTHERS).exit_status == 0
        self._reconcile()
        self._both_use_one()

    # --- what must hold ---

    @invariant()
    def no_ledger_made_two_sets_of_one_sprint(self) -> None:
        """There may be two of two ledgers, and those that people made."""
        made = Counter(
            (id(self.rally.made[number]), one.iteration)
            for number, one in self.rally.sets.items()
            if number in self.rally.made
        )
        assert max(made.values(), default=1) == 1, self.rally.sets

    @invariant()
    def nobody_is_taken_out_of_a_set(self) -> None:
        """Whatever becomes of the story."""
        there = self._members()
        assert self.seen <= there
        self.seen = there

    @invariant()
    def no_result_is_doubled_and_none_is_lost(self) -> None:
        """Each key is in Rally once, and each test in one state."""
        self.rally.results()
        for ledger in self.ledgers:
            accounting.check(ledger.store)

    @invariant()
    def nobody_is_refused_who_is_in_already(self) -> None:
        """See that a No to putting somebody in twice is not taken for a No to the test case."""
        for ledger in self.ledgers:
            for row in views.sprints(ledger.store):
                assert not any("duplicates" in one["reason"] for one in row["refused"]), row

    @invariant()
    def folders_are_made_once(self) -> None:
        """Where no other ledger looks after the same sprints."""
        if not self.rally.races:
            places = Counter((one.name, one.project, one.parent) for one in self.rally.folders.values())
            assert max(places.values(), default=1) == 1, places

    def _inspect(self, result: TestCaseResult) -> None:
        """Note what the result's set should be; judged after the pass, for this is another thread than the ledger's."""
        if self._believable() and self.rally.ledger is not None:
            homes = [one for one in self._homes(self.rally.cases[result.test_case]) if is_in(one, result.date)]
            carried = self.rally.sprints[self.rally.sets[result.test_set].iteration] if result.test_set else None
            self.noted.append((result, carried, homes))

    def _judge(self) -> None:
        """See that each result carries the set of a sprint of its date, and that of the one it belongs in."""
        for result, carried, homes in self.noted:
            assert carried is None or is_in(carried, result.date), result
            for sprint in homes:
                known = self.ledgers[OURS].sprints.known_set(sprint.object_id, self.clock())
                if known and known.state == "done" and result.test_case not in self._refused(sprint):
                    assert carried is not None, (result, sprint)
                    assert order(carried) >= order(sprint), (result, sprint)
        self.noted.clear()

    def _sets_are_filled(self) -> None:
        """See that who is scheduled is in the set of the sprint in the test case's project."""
        for case in self.rally.cases.values():
            for sprint in self._homes(case) if self._believable() else ():
                known = self.ledgers[OURS].sprints.known_set(sprint.object_id, self.clock())
                assert known is not None
                if known.state != "done" or case.object_id in self._refused(sprint):
                    continue
                assert known.object_id is not None
                assert case.object_id in self.rally.enrolled[known.object_id], (sprint, case)

    def _both_use_one(self) -> None:
        """See that two ledgers agree on a sprint's set: the oldest of its name."""
        for sprint in self._current() if self._believable() else ():
            known = [ledger.sprints.known_set(sprint.object_id, self.clock()) for ledger in self.ledgers]
            if sprint.object_id not in self.by_hand and all(one and one.state == "done" for one in known):
                assert len({one.object_id for one in known if one}) == 1, (sprint, known)

    # --- beneath ---

    def _homes(self, case: TestCase) -> list[Iteration]:
        """Tell the sprints in whose sets a test case belongs now: of its own project, or their twins there."""
        item = self.rally.items.get(self.rally.work_products.get(case.object_id, ROOT))
        home = self.rally.sprints.get(item.iteration) if item else None
        if home is None or home not in self._current():
            return []
        like = (home.name, home.starts_at, home.ends_at)
        twins = [one for one in self._current() if (one.name, one.starts_at, one.ends_at) == like]
        return [one for one in twins if one.project_id == case.project_id]

    def _current(self) -> list[Iteration]:
        return [one for one in self.rally.sprints.values() if one.starts_at <= self.clock() <= one.ends_at]

    def _believable(self) -> bool:
        """Tell whether an answer of Rally's is not empty; an empty one is not believed for a day."""
        return any(item.iteration in {one.object_id for one in self._current()} for item in self._items())

    def _refused(self, sprint: Iteration) -> set[int]:
        sql = "SELECT test_case FROM members WHERE iteration_id = ? AND state = 'refused'"
        return {row[0] for row in self.ledgers[OURS].store.rows(sql, [sprint.object_id])}

    def _pass(self, ledger: int = OURS) -> None:
        with suppress(Killed, ReconcilerError):
            self._reconcile(ledger)

    def _reconcile(self, ledger: int = OURS, *, dry_run: bool = False) -> Outcome:
        self.rally.ledger = self.ledgers[ledger]
        world = World(self.gitlab, self.rally, self.ledgers[ledger], self.settings, threading.Event(), self.clock)
        alone = ledger == OTHERS
        self.rally.races |= alone
        try:
            return reconcile(world, (), Order("once", dry_run=dry_run, collects=not alone, sends=not alone))
        finally:
            self.rally.ledger = None
            self._judge()

    def _rest(self) -> None:
        self.rally.land(begun_before=self.clock.advance(SETTLED_S))

    def _touch(self, item: ObjectID | None) -> None:
        if item is not None:
            self.rally.items[item] = replace(self.rally.items[item], updated_at=self.clock.tick())

    def _said(self, planned: tuple[dict[str, str], ...], kind: str, what: str) -> set[str]:
        return {action[what] for action in planned if action["kind"] == kind}

    def _away(self) -> set[str]:
        return set(CASES) - {case.formatted_id for case in self.rally.cases.values()}

    def _name_of(self, case: ObjectID) -> str:
        return self.rally.cases[case].formatted_id

    def _sprint(self, which: int) -> Iteration:
        return list(self.rally.sprints.values())[which % len(self.rally.sprints)]

    def _items(self) -> list[WorkItem]:
        return list(self.rally.items.values())

    def _cases(self, formatted_id: str) -> list[TestCase]:
        return [case for case in self.rally.cases.values() if case.formatted_id == formatted_id]

    def _members(self) -> set[tuple[ObjectID, ObjectID]]:
        return {(number, case) for number, cases in self.rally.enrolled.items() for case in cases}

    def teardown(self) -> None:
        """End every story well."""
        try:
            self.all_is_quiet()
        finally:
            for ledger in self.ledgers:
                ledger.store.close()
            logger.enable("reconciler")


test_each_sprint_has_one_set_and_its_results_are_in_it = Machine.TestCase
test_each_sprint_has_one_set_and_its_results_are_in_it.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=30,
    deadline=None,
    derandomize="MACHINE_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
