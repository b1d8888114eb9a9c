"""One pass: bring Rally up to date with what GitLab ran. A backfill is the same pass with another scope."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from loguru import logger

from reconciler.apply import Push, settle
from reconciler.attach import Attach
from reconciler.collect import Collected, Scope, collect
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
from reconciler.ledger import proof, views
from reconciler.mapping import Mapping, Row
from reconciler.sprinting import SprintRun
from reconciler.verify import Repair, verify

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

    from reconciler.config import Settings
    from reconciler.ledger.ledger import Ledger
    from reconciler.ledger.proof import Claim
    from reconciler.model import ObjectID
    from reconciler.ports import GitLab, Rally
    from reconciler.verify import Verified

FULL_REFRESH = timedelta(days=1)
REFRESH_OVERLAP = timedelta(minutes=5)
_FULL, _ANY, _SPRINTS = "test_cases/full", "test_cases/refreshed", "sprints/looked"


@dataclass(frozen=True, slots=True)
class Order:
    """What one pass is asked to do."""

    kind: str
    """`once`, `backfill`, `sprint-sets`, `gitlab` or `rally` (the daemon's polls): for the record of passes."""
    scope: Scope = field(default_factory=Scope)
    dry_run: bool = False
    refresh_after: timedelta = timedelta(0)
    """How old the knowledge of Rally's test cases and sprints may be."""
    collects: bool = True
    """Whether GitLab is polled, too."""
    sends: bool = True
    """Whether results and files are sent; without, only sprints are looked after."""
    guard: Callable[[int], None] | None = None
    """Is told how many results are due before the first is sent; raises `NotAgreed` to send none."""


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


def reconcile(world: World, rows: Sequence[Row], order: Order) -> Outcome:
    """Read what GitLab finished, then create in Rally what is missing.

    The absence of one service never stops the other half.

    Raises:
        Stopped: `world.stop` was set; what was begun is in the ledger.
        NotAgreed: the order's guard said No; nothing was sent.
    """
    pass_id = world.ledger.begin_pass(order.kind, world.now())
    done = Done(Collected(), Sent(), [])
    try:
        with suppress(Stopped):
            _pass(world, rows, order, done)
    finally:
        world.gitlab.forget_archives()
    return _conclude(world, pass_id, order, done)


def _pass(world: World, rows: Sequence[Row], order: Order, done: Done) -> None:
    if order.collects:
        done.collected = collect(world.gitlab, world.ledger, world.settings, order.scope, world.now())
    try:
        _bring_up_to_date(world, rows, order, done)
    except (Stopped, NotAgreed, LedgerUnusable):
        raise
    except ReconcilerError as error:
        troubles = done.sent.down if error.exit_status == EXIT_TRY_AGAIN else done.sent.failed
        troubles.append(str(error))


@dataclass(slots=True)
class Done:
    """What a pass has done so far."""

    collected: Collected
    sent: Sent
    actions: list[dict[str, Any]]
    fills: set[ObjectID] = field(default_factory=set)
    """With `--dry-run`: the iterations whose sets the next pass makes or fills."""


def _bring_up_to_date(world: World, rows: Sequence[Row], order: Order, done: Done) -> None:
    """Do Rally's half: know its test cases, settle what is in doubt, then make what is missing, or just say what is.

    Sprints come first, so that results find their sets; files come last, for no result waits for bytes.
    """
    ledger = world.ledger
    if order.sends:
        _know_test_cases(world, rows, order.refresh_after)
        settle(world.rally, ledger, timedelta(seconds=world.settings.rally.settle_after_seconds), world.now())
    _look_after_sprints(world, order, done)
    if not order.sends:
        return
    push = _push(world, done)
    mending, attach = _repair(world, push), _attach(world, push, done)
    if order.dry_run:
        done.actions += [*push.preview(done.fills), *mending.preview(), *attach.preview()]
        return
    if order.guard is not None:
        order.guard(ledger.entries.count_due())
    push.run()
    if not done.sent.halted:
        mending.run()
    attach.run()


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
    is_new = any(not world.ledger.sprints.knows(day) for day in world.ledger.entries.days_due())
    if last is not None and now - last < order.refresh_after and not is_new:
        return
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


def _know_test_cases(world: World, rows: Sequence[Row], refresh_after: timedelta) -> None:
    """Refresh what is known of Rally's test cases, apply the mapping, and look up at once what that names anew."""
    ledger = world.ledger
    trouble: ReconcilerError | None = None
    try:
        _refresh(world, refresh_after)
    except ReconcilerError as error:
        trouble = error
    before = set(ledger.test_cases.unknown())
    known = ledger.observations.cursor(_ANY) is not None
    ledger.subjects.apply(Mapping(rows, ledger.test_cases.by_field()), resolvable=known)
    if trouble is not None:
        raise trouble
    new = [formatted_id for formatted_id in ledger.test_cases.unknown() if formatted_id not in before]
    if new:
        ledger.test_cases.update(world.rally.test_cases_by_id(new).values())


def _refresh(world: World, refresh_after: timedelta) -> None:
    """Fetch Rally's test cases: all of them once a day, between that what changed, and what tests name in vain."""
    test_cases, observations, now = world.ledger.test_cases, world.ledger.observations, world.now()
    last = observations.cursor(_ANY)
    if last is not None and now - last < refresh_after:
        return
    full = observations.cursor(_FULL)
    newest = test_cases.newest_update()
    if full is None or newest is None or now - full >= FULL_REFRESH:
        had = test_cases.count()
        if not test_cases.replace(world.rally.test_cases()) and had:
            logger.warning("Rally answered that there are no test cases: what was known is kept", known=had)
        observations.set_cursor(_FULL, now)
    else:
        test_cases.update(world.rally.test_cases(newest - REFRESH_OVERLAP))
    unknown = test_cases.unknown()
    if unknown:
        test_cases.update(world.rally.test_cases_by_id(unknown).values())
    observations.set_cursor(_ANY, now)


def _conclude(world: World, pass_id: int, order: Order, done: Done) -> Outcome:
    """Write down and say how the pass went."""
    collected, sent = done.collected, done.sent
    summary = _summary(world, order, done)
    trouble = {"Rally": "; ".join(sent.down + sent.failed)}
    if order.collects:
        trouble["GitLab"] = "; ".join(dict.fromkeys(collected.down + collected.failed))
    # A plan is no success of sending: a dry run leaves what is known of the services as it was.
    world.ledger.end_pass(pass_id, {} if order.dry_run else trouble, summary, world.now())
    if world.stop.is_set():
        raise Stopped("asked to stop; what was begun is in the ledger, the next pass goes on")
    logger.info("Pass done", **{name: number for name, number in summary.items() if number})
    return Outcome(
        summary=summary,
        down=tuple(dict.fromkeys(collected.down + sent.down)),
        failed=tuple(dict.fromkeys(collected.failed + sent.failed)),
        actions=tuple(done.actions),
    )


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
        "problems": len(views.problems(store)),
        "writes": done.sent.writes,
        "left": views.left(store) if order.sends else views.sprints_left(store),
    }
