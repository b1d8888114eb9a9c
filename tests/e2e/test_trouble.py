"""What goes wrong is said in one line that tells what to do, nothing is lost, and the next pass completes the work."""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Literal

import pytest

from reconciler.ledger.lock import writer_lock
from reconciler.sandbox.faults import Fault, Reset, Truncate, page, too_many, unavailable
from tests.company import KEY, TOKEN, junit

if TYPE_CHECKING:
    from reconciler.sandbox.faults import Action
    from tests.company import Company


def lines(text: str) -> list[str]:
    """Give the lines that are for a person: those that are no log lines."""
    return [line for line in text.splitlines() if not re.match(r"\d{4}-\d\d-\d\dT", line)]


def test_more_pipelines_of_one_instant_than_fit_on_a_page_are_all_read(company: Company) -> None:
    """GitLab gives rows of one time in any order, another one on each page."""
    at = company.gitlab.store.clock()
    for _ in range(130):
        company.pipeline({"unit": junit("a_TC1")}, created_at=at, updated_at=at)
    told = company.once()
    assert (told["pipelines_read"], told["left"], len(company.results())) == (130, 0, 130)
    assert company.once()["pipelines_read"] == 0


def test_a_block_of_our_address_loses_nothing(company: Company) -> None:
    """gitlab.com answers 403 to everything then; when it is over, the next pass goes on."""
    pipelines = [company.pipeline({"unit": junit("a_TC1")}) for _ in range(4)]
    fault = company.gitlab.server.faults.add(Fault(page(403), path=r"/jobs$", times=100))
    ran = company.run("--once")
    assert ran.status == 1
    assert len(lines(ran.err)) == 1
    assert "may not be listed (HTTP 403)" in ran.err
    company.gitlab.server.faults.remove(fault)
    assert company.once()["left"] == 0
    assert [company.verdicts(one) for one in pipelines] == [{"TC1/1": "Pass"}] * 4


def test_rally_down_does_not_stop_reading_and_the_next_pass_sends(company: Company) -> None:
    """Exit status 75, one line; nothing is held for want of Rally."""
    pipeline = company.pipeline({"unit": junit("a_TC1")})
    with company.rally.refusing():
        ran = company.run("--once")
    assert ran.status == 75
    assert [line for line in lines(ran.err) if line.startswith("Rally: ")] == lines(ran.err)
    assert len(lines(ran.err)) == 1
    assert company.status()["tests"] | {"read": 1} == company.status()["tests"]

    assert company.once()["results_sent"] == 1
    assert company.verdicts(pipeline) == {"TC1/1": "Pass"}


def test_gitlab_down_does_not_stop_sending(company: Company) -> None:
    """What was read before is sent although GitLab is away."""
    pipeline = company.pipeline({"unit": junit("login")})
    company.once()
    company.map(("shop.login", "TC1"))
    with company.gitlab.server.refusing():
        ran = company.run("--once")
    assert ran.status == 75
    assert len(lines(ran.err)) == 1
    assert lines(ran.err)[0].startswith("GitLab: ")
    assert company.verdicts(pipeline) == {"TC1/1": "Pass"}


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"GITLAB_TOKEN": "glpat-wrong-wrong"}, "GitLab: .*token"),
        ({"RALLY_API_KEY": "_wrong-wrong-wrong"}, "Rally: .*key"),
    ],
)
def test_a_wrong_token_is_one_line_and_status_1(company: Company, environment: dict[str, str], said: str) -> None:
    """It names the setting and never shows the secret; with the right one the next pass completes the work."""
    pipeline = company.pipeline({"unit": junit("a_TC1")})

    ran = company.run("--once", **environment)

    assert ran.status == 1
    assert len(lines(ran.err)) == 1
    assert re.match(said, lines(ran.err)[0])
    assert "wrong-wrong" not in ran.err + ran.out
    company.once()
    assert company.verdicts(pipeline) == {"TC1/1": "Pass"}


@pytest.mark.parametrize(
    ("section", "keys", "said"),
    [
        ("rally", {"workspace": "Nowhere"}, "Nowhere"),
        ("rally", {"project": "No Such Project"}, "No Such Project"),
        ("gitlab", {"projects": ["qa/no-such"]}, "qa/no-such"),
        ("gitlab", {"groups": ["no-such-group"]}, "no-such-group"),
    ],
)
def test_a_name_that_a_server_does_not_know_is_one_line_and_status_1(
    company: Company, section: str, keys: dict[str, object], said: str
) -> None:
    """What can be done without it is done; corrected, the next pass completes the work."""
    pipeline = company.pipeline({"unit": junit("a_TC1")})
    sections = {"rally": {"settle_after_seconds": 0}}
    company.configure(**sections | {section: sections.get(section, {}) | keys})

    ran = company.run("--once")

    assert ran.status == 1
    assert len(lines(ran.err)) == 1
    assert said in lines(ran.err)[0]
    company.configure(**sections)
    company.once()
    assert company.verdicts(pipeline) == {"TC1/1": "Pass"}


def test_one_project_that_cannot_be_read_does_not_hold_up_the_others(company: Company) -> None:
    """Forbidden, or gone: said, status 1, and the rest is sent."""
    pipeline = company.pipeline({"unit": junit("a_TC1")})
    hidden = company.gitlab.store.add_project("qa/hidden")
    token = next(token for token in company.gitlab.store.tokens.values() if token.value == TOKEN)
    company.gitlab.store.deny(token, hidden, "read_pipeline")
    company.configure(rally={"settle_after_seconds": 0}, gitlab={"projects": ["qa/hidden", "qa/web-shop"]})

    ran = company.run("--once")

    assert ran.status == 1
    assert "qa/hidden" in ran.err
    assert company.verdicts(pipeline) == {"TC1/1": "Pass"}


READS_FAIL: dict[str, Action] = {
    "html 200": page(200),
    "html 502": page(502),
    "503 with seconds": unavailable(1),
    "503 with a date": unavailable(1, as_date=True),
    "429 with seconds": too_many(1),
    "429 with a date": too_many(1, as_date=True),
    "reset": Reset("before"),
    "cut": Truncate(20),
    "cut between chunks": Truncate(20, "chunked"),
}
WRITES_FAIL: dict[str, Action] = {
    "reset before": Reset("before"),
    "reset after": Reset("after"),
    "html 200 after": page(200, when="after"),
    "html 502": page(502),
    "cut": Truncate(20),
}


@pytest.mark.parametrize("action", READS_FAIL.values(), ids=READS_FAIL)
@pytest.mark.parametrize("service", ["gitlab", "rally"])
def test_a_read_that_fails_once_is_asked_again_in_the_same_pass(company: Company, service: str, action: Action) -> None:
    """The pass ends well, and everything stands in Rally."""
    pipeline = company.pipeline({"unit": junit("a_TC1")})
    server = company.rally if service == "rally" else company.gitlab.server
    for path in ("/testcase", "/testcaseresult$") if service == "rally" else ("/pipelines$", "/jobs$", "/artifacts$"):
        server.faults.add(Fault(action, method="GET", path=path))

    company.once()

    assert company.verdicts(pipeline) == {"TC1/1": "Pass"}


@pytest.mark.parametrize("action", WRITES_FAIL.values(), ids=WRITES_FAIL)
def test_a_write_without_an_answer_is_in_doubt_and_asked_about(company: Company, action: Action) -> None:
    """Exit 75; whether it was done or not, after the next pass it is there exactly once."""
    pipeline = company.pipeline({"unit": junit("a_TC1", "b_TC2!")})
    company.rally.faults.add(Fault(action, writes_only=True))

    ran = company.run("--json", "--once")
    assert ran.status == 75
    assert ran.json["left"] > 0
    assert company.status()["entries"]["intended"] == 2

    company.once()
    assert company.verdicts(pipeline) == {"TC1/1": "Pass", "TC2/1": "Fail"}
    assert company.status()["entries"] == {"intended": 0, "done": 2, "refused": 0}


def test_an_intent_that_may_still_be_alive_is_not_asked_about(company: Company) -> None:
    """`settle_after_seconds` bounds how early Rally is asked; until then nothing of that test case is sent."""
    company.configure(rally={"settle_after_seconds": 3600})
    company.pipeline({"unit": junit("a_TC1")})
    company.rally.faults.add(Fault(Reset("before"), writes_only=True))
    assert company.run("--once").status == 75
    later = company.pipeline({"unit": junit("a_TC1!", "b_TC2")})

    assert company.run("--once").status == 75

    assert company.verdicts(later) == {"TC2/1": "Pass"}
    assert company.status()["entries"]["intended"] == 1


@pytest.mark.parametrize("action", [too_many(1), too_many(1, as_date=True)], ids=["seconds", "date"])
def test_a_write_that_is_turned_away_is_sent_again_in_the_same_pass(company: Company, action: Action) -> None:
    """429 means that nothing was done."""
    pipeline = company.pipeline({"unit": junit("a_TC1")})
    company.rally.faults.add(Fault(action, writes_only=True))

    company.once()

    assert company.verdicts(pipeline) == {"TC1/1": "Pass"}


def test_a_concurrency_conflict_is_sent_again_in_the_same_pass(company: Company) -> None:
    """It is a plain No of Rally to one entry, for this moment."""
    pipeline = company.pipeline({"unit": junit("a_TC1", "b_TC2", "c_TC3")})
    company.rally_app.mishaps.conflict(company.cases["TC2"], times=2)

    company.once()

    assert company.verdicts(pipeline) == {"TC1/1": "Pass", "TC2/1": "Pass", "TC3/1": "Pass"}


def test_one_bad_entry_of_a_batch_is_refused_and_the_others_are_done(company: Company) -> None:
    """Refused is a state and no work: the reason is kept and shown, the exit status is 0, and it is not sent again."""
    pipeline = company.pipeline({"unit": junit("a_TC1", "b_TC2", "c_TC3")})
    company.rally_app.mishaps.refuse_entry(1)

    told = company.once()

    assert len(company.verdicts(pipeline)) == 2
    assert told["refused"] == 1
    assert "is cursed" in company.run("status").out
    assert company.status()["tests"]["refused"] == 1
    assert company.once()["writes"] == 0


@pytest.mark.parametrize("batch", ["errors", 403, 404, 405])
def test_without_batch_results_go_one_by_one(company: Company, batch: Literal["errors"] | int) -> None:
    """Same protocol, one request a result."""
    company.rally_app.behaviour.batch = batch
    pipeline = company.pipeline({"unit": junit(*(f"t{n}_TC{n}" for n in range(1, 10)))})

    company.once()

    assert len(company.verdicts(pipeline)) == 9


def test_a_batch_that_is_too_large_is_halved(company: Company) -> None:
    """413 refuses the request as a whole; smaller ones go through."""
    company.rally_app.behaviour.batch_bytes = 3_000
    pipeline = company.pipeline({"unit": junit(*(f"t{n}_TC{n}" for n in range(1, 10)))})

    company.once()

    assert len(company.verdicts(pipeline)) == 9


def test_batch_size_1_never_uses_batch(company: Company) -> None:
    """As the config says."""
    company.configure(rally={"settle_after_seconds": 0, "batch_size": 1})
    pipeline = company.pipeline({"unit": junit("a_TC1", "b_TC2")})

    company.once()

    assert len(company.verdicts(pipeline)) == 2
    assert not [entry for entry in company.rally.log if entry.path.endswith("/batch")]


def test_maintenance_is_waited_out_by_the_next_pass(company: Company) -> None:
    """Rally answers everything with 502 pages: nothing is lost, nothing doubled."""
    pipeline = company.pipeline({"unit": junit("a_TC1")})
    fault = company.rally.faults.maintenance()
    ran = company.run("--once")
    assert ran.status == 75
    assert len(lines(ran.err)) == 1
    company.rally.faults.remove(fault)

    company.once()
    assert company.verdicts(pipeline) == {"TC1/1": "Pass"}


def test_a_lost_ledger_doubles_nothing(company: Company) -> None:
    """A new one finds in Rally what is there, by its keys; also a revision."""
    pipeline = company.pipeline({"unit": junit("a_TC1!", "b_TC2")})
    company.once()
    store = company.gitlab.store
    store.retry_job(
        company.job(pipeline, "unit"), finished_at=store.clock(), junit=[("a.xml", junit("a_TC1", "b_TC2"))]
    )
    company.once()
    before, writes = company.results(), company.writes()
    for file in company.folder.glob("ledger.db*"):
        file.unlink()

    told = company.once()

    assert told["writes"] == 0
    assert company.writes() == writes
    assert company.results() == before
    assert company.status()["entries"]["done"] == 4
    assert company.status()["tests"]["sent"] == 2


def test_an_older_copy_of_the_ledger_doubles_nothing(company: Company) -> None:
    """What was sent since the copy was made is found in Rally."""
    company.pipeline({"unit": junit("a_TC1")})
    company.once()
    copy = (company.folder / "ledger.db").read_bytes()
    company.pipeline({"unit": junit("a_TC1!", "b_TC2")})
    company.once()
    before, writes = company.results(), company.writes()
    for file in company.folder.glob("ledger.db*"):
        file.unlink()
    (company.folder / "ledger.db").write_bytes(copy)

    company.once()

    assert (company.results(), company.writes()) == (before, writes)


def test_a_broken_report_is_a_problem_and_its_good_neighbours_count(company: Company) -> None:
    """A cut document gives none of its tests; its sibling file and the other job are sent."""
    store = company.gitlab.store
    pipeline = store.add_pipeline(company.project, status="failed")
    cut = junit("a_TC1", "b_TC2")[:-20]
    job = store.add_job(
        pipeline, "unit", finished_at=store.clock(), junit=[("cut.xml", cut), ("ok.xml", junit("c_TC3"))]
    )
    store.add_job(pipeline, "more", finished_at=store.clock(), junit=[("d.xml", junit("d_TC4"))])

    told = company.once()

    assert company.verdicts(pipeline) == {"TC3/1": "Pass", "TC4/1": "Pass"}
    assert told["problems"] == 1
    problem = company.status()["problems"][0]
    assert (problem["pipeline"], problem["job"], problem["kind"]) == (pipeline.id, job.id, "truncated")


def test_a_second_instance_says_who_holds_the_ledger(company: Company) -> None:
    """Status 75 within 5 seconds, with the pid."""
    with writer_lock(company.folder / "ledger.db"):
        ran = company.run("--once")

    assert ran.status == 75
    assert f"pid {os.getpid()}" in ran.err


def test_config_mistakes_are_all_told_at_once_and_nothing_is_contacted(company: Company) -> None:
    """Each with file, line and column; status 2; the mapping file's too."""
    company.configure(gitlab={"pol_seconds": 5, "token": "env:NOT_SET_ANYWHERE"}, rally={"batch_size": "many"})
    company.map(("shop.a", "TC1"), ("shop.a", "TC1"), ("shop.b", "US7"))

    ran = company.run("--once")

    assert ran.status == 2
    assert not list(company.gitlab.server.log) + list(company.rally.log)
    said = ran.err.splitlines()
    assert all(
        re.match(rf"{re.escape(str(company.folder))}/(config\.toml|mapping\.csv):\d+:\d+: .+: .+", s) for s in said
    )
    assert len(said) == 5
    assert KEY not in ran.err


def test_a_time_beyond_all_reason_stops_nothing(company: Company) -> None:
    """Two finite times whose sum is not: both are bad times and count 0; the pipeline beside it is sent."""
    endless = b'<testsuite><testcase name="g_TC2" time="1e308"/><testcase name="h_TC2" time="1e308"/></testsuite>'
    first, second = company.pipeline({"unit": endless}), company.pipeline({"unit": junit("a_TC1")})

    company.once()

    assert company.verdicts(first) == {"TC2/1": "Pass"}
    assert company.verdicts(second) == {"TC1/1": "Pass"}
    assert {result["Duration"] for result in company.rally_store.results()} == {0, 0.5}


def test_paths_that_are_folders_are_mistakes_of_the_config(company: Company) -> None:
    """Told with its place before anything is contacted; so is a verdict that is none."""
    company.configure(ledger={"path": "/"}, mapping={"file": "."}, results={"flaky": "ignore"})

    ran = company.run("--once")

    assert ran.status == 2
    assert len(ran.err.splitlines()) == 3
    assert not list(company.gitlab.server.log)


def test_a_database_of_another_program_is_not_taken_over(company: Company) -> None:
    """One clear line; the file stays as it was."""
    with closing(sqlite3.connect(company.folder / "other.db")) as other:
        other.execute("CREATE TABLE foo (bar)")
    company.configure(ledger={"path": "other.db"})

    ran = company.run("--once")

    assert (ran.status, "another program" in ran.err) == (1, True)
    with closing(sqlite3.connect(company.folder / "other.db")) as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("foo",)]
