"""One writer per ledger: an advisory lock on a file beside it, which names its holder."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from reconciler.errors import LedgerBusy, LedgerUnusable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE_S = 2.0


@contextmanager
def writer_lock(ledger: Path, *, patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Hold the lock of this ledger; the kernel lets go of it when the process dies, however it dies.

    Raises:
        LedgerBusy: another process still holds it after `patience_s`; the text says who.
        LedgerUnusable: the lock file cannot be opened, or its folder knows no locks.
    """
    path = ledger.with_name(ledger.name + ".lock")
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
                raise LedgerBusy(f"the ledger is in use by {_holder(descriptor)} ({path})") from None
            time.sleep(0.1)
        except OSError as error:
            raise LedgerUnusable(
                f"cannot lock the ledger: {path}: {error.strerror}: set ledger.path to a folder on a local disk"
            ) from error
        else:
            return


def _myself() -> dict[str, str | int]:
    since = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": since}


def _holder(descriptor: int) -> str:
    try:
        told = json.loads(os.pread(descriptor, 4096, 0))
        return f"pid {told['pid']} on {told['host']} since {told['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
