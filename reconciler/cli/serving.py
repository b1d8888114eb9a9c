"""The daemon as the command line starts it: config and ledger first, then passes until the end."""

from __future__ import annotations

import faulthandler
import os
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from reconciler.cli import building
from reconciler.errors import EXIT_DONE, Misconfigured

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from reconciler.alarms import Alarm, Alarms
    from reconciler.config import Settings
    from reconciler.ledger.ledger import Ledger
    from reconciler.mapping import Row
    from reconciler.sd_notify import Supervisor
    from reconciler.signals import Signals
    from reconciler.surroundings import Surroundings
    from reconciler.traffic import Traffic
    from reconciler.vitals import Vitals

    Look = Callable[[Vitals], None]

LAST_WORDS_S = 4.0
"""How long the hooks may take in the end: a stop is over within 10 seconds."""


def run(config_path: Path) -> int:
    """Pass on intervals until a signal says stop; the exit status.

    The ledger stays locked while the config is read again.
    """
    from reconciler.alarms import Alarms
    from reconciler.ledger.backfills import ANNOUNCED
    from reconciler.ledger.store import stamp
    from reconciler.sd_notify import Supervisor
    from reconciler.signals import Signals

    faulthandler.enable()  # the watchdog's SIGABRT then leaves the stacks of all threads in the journal
    signals, supervisor = Signals(), Supervisor(os.environ)
    settings, rows = building.configured(config_path)
    alarms = Alarms(timedelta(minutes=settings.notify.stale_after_minutes))
    with building.ledger(settings) as opened:
        now = stamp(datetime.now(UTC))
        opened.tell({"daemon/started": now, ANNOUNCED: now})
        service = _Service(config_path, settings, rows, signals, supervisor, alarms)
        while service.serve(opened):
            pass
    return EXIT_DONE


@dataclass(slots=True)
class _Service:
    """What outlives a change of the config."""

    config_path: Path
    settings: Settings
    rows: Sequence[Row]
    signals: Signals
    supervisor: Supervisor
    alarms: Alarms
    _reread: tuple[Settings, Sequence[Row]] | None = field(default=None)
    _is_new: bool = True

    def serve(self, opened: Ledger) -> bool:
        """Run with the settings as they are; whether to go on with others."""
        from reconciler import daemon

        settings = self.settings
        patience_s = max(10.0, float(settings.gitlab.poll_seconds))
        self.alarms.stale_after = timedelta(minutes=settings.notify.stale_after_minutes)
        with (
            building.services(settings, opened, threading.Event(), patience_s=patience_s) as world,
            self._telling() as tell,
            self._looking(world.traffic, tell) as look,
        ):
            renewed = daemon.run(world, self._surroundings(tell, look))
        if renewed is None:
            return False
        self.settings, self.rows = renewed, self._reread[1] if self._reread else self.rows
        self._is_new = False
        building.set_up_log(renewed)
        return True

    def _surroundings(self, tell: Callable[[Alarm], None], look: Callable[[Vitals], None]) -> Surroundings:
        from reconciler.surroundings import Surroundings

        return Surroundings(
            rows=building.mapping_reader(self.settings, self.rows),
            reread=self._read_again,
            signals=self.signals,
            supervisor=self.supervisor,
            alarms=self.alarms,
            tell=tell,
            look=look,
        )

    @contextmanager
    def _telling(self) -> Iterator[Callable[[Alarm], None]]:
        """Give the way to tell a person, as [notify] says."""
        from reconciler.hooks import Event, Hooks
        from reconciler.wire import post_json

        settings = self.settings
        hooks = Hooks(
            settings.notify, post=post_json, secrets=settings.secrets(), folder=self.config_path.absolute().parent
        )

        def tell(alarm: Alarm) -> None:
            now = datetime.now(UTC)
            event = Event(alarm.kind, alarm.subject, alarm.text, alarm.since, now, settings.ledger.path)
            hooks.send(event.body())

        try:
            yield tell
        finally:
            hooks.close(LAST_WORDS_S)

    @contextmanager
    def _looking(self, traffic: Mapping[str, Traffic], tell: Callable[[Alarm], None]) -> Iterator[Look]:
        """Give what is to be called now and then, so that [metrics] has its numbers.

        A port that cannot be had ends a start; a reload goes on without it and says so.
        """
        from loguru import logger

        with ExitStack() as stack:
            look: Look = lambda _: None  # noqa: E731 - no numbers are wanted
            trouble = ""
            if self.settings.metrics.listen or self.settings.metrics.textfile:
                from reconciler.metrics import Source, serving

                source = Source(self.settings.ledger.path, traffic)
                try:
                    look = stack.enter_context(serving(self.settings.metrics, source)).look
                except Misconfigured as error:
                    if self._is_new:
                        raise
                    logger.error("There are no metrics", error=str(error))
                    trouble = str(error)
            alarm = self.alarms.note("metrics", trouble, datetime.now(UTC))
            if alarm is not None:
                tell(alarm)
            yield look

    def _read_again(self) -> Settings:
        """Read config and mapping; another ledger takes a new start, for this one is locked and open."""
        from loguru import logger

        settings, rows = building.read_config(self.config_path)
        if settings.ledger.path != self.settings.ledger.path:
            logger.warning("ledger.path has changed: it takes effect when the daemon is started anew")
            settings = replace(settings, ledger=replace(settings.ledger, path=self.settings.ledger.path))
        self._reread = settings, rows
        return settings
