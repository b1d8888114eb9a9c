"""Backfills in memory: windows, what is kept back, the order of results, and turns beside polls."""

from __future__ import annotations

import errno
import os
import threading
import time
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reconciler import collect, handover, history, recording
from reconciler import reconcile as one_pass
from reconciler.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_TRY_AGAIN,
    Forbidden,
    Incomplete,
    LedgerUnusable,
    NotAgreed,
    ServiceDown,
    Stopped,
)
from reconciler.ledger import backfills, views
from reconciler.ledger.backfills import Span
from reconciler.ledger.ledger import Ledger, in_memory
from reconciler.order import Order, Scope
from reconciler.reconcile import reconcile
from reconciler.traffic import Traffic
from reconciler.world import World
from tests import accounting, building
from tests.fakes import START, Clock, FakeGitLab, FakeRally

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from reconciler.model import ProjectId, TestCaseResult
    from reconciler.ports import PipelinePage
    from reconciler.world import Outcome
    from tests.fakes import Answers

LONG_AGO = START - timedelta(days=1)


@dataclass(slots=True)
class OldGitLab(FakeGitLab):
    """One that fails on windows that are too long, and counts what it is asked."""

    longest: timedelta | None = None
    asked: list[str] = field(default_factory=list)
    traffic: Traffic = field(default_factory=lambda: Traffic("GitLab", time.monotonic))
    fails_at: int = 0
    """The n-th page that is asked for gets no answer."""

    def pipelines(
        self,
        project: ProjectId,
        *,
        updated_after: datetime,
        updated_before: datetime | None = None,
        children: bool = False,
        page: int = 1,
        by_id: bool = False,
    ) -> PipelinePage:
        """Fail on what takes too long."""
        self.asked.append(f"{project}/{'children' if children else 'main'}")
        self.traffic.note("ok")
        if len(self.asked) == self.fails_at:
            raise ServiceDown("GitLab", "no answer")
        if self.longest is not None and (updated_before or self.clock()) - updated_after > self.longest:
            raise Incomplete("GitLab: HTTP 500")
        return FakeGitLab.pipelines(
            self,
            project,
            updated_after=updated_after,
            updated_before=updated_before,
            children=children,
            page=page,
            by_id=by_id,
        )


@dataclass
class Shop:
    """One project and three test cases."""

    clock: Clock
    gitlab: OldGitLab
    rally: FakeRally
    ledger: Ledger
    readers: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def world(self) -> World:
        """Give what a pass works with."""
        settings = building.settings(building.rally_settings(max_concurrency=2, batch_size=2))
        return World(self.gitlab, self.rally, self.ledger, settings, self.stop, self.clock, self.readers)

    def backfill(self, *, since: datetime = LONG_AGO, **words: object) -> Outcome:
        """Run one, agreed to unless there is a guard."""
        return reconcile(self.world(), (), Order("backfill", scope=Scope(since), **words))  # type: ignore[arg-type]  # an order's own words

    def once(self) -> Outcome:
        """Make a pass beside it."""
        return reconcile(self.world(), (), Order("once"))

    def ran(self, count: int, *cases: str) -> None:
        """Let pipelines have run, a minute each."""
        project = self.gitlab.project(1)
        for _ in range(count):
            self.clock.advance(60)
            self.gitlab.add_job(self.gitlab.add_pipeline(project), "unit", *(cases or ("t_TC1",)))


@pytest.fixture
def shop() -> Iterator[Shop]:
    """Open it."""
    clock = Clock()
    gitlab, rally, ledger = OldGitLab(clock), FakeRally(clock), in_memory()
    gitlab.add_project()
    for formatted_id in ("TC1", "TC2", "TC3"):
        rally.add_case(formatted_id)
    with closing(ledger.store):
        yield Shop(clock, gitlab, rally, ledger)
        accounting.check(ledger.store)


def refuse(results: int) -> None:
    """Say No."""
    raise NotAgreed(f"{results} are too many")


# --- windows ---------------------------------------------------------------------------------------------------------


def test_a_window_that_gitlab_cannot_answer_is_halved_until_it_can(shop: Shop) -> None:
    """500 and time-outs on much history (#545027); nothing is missed at a seam, and nothing comes twice."""
    shop.ran(20)
    shop.gitlab.longest = timedelta(hours=3)
    outcome = shop.backfill()
    assert (outcome.exit_status, outcome.summary["pipelines_read"], outcome.summary["results_sent"]) == (0, 20, 20)


def test_a_window_that_stays_bad_is_said_and_only_that_is_asked_for_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest is read and sent; the same command goes on where it was."""
    shop.ran(3)
    monkeypatch.setattr(history, "SMALLEST", timedelta(hours=12))
    shop.gitlab.longest = timedelta(hours=3)
    outcome = shop.backfill()
    assert (outcome.exit_status, "up to" in outcome.down[0], outcome.summary["left"] > 0) == (
        EXIT_TRY_AGAIN,
        True,
        True,
    )
    shop.gitlab.longest = None
    before = len(shop.gitlab.asked)
    outcome = shop.backfill()
    assert (outcome.exit_status, outcome.summary["results_sent"]) == (EXIT_DONE, 3)
    windows = len(shop.ledger.store.rows("SELECT 1 FROM windows"))
    assert len(shop.gitlab.asked) - before < windows + 3


def test_a_project_that_may_not_be_read_holds_up_no_other(shop: Shop) -> None:
    """It is said, with status 1; it is asked for again next time."""
    shop.ran(2)
    shop.gitlab.add_project("qa/other")
    settings = building.settings(building.rally_settings())
    settings = replace(settings, gitlab=replace(settings.gitlab, projects=("qa/web-shop", "qa/other")))
    world = replace(shop.world(), settings=settings)
    shop.gitlab.faults["pipelines"].append(Forbidden("HTTP 403"))
    outcome = reconcile(world, (), Order("backfill", scope=Scope(LONG_AGO)))
    assert (outcome.exit_status, len(outcome.failed)) == (EXIT_FAILED, 1)
    assert reconcile(world, (), Order("backfill", scope=Scope(LONG_AGO))).exit_status == EXIT_DONE
    assert len(shop.rally.results()) == 2


@pytest.mark.parametrize("nth", range(1, 7))
def test_cut_off_at_any_page_it_goes_on_from_there(shop: Shop, nth: int) -> None:
    """Each page is asked for once, and the one that failed twice; in the end once more for what came meanwhile."""
    shop.ran(14)
    shop.clock.advance(3600)
    assert shop.backfill(guard=lambda _: None, dry_run=True).exit_status == EXIT_DONE
    whole = len(shop.gitlab.asked)
    with closing(in_memory().store) as fresh:
        shop.ledger = Ledger(fresh, skips_count=False)
        shop.gitlab.asked.clear()
        shop.gitlab.fails_at = nth
        assert shop.backfill().exit_status == EXIT_TRY_AGAIN
        outcome = shop.backfill()
        assert (outcome.exit_status, outcome.summary["results_sent"]) == (EXIT_DONE, 14)
        assert len(shop.gitlab.asked) == whole + 1 + len(("main", "children"))


def test_what_changed_while_it_lay_still_is_read_in_the_end(shop: Shop) -> None:
    """A job that was retried after the listing; once, however often it was interrupted."""
    shop.ran(2)
    shop.clock.advance(3600)
    for _ in range(3):
        shop.gitlab.faults["jobs"].append(ServiceDown("GitLab", "no answer"))
        assert shop.backfill().exit_status == EXIT_TRY_AGAIN
    shop.ran(1, "t_TC2")
    asked = len(shop.gitlab.asked)
    outcome = shop.backfill()
    assert (outcome.exit_status, outcome.summary["results_sent"]) == (EXIT_DONE, 3)
    assert len(shop.gitlab.asked) == asked + len(("main", "children"))


def test_stopped_at_its_last_write_it_still_looks_for_what_came_meanwhile(shop: Shop) -> None:
    """By then nothing is left of what it listed, but it was interrupted before."""
    shop.ran(2)
    shop.clock.advance(3600)
    shop.gitlab.faults["jobs"].append(ServiceDown("GitLab", "no answer"))
    assert shop.backfill().exit_status == EXIT_TRY_AGAIN

    def stops(rally: FakeRally, results: Sequence[TestCaseResult]) -> Answers:
        shop.stop.set()
        return rally.carry_out(results)

    shop.rally.steps.append(stops)
    with pytest.raises(Stopped):
        shop.backfill()
    assert len(shop.rally.results()) == 2
    (told,) = views.backfills(shop.ledger.store)
    assert told["state"] == "interrupted"
    shop.stop.clear()
    asked = len(shop.gitlab.asked)
    assert shop.backfill().exit_status == EXIT_DONE
    assert len(shop.gitlab.asked) == asked + len(("main", "children"))
    assert len(views.backfills(shop.ledger.store)) == 1


# --- what is kept back -----------------------------------------------------------------------------------------------


def test_what_nobody_agreed_to_is_sent_by_no_pass(shop: Shop) -> None:
    """It is read, and pending; polls, their results and their exit status go on without it."""
    shop.ran(3)
    with pytest.raises(NotAgreed):
        shop.backfill(guard=refuse)
    shop.clock.advance(10 * 86_400)
    shop.ran(1, "t_TC2")
    outcome = shop.once()
    assert (outcome.exit_status, outcome.summary["results_sent"], outcome.summary["left"]) == (EXIT_DONE, 1, 0)
    assert views.tests(shop.ledger.store)["pending"] == 3
    outcome = shop.backfill()
    assert (outcome.exit_status, outcome.summary["results_sent"]) == (EXIT_DONE, 3)
    assert views.backfills(shop.ledger.store)[0]["state"] == "done"


def test_another_backfill_that_is_agreed_to_takes_over_what_it_finds(shop: Shop) -> None:
    """Of another span; nothing is read again."""
    shop.ran(3)
    with pytest.raises(NotAgreed):
        shop.backfill(guard=refuse)
    outcome = shop.backfill(since=LONG_AGO - timedelta(days=1))
    assert (outcome.exit_status, outcome.summary["pipelines_read"], outcome.summary["results_sent"]) == (
        EXIT_DONE,
        0,
        3,
    )


def test_of_a_service_that_was_not_asked_it_says_nothing(shop: Shop) -> None:
    """What waits for a Yes is read from GitLab, and no word passes between us and Rally: that is no success of it."""
    world = replace(shop.world(), traffic={"GitLab": shop.gitlab.traffic, "Rally": Traffic("Rally", time.monotonic)})
    shop.ran(1)
    with pytest.raises(NotAgreed):
        reconcile(world, (), Order("backfill", scope=Scope(LONG_AGO), guard=refuse))
    reconcile(world, (), Order("gitlab"))
    told = views.services(shop.ledger.store)
    assert (told["gitlab"]["last_success"] is None, told["rally"]["last_success"] is None) == (False, True)


def test_what_a_poll_lists_is_no_backfills_any_more(shop: Shop) -> None:
    """Something happened to it now: its results go as those of any pipeline."""
    shop.ran(3)
    with pytest.raises(NotAgreed):
        shop.backfill(guard=refuse)
    assert shop.once().summary["results_sent"] == 3


def test_a_pipeline_that_polls_have_still_to_read_is_not_kept_back(shop: Shop) -> None:
    """It was there before the backfill, and nobody need agree to it."""
    shop.ran(2)
    shop.gitlab.faults["jobs"].append(ServiceDown("GitLab", "no answer"))
    assert shop.once().exit_status == EXIT_TRY_AGAIN
    with pytest.raises(NotAgreed):
        shop.backfill(guard=refuse)
    assert shop.once().summary["results_sent"] == 2


def test_it_takes_up_lost_reports_again_and_sends_what_comes_of_them(shop: Shop) -> None:
    """Also beside results that went to Rally before."""
    shop.ran(1)
    for pause in (timedelta(0), recording.REFUSED_FOR):
        shop.clock.advance(pause.total_seconds())
        shop.gitlab.faults["jobs"].append(Forbidden("HTTP 403"))
        shop.once()
    assert [problem["kind"] for problem in views.problems(shop.ledger.store)] == ["unreadable"]
    assert shop.once().summary["pipelines_read"] == 0
    outcome = shop.backfill()
    assert (outcome.exit_status, outcome.summary["results_sent"]) == (EXIT_DONE, 1)
    assert views.problems(shop.ledger.store) == []


# --- order, and side by side -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("readers", [0, 3])
def test_results_of_a_test_case_go_by_date_though_sending_begins_before_all_is_read(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, readers: int
) -> None:
    """What is as young as anything that may still come waits for it; a job that was retried late, too."""
    for module, name, number in ((one_pass, "SLICE_TESTS", 2), (collect, "AHEAD", 3)):
        monkeypatch.setattr(module, name, number)
    shop.readers = readers
    shop.ran(4)
    early = shop.gitlab.add_pipeline(shop.gitlab.project(1))
    shop.ran(12)
    shop.gitlab.add_job(early, "late", "t_TC1")
    shop.ran(5, "t_TC1", "u_TC2")
    outcome = shop.backfill()
    assert (outcome.exit_status, outcome.summary["results_sent"]) == (EXIT_DONE, 27)
    dates = [shop.rally.stored[number].date for number in sorted(shop.rally.stored)]
    for case in ("TC1", "TC2"):
        came = [one.date for _, one in sorted(shop.rally.stored.items()) if one.key.formatted_id == case]
        assert came == sorted(came), dates


# --- turns beside polls ----------------------------------------------------------------------------------------------


@pytest.fixture
def served(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """Let the ledger have a folder, in which orders are left."""
    settings = shop.world().settings
    settings = replace(settings, ledger=replace(settings.ledger, path=tmp_path / "ledger.db"))
    monkeypatch.setattr(building, "settings", lambda *_: settings)
    return shop


def test_a_daemon_brings_a_backfill_to_its_end_in_turns(served: Shop) -> None:
    """However short these are: each goes on where the one before ended."""
    served.ran(8)
    ledger = served.world().settings.ledger.path
    letter = handover.leave(ledger, Span(LONG_AGO, None, ()), agreed=True)
    turns = 0
    while (done := handover.take_turn(served.world(), lambda: (), turn_s=0.02)) is not None:
        turns += 1
        assert not letter.exists()
        assert not done.failed
        assert turns < 200
    assert len(served.rally.results()) == 8
    (told,) = views.backfills(served.ledger.store)
    assert (told["state"], told["pipelines_found"], told["pipelines_read"]) == ("done", 8, 8)


def test_two_orders_of_one_span_are_one(served: Shop) -> None:
    """The second joins the first, and its Yes counts for both."""
    ledger = served.world().settings.ledger.path
    for agreed in (False, True):
        handover.leave(ledger, Span(LONG_AGO, None, ("QA/Web-Shop",) if agreed else ("qa/web-shop",)), agreed=agreed)
    served.ran(1)
    assert handover.take_turn(served.world(), lambda: ()) is not None
    assert [one["state"] for one in views.backfills(served.ledger.store)] == ["done"]
    assert handover.take_turn(served.world(), lambda: ()) is None


def test_a_daemon_asks_before_a_flood_and_goes_on_after_a_yes(served: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Meanwhile its polls go on."""
    monkeypatch.setattr(handover, "MUCH", 2)
    ledger = served.world().settings.ledger.path
    span = Span(LONG_AGO, None, ())
    served.ran(3)
    handover.leave(ledger, span, agreed=False)
    assert handover.take_turn(served.world(), lambda: ()) is None
    asks = backfills.newest(served.ledger.store, span)
    assert asks is not None
    assert (asks.state, asks.due, served.rally.results()) == ("asks", 3, {})
    assert handover.take_turn(served.world(), lambda: ()) is None
    handover.leave(ledger, span, agreed=True)
    assert handover.take_turn(served.world(), lambda: ()) is not None
    assert len(served.rally.results()) == 3


def test_an_order_that_cannot_be_read_is_put_aside(served: Shop) -> None:
    """A person finds it; the daemon goes on."""
    ledger = served.world().settings.ledger.path
    ledger.with_name("ledger.db.order-1.json").write_text("[]")
    assert handover.take_turn(served.world(), lambda: ()) is None
    assert [path.name for path in ledger.parent.iterdir()] == ["ledger.db.order-1.unreadable"]


def test_an_order_that_cannot_be_read_just_now_is_read_in_the_next_turn(
    served: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All files that may be open are open, say: that is no fault of the order's."""
    served.ran(1)
    letter = handover.leave(served.world().settings.ledger.path, Span(LONG_AGO, None, ()), agreed=True)
    with monkeypatch.context() as for_once:
        for_once.setattr(Path, "read_bytes", _too_many_open_files)
        assert handover.take_turn(served.world(), lambda: ()) is None
    assert letter.exists()
    assert handover.take_turn(served.world(), lambda: ()) is not None
    assert (letter.exists(), len(served.rally.results())) == (False, 1)


def _too_many_open_files(path: Path) -> bytes:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path))


def test_an_order_that_cannot_be_written_leaves_nothing_behind(served: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """And says what is the matter; whose user it is run by has nothing to do with a full disk."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    ledger = served.world().settings.ledger.path
    with pytest.raises(LedgerUnusable, match=r"No space left on device$"):
        handover.leave(ledger, Span(LONG_AGO, None, ()), agreed=True)
    assert list(ledger.parent.iterdir()) == []
