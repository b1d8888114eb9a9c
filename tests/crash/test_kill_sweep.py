"""Killed at any write, before or after it was stored: one more run, and everything is there once, all of it.

`make crash` kills at every write, `make test` at some of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest

from tests.archives import noise, packed
from tests.company import case, junit, marked, report
from tests.crash.sweeping import EVERY, forget, killed_at_write, sweep

if TYPE_CHECKING:
    from reconciler.sandbox.faults import When
    from reconciler.sandbox.gitlab import Pipeline
    from tests.company import Company

pytestmark = pytest.mark.timeout(7_200 if EVERY else 600)
STEP, SPRINT_STEP = (1, 1) if EVERY else (4, 6)
RESULTS = 9
BATCH = 3
PNG = b"\x89PNG\r\n\x1a\n"
TWINS = [("a.png", PNG + b"1"), ("a.png", PNG + b"2")]
LARGE = ("large.log", noise(900_000))
LOG = "test_output.log"
FILES = {
    "TC1/1": [*TWINS, LARGE, (LOG, b"")],
    "TC2/1": [TWINS[0], (LOG, b"")],
    "TC3/1": [TWINS[1]],
}
"""What results are to have; the text of an output is not compared."""
SPRINT = {"Checkout": ["TC20", "TC21", "TC22"], "Payments": ["TC30"]}
SET = "Sprint-42-Automated-Tests"


def configure(company: Company, batch_size: int, at_once: int) -> None:
    """Let doubts be asked about at once."""
    company.configure(rally={"settle_after_seconds": 0, "batch_size": batch_size, "max_concurrency": at_once})


@pytest.fixture
def killed(company: Company) -> Company:
    """Prepare two pipelines whose results need several writes."""
    configure(company, BATCH, 2)
    company.pipeline({"unit": junit(*(f"t{n}_TC{n}" for n in range(1, RESULTS + 1)))})
    company.pipeline({"unit": junit(*(f"t{n}_TC{n}" for n in range(1, RESULTS + 1)))})
    return company


@pytest.fixture
def filed(company: Company) -> Pipeline:
    """Prepare a pipeline whose results have files, two of one name and size among them and one too large to batch."""
    archive = packed([("1/a.png", TWINS[0][1]), ("2/a.png", TWINS[1][1]), LARGE])
    tests = [
        case("checkout_TC1!", marked("1/a.png", "2/a.png", "large.log")),
        case("login_TC2!!", "what it printed" + marked("1/a.png")),
        case("pay_TC3", marked("2/a.png")),
    ]
    return company.ran(report(*tests), archive).pipeline


@pytest.fixture
def sprint(company: Company) -> Company:
    """Prepare two projects that share a sprint, with results to come, at a Rally that takes no member twice."""
    company.configure(
        rally={"settle_after_seconds": 0, "batch_size": 2, "max_concurrency": 2}, sprints={"test_folder": "move"}
    )
    company.rally_app.behaviour.adds_again = False
    for project, cases in SPRINT.items():
        company.story(company.sprint(project=company.child(project)), *cases)
    company.pipeline({"unit": junit("a_TC20", "b_TC21", "c_TC22", "d_TC30")})
    return company


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_at_any_write_loses_nothing_and_doubles_nothing(killed: Company, when: When) -> None:
    """Write n = 1, 2, 3 … until n is past the last one; each time from an empty Rally and an empty ledger."""

    def check() -> None:
        assert killed.once()["left"] == 0
        assert len(killed.results()) == 2 * RESULTS
        assert killed.status()["entries"] == {"intended": 0, "done": 2 * RESULTS, "refused": 0}
        assert killed.once()["writes"] == 0

    run = killed_at_write(killed, when)
    assert sweep(killed, run, check, first=1 + (when == "after"), step=STEP) > 2 * RESULTS // BATCH


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("ledger", ["kept", "lost"])
def test_a_kill_at_any_write_of_files_loses_none_and_doubles_none(
    company: Company, filed: Pipeline, when: When, ledger: Literal["kept", "lost"]
) -> None:
    """Contents and Attachments are writes, too; contents may be left over. The same when the ledger is lost with it."""
    configure(company, 2, 2)

    def check() -> None:
        if ledger == "lost":
            forget(company)
        assert company.once()["left"] == 0
        is_complete(company, filed)

    first = 1 + (when == "after") + 2 * (ledger == "lost")
    assert sweep(company, killed_at_write(company, when), check, first=first, step=STEP) > 8


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("ledger", ["kept", "lost"])
def test_a_kill_at_any_write_of_a_sprint_leaves_one_set_for_each_and_everyone_in_it_once(
    sprint: Company, when: When, ledger: Literal["kept", "lost"]
) -> None:
    """Sets, members, folders and moves are writes, too; results carry their set. The same when the ledger is lost."""

    def check() -> None:
        if ledger == "lost":
            forget(sprint)
        assert sprint.once()["left"] == 0
        is_filled(sprint)

    first = 1 + (when == "after") + 2 * (ledger == "lost")
    assert sweep(sprint, killed_at_write(sprint, when), check, first=first, step=SPRINT_STEP) > 10


def test_kills_over_and_over_only_delay_a_sprint(sprint: Company) -> None:
    """At the third write of each run, whatever kind it is of."""
    runs = next(n for n in range(1, 20) if not killed_at_write(sprint, "after")(3))

    assert runs > 3
    assert sprint.once()["left"] == 0
    is_filled(sprint)


def test_kills_over_and_over_only_delay(company: Company, filed: Pipeline) -> None:
    """At the second write of each run: one gets through each time, and some run has nothing left to be killed at."""
    configure(company, 50, 1)

    runs = next(n for n in range(1, 20) if not killed_at_write(company, "after")(2))

    assert runs > 3
    assert company.once()["left"] == 0
    is_complete(company, filed)


def is_complete(company: Company, pipeline: Pipeline) -> None:
    """See that each result and each file is there once, by name and content, and that nothing is pending."""
    found = company.attachments(pipeline)
    assert company.verdicts(pipeline) == {"TC1/1": "Fail", "TC2/1": "Error", "TC3/1": "Pass"}
    assert {key: [(n, b"" if n == LOG else data) for n, data in files] for key, files in found.items()} == FILES
    status = company.status()
    assert status["entries"] == {"intended": 0, "done": 3, "refused": 0}
    assert (status["attachments"]["pending"], status["attachments"]["done"]) == (0, 7)


def is_filled(company: Company) -> None:
    """See that each sprint has one set and one folder, with everyone in it, and each result once, with its set."""
    assert company.sets() == {f"{project}/{SET}": cases for project, cases in SPRINT.items()}
    for project, cases in SPRINT.items():
        (place,) = company.rally_store.find("Project", Name=project)
        folder = {"test_cases": cases, "folders": {}}
        assert company.rally_store.folders(place) == {
            "Automated sprints": {"test_cases": [], "folders": {"Sprint-42": folder}}
        }
        assert [company.set_of(case) for case in cases] == [[f"{project}/{SET}"]] * len(cases)
    assert len(company.results()) == 4
    told = {row["project"]: (row["members"], row["coverage"], row["doubles"]) for row in company.status()["sprints"]}
    assert told == {project: (len(cases), 100.0, []) for project, cases in SPRINT.items()}
    assert company.once()["writes"] == 0
