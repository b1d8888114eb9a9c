"""This machine: the ledger and its disk, SQLite, the daemon, times, and whom it tells of trouble."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.doctor.finding import Check
from reconciler.errors import LedgerUnusable
from reconciler.ledger.lock import holder_of
from reconciler.ledger.store import in_memory, integrity, open_for_reading
from reconciler.schedule import next_fires

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

    from reconciler.config import Settings
    from reconciler.doctor.finding import Finding

CUT_S = 300.0
"""Rally cuts requests at 5 minutes (KB 125586): until then one that we no longer wait for may still be carried out."""
WAL_RESET_FIXED = (3, 51, 3)
"""SQLite 3.7.0 to 3.51.2 may damage a database when two connections write or checkpoint at once (its release notes)."""
LOW_BYTES, SPENT_BYTES = 1 << 30, 50 << 20
TIMES_THE_LEDGER = 3
"""The ledger, a copy that is being made, and room to grow."""


@dataclass(frozen=True, slots=True)
class HostExam:
    """One look at what is here."""

    settings: Settings
    folder: Path
    """The config file's own, in which a command is run."""
    now: Callable[[], datetime]

    def findings(self) -> Iterator[Finding]:
        """Look at one thing after another."""
        yield from self._ledger(self.settings.ledger.path)
        yield self._sqlite()
        yield self._daemon()
        yield self._settling()
        yield self._schedule()
        yield from self._notify()
        yield from self._metrics()

    # --- the ledger --------------------------------------------------------------------------------------------------

    def _ledger(self, path: Path) -> Iterator[Finding]:
        disk, check = Check("ledger.disk", str(path.parent)), Check("ledger.integrity", str(path))
        try:
            free = shutil.disk_usage(path.parent).free
            size = path.stat().st_size if path.exists() else None
        except OSError as error:
            todo = "make that folder and give it to the reconciler's user, or correct ledger.path"
            yield disk.fail(f"cannot be looked into: {error.strerror}", todo)
            return
        if not os.access(path.parent, os.W_OK | os.X_OK):
            todo = "give the folder to the reconciler's user, and run doctor as that user"
            yield disk.fail("this user may not write there", todo)
        else:
            yield _space(disk, free, TIMES_THE_LEDGER * (size or 0))
        if size is None:
            yield check.ok("there is none yet: the first pass makes it")
        else:
            yield _whole(check, path)

    def _sqlite(self) -> Finding:
        with closing(in_memory()) as store:
            version = str(store.value("SELECT sqlite_version()"))
        check = Check("ledger.sqlite", version)
        if tuple(map(int, version.split("."))) >= WAL_RESET_FIXED:
            return check.ok("has no known fault that concerns the ledger")
        found = "may damage a database that several connections write to at once; the reconciler has one that writes"
        return check.warn(found, "let no other program write to the ledger; 3.51.3 and later are without that fault")

    def _daemon(self) -> Finding:
        path = self.settings.ledger.path
        check = Check("daemon", str(path))
        try:
            holder = holder_of(path)
        except LedgerUnusable as error:
            return check.fail(str(error), "run doctor as the reconciler's user")
        return check.ok(f"the ledger is in use by {holder}" if holder else "does not run: nothing uses the ledger")

    # --- times -------------------------------------------------------------------------------------------------------

    def _settling(self) -> Finding:
        rally = self.settings.rally
        check = Check("rally.settle_after_seconds", f"{rally.settle_after_seconds:g}")
        least = max(CUT_S, rally.request_timeout_seconds)
        if rally.settle_after_seconds < least:
            found = f"a request may live for {least:g} s: one that lands after it was settled doubles what it sent"
            return check.warn(found, f"set it to {least + 30:g} or more")
        return check.ok(f"longer than a request can live ({least:g} s)")

    def _schedule(self) -> Finding:
        sprints = self.settings.sprints
        at = sprints.schedule
        check = Check("sprints.schedule", f"{','.join(at.days)} {at.hour:02}:{at.minute:02} {sprints.timezone}")
        fires = (f"{fire:%a %Y-%m-%d %H:%M %Z}" for fire in next_fires(sprints, self.now()))
        return check.ok(f"next: {', '.join(fires)}")

    # --- who is told -------------------------------------------------------------------------------------------------

    def _notify(self) -> Iterator[Finding]:
        notify = self.settings.notify
        if not notify.command and not notify.url:
            yield Check("notify", "").ok("nobody is told of trouble: it stands in the log and in `reconciler status`")
        if notify.url:
            yield Check("notify.url", "").ok("set, and not called now")
        if notify.command:
            yield _command(Check("notify.command", notify.command[0]), self.folder)

    def _metrics(self) -> Iterator[Finding]:
        metrics = self.settings.metrics
        if metrics.listen is not None:
            check = Check("metrics.listen", f"{metrics.listen.host}:{metrics.listen.port}")
            yield self._address(check, metrics.listen.host, metrics.listen.port)
        if metrics.textfile is not None:
            yield _textfile(Check("metrics.textfile", str(metrics.textfile)), metrics.textfile.parent)

    def _address(self, check: Check, host: str, port: int) -> Finding:
        """Listen for a moment, and to nobody."""
        error = _why_not_bound(host, port)
        if error is None:
            return check.ok("free")
        if error.errno != errno.EADDRINUSE:
            return check.fail(f"cannot be had: {error.strerror or error}", "correct metrics.listen")
        if _is_running(self.settings.ledger.path):
            return check.ok("in use, and the daemon runs")
        return check.fail("in use by another program", "set metrics.listen to another port")


def _space(check: Check, free: int, wanted: int) -> Finding:
    found = f"{free / (1 << 20):,.0f} MiB free"
    if free < max(SPENT_BYTES, wanted // TIMES_THE_LEDGER):
        return check.fail(found, "free some space: nothing can be written to the ledger, or copied, when it is full")
    if free < max(LOW_BYTES, wanted):
        return check.warn(found, "free some space: the ledger grows, and is copied every day")
    return check.ok(found)


def _whole(check: Check, path: Path) -> Finding:
    """Open the ledger as `status` does, then have SQLite look through it."""
    todo = "stop the daemon and put the newest whole copy in its place: what it lacks is found again in Rally"
    try:
        with closing(open_for_reading(path)):
            pass
        faults = integrity(path)
    except LedgerUnusable as error:
        if "older schema" in str(error):  # as after an update
            return check.warn("is of an older schema", "start the daemon: its first pass brings it up to date")
        return check.trouble(error, todo)
    if faults:
        more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
        return check.fail(f"damaged: {faults[0]}{more}", todo)
    return check.ok("whole")


def _is_running(path: Path) -> bool:
    try:
        return holder_of(path) is not None
    except LedgerUnusable:
        return False


def _command(check: Check, folder: Path) -> Finding:
    """Look a command up as it is looked up there: in PATH, unless there is a slash in it."""
    path = shutil.which(str(folder / check.subject) if os.sep in check.subject else check.subject)
    if path:
        return check.ok(f"is {path}")
    return check.fail("is no program that can be run", "correct notify.command, or make the file executable (chmod +x)")


def _textfile(check: Check, folder: Path) -> Finding:
    if os.access(folder, os.W_OK | os.X_OK):
        return check.ok("its folder can be written to")
    return check.fail("its folder is not there, or may not be written to", f"make {folder}, for the reconciler's user")


def _why_not_bound(host: str, port: int) -> OSError | None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the metrics' own server does
            probe.bind(address)
    except OSError as error:  # socket.gaierror is one
        return error
    return None
