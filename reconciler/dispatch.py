"""Carry out creates: many at once, each written down before it is sent and judged by its own answer."""

from __future__ import annotations

import random
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from loguru import logger

from reconciler.errors import BatchRefused, NoAnswer, NotDone, ServiceDown, Stopped, Unauthorized
from reconciler.model import Rejected
from reconciler.waiting import Waiting

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from reconciler.config import RallySettings
    from reconciler.ledger.entries import Entries
    from reconciler.model import Key, ObjectID, TestCaseResult
    from reconciler.plan import Add
    from reconciler.ports import Rally

BATCH_BYTES = 1_000_000
"""Rally documents no limit for `/batch`; DESIGN keeps a request below this."""
CONFLICTS = 8
"""How often one result is sent again after Rally's "Concurrency conflict" before it waits for the next pass."""
TURNED_AWAY = 6
"""How many requests in a row may be turned away at the door before the pass stops sending."""
PATIENCE_S = 60.0
"""How long all pauses before a request that was turned away may be together."""
GONE = "Could not read referenced object"
"""Rally's words for a reference to something that was deleted or cannot be seen (facts: CA-KB57630)."""


@dataclass(slots=True)
class Sent:
    """What sending did, and what stood in its way."""

    results: int = 0
    writes: int = 0
    """Requests that were to create something."""
    refused: int = 0
    down: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    gone: list[tuple[int, Add, str]] = field(default_factory=list)
    """Still intended, with Rally's reason: their test case may have been deleted."""


@dataclass(frozen=True, slots=True)
class _Letter:
    """One result on its way."""

    entry_id: int
    add: Add
    result: TestCaseResult


class Dispatcher:
    """Sends results; everything but the requests themselves happens in the caller's thread."""

    def __init__(
        self, rally: Rally, entries: Entries, limits: RallySettings, stop: threading.Event, sent: Sent
    ) -> None:
        """Never use `/batch` with a `batch_size` of 1; batches and concurrency only ever shrink while this lives."""
        self._rally = rally
        self._entries = entries
        self._batch_size = limits.batch_size
        self._concurrency = limits.max_concurrency
        self._stop = stop
        self._conflicts: Counter[Key] = Counter()
        self._stuck: set[ObjectID] = set()
        """Test cases whose oldest result waits for the next pass: the later ones must not overtake it."""
        self._turned_away = 0
        self._paused_s = 0.0
        self._not_before = 0.0
        self._halted = False
        self.sent = sent

    @property
    def halted(self) -> bool:
        """Rally is away or says No to us as a whole: nothing more is sent in this pass."""
        return self._halted

    def send(
        self,
        adds: Iterable[Add],
        compose: Callable[[Add], TestCaseResult],
        *,
        busy: Iterable[ObjectID],
        now: Callable[[], datetime],
    ) -> None:
        """Create these results, or find out for each why not.

        What could not be sent for a passing reason is not intended when this returns, and is pending as before.
        """
        waiting = Waiting(adds, busy)
        flying: dict[Future[list[ObjectID | Rejected]], list[_Letter]] = {}
        with ThreadPoolExecutor(self._concurrency, thread_name_prefix="rally") as pool:
            while True:
                while self._may_launch(len(flying)) and (taken := waiting.take(self._batch_size)):
                    letters = self._write_down(waiting, taken, compose, now())
                    if letters:
                        flying[pool.submit(self._create, letters)] = letters
                if not flying and not (waiting.any_left() and self._pause()):
                    break
                for future in wait(flying, timeout=1.0, return_when=FIRST_COMPLETED).done if flying else ():
                    self._land(waiting, flying.pop(future), future, now())

    def _may_launch(self, flying: int) -> bool:
        if self._stop.is_set():
            self._halted = True
        return not self._halted and flying < self._concurrency and time.monotonic() >= self._not_before

    def _pause(self) -> bool:
        """Wait until something may be sent again; False when nothing will be."""
        if self._halted:
            return False
        self._stop.wait(max(0.0, self._not_before - time.monotonic()))
        return True

    def _write_down(
        self, waiting: Waiting, taken: Sequence[Add], compose: Callable[[Add], TestCaseResult], now: datetime
    ) -> list[_Letter]:
        """Intend as many as fit into one request; refuse what Rally's schema is known to refuse."""
        composed: list[tuple[Add, TestCaseResult]] = []
        size = 0
        for add in taken:
            result = compose(add)
            size += self._rally.payload_size(result)
            if composed and size > BATCH_BYTES:
                break
            composed.append((add, result))
        rest = taken[len(composed) :]
        waiting.give_back(rest)
        waiting.release({add.test_case for add in rest} - {add.test_case for add, _ in composed})
        ids = self._entries.intend([(add, result.build) for add, result in composed], now)
        letters = [_Letter(entry_id, add, result) for entry_id, (add, result) in zip(ids, composed, strict=True)]
        refused = [(letter, reason) for letter in letters if (reason := self._rally.check(letter.result))]
        self._refuse(refused, now)
        hopeless = {letter.entry_id for letter, _ in refused}
        going = [letter for letter in letters if letter.entry_id not in hopeless]
        waiting.release({letter.add.test_case for letter, _ in refused} - {letter.add.test_case for letter in going})
        return going

    def _create(self, letters: Sequence[_Letter]) -> list[ObjectID | Rejected]:
        """Make the request; runs in a worker thread and touches neither the ledger nor this object's state."""
        # Other answers may have shrunk the batch size since this was written down.
        if self._batch_size == 1 and len(letters) == 1:
            return [self._rally.add_result(letters[0].result)]
        return self._rally.add_results([letter.result for letter in letters])

    def _land(
        self, waiting: Waiting, letters: list[_Letter], future: Future[list[ObjectID | Rejected]], now: datetime
    ) -> None:
        self.sent.writes += 1
        try:
            answers = future.result()
        except NoAnswer as error:
            # Their test cases stay busy: the request may still be alive in Rally.
            if len(letters) <= self._batch_size:  # else it was on its way already when another shrank the batches
                self._batch_size = max(1, self._batch_size // 2)
            self.sent.down.append(str(error))
            logger.warning("Rally gave no answer: asked about later", results=len(letters), detail=str(error))
            return
        except (NotDone, BatchRefused, Unauthorized, ServiceDown, Stopped) as error:
            self._not_carried_out(waiting, letters, error, now)
        else:
            self._turned_away, self._paused_s = 0, 0.0
            self._judge(waiting, letters, answers, now)
        waiting.release({letter.add.test_case for letter in letters} - self._stuck)

    def _not_carried_out(self, waiting: Waiting, letters: list[_Letter], error: Exception, now: datetime) -> None:
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
                logger.warning("Rally refuses /batch: results go one by one", detail=str(error))
                self._batch_size = 1
            case Unauthorized():
                self._halt(self.sent.failed, str(error))
            case ServiceDown():
                self._halt(self.sent.down, str(error))
            case _:
                self._halted = True
        self._entries.withdraw([letter.entry_id for letter in letters], str(error), now)
        waiting.give_back(letter.add for letter in letters)

    def _turn_away(self, error: NotDone) -> None:
        again = time.monotonic() >= self._not_before  # else it was on its way already when another was turned away
        self._turned_away += again
        pause_s = error.retry_after_s if error.retry_after_s is not None else 0.2 * 2**self._turned_away
        self._paused_s += pause_s * again
        if self._turned_away >= TURNED_AWAY or self._paused_s > PATIENCE_S:
            self._halt(self.sent.down, str(error))
        self._back_off(pause_s)

    def _halt(self, said: list[str], text: str) -> None:
        if not self._halted:
            said.append(text)
        self._halted = True

    def _judge(
        self, waiting: Waiting, letters: list[_Letter], answers: list[ObjectID | Rejected], now: datetime
    ) -> None:
        """Take the answers one by one."""
        paired = list(zip(letters, answers, strict=True))
        created = [(letter.entry_id, answer) for letter, answer in paired if not isinstance(answer, Rejected)]
        rejected = [(letter, answer) for letter, answer in paired if isinstance(answer, Rejected)]
        self._entries.confirm(created, now)
        self.sent.results += len(created)
        self._conflict(waiting, [letter for letter, answer in rejected if answer.conflict], now)
        said_no = [(letter, answer.reason) for letter, answer in rejected if not answer.conflict]
        self._refuse([(letter, reason) for letter, reason in said_no if GONE not in reason], now)
        self.sent.gone += [(letter.entry_id, letter.add, reason) for letter, reason in said_no if GONE in reason]
        logger.info(
            "Results sent",
            results=len(created),
            rejected=len(rejected),
            keys=f"{letters[0].add.key} … {letters[-1].add.key}" if len(letters) > 1 else str(letters[0].add.key),
        )

    def _conflict(self, waiting: Waiting, letters: list[_Letter], now: datetime) -> None:
        """Send again what another writer was in the way of: later, and fewer at once."""
        if not letters:
            return
        self._entries.withdraw([letter.entry_id for letter in letters], "Concurrency conflict", now)
        self._conflicts.update(letter.add.key for letter in letters)
        stuck = {letter.add.test_case for letter in letters if self._conflicts[letter.add.key] >= CONFLICTS}
        self._stuck |= stuck
        waiting.give_back(letter.add for letter in letters if letter.add.test_case not in stuck)
        self._concurrency = max(1, self._concurrency // 2)
        self._back_off(0.1 * 2 ** max(self._conflicts[letter.add.key] for letter in letters))

    def _refuse(self, refused: Sequence[tuple[_Letter, str]], now: datetime) -> None:
        for letter, reason in refused:
            logger.warning("Rally refuses a result", key=str(letter.add.key), reason=reason)
        self._entries.refuse([(letter.entry_id, reason) for letter, reason in refused], now)
        self.sent.refused += len(refused)

    def _back_off(self, delay_s: float) -> None:
        jittered = delay_s * random.uniform(1.0, 1.25)  # noqa: S311 - not for secrets
        self._not_before = max(self._not_before, time.monotonic() + jittered)
