"""Over HTTP, with the bound that the config has by itself: what comes late is found, and nobody asks too early."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest

from reconciler.sandbox.faults import Fault
from reconciler.sandbox.gitlab import START, FakeClock
from tests.company import case, marked, report
from tests.driven import driven

if TYPE_CHECKING:
    from reconciler.sandbox.faults import Exchange
    from tests.company import Company

SETTLED_S, CUT_S = 330, 300
"""`rally.settle_after_seconds` as it is by default, and after how long Rally cuts a request (KB 125586)."""
KINDS = {
    "results": ("/batch$", '"Path":"/testcaseresult/create"', "/testcaseresult$"),
    "attachments": ("/batch$", '"Path":"/attachment/create"', "/Attachments$"),
    "test set": ("/testset/create$", "", ""),
    "members": (r"/testset/\d+/TestCases/add$", "", ""),
}
"""Which request is alive, and by which Rally is asked about it."""


@dataclass
class Alive:
    """Cut the client off, and do what it asked when told, or never."""

    go: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    lands: bool = True

    def __call__(self, exchange: Exchange) -> None:
        """Carry out the fault."""
        exchange.reset()
        assert self.go.wait(60)
        if self.lands:
            exchange.run()
        self.ended.set()

    def end(self) -> None:
        """Let it land, or be cut by Rally."""
        self.go.set()
        assert self.ended.wait(60)


@pytest.mark.parametrize(("kind", "lands"), [*((kind, True) for kind in KINDS), ("results", False)])
def test_a_request_that_is_alive_is_not_doubled(company: Company, kind: str, lands: bool) -> None:  # noqa: FBT001 - a parameter
    """It lands, or is cut, at the last moment at which it can; from then on passes are made until nothing is left."""
    clock = company.gitlab.store.clock = company.rally_store.clock = FakeClock()
    company.configure()
    sprint = company.rally_store.add_iteration(company.root, "Sprint 42", date(2026, 11, 20), date(2026, 11, 30))
    company.story(sprint, "TC1", "TC2")
    pipeline = company.ran(report(case("pay_TC1!", marked("a.log")), case("look_TC2")), {"a.log": b"x"}).pipeline
    path, body, question = KINDS[kind]
    alive = Alive(lands=lands)
    fault = company.rally.faults.add(Fault(alive, method="POST", path=path, body=body))

    with driven(company) as program:
        assert (program.at(clock()).exit_status, fault.hits) == (75, 1)
        company.rally.log.clear()
        for seconds in (1, 120, CUT_S):
            assert program.at(START + timedelta(seconds=seconds)).exit_status == 75
        assert not question or company.rally.log.entries("GET", question) == []
        assert company.rally.log.writes() == []
        alive.end()
        clock.set(START + timedelta(seconds=SETTLED_S))
        passes = [program.at(clock.advance(seconds)) for seconds in (0, 1, SETTLED_S, SETTLED_S)]

    assert [one.exit_status for one in passes][-1] == 0
    assert passes[-1].summary["writes"] == 0
    assert company.sets() == {"Web Shop/Sprint-42-Automated-Tests": ["TC1", "TC2"]}
    assert company.verdicts(pipeline) == {"TC1/1": "Fail", "TC2/1": "Pass"}
    assert company.names(pipeline) == {"TC1/1": ["a.log", "test_output.log"], "TC2/1": []}
    assert [company.set_of(name) for name in ("TC1", "TC2")] == [["Web Shop/Sprint-42-Automated-Tests"]] * 2
