"""The sprint that two of the demo's projects share: what people scheduled in it, and what is in its test sets."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from reconciler.sandbox.demo_facts import Result
    from reconciler.sandbox.messages import LogEntry
    from reconciler.sandbox.rally import Store, Thing

SPRINT = "Sprint 42"
PROJECTS = ("Web Shop", "Payments")
_SCHEDULED = [
    ("Web Shop", "story", "Prices in the shopper's own currency", "TC1063 TC1064 TC1023"),
    ("Web Shop", "story", "A guest can order", "TC1061 TC1021 TC1022 TC1047"),
    ("Web Shop", "story", "A shop for firmware images", "TC1095"),
    ("Web Shop", "defect", "Coupons in upper case are refused", "TC1017"),
    ("Payments", "story", "Refunds without a clerk", "TC1042 TC1043 TC1044"),
    ("Payments", "defect", "Webhooks get lost", "TC1048 TC1049"),
]
"""TC1095 is a test case of Firmware, which has no such sprint; no pipeline runs TC1044 and TC1064."""
STRAY = "TC1047"
"""A test case of Payments, of a story of Web Shop."""
ADDED = ("TC1031", "TC1032", "TC1038")
"""The test cases of the story that is added while the sprint runs."""


@dataclass(frozen=True, slots=True)
class SprintSet:
    """The test set of a project's iteration, as Rally stores it, and who belongs in it."""

    project: str
    name: str
    object_id: int
    members: frozenset[str]
    wanted: frozenset[str]
    """The project's test cases of what is scheduled in the sprint, in whichever project."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What Rally had at one moment of the story."""

    requests: int
    """How many it had answered."""
    results: frozenset[int]
    """ObjectIDs."""
    sets: tuple[SprintSet, ...]


def plan_sprint(store: Store, today: date) -> None:
    """Let the sprint run in two projects since a week ago, and schedule stories and defects in it."""
    begin, end = today - timedelta(days=7), today + timedelta(days=6)
    for name in PROJECTS:
        store.add_iteration(_project(store, name), SPRINT, begin, end)
    for project, kind, name, cases in _SCHEDULED:
        _schedule(store, project, kind, name, cases.split())


def add_story(store: Store) -> Thing:
    """Do as a person does who adds a story to the running sprint."""
    return _schedule(store, "Web Shop", "story", "The stock service is watched", ADDED)


def _schedule(store: Store, project: str, kind: str, name: str, cases: Sequence[str]) -> Thing:
    place = _project(store, project)
    [iteration] = store.find("Iteration", Project=place.oid)
    add = store.add_story if kind == "story" else store.add_defect
    item = add(place, name, iteration)
    for formatted_id in cases:
        [case] = store.find("TestCase", FormattedID=formatted_id)
        store.change(case, WorkProduct=item.oid)
    return item


def _project(store: Store, name: str) -> Thing:
    [project] = store.find("Project", Name=name)
    return project


def sets(store: Store) -> list[SprintSet]:
    """List the test sets that Rally has in the sprint's iterations, oldest first."""
    wanted = _wanted(store)
    names = {project.oid: project.name for project in store.find("Project")}
    found = [
        SprintSet(
            project=names[project],
            name=str(row["Name"]),
            object_id=cast("int", row["ObjectID"]),
            members=frozenset(cast("list[str]", row["members"])),
            wanted=wanted.get(project, frozenset()),
        )
        for iteration in store.find("Iteration", Name=SPRINT)
        for row in store.test_sets(iteration)
        if isinstance(project := iteration.fields["Project"], int)
    ]
    return sorted(found, key=lambda one: one.object_id)


def _wanted(store: Store) -> dict[int, frozenset[str]]:
    """Tell by project which test cases are of a story or defect of the sprint."""
    sprint = {iteration.oid for iteration in store.find("Iteration", Name=SPRINT)}
    found: dict[int, set[str]] = {}
    for case in store.find("TestCase"):
        item = store.get(case.fields["WorkProduct"])
        if item is not None and item.fields["Iteration"] in sprint:
            found.setdefault(cast("int", case.fields["Project"]), set()).add(case.formatted_id)
    return {project: frozenset(cases) for project, cases in found.items()}


def mark(store: Store, requests: int) -> Mark:
    """Note what Rally has now."""
    return Mark(requests, frozenset(thing.oid for thing in store.find("TestCaseResult")), tuple(sets(store)))


def carried(results: Sequence[Result], marks: Sequence[Mark]) -> list[tuple[Result, int | None]]:
    """Give each result with the set that its test case was in, in Rally, after the pass that sent it."""
    told = []
    for result in results:
        first = next((one for one in marks if result.object_id in one.results), marks[-1])
        sets_then = [one.object_id for one in first.sets if result.formatted_id in one.members]
        told.append((result, sets_then[0] if sets_then else None))
    return told


def coverage(one: SprintSet, results: Sequence[Result]) -> float:
    """Tell in per cent how many members have a result that carries the set."""
    run = {result.formatted_id for result in results if result.test_set == one.object_id}
    return round(100 * len(run & one.members) / len(one.members), 1) if one.members else 0.0


def adds(entries: Sequence[LogEntry]) -> int:
    """Count the requests that put test cases into a set."""
    return sum(entry.route.lower().endswith("/testset/{n}/testcases/add") for entry in entries)


def row_of(sprints: Sequence[Mapping[str, object]], one: SprintSet) -> Mapping[str, object]:
    """Find what `status` tells of a set; nothing where it does not know it."""
    return next((row for row in sprints if row["object_id"] == one.object_id), {})
