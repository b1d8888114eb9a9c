"""The metrics as the config wants them: at a port, in a file, both, or not at all."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector

from reconciler.metrics.collector import Collector
from reconciler.metrics.server import listening
from reconciler.metrics.textfile import Textfile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from prometheus_client.core import Metric

    from reconciler.config import MetricsSettings
    from reconciler.metrics.source import Source
    from reconciler.vitals import LastPass, Vitals

WRITE_EVERY_S = 55.0
"""A little less than the minute that is promised: the daemon looks every few seconds."""


class Metrics:
    """What the daemon does for its metrics; the port needs nothing."""

    def __init__(self, source: Source, textfile: Textfile | None, now: Callable[[], float] = time.monotonic) -> None:
        """Tell of this source; without a textfile nothing is ever written."""
        self._source = source
        self._textfile = textfile
        self._now = now
        self._written: tuple[float, Mapping[str, LastPass]] | None = None

    def look(self, vitals: Vitals) -> None:
        """Take note of how the daemon gets on; write the textfile after each pass, and at least every minute."""
        self._source.vitals = vitals
        if self._written is not None:
            written_at, passes = self._written
            if passes == vitals.passes and self._now() - written_at < WRITE_EVERY_S:
                return
        self.write_textfile()

    def write_textfile(self) -> None:
        """Write the textfile now, if one is wanted; never raises."""
        vitals = self._source.vitals
        self._written = self._now(), vitals.passes if vitals else {}
        if self._textfile is not None:
            self._textfile.write()


@contextmanager
def serving(settings: MetricsSettings, source: Source) -> Iterator[Metrics]:
    """Have the metrics told while the block runs.

    Raises:
        Misconfigured: `metrics.listen` cannot be had.
    """
    ours = CollectorRegistry()
    collector = Collector(source)
    ours.register(collector)
    with ExitStack() as stack:
        if settings.listen is not None:
            whole = CollectorRegistry()
            whole.register(collector)
            whole.register(_Process())
            stack.enter_context(listening(settings.listen, whole, source))
        # node_exporter tells of its own process under the same names: ours would make all of its numbers invalid
        yield Metrics(source, Textfile(settings.textfile, ours) if settings.textfile is not None else None)


class _Process:
    """The process's memory, CPU time and open files, by the names that all programs have for them."""

    def __init__(self) -> None:
        self._collector = ProcessCollector(registry=None)

    def collect(self) -> Iterator[Metric]:
        """Leave out the start time: it is wrong where systemd hides /proc/stat (ProcSubset=pid)."""
        return (metric for metric in self._collector.collect() if metric.name != "process_start_time_seconds")
