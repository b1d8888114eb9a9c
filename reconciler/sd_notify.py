"""What systemd is told of the daemon: ready, busy with what, alive, reloading, stopping.

The protocol is that of sd_notify(3): datagrams of `NAME=VALUE` lines to the socket that `$NOTIFY_SOCKET` names. Without
one, nothing is sent.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableMapping


class Supervisor:
    """The service manager that started this process, if one did."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        """Learn whom to tell, and take it out of the environment: what we start ourselves shall not speak for us."""
        self._address = environ.pop("NOTIFY_SOCKET", "")
        mine = environ.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        period = environ.pop("WATCHDOG_USEC", "")
        self.watchdog_s = int(period) / 1e6 if mine and period.isdecimal() and self._address else 0.0
        """After so long without a sign of life we are killed (sd_watchdog_enabled(3)); 0 = never."""

    def ready(self, status: str) -> None:
        """Tell that the start, or a reload, is done."""
        self._tell("READY=1", _status(status))

    def status(self, text: str) -> None:
        """Tell in a few words what is going on: `systemctl status` shows it."""
        self._tell(_status(text))

    def alive(self) -> None:
        """Give the sign of life that the watchdog waits for."""
        self._tell("WATCHDOG=1")

    def reloading(self) -> None:
        """Tell that the config is read again; `ready` must follow."""
        # the time is what Type=notify-reload asks for; other types pass it over
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Tell that the end has begun."""
        self._tell("STOPPING=1", "STATUS=Stopping")

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        # a leading @ stands for the abstract namespace, as in systemd's own libraries
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.settimeout(1)  # a manager that reads nothing must not hold us up
            channel.sendto("\n".join(lines).encode(), address)


def _status(text: str) -> str:
    return "STATUS=" + "".join(c if c.isprintable() else " " for c in text)[:500]
