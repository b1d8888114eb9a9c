"""What was read stands whole or not at all, is never changed, and is read again only when there is a reason."""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from reconciler.junit import BadReport
from reconciler.ledger import views
from reconciler.ledger.ledger import Ledger, in_memory
from reconciler.model import Outcome, Project, ProjectId
from tests import building
from tests.fakes import START

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reconciler.model import Pipeline, TestRun

PIPELINE = building.pipeline()
JOB = building.job(of=PIPELINE)


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """Know one pipeline with one finished job that was not read yet."""
    ledger = in_memory()
    with closing(ledger.store):
        ledger.observations.remember_projects("project qa/web-shop", [building.PROJECT])
        ledger.observations.store_pipelines([PIPELINE])
        ledger.observations.store_jobs(PIPELINE, [JOB])
        yield ledger


def _breaks_after(*runs: TestRun, error: BaseException) -> Iterator[TestRun]:
    yield from runs
    raise error


def _subjects(ledger: Ledger) -> list[str]:
    return [row[0] for row in ledger.store.rows("SELECT key FROM subjects ORDER BY key")]


def _read(ledger: Ledger) -> int:
    told = views.tests(ledger.store)
    assert told["unaccounted"] == 0
    assert views.recount(ledger.store) == {state: n for state, n in told.items() if n and state in views.STATES}
    return told["read"]


# --- all or nothing --------------------------------------------------------------------------------------------------


def test_a_document_that_breaks_in_the_middle_leaves_nothing_and_its_siblings_stay(ledger: Ledger) -> None:
    """Its tests, its report row and its subjects are gone; what stood before it and comes after it counts."""
    with ledger.observations.reading(JOB, START) as record:
        assert record.document("junit", "a.xml", [building.run("first"), building.run("both")]) == 2
        with pytest.raises(BadReport):
            record.document(
                "junit",
                "b.xml",
                _breaks_after(building.run("lost"), building.run("both"), error=BadReport("malformed", "")),
            )
        assert record.document("junit", "c.xml", [building.run("lost"), building.run("third")]) == 2
        assert record.documents == 2
        record.problem("malformed", "b.xml")
        record.close("read")
    assert _read(ledger) == 4
    assert ledger.store.rows("SELECT name, tests FROM reports ORDER BY report_id") == [("a.xml", 2), ("c.xml", 2)]
    assert _subjects(ledger) == ["shop.both", "shop.first", "shop.lost", "shop.third"]


@pytest.mark.parametrize("error", [BadReport("malformed", ""), KeyboardInterrupt(), MemoryError()])
def test_a_reading_that_breaks_leaves_nothing_of_the_job(ledger: Ledger, error: BaseException) -> None:
    """Documents that were whole go too: the job is open and will be read as a whole."""
    with suppress(BaseException), ledger.observations.reading(JOB, START) as record:
        record.document("junit", "a.xml", [building.run("first")])
        record.problem("suspicious", "a.xml")
        raise error
    assert _read(ledger) == 0
    assert _subjects(ledger) == []
    assert views.problems(ledger.store) == []
    assert ledger.observations.jobs_of(PIPELINE.id)[JOB.id].state == "open"


@pytest.mark.parametrize("breaks", ["document", "reading"])
def test_no_subject_that_was_rolled_back_is_used_again(ledger: Ledger, breaks: str) -> None:
    """The memory of subjects would point at rows that are not there, or that are another test's by now."""
    runs = [building.run("first"), building.run("second")]
    with suppress(BadReport), ledger.observations.reading(JOB, START) as record:
        if breaks == "reading":
            record.document("junit", "a.xml", runs)
            raise BadReport("malformed", "")
        with suppress(BadReport):
            record.document("junit", "a.xml", _breaks_after(*runs, error=BadReport("malformed", "")))
    building.read_job(ledger, JOB, [building.run("other"), building.run("second"), building.run("first")])
    assert ledger.store.rows("SELECT ordinal, key FROM tests JOIN subjects USING (subject_id) ORDER BY test_id") == [
        (0, "shop.other"),
        (0, "shop.second"),
        (0, "shop.first"),
    ]


def test_tests_alike_share_a_subject_and_others_do_not(ledger: Ledger) -> None:
    """Key, name and the ids in properties are what mapping looks at; repeated elements are tests of their own."""
    building.read_job(
        ledger,
        JOB,
        [
            building.run("a"),
            building.run("a", ordinal=1),
            building.run("a", ids="TC1"),
            building.run("a", ids="TC1,TC2"),
        ],
    )
    assert _read(ledger) == 4
    assert ledger.store.rows("SELECT ids FROM subjects ORDER BY subject_id") == [("",), ("TC1",), ("TC1,TC2",)]


def test_messages_are_kept_of_bad_tests_only_and_cut(ledger: Ledger) -> None:
    """A passing test's output is worth no room in the ledger."""
    building.read_job(
        ledger,
        JOB,
        [
            replace(building.run("a", Outcome.FAILED), message="x" * 5_000),
            replace(building.run("b"), message="y" * 5_000),
        ],
    )
    assert ledger.store.rows("SELECT LENGTH(message) FROM tests ORDER BY test_id") == [(2_000,), (0,)]


# --- problems --------------------------------------------------------------------------------------------------------


def test_problems_of_a_job_are_told_anew_when_it_is_read_again(ledger: Ledger) -> None:
    """What is not wrong any more is not told; other jobs' problems and the pipeline's stay."""
    other = building.job(1001, of=PIPELINE, name="other")
    ledger.observations.store_jobs(PIPELINE, [JOB, other])
    for job, problems in ((other, ["stays"]), (JOB, ["one", "two"]), (JOB, ["two"])):
        with ledger.observations.reading(job, START) as record:
            for problem in problems:
                record.problem("malformed", problem)
    ledger.observations.pipeline_problem(PIPELINE.id, ("no-jobs", "first"), START)
    ledger.observations.pipeline_problem(PIPELINE.id, ("no-jobs", "second"), START)
    assert [problem["detail"] for problem in views.problems(ledger.store)] == ["stays", "two", "second"]
    ledger.observations.pipeline_problem(PIPELINE.id, None, START)
    assert [problem["detail"] for problem in views.problems(ledger.store)] == ["stays", "two"]


def test_a_reading_that_breaks_keeps_the_problems_that_were_told_before(ledger: Ledger) -> None:
    """They are taken out and put in again in one transaction."""
    with ledger.observations.reading(JOB, START) as record:
        record.problem("malformed", "before")
    with suppress(BadReport), ledger.observations.reading(JOB, START) as record:
        record.problem("malformed", "after")
        raise BadReport("malformed", "")
    assert [problem["detail"] for problem in views.problems(ledger.store)] == ["before"]


def test_problems_of_an_attempt_that_was_retried_are_not_told(ledger: Ledger) -> None:
    """The newest attempt says how things stand."""
    with ledger.observations.reading(JOB, START) as record:
        record.problem("malformed", "old")
        record.close("lost")
    ledger.observations.store_jobs(PIPELINE, [building.job(1001, of=PIPELINE)])
    assert views.problems(ledger.store) == []


# --- attempts --------------------------------------------------------------------------------------------------------


def test_a_newer_attempt_supersedes_the_older_ones_tests_whatever_their_state(ledger: Ledger) -> None:
    """Also while the newer attempt is still running; jobs of other names and pipelines stay."""
    elsewhere, beside = building.pipeline(101), building.job(1001, of=PIPELINE, name="beside")
    far = building.job(1002, of=elsewhere)
    ledger.observations.store_pipelines([elsewhere])
    ledger.observations.store_jobs(elsewhere, [far])
    ledger.observations.store_jobs(PIPELINE, [JOB, beside])
    states = ("pending", "held", "ignored", "refused", "sent", "merged")
    for job in (JOB, beside, far):
        building.read_job(ledger, job, [building.run(state) for state in states])
    with ledger.store.transaction():
        for state in states:
            ledger.store.run(
                "UPDATE tests SET state = ? WHERE subject_id = (SELECT subject_id FROM subjects WHERE name = ?)",
                [state, state],
            )
    known = ledger.observations.store_jobs(PIPELINE, [building.job(1003, of=PIPELINE, status="running"), beside])
    found = ledger.store.rows("SELECT job_id, state FROM tests ORDER BY test_id")
    assert [state for job, state in found if job == JOB.id] == ["superseded"] * 6
    assert [state for job, state in found if job != JOB.id] == [*states, *states]
    assert set(known) == {1000, 1001}
    assert _read(ledger) == 18


def test_an_older_attempt_in_a_stale_list_brings_nothing_back(ledger: Ledger) -> None:
    """GitLab's answers may be older than what is known."""
    newer = building.job(1001, of=PIPELINE)
    ledger.observations.store_jobs(PIPELINE, [newer])
    ledger.observations.store_jobs(PIPELINE, [JOB])
    assert ledger.store.rows("SELECT job_id, superseded FROM jobs ORDER BY 1") == [(1000, 1), (1001, 0)]


def test_a_job_counts_its_tries(ledger: Ledger) -> None:
    """Over passes, for each job; a job that was closed is known by its state."""
    assert [ledger.observations.try_again(JOB) for _ in range(3)] == [1, 2, 3]
    with ledger.observations.reading(JOB, START) as record:
        record.close("lost")
    known = ledger.observations.jobs_of(PIPELINE.id)[JOB.id]
    assert (known.state, known.tries) == ("lost", 3)


# --- pipelines and cursors -------------------------------------------------------------------------------------------


def _new(ledger: Ledger, pipelines: Sequence[Pipeline]) -> int:
    """Store pipelines; how many more there are to read then."""
    before = len(ledger.observations.unread())
    ledger.observations.store_pipelines(pipelines)
    return len(ledger.observations.unread()) - before


def _unread(ledger: Ledger) -> list[int]:
    found = ledger.observations.unread()
    return [int(pipeline.id) for pipeline in found]


def _done(ledger: Ledger, pipeline: Pipeline) -> None:
    ledger.observations.mark_read(pipeline)


def test_unread_lists_what_is_finished_and_not_wholly_read_oldest_first(ledger: Ledger) -> None:
    """By status, by update, and by jobs that are still open."""
    building.read_job(ledger, JOB)
    _done(ledger, PIPELINE)
    others = [
        building.pipeline(200 + n, status=status, at_s=100 - n)
        for n, status in enumerate(
            ["success", "failed", "canceled", "manual", "running", "skipped", "created", "pending"]
        )
    ]
    assert _new(ledger, others) == 4
    assert _unread(ledger) == [203, 202, 201, 200]
    assert _new(ledger, others) == 0
    for pipeline in others[:3]:
        _done(ledger, pipeline)
    assert _unread(ledger) == [203]


def test_a_pipeline_read_before_is_read_again_when_it_was_updated(ledger: Ledger) -> None:
    """A retry, or a manual job played; an older row in a list changes nothing."""
    building.read_job(ledger, JOB)
    _done(ledger, PIPELINE)
    assert _unread(ledger) == []
    later = building.pipeline(at_s=60)
    assert _new(ledger, [later]) == 1
    assert ledger.observations.unread() == [later]
    _done(ledger, later)
    assert _new(ledger, [replace(PIPELINE, status="running")]) == 0
    assert _unread(ledger) == []
    assert ledger.store.value("SELECT status FROM pipelines") == "success"


def test_an_update_that_comes_while_a_pipeline_is_read_is_not_overlooked(ledger: Ledger) -> None:
    """What was read is the update that was listed, not the one that came meanwhile."""
    building.read_job(ledger, JOB)
    ledger.observations.store_pipelines([building.pipeline(at_s=60)])
    _done(ledger, PIPELINE)
    assert _unread(ledger) == [100]


def test_a_pipeline_with_an_open_job_is_unread_until_the_job_is_closed_or_superseded(ledger: Ledger) -> None:
    """However the pipeline itself was marked; not while it runs again."""
    _done(ledger, PIPELINE)
    assert _unread(ledger) == [100]
    running = building.pipeline(status="running", at_s=1)
    ledger.observations.store_pipelines([running])
    assert _unread(ledger) == []
    ended = building.pipeline(at_s=2)
    ledger.observations.store_pipelines([ended])
    _done(ledger, ended)
    assert _unread(ledger) == [100]
    newer = building.job(1001, of=PIPELINE)
    ledger.observations.store_jobs(ended, [newer])
    assert _unread(ledger) == [100]
    building.read_job(ledger, newer)
    assert _unread(ledger) == []


def test_a_backfill_opens_lost_jobs_of_its_pipelines_again_and_no_others(ledger: Ledger) -> None:
    """Only those lost for a reason that may be gone, and pipelines whose jobs could not be listed."""
    elsewhere = building.pipeline(101)
    jobs = {
        kind: building.job(2000 + n, of=PIPELINE, name=kind) for n, kind in enumerate(["forbidden", "expired", "empty"])
    }
    far = building.job(3000, of=elsewhere)
    ledger.observations.store_pipelines([elsewhere, building.pipeline(102)])
    ledger.observations.store_jobs(elsewhere, [far])
    ledger.observations.store_jobs(PIPELINE, [JOB, *jobs.values()])
    building.read_job(ledger, JOB, [building.run("a")])
    building.read_job(ledger, jobs["empty"])
    for job, kind in ((jobs["forbidden"], "forbidden"), (jobs["expired"], "expired"), (far, "forbidden")):
        ledger.observations.try_again(job)
        with ledger.observations.reading(job, START) as record:
            record.problem(kind, "")
            record.close("lost")
    ledger.observations.pipeline_problem(building.pipeline(102).id, ("no-jobs", ""), START)
    for pipeline in (PIPELINE, elsewhere, building.pipeline(102)):
        _done(ledger, pipeline)
    assert _unread(ledger) == []
    ledger.observations.reread(("forbidden", "no-jobs"), [PIPELINE.id, building.pipeline(102).id])
    assert _unread(ledger) == [100, 102]
    assert ledger.store.rows("SELECT job_id, tries FROM jobs WHERE state = 'open'") == [(2000, 0)]


def test_a_cursor_never_moves_back(ledger: Ledger) -> None:
    """Whatever an older answer says; each has its own."""
    observations = ledger.observations
    assert observations.cursor("pipelines/1/main") is None
    for seconds in (0, 5, 3, -100, 4):
        observations.set_cursor("pipelines/1/main", START + timedelta(seconds=seconds))
    observations.set_cursor("pipelines/1/children", START - timedelta(days=1))
    assert observations.cursor("pipelines/1/main") == START + timedelta(seconds=5)
    assert observations.cursor("pipelines/1/children") == START - timedelta(days=1)


def test_a_name_in_the_config_stands_for_the_projects_of_the_last_answer(ledger: Ledger) -> None:
    """A project that left the group is not listed; one that was renamed has its new path."""
    observations = ledger.observations
    one, two = Project(ProjectId(5), "qa/one", "u1"), Project(ProjectId(6), "qa/two", "u2")
    observations.remember_projects("group qa", [one, two])
    assert observations.projects_named("group qa") == [one, two]
    renamed = Project(ProjectId(5), "qa/uno", "u3")
    observations.remember_projects("group qa", [renamed])
    assert observations.projects_named("group qa") == [renamed]
    observations.forget_project(renamed)
    assert observations.projects_named("group qa") == []
    assert observations.projects_named("project qa/web-shop") == [building.PROJECT]


def test_a_pipeline_comes_back_as_it_was_stored(ledger: Ledger) -> None:
    """To the microsecond, in UTC."""
    exact = replace(building.pipeline(300), updated_at=START + timedelta(microseconds=123_457), ref="rélease/1 'x'")
    ledger.observations.store_pipelines([exact])
    assert exact in ledger.observations.unread()
