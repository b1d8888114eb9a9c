"""Bytes on their way out of the ledger or an archive: in which order, for whom, and where it ends."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from reconciler.desks import Upload
from reconciler.errors import NotDone, ServiceDown, Unauthorized
from reconciler.fetch import Fetcher
from reconciler.spool import Spool
from tests.archives import FIELDS, altered, noise, packed
from tests.fates import fails
from tests.unit.attaching import Depot, depot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.desks import Fetched

PNG = b"\x89PNG\r\n\x1a\n" + noise(100)


@dataclass
class Errand:
    """A fetcher over a depot whose results are in Rally and whose files are all still to come."""

    shop: Depot
    spool: Spool
    down: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def wanted(self) -> list[Upload]:
        """Send the results without their files, and tell what they want."""
        self.shop.rally.content_steps.append(fails(NotDone("away", retry_after_s=100.0)))
        self.shop.gitlab.later.append(ServiceDown("GitLab", "away"))
        self.shop.once()
        self.shop.gitlab.later.clear()
        attachments = self.shop.ledger.attachments
        return [Upload(holder, row) for holder in attachments.holders() for row in attachments.rows(holder.entry_id)]

    def run(self, uploads: list[Upload]) -> Iterator[list[Fetched]]:
        """Fetch."""
        shop = self.shop
        return Fetcher(shop.gitlab, shop.ledger, shop.clock, self.down, self.failed).fetch(uploads, self.spool)

    def fetch(self, uploads: list[Upload]) -> list[tuple[str, str, bytes]]:
        """Fetch all: test case, name and bytes."""
        return [
            (one.upload.holder.formatted_id, one.upload.row.name, one.content.file.read())
            for several in self.run(uploads)
            for one in several
        ]


@pytest.fixture
def errand() -> Iterator[Errand]:
    """Open a depot and a spool."""
    opened = depot()
    with closing(opened.ledger.store), closing(Spool()) as spool:
        yield Errand(opened, spool)


def test_outputs_come_first_then_each_archives_files_in_the_order_of_their_bytes(errand: Errand) -> None:
    """GitLab is needed for the files only."""
    errand.shop.job("pay_TC1!", files={"pay-tc1/b.txt": b"b", "pay-tc1/a.txt": b"a"})
    errand.shop.job("add_TC2!", files={"add-tc2.txt": b"c"})
    assert errand.fetch(errand.wanted()) == [
        ("TC1", "test_output.log", b"no\n"),
        ("TC2", "test_output.log", b"no\n"),
        ("TC1", "b.txt", b"b"),
        ("TC1", "a.txt", b"a"),
        ("TC2", "add-tc2.txt", b"c"),
    ]


def test_all_who_want_a_file_get_it_together_and_it_lies_in_the_spool_once(errand: Errand) -> None:
    """So the spool may be emptied after each."""
    errand.shop.job("pay_TC1_TC2", files={"pay-tc1-tc2.txt": b"x" * 1_000})
    uploads = errand.wanted()
    ((one, other),) = errand.run(uploads)
    assert {one.upload.holder.formatted_id, other.upload.holder.formatted_id} == {"TC1", "TC2"}
    assert errand.spool.size_bytes == 1_000
    assert one.content.file.read() == other.content.file.read() == b"x" * 1_000
    assert one.lane != other.lane


def test_what_a_file_says_it_is_is_compared_with_its_first_bytes(errand: Errand) -> None:
    """An image that is none is just bytes."""
    errand.shop.job("pay_TC1!", files={"pay-tc1/good.png": PNG, "pay-tc1/bad.png": b"<html>", "pay-tc1/log.txt": b"x"})
    types = {one.upload.row.name: one.content_type for several in errand.run(errand.wanted()) for one in several}
    assert types["good.png"] == "image/png"
    assert types["bad.png"] != "image/png"
    assert types["log.txt"].startswith("text/plain")
    assert types["test_output.log"].startswith("text/plain")


def test_a_bad_file_takes_its_place_in_no_spool(errand: Errand) -> None:
    """Those after it are whole."""
    files = {"pay-tc1/1.txt": b"one", "pay-tc1/2.txt": noise(200_000), "pay-tc1/3.txt": b"three"}
    errand.shop.job("pay_TC1", files=altered(packed(files.items()), "pay-tc1/2.txt", FIELDS["crc"], 7))
    assert errand.fetch(errand.wanted()) == [("TC1", "1.txt", b"one"), ("TC1", "3.txt", b"three")]
    assert errand.spool.size_bytes == 8
    assert errand.shop.counts() == {"pending": 2, "missing": 1}


@pytest.mark.parametrize("error", [ServiceDown("GitLab", "away"), Unauthorized("GitLab: no")])
def test_a_gitlab_that_is_away_ends_the_errand_and_nothing_is_lost(errand: Errand, error: Exception) -> None:
    """The archives after it are not asked for."""
    errand.shop.job("pay_TC1!", files={"pay-tc1.txt": b"a"})
    errand.shop.job("add_TC2", files={"add-tc2.txt": b"b"})
    uploads = errand.wanted()
    opened = len(errand.shop.gitlab.opened)
    errand.shop.gitlab.later.append(error)
    assert errand.fetch(uploads) == [("TC1", "test_output.log", b"no\n")]
    assert len(errand.shop.gitlab.opened) == opened + 1
    assert (errand.down, errand.failed) == (
        ([str(error)], []) if isinstance(error, ServiceDown) else ([], [str(error)])
    )
    assert errand.shop.counts() == {"pending": 3}


def test_one_who_stops_asking_leaves_the_rest_as_it_was(errand: Errand) -> None:
    """Closing the archive behind it."""
    errand.shop.job("pay_TC1", files={"pay-tc1/1.txt": b"one", "pay-tc1/2.txt": b"two"})
    uploads = errand.wanted()
    fetching = errand.run(uploads)
    assert len(next(iter(fetching))) == 1
    del fetching
    assert errand.shop.counts() == {"pending": 2}
