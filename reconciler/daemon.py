"""The daemon: passes on intervals, until it is asked to stop or to begin again with another config."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from loguru import logger

from reconciler.errors import ConfigError
from reconciler.order import Order
from reconciler.passes import Passes
from reconciler.schedule import cron
from reconciler.upkeep import Upkeep
from reconciler.vitals import Vitals

if TYPE_CHECKING:
    from collections.abc import Iterator

    from apscheduler.job import Job

    from reconciler.alarms import Alarm
    from reconciler.config import Settings
    from reconciler.surroundings import Surroundings
    from reconciler.world import World

LOOK_S = 5.0
"""How often the daemon looks after itself."""
CLOCK_STEP_S = 30.0
"""A wall clock that was set by more than this makes every poll due at once: its next time may now lie hours away."""
TURN_EVERY_S = 3
"""How soon an order for a backfill is seen, and how long its turns are apart: polls that are due come in between."""
UPKEEP_EVERY_S = 3600
FIRST_UPKEEP_S = 60

SPRINT_SETS = Order("sprint-sets", collects=False, sends=False)


def run(world: World, around: Surroundings) -> Settings | None:
    """Pass at every poll of GitLab and of Rally, one pass at a time; None when asked to stop, else the new config.

    One pass that fails never ends the daemon. What is under way ends between two requests.
    """
    scheduler = BackgroundScheduler(
        timezone=UTC,
        executors={"default": ThreadPoolExecutor(1)},
        # Without these a pass that starts more than a second late is dropped (APScheduler's default grace).
        job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
    )
    # what is due while a pass runs is made once afterwards; APScheduler warns of each time that it was due
    logging.getLogger("apscheduler.scheduler").setLevel(logging.ERROR)
    vitals = Vitals(world.progress, lambda: _overdue_s(scheduler))
    passes = Passes(world, around, vitals, next_runs=lambda: dict(_next_runs(scheduler)))
    _schedule(scheduler, world, passes)
    scheduler.start()
    polls = world.settings.gitlab.poll_seconds, world.settings.rally.poll_seconds
    logger.info("Started", gitlab_poll_seconds=polls[0], rally_poll_seconds=polls[1])
    around.supervisor.ready("Started; the first pass is under way")
    try:
        return _Watch(world, around, vitals, scheduler).keep()
    finally:
        world.stop.set()
        scheduler.pause()
        passes.wait()  # while it waits, `shutdown` holds the lock that a pass needs to ask for its next runs
        scheduler.shutdown(wait=True)


def _schedule(scheduler: BackgroundScheduler, world: World, passes: Passes) -> None:
    now, settings = datetime.now(UTC), world.settings
    polls = {"gitlab": settings.gitlab.poll_seconds, "rally": settings.rally.poll_seconds}
    refresh_after = timedelta(seconds=settings.rally.poll_seconds)
    for name, seconds in polls.items():
        order = Order(name, collects=name == "gitlab", refresh_after=refresh_after)
        jitter = min(5, seconds // 10) or None
        scheduler.add_job(
            passes, "interval", [order], seconds=seconds, jitter=jitter, next_run_time=now, id=name
        )  # fmt: skip
    scheduler.add_job(passes, cron(settings.sprints), [SPRINT_SETS], id=SPRINT_SETS.kind)
    scheduler.add_job(passes.take_turn, "interval", seconds=TURN_EVERY_S, id="backfill")
    upkeep, first = Upkeep(world, passes.report), now + timedelta(seconds=FIRST_UPKEEP_S)
    scheduler.add_job(
        passes.look_after, "interval", [upkeep], seconds=UPKEEP_EVERY_S, next_run_time=first, id="upkeep"
    )  # fmt: skip


def _next_runs(scheduler: BackgroundScheduler) -> Iterator[tuple[str, datetime]]:
    jobs: list[Job] = scheduler.get_jobs()
    for job in jobs:
        if job.next_run_time is not None:
            yield job.id, job.next_run_time.astimezone(UTC)


def _overdue_s(scheduler: BackgroundScheduler) -> float:
    """Tell how many seconds ago the earliest job was due that has not begun; negative when none was."""
    due = [at for _, at in _next_runs(scheduler)]
    return (datetime.now(UTC) - min(due)).total_seconds() if due else 0.0


@dataclass(slots=True)
class _Watch:
    """What the main thread does while another makes the passes."""

    world: World
    around: Surroundings
    vitals: Vitals
    scheduler: BackgroundScheduler
    _clock_offset_s: float = 0.0

    def keep(self) -> Settings | None:
        """Look after the daemon until it is to end; None, or the config to go on with."""
        watchdog_s = self.around.supervisor.watchdog_s
        self._clock_offset_s = time.time() - time.monotonic()
        while True:
            match self.around.signals.wait(min(LOOK_S, watchdog_s / 4) if watchdog_s else LOOK_S):
                case "stop":
                    logger.info("Stopping")
                    self.around.supervisor.stopping()
                    return None
                case "reload":
                    settings = self._reread()
                    if settings is not None:
                        return settings
                case None:
                    pass
            if watchdog_s and self.vitals.stalled_s < watchdog_s / 2:
                self.around.supervisor.alive()
            self._mind_the_clock()
            self.around.look(self.vitals)

    def _reread(self) -> Settings | None:
        """Read the config again; None when it is as it was, or has mistakes."""
        self.around.supervisor.reloading()
        now = datetime.now(UTC)
        try:
            settings = self.around.reread()
        except ConfigError as error:
            for problem in error.problems:
                logger.error("The config has a mistake: the old one stays in force", problem=str(problem))
            self._tell(self.around.alarms.note("config", str(error), now))
            self.around.supervisor.ready("The config has mistakes: the old one stays in force")
            return None
        self._tell(self.around.alarms.note("config", "", now))
        if settings != self.world.settings:
            logger.info("The config has changed: beginning again with it")
            return settings
        logger.info("The config is as it was; the mapping file is read by the next pass, which begins now")
        self._all_due_now()
        self.around.supervisor.ready("The config is as it was")
        return None

    def _tell(self, alarm: Alarm | None) -> None:
        if alarm is not None:
            self.around.tell(alarm)

    def _mind_the_clock(self) -> None:
        offset_s = time.time() - time.monotonic()
        step_s, self._clock_offset_s = offset_s - self._clock_offset_s, offset_s
        if abs(step_s) > CLOCK_STEP_S:
            logger.warning("The machine's clock was set, or the machine slept: polling now", seconds=round(step_s))
            self._all_due_now()

    def _all_due_now(self) -> None:
        for name in ("gitlab", "rally"):
            self.scheduler.modify_job(name, next_run_time=datetime.now(UTC))
