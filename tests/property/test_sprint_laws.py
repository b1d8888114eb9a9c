"""What holds for sprints whatever Rally schedules, whoever else makes sets, and in whatever order it is told."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, assert_never

from hypothesis import given
from hypothesis import strategies as st

from reconciler import sprints
from reconciler.model import FormattedID, Iteration, ObjectID, TestSet
from reconciler.sprints import (
    Adopt,
    Create,
    Forget,
    Home,
    Known,
    Membership,
    Scheduled,
    Wait,
    Withdraw,
    decide,
    home_of,
    place,
)
from tests.fakes import START

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from reconciler.sprints import Placed, Unplaced

_times = st.integers(0, 4).map(lambda hours: START + timedelta(hours=hours))
_ids = st.integers(1, 6).map(ObjectID)
_projects = st.integers(1, 3).map(ObjectID)
_names = st.sampled_from(["Sprint 42", 'Sprint "43" & (ü)'])
_iterations = st.builds(
    Iteration,
    object_id=_ids,
    name=_names,
    starts_at=st.just(START),
    ends_at=_times,
    project_id=_projects,
    project_name=st.just("Web Shop"),
)
_some_iterations = st.lists(_iterations, min_size=1, max_size=6, unique_by=lambda one: one.object_id)


def _units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


# --- names -----------------------------------------------------------------------------------------------------------


@given(
    st.sampled_from(["Sprint-{N}-Automated-Tests", "{iteration}", "{project}: {N} {iteration}"]),
    st.sampled_from(["", r"(?P<N>\d+)", r"S(?P<N>x)?"]),
    st.text(max_size=80) | st.text("😀 a", max_size=80),
    st.text(max_size=20),
    st.integers(2, 90),
)
def test_a_name_is_one_that_rally_can_take_and_would_give_back_as_it_is(
    template: str, pattern: str, name: str, project: str, limit: int
) -> None:
    """Within the limit, with no blank that Rally would strip: what is looked up is what was written."""
    iteration = Iteration(ObjectID(1), name, START, START, ObjectID(1), project)
    made = [sprints.set_name(template, pattern, iteration, limit), sprints.folder_name(pattern, iteration, limit)]
    whole = [sprints.set_name(template, pattern, iteration, 9_999), sprints.folder_name(pattern, iteration, 9_999)]
    for name_made, name_whole in zip(made, whole, strict=True):
        assert _units(name_made) <= limit
        assert name_made == " ".join(name_made.split())
        assert name_whole.startswith(name_made)
        assert _units(name_whole) > limit or name_made == name_whole


@given(st.text("ab (", max_size=9), st.integers(0, 10**9), st.text("yz -", max_size=9))
def test_the_last_number_is_found_whatever_stands_around_it(before: str, number: int, after: str) -> None:
    """Also when another number stands before it."""
    assert sprints.number_of(f"{before}{number}{after}", "") == str(number)
    assert sprints.number_of(f"7{before} {number}{after}", "") == str(number)


# --- which set is the one --------------------------------------------------------------------------------------------

_NAME = "Sprint-42-Automated-Tests"
_SPRINT = Iteration(ObjectID(1), "Sprint 42", START, START, ObjectID(1), "Web Shop")
_sets = st.lists(
    st.builds(
        TestSet,
        object_id=st.integers(1, 9).map(ObjectID),
        name=st.sampled_from([_NAME, "What people call it"]),
        iteration=st.integers(1, 2).map(ObjectID),
        project=st.integers(1, 2).map(ObjectID),
        created_at=_times,
    ),
    max_size=4,
    unique_by=lambda one: one.object_id,
)
_old = st.builds(
    Known,
    state=st.sampled_from(["done", "gone"]),
    object_id=st.integers(1, 9).map(ObjectID),
    old_enough=st.booleans(),
)
_open = st.builds(Known, state=st.sampled_from(["intended", "refused"]), object_id=st.none(), old_enough=st.booleans())
_known = st.none() | _old | _open


@dataclass(slots=True)
class _Side:
    """One ledger's knowledge of the sprint's set, and the Rally that it shares with others."""

    rally: list[TestSet]
    known: Known | None
    current: bool
    created: int = 0

    def step(self) -> sprints.Step:
        """Decide and carry it out; what it was."""
        step = decide(_SPRINT, _NAME, self.known, self.rally, current=self.current)
        match step:
            case Create():
                self.created += 1
                self.rally.append(_made_last(self.rally))
                self.known = Known("done", self.rally[-1].object_id, old_enough=True)
            case Adopt(test_set):
                self.known = Known("done", test_set.object_id, old_enough=True)
            case Withdraw():
                self.known = None
            case Forget():
                self.known = replace(self.known, state="gone") if self.known else None
            case None:
                pass
            case _:
                assert_never(step)
        return step

    def settled(self) -> None:
        """Take steps to the fixed point, which is never far; nothing that is open stays so for ever."""
        for _ in range(3):
            if self.step() is None:
                break
        if self.known and self.known.state == "intended":
            assert not self.known.old_enough
            self.known = replace(self.known, old_enough=True)
            self.settled()
        assert self.step() is None


def _made_last(rally: list[TestSet]) -> TestSet:
    number = ObjectID(max((one.object_id for one in rally), default=0) + 1)
    return TestSet(number, _NAME, _SPRINT.object_id, _SPRINT.project_id, START + timedelta(days=number))


@given(_sets, _known, st.booleans(), st.randoms(use_true_random=False))
def test_a_decision_depends_on_what_is_there_and_not_on_its_order(
    found: list[TestSet],
    known: Known | None,
    current: bool,  # noqa: FBT001 - drawn
    random: Random,
) -> None:
    """Rally's pages come as they come, and what is elsewhere says nothing."""
    ask = partial(decide, _SPRINT, _NAME, known, current=current)
    here = [one for one in found if (one.iteration, one.project) == (1, 1)]
    shuffled = list(found)
    random.shuffle(shuffled)
    assert ask(found) == ask(shuffled) == ask(here)


@given(_sets, _known, st.booleans())
def test_carrying_out_decisions_comes_to_rest_with_the_oldest_set_or_with_none(
    found: list[TestSet],
    known: Known | None,
    current: bool,  # noqa: FBT001 - drawn
) -> None:
    """At most one is ever created, only for a current sprint, and never beside one of the name."""
    fitting = {one.object_id for one in sprints.alike(_SPRINT, _NAME, known, found)}
    side = _Side(list(found), known, current)
    side.settled()
    assert side.created == int(current and not fitting and (known is None or known.state == "intended"))
    left = sprints.alike(_SPRINT, _NAME, side.known, side.rally)
    has_one = side.known is not None and side.known.state == "done"
    assert has_one == bool(left)
    if side.known and has_one:
        assert side.known.object_id == left[0].object_id


@given(_sets.map(lambda found: [replace(one, name=_NAME) for one in found]), st.lists(st.booleans(), max_size=8))
def test_two_ledgers_come_to_rest_with_the_same_set(found: list[TestSet], turns: list[bool]) -> None:
    """Whoever looked first and whoever created one meanwhile; sets are only ever added."""
    rally = list(found)
    stale = list(found)
    first, second = _Side(rally, None, current=True), _Side(rally, None, current=True)
    late = _Side(stale, None, current=True)
    late.step()  # decided on what Rally had before the others wrote
    if late.created:
        rally.append(replace(stale[-1], object_id=ObjectID(99), created_at=START + timedelta(days=99)))
        late.known = Known("done", ObjectID(99), old_enough=True)
    late.rally = rally
    for turn in turns:
        (first if turn else second).step()
    for side in (first, second, late):
        side.settled()
    assert first.known
    assert first.known.state == "done"
    assert first.known.object_id == second.known.object_id == late.known.object_id  # type: ignore[union-attr] # rests with one, like the first


# --- which test case is in which set ---------------------------------------------------------------------------------


@st.composite
def _plans(draw: st.DrawFn) -> tuple[list[Scheduled], list[Iteration]]:
    """Draw iterations, and test cases scheduled in them, each of one project."""
    iterations = draw(_some_iterations)
    projects = draw(st.lists(_projects, min_size=5, max_size=5))
    places = st.tuples(st.sampled_from(iterations), st.integers(0, 4))
    scheduled = [
        Scheduled(iteration.object_id, ObjectID(case), FormattedID(f"TC{case}"), projects[case])
        for iteration, case in draw(st.lists(places, max_size=12))
    ]
    return scheduled, iterations


@given(_plans())
def test_each_scheduled_test_case_has_one_place_or_one_reason(plan: tuple[list[Scheduled], list[Iteration]]) -> None:
    """In a set of its own project, of a sprint alike in name and dates; and what was not scheduled has neither."""
    scheduled, iterations = plan
    placed, unplaced = place(scheduled, iterations)
    by_id = {one.object_id: one for one in iterations}
    assert len(_keys(placed) | _keys(unplaced)) == len(placed) + len(unplaced)
    for asked in scheduled:
        home = by_id[asked.iteration]
        taking = [
            by_id[one.iteration]
            for one in placed
            if one.test_case == asked.test_case and _alike(by_id[one.iteration], home)
        ]
        complaints = [one for one in unplaced if (one.iteration, one.test_case) == (home.object_id, asked.test_case)]
        assert bool(taking) != bool(complaints)
        assert {one.project_id for one in taking} <= {asked.project}
        assert home in taking or asked.project != home.project_id
    assert {case for _, case in _keys(placed) | _keys(unplaced)} == {one.test_case for one in scheduled}


def _keys(told: Sequence[Placed] | Sequence[Unplaced]) -> set[tuple[ObjectID, ObjectID]]:
    return {(one.iteration, one.test_case) for one in told}


def _alike(one: Iteration, other: Iteration) -> bool:
    return (one.name, one.starts_at, one.ends_at) == (other.name, other.starts_at, other.ends_at)


@given(_plans())
def test_places_do_not_depend_on_the_order_of_the_answers(plan: tuple[list[Scheduled], list[Iteration]]) -> None:
    """Else a test case would be put into one set today and into another tomorrow."""
    scheduled, iterations = plan
    forth, back = place(scheduled, iterations), place(scheduled[::-1], iterations[::-1])
    assert [set(forth[0]), set(forth[1])] == [set(back[0]), set(back[1])]


@given(_plans(), _iterations)
def test_a_further_sprint_takes_no_test_case_out_of_a_set(
    plan: tuple[list[Scheduled], list[Iteration]], further: Iteration
) -> None:
    """A younger one only gives places to test cases that had none."""
    scheduled, iterations = plan
    before, _ = place(scheduled, iterations)
    after, _ = place(scheduled, [*iterations, replace(further, object_id=ObjectID(99))])
    assert set(before) <= set(after)


# --- which set a result carries --------------------------------------------------------------------------------------

_memberships = st.lists(
    st.builds(
        Membership,
        iteration=_ids,
        starts_at=_times,
        ends_at=_times.map(lambda time: time + timedelta(minutes=59, seconds=59)),
        test_set=st.none() | _ids,
        is_sure=st.booleans(),
        is_hopeless=st.booleans(),
    ),
    max_size=5,
    unique_by=lambda one: one.iteration,
)
_dates = st.integers(-1, 4 * 3600 + 3601).map(lambda seconds: START + timedelta(seconds=seconds, microseconds=5))


@given(_dates, _memberships)
def test_a_result_only_ever_carries_a_confirmed_set_whose_sprint_contains_its_date(
    date: datetime, memberships: list[Membership]
) -> None:
    """It waits only where one of them may still be confirmed, and goes without only where none can."""
    when = date.replace(microsecond=0)
    hopeful = [one for one in memberships if one.starts_at <= when <= one.ends_at and not one.is_hopeless]
    match home_of(date, memberships):
        case Home(test_set):
            assert any(one.test_set == test_set and one.is_sure for one in hopeful)
        case Wait():
            assert any(not one.is_sure or one.test_set is None for one in hopeful)
        case None:
            assert hopeful == []


@given(_dates, _memberships)
def test_the_home_is_the_same_in_any_order_and_what_is_elsewhere_does_not_matter(
    date: datetime, memberships: list[Membership]
) -> None:
    """A sprint before or after has no say."""
    there = [one for one in memberships if one.starts_at <= date <= one.ends_at + timedelta(seconds=1)]
    assert home_of(date, memberships) == home_of(date, memberships[::-1]) == home_of(date, there)


# --- halving ---------------------------------------------------------------------------------------------------------


@given(st.lists(_ids, min_size=2, max_size=100))
def test_halving_again_and_again_comes_to_single_ones_soon(cases: list[ObjectID]) -> None:
    """A hundred in seven rounds; nothing is lost on the way."""
    groups = [list(cases)]
    for _ in range(7):
        groups = [list(half) for group in groups for half in (sprints.in_halves(group) if len(group) > 1 else [group])]
    assert [[case] for case in cases] == groups
