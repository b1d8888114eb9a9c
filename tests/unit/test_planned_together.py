"""How much is planned at once, and what is not lost or doubled where one plan ends and the next begins."""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from reconciler import apply, dispatch
from reconciler import reconcile as reconciling
from reconciler.config import ResultsSettings
from reconciler.errors import EXIT_DONE, EXIT_TRY_AGAIN, ServiceDown
from reconciler.ledger import views
from reconciler.ledger.ledger import Ledger, in_memory
from reconciler.order import Order
from reconciler.reconcile import reconcile
from reconciler.world import World
from tests import building
from tests.archives import packed
from tests.fakes import Clock, FakeGitLab, FakeRally

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from reconciler.model import Build, FoundResult, TestCaseResult
    from reconciler.world import Outcome


@dataclass(slots=True)
class Watched(FakeRally):
    """A Rally that notes which Builds it is asked about together, and whose results may differ in size."""

    asked: list[list[str]] = field(default_factory=list)
    large: str = ""
    """The test case whose results take a whole request."""
    down_at: int = 0
    """The question that gets no answer."""

    def results_of(self, builds: Sequence[Build]) -> list[FoundResult]:
        """List them."""
        self.asked.append([str(build) for build in builds])
        if len(self.asked) == self.down_at:
            raise ServiceDown("Rally", "no answer")
        return FakeRally.results_of(self, builds)

    def payload_size(self, result: TestCaseResult) -> int:
        """Tell how large it is."""
        return dispatch.BATCH_BYTES if result.key.formatted_id == self.large else self.bytes_each


@dataclass
class Shop:
    """One project with three test cases, and a ledger."""

    clock: Clock = field(default_factory=Clock)
    results: ResultsSettings = field(default_factory=ResultsSettings)

    def __post_init__(self) -> None:
        """Open it."""
        self.gitlab, self.rally, self.ledger = FakeGitLab(self.clock), Watched(self.clock), in_memory()
        self.project = self.gitlab.add_project()
        for name in ("TC1", "TC2", "TC3"):
            self.rally.add_case(name)

    def once(self) -> Outcome:
        """Make a pass."""
        settings = building.settings(building.rally_settings(max_concurrency=1), self.results)
        world = World(self.gitlab, self.rally, self.ledger, settings, threading.Event(), self.clock)
        return reconcile(world, (), Order("once"))


@pytest.fixture
def shop() -> Iterator[Shop]:
    """Open it."""
    shop = Shop()
    with closing(shop.ledger.store):
        yield shop


@pytest.mark.parametrize(
    ("tests", "pipelines", "sizes"),
    [(100, 3, [3, 3, 1]), (3, 100, [3, 3, 1]), (4, 3, [3, 3, 1]), (2, 3, [2, 2, 2, 1]), (1, 100, [1] * 7)],
)
def test_pipelines_are_planned_together_up_to_a_number_of_them_or_of_their_tests(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, tests: int, pipelines: int, sizes: list[int]
) -> None:
    """Whichever is reached first; memory is bounded by both. Rally is asked once for each plan."""
    monkeypatch.setattr(apply, "TESTS_AT_ONCE", tests)
    monkeypatch.setattr(apply, "PIPELINES_AT_ONCE", pipelines)
    for _ in range(7):
        shop.gitlab.add_job(shop.gitlab.add_pipeline(shop.project), "unit", "t_TC1")
    assert (shop.once().exit_status, [len(builds) for builds in shop.rally.asked]) == (EXIT_DONE, sizes)


def test_a_result_as_old_as_the_first_of_the_next_plan_is_sent_once_and_in_the_same_pass(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is kept for that plan; two pipelines may end in the same instant."""
    monkeypatch.setattr(apply, "PIPELINES_AT_ONCE", 1)
    monkeypatch.setattr(shop.clock, "tick", shop.clock)  # nothing takes time
    for case in ("TC1", "TC2", "TC3"):
        shop.gitlab.add_job(shop.gitlab.add_pipeline(shop.project), "unit", f"t_{case}")
    outcome = shop.once()
    assert len({one.date for one in shop.rally.stored.values()}) == 1
    assert (outcome.exit_status, outcome.summary["results_sent"], len(shop.rally.results())) == (EXIT_DONE, 3, 3)


def test_builds_that_are_named_by_the_projects_own_number_are_found_again(shop: Shop) -> None:
    """Else a lost ledger would send everything twice."""
    shop.results = ResultsSettings(build="Shop {pipeline_iid}")
    shop.gitlab.add_job(shop.gitlab.add_pipeline(shop.project), "unit", "t_TC1")
    shop.once()
    with closing(in_memory().store) as fresh:
        shop.ledger = Ledger(fresh, skips_count=False)
        assert shop.once().summary["writes"] == 0
    assert shop.rally.asked[-1] == ["Shop 1"]


def test_a_lost_ledger_counts_links_to_a_result_that_it_finds(shop: Shop) -> None:
    """Links are settled as soon as they are wanted; nothing is sent for them."""
    archive = packed([("pay-tc1/1.mp4", b"film"), ("pay-tc1/1.png", b"shot")])
    shop.gitlab.add_job(shop.gitlab.add_pipeline(shop.project), "unit", "pay_TC1!", archive=archive)
    shop.once()
    with closing(in_memory().store) as fresh:
        shop.ledger = Ledger(fresh, skips_count=False)
        outcome = shop.once()
        assert (outcome.exit_status, outcome.summary["results_sent"]) == (EXIT_DONE, 0)
        assert fresh.rows("SELECT DISTINCT settled_at IS NULL FROM attachments WHERE state = 'linked'") == [(0,)]


def test_a_large_result_goes_alone_whatever_the_others_take(shop: Shop) -> None:
    """Each is asked for its own size."""
    shop.rally.large = "TC2"
    shop.gitlab.add_job(shop.gitlab.add_pipeline(shop.project), "unit", "a_TC1", "b_TC2", "c_TC3")
    shop.once()
    assert [[key.formatted_id for key in keys] for keys in shop.rally.requests] == [["TC1"], ["TC2"], ["TC3"]]


def test_rally_that_cannot_be_asked_about_the_next_plan_still_ends_what_is_under_way(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was sent is done, nothing of it in doubt; the rest waits for the next pass."""
    monkeypatch.setattr(apply, "PIPELINES_AT_ONCE", 2)
    for _ in range(6):
        shop.gitlab.add_job(shop.gitlab.add_pipeline(shop.project), "unit", "t_TC1")
    shop.rally.down_at = 3
    assert shop.once().exit_status == EXIT_TRY_AGAIN
    assert views.entries(shop.ledger.store) == {"intended": 0, "done": len(shop.rally.results()), "refused": 0}
    assert 0 < len(shop.rally.results()) < 6
    assert shop.once().exit_status == EXIT_DONE
    assert len(shop.rally.results()) == 6


def _in_rounds(shop: Shop, monkeypatch: pytest.MonkeyPatch, round_s: float) -> tuple[Outcome, int]:
    """Make a pass over 40 pipelines that are read two tests at a time; in how many rounds it sent."""
    rounds = 0
    run = apply.Push.run

    def counted(push: apply.Push) -> None:
        nonlocal rounds
        rounds += 1
        run(push)

    monkeypatch.setattr(apply.Push, "run", counted)
    shop.rally.latency_s = 0.2
    monkeypatch.setattr(reconciling, "SLICE_TESTS", 2)
    monkeypatch.setattr(reconciling, "AHEAD", 4)
    monkeypatch.setattr(reconciling, "ROUND_S", round_s)
    monkeypatch.setattr(apply, "PIPELINES_AT_ONCE", 4)
    for number in range(40):
        case = f"TC{number % 3 + 1}" if number < 30 else "TC9"
        shop.gitlab.add_job(shop.gitlab.add_pipeline(shop.project), "unit", f"t_{case}")
    outcome = shop.once()
    return outcome, rounds


def test_what_is_read_while_results_are_sent_is_sent_with_them(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each once, in the order in which they ran; a test case that is named for the first time is looked up."""
    shop.rally.add_case("TC9")
    outcome, rounds = _in_rounds(shop, monkeypatch, 60.0)
    assert (outcome.exit_status, outcome.summary["results_sent"], len(shop.rally.results())) == (EXIT_DONE, 40, 40)
    assert rounds <= 3
    dates: dict[str, list[datetime]] = {}
    for result in shop.rally.stored.values():
        dates.setdefault(result.key.formatted_id, []).append(result.date)
    assert all(ran == sorted(ran) for ran in dates.values())


def test_a_round_that_lasts_long_ends_for_what_else_a_pass_looks_at(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is lost or doubled where it does."""
    shop.rally.add_case("TC9")
    outcome, rounds = _in_rounds(shop, monkeypatch, 0.0)
    assert (outcome.exit_status, outcome.summary["results_sent"], len(shop.rally.results())) == (EXIT_DONE, 40, 40)
    assert rounds > 5
