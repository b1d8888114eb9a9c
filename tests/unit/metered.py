"""A daemon as its metrics see it: a real ledger, and numbers that a test sets."""

from __future__ import annotations

import http.client
import socket
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from reconciler.config import MetricsSettings
from reconciler.config.urls import Address
from reconciler.ledger.entries import Draft
from reconciler.ledger.ledger import Ledger, open_ledger
from reconciler.mapping import Mapping
from reconciler.metrics import Metrics, Source, server, serving
from reconciler.model import ObjectID
from reconciler.traffic import Traffic
from reconciler.vitals import Vitals
from tests import building
from tests.clock import START, Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

EXPIRY = START + timedelta(days=2)
Numbers = dict[tuple[str, frozenset[tuple[str, str]]], float]


def free_port(host: str = "127.0.0.1") -> int:
    """Give a port that nobody listens at."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def read(text: str) -> Numbers:
    """Give the samples of the text format."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@dataclass
class Daemon:
    """What the metrics look at, as a test sets it."""

    folder: Path
    ledger: Ledger
    clock: Clock
    source: Source
    vitals: Vitals
    address: Address
    late_s: float = -30.0

    def passes(self, kind: str, *, seconds: float, failed: str = "") -> None:
        """Let one pass of this kind begin and end."""
        self.vitals.began(kind)
        pass_id = self.ledger.begin_pass(kind, self.clock())
        self.clock.advance(seconds)
        self.ledger.end_pass(pass_id, {"GitLab": "", "Rally": failed}, {}, self.clock())
        self.vitals.ended(self.clock(), "down" if failed else "ok", 2)

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes, http.client.HTTPMessage]:
        """Ask the port for a path."""
        connection = http.client.HTTPConnection(self.address.host, self.address.port, timeout=10)
        try:
            connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers
        finally:
            connection.close()

    def numbers(self) -> Callable[..., float]:
        """Scrape, and give a way to look numbers up."""
        status, body, _ = self.ask("/metrics")
        assert status == 200
        found = read(body.decode())
        return lambda name, **labels: found[f"reconciler_{name}", frozenset(labels.items())]


@contextmanager
def opened(folder: Path) -> Iterator[Daemon]:
    """Give a daemon with an empty ledger that has made no pass; nothing listens yet."""
    clock = Clock()
    path = folder / "ledger.db"
    with open_ledger(path, skips_count=False) as ledger:
        traffic = {name: Traffic(name, lambda: clock().timestamp()) for name in ("GitLab", "Rally")}
        source = Source(path, traffic, now=clock)
        found: list[Daemon] = []
        vitals = Vitals(lambda: 0, lambda: found[0].late_s, now=lambda: clock().timestamp())
        found.append(Daemon(folder, ledger, clock, source, vitals, Address("127.0.0.1", free_port())))
        yield found[0]


@contextmanager
def served(daemon: Daemon, textfile: Path | None = None) -> Iterator[Metrics]:
    """Serve its metrics at its address; the end is not waited for as long as in service."""
    was, server.LOOK_EVERY_S = server.LOOK_EVERY_S, 0.02
    try:
        with serving(MetricsSettings(listen=daemon.address, textfile=textfile), daemon.source) as metrics:
            metrics.look(daemon.vitals)
            yield metrics
    finally:
        server.LOOK_EVERY_S = was


def fill(ledger: Ledger) -> None:
    """Let one pipeline be read and sent as far as may be, and another have a job to be read before `EXPIRY`."""
    one, two = building.pipeline(100), building.pipeline(101)
    job, unread = building.job(1000, of=one), building.job(1010, of=two)
    ledger.observations.remember_projects("project qa/web-shop", [building.PROJECT])
    ledger.observations.store_pipelines([one, two])
    ledger.observations.store_jobs(one, [job])
    ledger.observations.store_jobs(two, [replace(unread, artifacts_expire_at=EXPIRY)])
    ledger.test_cases.replace([building.case(f"TC{n}") for n in range(1, 5)])
    with ledger.observations.reading(job, START) as record:
        record.document("junit", "1.xml", [building.run(f"a_TC{n}", ordinal=n) for n in range(1, 5)])
        record.document("junit", "2.xml", [building.run("odd")])
        record.problem("unreadable", "3.xml: no XML")
        record.close("read")
    ledger.observations.mark_read(one)
    ledger.subjects.apply(Mapping([]), resolvable=True)
    adds = [building.add(f"TC{n}", n, verdict="Odd" if n == 2 else "Pass") for n in range(1, 5)]
    first, second, third, _ = ledger.entries.intend([Draft(add, building.BUILD) for add in adds], START)
    ledger.entries.confirm([(first, ObjectID(9001)), (second, ObjectID(9002))], START)
    ledger.entries.refuse([(third, "no")], START)
    ledger.tell({"token/GitLab": "2026-03-01"})
