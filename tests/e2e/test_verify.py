"""`reconciler verify` at the command line: what it prints, what it costs, and that a repair doubles nothing."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.ledger.ledger import open_ledger
from reconciler.model import Build, FormattedID, FoundResult, Key, ObjectID, Project, ProjectId, TestCase
from reconciler.notes import read_key
from reconciler.sandbox.faults import Fault, Reset, page
from tests import building
from tests.archives import packed
from tests.company import Ran, case, junit, marked, report
from tests.crash.sweeping import EVERY, killed_at_write
from tests.e2e.test_daemon import daemon, eventually
from tests.fakes import START

if TYPE_CHECKING:
    from reconciler.sandbox.faults import Action, When
    from reconciler.sandbox.gitlab import Pipeline
    from reconciler.sandbox.rally import Thing
    from tests.company import Company

STEP = 1 if EVERY else 4
HASTY = "from reconciler import cli; from reconciler.cli import building; building.PATIENCE_S = 0.5; cli.main()"
"""Runs the command line with little patience for servers that are down."""
KINDS = ("missing", "altered", "foreign", "doubled")


def thing(company: Company, said: str) -> Thing:
    """Find the one result with this test case and revision: `TC1/1`."""
    (found,) = [
        one
        for one in company.rally_store.find("TestCaseResult")
        if str(read_key(str(one.fields["Notes"]))).endswith(f"/{said}")
    ]
    return found


def verify(company: Company, *words: str) -> tuple[int, dict[str, Any]]:
    """Verify; status, and what was found without what is empty."""
    ran = company.run("verify", "--json", *words)
    assert set(ran.json) >= {"checked", *KINDS}
    return ran.status, {kind: value for kind, value in ran.json.items() if value and kind != "details"}


def lines(ran: Ran) -> list[str]:
    """Give the lines on standard error that are no log lines."""
    return [line for line in ran.err.splitlines() if not re.match(r"\d{4}-\d\d-\d\dT", line)]


# --- looking ---------------------------------------------------------------------------------------------------------


def test_verify_tells_what_is_missing_altered_foreign_and_doubled(company: Company) -> None:
    """Status 1 and the keys; without --json in words, with the reasons and what to do. It writes nothing."""
    pipeline = company.pipeline({"unit": junit("a_TC1", "b_TC2!", "c_TC3", "d_TC4")})
    company.once()
    key = f"{company.project.id}/{pipeline.id}/"
    assert verify(company) == (0, {"checked": 4})
    assert company.run("verify").out == (
        "4 results compared with Rally.\nRally has them all, once, as the ledger has them.\n"
    )

    store, writes = company.rally_store, company.writes()
    store.delete(thing(company, "TC1/1"))
    store.change(thing(company, "TC2/1"), Verdict="Pass")
    store.change(thing(company, "TC3/1"), Notes="<p>fine</p>")
    store.add_result(company.cases["TC4"], f"GitLab-{pipeline.id}", Notes=thing(company, "TC4/1").fields["Notes"])
    other = store.add_result(company.cases["TC5"], f"GitLab-{pipeline.id}", "Fail")

    assert verify(company) == (
        1,
        {
            "checked": 4,
            "missing": [f"{key}TC1/1"],
            "altered": [f"{key}TC2/1", f"{key}TC3/1"],
            "foreign": [f"GitLab-{pipeline.id}/ObjectID {other.oid}"],
            "doubled": [f"{key}TC4/1"],
        },
    )
    said = company.run("verify").out
    assert f"\nAltered in Rally (2)\n    {key}TC2/1: Verdict is Pass, not Fail\n" in said
    assert "\n`reconciler verify --repair` makes again what is missing.\n" in said
    assert company.writes() == writes

    status, told = verify(company, "--since", "2999-01-01")
    assert (status, told) == (0, {})
    assert company.run("verify", "--since", "yesterday").status == 2


def test_foreign_results_alone_are_nothing_wrong(company: Company) -> None:
    """People and other tools may use our Builds."""
    pipeline = company.pipeline({"unit": junit("a_TC1")})
    company.once()
    company.rally_store.add_result(company.cases["TC1"], f"GitLab-{pipeline.id}")
    status, told = verify(company)
    assert (status, list(told)) == (0, ["checked", "foreign"])


def test_before_the_first_pass_there_is_nothing_to_compare(company: Company) -> None:
    """No ledger is made, and Rally is not asked."""
    assert verify(company) == (0, {})
    assert [file.name for file in company.folder.iterdir()] == ["config.toml"]
    assert not list(company.rally.log)


@pytest.mark.parametrize("words", [(), ("--repair",)], ids=["look", "repair"])
def test_rally_away_is_status_75_and_one_line(company: Company, words: tuple[str, ...]) -> None:
    """Nothing is called missing; nothing is printed as a result."""
    company.pipeline({"unit": junit("a_TC1")})
    company.once()
    line = company.command("verify", "--json", *words)[3:]
    company.rally.faults.add(Fault(page(502), times=None))
    done = subprocess.run(
        [sys.executable, "-c", HASTY, *line], capture_output=True, text=True, check=False, env=company.environment()
    )
    ran = Ran(done.returncode, done.stdout, done.stderr)
    assert (ran.status, ran.out, len(lines(ran))) == (75, "", 1)
    assert lines(ran)[0].startswith("Rally: ")


def test_a_key_that_rally_does_not_take_is_status_1_and_one_line(company: Company) -> None:
    """As in a pass."""
    company.pipeline({"unit": junit("a_TC1")})
    company.once()
    ran = company.run("verify", RALLY_API_KEY="_wrong-wrong-wrong")
    assert (ran.status, ran.out, len(lines(ran))) == (1, "", 1)


def test_sixty_builds_cost_three_questions(company: Company) -> None:
    """25 Builds each; beside them only what the first contact asks, which every command does."""
    for _ in range(60):
        company.pipeline({"unit": junit("a_TC1", "b_TC2")})
    company.once()
    company.rally.log.clear()
    assert verify(company) == (0, {"checked": 120})
    asked = company.rally.log.entries("", "/testcaseresult$")
    assert len(asked) == 3
    assert not [entry for entry in company.rally.log if entry.is_write]
    contact = len(list(company.rally.log)) - len(asked)

    company.rally_store.delete(company.rally_store.find("TestCaseResult")[7])
    company.rally.log.clear()
    assert verify(company)[0] == 1
    assert len(list(company.rally.log)) == contact + 4


def test_without_repair_it_works_beside_a_running_daemon(company: Company) -> None:
    """It needs no lock; with --repair it is told who has it."""
    company.pipeline({"unit": junit("a_TC1")})
    with daemon(company) as process:
        assert eventually(lambda: company.results() != {})
        assert verify(company) == (0, {"checked": 1})
        company.pipeline({"unit": junit("a_TC1!", "b_TC2")})
        status, told = verify(company)
        assert (status, list(told)) == (0, ["checked"])
        ran = company.run("verify", "--repair")
        assert (ran.status, f"pid {process.pid}" in ran.err) == (75, True)
        assert eventually(lambda: verify(company) == (0, {"checked": 3}))
    assert verify(company) == (0, {"checked": 3})


# --- repairing -------------------------------------------------------------------------------------------------------


@pytest.fixture
def filed(company: Company) -> Pipeline:
    """Send results with files, two of one name and size, and one without; each request carries two things."""
    company.configure(rally={"settle_after_seconds": 0, "batch_size": 2, "max_concurrency": 2})
    archive = packed([("1/a.png", b"png 1"), ("2/a.png", b"png 2"), ("b.log", b"log")])
    tests = [
        case("checkout_TC1!", marked("1/a.png", "2/a.png")),
        case("login_TC2!!", "what it printed" + marked("b.log")),
        case("pay_TC3", marked("2/a.png")),
        case("ship_TC4"),
    ]
    pipeline = company.ran(report(*tests), archive).pipeline
    company.once()
    return pipeline


def state(company: Company) -> list[Any]:
    """Tell what Rally holds of results and their files: everything but the ObjectIDs and the times of making."""
    left_out = {"ObjectID", "CreationDate", "LastUpdateDate", "Attachments", "VersionId", "ObjectUUID"}
    return sorted(
        (
            str(sorted((name, str(value)) for name, value in one.items() if name not in left_out)),
            sorted((str(file["Name"]), str(file["Content"])) for file in one["Attachments"]),  # type: ignore[attr-defined] # the store gives objects
        )
        for one in company.rally_store.results()
    )


def delete_all_but(company: Company, kept: str) -> None:
    """Let a person delete all results but one."""
    keeper = thing(company, kept)
    for one in company.rally_store.find("TestCaseResult"):
        if one.oid != keeper.oid:
            company.rally_store.delete(one)
    for one in company.rally_store.find("Attachment"):
        if company.rally_store.get(one.fields["TestCaseResult"]) is None:
            company.rally_store.delete(one)


def test_repair_makes_again_what_is_missing_with_its_files(company: Company, filed: Pipeline) -> None:
    """The same in every attribute, Notes and files included; the second repair has nothing to do."""
    before = state(company)
    delete_all_but(company, "TC2/1")
    key = f"{company.project.id}/{filed.id}"
    again = [f"{key}/TC{n}/1" for n in (1, 3, 4)]
    assert verify(company) == (1, {"checked": 4, "missing": again})

    assert verify(company, "--repair") == (0, {"checked": 4, "repaired": again})

    assert state(company) == before
    writes = company.writes()
    assert verify(company, "--repair") == (0, {"checked": 4})
    assert company.once()["writes"] == 0
    assert company.writes() == writes
    assert company.status()["attachments"]["done"] == 6


def test_repair_touches_nothing_else(company: Company) -> None:
    """What is altered, foreign or doubled stays so, and the status says it."""
    pipeline = company.pipeline({"unit": junit("a_TC1", "b_TC2", "c_TC3")})
    company.once()
    store = company.rally_store
    store.change(thing(company, "TC1/1"), Verdict="Blocked", Notes="<p>lost</p>")
    store.add_result(company.cases["TC2"], f"GitLab-{pipeline.id}", Notes=thing(company, "TC2/1").fields["Notes"])
    store.delete(thing(company, "TC3/1"))
    before = state(company)

    status, told = verify(company, "--repair")

    assert (status, list(told)) == (1, ["checked", "altered", "doubled", "repaired"])
    assert all(one in state(company) for one in before)
    assert len(state(company)) == len(before) + 1


def test_a_test_case_that_was_deleted_is_refused_and_said(company: Company) -> None:
    """In words and in JSON; the results of the others are made."""
    company.pipeline({"unit": junit("a_TC1", "b_TC2")})
    company.once()
    company.rally_store.delete(company.cases["TC1"])
    company.rally_store.delete(thing(company, "TC2/1"))
    ran = company.run("verify", "--repair")
    assert ran.status == 0
    assert "Refused by Rally when they were made again (1)\n" in ran.out
    assert "1 result made again." in ran.out
    assert "Rally has them all" not in ran.out
    assert verify(company, "--repair") == (0, {"checked": 1})


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_at_any_write_of_a_repair_doubles_nothing(company: Company, filed: Pipeline, when: When) -> None:
    """Results, contents and Attachments: the next pass makes the rest, without being asked for it again."""
    before = state(company)
    repair = killed_at_write(company, when, "verify", "--repair")
    nth, struck = 1 + (when == "after" and not EVERY), True
    while struck:
        delete_all_but(company, "TC4/1")
        struck = repair(nth)
        assert company.once()["left"] == 0
        assert state(company) == before
        assert verify(company) == (0, {"checked": 4})
        nth += STEP
    assert nth > 5
    assert company.verdicts(filed).keys() == {"TC1/1", "TC2/1", "TC3/1", "TC4/1"}


@pytest.mark.parametrize("action", [Reset("before"), Reset("after")], ids=["not done", "done"])
def test_a_repair_without_an_answer_is_in_doubt_and_asked_about(company: Company, action: Action) -> None:
    """Status 75, and after the next repair it is there exactly once."""
    company.pipeline({"unit": junit("a_TC1", "b_TC2!")})
    company.once()
    before = state(company)
    for said in ("TC1/1", "TC2/1"):
        company.rally_store.delete(thing(company, said))
    company.rally.faults.add(Fault(action, writes_only=True))
    ran = company.run("verify", "--repair", "--json")
    assert (ran.status, ran.json["repaired"]) == (75, [])
    assert company.status()["entries"]["intended"] == 2

    assert verify(company, "--repair")[0] == 0

    assert state(company) == before


# --- many ------------------------------------------------------------------------------------------------------------


def test_twenty_thousand_results_are_compared_in_seconds_and_little_memory(company: Company) -> None:
    """A page of 200 results at a time, and a thousand results in memory: peak < 150 MB, at 4 kB of Notes each."""
    fill(company, pipelines=50, cases=400)
    company.rally.log.clear()
    begun = time.monotonic()

    peak = company.peak_kib("verify", "--json")

    assert peak < 150 * 1024
    assert time.monotonic() - begun < 60
    assert len(company.rally.log.entries("", "/testcaseresult$")) <= 100 + 25


def fill(company: Company, pipelines: int, cases: int) -> None:
    """Let Rally hold a result of each pipeline and test case, and the ledger know them."""
    store = company.rally_store
    things = [store.add_test_case(company.root, f"Case {n}", f"TC{1000 + n}") for n in range(cases)]
    project = Project(ProjectId(company.project.id), "qa/web-shop", "https://gitlab.test/qa/web-shop")
    with open_ledger(company.folder / "ledger.db", skips_count=False) as ledger:
        ledger.observations.remember_projects("project qa/web-shop", [project])
        ledger.test_cases.replace(
            TestCase(ObjectID(one.oid), FormattedID(one.formatted_id), "", ObjectID(company.root.oid), START)
            for one in things
        )
        known = [replace(building.pipeline(100 + n), project_id=project.id) for n in range(pipelines)]
        ledger.observations.store_pipelines(known)
        for pipeline in known:
            build, found = f"GitLab-{pipeline.id}", []
            for one in things:
                key = Key(project.id, pipeline.id, FormattedID(one.formatted_id), 1)
                made = store.add_result(one, build, Notes=f"<div>{'x' * 4_000}</div><div>{key}</div>")
                found.append(FoundResult(key, ObjectID(made.oid), Build(build), "Pass"))
            ledger.entries.adopt(found, {pipeline.id: project.id}, START)
