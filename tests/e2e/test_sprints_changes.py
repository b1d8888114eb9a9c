"""Sprints change while they run: people rename, move, delete and fill in by hand, and names hold anything."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.sandbox.faults import Fault, Reset
from tests.company import junit

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.sandbox.rally import Thing
    from tests.company import Company

NAME = "Sprint-42-Automated-Tests"
PLACE = f"Web Shop/{NAME}"
SETTLED = {"settle_after_seconds": 0}


@pytest.fixture
def sprint(company: Company) -> Thing:
    """Give a sprint of the root project, with one story of two test cases."""
    iteration = company.sprint()
    company.story(iteration, "TC1", "TC2")
    return iteration


def only_sprint(company: Company) -> dict[str, Any]:
    """Give what status tells of the one sprint."""
    (row,) = company.status()["sprints"]
    found: dict[str, Any] = row
    return found


# --- iterations and stories ------------------------------------------------------------------------------------------


def test_a_renamed_sprint_keeps_its_set_and_its_folder(company: Company, sprint: Thing) -> None:
    """They are known by ObjectID: new test cases go into the set of the old name, and results carry it."""
    company.configure(rally=SETTLED, sprints={"test_folder": "move"})
    company.once()
    company.rally_store.change(sprint, Name="Release 7")
    company.story(sprint, "TC3")
    company.pipeline({"unit": junit("a_TC3")})

    told = company.once()

    assert (told["test_sets_created"], told["members_added"]) == (0, 1)
    assert (company.sets(), company.set_of("TC3")) == ({PLACE: ["TC1", "TC2", "TC3"]}, [PLACE])
    folder = {"test_cases": ["TC1", "TC2", "TC3"], "folders": {}}
    assert company.rally_store.folders(company.root) == {
        "Automated sprints": {"test_cases": [], "folders": {"Sprint-42": folder}}
    }
    row = only_sprint(company)
    assert (row["iteration"], row["test_set"]) == ("Release 7", NAME)
    assert company.once()["writes"] == 0


def test_a_set_that_people_renamed_stays_the_sprints(company: Company, sprint: Thing) -> None:
    """No second one is made of the old name."""
    company.once()
    (test_set,) = company.rally_store.find("TestSet")
    company.rally_store.change(test_set, Name="Our tests")
    company.story(sprint, "TC3")

    assert company.once()["members_added"] == 1
    assert company.sets() == {"Web Shop/Our tests": ["TC1", "TC2", "TC3"]}


def test_a_sprint_that_is_moved_to_other_days_takes_its_set_along(company: Company, sprint: Thing) -> None:
    """While it is yet to come it gets no more members, and results of today go without; then all goes on."""
    company.once()
    today = datetime.now(UTC).date()
    company.rally_store.reschedule(sprint, today + timedelta(days=5), today + timedelta(days=9))
    company.sprint("Sprint 41", days=(-3, 4))
    company.story(sprint, "TC3")
    company.pipeline({"unit": junit("a_TC1")})
    company.once()
    assert (company.sets()[PLACE], company.set_of("TC1")) == (["TC1", "TC2"], [""])

    company.rally_store.reschedule(sprint, today - timedelta(days=1), today + timedelta(days=9))
    company.pipeline({"unit": junit("a_TC1")})
    company.once()

    assert company.sets() == {PLACE: ["TC1", "TC2", "TC3"], "Web Shop/Sprint-41-Automated-Tests": []}
    assert company.set_of("TC1") == ["", PLACE]


def test_a_sprint_that_is_moved_to_another_project_gets_a_set_there(company: Company, sprint: Thing) -> None:
    """Together with its stories and their test cases; the set that it had stays where it is, as it is."""
    company.once()
    shop = company.child("Shop").oid
    for thing in (sprint, *company.rally_store.find("HierarchicalRequirement"), *company.cases.values()):
        company.rally_store.change(thing, Project=shop)
    company.pipeline({"unit": junit("a_TC1")})

    told = company.once()

    assert (told["test_sets_created"], told["members_added"]) == (1, 2)
    assert company.sets() == {PLACE: ["TC1", "TC2"], f"Shop/{NAME}": ["TC1", "TC2"]}
    assert company.set_of("TC1") == [f"Shop/{NAME}"]
    assert (only_sprint(company)["project"], company.once()["writes"]) == ("Shop", 0)


def test_a_story_that_is_moved_out_leaves_its_test_cases_in_the_set(company: Company, sprint: Thing) -> None:
    """Nothing is ever taken out; in a sprint that overlaps they are members, too, and the later one's set is carried.

    So is a test case that was deleted since: its results are held, and nothing else is held up.
    """
    later = company.sprint("Sprint 43", days=(-1, 12))
    story = company.rally_store.one(company.cases["TC1"].fields["WorkProduct"])
    company.story(sprint, "TC3")
    company.once()
    company.rally_store.change(story, Iteration=later.oid)
    company.rally_store.delete(company.cases["TC2"])
    company.pipeline({"unit": junit("a_TC1", "b_TC2", "c_TC3")})

    told = company.once()

    assert (told["members_added"], told["results_sent"], told["held"], told["refused"]) == (1, 2, 1, 0)
    assert company.sets() == {PLACE: ["TC1", "TC3"], "Web Shop/Sprint-43-Automated-Tests": ["TC1"]}
    assert company.set_of("TC1") == ["Web Shop/Sprint-43-Automated-Tests"]
    assert company.set_of("TC3") == [PLACE]
    assert company.once()["writes"] == 0


def test_a_sprint_without_stories_has_an_empty_set(company: Company) -> None:
    """Which covers nothing; results go without it, and nothing waits."""
    company.sprint()
    company.pipeline({"unit": junit("a_TC1")})

    assert company.once()["test_sets_created"] == 1
    assert (company.sets(), company.set_of("TC1")) == ({PLACE: []}, [""])
    row = only_sprint(company)
    assert (row["members"], row["not_run"], row["coverage"]) == (0, [], 0.0)
    assert company.once()["writes"] == 0


# --- test cases and sets ---------------------------------------------------------------------------------------------


def test_a_test_case_that_is_deleted_before_it_is_put_in_holds_up_no_other(company: Company, sprint: Thing) -> None:
    """Rally takes none of a request that names it; it is found out, and said once for all."""
    company.story(sprint, *(f"TC{n}" for n in range(3, 11)))
    company.rally.faults.add(Fault(Reset("before"), path="/TestCases/add"))
    assert company.run("--sprint-sets").status == 75
    company.rally_store.delete(company.cases["TC7"])

    ran = company.run("--json", "--once")

    assert (ran.status, ran.json["members_added"], "refuses a member" in ran.err) == (0, 9, True)
    assert company.sets() == {PLACE: sorted(f"TC{n}" for n in range(1, 11) if n != 7)}
    (refused,) = only_sprint(company)["refused"]
    assert (refused["test_case"], "Could not read" in refused["reason"]) == ("TC7", True)
    assert "TC7 refused by Rally: Could not read" in company.run("status").out
    assert company.once()["writes"] == 0


def test_a_set_that_people_delete_is_not_made_again(company: Company, sprint: Thing) -> None:
    """Their decision: results go without it. One that they make of the name later is taken, with who is in it."""
    company.once()
    (test_set,) = company.rally_store.find("TestSet")
    company.rally_store.delete(test_set)
    company.pipeline({"unit": junit("a_TC1")})
    ran = company.run("--json", "--once")
    assert (ran.status, ran.json["results_sent"], "is not made again" in ran.err) == (0, 1, True)
    assert (company.sets(), company.set_of("TC1"), only_sprint(company)["state"]) == ({}, [""], "gone")

    company.rally_store.add_test_set(company.root, NAME, sprint, company.cases["TC9"])
    company.pipeline({"unit": junit("a_TC1", "b_TC9")})
    company.once()

    assert company.sets() == {PLACE: ["TC1", "TC2", "TC9"]}
    assert (company.set_of("TC1"), company.set_of("TC9")) == (["", PLACE], [PLACE])


def test_a_set_that_people_made_is_adopted_and_a_second_one_said_and_left_alone(
    company: Company, sprint: Thing
) -> None:
    """The oldest is the one."""
    store = company.rally_store
    first = store.add_test_set(company.root, NAME, sprint, company.cases["TC9"])
    second = store.add_test_set(company.root, NAME, sprint, company.cases["TC8"])
    company.pipeline({"unit": junit("a_TC1", "b_TC8", "c_TC9")})

    ran = company.run("--json", "--once")

    assert (ran.json["test_sets_created"], ran.json["members_added"]) == (0, 2)
    assert (store.members(first), store.members(second)) == (["TC9", "TC1", "TC2"], ["TC8"])
    carried = {str(result["FormattedID"]): result.get("TestSet") for result in store.results()}
    assert carried == {"TC1": first.oid, "TC8": None, "TC9": first.oid}
    row = only_sprint(company)
    assert (row["object_id"], row["doubles"], row["members"]) == (first.oid, [second.oid], 3)
    assert "a second test set of its name" in ran.err
    assert f"neither used nor deleted: ObjectID {second.oid}" in company.run("status").out


# --- answers that are not believed -----------------------------------------------------------------------------------


def no_iterations(company: Company, sprint: Thing) -> None:
    """Let Rally have none."""
    company.rally_store.delete(sprint)


def no_stories(company: Company, sprint: Thing) -> None:
    """Let the sprint have none."""
    for story in company.rally_store.find("HierarchicalRequirement", Iteration=sprint.oid):
        company.rally_store.change(story, Iteration=None)


@pytest.mark.parametrize("empty", [no_iterations, no_stories])
def test_an_empty_answer_where_there_was_something_changes_nothing_and_is_said(
    company: Company, sprint: Thing, empty: Callable[[Company, Thing], None]
) -> None:
    """The set is neither lost nor filled; results carry it as before."""
    company.once()
    empty(company, sprint)
    company.pipeline({"unit": junit("a_TC1")})

    ran = company.run("--json", "--once")

    assert (ran.status, ran.json["results_sent"]) == (0, 1)
    assert "where there were some: nothing is changed" in ran.err
    assert (company.set_of("TC1"), only_sprint(company)["members"]) == ([PLACE], 2)


# --- names -----------------------------------------------------------------------------------------------------------

ODD = [
    ("Sprint \"42\" & 'half' (1) (7) # + % \\ <b>", "Sprint-7-Automated-Tests", "Sprint-7"),
    ("Спринт ünï 🚀 {N} {x} {", "Sprint-Спринт ünï 🚀 {N} {x} {-Automated-Tests", "Спринт ünï 🚀 {N} {x} {"),
    (') OR (Name != "x"', 'Sprint-) OR (Name != "x"-Automated-Tests', ') OR (Name != "x"'),
    ("x" * 400, ("Sprint-" + "x" * 400)[:256], "x" * 256),
]  # fmt: skip


def test_names_may_hold_anything(company: Company) -> None:
    """Quotes, brackets, braces, ampersands, other scripts, too much of all: no query breaks, no set is made twice."""
    company.configure(rally=SETTLED, sprints={"test_folder": "move"})
    shop = company.child('Shop "(&)" ünï')
    for n, (name, _, _) in enumerate(ODD, 20):
        company.story(company.sprint(name, shop), f"TC{n}")
    company.pipeline({"unit": junit(*(f"t_TC{n}" for n in range(20, 24)))})

    told = company.once()

    assert (told["test_sets_created"], told["members_added"], told["left"]) == (4, 4, 0)
    assert company.sets() == {f"{shop.name}/{name}": [f"TC{n}"] for n, (_, name, _) in enumerate(ODD, 20)}
    folders = {name: {"test_cases": [f"TC{n}"], "folders": {}} for n, (_, _, name) in enumerate(ODD, 20)}
    assert company.rally_store.folders(shop) == {"Automated sprints": {"test_cases": [], "folders": folders}}
    assert [company.set_of(f"TC{n}") for n in range(20, 24)] == [[f"{shop.name}/{name}"] for _, name, _ in ODD]
    assert company.once()["writes"] == 0
    company.configure(rally=SETTLED, sprints={"test_folder": "create"})
    (company.folder / "ledger.db").unlink()
    assert company.once()["writes"] == 0
    assert {row["iteration"] for row in company.status()["sprints"]} == {name for name, _, _ in ODD}


def test_the_config_says_how_sets_are_named(company: Company) -> None:
    """`{iteration}`, `{project}`, and an expression of its own for `{N}`."""
    template, pattern = "{project}: {iteration} ({N})", "PI (?P<N>[0-9]+)"
    company.configure(rally=SETTLED, sprints={"test_set_name": template, "number_pattern": pattern})
    company.sprint("PI 12 Sprint 3")

    company.once()

    assert company.sets() == {"Web Shop/Web Shop: PI 12 Sprint 3 (12)": []}


# --- many ------------------------------------------------------------------------------------------------------------


def quiet_requests(company: Company, *words: str) -> list[tuple[str, str]]:
    """List the requests of a run that has nothing to do."""
    company.rally.log.clear()
    ran = company.run("--json", *words)
    assert (ran.status, ran.json["writes"]) == (0, 0)
    return sorted((entry.method, entry.route) for entry in company.rally.log)


def test_two_thousand_test_cases_of_one_sprint_and_a_quiet_pass_that_costs_the_same_as_with_ten(
    company: Company,
) -> None:
    """A hundred to a request; what is in its place is not asked about again."""
    for case in company.cases.values():
        company.rally_store.delete(case)
    company.cases.clear()
    sprint = company.sprint()
    company.story(sprint, *(f"TC{n}" for n in range(100, 110)))
    company.once()
    few = [quiet_requests(company, run) for run in ("--once", "--sprint-sets")]
    for story in range(1, 21):
        first = 1_000 * story
        company.story(sprint, *(f"TC{n}" for n in range(first, first + 100 - (story == 1) * 10)))

    began = time.monotonic()
    told = company.once()

    assert time.monotonic() - began < 60
    assert (told["members_added"], told["writes"]) == (1_990, 20)
    assert len(company.sets()[PLACE]) == 2_000
    assert [quiet_requests(company, run) for run in ("--once", "--sprint-sets")] == few
    row = only_sprint(company)
    assert (row["members"], len(row["not_run"])) == (2_000, 2_000)
