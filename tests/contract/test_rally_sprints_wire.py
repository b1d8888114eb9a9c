"""What the adapter to Rally asks about sprints, and which answers it believes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.errors import Misconfigured, NotThere, ServiceDown
from reconciler.model import NewTestFolder, NewTestSet, ObjectID, Rejected, WorkItem
from reconciler.sandbox.faults import Action, Answer, Reset, Truncate, page, too_many, unavailable
from reconciler.sandbox.messages import Response
from tests.contract.sprint_offices import FRIDAY, MONDAY, ODD, item
from tests.rally_world import IMPATIENT, World

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.rally import RallyAdapter
    from reconciler.sandbox.rally import Thing

ONE = ObjectID(52_560_000_001)


def only(world: World, path: str) -> dict[str, str]:
    """Give the parameters of the one request that went there."""
    (entry,) = world.server.log.entries(path=path)
    return {name: values[0] for name, values in entry.query.items()}


def scheduled(world: World, name: str = "Sprint 42", stories: int = 1) -> tuple[Thing, list[Thing]]:
    """Make an iteration of the root project with stories."""
    sprint = world.store.add_iteration(world.root, name, MONDAY, FRIDAY)
    return sprint, [world.store.add_story(world.root, name, sprint) for _ in range(stories)]


def rows(*found: object, total: int | None = None) -> Answer:
    """Answer a query."""
    count = len(found) if total is None else total
    result = {"Errors": [], "Warnings": [], "TotalResultCount": count, "StartIndex": 1, "PageSize": 2000}
    return Answer(Response.json({"QueryResult": {**result, "Results": list(found)}}))


# --- what is asked ---------------------------------------------------------------------------------------------------


def test_iterations_are_asked_for_by_two_dates(world: World, rally: RallyAdapter) -> None:
    """AND takes exactly two; the root project, and those below it."""
    world.server.log.clear()
    rally.iterations(MONDAY, FRIDAY)
    assert only(world, "/iteration$") == {
        "query": '((StartDate <= "2026-12-04T23:59:59.000Z") AND (EndDate >= "2026-11-23T00:00:00.000Z"))',
        "fetch": "ObjectID,Name,StartDate,EndDate,Project",
        "start": "1",
        "pagesize": "2000",
        "order": "ObjectID",
        "workspace": world.workspace.ref,
        "project": world.root.ref,
        "projectScopeUp": "false",
        "projectScopeDown": "true",
    }


def test_days_begin_and_end_in_the_workspaces_time_zone(world: World, connect: Callable[..., RallyAdapter]) -> None:
    """A sprint of days is there from midnight to midnight over there, not in UTC."""
    mountains = world.store.add_workspace("Denver", timezone="America/Denver")
    shop = world.store.add_project(mountains, "Web Shop")
    world.store.add_iteration(shop, "Sprint 42", date(2026, 11, 23), date(2026, 12, 4))
    rally = connect("Denver")
    (found,) = rally.iterations(MONDAY, FRIDAY)
    assert found.starts_at == datetime(2026, 11, 23, 7, tzinfo=UTC)
    assert found.ends_at == datetime(2026, 12, 5, 6, 59, 59, tzinfo=UTC)
    assert rally.iterations(MONDAY, MONDAY + timedelta(hours=7) - timedelta(milliseconds=1)) == []


@pytest.mark.parametrize(
    "project",
    [
        {"_ref": "https://x/slm/webservice/v2.0/project/7", "_refObjectName": "Team B", "_type": "Project"},
        {"_ref": "https://x/slm/webservice/v2.0/project/7", "ObjectID": 7, "Name": "Team B"},
        {"_ref": "/project/7", "Name": "Team B", "_refObjectName": "as it was called"},
    ],
)
def test_the_name_of_a_project_stands_in_either_place(world: World, rally: RallyAdapter, project: object) -> None:
    """In the ref, or as a fetched attribute of it."""
    times = {"StartDate": "2026-11-23T00:00:00.000Z", "EndDate": "2026-12-04T23:59:59Z"}
    world.fail(rows({"ObjectID": 5, "Name": "Sprint", **times, "Project": project}), "/iteration$")
    [one] = rally.iterations(MONDAY, FRIDAY)
    assert (one.project_id, one.project_name, one.starts_at, one.ends_at) == (7, "Team B", MONDAY, FRIDAY)


def test_names_are_never_part_of_a_query(world: World, rally: RallyAdapter) -> None:
    """They hold quotes, ampersands, brackets and more; everything is asked by ObjectID."""
    world.store.change(world.root, Name=ODD)
    sprint, [story] = scheduled(world, ODD)
    case = world.store.add_test_case(world.root, ODD, work_product=story)
    test_set = world.store.add_test_set(world.root, ODD, sprint, case)
    folder = world.store.add_test_folder(world.root, ODD)
    inner = world.store.add_test_folder(world.root, ODD, folder)
    world.server.log.clear()
    [iteration] = rally.iterations(MONDAY, FRIDAY)
    items = rally.work_items([iteration.object_id])
    [(_, found)] = rally.test_cases_of(items)
    [known] = rally.test_sets([iteration.object_id])
    [below] = rally.folders_in([ObjectID(folder.oid)])
    assert (iteration.name, iteration.project_name, found.name, known.name, below.name) == (ODD,) * 5
    assert rally.members_of(known.object_id) == {case.oid}
    assert (known.object_id, below.object_id) == (test_set.oid, inner.oid)
    assert not [entry for entry in world.server.log if "42" in entry.query.get("query", [""])[0]]


def test_many_iterations_are_asked_for_in_chunks(world: World, rally: RallyAdapter) -> None:
    """OR takes exactly two too; 25 at once, within 2,000 bytes of URL."""
    numbers = [ObjectID(ONE + number) for number in range(60)]
    world.server.log.clear()
    rally.work_items(numbers)
    rally.test_sets([*numbers, *numbers])
    entries = world.server.log.entries()
    assert len(entries) == 3 + 3 + 3
    assert max(len(world.server.url + entry.target) for entry in entries) <= 2_000
    assert {entry.query["project"][0] for entry in entries} == {world.root.ref}
    query = min((entry.query["query"][0] for entry in world.server.log.entries(path="/testset$")), key=len)
    assert query.startswith("(" * 10 + "Iteration.ObjectID = 52560000051) OR (Iteration.ObjectID = 52560000052)) OR (")


def test_test_cases_are_asked_for_by_refs_in_the_whole_workspace(world: World, rally: RallyAdapter) -> None:
    """As many in one request as go into 2,000 bytes; never through `WorkProduct.Iteration`."""
    _, stories = scheduled(world, stories=100)
    cases = [world.store.add_test_case(world.other, "far away", work_product=story) for story in stories]
    world.server.log.clear()
    found = rally.test_cases_of([item(ObjectID(story.oid)) for story in stories])
    assert [(of, case.object_id) for of, case in found] == [
        (story.oid, case.oid) for story, case in zip(stories, cases, strict=True)
    ]
    entries = world.server.log.entries()
    assert len(entries) <= 7
    assert max(len(world.server.url + entry.target) for entry in entries) <= 2_000
    assert {entry.query["project"][0] for entry in entries} == {"null"}
    first = f'(WorkProduct = "/hierarchicalrequirement/{stories[0].oid}")'
    assert [first in entry.query["query"][0] for entry in entries].count(True) == 1


def test_a_query_for_defects_names_defects(world: World, rally: RallyAdapter) -> None:
    """A ref of the wrong type finds nothing."""
    sprint, _ = scheduled(world)
    defect = world.store.add_defect(world.root, "It breaks", sprint)
    case = world.store.add_test_case(world.root, "Does not", work_product=defect)
    [known] = [one for one in rally.work_items([ObjectID(sprint.oid)]) if one.type_path == "defect"]
    assert [(of, one.object_id) for of, one in rally.test_cases_of([known])] == [(defect.oid, case.oid)]
    assert rally.test_cases_of([item(ObjectID(defect.oid))]) == []


def test_the_mapping_field_comes_with_the_test_cases(world: World, connect: Callable[..., RallyAdapter]) -> None:
    """As it does when they are listed."""
    world.store.schema.add_field("TestCase", "c_AutomatedTest")
    _, [story] = scheduled(world)
    world.store.add_test_case(world.root, "Pays", work_product=story, c_AutomatedTest="shop.pays")
    [(_, case)] = connect(field="c_AutomatedTest").test_cases_of([item(ObjectID(story.oid))])
    assert case.field_value == "shop.pays"


def test_folders_of_all_projects_are_asked_for_at_once(world: World, rally: RallyAdapter) -> None:
    """Only those at the top."""
    world.server.log.clear()
    rally.folders_named("Automated sprints", [ObjectID(world.team.oid), ObjectID(world.root.oid)])
    asked = only(world, "/testfolder$")
    assert asked["query"] == '((Name = "Automated sprints") AND (Parent = null))'
    assert asked["project"] == "null"
    with pytest.raises(ValueError, match="cannot be asked for"):
        rally.folders_named('say "hi"', [ONE])


# --- many ------------------------------------------------------------------------------------------------------------


def test_members_come_in_pages_of_two_thousand(world: World, rally: RallyAdapter) -> None:
    """Of a quiet set of 2,000, that is one request, whatever else there is; nothing but ObjectIDs is fetched."""
    sprint, _ = scheduled(world)
    cases = [world.store.add_test_case(world.root, f"case {number}") for number in range(2001)]
    test_set = world.store.add_test_set(world.root, "Sprint-42", sprint, *cases[:2000])
    world.server.log.clear()
    assert rally.members_of(ObjectID(test_set.oid)) == {case.oid for case in cases[:2000]}
    (entry,) = world.server.log.entries()
    assert entry.path.endswith(f"/testset/{test_set.oid}/TestCases")
    assert entry.query["fetch"] == ["ObjectID"]
    world.store.enrol(test_set, cases[2000])
    assert len(rally.members_of(ObjectID(test_set.oid))) == 2001
    assert [one.query["start"] for one in world.server.log] == [["1"], ["1"], ["2001"]]


def test_two_thousand_test_cases_of_one_sprint(world: World, rally: RallyAdapter) -> None:
    """Found whole, and put into a set in one request, should anybody want to."""
    sprint, [story] = scheduled(world)
    for number in range(2000):
        world.store.add_test_case(world.root, f"case {number}", work_product=story)
    [one] = rally.work_items([ObjectID(sprint.oid)])
    assert one.test_cases == 2000
    found = [case.object_id for _, case in rally.test_cases_of([one])]
    made = rally.add_test_set(NewTestSet("Sprint-42", one.iteration, ObjectID(world.root.oid)))
    assert not isinstance(made, Rejected)
    assert rally.add_members(made, found) is None
    assert rally.members_of(made) == set(found)
    assert len(found) == 2000


# --- what is believed ------------------------------------------------------------------------------------------------


def look(rally: RallyAdapter, what: str) -> object:
    """Make one of the look-ups."""
    match what:
        case "iteration":
            return rally.iterations(MONDAY, FRIDAY)
        case "hierarchicalrequirement" | "defect":
            return rally.work_items([ONE])
        case "testcase":
            return rally.test_cases_of([item(ONE)])
        case "testset":
            return rally.test_sets([ONE])
        case "testfolder":
            return rally.folders_in([ONE])
    return rally.members_of(ONE)


LOOKS = ["iteration", "hierarchicalrequirement", "defect", "testcase", "testset", "testfolder", "TestCases"]
FAILED: list[Action] = [
    page(200),
    page(503),
    Reset(),
    rows(total=3),
    rows({"ObjectID": 1}, {"ObjectID": 1}),
    rows({"ObjectID": 1}, total=0),
    Answer(Response.json({"QueryResult": {"Errors": ["Something broke"], "Results": [], "TotalResultCount": 0}})),
    Answer(Response.json({"QueryResult": {"Errors": [], "Warnings": []}})),
    Answer(Response.json({"OperationResult": {"Errors": [], "Warnings": []}})),
    Answer(Response.json({"surprise": 1})),
    Answer(Response.json([])),
    Answer(Response.text("")),
]


@pytest.mark.parametrize("action", FAILED)
def test_a_look_up_that_failed_is_not_an_empty_answer(
    world: World, connect: Callable[..., RallyAdapter], action: Action
) -> None:
    """Else sets would be made twice, and stories taken out."""
    for what in LOOKS:
        rally = connect(limits=replace(IMPATIENT, patience_s=0.0))
        rally.allowed_verdicts()
        fault = world.fail(action, f"/{what}$", times=None)
        with pytest.raises(ServiceDown):
            look(rally, what)
        assert fault.hits >= 1
        world.server.faults.remove(fault)


@pytest.mark.parametrize("what", LOOKS)
def test_look_ups_get_through_passing_trouble(world: World, rally: RallyAdapter, what: str) -> None:
    """Maintenance with 401 included (KB 277242)."""
    for action in (page(502), page(401), unavailable(0), too_many(0), Reset("after"), Truncate(50)):
        world.fail(action, f"/{what}$")
    if what == "TestCases":
        with pytest.raises(NotThere):
            look(rally, what)
    else:
        assert look(rally, what) == []


ITERATION = {"ObjectID": 5, "Name": "Sprint 42", "Project": {"_ref": "/project/7", "_refObjectName": "Team"}}
TIMES = {"StartDate": "2026-11-23T00:00:00.000Z", "EndDate": "2026-12-04T23:59:59.000Z"}
TEST_SET = {"ObjectID": 5, "Name": "Sprint-42", "CreationDate": "2026-11-23T00:00:00.000Z"}
OF_IT = {"Iteration": {"_ref": f"/iteration/{ONE}"}, "Project": {"_ref": "/project/7"}}


@pytest.mark.parametrize(
    ("what", "row"),
    [
        ("iteration", ITERATION),
        ("iteration", {**ITERATION, **TIMES, "StartDate": None}),
        ("iteration", {**ITERATION, **TIMES, "EndDate": "soon"}),
        ("iteration", {**ITERATION, **TIMES, "Name": None}),
        ("iteration", {**ITERATION, **TIMES, "Project": None}),
        ("iteration", {**ITERATION, **TIMES, "Project": {"_ref": "/project/7"}}),
        ("hierarchicalrequirement", {"ObjectID": 5}),
        ("defect", {"ObjectID": 5, "Iteration": None}),
        ("testcase", {"ObjectID": 5, "FormattedID": "TC1"}),
        ("testset", TEST_SET),
        ("testset", {**TEST_SET, **OF_IT, "CreationDate": None}),
        ("testset", {**TEST_SET, **OF_IT, "Project": None}),
        ("testfolder", {"ObjectID": 5, "Name": "Sprint-42", "CreationDate": "2026-11-23T00:00:00.000Z"}),
    ],
)
def test_a_row_without_what_every_such_object_has_is_none(
    world: World, rally: RallyAdapter, what: str, row: dict[str, object]
) -> None:
    """To leave it out would be to say that there is none."""
    world.fail(rows(row), f"/{what}$")
    with pytest.raises(ServiceDown, match="a row without"):
        look(rally, what)


def test_rows_that_were_not_asked_for_are_left_out(world: World, rally: RallyAdapter) -> None:
    """A server that ignores a query does not mislead us."""
    other: dict[str, Any] = {"Iteration": {"_ref": "/iteration/9"}, "Project": {"_ref": "/project/7"}}
    made = {"ObjectID": 5, "CreationDate": "2026-11-23T00:00:00.000Z", "Name": "Automated sprints"}
    world.fail(rows({**TEST_SET, **other}), "/testset$")
    world.fail(rows({"ObjectID": 5, **other}), "/(hierarchicalrequirement|defect)$")
    world.fail(rows({"ObjectID": 5, "WorkProduct": {"_ref": "/hierarchicalrequirement/9"}}), "/testcase$")
    for parent in ({"_ref": "/testfolder/9"}, None):
        world.fail(rows({**made, **other, "Parent": parent}), "/testfolder$")
    assert [look(rally, what) for what in LOOKS[1:-1]] == [[]] * 5
    assert rally.folders_named("Automated sprints", [ONE]) == []


def test_a_story_may_keep_the_number_of_its_test_cases_to_itself(world: World, rally: RallyAdapter) -> None:
    """Then nobody knows; that is not none."""
    row = {"ObjectID": 5, "Iteration": {"_ref": f"/iteration/{ONE}"}, "LastUpdateDate": "2026-11-23T00:00:00.000Z"}
    world.fail(rows({**row, "TestCases": {"_ref": "/HierarchicalRequirement/5/TestCases"}}), "/hierarchicalreq")
    assert rally.work_items([ONE]) == [WorkItem(ObjectID(5), "hierarchicalrequirement", ONE, None, MONDAY)]


GONE: list[Action] = [
    page(404),
    Answer(Response.json({"OperationResult": {"Errors": ["Cannot find object to read"], "Warnings": []}})),
    Answer(Response.json({"QueryResult": {"Errors": ["Could not read: Object not found for Object ID: null"]}})),
]


@pytest.mark.parametrize("action", GONE)
def test_a_set_is_gone_when_a_query_does_not_find_it_either(world: World, rally: RallyAdapter, action: Action) -> None:
    """A proxy says 404 too; wherever in the workspace the set may be by now."""
    sprint, _ = scheduled(world)
    test_set = world.store.add_test_set(world.root, "Sprint-42", sprint, world.cases[0])
    world.store.change(test_set, Project=world.other.oid)
    fault = world.fail(action, "/TestCases$", times=None)
    with pytest.raises((ServiceDown, Misconfigured)):
        rally.members_of(ObjectID(test_set.oid))
    world.store.delete(test_set)
    with pytest.raises(NotThere, match=f"test set {test_set.oid} is no longer there"):
        rally.members_of(ObjectID(test_set.oid))
    assert fault.hits == 2


@pytest.mark.parametrize("action", GONE)
def test_a_no_to_everything_is_not_believed(world: World, rally: RallyAdapter, action: Action) -> None:
    """It is not about this set."""
    world.fail(action, times=None)
    with pytest.raises((ServiceDown, Misconfigured)):
        rally.members_of(ONE)


# --- the schema ------------------------------------------------------------------------------------------------------


def test_a_result_without_a_set_says_nothing_of_one(world: World, rally: RallyAdapter) -> None:
    """Its payload is as it was, and its size too."""
    plain, carrying = world.result(), world.result(test_set=ObjectID(77))
    more = len(b',"TestSet":"/testset/77"')
    assert rally.payload_size(carrying) == rally.payload_size(plain) + more
    assert rally.add_result(plain)
    assert "TestSet" not in world.store.results()[0]


def test_a_workspace_where_results_cannot_carry_a_set(world: World, connect: Callable[..., RallyAdapter]) -> None:
    """It would be dropped with a warning; that is said only of results that carry one, and last."""
    attributes = world.store.schema.types["TestCaseResult"].attributes
    attributes["TestSet"] = replace(attributes["TestSet"], read_only=True)
    rally = connect()
    assert rally.check(world.result()) == ""
    assert rally.check(world.result(test_set=ONE)) == "TestSet is read-only in this workspace"
    assert rally.check(world.result(test_set=ONE, duration_s=-1.0)) == "Duration is not a number"


def test_a_workspace_where_results_have_to_carry_a_set(world: World, connect: Callable[..., RallyAdapter]) -> None:
    """Those in none are refused."""
    attributes = world.store.schema.types["TestCaseResult"].attributes
    attributes["TestSet"] = replace(attributes["TestSet"], required=True)
    rally = connect()
    assert rally.check(world.result(test_set=ONE)) == ""
    assert rally.check(world.result()).startswith("this workspace requires TestSet")


@pytest.mark.parametrize(("sets", "folders", "limit"), [(256, 256, 256), (100, 256, 100), (256, 64, 64), (0, 0, 256)])
def test_names_are_as_long_as_the_schema_lets_them_be(
    world: World, connect: Callable[..., RallyAdapter], sets: int, folders: int, limit: int
) -> None:
    """Of sets and folders, whichever is shorter; the usual 256 where it says nothing."""
    for name, most in (("TestSet", sets), ("TestFolder", folders)):
        attributes = world.store.schema.types[name].attributes
        attributes["Name"] = replace(attributes["Name"], max_length=most)
    assert connect().name_limit() == limit


def test_the_schema_is_not_asked_for_again(world: World, rally: RallyAdapter) -> None:
    """It came whole with the first contact."""
    world.server.log.clear()
    sprint, _ = scheduled(world)
    rally.name_limit()
    rally.add_test_set(NewTestSet("Sprint-42", ObjectID(sprint.oid), ObjectID(world.root.oid)))
    rally.add_folder(NewTestFolder("Automated sprints", ObjectID(world.root.oid), None))
    assert len(world.server.log) == 2
