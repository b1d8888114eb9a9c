"""What people ask the ledger, and that it never says more than is true."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from reconciler.ledger import review, views
from reconciler.ledger.entries import Draft
from reconciler.ledger.ledger import PASSES_KEPT, Ledger, in_memory
from reconciler.ledger.store import stamp
from reconciler.mapping import Mapping, Row
from reconciler.model import ObjectID, Outcome
from tests import building
from tests.building import BUILD, DAY
from tests.fakes import START

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.model import TestRun


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """Know TC1 and TC2, and nothing of GitLab but the project."""
    ledger = in_memory()
    with closing(ledger.store):
        ledger.observations.remember_projects("project qa/web-shop", [building.PROJECT])
        ledger.test_cases.replace([building.case("TC1"), building.case("TC2")])
        yield ledger


def _pipeline(ledger: Ledger, number: int, *runs: TestRun) -> None:
    pipeline = building.pipeline(number)
    job = building.job(number * 10, of=pipeline)
    ledger.observations.store_pipelines([pipeline])
    ledger.observations.store_jobs(pipeline, [job])
    building.read_job(ledger, job, runs)
    ledger.observations.mark_read(pipeline)


def _map(ledger: Ledger, *rows: tuple[str, str]) -> None:
    mapping = Mapping([Row(line, f"shop.{test}", said) for line, (test, said) in enumerate(rows, 2)])
    ledger.subjects.apply(mapping, resolvable=True)


# --- the review queue ------------------------------------------------------------------------------------------------


def test_the_review_queue_counts_each_key_over_all_pipelines_most_often_held_first(ledger: Ledger) -> None:
    """A key with several subjects, by its ids say, is one line; the last outcome is that of the newest test."""
    _pipeline(ledger, 100, building.run("rare"), building.run("often"), building.run("often", ordinal=1))
    _pipeline(ledger, 101, building.run("often", Outcome.FAILED), building.run("often", Outcome.ERRORED, ids="TC77"))
    _map(ledger)
    assert [asdict(waiting) for waiting in views.waiting(ledger.store)] == [
        {"test": "shop.often", "seen": 4, "pipelines": 2, "last_outcome": "errored", "held": 4, "unknown": "TC77"},
        {"test": "shop.rare", "seen": 1, "pipelines": 1, "last_outcome": "passed", "held": 1, "unknown": ""},
    ]
    _map(ledger, ("often", "TC1"))
    assert [waiting.test for waiting in views.waiting(ledger.store)] == ["shop.rare"]


def test_a_review_row_says_why_it_is_held_and_what_it_may_be(ledger: Ledger) -> None:
    """Unmapped, or mapped to what Rally does not have; suggestions name test cases that it has."""
    _pipeline(ledger, 100, building.run("test_tc1"), building.run("x_TC77", Outcome.FAILED))
    _map(ledger)
    rows = {row["test"]: row for row in review.rows(ledger.store)}
    assert rows["shop.test_tc1"]["reason"] == "not mapped to any test case"
    assert rows["shop.test_tc1"]["suggestions"][0]["formatted_id"] == "TC1"
    assert rows["shop.x_TC77"]["reason"].startswith("mapped to TC77, which Rally does not have")
    assert rows["shop.x_TC77"]["last_verdict"] == "Fail"
    assert set(rows["shop.x_TC77"]) == {"test", "seen", "pipelines", "last_verdict", "held", "reason", "suggestions"}


# --- counts ----------------------------------------------------------------------------------------------------------


def test_left_counts_pipelines_to_read_tests_to_send_and_results_in_doubt_once(ledger: Ledger) -> None:
    """An intent is in doubt for itself only when none of its tests is counted already."""
    assert views.left(ledger.store) == 0
    _pipeline(ledger, 100, building.run("a_TC1"), building.run("b_TC2"), building.run("odd"))
    ledger.observations.store_pipelines([building.pipeline(101), building.pipeline(102, status="running")])
    _map(ledger)
    assert views.left(ledger.store) == 3
    entries = [ledger.entries.intend([Draft(building.add(f"TC{n}", n), BUILD)], START)[0] for n in (1, 2)]
    assert views.left(ledger.store) == 3
    _map(ledger, ("a_TC1", "-"))
    assert views.left(ledger.store) == 3
    ledger.entries.confirm([(entries[0], ObjectID(9001))], START)
    ledger.entries.refuse([(entries[1], "no")], START)
    assert views.left(ledger.store) == 1


def test_pipelines_are_counted_by_what_is_left_to_read(ledger: Ledger) -> None:
    """Wholly listed, still to be read, and not finished."""
    _pipeline(ledger, 100, building.run("a"))
    statuses = ["success", "manual", "running", "skipped"]
    ledger.observations.store_pipelines([building.pipeline(200 + n, status=said) for n, said in enumerate(statuses)])
    assert views.pipelines(ledger.store) == {"seen": 5, "read": 1, "unread": 2, "unfinished": 2}


def test_an_empty_ledger_has_every_count(ledger: Ledger) -> None:
    """All zero, none missing."""
    assert set(views.tests(ledger.store).values()) == {0}
    assert list(views.tests(ledger.store)) == ["read", *views.STATES, "unaccounted"]
    assert views.entries(ledger.store) == {"intended": 0, "done": 0, "refused": 0}
    assert views.pipelines(ledger.store) == {"seen": 0, "read": 0, "unread": 0, "unfinished": 0}
    assert (views.problems(ledger.store), views.refusals(ledger.store), views.waiting(ledger.store)) == ([], [], [])


def test_files_are_counted_without_the_texts_that_tell_of_them(ledger: Ledger) -> None:
    """Intended is pending to a person; what results go without is listed with the reason."""
    assert set(views.attachments(ledger.store).values()) == {0}
    assert list(views.attachments(ledger.store)) == ["pending", "done", "linked", "missing", "refused", "orphaned"]
    _pipeline(ledger, 100, building.run("a_TC1"))
    (entry,) = ledger.entries.intend([Draft(building.add("TC1", 1), BUILD)], START)
    ledger.entries.confirm([(entry, ObjectID(9001))], START)
    with ledger.store.transaction():
        ledger.store.run_many(
            "INSERT INTO attachments (entry_id, name, size_bytes, crc, url, notice, state, content_id, content_type,"
            " object_id, reason, intended_at, settled_at) VALUES (?, ?, 1, 1, '', ?, ?, 5, 'x', ?, ?, 'x', ?)",
            [
                (entry, "a", 0, "pending", None, "", None),
                (entry, "b", 0, "intended", None, "", None),
                (entry, "c", 0, "done", 7, "", "x"),
                (entry, "d", 0, "missing", None, "gone", "x"),
                (entry, "e", 0, "refused", None, "no", "x"),
                (entry, "not attached.txt", 1, "done", 8, "", "x"),
                (entry, "not attached.txt", 1, "refused", None, "no", "x"),
            ],
        )
    assert views.attachments(ledger.store) == {
        "pending": 2, "done": 1, "linked": 0, "missing": 1, "refused": 1, "orphaned": 0,
    }  # fmt: skip
    assert views.unattached(ledger.store) == [
        {"key": "1/100/TC1/1", "name": "d", "state": "missing", "reason": "gone"},
        {"key": "1/100/TC1/1", "name": "e", "state": "refused", "reason": "no"},
    ]


def test_unaccounted_would_show_a_test_that_got_lost(ledger: Ledger) -> None:
    """It compares what the reader counted with what the ledger holds, so it can be other than 0."""
    _pipeline(ledger, 100, building.run("a"), building.run("b"))
    with ledger.store.transaction():
        ledger.store.run("DELETE FROM tests WHERE test_id = 1")
    assert views.tests(ledger.store)["unaccounted"] == 1


# --- what is left, and since when ------------------------------------------------------------------------------------


def test_the_backlog_tells_what_is_left_by_what_it_is_and_since_when_the_oldest_waits(ledger: Ledger) -> None:
    """Its parts come to what `left` says; a test waits from the end of its job, a pipeline from its last change."""
    nothing = {"pipelines": 0, "results": 0, "attachments": 0, "members": 0, "oldest": None}
    assert views.backlog(ledger.store) == nothing
    late = building.pipeline(300, at_s=500)
    ledger.observations.store_pipelines([late, building.pipeline(301, status="running")])
    assert views.backlog(ledger.store) == nothing | {"pipelines": 1, "oldest": stamp(late.updated_at)}
    _pipeline(ledger, 100, building.run("a_TC1"), building.run("b_TC2"), building.run("odd"))
    _map(ledger)
    assert views.backlog(ledger.store) == nothing | {"pipelines": 1, "results": 2, "oldest": stamp(START)}
    entries = ledger.entries.intend([Draft(building.add(f"TC{n}", n), BUILD) for n in (1, 2)], START - DAY)
    assert views.backlog(ledger.store)["oldest"] == stamp(START - DAY)
    ledger.entries.confirm([(entries[0], ObjectID(9001))], START)
    ledger.entries.refuse([(entries[1], "no")], START)
    assert views.backlog(ledger.store)["results"] == 0
    with ledger.store.transaction():
        ledger.store.run(_PENDING_FILE)
    told = views.backlog(ledger.store)
    assert (told["attachments"], told["oldest"]) == (1, stamp(late.updated_at))
    assert views.left(ledger.store) == 2


_PENDING_FILE = """
INSERT INTO attachments (entry_id, name, size_bytes, crc, url, state) SELECT entry_id, 'x', 1, 1, '', 'pending'
FROM entries WHERE state = 'done'
"""


def test_the_oldest_of_many_pending_tests_is_found_in_any_pipeline_and_job(ledger: Ledger) -> None:
    """Whichever has the lower number."""
    for number, seconds in ((100, 50), (101, 20), (102, 70)):
        pipeline = building.pipeline(number, at_s=100)
        jobs = [building.job(number * 10 + n, of=pipeline, name=f"{n}", at_s=seconds - 10 * n) for n in range(2)]
        ledger.observations.store_pipelines([pipeline])
        ledger.observations.store_jobs(pipeline, jobs)
        building.read_job(ledger, jobs[0], [building.run("a_TC1")])
        building.read_job(ledger, jobs[1], [building.run("odd")])
        ledger.observations.mark_read(pipeline)
    _map(ledger)
    assert views.backlog(ledger.store)["oldest"] == stamp(START + timedelta(seconds=20))


def test_the_soonest_expiry_is_of_what_is_still_to_be_read(ledger: Ledger) -> None:
    """A job's report, and a file of a result that lies in an archive; not what was read, attached or is kept."""
    assert views.soonest_expiry(ledger.store) is None
    pipeline = building.pipeline()
    jobs = [replace(building.job(n, of=pipeline, name=f"{n}"), artifacts_expire_at=START + n * DAY) for n in (1, 2, 3)]
    ledger.observations.store_pipelines([pipeline])
    ledger.observations.store_jobs(pipeline, jobs)
    assert views.soonest_expiry(ledger.store) == stamp(START + DAY)
    building.read_job(ledger, jobs[0], [building.run("a_TC1")])
    assert views.soonest_expiry(ledger.store) == stamp(START + 2 * DAY)
    (entry,) = ledger.entries.intend([Draft(building.add("TC1", 1), BUILD)], START)
    ledger.entries.confirm([(entry, ObjectID(9001))], START)
    with ledger.store.transaction():
        ledger.store.run("INSERT INTO files VALUES (1, 1, 'member', 'x', 1, 1, NULL, '', 0)")
        ledger.store.run(_PENDING_FILE)
        ledger.store.run("UPDATE attachments SET file_id = 1")
    assert views.soonest_expiry(ledger.store) == stamp(START + DAY)
    ledger.attachments.kept(jobs[0].id, "yes")
    assert views.soonest_expiry(ledger.store) == stamp(START + 2 * DAY)


def test_lists_give_their_newest_rows_in_the_same_order_when_asked_for_no_more(ledger: Ledger) -> None:
    """A screen of `status` has room for a few of them."""
    runs = [building.run(f"a_TC{n}") for n in (1, 2)]
    _pipeline(ledger, 100, *runs)
    _map(ledger)
    entries = ledger.entries.intend([Draft(building.add(f"TC{n}", n), BUILD) for n in (1, 2)], START)
    ledger.entries.refuse([(entry, f"no {entry}") for entry in entries], START)
    for detail in ("one", "two", "three"):
        ledger.attachments.problem(building.job(1000, of=building.pipeline()).id, "lost-file", detail, START)
    assert [row["detail"] for row in views.problems(ledger.store, 2)] == ["two", "three"]
    assert views.count_problems(ledger.store) == 3
    assert [row["key"] for row in views.refusals(ledger.store, 1)] == ["1/100/TC2/1"]
    assert views.refusals(ledger.store, 7) == views.refusals(ledger.store)
    assert len(views.refusals(ledger.store)) == 2


# --- what the daemon says --------------------------------------------------------------------------------------------


def test_the_last_word_of_the_daemon_is_told(ledger: Ledger) -> None:
    """Nothing before the first; each thing it says takes the place of what it said before."""
    nothing: dict[str, object] = {"started": None, "next": {}, "breakers": {}, "alarms": [], "gitlab_expires": None}
    assert views.daemon(ledger.store) == nothing
    ledger.tell({"daemon/started": stamp(START), "daemon/alarms": '["Rally: no answer"]', "token/GitLab": "2026-02-10"})
    ledger.tell({"daemon/next/gitlab": stamp(START + DAY), "daemon/breaker/Rally": "open"})
    ledger.tell({"daemon/breaker/Rally": "closed", "daemon/alarms": "[]"})
    assert views.daemon(ledger.store) == {
        "started": stamp(START),
        "next": {"gitlab": stamp(START + DAY)},
        "breakers": {"Rally": "closed"},
        "alarms": [],
        "gitlab_expires": "2026-02-10",
    }
    ledger.tell({"token/GitLab": ""})
    assert views.daemon(ledger.store)["gitlab_expires"] is None


# --- services and passes ---------------------------------------------------------------------------------------------


def test_a_services_last_success_stays_while_it_is_in_trouble(ledger: Ledger) -> None:
    """Two instants: when it last did all, and what is wrong now; the earlier success counts for both."""
    assert views.last_success(ledger.store) is None
    for minutes, trouble in enumerate(
        [{"Rally": "", "GitLab": ""}, {"Rally": ""}, {"Rally": "no answer", "GitLab": ""}]
    ):
        now = START + timedelta(minutes=minutes)
        ledger.end_pass(ledger.begin_pass("once", now), trouble, {"left": minutes}, now)
    assert views.last_used(ledger.store) == {
        "gitlab": "2026-01-31T12:02:00.000000Z", "rally": "2026-01-31T12:02:00.000000Z",
    }  # fmt: skip
    services = views.services(ledger.store)
    assert services["rally"] == {"last_success": "2026-01-31T12:01:00.000000Z", "trouble": "no answer"}
    assert services["gitlab"] == {"last_success": "2026-01-31T12:02:00.000000Z", "trouble": None}
    assert views.last_success(ledger.store) == "2026-01-31T12:01:00.000000Z"


def test_the_last_pass_is_the_last_that_came_to_its_end(ledger: Ledger) -> None:
    """One that is running, or was killed, says nothing; old ones are dropped."""
    assert views.last_pass(ledger.store) is None
    ledger.end_pass(ledger.begin_pass("backfill", START), {}, {"results_sent": 7}, START)
    ledger.begin_pass("once", START + timedelta(minutes=1))
    told = views.last_pass(ledger.store)
    assert told is not None
    assert (told["kind"], told["results_sent"]) == ("backfill", 7)
    with ledger.store.transaction():
        ledger.store.run("INSERT INTO passes (pass_id, kind, started_at) VALUES (?, 'once', '')", [PASSES_KEPT + 5])
    ledger.end_pass(PASSES_KEPT + 5, {}, {}, START)
    assert ledger.store.value("SELECT COUNT(*) FROM passes") == 1
