"""The ledger's file: opened, brought up to date, copied before that, and never made worse than it was found."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest
from sqlite_utils import Database

from reconciler.errors import LedgerBusy, LedgerUnusable
from reconciler.ledger import views
from reconciler.ledger.ledger import open_ledger
from reconciler.ledger.schema import migrations
from reconciler.ledger.store import _unusable, in_memory, integrity, open_for_reading, open_for_writing
from reconciler.ledger.tables import STEPS
from tests import building
from tests.fakes import START

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from reconciler.ledger.ledger import Ledger
    from reconciler.ledger.store import Store


@contextmanager
def _one_more_migration(step: Callable[[Database], None]) -> Iterator[None]:
    """Be the next version of the program."""
    migrations(name="9999_one_more")(step)
    STEPS["9999_one_more"] = ""
    try:
        yield
    finally:
        del STEPS["9999_one_more"]
        migrations._migrations.pop()


def _fill(ledger: Ledger, pipelines: int = 1, tests: int = 3) -> None:
    ledger.observations.remember_projects("project qa/web-shop", [building.PROJECT])
    for number in range(pipelines):
        pipeline = building.pipeline(100 + number)
        job = building.job(1000 + number, of=pipeline)
        ledger.observations.store_pipelines([pipeline])
        ledger.observations.store_jobs(pipeline, [job])
        building.read_job(ledger, job, [building.run(f"test {n}") for n in range(tests)])
        ledger.observations.mark_read(pipeline)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a ledger that holds three tests."""
    path = tmp_path / "ledger.db"
    with open_ledger(path, skips_count=False) as ledger:
        _fill(ledger)
    return path


def _add_host(db: Database) -> None:
    db.execute("ALTER TABLE passes ADD COLUMN host TEXT")


def _columns(store: Store, table: str) -> set[str]:
    return {row[1] for row in store.rows(f"PRAGMA table_info({table})")}


def _kept(path: Path) -> list[Path]:
    return sorted(path.parent.glob("ledger.db.before-*"))


# --- opening and migrations ------------------------------------------------------------------------------------------


def test_a_new_ledger_has_every_migration_and_keeps_no_copy(tmp_path: Path) -> None:
    """There is nothing to keep; opened again, nothing is done."""
    path = tmp_path / "ledger.db"
    for _ in range(2):
        with closing(open_for_writing(path)) as store:
            assert migrations.pending(store.db) == []
            assert store.value("PRAGMA journal_mode") == "wal"
            assert store.value("PRAGMA foreign_keys") == 1
            assert store.value("PRAGMA integrity_check") == "ok"
    assert _kept(path) == []


def test_migrations_applied_one_by_one_come_to_the_same_schema_as_all_at_once(tmp_path: Path) -> None:
    """Each is applied on its own, in its order, on a file that has all those before it."""
    names = [migration.name for migration in migrations._migrations]
    with closing(open_for_writing(tmp_path / "at-once.db")) as store:
        wanted = store.rows("SELECT name, sql FROM sqlite_schema ORDER BY name")
        assert names == [migration.name for migration in migrations.applied(store.db)]
    with closing(in_memory()) as store:
        store.db.execute("PRAGMA writable_schema = RESET")
        assert store.rows("SELECT name, sql FROM sqlite_schema ORDER BY name") == wanted
    assert names == sorted(names)


def test_a_ledger_with_data_is_copied_before_it_is_migrated(path: Path) -> None:
    """The copy is whole, of the old schema, and opens; the ledger has the new schema and the same data."""
    with _one_more_migration(_add_host):
        with closing(open_for_writing(path)) as store:
            assert "host" in _columns(store, "passes")
            assert views.tests(store)["read"] == 3
        assert len(_kept(path)) == 1
        with closing(open_for_writing(path)):
            assert len(_kept(path)) == 1
    with closing(open_for_writing(_kept(path)[0])) as copy:
        assert "host" not in _columns(copy, "passes")
        assert views.tests(copy)["read"] == 3
        assert copy.value("PRAGMA integrity_check") == "ok"


def test_a_migration_that_fails_half_way_leaves_the_ledger_as_it_was(path: Path) -> None:
    """All or nothing, also when it runs a whole script; the program before it can go on."""

    def half(db: Database) -> None:
        db.executescript("CREATE TABLE more (x TEXT) STRICT; INSERT INTO more VALUES ('1');")
        db.execute("INSERT INTO no_such_table VALUES (1)")

    with _one_more_migration(half), pytest.raises(LedgerUnusable, match="no_such_table"):
        open_for_writing(path)
    with closing(open_for_writing(path)) as store:
        assert _columns(store, "more") == set()
        assert views.tests(store)["read"] == 3


def test_a_ledger_of_a_newer_version_is_refused_in_one_line_and_left_alone(path: Path) -> None:
    """For writing and for reading: the line names what it has, and what to do."""
    with _one_more_migration(_add_host):
        open_for_writing(path).close()
    before = path.read_bytes()
    for opening in (open_for_writing, open_for_reading):
        with pytest.raises(LedgerUnusable) as error:
            opening(path)
        assert re.fullmatch(
            r".*ledger\.db was written by a newer version .*9999_one_more.*: install .*", str(error.value)
        )
    assert path.read_bytes() == before


def test_a_reader_does_not_migrate(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older ledger is refused with the command that brings it up to date, and without a copy."""
    monkeypatch.setitem(STEPS, "9999_one_more", "")
    with pytest.raises(LedgerUnusable, match="older schema: one run of `reconciler --once`"):
        open_for_reading(path)
    assert _kept(path) == []


def test_a_reader_knows_the_same_steps_as_the_writer(path: Path) -> None:
    """In the same order, and by their names alone: a reader does without sqlite-utils."""
    assert [migration.name for migration in migrations._migrations] == list(STEPS)
    program = "import sys; from reconciler.ledger.store import open_for_reading as read; from pathlib import Path;"
    program += " read(Path(sys.argv[1])).close(); print('sqlite_utils' in sys.modules)"
    for ledger in (path, path.with_name("none.db")):
        done = subprocess.run([sys.executable, "-c", program, ledger], capture_output=True, text=True, check=True)
        assert done.stdout == "False\n"


def test_the_copy_of_sqlite_is_the_one_that_sqlite_utils_uses() -> None:
    """Two of them in one process break each other's locks."""
    with closing(in_memory()) as store, closing(Database(memory=True)) as theirs:
        assert type(store.connection) is type(theirs.conn)


def test_a_reader_finds_an_empty_ledger_where_there_is_no_file_and_makes_none(tmp_path: Path) -> None:
    """`status` before the first pass."""
    with closing(open_for_reading(tmp_path / "ledger.db")) as store:
        assert views.tests(store)["read"] == 0
    assert list(tmp_path.iterdir()) == []


def test_a_reader_cannot_write(path: Path) -> None:
    """Not even by mistake."""
    with closing(open_for_reading(path)) as store, pytest.raises(LedgerUnusable, match="readonly"), store.transaction():
        store.run("DELETE FROM tests")


# --- looked through ---------------------------------------------------------------------------------------------------


def test_a_whole_ledger_has_no_faults_beside_a_writer_too(path: Path) -> None:
    """Nor has one that is not there; nothing is made or changed."""
    assert integrity(path.with_name("none.db")) == []
    before = path.read_bytes()
    with open_ledger(path, skips_count=False):
        assert integrity(path) == []
    assert path.read_bytes() == before
    assert not path.with_name("none.db").exists()


def test_rows_that_refer_to_nothing_are_a_fault(path: Path) -> None:
    """As another program may leave them."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM reports")
    assert integrity(path) == ["3 rows of tests refer to rows that are not there"]


def test_damage_inside_is_a_fault_and_one_that_hides_everything_too(path: Path) -> None:
    """SQLite's own words."""
    whole = path.read_bytes()
    with closing(sqlite3.connect(path)) as connection:
        root = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'tests_of_job'").fetchone()[0]
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    path.write_bytes(whole[: (root - 1) * size] + b"\xa5" * size + whole[root * size :])
    assert integrity(path)
    path.write_bytes(b"test,formatted_id\n" * 500)
    assert integrity(path) == ["file is not a database"]


# --- files that cannot be used ---------------------------------------------------------------------------------------


def _refused(opening: Callable[[Path], object], path: Path) -> str:
    with pytest.raises(LedgerUnusable) as error:
        opening(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("opening", [open_for_writing, open_for_reading])
def test_a_file_that_is_no_database_is_refused_and_left_alone(
    tmp_path: Path, opening: Callable[[Path], object]
) -> None:
    """Somebody's file is never overwritten."""
    path = tmp_path / "ledger.db"
    path.write_bytes(b"test,formatted_id\n" * 500)
    said = _refused(opening, path)
    assert "not a database" in said
    assert "move it away" in said
    assert path.read_bytes() == b"test,formatted_id\n" * 500


@pytest.mark.parametrize("opening", [open_for_writing, open_for_reading])
def test_a_damaged_schema_is_refused_and_left_alone(path: Path, opening: Callable[[Path], object]) -> None:
    """The first page is overwritten behind the header."""
    damaged = bytearray(path.read_bytes())
    damaged[100:4096] = b"\xa5" * 3996
    path.write_bytes(damaged)
    assert "malformed" in _refused(opening, path)
    assert path.read_bytes() == damaged


def test_damage_that_is_met_while_reading_is_named_too(path: Path) -> None:
    """All pages but the schema's are gone; whoever asks gets the same one line."""
    content = path.read_bytes()
    with closing(sqlite3.connect(path)) as connection:
        root = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'reports'").fetchone()[0]
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    start = (root - 1) * size
    path.write_bytes(content[:start] + b"\xa5" * size + content[start + size :])
    with closing(open_for_reading(path)) as store:
        assert "malformed" in _refused(lambda _: views.tests(store), path)


def test_a_folder_in_the_ledgers_place_is_refused(tmp_path: Path) -> None:
    """With advice, and the folder stays."""
    path = tmp_path / "ledger.db"
    path.mkdir()
    assert "see that the file and its folder" in _refused(lambda p: open_ledger(p, skips_count=False).__enter__(), path)
    assert list(path.iterdir()) == []


@pytest.mark.parametrize("missing", ["no-such-folder/ledger.db", "a-file/ledger.db"])
def test_a_folder_that_is_not_there_is_refused_with_advice(tmp_path: Path, missing: str) -> None:
    """No folder is made: a slip in ledger.path would start a second ledger."""
    (tmp_path / "a-file").write_text("")
    with pytest.raises(LedgerUnusable, match=r"cannot write beside the ledger: .*ledger\.path"):
        open_ledger(tmp_path / missing, skips_count=False).__enter__()
    assert [entry.name for entry in tmp_path.iterdir()] == ["a-file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_refused_with_advice(path: Path) -> None:
    """Nothing can be locked there; what can be read stays readable."""
    path.with_name("ledger.db.lock").unlink()
    path.parent.chmod(0o500)
    try:
        with pytest.raises(LedgerUnusable, match="give this user write access"):
            open_ledger(path, skips_count=False).__enter__()
    finally:
        path.parent.chmod(0o700)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_file_is_refused_with_advice(path: Path) -> None:
    """The first thing that is written fails, in one line."""

    def write(path: Path) -> None:
        with open_ledger(path, skips_count=False) as ledger:
            ledger.observations.set_cursor("x", START)

    path.chmod(0o400)
    assert "can be read and written by this user" in _refused(write, path)


def test_a_full_disk_loses_nothing_and_the_ledger_goes_on_when_there_is_room(path: Path) -> None:
    """The transaction that does not fit is undone as a whole; the advice says to free space."""
    with open_ledger(path, skips_count=False) as ledger:
        pages = ledger.store.value("PRAGMA page_count")
        ledger.store.value(f"PRAGMA max_page_count = {pages + 2}")
        before = views.tests(ledger.store)
        pipeline = building.pipeline(200)
        job = building.job(2000, of=pipeline)
        ledger.observations.store_pipelines([pipeline])
        ledger.observations.store_jobs(pipeline, [job])
        runs = [building.run(f"a much longer name of a test {n}") for n in range(500)]
        with pytest.raises(LedgerUnusable, match=r"full: free some space"):
            building.read_job(ledger, job, runs)
        assert views.tests(ledger.store) == before
        assert ledger.store.value("PRAGMA integrity_check") == "ok"
        ledger.store.value("PRAGMA max_page_count = 1000000")
        building.read_job(ledger, job, runs)
        told = views.tests(ledger.store)
    assert (told["read"], told["unaccounted"]) == (503, 0)


# --- transactions, and readers beside a writer -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("database or disk is full", "free some space; nothing was lost, the next pass goes on"),
        (
            "database disk image is malformed",
            "put a copy in its place, or move it away: a new ledger finds in Rally what is already there",
        ),
        (
            "file is not a database",
            "put a copy in its place, or move it away: a new ledger finds in Rally what is already there",
        ),
        ("disk I/O error", "see that the disk has space and is in order; nothing was lost, the next pass goes on"),
        ("unable to open database file", "see that the file and its folder can be read and written by this user"),
    ],
)
def test_each_trouble_of_sqlite_comes_with_its_advice(said: str, advice: str) -> None:
    """In one line: which file, what SQLite said, and what a person can do."""
    error = _unusable("/var/lib/ledger.db", sqlite3.OperationalError(said))
    assert not isinstance(error, LedgerBusy)
    assert str(error) == f"the ledger /var/lib/ledger.db cannot be used: {said}: {advice}"


def test_a_ledger_that_another_program_holds_is_in_use(path: Path) -> None:
    """As it is when another one of ours holds it: to be tried again, and not damaged."""
    error = _unusable(str(path), sqlite3.OperationalError("database is locked"))
    assert isinstance(error, LedgerBusy)
    assert str(error) == f"the ledger {path} is in use by another program: close that one"


def test_a_transaction_is_all_or_nothing_and_so_is_one_inside_it(path: Path) -> None:
    """The inner one is undone alone; the outer one takes everything with it."""
    with closing(open_for_writing(path)) as store:

        def cursors() -> list[str]:
            return [row[0] for row in store.rows("SELECT name FROM cursors ORDER BY name")]

        def write(name: str, inner: str, *, fails: bool) -> None:
            with store.transaction():
                store.run("INSERT INTO cursors VALUES (?, '')", [name])
                if inner:
                    write(inner, "", fails=not fails)
                if fails:
                    raise ValueError(name)

        with store.transaction():
            store.run("INSERT INTO cursors VALUES ('outer', '')")
            with pytest.raises(ValueError, match="inner"):
                write("inner", "", fails=True)
        assert cursors() == ["outer"]
        with pytest.raises(ValueError, match="second"):
            write("second", "third", fails=True)
        assert cursors() == ["outer"]


def test_a_broken_rule_is_no_trouble_with_the_file(path: Path) -> None:
    """A wrong step of ours is a bug and shows itself as one."""
    with closing(open_for_writing(path)) as store:
        with pytest.raises(sqlite3.IntegrityError), store.transaction():
            store.run("UPDATE tests SET state = 'lost'")
        assert views.recount(store) == {"pending": 3}


def test_readers_beside_a_writer_see_whole_passes_and_are_never_turned_away(path: Path) -> None:
    """Each document has 20 tests, so every count that is seen is 3 and a multiple of 20; none waits for the writer."""
    seen: list[int] = []
    troubles: list[BaseException] = []
    stop = threading.Event()

    def read() -> None:
        try:
            while not stop.is_set():
                with closing(open_for_reading(path)) as store:
                    told = views.tests(store)
                    assert told["unaccounted"] == 0
                    assert sum(views.recount(store).values()) == told["read"]
                    seen.append(told["read"])
        except BaseException as error:  # noqa: BLE001 - told to the main thread
            troubles.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        with open_ledger(path, skips_count=False) as ledger:
            for number in range(40):
                pipeline = building.pipeline(500 + number)
                job = building.job(5000 + number, of=pipeline)
                ledger.observations.store_pipelines([pipeline])
                ledger.observations.store_jobs(pipeline, [job])
                building.read_job(ledger, job, [building.run(f"test {n}") for n in range(20)])
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert troubles == []
    assert {read % 20 for read in seen} == {3}


def test_a_ledger_that_is_being_made_reads_as_an_empty_one(tmp_path: Path) -> None:
    """Its file is there before its first table is: `status` beside the first start must not call it an old one."""
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as begun:
        begun.execute("PRAGMA journal_mode=WAL")
    with closing(open_for_reading(tmp_path / "ledger.db")) as store:
        assert store.value("SELECT COUNT(*) FROM tests") == 0
