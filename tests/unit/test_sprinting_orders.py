"""Looking after sprints alone, and dry runs: what is announced is what is made, no more and no less."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from reconciler.config.settings import SprintsSettings
from reconciler.errors import EXIT_DONE, EXIT_FAILED, EXIT_TRY_AGAIN, Misconfigured, NotDone
from reconciler.order import Order
from tests.fake_sprints import AddMembers
from tests.fakes import FakeRally
from tests.fates import fails, later, silent
from tests.unit.sprint_shop import DAY_S, DRY_RUN, SET, SPRINT_SETS, Team, team

if TYPE_CHECKING:
    from collections.abc import Iterator

LETS = FakeRally.carry_out


@pytest.fixture
def shop() -> Iterator[Team]:
    """Open one."""
    yield from team()


# --- sprints alone ---------------------------------------------------------------------------------------------------


def test_an_order_for_sprints_alone_reads_no_pipeline_and_sends_no_result(shop: Team) -> None:
    """GitLab may be away; results wait for the next whole pass and are not counted as left."""
    shop.job("a_TC1", "b_TC9")
    shop.rally.add_case("TC9")
    shop.rally.steps.append(fails(NotDone("turned away", retry_after_s=0.0)))
    shop.rally.troubles["work_items"].append(Misconfigured("Rally: no"))
    shop.once()
    shop.rally.steps.clear()
    sent = len(shop.rally.requests)
    shop.job("c_TC2")
    shop.gitlab.down = True
    outcome = shop.sprint_sets()
    assert (outcome.exit_status, outcome.down, outcome.summary["left"]) == (EXIT_DONE, (), 0)
    assert (outcome.summary["test_sets_created"], outcome.summary["members_added"]) == (1, 2)
    assert (len(shop.rally.requests), outcome.summary["pipelines_read"]) == (sent, 0)
    shop.gitlab.down = False
    assert shop.once().exit_status == EXIT_DONE
    assert [name for key, name in shop.carried().items() if "TC2" in key] == [SET]


def test_an_order_for_sprints_alone_says_that_something_of_them_is_left(shop: Team) -> None:
    """A set in doubt, and members in doubt."""
    shop.rally.sprint_steps += [silent(1)]
    assert shop.sprint_sets().exit_status == EXIT_TRY_AGAIN
    shop.rally.sprint_steps += [silent(0)]
    assert shop.sprint_sets().exit_status == EXIT_TRY_AGAIN
    outcome = shop.sprint_sets()
    assert (outcome.exit_status, outcome.summary["left"]) == (EXIT_TRY_AGAIN, 2)
    shop.clock.advance(400)
    assert shop.sprint_sets().exit_status == EXIT_DONE
    shop.rally.troubles["iterations"].append(Misconfigured("Rally: no"))
    assert shop.sprint_sets().exit_status == EXIT_FAILED


def test_a_daemons_poll_looks_after_sprints_no_more_often_than_it_is_told(shop: Team) -> None:
    """What was looked at a moment ago is left alone; an order of its own looks at once."""
    shop.once(Order("rally"))
    shop.cases("TC3")
    shop.clock.advance(60)
    polled = Order("gitlab", refresh_after=shop.clock() - shop.clock.advance(-300))
    shop.clock.advance(300)
    assert shop.once(polled).summary["members_added"] == 0
    assert shop.once(SPRINT_SETS).summary["members_added"] == 1
    shop.cases("TC4")
    shop.clock.advance(300)
    assert shop.once(polled).summary["members_added"] == 1


# --- dry runs --------------------------------------------------------------------------------------------------------


def announced(shop: Team) -> Counter[tuple[str, ...]]:
    """Tell the sets, members and results that a dry run announces; it must write nothing."""
    before = len(shop.rally.sprint_requests), len(shop.rally.requests)
    actions = shop.once(DRY_RUN).actions
    assert (len(shop.rally.sprint_requests), len(shop.rally.requests)) == before
    keys = {"test_set": ("name",), "member": ("test_set", "test_case"), "result": ("key",)}
    return Counter((a["kind"], *(a[key] for key in keys[a["kind"]])) for a in actions if a["kind"] in keys)


def made(shop: Team) -> Counter[tuple[str, ...]]:
    """Tell what the next pass makes."""
    before, held = set(shop.rally.sets), {number: set(cases) for number, cases in shop.rally.enrolled.items()}
    sent = len(shop.rally.requests)
    shop.once()
    done: Counter[tuple[str, ...]] = Counter()
    done.update(("test_set", one.name) for number, one in shop.rally.sets.items() if number not in before)
    for number, one in shop.rally.sets.items():
        new = shop.rally.enrolled[number] - held.get(number, set())
        done.update(("member", one.name, str(shop.rally.cases[case].formatted_id)) for case in new)
    done.update(("result", str(key)) for keys in shop.rally.requests[sent:] for key in keys)
    return done


def test_a_dry_run_lists_the_sets_the_members_and_the_results_to_come(shop: Team) -> None:
    """In the words of `--json`; and then they come."""
    shop.job("a_TC1", "b_TC2!")
    actions = shop.once(DRY_RUN).actions
    assert actions[:3] == (
        {"kind": "test_set", "name": SET, "project": "Web Shop", "iteration": "Sprint 7"},
        {"kind": "member", "test_set": SET, "test_case": "TC1"},
        {"kind": "member", "test_set": SET, "test_case": "TC2"},
    )
    said = announced(shop)
    assert Counter(kind for kind, *_ in said) == {"test_set": 1, "member": 2, "result": 2}
    assert said == made(shop)
    assert announced(shop) == made(shop) == {}


def _late_member(shop: Team) -> None:
    shop.once()
    shop.cases("TC3")


def _renamed(shop: Team) -> None:
    _late_member(shop)
    shop.rally.change_iteration(shop.sprint, name="Sprint 77")


def _adopted(shop: Team) -> None:
    shop.rally.add_set_by_hand(SET, shop.sprint, next(iter(shop.rally.cases.values())))


def _gone(shop: Team) -> None:
    _late_member(shop)
    shop.rally.delete_set(min(shop.rally.sets))


def _refused(shop: Team) -> None:
    shop.rally.change_iteration(shop.sprint, project_name=" ")
    shop.config = SprintsSettings(test_set_name="{project}")
    shop.once()
    shop.cases("TC3")


def _set_in_doubt(shop: Team) -> None:
    shop.rally.sprint_steps.append(later())
    shop.once()


def _members_in_doubt(shop: Team) -> None:
    shop.rally.sprint_steps += [LETS, later()]
    shop.once()
    shop.cases("TC3")


def _members_there_unheard(shop: Team) -> None:
    shop.rally.sprint_steps += [LETS, silent(1)]
    shop.once()
    shop.cases("TC3")


def _set_there_unheard(shop: Team) -> None:
    shop.rally.sprint_steps += [silent(1)]
    shop.once()


def _lost_in_silence(shop: Team) -> None:
    shop.rally.sprint_steps += [silent(0)]
    shop.once()
    shop.clock.advance(400)


def _empty_answer(shop: Team) -> None:
    _late_member(shop)
    shop.rally.empty.add("work_items")


def _over(shop: Team) -> None:
    shop.rally.sprint_steps += [LETS, silent(0)]
    shop.once()
    shop.sprint_of("Sprint 8", begins=7)
    shop.clock.advance(8 * DAY_S)


@pytest.mark.parametrize(
    "before",
    [
        _late_member, _renamed, _adopted, _gone, _refused, _set_in_doubt, _members_in_doubt, _members_there_unheard,
        _set_there_unheard, _lost_in_silence, _empty_answer, _over,
    ],
)  # fmt: skip
def test_a_dry_run_announces_exactly_what_the_next_pass_makes(shop: Team, before: object) -> None:
    """Whatever happened before: results that wait for a set in doubt are not announced either."""
    assert callable(before)
    before(shop)
    shop.job("a_TC1", "b_TC2", "c_TC9")
    shop.rally.add_case("TC9")
    said = announced(shop)
    assert ("result", "1/100/TC9/1") in said
    assert said == made(shop)


def test_a_dry_run_does_not_count_as_a_look(shop: Team) -> None:
    """The pass after it looks after sprints, however soon."""
    shop.once(DRY_RUN)
    assert shop.once(Order("rally", refresh_after=shop.sprint.ends_at - shop.sprint.starts_at)).summary["writes"] == 2
    assert isinstance(shop.rally.sprint_requests[-1][0], AddMembers)
