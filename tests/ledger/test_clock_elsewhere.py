"""The ledger on a machine whose clock is not set to UTC, and how SQLite is told to behave."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from reconciler.ledger.store import _keep_copy, _unusable, open_for_writing, stamp
from tests.fakes import START

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def _tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Be nine hours ahead."""
    with monkeypatch.context() as there:
        there.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("_tokyo")
def test_instants_are_kept_in_utc_wherever_the_machine_is() -> None:
    """They are compared as texts."""
    there = START.astimezone(timezone(timedelta(hours=-5)))
    assert stamp(there) == stamp(START) == "2026-01-31T12:00:00.000000Z"


@pytest.mark.usefixtures("_tokyo")
def test_a_copy_is_named_after_the_instant_in_utc(tmp_path: Path) -> None:
    """The `Z` in its name is true."""
    path = tmp_path / "ledger.db"
    with closing(open_for_writing(path)) as store:
        _keep_copy(store, path)
    (copy,) = tmp_path.glob("ledger.db.before-*")
    named = datetime.strptime(copy.name.rpartition("-")[2], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    assert abs(datetime.now(UTC) - named) < timedelta(minutes=10)


def test_a_schema_that_was_tampered_with_runs_no_functions(tmp_path: Path) -> None:
    """SQLite's own advice for files that others may have written; and a commit is on the disk when it returns."""
    with closing(open_for_writing(tmp_path / "ledger.db")) as store:
        assert (store.value("PRAGMA trusted_schema"), store.value("PRAGMA synchronous")) == (0, 2)


def test_of_a_folder_that_may_not_be_entered_the_systems_words_are_told_without_its_number() -> None:
    """The path is named once."""
    told = str(_unusable("/var/lib/x/ledger.db", PermissionError(13, "Permission denied", "/var/lib/x/ledger.db")))
    assert told.startswith("the ledger /var/lib/x/ledger.db cannot be used: Permission denied: ")
