"""Which sprint test sets and members are missing: pure comparisons of what Rally schedules with what it has."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from reconciler.model import FormattedID, Iteration, ObjectID, TestSet

ROOT_FOLDER = "Automated sprints"
"""In each project; the folders of its sprints are in it."""
LONGEST_LOOKED_AT = 1_000
_LAST_NUMBER = re.compile(r"([0-9]+)[^0-9]*$")


# --- names -----------------------------------------------------------------------------------------------------------


def number_of(name: str, pattern: str) -> str:
    """Find {N}: by the config's pattern with its group N, else the last number in the iteration's name; "" if none."""
    name = name[:LONGEST_LOOKED_AT]
    if pattern:
        match = re.search(pattern, name)
        return (match["N"] or "").strip() if match else ""
    last = _LAST_NUMBER.search(name)
    return last[1] if last else ""


def set_name(template: str, pattern: str, iteration: Iteration, limit: int) -> str:
    """Name an iteration's test set; one without a number is called by its name. `limit`: in UTF-16 units."""
    named = {
        "N": number_of(iteration.name, pattern) or iteration.name,
        "iteration": iteration.name,
        "project": iteration.project_name,
    }
    return _short(template.format(**named), limit)


def folder_name(pattern: str, iteration: Iteration, limit: int) -> str:
    """Name the folder of an iteration's test cases."""
    number = number_of(iteration.name, pattern)
    return _short(f"Sprint-{number}" if number else iteration.name, limit)


def _short(name: str, limit: int) -> str:
    """Cut a name to Rally's limit, and make it one that stays as it is: Rally strips blanks (as names are shown)."""
    units = " ".join(name.split()).encode("utf-16-le")[: 2 * limit]
    return units.decode("utf-16-le", "ignore").rstrip()


# --- which set is the one --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger knows of an iteration's test set."""

    state: str
    """`intended`, `done`, `refused` or `gone` (a person deleted it, or scheduled it elsewhere)."""
    object_id: ObjectID | None
    old_enough: bool
    """Of an intent: whether it can no longer be alive on the wire."""
    name: str = ""
    """What it was called when it was begun or adopted; the sprint may have been renamed since."""


@dataclass(frozen=True, slots=True)
class Create:
    """Make the set."""


@dataclass(frozen=True, slots=True)
class Adopt:
    """Take this set as the iteration's."""

    test_set: TestSet


@dataclass(frozen=True, slots=True)
class Withdraw:
    """The set that was begun is not there, and never will be: make it."""


@dataclass(frozen=True, slots=True)
class Forget:
    """The set is no longer there: a person's decision, which is not fought."""


Step = Create | Adopt | Withdraw | Forget | None


def decide(iteration: Iteration, name: str, known: Known | None, found: Iterable[TestSet], *, current: bool) -> Step:
    """Compare an iteration's one set with the sets that Rally has in it.

    =========  ===============================  =======================================
    known      Rally has                        step
    =========  ===============================  =======================================
    nothing    one or more of the name          adopt the oldest
    nothing    none, the sprint is current      create
    nothing    none, it is past or future       none: what is over gets no set
    intended   one or more of the name, or of   adopt the oldest
               the one it was begun with
    intended   none, the intent is old          withdraw, then as for nothing
    intended   none, it may still come          none
    done       it, and an older of the name     adopt that one: another ledger was first
    done       it                               none, whatever it is called by now
    done       not it, but one of the name      adopt the oldest
    done       none                             forget
    refused,   one or more of the name          adopt the oldest
    gone
    refused,   none                             none
    gone
    =========  ===============================  =======================================
    """
    candidates = alike(iteration, name, known, found)
    oldest = candidates[0] if candidates else None
    if oldest is not None:
        return None if known and known.state == "done" and known.object_id == oldest.object_id else Adopt(oldest)
    if known is None:
        return Create() if current else None
    if known.state == "intended":
        return Withdraw() if known.old_enough else None
    return Forget() if known.state == "done" else None


def alike(iteration: Iteration, name: str, known: Known | None, found: Iterable[TestSet]) -> list[TestSet]:
    """List the sets that may be the iteration's: of its project and of its name, or the one it has; oldest first.

    Of one that was begun, only the name is known that it was sent with.
    """
    ours = known.object_id if known else None
    names = {name, known.name} if known and known.state == "intended" else {name}
    here = [one for one in found if one.iteration == iteration.object_id and one.project == iteration.project_id]
    fitting = [one for one in here if one.name in names or one.object_id == ours]
    return sorted(fitting, key=lambda one: (one.created_at, one.object_id))


# --- which test case is in which set ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A test case of a story or defect that is scheduled in an iteration."""

    iteration: ObjectID
    test_case: ObjectID
    formatted_id: FormattedID
    project: ObjectID
    """The test case's own."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A test case and the iteration whose set it belongs to."""

    iteration: ObjectID
    test_case: ObjectID
    formatted_id: FormattedID


@dataclass(frozen=True, slots=True)
class Unplaced:
    """A test case that no set can take."""

    iteration: ObjectID
    test_case: ObjectID
    formatted_id: FormattedID
    reason: str


def place(scheduled: Iterable[Scheduled], iterations: Sequence[Iteration]) -> tuple[list[Placed], list[Unplaced]]:
    """Find each test case's set: one of its own project, for Rally takes no result in a set of another one.

    The same sprint is one iteration per project, alike in name and dates; where the test case's project has none such,
    it cannot be placed. Of several alike in one project, it is the oldest.
    """
    by_id = {iteration.object_id: iteration for iteration in iterations}
    youngest_first = sorted(iterations, key=lambda one: one.object_id, reverse=True)
    twins = {(one.project_id, one.name, one.starts_at, one.ends_at): one.object_id for one in youngest_first}
    placed: dict[tuple[ObjectID, ObjectID], Placed] = {}
    unplaced: dict[tuple[ObjectID, ObjectID], Unplaced] = {}
    for one in scheduled:
        home = by_id[one.iteration]
        where = twins.get((one.project, home.name, home.starts_at, home.ends_at))
        if one.project == home.project_id:
            where = home.object_id
        if where is not None:
            placed[where, one.test_case] = Placed(where, one.test_case, one.formatted_id)
            continue
        reason = f"its project has no iteration {home.name!r} with the dates of that of {home.project_name}"
        unplaced[home.object_id, one.test_case] = Unplaced(home.object_id, one.test_case, one.formatted_id, reason)
    return list(placed.values()), [one for key, one in unplaced.items() if key not in placed]


# --- which set a result carries --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Membership:
    """A test case's place in the set of one iteration."""

    iteration: ObjectID
    starts_at: datetime
    ends_at: datetime
    test_set: ObjectID | None
    """None: the set is not there (yet)."""
    is_sure: bool
    """Set and membership are confirmed."""
    is_hopeless: bool
    """Rally said No to one of them, or a person took the set away."""


@dataclass(frozen=True, slots=True)
class Home:
    """The set that a result carries."""

    test_set: ObjectID


@dataclass(frozen=True, slots=True)
class Wait:
    """The result belongs in a set that is not confirmed yet, and nothing is edited later: it waits."""

    iteration: ObjectID | None = field(default=None, compare=False)
    """Whose set that is."""


def home_of(date: datetime, memberships: Iterable[Membership]) -> Home | Wait | None:
    """Choose the set of a result of this date: of sprints that overlap, the one that began last."""
    second = date.replace(microsecond=0)  # a sprint ends with a whole second: 23:59:59
    there = [one for one in memberships if one.starts_at <= second <= one.ends_at and not one.is_hopeless]
    if not there:
        return None
    best = max(there, key=lambda one: (one.starts_at, one.iteration))
    return Home(best.test_set) if best.is_sure and best.test_set is not None else Wait(best.iteration)


def in_halves(cases: Sequence[ObjectID]) -> list[Sequence[ObjectID]]:
    """Split what Rally refuses as a whole, to find out which of it is meant."""
    middle = len(cases) // 2
    return [cases[:middle], cases[middle:]]
