"""Which results are missing: a pure comparison of what was read with what was sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reconciler.model import Key, Outcome, Verdict
from reconciler.record import record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from reconciler.model import FormattedID, JobId, ObjectID, PipelineId, ProjectId

IGNORE = "ignore"
"""The word for `results.skipped` that gives skipped tests no verdict."""


@dataclass(frozen=True, slots=True)
class Verdicts:
    """The verdict of each outcome, by the config; skipped tests under `ignore` never get here."""

    skipped: str
    flaky: str
    _words: dict[Outcome, tuple[str, str]] = field(init=False, repr=False, compare=False)
    """Of each outcome, without and with flakiness."""

    def __post_init__(self) -> None:
        """Write down all of them: each test is asked about twice."""
        words: dict[Outcome, tuple[str, str]] = {
            Outcome.ERRORED: (Verdict.ERROR, Verdict.ERROR),
            Outcome.FAILED: (Verdict.FAIL, Verdict.FAIL),
            Outcome.SKIPPED: (self.skipped, self.skipped),
            Outcome.PASSED: (Verdict.PASS, self.flaky),
        }
        object.__setattr__(self, "_words", words)

    def of(self, outcome: Outcome, *, flaky: bool) -> str:
        """Tell the verdict of one test."""
        return self._words[outcome][flaky]


def badness(verdict: str) -> int:
    """Rank verdicts, worst first: Error, Fail, Blocked, Inconclusive, a workspace's own words, Pass."""
    return _RANKS.get(verdict, len(Verdict) - 1)


_RANKS = {verdict.value: rank for rank, verdict in enumerate(Verdict)} | {Verdict.PASS.value: len(Verdict)}


@record
class Element:
    """One test case element of a newest attempt, as a candidate for one test case's result."""

    test_id: int
    job_id: JobId
    finished_at: datetime
    """When its job finished."""
    outcome: Outcome
    flaky: bool
    duration_s: float
    was: str
    """What it was before it was waiting: just `read`, `held`, `ignored`, or sent for another test case (`remapped`)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the ledger knows of one revision of one result."""

    entry_id: int
    revision: int
    verdict: str
    state: str
    """`intended`, `done` or `refused`."""
    tests: frozenset[int]
    """The tests it was made of; empty for one that was found in Rally and not made from this ledger."""
    outdated: bool = False
    """Some of these are of an attempt that was run again since, and all newest attempts are read."""
    adopted: bool = False
    """It was found in Rally: made by another ledger, or by one that is lost."""


@record
class Group:
    """All that decides about one (pipeline, test case)."""

    project_id: ProjectId
    pipeline_id: PipelineId
    iid: int
    formatted_id: FormattedID
    test_case: ObjectID
    elements: tuple[Element, ...]
    entries: tuple[Entry, ...]
    """By revision, oldest first."""


@record
class Add:
    """Create this result; Notes are written when it is sent."""

    key: Key
    iid: int
    test_case: ObjectID
    verdict: str
    date: datetime
    duration_s: float
    tests: tuple[int, ...]
    """Contributing tests, worst first: the first one decided the verdict."""

    @property
    def lane(self) -> int:
        """Its test case: Rally changes that one too when a result is created."""
        return self.test_case

    @property
    def rank(self) -> tuple[datetime, int]:
        """Older results first."""
        return self.date, self.key.pipeline_id

    @property
    def title(self) -> str:
        """Its key."""
        return str(self.key)


@dataclass(frozen=True, slots=True)
class Absorb:
    """Count these tests, worst first, to a result that is there already; nothing is sent."""

    entry_id: int
    tests: tuple[int, ...]
    decides: bool
    """The first test is the one that gave the verdict: the result was found in Rally and has no tests of ours yet."""


Action = Add | Absorb


def missing(groups: Iterable[Group], verdicts: Verdicts) -> Iterator[Action]:
    """Compare what Rally should have with what we last knew it to have.

    ==================  ================================  =====================================================
    newest entry        tests that are not in any entry   action
    ==================  ================================  =====================================================
    none                any                               add revision 1
    intended            any                               none: only `settle` may say what became of it
    done, refused       none                              none, unless it is outdated
    done, refused       any or none, it is outdated       add the next revision of what is left
    done, refused       some from a job read since        add the next revision: a job was retried or played
    done, adopted       the same, verdict is as wanted    absorb: that job may have been part of it
    done                some that were held, verdict      add the next revision: they were mapped since
                        changes
    done, refused       others                            absorb: config edits and re-mapping never re-send
    done, no evidence   any, verdict is as wanted         absorb: it was found in Rally, made by another ledger
    done, no evidence   any, verdict differs              add the next revision
    ==================  ================================  =====================================================
    """
    for group in groups:
        action = _decide(group, verdicts)
        if action is not None:
            yield action


def _decide(group: Group, verdicts: Verdicts) -> Action | None:
    if not group.entries:
        return _add(group, verdicts)
    newest = group.entries[-1]
    evidence = frozenset[int]().union(*(entry.tests for entry in group.entries))
    newcomers = [element for element in group.elements if element.test_id not in evidence]
    if newest.state == "intended" or not (newcomers or newest.outdated):
        return None
    found = newest.state == "done" and not newest.tests
    changes = newest.state == "done" and _worst(group.elements, verdicts) != newest.verdict
    fresh = any(element.was == "read" for element in newcomers) and (changes or not newest.adopted)
    mapped = any(element.was == "held" for element in newcomers) and changes
    if newest.outdated or (found and changes) or (not found and (fresh or mapped)):
        return _add(group, verdicts)
    absorbed = group.elements if found else newcomers
    tests = tuple(test.test_id for test in _worst_first(absorbed, verdicts))
    return Absorb(newest.entry_id, tests, decides=found)


def _add(group: Group, verdicts: Verdicts) -> Add:
    revision = group.entries[-1].revision + 1 if group.entries else 1
    tests = _worst_first(group.elements, verdicts)
    return Add(
        key=Key(group.project_id, group.pipeline_id, group.formatted_id, revision),
        iid=group.iid,
        test_case=group.test_case,
        verdict=verdicts.of(tests[0].outcome, flaky=tests[0].flaky),
        date=max([test.finished_at for test in tests]),
        duration_s=round(sum([test.duration_s for test in tests]), 3),
        tests=tuple([test.test_id for test in tests]),
    )


def _worst(elements: Iterable[Element], verdicts: Verdicts) -> str:
    words = (verdicts.of(element.outcome, flaky=element.flaky) for element in elements)
    return min(words, key=badness)


def _worst_first(elements: Sequence[Element], verdicts: Verdicts) -> Sequence[Element]:
    def rank(element: Element) -> tuple[int, int]:
        return badness(verdicts.of(element.outcome, flaky=element.flaky)), element.test_id

    return sorted(elements, key=rank) if len(elements) > 1 else elements
