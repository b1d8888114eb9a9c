"""A day of the daemon, poll by poll, with faults of all kinds: it grows by nothing and misses nothing.

The figures are printed: `pytest -s`.
"""

from __future__ import annotations

import random
import sys
from datetime import datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING

import pytest

from reconciler.sandbox.faults import Fault, Reset, Truncate, page, too_many, unavailable
from reconciler.sandbox.gitlab import START, FakeClock
from tests.company import junit
from tests.day import day

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.sandbox.gitlab import Pipeline
    from tests.company import Company
    from tests.day import Day, Holds

HOURS = 24
pytestmark = pytest.mark.timeout(900)
MINUTE = timedelta(minutes=1)
IDLE_KIB = 80 * 1024
"""DESIGN's bound for an idle daemon."""
GROWTH_KIB = 4 * 1024
"""From the first to the last hour: what SQLite's and the allocator's caches may still take."""
ACTIONS = (Reset("before"), Reset("after"), page(502), too_many(0), unavailable(0), Truncate(20))
PIPELINE_EVERY = 10
"""Minutes."""
FEW_THREADS = 4
"""One that made a request waits for the next for 10 s of the machine's; a leak in 1,750 jobs would be of many."""
QUIET = 20
"""The last minutes of a day, without faults."""


def _jobs(minute: int) -> Iterator[str]:
    yield "gitlab"
    if minute % 5 == 0:
        yield "rally"
    if minute % 60 == 0:
        yield "upkeep"
    if minute == 90:
        yield "sprint-sets"


class _Weather:
    """Lets requests fail at random, a few an hour, and both services be away now and then."""

    def __init__(self, company: Company) -> None:
        self._company = company
        self._dice = random.Random(20_260_131)  # noqa: S311 - dice, not a key

    def change(self, minute: int) -> None:
        """Choose the faults of the coming minute."""
        servers = self._company.gitlab.server, self._company.rally
        for server in servers:
            server.faults.clear()
        if minute >= HOURS * 60 - QUIET:
            return
        if minute % 60 in {20, 21, 22}:
            servers[minute // 60 % 2].faults.add(Fault(Reset("before"), times=None))
        elif self._dice.random() < 0.4:
            fault = Fault(self._dice.choice(ACTIONS), nth=self._dice.randint(1, 5), times=self._dice.randint(1, 3))
            self._dice.choice(servers).faults.add(fault)


def _live(company: Company, clock: FakeClock, process: Day) -> tuple[list[Pipeline], list[Holds]]:
    """Let the hours pass; the pipelines that finished, and what the process held after each minute."""
    weather, pipelines, held = _Weather(company), [], []
    for minute in range(HOURS * 60):
        clock.set(START + minute * MINUTE)
        if minute % PIPELINE_EVERY == 0 and minute < HOURS * 60 - QUIET:
            said = junit(f"a_TC{minute % 9 + 1}", f"b_TC{minute % 7 + 2}!", f"nobody_knows_{minute}")
            pipelines.append(company.pipeline({"unit": said}))
        weather.change(minute)
        held += [process.at(clock(), job) for job in _jobs(minute)]
    return pipelines, held


def test_a_day_with_faults_grows_by_nothing_and_misses_no_pipeline(company: Company) -> None:
    """Memory, threads and open files of the last hour are those of the first; everything is in Rally once."""
    clock = FakeClock()
    company.gitlab.store.clock = clock
    company.configure(rally={"settle_after_seconds": 0})
    with day(company) as process:
        pipelines, held = _live(company, clock, process)
    wanted = {(f"TC{minute % 9 + 1}", f"TC{minute % 7 + 2}") for minute in range(0, HOURS * 60, PIPELINE_EVERY)}
    for pipeline in pipelines:
        assert {key.partition("/")[0] for key in company.verdicts(pipeline)} in [set(pair) for pair in wanted]
    tests = company.status()["tests"]
    assert (tests["read"], tests["held"], tests["pending"]) == (3 * len(pipelines), len(pipelines), 0)
    assert sum(told.startswith("trouble") for one in held for told in one.told) >= HOURS // 2
    first, last = held[30:90], held[-60:]
    sys.stdout.write(
        f"\n{len(held)} jobs of {HOURS} h: {min(one.rss_kib for one in first)} KiB at first, "
        f"{max(one.rss_kib for one in last)} KiB in the end; threads {first[-1].threads} and {last[-1].threads}, "
        f"open files {first[-1].files} and {last[-1].files}\n"
    )
    assert max(one.rss_kib for one in last) < IDLE_KIB
    assert max(one.rss_kib for one in last) - min(one.rss_kib for one in first) < GROWTH_KIB
    assert max(one.threads for one in last) <= max(one.threads for one in first) + FEW_THREADS
    # a fault opens one more for a moment; one that stays moves the median
    assert median(one.files for one in last) <= median(one.files for one in first)


def test_the_last_word_of_a_day_is_of_that_day(company: Company) -> None:
    """The upkeep leaves one copy of the ledger, whatever its hour."""
    clock = FakeClock()
    company.gitlab.store.clock = clock
    company.configure(rally={"settle_after_seconds": 0})
    with day(company) as process:
        for hour in range(3):
            process.at(START + timedelta(hours=hour), "upkeep")
    copies = [path.name for path in company.folder.iterdir() if ".daily-" in path.name]
    assert copies == [f"ledger.db.daily-{datetime.fromisoformat(str(START)):%Y%m%d}"]
