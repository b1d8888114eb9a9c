"""One pass: bring Rally up to date with what GitLab ran. A backfill is the same pass with another scope."""

from __future__ import annotations

import time
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from loguru import logger

from reconciler.agendas import Polls, Projects
from reconciler.apply import Push, settle
from reconciler.aside import aside, begun
from reconciler.attach import Attach
from reconciler.collect import AHEAD, Collected, Collector
from reconciler.deadline import Deadline
from reconciler.dispatch import Sent
from reconciler.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_TRY_AGAIN,
    LedgerUnusable,
    NotAgreed,
    ReconcilerError,
    ServiceDown,
    Stopped,
)
from reconciler.history import History
from reconciler.ledger import proof, views
from reconciler.ledger.backfills import Span
from reconciler.readers import Readers
from reconciler.sprinting import SprintRun
from reconciler.verify import Repair, verify

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping, Sequence

    from reconciler.collect import Agenda
    from reconciler.config import Settings
    from reconciler.ledger.backfills import Backfill
    from reconciler.ledger.ledger import Ledger
    from reconciler.ledger.proof import Claim
    from reconciler.listing import Seen
    from reconciler.mapping import Row
    from reconciler.model import ObjectID, TestCase
    from reconciler.order import Order
    from reconciler.ports import GitLab, Rally
    from reconciler.reading import Found
    from reconciler.traffic import Traffic
    from reconciler.verify import Verified

FULL_REFRESH = timedelta(days=1)
REFRESH_OVERLAP = timedelta(minutes=5)
_DEEDS = ("pipelines_read", "results_sent", "attachments_sent", "test_sets_created", "members_added", "writes")
SLICE_TESTS = 2_000
"""So many tests are read before results are sent while reading goes on; fewer are sent when all is read."""
ROUND_S = 60.0
"""So long results are sent without a look at anything else, be there ever so many; files wait for it."""
SLICE_TESTS_IN_TURN = 1_000
"""The same, where a backfill takes turns with polls: it is what a poll may find waiting before its own results."""
_FULL, _ANY, _SPRINTS = "test_cases/full", "test_cases/refreshed", "sprints/looked"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a pass did, what it left, and what a person or the next pass must do."""

    summary: dict[str, int]
    """As `--json` prints it."""
    down: tuple[str, ...]
    failed: tuple[str, ...]
    actions: tuple[dict[str, Any], ...] = ()
    """With `--dry-run`: what the next pass would send."""

    @property
    def exit_status(self) -> int:
        """0: nothing left to do; 75: try again; 1: a person must look."""
        if self.failed:
            return EXIT_FAILED
        return EXIT_TRY_AGAIN if self.down or self.summary["left"] else EXIT_DONE


@dataclass(frozen=True, slots=True)
class World:
    """Everything a pass works with; built by cli, or by a test."""

    gitlab: GitLab
    rally: Rally
    ledger: Ledger
    settings: Settings
    stop: threading.Event
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    readers: int = 0
    """Threads that read from GitLab; without, it is read in turn with everything else."""
    traffic: Mapping[str, Traffic] = field(default_factory=dict)
    """By service: what passed between it and us."""
    rest: Callable[[], None] = lambda: None
    """Closes the connections that lie idle; a daemon does so between passes."""

    def progress(self) -> int:
        """Give a number that grows with every answer of a service and every commit to the ledger."""
        return self.ledger.store.commits + sum(self.asked().values())

    def asked(self) -> dict[str, int]:
        """Tell how many requests each service got so far; nothing of a service whose traffic is not known."""
        return {service: traffic.total for service, traffic in self.traffic.items()}


def reconcile(world: World, rows: Sequence[Row], order: Order, done: Done | None = None) -> Outcome:
    """Read what GitLab finished, then create in Rally what is missing; what there is much of overlaps.

    The absence of one service never stops the other half. How far it got can be seen in `done` from any thread.

    Raises:
        Stopped: `world.stop` was set; what was begun is in the ledger.
        NotAgreed: the order's guard said No; nothing was sent.
    """
    pass_id = world.ledger.begin_pass(order.kind, world.now())
    done = done or Done(Collected(), Sent(), [])
    asked = world.asked()
    try:
        with suppress(Stopped):
            _pass(world, rows, order, done)
            if _was_interrupted(world, done):
                _pass(world, rows, replace(order, catches_up=True), done)
    finally:
        world.gitlab.forget_archives()
    return _conclude(world, pass_id, order, done, asked)


def _pass(world: World, rows: Sequence[Row], order: Order, done: Done) -> None:
    done.is_over = False
    if not order.collects:
        _update(world, rows, order, done)
        return
    if order.scope.since is not None:
        agreed = order.overlaps
        span = Span(order.scope.since, order.scope.until, order.scope.projects)
        done.backfill = world.ledger.backfills.begin(span, world.now(), agreed=agreed)
        if done.backfill.agreed:
            order = replace(order, guard=None)
    stop = world.stop if order.turn_s is None else Deadline(world.stop, order.turn_s)
    readers: Readers[Seen | Found] = Readers(world.readers)
    with closing(readers):
        collector = Collector(
            world.gitlab, world.ledger, world.settings, world.now, _agenda(world, order, done), readers, done.collected,
            may_go_on=lambda: not stop.is_set(), ahead=AHEAD if order.turn_s is None else SLICE_TESTS_IN_TURN,
        )  # fmt: skip
        with begun(world.rally.allowed_verdicts) if order.updates and world.readers else nullcontext():
            _read_and_send(replace(world, stop=stop), rows, order, done, collector)
    done.is_over = collector.is_over


def _was_interrupted(world: World, done: Done) -> bool:
    """Tell whether a backfill has come to its end that was begun by an earlier run: GitLab went on meanwhile.

    What came since is listed once, in the end, however often it was interrupted.
    """
    known = done.backfill
    return (
        known is not None
        and known.opened_at is not None
        and done.is_over
        and not done.collected.down
        and not world.stop.is_set()
        and not world.ledger.backfills.left(known.backfill_id)
    )


def _agenda(world: World, order: Order, done: Done) -> Agenda:
    projects = Projects(world.gitlab, world.ledger, world.settings, done.collected, order.scope.projects)
    if done.backfill is None:
        return Polls(projects, world.now())
    room, number, alone = world.ledger.backfills, done.backfill.backfill_id, order.turn_s is None
    return History(projects, room, number, world.now(), alone=alone, catches_up=order.catches_up)


def _read_and_send(world: World, rows: Sequence[Row], order: Order, done: Done, collector: Collector) -> None:
    """Read some, send it while more is read, until all is read and sent; with a guard, read all, then ask, then send.

    When Rally is away, the rest is read all the same.
    """
    sends = order.updates
    tests = _slice(order)
    more = collector.list_all()
    while True:
        more = more and collector.read(tests if order.overlaps and sends else None)
        if done.backfill is not None and order.guard is not None and not collector.is_over:
            return  # nobody can tell yet what there is to agree to
        if sends:
            sends = _update(world, rows, order, done, collector if more else None)
        if not more:
            return
        if sends:
            done.sent.down.clear()  # what got no answer is in doubt, and is asked about in good time
        refreshed = timedelta(seconds=world.settings.rally.poll_seconds)
        order = replace(order, refresh_after=max(order.refresh_after, refreshed))


def _slice(order: Order) -> int:
    return SLICE_TESTS if order.turn_s is None else SLICE_TESTS_IN_TURN


def _update(world: World, rows: Sequence[Row], order: Order, done: Done, collector: Collector | None = None) -> bool:
    """Do Rally's half; False when Rally is away. With a `collector`, reading goes on meanwhile."""
    try:
        _bring_up_to_date(world, rows, order, done, collector)
    except (Stopped, NotAgreed, LedgerUnusable):
        raise
    except ReconcilerError as error:
        troubles = done.sent.down if error.exit_status == EXIT_TRY_AGAIN else done.sent.failed
        troubles.append(str(error))
        return False
    return not done.sent.halted


@dataclass(slots=True)
class Done:
    """What a pass has done so far."""

    collected: Collected
    sent: Sent
    actions: list[dict[str, Any]]
    fills: set[ObjectID] = field(default_factory=set)
    """With `--dry-run`: the iterations whose sets the next pass makes or fills."""
    backfill: Backfill | None = None
    """As it was when the pass began."""
    is_over: bool = False
    """All that there was to read was asked for, with whatever success."""
    days: set[datetime] = field(default_factory=set)
    """Of which Rally was asked what sprints there were."""
    due: int = 0
    """Results that are known to be wanted, those that are sent included."""


def _bring_up_to_date(world: World, rows: Sequence[Row], order: Order, done: Done, collector: Collector | None) -> None:
    """Do Rally's half: know its test cases, settle what is in doubt, then make what is missing, or just say what is.

    Sprints come first, so that results find their sets; files come last, for no result waits for bytes.
    """
    if not order.sends:
        _look_after_sprints(world, order, done)
        return
    _know_test_cases(world, rows, order.refresh_after, collector.meanwhile if collector else None)
    settle(world.rally, world.ledger, timedelta(seconds=world.settings.rally.settle_after_seconds), world.now())
    _agree(world, order, done)
    push = _push(world, done)
    if collector is not None:
        push.horizon, push.meanwhile = collector.horizon(), collector.meanwhile
        push.goes_on = _Round(world, rows, order, done, collector, push).goes_on
    if order.dry_run and done.backfill is not None:
        push.backfill = done.backfill.backfill_id
    with push.looking_ahead():
        _look_after_sprints(world, order, done)
        _count_due(world, done)
        _make(world, order, done, push)


def _make(world: World, order: Order, done: Done, push: Push) -> None:
    """Make results and files, or list them."""
    mending, attach = _repair(world, push), _attach(world, push, done)
    if order.dry_run:
        done.actions += [*push.preview(done.fills), *mending.preview(), *attach.preview()]
        return
    push.run()
    if not done.sent.halted:
        mending.run()
    attach.run()


@dataclass(slots=True)
class _Round:
    """Lets sending go on with what was read meanwhile: a round for each slice would end with requests half full."""

    world: World
    rows: Sequence[Row]
    order: Order
    done: Done
    collector: Collector
    push: Push
    _until: float = field(init=False)
    _read: tuple[int, int] = field(init=False)
    """How many tests and pipelines were read when it was last seen what is due."""

    def __post_init__(self) -> None:
        """Begin now."""
        self._until = time.monotonic() + ROUND_S
        self._read = self._read_by_now()

    def _read_by_now(self) -> tuple[int, int]:
        return self.done.collected.tests_read, self.done.collected.pipelines_read

    def goes_on(self) -> bool | None:
        """Tell whether there is more to plan at once; what else a pass looks at, as new sprints, needs a new round."""
        if time.monotonic() >= self._until or self.world.stop.is_set():
            return False
        read = self._read_by_now()
        if self.collector.is_reading and read[0] - self._read[0] < _slice(self.order):
            return None
        if read == self._read:
            return False
        self._read = read
        self.collector.go_further()
        _map(self.world, self.rows, self.collector.meanwhile)
        if _has_new_days(self.world, self.done):
            return False
        self.push.horizon = self.collector.horizon()
        _count_due(self.world, self.done)
        return True


def _agree(world: World, order: Order, done: Done) -> None:
    """Ask whether as much as is due may be sent."""
    if order.guard is None or order.dry_run:
        return
    backfill = done.backfill.backfill_id if done.backfill else 0
    order.guard(world.ledger.entries.count_due(backfill=backfill))
    if backfill:
        world.ledger.backfills.agree(backfill)


def _push(world: World, done: Done) -> Push:
    return Push(world.rally, world.ledger, world.settings, world.stop, world.now, done.sent)


def _repair(world: World, push: Push) -> Repair:
    return Repair(
        world.rally, world.ledger, world.settings, push.composer, push.sent, push.desk.fresh, world.stop, world.now
    )


def _attach(world: World, push: Push, done: Done) -> Attach:
    return Attach(
        world.gitlab, world.rally, world.ledger, world.settings, world.stop, world.now, done.sent,
        push.desk.fresh, push.attached, done.collected,
    )  # fmt: skip


def _look_after_sprints(world: World, order: Order, done: Done) -> None:
    """Bring test sets up to date, unless that was done a moment ago and covers all that is due.

    A No to a question about sprints is said, and holds up no result; when Rally is away, everything waits.
    """
    observations, now = world.ledger.observations, world.now()
    last = observations.cursor(_SPRINTS)
    if last is not None and now - last < order.refresh_after and not _has_new_days(world, done):
        return
    done.days.update(world.ledger.entries.days_due())
    run = SprintRun(world.rally, world.ledger, world.settings, world.stop, world.now, done.sent)
    try:
        if order.dry_run:
            done.actions += run.preview()
            done.fills |= run.fills
            return
        run.run()
        observations.set_cursor(_SPRINTS, now)
    except (Stopped, ServiceDown, LedgerUnusable):
        raise
    except ReconcilerError as error:
        done.sent.failed.append(str(error))


def _has_new_days(world: World, done: Done) -> bool:
    """Tell whether results are due of days of which no sprint is known and this pass has not asked for any."""
    return any(day not in done.days and not world.ledger.sprints.knows(day) for day in world.ledger.entries.days_due())


def _count_due(world: World, done: Done) -> None:
    if done.backfill is not None:
        done.due = done.sent.results + world.ledger.entries.count_due()


@dataclass(frozen=True, slots=True)
class Repaired:
    """What `repair` came to."""

    found: Verified
    """As things are now."""
    made: tuple[str, ...]
    """Keys of what is there again."""
    refused: dict[str, str]
    """By key: why Rally will not have it any more."""
    unknown: tuple[str, ...]
    """Keys of what stays missing: the ledger does not know what it was made of."""
    down: tuple[str, ...]
    failed: tuple[str, ...]


def repair(world: World, rows: Sequence[Row], since: datetime | None) -> Repaired:
    """Make results again that are gone from Rally, and their files; what of it is left, the next pass does.

    Raises:
        ServiceDown, Unauthorized: Rally could not be asked; nothing was made since.
    """
    store, done = world.ledger.store, Done(Collected(), Sent(), [])
    _know_test_cases(world, rows, timedelta(0))
    settle(world.rally, world.ledger, timedelta(seconds=world.settings.rally.settle_after_seconds), world.now())
    gone = verify(world.rally, lambda: nullcontext(store), since).gone
    unknown = _mend(world, gone, done)
    fates = {str(claim.key): proof.fate(store, claim) for claim in gone}
    left = proof.ordered_still(store)
    if left:
        done.sent.down.append(f"{left} of the results that are to be made again wait for the next pass")
    return Repaired(
        found=verify(world.rally, lambda: nullcontext(store), since),
        made=tuple(key for key, fate in fates.items() if fate.is_made),
        refused={key: fate.reason for key, fate in fates.items() if fate.state == "refused"},
        unknown=tuple(str(claim.key) for claim in unknown),
        down=tuple(dict.fromkeys(done.sent.down + done.collected.down)),
        failed=tuple(dict.fromkeys(done.sent.failed + done.collected.failed)),
    )


def _mend(world: World, gone: Sequence[Claim], done: Done) -> list[Claim]:
    """Order these to be made again, and make what is ordered; those of which the ledger knows too little."""
    push = _push(world, done)
    mending = _repair(world, push)
    unknown = mending.order(gone)
    try:
        mending.run()
        if not (done.sent.halted or world.stop.is_set()):
            _attach(world, push, done).run()
    finally:
        world.gitlab.forget_archives()
    return unknown


def _know_test_cases(
    world: World, rows: Sequence[Row], refresh_after: timedelta, meanwhile: Callable[[], None] | None = None
) -> None:
    """Refresh what is known of Rally's test cases, apply the mapping, and look up at once what that names anew."""
    trouble: ReconcilerError | None = None
    try:
        _refresh(world, refresh_after, meanwhile)
    except ReconcilerError as error:
        trouble = error
    _map(world, rows, meanwhile, trouble)


def _map(
    world: World,
    rows: Sequence[Row],
    meanwhile: Callable[[], None] | None = None,
    trouble: ReconcilerError | None = None,
) -> None:
    """Apply the mapping to what is new of it and of tests, and look up what that names; raise `trouble` between."""
    ledger = world.ledger
    before = set(ledger.test_cases.unknown())
    known = ledger.observations.cursor(_ANY) is not None
    ledger.subjects.apply(ledger.mapping(rows), resolvable=known)
    if trouble is not None:
        raise trouble
    new = [formatted_id for formatted_id in ledger.test_cases.unknown() if formatted_id not in before]
    if new:
        found = aside(lambda: world.rally.test_cases_by_id(new), meanwhile)
        ledger.test_cases.update(found.values())


def _refresh(world: World, refresh_after: timedelta, meanwhile: Callable[[], None] | None) -> None:
    """Fetch Rally's test cases: all of them once a day, between that what changed, and what tests name in vain."""

    def fetched(since: datetime | None) -> list[TestCase]:
        return aside(lambda: list(world.rally.test_cases(since)), meanwhile)

    test_cases, observations, now = world.ledger.test_cases, world.ledger.observations, world.now()
    last = observations.cursor(_ANY)
    if last is not None and now - last < refresh_after:
        return
    full = observations.cursor(_FULL)
    newest = test_cases.newest_update()
    if full is None or newest is None or now - full >= FULL_REFRESH:
        had = test_cases.count()
        if not test_cases.replace(fetched(None)) and had:
            logger.warning("Rally answered that there are no test cases: what was known is kept", known=had)
        observations.set_cursor(_FULL, now)
    else:
        test_cases.update(fetched(newest - REFRESH_OVERLAP))
    unknown = test_cases.unknown()
    if unknown:
        test_cases.update(world.rally.test_cases_by_id(unknown).values())
    observations.set_cursor(_ANY, now)


def _conclude(world: World, pass_id: int, order: Order, done: Done, asked: Mapping[str, int]) -> Outcome:
    """Write down and say how the pass went; `asked`: the requests of each service before it."""
    collected, sent = done.collected, done.sent
    summary = _summary(world, order, done)
    # A plan is no success of sending: a dry run leaves what is known of the services as it was.
    world.ledger.end_pass(pass_id, {} if order.dry_run else _news(world, order, done, asked), summary, world.now())
    if done.backfill is not None and not order.dry_run:
        _note_backfill(world, done.backfill, done, summary)
    if world.stop.is_set():
        raise Stopped("asked to stop; what was begun is in the ledger, the next pass goes on")
    did = any(summary[name] for name in _DEEDS)  # a quiet daemon's log is quiet
    logger.log("INFO" if did else "DEBUG", "Pass done", **{name: number for name, number in summary.items() if number})
    return Outcome(
        summary=summary,
        down=tuple(dict.fromkeys(collected.down + sent.down)),
        failed=tuple(dict.fromkeys(collected.failed + sent.failed)),
        actions=tuple(done.actions),
    )


def _news(world: World, order: Order, done: Done, asked: Mapping[str, int]) -> dict[str, str]:
    """Tell what is wrong with each service, "" when it did all that was asked of it.

    Nothing is said of one that was not asked, and of one that was interrupted only what was wrong by then.
    """
    texts = {}
    if order.updates:
        texts["Rally"] = "; ".join(done.sent.down + done.sent.failed)
    if order.collects:
        texts["GitLab"] = "; ".join(dict.fromkeys(done.collected.down + done.collected.failed))
    now, stopped = world.asked(), world.stop.is_set()
    return {
        service: text
        for service, text in texts.items()
        if text or not (stopped or (service in now and now[service] == asked[service]))
    }


def _note_backfill(world: World, backfill: Backfill, done: Done, summary: Mapping[str, int]) -> None:
    """Write down how a backfill stands: done, when nothing is left of it.

    One that the daemon carries out is done, too, when the rest cannot be had: else it would ask for ever.
    """
    room, number = world.ledger.backfills, backfill.backfill_id
    trouble = {
        "down": list(dict.fromkeys(done.collected.down + done.sent.down)),
        "failed": list(dict.fromkeys(done.collected.failed + done.sent.failed)),
    }
    hopeless = backfill.handed and bool(done.collected.failed or done.collected.down)
    with world.ledger.store.transaction():
        room.note(number, summary, trouble)
        if done.is_over and not world.stop.is_set() and (hopeless or not summary["left"]):
            room.end(number, world.now())


def _summary(world: World, order: Order, done: Done) -> dict[str, int]:
    store = world.ledger.store
    return {
        "pipelines_read": done.collected.pipelines_read,
        "results_sent": done.sent.results,
        "attachments_sent": done.sent.attachments,
        "test_sets_created": done.sent.test_sets,
        "members_added": done.sent.members,
        "held": views.tests(store)["held"],
        "refused": views.entries(store)["refused"],
        "problems": views.count_problems(store),
        "writes": done.sent.writes,
        "left": (views.left(store) if order.sends else views.sprints_left(store)) + _left_of(world, order, done),
    } | ({} if done.backfill is None else _past(world, done.backfill, done))


def _left_of(world: World, order: Order, done: Done) -> int:
    """Count what is left of this backfill alone; a plan leaves nothing undone."""
    if done.backfill is None or order.dry_run:
        return 0
    return world.ledger.backfills.left(done.backfill.backfill_id)


def _past(world: World, backfill: Backfill, done: Done) -> dict[str, int]:
    """Tell of a backfill what no other pass has."""
    known = world.ledger.backfills.get(backfill.backfill_id)
    return {"pipelines_found": known.found, "expired": done.collected.expired}
