"""What the adapter to Rally writes for sprints, and how it judges the answers."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import pytest

from reconciler.errors import BatchRefused, NoAnswer, NotDone, ReconcilerError, Unauthorized
from reconciler.model import Move, NewTestFolder, NewTestSet, ObjectID, Rejected
from reconciler.sandbox.faults import Action, Answer, LateLanding, page, too_many
from reconciler.sandbox.messages import Response
from tests.contract.sprint_offices import FRIDAY, MONDAY, ODD
from tests.contract.unhurried import Held, eventually
from tests.rally_world import SILENCE, World, bodies_sent

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.rally import RallyAdapter
    from reconciler.sandbox.rally import Thing

Way = Literal["set", "members", "folder", "move", "moves"]
ALONE: tuple[Way, ...] = ("set", "members", "folder", "move")
WAYS: tuple[Way, ...] = (*ALONE, "moves")
PATHS = {
    "set": "testset/create",
    "members": "testset/{n}/TestCases/add",
    "folder": "testfolder/create",
    "move": "testcase/{n}",
    "moves": "batch",
}


@dataclass(frozen=True, slots=True)
class Sprint:
    """A sprint of the root project with a set and a folder, and ways to write."""

    world: World
    rally: RallyAdapter
    iteration: Thing
    test_set: Thing
    folder: Thing

    def write(self, way: Way) -> object:
        """Write something in one of the five ways."""
        root, case = ObjectID(self.world.root.oid), ObjectID(self.world.cases[0].oid)
        move = Move(case, ObjectID(self.folder.oid))
        match way:
            case "set":
                return self.rally.add_test_set(NewTestSet(ODD, ObjectID(self.iteration.oid), root))
            case "members":
                return self.rally.add_members(ObjectID(self.test_set.oid), [case])
            case "folder":
                return self.rally.add_folder(NewTestFolder(ODD, root, ObjectID(self.folder.oid)))
            case "move":
                return self.rally.move_test_case(move)
            case "moves":
                return self.rally.move_test_cases([move])

    def is_done(self, way: Way) -> bool:
        """Tell whether it was."""
        store = self.world.store
        match way:
            case "set":
                return bool(store.find("TestSet", Name=ODD))
            case "members":
                return store.members(self.test_set) == ["TC1"]
            case "folder":
                return bool(store.find("TestFolder", Name=ODD))
            case "move" | "moves":
                return bool(store.find("TestCase", TestFolder=self.folder.oid))


@pytest.fixture
def sprint(world: World, rally: RallyAdapter) -> Sprint:
    """Make the sprint."""
    iteration = world.store.add_iteration(world.root, "Sprint 42", MONDAY, FRIDAY)
    test_set = world.store.add_test_set(world.root, "Sprint-42", iteration)
    folder = world.store.add_test_folder(world.root, "Automated sprints")
    world.server.log.clear()
    return Sprint(world, rally, iteration, test_set, folder)


# --- what is written -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_each_write_is_one_request_in_the_workspace(sprint: Sprint, way: Way) -> None:
    """Creates say the project too, and a single write's answer is no longer than it need be."""
    sprint.write(way)
    assert sprint.is_done(way)
    (entry,) = sprint.world.server.log
    assert entry.method == "POST"
    assert entry.route == f"/slm/webservice/v2.0/{PATHS[way]}"
    wanted = {"workspace": [sprint.world.workspace.ref]}
    if way != "moves":
        wanted["fetch"] = ["ObjectID"]
    if way in {"set", "folder"}:
        wanted["project"] = [sprint.world.root.ref]
    assert entry.query == wanted
    assert entry.bytes_out < 700 or way == "moves"


def test_payloads_name_everything_by_ref(sprint: Sprint) -> None:
    """Names are as they are: JSON knows no dangerous ones."""
    world = sprint.world
    bodies = bodies_sent(world, "/")
    for way in WAYS:
        sprint.write(way)
    where = {"Project": world.root.ref, "Workspace": world.workspace.ref}
    filed = {"TestFolder": sprint.folder.ref}
    assert [json.loads(body) for body in bodies] == [
        {"TestSet": {"Name": ODD, "Iteration": sprint.iteration.ref, **where}},
        {"CollectionItems": [{"_ref": world.cases[0].ref}]},
        {"TestFolder": {"Name": ODD, "Parent": sprint.folder.ref, **where}},
        {"TestCase": filed},
        {"Batch": [{"Entry": {"Path": world.cases[0].ref, "Method": "POST", "Body": {"testcase": filed}}}]},
    ]


@pytest.mark.parametrize("way", ["set", "folder"])
def test_the_workspace_stands_only_where_the_type_has_it(
    world: World, connect: Callable[..., RallyAdapter], sprint: Sprint, way: Way
) -> None:
    """As the workspace's own schema says; in the URL it stands in any case."""
    attributes = world.store.schema.types["TestSet" if way == "set" else "TestFolder"].attributes
    attributes["Workspace"] = replace(attributes["Workspace"], read_only=True)
    bodies = bodies_sent(world, "/")
    replace(sprint, rally=connect()).write(way)
    assert sprint.is_done(way)
    assert b"Workspace" not in bodies[0]


def test_a_folder_at_the_top_has_no_parent(sprint: Sprint) -> None:
    """Null would do, but nobody knows."""
    bodies = bodies_sent(sprint.world, "/testfolder/")
    sprint.rally.add_folder(NewTestFolder("Top", ObjectID(sprint.world.team.oid), None))
    assert b"Parent" not in bodies[0]
    assert list(sprint.world.store.folders(sprint.world.team)) == ["Top"]


@pytest.mark.parametrize("style", ["flat", "wrapped"])
def test_moves_are_answered_by_position(sprint: Sprint, style: Literal["flat", "wrapped"]) -> None:
    """In either form of a batch's answers."""
    world = sprint.world
    world.app.behaviour.batch_style = style
    cases = [world.store.add_test_case(world.root, f"case {number}") for number in range(3)]
    world.app.mishaps.refuse_entry(1, "Validation error: TestCase is cursed")
    moves = [Move(ObjectID(case.oid), ObjectID(sprint.folder.oid)) for case in cases]
    answers = sprint.rally.move_test_cases(moves)
    assert answers == [cases[0].oid, Rejected("Validation error: TestCase is cursed"), cases[2].oid]
    assert world.store.folders(world.root) == {
        "Automated sprints": {"test_cases": [cases[0].formatted_id, cases[2].formatted_id], "folders": {}}
    }


# --- how answers are judged ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("action", SILENCE)
def test_silence_is_not_an_answer(sprint: Sprint, action: Action, way: Way) -> None:
    """It may have been done; it is never sent a second time."""
    fault = sprint.world.fail(action, times=None, method="POST")
    with pytest.raises(NoAnswer):
        sprint.write(way)
    assert fault.hits == 1


@pytest.mark.parametrize("way", WAYS)
def test_what_lands_after_we_gave_up_is_there(sprint: Sprint, way: Way) -> None:
    """Whoever asks a while later finds it."""
    held = Held(LateLanding(0.1))
    sprint.world.fail(held, method="POST")
    with pytest.raises(NoAnswer):
        sprint.write(way)
    assert not sprint.is_done(way)
    held.go.set()
    assert eventually(lambda: sprint.is_done(way))


def _says(root: str, **content: object) -> Answer:
    return Answer(Response.json({root: {"Errors": [], "Warnings": [], **content}}))


@pytest.mark.parametrize("way", ["set", "folder", "move"])
@pytest.mark.parametrize(
    "action",
    [
        _says("CreateResult"),
        _says("OperationResult"),
        _says("OperationResult", Object={"Name": "no ref"}),
        _says("CreateResult", Object={"ObjectID": 78}, Errors=["and yet"]),
    ],
)
def test_an_answer_without_an_object_is_silence(sprint: Sprint, action: Action, way: Way) -> None:
    """Neither a yes nor a no, or both."""
    sprint.world.fail(action, method="POST")
    with pytest.raises(NoAnswer):
        sprint.write(way)


@pytest.mark.parametrize("action", [_says("QueryResult"), _says("CreateResult", Object={"ObjectID": 78})])
def test_an_addition_is_answered_by_an_operation_result(sprint: Sprint, action: Action) -> None:
    """Another envelope is no yes; what is in the answer besides does not count."""
    sprint.world.fail(action, method="POST")
    with pytest.raises(NoAnswer):
        sprint.write("members")
    sprint.world.fail(_says("OperationResult", Results=[]), method="POST")
    assert sprint.write("members") is None
    sprint.world.fail(_says("OperationResult", Results=[], Errors=["no good"]), method="POST")
    assert sprint.write("members") == Rejected("no good")


def test_a_change_of_another_object_is_silence(sprint: Sprint) -> None:
    """And so are answers that are not one for each."""
    other: dict[str, object] = {"Object": {"ObjectID": 78}, "Errors": [], "Warnings": []}
    sprint.world.fail(_says("OperationResult", **other), method="POST")
    with pytest.raises(NoAnswer):
        sprint.write("move")
    mine = {"Object": {"_ref": sprint.world.cases[0].ref}, "Errors": [], "Warnings": []}
    wrong_ones: list[list[object]] = [[], [other], [mine, mine], [{}], [None]]
    for wrong in wrong_ones:
        sprint.world.fail(_says("BatchResult", Results=wrong), method="POST")
        with pytest.raises(NoAnswer):
            sprint.write("moves")
    sprint.world.fail(_says("BatchResult", Results=[mine]), method="POST")
    assert sprint.write("moves") == [sprint.world.cases[0].oid]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("action", "error"),
    [
        (too_many(0), NotDone),
        (page(413), NotDone),
        (page(401), Unauthorized),
        (
            Answer(Response.json({"OperationResult": {"Errors": ["Not authorized to perform action: Invalid key"]}})),
            Unauthorized,
        ),
    ],
)
def test_writes_that_are_turned_away_at_the_door(
    sprint: Sprint, action: Action, error: type[ReconcilerError], way: Way
) -> None:
    """They were not done."""
    sprint.world.fail(action, times=None, method="POST")
    with pytest.raises(error):
        sprint.write(way)


@pytest.mark.parametrize("way", ALONE)
def test_a_single_write_that_is_forbidden_or_not_found(sprint: Sprint, way: Way) -> None:
    """403 is the key or a proxy; 404 is no word about the object."""
    for status, error in ((403, Unauthorized), (404, NotDone), (405, NotDone)):
        sprint.world.fail(page(status), method="POST")
        with pytest.raises(error):
            sprint.write(way)
    sprint.world.fail(Answer(Response.json({"OperationResult": {"Errors": ["no good"]}}, 400)), method="POST")
    assert sprint.write(way) == Rejected("no good")
    sprint.world.fail(page(400), method="POST")
    assert sprint.write(way) == Rejected("HTTP 400")


@pytest.mark.parametrize("behaviour", [404, 403, 405, "errors"])
def test_moves_that_are_refused_as_a_whole_did_nothing(sprint: Sprint, behaviour: int | Literal["errors"]) -> None:
    """They are to be sent one by one."""
    sprint.world.app.behaviour.batch = behaviour
    with pytest.raises(BatchRefused):
        sprint.write("moves")
    assert not sprint.is_done("moves")
    sprint.write("move")
    assert sprint.is_done("move")


@pytest.mark.parametrize("way", ["members", "folder", "move", "moves"])
def test_a_conflict_of_two_writes_is_a_no_that_may_be_sent_again(sprint: Sprint, way: Way) -> None:
    """Nothing is wrong with either."""
    sprint.world.app.mishaps.conflict()
    answer = sprint.write(way)
    [first] = answer if isinstance(answer, list) else [answer]
    assert isinstance(first, Rejected)
    assert first.conflict
    assert not sprint.is_done(way)
    sprint.write(way)
    assert sprint.is_done(way)


def test_two_additions_to_one_set_at_once_conflict(sprint: Sprint) -> None:
    """The second one is told so, and does nothing: one writer for each set."""
    world = sprint.world
    other = [ObjectID(world.cases[1].oid)]
    world.server.time_model.request_s = 1.0
    first = threading.Thread(target=sprint.write, args=("members",))
    first.start()
    while not sprint.is_done("members"):
        time.sleep(0.01)
    answer = sprint.rally.add_members(ObjectID(sprint.test_set.oid), other)
    first.join()
    world.server.time_model.request_s = 0.0
    assert isinstance(answer, Rejected)
    assert answer.conflict
    assert world.store.members(sprint.test_set) == ["TC1"]
    assert sprint.rally.add_members(ObjectID(sprint.test_set.oid), other) is None


def test_adding_twice_may_be_a_no(sprint: Sprint) -> None:
    """Nobody knows; then nothing of it was added, and one has to look."""
    sprint.world.app.behaviour.adds_again = False
    assert sprint.write("members") is None
    both = [ObjectID(case.oid) for case in sprint.world.cases[:2]]
    assert isinstance(sprint.rally.add_members(ObjectID(sprint.test_set.oid), both), Rejected)
    assert sprint.rally.members_of(ObjectID(sprint.test_set.oid)) == {both[0]}


def test_test_cases_of_other_projects_may_be_no_members(sprint: Sprint) -> None:
    """Nobody knows that either."""
    sprint.world.app.behaviour.foreign_members = False
    answer = sprint.rally.add_members(ObjectID(sprint.test_set.oid), [ObjectID(sprint.world.cases[1].oid)])
    assert isinstance(answer, Rejected)
    assert "different project" in answer.reason
    assert sprint.write("members") is None


def test_a_viewer_of_a_project_makes_no_sets_there(sprint: Sprint) -> None:
    """KB 47770; of other projects, that says nothing."""
    world = sprint.world
    user = world.store.keys["_s3cretKey"].user
    world.store.forbid(user, world.root)
    for way in ("set", "folder"):
        answer = sprint.write(way)
        assert isinstance(answer, Rejected)
        assert answer.reason.startswith("Not authorized to create: Test")
    team = ObjectID(world.team.oid)
    assert not isinstance(sprint.rally.add_folder(NewTestFolder("Top", team, None)), Rejected)
