"""What systemd is told, over real sockets."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from reconciler.sd_notify import Supervisor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["a path", "an abstract name"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """Listen as a service manager does."""
    address = str(tmp_path / "notify") if request.param == "a path" else f"@reconciler-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + address[1:] if address.startswith("@") else address)
        listening.settimeout(5)
        yield listening, address


def test_each_state_is_one_datagram(manager: tuple[socket.socket, str]) -> None:
    """Ready, status, alive, reloading with the time it began, stopping; a text cannot add lines of its own."""
    listening, address = manager
    supervisor = Supervisor({"NOTIFY_SOCKET": address})
    supervisor.ready("up")
    supervisor.status("two\nWATCHDOG=trigger")
    supervisor.alive()
    supervisor.reloading()
    supervisor.stopping()
    told = [listening.recv(4096).decode().split("\n") for _ in range(5)]
    assert told[:3] == [["READY=1", "STATUS=up"], ["STATUS=two WATCHDOG=trigger"], ["WATCHDOG=1"]]
    assert told[3][0] == "RELOADING=1"
    assert int(told[3][1].removeprefix("MONOTONIC_USEC=")) > 0
    assert told[4] == ["STOPPING=1", "STATUS=Stopping"]


def test_without_a_manager_nothing_is_sent() -> None:
    """And one that is gone is no trouble."""
    Supervisor({}).ready("up")
    Supervisor({"NOTIFY_SOCKET": "/nonexistent/notify"}).ready("up")


def test_what_it_was_told_does_not_reach_the_programs_that_are_started() -> None:
    """A hook could else say that the daemon is ready, or alive."""
    environment = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid()), "HOME": "/"}
    assert Supervisor(environment).watchdog_s == 2.0
    assert environment == {"HOME": "/"}


@pytest.mark.parametrize(
    "told",
    [{"WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "0"}, {"NOTIFY_SOCKET": ""}],
)
def test_a_watchdog_that_is_not_ours_is_not_fed(told: dict[str, str]) -> None:
    """Of another process, without a sensible period, or without a socket."""
    assert Supervisor({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "2000000"} | told).watchdog_s == 0
