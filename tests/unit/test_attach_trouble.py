"""Files that cannot be had, or that Rally will not have: the result arrives and says so, other files are untouched."""

from __future__ import annotations

import errno
import io
import tempfile
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from reconciler.archive import BadArchive
from reconciler.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_TRY_AGAIN,
    Forbidden,
    Incomplete,
    NotDone,
    NotThere,
    TooLarge,
)
from reconciler.fetch import TRIES
from reconciler.ledger import views
from tests.archives import BOMB, FIELDS, altered, encrypted, lying, packed
from tests.building import DAY
from tests.fakes import START
from tests.fates import fails
from tests.unit.attaching import OUTPUT, Depot, depot

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from _typeshed import ReadableBuffer

NOTICE = "not attached.txt"
BAD, GOOD = "pay-tc1/bad.txt", "pay-tc1/good.txt"
FILES: Mapping[str, bytes] = {GOOD: b"good", BAD: b"bad " * 100}


@pytest.fixture
def shop() -> Iterator[Depot]:
    """Open the shop."""
    opened = depot()
    with closing(opened.ledger.store):
        yield opened


def _spoilt(data: bytes, path: str) -> bytes:
    """Change a byte of a member's content where it lies."""
    at = data.index(path.encode()) + len(path) + 2
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


ARCHIVE = packed(FILES.items())


# --- one bad member --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("archive", "kind"),
    [
        (altered(ARCHIVE, BAD, FIELDS["crc"], 7), "corrupt"),
        (_spoilt(ARCHIVE, BAD), "corrupt"),
        (lying(ARCHIVE, BAD, 1_000), "corrupt"),
    ],
    ids=["checksum", "content", "size"],
)
def test_a_member_that_proves_bad_when_it_is_read_becomes_a_text_on_its_result(
    shop: Depot, archive: bytes, kind: str
) -> None:
    """The result is there by then, and its Notes are never edited."""
    job = shop.job("pay_TC1!", files=archive)
    outcome = shop.once()
    assert (outcome.exit_status, outcome.summary["problems"], dict(shop.problems())) == (EXIT_DONE, 1, {kind: 1})
    assert shop.counts() == {"done": 2, "missing": 1}
    assert shop.names() == {"TC1/1": ["good.txt", NOTICE, "test_output.log"]}
    text = shop.text("TC1/1", NOTICE)
    assert text.startswith("These files could not be attached to this result:\n\nbad.txt\n    ")
    assert text.endswith(f"    {job.web_url}/artifacts/file/pay-tc1/bad.txt\n")
    assert [row["name"] for row in views.unattached(shop.ledger.store)] == ["bad.txt"]
    assert shop.once().summary["writes"] == 0


@pytest.mark.parametrize(
    ("archive", "kind", "counts"),
    [
        (encrypted(ARCHIVE, BAD), "encrypted", {"done": 2, "missing": 1}),
        (altered(ARCHIVE, BAD, FIELDS["method"], 12, "<H"), "unsupported", {"done": 2, "missing": 1}),
        (packed([(GOOD, b"good"), (BAD, b"one"), (BAD, b"two")]), "duplicate-name", {"done": 3}),
        (packed([(GOOD, b"good"), (BAD, BOMB)]), "", {"done": 2, "linked": 1}),
        (packed([(GOOD, b"good"), ("../../pay-tc1.txt", b"x")]), "unsafe-name", {"done": 2, "missing": 1}),
    ],
    ids=["encrypted", "unsupported", "two of one name", "bomb above the limit", "climbs"],
)
def test_a_member_that_is_known_to_be_bad_is_told_by_the_notes(
    shop: Depot, archive: bytes, kind: str, counts: dict[str, int]
) -> None:
    """Its directory tells before anything is sent; no further text is needed."""
    job = shop.job("pay_TC1!", files=archive)
    assert shop.once().exit_status == EXIT_DONE
    assert dict(shop.problems()) == ({kind: 1} if kind else {})
    assert shop.counts() == counts
    assert NOTICE not in shop.names()["TC1/1"]
    assert ("good.txt", b"good") in shop.attached()["TC1/1"]
    assert OUTPUT in shop.attached()["TC1/1"]
    assert ("bad.txt" in shop.notes(job)) == (kind != "unsafe-name")


# --- the archive is not what it was ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (Forbidden("HTTP 403"), "forbidden", "GitLab does not let the archive be read"),
        (TooLarge("the archive has more than 5 GB"), "too-large", "more than 5 GB"),
        (BadArchive("truncated", "it ends too early"), "truncated", "it ends too early"),
    ],
)
def test_an_archive_that_cannot_be_read_any_more_is_one_problem_and_a_text_on_each_result(
    shop: Depot, error: Exception, kind: str, says: str
) -> None:
    """The results are there, their outputs and the files of other jobs too."""
    shop.job("pay_TC1!", "add_TC2", files={**FILES, "add-tc2.txt": b"x"})
    shop.job("sum_TC3", files={"sum-tc3.txt": b"of another job"})
    shop.gitlab.later.append(error)
    assert shop.once().exit_status == EXIT_DONE
    assert shop.names() == {"TC1/1": [NOTICE, "test_output.log"], "TC2/1": [NOTICE], "TC3/1": ["sum-tc3.txt"]}
    assert (dict(shop.problems()), shop.counts()) == ({kind: 1}, {"done": 2, "missing": 3})
    assert shop.text("TC1/1", NOTICE).count(says) == 2
    assert shop.once().summary["writes"] == 0


def test_an_archive_that_expired_meanwhile_says_on_which_day(shop: Depot) -> None:
    """A 404 after that day is the last word."""
    shop.gitlab.expires_at = START + DAY
    shop.job("pay_TC1!", files=FILES)
    shop.gitlab.later.append(Incomplete("GitLab: cut short"))
    assert shop.once().exit_status == EXIT_TRY_AGAIN
    shop.clock.advance(2 * DAY.total_seconds())
    shop.gitlab.later.append(NotThere("HTTP 404"))
    assert shop.once().exit_status == EXIT_DONE
    assert "expired on 2026-02-01" in shop.text("TC1/1", NOTICE)
    assert (dict(shop.problems()), shop.counts()) == ({"expired": 1}, {"done": 1, "missing": 2})


@pytest.mark.parametrize(
    ("error", "kind"),
    [(Incomplete("GitLab: the archive was cut short"), "unreadable"), (NotThere("GitLab: HTTP 404"), "missing")],
)
def test_an_archive_that_keeps_failing_is_left_to_later_passes_but_not_for_ever(
    shop: Depot, error: Exception, kind: str
) -> None:
    """A 404 may be a passing one while GitLab lists the archive (facts: artifacts_expire_at)."""
    shop.job("pay_TC1!", files=FILES)
    shop.job("add_TC2", files={"add-tc2.txt": b"of another job"})
    shop.gitlab.swapped.clear()
    for place in range(TRIES - 1):
        shop.gitlab.later.append(error)
        outcome = shop.once()
        assert (outcome.exit_status, outcome.down) == (EXIT_TRY_AGAIN, (str(error),))
        assert (outcome.summary["left"], shop.counts(), place) == (2, {"done": 2, "pending": 2}, place)
    shop.gitlab.later.append(error)
    assert shop.once().exit_status == EXIT_DONE
    assert (dict(shop.problems()), shop.counts()) == ({kind: 1}, {"done": 2, "missing": 2})
    assert shop.names() == {"TC1/1": [NOTICE, "test_output.log"], "TC2/1": ["add-tc2.txt"]}
    assert shop.once().summary["writes"] == 0


def test_an_archive_that_is_whole_again_gives_its_files(shop: Depot) -> None:
    """The tries before are forgiven."""
    shop.job("pay_TC1!", files=FILES)
    shop.gitlab.later.extend([Incomplete("GitLab: cut short")] * (TRIES - 1))
    for _ in range(TRIES):
        outcome = shop.once()
    assert (outcome.exit_status, shop.counts(), shop.problems()) == (EXIT_DONE, {"done": 3}, {})


@pytest.mark.parametrize("after", [{GOOD: b"good", BAD: b"BAD " * 100}, {GOOD: b"good"}], ids=["other bytes", "gone"])
def test_a_file_that_is_another_than_when_the_directory_was_read_is_not_attached(
    shop: Depot, after: dict[str, bytes]
) -> None:
    """Its neighbours that are the same are."""
    job = shop.job("pay_TC1!", files=FILES)
    shop.gitlab.swapped[job.id] = packed(after.items())
    assert shop.once().exit_status == EXIT_DONE
    assert shop.names() == {"TC1/1": ["good.txt", NOTICE, "test_output.log"]}
    assert "the job's archive is another one" in shop.text("TC1/1", NOTICE)
    assert dict(shop.problems()) == {"changed": 1}


@pytest.mark.parametrize(
    ("error", "says"),
    [(Forbidden("HTTP 403"), "it may not be read"), (BadArchive("corrupt", "no zip at all"), "no zip at all")],
)
def test_an_archive_whose_directory_cannot_be_had_for_good_is_told_by_the_notes(
    shop: Depot, error: Exception, says: str
) -> None:
    """The result goes without, and waits for nothing."""
    job = shop.job("pay_TC1!", files=FILES)
    shop.gitlab.faults["archive"].append(error)
    assert shop.once().exit_status == EXIT_DONE
    assert shop.attached() == {"TC1/1": [OUTPUT]}
    assert says in shop.notes(job)
    assert shop.problems().total() == 1


# --- Rally says No ---------------------------------------------------------------------------------------------------


def test_a_file_that_rally_refuses_is_a_link_and_a_text_says_so(shop: Depot) -> None:
    """Whether it refuses the bytes or the attachment; the content of the second is an orphan."""
    shop.rally.refuses_content = lambda data: "Validation error: infected" if data.startswith(b"bad") else ""
    shop.rally.refuses_attachment = lambda new: "Validation error: name" if new.name == "good.txt" else ""
    shop.job("pay_TC1!", files=FILES)
    outcome = shop.once()
    assert (outcome.exit_status, outcome.summary["attachments_sent"]) == (EXIT_DONE, 1)
    assert shop.counts() == {"done": 1, "refused": 2, "orphaned": 1}
    text = shop.text("TC1/1", NOTICE)
    assert "bad.txt\n    Rally refuses it: Validation error: infected\n" in text
    assert "good.txt\n    Rally refuses it: Validation error: name\n" in text
    assert (shop.once().summary["writes"], shop.rally.orphans()) == (0, [b"good"])


def test_a_content_that_is_too_large_for_rally_on_its_own_is_refused(shop: Depot) -> None:
    """HTTP 413 for a batch halves it; for one file it is the last word."""
    shop.job("pay_TC1", files=FILES)
    too_large = fails(NotDone("HTTP 413: request entity too large", too_large=True))
    shop.rally.content_steps.extend([too_large, too_large])
    assert shop.once().exit_status == EXIT_DONE
    assert shop.names() == {"TC1/1": ["bad.txt", NOTICE]}
    assert "good.txt\n    Rally refuses it: HTTP 413" in shop.text("TC1/1", NOTICE)
    assert shop.counts() == {"done": 1, "refused": 1}


def test_a_text_of_ours_that_rally_refuses_too_ends_there(shop: Depot) -> None:
    """It is not counted as a file, and nothing is told of it."""
    shop.rally.refuses_content = lambda _: "Validation error: no"
    shop.job("pay_TC1!")
    assert shop.once().exit_status == EXIT_DONE
    assert (shop.attached(), shop.counts()) == ({}, {"refused": 1})
    assert shop.once().summary["writes"] == 0


def test_a_result_that_a_person_deleted_before_its_files_came_is_left_alone(shop: Depot) -> None:
    """Others get theirs; one pass is enough, a content that waited from before included."""
    shop.job("pay_TC1!", "add_TC2", files={**FILES, "add-tc2.txt": b"x"})
    shop.gitlab.later.append(Incomplete("GitLab: cut short"))
    shop.rally.attachment_steps.append(fails(NotDone("Rally: no connection", retry_after_s=100.0)))
    assert shop.once().exit_status == EXIT_TRY_AGAIN
    (gone,) = [number for number, one in shop.rally.stored.items() if one.key.formatted_id == "TC1"]
    del shop.rally.stored[gone]
    outcome = shop.once()
    assert (outcome.exit_status, shop.names()) == (EXIT_DONE, {"TC2/1": ["add-tc2.txt"]})
    assert (shop.counts()["done"], shop.counts()["refused"]) == (1, 3)
    assert shop.once().summary["writes"] == 0


# --- our own disk ----------------------------------------------------------------------------------------------------


class TightDisk(io.FileIO):
    """A file on a disk on which only so much fits."""

    room = 10

    def write(self, data: ReadableBuffer, /) -> int:
        """Take what fits, as the system does: first a part, then nothing."""
        view = memoryview(data)
        fits = max(0, self.room - self.tell())
        if not fits:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(view[:fits])


def test_on_a_full_disk_each_pass_gets_some_way(shop: Depot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What was fetched is sent before the trouble is told; when there is room again, the rest comes whole."""
    with monkeypatch.context() as patched:
        patched.setattr(tempfile, "TemporaryFile", lambda buffering: TightDisk(tmp_path / f"spool{buffering}", "w+"))
        shop.job("pay_TC1!", files=FILES)
        outcome = shop.once()
        assert outcome.exit_status == EXIT_FAILED
        assert "No space left on device: free some space there" in outcome.failed[0]
        assert shop.attached() == {"TC1/1": [("good.txt", b"good"), OUTPUT]}
        assert shop.once().exit_status == EXIT_FAILED
    assert shop.once().exit_status == EXIT_DONE
    assert dict(shop.attached()["TC1/1"])["bad.txt"] == FILES[BAD]
    assert shop.counts() == {"done": 3}
