"""Results from intent to end, and how the tests stand that they were made of."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from reconciler.ledger import views
from reconciler.ledger.entries import Draft
from reconciler.ledger.ledger import Ledger, in_memory
from reconciler.mapping import Mapping, Row
from reconciler.model import FormattedID, FoundResult, Key, ObjectID, Outcome, ProjectId
from reconciler.plan import Absorb, Verdicts
from tests import accounting, building
from tests.building import BUILD
from tests.fakes import START

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.plan import Group

PIPELINE = building.pipeline()
JOB = building.job(of=PIPELINE, at_s=30)
SOLE, BOTH, ODD, LATER = 1, 2, 3, 4
"""The tests' ids: of TC1; of TC1 and TC2; of none; of TC9, which Rally does not have, and TC1."""


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """Know a pipeline with four tests and a mapping."""
    ledger = in_memory()
    with closing(ledger.store):
        ledger.observations.remember_projects("project qa/web-shop", [building.PROJECT])
        ledger.observations.store_pipelines([PIPELINE])
        ledger.observations.store_jobs(PIPELINE, [JOB])
        ledger.test_cases.replace([building.case("TC1"), building.case("TC2"), building.case("TC3")])
        runs = [
            building.run("sole_TC1"),
            building.run("both_TC1_TC2"),
            building.run("odd"),
            building.run("later_TC9_TC1"),
        ]
        building.read_job(ledger, JOB, runs)
        ledger.observations.mark_read(PIPELINE)
        _map(ledger)
        yield ledger


def _map(ledger: Ledger, *rows: tuple[str, str]) -> None:
    mapping = Mapping([Row(line, f"shop.{test}", said) for line, (test, said) in enumerate(rows, 2)])
    ledger.subjects.apply(mapping, resolvable=True)


def _states(ledger: Ledger) -> dict[int, str]:
    accounting.check(ledger.store)
    return dict(ledger.store.rows("SELECT test_id, state FROM tests ORDER BY test_id"))


def _intend(ledger: Ledger, formatted_id: str, *tests: int, revision: int = 1) -> int:
    return ledger.entries.intend([Draft(building.add(formatted_id, *tests, revision=revision), BUILD)], START)[0]


def _confirm(ledger: Ledger, entry_id: int) -> None:
    ledger.entries.confirm([(entry_id, ObjectID(9000 + entry_id))], START)


def _groups(ledger: Ledger) -> dict[str, Group]:
    return {group.formatted_id: group for group in ledger.entries.groups(PIPELINE.id)}


def _found(
    formatted_id: str, revision: int = 1, *, object_id: int = 9500, verdict: str = "Pass", project: int = 1
) -> FoundResult:
    key = Key(ProjectId(project), PIPELINE.id, FormattedID(formatted_id), revision)
    return FoundResult(key, ObjectID(object_id), BUILD, verdict)


# --- steps -----------------------------------------------------------------------------------------------------------


def test_an_intent_leaves_its_tests_pending_until_its_answer_is_known(ledger: Ledger) -> None:
    """Confirmed: the first test was sent, the others merged."""
    assert _states(ledger) == {SOLE: "pending", BOTH: "pending", ODD: "held", LATER: "pending"}
    entry = _intend(ledger, "TC1", SOLE, BOTH, LATER)
    assert _states(ledger) == {SOLE: "pending", BOTH: "pending", ODD: "held", LATER: "pending"}
    _confirm(ledger, entry)
    assert _states(ledger) == {SOLE: "sent", BOTH: "pending", ODD: "held", LATER: "held"}
    _confirm(ledger, _intend(ledger, "TC2", BOTH))
    assert _states(ledger) == {SOLE: "sent", BOTH: "sent", ODD: "held", LATER: "held"}


def test_the_tests_of_a_refused_result_are_refused_with_its_reason(ledger: Ledger) -> None:
    """Rally's words are kept, for people."""
    ledger.entries.refuse([(_intend(ledger, "TC1", SOLE), "Validation error: Build")], START)
    assert _states(ledger)[SOLE] == "refused"
    assert views.refusals(ledger.store) == [{"key": "1/100/TC1/1", "reason": "Validation error: Build"}]
    assert views.entries(ledger.store) == {"intended": 0, "done": 0, "refused": 1}


def test_a_withdrawn_intent_is_as_if_it_had_never_been(ledger: Ledger) -> None:
    """Its tests are due again under the same key; only the audit knows."""
    before = _groups(ledger)
    ledger.entries.withdraw([_intend(ledger, "TC1", SOLE, BOTH)], "Rally does not have it", START)
    assert _groups(ledger) == before
    assert _states(ledger)[SOLE] == "pending"
    assert ledger.store.rows("SELECT what, key FROM audit") == [("withdrawn", "100/TC1/1")]
    _confirm(ledger, _intend(ledger, "TC1", SOLE, BOTH))
    assert _states(ledger)[SOLE] == "sent"


def test_intending_one_key_twice_fails_as_a_whole(ledger: Ledger) -> None:
    """Nothing of that request is written down, so nothing of it is sent."""
    _intend(ledger, "TC1", SOLE)
    with pytest.raises(ledger.store.db.conn.IntegrityError):
        ledger.entries.intend([Draft(building.add("TC2", BOTH), BUILD), Draft(building.add("TC1", BOTH), BUILD)], START)
    assert [str(intent.key) for intent in ledger.entries.open_intents()] == ["1/100/TC1/1"]


def test_open_intents_tell_what_to_ask_rally(ledger: Ledger) -> None:
    """Build, key, test case and since when."""
    _confirm(ledger, _intend(ledger, "TC2", BOTH))
    entry = _intend(ledger, "TC1", SOLE)
    (intent,) = ledger.entries.open_intents()
    assert (intent.entry_id, str(intent.key), intent.build) == (entry, "1/100/TC1/1", BUILD)
    assert (intent.test_case, intent.intended_at) == (1, START)


# --- the least settled state -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "stands"),
    [
        ("intended", "done", "pending"),
        ("none", "done", "pending"),
        ("none", "refused", "pending"),
        ("intended", "refused", "pending"),
        ("refused", "done", "refused"),
        ("merged", "refused", "refused"),
        ("merged", "done", "sent"),
        ("merged", "merged", "merged"),
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_a_test_of_two_test_cases_takes_its_least_settled_state(
    ledger: Ledger, first: str, second: str, stands: str, *, swapped: bool
) -> None:
    """Pending, held, refused, sent, merged: whichever of the two it is, and whichever came first."""
    for formatted_id, state in zip(("TC2", "TC1") if swapped else ("TC1", "TC2"), (first, second), strict=True):
        if state == "none":
            continue
        entry = _intend(ledger, formatted_id, *((SOLE, BOTH) if state == "merged" else (BOTH,)))
        if state in {"done", "merged"}:
            _confirm(ledger, entry)
        elif state == "refused":
            ledger.entries.refuse([(entry, "no")], START)
    ledger.entries.restand(PIPELINE.id)
    assert _states(ledger)[BOTH] == stands


def test_a_test_stands_by_the_newest_revision_that_it_took_part_in(ledger: Ledger) -> None:
    """Refused the second time, it is refused; an older revision that it was left out of later still counts for it."""
    _confirm(ledger, _intend(ledger, "TC1", SOLE, BOTH))
    second = _intend(ledger, "TC1", BOTH, revision=2)
    ledger.entries.refuse([(second, "no")], START)
    ledger.entries.restand(PIPELINE.id)
    assert _states(ledger)[SOLE] == "sent"
    _confirm(ledger, _intend(ledger, "TC2", BOTH))
    assert _states(ledger)[BOTH] == "refused"
    _confirm(ledger, _intend(ledger, "TC1", BOTH, revision=3))
    assert _states(ledger)[BOTH] == "sent"


def test_a_test_that_was_superseded_while_its_result_was_on_its_way_stays_superseded(ledger: Ledger) -> None:
    """Confirmed, refused or withdrawn: the newer attempt counts."""
    entries = [_intend(ledger, "TC1", SOLE), _intend(ledger, "TC2", BOTH), _intend(ledger, "TC3", LATER)]
    ledger.observations.store_jobs(PIPELINE, [building.job(1001, of=PIPELINE)])
    _confirm(ledger, entries[0])
    ledger.entries.refuse([(entries[1], "no")], START)
    ledger.entries.withdraw([entries[2]], "", START)
    ledger.entries.restand(PIPELINE.id)
    assert set(_states(ledger).values()) == {"superseded"}


# --- a mapping that changes while a result is on its way -------------------------------------------------------------


def test_a_test_ignored_while_its_result_was_on_its_way_was_sent_all_the_same(ledger: Ledger) -> None:
    """Nothing is claimed that did not happen, and what happened is not hidden."""
    entry = _intend(ledger, "TC1", SOLE)
    _map(ledger, ("sole_TC1", "-"))
    assert _states(ledger)[SOLE] == "ignored"
    _confirm(ledger, entry)
    assert _states(ledger)[SOLE] == "sent"


def test_a_test_ignored_while_its_result_was_on_its_way_is_ignored_when_that_was_lost(ledger: Ledger) -> None:
    """There is nothing left to send."""
    entry = _intend(ledger, "TC1", SOLE)
    _map(ledger, ("sole_TC1", "-"))
    ledger.entries.withdraw([entry], "Rally does not have it", START)
    ledger.entries.restand(PIPELINE.id)
    assert _states(ledger)[SOLE] == "ignored"
    assert SOLE not in {element.test_id for group in _groups(ledger).values() for element in group.elements}


def test_a_test_re_mapped_while_its_result_was_on_its_way_is_due_for_its_new_test_case_only(ledger: Ledger) -> None:
    """What was sent stays sent; the new one is still to come."""
    entry = _intend(ledger, "TC1", SOLE)
    _map(ledger, ("sole_TC1", "TC3"))
    _confirm(ledger, entry)
    assert _states(ledger)[SOLE] == "pending"
    assert [element.test_id for element in _groups(ledger)["TC3"].elements] == [SOLE]
    _confirm(ledger, _intend(ledger, "TC3", SOLE))
    assert _states(ledger)[SOLE] == "sent"


# --- what is due -----------------------------------------------------------------------------------------------------


def test_groups_gather_every_current_test_of_a_test_case_that_something_is_pending_of(ledger: Ledger) -> None:
    """Sent ones too, with what was sent; superseded and ignored ones not, and no test case that nothing is due of."""
    _confirm(ledger, _intend(ledger, "TC1", SOLE, BOTH, LATER))
    later = building.job(1001, of=PIPELINE, name="later", at_s=90)
    ledger.observations.store_jobs(PIPELINE, [later])
    building.read_job(
        ledger, later, [building.run("more_TC1", Outcome.FAILED), building.run("skip_TC1", Outcome.SKIPPED)]
    )
    _map(ledger)
    _confirm(ledger, _intend(ledger, "TC2", BOTH))
    group = _groups(ledger)["TC1"]
    assert [element.test_id for element in group.elements] == [SOLE, BOTH, LATER, 5]
    assert (group.project_id, group.iid, group.test_case) == (1, 100, 1)
    assert group.elements[-1].outcome is Outcome.FAILED
    assert (group.elements[-1].finished_at - group.elements[0].finished_at).total_seconds() == 60
    assert [(entry.revision, entry.state, set(entry.tests)) for entry in group.entries] == [(1, "done", {1, 2, 4})]
    assert set(_groups(ledger)) == {"TC1"}


def test_due_lists_ready_and_wholly_read_pipelines_with_pending_tests_by_their_first_end(ledger: Ledger) -> None:
    """One that runs again, or was updated since it was read, waits."""
    further = building.job(1999, of=PIPELINE, name="further", at_s=99)
    ledger.observations.store_jobs(PIPELINE, [further])
    building.read_job(ledger, further)
    for number, status in ((90, "success"), (110, "failed"), (120, "success")):
        pipeline = building.pipeline(number, status=status)
        job = building.job(number, of=pipeline, at_s=60 - number / 2)
        ledger.observations.store_pipelines([pipeline])
        ledger.observations.store_jobs(pipeline, [job])
        building.read_job(ledger, job, [building.run("x_TC1")])
        ledger.observations.mark_read(pipeline)
    _map(ledger)
    assert ledger.entries.due() == [(120, 1), (110, 1), (90, 1), (100, 3)]
    assert ledger.entries.first_end(PIPELINE.id) == START + timedelta(seconds=30)
    ledger.observations.store_pipelines(
        [building.pipeline(110, status="running", at_s=1), building.pipeline(120, at_s=1)]
    )
    assert ledger.entries.due() == [(90, 1), (100, 3)]
    assert ledger.entries.days_due() == [datetime(START.year, START.month, START.day, tzinfo=UTC)]
    assert ledger.entries.count_due() == 5


def test_contributions_come_in_the_order_asked_for_however_many(ledger: Ledger) -> None:
    """Worst first is the planner's order; SQLite's limit of parameters is not the reader's concern."""
    many = building.job(1001, of=PIPELINE, name="many")
    ledger.observations.store_jobs(PIPELINE, [many])
    building.read_job(ledger, many, [building.run(f"t{n}") for n in range(1_200)])
    tests = [4, *range(1_204, 4, -1), 1]
    found = ledger.entries.contributions(tests, Verdicts("ignore", "Pass"))
    assert [one.key for one in (found[0], found[1], found[-2], found[-1])] == [
        "shop.later_TC9_TC1", "shop.t1199", "shop.t0", "shop.sole_TC1",
    ]  # fmt: skip
    assert (found[1].job_name, found[1].verdict, found[1].lossy) == ("many", "Pass", False)


def test_a_pipeline_line_is_what_notes_say_of_it(ledger: Ledger) -> None:
    """Its link, ref and commit."""
    line = ledger.entries.pipeline_line(PIPELINE.id)
    assert (line.url, line.ref, line.sha, line.commit_url) == (
        PIPELINE.web_url, "main", "0123abcd", f"{building.PROJECT.web_url}/-/commit/0123abcd",
    )  # fmt: skip


# --- adopting and absorbing ------------------------------------------------------------------------------------------


def test_what_rally_has_is_adopted_once_and_takes_no_test_by_itself(ledger: Ledger) -> None:
    """Done, marked as adopted, noted; the second look changes nothing."""
    found = [_found("TC1", 2, object_id=9502, verdict="Fail"), _found("TC1"), _found("TC77", object_id=9577)]
    owners = {PIPELINE.id: PIPELINE.project_id}
    assert [ledger.entries.adopt(found, owners, START) for _ in range(2)] == [3, 0]
    assert ledger.store.rows(
        "SELECT formatted_id, revision, verdict, state, object_id, test_case, adopted FROM entries ORDER BY 1, 2"
    ) == [
        ("TC1", 1, "Pass", "done", 9500, 1, 1),
        ("TC1", 2, "Fail", "done", 9502, 1, 1),
        ("TC77", 1, "Pass", "done", 9577, None, 1),
    ]
    assert _states(ledger)[SOLE] == "pending"
    assert [entry.tests for entry in _groups(ledger)["TC1"].entries] == [frozenset(), frozenset()]
    assert len(ledger.store.rows("SELECT * FROM audit WHERE what = 'adopted'")) == 3


def test_an_open_intent_that_rally_has_is_confirmed_and_not_adopted(ledger: Ledger) -> None:
    """It was ours; a result that was refused or done here stays so."""
    entry = _intend(ledger, "TC1", SOLE)
    done = _intend(ledger, "TC2", BOTH)
    _confirm(ledger, done)
    owners = {PIPELINE.id: PIPELINE.project_id}
    assert ledger.entries.adopt([_found("TC1"), _found("TC2", object_id=9999)], owners, START) == 0
    assert ledger.store.rows("SELECT entry_id, state, object_id, adopted FROM entries ORDER BY 1") == [
        (entry, "done", 9500, 0), (done, "done", 9000 + done, 0),
    ]  # fmt: skip
    assert _states(ledger)[SOLE] == "sent"


def test_a_key_of_another_project_or_an_unknown_pipeline_is_not_taken_over(ledger: Ledger) -> None:
    """Somebody may have copied Notes, or two GitLabs may share one Rally."""
    owners = {PIPELINE.id: PIPELINE.project_id}
    assert ledger.entries.adopt([_found("TC1", project=2)], owners, START) == 0
    assert ledger.entries.adopt([_found("TC1")], {}, START) == 0
    assert views.entries(ledger.store)["done"] == 0


def test_of_a_key_that_rally_has_twice_the_older_object_is_taken(ledger: Ledger) -> None:
    """Somebody doubled it by hand; the ledger keeps one."""
    ledger.entries.adopt([_found("TC1", object_id=9501), _found("TC1")], {PIPELINE.id: PIPELINE.project_id}, START)
    assert ledger.store.rows("SELECT object_id FROM entries") == [(9500,)]


def test_absorbed_tests_are_merged_or_decide_a_result_that_was_found(ledger: Ledger) -> None:
    """Nothing is sent; the entry itself stays as it is."""
    _confirm(ledger, _intend(ledger, "TC2", BOTH))
    ledger.entries.adopt([_found("TC1")], {PIPELINE.id: PIPELINE.project_id}, START)
    adopted = _groups(ledger)["TC1"].entries[0].entry_id
    ledger.entries.absorb([(Absorb(adopted, (SOLE, BOTH, LATER), decides=True), ())], START)
    assert _states(ledger) == {SOLE: "sent", BOTH: "sent", ODD: "held", LATER: "held"}
    _map(ledger, ("odd", "TC1"))
    ledger.entries.absorb([(Absorb(adopted, (ODD,), decides=False), ())], START)
    assert _states(ledger)[ODD] == "merged"
    assert views.entries(ledger.store) == {"intended": 0, "done": 2, "refused": 0}


def test_a_test_absorbed_by_a_refused_result_is_refused(ledger: Ledger) -> None:
    """It was not sent, and is not going to be."""
    entry = _intend(ledger, "TC1", SOLE)
    ledger.entries.refuse([(entry, "no")], START)
    _map(ledger, ("odd", "TC1"))
    ledger.entries.absorb([(Absorb(entry, (ODD,), decides=False), ())], START)
    assert _states(ledger)[ODD] == "refused"
