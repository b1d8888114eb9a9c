"""Folders of sprints, and test cases that are filed in them: once, wherever people put them afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reconciler.config.settings import SprintsSettings
from reconciler.errors import EXIT_DONE, EXIT_TRY_AGAIN, BatchRefused
from reconciler.model import NewTestFolder, Rejected
from tests.fake_sprints import ROOT
from tests.fakes import FakeRally
from tests.fates import fails, later, says_no, silent
from tests.unit.sprint_shop import DAY_S, DRY_RUN, Team, team

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.model import ObjectID

LETS = FakeRally.carry_out
BEFORE_FOLDERS = [LETS, LETS]
"""The set and its members."""
HERE = "Web Shop/Automated sprints/Sprint-7"


@pytest.fixture
def shop() -> Iterator[Team]:
    """Open one in which test cases are filed."""
    for made in team():
        made.config = SprintsSettings(test_folder="move")
        yield made


def paths(shop: Team) -> list[str]:
    """Tell the folders."""
    return sorted(shop.rally.path_of(folder) for folder in shop.rally.folders)


def by_hand(shop: Team, name: str, parent: ObjectID | None = None, *, project: ObjectID = ROOT) -> ObjectID:
    """Make a folder as a person would."""
    (made,) = shop.rally.carry_out([NewTestFolder(name, project, parent)])
    assert not isinstance(made, Rejected)
    return made


# --- made ------------------------------------------------------------------------------------------------------------


def test_no_folder_is_made_unless_it_is_wanted(shop: Team) -> None:
    """Nor asked for."""
    shop.config = SprintsSettings()
    shop.once()
    assert shop.rally.folders == {}
    assert not shop.rally.asked["folders_named"]


def test_each_project_has_a_folder_for_all_sprints_and_in_it_one_for_each(shop: Team) -> None:
    """Made once; `create` files nothing."""
    shop.config = SprintsSettings(test_folder="create")
    mobile = shop.rally.add_project("Mobile")
    shop.sprint_of("Sprint 7", project=mobile)
    shop.sprint_of("Hardening", begins=-1)
    for _ in range(2):
        assert shop.once().exit_status == EXIT_DONE
        assert paths(shop) == [
            "Mobile/Automated sprints",
            "Mobile/Automated sprints/Sprint-7",
            "Web Shop/Automated sprints",
            "Web Shop/Automated sprints/Hardening",
            HERE,
        ]
    assert shop.rally.filing() == {}


def test_folders_that_are_there_are_used(shop: Team) -> None:
    """The oldest at the same place: those of the name elsewhere are none of ours."""
    mobile = shop.rally.add_project("Mobile")
    elsewhere = by_hand(shop, "Automated sprints", project=mobile)
    by_hand(shop, "Sprint-7", elsewhere, project=mobile)
    by_hand(shop, "Sprint-7")
    root = by_hand(shop, "Automated sprints")
    by_hand(shop, "Automated sprints", root)
    mine, _ = by_hand(shop, "Sprint-7", root), by_hand(shop, "Sprint-7", root)
    folders = set(shop.rally.folders)
    assert shop.once().exit_status == EXIT_DONE
    assert (set(shop.rally.folders), set(shop.rally.filed.values())) == (folders, {mine})


def test_a_quiet_pass_asks_for_no_folder(shop: Team) -> None:
    """They are known by their ObjectIDs."""
    shop.once()
    shop.rally.asked.clear()
    shop.once()
    assert shop.rally.asked == {"iterations": 1, "work_items": 1, "test_sets": 1}


def test_the_next_sprint_has_its_folder_beside_the_last(shop: Team) -> None:
    """A renamed sprint keeps its own."""
    shop.once()
    shop.rally.change_iteration(shop.sprint, name="Sprint 77")
    shop.cases("TC3", of=shop.rally.add_item(shop.sprint_of("Sprint 8", begins=7)))
    shop.clock.advance(8 * DAY_S)
    assert shop.once().exit_status == EXIT_DONE
    assert paths(shop) == ["Web Shop/Automated sprints", HERE, "Web Shop/Automated sprints/Sprint-8"]
    assert shop.rally.filing() == {"TC1": HERE, "TC2": HERE, "TC3": "Web Shop/Automated sprints/Sprint-8"}


def test_two_sprints_of_one_number_share_a_folder(shop: Team) -> None:
    """There are no two of one name at one place; a lost ledger would find but the older one."""
    shop.sprint_of("Sprint 7 again", begins=-1)
    for _ in range(2):
        assert shop.once().exit_status == EXIT_DONE
        assert paths(shop) == ["Web Shop/Automated sprints", HERE]


# --- filed -----------------------------------------------------------------------------------------------------------


def test_test_cases_are_filed_once_and_stay_where_people_put_them_then(shop: Team) -> None:
    """Those that come later are filed when they come."""
    shop.once()
    assert shop.rally.filing() == {"TC1": HERE, "TC2": HERE}
    shop.rally.filed[min(shop.rally.filed)] = by_hand(shop, "Checkout")
    shop.cases("TC3")
    assert shop.once().exit_status == EXIT_DONE
    assert shop.rally.filing() == {"TC1": "Web Shop/Checkout", "TC2": HERE, "TC3": HERE}


def test_a_test_case_of_two_sprints_is_filed_with_the_one_that_began_last(shop: Team) -> None:
    """Its story was moved before anything was filed; one request moves it once."""
    other = shop.sprint_of("Sprint 8", begins=-1)
    shop.config = SprintsSettings()
    shop.once()
    shop.rally.schedule(shop.story, other)
    shop.once()
    shop.config = SprintsSettings(test_folder="move")
    for _ in range(2):
        assert shop.once().exit_status == EXIT_DONE
        assert set(shop.rally.filing().values()) == {"Web Shop/Automated sprints/Sprint-8"}


def test_test_cases_are_filed_in_batches_and_one_by_one_where_rally_has_none(shop: Team) -> None:
    """`/batch` may be refused as a whole."""
    shop.cases(*[f"TC{n}" for n in range(3, 61)])
    shop.rally.sprint_steps += [LETS] * 4 + [fails(BatchRefused("no /batch"))]
    assert shop.once().exit_status == EXIT_DONE
    assert len(shop.rally.filing()) == 60
    assert [len(wanted) for wanted in shop.rally.sprint_requests][4:8] == [50, 1, 1, 1]


def test_a_test_case_that_cannot_be_filed_is_told_and_keeps_no_other_from_it(shop: Team) -> None:
    """It is not tried again; nothing else hangs on it."""
    shop.rally.sprint_steps += [LETS] * 4 + [says_no([0], "Validation error: no")]
    assert shop.once().exit_status == EXIT_DONE
    assert shop.warned("refuses to file a test case") == 1
    assert shop.rally.filing() == {"TC2": HERE}
    assert shop.once().summary["writes"] == 0


def test_test_cases_in_a_conflict_are_filed_in_the_same_pass(shop: Team) -> None:
    """Doing it twice is doing it once."""
    shop.rally.sprint_steps += [LETS] * 4 + [says_no([1], "Concurrency conflict", conflict=True)]
    assert shop.once().exit_status == EXIT_DONE
    assert shop.rally.filing() == {"TC1": HERE, "TC2": HERE}


@pytest.mark.parametrize("done", [0, 1, 2])
def test_filing_of_unknown_fate_is_done_again(shop: Team, done: int) -> None:
    """Without waiting: it cannot be doubled."""
    shop.rally.sprint_steps += [LETS] * 4 + [silent(done)]
    assert shop.once().exit_status == EXIT_TRY_AGAIN
    assert shop.once().exit_status == EXIT_DONE
    assert shop.rally.filing() == {"TC1": HERE, "TC2": HERE}


# --- trouble ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("done", [0, 1])
def test_a_folder_in_doubt_is_found_or_made_when_it_can_no_longer_come(shop: Team, which: int, done: int) -> None:
    """Made again at once, there would be two; sets and members do not wait for it."""
    shop.rally.sprint_steps += BEFORE_FOLDERS + [LETS] * which + [silent(done)]
    assert shop.once().exit_status == EXIT_TRY_AGAIN
    assert shop.sprint_row()["members"] == 2
    if not done:
        assert shop.once().exit_status == EXIT_TRY_AGAIN
    assert shop.settle().exit_status == EXIT_DONE
    assert paths(shop) == ["Web Shop/Automated sprints", HERE]
    assert shop.rally.filing() == {"TC1": HERE, "TC2": HERE}


def test_a_folder_that_comes_late_is_not_made_twice(shop: Team) -> None:
    """It was still alive when the next pass asked."""
    shop.rally.sprint_steps += [*BEFORE_FOLDERS, later()]
    shop.once()
    shop.once()
    shop.rally.land(begun_before=shop.clock.advance(300))
    assert shop.settle().exit_status == EXIT_DONE
    assert paths(shop) == ["Web Shop/Automated sprints", HERE]


@pytest.mark.parametrize("which", [0, 1])
def test_a_folder_that_rally_refuses_is_told_and_not_tried_again(shop: Team, which: int) -> None:
    """Test cases stay where they are; the set is filled all the same."""
    shop.rally.sprint_steps += BEFORE_FOLDERS + [LETS] * which + [says_no([0], "Validation error: no")]
    assert shop.once().exit_status == EXIT_DONE
    assert shop.warned("refuses a folder") == 1
    assert shop.once().summary["writes"] == 0
    assert (len(shop.rally.folders), shop.rally.filing(), shop.sprint_row()["members"]) == (which, {}, 2)


def test_a_dry_run_makes_no_folder(shop: Team) -> None:
    """It writes nothing at all."""
    shop.once(DRY_RUN)
    assert shop.rally.sprint_requests == []
