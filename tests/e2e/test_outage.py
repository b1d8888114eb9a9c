"""A service is away for three days while pipelines go on finishing and their artifacts expire: nothing is lost.

`make test` makes a pass each hour, `make soak` each minute, as the daemon does, with ten times as many tests in each
pipeline. The figures are printed: `pytest -s`.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections import Counter, defaultdict
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.ledger.store import open_for_reading
from reconciler.notes import read_key
from reconciler.sandbox.faults import Fault, Reset, page
from reconciler.sandbox.gitlab import START, FakeClock
from tests.company import case, marked, report
from tests.driven import COOLS_S, driven

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from reconciler.sandbox.gitlab import Job
    from reconciler.sandbox.messages import LogEntry
    from reconciler.sandbox.server import Server
    from tests.company import Company
    from tests.driven import Driven, Pass

LONG = bool(os.environ.get("LONG_OUTAGE"))
pytestmark = pytest.mark.timeout(1_800 if LONG else 400)
PIPELINES = 500
"""So many finish while a service is away."""
BEFORE = 10
"""So many finished, and were sent, before the outage."""
MINUTES, TESTS = (1, 40) if LONG else (60, 4)
"""How often a pass is made, and how many tests each pipeline has."""
POLL, AWAY = timedelta(minutes=MINUTES), timedelta(days=3)
KEPT = timedelta(days=1)
"""How long GitLab keeps artifacts."""
SLOW_H = 7
"""Every seventh pipeline takes so many hours: it began before many that were done before it."""
CASES = [f"TC{n}" for n in range(1, 11)] + [f"TC{n}" for n in range(101, 101 + TESTS)]
SHOT = b"\x89PNG\r\n\x1a\n"
BATCH, AT_ONCE = 50, 4
FEW = 12
"""Requests beside those that bring something: the first contact, a batch that was not full."""
PER_TEST, GROWTH_KIB, PEAK_KIB = 1_200, 32 * 1024, 150 * 1024
"""The bounds: bytes of ledger for each test, and memory."""


@dataclass
class Shop:
    """A company whose pipelines finish one after another, as a clock of its own says."""

    company: Company
    clock: FakeClock
    jobs: list[Job] = field(default_factory=list)
    """In the order in which their pipelines began."""

    def finish_between(self, until: datetime, count: int) -> Iterator[datetime]:
        """Let pipelines begin and finish, evenly from now until then, and stop at each pass's time."""
        begin = self.clock()
        step = (until - begin) / count
        events: list[tuple[datetime, int, bool]] = []
        for n in range(count):
            began = begin + step * n
            ended = min(until, began + (timedelta(hours=SLOW_H) if n % 7 == 0 else timedelta(minutes=5)))
            events += [(began, n, False), (ended, n, True)]
        events.sort()
        first = len(self.jobs)
        while self.clock() < until:
            now = min(until, self.clock() + POLL)
            while events and events[0][0] <= now:
                moment, n, ends = events.pop(0)
                self.clock.set(max(moment, self.clock()))
                if ends:
                    self._finish(first + n)
                else:
                    self._begin()
            self.clock.set(now)
            yield now

    def _begin(self) -> None:
        store = self.company.gitlab.store
        pipeline = store.add_pipeline(self.company.project, status="running")
        self.jobs.append(store.add_job(pipeline, "e2e", status="running"))

    def _finish(self, number: int) -> None:
        """End a pipeline: its tests are of test cases that others test too; the first one fails, and has a picture."""
        store, job, now = self.company.gitlab.store, self.jobs[number], self.clock()
        tested = [CASES[(number + place) % len(CASES)] for place in range(TESTS)]
        bad, *good = tested
        failed = case(f"pay_{bad}!", f"run {number}\n" + marked("shot.png"))
        store.finish_job(
            job,
            "failed",
            finished_at=now,
            junit=[("junit.xml", report(failed, *(case(f"look_{one}") for one in good)))],
            archive={"shot.png": SHOT + str(number).encode(), "rest.bin": bytes(2_000)},
            expire_at=now + KEPT,
        )
        store.finish(job.pipeline)

    def is_gone(self, job: Job, at: datetime) -> bool:
        """Tell whether a job's artifacts were removed by then."""
        assert job.expire_at is not None
        return job.expire_at + self.company.gitlab.store.expiry_worker_lag <= at

    def results(self) -> dict[str, dict[str, Any]]:
        """Tell what Rally holds by key, in the order in which it came there; a key that is there twice fails."""
        found = self.company.rally_store.results()
        by_key: dict[str, dict[str, Any]] = {str(read_key(str(one["Notes"]))): one for one in found}
        assert len(by_key) == len(found)
        return by_key

    def wanted(self, jobs: Sequence[Job]) -> dict[str, tuple[str, str]]:
        """Tell what Rally should hold of these jobs: key → verdict and date."""
        wanted = {}
        for job in jobs:
            number = self.jobs.index(job)
            assert job.finished_at is not None
            date = f"{job.finished_at:%Y-%m-%dT%H:%M:%S}.{job.finished_at.microsecond // 1000:03}Z"
            for place in range(TESTS):
                key = f"{self.company.project.id}/{job.pipeline.id}/{CASES[(number + place) % len(CASES)]}/1"
                wanted[key] = ("Pass" if place else "Fail", date)
        return wanted


@pytest.fixture
def shop(company: Company) -> Shop:
    """Open the shop, which Rally and GitLab have known for a while."""
    clock = FakeClock()
    company.gitlab.store.clock = company.rally_store.clock = clock
    company.configure(rally={"batch_size": BATCH, "max_concurrency": AT_ONCE})
    for name in CASES[len(company.cases) :]:
        company.rally_store.add_test_case(company.root, f"Test case {name[2:]}", name)
    return Shop(company, clock)


# --- the outages -----------------------------------------------------------------------------------------------------


def test_rally_away_for_three_days_loses_nothing_that_was_readable_when_it_finished(shop: Shop) -> None:
    """It refuses connections, is in maintenance, knows no key in the end; the first request of all dies half-way."""
    company = shop.company
    with driven(company) as program:
        figures = Figures(company, all_of(shop.finish_between(START + timedelta(hours=3), BEFORE), program))
        assert len(shop.results()) == BEFORE * TESTS
        company.rally.faults.add(Fault(Reset("after"), writes_only=True))
        assert [one.exit_status for one in all_of(shop.finish_between(shop.clock() + POLL, 1), program)] == [75]
        away = through(shop, company.rally, program)
        figures.ledger("read")
        sent = noted(company)
        company.rally.log.clear()
        back = program.at(shop.clock())
        entries = company.rally.log.entries()
        quiet = [program.at(shop.clock.advance(seconds)) for seconds in (60, 400)]

    assert {one.exit_status for one in away} == {75, 1}
    assert sum(one.summary["pipelines_read"] for one in away) == PIPELINES
    assert (back.exit_status, back.summary["left"], back.summary["pipelines_read"]) == (0, 0, 0)
    assert [(one.exit_status, one.summary["writes"]) for one in quiet] == [(0, 0), (0, 0)]
    holds_all(shop, shop.jobs)
    in_order(shop)
    files_are_there_or_said(shop)
    polite(entries, sent)
    figures.are_bounded(away, back)


def test_gitlab_away_for_three_days_loses_nothing_that_it_still_has(shop: Shop) -> None:
    """What expired before anybody could read it is told, each job; the rest is in Rally once, and in order."""
    company = shop.company
    with driven(company) as program:
        figures = Figures(company, all_of(shop.finish_between(START + timedelta(hours=3), BEFORE), program))
        company.rally.log.clear()
        away = through(shop, company.gitlab.server, program)
        assert company.rally.log.writes() == []
        company.gitlab.server.log.clear()
        sent = noted(company)
        company.rally.log.clear()
        back = program.at(shop.clock())
        gone = [job for job in shop.jobs[BEFORE:] if shop.is_gone(job, shop.clock())]
        asked, entries = company.gitlab.server.log.entries(), company.rally.log.entries()
        quiet = [program.at(shop.clock.advance(seconds)) for seconds in (60, 400)]

    there = [job for job in shop.jobs if job not in gone]
    assert PIPELINES // 4 < len(there) < PIPELINES // 2
    assert {one.exit_status for one in away} <= {75, 1}
    assert (back.exit_status, back.summary["left"], back.summary["pipelines_read"]) == (0, 0, PIPELINES)
    assert [(one.exit_status, one.summary["writes"]) for one in quiet] == [(0, 0), (0, 0)]
    holds_all(shop, there)
    in_order(shop)
    problems = company.status()["problems"]
    assert sorted((one["job"], one["kind"]) for one in problems) == sorted((job.id, "expired") for job in gone)
    polite(entries, sent)
    told(f"GitLab: {len(asked)} requests for {len(there)} jobs that were there and {len(gone)} that were not")
    assert len(asked) <= 2 * len(gone) + 4 * len(there) + FEW
    figures.are_bounded(away, back)


def all_of(moments: Iterator[datetime], program: Driven) -> list[Pass]:
    """Make all passes."""
    return [program.at(moment) for moment in moments]


def through(shop: Shop, server: Server, program: Driven) -> list[Pass]:
    """Let a service not be reached for a day, then be in maintenance, and know no key in the end; pipelines finish."""
    began = shop.clock()
    kinds: dict[timedelta, Callable[[], AbstractContextManager[None]]] = {
        timedelta(): server.refusing,
        timedelta(days=1): lambda: maintained(server, 502),
        AWAY - timedelta(hours=3): lambda: maintained(server, 401),
    }
    passes: list[Pass] = []
    with ExitStack() as stack:
        for now in shop.finish_between(began + AWAY, PIPELINES):
            for since in [since for since in kinds if since < now - began]:
                stack.close()
                stack.enter_context(kinds.pop(since)())
            passes.append(program.at(now))
    time.sleep(2 * COOLS_S)
    return passes


@contextmanager
def maintained(server: Server, status: int) -> Iterator[None]:
    """Let a server answer everything with a page of this status."""
    fault = server.faults.maintenance(status)
    yield
    server.faults.remove(fault)


def noted(company: Company) -> list[Counter[str]]:
    """Note from now on what each batch is to create, by type."""
    seen: list[Counter[str]] = []

    def look(body: bytes) -> bool:
        seen.append(Counter(found.decode() for found in re.findall(rb'"Path":"/(\w+)/create"', body)))
        return False

    company.rally.faults.add(Fault(page(500), path="/batch$", body=look))
    return seen


# --- what must hold --------------------------------------------------------------------------------------------------


def holds_all(shop: Shop, jobs: Sequence[Job]) -> None:
    """See that each result of these jobs is there, once, with verdict and date; and nothing else."""
    found = {key: (str(one["Verdict"]), str(one["Date"])) for key, one in shop.results().items()}
    assert found == shop.wanted(jobs)


def in_order(shop: Shop) -> None:
    """See that the results of each test case came to Rally in the order of their dates."""
    dates: dict[str, list[str]] = defaultdict(list)
    for one in shop.results().values():
        dates[one["FormattedID"]].append(one["Date"])
    assert {name: came for name, came in dates.items() if came != sorted(came)} == {}


def files_are_there_or_said(shop: Shop) -> None:
    """See that each output is attached; a picture that expired meanwhile is told with the day, in a text and a link."""
    results, counted = shop.results(), Counter[str]()
    for number, job in enumerate(shop.jobs):
        one = results[f"{shop.company.project.id}/{job.pipeline.id}/{CASES[number % len(CASES)]}/1"]
        files = {str(file["Name"]): file["Content"] for file in one["Attachments"]}
        assert len(files) == len(one["Attachments"])
        assert f"run {number}\n".encode() in files.pop("test_output.log")
        assert f"/jobs/{job.id}/artifacts/file/shot.png" in one["Notes"]
        counted["gone" if "not attached.txt" in files else "there"] += 1
        if "not attached.txt" in files:
            assert shop.is_gone(job, shop.clock())
            assert f"expired on {job.expire_at:%Y-%m-%d}" in files["not attached.txt"].decode()
        else:
            assert files == {"shot.png": SHOT + str(number).encode()}
    status = shop.company.status()
    assert status["attachments"]["missing"] == counted["gone"]
    assert status["attachments"]["done"] == counted["there"] + len(shop.jobs)
    assert {problem["kind"] for problem in status["problems"]} == {"expired"}


def polite(entries: Sequence[LogEntry], sent: Sequence[Counter[str]]) -> None:
    """See that few asked at once, and that requests were full; print how many there were."""
    edges = sorted([(one.started, 1) for one in entries] + [(one.ended or one.started, -1) for one in entries])
    now = most = 0
    for _, change in edges:
        now += change
        most = max(most, now)
    assert most <= AT_ONCE
    told(f"\nRally: {len(entries)} requests, {most} at once")
    for kind in ("testcaseresult", "attachmentcontent", "attachment"):
        batches = [one[kind] for one in sent if one[kind]]
        told(f"{sum(batches)} of {kind} in {len(batches)} batches")
        assert len(batches) <= sum(batches) / BATCH + FEW
    builds = len([one for one in entries if one.route.endswith("/testcaseresult")])
    assert builds <= PIPELINES / 25 + FEW
    assert len(entries) - len(sent) - builds <= FEW


def told(figures: str) -> None:
    """Print figures, for whoever looks at them (`pytest -s`)."""
    sys.stdout.write(f"{figures}\n")


class Figures:
    """How much memory the program takes, and how large its ledger grows."""

    def __init__(self, company: Company, begun: Sequence[Pass]) -> None:
        """Note how it is before the outage."""
        assert {one.exit_status for one in begun} == {0}
        self._company = company
        self._begun = begun[-1]
        self._before = self._measure()

    def ledger(self, when: str) -> None:
        """Print how much the ledger has grown, and see that it is bounded."""
        size, tests = self._measure()
        grown = (size - self._before[0]) / (tests - self._before[1])
        told(f"ledger: {grown:.0f} bytes for each test when all was {when}")
        assert grown <= PER_TEST

    def are_bounded(self, away: Sequence[Pass], back: Pass) -> None:
        """See that they are, and print them."""
        kib = {
            "before": self._begun.now_kib,
            "at the end of the outage": away[-1].now_kib,
            "after catching up": back.now_kib,
            "at most": back.peak_kib,
        }
        memory = ", ".join(f"{value / 1024:.1f} MiB {when}" for when, value in kib.items())
        told(f"{len(away)} passes, {PIPELINES} pipelines of {TESTS} tests; memory: {memory}")
        self.ledger("sent")
        assert away[-1].now_kib - self._begun.now_kib <= GROWTH_KIB
        assert back.peak_kib <= min(PEAK_KIB, self._begun.now_kib + 2 * GROWTH_KIB)

    def _measure(self) -> tuple[int, int]:
        """Give the bytes that are in use, and the tests."""
        with closing(open_for_reading(self._company.folder / "ledger.db")) as store:
            pages, size, free = (store.value(f"PRAGMA {one}") for one in ("page_count", "page_size", "freelist_count"))
            return (pages - free) * size, store.value("SELECT COUNT(*) FROM tests")
