"""A Rally for the machine of sprints, and what else than an answer its requests may meet."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reconciler.model import Rejected
from tests.fake_sprints import AddMembers
from tests.fakes import FakeRally
from tests.fates import says_no

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from typing import Any

    from reconciler.model import Iteration, NewTestSet, ObjectID, TestCaseResult
    from tests.fakes import Answers, Step


@dataclass(slots=True)
class Registry(FakeRally):
    """A Rally that knows which ledger made a set, and shows each result to an inspector."""

    ledger: object = None
    """Whose process is asking."""
    races: bool = False
    """Whether two ledgers write to the same sets."""
    fates: dict[type, Step] = field(default_factory=dict)
    """What the next request of a kind meets."""
    inspect: Callable[[TestCaseResult], None] = lambda _: None
    senders: list[tuple[NewTestSet, object]] = field(default_factory=list)
    made: dict[ObjectID, object] = field(default_factory=dict)
    """By which ledger each set was made that no person made."""

    def add_test_set(self, new: NewTestSet) -> ObjectID | Rejected:
        """Note who wants it; the request may be carried out later."""
        self.senders.append((new, self.ledger))
        return FakeRally.add_test_set(self, new)

    def add_members(self, test_set: ObjectID, test_cases: Sequence[ObjectID]) -> Rejected | None:
        """See that no earlier request to this set may still be alive."""
        alive = {one.test_set for _, wanted in self.late for one in wanted if isinstance(one, AddMembers)}
        assert self.races or test_set not in alive, "two requests write to one set"
        return FakeRally.add_members(self, test_set, test_cases)

    def _write_sprints(self, wanted: Sequence[Any]) -> Answers:
        if type(wanted[0]) in self.fates:
            self.sprint_steps.appendleft(self.fates.pop(type(wanted[0])))
        return FakeRally._write_sprints(self, wanted)

    def _add_test_set(self, new: NewTestSet) -> ObjectID | Rejected:
        number = FakeRally._add_test_set(self, new)
        if not isinstance(number, Rejected):
            self.made[number] = next(ledger for one, ledger in self.senders if one is new)
        return number

    def _create_result(self, result: TestCaseResult) -> ObjectID | Rejected:
        number = FakeRally._create_result(self, result)
        if not isinstance(number, Rejected):
            self.inspect(result)
        return number


def by_hand_too(rally: FakeRally, wanted: Sequence[Any]) -> Answers:
    """Let a person put one of these test cases into the set in the last moment: Rally refuses the request."""
    for one in wanted:
        if isinstance(one, AddMembers) and one.test_set in rally.sets:
            rally.enrolled[one.test_set].add(one.test_cases[0])
    return rally.carry_out(wanted)


def conflict(rally: FakeRally, wanted: Sequence[Any]) -> Answers:
    """Let another writer be in the way; who has put in one of these test cases."""
    with suppress(KeyError):
        by_hand_too(rally, wanted[:1] if isinstance(wanted[0], AddMembers) else [])
    return says_no([0], "Concurrency conflict", conflict=True)(rally, wanted)


def is_in(sprint: Iteration, date: datetime) -> bool:
    """Tell whether a result of this date is of a sprint: one that ends does so with a whole second."""
    return sprint.starts_at <= date.replace(microsecond=0) <= sprint.ends_at


def order(sprint: Iteration) -> tuple[datetime, ObjectID]:
    """Order sprints that overlap: the last one is the home of a result."""
    return sprint.starts_at, sprint.object_id
