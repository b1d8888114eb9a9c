"""One pass of the daemon after another: what each came to, whom that concerns, and which services are spared."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from loguru import logger

from reconciler import handover
from reconciler.errors import LedgerUnusable, ReconcilerError, Stopped
from reconciler.ledger.store import stamp
from reconciler.reconcile import reconcile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from reconciler.mapping import Row
    from reconciler.order import Order
    from reconciler.surroundings import Surroundings
    from reconciler.vitals import Ending, Vitals
    from reconciler.world import Outcome, World

SERVICES = ("GitLab", "Rally")
DENIED_TIMES, DENIED_FOR_S = 3, 120.0
"""A token that is not accepted so often, for so long, is dead; maintenance looks the same for a while (KB 277242)."""
DENIED_EVERY_S = 900.0
"""How often a service is asked while its token is dead."""
PATIENT_PASSES = 3
"""A part of a service that fails in so many passes in a row is a trouble; all of it being away is one at once."""


@dataclass(slots=True)
class Passes:
    """Makes passes, and says what is wrong when that changes: an outage of days is two lines, not thousands."""

    world: World
    around: Surroundings
    vitals: Vitals
    next_runs: Callable[[], Mapping[str, datetime]]
    succeeded: dict[str, datetime] = field(default_factory=dict)
    """When each service last did all that was asked of it, or the daemon's start."""
    _said: dict[str, frozenset[str]] = field(default_factory=dict)
    """By kind of pass: they do not use the same services."""
    _bad: Counter[str] = field(default_factory=Counter)
    """By service: passes in a row that it failed."""
    _ask_again_at: dict[str, float] = field(default_factory=dict)
    _seconds: Callable[[], float] = time.monotonic
    _at_work: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Count silence from now on."""
        self.succeeded |= dict.fromkeys(SERVICES, self.world.now())

    def __call__(self, order: Order) -> None:
        """Make one pass, without the services whose token is dead."""
        order = replace(order, collects=order.collects and not self._rests("GitLab"), updates=not self._rests("Rally"))
        if self.world.stop.is_set() or not (order.collects or order.updates):
            return
        self.look_after(lambda: self._one(order), kind=order.kind)

    def take_turn(self) -> None:
        """Go on for a while with a backfill that was handed over, if there is one and both services can be asked."""
        if self.world.stop.is_set() or self._is_dead("GitLab") or self._is_dead("Rally"):
            return
        with suppress(LedgerUnusable):  # the polls tell of it
            if handover.is_wanted(self.world):
                self.look_after(self._turn, kind="backfill")

    def look_after(self, work: Callable[[], tuple[Ending, int]], *, kind: str = "upkeep") -> None:
        """Do one piece of work, whose failure must not end the daemon."""
        with self._at_work:
            self._look_after(work, kind)

    def wait(self) -> None:
        """Wait until what is under way is over."""
        with self._at_work:
            pass

    def _look_after(self, work: Callable[[], tuple[Ending, int]], kind: str) -> None:
        self.vitals.began(kind)
        ending: Ending = "failed"
        writes = 0
        try:
            ending, writes = work()
            self.report("passes", "")
        except Stopped:
            ending = "stopped"
        except ReconcilerError as error:  # the ledger cannot be written: a full disk may have room by the next pass
            self._say(kind, (str(error),), ())
            self.report("ledger", str(error))
        except Exception as error:  # noqa: BLE001 - one failed pass must not end the daemon; the next one starts afresh
            logger.opt(exception=True).error("Pass failed", error=str(error))
            self.report("passes", f"a pass ended by an error that nobody expected: {error}: the log has it whole")
        finally:
            self.world.rest()  # one that a fault left over lies at the bottom of its pool, and would stay open for ever
            self.vitals.ended(self.world.now(), ending, writes)
        self._leave_word(kind)

    def report(self, subject: str, text: str) -> None:
        """Say what is wrong with something, "" when nothing is; a person hears of it when that is new."""
        alarm = self.around.alarms.note(subject, text, self.world.now())
        if alarm is not None:
            self.around.tell(alarm)

    def _one(self, order: Order) -> tuple[Ending, int]:
        done = reconcile(self.world, self._rows(), order)
        self._say(order.kind, done.failed, done.down)
        self.report("ledger", "")
        for service, used in zip(SERVICES, (order.collects, order.updates), strict=True):
            if used:
                self._judge(service, done, order)
        stale = self.around.alarms.watch(self.succeeded, self.world.now())
        if stale is not None:
            self.around.tell(stale)
        return "failed" if done.failed else "down" if done.down else "ok", done.summary["writes"]

    def _turn(self) -> tuple[Ending, int]:
        done = handover.take_turn(self.world, self._rows)
        if done is None:
            return "ok", 0
        self._say("backfill", done.failed, done.down)
        return "failed" if done.failed else "down" if done.down else "ok", done.summary["writes"]

    def _rows(self) -> Sequence[Row]:
        rows, problems = self.around.rows()
        texts = [str(problem) for problem in problems]
        for text in texts:
            if text not in self._said.get("mapping", ()):
                logger.error("The mapping file has a mistake: the last good one stays in force", problem=text)
        self._said["mapping"] = frozenset(texts)
        self.report("mapping", "\n".join(texts))
        return rows

    def _judge(self, service: str, done: Outcome, order: Order) -> None:
        """Raise the alarm for a service, or take it back."""
        mark = f"{service}: "
        failed = [text for text in done.failed if text.startswith(mark)]
        down = [text for text in done.down if text.startswith(mark)]
        if not failed and not down:
            self._bad[service] = 0
            if order.sends:
                self.succeeded[service] = self.world.now()
                self.report(service, "")
            return
        self._bad[service] += 1
        traffic = self.world.traffic.get(service)
        if traffic is not None and traffic.denied.times:
            if not self._is_dead(service):
                return  # it may be in maintenance
        elif not failed and self._bad[service] < PATIENT_PASSES and not (traffic and traffic.breaker_open):
            return
        self.report(service, "; ".join(failed or down))

    def _is_dead(self, service: str) -> bool:
        traffic = self.world.traffic.get(service)
        return traffic is not None and traffic.denied.times >= DENIED_TIMES and traffic.denied.for_s >= DENIED_FOR_S

    def _rests(self, service: str) -> bool:
        if not self._is_dead(service):
            return False
        now = self._seconds()
        if now < self._ask_again_at.get(service, 0.0):
            return True
        self._ask_again_at[service] = now + DENIED_EVERY_S
        return False

    def _say(self, kind: str, failed: Sequence[str], down: Sequence[str]) -> None:
        said, troubles = self._said.get(kind, frozenset()), frozenset((*failed, *down))
        for text in failed:
            if text not in said:
                logger.error("A person must look", trouble=text)
        for text in down:
            if text not in said:
                logger.warning("Left to the next pass", trouble=text)
        if said and not troubles:
            logger.info("All is well again", poll=kind)
        self._said[kind] = troubles

    def _leave_word(self, kind: str) -> None:
        """Leave in the ledger what `status` tells of the daemon, and tell systemd."""
        if self.world.stop.is_set():
            return
        word = {f"daemon/next/{name}": stamp(at) for name, at in self.next_runs().items()}
        for service, traffic in self.world.traffic.items():
            word[f"daemon/breaker/{service}"] = "open" if traffic.breaker_open else "closed"
        alarms = self.around.alarms.open
        word["daemon/alarms"] = json.dumps([f"{subject}: {text}" for subject, text in alarms.items()])
        try:
            self.world.ledger.tell(word)
        except ReconcilerError as error:
            self.report("ledger", str(error))
        state = f"; trouble: {', '.join(alarms)}" if alarms else "; all is well"
        self.around.supervisor.status(f"Last pass ({kind}) ended {self.world.now():%H:%M:%S}Z{state}")
