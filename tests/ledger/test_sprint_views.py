"""What `status` tells of sprints: who is in each set, what its results say, and what is left to do."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.ledger import views
from reconciler.ledger.entries import Draft
from reconciler.ledger.ledger import Ledger, in_memory
from reconciler.model import Build, FormattedID, FoundResult, Key, ObjectID, PipelineId
from tests import building
from tests.fakes import START
from tests.sprint_steps import OTHER, SECOND, SETS, SPRINT, WEEK, a_set, bring_set, ids, placed, unplaced

if TYPE_CHECKING:
    from collections.abc import Iterator

SET = ObjectID(9)


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """Know three pipelines, TC1 to TC3, and two sprints of which the first has its set, with these in it."""
    ledger = in_memory()
    with closing(ledger.store):
        ledger.observations.remember_projects("project qa/web-shop", [building.PROJECT])
        for number in (100, 101, 102):
            pipeline = building.pipeline(number)
            ledger.observations.store_pipelines([pipeline])
            ledger.observations.mark_read(pipeline)
        ledger.test_cases.replace([building.case(f"TC{n}") for n in (1, 2, 3)])
        ledger.sprints.store_iterations([SPRINT, OTHER], START)
        bring_set(ledger.sprints, "done")
        ledger.sprints.want(placed(3, 1, 2), [])
        ledger.sprints.confirm_members(SPRINT.object_id, ids(1, 2, 3))
        yield ledger


def _send(
    ledger: Ledger, case: str, verdict: str, *, pipeline: int = 100, test_set: ObjectID | None = SET, revision: int = 1
) -> int:
    """Begin a result that carries a set; a later pipeline's date is later."""
    add = building.add(case, pipeline_id=pipeline, verdict=verdict, revision=revision)
    return ledger.entries.intend([Draft(add, Build(f"GitLab-{pipeline}"), (), test_set)], START)[0]


def _sent(ledger: Ledger, case: str, verdict: str, **about: Any) -> None:  # noqa: ANN401 - as `_send` has them
    entry = _send(ledger, case, verdict, **about)
    ledger.entries.confirm([(entry, ObjectID(9_000 + entry))], START)


def _told(ledger: Ledger) -> dict[str, Any]:
    (told,) = views.sprints(ledger.store)
    return told


# --- sets ------------------------------------------------------------------------------------------------------------


def test_a_sprint_is_told_with_everything_that_people_ask(ledger: Ledger) -> None:
    """The names are Rally's as they stand; every list is complete and in the order of test cases."""
    room = ledger.sprints
    room.want(placed(7, 8, 5, 6), unplaced(12, 11))
    room.refuse_members(SPRINT.object_id, ids(6, 5), "no such test case")
    room.intend_members(SPRINT.object_id, ids(8), START)
    room.store_doubles(SPRINT.object_id, [a_set(77), a_set(76)])
    room.store_doubles(OTHER.object_id, [a_set(75, iteration=OTHER)])
    _sent(ledger, "TC1", "Fail")
    _sent(ledger, "TC3", "Pass")
    assert views.sprints(ledger.store) == [
        {
            "iteration": 'Sprint "42" & (ü)',
            "project": "Web Shop",
            "starts_at": "2026-01-24T12:00:00.000000Z",
            "ends_at": "2026-02-07T12:00:00.000000Z",
            "test_set": "Tests",
            "object_id": 9,
            "state": "done",
            "reason": "",
            "members": 3,
            "missing_members": 2,
            "results": {"Fail": 1, "Pass": 1},
            "not_run": ["TC2"],
            "coverage": 66.7,
            "refused": [
                {"test_case": "TC5", "reason": "no such test case"},
                {"test_case": "TC6", "reason": "no such test case"},
            ],
            "not_placeable": [
                {"test_case": "TC11", "reason": "no such sprint"},
                {"test_case": "TC12", "reason": "no such sprint"},
            ],
            "doubles": [76, 77],
        }
    ]


@pytest.mark.parametrize("state", SETS)
def test_a_set_is_told_in_every_state(ledger: Ledger, state: str) -> None:
    """With the object it is or was, and Rally's reason; one without members covers nothing."""
    bring_set(ledger.sprints, state, OTHER)
    told = next(row for row in views.sprints(ledger.store) if row["project"] == "Mobile")
    assert told["state"] == state
    assert told["object_id"] == (9 if state in {"done", "gone"} else None)
    assert told["reason"] == ("no" if state == "refused" else "")
    assert (told["members"], told["missing_members"], told["coverage"], told["results"]) == (0, 0, 0.0, {})
    lists = [told[name] for name in ("not_run", "refused", "not_placeable", "doubles")]
    assert lists == [[]] * 4


def test_the_newest_sprint_is_told_first(ledger: Ledger) -> None:
    """Of those that began together, the one with the higher ObjectID; a sprint without a set is not told."""
    bring_set(ledger.sprints, "intended", OTHER)
    early = replace(SPRINT, object_id=ObjectID(300), project_name="Early", starts_at=SPRINT.starts_at - SECOND)
    late = replace(SPRINT, object_id=ObjectID(50), project_name="Late", starts_at=SPRINT.starts_at + SECOND)
    ledger.sprints.store_iterations([early, late, replace(late, object_id=ObjectID(999))], START)
    for one in (early, late):
        bring_set(ledger.sprints, "intended", one)
    assert [row["project"] for row in views.sprints(ledger.store)] == ["Late", "Mobile", "Web Shop", "Early"]


# --- results ---------------------------------------------------------------------------------------------------------


def test_of_each_member_the_result_with_the_newest_date_counts(ledger: Ledger) -> None:
    """In whatever order they were sent: a backfill brings old ones late; of one date the one sent last."""
    _sent(ledger, "TC1", "Pass", pipeline=101)
    _sent(ledger, "TC1", "Error", pipeline=100)
    assert _told(ledger)["results"] == {"Pass": 1}
    _sent(ledger, "TC1", "Fail", pipeline=101, revision=2)
    assert _told(ledger)["results"] == {"Fail": 1}
    _sent(ledger, "TC2", "Fail", pipeline=102)
    assert _told(ledger)["results"] == {"Fail": 2}
    assert (_told(ledger)["coverage"], _told(ledger)["not_run"]) == (66.7, ["TC3"])


def test_only_done_results_of_members_that_carry_this_set_count(ledger: Ledger) -> None:
    """Not one in doubt or refused, without the set or with another, or of a test case that is no member."""
    _send(ledger, "TC1", "Pass")
    ledger.entries.refuse([(_send(ledger, "TC2", "Pass"), "no")], START)
    _sent(ledger, "TC1", "Pass", pipeline=101, test_set=None)
    _sent(ledger, "TC2", "Pass", pipeline=101, test_set=ObjectID(77))
    _sent(ledger, "TC8", "Pass")
    ledger.sprints.refuse_members(SPRINT.object_id, ids(3), "no")
    _sent(ledger, "TC3", "Pass")
    told = _told(ledger)
    assert (told["members"], told["results"], told["coverage"]) == (2, {}, 0.0)
    assert told["not_run"] == ["TC1", "TC2"]


@pytest.mark.parametrize("verdict", ["Pass", "Error"])
def test_a_later_result_that_does_not_count_hides_none_that_does(ledger: Ledger, verdict: str) -> None:
    """One in doubt, one refused, one without the set, one with another: each of a later date."""
    _sent(ledger, "TC1", verdict, pipeline=100)
    _send(ledger, "TC1", "Fail", pipeline=101)
    ledger.entries.refuse([(_send(ledger, "TC1", "Fail", pipeline=102), "no")], START)
    _sent(ledger, "TC1", "Fail", pipeline=102, test_set=None, revision=2)
    _sent(ledger, "TC1", "Fail", pipeline=102, test_set=ObjectID(77), revision=3)
    assert _told(ledger)["results"] == {verdict: 1}


def test_results_that_rally_had_already_count_from_when_they_were_found(ledger: Ledger) -> None:
    """A second ledger's, which carry the set too; their Date is not known here."""
    _sent(ledger, "TC1", "Fail")
    for case, object_id in (("TC1", 5), ("TC2", 6)):
        key = Key(building.PROJECT.id, PipelineId(101), FormattedID(case), 1)
        found = FoundResult(key, ObjectID(object_id), Build("GitLab-101"), "Pass", test_set=SET)
        ledger.entries.adopt([found], {PipelineId(101): building.PROJECT.id}, START + WEEK)
    assert _told(ledger)["results"] == {"Pass": 2}
    _sent(ledger, "TC1", "Error", pipeline=102)
    assert _told(ledger)["results"] == {"Pass": 2}


def test_a_test_case_in_two_sprints_counts_in_each_by_the_set_that_its_results_carry(ledger: Ledger) -> None:
    """What ran in one has not run in the other."""
    ledger.sprints.adopt_set(OTHER.object_id, a_set(8, iteration=OTHER), START)
    ledger.sprints.found_members(OTHER.object_id, ids(1, 2))
    _sent(ledger, "TC1", "Pass")
    _sent(ledger, "TC2", "Fail", test_set=ObjectID(8))
    told = {row["project"]: (row["results"], row["not_run"]) for row in views.sprints(ledger.store)}
    assert told == {"Web Shop": ({"Pass": 1}, ["TC2", "TC3"]), "Mobile": ({"Fail": 1}, ["TC1"])}


# --- what is left ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "left"), [("", 0), ("intended", 1), ("done", 3), ("refused", 0), ("gone", 0)])
def test_left_counts_sets_in_doubt_and_members_that_a_set_lacks(ledger: Ledger, state: str, left: int) -> None:
    """Members of a set that is not there cannot be put in: they are no work; nor is one that is done or refused."""
    assert views.sprints_left(ledger.store) == views.left(ledger.store) == 0
    bring_set(ledger.sprints, state, OTHER)
    ledger.sprints.want(placed(1, 2, 3, 4, 5, iteration=OTHER), [])
    ledger.sprints.intend_members(OTHER.object_id, ids(2, 5), START)
    ledger.sprints.confirm_members(OTHER.object_id, ids(3))
    ledger.sprints.refuse_members(OTHER.object_id, ids(4), "no")
    assert views.sprints_left(ledger.store) == views.left(ledger.store) == left


def test_left_counts_folders_in_doubt_and_no_others(ledger: Ledger) -> None:
    """A folder that Rally refuses is a state."""
    room = ledger.sprints
    room.intend_folder(ObjectID(1), 0, "Automated sprints", START)
    room.confirm_folder(ObjectID(2), 0, "Automated sprints", ObjectID(5), START)
    assert views.sprints_left(ledger.store) == views.left(ledger.store) == 1
    room.refuse_folder(ObjectID(1), 0, "no")
    assert views.sprints_left(ledger.store) == views.left(ledger.store) == 0


def test_sprints_and_results_are_counted_together_but_once(ledger: Ledger) -> None:
    """A pass that only looks after sprints is not told of results."""
    ledger.sprints.want(placed(4), [])
    _send(ledger, "TC1", "Pass")
    assert (views.left(ledger.store), views.sprints_left(ledger.store)) == (2, 1)


@pytest.mark.parametrize(
    ("members", "run", "per_cent"),
    [(0, 0, 0.0), (4, 0, 0.0), (4, 4, 100.0), (3, 1, 33.3), (3, 2, 66.7), (2000, 1, 0.1)],
)
def test_coverage_is_in_per_cent_to_one_decimal(members: int, run: int, per_cent: float) -> None:
    """A set without members covers nothing, rather than everything."""
    assert views.coverage(members, run) == per_cent
