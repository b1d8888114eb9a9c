"""One writer per ledger: the second is told who holds it, and a dead holder holds nothing."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from reconciler.errors import EXIT_TRY_AGAIN, LedgerBusy, LedgerUnusable
from reconciler.ledger.ledger import open_ledger
from reconciler.ledger.lock import Holder, holder_of, writer_lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOLD = """
import sys, time
from pathlib import Path
from reconciler.ledger.lock import writer_lock
with writer_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def _holder(ledger: Path) -> Iterator[subprocess.Popen[str]]:
    """Let another process hold the lock."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(ledger)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """Name a ledger that is not there yet."""
    return tmp_path / "ledger.db"


def test_a_second_process_is_refused_within_five_seconds_and_told_who_holds_it(ledger: Path) -> None:
    """Pid, host and since when, in one line; the exit status means: try again. No ledger is made meanwhile."""
    with _holder(ledger) as process:
        begun = time.monotonic()
        with pytest.raises(LedgerBusy) as error:
            open_ledger(ledger, skips_count=False).__enter__()
        assert time.monotonic() - begun < 5
        assert f"pid {process.pid} on {socket.gethostname()} since 20" in str(error.value)
        assert "\n" not in str(error.value)
        assert error.value.exit_status == EXIT_TRY_AGAIN == 75
    assert not ledger.exists()


def test_the_note_of_a_holder_tells_its_time_in_utc_wherever_it_is(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the second, with a Z: the reader may sit in another time zone."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        with writer_lock(ledger):
            told = json.loads(ledger.with_name("ledger.db.lock").read_text())
    finally:
        monkeypatch.undo()
        time.tzset()
    assert (told["pid"], told["host"]) == (os.getpid(), socket.gethostname())
    since = datetime.strptime(told["since"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert abs((datetime.now(UTC) - since).total_seconds()) < 60


def test_the_lock_of_a_killed_process_is_free_at_once(ledger: Path) -> None:
    """The kernel lets go of it; what the dead one wrote into the file is in nobody's way."""
    with _holder(ledger) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        told = json.loads(ledger.with_name("ledger.db.lock").read_text())
        assert told["pid"] == process.pid
        with writer_lock(ledger, patience_s=0.0):
            told = json.loads(ledger.with_name("ledger.db.lock").read_text())
    assert told["pid"] == os.getpid()


@pytest.mark.parametrize("leftover", [b"", b"\xff\xfe\x00", b"[1]", b'{"pid": 1}', b'{"pid": 1, "host": "x" ' * 1000])
def test_what_stands_in_the_lock_file_does_not_matter(ledger: Path, leftover: bytes) -> None:
    """It is taken over from any content, shorter or longer than ours, and is then ours alone."""
    lock = ledger.with_name("ledger.db.lock")
    lock.write_bytes(leftover)
    with writer_lock(ledger):
        assert json.loads(lock.read_text())["pid"] == os.getpid()
        lock.write_bytes(leftover)  # a held lock whose content says nothing of its holder
        with pytest.raises(LedgerBusy, match=r"in use by (another process|pid )"), writer_lock(ledger, patience_s=0.0):
            pass


def test_a_second_thread_is_refused_like_a_second_process(ledger: Path) -> None:
    """Each opens the file for itself, so the kernel tells them apart."""
    said: list[str] = []

    def second() -> None:
        try:
            with writer_lock(ledger, patience_s=0.0):
                said.append("held")
        except LedgerBusy as error:
            said.append(str(error))

    with writer_lock(ledger):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert len(said) == 1
    assert f"pid {os.getpid()} on " in said[0]
    second()
    assert said[1:] == ["held"]


def test_a_short_wait_is_waited_out(ledger: Path) -> None:
    """A holder that is just ending is no reason to give up."""
    let_go = threading.Event()
    held = threading.Event()

    def hold() -> None:
        with writer_lock(ledger):
            held.set()
            let_go.wait(0.3)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(5)
    with writer_lock(ledger, patience_s=5.0):
        pass
    thread.join()


def test_the_lock_is_let_go_when_what_was_done_under_it_fails(ledger: Path) -> None:
    """However the block ends."""
    with pytest.raises(ZeroDivisionError), writer_lock(ledger):
        _ = 1 // 0
    with writer_lock(ledger, patience_s=0.0):
        pass


def test_two_ledgers_in_one_folder_are_locked_apart(ledger: Path) -> None:
    """The lock is named after the ledger."""
    with writer_lock(ledger), writer_lock(ledger.with_name("other.db"), patience_s=0.0):
        pass


NO_ROOM = """
import resource, sys
from pathlib import Path
from reconciler.errors import LedgerBusy
from reconciler.ledger.lock import writer_lock
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
with writer_lock(Path(sys.argv[1])):
    try:
        writer_lock(Path(sys.argv[1]), patience_s=0.0).__enter__()
    except LedgerBusy as error:
        print(error)
"""


def test_a_disk_without_room_for_the_holders_name_is_locked_all_the_same(ledger: Path) -> None:
    """That the disk is full is said by whoever writes the ledger, with advice."""
    run = subprocess.run([sys.executable, "-c", NO_ROOM, str(ledger)], capture_output=True, text=True, check=True)
    assert run.stdout == f"the ledger is in use by another process ({ledger}.lock)\n"


def test_a_folder_without_locks_is_refused_with_advice(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some network file systems have none."""

    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(
        LedgerUnusable, match=r"cannot lock the ledger: .*: set ledger.path to a folder on a local disk"
    ):
        writer_lock(ledger).__enter__()


# --- who holds it ----------------------------------------------------------------------------------------------------


def test_who_holds_the_lock_can_be_seen_by_others_while_it_is_held(ledger: Path) -> None:
    """Nobody before, nobody after, however the holder ended; the look makes no file."""
    assert holder_of(ledger) is None
    assert list(ledger.parent.iterdir()) == []
    with _holder(ledger) as process:
        holder = holder_of(ledger)
        assert holder is not None
        assert (holder.pid, holder.host) == (process.pid, socket.gethostname())
        assert holder.since is not None
        assert abs((datetime.now(UTC) - holder.since).total_seconds()) < 60
        assert str(holder) in str(_refused(ledger))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert holder_of(ledger) is None


def _refused(ledger: Path) -> LedgerBusy:
    with pytest.raises(LedgerBusy) as error:
        writer_lock(ledger, patience_s=0.0).__enter__()
    return error.value


@pytest.mark.parametrize("told", [b"", b"\xff\xfe", b"[1]", b'{"pid": 1}', b'{"pid": 1, "host": "x", "since": "soon"}'])
def test_a_holder_that_could_not_say_who_it_is_is_seen_all_the_same(ledger: Path, told: bytes) -> None:
    """As on a full disk."""
    with writer_lock(ledger):
        ledger.with_name("ledger.db.lock").write_bytes(told)
        assert holder_of(ledger) == Holder()
        assert str(holder_of(ledger)) == "another process"


def test_looks_do_not_turn_a_starting_writer_away(ledger: Path) -> None:
    """Not even when several processes look all the time."""
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            holder_of(ledger)
            stop.wait(0.002)

    ledger.with_name("ledger.db.lock").touch()
    lookers = [threading.Thread(target=look) for _ in range(3)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(20):
            with writer_lock(ledger):
                pass
    finally:
        stop.set()
        for looker in lookers:
            looker.join()


def test_a_lock_file_that_cannot_be_opened_is_said(ledger: Path) -> None:
    """Who holds it is then not known: that is not nobody."""
    ledger.with_name("ledger.db.lock").symlink_to(ledger.with_name("ledger.db.lock"))
    with pytest.raises(LedgerUnusable, match=r"cannot see who uses the ledger: .*ledger\.db\.lock: "):
        holder_of(ledger)
