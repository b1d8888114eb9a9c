"""A change of the mapping moves the tests it is about, and no others, and takes nothing back."""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest

from reconciler.ledger.entries import Draft
from reconciler.ledger.ledger import Ledger, in_memory
from reconciler.mapping import Mapping, Row
from reconciler.model import ObjectID, Outcome
from tests import accounting, building
from tests.building import BUILD
from tests.fakes import START

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from reconciler.model import TestRun

PIPELINE = building.pipeline()
JOB = building.job(of=PIPELINE)


def _ledger(*runs: TestRun, skips_count: bool, cases: tuple[str, ...]) -> Ledger:
    ledger = in_memory(skips_count=skips_count)
    ledger.observations.remember_projects("project qa/web-shop", [building.PROJECT])
    ledger.observations.store_pipelines([PIPELINE])
    ledger.observations.store_jobs(PIPELINE, [JOB])
    ledger.test_cases.replace([building.case(formatted_id) for formatted_id in cases])
    building.read_job(ledger, JOB, runs)
    ledger.observations.mark_read(PIPELINE)
    return ledger


def _map(ledger: Ledger, *rows: tuple[str, str], resolvable: bool = True) -> None:
    """Apply a mapping file of these rows: test name, FormattedID."""
    ledger.subjects.apply(
        Mapping([Row(line, f"shop.{test}", said) for line, (test, said) in enumerate(rows, 2)]), resolvable=resolvable
    )


def _states(ledger: Ledger) -> list[tuple[str, str]]:
    """Tell state and origin of each test; the books are audited."""
    accounting.check(ledger.store)
    return [(state, was) for state, was in ledger.store.rows("SELECT state, was FROM tests ORDER BY test_id")]


def _send(ledger: Ledger, formatted_id: str, *tests: int, revision: int = 1, refused: str = "") -> int:
    entry_id = ledger.entries.intend([Draft(building.add(formatted_id, *tests, revision=revision), BUILD)], START)[0]
    if refused:
        ledger.entries.refuse([(entry_id, refused)], START)
    else:
        ledger.entries.confirm([(entry_id, ObjectID(9000 + entry_id))], START)
    return entry_id


@pytest.fixture
def begin() -> Iterator[Callable[..., Ledger]]:
    """Give a way to make ledgers that are closed in the end."""
    with ExitStack() as opened:

        def make(*runs: TestRun, skips_count: bool = False, cases: tuple[str, ...] = ("TC1", "TC2")) -> Ledger:
            ledger = _ledger(*runs, skips_count=skips_count, cases=cases)
            opened.enter_context(closing(ledger.store))
            return ledger

        yield make


@pytest.fixture
def one(begin: Callable[..., Ledger]) -> Ledger:
    """Hold one test that nothing maps."""
    ledger = begin(building.run("login"))
    _map(ledger)
    assert _states(ledger) == [("held", "read")]
    return ledger


# --- held ------------------------------------------------------------------------------------------------------------


def test_a_held_test_is_pending_once_it_is_mapped(one: Ledger) -> None:
    """And remembers that it was held."""
    _map(one, ("login", "TC1"))
    assert _states(one) == [("pending", "held")]


def test_a_held_test_is_ignored_once_the_file_says_so_and_pending_again_after_that(one: Ledger) -> None:
    """Taking the row out holds it; what it was before it was pending is told by the last step."""
    _map(one, ("login", "-"))
    assert _states(one)[0][0] == "ignored"
    _map(one)
    assert _states(one)[0][0] == "held"
    _map(one, ("login", "-"))
    _map(one, ("login", "TC1"))
    assert _states(one) == [("pending", "ignored")]


def test_a_test_mapped_to_what_rally_does_not_have_is_held_until_it_is_there(one: Ledger) -> None:
    """With the FormattedID to look up; then it counts as held before."""
    _map(one, ("login", "TC9"))
    assert _states(one)[0][0] == "held"
    assert one.test_cases.unknown() == ["TC9"]
    one.test_cases.update([building.case("TC9")])
    assert _states(one) == [("pending", "held")]
    assert one.test_cases.unknown() == []


def test_a_test_of_several_test_cases_waits_for_none_of_those_that_are_there(one: Ledger) -> None:
    """One that Rally has is enough to be pending; the other stays to be looked up."""
    _map(one, ("login", "TC9"), ("login", "TC1"))
    assert _states(one) == [("pending", "held")]
    assert one.test_cases.unknown() == ["TC9"]


def test_nothing_is_held_for_want_of_a_test_case_before_rally_was_ever_asked(begin: Callable[..., Ledger]) -> None:
    """Unmapped is unmapped without Rally; mapped is pending until it is known better."""
    ledger = begin(building.run("login"), building.run("a_TC1"), cases=())
    _map(ledger, resolvable=False)
    assert [state for state, _ in _states(ledger)] == ["held", "pending"]
    ledger.subjects.classify()
    assert [state for state, _ in _states(ledger)] == ["held", "held"]


# --- pending ---------------------------------------------------------------------------------------------------------


def test_a_pending_test_follows_the_mapping(begin: Callable[..., Ledger]) -> None:
    """Re-mapped it stays pending, unmapped it is held, ignored it is ignored."""
    ledger = begin(building.run("login"))
    _map(ledger, ("login", "TC1"))
    _map(ledger, ("login", "TC2"))
    assert _states(ledger) == [("pending", "read")]
    _map(ledger)
    assert _states(ledger)[0][0] == "held"
    _map(ledger, ("login", "TC1"))
    _map(ledger, ("login", "-"))
    assert _states(ledger)[0][0] == "ignored"


def test_a_row_that_changes_nothing_for_a_test_leaves_it_alone(begin: Callable[..., Ledger]) -> None:
    """Lines may move and other tests' rows come and go."""
    ledger = begin(building.run("a"), building.run("b"))
    _map(ledger, ("a", "TC1"), ("b", "TC2"))
    _send(ledger, "TC1", 1)
    _map(ledger, ("other", "TC2"), ("b", "TC1"), ("a", "TC1"))
    assert _states(ledger) == [("sent", "read"), ("pending", "read")]


# --- skipped ---------------------------------------------------------------------------------------------------------


def test_a_skipped_test_is_ignored_mapped_or_not(begin: Callable[..., Ledger]) -> None:
    """Under `skipped = "ignore"`; no mapping brings it back."""
    ledger = begin(building.run("a_TC1", Outcome.SKIPPED), building.run("odd", Outcome.SKIPPED))
    _map(ledger)
    assert [state for state, _ in _states(ledger)] == ["ignored", "ignored"]
    _map(ledger, ("odd", "TC1"), ("a_TC1", "-"))
    _map(ledger, ("odd", "TC2"))
    assert [state for state, _ in _states(ledger)] == ["ignored", "ignored"]


def test_a_skipped_test_counts_like_any_other_when_the_config_gives_it_a_verdict(begin: Callable[..., Ledger]) -> None:
    """It is sent, held, ignored and brought back."""
    ledger = begin(building.run("a_TC1", Outcome.SKIPPED), building.run("odd", Outcome.SKIPPED), skips_count=True)
    _map(ledger)
    assert [state for state, _ in _states(ledger)] == ["pending", "held"]
    _map(ledger, ("a_TC1", "-"))
    _map(ledger)
    assert _states(ledger)[0] == ("pending", "ignored")


# --- sent ------------------------------------------------------------------------------------------------------------


def test_a_sent_test_is_pending_again_only_for_a_further_test_case(begin: Callable[..., Ledger]) -> None:
    """Re-mapped it is due there; ignored or unmapped it stays what it is."""
    ledger = begin(building.run("a_TC1"), building.run("b_TC1"), building.run("c_TC1"), building.run("d_TC1"))
    _map(ledger)
    _send(ledger, "TC1", 1, 2, 3)
    _send(ledger, "TC1", 4, revision=2, refused="no")
    assert [state for state, _ in _states(ledger)] == ["sent", "merged", "merged", "refused"]
    _map(ledger, ("a_TC1", "TC2"), ("b_TC1", "-"), ("d_TC1", "TC2"))
    assert _states(ledger) == [
        ("pending", "remapped"), ("merged", "read"), ("merged", "read"), ("pending", "remapped"),
    ]  # fmt: skip
    ledger.entries.restand(PIPELINE.id)
    assert [state for state, _ in _states(ledger)] == ["pending", "merged", "merged", "pending"]


def test_a_test_that_loses_a_test_case_stands_as_the_others_say(begin: Callable[..., Ledger]) -> None:
    """Neither the refusal of what it does not count for any more nor what it decided there is told of it."""
    ledger = begin(building.run("a_TC1_TC2"), building.run("b_TC1_TC2"))
    _map(ledger)
    _send(ledger, "TC1", 1, 2)
    _send(ledger, "TC2", 2, 1, refused="no")
    assert [state for state, _ in _states(ledger)] == ["refused", "refused"]
    _map(ledger, ("a_TC1_TC2", "TC1"), ("b_TC1_TC2", "TC1"))
    assert [state for state, _ in _states(ledger)] == ["sent", "merged"]
    _map(ledger, ("a_TC1_TC2", "-"))
    accounting.check(ledger.store)


def test_a_test_that_was_re_mapped_and_back_stands_as_before_without_being_sent(begin: Callable[..., Ledger]) -> None:
    """It was sent for that test case already."""
    ledger = begin(building.run("a_TC1"))
    _map(ledger)
    _send(ledger, "TC1", 1)
    _map(ledger, ("a_TC1", "TC2"))
    _map(ledger)
    ledger.entries.restand(PIPELINE.id)
    assert [state for state, _ in _states(ledger)] == ["sent"]
    assert ledger.entries.due() == []


def test_a_sent_test_that_is_mapped_to_what_rally_does_not_have_is_held_for_it(begin: Callable[..., Ledger]) -> None:
    """The least settled of its test cases counts."""
    ledger = begin(building.run("a_TC1"))
    _map(ledger)
    _send(ledger, "TC1", 1)
    _map(ledger, ("a_TC1", "TC1"), ("a_TC1", "TC9"))
    ledger.entries.restand(PIPELINE.id)
    assert [state for state, _ in _states(ledger)] == ["held"]
    ledger.test_cases.update([building.case("TC9")])
    _send(ledger, "TC9", 1)
    assert [state for state, _ in _states(ledger)] == ["sent"]


def test_a_superseded_test_is_moved_by_no_mapping(begin: Callable[..., Ledger]) -> None:
    """Mapped, ignored, looked up, restood: a newer attempt has taken its place."""
    ledger = begin(building.run("a"))
    _map(ledger)
    ledger.observations.store_jobs(PIPELINE, [building.job(1001, of=PIPELINE)])
    for rows in ([("a", "TC1")], [("a", "-")], [("a", "TC9")], []):
        _map(ledger, *rows)
        ledger.test_cases.update([building.case("TC9")])
        ledger.entries.restand(PIPELINE.id)
        assert _states(ledger)[0][0] == "superseded"


def test_the_same_mapping_decides_only_tests_that_are_new(begin: Callable[..., Ledger]) -> None:
    """A pass over a large ledger costs what came, not what is there; new tests are decided all the same."""
    ledger = begin(building.run("a"))
    _map(ledger, ("a", "TC1"))
    with ledger.store.transaction():
        ledger.store.run("UPDATE subjects SET rule = 'untouched'")
    later = building.job(1001, of=PIPELINE, name="later")
    ledger.observations.store_jobs(PIPELINE, [later])
    building.read_job(ledger, later, [building.run("a"), building.run("b_TC2"), building.run("odd")])
    _map(ledger, ("a", "TC1"))
    assert ledger.store.rows("SELECT key, rule FROM subjects ORDER BY key") == [
        ("shop.a", "untouched"), ("shop.b_TC2", "name"), ("shop.odd", ""),
    ]  # fmt: skip
    assert [state for state, _ in _states(ledger)] == ["pending", "pending", "pending", "held"]
