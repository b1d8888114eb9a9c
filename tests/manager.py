"""A service manager as far as sd_notify(3) goes: it starts the daemon, listens to it, and sends signals."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.company import Company


@dataclass(slots=True)
class Manager:
    """What the daemon said, and when; its process."""

    process: subprocess.Popen[str]
    company: Company
    told: list[tuple[float, str]] = field(default_factory=list)

    def words(self, name: str) -> list[str]:
        """List the values of all lines of this name, oldest first."""
        return [line.partition("=")[2] for _, said in self.told for line in said.split("\n") if line.startswith(name)]

    def order(self) -> list[str]:
        """List the states other than signs of life and mere words, oldest first."""
        states = [said.split("\n")[0] for _, said in self.told]
        return [one for one in states if not one.startswith(("WATCHDOG=", "STATUS="))]

    def signs_of_life(self, since: float, until: float) -> int:
        """Count those between two moments of `time.monotonic`."""
        return sum(1 for at, said in self.told if said == "WATCHDOG=1" and since < at < until)

    def log(self) -> str:
        """Read what the daemon logged so far."""
        return (self.company.folder / "daemon.log").read_text()

    def hang_up(self) -> None:
        """Ask the daemon to read its config again."""
        self.process.send_signal(signal.SIGHUP)

    def stop(self, within_s: float = 30) -> int:
        """Ask the daemon to end; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within_s)


@contextmanager
def managed(company: Company, *, watchdog_s: float = 0.0, **environment: str) -> Iterator[Manager]:
    """Run the daemon; whatever it does, it shows no traceback and leaves a sound ledger."""
    address = str(company.folder / "notify")
    if watchdog_s:
        environment["WATCHDOG_USEC"] = str(int(watchdog_s * 1e6))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        Path(address).unlink(missing_ok=True)
        listening.bind(address)
        listening.settimeout(0.1)
        with (company.folder / "daemon.log").open("w") as log:
            process = subprocess.Popen(
                company.command(),
                stdout=log,
                stderr=log,
                text=True,
                env=company.environment(NOTIFY_SOCKET=address, **environment),
            )
        manager, over = Manager(process, company), threading.Event()
        listener = threading.Thread(target=_listen, args=(listening, manager, over))
        listener.start()
        try:
            yield manager
        finally:
            process.kill()
            process.wait()
            over.set()
            listener.join()
    assert "Traceback" not in manager.log(), manager.log()
    assert company.unaccounted() == 0


def _listen(listening: socket.socket, manager: Manager, over: threading.Event) -> None:
    while not over.is_set():
        try:
            manager.told.append((time.monotonic(), listening.recv(4096).decode()))
        except TimeoutError:
            continue


def eventually(holds: Callable[[], bool], seconds: float = 20) -> bool:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.05)
    return holds()
