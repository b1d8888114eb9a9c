"""What holds for the planner whatever was read and sent before."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.model import FormattedID, JobId, ObjectID, Outcome, PipelineId, ProjectId
from reconciler.plan import Absorb, Action, Add, Element, Entry, Group, Verdicts, badness, missing
from tests.fakes import START

WORST_FIRST = ["Error", "Fail", "Blocked", "Inconclusive", "Own Word", "Pass"]
_words = st.sampled_from(WORST_FIRST)
_verdicts = st.builds(Verdicts, skipped=_words, flaky=_words)
_elements = st.lists(
    st.builds(
        Element,
        test_id=st.integers(1, 9),
        job_id=st.integers(1, 3).map(JobId),
        finished_at=st.integers(0, 99).map(lambda minutes: START + timedelta(minutes=minutes)),
        outcome=st.sampled_from(Outcome),
        flaky=st.booleans(),
        duration_s=st.floats(0, 1e5),
        was=st.sampled_from(["read", "held", "ignored", "remapped"]),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda element: element.test_id,
)
_entry = st.builds(
    Entry,
    entry_id=st.integers(1, 99),
    revision=st.just(0),
    verdict=_words,
    state=st.sampled_from(["intended", "done", "refused"]),
    tests=st.frozensets(st.integers(1, 9), max_size=4),
)


@st.composite
def _groups(draw: st.DrawFn) -> Group:
    """Draw a group whose entries have rising revisions, not always without gaps, and distinct ids."""
    entries = draw(st.lists(_entry, max_size=3, unique_by=lambda entry: entry.entry_id))
    revisions = sorted(draw(st.sets(st.integers(1, 9), min_size=len(entries), max_size=len(entries))))
    numbered = [replace(entry, revision=revision) for entry, revision in zip(entries, revisions, strict=True)]
    elements = tuple(draw(_elements))
    return Group(
        ProjectId(1), PipelineId(7), 3, FormattedID("TC1"), ObjectID(11), elements, tuple(numbered)
    )  # fmt: skip


def _plan(group: Group, verdicts: Verdicts) -> Action | None:
    actions = list(missing([group], verdicts))
    assert len(actions) <= 1
    return actions[0] if actions else None


def _carried_out(group: Group, action: Action) -> Group:
    """Give the group as it is after the action was carried out and confirmed."""
    match action:
        case Add():
            done = Entry(1000, action.key.revision, action.verdict, "done", frozenset(action.tests))
            return replace(group, entries=(*group.entries, done))
        case Absorb():
            entries = [
                replace(entry, tests=entry.tests | set(action.tests)) if entry.entry_id == action.entry_id else entry
                for entry in group.entries
            ]
            return replace(group, entries=tuple(entries))


def _word(element: Element, verdicts: Verdicts) -> str:
    if element.outcome is Outcome.PASSED:
        return verdicts.flaky if element.flaky else "Pass"
    return {Outcome.ERRORED: "Error", Outcome.FAILED: "Fail", Outcome.SKIPPED: verdicts.skipped}[element.outcome]


@given(_groups(), _verdicts)
def test_once_a_plan_is_carried_out_nothing_is_missing(group: Group, verdicts: Verdicts) -> None:
    """The next pass has nothing to do: no endless revisions, no endless absorbing."""
    action = _plan(group, verdicts)
    if action is not None:
        assert _plan(_carried_out(group, action), verdicts) is None


@given(_groups(), _verdicts)
def test_an_added_result_is_new_and_says_what_its_tests_say(group: Group, verdicts: Verdicts) -> None:
    """A revision above all others; the worst verdict, every current test once, worst first, the latest end, the sum."""
    action = _plan(group, verdicts)
    if not isinstance(action, Add):
        return
    assert action.key.revision == max((entry.revision for entry in group.entries), default=0) + 1
    words = {element.test_id: _word(element, verdicts) for element in group.elements}
    assert action.verdict == min(words.values(), key=WORST_FIRST.index)
    assert sorted(action.tests) == sorted(words)
    ranks = [WORST_FIRST.index(words[test]) for test in action.tests]
    assert ranks == sorted(ranks)
    assert action.date == max(element.finished_at for element in group.elements)
    total = math.fsum(element.duration_s for element in group.elements)
    assert abs(action.duration_s - total) <= 0.000_501
    assert action.duration_s == round(action.duration_s, 3)


@given(_groups(), _verdicts)
def test_an_open_intent_is_never_acted_upon(group: Group, verdicts: Verdicts) -> None:
    """Only asking Rally may say what became of it."""
    if group.entries and group.entries[-1].state == "intended":
        assert _plan(group, verdicts) is None


@given(_groups(), _verdicts)
def test_absorbing_is_for_the_newest_result_and_never_takes_a_test_twice(group: Group, verdicts: Verdicts) -> None:
    """A contribution that is there already would be refused by the ledger."""
    action = _plan(group, verdicts)
    if isinstance(action, Absorb):
        newest = group.entries[-1]
        assert action.entry_id == newest.entry_id
        assert not newest.tests & set(action.tests)
        assert len(set(action.tests)) == len(action.tests) > 0
        assert action.decides == (newest.state == "done" and not newest.tests)


@given(_groups(), _verdicts, st.randoms(use_true_random=False))
def test_the_order_of_reading_does_not_matter(group: Group, verdicts: Verdicts, random: object) -> None:
    """The same tests make the same result, whichever job was read first."""
    shuffled = list(group.elements)
    random.shuffle(shuffled)  # type: ignore[attr-defined] # Hypothesis gives a random.Random
    assert _plan(group, verdicts) == _plan(replace(group, elements=tuple(shuffled)), verdicts)


@given(_groups(), _verdicts)
def test_without_a_newcomer_nothing_is_done_whatever_the_config_says_now(group: Group, verdicts: Verdicts) -> None:
    """Config edits never re-send."""
    known = frozenset(element.test_id for element in group.elements)
    if group.entries:
        entries = (replace(group.entries[0], tests=known), *group.entries[1:])
        assert _plan(replace(group, entries=entries), verdicts) is None


@given(_groups(), _verdicts)
def test_re_mapping_and_ignoring_never_send_beside_a_result_of_our_own(group: Group, verdicts: Verdicts) -> None:
    """Newcomers that were neither read since nor held join what is there."""
    if not group.entries or not group.entries[-1].tests:
        return
    elements = tuple(replace(element, was="remapped") for element in group.elements)
    assert not isinstance(_plan(replace(group, elements=elements), verdicts), Add)


@settings(max_examples=50)
@given(_words, _words)
def test_verdicts_rank_as_rally_users_read_them(one: str, other: str) -> None:
    """Error, Fail, Blocked, Inconclusive, a workspace's own words, Pass."""
    assert (badness(one) < badness(other)) == (WORST_FIRST.index(one) < WORST_FIRST.index(other))
