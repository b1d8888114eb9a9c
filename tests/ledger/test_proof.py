"""What the ledger claims to be in Rally, and the steps of a result that is made again."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from reconciler.evidence import Wanted
from reconciler.ledger import proof, views
from reconciler.ledger.entries import Draft
from reconciler.ledger.ledger import Ledger, in_memory
from reconciler.ledger.store import stamp
from reconciler.mapping import Mapping
from reconciler.model import Build, FormattedID, FoundResult, Key, ObjectID, Outcome, PipelineId
from reconciler.plan import Verdicts
from tests import accounting, building
from tests.fakes import START

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from reconciler.ledger.proof import Claim

VERDICTS = Verdicts("ignore", "Pass")
LATER = START + timedelta(days=3)
PIPELINES = (100, 101, 102)


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """Hold three pipelines with one job of four tests each, two of them mapped to TC1 and one each to TC2 and TC3."""
    ledger = in_memory()
    with closing(ledger.store):
        ledger.observations.remember_projects("project qa/web-shop", [building.PROJECT])
        ledger.test_cases.replace([building.case(f"TC{n}") for n in (1, 2, 3)])
        for number in PIPELINES:
            pipeline = building.pipeline(number)
            job = building.job(number * 10, of=pipeline, at_s=number)
            ledger.observations.store_pipelines([pipeline])
            ledger.observations.store_jobs(pipeline, [job])
            runs = [building.run("p_TC1"), building.run("f_TC1", Outcome.FAILED)]
            building.read_job(ledger, job, [*runs, *(building.run(f"t_TC{n}") for n in (2, 3))])
            ledger.observations.mark_read(pipeline)
        ledger.subjects.apply(Mapping([]), resolvable=True)
        yield ledger


def made_of(pipeline: int) -> dict[str, tuple[int, ...]]:
    """Tell which tests of a pipeline count for a test case, worst first."""
    first = 4 * (pipeline - 100)
    return {"TC1": (first + 2, first + 1), "TC2": (first + 3,), "TC3": (first + 4,)}


def draft(formatted_id: str, pipeline: int = 100, build: str = "", test_set: int | None = None) -> Draft:
    """Make a draft of this result."""
    add = building.add(formatted_id, *made_of(pipeline)[formatted_id], pipeline_id=pipeline)
    return Draft(add, Build(build or f"GitLab-{pipeline}"), test_set=None if test_set is None else ObjectID(test_set))


def send(ledger: Ledger, *drafts: Draft) -> list[int]:
    """Take these results to their end; their entries. Objects are numbered from 9001."""
    ids = ledger.entries.intend(drafts, START)
    ledger.entries.confirm([(one, ObjectID(9000 + one)) for one in ids], START)
    return ids


def claim_of(ledger: Ledger, formatted_id: str = "TC1") -> Claim:
    """Find the one claim of a test case in the first pipeline."""
    found = proof.claims(ledger.store, [Build("GitLab-100")])
    (claim,) = [one for one in found if one.key.formatted_id == formatted_id]
    return claim


def states(ledger: Ledger) -> dict[str, int]:
    """Count the tests by state; each is in exactly one."""
    accounting.check(ledger.store)
    told = views.tests(ledger.store)
    return {state: n for state, n in told.items() if n and state in views.STATES}


# --- claims ----------------------------------------------------------------------------------------------------------


def test_builds_are_listed_oldest_first_with_their_number_of_done_results(ledger: Ledger) -> None:
    """One that has nothing done in Rally is not among them."""
    send(ledger, draft("TC1", 101), draft("TC1", 100), draft("TC2", 100))
    refused, _ = ledger.entries.intend([draft("TC3", 102), draft("TC3", 100)], START)
    ledger.entries.refuse([(refused, "no")], START)
    assert proof.builds(ledger.store, None) == [("GitLab-100", 2), ("GitLab-101", 1)]


def test_since_is_compared_with_the_date_of_a_result_or_the_day_it_was_found(ledger: Ledger) -> None:
    """The bound is inclusive."""
    send(ledger, draft("TC1", 100), draft("TC1", 101))
    adopt(ledger, "TC2", 102)
    dates = {build: building.add("TC1", pipeline_id=int(build[-3:])).date for build in ("GitLab-100", "GitLab-101")}

    def since(moment: datetime) -> tuple[list[str], int]:
        builds = [build for build, _ in proof.builds(ledger.store, moment)]
        return list(builds), len(proof.claims(ledger.store, builds, moment))

    assert since(dates["GitLab-100"]) == (["GitLab-100", "GitLab-101", "GitLab-102"], 3)
    assert since(dates["GitLab-100"] + timedelta(seconds=1)) == (["GitLab-101", "GitLab-102"], 2)
    assert since(LATER) == (["GitLab-102"], 1)
    assert since(LATER + timedelta(seconds=1)) == ([], 0)


def adopt(ledger: Ledger, formatted_id: str, pipeline: int = 100, revision: int = 1) -> None:
    """Find a result in Rally."""
    key = Key(building.PROJECT.id, PipelineId(pipeline), FormattedID(formatted_id), revision)
    found = FoundResult(key, ObjectID(9500), Build(f"GitLab-{pipeline}"), "Fail", test_set=ObjectID(55))
    ledger.entries.adopt([found], {key.pipeline_id: key.project_id}, LATER)


def test_a_claim_is_what_was_sent(ledger: Ledger) -> None:
    """With its object and its set."""
    (entry,) = send(ledger, draft("TC1", test_set=77))
    add = draft("TC1").add
    assert proof.claims(ledger.store, [Build("GitLab-100")]) == [
        proof.Claim(
            entry, add.key, 100, Build("GitLab-100"), ObjectID(9001), ObjectID(1), "Pass", add.date, 0.5, ObjectID(77)
        )
    ]


def test_of_a_result_that_was_found_neither_date_nor_duration_is_claimed(ledger: Ledger) -> None:
    """The ledger was not told."""
    adopt(ledger, "TC1")
    claim = claim_of(ledger)
    assert (claim.verdict, claim.date, claim.duration_s, claim.test_set) == ("Fail", None, None, 55)


def test_claims_are_of_done_results_and_known_is_everything(ledger: Ledger) -> None:
    """Also of a Build that the config named otherwise."""
    send(ledger, draft("TC1", build="b-1"))
    ledger.entries.intend([draft("TC2", build="b-1")], START)
    assert [str(one.key) for one in proof.claims(ledger.store, [Build("b-1"), Build("b-2")])] == ["1/100/TC1/1"]
    keys, objects = proof.known(ledger.store, [Build("b-1")])
    assert ({str(key) for key in keys}, objects) == ({"1/100/TC1/1", "1/100/TC2/1"}, {9001})
    assert proof.known(ledger.store, [Build("GitLab-100")]) == (set(), set())


# --- what a result is made of ----------------------------------------------------------------------------------------


def test_a_result_is_made_again_of_the_same_tests_in_the_same_order(ledger: Ledger) -> None:
    """The one that decided first, then worst first."""
    send(ledger, draft("TC1"))
    assert proof.again(ledger.store, claim_of(ledger), VERDICTS) == draft("TC1").add


def test_of_a_found_result_date_and_duration_are_those_of_the_tests_that_it_took_in(ledger: Ledger) -> None:
    """Without tests nothing is known, and it is not made again."""
    adopt(ledger, "TC1")
    assert proof.again(ledger.store, claim_of(ledger), VERDICTS) is None
    ledger.store.run_many("INSERT INTO contributions VALUES (1, ?, ?)", [(1, 0), (2, 1)])
    wanted = replace(draft("TC1").add, verdict="Fail", date=START + timedelta(seconds=100), duration_s=1.0)
    assert proof.again(ledger.store, claim_of(ledger), VERDICTS) == wanted


def test_a_result_of_a_test_case_that_was_out_of_scope_is_made_again_once_that_is_known(ledger: Ledger) -> None:
    """The ledger looks it up by its FormattedID."""
    ledger.test_cases.forget(FormattedID("TC1"))
    adopt(ledger, "TC1")
    ledger.store.run("INSERT INTO contributions VALUES (1, 2, 1)")
    assert proof.again(ledger.store, claim_of(ledger), VERDICTS) is None
    ledger.test_cases.update([building.case("TC1", 81)])
    again = proof.again(ledger.store, claim_of(ledger), VERDICTS)
    assert again is not None
    assert again.test_case == 81


# --- steps -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def remade(ledger: Ledger) -> Ledger:
    """Intend to make TC1's result again, which has a file and is outdated; TC2's is as it was."""
    send(ledger, draft("TC1"), draft("TC2"))
    with ledger.store.transaction():
        ledger.store.run("INSERT INTO outdated VALUES (1)")
    proof.order(ledger.store, [claim_of(ledger)])
    assert [str(one.key) for one in proof.ordered(ledger.store)] == ["1/100/TC1/1"]
    wanted = Wanted("a.txt", "link", 7, 1, None, None, "https://gitlab.test/a.txt", "large", "", "unit", None)
    proof.make_again(ledger.store, [(ObjectID(9001), replace(draft("TC1"), wanted=[wanted]))], LATER)
    return ledger


def intent(ledger: Ledger) -> int:
    """Tell the entry of the one open intent."""
    (one,) = ledger.entries.open_intents()
    assert (str(one.key), one.intended_at) == ("1/100/TC1/1", LATER)
    return one.entry_id


def test_what_is_about_to_be_made_again_is_an_intent_like_any_other(remade: Ledger) -> None:
    """Its tests are pending, it is still ordered, and the audit tells which object is gone."""
    intent(remade)
    assert states(remade) == {"pending": 11, "sent": 1}
    assert (proof.ordered(remade.store), proof.ordered_still(remade.store)) == ([], 1)
    assert remade.store.rows("SELECT entry_id IS NOT NULL FROM outdated") == [(1,)]
    assert remade.store.rows("SELECT * FROM audit") == [
        (stamp(LATER), "made again", "1/100/TC1/1", "ObjectID 9001 is gone from Rally")
    ]


def test_what_is_there_again_is_done_as_another_object(remade: Ledger) -> None:
    """The order is carried out."""
    remade.store.run("DELETE FROM outdated")
    before = replace(claim_of(remade, "TC2"), key=draft("TC1").add.key, object_id=ObjectID(9001))
    remade.entries.confirm([(intent(remade), ObjectID(9100))], LATER)
    assert claim_of(remade).object_id == 9100
    assert states(remade) == {"pending": 9, "sent": 2, "merged": 1}
    assert proof.ordered_still(remade.store) == 0
    assert proof.fate(remade.store, before) == proof.Fate("done", is_made=True, reason="")


def test_what_is_found_again_is_done_too(remade: Ledger) -> None:
    """Rally was asked after a silence."""
    add = draft("TC1").add
    found = FoundResult(add.key, ObjectID(9100), Build("GitLab-100"), "Pass")
    assert remade.entries.adopt([found], {add.key.pipeline_id: add.key.project_id}, LATER) == 0
    assert (claim_of(remade).object_id, proof.ordered_still(remade.store)) == (9100, 0)


def test_what_is_refused_now_is_no_longer_ordered(remade: Ledger) -> None:
    """Its reason is kept."""
    remade.store.run("DELETE FROM outdated")
    before = replace(claim_of(remade, "TC2"), key=draft("TC1").add.key)
    remade.entries.refuse([(intent(remade), "no")], LATER)
    assert proof.ordered_still(remade.store) == 0
    assert proof.fate(remade.store, before) == proof.Fate("refused", is_made=False, reason="no")
    assert states(remade) == {"pending": 9, "refused": 2, "sent": 1}


def test_what_was_not_made_is_missing_as_before_and_still_ordered(remade: Ledger) -> None:
    """Done, as the object that is gone, without files; so often as it takes."""
    for _ in range(3):
        remade.entries.withdraw([intent(remade)], "Rally does not have it", LATER)
        claim = claim_of(remade)
        assert (claim.object_id, claim.date, claim.duration_s) == (9001, draft("TC1").add.date, 0.5)
        assert proof.ordered(remade.store) == [claim]
        assert proof.fate(remade.store, claim) == proof.Fate("done", is_made=False, reason="")
        assert views.attachments(remade.store)["linked"] == 0
        assert remade.store.value("SELECT COUNT(*) FROM outdated") == 1
        proof.make_again(remade.store, [(ObjectID(9001), draft("TC1"))], LATER)
    assert remade.store.value("SELECT COUNT(*) FROM audit WHERE what = 'withdrawn'") == 3


def test_the_tests_of_what_was_not_made_stand_as_they_did(remade: Ledger) -> None:
    """They count for the result as it was sent; nothing is to be sent for them but what was ordered."""
    remade.store.run("DELETE FROM outdated")
    entry_id = intent(remade)
    assert states(remade) == {"pending": 11, "sent": 1}
    remade.entries.withdraw([entry_id], "Rally does not have it", LATER)
    assert states(remade) == {"pending": 9, "sent": 2, "merged": 1}
    assert remade.store.value("SELECT settled_at FROM entries WHERE entry_id = ?", [entry_id]) == stamp(LATER)


def test_an_order_is_left_over_work_until_it_is_cancelled(ledger: Ledger) -> None:
    """Ordered twice, it is one order."""
    send(ledger, draft("TC1"))
    before = views.left(ledger.store)
    for _ in range(2):
        proof.order(ledger.store, [claim_of(ledger)])
        assert views.left(ledger.store) == before + 1
    proof.cancel(ledger.store, [claim_of(ledger)])
    assert views.left(ledger.store) == before


@pytest.mark.parametrize(
    "prepare",
    [
        lambda ledger: ledger.entries.intend([draft("TC1")], START),
        lambda ledger: ledger.entries.refuse([(ledger.entries.intend([draft("TC1")], START)[0], "no")], START),
        lambda _: None,
    ],
    ids=["intended", "refused", "not there"],
)
def test_only_what_is_done_can_be_made_again(ledger: Ledger, prepare: Callable[[Ledger], object]) -> None:
    """Anything else is a bug, and changes nothing."""
    prepare(ledger)
    before = ledger.store.rows("SELECT * FROM entries")
    with pytest.raises(IndexError):
        proof.make_again(ledger.store, [(ObjectID(9001), draft("TC1"))], LATER)
    assert ledger.store.rows("SELECT * FROM entries") == before
