"""The ledger's file: opening, pragmas, migrations and transactions."""

from __future__ import annotations

import os
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlite_utils import Database
from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined] # two copies of SQLite break each other's locks

from reconciler.errors import LedgerBusy, LedgerUnusable
from reconciler.ledger.schema import migrations

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

BUSY_TIMEOUT_S = 30


def stamp(moment: datetime) -> str:
    """Write an aware instant as the ledger keeps it: `2026-01-31T12:00:00.000000Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def moment(stamped: str) -> datetime:
    """Read an instant back; the inverse of `stamp`."""
    return datetime.strptime(stamped, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


class Store:
    """One connection to one ledger, used by one thread at a time."""

    def __init__(self, db: Database, path: str) -> None:
        """Wrap an open database; `path` is for messages."""
        self.db = db
        self.path = path

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write all or nothing; inside another transaction, a savepoint.

        `BEGIN IMMEDIATE`, because a deferred transaction that turns into a write fails at once under contention.

        Raises:
            LedgerUnusable: SQLite could not write (disk full, damaged file, I/O error); nothing was written.
        """
        with self._named_trouble():
            if self._inside():
                with self.db.atomic():
                    yield
                return
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.db.execute("COMMIT")
            except BaseException:
                if self._inside():
                    self.db.execute("ROLLBACK")
                raise

    def _inside(self) -> bool:
        return bool(self.db.conn.in_transaction)

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
            return self.db.execute(sql, parameters).fetchall()

    def value(self, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> Any:  # noqa: ANN401 - SQL's types
        """Fetch the first column of the first row; None when there is no row."""
        rows = self.rows(sql, parameters)
        return rows[0][0] if rows else None

    def run(self, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> int:
        """Execute one writing statement inside a transaction; the number of rows it touched."""
        return self.db.execute(sql, parameters).rowcount

    def run_many(self, sql: str, parameters: Iterable[Sequence[Any]]) -> None:
        """Execute one writing statement for each parameter row, inside a transaction."""
        self.db.conn.executemany(sql, parameters)

    def close(self) -> None:
        """Close the connection; the write-ahead log is folded in when it is the last one."""
        self.db.close()


def open_for_writing(path: Path) -> Store:
    """Open or create the ledger and bring it to the present schema; the caller holds the writer lock.

    Raises:
        LedgerUnusable: the file cannot be opened, is damaged, or was written by a newer version of this program.
    """
    with _opened(path, "rwc") as store:
        for pragma in ("foreign_keys=ON", "synchronous=FULL", "journal_mode=WAL", "trusted_schema=OFF"):
            store.db.execute(f"PRAGMA {pragma}")
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
        return in_memory()
    with _opened(path, "ro") as store:
        store.db.execute("BEGIN")
        _refuse_newer(store)
        if migrations.pending(store.db):
            raise LedgerUnusable(f"{path} is of an older schema: one run of `reconciler --once` brings it up to date")
        return store


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
        yield Store(Database(connection, execute_plugins=False, strict=True), str(path))
    except sqlite3.DatabaseError as error:
        connection.close()
        raise _unusable(str(path), error) from error
    except BaseException:
        connection.close()
        raise


def in_memory() -> Store:
    """Make a ledger that lives as long as the process: the tests' double, and the state before the first pass."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("PRAGMA foreign_keys=ON")
    store = Store(Database(connection, execute_plugins=False, strict=True), ":memory:")
    migrations.apply(store.db)
    return store


def _migrate(store: Store, path: Path) -> None:
    """Apply what is missing, under the lock; a ledger with data is copied first."""
    _refuse_newer(store)
    if not migrations.pending(store.db):
        return
    if migrations.applied(store.db):
        _keep_copy(store, path)
    elif store.db.table_names():
        raise LedgerUnusable(f"{path} is a database of another program: give another ledger.path")
    with store.transaction():
        migrations.apply(store.db)


def _refuse_newer(store: Store) -> None:
    known = _names()
    unknown = [migration.name for migration in migrations.applied(store.db) if migration.name not in known]
    if unknown:
        raise LedgerUnusable(
            f"{store.path} was written by a newer version of reconciler (it has {', '.join(unknown)}): "
            f"install that version, or give another ledger.path"
        )


def _names() -> frozenset[str]:
    """All migrations that this version has: those pending on an empty database."""
    with closing(Database(memory=True)) as empty:
        return frozenset(migration.name for migration in migrations.pending(empty))


def _keep_copy(store: Store, path: Path) -> None:
    """Copy the ledger as it is; a copy has its name only when it is whole."""
    copy = path.with_name(f"{path.name}.before-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    partial = copy.with_name(f"{copy.name}.partial")
    try:
        with closing(sqlite3.connect(partial)) as target:
            store.db.conn.backup(target)
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
