"""One pass: bring Rally up to date with what GitLab ran. A backfill is the same pass with another scope."""

from __future__ import annotations

import time
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from reconciler.agendas import Polls, Projects
from reconciler.apply import settle
from reconciler.aside import begun
from reconciler.collect import AHEAD, Collected, Collector
from reconciler.concluding import conclude
from reconciler.deadline import Deadline
from reconciler.dispatch import Sent
from reconciler.errors import EXIT_TRY_AGAIN, LedgerUnusable, NotAgreed, ReconcilerError, ServiceDown, Stopped
from reconciler.history import History
from reconciler.knowing import apply_mapping, know_test_cases
from reconciler.ledger.backfills import Span
from reconciler.making import attach_of, push_of, repair_of
from reconciler.readers import Readers
from reconciler.sprinting import SprintRun
from reconciler.world import Done

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.apply import Push
    from reconciler.collect import Agenda
    from reconciler.listing import Seen
    from reconciler.mapping import Row
    from reconciler.order import Order
    from reconciler.reading import Found
    from reconciler.world import Outcome, World

SLICE_TESTS = 2_000
"""So many tests are read before results are sent while reading goes on; fewer are sent when all is read."""
ROUND_S = 60.0
"""So long results are sent without a look at anything else, be there ever so many; files wait for it."""
SLICE_TESTS_IN_TURN = 1_000
"""The same, where a backfill takes turns with polls: it is what a poll may find waiting before its own results."""
_SPRINTS = "sprints/looked"


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
    return conclude(world, pass_id, order, done, asked)


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


def _bring_up_to_date(world: World, rows: Sequence[Row], order: Order, done: Done, collector: Collector | None) -> None:
    """Do Rally's half: know its test cases, settle what is in doubt, then make what is missing, or just say what is.

    Sprints come first, so that results find their sets; files come last, for no result waits for bytes.
    """
    if not order.sends:
        _look_after_sprints(world, order, done)
        return
    know_test_cases(world, rows, order.refresh_after, collector.meanwhile if collector else None)
    settle(world.rally, world.ledger, timedelta(seconds=world.settings.rally.settle_after_seconds), world.now())
    _agree(world, order, done)
    push = push_of(world, done)
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
    mending, attach = repair_of(world, push), attach_of(world, push, done)
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
        apply_mapping(self.world, self.rows, self.collector.meanwhile)
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
