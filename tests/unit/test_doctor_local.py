"""What the doctor finds on this machine."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.config import Address, LedgerSettings, MetricsSettings, NotifySettings
from reconciler.doctor import HostExam
from reconciler.ledger.ledger import open_ledger
from tests import building
from tests.clock import START

if TYPE_CHECKING:
    from pathlib import Path

    from reconciler.doctor import Finding


@dataclass
class Host:
    """A folder for the ledger, and the settings."""

    folder: Path
    rally: dict[str, Any]
    metrics: MetricsSettings
    notify: NotifySettings

    @property
    def ledger(self) -> Path:
        """Where the ledger is, or will be."""
        return self.folder / "ledger.db"

    def one(self, check: str) -> Finding:
        """Look at everything, and give this one's finding."""
        settings = building.settings(building.rally_settings(**self.rally))
        settings = replace(settings, ledger=LedgerSettings(path=self.ledger), metrics=self.metrics, notify=self.notify)
        return next(one for one in HostExam(settings, self.folder, lambda: START).findings() if one.check == check)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Give one without a ledger."""
    return Host(tmp_path, {}, MetricsSettings(), NotifySettings())


# --- the ledger ------------------------------------------------------------------------------------------------------


def test_a_ledger_that_there_is_not_yet_is_not_made(host: Host) -> None:
    """The doctor writes nothing, no lock either."""
    assert host.one("ledger.integrity").found == "there is none yet: the first pass makes it"
    assert host.one("daemon").state == "ok"
    assert list(host.folder.iterdir()) == []


def test_a_whole_ledger_is_left_as_it_is(host: Host) -> None:
    """Byte by byte."""
    with open_ledger(host.ledger, skips_count=False):
        pass
    before = host.ledger.read_bytes()
    assert (host.one("ledger.integrity").state, host.one("ledger.integrity").found) == ("ok", "whole")
    assert host.ledger.read_bytes() == before


def test_a_damaged_ledger_fails(host: Host) -> None:
    """With what to do about it."""
    host.ledger.write_bytes(b"no database at all" * 1000)
    one = host.one("ledger.integrity")
    assert (one.state, bool(one.todo)) == ("fail", True)


def test_a_page_that_is_damaged_inside_fails(host: Host) -> None:
    """The file opens, and only a look through all of it shows the damage."""
    with open_ledger(host.ledger, skips_count=False):
        pass
    with closing(sqlite3.connect(host.ledger)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        page = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'cursors'").fetchone()[0]
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    with host.ledger.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    assert host.one("ledger.integrity").state == "fail"


def test_a_ledger_of_a_newer_version_fails(host: Host) -> None:
    """With the word that every command has for it."""
    with open_ledger(host.ledger, skips_count=False):
        pass
    with closing(sqlite3.connect(host.ledger)) as connection, connection:
        connection.execute("UPDATE _sqlite_migrations SET name = 'm999_of_tomorrow' WHERE id = 1")
    one = host.one("ledger.integrity")
    assert (one.state, "newer version" in one.found) == ("fail", True)
    assert "install that version" in one.todo


def test_a_folder_that_there_is_not_fails(host: Host) -> None:
    """Nothing makes it for the operator."""
    host.folder = host.folder / "nowhere"
    one = host.one("ledger.disk")
    assert (one.state, "No such file" in one.found) == ("fail", True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to_fails(host: Host) -> None:
    """The daemon's user must be able to."""
    host.folder.chmod(0o500)
    try:
        assert host.one("ledger.disk").state == "fail"
    finally:
        host.folder.chmod(0o700)


@pytest.mark.parametrize(("free", "state"), [(10 << 20, "fail"), (200 << 20, "warn"), (2 << 30, "ok")])
def test_space_is_told(host: Host, monkeypatch: pytest.MonkeyPatch, free: int, state: str) -> None:
    """The ledger grows, and is copied."""
    usage = shutil.disk_usage(host.folder)._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert host.one("ledger.disk").state == state


def test_who_holds_the_ledger_is_named(host: Host) -> None:
    """By its number, so that a person finds it; looking does not take the lock from it."""
    with open_ledger(host.ledger, skips_count=False):
        assert f"pid {os.getpid()}" in host.one("daemon").found
    assert host.one("daemon").found == "does not run: nothing uses the ledger"


def test_the_version_of_sqlite_is_told(host: Host) -> None:
    """Old ones have a fault that a ledger with one writer does not meet."""
    one = host.one("ledger.sqlite")
    fixed = tuple(map(int, one.subject.split("."))) >= (3, 51, 3)
    assert one.state == ("ok" if fixed else "warn")


# --- times -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settle", "timeout", "state"), [(330, 120, "ok"), (299, 120, "warn"), (330, 400, "warn"), (0, 120, "warn")]
)
def test_settling_before_a_request_can_have_ended_is_a_warning(
    host: Host, settle: float, timeout: float, state: str
) -> None:
    """Rally cuts requests at 5 minutes; what lands later than it was asked about is there twice."""
    host.rally = {"settle_after_seconds": settle, "request_timeout_seconds": timeout}
    assert host.one("rally.settle_after_seconds").state == state


def test_the_next_three_runs_of_the_sprints_are_told(host: Host) -> None:
    """In the time zone that they are written in."""
    one = host.one("sprints.schedule")
    assert one.subject == "mon 06:00 UTC"
    assert one.found == "next: Mon 2026-02-02 06:00 UTC, Mon 2026-02-09 06:00 UTC, Mon 2026-02-16 06:00 UTC"


# --- who is told -----------------------------------------------------------------------------------------------------


def test_a_command_that_can_be_run_is_named(host: Host) -> None:
    """As it is found in PATH."""
    host.notify = NotifySettings(command=("sh", "-c", "true"))
    assert host.one("notify.command").state == "ok"


def test_a_command_with_a_slash_lies_where_the_config_does(host: Host) -> None:
    """There it is run, wherever the doctor is."""
    script = host.folder / "tell"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o700)
    host.notify = NotifySettings(command=("./tell",))
    assert host.one("notify.command").state == "ok"


def test_a_command_that_cannot_be_run_fails(host: Host) -> None:
    """It is not there, or is not executable."""
    script = host.folder / "tell"
    script.write_text("#!/bin/sh\n")
    for command in ("no-such-program-anywhere", str(script)):
        host.notify = NotifySettings(command=(command,))
        assert host.one("notify.command").state == "fail"


def test_a_hook_is_not_called_and_its_url_not_shown(host: Host) -> None:
    """It may hold a key in its path."""
    host.notify = NotifySettings(url="https://hooks.example.com/s3cret")
    one = host.one("notify.url")
    assert (one.state, "s3cret" in str(one)) == ("ok", False)


def test_an_address_that_is_free_is_so_afterwards(host: Host) -> None:
    """Nobody could connect meanwhile: it is bound, but not listened at."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
        host.metrics = MetricsSettings(listen=Address("127.0.0.1", port))
        taken = host.one("metrics.listen")
        with open_ledger(host.ledger, skips_count=False):
            by_the_daemon = host.one("metrics.listen")
    assert (taken.state, by_the_daemon.state, host.one("metrics.listen").state) == ("fail", "ok", "ok")


def test_an_address_of_another_machine_fails(host: Host) -> None:
    """192.0.2.0/24 is nobody's (RFC 5737)."""
    host.metrics = MetricsSettings(listen=Address("192.0.2.1", 9464))
    assert host.one("metrics.listen").state == "fail"


def test_a_textfile_needs_its_folder(host: Host) -> None:
    """Which the node exporter's package makes."""
    host.metrics = MetricsSettings(textfile=host.folder / "reconciler.prom")
    assert host.one("metrics.textfile").state == "ok"
    host.metrics = MetricsSettings(textfile=host.folder / "nowhere" / "reconciler.prom")
    assert host.one("metrics.textfile").state == "fail"
