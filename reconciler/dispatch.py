"""Carry out creates: many at once, each written down before it is sent and judged by its own answer."""

from __future__ import annotations

import random
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from loguru import logger

from reconciler.errors import BatchRefused, NoAnswer, NotDone, ServiceDown, Stopped, Unauthorized
from reconciler.model import Rejected
from reconciler.plan import Add
from reconciler.record import record
from reconciler.waiting import Item, Waiting

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Collection, Iterable, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime

    from reconciler.config import RallySettings
    from reconciler.model import ObjectID

    _Request = Future[list[ObjectID | Rejected]]

Payload = TypeVar("Payload")

BATCH_BYTES = 1_000_000
"""Rally documents no limit for `/batch`; DESIGN keeps a request below this."""
CONFLICTS = 8
"""How often one thing is sent again after Rally's "Concurrency conflict" before it waits for the next pass."""
TURNED_AWAY = 6
"""How many requests in a row may be turned away at the door before the pass stops sending."""
PATIENCE_S = 60.0
"""How long all pauses before a request that was turned away may be together."""
LISTED = 10
"""So many of one request are named in the log; of more, the first and the last."""
READY, MANY = 2, 4
"""So many requests are written down before their turn, where so many may be under way: none waits for the ledger."""
LEAST = 10
"""So many at least are in a request, where there are so many: each costs as much as ten results do."""
DEPTH = 5
"""So many times what is under way should wait, or else some test cases are in all of it and requests are not full."""
LOOK_S = 0.02
"""How long answers are waited for at once when there is something else to be done meanwhile."""
CONFLICT = "Concurrency conflict"
"""Why something is withdrawn that another writer was in the way of (Rally's words, too)."""
GONE = "Could not read referenced object"
"""Rally's words for a reference to something that was deleted or cannot be seen (facts: CA-KB57630)."""


@dataclass(slots=True)
class Sent:
    """What sending did, and what stood in its way."""

    results: int = 0
    attachments: int = 0
    test_sets: int = 0
    members: int = 0
    writes: int = 0
    """Requests that were to create something."""
    refused: int = 0
    down: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    halted: bool = False
    """Rally is away or says No to us as a whole: nothing more is sent in this pass."""


@record
class Letter(Generic[Item, Payload]):
    """One thing on its way."""

    row: int
    """Its row in the ledger."""
    item: Item
    payload: Payload


class Book(Protocol):
    """The part of the ledger that a desk writes into."""

    def together(self) -> AbstractContextManager[None]:
        """Write several things in one transaction."""


class Desk(Protocol[Item, Payload]):
    """What a dispatcher asks and tells about one kind of creates; in its own thread, but for `create`."""

    what: str
    """Their name for a person, in the plural."""

    @property
    def ledger(self) -> Book:
        """Where it writes things down."""

    def compose(self, items: Sequence[Item]) -> Iterable[Payload]:
        """Write what is sent of each, when it is taken; perhaps not all are."""

    def size(self, payload: Payload) -> int:
        """Tell how many bytes it takes in a request."""

    def objection(self, payload: Payload) -> str:
        """Tell why it is known that Rally would refuse it; "" when it is not."""

    def intend(self, composed: Sequence[tuple[Item, Payload]], now: datetime) -> list[int]:
        """Write down that these are about to be created; their rows."""

    def create(self, payloads: Sequence[Payload], *, batch: bool) -> list[ObjectID | Rejected]:
        """Make the request, without `/batch` where `batch` says so (then there is one); raises as the port does.

        Runs in a worker thread.
        """

    def confirm(self, created: Sequence[tuple[Letter[Item, Payload], ObjectID]], now: datetime) -> None:
        """Write down what came to be."""

    def refuse(self, refused: Sequence[tuple[Letter[Item, Payload], str]], now: datetime) -> None:
        """Write down what Rally, or its schema, said No to."""

    def withdraw(self, letters: Sequence[Letter[Item, Payload]], why: str, now: datetime) -> None:
        """Write down what certainly was not done."""

    def unheard(self, letters: Sequence[Letter[Item, Payload]], why: str, now: datetime) -> None:
        """React to silence: nobody knows what was done of these."""


class Dispatcher(Generic[Item, Payload]):
    """Sends things of one kind; everything but the requests themselves happens in the caller's thread."""

    def __init__(self, desk: Desk[Item, Payload], limits: RallySettings, stop: threading.Event, sent: Sent) -> None:
        """Never use `/batch` with a `batch_size` of 1; batches and concurrency only ever shrink while this lives."""
        self._desk = desk
        self._batch_size = limits.batch_size
        self._concurrency = self._most = limits.max_concurrency
        self._stop = stop
        self._conflicts: Counter[str] = Counter()
        self._stuck: set[int] = set()
        """Lanes whose oldest thing waits for the next pass: the later ones must not overtake it."""
        self._turned_away = 0
        self._paused_s = 0.0
        self._not_before = 0.0
        self._more: Callable[[], Iterable[Item] | None] | None = None
        self._made: list[tuple[Letter[Item, Payload], ObjectID]] = []
        """What came to be and is still to be written down: in one transaction with what goes out next, or without."""
        self.sent = sent
        self.most_conflicts = CONFLICTS
        """How often one thing may be in a conflict before its lane is left alone."""
        self.meanwhile: Callable[[], None] | None = None
        """Something else to be done in this thread, a little at a time, while answers are waited for."""

    def send(
        self,
        items: Iterable[Item],
        *,
        busy: Iterable[int],
        now: Callable[[], datetime],
        more: Callable[[], Iterable[Item] | None] | None = None,
    ) -> None:
        """Create these, or find out for each why not; `more` gives more of them when few are left.

        It gives None when there are no more, and nothing when it is to be asked again in a moment.

        What could not be sent for a passing reason is not intended when this returns, and is pending as before.
        """

        def give() -> Iterable[Item] | None:
            self._note_made(now)  # it plans by what is written down
            return more() if more is not None else None

        waiting, self._more = Waiting(items, {*busy, *self._stuck}), give if more is not None else None
        flying: dict[Future[list[ObjectID | Rejected]], list[Letter[Item, Payload]]] = {}
        try:
            with ThreadPoolExecutor(self._most, thread_name_prefix="rally") as pool:
                while True:
                    while self._may_launch(len(flying)) and (taken := self._take(waiting, len(flying))):
                        letters = self._write_down(waiting, taken, now())
                        if letters:
                            flying[pool.submit(self._create, letters)] = letters
                    self._note_made(now)
                    if not flying and not (waiting.any_left() and self._pause()):
                        break
                    for future in self._landed(flying):
                        self._land(waiting, flying.pop(future), future, now())
        finally:
            self._note_made(now)  # what came to be stays so, whatever ended this

    def _take(self, waiting: Waiting[Item], flying: int) -> list[Item]:
        """Take as many as go into a request.

        More are asked for in good time, while others are on their way; that takes a while, so not before they are.
        """
        free = self._concurrency - flying
        enough = self._batch_size * (free if free > 0 else DEPTH * (self._concurrency + READY))
        while waiting.count < enough and self._add_more(waiting):
            pass
        share = self._share(waiting.count, flying)
        taken = waiting.take(share)
        if len(taken) < share and waiting.count and free <= 0:  # all are busy: by the time that one is not, it is full
            waiting.give_back(taken)
            waiting.release(item.lane for item in taken)
            return []
        while not (flying or taken or self._more is None or self._stop.is_set()):
            if not self._add_more(waiting):  # there is none yet, or what waits is of lanes that nobody may write to
                self._let_pass()
            taken = waiting.take(self._batch_size)
        return taken

    def _let_pass(self) -> None:
        if self.meanwhile is not None:
            self.meanwhile()
        self._stop.wait(LOOK_S)

    def _share(self, left: int, flying: int) -> int:
        """Tell how many to take: of the last ones fewer, for a full request that begins last would end long after all.

        A pass that has little to send is not divided: it would make more requests for nothing.
        """
        if self._more is not None or self._concurrency < MANY or flying < self._concurrency - 1:
            return self._batch_size
        return min(self._batch_size, max(LEAST, 2 * left // self._concurrency))

    def _add_more(self, waiting: Waiting[Item]) -> int:
        """Let more wait, where there is more by now; how many."""
        before, more = waiting.count, self._more() if self._more is not None else None
        if more is None:
            self._more = None
        else:
            waiting.add(more)
        return waiting.count - before

    def _landed(self, flying: Collection[_Request]) -> Collection[_Request]:
        """Wait for answers, not for long; give those that came."""
        if not flying:
            return ()
        if self.meanwhile is not None:
            self.meanwhile()
        return wait(flying, timeout=1.0 if self.meanwhile is None else LOOK_S, return_when=FIRST_COMPLETED).done

    def _may_launch(self, flying: int) -> bool:
        if self._stop.is_set():
            self.sent.halted = True
        ready = READY if self._concurrency == self._most >= MANY else 0
        return not self.sent.halted and flying < self._concurrency + ready and time.monotonic() >= self._not_before

    def _pause(self) -> bool:
        """Wait until something may be sent again; False when nothing will be."""
        if self.sent.halted:
            return False
        self._stop.wait(max(0.0, self._not_before - time.monotonic()))
        return True

    def _write_down(self, waiting: Waiting[Item], taken: Sequence[Item], now: datetime) -> list[Letter[Item, Payload]]:
        """Intend as many as fit into one request; refuse what Rally's schema is known to refuse."""
        composed: list[tuple[Item, Payload]] = []
        size = 0
        for item, payload in zip(taken, self._desk.compose(taken), strict=False):
            size += self._desk.size(payload)
            if composed and size > BATCH_BYTES:
                break
            composed.append((item, payload))
        rest = taken[len(composed) :]
        waiting.give_back(rest)
        waiting.release({item.lane for item in rest} - {item.lane for item, _ in composed})
        with self._desk.ledger.together():
            if self._made:
                self._desk.confirm(self._made, now)
            rows = self._desk.intend(composed, now)
        self._made = []  # only now: what a failed transaction takes back is written down by itself
        letters = [Letter(row, *pair) for row, pair in zip(rows, composed, strict=True)]
        refused = [(letter, why) for letter in letters if (why := self._desk.objection(letter.payload))]
        self._refuse(refused, now)
        hopeless = {letter.row for letter, _ in refused}
        going = [letter for letter in letters if letter.row not in hopeless]
        waiting.release({letter.item.lane for letter, _ in refused} - {letter.item.lane for letter in going})
        return going

    def _note_made(self, now: Callable[[], datetime]) -> None:
        if self._made:
            self._desk.confirm(self._made, now())
            self._made = []

    def _create(self, letters: Sequence[Letter[Item, Payload]]) -> list[ObjectID | Rejected]:
        """Make the request; runs in a worker thread and touches neither the ledger nor this object's state."""
        # Other answers may have shrunk the batch size since this was written down.
        batch = self._batch_size > 1 or len(letters) > 1
        return self._desk.create([letter.payload for letter in letters], batch=batch)

    def _land(
        self,
        waiting: Waiting[Item],
        letters: list[Letter[Item, Payload]],
        future: Future[list[ObjectID | Rejected]],
        now: datetime,
    ) -> None:
        self.sent.writes += 1
        try:
            answers = future.result()
        except NoAnswer as error:
            # Their lanes stay busy: the request may still be alive in Rally.
            if len(letters) <= self._batch_size:  # else it was on its way already when another shrank the batches
                self._batch_size = max(1, self._batch_size // 2)
            self.sent.down.append(str(error))
            which = _listed(letters)
            logger.warning(
                f"Rally gave no answer about {self._desk.what}: asked later",
                sent=len(letters),
                which=which,
                detail=str(error),
            )
            self._desk.unheard(letters, str(error), now)
            return
        except (NotDone, BatchRefused, Unauthorized, ServiceDown, Stopped) as error:
            self._not_carried_out(waiting, letters, error, now)
        else:
            self._turned_away, self._paused_s = 0, 0.0
            self._judge(waiting, letters, answers, now)
        waiting.release({letter.item.lane for letter in letters} - self._stuck)

    def _not_carried_out(
        self, waiting: Waiting[Item], letters: list[Letter[Item, Payload]], error: Exception, now: datetime
    ) -> None:
        """React to a request of which nothing was done."""
        match error:
            case NotDone(too_large=True) if len(letters) == 1:
                self._refuse([(letters[0], str(error))], now)
                return
            case NotDone(too_large=True):
                self._batch_size = min(self._batch_size, len(letters) // 2)
            case NotDone():
                self._turn_away(error)
            case BatchRefused():
                logger.warning("Rally refuses /batch: everything goes one by one", detail=str(error))
                self._batch_size = 1
            case Unauthorized():
                self._halt(self.sent.failed, str(error))
            case ServiceDown():
                self._halt(self.sent.down, str(error))
            case _:
                self.sent.halted = True
        self._desk.withdraw(letters, str(error), now)
        waiting.give_back(letter.item for letter in letters)

    def _turn_away(self, error: NotDone) -> None:
        again = time.monotonic() >= self._not_before  # else it was on its way already when another was turned away
        self._turned_away += again
        pause_s = error.retry_after_s if error.retry_after_s is not None else 0.2 * 2**self._turned_away
        self._paused_s += pause_s * again
        if self._turned_away >= TURNED_AWAY or self._paused_s > PATIENCE_S:
            self._halt(self.sent.down, str(error))
        self._back_off(pause_s)

    def _halt(self, said: list[str], text: str) -> None:
        if not self.sent.halted:
            said.append(text)
        self.sent.halted = True

    def _judge(
        self,
        waiting: Waiting[Item],
        letters: list[Letter[Item, Payload]],
        answers: list[ObjectID | Rejected],
        now: datetime,
    ) -> None:
        """Take the answers one by one."""
        paired = list(zip(letters, answers, strict=True))
        created = [(letter, answer) for letter, answer in paired if not isinstance(answer, Rejected)]
        rejected = [(letter, answer) for letter, answer in paired if isinstance(answer, Rejected)]
        self._made += created
        if rejected:
            self._note_made(lambda: now)
        self._conflict(waiting, [letter for letter, answer in rejected if answer.conflict], now)
        refused = [(letter, answer.reason) for letter, answer in rejected if not answer.conflict]
        self._refuse(refused, now)
        pipelines = {letter.item.key.pipeline_id for letter in letters if isinstance(letter.item, Add)}
        logger.info(
            f"{self._desk.what.capitalize()} sent",
            created=len(created),
            refused=len(refused),
            conflicts=len(rejected) - len(refused),
            which=_listed(letters),
            **({"pipelines": _listed(sorted(pipelines))} if pipelines else {}),
            object_ids=_listed([object_id for _, object_id in created]),
        )

    def _conflict(self, waiting: Waiting[Item], letters: list[Letter[Item, Payload]], now: datetime) -> None:
        """Send again what another writer was in the way of: later, and fewer at once."""
        if not letters:
            return
        self._desk.withdraw(letters, CONFLICT, now)
        self._conflicts.update(letter.item.title for letter in letters)
        stuck = {letter.item.lane for letter in letters if self._conflicts[letter.item.title] >= self.most_conflicts}
        self._stuck |= stuck
        waiting.give_back(letter.item for letter in letters if letter.item.lane not in stuck)
        self._concurrency = max(1, self._concurrency // 2)
        self._back_off(0.1 * 2 ** max(self._conflicts[letter.item.title] for letter in letters))

    def _refuse(self, refused: Sequence[tuple[Letter[Item, Payload], str]], now: datetime) -> None:
        if refused:
            self._desk.refuse(refused, now)

    def _back_off(self, delay_s: float) -> None:
        jittered = delay_s * random.uniform(1.0, 1.25)  # noqa: S311 - not for secrets
        self._not_before = max(self._not_before, time.monotonic() + jittered)


def _listed(things: Sequence[object]) -> str:
    """Write them in a row; of many, the first and the last."""
    told = [things[0], things[-1]] if len(things) > LISTED else things
    texts = [thing.item.title if isinstance(thing, Letter) else str(thing) for thing in told]
    return (" … " if len(things) > LISTED else ", ").join(texts)
