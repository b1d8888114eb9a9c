"""What sprints lack is decided line by line of the tables in DESIGN's "Sprints": names, sets, places and homes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from reconciler import sprints
from reconciler.model import FormattedID, Iteration, ObjectID, TestSet
from reconciler.sprints import (
    Adopt,
    Create,
    Forget,
    Home,
    Known,
    Membership,
    Placed,
    Scheduled,
    Unplaced,
    Wait,
    Withdraw,
)
from tests.fakes import START

NAME = "Sprint-42-Automated-Tests"
SECOND = timedelta(seconds=1)
BEGIN = datetime(2026, 1, 26, 5, tzinfo=UTC)
END = datetime(2026, 2, 9, 4, 59, 59, tzinfo=UTC)
"""As Rally has them: the borders of days in the workspace's zone, the last a second before the next (pyral #141)."""
SPRINT = Iteration(ObjectID(100), "Sprint 42", BEGIN, END, ObjectID(1), "Web Shop")


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "pattern", "number"),
    [
        ("Sprint 42", "", "42"),
        ("42", "", "42"),
        ("42nd of them", "", "42"),
        ("PI 7 - Sprint 3 (Q2)", "", "2"),
        ("2026.05", "", "05"),
        ("Sprint 007", "", "007"),
        ("Sprint 12\n", "", "12"),
        ("9\nand no more", "", "9"),
        ("Hardening", "", ""),
        ("", "", ""),
        ("Sprint ٤٢", "", ""),
        ("Sprint-7", "", "7"),
        ("PI 7 - Sprint 3 (Q2)", r"Sprint (?P<N>\d+)", "3"),
        ("PI 7 - Sprint 3", r"(?P<N>PI \d+)", "PI 7"),
        ("Sprint 3", r"^(?P<N>\d+)", ""),
        ("Sprint 3", r"Sprint(?P<N> \d+)", "3"),
        ("Sprint 3", r"Sprint(?P<N>X)?", ""),
        ("Sprint 3 4", r"(?P<N>\d)", "3"),
    ],
)
def test_the_number_is_the_last_one_unless_the_config_says_which(name: str, pattern: str, number: str) -> None:
    """ASCII digits as they stand, zeros too; a pattern that finds nothing finds no number, not the last one."""
    assert number == sprints.number_of(name, pattern)


@pytest.mark.parametrize("pattern", ["", r"(?P<N>[0-9]+)$"])
def test_only_the_first_thousand_characters_of_a_name_are_looked_at(pattern: str) -> None:
    """No name, however long, keeps the search going."""
    assert sprints.number_of("x" * 998 + "12", pattern) == "12"
    assert sprints.number_of("x" * 999 + "12", pattern) == "1"
    assert sprints.number_of("x" * 1_000 + "12", pattern) == ""


@pytest.mark.parametrize(
    ("template", "pattern", "name", "expected"),
    [
        ("Sprint-{N}-Automated-Tests", "", "Sprint 42", "Sprint-42-Automated-Tests"),
        ("Sprint-{N}-Automated-Tests", "", "Hardening", "Sprint-Hardening-Automated-Tests"),
        ("Sprint-{N}", r"PI (?P<N>\d+)", "Sprint 42", "Sprint-Sprint 42"),
        ("{iteration} / {project} / {N}", "", 'Sprint "7" & (süß)', 'Sprint "7" & (süß) / Web Shop / 7'),
        ("{N}", "", "{project} {N} {0}", "0"),
        ("{iteration}", "", "{project} {N} {!r}", "{project} {N} {!r}"),
        ("{iteration}", "", "O'Neill \\ 'x'", "O'Neill \\ 'x'"),
        ("  {iteration} ", "", "\ttwo  words\n", "two words"),
        ("{iteration}", "", "スプリント 9", "スプリント 9"),
    ],
)
def test_a_sets_name_is_the_template_filled_in(template: str, pattern: str, name: str, expected: str) -> None:
    """A sprint without a number is called by its name; names are values and never templates themselves."""
    assert expected == sprints.set_name(template, pattern, replace(SPRINT, name=name), 256)


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("Sprint 42", "", "Sprint-42"),
        ("PI 7 - Sprint 3 (Q2)", r"Sprint (?P<N>\d+)", "Sprint-3"),
        ("Hardening  & 'more'", "", "Hardening & 'more'"),
        ("Sprint 42", "(?P<N>X)", "Sprint 42"),
    ],
)
def test_a_folder_is_named_by_the_number_or_by_the_whole_name(name: str, pattern: str, expected: str) -> None:
    """`Sprint-{N}` does not depend on how sets are named."""
    assert expected == sprints.folder_name(pattern, replace(SPRINT, name=name), 256)


@pytest.mark.parametrize(
    ("name", "limit", "expected"),
    [
        ("ä" * 256, 256, "ä" * 256),
        ("ä" * 257, 256, "ä" * 256),
        ("ä" * 255 + " b", 256, "ä" * 255),
        ("ä" * 254 + " b", 256, "ä" * 254 + " b"),
        (" " * 300 + "b", 256, "b"),
        ("ä" * 257, 257, "ä" * 257),
        ("ab😀", 4, "ab😀"),
        ("ab😀", 3, "ab"),
        ("a 😀", 3, "a"),
    ],
)
def test_names_are_cut_to_rallys_limit_and_end_with_no_blank(name: str, limit: int, expected: str) -> None:
    """In UTF-16 units, and never in half a character; Rally would strip a blank, and know it by another name."""
    iteration = replace(SPRINT, name=name)
    assert sprints.set_name("{iteration}", "", iteration, limit) == expected
    assert sprints.folder_name("", iteration, limit) == expected


def test_one_folder_holds_those_of_all_sprints() -> None:
    """Its name is DESIGN's; another one would be a second folder beside the first."""
    assert sprints.ROOT_FOLDER == "Automated sprints"


# --- which set is the one --------------------------------------------------------------------------------------------


def _set(object_id: int, name: str = NAME, *, at: int = 0, iteration: int = 100, project: int = 1) -> TestSet:
    """Make a set created so many seconds after `START`."""
    return TestSet(ObjectID(object_id), name, ObjectID(iteration), ObjectID(project), START + at * SECOND)


def _known(state: str, object_id: int | None = None, *, old: bool = True) -> Known:
    return Known(state, None if object_id is None else ObjectID(object_id), old_enough=old)


def _begun(name: str) -> Known:
    return Known("intended", None, old_enough=True, name=name)


OLD, NEW = _set(9, at=0), _set(5, at=1)
RENAMED = _set(7, "What people call it", at=2)
OLDEST_ELSEWHERE = _set(1, "What people call it")

DECISIONS: dict[str, tuple[Known | None, list[TestSet], bool, sprints.Step]] = {
    "nothing known, two of the name": (None, [NEW, OLD], True, Adopt(OLD)),
    "nothing known, one of the name, past": (None, [NEW], False, Adopt(NEW)),
    "nothing known, none, current": (None, [], True, Create()),
    "nothing known, none, past": (None, [], False, None),
    "nothing known, one of another name": (None, [RENAMED], True, Create()),
    "nothing known, one of another case": (None, [_set(8, NAME.upper())], True, Create()),
    "nothing known, one of another sprint": (None, [_set(8, iteration=101)], True, Create()),
    "nothing known, one of another project": (None, [_set(8, project=2)], True, Create()),
    "intended, one of the name": (_known("intended"), [OLD], True, Adopt(OLD)),
    "intended just now, two of the name": (_known("intended", old=False), [NEW, OLD], True, Adopt(OLD)),
    "intended, one of the name, past": (_known("intended"), [OLD], False, Adopt(OLD)),
    "intended, one of the name it was begun with": (_begun(RENAMED.name), [RENAMED], True, Adopt(RENAMED)),
    "intended, one of either name": (_begun(RENAMED.name), [RENAMED, NEW], True, Adopt(NEW)),
    "intended, one of neither name": (_begun("Sprint-41"), [RENAMED], True, Withdraw()),
    "intended, one of the name it was begun with elsewhere": (
        _begun(RENAMED.name),
        [_set(7, RENAMED.name, project=2)],
        True,
        Withdraw(),
    ),
    "refused, one of the name it was begun with": (
        replace(_begun(RENAMED.name), state="refused"),
        [RENAMED],
        True,
        None,
    ),
    "gone, one of the name it was begun with": (
        Known("gone", ObjectID(6), old_enough=True, name=RENAMED.name),
        [RENAMED],
        True,
        None,
    ),
    "done, one of the name it was begun with": (
        Known("done", ObjectID(6), old_enough=True, name=RENAMED.name),
        [RENAMED],
        True,
        Forget(),
    ),
    "intended, none, old": (_known("intended"), [], True, Withdraw()),
    "intended, none, old, past": (_known("intended"), [], False, Withdraw()),
    "intended, none, may still come": (_known("intended", old=False), [], True, None),
    "done, it": (_known("done", 9), [OLD], True, None),
    "done, it and a younger": (_known("done", 9), [NEW, OLD], True, None),
    "done, it and an older": (_known("done", 5), [NEW, OLD], True, Adopt(OLD)),
    "done, it, by another name": (_known("done", 7), [RENAMED], True, None),
    "done, it by another name and an older": (_known("done", 7), [RENAMED, NEW], True, Adopt(NEW)),
    "done, it by another name and a younger": (
        _known("done", 1),
        [OLDEST_ELSEWHERE, NEW],
        True,
        None,
    ),
    "done, not it, but one of the name": (_known("done", 6), [NEW], True, Adopt(NEW)),
    "done, not it, two of the name": (_known("done", 6), [NEW, OLD], False, Adopt(OLD)),
    "done, none": (_known("done", 9), [], True, Forget()),
    "done, none, past": (_known("done", 9, old=False), [], False, Forget()),
    "done, it is in another sprint now": (_known("done", 9), [_set(9, iteration=101)], True, Forget()),
    "done, it is in another project now": (_known("done", 9), [_set(9, project=2)], True, Forget()),
    "refused, one of the name": (_known("refused"), [OLD], True, Adopt(OLD)),
    "refused, none": (_known("refused"), [], True, None),
    "refused, one of another name": (_known("refused"), [RENAMED], True, None),
    "gone, one of the name": (_known("gone", 6), [NEW, OLD], True, Adopt(OLD)),
    "gone, none": (_known("gone", 6), [], True, None),
    "gone, it is back": (_known("gone", 9), [OLD], True, Adopt(OLD)),
    "gone, it is back by another name": (_known("gone", 7), [RENAMED], False, Adopt(RENAMED)),
}


@pytest.mark.parametrize(("known", "found", "current", "step"), DECISIONS.values(), ids=DECISIONS)
def test_a_sprints_set_is_decided_by_what_is_known_and_what_rally_has(
    known: Known | None,
    found: list[TestSet],
    current: bool,  # noqa: FBT001 - a column of the table
    step: sprints.Step,
) -> None:
    """Line by line of the table; the order of Rally's answer does not matter, and an iterator will do."""
    assert sprints.decide(SPRINT, NAME, known, found, current=current) == step
    assert sprints.decide(SPRINT, NAME, known, reversed(found), current=current) == step


def test_sets_that_may_be_the_sprints_are_listed_oldest_first() -> None:
    """Of one instant the one with the lower ObjectID; all runs and all ledgers choose the same."""
    twins = [_set(8, at=1), _set(3, at=1), _set(99, at=0)]
    others = [_set(1, iteration=101), _set(2, project=2), _set(4, "Other")]
    found = [*twins, *others]
    assert [one.object_id for one in sprints.alike(SPRINT, NAME, None, found)] == [99, 3, 8]
    assert [one.object_id for one in sprints.alike(SPRINT, NAME, _known("done", 4), found)] == [4, 99, 3, 8]
    assert [one.object_id for one in sprints.alike(SPRINT, NAME, _known("done", 1), found)] == [99, 3, 8]
    assert sprints.alike(SPRINT, "Nobody's", _known("intended"), found) == []


# --- which test case is in which set ---------------------------------------------------------------------------------


CHILD = replace(SPRINT, object_id=ObjectID(200), project_id=ObjectID(2), project_name="Mobile Team")


def _scheduled(case: int, *, iteration: int = 100, project: int = 1) -> Scheduled:
    return Scheduled(ObjectID(iteration), ObjectID(case), FormattedID(f"TC{case}"), ObjectID(project))


def _placed(case: int, iteration: int) -> Placed:
    return Placed(ObjectID(iteration), ObjectID(case), FormattedID(f"TC{case}"))


def test_a_test_case_of_the_sprints_project_goes_to_the_sprints_set() -> None:
    """Each once, though several stories of a sprint have it."""
    scheduled = [_scheduled(1), _scheduled(2), _scheduled(1), _scheduled(1, iteration=200, project=2)]
    assert sprints.place(scheduled, [SPRINT, CHILD]) == ([_placed(1, 100), _placed(2, 100), _placed(1, 200)], [])


def test_a_test_case_of_another_project_goes_to_that_projects_own_sprint_of_the_name_and_dates() -> None:
    """In both directions; and it is there once, though it is scheduled in both."""
    scheduled = [_scheduled(1, project=2), _scheduled(2, iteration=200), _scheduled(1, iteration=200, project=2)]
    assert sprints.place(scheduled, [SPRINT, CHILD]) == ([_placed(1, 200), _placed(2, 100)], [])


@pytest.mark.parametrize(
    "twin",
    [
        replace(CHILD, name="Sprint 43"),
        replace(CHILD, name="sprint 42"),
        replace(CHILD, starts_at=BEGIN + SECOND),
        replace(CHILD, ends_at=END - SECOND),
        replace(CHILD, project_id=ObjectID(3)),
    ],
    ids=["another name", "another case", "another begin", "another end", "another project"],
)
def test_without_such_a_sprint_it_cannot_be_placed_and_the_reason_is_said(twin: Iteration) -> None:
    """Alike in name and dates, or it is another sprint: as Rally itself rolls them up."""
    placed, unplaced = sprints.place([_scheduled(1, project=2), _scheduled(2)], [SPRINT, twin])
    reason = "its project has no iteration 'Sprint 42' with the dates of that of Web Shop"
    assert (placed, unplaced) == (
        [_placed(2, 100)],
        [Unplaced(ObjectID(100), ObjectID(1), FormattedID("TC1"), reason)],
    )


def test_what_cannot_be_placed_is_said_once_for_each_sprint() -> None:
    """Two stories with one test case are one line; two sprints are two."""
    late = replace(SPRINT, object_id=ObjectID(101), name='Sprint "43"')
    scheduled = [_scheduled(1, project=9), _scheduled(1, project=9), _scheduled(1, iteration=101, project=9)]
    placed, unplaced = sprints.place(scheduled, [SPRINT, late])
    assert placed == []
    assert [(one.iteration, one.test_case) for one in unplaced] == [(100, 1), (101, 1)]
    assert """'Sprint "43"'""" in unplaced[1].reason


def test_a_test_case_that_has_moved_to_another_project_is_placed_or_unplaceable_but_never_both() -> None:
    """One story was asked before the move, one after it: the set that takes it is right, the old complaint is not."""
    scheduled = [_scheduled(1, project=9), _scheduled(1)]
    assert sprints.place(scheduled, [SPRINT]) == ([_placed(1, 100)], [])
    assert sprints.place(scheduled[::-1], [SPRINT]) == ([_placed(1, 100)], [])


def test_of_two_sprints_alike_in_one_project_each_keeps_its_own_test_cases() -> None:
    """Nothing forbids two iterations of one name and one time; those from elsewhere go to the older, always."""
    double = replace(SPRINT, object_id=ObjectID(101))
    scheduled = [_scheduled(1), _scheduled(2, iteration=101), _scheduled(3, iteration=200)]
    expected = [_placed(1, 100), _placed(2, 101), _placed(3, 100)]
    assert sprints.place(scheduled, [SPRINT, double, CHILD]) == (expected, [])
    assert sprints.place(scheduled, [CHILD, double, SPRINT]) == (expected, [])


def test_no_sprints_and_nothing_scheduled_is_nothing_to_place() -> None:
    """A sprint without stories has an empty set."""
    assert sprints.place([], []) == ([], [])
    assert sprints.place([], [SPRINT]) == ([], [])


# --- which set a result carries --------------------------------------------------------------------------------------


SURE = Membership(ObjectID(100), BEGIN, END, ObjectID(9), is_sure=True, is_hopeless=False)
WAITING = replace(SURE, test_set=None, is_sure=False)
HOPELESS = replace(SURE, is_sure=False, is_hopeless=True)


@pytest.mark.parametrize(
    ("date", "inside"),
    [
        (BEGIN, True),
        (BEGIN - SECOND, False),
        (BEGIN - timedelta(microseconds=1), False),
        (BEGIN + timedelta(microseconds=1), True),
        (END, True),
        (END + timedelta(microseconds=999_999), True),
        (END + SECOND, False),
    ],
    ids=str,
)
def test_a_sprint_lasts_from_its_first_to_the_end_of_its_last_second(
    date: datetime,
    inside: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """Rally ends a day with 23:59:59; a job that finishes within that second belongs to it."""
    assert sprints.home_of(date, [SURE]) == (Home(ObjectID(9)) if inside else None)
    assert sprints.home_of(date, [WAITING]) == (Wait() if inside else None)


@pytest.mark.parametrize(
    ("memberships", "home"),
    [
        ([], None),
        ([SURE], Home(ObjectID(9))),
        ([WAITING], Wait()),
        ([replace(SURE, is_sure=False)], Wait()),
        ([replace(SURE, test_set=None)], Wait()),
        ([HOPELESS], None),
        ([replace(WAITING, is_hopeless=True)], None),
        ([HOPELESS, replace(WAITING, iteration=ObjectID(99))], Wait()),
        ([HOPELESS, replace(SURE, iteration=ObjectID(99))], Home(ObjectID(9))),
    ],
)
def test_a_result_carries_the_set_waits_for_it_or_goes_without(
    memberships: list[Membership], home: Home | Wait | None
) -> None:
    """Confirmed, not confirmed yet, and a plain No or none at all."""
    assert sprints.home_of(START, memberships) == home


def test_of_sprints_that_overlap_the_one_that_began_last_is_the_home() -> None:
    """Of those that began together, the one with the higher ObjectID: always the same, and so it waits for that one."""
    later = replace(SURE, iteration=ObjectID(90), starts_at=BEGIN + SECOND, test_set=ObjectID(8))
    twin = replace(later, iteration=ObjectID(91), test_set=ObjectID(7))
    over = replace(later, ends_at=START - SECOND)
    for memberships, home in [
        ([SURE, later], Home(ObjectID(8))),
        ([SURE, later, twin], Home(ObjectID(7))),
        ([SURE, replace(later, is_sure=False, test_set=None)], Wait()),
        ([SURE, replace(later, is_hopeless=True)], Home(ObjectID(9))),
        ([SURE, over], Home(ObjectID(9))),
        ([WAITING, later], Home(ObjectID(8))),
    ]:
        assert sprints.home_of(START, memberships) == home
        assert sprints.home_of(START, memberships[::-1]) == home


# --- halving ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cases", "halves"), [([1, 2], [[1], [2]]), ([1, 2, 3], [[1], [2, 3]]), ([4, 3, 2, 1], [[4, 3], [2, 1]])]
)
def test_halves_are_both_shorter_and_together_the_whole(cases: list[int], halves: list[list[int]]) -> None:
    """In their order; none is lost and none is in both."""
    assert sprints.in_halves([ObjectID(case) for case in cases]) == halves
