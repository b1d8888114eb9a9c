"""A request whose client has given up may still be alive in Rally: until it cannot be, nobody asks or sends again.

The client waits for `rally.request_timeout_seconds` (120), Rally cuts a request at five minutes (KB 125586), and
`rally.settle_after_seconds` (330) counts from when the client gave up; after a kill, from when the intent was written
down.
"""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.errors import EXIT_DONE, EXIT_TRY_AGAIN, NoAnswer
from reconciler.ledger import store as ledger_store
from reconciler.ledger.ledger import Ledger
from reconciler.mapping import Row
from reconciler.order import Order
from reconciler.reconcile import reconcile
from reconciler.world import World
from tests import accounting, building
from tests.archives import packed
from tests.fakes import Clock, FakeRally
from tests.fates import Killed
from tests.unit.attaching import OUTPUT, Storehouse
from tests.unit.sprint_shop import SET, Team, team

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from reconciler.model import Build, FoundAttachment, FoundResult, ObjectID
    from reconciler.world import Outcome
    from tests.fakes import Answers, Step

GIVES_UP_S, CUT_S, SETTLED_S = 120, 300, 330
A_MOMENT_S = 0.001
LANDS_S = [0, 1, CUT_S - GIVES_UP_S, CUT_S, None]
"""So long after the client gave up it is stored; None: never."""
KINDS = ["results", "attachments"]
ASKED = {"results": 2, "attachments": 1}
"""Of a result also what its Build has, before it is made again, or how many files hang on it, when it was found."""
FILE = ("1.txt", b"one")


@dataclass(slots=True)
class Watched(FakeRally):
    """A Rally that counts what it is asked about results and what hangs on them."""

    asked: Counter[str] = field(default_factory=Counter)
    """How often, by kind."""

    def results_of(self, builds: Sequence[Build]) -> list[FoundResult]:
        """List them."""
        self.asked["results"] += 1
        return FakeRally.results_of(self, builds)

    def attachments_of(self, result: ObjectID) -> list[FoundAttachment]:
        """List them."""
        self.asked["attachments"] += 1
        return FakeRally.attachments_of(self, result)


@dataclass
class Shop:
    """A project whose one failed test has a file and an output, and a ledger in a file that each process opens."""

    path: Path
    stop: Event
    clock: Clock = field(default_factory=Clock)
    settles_s: float = SETTLED_S

    def __post_init__(self) -> None:
        """Finish the job."""
        self.gitlab, self.rally = Storehouse(self.clock), Watched(self.clock)
        self.project = self.gitlab.add_project()
        for name in ("TC1", "TC2"):
            self.rally.add_case(name)
        self.job("pay_TC1!")

    def job(self, *cases: str) -> None:
        """Finish one in a pipeline of its own."""
        pipeline = self.gitlab.add_pipeline(self.project)
        self.gitlab.add_job(pipeline, "e2e", *cases, archive=packed([("pay-tc1/1.txt", FILE[1])]))

    def steps(self, kind: str) -> Callable[[Step], None]:
        """Tell where the fate of the next write of a kind is put."""
        places = {"results": self.rally.steps, "attachments": self.rally.attachment_steps}
        return (places | {"contents": self.rally.content_steps, "sprints": self.rally.sprint_steps})[kind].append

    def once(self) -> Outcome:
        """Make a pass in a process of its own."""
        rally = building.rally_settings(max_concurrency=1, settle_after_seconds=self.settles_s)
        with closing(ledger_store.open_for_writing(self.path)) as store:
            world = World(
                self.gitlab,
                self.rally,
                Ledger(store, skips_count=False),
                building.settings(rally),
                self.stop,
                self.clock,
            )
            outcome = reconcile(world, (Row(2, "shop.nothing", "TC2"),), Order("once"))
            accounting.check(store)
            return outcome

    def asks_and_writes_nothing(self) -> None:
        """See that a pass leaves what is in doubt alone, and says that something is left."""
        asked = self.rally.asked.copy()
        outcome = self.once()
        assert (outcome.exit_status, outcome.summary["writes"], self.rally.asked) == (EXIT_TRY_AGAIN, 0, asked)

    def holds(self) -> None:
        """See that everything is there once."""
        files = [sorted(one) for one in self.rally.attachments().values()]
        assert (len(self.rally.results()), files) == (1, [[FILE, OUTPUT]])


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Open the shop."""
    return Shop(tmp_path / "ledger.db", Event())


def gives_up(error: BaseException | None = None, *, waited_s: float = 0.0) -> Step:
    """Let the request live on: the client hears nothing, or dies, after its time-out.

    `waited_s`: how long it had been written down before it was sent.
    """

    def step(rally: FakeRally, wanted: Sequence[Any]) -> Answers:
        assert isinstance(rally.clock, Clock)
        rally.clock.advance(waited_s + GIVES_UP_S)
        rally.late.append((rally.clock(), wanted))
        raise error or NoAnswer("Rally: no answer in time")

    return step


def wait_for_it(shop: Shop, lands_s: float | None, until_s: float) -> None:
    """Let time go by to the moment before the bound, with passes between; the request is stored or cut meanwhile."""
    times = sorted({0.0, 60.0, 209.0, until_s - A_MOMENT_S, *({lands_s} if lands_s is not None else ())})
    gave_up = shop.clock()
    for seconds in times:
        shop.clock.advance(seconds - (shop.clock() - gave_up).total_seconds())
        if seconds == lands_s:
            shop.rally.land(begun_before=shop.clock.tick())
        shop.asks_and_writes_nothing()
    shop.rally.late.clear()
    shop.clock.advance(until_s - (shop.clock() - gave_up).total_seconds())


# --- silence ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lands_s", LANDS_S)
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_asked_or_sent_before_the_bound_and_at_the_bound_it_is_asked_once(
    shop: Shop, kind: str, lands_s: float | None
) -> None:
    """What was stored meanwhile is confirmed, what never came is made again: once, in the end."""
    shop.steps(kind)(gives_up())
    assert shop.once().exit_status == EXIT_TRY_AGAIN

    wait_for_it(shop, lands_s, SETTLED_S)
    asked = shop.rally.asked[kind]
    outcome = shop.once()

    assert (outcome.exit_status, outcome.summary["left"]) == (EXIT_DONE, 0)
    made = outcome.summary["results_sent" if kind == "results" else "attachments_sent"]
    assert made == {"results": 1, "attachments": 2}[kind] * (lands_s is None)
    assert shop.rally.asked[kind] - asked == ASKED[kind]
    shop.holds()
    assert shop.once().summary["writes"] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_it_does_not_matter_how_long_the_request_had_waited_before_it_was_sent(shop: Shop, kind: str) -> None:
    """The machine was suspended between the intent and the request, for longer than the bound itself."""
    shop.steps(kind)(gives_up(waited_s=3_600))
    assert shop.once().exit_status == EXIT_TRY_AGAIN
    wait_for_it(shop, CUT_S, SETTLED_S)
    assert shop.once().exit_status == EXIT_DONE
    shop.holds()


def test_contents_that_come_late_are_nobodys(shop: Shop) -> None:
    """Others are sent at once: what nothing refers to cannot be seen, so nothing is doubled; it is counted."""
    shop.steps("contents")(gives_up())
    assert shop.once().exit_status == EXIT_TRY_AGAIN
    assert shop.once().exit_status == EXIT_DONE
    shop.rally.land(begun_before=shop.clock.advance(CUT_S))
    assert shop.once().summary["writes"] == 0
    shop.holds()
    assert sorted(shop.rally.orphans()) == sorted([FILE[1], OUTPUT[1]])


def test_later_results_of_the_test_case_wait_too_and_come_after_it(shop: Shop) -> None:
    """Those of other test cases do not."""
    shop.steps("results")(gives_up())
    shop.once()
    shop.job("pay_TC1", "look_TC2")
    outcome = shop.once()
    assert (outcome.exit_status, outcome.summary["results_sent"]) == (EXIT_TRY_AGAIN, 1)
    shop.rally.land(begun_before=shop.clock.advance(CUT_S))
    shop.clock.advance(SETTLED_S - CUT_S)
    assert shop.once().exit_status == EXIT_DONE
    cases = [(str(key.formatted_id), verdict) for key, verdict in shop.rally.results().items()]
    assert cases == [("TC2", "Pass"), ("TC1", "Fail"), ("TC1", "Pass")]


# --- a kill ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lands_s", [0, 1, CUT_S - GIVES_UP_S, None])
@pytest.mark.parametrize("kind", KINDS)
def test_after_a_kill_the_bound_counts_from_the_intent_and_restarts_do_not_move_it(
    shop: Shop, kind: str, lands_s: float | None
) -> None:
    """Each pass of these tests is a process of its own."""
    shop.steps(kind)(gives_up(Killed()))
    with pytest.raises(Killed):
        shop.once()

    wait_for_it(shop, lands_s, SETTLED_S - GIVES_UP_S)
    outcome = shop.once()

    assert (outcome.exit_status, outcome.summary["left"]) == (EXIT_DONE, 0)
    shop.holds()
    assert shop.once().summary["writes"] == 0


def test_what_is_found_missing_and_lost_again_waits_anew(shop: Shop) -> None:
    """The second request may live on as long as the first."""
    for _ in range(3):
        shop.steps("results")(gives_up())
        assert shop.once().exit_status == EXIT_TRY_AGAIN
        wait_for_it(shop, None, SETTLED_S)
    assert shop.once().exit_status == EXIT_DONE
    shop.holds()


# --- the operator's word ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lands", [False, True])
def test_with_0_the_next_pass_asks(shop: Shop, kind: str, lands: bool) -> None:  # noqa: FBT001 - a parameter
    """The operator says that nothing lives on."""
    shop.settles_s = 0
    shop.steps(kind)(gives_up())
    assert shop.once().exit_status == EXIT_TRY_AGAIN
    if lands:
        shop.rally.land(begun_before=shop.clock.tick())
    shop.rally.late.clear()
    assert shop.once().exit_status == EXIT_DONE
    shop.holds()


@pytest.mark.parametrize("kind", KINDS)
def test_with_an_endless_bound_it_waits_until_the_operator_says_otherwise(shop: Shop, kind: str) -> None:
    """A billion seconds is the most that the config takes; what is in doubt is `left`, and other test cases go on."""
    shop.settles_s = 10**9
    shop.steps(kind)(gives_up())
    assert shop.once().exit_status == EXIT_TRY_AGAIN
    shop.rally.land(begun_before=shop.clock.advance(86_400 * 400))
    shop.asks_and_writes_nothing()
    shop.job("look_TC2")
    assert shop.once().summary["results_sent"] == 1
    shop.settles_s = 0
    outcome = shop.once()
    assert (outcome.exit_status, outcome.summary["results_sent"], len(shop.rally.results())) == (EXIT_DONE, 0, 2)


# --- sprints ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def sprint() -> Iterator[Team]:
    """Gather a team whose set, with two members, is still to come."""
    yield from team()


@pytest.mark.parametrize("lands_s", LANDS_S)
@pytest.mark.parametrize("before", [0, 1])
def test_a_set_and_its_members_are_not_sent_again_before_the_bound_and_never_twice(
    sprint: Team, before: int, lands_s: float | None
) -> None:
    """The set, or (after one request that went well) its members; what is seen in Rally is taken at once."""
    sprint.rally.refuses_twice = True
    sprint.rally.sprint_steps.extend([FakeRally.carry_out] * before)
    sprint.rally.sprint_steps.append(gives_up())
    assert sprint.once().exit_status == EXIT_TRY_AGAIN
    sent, gave_up = len(sprint.rally.sprint_requests), sprint.clock()
    for seconds in (0, 1, CUT_S - GIVES_UP_S, SETTLED_S - GIVES_UP_S - A_MOMENT_S):
        sprint.clock.advance(seconds - (sprint.clock() - gave_up).total_seconds())
        if lands_s is not None and lands_s <= seconds:
            sprint.rally.land(begun_before=sprint.clock.tick())
        assert sprint.once().exit_status == (EXIT_TRY_AGAIN if sprint.rally.late else EXIT_DONE)
        assert len(sprint.rally.sprint_requests) == sent + (not before and not sprint.rally.late)
    sprint.rally.land(begun_before=sprint.clock.tick() if lands_s is not None else gave_up)
    sprint.rally.late.clear()
    sprint.clock.advance(SETTLED_S)
    assert sprint.once().exit_status == EXIT_DONE
    assert sprint.members() == {SET: ["TC1", "TC2"]}
