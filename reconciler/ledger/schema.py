"""The steps of `tables` as sqlite-utils' migrations: a ledger notes which of them it has had."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from sqlite_utils import Database, Migrations

from reconciler.ledger.tables import STEPS

if TYPE_CHECKING:
    from collections.abc import Callable

migrations = Migrations("reconciler")


def _running(script: str) -> Callable[[Database], None]:
    def run(db: Database) -> None:
        db.executescript(script)

    return run


for _name, _script in STEPS.items():
    migrations(name=_name)(_running(_script))


def known() -> frozenset[str]:
    """Name all steps that this version has: those pending on an empty database."""
    with closing(Database(memory=True)) as empty:
        return frozenset(migration.name for migration in migrations.pending(empty))
