"""What may become of a create request: the steps that `FakeRally` follows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.errors import NoAnswer
from reconciler.model import Rejected

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from reconciler.model import TestCaseResult
    from tests.fakes import Answers, FakeRally, Step


class Killed(BaseException):
    """The process dies here: nothing of ours may catch this."""


def fails(error: BaseException) -> Step:
    """Do nothing of it, and raise."""

    def step(rally: FakeRally, results: Sequence[TestCaseResult]) -> Answers:
        del rally, results
        raise error

    return step


def silent(done: int) -> Step:
    """Create the first so many of it; the answer is lost."""
    return _dies_with(done, NoAnswer("Rally: no answer"))


def killed(done: int) -> Step:
    """Create the first so many of it; then our process dies."""
    return _dies_with(done, Killed())


def _dies_with(done: int, error: BaseException) -> Step:
    def step(rally: FakeRally, results: Sequence[TestCaseResult]) -> Answers:
        rally.carry_out(results[:done])
        raise error

    return step


def later() -> Step:
    """Give no answer, and do it when `land` is called."""

    def step(rally: FakeRally, results: Sequence[TestCaseResult]) -> Answers:
        rally.late.append((rally.clock(), results))
        raise NoAnswer("Rally: no answer")

    return step


def says_no(positions: Iterable[int], reason: str, *, conflict: bool = False) -> Step:
    """Create all but those at these positions."""
    said = frozenset(positions)

    def step(rally: FakeRally, results: Sequence[TestCaseResult]) -> Answers:
        return [
            Rejected(reason, conflict=conflict) if place in said else rally.carry_out([result])[0]
            for place, result in enumerate(results)
        ]

    return step
