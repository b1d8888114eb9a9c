"""Whole passes that bring files to results: in which order, from where, and how many."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from loguru import logger

from reconciler import attach
from reconciler.dispatch import BATCH_BYTES
from reconciler.errors import (
    EXIT_DONE,
    EXIT_TRY_AGAIN,
    Forbidden,
    Incomplete,
    NotThere,
    ServiceDown,
    Stopped,
    Unauthorized,
)
from reconciler.evidence import MAX_UPLOADS
from reconciler.ledger import views
from tests.archives import noise
from tests.building import DAY
from tests.fakes import START
from tests.fates import says_no
from tests.unit.attaching import OUTPUT, Depot, config, depot
from tests.unit.listening import from_now_on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from tests.fakes import Answers, FakeRally


@pytest.fixture
def shop() -> Iterator[Depot]:
    """Open the shop."""
    opened = depot()
    with closing(opened.ledger.store):
        yield opened


@pytest.fixture
def warned() -> Iterator[list[str]]:
    """Collect what is logged for a person."""
    lines: list[str] = []
    sink = logger.add(
        lambda message: lines.append(str(message)), level="WARNING", format="{message}", filter=from_now_on()
    )
    yield lines
    logger.remove(sink)


# --- in which order --------------------------------------------------------------------------------------------------


def test_all_results_are_sent_before_the_first_file(shop: Depot) -> None:
    """No result waits for the bytes of another's files."""
    order: list[str] = []

    def noting(word: str) -> Callable[[object], str]:
        def note(_: object) -> str:
            order.append(word)
            return ""

        return note

    shop.rally.refuses = noting("result")
    shop.rally.refuses_content, shop.rally.refuses_attachment = noting("content"), noting("attachment")
    for _ in range(2):
        shop.job("pay_TC1!", "add_TC2", files={"pay-tc1.txt": b"a", "add-tc2.txt": b"b"})
    outcome = shop.once()
    assert order == ["result"] * 4 + ["content"] * 6 + ["attachment"] * 6
    assert (outcome.exit_status, outcome.summary["attachments_sent"], shop.counts()) == (EXIT_DONE, 6, {"done": 6})


def test_an_archive_is_opened_once_for_its_directory_and_once_for_bytes(shop: Depot) -> None:
    """However many files and results it has; one without wanted files is not opened again, and all is forgotten."""
    rich = shop.job(
        "pay_TC1", "add_TC2", files={f"{name}/{n}.txt": b"x" for name in ("pay-tc1", "add-tc2") for n in "ab"}
    )
    poor = shop.job("pay_TC1", files={"other.txt": b"x", "pay-tc1/film.mp4": b"film"})
    shop.once()
    assert shop.gitlab.opened == [rich.id, poor.id, rich.id]
    assert shop.gitlab.forgotten == 1
    assert shop.once().summary["writes"] == 0
    assert len(shop.gitlab.opened) == 3


def test_contents_share_a_batch_up_to_a_megabyte_and_a_larger_one_goes_alone(shop: Depot) -> None:
    """Sizes as base64 makes them; attachments have no bytes and share one batch."""
    files = {f"pay-tc1/{n}.txt": noise(300_000, n) for n in range(4)} | {"pay-tc1/big.txt": noise(900_000)}
    shop.job("pay_TC1", files=files)
    shop.once()
    assert sorted(shop.rally.content_requests) == [(300_000, 300_000), (300_000, 300_000), (900_000,)]
    assert all(sum(sizes) * 4 // 3 < BATCH_BYTES or len(sizes) == 1 for sizes in shop.rally.content_requests)
    assert [len(request) for request in shop.rally.attachment_requests] == [5]


def test_a_pass_that_is_stopped_among_files_goes_on_with_the_next(shop: Depot) -> None:
    """What was on its way came to its end; nothing is an orphan."""
    shop.batch_size = 1
    shop.job("pay_TC1!", files={"pay-tc1.txt": b"a"})

    def stops(rally: FakeRally, wanted: Sequence[Any]) -> Answers:
        shop.stop.set()
        return rally.carry_out(wanted)

    shop.rally.content_steps.append(stops)
    with pytest.raises(Stopped):
        shop.once()
    assert shop.counts() == {"pending": 2}
    shop.stop.clear()
    assert shop.once().exit_status == EXIT_DONE
    assert shop.attached() == {"TC1/1": [("pay-tc1.txt", b"a"), OUTPUT]}
    assert (shop.counts(), shop.rally.orphans()) == ({"done": 2}, [])


# --- which and how many ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", ["CARRIED_FILES", "CARRIED_BYTES"])
def test_a_file_that_two_results_want_is_fetched_once_and_whole_for_both(
    shop: Depot, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """Also where the spool is full after it: it is emptied when both have their content."""
    monkeypatch.setattr(attach, limit, 1)
    shop.job("pay_TC1_TC2", "add_TC3", files={"pay-tc1-tc2.txt": b"for both", "add-tc3.txt": b"next one"})
    assert shop.once().exit_status == EXIT_DONE
    both = [("pay-tc1-tc2.txt", b"for both")]
    assert shop.attached() == {"TC1/1": both, "TC2/1": both, "TC3/1": [("add-tc3.txt", b"next one")]}
    assert shop.rally.orphans() == []


def test_the_twenty_first_file_is_a_link(shop: Depot) -> None:
    """The output counts as one, and comes first."""
    job = shop.job("pay_TC1!", files={f"pay-tc1/{n:02}.txt": f"{n}".encode() for n in range(25)})
    shop.once()
    assert len(shop.names()["TC1/1"]) == MAX_UPLOADS
    assert "test_output.log" in shop.names()["TC1/1"]
    assert shop.counts() == {"done": MAX_UPLOADS, "linked": 6}
    assert shop.notes(job).count(f"more than {MAX_UPLOADS} files") == 6
    assert "artifacts/file/pay-tc1/24.txt" in shop.notes(job)


def test_a_file_above_the_limit_or_of_a_pattern_is_only_linked(shop: Depot) -> None:
    """Its bytes are never asked for."""
    shop.config = config(upload_max_bytes=10)
    job = shop.job(
        "pay_TC1", files={"pay-tc1/trace.zip": b"z", "pay-tc1/log.txt": b"more than ten", "pay-tc1.txt": b"ten bytes."}
    )
    assert shop.once().exit_status == EXIT_DONE
    assert shop.attached() == {"TC1/1": [("pay-tc1.txt", b"ten bytes.")]}
    assert shop.counts() == {"done": 1, "linked": 2}
    shop.job("add_TC2", files={"add-tc2.zip": b"z"})
    shop.once()
    assert shop.gitlab.opened.count(job.id) == 2
    assert len(shop.gitlab.opened) == 3


def test_a_job_that_is_retried_gives_revision_two_its_own_files(shop: Depot) -> None:
    """The first keeps what it has."""
    first = shop.job("pay_TC1!", files={"pay-tc1.txt": b"first"})
    shop.once()
    pipeline = shop.gitlab._pipelines[first.pipeline_id]
    shop.job("pay_TC1", files={"pay-tc1.txt": b"other"}, pipeline=pipeline)
    assert shop.once().exit_status == EXIT_DONE
    assert shop.attached() == {"TC1/1": [("pay-tc1.txt", b"first"), OUTPUT], "TC1/2": [("pay-tc1.txt", b"other")]}


def test_a_job_that_is_retried_before_its_files_came_still_gives_them_to_its_result(shop: Depot) -> None:
    """They are of an attempt whose result stays in Rally."""
    first = shop.job("pay_TC1!", files={"pay-tc1.txt": b"first"})
    shop.gitlab.later.append(ServiceDown("GitLab", "away"))
    assert shop.once().exit_status == EXIT_TRY_AGAIN
    pipeline = shop.gitlab._pipelines[first.pipeline_id]
    shop.job("pay_TC1", files={"pay-tc1.txt": b"other"}, pipeline=pipeline)
    assert shop.once().exit_status == EXIT_DONE
    assert shop.attached() == {"TC1/1": [("pay-tc1.txt", b"first"), OUTPUT], "TC1/2": [("pay-tc1.txt", b"other")]}


def test_a_test_that_is_mapped_next_week_still_brings_its_output_and_its_files(shop: Depot) -> None:
    """The one from the ledger, the others from the archive as it is then."""
    shop.job("payment!", files={"payment.txt": b"last week"})
    shop.once()
    assert shop.counts() == {}
    shop.clock.advance(7 * DAY.total_seconds())
    shop.rows = {"payment": "TC2"}
    assert shop.plan() == [("TC2", "payment.txt", 9), ("TC2", "test_output.log", 3)]
    assert shop.once().exit_status == EXIT_DONE
    assert shop.attached() == {"TC2/1": [("payment.txt", b"last week"), OUTPUT]}


# --- without GitLab --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ServiceDown("GitLab", "no answer"), Unauthorized("GitLab: token expired")])
def test_without_gitlab_outputs_go_and_files_stay_pending(shop: Depot, error: Exception) -> None:
    """The ledger has the outputs; one archive that cannot be asked for ends the asking, for the server is away."""
    shop.job("pay_TC1!", files={"pay-tc1.txt": b"a"})
    shop.job("pay_TC1!", files={"pay-tc1.txt": b"b"})
    shop.gitlab.later.append(error)
    outcome = shop.once()
    assert (outcome.down, outcome.failed) == (
        ((str(error),), ()) if isinstance(error, ServiceDown) else ((), (str(error),))
    )
    assert (outcome.summary["left"], shop.counts()) == (2, {"done": 2, "pending": 2})
    assert len(shop.gitlab.opened) == 3
    assert shop.once().exit_status == EXIT_DONE
    assert shop.counts() == {"done": 4}


def test_a_gitlab_that_is_away_for_reports_and_for_files_is_one_trouble(shop: Depot) -> None:
    """Said once, and known until it is over."""
    shop.job("pay_TC1", files={"pay-tc1.txt": b"a"})
    shop.gitlab.later.append(ServiceDown("GitLab", "no answer"))
    shop.once()
    shop.gitlab.down = True
    assert shop.once().down == ("GitLab: no answer",)
    assert views.services(shop.ledger.store)["gitlab"]["trouble"] == "GitLab: no answer"
    shop.gitlab.down = False
    shop.once()
    assert views.services(shop.ledger.store)["gitlab"]["trouble"] is None


# --- the dry run -----------------------------------------------------------------------------------------------------


def test_a_dry_run_names_the_files_of_results_to_come_and_those_that_are_left(shop: Depot) -> None:
    """With their final sizes; links are not sent. It opens no archive for bytes, and intends nothing."""
    shop.job("pay_TC1!", files={"pay-tc1.txt": b"left over", "pay-tc1.mp4": b"film"})
    shop.gitlab.later.append(ServiceDown("GitLab", "away"))
    shop.once()
    shop.job("add_TC2", files={"add-tc2.txt": b"new"})
    opened = len(shop.gitlab.opened)
    assert shop.plan() == [("TC1", "pay-tc1.txt", 9), ("TC2", "add-tc2.txt", 3)]
    assert len(shop.gitlab.opened) == opened + 1
    assert shop.names() == {"TC1/1": ["test_output.log"]}
    assert shop.once().summary["attachments_sent"] == 2
    assert shop.plan() == []


# --- links that stay -------------------------------------------------------------------------------------------------


def test_gitlab_is_asked_once_to_keep_what_is_linked(shop: Depot) -> None:
    """One call for each job, and none for jobs whose files are all uploaded; the day is then not told."""
    shop.config = config(keep_linked=True)
    shop.gitlab.expires_at = START + 30 * DAY
    linked = shop.job("pay_TC1", "buy_TC1", files={"pay-tc1.mp4": b"film", "buy-tc1.mp4": b"film 2"})
    shop.job("pay_TC1", files={"pay-tc1.txt": b"a"})
    shop.once()
    shop.once()
    assert shop.gitlab.kept == [linked.id]
    assert "2026-03-02" not in shop.notes(linked)


def test_without_the_scope_a_person_is_told_once_and_the_day_is_shown_again(shop: Depot, warned: list[str]) -> None:
    """GitLab said No: results that come later say until when their links work."""
    shop.config = config(keep_linked=True)
    shop.gitlab.expires_at = START + 30 * DAY
    first = shop.job("pay_TC1", files={"pay-tc1.mp4": b"film"})
    more = shop.job("add_TC2", files={"add-tc2.mp4": b"film"})
    shop.gitlab.faults["keep_artifacts"].extend([Forbidden("insufficient_scope")] * 2)
    assert shop.once().exit_status == EXIT_DONE
    assert [line for line in warned if "keep_linked" in line] == [warned[0]]
    third = shop.job("pay_TC1", files={"pay-tc1.mp4": b"film"})
    shop.gitlab.faults["keep_artifacts"].append(Forbidden("insufficient_scope"))
    shop.once()
    shop.once()
    assert shop.gitlab.kept == []
    assert ["2026-03-02" in shop.notes(job) for job in (first, more, third)] == [False, False, True]


@pytest.mark.parametrize(
    ("error", "exit_status", "kept"),
    [
        (NotThere("gone"), EXIT_DONE, 1),
        (Incomplete("GitLab: HTTP 500"), EXIT_TRY_AGAIN, 2),
        (ServiceDown("GitLab", "away"), EXIT_TRY_AGAIN, 2),
    ],
)
def test_a_keep_call_that_fails_holds_up_nothing(shop: Depot, error: Exception, exit_status: int, kept: int) -> None:
    """What is gone is not asked for again; where GitLab could not answer, the next pass asks again."""
    shop.config = config(keep_linked=True)
    shop.gitlab.expires_at = START + 30 * DAY
    for _ in range(2):
        shop.job("pay_TC1", files={"pay-tc1.mp4": b"film"})
    shop.gitlab.faults["keep_artifacts"].append(error)
    assert shop.once().exit_status == exit_status
    assert shop.once().exit_status == EXIT_DONE
    assert len(shop.gitlab.kept) == kept


# --- one by one ------------------------------------------------------------------------------------------------------


def test_with_a_batch_size_of_one_each_file_has_two_requests(shop: Depot) -> None:
    """As for results."""
    shop.batch_size = 1
    shop.job("pay_TC1!", files={"pay-tc1.txt": b"a"})
    assert shop.once().summary["writes"] == 5
    assert shop.names() == {"TC1/1": ["pay-tc1.txt", "test_output.log"]}


def test_an_attachment_that_another_writer_was_in_the_way_of_is_sent_again(shop: Depot) -> None:
    """In the same pass, with the content that it has."""
    shop.job("pay_TC1!", files={"pay-tc1.txt": b"a"})
    shop.rally.attachment_steps.append(says_no([0], "Concurrency conflict", conflict=True))
    assert shop.once().exit_status == EXIT_DONE
    assert shop.names() == {"TC1/1": ["pay-tc1.txt", "test_output.log"]}
    assert (len(shop.rally.content_requests), shop.rally.orphans()) == (1, [])
