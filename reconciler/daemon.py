"""The daemon: passes on intervals until it is asked to stop."""

from __future__ import annotations

import signal
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
from loguru import logger

from reconciler.errors import EXIT_DONE, ReconcilerError, Stopped
from reconciler.reconcile import Order, reconcile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from reconciler.config import SprintsSettings
    from reconciler.mapping import Row
    from reconciler.reconcile import World


def run(world: World, rows: Callable[[], Sequence[Row]]) -> int:
    """Pass at every poll of GitLab and of Rally, one pass at a time, until `world.stop` is set; the exit status.

    `rows` gives the mapping as it is at the start of each pass. One pass that fails never ends the daemon.
    """
    scheduler = BackgroundScheduler(
        timezone=UTC,
        executors={"default": ThreadPoolExecutor(1)},
        # Without these a pass that starts more than a second late is dropped (APScheduler's default grace).
        job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
    )
    passes = _Passes(world, rows)
    polls = {"gitlab": world.settings.gitlab.poll_seconds, "rally": world.settings.rally.poll_seconds}
    for name, seconds in polls.items():
        order = Order(
            name, collects=name == "gitlab", refresh_after=timedelta(seconds=world.settings.rally.poll_seconds)
        )
        scheduler.add_job(
            passes,
            "interval",
            [order],
            seconds=seconds,
            jitter=min(5, seconds // 10) or None,
            next_run_time=datetime.now(UTC),
            id=name,
        )
    scheduler.add_job(passes, _cron(world.settings.sprints), [_SPRINT_SETS], id=_SPRINT_SETS.kind)
    scheduler.start()
    logger.info("Started", gitlab_poll_seconds=polls["gitlab"], rally_poll_seconds=polls["rally"])
    world.stop.wait()
    logger.info("Stopping")
    scheduler.pause()
    scheduler.shutdown(wait=True)
    return EXIT_DONE


_SPRINT_SETS = Order("sprint-sets", collects=False, sends=False)


def _cron(sprints: SprintsSettings) -> CronTrigger:
    """Fire at the config's time of day; sets are keyed by iteration, so a clock that is put back does no harm."""
    at = sprints.schedule
    return CronTrigger(day_of_week=",".join(at.days), hour=at.hour, minute=at.minute, timezone=sprints.timezone)


def stop_on_signals() -> threading.Event:
    """Make SIGTERM and SIGINT set an event that everything which waits looks at."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


@dataclass(slots=True)
class _Passes:
    """Runs passes, and says what is wrong when that changes: an outage of days is two lines, not thousands."""

    world: World
    rows: Callable[[], Sequence[Row]]
    _said: dict[str, frozenset[str]] = field(default_factory=dict)
    """By kind of pass: they do not use the same services."""

    def __call__(self, order: Order) -> None:
        """Make one pass."""
        if self.world.stop.is_set():
            return
        try:
            outcome = reconcile(self.world, self.rows(), order)
            self._report(order.kind, outcome.failed, outcome.down)
        except Stopped:
            return
        except ReconcilerError as error:  # the ledger cannot be written: a full disk may have room by the next pass
            self._report(order.kind, (str(error),), ())
        except Exception as error:  # noqa: BLE001 - one failed pass must not end the daemon; the next one starts afresh
            logger.opt(exception=True).error("Pass failed", error=str(error))

    def _report(self, kind: str, failed: Sequence[str], down: Sequence[str]) -> None:
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
