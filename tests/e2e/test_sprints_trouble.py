"""Whatever Rally does to the requests about sprints, and whoever else is at it: one set each, and each member once."""

from __future__ import annotations

import subprocess
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.sandbox.faults import Fault, LateLanding, Reset, Stall, page, too_many, unavailable
from tests.company import junit

if TYPE_CHECKING:
    from reconciler.sandbox.faults import Action, Exchange
    from reconciler.sandbox.rally import Thing
    from tests.company import Company

NAME = "Sprint-42-Automated-Tests"
CASES = {"Checkout": ["TC20", "TC21"], "Payments": ["TC30"]}
SETS = {f"{project}/{NAME}": cases for project, cases in CASES.items()}
CREATES = {"set": "/testset/create$", "members": "/TestCases/add$", "folder": "/testfolder/create$"}
STALL_S, TIMEOUT_S, SETTLE_S = 3, 2, 4
"""For how long a request stalls, is waited for, and is left alone: longer than it can live on."""

FAULTS: dict[str, Action] = {
    "reset before": Reset("before"),
    "reset after": Reset("after"),
    "late landing": LateLanding(0.5),
    "stall": Stall(STALL_S, "before"),
    "html 200 before": page(200),
    "html 200 after": page(200, when="after"),
    "429": too_many(0),
    "503 after": unavailable(when="after"),
}


@pytest.fixture
def shop(company: Company) -> Company:
    """Give a strict Rally with two child projects that share a sprint, with results and folders to come."""
    company.rally_app.behaviour.foreign_members = False
    company.rally_app.behaviour.adds_again = False
    for project, cases in CASES.items():
        company.story(company.sprint(project=company.child(project)), *cases)
    company.pipeline({"unit": junit("a_TC20", "b_TC21!", "c_TC30")})
    configure(company)
    return company


def configure(company: Company, **rally: object) -> None:
    """File test cases in folders, and ask about doubts at once unless told."""
    company.configure(rally={"settle_after_seconds": 0} | rally, sprints={"test_folder": "move"})


def checkout_set(company: Company) -> Thing:
    """Find the set of one of the projects; which one was made first, nobody knows."""
    (project,) = company.rally_store.find("Project", Name="Checkout")
    return company.rally_store.find("TestSet", Project=project.oid)[0]


def holds(company: Company) -> None:
    """See that everything is there once, and that nothing is left to do."""
    assert company.sets() == SETS
    for project, cases in CASES.items():
        folder = {"test_cases": cases, "folders": {}}
        (place,) = company.rally_store.find("Project", Name=project)
        assert company.rally_store.folders(place) == {
            "Automated sprints": {"test_cases": [], "folders": {"Sprint-42": folder}}
        }
        assert [company.set_of(case) for case in cases] == [[f"{project}/{NAME}"]] * len(cases)
    assert len(company.results()) == 3
    assert company.once()["writes"] == 0


def run_until_done(company: Company, most: int) -> list[int]:
    """Run as often as it takes, with time between for doubts to grow old; the exit statuses."""
    statuses = []
    for _ in range(most):
        statuses.append(company.run("--once").status)
        if statuses[-1] == 0:
            return statuses
        time.sleep(company.settings["rally"]["settle_after_seconds"])
    pytest.fail(f"something is left after {statuses}")


@pytest.mark.parametrize("action", FAULTS.values(), ids=FAULTS)
def test_after_some_more_runs_everything_is_there_once(shop: Company, action: Action) -> None:
    """Whether the request was carried out, later or not at all; the other project is not held up."""
    lives_on = isinstance(action, LateLanding | Stall)
    impatient = {"request_timeout_seconds": TIMEOUT_S} if isinstance(action, Stall) else {}
    configure(shop, settle_after_seconds=SETTLE_S * lives_on, **impatient)
    faults = [shop.rally.faults.add(Fault(action, path=path)) for path in CREATES.values()]

    statuses = run_until_done(shop, 4)

    assert [fault.hits for fault in faults] == [1, 1, 1]
    assert {*statuses[:-1]} <= {75}
    holds(shop)


def test_a_set_whose_look_up_waits_is_status_75_and_so_is_its_result(shop: Company) -> None:
    """The intent may still be alive on the wire: nothing is asked, nothing is made; the other project is filled."""
    configure(shop, settle_after_seconds=3600)
    shop.rally.faults.add(Fault(Reset("before"), path=CREATES["set"]))
    assert shop.run("--once").status == 75
    (made,) = shop.sets()
    before = shop.writes()

    ran = shop.run("--json", "--sprint-sets")

    assert (ran.status, ran.json["left"], shop.writes()) == (75, 1, before)
    assert shop.run("--once").status == 75
    assert len(shop.results()) == len(SETS[made])
    (row,) = [one for one in shop.status()["sprints"] if one["state"] == "intended"]
    assert row["object_id"] is None
    assert f"{row['project']}: test set {NAME}: intended\n" in shop.run("status").out
    configure(shop)
    assert run_until_done(shop, 2)[-1] == 0
    holds(shop)


def test_a_conflict_with_another_writer_is_sent_again_in_the_same_pass(shop: Company) -> None:
    """A plain No for this moment: of members, folders and moves."""
    shop.run("--sprint-sets", RECONCILER_SPRINTS__TEST_FOLDER="off")
    checkout = checkout_set(shop)
    story = shop.rally_store.find("HierarchicalRequirement")[0]
    more = shop.rally_store.add_test_case(shop.rally_store.one(story.fields["Project"]), "", "TC22", work_product=story)
    shop.rally_app.mishaps.conflict(checkout, times=2)
    shop.rally_app.mishaps.conflict(more, times=1)

    told = shop.once()

    assert (told["members_added"], told["left"]) == (1, 0)
    shop.rally_store.expel(checkout, more)
    shop.rally_store.change(more, TestFolder=None)
    holds(shop)


def test_results_of_one_set_may_be_in_each_others_way(shop: Company) -> None:
    """Should they, they are sent again in the same pass."""
    configure(shop, batch_size=1, max_concurrency=8)
    shop.rally_app.behaviour.results_change_sets = True
    shop.rally.time_model.request_s = 0.02

    ran = shop.run("--once")

    assert ran.status == 0
    holds(shop)


def test_a_result_that_rally_does_not_take_with_its_set_goes_without(shop: Company) -> None:
    """Somebody took the test case out of the set; it is not put in again, and status says so."""
    shop.run("--sprint-sets")
    checkout = checkout_set(shop)
    shop.rally_store.expel(checkout, shop.cases["TC20"])

    ran = shop.run("--json", "--once")

    assert (ran.status, ran.json["results_sent"], ran.json["refused"]) == (0, 3, 0)
    assert [shop.set_of(case) for case in ("TC20", "TC21")] == [[""], [f"Checkout/{NAME}"]]
    assert "Could not set value for Test Set" in shop.run("status").out
    assert shop.once()["writes"] == 0


# --- two ledgers -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Together:
    """Answer none of some requests before all have been carried out; there are two unless told."""

    gate: threading.Barrier = field(default_factory=lambda: threading.Barrier(2, timeout=40))

    def __call__(self, exchange: Exchange) -> None:
        """Carry out the fault."""
        response = exchange.run()
        self.gate.wait()
        exchange.send(response)


OURS, THEIRS = ({"RECONCILER_LEDGER__PATH": f"{name}.db"} for name in ("ours", "theirs"))


def race(company: Company) -> None:
    """Start a run on each of two ledgers at once."""
    command = company.command("--sprint-sets")
    running = [
        subprocess.Popen(
            command,
            env=company.environment(**ledger),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for ledger in (OURS, THEIRS)
    ]
    for process in running:
        _, said = process.communicate(timeout=60)
        assert (process.returncode, "Traceback" in said) == (0, False), said


def row_of(company: Company, iteration: Thing, ledger: dict[str, str]) -> dict[str, Any]:
    """Give what the status of a ledger tells of a sprint."""
    (row,) = [
        one for one in company.run("--json", "status", **ledger).json["sprints"] if one["iteration"] == iteration.name
    ]
    found: dict[str, Any] = row
    return found


@pytest.mark.parametrize("where", ["at the look-up", "at the members", "anywhere"])
def test_two_runs_at_once_on_two_ledgers_agree_on_the_oldest_set_in_the_next_pass(company: Company, where: str) -> None:
    """No member is lost, the second set is said by both and left alone, and results carry the first."""
    company.rally.time_model.request_s = 0.02
    company.rally_app.behaviour.adds_again = False
    sprint = company.sprint()
    company.story(sprint, *(f"TC{n}" for n in range(1, 6)))
    if where == "at the members":
        company.rally_store.add_test_set(company.root, NAME, sprint, company.cases["TC9"])
    gates = {"at the look-up": r"/testset$", "at the members": r"/testset/\d+/TestCases$"}
    if where in gates:
        company.rally.faults.add(Fault(Together(), method="GET", path=gates[where], times=2))

    race(company)

    sets = company.rally_store.find("TestSet")
    assert len(sets) == {"at the look-up": 2, "at the members": 1}.get(where, len(sets))
    company.story(sprint, "TC6")
    company.pipeline({"unit": junit("a_TC1", "b_TC6")})
    assert [company.run("--once", **ledger).status for ledger in (OURS, THEIRS)] == [0, 0]
    rows = [row_of(company, sprint, ledger) for ledger in (OURS, THEIRS)]
    oldest, *others = company.rally_store.find("TestSet")
    assert len(others) == len(sets) - 1
    assert {f"TC{n}" for n in range(1, 7)} <= {*company.rally_store.members(oldest)}
    assert [row["object_id"] for row in rows] == [oldest.oid] * 2
    assert [row["doubles"] for row in rows] == [[other.oid for other in others]] * 2
    assert [row["members"] for row in rows] == [len(company.rally_store.members(oldest))] * 2
    assert [row["results"] for row in rows] == [{"Pass": 2}] * 2
    assert len(company.results()) == 2
    assert {result.get("TestSet") for result in company.rally_store.results()} == {oldest.oid}
