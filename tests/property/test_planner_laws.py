"""What holds of every plan, whatever was read and sent before."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from random import Random  # noqa: TC003 - hypothesis reads the annotations

from hypothesis import given
from hypothesis import strategies as st

from reconciler.model import FormattedID, JobId, ObjectID, Outcome, PipelineId, ProjectId
from reconciler.plan import Absorb, Action, Add, Element, Entry, Group, Verdicts, badness, missing
from tests.fakes import START

_words = st.builds(
    Verdicts, st.sampled_from(["Blocked", "Inconclusive", "Not Run"]), st.sampled_from(["Pass", "Inconclusive"])
)
_element = st.builds(
    Element,
    test_id=st.integers(1, 40),
    job_id=st.builds(JobId, st.integers(1, 3)),
    finished_at=st.builds(lambda minutes: START + timedelta(minutes=minutes), st.integers(0, 5)),
    outcome=st.sampled_from(Outcome),
    flaky=st.booleans(),
    duration_s=st.integers(0, 10**8).map(lambda ms: ms / 1000),
    was=st.sampled_from(["read", "held", "ignored", "remapped"]),
)
_elements = st.lists(_element, min_size=1, max_size=8, unique_by=lambda element: element.test_id)
_verdict = st.sampled_from(["Error", "Fail", "Blocked", "Inconclusive", "Not Run", "Pass"])


@st.composite
def _groups(draw: st.DrawFn) -> Group:
    """Draw a group: entries of rising revision, of which only the newest may be in doubt."""
    elements = draw(_elements)
    tests = st.frozensets(st.integers(1, 40), max_size=6)
    states = draw(st.lists(st.sampled_from(["done", "refused"]), max_size=3))
    in_doubt = draw(st.booleans())
    if states and in_doubt:
        states[-1] = "intended"
    entries = tuple(
        Entry(50 + revision, revision, draw(_verdict), state, draw(tests)) for revision, state in enumerate(states, 1)
    )
    return Group(
        ProjectId(1), PipelineId(100), 5, FormattedID("TC7"), ObjectID(7), tuple(elements), entries
    )  # fmt: skip


def _decide(group: Group, words: Verdicts) -> Action | None:
    actions = list(missing([group], words))
    assert len(actions) <= 1
    return actions[0] if actions else None


def _carried_out(group: Group, action: Action | None, state: str = "done") -> Group:
    """Give the group as it is once the action was carried out."""
    match action:
        case None:
            return group
        case Add(key=key, verdict=verdict, tests=tests):
            made = Entry(99, key.revision, verdict, state, frozenset(tests))
            return replace(group, entries=(*group.entries, made))
        case Absorb(entry_id=entry_id, tests=tests):
            return replace(
                group,
                entries=tuple(
                    replace(entry, tests=entry.tests | set(tests)) if entry.entry_id == entry_id else entry
                    for entry in group.entries
                ),
            )


@given(_groups(), _words, st.sampled_from(["done", "refused", "intended"]))
def test_a_plan_that_was_carried_out_leaves_nothing_missing(group: Group, words: Verdicts, state: str) -> None:
    """Whether Rally took it, refused it, or gave no answer: the second plan is empty."""
    assert _decide(_carried_out(group, _decide(group, words), state), words) is None


@given(_groups(), _words, st.randoms())
def test_the_order_of_reading_does_not_matter(group: Group, words: Verdicts, random: Random) -> None:
    """Not of what is to be sent, and not of what is absorbed."""
    shuffled = list(group.elements)
    random.shuffle(shuffled)
    assert _decide(replace(group, elements=tuple(shuffled)), words) == _decide(group, words)


@given(_groups(), _words)
def test_a_further_revision_is_the_next_one_and_says_what_its_tests_say(group: Group, words: Verdicts) -> None:
    """No gap, no repetition; the first test gave the verdict, the last job the date."""
    action = _decide(group, words)
    if not isinstance(action, Add):
        return
    by_id = {element.test_id: element for element in group.elements}
    said = [words.of(by_id[test].outcome, flaky=by_id[test].flaky) for test in action.tests]
    assert action.key.revision == len(group.entries) + 1
    assert sorted(action.tests) == sorted(by_id)
    assert (action.verdict, sorted(said, key=badness)) == (said[0], said)
    assert action.date == max(element.finished_at for element in group.elements)
    assert action.duration_s >= 0


@given(_groups(), _words)
def test_nothing_is_done_while_an_answer_is_outstanding(group: Group, words: Verdicts) -> None:
    """Only `settle` may say what became of it."""
    if group.entries and group.entries[-1].state == "intended":
        assert _decide(group, words) is None


@given(_groups(), _words)
def test_without_a_test_just_read_or_mapped_nothing_is_sent_again(group: Group, words: Verdicts) -> None:
    """Config edits, re-mapping and ignoring never re-send what this ledger sent."""
    settled = replace(group, elements=tuple(replace(element, was="remapped") for element in group.elements))
    if group.entries and group.entries[-1].tests:
        assert not isinstance(_decide(settled, words), Add)


@given(_groups(), _words)
def test_only_tests_without_a_result_are_absorbed_into_one_of_ours(group: Group, words: Verdicts) -> None:
    """Each of them, once; into the newest."""
    action = _decide(group, words)
    if not isinstance(action, Absorb) or action.decides:
        return
    evidence = {test for entry in group.entries for test in entry.tests}
    assert sorted(action.tests) == sorted({element.test_id for element in group.elements} - evidence)
    assert action.entry_id == group.entries[-1].entry_id
