"""Whatever Rally does to the requests that bring files: after at most two more runs each is there exactly once."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from reconciler.sandbox.faults import Fault, LateLanding, Reset, Stall, Truncate, page, too_many, unavailable
from tests.archives import noise, packed
from tests.company import case, marked, report

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.sandbox.faults import Action, Exchange
    from reconciler.sandbox.gitlab import Pipeline
    from reconciler.sandbox.rally import RallyApp, Thing
    from tests.company import Company

PNG = b"\x89PNG\r\n\x1a\n"
LOG = "test_output.log"
STALL_S, TIMEOUT_S, SETTLE_S = 3, 2, 4
"""For how long a request stalls, is waited for, and is left alone: longer than it can live on."""
CONTENTS = {True: ("/batch$", "/attachmentcontent/create"), False: ("/attachmentcontent/create$", "")}
ATTACHMENTS = {True: ("/batch$", "/attachment/create"), False: ("/attachment/create$", "")}
"""Path and body of their creates, by `/batch` or one by one."""

FAULTS: dict[str, Action] = {
    "reset before": Reset("before"),
    "reset after": Reset("after"),
    "late landing": LateLanding(0.5),
    "stall": Stall(STALL_S, "before"),
    "html 200 before": page(200),
    "html 200 after": page(200, when="after"),
    "cut": Truncate(30),
    "429": too_many(1),
    "503": unavailable(1),
    "503 after": unavailable(when="after"),
}


@dataclass(frozen=True)
class Shop:
    """Two failed tests and a passed one, with files: two of one name and size on one result, one too large to batch."""

    company: Company
    pipeline: Pipeline

    def holds(self) -> None:
        """See that each file is there once, that nothing is left, and that the next run has nothing to write."""
        found = self.company.attachments(self.pipeline)
        outputs = {key: [data for name, data in files if name == LOG] for key, files in found.items()}
        files = {key: [(name, data) for name, data in files if name != LOG] for key, files in found.items()}
        assert {key: len(texts) for key, texts in outputs.items()} == {"TC1/1": 1, "TC2/1": 1, "TC3/1": 0}
        assert files == {key: sorted(names) for key, names in WANTED.items()}
        status = self.company.status()
        assert (status["attachments"]["pending"], status["attachments"]["done"]) == (0, 7)
        assert self.company.once()["writes"] == 0


TWINS = [("a.png", PNG + b"1"), ("a.png", PNG + b"2")]
LARGE = ("large.log", noise(900_000))
WANTED = {"TC1/1": [*TWINS, LARGE], "TC2/1": [TWINS[0]], "TC3/1": [TWINS[1]]}


@pytest.fixture
def shop(company: Company) -> Shop:
    """Finish the job."""
    archive = packed([("1/a.png", TWINS[0][1]), ("2/a.png", TWINS[1][1]), LARGE])
    tests = [
        case("checkout_TC1!", marked("1/a.png", "2/a.png", "large.log")),
        case("login_TC2!!", "what it printed" + marked("1/a.png")),
        case("pay_TC3", marked("2/a.png")),
    ]
    return Shop(company, company.ran(report(*tests), archive).pipeline)


def strike(company: Company, action: Action, *, batch: bool) -> list[Fault]:
    """Let it happen to the first create of contents, and to the first of attachments."""
    kinds = (CONTENTS[batch], ATTACHMENTS[batch])
    return [company.rally.faults.add(Fault(action, method="POST", path=path, body=body)) for path, body in kinds]


def run_until_done(company: Company, most: int) -> None:
    """Run as often as it takes, with time between for doubts to grow old."""
    for _ in range(most):
        ran = company.run("--once")
        if ran.status == 0:
            return
        assert ran.status == 75, ran.err
        time.sleep(company.settings["rally"]["settle_after_seconds"])
    pytest.fail(f"something is left after {most} runs")


def settle_s(action: Action) -> int:
    """Tell how old a doubt must be: some faults let a request live on after its answer was lost."""
    return SETTLE_S if isinstance(action, LateLanding | Stall) else 0


@pytest.mark.parametrize("action", FAULTS.values(), ids=FAULTS)
def test_after_two_more_runs_each_attachment_is_there_once(shop: Shop, action: Action) -> None:
    """Whether the request was carried out, later or not at all; contents may be left over, and are counted."""
    impatient = {"request_timeout_seconds": TIMEOUT_S} if isinstance(action, Stall) else {}
    shop.company.configure(rally={"settle_after_seconds": settle_s(action)} | impatient)
    faults = strike(shop.company, action, batch=True)

    run_until_done(shop.company, 3)

    assert [fault.hits for fault in faults] == [1, 1]
    shop.holds()
    orphans = len(shop.company.rally_store.orphaned_contents())
    assert orphans <= shop.company.status()["attachments"]["orphaned"]


@pytest.mark.parametrize("name", ["reset after", "late landing", "503 after"])
def test_creates_that_go_one_by_one_are_as_safe(shop: Shop, name: str) -> None:
    """With `batch_size = 1`."""
    settle = settle_s(FAULTS[name])
    shop.company.configure(rally={"settle_after_seconds": settle, "batch_size": 1, "max_concurrency": 3})
    faults = strike(shop.company, FAULTS[name], batch=False)

    run_until_done(shop.company, 3)

    assert [fault.hits for fault in faults] == [1, 1]
    shop.holds()


@dataclass(frozen=True)
class HalfDone:
    """Cut the connection when the first entry of a batch is done."""

    app: RallyApp

    def __call__(self, exchange: Exchange) -> None:
        """Carry out the fault."""
        self.app.mishaps.batch_dies_after = 1
        exchange.run()


def test_a_batch_of_which_a_part_was_done_is_completed(shop: Shop) -> None:
    """Nobody knows how much of it: Rally is asked."""
    faults = strike(shop.company, HalfDone(shop.company.rally_app), batch=True)

    run_until_done(shop.company, 3)

    assert [fault.hits for fault in faults] == [1, 1]
    shop.holds()


def test_rally_going_away_between_results_and_files_leaves_the_files_to_the_next_pass(shop: Shop) -> None:
    """The results are there and done; the files are pending, and that is said."""
    fault = shop.company.rally.faults.add(Fault(page(502), body="attachmentcontent", times=None))

    ran = shop.company.run("--json", "--once")

    assert (ran.status, ran.json["results_sent"], ran.json["attachments_sent"], ran.json["left"]) == (75, 3, 0, 7)
    shop.company.rally.faults.remove(fault)
    planned = shop.company.run("--json", "--once", "--dry-run").json["actions"]
    assert {(action["kind"], action["build"]) for action in planned} == {("attachment", f"GitLab-{shop.pipeline.id}")}
    assert shop.company.once()["attachments_sent"] == len(planned) == 7
    found = shop.company.attachments(shop.pipeline)
    sent = [(key.partition("/")[0], name, len(data)) for key, files in found.items() for name, data in files]
    assert sorted((a["test_case"], a["name"], a["size"]) for a in planned) == sorted(sent)
    shop.holds()


def test_gitlab_saying_no_between_results_and_files_leaves_its_files_to_the_next_pass(shop: Shop) -> None:
    """What the ledger has, the output of tests, is attached all the same."""
    assert shop.company.run("--once", RALLY_API_KEY="_not-any-more").status == 1

    ran = shop.company.run("--json", "--once", GITLAB_TOKEN="glpat-not-any-more")  # noqa: S106 - it is none

    assert (ran.status, ran.json["results_sent"], ran.json["attachments_sent"], ran.json["left"]) == (1, 3, 2, 5)
    shop.company.once()
    shop.holds()


def test_writes_to_one_result_never_meet(shop: Shop) -> None:
    """Should Rally know conflicts of attachments, there are none: those of one result go one after another."""
    company = shop.company
    company.configure(rally={"settle_after_seconds": 0, "batch_size": 1, "max_concurrency": 8})
    company.rally_app.behaviour.attachments_conflict = True
    company.rally.time_model.request_s = 0.02

    ran = company.run("--once")

    assert ran.status == 0
    assert "conflict" not in ran.err.lower().replace("conflicts=0", "")
    shop.holds()


def test_a_conflict_with_another_writer_is_sent_again_in_the_same_pass(shop: Shop) -> None:
    """A plain No for this moment; the content is used again."""
    company = shop.company
    fault = company.rally.faults.add(Fault(page(502), body="attachmentcontent", times=None))
    assert company.run("--once").status == 75
    company.rally.faults.remove(fault)
    company.rally_app.mishaps.conflict(company.rally_store.find("TestCaseResult")[0], times=2)

    assert company.once()["attachments_sent"] == 7

    shop.holds()
    assert company.rally_store.orphaned_contents() == []


LOSSES: dict[str, Callable[[list[Thing]], list[Thing]]] = {
    "nothing": lambda _: [],
    "the first twin": lambda made: [one for one in made if one.fields["Name"] == "a.png"][:1],
    "all": lambda made: made,
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_a_second_ledger_attaches_only_what_is_not_there(
    shop: Shop, loss: Callable[[list[Thing]], list[Thing]]
) -> None:
    """The first is lost, and so may be some attachments; of two of one name and size the right one is sent again."""
    company = shop.company
    company.once()
    lost = loss(company.rally_store.find("Attachment"))
    for attachment in lost:
        company.rally_store.delete(attachment)
    for file in company.folder.glob("ledger.db*"):
        file.unlink()

    told = company.once()

    assert (told["results_sent"], told["attachments_sent"]) == (0, len(lost))
    assert bool(told["writes"]) == bool(lost)
    shop.holds()


def test_what_people_delete_in_rally_stays_deleted(shop: Shop) -> None:
    """What is done is done: Rally is not asked about it again."""
    shop.company.once()
    shop.company.rally_store.delete(shop.company.rally_store.find("Attachment")[0])

    assert shop.company.once()["writes"] == 0


def test_an_older_copy_of_the_ledger_doubles_no_attachment(shop: Shop) -> None:
    """One from before the results were sent, and one from between results and files."""
    company = shop.company
    fault = company.rally.faults.add(Fault(page(502), body="attachmentcontent", times=None))
    assert company.run("--once").status == 75
    company.rally.faults.remove(fault)
    copy = (company.folder / "ledger.db").read_bytes()
    company.once()
    for file in company.folder.glob("ledger.db*"):
        file.unlink()
    (company.folder / "ledger.db").write_bytes(copy)

    assert company.once()["writes"] == 0

    shop.holds()


def test_a_job_that_is_retried_has_its_own_files_on_the_second_result(shop: Shop) -> None:
    """The first result keeps its own."""
    company = shop.company
    company.once()
    store = company.gitlab.store
    job = company.job(shop.pipeline, "e2e 1")
    store.retry_job(
        job,
        finished_at=store.clock(),
        junit=[("junit.xml", report(case("checkout_TC1", marked("b.png"))))],
        archive={"b.png": PNG},
    )

    company.once()

    names = company.names(shop.pipeline)
    assert names["TC1/1"] == ["a.png", "a.png", "large.log", LOG]
    assert names["TC1/2"] == ["b.png"]
