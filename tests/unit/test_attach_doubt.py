"""Files in doubt: what Rally's silence, a kill or a lost ledger leaves open is asked about, and nothing is doubled."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from reconciler import attach
from reconciler.dispatch import GONE
from reconciler.errors import EXIT_DONE, EXIT_TRY_AGAIN, BatchRefused, NotDone
from reconciler.ledger.ledger import Ledger, in_memory
from tests.fates import Killed, fails, killed, later, says_no, silent
from tests.unit.attaching import OUTPUT, Depot, depot

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES = {"pay-tc1/1.txt": b"one", "pay-tc1/2.txt": b"two!"}
ALL = [("1.txt", b"one"), ("2.txt", b"two!"), OUTPUT]
AWAY = NotDone("Rally: no connection", retry_after_s=100.0)


@pytest.fixture
def shop() -> Iterator[Depot]:
    """Open the shop, with a job that has two files and an output."""
    opened = depot()
    opened.job("pay_TC1!", files=FILES)
    with closing(opened.ledger.store):
        yield opened
        opened.ledger.store.close()  # another by now, perhaps


# --- contents --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("done", [0, 1, 3])
def test_contents_whose_answer_was_lost_are_orphans_and_are_sent_anew(shop: Depot, done: int) -> None:
    """Nobody can see them, so they are counted, all that may be there, and the next pass sends others at once."""
    shop.rally.content_steps.append(silent(done))
    outcome = shop.once()
    assert (outcome.exit_status, outcome.summary["left"]) == (EXIT_TRY_AGAIN, 3)
    assert shop.counts() == {"pending": 3, "orphaned": 3}
    assert shop.once().exit_status == EXIT_DONE
    assert shop.attached() == {"TC1/1": ALL}
    assert (shop.counts(), len(shop.rally.orphans())) == ({"done": 3, "orphaned": 3}, done)


def test_contents_that_were_on_their_way_when_the_process_died_are_counted_once(shop: Depot) -> None:
    """The next run finds in the ledger that it had begun."""
    shop.rally.content_steps.append(killed(2))
    with pytest.raises(Killed):
        shop.once()
    assert shop.counts() == {"pending": 3}
    assert shop.once().exit_status == EXIT_DONE
    assert shop.attached() == {"TC1/1": ALL}
    assert shop.counts() == {"done": 3, "orphaned": 3}
    shop.once()
    assert shop.counts() == {"done": 3, "orphaned": 3}


@pytest.mark.parametrize(
    "error", [NotDone("too large", too_large=True), BatchRefused("no /batch"), NotDone("once", retry_after_s=0.0)]
)
def test_contents_that_were_turned_away_are_no_orphans(shop: Depot, error: Exception) -> None:
    """Nothing was done of them: fewer at once, or again."""
    shop.rally.content_steps.append(fails(error))
    assert shop.once().exit_status == EXIT_DONE
    assert (shop.attached(), shop.counts()) == ({"TC1/1": ALL}, {"done": 3})


def test_a_content_of_an_earlier_pass_is_used(shop: Depot) -> None:
    """The attachments could not be created then; no byte is fetched or sent again."""
    shop.rally.attachment_steps.append(fails(AWAY))
    assert shop.once().exit_status == EXIT_TRY_AGAIN
    assert shop.counts() == {"pending": 3}
    opened = len(shop.gitlab.opened)
    assert shop.once().exit_status == EXIT_DONE
    assert (len(shop.rally.content_requests), len(shop.gitlab.opened)) == (1, opened)
    assert (shop.attached(), shop.counts()) == ({"TC1/1": ALL}, {"done": 3})


def test_a_content_of_an_earlier_pass_that_is_gone_is_sent_anew_in_the_same_pass(shop: Depot) -> None:
    """Somebody tidied up in Rally."""
    shop.rally.attachment_steps.append(fails(AWAY))
    shop.once()
    shop.rally.contents.clear()
    assert shop.once().exit_status == EXIT_DONE
    assert (shop.attached(), shop.counts()) == ({"TC1/1": ALL}, {"done": 3, "orphaned": 3})


def test_a_fresh_content_that_rally_cannot_read_is_refused(shop: Depot) -> None:
    """To send it again and again would lead nowhere."""
    shop.rally.refuses_attachment = lambda new: f"{GONE} null" if new.name == "1.txt" else ""
    assert shop.once().exit_status == EXIT_DONE
    assert shop.counts() == {"done": 2, "refused": 1, "orphaned": 1}


# --- attachments -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("done", [0, 1, 2, 3])
def test_attachments_without_an_answer_are_looked_up_when_they_are_old_enough(shop: Depot, done: int) -> None:
    """What is there is confirmed; the rest is sent with the content that it has. Until then nothing is sent."""
    shop.rally.attachment_steps.append(silent(done))
    assert shop.once().exit_status == EXIT_TRY_AGAIN
    shop.clock.advance(300)
    outcome = shop.once()
    assert (outcome.exit_status, outcome.summary["writes"], shop.counts()) == (EXIT_TRY_AGAIN, 0, {"pending": 3})
    shop.clock.advance(100)
    assert shop.plan() == [
        ("TC1", name, len(data)) for name, data in ALL if (name, data) not in shop.attached().get("TC1/1", [])
    ]
    outcome = shop.once()
    assert (outcome.exit_status, outcome.summary["attachments_sent"]) == (EXIT_DONE, 3 - done)
    assert (shop.attached(), shop.counts()) == ({"TC1/1": ALL}, {"done": 3})
    assert (len(shop.rally.content_requests), shop.rally.orphans()) == (1, [])


def test_attachments_that_come_late_are_confirmed(shop: Depot) -> None:
    """Their request was alive in Rally for a while."""
    shop.rally.attachment_steps.append(later())
    shop.once()
    shop.rally.land(begun_before=shop.clock.advance(400))
    outcome = shop.once()
    assert (outcome.exit_status, outcome.summary["writes"], shop.attached()) == (EXIT_DONE, 0, {"TC1/1": ALL})


@pytest.mark.parametrize("done", [0, 1, 3])
def test_killed_among_attachments_one_more_run_has_each_once(shop: Depot, done: int) -> None:
    """As after silence."""
    shop.rally.attachment_steps.append(killed(done))
    with pytest.raises(Killed):
        shop.once()
    shop.clock.advance(400)
    assert shop.once().exit_status == EXIT_DONE
    assert (shop.attached(), shop.counts()) == ({"TC1/1": ALL}, {"done": 3})


def test_a_result_in_doubt_gets_nothing_more_and_others_do(shop: Depot, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also within the pass: two requests that attach to one result are never alive at once."""
    monkeypatch.setattr(attach, "CARRIED_FILES", 1)
    shop.job("add_TC2", files={"add-tc2.txt": b"x"})
    shop.rally.attachment_steps.append(later())
    assert shop.once().exit_status == EXIT_TRY_AGAIN
    assert shop.names() == {"TC2/1": ["add-tc2.txt"]}
    assert [len(request) for request in shop.rally.attachment_requests] == [1, 1]
    shop.rally.land(begun_before=shop.clock.advance(400))
    assert shop.once().exit_status == EXIT_DONE
    assert shop.attached()["TC1/1"] == ALL
    assert (shop.counts(), len(shop.rally.content_requests)) == ({"done": 4}, 4)


def test_an_attachment_that_a_person_deleted_does_not_come_back(shop: Depot) -> None:
    """Nothing is asked about what is done."""
    shop.once()
    shop.rally.attached.pop(min(shop.rally.attached))
    assert shop.once().summary["writes"] == 0
    assert len(shop.names()["TC1/1"]) == 2


def test_a_conflict_of_all_attachments_is_waited_for_with_fewer_at_once(shop: Depot) -> None:
    """A plain No: the rows are pending again, and none is in doubt."""
    shop.rally.attachment_steps.append(says_no([0, 1, 2], "Concurrency conflict", conflict=True))
    assert shop.once().exit_status == EXIT_DONE
    assert (shop.attached(), shop.counts()) == ({"TC1/1": ALL}, {"done": 3})


def test_where_batch_is_not_to_be_had_attachments_go_one_by_one(shop: Depot) -> None:
    """As results do."""
    shop.rally.attachment_steps.append(fails(BatchRefused("HTTP 404")))
    assert shop.once().exit_status == EXIT_DONE
    assert [len(request) for request in shop.rally.attachment_requests] == [3, 1, 1, 1]
    assert shop.attached() == {"TC1/1": ALL}


# --- another ledger --------------------------------------------------------------------------------------------------


def test_a_lost_ledger_finds_the_files_that_are_there_and_sends_those_that_are_not(shop: Depot) -> None:
    """One of the three was lost with the ledger."""
    shop.rally.attachment_steps.append(says_no([1], "Server error"))
    shop.once()
    with closing(in_memory().store) as store:
        shop.ledger = Ledger(store, skips_count=False)
        outcome = shop.once()
        names = [name for name in shop.names()["TC1/1"] if name != "not attached.txt"]
        assert (outcome.exit_status, outcome.summary["attachments_sent"]) == (EXIT_DONE, 1)
        assert (names, shop.counts()) == ([name for name, _ in ALL], {"done": 3})


@pytest.mark.parametrize("files_too", [False, True])
def test_a_ledger_restored_from_before_doubles_nothing(shop: Depot, files_too: bool) -> None:  # noqa: FBT001 - a parameter
    """The copy was taken before the results were sent, or when their files were still to come."""
    if files_too:
        shop.rally.content_steps.append(fails(AWAY))
        shop.once()
        assert shop.counts() == {"pending": 3}
    copy = shop.copy()
    assert shop.once().exit_status == EXIT_DONE
    shop.ledger.store.close()
    shop.ledger = copy
    outcome = shop.once()
    assert (outcome.exit_status, outcome.summary["writes"]) == (EXIT_DONE, 0)
    assert (shop.attached(), shop.counts()) == ({"TC1/1": ALL}, {"done": 3})


@pytest.mark.parametrize("lost", [False, True])
def test_what_rally_refuses_again_is_not_told_twice(shop: Depot, lost: bool) -> None:  # noqa: FBT001 - a parameter
    """A lost or restored ledger tries the file anew, and finds the text that says why it is not there."""
    shop.rally.refuses_content = lambda data: "infected" if data == b"one" else ""
    shop.rally.content_steps.append(fails(AWAY))
    shop.once()
    copy = shop.copy()
    shop.once()
    before = shop.attached()
    assert [name for name, _ in before["TC1/1"]] == ["2.txt", "not attached.txt", "test_output.log"]
    with closing(copy.store), closing((in_memory() if lost else copy).store) as store:
        shop.ledger = Ledger(store, skips_count=False)
        assert shop.once().exit_status == EXIT_DONE
        assert shop.attached() == before
        assert shop.counts() == {"done": 2, "refused": 1}


def test_what_a_result_has_is_counted_anew_after_files_were_sent(shop: Depot) -> None:
    """A person took as many away as are sent now: the number is the same, and the text is there all the same."""
    shop.rally.refuses_content = lambda data: "infected" if data in {b"one", b"two!"} else ""
    shop.once()
    before = shop.attached()
    (output,) = [number for number, one in shop.rally.attached.items() if one.name == "test_output.log"]
    shop.rally.attached.pop(output)
    with closing(in_memory().store) as store:
        shop.ledger = Ledger(store, skips_count=False)
        assert shop.once().exit_status == EXIT_DONE
        assert shop.attached() == before
        assert shop.counts() == {"done": 1, "refused": 2}


def test_of_two_files_of_one_name_and_size_the_one_that_is_not_there_is_sent(shop: Depot) -> None:
    """Their contents are compared, with whatever a person has hung there too."""
    shop.job("add_TC2", files={"add-tc2/1/log.txt": b"first", "add-tc2/2/log.txt": b"other"})
    shop.once()
    (number,) = [n for n, one in shop.rally.attached.items() if shop.rally.contents[one.content] == b"first"]
    shop.rally.attached.pop(number)
    with closing(in_memory().store) as store:
        shop.ledger = Ledger(store, skips_count=False)
        assert shop.plan() == [("TC2", "log.txt", 5)]
        assert shop.once().exit_status == EXIT_DONE
        assert shop.attached()["TC2/1"] == [("log.txt", b"first"), ("log.txt", b"other")]
        assert shop.counts() == {"done": 5}
