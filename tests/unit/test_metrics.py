"""The metrics: what is told of a daemon and of a real ledger, at the port and in the textfile."""

from __future__ import annotations

import os
import re
import stat
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from loguru import logger
from prometheus_client.parser import text_string_to_metric_families as plain

from reconciler import __version__
from reconciler.config import MetricsSettings
from reconciler.ledger.ledger import open_ledger
from reconciler.metrics import Metrics, serving
from reconciler.metrics.catalogue import CATALOGUE
from reconciler.metrics.serving import WRITE_EVERY_S
from tests.clock import START
from tests.unit.listening import from_now_on
from tests.unit.metered import EXPIRY, Daemon, fill, opened, read, served

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """Give one with an empty ledger; nothing listens yet."""
    with opened(tmp_path) as found:
        yield found


@pytest.fixture
def port(daemon: Daemon) -> Iterator[Metrics]:
    """Let it be served."""
    with served(daemon) as metrics:
        yield metrics


# --- what is told ---


def test_the_process_tells_of_its_requests_passes_and_writes(daemon: Daemon, port: Metrics) -> None:
    """Each outcome of each service from the first scrape on, so that rates are right."""
    for outcome in ("ok", "ok", "limited"):
        daemon.source.traffic["Rally"].note(outcome)
    daemon.source.traffic["GitLab"].note("denied")
    daemon.source.traffic["Rally"].breaker_open = True
    daemon.passes("gitlab", seconds=7)
    daemon.passes("rally", seconds=2, failed="Rally: HTTP 503")
    told = daemon.numbers()
    assert told("build_info", version=__version__) == 1
    assert told("requests_total", service="Rally", outcome="ok") == 2
    assert told("requests_total", service="Rally", outcome="limited") == 1
    assert told("requests_total", service="GitLab", outcome="unreachable") == 0
    assert told("writes_total") == 4
    assert (told("breaker_open", service="Rally"), told("breaker_open", service="GitLab")) == (1, 0)
    assert told("token_denied_seconds", service="GitLab") == 9
    assert told("last_pass_duration_seconds", kind="gitlab") == 7
    assert told("last_pass_timestamp_seconds", kind="gitlab") == START.timestamp() + 7
    assert [told("last_pass_outcome", kind="rally", outcome=said) for said in ("ok", "down", "failed")] == [0, 1, 0]
    assert told("start_time_seconds") == START.timestamp()
    assert told("collected_timestamp_seconds") == START.timestamp() + 9
    assert told("stalled_seconds") == 0
    assert port is not None


def test_a_service_that_never_did_all_is_told_as_0_and_one_that_did_by_its_time(daemon: Daemon) -> None:
    """A series that is not there would raise no alarm."""
    with served(daemon):
        told = daemon.numbers()
        assert (told("last_success_timestamp_seconds", service="Rally"), told("ledger_readable")) == (0, 1)
        assert told("last_attempt_timestamp_seconds", service="Rally") == 0
        daemon.passes("gitlab", seconds=5, failed="Rally: HTTP 503")
        told = daemon.numbers()
    assert told("last_success_timestamp_seconds", service="Rally") == 0
    assert told("last_success_timestamp_seconds", service="GitLab") == START.timestamp() + 5
    assert told("last_attempt_timestamp_seconds", service="Rally") == START.timestamp() + 5


def test_every_pass_is_in_the_histogram_once_however_seldom_it_is_scraped(daemon: Daemon, tmp_path: Path) -> None:
    """By port and by textfile alike; those of an earlier process are not in it."""
    daemon.ledger.end_pass(daemon.ledger.begin_pass("gitlab", START - timedelta(days=1)), {}, {}, START)
    with served(daemon, tmp_path / "reconciler.prom") as metrics:
        daemon.passes("gitlab", seconds=0.5)
        daemon.ledger.begin_pass("gitlab", daemon.clock())  # killed in its midst
        for seconds in (5, 5.5, 4000):
            daemon.passes("gitlab", seconds=seconds)
        daemon.passes("rally", seconds=20)
        metrics.write_textfile()
        told = daemon.numbers()
        again = daemon.numbers()
    buckets = {"1.0": 1, "5.0": 2, "15.0": 3, "60.0": 3, "300.0": 3, "900.0": 3, "3600.0": 3, "+Inf": 4}
    for scraped in (told, again):
        assert {le: scraped("pass_duration_seconds_bucket", kind="gitlab", le=le) for le in buckets} == buckets
        assert scraped("pass_duration_seconds_sum", kind="gitlab") == 4011
        assert scraped("pass_duration_seconds_count", kind="rally") == 1


def test_the_ledger_tells_what_waits_what_is_held_and_what_was_sent(daemon: Daemon) -> None:
    """Each number is the one that `status` shows."""
    fill(daemon.ledger)
    daemon.clock.advance(600)
    with served(daemon):
        told = daemon.numbers()
    assert {state: told("tests", state=state) for state in ("sent", "pending", "held", "refused")} == {
        "sent": 2, "pending": 1, "held": 1, "refused": 1,
    }  # fmt: skip
    assert {verdict: told("results", verdict=verdict) for verdict in ("Pass", "Fail", "Odd")} == {
        "Pass": 1, "Fail": 0, "Odd": 1,
    }  # fmt: skip
    assert (told("results_refused"), told("results_in_doubt")) == (1, 1)
    backlog = {kind: told("backlog", kind=kind) for kind in ("pipelines", "results", "attachments", "members")}
    assert backlog == {"pipelines": 1, "results": 1, "attachments": 0, "members": 0}
    assert told("backlog_oldest_age_seconds") == 600
    assert told("problems") == 1
    assert told("unread_artifacts_expiry_timestamp_seconds") == EXPIRY.timestamp()
    assert told("token_expiry_timestamp_seconds", service="GitLab") == datetime(2026, 3, 1, tzinfo=UTC).timestamp()
    assert told("tests_unaccounted") == 0


def test_what_can_be_counted_is_never_missing(daemon: Daemon, port: Metrics) -> None:
    """Of an empty ledger all that can be counted is 0; what is not known has no sample, and no 0."""
    told = daemon.numbers()
    assert port is not None
    for kind in ("pipelines", "results", "attachments", "members"):
        assert told("backlog", kind=kind) == 0
    for state in ("sent", "merged", "pending", "held", "ignored", "superseded", "refused"):
        assert told("tests", state=state) == 0
    for verdict in ("Pass", "Fail", "Error", "Blocked", "Inconclusive"):
        assert told("results", verdict=verdict) == 0
    for name in ("results_refused", "results_in_doubt", "problems", "backlog_oldest_age_seconds"):
        assert told(name) == 0
    with pytest.raises(KeyError):
        told("unread_artifacts_expiry_timestamp_seconds")
    with pytest.raises(KeyError):
        told("token_expiry_timestamp_seconds", service="GitLab")


def test_the_catalogue_is_what_is_told(daemon: Daemon, port: Metrics) -> None:
    """Each metric once, by its kind and with a sentence; a label is one of those that the catalogue names."""
    fill(daemon.ledger)
    daemon.passes("gitlab", seconds=1)
    status, body, _ = daemon.ask("/metrics")
    assert (status, port is not None) == (200, True)
    families = [family for family in plain(body.decode()) if family.name.startswith("reconciler_")]
    kinds = {"info": "gauge"}
    assert [
        (family.name + "_total" * (family.type == "counter"), family.type, family.documentation) for family in families
    ] == [(told.name, kinds.get(told.kind, told.kind), told.help) for told in CATALOGUE]
    labels = {told.name: {*told.labels, *(["le"] if told.kind == "histogram" else [])} for told in CATALOGUE}
    for family in families:
        name = family.name + "_total" * (family.type == "counter")
        assert family.samples, name
        assert set().union(*(sample.labels for sample in family.samples)) == labels[name], name


def test_names_are_as_prometheus_wants_them() -> None:
    """Counters, and only they, end in _total; units are base units and stand in the name."""
    for told in CATALOGUE:
        assert re.fullmatch(r"reconciler_[a-z]+(_[a-z]+)*", told.name)
        assert (told.kind == "counter") == told.name.endswith("_total")
        assert not re.search(r"_(ms|milliseconds|minutes|hours|days|kb|percent)(_|$)", told.name)
        assert told.help.endswith(".")
        assert "\n" not in told.help
    assert len({told.name for told in CATALOGUE}) == len(CATALOGUE)


# --- when the ledger cannot be read ---


@pytest.mark.parametrize("how", ["gone", "no database", "of a newer schema"])
def test_a_ledger_that_cannot_be_read_costs_its_own_numbers_only(daemon: Daemon, tmp_path: Path, how: str) -> None:
    """The scrape says so; a missing file is not read as an empty ledger."""
    daemon.source.ledger = tmp_path / "other.db"
    if how == "no database":
        daemon.source.ledger.write_bytes(b"no database" * 1000)
    elif how == "of a newer schema":
        with open_ledger(daemon.source.ledger, skips_count=False) as other, other.store.transaction():
            other.store.run("INSERT INTO _sqlite_migrations VALUES (99, 'reconciler', '0099_later', '2026-01-01')")
    with served(daemon):
        told = daemon.numbers()
    assert (told("ledger_readable"), told("writes_total"), told("stalled_seconds")) == (0, 0, 0)
    with pytest.raises(KeyError):
        told("tests_unaccounted")


def test_a_pass_that_writes_is_not_held_up_and_holds_nobody_up(daemon: Daemon) -> None:
    """What is told is what was committed."""
    with served(daemon), daemon.ledger.store.transaction():
        daemon.ledger.store.run("UPDATE tallies SET n = 5 WHERE state = 'held'")
        began = time.monotonic()
        told = daemon.numbers()
        assert time.monotonic() - began < 1
        assert (told("ledger_readable"), told("tests", state="held")) == (1, 0)
        daemon.ledger.store.run("UPDATE tallies SET n = 0 WHERE state = 'held'")


def open_files() -> int:
    """Count what this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_scrape_is_cheap(daemon: Daemon, tmp_path: Path) -> None:
    """Milliseconds of CPU, with the file being written; nothing of the ledger stays open."""
    fill(daemon.ledger)
    with serving(MetricsSettings(textfile=tmp_path / "reconciler.prom"), daemon.source) as metrics:
        metrics.look(daemon.vitals)
        before, took_s = open_files(), []
        for _ in range(20):
            began = time.process_time()
            metrics.write_textfile()
            took_s.append(time.process_time() - began)
        assert min(took_s) < 0.02
        assert open_files() <= before


# --- the textfile ---


def test_the_textfile_is_written_after_each_pass_and_every_minute(daemon: Daemon, tmp_path: Path) -> None:
    """Not at each look; no process_* stands in it, for node_exporter has its own."""
    path, seconds = tmp_path / "reconciler.prom", [0.0]
    writes: list[float] = []
    with serving(MetricsSettings(textfile=path), daemon.source) as found:
        textfile = found._textfile
        assert textfile is not None
        metrics = Metrics(daemon.source, textfile, now=lambda: seconds[0])
        for step in range(40):
            seconds[0] = step * 5.0
            if step == 3:
                daemon.passes("gitlab", seconds=1)
            path.unlink(missing_ok=True)
            metrics.look(daemon.vitals)
            if path.exists():
                writes.append(seconds[0])
                text = path.read_text()
    assert writes == [0, 15, *(15 + WRITE_EVERY_S * n for n in (1, 2, 3))]
    assert "process_" not in text
    assert read(text)["reconciler_last_pass_duration_seconds", frozenset({("kind", "gitlab")})] == 1


def test_others_may_read_the_textfile_whatever_the_umask(daemon: Daemon, tmp_path: Path) -> None:
    """The service's own is 0077; nothing half written is left beside it."""
    path = tmp_path / "out" / "reconciler.prom"
    path.parent.mkdir()
    before = os.umask(0o077)
    try:
        with serving(MetricsSettings(textfile=path), daemon.source) as metrics:
            metrics.look(daemon.vitals)
            metrics.write_textfile()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [file.name for file in path.parent.iterdir()] == ["reconciler.prom"]


def write_often(metrics: Metrics) -> None:
    """Write the textfile fifty times."""
    for _ in range(50):
        metrics.write_textfile()


def test_a_reader_sees_whole_files_only(daemon: Daemon, tmp_path: Path) -> None:
    """While it is written over and over."""
    path, ends = tmp_path / "reconciler.prom", set()
    with serving(MetricsSettings(textfile=path), daemon.source) as metrics:
        metrics.look(daemon.vitals)
        wanted = len(path.read_text().splitlines())
        writer = threading.Thread(target=write_often, args=[metrics])
        writer.start()
        while writer.is_alive():
            ends.add(len(path.read_text().splitlines()))
        writer.join()
    assert ends <= {wanted}


def test_a_disk_that_fails_is_told_of_once_and_its_recovery_once(daemon: Daemon, tmp_path: Path) -> None:
    """No write raises."""
    folder = tmp_path / "away"
    lines: list[str] = []
    sink = logger.add(lambda m: lines.append(m.record["message"]), level="INFO", filter=from_now_on())
    try:
        with serving(MetricsSettings(textfile=folder / "reconciler.prom"), daemon.source) as metrics:
            for _ in range(3):
                metrics.write_textfile()
            folder.mkdir()
            for _ in range(3):
                metrics.write_textfile()
    finally:
        logger.remove(sink)
    assert lines == [
        "metrics.textfile cannot be written: see to its folder and its disk; it is tried again",
        "metrics.textfile is written again",
    ]


def test_without_a_word_in_the_config_nothing_listens_and_nothing_is_written(daemon: Daemon, tmp_path: Path) -> None:
    """Off by default."""
    before, threads = sorted(tmp_path.iterdir()), set(threading.enumerate())
    with serving(MetricsSettings(), daemon.source) as metrics:
        metrics.look(daemon.vitals)
        metrics.write_textfile()
        assert set(threading.enumerate()) <= threads
    assert sorted(tmp_path.iterdir()) == before
