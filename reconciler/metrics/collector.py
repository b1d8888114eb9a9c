"""The numbers as they are when they are asked for."""

from __future__ import annotations

import threading
from bisect import bisect_left
from contextlib import closing
from datetime import UTC, datetime
from itertools import accumulate
from typing import TYPE_CHECKING, assert_never

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)

from reconciler import __version__
from reconciler.errors import LedgerUnusable
from reconciler.ledger import figures, views
from reconciler.ledger.store import moment, open_for_reading
from reconciler.metrics.catalogue import CATALOGUE
from reconciler.model import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client.core import Metric

    from reconciler.ledger.store import Store
    from reconciler.metrics.catalogue import Told
    from reconciler.metrics.source import Source

Labels = tuple[str, ...]
Samples = dict[str, dict[Labels, float]]
"""By metric: by the values of its labels."""

BUCKETS_S = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)
LEDGER_WAIT_S = 2.0
"""So long one scrape waits for another that is at the ledger; then it goes without."""
OUTCOMES = ("ok", "down", "failed")


class Durations:
    """How long passes took, in buckets, by kind."""

    def __init__(self, since: datetime) -> None:
        """Count the passes that begin from then on."""
        self._since = since
        self._last = 0
        self._of: dict[str, tuple[tuple[int, ...], float]] = {}
        """By kind: how many in each bucket, and seconds in all; replaced whole, for another thread may read it."""

    def read(self, store: Store) -> None:
        """Add the passes that ended since the last time; the ledger has each of them, however short they are."""
        for pass_id, kind, seconds in figures.ended_passes(store, after=self._last, since=self._since):
            counts, sum_s = self._of.get(kind, ((0,) * (len(BUCKETS_S) + 1), 0.0))
            at = bisect_left(BUCKETS_S, seconds)
            self._of[kind] = (*counts[:at], counts[at] + 1, *counts[at + 1 :]), sum_s + seconds
            self._last = pass_id

    def fill(self, family: HistogramMetricFamily) -> None:
        """Write them as a histogram."""
        bounds = [*map(str, BUCKETS_S), "+Inf"]
        for kind, (counts, sum_s) in list(self._of.items()):
            family.add_metric([kind], list(zip(bounds, accumulate(counts), strict=True)), sum_s)


class Collector:
    """What prometheus_client asks; from any thread.

    The ledger is opened for reading and closed at once, so that no pass is held up and the write-ahead log is pinned
    for milliseconds only. When it cannot be read, the rest is told, and that it cannot.
    """

    def __init__(self, source: Source) -> None:
        """Tell of this daemon."""
        self._source = source
        self._durations = Durations(source.started_at)
        self._at_ledger = threading.Lock()

    def collect(self) -> Iterator[Metric]:
        """Give every metric of the catalogue, some without a sample."""
        samples = self._of_process() | self._of_ledger()
        for told in CATALOGUE:
            yield self._family(told, samples.get(told.name, {}))

    def _family(self, told: Told, samples: dict[Labels, float]) -> Metric:
        match told.kind:
            case "gauge":
                gauge = GaugeMetricFamily(told.name, told.help, labels=told.labels)
                _fill(gauge, samples)
                return gauge
            case "counter":
                counter = CounterMetricFamily(told.name, told.help, labels=told.labels)
                _fill(counter, samples)
                return counter
            case "histogram":
                histogram = HistogramMetricFamily(told.name, told.help, labels=told.labels)
                self._durations.fill(histogram)
                return histogram
            case "info":
                return InfoMetricFamily(told.name.removesuffix("_info"), told.help, value={"version": __version__})
            case _:
                assert_never(told.kind)

    def _of_process(self) -> Samples:
        source = self._source
        samples: Samples = {
            "reconciler_start_time_seconds": {(): source.started_at.timestamp()},
            "reconciler_collected_timestamp_seconds": {(): source.now().timestamp()},
        }
        return samples | self._of_passes() | self._of_traffic()

    def _of_passes(self) -> Samples:
        vitals = self._source.vitals
        if vitals is None:
            return {}
        passes = vitals.passes.items()
        return {
            "reconciler_stalled_seconds": {(): vitals.stalled_s},
            "reconciler_last_pass_timestamp_seconds": {(kind,): last.ended_at.timestamp() for kind, last in passes},
            "reconciler_last_pass_duration_seconds": {(kind,): last.seconds for kind, last in passes},
            "reconciler_last_pass_outcome": {
                (kind, outcome): float(last.outcome == outcome) for kind, last in passes for outcome in OUTCOMES
            },
            "reconciler_writes_total": {(): vitals.writes},
        }

    def _of_traffic(self) -> Samples:
        traffic = self._source.traffic.items()
        return {
            "reconciler_requests_total": {
                (service, outcome): n for service, one in traffic for outcome, n in one.requests.items()
            },
            "reconciler_breaker_open": {(service,): float(one.breaker_open) for service, one in traffic},
            "reconciler_token_denied_seconds": {(service,): one.denied.for_s for service, one in traffic},
        }

    def _of_ledger(self) -> Samples:
        unreadable: Samples = {"reconciler_ledger_readable": {(): 0}}
        if not self._at_ledger.acquire(timeout=LEDGER_WAIT_S):
            return unreadable
        try:
            if not self._source.ledger.exists():  # it would be read as an empty one
                return unreadable
            with closing(open_for_reading(self._source.ledger)) as store:
                self._durations.read(store)
                return self._told_by(store)
        except (LedgerUnusable, OSError):
            return unreadable
        finally:
            self._at_ledger.release()

    def _told_by(self, store: Store) -> Samples:
        tests, entries = views.tests(store), views.entries(store)
        unaccounted = tests.pop("unaccounted")
        del tests["read"]
        verdicts = dict.fromkeys(Verdict, 0) | views.verdicts(store)
        told: Samples = {
            "reconciler_ledger_readable": {(): 1},
            "reconciler_tests": {(state,): n for state, n in tests.items()},
            "reconciler_tests_unaccounted": {(): unaccounted},
            "reconciler_results": {(str(verdict),): n for verdict, n in verdicts.items()},
            "reconciler_results_in_doubt": {(): entries["intended"]},
            "reconciler_results_refused": {(): entries["refused"]},
            "reconciler_problems": {(): views.count_problems(store)},
            "reconciler_last_attempt_timestamp_seconds": _of_services(views.last_used(store)),
            "reconciler_last_success_timestamp_seconds": _of_services(
                {service: said["last_success"] for service, said in views.services(store).items()}
            ),
        }
        return told | self._waiting(store)

    def _waiting(self, store: Store) -> Samples:
        backlog = views.backlog(store)
        oldest, expiry, token = backlog["oldest"], views.soonest_expiry(store), views.daemon(store)["gitlab_expires"]
        age_s = (self._source.now() - moment(oldest)).total_seconds() if oldest else 0.0
        told: Samples = {
            "reconciler_backlog": {(kind,): n for kind, n in backlog.items() if kind != "oldest"},
            "reconciler_backlog_oldest_age_seconds": {(): max(0.0, age_s)},
            "reconciler_unread_artifacts_expiry_timestamp_seconds": {(): moment(expiry).timestamp()} if expiry else {},
            "reconciler_token_expiry_timestamp_seconds": {("GitLab",): _begin_of(token)} if token else {},
        }
        return told


def _of_services(stamps: Mapping[str, str | None]) -> dict[Labels, float]:
    """Give what `views` tells by service under the names that all metrics have for them; 0: never."""
    told = {service: stamps[service.lower()] for service in views.SERVICES}
    return {(service,): moment(last).timestamp() if last else 0.0 for service, last in told.items()}


def _begin_of(day: str) -> float:
    return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()


def _fill(family: GaugeMetricFamily | CounterMetricFamily, samples: dict[Labels, float]) -> None:
    for labels, value in samples.items():
        family.add_metric(labels, value)
