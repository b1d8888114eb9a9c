"""The ledger's file: opening, pragmas, migrations and transactions."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import cached_property
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from reconciler.errors import LedgerBusy, LedgerUnusable
from reconciler.ledger.tables import STEPS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    from sqlite_utils import Database
else:
    try:  # as sqlite-utils chooses: two copies of SQLite in one process break each other's locks
        from pysqlite3 import dbapi2 as sqlite3
    except ImportError:
        import sqlite3

BUSY_TIMEOUT_S = 30
PROBLEMS_TOLD = 20
ROWS_AT_ONCE = 50
"""How many rows one statement inserts."""
_PRAGMAS = (
    "foreign_keys=ON",
    "synchronous=FULL",
    "journal_mode=WAL",
    "trusted_schema=OFF",
    "temp_store=MEMORY",  # each row written keeps the pages it changes until it is whole; in a file they cost 16 writes
)


def placeholders(rows: Sequence[Sequence[Any]]) -> str:
    """Write the placeholders of rows that are equally long."""
    row = f"({', '.join('?' * len(rows[0]))})"
    return ", ".join([row] * len(rows))


def stamp(moment: datetime) -> str:
    """Write an aware instant as the ledger keeps it: `2026-01-31T12:00:00.000000Z`."""
    utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return f"{utc.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def moment(stamped: str) -> datetime:
    """Read an instant back; the inverse of `stamp`."""
    return datetime.fromisoformat(stamped)


class Store:
    """One connection to one ledger, used by one thread at a time."""

    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        """Wrap an open connection; `path` is for messages."""
        self.connection = connection
        self.path = path
        self.commits = 0
        """Transactions that were written through this connection."""

    @cached_property
    def db(self) -> Database:
        """The same connection, as sqlite-utils has it: for migrations."""
        from sqlite_utils import Database  # noqa: PLC0415 - 50 ms, which `status` does without

        return Database(self.connection, execute_plugins=False, strict=True)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write all or nothing; inside another transaction, a savepoint.

        `BEGIN IMMEDIATE`, because a deferred transaction that turns into a write fails at once under contention.

        Raises:
            LedgerUnusable: SQLite could not write (disk full, damaged file, I/O error); nothing was written.
        """
        with self._named_trouble():
            if self._inside():
                with self._savepoint():
                    yield
                return
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.connection.execute("COMMIT")
                self.commits += 1
            except BaseException:
                if self._inside():
                    self.connection.execute("ROLLBACK")
                raise

    def _inside(self) -> bool:
        return self.connection.in_transaction

    @contextmanager
    def _savepoint(self) -> Iterator[None]:
        self.connection.execute("SAVEPOINT inner")
        try:
            yield
        except BaseException:
            if self._inside():  # a full disk may have undone the whole of it
                self.connection.execute("ROLLBACK TO inner")
                self.connection.execute("RELEASE inner")
            raise
        self.connection.execute("RELEASE inner")

    @contextmanager
    def _named_trouble(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError:
            raise
        except sqlite3.DatabaseError as error:
            raise _unusable(self.path, error) from error

    def rows(self, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> list[tuple[Any, ...]]:
        """Fetch all rows of a query at once: an unfinished cursor would pin the write-ahead log."""
        with self._named_trouble():
            return self.connection.execute(sql, parameters).fetchall()

    def each(self, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Give the rows of a query one by one, where they are too many to be held; nothing is to be written meanwhile.

        Unlike `rows` it pins the write-ahead log until it is at its end: take all.
        """
        with self._named_trouble():
            yield from self.connection.execute(sql, parameters)

    def value(self, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> Any:  # noqa: ANN401 - SQL's types
        """Fetch the first column of the first row; None when there is no row."""
        rows = self.rows(sql, parameters)
        return rows[0][0] if rows else None

    def run(self, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> int:
        """Execute one writing statement inside a transaction; the number of rows it touched."""
        return self.connection.execute(sql, parameters).rowcount

    def run_many(self, sql: str, parameters: Iterable[Sequence[Any]]) -> int:
        """Execute one writing statement for each parameter row, inside a transaction; the rows touched in all."""
        return self.connection.executemany(sql, parameters).rowcount

    def insert(self, into: str, rows: Iterable[Sequence[Any]]) -> None:
        """Insert rows inside a transaction; `into` is the statement as far as VALUES.

        Some at once: SQLite lets other threads run at each row that is inserted by a statement of its own, and then has
        to wait for them.
        """
        left = iter(rows)
        while some := list(islice(left, ROWS_AT_ONCE)):
            self.connection.execute(f"{into} VALUES {placeholders(some)}", [*chain.from_iterable(some)])

    def close(self) -> None:
        """Close the connection; the write-ahead log is folded in when it is the last one."""
        self.connection.close()


def open_for_writing(path: Path) -> Store:
    """Open or create the ledger and bring it to the present schema; the caller holds the writer lock.

    Raises:
        LedgerUnusable: the file cannot be opened, is damaged, or was written by a newer version of this program.
    """
    with _opened(path, "rwc") as store:
        for pragma in _PRAGMAS:
            store.connection.execute(f"PRAGMA {pragma}")
        _migrate(store, path)
        if not os.access(path, os.W_OK):  # SQLite opens it for reading then, and says so at the first write only
            raise _unusable(store.path, sqlite3.OperationalError("attempt to write a readonly database"))
        return store


def open_for_reading(path: Path) -> Store:
    """Open the ledger read-only, for `status` and `review` beside a running writer; an empty one when there is no file.

    All that is read until it is closed is of one moment: keep it open shortly, it pins the write-ahead log.

    Raises:
        LedgerUnusable: the file cannot be opened, is damaged, or has a newer or older schema.
    """
    if not _is_there(path):
        return _empty()
    with _opened(path, "ro") as store:
        store.connection.execute("BEGIN")
        applied = _applied(store)
        if not applied and not store.value("SELECT COUNT(*) FROM sqlite_schema"):
            store.close()  # it is being made in this moment
            return _empty()
        _refuse_newer(store.path, applied, STEPS)
        if len(applied) < len(STEPS):
            raise LedgerUnusable(f"{path} is of an older schema: one run of `reconciler --once` brings it up to date")
        return store


def integrity(path: Path) -> list[str]:
    """Look the whole file through, read-only and beside a writer; what is wrong with it, nothing when there is no file.

    Seconds for a ledger of a million tests. Rows that refer to nothing are told by table.

    Raises:
        LedgerUnusable: it cannot be opened at all.
    """
    if not _is_there(path):
        return []
    with _opened(path, "ro") as store, closing(store.connection):
        try:
            found = [str(row[0]) for row in store.connection.execute(f"PRAGMA integrity_check({PROBLEMS_TOLD})")]
            astray = Counter(row[0] for row in store.connection.execute("PRAGMA foreign_key_check"))
        except sqlite3.DatabaseError as error:
            return [str(error)]
        lost = [f"{number} rows of {table} refer to rows that are not there" for table, number in astray.items()]
        return [text for text in found if text != "ok"] + lost


def _is_there(path: Path) -> bool:
    """Tell whether there is a ledger; a folder that may not be entered is not an empty one."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _unusable(str(path), error) from error
    return True


@contextmanager
def _opened(path: Path, mode: str) -> Iterator[Store]:
    """Open a connection that stays open unless the block fails."""
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,  # the daemon opens it in one thread and runs every pass in another, never both
        )
    except sqlite3.DatabaseError as error:
        raise _unusable(str(path), error) from error
    try:
        yield Store(connection, str(path))
    except sqlite3.DatabaseError as error:
        connection.close()
        raise _unusable(str(path), error) from error
    except BaseException:
        connection.close()
        raise


def in_memory() -> Store:
    """Make a ledger that lives as long as the process: the tests' double."""
    from reconciler.ledger.schema import migrations  # noqa: PLC0415 - as in `Store.db`

    store = _connected_to_memory()
    migrations.apply(store.db)
    return store


def _empty() -> Store:
    """Make what a reader finds before the first pass, without the note of which steps it had."""
    store = _connected_to_memory()
    for script in STEPS.values():
        store.connection.executescript(script)
    return store


def _connected_to_memory() -> Store:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("PRAGMA foreign_keys=ON")
    return Store(connection, ":memory:")


def _migrate(store: Store, path: Path) -> None:
    """Apply what is missing, under the lock; a ledger with data is copied first."""
    applied = _applied(store)
    if set(applied) == STEPS.keys():
        return
    from reconciler.ledger.schema import known, migrations  # noqa: PLC0415 - as in `Store.db`

    _refuse_newer(store.path, applied, known())
    if not migrations.pending(store.db):
        return
    if applied:
        _keep_copy(store, path)
    elif store.db.table_names():
        raise LedgerUnusable(f"{path} is a database of another program: give another ledger.path")
    with store.transaction():
        migrations.apply(store.db)


def _applied(store: Store) -> list[str]:
    """List the steps that a ledger has had, as sqlite-utils notes them."""
    if not store.value("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = '_sqlite_migrations')"):
        return []
    return [row[0] for row in store.rows("SELECT name FROM _sqlite_migrations WHERE migration_set = 'reconciler'")]


def _refuse_newer(path: str, applied: Iterable[str], known: Collection[str]) -> None:
    unknown = [name for name in applied if name not in known]
    if unknown:
        raise LedgerUnusable(
            f"{path} was written by a newer version of reconciler (it has {', '.join(unknown)}): "
            f"install that version, or give another ledger.path"
        )


def _keep_copy(store: Store, path: Path) -> None:
    """Copy the ledger as it is; a copy has its name only when it is whole."""
    copy = path.with_name(f"{path.name}.before-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    partial = copy.with_name(f"{copy.name}.partial")
    try:
        with closing(sqlite3.connect(partial)) as target:
            store.connection.backup(target)
        partial.replace(copy)
    finally:
        partial.unlink(missing_ok=True)


def _unusable(path: str, error: Exception) -> LedgerUnusable:
    text = str(getattr(error, "strerror", "") or error)
    if "locked" in text:  # in SQLite's words; ours wait for each other, and longer than their transactions take
        return LedgerBusy(f"the ledger {path} is in use by another program: close that one")
    advice = "see that the file and its folder can be read and written by this user"
    if "full" in text:
        advice = "free some space; nothing was lost, the next pass goes on"
    elif "I/O" in text:
        advice = "see that the disk has space and is in order; nothing was lost, the next pass goes on"
    elif "malformed" in text or "not a database" in text:
        advice = "put a copy in its place, or move it away: a new ledger finds in Rally what is already there"
    return LedgerUnusable(f"the ledger {path} cannot be used: {text}: {advice}")
