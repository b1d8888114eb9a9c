"""Sending: every answer has its own step in the ledger, and what was not done is as if it had never been begun."""

from __future__ import annotations

import html
import threading
import time
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from reconciler import dispatch
from reconciler.apply import ResultDesk
from reconciler.compose import Parcel
from reconciler.dispatch import BATCH_BYTES, GONE, TURNED_AWAY, Dispatcher, Sent
from reconciler.errors import BatchRefused, NotDone, ServiceDown, Stopped, Unauthorized
from reconciler.ledger import views
from reconciler.ledger.ledger import Ledger, in_memory
from reconciler.mapping import Mapping
from reconciler.model import Build, TestCaseResult
from reconciler.plan import Add, Verdicts, missing
from tests import accounting, building
from tests.fakes import START, FakeRally
from tests.fates import fails, later, says_no, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tests.fakes import Answers


@dataclass
class Office:
    """A ledger with results to send, and a Rally to send them to."""

    ledger: Ledger
    rally: FakeRally = field(default_factory=FakeRally)
    sent: Sent = field(default_factory=Sent)
    stop: threading.Event = field(default_factory=threading.Event)
    desk: ResultDesk = field(init=False)

    def fill(self, *, cases: int, pipelines: int) -> None:
        """Read a test of each test case in each pipeline."""
        known = [self.rally.add_case(f"TC{n}") for n in range(1, cases + 1)]
        self.ledger.test_cases.replace(known)
        for number in range(100, 100 + pipelines):
            pipeline = building.pipeline(number)
            job = building.job(number * 10, of=pipeline, at_s=number)
            self.ledger.observations.store_pipelines([pipeline])
            self.ledger.observations.store_jobs(pipeline, [job])
            building.read_job(self.ledger, job, [building.run(f"t_{case.formatted_id}") for case in known])
            self.ledger.observations.mark_read(pipeline)
        self.ledger.subjects.apply(Mapping([]), resolvable=True)

    def due(self) -> list[Add]:
        """Plan everything that is pending."""
        groups = [group for pipeline, _ in self.ledger.entries.due() for group in self.ledger.entries.groups(pipeline)]
        return [action for action in missing(groups, Verdicts("ignore", "Pass")) if isinstance(action, Add)]

    def send(self, *, batch_size: int = 50, at_once: int = 1) -> Dispatcher[Add, Parcel]:
        """Send what is due."""
        limits = building.rally_settings(batch_size=batch_size, max_concurrency=at_once)
        self.sent.halted = False
        self.desk = ResultDesk(self.rally, self.ledger, lambda adds: map(_compose, adds), self.sent)
        busy = {intent.test_case for intent in self.ledger.entries.open_intents()}
        dispatcher = Dispatcher(self.desk, limits, self.stop, self.sent)
        dispatcher.send(self.due(), busy=busy, now=lambda: START)
        accounting.check(self.ledger.store)
        return dispatcher

    def send_some(self, more: Callable[[], list[Add] | None], *, batch_size: int, busy: Iterable[int] = ()) -> None:
        """Send what comes a little at a time."""
        limits = building.rally_settings(batch_size=batch_size, max_concurrency=1)
        self.desk = ResultDesk(self.rally, self.ledger, lambda adds: map(_compose, adds), self.sent)
        dispatcher = Dispatcher(self.desk, limits, self.stop, self.sent)
        dispatcher.send((), busy=busy, now=lambda: START, more=more)
        accounting.check(self.ledger.store)

    @property
    def sizes(self) -> list[int]:
        """How many results each request held."""
        return [len(keys) for keys in self.rally.requests]

    def entries(self) -> dict[str, str]:
        """Tell the state of each entry, by `TC1@100`; what is done is in Rally under that key and object."""
        rows = self.ledger.store.rows("SELECT formatted_id, pipeline_id, state, object_id FROM entries")
        for formatted_id, pipeline, state, object_id in rows:
            if state == "done":
                assert str(self.rally.stored[object_id].key) == f"1/{pipeline}/{formatted_id}/1"
        return {f"{formatted_id}@{pipeline}": state for formatted_id, pipeline, state, _ in rows}

    def states(self) -> set[str]:
        """Tell the states that tests are in."""
        return set(views.recount(self.ledger.store))


@pytest.fixture
def office() -> Iterator[Office]:
    """Give an office that starts with the one project known."""
    ledger = in_memory()
    with closing(ledger.store):
        ledger.observations.remember_projects("project qa/web-shop", [building.PROJECT])
        yield Office(ledger)


def _compose(add: Add) -> Parcel:
    notes = f"<div>{html.escape(str(add.key))}</div>"
    build = Build(f"GitLab-{add.key.pipeline_id}")
    return Parcel(TestCaseResult(add.key, build, add.test_case, add.verdict, add.date, add.duration_s, notes), ())


# --- a few at a time -------------------------------------------------------------------------------------------------


def test_what_comes_a_little_at_a_time_goes_in_full_requests(office: Office) -> None:
    """More is asked for while others are on their way; nothing is left when there is no more."""
    office.fill(cases=40, pipelines=5)
    due = office.due()
    given = iter([due[start : start + 7] for start in range(0, len(due), 7)])
    office.send_some(lambda: next(given, None), batch_size=10)
    assert office.sizes == [10] * 20
    assert set(office.entries().values()) == {"done"}


def test_an_answer_is_written_down_with_what_goes_out_next(office: Office) -> None:
    """One transaction for each request, and one for the last answer."""
    office.fill(cases=1, pipelines=10)
    before = office.ledger.store.commits
    office.send(batch_size=1)
    assert len(office.sizes) == 10
    assert office.ledger.store.commits - before == 10 + 1


def test_more_is_planned_with_every_answer_written_down(office: Office) -> None:
    """Whoever plans sees what came to be; what was answered stays when planning fails."""
    office.fill(cases=2, pipelines=3)
    due, given = office.due(), list[Add]()

    def give() -> list[Add]:
        if len(given) > sum(state == "done" for state in office.entries().values()):
            return []  # there is more when this has come to be
        given.append(due.pop(0))
        return given[-1:]

    with pytest.raises(IndexError):
        office.send_some(give, batch_size=1)
    assert office.sizes == [1] * 6
    assert list(office.entries().values()) == ["done"] * 6


def test_what_came_to_be_is_written_down_when_the_next_cannot_be_composed(office: Office) -> None:
    """A mistake in one result leaves no doubt about those before it."""
    office.fill(cases=1, pipelines=2)

    def compose(add: Add) -> Parcel:
        if office.sizes:
            raise ZeroDivisionError
        return _compose(add)

    limits = building.rally_settings(batch_size=1, max_concurrency=1)
    desk = ResultDesk(office.rally, office.ledger, lambda adds: map(compose, adds), office.sent)
    with pytest.raises(ZeroDivisionError):
        Dispatcher(desk, limits, office.stop, office.sent).send(office.due(), busy=(), now=lambda: START)
    assert office.entries() == {"TC1@100": "done"}


def test_what_nobody_may_write_to_keeps_nothing_back_that_comes_later(office: Office) -> None:
    """Test cases in doubt wait for the next pass, however many of their results come first."""
    office.fill(cases=2, pipelines=30)
    mine = [add for add in office.due() if add.key.formatted_id == "TC1"]
    others = [add for add in office.due() if add.key.formatted_id == "TC2"]
    given = iter([mine, others])
    office.send_some(lambda: next(given, None), busy={mine[0].test_case}, batch_size=1)
    assert {name.partition("@")[0] for name in office.entries()} == {"TC2"}
    assert len(office.entries()) == 30


# --- answers ---------------------------------------------------------------------------------------------------------


def test_answers_are_taken_one_by_one_in_their_positions(office: Office) -> None:
    """A No in the middle is one result's No, with its reason; the others are there."""
    office.fill(cases=3, pipelines=1)
    office.rally.steps.append(says_no({1}, "Validation error: TestCaseResult.Duration"))
    office.send()
    assert office.entries() == {"TC1@100": "done", "TC2@100": "refused", "TC3@100": "done"}
    assert views.refusals(office.ledger.store) == [
        {"key": "1/100/TC2/1", "reason": "Validation error: TestCaseResult.Duration"}
    ]
    assert (office.sent.results, office.sent.refused, office.sent.writes) == (2, 1, 1)
    assert office.due() == []


def test_results_of_one_test_case_may_share_a_request(office: Office) -> None:
    """The longest queue first, oldest first in it."""
    office.fill(cases=2, pipelines=3)
    office.send(batch_size=4)
    assert [[str(key) for key in keys] for keys in office.rally.requests] == [
        ["1/100/TC1/1", "1/101/TC1/1", "1/102/TC1/1", "1/100/TC2/1"],
        ["1/101/TC2/1", "1/102/TC2/1"],
    ]


def test_a_conflict_is_sent_again_in_the_same_pass_later_and_fewer_at_once(office: Office) -> None:
    """It is no refusal: the intent is withdrawn, and the result is there in the end, once."""
    office.fill(cases=2, pipelines=1)
    office.rally.steps.append(says_no({0}, "Concurrency conflict: [Object has been modified]", conflict=True))
    begun = time.monotonic()
    dispatcher = office.send(at_once=4)
    assert time.monotonic() - begun >= 0.2
    assert office.sizes == [2, 1]
    assert office.entries() == {"TC1@100": "done", "TC2@100": "done"}
    assert len(office.rally.results()) == 2
    assert (office.sent.results, office.sent.refused) == (2, 0)
    assert dispatcher._concurrency == 2
    assert office.ledger.store.rows("SELECT what, key, detail FROM audit") == [
        ("withdrawn", "100/TC1/1", "Concurrency conflict")
    ]


def test_a_conflict_that_does_not_end_waits_for_the_next_pass(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pending, neither intended nor refused; its later results do not overtake it, other test cases go on."""
    monkeypatch.setattr(dispatch, "CONFLICTS", 1)
    office.fill(cases=2, pipelines=2)
    office.rally.steps.append(says_no({0}, "Concurrency conflict", conflict=True))
    office.send(batch_size=1)
    assert office.entries() == {"TC2@100": "done", "TC2@101": "done"}
    assert office.states() == {"pending", "sent"}


def test_a_test_case_that_rally_cannot_read_is_told_and_stays_intended(office: Office) -> None:
    """Whether it is gone is for the caller to find out; it is not refused for that."""
    office.fill(cases=2, pipelines=1)
    office.rally.delete_case("TC2")
    office.send()
    ((letter, reason),) = office.desk.gone
    assert (letter.item.key.formatted_id, GONE in reason) == ("TC2", True)
    assert office.entries() == {"TC1@100": "done", "TC2@100": "intended"}
    assert [intent.entry_id for intent in office.ledger.entries.open_intents()] == [letter.row]


# --- silence ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fate", [silent(0), silent(1), silent(2), later()])
def test_without_an_answer_nothing_is_concluded(office: Office, fate: object) -> None:
    """The results stay intended whatever was done of them, and their test cases stay busy, in the next round too."""
    office.fill(cases=2, pipelines=3)
    office.rally.steps.append(fate)  # type: ignore[arg-type] # what a parameter is, only the table knows
    office.send(batch_size=2)
    assert office.sizes == [2, 1, 1, 1]
    assert office.entries() == {
        "TC1@100": "intended", "TC1@101": "intended", "TC2@100": "done", "TC2@101": "done", "TC2@102": "done",
    }  # fmt: skip
    assert not office.sent.halted
    assert office.sent.down == ["Rally: no answer"]
    office.send()
    assert office.sizes == [2, 1, 1, 1]


def test_silence_halves_the_batches_that_follow(office: Office) -> None:
    """A smaller one may be answered in time."""
    office.fill(cases=10, pipelines=2)
    office.rally.steps.append(silent(0))
    office.send(batch_size=8)
    assert office.sizes == [8, 4, 4, 4]


def test_an_error_that_is_none_of_ours_comes_out_and_leaves_its_intents_open(office: Office) -> None:
    """A bug in a worker is no answer: what was begun is asked about later, and what others did is not lost."""
    office.fill(cases=3, pipelines=1)
    office.rally.steps.extend([FakeRally.carry_out, fails(ZeroDivisionError("a bug"))])
    with pytest.raises(ZeroDivisionError, match="a bug"):
        office.send(batch_size=1)
    assert office.entries() == {"TC1@100": "done", "TC2@100": "intended"}


# --- turned away at the door -----------------------------------------------------------------------------------------


def test_a_request_that_was_turned_away_is_sent_again_when_the_server_said(office: Office) -> None:
    """Not before; the intent is withdrawn in between."""
    office.fill(cases=2, pipelines=1)
    office.rally.steps.append(fails(NotDone("429", retry_after_s=0.3)))
    begun = time.monotonic()
    office.send()
    assert time.monotonic() - begun >= 0.3
    assert (office.sizes, set(office.entries().values())) == ([2, 2], {"done"})
    assert (office.sent.down, office.sent.writes) == ([], 2)


def test_a_server_that_turns_everything_away_is_left_alone(office: Office) -> None:
    """After some requests in a row; everything is pending, nothing intended, and it is said once."""
    office.fill(cases=3, pipelines=1)
    office.rally.down = True
    office.send(batch_size=1)
    assert office.sent.halted
    assert len(office.rally.requests) == TURNED_AWAY
    assert (office.entries(), office.states()) == ({}, {"pending"})
    assert office.sent.down == ["Rally: no connection"]


def test_requests_that_were_turned_away_together_count_as_one(office: Office) -> None:
    """A full house at once is no row of failures: all are sent after the wait."""
    office.fill(cases=TURNED_AWAY + 2, pipelines=1)
    office.rally.latency_s = 0.05
    office.rally.steps.extend([fails(NotDone("503", retry_after_s=0.2))] * (TURNED_AWAY + 2))
    office.send(batch_size=1, at_once=TURNED_AWAY + 2)
    assert not office.sent.halted
    assert set(office.entries().values()) == {"done"}
    assert office.sent.down == []


def test_an_answer_in_between_ends_the_row(office: Office) -> None:
    """Now and then is not in a row."""
    office.fill(cases=2 * TURNED_AWAY, pipelines=1)
    office.rally.steps.extend([fails(NotDone("503", retry_after_s=0.0)), FakeRally.carry_out] * 2 * TURNED_AWAY)
    office.send(batch_size=1)
    assert not office.sent.halted
    assert len(office.rally.results()) == 2 * TURNED_AWAY


def test_what_is_too_large_is_halved_and_what_cannot_be_halved_is_refused(office: Office) -> None:
    """One result too large is that one's No; the others go."""
    office.fill(cases=4, pipelines=1)

    def gate(rally: FakeRally, results: Sequence[TestCaseResult]) -> Answers:
        if len(results) > 2 or any(result.key.formatted_id == "TC3" for result in results):
            raise NotDone("413", too_large=True)
        return rally.carry_out(results)

    office.rally.steps.extend([gate] * 20)
    office.send(batch_size=4)
    assert office.entries() == {"TC1@100": "done", "TC2@100": "done", "TC3@100": "refused", "TC4@100": "done"}
    assert views.refusals(office.ledger.store) == [{"key": "1/100/TC3/1", "reason": "413"}]
    assert office.sizes[:2] == [4, 2]


def test_without_batch_results_go_one_by_one(office: Office) -> None:
    """Same protocol, for the rest of the pass."""
    office.fill(cases=3, pipelines=2)
    office.rally.steps.append(fails(BatchRefused("HTTP 404")))
    office.send(batch_size=4)
    assert office.sizes == [4, 1, 1, 1, 1, 1, 1]
    assert set(office.entries().values()) == {"done"}
    assert (office.sent.down, office.sent.failed) == ([], [])


def test_a_batch_written_down_before_the_size_shrank_is_sent_whole(office: Office) -> None:
    """Another answer may come in between; no result of it may be left out."""
    office.fill(cases=3, pipelines=1)
    limits = building.rally_settings(batch_size=50, max_concurrency=1)

    def compose(add: Add) -> Parcel:
        dispatcher._batch_size = 1
        return _compose(add)

    desk = ResultDesk(office.rally, office.ledger, lambda adds: map(compose, adds), office.sent)
    dispatcher = Dispatcher(desk, limits, office.stop, office.sent)
    dispatcher.send(office.due(), busy=(), now=lambda: START)
    assert office.sizes == [3]
    assert set(office.entries().values()) == {"done"}


@pytest.mark.parametrize(
    ("error", "down", "failed"),
    [
        (Unauthorized("Rally: the key"), [], ["Rally: the key"]),
        (ServiceDown("Rally", "away"), ["Rally: away"], []),
        (Stopped("asked to stop"), [], []),
    ],
)
def test_when_rally_says_no_to_us_as_a_whole_nothing_more_is_sent(
    office: Office, error: Exception, down: list[str], failed: list[str]
) -> None:
    """What was on its way is withdrawn, everything is pending, and it is said once."""
    office.fill(cases=3, pipelines=1)
    office.rally.steps.extend([FakeRally.carry_out, fails(error)])
    office.send(batch_size=1)
    assert office.sent.halted
    assert office.sizes == [1, 1]
    assert office.entries() == {"TC1@100": "done"}
    assert office.states() == {"sent", "pending"}
    assert (office.sent.down, office.sent.failed) == (down, failed)


def test_a_stop_lets_what_is_on_its_way_end_and_begins_nothing_more(office: Office) -> None:
    """Its answer is written down."""
    office.fill(cases=3, pipelines=1)

    def stops(rally: FakeRally, results: Sequence[TestCaseResult]) -> Answers:
        office.stop.set()
        return rally.carry_out(results)

    office.rally.steps.append(stops)
    office.send(batch_size=1)
    assert office.sent.halted
    assert (office.sizes, office.entries()) == ([1], {"TC1@100": "done"})


def test_a_stop_ends_a_long_wait(office: Office) -> None:
    """Nobody waits two minutes for a process to end."""
    office.fill(cases=1, pipelines=1)
    office.rally.steps.append(fails(NotDone("503", retry_after_s=100.0)))
    threading.Timer(0.2, office.stop.set).start()
    begun = time.monotonic()
    office.send()
    assert office.sent.halted
    assert time.monotonic() - begun < 5
    assert office.states() == {"pending"}


# --- before a request ------------------------------------------------------------------------------------------------


def test_a_batch_stays_below_its_cap_of_bytes_and_one_result_goes_whatever_its_size(office: Office) -> None:
    """Those that do not fit go in the next one, in their order."""
    office.fill(cases=2, pipelines=4)
    office.rally.bytes_each = BATCH_BYTES // 3
    office.send()
    assert office.sizes == [3, 3, 2]
    for formatted_id in ("TC1", "TC2"):
        sent = [key.pipeline_id for keys in office.rally.requests for key in keys if key.formatted_id == formatted_id]
        assert sent == [100, 101, 102, 103]


def test_a_result_larger_than_the_cap_goes_alone(office: Office) -> None:
    """Whether it is too large is for Rally to say."""
    office.fill(cases=3, pipelines=1)
    office.rally.bytes_each = BATCH_BYTES + 1
    office.send()
    assert office.sizes == [1, 1, 1]


def test_what_the_schema_refuses_costs_no_request(office: Office) -> None:
    """It is refused with the reason; its test case is free for the next, and the rest of its batch goes."""
    office.fill(cases=2, pipelines=2)
    office.rally.checks = lambda result: "Build is too long" if result.build == "GitLab-100" else ""
    office.send(batch_size=1)
    assert office.entries() == {"TC1@100": "refused", "TC1@101": "done", "TC2@100": "refused", "TC2@101": "done"}
    assert office.sizes == [1, 1]
    assert {row["reason"] for row in views.refusals(office.ledger.store)} == {"Build is too long"}
    assert (office.sent.refused, office.sent.writes) == (2, 2)


def test_nothing_but_what_the_schema_refuses_makes_no_request_at_all(office: Office) -> None:
    """The pass ends; nothing waits for an answer."""
    office.fill(cases=2, pipelines=2)
    office.rally.checks = lambda _: "no"
    office.send()
    assert (office.sizes, set(office.entries().values())) == ([], {"refused"})


def test_nothing_due_is_nothing_sent(office: Office) -> None:
    """No request, no thread left behind."""
    before = threading.active_count()
    office.send(at_once=8)
    assert office.sizes == []
    assert threading.active_count() <= before


# --- many at once ----------------------------------------------------------------------------------------------------


def test_as_many_requests_fly_as_are_allowed_and_no_two_with_one_test_case(office: Office) -> None:
    """Each test case's results arrive in their order, although eight workers carry them and some are turned away."""
    office.fill(cases=20, pipelines=5)
    office.rally.latency_s = 0.2
    office.rally.steps.extend(
        [FakeRally.carry_out, says_no({0}, "Validation error"), fails(NotDone("503", retry_after_s=0.0)), silent(1)]
    )
    office.send(batch_size=3, at_once=8)
    assert office.rally.most_at_once == 8
    arrived: dict[str, list[int]] = defaultdict(list)
    for result in office.rally.stored.values():
        arrived[result.key.formatted_id].append(result.key.pipeline_id)
    assert all(pipelines == sorted(set(pipelines)) for pipelines in arrived.values())
    assert set(office.entries().values()) == {"done", "intended", "refused"}


def test_the_last_requests_end_together(office: Office) -> None:
    """Each is smaller than the one before, so that no full one begins when the others are done."""
    office.fill(cases=290, pipelines=1)
    office.rally.latency_s = 0.2
    rank = {add.key: add.rank for add in office.due()}
    office.send(batch_size=50, at_once=4)
    begun = sorted(office.rally.requests, key=lambda keys: rank[keys[0]])  # two may arrive the other way round
    sizes = [len(keys) for keys in begun]
    assert sum(sizes) == 290
    assert sizes[:3] == [50] * 3
    assert min(sizes[:-1]) >= 10
    assert sizes[-1] < 25


@pytest.mark.parametrize("at_once", [1, 8])
def test_what_is_little_is_not_divided(office: Office, at_once: int) -> None:
    """A few full requests are fewer than one for each that may be under way."""
    office.fill(cases=100, pipelines=1)
    office.rally.latency_s = 0.02
    office.send(batch_size=50, at_once=at_once)
    assert office.sizes == [50, 50]


def test_nothing_small_is_prepared_while_all_that_may_are_under_way(office: Office) -> None:
    """What is left of test cases that are in other requests goes with more of theirs."""
    office.fill(cases=5, pipelines=30)
    office.rally.latency_s = 0.05
    office.send(batch_size=20, at_once=4)
    assert office.sizes[:6] == [20] * 6


def test_one_request_at_a_time_is_one_at_a_time(office: Office) -> None:
    """`max_concurrency = 1` is kept."""
    office.fill(cases=6, pipelines=2)
    office.rally.latency_s = 0.002
    office.send(batch_size=2, at_once=1)
    assert office.rally.most_at_once == 1
    assert len(office.rally.results()) == 12
