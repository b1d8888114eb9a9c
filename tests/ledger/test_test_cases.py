"""What is known of Rally's TestCases, and the tests that follow what appears and vanishes there."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from reconciler.errors import ServiceDown
from reconciler.ledger.entries import Draft
from reconciler.ledger.ledger import Ledger, in_memory
from reconciler.mapping import Mapping
from reconciler.model import FormattedID
from tests import accounting, building
from tests.building import BUILD
from tests.fakes import START

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.model import TestCase

PIPELINE = building.pipeline()
JOB = building.job(of=PIPELINE)


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """Know TC1 and TC2, and two tests: one of TC1, one of TC9."""
    ledger = in_memory()
    with closing(ledger.store):
        ledger.observations.remember_projects("project qa/web-shop", [building.PROJECT])
        ledger.observations.store_pipelines([PIPELINE])
        ledger.observations.store_jobs(PIPELINE, [JOB])
        building.read_job(ledger, JOB, [building.run("a_TC1"), building.run("b_TC9")])
        ledger.test_cases.replace([building.case("TC1"), building.case("TC2", at_s=5)])
        ledger.subjects.apply(Mapping([]), resolvable=True)
        yield ledger


def _targets(ledger: Ledger) -> dict[str, int | None]:
    return dict(ledger.store.rows("SELECT formatted_id, object_id FROM targets"))


def _states(ledger: Ledger) -> list[str]:
    return [row[0] for row in ledger.store.rows("SELECT state FROM tests ORDER BY test_id")]


def test_a_whole_answer_replaces_what_was_known(ledger: Ledger) -> None:
    """What is not in it is gone from scope; what is new is there, and its tests are pending."""
    assert ledger.test_cases.replace([building.case("TC9"), building.case("TC2")]) == 2
    assert [formatted_id for formatted_id, _ in ledger.test_cases.names()] == ["TC2", "TC9"]
    assert _targets(ledger) == {"TC1": None, "TC9": 9}
    ledger.subjects.classify()
    assert _states(ledger) == ["held", "pending"]
    assert ledger.store.rows("SELECT was FROM tests ORDER BY test_id") == [("read",), ("held",)]


def test_an_empty_answer_changes_nothing(ledger: Ledger) -> None:
    """It is no proof that everything was deleted: a key without rights gets one, too."""
    assert ledger.test_cases.replace([]) == 0
    assert ledger.test_cases.count() == 2
    assert _targets(ledger) == {"TC1": 1, "TC9": None}
    ledger.subjects.classify()
    assert _states(ledger) == ["pending", "held"]


def test_an_answer_that_breaks_off_changes_nothing(ledger: Ledger) -> None:
    """Not even what came before the break, of a whole answer or of a partial one."""

    def broken() -> Iterator[TestCase]:
        yield building.case("TC9")
        raise ServiceDown("Rally", "reset")

    for taking in (ledger.test_cases.replace, ledger.test_cases.update):
        with pytest.raises(ServiceDown):
            taking(broken())
    assert [formatted_id for formatted_id, _ in ledger.test_cases.names()] == ["TC1", "TC2"]
    assert ledger.test_cases.unknown() == ["TC9"]


def test_a_second_whole_answer_is_not_mixed_with_the_first(ledger: Ledger) -> None:
    """Each is measured by itself."""
    ledger.test_cases.replace([building.case("TC1")])
    ledger.test_cases.replace([building.case("TC2")])
    assert [formatted_id for formatted_id, _ in ledger.test_cases.names()] == ["TC2"]


def test_a_partial_answer_adds_and_changes_and_removes_nothing(ledger: Ledger) -> None:
    """Names and fields are taken over; the newest update is by Rally's clock."""
    assert ledger.test_cases.update([building.case("TC9", at_s=9, field_value="shop.x"), building.case("TC1")]) == 2
    assert ledger.test_cases.count() == 3
    assert _states(ledger) == ["pending", "pending"]
    newest = ledger.test_cases.newest_update()
    assert newest is not None
    assert (newest - START).total_seconds() == 9
    assert ledger.test_cases.by_field() == {"shop.x": ("TC9",)}


def test_a_test_case_that_is_forgotten_holds_its_pending_tests_until_it_is_back(ledger: Ledger) -> None:
    """It is to be looked up from then on."""
    ledger.test_cases.forget(FormattedID("TC1"))
    ledger.subjects.classify()
    assert _states(ledger) == ["held", "held"]
    assert ledger.test_cases.unknown() == ["TC1", "TC9"]
    ledger.test_cases.update([building.case("TC1")])
    assert _states(ledger) == ["pending", "held"]


def test_a_test_that_was_refused_for_a_test_case_that_is_gone_is_held_for_it(ledger: Ledger) -> None:
    """Back again, it is refused again: nothing is sent a second time for it."""
    (entry,) = ledger.entries.intend([Draft(building.add("TC1", 1), BUILD)], START)
    ledger.entries.refuse([(entry, "no")], START)
    ledger.test_cases.forget(FormattedID("TC1"))
    assert _states(ledger) == ["held", "held"]
    accounting.check(ledger.store, settled=True)
    ledger.test_cases.update([building.case("TC1")])
    ledger.entries.restand(PIPELINE.id)
    assert _states(ledger) == ["refused", "held"]


def test_a_formatted_id_that_moved_to_another_object_belongs_to_the_newer_one(ledger: Ledger) -> None:
    """Deleted and made anew: the targets follow, and nothing breaks on the way."""
    ledger.test_cases.update([building.case("TC1", 501)])
    assert _targets(ledger)["TC1"] == 501
    assert ledger.test_cases.count() == 2
    ledger.test_cases.replace([building.case("TC2", 502), building.case("TC1", 2)])
    assert dict(ledger.store.rows("SELECT formatted_id, object_id FROM test_cases")) == {"TC2": 502, "TC1": 2}
    assert _targets(ledger)["TC1"] == 2


def test_two_test_cases_that_swapped_their_formatted_ids_are_both_known(ledger: Ledger) -> None:
    """One after the other, although no id may be there twice at any moment."""
    ledger.test_cases.replace([building.case("TC2", 1), building.case("TC1", 2)])
    assert dict(ledger.store.rows("SELECT formatted_id, object_id FROM test_cases")) == {"TC2": 1, "TC1": 2}


def test_one_field_value_may_name_several_test_cases(ledger: Ledger) -> None:
    """A test then counts for each; an empty value names none."""
    ledger.test_cases.update([building.case(f"TC{n}", field_value="shop.x") for n in (11, 10)])
    assert ledger.test_cases.by_field() == {"shop.x": ("TC10", "TC11")}


def test_before_the_first_answer_nothing_is_known() -> None:
    """No newest update, no count."""
    ledger = in_memory()
    with closing(ledger.store):
        assert ledger.test_cases.newest_update() is None
        assert ledger.test_cases.count() == 0
