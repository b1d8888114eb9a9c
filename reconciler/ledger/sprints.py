"""Sprints: what Rally schedules, and the record of each set, member and folder that was created for it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from reconciler.ledger.sprint_folders import SprintFolders
from reconciler.ledger.store import moment, stamp
from reconciler.model import FormattedID, Iteration, ObjectID
from reconciler.sprints import Known, Membership, Placed, Scheduled

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import AbstractContextManager

    from reconciler.model import TestCase, TestSet, WorkItem
    from reconciler.sprints import Unplaced

ASKED_AGAIN = timedelta(hours=1)
"""After this a story's test cases are asked for even when nothing of it seems to have changed.

Whether a story's LastUpdateDate moves when its test cases change is not known (facts 7).
"""


class Sprints(SprintFolders):
    """Writes down what sprints have. Every method is one transaction."""

    def together(self) -> AbstractContextManager[None]:
        """Write several things in one transaction."""
        return self._store.transaction()

    # --- what Rally schedules ---

    def store_iterations(self, iterations: Iterable[Iteration], now: datetime) -> None:
        """Note iterations as Rally lists them; name, dates and project may change at any time.

        What an iteration had in another project stays there, and is no longer its own: it gets a set in the new one.
        """
        iterations = list(iterations)
        with self._store.transaction():
            for one in iterations:
                self._leave_project(one, now)
            self._store.run_many(
                "INSERT INTO iterations (iteration_id, project_id, project_name, name, starts_at, ends_at, seen_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (iteration_id) DO UPDATE SET"
                " project_id = excluded.project_id, project_name = excluded.project_name, name = excluded.name,"
                " starts_at = excluded.starts_at, ends_at = excluded.ends_at, seen_at = excluded.seen_at, listed = 1",
                (
                    [one.object_id, one.project_id, one.project_name, one.name, stamp(one.starts_at),
                     stamp(one.ends_at), stamp(now)]
                    for one in iterations
                ),
            )  # fmt: skip

    def _leave_project(self, iteration: Iteration, now: datetime) -> None:
        number = iteration.object_id
        left = self._store.run(
            "DELETE FROM test_sets WHERE state <> 'intended' AND iteration_id IN"
            " (SELECT iteration_id FROM iterations WHERE iteration_id = ? AND project_id <> ?)",
            [number, iteration.project_id],
        )
        if left:
            for table in ("doubles", "members", "moves"):
                self._store.run(f"DELETE FROM {table} WHERE iteration_id = ?", [number])
            self._note(now, "left", f"test set of iteration {number}", f"it is of project {iteration.project_id} now")

    def unlist(self, listed: Iterable[ObjectID], since: datetime, until: datetime) -> None:
        """Note which iterations are no longer where they were, given all that Rally lists between these instants.

        Where they are now is not known; no result is of their dates until Rally lists them again.
        """
        with self._store.transaction():
            rows = self._store.rows(
                "SELECT iteration_id FROM iterations WHERE listed = 1 AND starts_at <= ? AND ends_at >= ?",
                [stamp(until), stamp(since)],
            )
            self._store.run_many(
                "UPDATE iterations SET listed = 0 WHERE iteration_id = ?",
                ([number] for number in {row[0] for row in rows} - set(listed)),
            )

    def knows(self, day: datetime) -> bool:
        """Tell whether any iteration of this day, given by its first instant, was ever seen."""
        return bool(
            self._store.value(
                "SELECT EXISTS (SELECT 1 FROM iterations WHERE starts_at < ? AND ends_at >= ?)",
                [stamp(day + timedelta(days=1)), stamp(day)],
            )
        )

    def seen_since(self, moment_: datetime, now: datetime) -> int:
        """Count the iterations that Rally listed since then and that are current now."""
        return int(
            self._store.value(
                "SELECT COUNT(*) FROM iterations WHERE seen_at >= ? AND starts_at <= ? AND ends_at >= ? AND listed",
                [stamp(moment_), stamp(now), stamp(now)],
            )
        )

    def had_items_since(self, iterations: Iterable[ObjectID], moment_: datetime) -> int:
        """Count the iterations of these that had stories or defects since then."""
        with_items = {
            row[0]
            for row in self._store.rows("SELECT iteration_id FROM iterations WHERE items_at >= ?", [stamp(moment_)])
        }
        return len(with_items & set(iterations))

    def to_ask(self, items: Iterable[WorkItem], now: datetime) -> list[WorkItem]:
        """Choose the work items whose test cases must be asked for: new ones, and those that may have changed."""
        rows = self._store.rows("SELECT work_item_id, iteration_id, test_cases, updated_at, asked_at FROM work_items")
        known = {row[0]: row[1:] for row in rows}
        fresh = stamp(now - ASKED_AGAIN)
        return [
            item
            for item in items
            if (seen := known.get(item.object_id)) is None
            or item.test_cases is None
            or seen[1:3] != (item.test_cases, stamp(item.updated_at))
            or seen[3] <= fresh
        ]

    def store_items(
        self,
        items: Sequence[WorkItem],
        asked: Sequence[WorkItem],
        cases: Iterable[tuple[ObjectID, TestCase]],
        now: datetime,
    ) -> None:
        """Note all work items of the current iterations, and the test cases of those that were asked for."""
        with self._store.transaction():
            scheduled = {item.object_id: item.iteration for item in items}
            for (gone,) in self._store.rows("SELECT work_item_id FROM work_items"):
                if gone not in scheduled:
                    self._store.run("DELETE FROM work_items WHERE work_item_id = ?", [gone])
            self._store.run_many(
                "UPDATE work_items SET iteration_id = ? WHERE work_item_id = ?",
                ((iteration, item) for item, iteration in scheduled.items()),
            )
            for item in asked:
                self._store.run("DELETE FROM work_items WHERE work_item_id = ?", [item.object_id])
                self._store.run(
                    "INSERT INTO work_items VALUES (?, ?, ?, ?, ?)",
                    [item.object_id, item.iteration, item.test_cases, stamp(item.updated_at), stamp(now)],
                )
            self._store.run_many(
                "INSERT OR IGNORE INTO work_item_cases VALUES (?, ?, ?, ?)",
                ((item, case.object_id, case.formatted_id, case.project_id) for item, case in cases),
            )
            self._store.run_many(
                "UPDATE iterations SET items_at = ? WHERE iteration_id = ?",
                ((stamp(now), iteration) for iteration in set(scheduled.values())),
            )

    def scheduled(self) -> list[Scheduled]:
        """List the test cases of everything that is scheduled now."""
        rows = self._store.rows(
            "SELECT iteration_id, test_case, formatted_id, project_id FROM work_items JOIN work_item_cases"
            " USING (work_item_id) ORDER BY iteration_id, test_case"
        )
        return [
            Scheduled(ObjectID(iteration), ObjectID(case), FormattedID(formatted_id), ObjectID(project))
            for iteration, case, formatted_id, project in rows
        ]

    # --- sets ---

    def known_set(self, iteration: ObjectID, intended_before: datetime) -> Known | None:
        """Tell what is known of an iteration's set."""
        rows = self._store.rows(
            "SELECT state, object_id, intended_at, name FROM test_sets WHERE iteration_id = ?", [iteration]
        )
        if not rows:
            return None
        state, object_id, intended_at, name = rows[0]
        return Known(state, object_id and ObjectID(object_id), moment(intended_at) <= intended_before, name)

    def in_doubt(self) -> list[Iteration]:
        """List the iterations, as they were seen last, whose set was begun and not heard the end of."""
        rows = self._store.rows(
            "SELECT iteration_id, i.name, starts_at, ends_at, project_id, project_name FROM iterations i"
            " JOIN test_sets USING (iteration_id) WHERE state = 'intended' ORDER BY iteration_id"
        )
        return [
            Iteration(ObjectID(number), name, moment(starts_at), moment(ends_at), ObjectID(project), project_name)
            for number, name, starts_at, ends_at, project, project_name in rows
        ]

    def intend_set(self, iteration: ObjectID, name: str, now: datetime) -> None:
        """Write down that an iteration's set is about to be created."""
        with self._store.transaction():
            self._store.run(
                "INSERT INTO test_sets (iteration_id, name, state, intended_at) VALUES (?, ?, 'intended', ?)",
                [iteration, name, stamp(now)],
            )

    def unheard_set(self, iteration: ObjectID, now: datetime) -> None:
        """Write down that the request was given up only now: it may be alive for as long from here."""
        with self._store.transaction():
            self._store.run(
                "UPDATE test_sets SET intended_at = ? WHERE iteration_id = ? AND state = 'intended'",
                [stamp(now), iteration],
            )

    def confirm_set(self, iteration: ObjectID, object_id: ObjectID) -> None:
        """Write down that it was created, and as which object."""
        with self._store.transaction():
            self._store.run(
                "UPDATE test_sets SET state = 'done', object_id = ? WHERE iteration_id = ? AND state = 'intended'",
                [object_id, iteration],
            )

    def refuse_set(self, iteration: ObjectID, reason: str) -> None:
        """Write down that Rally said No to it."""
        with self._store.transaction():
            self._store.run(
                "UPDATE test_sets SET state = 'refused', reason = ? WHERE iteration_id = ? AND state = 'intended'",
                [reason, iteration],
            )

    def withdraw_set(self, iteration: ObjectID, why: str, now: datetime) -> None:
        """Take back the intent: it certainly was not created."""
        with self._store.transaction():
            self._store.run("DELETE FROM test_sets WHERE iteration_id = ? AND state = 'intended'", [iteration])
            self._note(now, "withdrawn", f"test set of iteration {iteration}", why)

    def adopt_set(self, iteration: ObjectID, found: TestSet, now: datetime) -> None:
        """Take a set that Rally has as the iteration's; who is in it has to be looked up."""
        with self._store.transaction():
            self._store.run(
                "INSERT INTO test_sets (iteration_id, name, state, object_id, adopted, intended_at)"
                " VALUES (?, ?, 'done', ?, 1, ?) ON CONFLICT (iteration_id) DO UPDATE SET name = excluded.name,"
                " state = 'done', object_id = excluded.object_id, adopted = 1, reason = ''",
                [iteration, found.name, found.object_id, stamp(now)],
            )
            self._store.run(
                "UPDATE members SET state = 'wanted', intended_at = NULL, reason = '' WHERE iteration_id = ?",
                [iteration],
            )
            self._note(now, "adopted", f"test set of iteration {iteration}", f"ObjectID {found.object_id}")

    def lose_set(self, iteration: ObjectID, now: datetime) -> None:
        """Write down that a person took the set away."""
        with self._store.transaction():
            self._store.run("UPDATE test_sets SET state = 'gone' WHERE iteration_id = ?", [iteration])
            self._note(now, "gone", f"test set of iteration {iteration}", "Rally no longer has it there")

    def store_doubles(self, iteration: ObjectID, doubles: Iterable[TestSet]) -> list[TestSet]:
        """Note further sets of an iteration's name; those that were not known before."""
        with self._store.transaction():
            known = {
                row[0] for row in self._store.rows("SELECT object_id FROM doubles WHERE iteration_id = ?", [iteration])
            }
            self._store.run("DELETE FROM doubles WHERE iteration_id = ?", [iteration])
            doubles = list(doubles)
            self._store.run_many(
                "INSERT OR REPLACE INTO doubles VALUES (?, ?, ?)",
                ((one.object_id, iteration, one.name) for one in doubles),
            )
        return [one for one in doubles if one.object_id not in known]

    # --- members ---

    def want(self, placed: Iterable[Placed], unplaced: Iterable[Unplaced]) -> None:
        """Write down which test cases belong to which iteration's set; what was wanted before stays so."""
        with self._store.transaction():
            self._store.run_many(
                "INSERT INTO members (iteration_id, test_case, formatted_id, state) VALUES (?, ?, ?, 'wanted')"
                " ON CONFLICT (iteration_id, test_case) DO UPDATE SET formatted_id = excluded.formatted_id"
                " WHERE formatted_id = ''",
                ((one.iteration, one.test_case, one.formatted_id) for one in placed),
            )
            self._store.run("DELETE FROM unplaced")
            self._store.run_many(
                "INSERT OR IGNORE INTO unplaced VALUES (?, ?, ?, ?)",
                ((one.iteration, one.test_case, one.formatted_id, one.reason) for one in unplaced),
            )

    def let_go(self, now: datetime) -> None:
        """Want nobody any more in sprints that are over and have no set: none is made, and their results go without."""
        with self._store.transaction():
            self._store.run(
                "DELETE FROM members WHERE iteration_id IN (SELECT iteration_id FROM iterations i WHERE ends_at < ?"
                " AND NOT EXISTS (SELECT 1 FROM test_sets s WHERE s.iteration_id = i.iteration_id))",
                [stamp(now)],
            )

    def open_sets(self) -> list[tuple[ObjectID, ObjectID]]:
        """List the sets in Rally that members are missing of or in doubt: iteration and set."""
        rows = self._store.rows(
            "SELECT iteration_id, object_id FROM test_sets WHERE state = 'done' AND iteration_id IN"
            " (SELECT iteration_id FROM members WHERE state IN ('wanted', 'intended')) ORDER BY iteration_id"
        )
        return [(ObjectID(iteration), ObjectID(test_set)) for iteration, test_set in rows]

    def open_members(self, iteration: ObjectID) -> list[tuple[ObjectID, datetime | None]]:
        """List the members that are wanted, and those that are intended with the time since when."""
        rows = self._store.rows(
            "SELECT test_case, intended_at FROM members WHERE iteration_id = ? AND state IN ('wanted', 'intended')"
            " ORDER BY test_case",
            [iteration],
        )
        return [(ObjectID(case), None if since is None else moment(since)) for case, since in rows]

    def missing_members(self, iteration: ObjectID) -> list[FormattedID]:
        """List the members that an iteration's set lacks, as far as is known."""
        rows = self._store.rows(
            "SELECT formatted_id FROM members WHERE iteration_id = ? AND state IN ('wanted', 'intended')"
            " ORDER BY test_case",
            [iteration],
        )
        return [FormattedID(row[0]) for row in rows]

    def intend_members(self, iteration: ObjectID, cases: Iterable[ObjectID], now: datetime) -> None:
        """Write down that these are about to be put into the set."""
        self._step(iteration, cases, "state = 'intended', intended_at = ?", "wanted", stamp(now))

    def unheard_members(self, iteration: ObjectID, cases: Iterable[ObjectID], now: datetime) -> None:
        """Write down that the request was given up only now: it may be alive for as long from here."""
        self._step(iteration, cases, "intended_at = ?", "intended", stamp(now))

    def confirm_members(self, iteration: ObjectID, cases: Iterable[ObjectID]) -> None:
        """Write down that these are in the set."""
        self._step(iteration, cases, "state = 'done', intended_at = NULL", "wanted', 'intended")

    def withdraw_members(self, iteration: ObjectID, cases: Iterable[ObjectID]) -> None:
        """Take back the intents: these certainly were not put in."""
        self._step(iteration, cases, "state = 'wanted', intended_at = NULL", "intended")

    def refuse_members(self, iteration: ObjectID, cases: Iterable[ObjectID], reason: str) -> None:
        """Write down that Rally said No to these; also to a result that carried the set for one."""
        step = "state = 'refused', intended_at = NULL, reason = ?"
        self._step(iteration, cases, step, "wanted', 'intended', 'done", reason)

    def refuse_membership(self, test_set: ObjectID | None, case: ObjectID, reason: str) -> None:
        """Write down that Rally takes no result of this test case with this set."""
        for iteration in self.iterations_of(test_set):
            self.refuse_members(iteration, [case], reason)

    def iterations_of(self, test_set: ObjectID | None) -> list[ObjectID]:
        """Tell whose set this is: of one iteration, unless a person scheduled it elsewhere since."""
        rows = self._store.rows("SELECT iteration_id FROM test_sets WHERE object_id = ?", [test_set])
        return [ObjectID(row[0]) for row in rows]

    def found_members(self, iteration: ObjectID, cases: Iterable[ObjectID]) -> None:
        """Write down who is in the set by Rally's own list; people put test cases in, too."""
        with self._store.transaction():
            self._store.run_many(
                "INSERT INTO members (iteration_id, test_case, formatted_id, state) VALUES (?, ?,"
                " COALESCE((SELECT formatted_id FROM test_cases WHERE object_id = ?), ''), 'done')"
                " ON CONFLICT (iteration_id, test_case) DO UPDATE SET state = 'done', intended_at = NULL, reason = ''",
                ((iteration, case, case) for case in cases),
            )

    def _step(self, iteration: ObjectID, cases: Iterable[ObjectID], step: str, before: str, *values: str) -> None:
        with self._store.transaction():
            self._store.run_many(
                f"UPDATE members SET {step} WHERE iteration_id = ? AND test_case = ? AND state IN ('{before}')",
                ([*values, iteration, case] for case in cases),
            )

    def memberships(self, test_case: ObjectID) -> list[Membership]:
        """Tell the test case's places in the sets of all iterations that are known."""
        rows = self._store.rows(_MEMBERSHIPS, [test_case])
        return [
            Membership(
                ObjectID(iteration),
                moment(starts_at),
                moment(ends_at),
                None if object_id is None else ObjectID(object_id),
                is_sure=set_state == "done" and member == "done",
                is_hopeless=set_state in {"refused", "gone"} or member == "refused",
            )
            for iteration, starts_at, ends_at, set_state, object_id, member in rows
        ]


_MEMBERSHIPS = """
SELECT i.iteration_id, i.starts_at, i.ends_at, s.state, s.object_id, m.state
FROM members m JOIN iterations i USING (iteration_id) LEFT JOIN test_sets s USING (iteration_id)
WHERE m.test_case = ? AND i.listed
"""
