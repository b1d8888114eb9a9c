"""What becomes of results on their way, whatever Rally answers."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from loguru import logger

from reconciler import dispatch
from reconciler.dispatch import BATCH_BYTES, CONFLICTS, GONE, TURNED_AWAY, Dispatcher, Sent
from reconciler.errors import BatchRefused, NotDone, ServiceDown, Stopped, Unauthorized
from reconciler.ledger.ledger import in_memory
from reconciler.model import Build, ObjectID, Rejected, TestCaseResult
from tests import building
from tests.fakes import START, FakeRally
from tests.fates import Killed, fails, later, says_no, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from reconciler.ledger.ledger import Ledger
    from reconciler.plan import Add
    from tests.fakes import Answers, Step

PIPELINES = range(100, 140)


def _compose(add: Add) -> TestCaseResult:
    build = Build(f"GitLab-{add.key.pipeline_id}")
    notes = f"<div>{add.key}</div>"
    return TestCaseResult(add.key, build, add.test_case, add.verdict, add.date, add.duration_s, notes)


def _ledger() -> Ledger:
    ledger = in_memory()
    ledger.observations.remember_projects("project", [building.PROJECT])
    ledger.observations.store_pipelines(building.pipeline(number) for number in PIPELINES)
    return ledger


@dataclass(slots=True)
class Rally(FakeRally):
    """Also counts the requests that use no batch."""

    singles: int = 0

    def add_result(self, result: TestCaseResult) -> ObjectID | Rejected:
        """Create one."""
        self.singles += 1
        return FakeRally.add_result(self, result)


@dataclass(slots=True)
class Post:
    """A Rally with the test cases TC1 to TC9, a ledger, and what sends from the one to the other."""

    rally: Rally = field(default_factory=Rally)
    ledger: Ledger = field(default_factory=_ledger)
    stop: threading.Event = field(default_factory=threading.Event)
    sent: Sent = field(default_factory=Sent)

    def __post_init__(self) -> None:
        """Give TC7 the ObjectID 7."""
        for number in range(1, 10):
            self.rally.cases[ObjectID(number)] = building.case(f"TC{number}")

    def send(self, said: str, *, busy: str = "", **limits: int) -> Dispatcher:
        """Send `TC1 TC1@101`: a result of a test case in pipeline 100 and one in 101; one request at a time."""
        settings = building.rally_settings(**{"max_concurrency": 1, "batch_size": 50} | limits)
        dispatcher = Dispatcher(self.rally, self.ledger.entries, settings, self.stop, self.sent)
        return self.go_on(dispatcher, said, busy=busy)

    def go_on(self, dispatcher: Dispatcher, said: str, *, busy: str = "") -> Dispatcher:
        """Send with a dispatcher that has sent already."""
        parts = [one.partition("@") for one in said.split()]
        adds = [building.add(case, pipeline_id=int(number or 100)) for case, _, number in parts]
        in_doubt = {ObjectID(int(case[2:])) for case in busy.split()}
        dispatcher.send(adds, _compose, busy=in_doubt, now=lambda: START)
        return dispatcher

    def entries(self) -> dict[str, str]:
        """Tell the state of each result in the ledger."""
        rows = self.ledger.store.rows("SELECT formatted_id, pipeline_id, state, reason FROM entries")
        return {_name(case, number): state if reason is None else reason for case, number, state, reason in rows}

    def withdrawn(self) -> list[tuple[str, str]]:
        """Tell which results were withdrawn, and why."""
        rows = self.ledger.store.rows("SELECT key, detail FROM audit WHERE what = 'withdrawn' ORDER BY rowid")
        return [(_name(key.split("/")[1], int(key.split("/")[0])), detail) for key, detail in rows]

    def requests(self) -> list[str]:
        """Tell what each request held, in the order of arrival."""
        return [" ".join(_name(key.formatted_id, key.pipeline_id) for key in keys) for keys in self.rally.requests]

    def there(self) -> list[str]:
        """Tell what Rally has, each once."""
        return sorted(_name(key.formatted_id, key.pipeline_id) for key in self.rally.results())


def _name(case: str, pipeline: int) -> str:
    return case if pipeline == 100 else f"{case}@{pipeline}"


@pytest.fixture
def post() -> Post:
    """Give a Rally without a fault of its own."""
    return Post()


@pytest.fixture(autouse=True)
def _in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make back-off short: only that it happens matters here."""
    monkeypatch.setattr(random, "uniform", lambda *_: 0.001)


def _follow(post: Post, *steps: Step) -> None:
    post.rally.steps = deque(steps)


# --- all is well -----------------------------------------------------------------------------------------------------


def test_each_answer_is_taken_by_its_position(post: Post) -> None:
    """The ObjectID of one result is never written down for another."""
    post.send("TC1 TC2 TC3")
    rows = post.ledger.store.rows("SELECT object_id, formatted_id FROM entries WHERE state = 'done'")
    assert {object_id: result.key.formatted_id for object_id, result in post.rally.stored.items()} == dict(rows)
    assert (post.sent.results, post.sent.writes, post.there()) == (3, 1, ["TC1", "TC2", "TC3"])


def test_a_batch_holds_up_to_batch_size_results(post: Post) -> None:
    """Several of one test case may go in one, oldest first."""
    post.send("TC1@102 TC1@101 TC1 TC2 TC3", batch_size=4)
    assert post.requests() == ["TC1 TC1@101 TC1@102 TC2", "TC3"]


def test_a_batch_size_of_one_never_uses_batch(post: Post) -> None:
    """Each result has a request of its own."""
    post.send("TC1 TC2 TC3", batch_size=1)
    assert (post.rally.singles, post.requests()) == (3, ["TC1", "TC2", "TC3"])


def test_the_last_of_many_goes_in_a_batch_too(post: Post) -> None:
    """Only the config or a refusal of `/batch` makes single requests."""
    post.send("TC1 TC2 TC3", batch_size=2)
    assert (post.rally.singles, post.requests()) == (0, ["TC1 TC2", "TC3"])


def test_nothing_to_send_costs_no_request(post: Post) -> None:
    """And halts nothing."""
    assert not post.send("").halted
    assert (post.requests(), post.sent) == ([], Sent())


def test_a_batch_stays_below_its_size_in_bytes(post: Post) -> None:
    """What does not fit goes in the next; one that is too large by itself goes alone."""
    post.rally.bytes_each = BATCH_BYTES // 2
    post.send("TC1 TC1@101 TC1@102 TC2 TC3")
    assert post.requests() == ["TC1 TC1@101", "TC2 TC3", "TC1@102"]
    post.rally.bytes_each = BATCH_BYTES + 1
    post.send("TC4 TC5")
    assert post.requests()[3:] == ["TC4", "TC5"]


def test_max_concurrency_requests_are_under_way_and_not_one_more(post: Post) -> None:
    """And never two with one test case, which the fake sees to."""
    post.rally.latency_s = 0.02
    several = " ".join(f"TC{case}@{number}" for case in range(1, 7) for number in (100, 101, 102))
    post.send(several, max_concurrency=3, batch_size=2)
    assert (post.rally.most_at_once, len(post.there())) == (3, 18)


def test_results_of_one_test_case_go_one_request_after_another_in_their_order(post: Post) -> None:
    """However many may be under way."""
    post.rally.latency_s = 0.005
    post.send("TC1@103 TC1@101 TC1 TC1@102", max_concurrency=4, batch_size=1)
    assert (post.requests(), post.rally.most_at_once) == (["TC1", "TC1@101", "TC1@102", "TC1@103"], 1)


# --- Rally says No ---------------------------------------------------------------------------------------------------


def test_a_refused_result_keeps_the_reason_and_holds_up_no_other(post: Post) -> None:
    """It is not sent again."""
    _follow(post, says_no({1}, "Validation error: no"))
    post.send("TC1 TC2 TC3")
    assert post.entries() == {"TC1": "done", "TC2": "Validation error: no", "TC3": "done"}
    assert (post.sent.results, post.sent.refused, len(post.requests())) == (2, 1, 1)


def test_what_the_schema_refuses_costs_no_request(post: Post) -> None:
    """Its test case is free at once for what comes after it."""
    post.rally.checks = lambda result: "too long" if result.build == "GitLab-100" else ""
    post.send("TC1 TC1@101 TC2", batch_size=1)
    assert post.entries() == {"TC1": "too long", "TC1@101": "done", "TC2": "too long"}
    assert (post.requests(), post.sent.refused, post.sent.writes) == (["TC1@101"], 2, 1)


def test_a_conflict_is_sent_again_in_the_same_pass(post: Post) -> None:
    """A plain No: withdrawn, noted, and done at the second try, in the old order."""
    _follow(post, says_no({0, 1}, "Concurrency conflict", conflict=True))
    dispatcher = post.send("TC1 TC1@101 TC2")
    assert post.requests() == ["TC1 TC1@101 TC2", "TC1 TC1@101"]
    assert post.withdrawn() == [("TC1", "Concurrency conflict"), ("TC1@101", "Concurrency conflict")]
    assert set(post.entries().values()) == {"done"}
    assert (post.sent.results, post.sent.refused, dispatcher.halted) == (3, 0, False)


def test_a_conflict_that_does_not_end_is_left_to_the_next_pass(post: Post) -> None:
    """Neither refused nor in doubt, and the others go on."""
    _follow(post, *[says_no({0}, "Concurrency conflict", conflict=True)] * CONFLICTS)
    dispatcher = post.send("TC1 TC2 TC3", batch_size=1)
    assert post.requests().count("TC1") == CONFLICTS
    assert (post.entries(), dispatcher.halted) == ({"TC2": "done", "TC3": "done"}, False)


def test_after_a_conflict_fewer_requests_go_at_once(post: Post) -> None:
    """For the rest of the pass."""
    _follow(post, says_no({0}, "Concurrency conflict", conflict=True))
    dispatcher = post.send("TC1", max_concurrency=4, batch_size=1)
    post.rally.latency_s = 0.02
    post.go_on(dispatcher, "TC2 TC3 TC4 TC5 TC6 TC7")
    assert post.rally.most_at_once == 2


def test_a_test_case_that_is_gone_leaves_its_result_to_be_looked_into(post: Post) -> None:
    """Rally created nothing; only a look-up tells whether to hold or to refuse."""
    post.rally.delete_case("TC2")
    post.send("TC1 TC2 TC3")
    assert post.entries() == {"TC1": "done", "TC2": "intended", "TC3": "done"}
    assert [(add.key.formatted_id, reason.startswith(GONE)) for _, add, reason in post.sent.gone] == [("TC2", True)]
    assert post.sent.refused == 0


# --- nothing was done ------------------------------------------------------------------------------------------------


def test_what_was_turned_away_at_the_door_is_sent_again(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before the time that Rally asked for."""
    monkeypatch.setattr(random, "uniform", lambda *_: 1.0)
    _follow(post, fails(NotDone("turned away", retry_after_s=0.2)))
    began = time.monotonic()
    dispatcher = post.send("TC1 TC1@101 TC2")
    assert time.monotonic() - began >= 0.2
    assert post.requests() == ["TC1 TC1@101 TC2"] * 2
    assert [why for _, why in post.withdrawn()] == ["turned away"] * 3
    assert (post.sent.results, post.sent.down, dispatcher.halted) == (3, [], False)


def test_a_rally_that_turns_away_again_and_again_is_left_alone(post: Post) -> None:
    """Nothing stays intended, nothing is refused; the trouble is told once."""
    _follow(post, *[fails(NotDone("turned away"))] * 20)
    dispatcher = post.send("TC1 TC2", batch_size=1)
    assert (len(post.requests()), post.entries()) == (TURNED_AWAY, {})
    assert (post.sent.down, post.sent.failed, dispatcher.halted) == (["turned away"], [], True)


def test_being_turned_away_now_and_then_ends_nothing(post: Post) -> None:
    """Any answer begins the count anew."""
    some = [fails(NotDone("turned away"))] * (TURNED_AWAY - 1)
    _follow(post, *some, FakeRally.carry_out, *some, FakeRally.carry_out)
    dispatcher = post.send("TC1 TC2 TC3", batch_size=1)
    assert (post.there(), dispatcher.halted) == (["TC1", "TC2", "TC3"], False)


def test_a_rally_that_asks_for_a_long_pause_is_left_to_the_next_pass(post: Post) -> None:
    """Nobody waits for it here."""
    _follow(post, fails(NotDone("turned away", retry_after_s=3600.0)))
    assert post.send("TC1").halted
    assert (post.entries(), len(post.requests()), post.sent.down) == ({}, 1, ["turned away"])


def test_a_batch_too_large_goes_in_halves(post: Post) -> None:
    """All of it, in its order."""
    _follow(post, fails(NotDone("too large", too_large=True)))
    post.send("TC1 TC2 TC3 TC4", batch_size=4)
    assert post.requests() == ["TC1 TC2 TC3 TC4", "TC1 TC2", "TC3 TC4"]
    assert (post.sent.results, post.sent.down) == (4, [])


def test_a_single_result_too_large_is_refused(post: Post) -> None:
    """It would be too large the next time, too; the others go on."""
    _follow(post, fails(NotDone("too large", too_large=True)))
    post.send("TC1 TC1@101 TC2", batch_size=1)
    assert post.entries() == {"TC1": "too large", "TC1@101": "done", "TC2": "done"}
    assert (post.sent.refused, post.withdrawn()) == (1, [])


def test_without_batch_results_go_one_by_one(post: Post) -> None:
    """From the first refusal of `/batch` as a whole to the end of the pass."""
    _follow(post, fails(BatchRefused("404")))
    dispatcher = post.send("TC1 TC1@101 TC2")
    post.go_on(dispatcher, "TC3 TC4")
    assert post.requests() == ["TC1 TC1@101 TC2", "TC1", "TC2", "TC1@101", "TC3", "TC4"]
    assert (post.rally.singles, post.sent.results, post.sent.down, post.sent.failed) == (5, 5, [], [])


@pytest.mark.parametrize(
    ("error", "down", "failed"),
    [
        pytest.param(Unauthorized("the key is not accepted"), [], ["the key is not accepted"], id="key not accepted"),
        pytest.param(ServiceDown("Rally", "away"), ["Rally: away"], [], id="down"),
        pytest.param(Stopped("asked to stop"), [], [], id="stopped"),
    ],
)
def test_a_rally_that_is_away_or_closed_to_us_ends_sending(
    post: Post, error: Exception, down: list[str], failed: list[str]
) -> None:
    """What was not carried out is withdrawn, and pending as before."""
    _follow(post, FakeRally.carry_out, fails(error))
    dispatcher = post.send("TC1 TC2 TC3 TC4", batch_size=1)
    assert (dispatcher.halted, post.requests(), post.entries()) == (True, ["TC1", "TC2"], {"TC1": "done"})
    assert (post.sent.down, post.sent.failed) == (down, failed)
    post.go_on(dispatcher, "TC5")
    assert len(post.requests()) == 2


def test_trouble_that_several_requests_meet_is_told_once(post: Post) -> None:
    """All of them are withdrawn."""
    post.rally.latency_s = 0.02
    _follow(post, *[fails(ServiceDown("Rally", "away"))] * 4)
    post.send("TC1 TC2 TC3 TC4", max_concurrency=4, batch_size=1)
    assert (post.sent.down, post.entries()) == (["Rally: away"], {})


# --- silence ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 50])
def test_without_an_answer_the_intent_stays_open(post: Post, batch_size: int) -> None:
    """Whether Rally did it or not: only asking can tell. It is neither sent again nor withdrawn."""
    _follow(post, silent(1))
    post.send("TC1", batch_size=batch_size)
    assert (post.entries(), post.there(), len(post.requests())) == ({"TC1": "intended"}, ["TC1"], 1)
    assert (post.sent.results, post.sent.down, post.withdrawn()) == (0, ["Rally: no answer"], [])


def test_without_an_answer_nothing_more_is_sent_for_its_test_cases(post: Post) -> None:
    """The request may still be alive; other test cases go on, in half as large batches."""
    _follow(post, later())
    dispatcher = post.send("TC1 TC1@101 TC1@102 TC1@103 TC1@104 TC2 TC3 TC4", batch_size=4)
    assert not dispatcher.halted
    assert post.requests() == ["TC1 TC1@101 TC1@102 TC1@103", "TC2 TC3", "TC4"]
    assert "TC1@104" not in post.entries()


def test_nothing_is_sent_for_a_test_case_with_a_result_in_doubt(post: Post) -> None:
    """One of an earlier pass or window."""
    post.send("TC1@101 TC2", busy="TC1")
    assert (post.requests(), post.entries()) == (["TC2"], {"TC2": "done"})


def test_a_batch_that_is_under_way_stays_one_though_batches_shrink(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another request's silence, meanwhile, must not cut it short."""
    shrunk = threading.Event()

    class Slow(ThreadPoolExecutor):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **keys: Any) -> Any:  # noqa: ANN401 - as its base does
            def second() -> object:
                assert shrunk.wait(5)
                return fn(*args, **keys)

            return super().submit(second) if len(args[0]) == 2 else super().submit(fn, *args, **keys)

    monkeypatch.setattr(dispatch, "ThreadPoolExecutor", Slow)
    sink = logger.add(lambda message: shrunk.set() if "gave no answer" in message else None, level="WARNING")
    _follow(post, later())
    post.send("TC1 TC1@101 TC1@102 TC2 TC3", batch_size=3, max_concurrency=2)
    logger.remove(sink)
    assert post.requests() == ["TC1 TC1@101 TC1@102", "TC2 TC3"]
    assert post.there() == ["TC2", "TC3"]


# --- the end ---------------------------------------------------------------------------------------------------------


def test_asked_to_stop_before_it_began_it_sends_nothing(post: Post) -> None:
    """Nothing is intended either."""
    post.stop.set()
    assert post.send("TC1").halted
    assert (post.requests(), post.entries()) == ([], {})


def test_asked_to_stop_it_takes_the_answers_of_what_is_under_way(post: Post) -> None:
    """And begins nothing new."""

    def stops(rally: FakeRally, results: Sequence[TestCaseResult]) -> Answers:
        post.stop.set()
        return rally.carry_out(results)

    _follow(post, stops)
    assert post.send("TC1 TC2", batch_size=1).halted
    assert (post.requests(), post.entries(), post.sent.results) == (["TC1"], {"TC1": "done"}, 1)


def test_asked_to_stop_it_does_not_sit_out_a_pause(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if Rally asked for it."""
    monkeypatch.setattr(random, "uniform", lambda *_: 1.0)

    def turned_away(rally: FakeRally, results: Sequence[TestCaseResult]) -> Answers:
        del rally, results
        threading.Timer(0.05, post.stop.set).start()
        raise NotDone("turned away", retry_after_s=50.0)

    _follow(post, turned_away)
    began = time.monotonic()
    assert post.send("TC1").halted
    assert time.monotonic() - began < 5
    assert post.entries() == {}


@pytest.mark.parametrize("error", [ZeroDivisionError("ours"), Killed()], ids=["a mistake of ours", "the end"])
def test_what_nobody_expected_is_raised_and_leaves_the_intents_open(post: Post, error: BaseException) -> None:
    """They were written down before the request; the next pass asks Rally about them."""
    _follow(post, FakeRally.carry_out, fails(error))
    with pytest.raises(type(error)):
        post.send("TC1 TC1@101 TC2 TC3", batch_size=2)
    assert post.entries() == {"TC1": "done", "TC1@101": "done", "TC2": "intended", "TC3": "intended"}


def test_of_two_requests_under_way_the_other_one_is_not_lost(post: Post) -> None:
    """Its answer may go unheard, but its intent is open: Rally is asked."""
    post.rally.latency_s = 0.02
    _follow(post, fails(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        post.send("TC1 TC2", batch_size=1, max_concurrency=2)
    assert len(post.there()) == 1
    assert set(post.entries()) == {"TC1", "TC2"}
