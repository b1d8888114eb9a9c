"""Whole passes in memory: what is in doubt is asked about, what Rally has is found, and nothing is doubled."""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from reconciler import collect, recording
from reconciler.config import ResultsSettings
from reconciler.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_TRY_AGAIN,
    Forbidden,
    LedgerUnusable,
    NotAgreed,
    NotThere,
    Stopped,
)
from reconciler.ledger import views
from reconciler.ledger.ledger import Ledger, in_memory
from reconciler.mapping import Row
from reconciler.order import Order
from reconciler.reconcile import reconcile
from reconciler.world import World
from tests import accounting, building
from tests.fakes import Clock, FakeGitLab, FakeRally
from tests.fates import later, silent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import timedelta

    from reconciler.errors import ReconcilerError
    from reconciler.model import Pipeline, Project, TestCaseResult
    from reconciler.world import Outcome
    from tests.fakes import Answers


@dataclass
class Shop:
    """One project, three test cases, a mapping and a ledger."""

    clock: Clock
    gitlab: FakeGitLab
    rally: FakeRally
    project: Project
    ledger: Ledger
    rows: dict[str, str] = field(default_factory=dict)
    results: ResultsSettings = field(default_factory=ResultsSettings)
    batch_size: int = 50
    stop: threading.Event = field(default_factory=threading.Event)

    def pipeline(self, **jobs: Sequence[str]) -> Pipeline:
        """Finish a pipeline with these jobs."""
        pipeline = self.gitlab.add_pipeline(self.project)
        for name, cases in jobs.items():
            self.gitlab.add_job(pipeline, name, *cases)
        return pipeline

    def once(self, order: Order | None = None) -> Outcome:
        """Make a pass."""
        rally = building.rally_settings(max_concurrency=1, batch_size=self.batch_size)
        settings = building.settings(rally, self.results)
        world = World(self.gitlab, self.rally, self.ledger, settings, self.stop, self.clock)
        rows = [Row(line, f"shop.{test}", said) for line, (test, said) in enumerate(self.rows.items(), 2)]
        return reconcile(world, rows, order or Order("once"))

    def told(self) -> dict[str, str]:
        """Tell what Rally holds, by test case and revision."""
        return {f"{key.formatted_id}/{key.revision}": str(said) for key, said in self.rally.results().items()}

    def states(self) -> dict[str, int]:
        """Count the tests by state."""
        accounting.check(self.ledger.store)
        told = views.tests(self.ledger.store)
        return {state: n for state, n in told.items() if n and state != "read"}


@pytest.fixture
def shop() -> Iterator[Shop]:
    """Open the shop; TC1, TC2 and TC3 are there."""
    clock = Clock()
    gitlab, rally, ledger = FakeGitLab(clock), FakeRally(clock), in_memory()
    for formatted_id in ("TC1", "TC2", "TC3"):
        rally.add_case(formatted_id)
    with closing(ledger.store):
        yield Shop(clock, gitlab, rally, gitlab.add_project(), ledger)


# --- in doubt --------------------------------------------------------------------------------------------------------


def test_a_young_intent_is_left_alone_and_an_old_one_is_asked_about(shop: Shop) -> None:
    """Its request may still be alive: sent again now, it would be there twice."""
    shop.pipeline(unit=["a_TC1"])
    shop.rally.steps.append(later())
    assert shop.once().exit_status == EXIT_TRY_AGAIN
    shop.clock.advance(300)
    outcome = shop.once()
    assert (outcome.exit_status, outcome.summary["left"], outcome.summary["writes"]) == (EXIT_TRY_AGAIN, 1, 0)
    shop.rally.land(begun_before=shop.clock())
    shop.clock.advance(100)
    outcome = shop.once()
    assert (outcome.exit_status, outcome.summary["writes"], shop.told()) == (EXIT_DONE, 0, {"TC1/1": "Pass"})


@pytest.mark.parametrize("done", [0, 1, 2])
def test_what_was_done_before_the_silence_is_confirmed_and_the_rest_is_sent_again(shop: Shop, done: int) -> None:
    """A part of a batch may have been carried out."""
    shop.pipeline(unit=["a_TC1", "b_TC2!"])
    shop.rally.steps.append(silent(done))
    shop.once()
    shop.clock.advance(400)
    outcome = shop.once()
    assert outcome.exit_status == EXIT_DONE
    assert outcome.summary["results_sent"] == 2 - done
    assert shop.told() == {"TC1/1": "Pass", "TC2/1": "Fail"}
    assert shop.states() == {"sent": 2}


def test_results_of_a_test_case_in_doubt_wait_and_others_go(shop: Shop) -> None:
    """The fake refuses to be written to beside a request that is alive."""
    shop.pipeline(unit=["a_TC1"])
    shop.rally.steps.append(later())
    shop.once()
    shop.pipeline(unit=["a_TC1", "b_TC2"])
    outcome = shop.once()
    assert (outcome.exit_status, shop.told()) == (EXIT_TRY_AGAIN, {"TC2/1": "Pass"})
    shop.rally.land(begun_before=shop.clock.advance(400))
    assert shop.once().exit_status == EXIT_DONE
    assert len(shop.rally.results()) == 3


# --- a ledger that is lost -------------------------------------------------------------------------------------------


def test_a_lost_ledger_finds_what_rally_has_and_sends_nothing(shop: Shop) -> None:
    """All revisions; the newest is the current one, and it takes the tests of today."""
    pipeline = shop.pipeline(unit=["a_TC1!", "b_TC1"])
    shop.once()
    shop.gitlab.add_job(pipeline, "unit", "a_TC1", "b_TC1")
    shop.once()
    with closing(in_memory().store) as fresh:
        shop.ledger = Ledger(fresh, skips_count=False)
        outcome = shop.once()
        assert (outcome.exit_status, outcome.summary["writes"]) == (EXIT_DONE, 0)
        assert shop.told() == {"TC1/1": "Fail", "TC1/2": "Pass"}
        assert shop.states() == {"sent": 1, "merged": 1}
        assert views.entries(fresh)["done"] == 2


def test_a_lost_ledger_adds_the_next_revision_where_rally_has_another_verdict(shop: Shop) -> None:
    """A job was retried while nobody looked."""
    pipeline = shop.pipeline(unit=["a_TC1!"], more=["b_TC2"])
    shop.once()
    shop.gitlab.add_job(pipeline, "unit", "a_TC1")
    with closing(in_memory().store) as fresh:
        shop.ledger = Ledger(fresh, skips_count=False)
        assert shop.once().summary["results_sent"] == 1
        assert shop.told() == {"TC1/1": "Fail", "TC1/2": "Pass", "TC2/1": "Pass"}


# --- mapping and test cases ------------------------------------------------------------------------------------------


def test_a_formatted_id_that_a_mapping_names_anew_is_looked_up_in_the_same_pass(shop: Shop) -> None:
    """The list of test cases need not be old: it was made a moment after it was asked for."""
    shop.pipeline(unit=["x!"])
    shop.once()
    shop.rally.add_case("TC9")
    shop.rows = {"x": "TC9"}
    outcome = shop.once(Order("rally", refresh_after=building.DAY, collects=False))
    assert (outcome.exit_status, shop.told()) == (EXIT_DONE, {"TC9/1": "Fail"})


def test_a_test_held_for_a_missing_test_case_revises_a_result_of_the_same_pipeline(shop: Shop) -> None:
    """Held is held, for whichever reason: once its test case appears it counts as newly mapped."""
    shop.pipeline(unit=["a_TC1", "x!"])
    shop.rows = {"x": "TC9"}
    shop.once()
    shop.rows = {"x": "TC1"}
    assert shop.once().summary["results_sent"] == 1
    assert shop.told() == {"TC1/1": "Pass", "TC1/2": "Fail"}

    shop.pipeline(unit=["e_TC9", "y!"])
    shop.once()
    shop.rally.add_case("TC9")
    assert shop.once().exit_status == EXIT_DONE
    assert shop.told()["TC9/1"] == "Pass"
    assert shop.states()["held"] == 1


def test_a_test_that_is_only_counted_to_a_result_brings_it_no_files(shop: Shop) -> None:
    """The result has what the tests had that it was made of; nobody expects it to change later."""
    shop.pipeline(unit=["a_TC1!", "x!"])
    shop.once()
    shop.rows = {"x": "TC1"}
    assert shop.once().summary["results_sent"] == 0
    assert shop.states() == {"sent": 1, "merged": 1}
    assert [len(files) for files in shop.rally.attachments().values()] == [1]


def test_a_test_of_two_test_cases_of_which_one_is_gone_leaves_nothing_to_do_in_the_same_pass(shop: Shop) -> None:
    """Sent for the one, held for the other."""
    shop.pipeline(unit=["a_TC1"])
    shop.once()
    shop.rally.delete_case("TC1")
    shop.pipeline(unit=["d_TC1_TC2"])
    outcome = shop.once()
    assert (outcome.exit_status, outcome.summary["left"], outcome.summary["held"]) == (EXIT_DONE, 0, 1)
    assert shop.told() == {"TC2/1": "Pass"}


def test_a_test_case_that_is_there_but_cannot_be_read_is_refused_with_rallys_words(shop: Shop) -> None:
    """Some other reference was meant: the test case itself was looked up and is the same."""
    shop.pipeline(unit=["a_TC1"])
    shop.rally.refuses = lambda _: "Could not read: Could not read referenced object 77"
    outcome = shop.once()
    assert (outcome.exit_status, outcome.summary["refused"]) == (EXIT_DONE, 1)
    assert shop.states() == {"refused": 1}


@pytest.mark.parametrize("batch_size", [1, 50])
def test_each_test_case_that_is_gone_is_found_out_in_the_same_pass(shop: Shop, batch_size: int) -> None:
    """Whether Rally told of them in one answer or in several."""
    shop.batch_size = batch_size
    shop.once()
    shop.rally.delete_case("TC1")
    shop.rally.delete_case("TC3")
    shop.pipeline(unit=["a_TC1", "b_TC2", "c_TC3"])
    outcome = shop.once()
    assert (outcome.exit_status, outcome.summary["left"], outcome.summary["refused"]) == (EXIT_DONE, 0, 0)
    assert shop.states() == {"held": 2, "sent": 1}


@pytest.mark.parametrize("batch_size", [1, 50])
def test_all_refusals_of_a_pass_are_counted(shop: Shop, batch_size: int) -> None:
    """Whether Rally told of them in one answer or in several."""
    shop.batch_size = batch_size
    shop.pipeline(unit=["a_TC1", "b_TC2", "c_TC3"])
    shop.rally.refuses = lambda one: "" if one.key.formatted_id == "TC2" else "Not allowed"
    outcome = shop.once()
    assert (outcome.summary["refused"], outcome.summary["results_sent"]) == (2, 1)
    assert shop.states() == {"refused": 2, "sent": 1}


# --- the pass itself -------------------------------------------------------------------------------------------------


def test_a_dry_run_asks_and_writes_nothing(shop: Shop) -> None:
    """It names what the next pass sends, revisions too, and nothing is intended."""
    shop.results = ResultsSettings(build="Shop {pipeline_iid} ({pipeline_id})")
    pipeline = shop.pipeline(unit=["a_TC1"])
    shop.once()
    shop.gitlab.add_job(pipeline, "unit", "a_TC1!")
    before = len(shop.rally.requests)
    outcome = shop.once(Order("once", dry_run=True))
    result, output = outcome.actions
    assert (result["kind"], result["key"], result["verdict"]) == ("result", "1/100/TC1/2", "Fail")
    build = f"Shop {pipeline.iid} ({pipeline.id})"
    assert (result["build"], result["test_case"]) == (build, "TC1")
    assert output == {
        "kind": "attachment", "build": build, "test_case": "TC1", "name": "test_output.log", "size": len("no\n"),
    }  # fmt: skip
    assert outcome.actions[0]["date"].endswith("Z")
    assert len(shop.rally.requests) == before
    assert views.entries(shop.ledger.store)["intended"] == 0


def test_a_guard_that_says_no_is_told_the_number_and_nothing_is_sent(shop: Shop) -> None:
    """A person was asked."""
    shop.pipeline(unit=["a_TC1", "b_TC2", "x"])

    def guard(due: int) -> None:
        raise NotAgreed(f"{due} results")

    with pytest.raises(NotAgreed, match="2 results"):
        shop.once(Order("backfill", guard=guard))
    assert shop.rally.requests == []


def test_a_verdict_that_the_workspace_does_not_have_is_said_before_anything_is_sent(shop: Shop) -> None:
    """And only when there is something to send."""
    shop.results = ResultsSettings(flaky="Flaky")
    assert shop.once().exit_status == EXIT_DONE
    shop.pipeline(unit=["a_TC1"])
    outcome = shop.once()
    assert outcome.exit_status == EXIT_FAILED
    assert "no Verdict 'Flaky' (results.flaky)" in outcome.failed[0]
    assert shop.rally.requests == []


def test_either_service_may_be_away_without_stopping_the_other(shop: Shop) -> None:
    """What was read is sent without GitLab; without Rally it is read."""
    shop.pipeline(unit=["a_TC1"])
    shop.rally.down = True
    outcome = shop.once()
    assert (outcome.exit_status, outcome.summary["pipelines_read"]) == (EXIT_TRY_AGAIN, 1)
    shop.rally.down, shop.gitlab.down = False, True
    outcome = shop.once()
    assert (outcome.exit_status, outcome.down, shop.told()) == (
        EXIT_TRY_AGAIN,
        ("GitLab: no answer",),
        {"TC1/1": "Pass"},
    )
    told = views.services(shop.ledger.store)
    assert told["rally"]["trouble"] is None
    assert told["gitlab"] == {"last_success": told["gitlab"]["last_success"], "trouble": "GitLab: no answer"}


@pytest.mark.parametrize(
    ("error", "lasts"), [(Forbidden("HTTP 403"), recording.REFUSED_FOR), (NotThere("HTTP 404"), recording.GONE_FOR)]
)
def test_jobs_that_may_not_be_listed_are_asked_for_again_for_long(
    shop: Shop, error: ReconcilerError, lasts: timedelta
) -> None:
    """A block of our address, or a token that lost a right, may be mended: until then a person must look."""
    shop.pipeline(unit=["a_TC1"])
    shop.pipeline(unit=["b_TC2"])
    shop.gitlab.faults["jobs"].append(error)
    outcome = shop.once()
    assert (outcome.exit_status, len(outcome.failed), shop.told()) == (EXIT_FAILED, 1, {"TC2/1": "Pass"})
    assert "see that the token's user has at least the Reporter role" in outcome.failed[0]
    shop.clock.advance(lasts.total_seconds() - 60)
    shop.gitlab.faults["jobs"].append(error)
    assert shop.once().exit_status == EXIT_FAILED
    outcome = shop.once()
    assert (outcome.exit_status, outcome.summary["problems"]) == (EXIT_DONE, 0)
    assert shop.told() == {"TC1/1": "Pass", "TC2/1": "Pass"}


def test_of_a_project_that_lists_no_jobs_not_every_pipeline_is_asked_for(shop: Shop) -> None:
    """It would be asked in vain at each poll; another project is read all the same."""
    for _ in range(30):
        shop.pipeline(unit=["a_TC1"])
    shop.gitlab.faults["jobs"].extend([Forbidden("HTTP 403")] * 30)
    outcome = shop.once()
    assert (outcome.exit_status, len(outcome.failed)) == (EXIT_FAILED, 1)
    assert len(shop.gitlab.faults["jobs"]) == 30 - collect.REFUSALS
    shop.gitlab.faults["jobs"].clear()
    assert (shop.once().exit_status, len(shop.told())) == (EXIT_DONE, 1)


def test_pipelines_that_are_gone_hold_up_no_other_of_their_project(shop: Shop) -> None:
    """However many there are, and though they are older."""
    for _ in range(30):
        shop.pipeline(unit=["a_TC1"])
    shop.gitlab.faults["jobs"].extend([NotThere("HTTP 404")] * 29)
    outcome = shop.once()
    assert (outcome.exit_status, outcome.summary["pipelines_read"]) == (EXIT_FAILED, 1)


def test_what_rally_confirmed_stays_so_when_the_next_intents_cannot_be_written(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They share a transaction, and the disk is full by then."""
    shop.pipeline(unit=["a_TC1", "b_TC2", "c_TC3"])
    shop.batch_size = 1
    intend, calls = shop.ledger.entries.intend, []

    def once_more(*args: Any) -> list[int]:  # noqa: ANN401 - handed on
        calls.append(args)
        if len(calls) == 3:
            raise LedgerUnusable("database or disk is full")
        return intend(*args)

    monkeypatch.setattr(shop.ledger.entries, "intend", once_more)
    with pytest.raises(LedgerUnusable):
        shop.once()
    assert shop.states() == {"sent": 2, "pending": 1}
    monkeypatch.undo()
    assert (shop.once().summary["results_sent"], len(shop.told())) == (1, 3)


def test_a_pass_that_was_stopped_is_written_down_and_the_next_goes_on(shop: Shop) -> None:
    """What was on its way came to its end."""
    shop.pipeline(unit=["a_TC1"])

    def stops(rally: FakeRally, results: Sequence[TestCaseResult]) -> Answers:
        shop.stop.set()
        return rally.carry_out(results)

    shop.rally.steps.append(stops)
    with pytest.raises(Stopped):
        shop.once()
    assert shop.states() == {"sent": 1}
    told = views.last_pass(shop.ledger.store)
    assert told is not None
    assert told["results_sent"] == 1
    assert views.last_success(shop.ledger.store) is None
    shop.stop.clear()
    assert shop.once().summary["writes"] == 0
    assert views.last_success(shop.ledger.store) is not None


def test_a_pass_that_was_stopped_takes_no_trouble_back(shop: Shop) -> None:
    """A restart in the middle of an outage must not look like the end of it; what went wrong by then is said."""
    shop.pipeline(unit=["a_TC1"])
    shop.gitlab.down = shop.rally.down = True
    shop.once()
    before = views.services(shop.ledger.store)
    shop.gitlab.down = False
    shop.stop.set()
    with pytest.raises(Stopped):
        shop.once()
    after = views.services(shop.ledger.store)
    assert (after, after["gitlab"]["trouble"]) == (before, "GitLab: no answer")
