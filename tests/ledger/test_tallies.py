"""Counts that triggers keep are right whatever happens, and no look at a large ledger walks through it."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Self

import pytest
from sqlite_utils import Database

from reconciler.ledger import tallies, views
from reconciler.ledger.entries import Draft
from reconciler.ledger.ledger import Ledger, in_memory
from reconciler.ledger.schema import migrations
from reconciler.ledger.store import open_for_writing
from reconciler.mapping import Mapping, Row
from reconciler.model import READY, Build, FoundResult, ObjectID
from reconciler.order import Order
from reconciler.reconcile import reconcile
from reconciler.world import World
from tests import accounting, building
from tests.fakes import START
from tests.fates import later
from tests.unit.attaching import Depot, config, depot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from reconciler.ledger.store import Store


@pytest.fixture
def shop() -> Iterator[Depot]:
    """Open one that keeps what it links to; two results were sent, one refused, one test is held."""
    opened = depot()
    with closing(opened.ledger.store):
        opened.config = config(keep_linked=True)
        opened.rally.refuses = lambda result: "no" if result.key.formatted_id == "TC3" else ""
        opened.job("a_TC1!", "b_TC2", "c_TC3", "odd", files={"a_TC1/one.png": b"png", "a_TC1/film.mp4": b"film"})
        opened.once()
        yield opened


# --- counts ----------------------------------------------------------------------------------------------------------


def test_results_are_counted_by_state_and_verdict_through_all_their_steps() -> None:
    """Begun, sent, refused, taken back, found in Rally, deleted."""
    ledger = in_memory()
    with closing(ledger.store):
        ledger.observations.remember_projects("project qa/web-shop", [building.PROJECT])
        ledger.observations.store_pipelines([building.pipeline()])
        drafts = [Draft(building.add(f"TC{n}", verdict=verdict), Build("b")) for n, verdict in _ADDS]
        one, two, three, four = ledger.entries.intend(drafts, START)
        assert views.entries(ledger.store) == {"intended": 4, "done": 0, "refused": 0}
        assert views.verdicts(ledger.store) == {}
        ledger.entries.confirm([(one, ObjectID(1)), (two, ObjectID(2))], START)
        ledger.entries.refuse([(three, "no")], START)
        ledger.entries.withdraw([four], "", START)
        found = FoundResult(building.add("TC9").key, ObjectID(9), Build("b"), "Blocked")
        assert ledger.entries.adopt([found], {found.key.pipeline_id: found.key.project_id}, START) == 1
        assert views.entries(ledger.store) == {"intended": 0, "done": 3, "refused": 1}
        assert views.verdicts(ledger.store) == {"Blocked": 1, "Fail": 1, "Pass": 1}
        with ledger.store.transaction():
            ledger.store.run("DELETE FROM entries WHERE verdict <> 'Pass'")
        assert views.entries(ledger.store) == {"intended": 0, "done": 1, "refused": 0}
        assert views.verdicts(ledger.store) == {"Pass": 1}


_ADDS = [(1, "Pass"), (2, "Fail"), (3, "Fail"), (4, "Pass")]


def test_pipelines_are_counted_through_all_their_updates() -> None:
    """Seen running, ended, read, changed again, deleted."""
    ledger = in_memory()

    def told() -> list[int]:
        accounting.check(ledger.store)
        return list(views.pipelines(ledger.store).values())

    with closing(ledger.store):
        ledger.observations.remember_projects("project qa/web-shop", [building.PROJECT])
        ledger.observations.store_pipelines([building.pipeline(status="running"), building.pipeline(101)])
        assert told() == [2, 0, 1, 1]
        ended = building.pipeline(at_s=5)
        ledger.observations.store_pipelines([ended])
        assert told() == [2, 0, 2, 0]
        ledger.observations.mark_read(ended)
        assert told() == [2, 1, 1, 0]
        ledger.observations.store_pipelines([building.pipeline(at_s=6)])
        assert told() == [2, 0, 2, 0]
        with ledger.store.transaction():
            ledger.store.run("DELETE FROM pipelines WHERE pipeline_id = 100")
        assert told() == [1, 0, 1, 0]


def test_a_problem_of_an_attempt_that_was_retried_is_not_told_whenever_it_was_noted() -> None:
    """Before or after the newer attempt was seen; one of the pipeline as a whole stays."""
    ledger = in_memory()
    with closing(ledger.store):
        ledger.observations.remember_projects("project qa/web-shop", [building.PROJECT])
        pipeline = building.pipeline()
        jobs = [building.job(number, of=pipeline) for number in (1, 2)]
        ledger.observations.store_pipelines([pipeline])
        ledger.observations.pipeline_problem(pipeline.id, ("no-jobs", "whole"), START)
        for job in jobs:
            ledger.observations.store_jobs(pipeline, [job])
            for told in (jobs[0], job):
                ledger.attachments.problem(told.id, "lost-file", f"of {told.id} when {job.id} was new", START)
            accounting.check(ledger.store)
        assert [row["detail"] for row in views.problems(ledger.store)] == ["whole", "of 2 when 2 was new"]


def test_a_ledger_of_before_is_counted_when_it_is_brought_up_to_date(tmp_path: Path, shop: Depot) -> None:
    """Everything that a pass wrote, in the tables as they were."""
    shop.job("a_TC1", "b_TC2", "x", pipeline=shop.gitlab.add_pipeline(shop.project))
    shop.once()
    path = tmp_path / "ledger.db"
    with closing(Database(path, strict=True)) as old:
        old.enable_wal()
        migrations.apply(old, stop_before="0006_tallies")
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        _take_over(old, shop.ledger.store)
    with closing(open_for_writing(path)) as store:
        accounting.check(store, settled=True, skips_count=False)
        assert views.entries(store) == {"intended": 0, "done": 4, "refused": 1}
        with closing(in_memory().store) as new:
            assert _schema(store) == _schema(new)


def _take_over(old: sqlite3.Connection, new: Store) -> None:
    """Copy all rows that the older schema has room for; what triggers counted of them is right already."""
    for (table,) in old.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
        if table.startswith("_") or table.endswith("tallies"):
            continue
        columns = ", ".join(row[1] for row in old.execute(f"PRAGMA table_info({table})"))
        rows = new.rows(f"SELECT {columns} FROM {table}")  # noqa: S608 - our own schema
        marks = ", ".join("?" * len(columns.split(", ")))
        old.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)  # noqa: S608 - our own schema


def _schema(store: Store) -> set[tuple[str, str]]:
    return {(name, re.sub(r"\s+", " ", sql or "")) for name, sql in store.rows("SELECT name, sql FROM sqlite_schema")}


def test_the_words_of_the_index_on_unread_pipelines_are_the_models() -> None:
    """And stand in the order of the query's: else the index is not used."""
    assert ", ".join(f"'{word}'" for word in sorted(READY)) == tallies.READY
    assert f"status IN ({tallies.READY}) AND read_update IS NOT updated_at" in " ".join(tallies.TALLIES.split())


# --- nothing walks through a large ledger ----------------------------------------------------------------------------


SMALL = {
    "CONSTANT", "attachment_tallies", "backfills", "backlog", "cursors", "due", "entry_tallies", "folders", "i",
    "iterations", "json_each", "linked_jobs", "passes", "pipeline_tallies", "project_names", "remakes", "s", "tallies",
    "test_cases", "test_sets", "unplaced", "windows", "work_items",
}  # fmt: skip
"""Tables that do not grow with the tests of years, and short names of some of them."""
TRUTH = "SELECT COALESCE(SUM(tests), 0) FROM reports"
"""What was read is counted report by report, for `unaccounted` to be worth something."""


class _Listening:
    """Notes every statement that a store is asked, as it is carried out."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.said: list[str] = []

    def __enter__(self) -> Self:
        self._store.connection.set_trace_callback(self.said.append)
        return self

    def __exit__(self, *_: object) -> None:
        self._store.connection.set_trace_callback(None)

    def walks(self) -> dict[str, str]:
        """Find the statements that walk through a table that grows, or through an index on all of it."""
        partial = {row[0] for row in self._store.rows("SELECT name FROM sqlite_schema WHERE sql LIKE '% WHERE %'")}
        found = {}
        for statement in self.said:
            if statement.split()[0] not in {"SELECT", "UPDATE", "DELETE", "WITH"} or statement == TRUTH:
                continue
            for row in self._store.rows(f"EXPLAIN QUERY PLAN {statement}"):
                scan = re.match(r"SCAN (\S+)(?:.* INDEX (\S+))?", row[3])
                if scan and scan[1] not in SMALL and scan[1][0] != "(" and scan[2] not in partial:
                    found[statement] = row[3]
        return found


def test_a_pass_without_news_walks_through_nothing_that_grows(shop: Depot) -> None:
    """Polls of both services, with attachments that are to be kept and a mapping file; it writes its own record."""
    shop.rows = {"odd": "TC9", "gone": "TC2", "b_TC2": "TC2"}
    shop.once()
    rows = [Row(line, f"shop.{test}", said) for line, (test, said) in enumerate(shop.rows.items(), 2)]
    settings = replace(building.settings(), attachments=shop.config)
    world = World(shop.gitlab, shop.rally, shop.ledger, settings, shop.stop, shop.clock)
    for order in (Order("gitlab"), Order("rally", collects=False), Order("sprint-sets", collects=False, sends=False)):
        with _Listening(shop.ledger.store) as heard:
            assert reconcile(world, rows, order).summary["writes"] == 0
        assert len(heard.said) > 20
        assert heard.walks() == {}


def test_status_walks_through_nothing_that_grows(shop: Depot) -> None:
    """Neither for the counts nor for the newest rows of each list, nor for what waits longest of what is pending."""
    shop.ledger.subjects.apply(Mapping([Row(2, "shop.odd", "TC1")]), resolvable=True)
    shop.rally.steps.append(later())
    store = shop.ledger.store
    with _Listening(store) as heard:
        for view in (views.tests, views.entries, views.verdicts, views.attachments, views.pipelines, views.backlog,
                     views.soonest_expiry, views.services, views.daemon, views.last_pass, views.count_problems,
                     views.left):  # fmt: skip
            view(store)
        for rows in (views.problems, views.refusals, views.unattached, views.sprints):
            rows(store, 5)
    assert len(heard.said) > 20
    assert heard.walks() == {}


def test_what_is_old_is_deleted_without_a_search_through_all_that_may_refer_to_it() -> None:
    """Every column that refers to another table leads an index, or its table stays small."""
    with closing(in_memory().store) as store:
        tables = [row[0] for row in store.rows("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        leading = {
            (table, store.rows(f"PRAGMA index_info({index})")[0][2])
            for table in tables
            for _, index, *_ in store.rows(f"PRAGMA index_list({table})")
        } | {(table, row[1]) for table in tables for row in store.rows(f"PRAGMA table_info({table})") if row[5] == 1}
        referring = {(table, row[3]) for table in tables for row in store.rows(f"PRAGMA foreign_key_list({table})")}
    assert {one for one in referring - leading if one[0] not in SMALL} == NEVER_DELETED


NEVER_DELETED = {("pipelines", "project_id"), ("doubles", "iteration_id")}
"""Projects stay; of sets that are there twice there are few."""


# --- the mapping -----------------------------------------------------------------------------------------------------


def _mapped(ledger: Ledger, *rows: tuple[str, str]) -> Mapping:
    return ledger.mapping([Row(line, test, said) for line, (test, said) in enumerate(rows, 2)])


def test_the_mapping_is_made_anew_only_when_rows_or_test_cases_have_changed() -> None:
    """Rows that were read again and are the same are no change; a test case's field is one, its name is none."""
    ledger = in_memory()
    with closing(ledger.store):
        case = building.case("TC1", field_value="shop.pay")
        ledger.test_cases.update([case])
        first = _mapped(ledger, ("shop.a", "TC1"))
        assert _mapped(ledger, ("shop.a", "TC1")) is first
        ledger.test_cases.update([case])
        assert _mapped(ledger, ("shop.a", "TC1")) is first
        second = _mapped(ledger, ("shop.a", "TC2"))
        assert second.fingerprint != first.fingerprint
        ledger.test_cases.update([building.case("TC2", field_value="shop.pay")])
        third = _mapped(ledger, ("shop.a", "TC2"))
        assert third.fingerprint != second.fingerprint
        ledger.test_cases.forget(case.formatted_id)
        assert _mapped(ledger, ("shop.a", "TC2")).fingerprint not in {second.fingerprint, third.fingerprint}
        ledger.test_cases.replace([case])
        assert _mapped(ledger, ("shop.a", "TC1")).fingerprint == first.fingerprint


def test_an_unchanged_mapping_writes_nothing(shop: Depot) -> None:
    """Nor does a test case that Rally lists again as it was: each poll lists the newest again."""
    ledger = shop.ledger
    with _Listening(ledger.store) as heard:
        ledger.subjects.apply(ledger.mapping([]), resolvable=True)
        ledger.test_cases.update(shop.rally.cases.values())
    changes = [one for one in heard.said if one.split()[0] in {"INSERT", "DELETE"} or "targets SET" in one]
    assert changes == []


def test_a_poll_that_lists_a_test_case_anew_moves_only_what_is_mapped_to_it(shop: Depot) -> None:
    """One that was deleted and made again under its FormattedID, one that was renamed, one that came."""
    shop.rows = {"odd": "TC9"}
    shop.once()
    store = shop.ledger.store
    targets = "SELECT formatted_id, object_id FROM targets ORDER BY formatted_id"
    before = dict(store.rows(targets))
    assert before["TC9"] is None
    shop.ledger.test_cases.update([building.case("TC9", 77), building.case("TC1", 78, at_s=timedelta(days=1).seconds)])
    assert dict(store.rows(targets)) == before | {"TC9": 77, "TC1": 78}
    assert views.tests(store)["pending"] == 1
