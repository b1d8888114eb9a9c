"""A service is away for three days while pipelines go on finishing and their artifacts expire: nothing is lost.

`make test` lets fewer pipelines finish, and a pass be made each hour; `make soak` is the long form: 500 pipelines, and a
pass each minute. The figures are printed: `pytest -s`.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.ledger.store import open_for_reading
from reconciler.notes import read_key
from reconciler.sandbox.faults import Fault, Reset, page
from reconciler.sandbox.gitlab import START, FakeClock
from tests.company import case, marked, report
from tests.driven import driven

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reconciler.sandbox.gitlab import Job
    from reconciler.sandbox.messages import LogEntry
    from tests.company import Company
    from tests.driven import Driven, Pass

LONG = bool(os.environ.get("LONG_OUTAGE"))
PIPELINES, MINUTES = (500, 1) if LONG else (500, 60)
"""How many finish meanwhile, and how often a pass is made."""
BEFORE = 10
"""So many finished, and were sent, before the outage."""
TESTS = 4
AWAY = timedelta(days=3)
KEPT = timedelta(days=1)
"""How long GitLab keeps artifacts."""
SLOW_H = 7
"""Every seventh pipeline takes so many hours: it began before many that were done before it."""
CASES = [f"TC{n}" for n in range(1, 11)]
SHOT = b"\x89PNG\r\n\x1a\n"
MIB = 1024
BATCH, AT_ONCE = 50, 4


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
            now = min(until, self.clock() + timedelta(minutes=MINUTES))
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
    return Shop(company, clock)


# --- Rally -----------------------------------------------------------------------------------------------------------


def test_rally_away_for_three_days_loses_nothing_that_was_readable_when_it_finished(shop: Shop) -> None:
    """It refuses connections, then shows its maintenance page, then knows no key; the first request dies half-way."""
    company = shop.company
    with driven(company) as program:
        begun = last_of(shop.finish_between(START + timedelta(hours=3), BEFORE), program)
        assert (begun.exit_status, len(shop.results())) == (0, BEFORE * TESTS)
        grown = Ledger(company)

        company.rally.faults.add(Fault(Reset("after"), writes_only=True))
        passes = through(shop, program)
        assert {one.exit_status for one in passes} <= {1, 75}
        company.rally.log.clear()
        company.gitlab.server.log.clear()
        back = program.at(shop.clock())
        per_test = grown.bytes_per_test()
        again = program.at(shop.clock.advance(60))
        idle = program.at(shop.clock.advance(400))

    assert (back.exit_status, back.summary["left"]) == (0, 0)
    assert [one.summary["writes"] for one in (again, idle)] == [0, 0]
    holds_all(shop, shop.jobs)
    in_order(shop)
    files_are_there_or_said(shop)
    polite(company.rally.log.entries(), PIPELINES)
    told(f"Rally away for 3 days, {PIPELINES} pipelines, {len(passes)} passes", per_test, grown, begun, passes, back)


def through(shop: Shop, program: Driven) -> list[Pass]:
    """Let three days go by: Rally cannot be reached for one, then it is in maintenance, and knows no key in the end."""
    company, began = shop.company, shop.clock()
    kinds = {
        timedelta(): company.rally.refusing,
        timedelta(days=1): lambda: fault(company, 502),
        AWAY - timedelta(hours=3): lambda: fault(company, 401),
    }
    passes: list[Pass] = []
    with ExitStack() as stack:
        for now in shop.finish_between(began + AWAY, PIPELINES):
            due = [since for since in kinds if passes and since < now - began]
            for since in due:
                stack.close()
                stack.enter_context(kinds.pop(since)())
            passes.append(program.at(now))
    return passes


def fault(company: Company, status: int) -> Any:  # noqa: ANN401 - a context that ExitStack takes
    """Answer everything with a page of this status, until closed."""
    stack = ExitStack()
    one = company.rally.faults.maintenance(status)
    stack.callback(company.rally.faults.remove, one)
    return stack


def last_of(moments: Iterator[datetime], program: Driven) -> Pass:
    """Make all passes; what the last one came to."""
    return [program.at(moment) for moment in moments][-1]


def holds_all(shop: Shop, jobs: Sequence[Job]) -> None:
    """See that each result of these jobs is there, once, with verdict and date; and nothing else."""
    found = {key: (str(one["Verdict"]), str(one["Date"])) for key, one in shop.results().items()}
    assert found == shop.wanted(jobs)


def in_order(shop: Shop) -> None:
    """See that the results of each test case came to Rally in the order of their dates."""
    dates: dict[str, list[str]] = defaultdict(list)
    for one in shop.results().values():
        dates[one["FormattedID"]].append(one["Date"])
    late = {name: sum(a > b for a, b in pairwise(came)) for name, came in dates.items()}
    assert late == dict.fromkeys(CASES, 0)


def files_are_there_or_said(shop: Shop) -> None:
    """See that each output is attached; a picture that expired meanwhile is told with the day, in a text and a link."""
    results, now = shop.results(), shop.clock()
    counted: Counter[str] = Counter()
    for number, job in enumerate(shop.jobs):
        one = results[f"{shop.company.project.id}/{job.pipeline.id}/{CASES[number % len(CASES)]}/1"]
        files = {str(file["Name"]): file["Content"] for file in one["Attachments"]}
        assert len(files) == len(one["Attachments"])
        assert f"run {number}\n".encode() in files.pop("test_output.log")
        assert f"/jobs/{job.id}/artifacts/file/shot.png" in one["Notes"]
        if "shot.png" in files:
            counted["there"] += 1
            assert files == {"shot.png": SHOT + str(number).encode()}
        else:
            counted["gone"] += 1
            assert shop.is_gone(job, now)
            assert f"expired on {job.expire_at:%Y-%m-%d}" in files["not attached.txt"].decode()
    status = shop.company.status()
    assert status["attachments"]["missing"] == counted["gone"]
    assert status["attachments"]["done"] == counted["there"] + len(shop.jobs)
    assert {problem["kind"] for problem in status["problems"]} == {"expired"}


def polite(entries: Sequence[LogEntry], pipelines: int) -> None:
    """See that Rally was asked seldom and by few at once."""
    results = [one for one in entries if one.is_write]
    edges = sorted([(one.started, 1) for one in entries] + [(one.ended or one.started, -1) for one in entries])
    now = most = 0
    for _, change in edges:
        now += change
        most = max(most, now)
    assert most <= AT_ONCE
    print(len(entries), len(results), most, Counter((e.method, e.route) for e in entries))


class Ledger:
    """How large the ledger is, and how it has grown."""

    def __init__(self, company: Company) -> None:
        """Note how large it is now."""
        self._company = company
        self.bytes_before, self.tests_before = self._measure()

    def _measure(self) -> tuple[int, int]:
        with closing(open_for_reading(self._company.folder / "ledger.db")) as store:
            pages, size, free = (store.value(f"PRAGMA {one}") for one in ("page_count", "page_size", "freelist_count"))
            return (pages - free) * size, store.value("SELECT COUNT(*) FROM tests")

    def bytes_per_test(self) -> float:
        """Tell by how much each test that was read since has made it grow."""
        size, tests = self._measure()
        return (size - self.bytes_before) / (tests - self.tests_before)


def told(what: str, per_test: float, grown: Ledger, begun: Pass, passes: Sequence[Pass], back: Pass) -> None:
    """Print the figures, and see that they are bounded."""
    print(
        f"\n{what}: ledger {per_test:.0f} bytes a test; memory {begun.now_kib / MIB:.1f} MiB before, "
        f"{passes[-1].now_kib / MIB:.1f} at the end, peak {passes[-1].peak_kib / MIB:.1f}, "
        f"after catching up {back.now_kib / MIB:.1f}, peak {back.peak_kib / MIB:.1f}"
    )
