"""The ledger is lost, or an older copy of it takes its place: what Rally has is found, and nothing is made twice."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.ledger import views
from reconciler.ledger.store import open_for_reading
from reconciler.sandbox.faults import Fault, Reset, page
from tests.archives import packed
from tests.company import ago, case, junit, marked, report

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from reconciler.sandbox.gitlab import Job
    from tests.company import Company

WRONG = "not-any-more"
LONG = bool(os.environ.get("LONG_OUTAGE"))
RESTORED = 100 if LONG else 4
"""How many of the copies of a ledger that is in use are put in its place."""
PNG = b"\x89PNG\r\n\x1a\n"
FILES = [("1/a.png", PNG + b"1"), ("2/a.png", PNG + b"2"), ("b.log", b"what it did\n")]
PIPELINES = 20 if LONG else 4
"""So many results of three tests does the daemon send while its ledger is copied."""
SINCE = ("--backfill", "--since", ago(days=30).date().isoformat())
CREATES = {name: f'"Path":"/{name}/create"' for name in ("testcaseresult", "attachmentcontent", "attachment")}
"""What a batch says that creates such."""


@dataclass
class Shop:
    """A sprint of three weeks with two test cases, and pipelines older than a first look goes back; copies by name."""

    company: Company
    copies: dict[str, Path] = field(default_factory=dict)
    retried: Job | None = None

    def run(self, *words: str) -> dict[str, Any]:
        """Bring everything up to date, as far back as there is something; it must leave nothing."""
        ran = self.company.run("--json", *(words or SINCE))
        assert ran.status == 0, (ran.status, ran.out, ran.err)
        told: dict[str, Any] = ran.json
        return told

    def struck(self, fault: Fault) -> None:
        """Run while this goes wrong; something must be left."""
        self.company.rally.faults.add(fault)
        ran = self.company.run(*SINCE)
        self.company.rally.faults.remove(fault)
        assert (ran.status, fault.hits > 0) == (75, True)

    def copy(self, name: str) -> None:
        """Copy the ledger's file while nothing runs: all of it is folded into that file."""
        assert sum(file.stat().st_size for file in self.company.folder.glob("ledger.db-wal")) == 0
        self.copies[name] = self.company.folder / f"{name}.copy"
        shutil.copyfile(self.company.folder / "ledger.db", self.copies[name])

    def restore(self, name: str) -> None:
        """Put a copy in the ledger's place; "" = lose it."""
        for file in self.company.folder.glob("ledger.db*"):
            file.unlink()
        if name:
            shutil.copyfile(self.copies[name], self.company.folder / "ledger.db")

    def old_pipelines(self) -> None:
        """Finish two pipelines of ten and of eight days ago: files, twins among them, on the first."""
        company, store = self.company, self.company.gitlab.store
        for days, tests in ((10, [case("pay_TC1!", marked(*(path for path, _ in FILES)))]), (8, [case("pay_TC1")])):
            at = ago(days=days)
            pipeline = store.add_pipeline(company.project, status="failed", created_at=at, updated_at=at)
            more = [case("look_TC2!!"), case("go_TC3")]
            archive = packed(FILES) if days == 10 else {"rest.txt": b"x"}
            job = store.add_job(
                pipeline, "e2e", finished_at=at, junit=[("a.xml", report(*tests, *more))], archive=archive
            )
            self.retried = self.retried or job

    def retry(self) -> None:
        """Run the first job again: it passes now, and has another file."""
        assert self.retried is not None
        store = self.company.gitlab.store
        passed = report(case("pay_TC1", marked("c.log")), case("look_TC2"), case("go_TC3"))
        store.retry_job(
            self.retried, finished_at=store.clock(), junit=[("a.xml", passed)], archive={"c.log": b"later\n"}
        )

    def told(self) -> dict[str, Any]:
        """Tell what Rally holds, all of it, and what the ledger says of results, files to come and sprints."""
        with closing(open_for_reading(self.company.folder / "ledger.db")) as store:
            entries, files = views.entries(store), views.attachments(store)
            assert (views.left(store), views.tests(store)["pending"], files["pending"]) == (0, 0, 0)
            return {"entries": entries, "sprints": views.sprints(store), "rally": self.company.rally_store.dump()}


@pytest.fixture
def shop(company: Company) -> Shop:
    """Open the shop."""
    company.configure(rally={"settle_after_seconds": 0, "batch_size": 2}, sprints={"test_folder": "create"})
    company.story(company.sprint(days=(-14, 7)), "TC1", "TC2")
    made = Shop(company)
    made.old_pipelines()
    return made


def test_a_backfill_with_an_empty_ledger_takes_over_what_is_there_and_writes_nothing(shop: Shop) -> None:
    """Results of both revisions, files by name, size and content, the set, its members and the folders."""
    shop.run()
    shop.retry()
    shop.run()
    before = shop.told()
    assert len(shop.company.results()) == 9
    assert (before["entries"]["done"], len(shop.company.rally_store.find("Attachment"))) == (9, 7)
    shop.restore("")

    told = shop.run()

    assert (told["writes"], told["results_sent"], told["attachments_sent"], told["pipelines_read"]) == (0, 0, 0, 2)
    assert shop.told() == before
    told = shop.company.run("--json", "verify").json
    assert {kind: told[kind] for kind in VERIFIED} == {"checked": 9} | {kind: [] for kind in VERIFIED[1:]}


VERIFIED = ("checked", "missing", "altered", "foreign", "doubled")


@pytest.mark.parametrize("first", ["--once", "--sprint-sets"])
def test_another_run_before_the_backfill_changes_nothing_of_it(shop: Shop, first: str) -> None:
    """It sees what is young, as the daemon does that is started on an empty ledger; then comes what is older."""
    shop.run()
    young = shop.company.pipeline({"unit": junit("pay_TC1!", "look_TC2")})
    shop.run()
    before = shop.told()
    shop.restore("")

    assert shop.run(first)["writes"] == 0
    assert shop.run()["writes"] == 0

    assert shop.told() == before
    assert shop.company.verdicts(young) == {"TC1/1": "Fail", "TC2/1": "Pass"}
    assert [row["results"] for row in before["sprints"]] == [{"Fail": 1, "Pass": 1}]


COPIES = (
    "before anything",
    "before results",
    "results in doubt",
    "before files",
    "files in doubt",
    "before revision 2",
    "revision 2 in doubt",
)


def test_a_copy_from_whenever_makes_nothing_twice(shop: Shop) -> None:
    """Copied between any two steps, in doubt or not; restored when all steps have been made."""
    company = shop.company
    assert company.run(*SINCE, GITLAB_TOKEN=WRONG, RALLY_API_KEY=WRONG).status == 1
    shop.copy("before anything")
    assert company.run(*SINCE, RALLY_API_KEY=WRONG).status == 1
    shop.copy("before results")
    shop.struck(Fault(Reset("after"), path="/batch$", body=CREATES["testcaseresult"]))
    shop.copy("results in doubt")
    shop.struck(Fault(page(502), path="/batch$", body=CREATES["attachmentcontent"], times=None))
    shop.copy("before files")
    shop.struck(Fault(Reset("after"), path="/batch$", body=CREATES["attachment"]))
    shop.copy("files in doubt")
    shop.run()
    shop.copy("before revision 2")
    shop.retry()
    shop.struck(Fault(Reset("after"), path="/batch$", body=CREATES["testcaseresult"]))
    shop.copy("revision 2 in doubt")
    shop.run()
    before = shop.told()
    assert tuple(shop.copies) == COPIES

    for name in COPIES:
        shop.restore(name)
        assert (name, shop.run()["writes"]) == (name, 0)
        assert (name, shop.told()) == (name, before)


def test_a_copy_goes_on_with_what_came_after_it(shop: Shop) -> None:
    """What finished since the copy was made: a part was sent before the ledger was lost, a part was not."""
    company = shop.company
    shop.run()
    shop.copy("last week")
    sent = company.pipeline({"unit": junit("pay_TC1", "look_TC2!")})
    shop.run()
    shop.retry()
    unsent = company.pipeline({"unit": junit("pay_TC1!", "go_TC3")})
    shop.restore("last week")

    told = shop.run("--once")

    assert (told["results_sent"], told["left"]) == (5, 0)
    assert company.verdicts(sent) == {"TC1/1": "Pass", "TC2/1": "Fail"}
    assert company.verdicts(unsent) == {"TC1/1": "Fail", "TC3/1": "Pass"}
    assert len(company.results()) == 13
    assert company.run("--json", "verify").json["missing"] == []


# --- copies of a ledger that is in use -------------------------------------------------------------------------------


@contextmanager
def daemon(company: Company) -> Iterator[subprocess.Popen[bytes]]:
    """Run the daemon, with polls every second; it must end well."""
    with (company.folder / "daemon.log").open("w") as log:
        process = subprocess.Popen(company.command(), stderr=log, stdout=log, env=company.environment())
        try:
            yield process
            process.terminate()
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.wait()
    assert "locked" not in (company.folder / "daemon.log").read_text()


def backup(ledger: Path, to: Path) -> None:
    """Copy the ledger as `sqlite3 ledger.db ".backup ..."` does, whoever writes to it meanwhile."""
    with closing(sqlite3.connect(ledger, timeout=30)) as source, closing(sqlite3.connect(to)) as target:
        source.backup(target)
        assert target.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_copies_made_while_the_daemon_writes_are_whole_and_make_nothing_twice(shop: Shop) -> None:
    """One is taken every moment, while results, files and their doubts come and go."""
    company = shop.company
    quick = {"poll_seconds": 1}
    company.configure(
        gitlab=quick | {"first_look_days": 30},
        rally=quick | {"settle_after_seconds": 0, "batch_size": 2, "max_concurrency": 2},
        sprints={"test_folder": "create"},
    )
    company.rally.time_model.request_s = 0.05
    for create in CREATES.values():
        company.rally.faults.add(Fault(Reset("after"), path="/batch$", body=create, nth=2))
    for _ in range(PIPELINES):
        company.pipeline({"unit": junit("pay_TC1!", "look_TC2", "go_TC3!!")})
    results, ledger = 6 + 3 * PIPELINES, company.folder / "ledger.db"
    with daemon(company):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and states_of(ledger) != {"done": results}:
            to = company.folder / f"{len(shop.copies)}.copy"
            if ledger.exists():
                backup(ledger, shop.copies.setdefault(to.name, to))
            time.sleep(0.05)
    company.rally.time_model.request_s = 0
    shop.run()
    before = shop.told()
    assert len(company.results()) == results

    kinds = {tuple(states_of(path).items()): name for name, path in shop.copies.items()}
    assert any("intended" in dict(kind) for kind in kinds)
    for kind, name in [*kinds.items()][:: -(-len(kinds) // RESTORED)]:
        shop.restore(name)
        assert (kind, shop.run()["writes"]) == (kind, 0)
        assert shop.told() == before


def states_of(ledger: Path) -> dict[str, int]:
    """Count a ledger's results by state; there may be none yet."""
    if not ledger.exists():
        return {}
    with closing(sqlite3.connect(f"{ledger.as_uri()}?mode=ro", uri=True, timeout=30)) as opened:
        if not opened.execute("SELECT 1 FROM sqlite_master WHERE name = 'entries'").fetchall():
            return {}
        return dict(opened.execute("SELECT state, COUNT(*) FROM entries GROUP BY state").fetchall())
