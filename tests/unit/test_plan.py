"""Which results are missing, and what they say."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from reconciler.model import FormattedID, JobId, Key, ObjectID, Outcome, PipelineId, ProjectId, Verdict
from reconciler.plan import IGNORE, Absorb, Action, Add, Element, Entry, Group, Verdicts, badness, missing
from tests.fakes import START

WORDS = Verdicts(skipped="Blocked", flaky="Inconclusive")
ERRORED, FAILED, SKIPPED, PASSED = Outcome.ERRORED, Outcome.FAILED, Outcome.SKIPPED, Outcome.PASSED
NONE = "none"


def element(test_id: int, outcome: Outcome = PASSED, **keys: Any) -> Element:  # noqa: ANN401 - any field
    """Make a test that was just read."""
    plain = Element(test_id, JobId(1000), START, outcome, flaky=False, duration_s=0.5, was="read")
    return replace(plain, **keys)


def entry(revision: int, state: str, *tests: int, verdict: str = "Pass") -> Entry:
    """Make an entry; the entry of revision 1 has the id 51."""
    return Entry(50 + revision, revision, verdict, state, frozenset(tests))


def group(elements: list[Element], entries: list[Entry]) -> Group:
    """Gather what decides about TC7 in pipeline 100."""
    return Group(
        ProjectId(1), PipelineId(100), 5, FormattedID("TC7"), ObjectID(7), tuple(elements), tuple(entries)
    )  # fmt: skip


def decide(elements: list[Element], *entries: Entry, words: Verdicts = WORDS) -> Action | None:
    """Tell the one action, if there is one."""
    actions = list(missing([group(elements, list(entries))], words))
    assert len(actions) <= 1
    return actions[0] if actions else None


def added(elements: list[Element], *entries: Entry, words: Verdicts = WORDS) -> Add:
    """Tell what is to be created."""
    action = decide(elements, *entries, words=words)
    assert isinstance(action, Add)
    return action


def told(action: Action | None) -> str:
    """Put an action in short."""
    match action:
        case None:
            return NONE
        case Add(key=key, verdict=verdict):
            return f"add {key.revision} {verdict}"
        case Absorb(entry_id=entry_id, tests=tests, decides=decides):
            return f"absorb {tests} into {entry_id - 50}{' as its evidence' if decides else ''}"


HELD: dict[str, Any] = {"was": "held"}
IGNORED: dict[str, Any] = {"was": "ignored"}
REMAPPED: dict[str, Any] = {"was": "remapped"}
OLD = element(1)
OUTDATED = Entry(51, 1, "Fail", "done", frozenset({1, 2}), outdated=True)
ADOPTED = Entry(51, 1, "Pass", "done", frozenset({1}), adopted=True)


@pytest.mark.parametrize(
    ("elements", "entries", "expected"),
    [
        pytest.param([OLD], [], "add 1 Pass", id="nothing was sent"),
        pytest.param([element(1, **HELD)], [], "add 1 Pass", id="nothing was sent: held before"),
        pytest.param([element(1, **IGNORED)], [], "add 1 Pass", id="nothing was sent: ignored before"),
        pytest.param([element(1, **REMAPPED)], [], "add 1 Pass", id="nothing was sent: sent for another before"),
        pytest.param([OLD], [entry(1, "intended", 1)], NONE, id="in doubt"),
        pytest.param([OLD, element(2, FAILED)], [entry(1, "intended", 1)], NONE, id="in doubt: a new test waits"),
        pytest.param([OLD], [entry(1, "done", 1)], NONE, id="done"),
        pytest.param([OLD], [entry(1, "done", 1, verdict="Fail")], NONE, id="done: a verdict alone never re-sends"),
        pytest.param([OLD], [entry(1, "refused", 1)], NONE, id="refused"),
        pytest.param([element(2)], [entry(1, "done", 1)], "add 2 Pass", id="done: retried"),
        pytest.param([OLD, element(2)], [entry(1, "done", 1)], "add 2 Pass", id="done: played, same verdict"),
        pytest.param([element(2, FAILED)], [entry(1, "refused", 1)], "add 2 Fail", id="refused: retried"),
        pytest.param(
            [element(3)], [entry(1, "done", 1), entry(2, "refused", 2)], "add 3 Pass", id="refused later: retried"
        ),
        pytest.param([OLD, element(2, FAILED, **HELD)], [entry(1, "done", 1)], "add 2 Fail", id="mapped, worse"),
        pytest.param(
            [element(1, FAILED), element(2, **HELD)],
            [entry(1, "done", 1, verdict="Fail")],
            "absorb (2,) into 1",
            id="mapped, not worse",
        ),
        pytest.param(
            [OLD, element(2, FAILED, **HELD)], [entry(1, "refused", 1)], "absorb (2,) into 1", id="refused: mapped"
        ),
        pytest.param(
            [OLD, element(2, ERRORED, **IGNORED)], [entry(1, "done", 1)], "absorb (2,) into 1", id="no more ignored"
        ),
        pytest.param(
            [OLD, element(2, ERRORED, **REMAPPED)], [entry(1, "done", 1)], "absorb (2,) into 1", id="re-mapped"
        ),
        pytest.param(
            [OLD, element(3, **REMAPPED)],
            [entry(1, "done", 1), entry(2, "done", 1, 2)],
            "absorb (3,) into 2",
            id="the newest revision absorbs",
        ),
        pytest.param([OLD], [entry(1, "done", 1), entry(2, "done", 2)], NONE, id="evidence of any revision counts"),
        pytest.param([OLD], [OUTDATED], "add 2 Pass", id="outdated: what is left"),
        pytest.param([OLD], [replace(OUTDATED, state="intended")], NONE, id="outdated and in doubt"),
        pytest.param([OLD, element(3, **REMAPPED)], [OUTDATED], "add 2 Pass", id="outdated, and re-mapped"),
        pytest.param([OLD, element(2)], [ADOPTED], "absorb (2,) into 1", id="adopted: read later, same verdict"),
        pytest.param([OLD, element(2, FAILED)], [ADOPTED], "add 2 Fail", id="adopted: read later, worse"),
        pytest.param([OLD], [entry(1, "done")], "absorb (1,) into 1 as its evidence", id="found in Rally, as wanted"),
        pytest.param(
            [OLD, element(2, FAILED)],
            [entry(1, "done", verdict="Fail")],
            "absorb (2, 1) into 1 as its evidence",
            id="found in Rally: the worst decides",
        ),
        pytest.param([element(1, FAILED)], [entry(1, "done")], "add 2 Fail", id="found in Rally, otherwise"),
        pytest.param(
            [element(1, FAILED, **REMAPPED)], [entry(1, "done")], "add 2 Fail", id="found, otherwise, whatever it was"
        ),
        pytest.param(
            [OLD, element(2)],
            [entry(1, "done", 1), entry(2, "done")],
            "absorb (1, 2) into 2 as its evidence",
            id="found in Rally after one of ours: all are its evidence",
        ),
        pytest.param(
            [OLD, element(2, FAILED, **HELD), element(3, ERRORED, **IGNORED)],
            [entry(1, "done", 1)],
            "add 2 Error",
            id="held and ignored newcomers: all count in the next revision",
        ),
        pytest.param(
            [OLD, element(2, **HELD), element(3, **REMAPPED), element(4)],
            [entry(1, "done", 1)],
            "add 2 Pass",
            id="one just read among others",
        ),
        pytest.param(
            [OLD, element(2, **HELD), element(3, **REMAPPED), element(4, **IGNORED)],
            [entry(1, "done", 1)],
            "absorb (2, 3, 4) into 1",
            id="others of every origin, nothing changes",
        ),
    ],
)
def test_what_is_missing_follows_from_the_newest_entry_and_the_new_tests(
    elements: list[Element], entries: list[Entry], expected: str
) -> None:
    """Row by row, as the table of `missing` says."""
    assert told(decide(elements, *entries)) == expected


def test_a_next_revision_is_made_of_all_tests() -> None:
    """Not only of the new ones; it is the whole truth of its moment."""
    add = added([OLD, element(2, FAILED), element(3)], entry(1, "done", 1, 3))
    assert (add.tests, add.verdict, add.duration_s) == ((2, 1, 3), "Fail", 1.5)


def test_each_group_is_decided_on_its_own_and_in_order() -> None:
    """One that waits for an answer holds up no other."""
    other = replace(group([element(9)], []), formatted_id=FormattedID("TC8"), test_case=ObjectID(8))
    actions = list(missing([group([OLD], [entry(1, "intended", 1)]), other, group([OLD], [])], WORDS))
    assert [action.test_case for action in actions if isinstance(action, Add)] == [8, 7]


def test_a_result_says_where_it_belongs() -> None:
    """The key has the project, the pipeline, the test case and the revision."""
    add = added([OLD])
    expected = Key(ProjectId(1), PipelineId(100), FormattedID("TC7"), 1)
    assert (add.key, add.iid, add.test_case) == (expected, 5, 7)


def test_the_date_is_when_the_last_contributing_job_finished() -> None:
    """Whatever the order of its tests."""
    late = START + timedelta(minutes=5)
    add = added([element(1, finished_at=START), element(2, finished_at=late), element(3, finished_at=START)])
    assert add.date == late


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        pytest.param([0.1, 0.2], 0.3, id="no dust of binary fractions"),
        pytest.param([0.0004], 0.0, id="less than half a millisecond"),
        pytest.param([0.0004, 0.0004], 0.001, id="the sum is rounded, not its parts"),
        pytest.param([1.23456], 1.235, id="to the millisecond"),
        pytest.param([0.0, 0.0], 0.0, id="missing times count as 0"),
        pytest.param([0.001] * 1000, 1.0, id="many"),
    ],
)
def test_the_duration_is_the_sum_to_the_millisecond(seconds: list[float], expected: float) -> None:
    """Of the contributing tests."""
    elements = [element(number, duration_s=duration) for number, duration in enumerate(seconds)]
    assert added(elements).duration_s == expected


def test_tests_stand_worst_first_and_in_the_order_of_reading() -> None:
    """The first one decided the verdict."""
    elements = [
        element(1), element(2, PASSED, flaky=True), element(3, SKIPPED), element(4, FAILED), element(5, ERRORED),
        element(6, FAILED), element(7),
    ]  # fmt: skip
    assert added(elements).tests == (5, 4, 6, 3, 2, 1, 7)
    assert added(elements[::-1]).tests == (5, 4, 6, 3, 2, 1, 7)


def test_verdicts_are_ranked_error_fail_blocked_inconclusive_pass() -> None:
    """As DESIGN names them, worst first."""
    words = ["Error", "Fail", "Blocked", "Inconclusive", "Pass"]
    assert sorted(frozenset(words), key=badness) == words
    assert [str(verdict) for verdict in Verdict] == words


def test_a_word_of_the_workspace_s_own_is_worse_than_pass_alone() -> None:
    """It is surely not a clean pass, and nobody knows how bad it is."""
    assert badness("Inconclusive") < badness("Deferred") < badness("Pass")
    assert badness("pass") == badness("Deferred"), "Rally's words are told apart by case"


@pytest.mark.parametrize(
    ("outcome", "flaky", "expected"),
    [
        (PASSED, False, "Pass"),
        (PASSED, True, "Deferred"),
        (FAILED, False, "Fail"),
        (FAILED, True, "Fail"),
        (ERRORED, True, "Error"),
        (SKIPPED, False, "Not Run"),
        (SKIPPED, True, "Not Run"),
    ],
)
def test_the_config_words_skipped_and_flaky_tests(outcome: Outcome, flaky: bool, expected: str) -> None:  # noqa: FBT001 - a column of the table
    """Only a test that passed in the end is flaky; a workspace may have words of its own."""
    assert Verdicts(skipped="Not Run", flaky="Deferred").of(outcome, flaky=flaky) == expected


def test_a_word_of_the_workspace_s_own_beats_pass_and_yields_to_fail() -> None:
    """In one result of several tests."""
    words = Verdicts(skipped=IGNORE, flaky="Deferred")
    flaky = element(2, flaky=True)
    assert added([OLD, flaky], words=words).verdict == "Deferred"
    assert added([OLD, flaky, element(3, FAILED)], words=words).verdict == "Fail"


def test_a_flaky_test_is_a_pass_when_the_config_says_so() -> None:
    """Then a retry that was not needed changes nothing in what was found in Rally."""
    words = Verdicts(skipped=IGNORE, flaky="Pass")
    assert told(decide([element(1, flaky=True)], entry(1, "done"), words=words)).startswith("absorb")
