"""One writer per ledger: an advisory lock on a file beside it, which names its holder."""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from reconciler.errors import LedgerBusy, LedgerUnusable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE_S = 2.0


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that writes to a ledger, as it told itself; on a full disk it could not."""

    pid: int | None = None
    host: str | None = None
    since: datetime | None = None

    def __str__(self) -> str:
        """Name it, in a few words."""
        return f"pid {self.pid} on {self.host} since {_iso(self.since)}" if self.since else "another process"


def holder_of(ledger: Path) -> Holder | None:
    """Tell which process holds this ledger's lock; None when nobody does.

    The look itself shares the lock for a moment: a writer that starts then tries again a tenth of a second later.

    Raises:
        LedgerUnusable: the lock file cannot be opened.
    """
    path = _lock_file(ledger)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LedgerUnusable(f"cannot see who uses the ledger: {path}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _told(descriptor)
    except OSError as error:
        raise LedgerUnusable(f"cannot see who uses the ledger: {path}: {error.strerror}") from error
    else:
        return None
    finally:
        os.close(descriptor)


@contextmanager
def writer_lock(ledger: Path, *, patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Hold the lock of this ledger; the kernel lets go of it when the process dies, however it dies.

    Raises:
        LedgerBusy: another process still holds it after `patience_s`; the text says who.
        LedgerUnusable: the lock file cannot be opened, or its folder knows no locks.
    """
    path = _lock_file(ledger)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise LedgerUnusable(
            f"cannot write beside the ledger: {path}: {error.strerror}: give this user write access to the folder, "
            f"or set ledger.path to a folder that has it"
        ) from error
    try:
        _acquire(descriptor, path, time.monotonic() + patience_s)
        with suppress(OSError):  # a full disk is for SQLite to tell: the lock is held without a note, too
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(_myself()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise LedgerBusy(f"the ledger is in use by {_told(descriptor)} ({path})") from None
            time.sleep(0.1)
        except OSError as error:
            raise LedgerUnusable(
                f"cannot lock the ledger: {path}: {error.strerror}: set ledger.path to a folder on a local disk"
            ) from error
        else:
            return


def _lock_file(ledger: Path) -> Path:
    return ledger.with_name(ledger.name + ".lock")


def _myself() -> dict[str, str | int]:
    return {"pid": os.getpid(), "host": os.uname().nodename, "since": _iso(datetime.now(UTC))}


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _told(descriptor: int) -> Holder:
    """Read what the holder wrote of itself, if that makes sense."""
    try:
        told = json.loads(os.pread(descriptor, 4096, 0))
        return Holder(int(told["pid"]), str(told["host"]), datetime.fromisoformat(told["since"]).astimezone(UTC))
    except (ValueError, KeyError, TypeError):
        return Holder()
