"""The stand-in Rally's switches and words about sprints."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pytest

from reconciler.sandbox.rally import Store

if TYPE_CHECKING:
    from reconciler.model import ObjectID
    from reconciler.rally import RallyAdapter
    from tests.rally_world import World


def test_results_in_one_set_conflict_when_told_to(world: World, rally: RallyAdapter) -> None:
    """No source says that they do; a conflict that is planned for the set shows whether it is touched."""
    sprint = world.store.add_iteration(world.root, "Sprint 42", date(2026, 11, 23), date(2026, 12, 4))
    test_set = world.store.add_test_set(world.root, "Sprint-42", sprint, world.cases[0])
    number: ObjectID = test_set.oid  # type: ignore[assignment]  # the store's numbers are plain
    for conflicting in (False, True):
        world.app.behaviour.results_change_sets = conflicting
        world.app.mishaps.conflict(test_set)
        [answer] = rally.add_results([world.result(test_set=number)])
        assert getattr(answer, "conflict", False) == conflicting
    assert [row["TestSet"] for row in world.store.results()] == [number]


@pytest.fixture
def store() -> Store:
    """Make a workspace in the mountains with one project."""
    made = Store()
    made.add_project(made.add_workspace("Acme", timezone="America/Denver"), "Web Shop")
    return made


def test_an_iteration_is_moved_to_other_days(store: Store) -> None:
    """As it was given them, in the workspace's time zone; and noted as changed."""
    [shop] = store.find("Project")
    sprint = store.add_iteration(shop, "Sprint 42", date(2026, 5, 4), date(2026, 5, 17))
    store.reschedule(sprint, date(2026, 5, 5), date(2026, 5, 18))
    assert (sprint.fields["StartDate"], sprint.fields["EndDate"], sprint.version) == (
        "2026-05-05T06:00:00.000Z",
        "2026-05-19T05:59:59.000Z",
        2,
    )


def test_test_sets_are_told_with_their_members(store: Store) -> None:
    """Of one iteration, or all; a deleted one is not among them."""
    [shop] = store.find("Project")
    first, second = (store.add_iteration(shop, name, date(2026, 5, 4), date(2026, 5, 17)) for name in "ab")
    case = store.add_test_case(shop, "pays", "TC7")
    one, other = store.add_test_set(shop, "A", first, case), store.add_test_set(shop, "B", second)
    told = store.test_sets()
    assert [(row["ObjectID"], row["Name"], row["Iteration"], row["members"]) for row in told] == [
        (one.oid, "A", first.oid, ["TC7"]),
        (other.oid, "B", second.oid, []),
    ]
    store.delete(other)
    assert [row["Name"] for row in store.test_sets()] == ["A"]
    assert store.test_sets(second) == []


def test_folders_are_told_as_a_tree(store: Store) -> None:
    """With the test cases in them; two of one name in one place are an error, for a tree would hide one."""
    [shop] = store.find("Project")
    top = store.add_test_folder(shop, "Automated sprints")
    sprint = store.add_test_folder(shop, "Sprint-42", top)
    store.add_test_case(shop, "pays", "TC7", TestFolder=sprint.oid)
    assert store.folders(shop) == {
        "Automated sprints": {
            "test_cases": [],
            "folders": {"Sprint-42": {"test_cases": ["TC7"], "folders": {}}},
        }
    }
    store.add_test_folder(shop, "Sprint-42", top)
    with pytest.raises(LookupError, match="several folders of one name"):
        store.folders(shop)
