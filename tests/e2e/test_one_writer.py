"""One ledger, many processes: one writes, any number read, and whatever is wrong with the file is one clear line."""

from __future__ import annotations

import itertools
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from sqlite_utils import Database

from reconciler.errors import EXIT_TRY_AGAIN, LedgerBusy
from reconciler.ledger import store, views
from reconciler.ledger.ledger import open_ledger
from reconciler.ledger.schema import migrations
from reconciler.ledger.store import open_for_reading, open_for_writing
from reconciler.sandbox.faults import Fault, Reset
from tests.company import Ran, junit
from tests.e2e.test_daemon import daemon, eventually
from tests.fakes import START

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.company import Company

POWERLESS = """
import ctypes, os, sys
for capability in (1, 2):  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: root may write everywhere, but for these
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
os.execv(sys.argv[1], sys.argv[1:])
"""
NO_ROOM = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
os.execv(sys.argv[2], sys.argv[2:])
"""
TINY_DISK = """
size=$1 disk=$2 out=$3
shift 3
mount -t tmpfs -o size=$size none "$disk"
cp "$disk.seed" "$disk/ledger.db"
status=0
"$@" || status=$?
cp "$disk"/ledger.db* "$out"
exit $status
"""
"""Runs something with a disk of this size, which begins with a copy of the ledger and is copied out at the end."""

WRITERS: list[tuple[str, ...]] = [
    (),
    ("--once",),
    ("--once", "--dry-run"),
    ("--sprint-sets",),
    ("verify", "--repair"),
]
ENOUGH = 3
"""How often each command runs beside the daemon."""
READERS: list[tuple[str, ...]] = [("status",), ("review",), ("verify",)]
EVERYBODY: list[tuple[str, ...]] = [(), ("--once",), ("verify", "--repair"), *READERS]


def ran(company: Company, *words: str, inside: Sequence[str] = ()) -> Ran:
    """Run the command line to its end, perhaps inside of something; it never shows SQLite's words for a lock."""
    return _ended(_begun(company, *words, inside=inside))


def _begun(company: Company, *words: str, inside: Sequence[str] = ()) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*inside, *company.command(*words)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=company.environment(),
    )  # fmt: skip


def _ended(process: subprocess.Popen[str]) -> Ran:
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert "Traceback" not in err, err
    assert "locked" not in out + err, out + err
    return Ran(process.returncode, out, err)


def line(done: Ran, status: int) -> str:
    """Give the one line that a run said to a person, on standard error, and nothing else."""
    said = [text for text in done.err.splitlines() if not re.match(r"\d{4}-\d\d-\d\dT", text)]
    assert (done.status, done.out, len(said)) == (status, "", 1), done
    return said[0]


def is_whole(ledger: Path) -> bool:
    """Tell whether SQLite finds nothing wrong with it."""
    with closing(sqlite3.connect(ledger)) as connection:
        return bool(connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)])


@pytest.fixture
def ledger(company: Company) -> Path:
    """Make a pass, and name the ledger that it left: one test sent, one held, no log beside it."""
    company.pipeline({"unit": junit("a_TC1", "held")})
    company.once()
    path = company.folder / "ledger.db"
    with open_ledger(path, skips_count=False):
        pass  # the last to close folds the log in
    return path


# --- side by side ----------------------------------------------------------------------------------------------------


HEAVY = "import reconciler.daemon, reconciler.gitlab, reconciler.rally"
"""What takes most of a writer's start, before it asks for the lock."""


def test_every_writer_beside_the_daemon_is_told_who_it_is_within_five_seconds(company: Company) -> None:
    """Status 75 and one line: pid, host, since when; the daemon goes on. A reader is not asked to wait."""
    company.pipeline({"unit": junit("a_TC1")})
    with daemon(company) as process:
        assert eventually(lambda: company.results() != {})
        begun = time.monotonic()
        subprocess.run([sys.executable, "-c", HEAVY], check=True)
        start_s = time.monotonic() - begun
        wanted = rf"in use by pid {process.pid} on {re.escape(socket.gethostname())} since 20\d\d-\d\d-\d\dT\S+Z "
        for some in (WRITERS[:1], WRITERS[1:3], WRITERS[3:]):
            begun = time.monotonic()
            for other in [_begun(company, *words) for words in some]:
                assert re.search(wanted, line(_ended(other), 75))
            assert time.monotonic() - begun < 5 + len(some) * start_s
        later = company.pipeline({"unit": junit("b_TC2!")})
        assert eventually(lambda: company.verdicts(later) == {"TC2/1": "Fail"})


@pytest.mark.timeout(300)
def test_nobody_beside_a_writing_daemon_ever_hears_of_a_lock(company: Company) -> None:
    """Commands for people, as fast as they start, while pipelines finish: each ends with 0, and every row is kept."""
    company.pipeline({"unit": junit("a_TC1", "held")})
    seen: Counter[str] = Counter()
    troubles: list[Ran] = []
    stop = threading.Event()

    def repeat(words: tuple[str, ...]) -> None:
        for n in range(1_000):
            if stop.is_set():
                return
            done = ran(company, *(word.format(n) for word in words))
            seen[words[0]] += 1
            if done.status != 0:
                troubles.append(done)

    with daemon(company):
        assert eventually(lambda: company.results() != {})
        commands = [*READERS, ("map", "shop.m{}", "TC3"), ("ignore", "shop.i{}")]
        threads = [threading.Thread(target=repeat, args=[words]) for words in commands]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 90
        for n in itertools.count():
            company.pipeline({"unit": junit(*(f"t{k}_TC{1 + (n + k) % 9}" for k in range(20)))})
            time.sleep(0.2)
            if min(seen[words[0]] for words in commands) >= ENOUGH or time.monotonic() > deadline:
                break
        stop.set()
        for thread in threads:
            thread.join()
        said = (company.folder / "daemon.log").read_text()
    assert troubles == []
    assert "locked" not in said
    assert "ERROR" not in said
    assert min(seen[words[0]] for words in commands) >= ENOUGH
    rows = (company.folder / "mapping.csv").read_text().splitlines()
    assert len(rows) == len(set(rows)) == 1 + seen["map"] + seen["ignore"]
    assert is_whole(company.folder / "ledger.db")


def test_readers_are_not_turned_away_while_writers_come_and_go(company: Company, ledger: Path) -> None:
    """The last to close folds in the log and deletes it, the next to open makes one: nobody sees a lock meanwhile."""
    read: Counter[int] = Counter()
    troubles: list[BaseException] = []
    stop = threading.Event()

    def repeat() -> None:
        try:
            while not stop.is_set():
                with closing(open_for_reading(ledger)) as opened:
                    read[views.tests(opened)["read"]] += 1
        except BaseException as error:  # noqa: BLE001 - told to the main thread
            troubles.append(error)

    threads = [threading.Thread(target=repeat) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(2):
        company.pipeline({"unit": junit("b_TC2")})
        assert ran(company, "--once").status == 0
    for n in range(30):
        with open_ledger(ledger, skips_count=False) as writing:
            writing.observations.set_cursor(f"x{n}", START)
    stop.set()
    for thread in threads:
        thread.join()
    assert troubles == []
    assert set(read) == {2, 3, 4}


def test_a_lock_that_another_program_holds_for_a_moment_is_waited_for(company: Company, ledger: Path) -> None:
    """Somebody looks into the ledger with a tool of their own, and forgets to commit for a while."""
    company.pipeline({"unit": junit("b_TC2")})
    with closing(sqlite3.connect(ledger, isolation_level=None)) as tool:
        tool.execute("BEGIN IMMEDIATE")
        running = _begun(company, "--once")
        assert ran(company, "status").status == 0
        time.sleep(1)
        tool.execute("ROLLBACK")
        assert _ended(running).status == 0
    assert len(company.results()) == 2


def test_a_lock_that_another_program_never_lets_go_of_is_told_in_our_words(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status 75: nothing is wrong with the ledger."""
    monkeypatch.setattr(store, "BUSY_TIMEOUT_S", 0.1)
    with closing(sqlite3.connect(ledger, isolation_level=None)) as tool:
        tool.execute("BEGIN IMMEDIATE")
        with open_ledger(ledger, skips_count=False) as writing, pytest.raises(LedgerBusy) as error:
            writing.observations.set_cursor("x", START)
    assert str(error.value) == f"the ledger {ledger} is in use by another program: close that one"
    assert error.value.exit_status == EXIT_TRY_AGAIN


# --- files that cannot be used ---------------------------------------------------------------------------------------


def damage(ledger: Path) -> None:
    """Overwrite the first page behind its header."""
    content = bytearray(ledger.read_bytes())
    content[100:4096] = b"\xa5" * 3996
    ledger.write_bytes(content)


def outdate(ledger: Path) -> None:
    """Let a newer version have been here."""
    with closing(sqlite3.connect(ledger)) as connection, connection:
        connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('reconciler', '9999_x', '2027')"
        )


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (damage, r"the ledger .*ledger\.db cannot be used: .*malformed: put a copy in its place, or move it away"),
        (outdate, r".*ledger\.db was written by a newer version of reconciler \(it has 9999_x\): install that version"),
    ],
)
def test_a_ledger_that_cannot_be_used_is_one_line_whatever_is_run(
    company: Company, ledger: Path, spoil: Callable[[Path], None], said: str
) -> None:
    """Status 1, and the file stays as it is, byte for byte; `map` needs no ledger. Rally and GitLab hear nothing."""
    spoil(ledger)
    before = ledger.read_bytes()
    company.rally.log.clear()
    company.gitlab.server.log.clear()
    for words in EVERYBODY if spoil is damage else EVERYBODY[1:4]:
        assert re.match(said, line(ran(company, *words), 1)), words
    assert ran(company, "map", "shop.held", "TC2").status == 0
    assert ledger.read_bytes() == before
    assert not list(company.rally.log) + list(company.gitlab.server.log)
    assert not list(company.folder.glob("ledger.db.before-*"))


def powerless(company: Company, *words: str) -> Ran:
    """Run without root's power to write everywhere."""
    return ran(company, *words, inside=[sys.executable, "-c", POWERLESS])


def test_a_read_only_file_is_told_when_the_daemon_starts_and_can_be_read(company: Company, ledger: Path) -> None:
    """One line and status 1, not one of each pass."""
    ledger.chmod(0o400)
    for words in EVERYBODY[:3]:
        assert "see that the file and its folder can be read and written" in line(powerless(company, *words), 1)
    for words in READERS:
        assert powerless(company, *words).status == 0
    assert powerless(company, "map", "shop.held", "TC2").status == 0
    assert is_whole(ledger)


@pytest.mark.parametrize("mode", [0o500, 0o000], ids=["read-only", "closed"])
def test_a_folder_without_access_is_one_line_whatever_is_run(company: Company, ledger: Path, mode: int) -> None:
    """The mapping file lies in it too; a folder that may not be entered is not an empty ledger."""
    home = company.folder / "home"
    home.mkdir()
    ledger.rename(home / "ledger.db")
    company.configure(ledger={"path": "home/ledger.db"}, mapping={"file": "home/mapping.csv"})
    before = (home / "ledger.db").read_bytes()
    home.chmod(mode)
    try:
        for words in EVERYBODY if mode else EVERYBODY[1:4]:
            done = powerless(company, *words)
            assert line(done, 2 if done.status == 2 else 1), words
        assert "mapping.csv" in line(powerless(company, "map", "shop.held", "TC2"), 2)
    finally:
        home.chmod(0o700)
    assert (home / "ledger.db").read_bytes() == before
    assert is_whole(home / "ledger.db")


# --- full disks ------------------------------------------------------------------------------------------------------


@pytest.fixture
def much(company: Company, ledger: Path) -> Path:
    """Let more pipelines finish than there will be room for."""
    for n in range(8):
        company.pipeline({"unit": junit(*(f"a_test_of_many_words_{n}_{k}_TC{1 + k % 9}" for k in range(200)))})
    return ledger


def test_a_file_that_may_not_grow_loses_nothing_and_the_next_pass_goes_on(company: Company, much: Path) -> None:
    """Status 1 and one line; what was written before stands, and with room again everything is there once."""
    room = [sys.executable, "-c", NO_ROOM, str(much.stat().st_size + 100_000)]
    assert "see that the disk has space and is in order" in line(ran(company, "--once", inside=room), 1)
    assert is_whole(much)
    assert company.unaccounted() == 0
    assert ran(company, "status", inside=room).status == 0
    assert company.once()["left"] == 0
    assert len(company.results()) == 1 + 8 * 9


def test_the_daemon_says_once_that_the_disk_is_full_and_lives_on(company: Company, much: Path) -> None:
    """A line when it begins, not one with each pass, and no traceback."""
    room = [sys.executable, "-c", NO_ROOM, str(much.stat().st_size + 100_000)]
    log, line_of_it = company.folder / "daemon.log", "see that the disk has space"
    with daemon(company, inside=room) as process:
        assert eventually(lambda: line_of_it in log.read_text())
        time.sleep(4)  # some passes more, which may fail before they ask anybody anything
        assert process.poll() is None
    said = log.read_text()
    assert 1 <= said.count(line_of_it) <= 2  # of each kind of poll
    assert "locked" not in said
    assert is_whole(much)


def test_a_disk_without_room_is_told_to_be_full(company: Company, much: Path) -> None:
    """A real one, of a few hundred kB: SQLite's own words, and the advice to free some space."""
    unshare = shutil.which("unshare") or "false"
    if subprocess.run([unshare, "-rm", "true"], check=False, capture_output=True).returncode:
        pytest.skip("this user may not mount a disk of its own")
    disk, out = company.folder / "disk", company.folder / "out"
    disk.mkdir()
    out.mkdir()
    shutil.copy(much, company.folder / "disk.seed")
    company.configure(ledger={"path": str(disk / "ledger.db")}, rally={"settle_after_seconds": 0})
    size = str(much.stat().st_size + 100_000)
    inside = [unshare, "-rm", "sh", "-ec", TINY_DISK, "sh", size, str(disk), str(out)]
    done = ran(company, "--once", inside=inside)
    assert "full: free some space; nothing was lost, the next pass goes on" in line(done, 1)
    assert is_whole(out / "ledger.db")
    company.configure(ledger={"path": str(out / "ledger.db")}, rally={"settle_after_seconds": 0})
    assert company.once()["left"] == 0
    assert len(company.results()) == 1 + 8 * 9


# --- from an older version -------------------------------------------------------------------------------------------


def downgrade(ledger: Path, stop_before: str) -> None:
    """Put a ledger back to an older schema, with all rows that this has room for."""
    new = ledger.with_name("new.db")
    ledger.rename(new)
    with closing(Database(ledger, strict=True)) as old:
        old.enable_wal()
        migrations.apply(old, stop_before=stop_before)
    with closing(sqlite3.connect(ledger, isolation_level=None)) as connection:
        connection.execute("ATTACH ? AS new", [str(new)])
        for table in tables(connection):
            columns = ", ".join(row[1] for row in connection.execute(f"PRAGMA main.table_info({table})"))
            connection.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM new.{table}")  # noqa: S608 - our own schema
    new.unlink()


def tables(connection: sqlite3.Connection) -> list[str]:
    """List the tables with rows of ours, without those that triggers fill."""
    names = [row[0] for row in connection.execute("SELECT name FROM main.sqlite_schema WHERE type = 'table'")]
    return [name for name in names if not name.startswith(("_", "sqlite_")) and not name.endswith("tallies")]


def rows(ledger: Path) -> dict[str, list[tuple[object, ...]]]:
    """Give all rows of the first release's tables, by its columns; the counts that triggers keep are among them."""
    with closing(sqlite3.connect(ledger)) as connection, closing(sqlite3.connect(":memory:")) as first:
        migrations.apply(Database(first, strict=True), stop_before=SECOND)
        found = {}
        for table in [*tables(first), "tallies"]:
            columns = ", ".join(row[1] for row in first.execute(f"PRAGMA table_info({table})"))
            found[table] = sorted(connection.execute(f"SELECT {columns} FROM {table}"), key=str)  # noqa: S608 - our own schema
        return found


def applied(ledger: Path) -> list[str]:
    """List the migrations that a ledger has had."""
    with closing(sqlite3.connect(ledger)) as connection:
        return [row[0] for row in connection.execute("SELECT name FROM _sqlite_migrations ORDER BY id")]


NAMES = [migration.name for migration in migrations._migrations]
SECOND = NAMES[1]


@pytest.fixture
def old(company: Company, ledger: Path) -> Path:
    """Make a ledger of the first release: results sent, one test held, one result in doubt, one job retried."""
    company.rally.faults.add(Fault(Reset("after"), writes_only=True))
    company.pipeline({"unit": junit("b_TC2!", "c_TC3")})
    assert ran(company, "--once").status == 75
    with open_ledger(ledger, skips_count=False):
        pass
    downgrade(ledger, SECOND)
    return ledger


def test_a_ledger_of_the_first_release_is_copied_and_brought_up_to_date_and_the_pass_goes_on(
    company: Company, old: Path
) -> None:
    """Readers say which command does that; the copy is whole and opens; nothing is lost and nothing doubled."""
    before = rows(old)
    assert applied(old) == NAMES[:1]
    assert (len(before["tests"]), len(before["entries"])) == (4, 3)
    for words in READERS:
        assert line(ran(company, *words), 1) == (
            f"{old} is of an older schema: one run of `reconciler --once` brings it up to date"
        )
    assert not list(company.folder.glob("ledger.db.before-*"))
    later = company.pipeline({"unit": junit("d_TC4", "held")})

    assert ran(company, "--once").status == 0

    (copy,) = company.folder.glob("ledger.db.before-*")
    assert re.fullmatch(r"ledger\.db\.before-\d{8}T\d{6}Z", copy.name)
    assert (applied(copy), applied(old)) == (NAMES[:1], NAMES)
    assert (rows(copy), is_whole(copy), is_whole(old)) == (before, True, True)
    assert company.verdicts(later) == {"TC4/1": "Pass"}
    assert len(company.results()) == 4
    assert company.status()["tests"] | {"read": 6, "sent": 4, "held": 2, "unaccounted": 0} == company.status()["tests"]
    assert company.once()["writes"] == 0
    assert list(company.folder.glob("ledger.db.before-*")) == [copy]


def test_the_copy_takes_the_ledgers_place_and_nothing_is_doubled(company: Company, old: Path) -> None:
    """Whoever goes back to it, and forward again."""
    assert ran(company, "--once").status == 0
    before = company.results()
    (copy,) = company.folder.glob("ledger.db.before-*")
    for file in (old, old.with_name("ledger.db-wal"), old.with_name("ledger.db-shm")):
        file.unlink(missing_ok=True)
    copy.rename(old)
    assert ran(company, "--once").status == 0
    assert company.results() == before


@pytest.mark.parametrize("version", range(1, len(NAMES)))
def test_every_older_schema_keeps_its_rows(ledger: Path, version: int) -> None:
    """Whatever was the last version that wrote it."""
    downgrade(ledger, NAMES[version])
    before = rows(ledger)
    with closing(open_for_writing(ledger)) as opened:
        assert views.tests(opened)["read"] == 2
    (copy,) = ledger.parent.glob("ledger.db.before-*")
    assert (rows(ledger), rows(copy)) == (before, before)
    assert (applied(copy), applied(ledger)) == (NAMES[:version], NAMES)
    assert is_whole(ledger)


def test_without_room_for_the_copy_nothing_is_migrated_and_no_half_copy_is_left(company: Company, old: Path) -> None:
    """Somebody might put it in the ledger's place one day."""
    before = old.read_bytes()
    room = [sys.executable, "-c", NO_ROOM, str(old.stat().st_size - 8_192)]
    assert "see that the disk has space" in line(ran(company, "--once", inside=room), 1)
    assert applied(old) == NAMES[:1]
    assert old.read_bytes() == before
    assert not list(company.folder.glob("ledger.db.before-*"))
    assert ran(company, "--once").status == 0
