"""Folders of sprints, and which test cases were filed in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.ledger.store import moment, stamp
from reconciler.model import ObjectID

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from reconciler.ledger.store import Store


class SprintFolders:
    """The part of `Sprints` that is about folders. Every method is one transaction."""

    def __init__(self, store: Store) -> None:
        """Write into this store."""
        self._store = store

    def folder(self, project: ObjectID, iteration: int) -> tuple[str, ObjectID | None, datetime] | None:
        """Tell state, object and begin of a folder; iteration 0 is the one for all sprints of a project."""
        rows = self._store.rows(
            "SELECT state, object_id, intended_at FROM folders WHERE project_id = ? AND iteration_id = ?",
            [project, iteration],
        )
        if not rows:
            return None
        state, object_id, since = rows[0]
        return state, None if object_id is None else ObjectID(object_id), moment(since)

    def intend_folder(self, project: ObjectID, iteration: int, name: str, now: datetime) -> None:
        """Write down that a folder is about to be created."""
        with self._store.transaction():
            self._store.run(
                "INSERT INTO folders (project_id, iteration_id, name, state, intended_at)"
                " VALUES (?, ?, ?, 'intended', ?)",
                [project, iteration, name, stamp(now)],
            )

    def unheard_folder(self, project: ObjectID, iteration: int, now: datetime) -> None:
        """Write down that the request was given up only now: it may be alive for as long from here."""
        with self._store.transaction():
            self._store.run(
                "UPDATE folders SET intended_at = ? WHERE project_id = ? AND iteration_id = ? AND state = 'intended'",
                [stamp(now), project, iteration],
            )

    def confirm_folder(self, project: ObjectID, iteration: int, name: str, object_id: ObjectID, now: datetime) -> None:
        """Write down that the folder is there: created, or found."""
        with self._store.transaction():
            self._store.run(
                "INSERT INTO folders (project_id, iteration_id, name, state, object_id, intended_at)"
                " VALUES (?, ?, ?, 'done', ?, ?) ON CONFLICT (project_id, iteration_id) DO UPDATE"
                " SET state = 'done', object_id = excluded.object_id, reason = ''",
                [project, iteration, name, object_id, stamp(now)],
            )

    def refuse_folder(self, project: ObjectID, iteration: int, reason: str) -> None:
        """Write down that Rally said No to it."""
        with self._store.transaction():
            self._store.run(
                "UPDATE folders SET state = 'refused', reason = ? WHERE project_id = ? AND iteration_id = ?",
                [reason, project, iteration],
            )

    def withdraw_folder(self, project: ObjectID, iteration: int, why: str, now: datetime) -> None:
        """Take back the intent."""
        with self._store.transaction():
            self._store.run(
                "DELETE FROM folders WHERE project_id = ? AND iteration_id = ? AND state = 'intended'",
                [project, iteration],
            )
            self._note(now, "withdrawn", f"folder of project {project}, iteration {iteration}", why)

    def folders_in_doubt(self) -> dict[tuple[ObjectID, int], tuple[str, ObjectID | None]]:
        """Tell name and parent of the folders that were begun and not heard the end of, by project and iteration."""
        rows = self._store.rows(
            "SELECT f.project_id, f.iteration_id, f.name, top.object_id FROM folders f LEFT JOIN folders top"
            " ON top.project_id = f.project_id AND top.iteration_id = 0 WHERE f.state = 'intended'"
        )
        return {
            (ObjectID(project), iteration): (name, None if parent is None else ObjectID(parent))
            for project, iteration, name, parent in rows
        }

    def to_move(self, iteration: ObjectID) -> list[ObjectID]:
        """List the members of an iteration's set that were never filed in its folder."""
        rows = self._store.rows(
            "SELECT test_case FROM members m WHERE iteration_id = ? AND NOT EXISTS (SELECT 1 FROM moves v"
            " WHERE v.iteration_id = m.iteration_id AND v.test_case = m.test_case AND v.state <> 'intended')"
            " ORDER BY test_case",
            [iteration],
        )
        return [ObjectID(row[0]) for row in rows]

    def forget_moves(self) -> None:
        """Take back moves that were begun and not heard of: what is still wanted is simply done again."""
        with self._store.transaction():
            self._store.run("DELETE FROM moves WHERE state = 'intended'")

    def move(self, iteration: ObjectID, cases: Iterable[ObjectID], state: str, reason: str = "") -> None:
        """Write down what became of filing test cases: `intended`, `done` or `refused`; doing it again does no harm."""
        with self._store.transaction():
            self._store.run_many(
                "INSERT INTO moves VALUES (?, ?, ?, ?) ON CONFLICT (iteration_id, test_case)"
                " DO UPDATE SET state = excluded.state, reason = excluded.reason",
                ((iteration, case, state, reason) for case in cases),
            )

    def _note(self, now: datetime, what: str, key: str, detail: str) -> None:
        self._store.run("INSERT INTO audit VALUES (?, ?, ?, ?)", [stamp(now), what, key, detail])
