"""The promises of the port Rally, kept by the adapter against the stand-in Rally."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import pytest

from reconciler.errors import (
    BatchRefused,
    Misconfigured,
    NoAnswer,
    NotDone,
    ReconcilerError,
    ServiceDown,
    Stopped,
    Unauthorized,
)
from reconciler.model import Build, FormattedID, Key, ObjectID, PipelineId, ProjectId, Rejected
from reconciler.sandbox.faults import Action, Answer, Reset, Stall, Truncate, page, too_many, unavailable
from reconciler.sandbox.messages import Response
from reconciler.sandbox.rally import Kind, Thing
from reconciler.sandbox.timing import TimeModel
from reconciler.wire import Limits
from tests.contract.unhurried import IMPATIENT, eventually
from tests.rally_world import HASTY, KEY, SILENCE, World

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.ports import Rally
    from reconciler.rally import RallyAdapter


def test_the_adapter_is_the_port(adapter: RallyAdapter, world: World) -> None:
    """Types say so; and nothing is sent before the first call."""
    port: Rally = adapter
    assert port is adapter
    assert len(world.server.log) == 0


# --- the first contact -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", ["inline", "ref"])
def test_verdicts_are_those_of_the_workspace(
    world: World, adapter: RallyAdapter, values: Literal["inline", "ref"]
) -> None:
    """A list that an administrator changed, whichever way the schema gives it; asked for once."""
    world.app.behaviour.allowed_values = values
    world.store.schema.allow(world.workspace.oid, "TestCaseResult", "Verdict", ("Pass", "Fail", "Not Applicable"))
    assert adapter.allowed_verdicts() == frozenset({"Pass", "Fail", "Not Applicable"})
    sent = len(world.server.log)
    assert sent <= 9
    adapter.allowed_verdicts()
    assert adapter.check(world.result()) == ""
    assert len(world.server.log) == sent


def test_several_threads_make_one_contact(world: World, adapter: RallyAdapter) -> None:
    """The others wait for the first."""
    threads = [threading.Thread(target=adapter.allowed_verdicts) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(world.server.log.entries(path="/User$")) == 1


@pytest.mark.slow
def test_what_pyral_asks_one_after_another_takes_three_rounds(
    world: World, connect: Callable[..., RallyAdapter]
) -> None:
    """Each of its questions is sent once, and those that need no answer of one another at the same time."""
    world.server.time_model = TimeModel(request_s=1)
    connect(limits=replace(HASTY, patience_s=30)).allowed_verdicts()
    entries = world.server.log.entries()
    assert len(entries) == len({(entry.path, str(entry.query)) for entry in entries}) == 8
    asked = {entry.route.removeprefix("/slm/webservice/v2.0/"): entry for entry in entries}
    for rounds in (
        ("User", "Subscription"),
        ("UserProfile/{n}", "subscription/{n}/Workspaces"),
        ("workspace/{n}", "Workspace/{n}/Projects", "Project", "/slm/schema/v2.0/workspace/{n}"),
    ):
        together = [asked.pop(route) for route in rounds]
        assert max(one.started for one in together) < min(one.ended or 0 for one in together)
    assert asked == {}


@pytest.mark.parametrize(
    ("workspace", "project", "text"),
    [
        ("Acmee", "Web Shop", r"Rally: no workspace named 'Acmee' for this key: check rally\.workspace"),
        ("Acme", "Web Shoop", r"Rally: no project named 'Web Shoop' in workspace 'Acme' .*check rally\.project"),
        ("Acme", "Web Shop // Nobody", r"no project named 'Web Shop // Nobody'"),
        ("Acme", "Nobody // Team A", r"no project named 'Nobody // Team A'"),
    ],
)
def test_names_that_rally_does_not_know_are_mistakes_in_the_config(
    connect: Callable[..., RallyAdapter], capfd: pytest.CaptureFixture[str], workspace: str, project: str, text: str
) -> None:
    """Said in one line without the key, and nothing of what pyral prints is seen."""
    with pytest.raises(Misconfigured, match=text) as error:
        connect(workspace, project).allowed_verdicts()
    assert KEY not in str(error.value)
    seen = capfd.readouterr()
    assert seen.out == ""
    assert [line for line in seen.err.splitlines() if "reconciler.wire" not in line] == []  # our own log


def test_one_of_several_projects_of_a_name_is_named_by_its_path(
    world: World, connect: Callable[..., RallyAdapter]
) -> None:
    """Pyral would take any of them."""
    world.store.add_project(world.workspace, "Team A", world.other)
    with pytest.raises(Misconfigured, match=r'several projects are named .*whole path, as "Parent // Team A"'):
        connect(project="Team A").allowed_verdicts()
    adapter = connect(project="Web Shop // Team A")
    assert [case.formatted_id for case in adapter.test_cases()] == ["TC2"]


def test_an_unknown_field_of_test_cases_is_a_mistake_in_the_config(
    world: World, connect: Callable[..., RallyAdapter]
) -> None:
    """A fetch of it would give nothing, silently."""
    with pytest.raises(Misconfigured, match=r"no field 'c_AutomatedTest': check mapping\.rally_field"):
        connect(field="c_AutomatedTest").allowed_verdicts()
    world.store.schema.add_field("TestCase", "c_AutomatedTest")
    world.store.change(world.cases[0], c_AutomatedTest="shop.test_pay")
    found = {case.formatted_id: case.field_value for case in connect(field="c_AutomatedTest").test_cases()}
    assert found == {"TC1": "shop.test_pay", "TC2": ""}


def test_a_wrong_key_is_told_at_once(world: World, connect: Callable[..., RallyAdapter]) -> None:
    """Or it is maintenance: the text says both, and not the key."""
    with pytest.raises(Unauthorized, match=r"Rally: HTTP 401: .*check rally\.api_key.*or Rally is in maint") as error:
        connect(key="_wr0ngKey").allowed_verdicts()
    assert "_wr0ngKey" not in str(error.value)
    assert len(world.server.log) <= 2


@pytest.mark.parametrize(
    "case",
    [
        (page(200, "Sign in"), ServiceDown, "HTML page instead of JSON"),
        (page(503), ServiceDown, r"HTTP 503 \(Service Unavailable\)"),
        (page(404), Misconfigured, r"HTTP 404 for /slm/.*check rally\.url"),
        (page(403), Unauthorized, "HTTP 403"),
        (Reset(), ServiceDown, "cut the connection"),
        (
            Answer(Response.json({"OperationResult": {"Errors": ["Not authorized to perform action: Invalid key"]}})),
            Unauthorized,
            "Invalid key",
        ),
        (Answer(Response.json({"QueryResult": {"Errors": ["Something broke"], "Results": []}})), ServiceDown, "broke"),
    ],
)
@pytest.mark.parametrize("step", ["/User$", "/Projects$", "/Project$", "/schema/", "/UserProfile/"])
def test_what_goes_wrong_at_the_first_contact_is_told_apart(
    world: World, connect: Callable[..., RallyAdapter], step: str, case: tuple[Action, type[ReconcilerError], str]
) -> None:
    """At each of pyral's requests, though pyral swallows it; and the next call tries again."""
    action, error, text = case
    adapter = connect(limits=IMPATIENT if error is ServiceDown else HASTY)
    fault = world.fail(action, step, times=None)
    with pytest.raises(error, match=text):
        adapter.allowed_verdicts()
    world.server.faults.remove(fault)
    assert fault.hits >= 1
    if error is not ServiceDown:
        assert adapter.allowed_verdicts()


def test_passing_trouble_at_the_first_contact_is_lived_through(world: World, adapter: RallyAdapter) -> None:
    """Pyral itself would not try again."""
    for step in ("/User$", "/Subscription$", "/schema/"):
        world.fail(unavailable(0), step, times=2)
    assert adapter.allowed_verdicts()


def test_rally_being_down_is_told_after_patience(world: World, connect: Callable[..., RallyAdapter]) -> None:
    """And again by the next call."""
    adapter = connect(limits=IMPATIENT)
    world.server.stop()
    for _ in range(2):
        with pytest.raises(ServiceDown, match="refuses connections"):
            adapter.results_of([Build("GitLab-1")])
    world.server.start()


def test_the_first_contact_is_interrupted(world: World, connect: Callable[..., RallyAdapter]) -> None:
    """Wherever it stands."""
    stop = threading.Event()
    world.fail(Stall(20), "/schema/")
    threading.Timer(0.2, stop.set).start()
    with pytest.raises(Stopped):
        connect(stop=stop).allowed_verdicts()


def test_cookies_are_not_sent_back(world: World, adapter: RallyAdapter) -> None:
    """The stand-in sends them; with an API key they would be an "Invalid key"."""
    adapter.add_results([world.result()])
    assert all("cookie" not in entry.headers for entry in world.server.log)
    assert {entry.headers["zsessionid"] for entry in world.server.log} == {KEY}


def test_refs_to_another_host_are_followed_at_our_own(world: World, adapter: RallyAdapter) -> None:
    """Pyral follows whatever host a ref names, and would send the API key there."""
    world.app.external_url = "http://rally.invalid"
    assert adapter.allowed_verdicts()
    assert len(list(adapter.test_cases())) == 2


# --- reads -----------------------------------------------------------------------------------------------------------


def test_test_cases_come_from_the_project_and_those_below(world: World, adapter: RallyAdapter) -> None:
    """Not from beside it."""
    first, second = adapter.test_cases()
    assert (first.formatted_id, first.object_id, first.name) == ("TC1", world.cases[0].oid, "Pays")
    assert (second.formatted_id, second.project_id) == ("TC2", world.team.oid)


def test_test_cases_updated_since(world: World, adapter: RallyAdapter) -> None:
    """The bound is inclusive."""
    newest = max(adapter.test_cases(), key=lambda case: case.updated_at).updated_at
    world.store.change(world.cases[1], Name="Returns twice")
    changed = [case.name for case in adapter.test_cases(newest + timedelta(milliseconds=1))]
    assert changed in (["Returns twice"], [])
    assert "Returns twice" in [case.name for case in adapter.test_cases(newest)]
    assert list(adapter.test_cases(datetime(2999, 1, 1, tzinfo=UTC))) == []


def test_many_test_cases_come_in_pages(world: World, adapter: RallyAdapter) -> None:
    """Each of them once; the order on the wire is by ObjectID, for pages are only stable then."""
    for number in range(4100):
        world.store.add_test_case(world.root, f"case {number}")
    found = [case.object_id for case in adapter.test_cases()]
    assert len(set(found)) == len(found) == 4102
    entries = world.server.log.entries(path="/testcase$")
    assert entries[0].query["start"] == ["1"]
    assert sorted(entry.query["start"] for entry in entries) == [["1"], ["2001"], ["4001"]]
    assert {entry.query["order"][0] for entry in entries} == {"ObjectID"}


def test_single_test_cases_are_looked_up_in_chunks(world: World, adapter: RallyAdapter) -> None:
    """What is not in scope is absent; no URL is longer than 2,000 bytes."""
    asked = [FormattedID(f"TC{number}") for number in range(1, 121)]
    found = adapter.test_cases_by_id(asked)
    assert {name: case.name for name, case in found.items()} == {"TC1": "Pays", "TC2": "Returns"}
    assert len(world.server.log.entries(path="/testcase$")) == 5
    assert adapter.test_cases_by_id([]) == {}


def test_answers_that_were_not_asked_for_are_left_out(world: World, adapter: RallyAdapter) -> None:
    """Whether the prefix of a FormattedID takes part in matching is not known."""
    adapter.allowed_verdicts()
    row = {"ObjectID": 5, "FormattedID": "TC9", "Name": "x"}
    result = {"Errors": [], "TotalResultCount": 1, "PageSize": 2000, "StartIndex": 1, "Results": [row]}
    world.fail(Answer(Response.json({"QueryResult": result})), "/testcase$")
    assert adapter.test_cases_by_id([FormattedID("TC1")]) == {}


def test_results_are_found_by_build_and_key(world: World, adapter: RallyAdapter) -> None:
    """Others' results, results of other Builds and of test cases beside the project are not ours."""
    mine, again, foreign = world.result(), world.result(0, 2, verdict="Fail"), world.result(2)
    ids = adapter.add_results([mine, again, foreign])
    world.store.add_result(world.cases[0], "GitLab-1001", "Pass", Notes="by hand")
    world.store.add_result(world.cases[0], "GitLab-1001", "Pass", Notes=f"<div>{mine.key}</div><p>and more</p>")
    world.store.add_result(world.cases[0], "GitLab-2", "Pass", Notes=str(mine.key))
    found = adapter.results_of([Build("GitLab-1001"), Build("GitLab-1"), Build("GitLab-1001")])
    assert {(one.key, one.object_id, one.build, one.verdict) for one in found} == {
        (mine.key, ids[0], "GitLab-1001", "Pass"),
        (again.key, ids[1], "GitLab-1001", "Fail"),
    }


def test_builds_are_asked_for_twenty_five_at_once_within_two_thousand_bytes(
    world: World, adapter: RallyAdapter
) -> None:
    """Long names make the chunks smaller."""
    adapter.results_of([Build(f"GitLab-{number}") for number in range(60)])
    short = len(world.server.log.entries(path="/testcaseresult$"))
    world.server.log.clear()
    adapter.results_of([Build(f"GitLab-{number}-{'x' * 90}") for number in range(60)])
    targets = [f"{world.server.url}{entry.path}?{entry.query}" for entry in world.server.log]
    assert short == 3
    assert 4 <= len(targets) <= 10


def test_many_results_of_a_build_come_in_pages(world: World, adapter: RallyAdapter) -> None:
    """Pages of 200, for each row carries its Notes."""
    for number in range(450):
        key = Key(ProjectId(1), PipelineId(1), FormattedID("TC1"), number)
        world.store.add_result(world.cases[0], "GitLab-1", "Pass", Notes=f"<p>{key}</p>")
    assert len({one.key for one in adapter.results_of([Build("GitLab-1")])}) == 450


@pytest.mark.parametrize("build", ['GitLab-"1"', "GitLab-\\1"])
def test_values_that_cannot_be_quoted_are_never_put_into_a_query(adapter: RallyAdapter, build: str) -> None:
    """That is a mistake of the caller; `check` refuses such results."""
    with pytest.raises(ValueError, match="cannot be asked for"):
        adapter.results_of([Build(build)])


def _page_of(rows: list[object], total: object) -> Answer:
    result = {"Errors": [], "Warnings": [], "TotalResultCount": total, "StartIndex": 1, "PageSize": 200}
    return Answer(Response.json({"QueryResult": {**result, "Results": rows}}))


@pytest.mark.parametrize(
    "action",
    [
        _page_of([], 3),
        _page_of([{"ObjectID": 1}, {"ObjectID": 1}], 2),
        _page_of([{"ObjectID": 1}], 0),
        _page_of([{"ObjectID": 1}], None),
        Answer(Response.json({"QueryResult": {"Errors": ["Something broke"], "Results": [], "TotalResultCount": 0}})),
        Answer(Response.json({"OperationResult": {"Errors": [], "Warnings": []}})),
        Answer(Response.json({"surprise": 1})),
        Answer(Response.json([])),
        Answer(Response.text("gone", 410)),
    ],
)
def test_a_look_up_that_failed_is_not_an_empty_answer(world: World, adapter: RallyAdapter, action: Action) -> None:
    """Short pages, doubles, Errors with status 200, other roots: an empty answer here would create duplicates."""
    adapter.add_results([world.result()])
    world.fail(action, "/testcaseresult$", times=None, method="GET")
    with pytest.raises(ServiceDown):
        adapter.results_of([Build("GitLab-1001")])


def test_a_list_that_changes_while_it_is_read_is_read_anew(world: World, adapter: RallyAdapter) -> None:
    """A row that goes from an earlier page moves another one over the seam."""
    adapter.allowed_verdicts()
    full = [{"ObjectID": number, "FormattedID": f"TC{number}"} for number in range(1, 2001)]
    world.fail(_page_of([*full], 2001), "/testcase$")
    world.fail(_page_of([], 2000), "/testcase$")
    assert [case.formatted_id for case in adapter.test_cases()] == ["TC1", "TC2"]


def test_a_query_that_rally_does_not_understand_is_our_mistake(world: World, adapter: RallyAdapter) -> None:
    """Asking again would not help."""
    adapter.allowed_verdicts()
    text = 'Could not parse: Unknown operator ")"'
    world.fail(Answer(Response.json({"QueryResult": {"Errors": [text]}})), "/testcase$", times=None)
    with pytest.raises(ReconcilerError, match="does not understand our query: Could not parse") as error:
        list(adapter.test_cases())
    assert not isinstance(error.value, ServiceDown)


@pytest.mark.parametrize(
    "action",
    [
        *(page(502), page(200), page(401), unavailable(0), too_many(0), Reset(), Reset("after")),
        *(Truncate(50), Truncate(50, "chunked"), Truncate(50, "close")),
    ],
)
def test_reads_get_through_passing_trouble(world: World, adapter: RallyAdapter, action: Action) -> None:
    """Maintenance with 401 included (KB 277242)."""
    adapter.add_results([world.result()])
    world.fail(action, "/testcaseresult$", times=2, method="GET")
    assert len(adapter.results_of([Build("GitLab-1001")])) == 1


# --- the check -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"verdict": "Passed"}, "the Verdict 'Passed' is not allowed in this workspace (Blocked, Error"),
        ({"build": Build("b" * 257)}, "Build has 257 characters, 256 are allowed"),
        ({"build": Build("")}, "Build is empty"),
        ({"build": Build('a"b')}, "Build has a quote"),
        ({"notes": "n" * 32769}, "Notes has 32769 characters, 32768 are allowed"),
        ({"notes": "n" * 32768}, ""),
        ({"duration_s": float("nan")}, "Duration is not a number"),
        ({"duration_s": float("inf")}, "Duration is not a number"),
        ({"duration_s": -1.0}, "Duration is not a number"),
    ],
)
def test_a_result_is_checked_against_the_schema(
    world: World, adapter: RallyAdapter, changes: dict[str, Any], reason: str
) -> None:
    """What Rally would refuse costs no request."""
    assert adapter.check(world.result(**changes)).startswith(reason)
    assert (adapter.check(world.result(**changes)) == "") == (reason == "")
    assert world.server.log.writes() == []


def test_a_field_that_the_workspace_requires_and_we_do_not_have(world: World, adapter: RallyAdapter) -> None:
    """Then no result of ours can be taken."""
    world.store.schema.add_field("TestCaseResult", "c_Environment", Kind.STRING, required=True)
    assert adapter.check(world.result()) == "this workspace requires c_Environment, which we have nothing for"


# --- creates ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["flat", "wrapped"])
def test_results_are_created_in_one_batch(
    world: World, adapter: RallyAdapter, style: Literal["flat", "wrapped"]
) -> None:
    """Answers are by position, in either form; the workspace is said though the key's owner has another default."""
    world.app.behaviour.batch_style = style
    world.app.mishaps.refuse_entry(1, "Validation error: TestCaseResult.Build is cursed")
    first, second, third = adapter.add_results([world.result(), world.result(1), world.result(0, 2, verdict="Fail")])
    assert second == Rejected("Validation error: TestCaseResult.Build is cursed")
    stored = world.store.results()
    assert [row["ObjectID"] for row in stored] == [first, third]
    assert [(row["FormattedID"], row["Verdict"], row["Duration"]) for row in stored] == [
        ("TC1", "Pass", 1.25),
        ("TC1", "Fail", 1.25),
    ]
    assert stored[0]["Notes"] == world.result().notes
    assert stored[0]["Date"] == "2026-11-23T12:00:00.123Z"
    (write,) = world.server.log.writes()
    assert (write.path, write.query) == (
        "/slm/webservice/v2.0/batch",
        {"workspace": [f"/workspace/{world.workspace.oid}"]},
    )


def test_one_result_is_created_by_a_request_of_its_own(world: World, adapter: RallyAdapter) -> None:
    """With the same answers."""
    made = adapter.add_result(world.result())
    assert [row["ObjectID"] for row in world.store.results()] == [made]
    refused = adapter.add_result(world.result(test_case=ObjectID(4711)))
    assert isinstance(refused, Rejected)
    assert refused.reason.startswith("Could not")
    (first, second) = world.server.log.writes()
    assert first.path == second.path == "/slm/webservice/v2.0/testcaseresult/create"
    assert first.query == {"workspace": [f"/workspace/{world.workspace.oid}"], "fetch": ["ObjectID"]}


@pytest.mark.parametrize("alone", [True, False])
def test_a_conflict_of_two_writes_is_a_no_that_may_be_sent_again(
    world: World,
    adapter: RallyAdapter,
    alone: bool,  # noqa: FBT001 - a table's column
) -> None:
    """Nothing is wrong with the result."""
    world.app.mishaps.conflict(world.cases[0])
    answer = adapter.add_result(world.result()) if alone else adapter.add_results([world.result()])[0]
    assert isinstance(answer, Rejected)
    assert answer.conflict
    assert world.store.results() == []


@pytest.mark.parametrize("behaviour", [404, 403, 405, 400, "errors"])
def test_a_batch_that_is_refused_as_a_whole_did_nothing(
    world: World, adapter: RallyAdapter, behaviour: int | Literal["errors"]
) -> None:
    """The entries are to be sent one by one."""
    world.app.behaviour.batch = behaviour
    with pytest.raises(BatchRefused):
        adapter.add_results([world.result()])
    assert world.store.results() == []
    assert adapter.add_result(world.result())


def test_a_batch_that_is_too_large(world: World, adapter: RallyAdapter) -> None:
    """It says so; and sizes are known beforehand."""
    world.app.behaviour.batch_bytes = 2000
    results = [world.result(notes="ü" * 900), world.result(notes="ü" * 900)]
    with pytest.raises(NotDone) as error:
        adapter.add_results(results)
    assert error.value.too_large
    assert adapter.payload_size(results[0]) > 1800
    world.app.behaviour.batch_bytes = 4_000_000
    world.server.log.clear()
    adapter.add_results(results)
    (write,) = world.server.log.writes()
    assert write.bytes_in <= sum(map(adapter.payload_size, results)) + 13


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize(
    "action",
    SILENCE,
)
def test_silence_is_not_an_answer(
    world: World,
    adapter: RallyAdapter,
    action: Action,
    alone: bool,  # noqa: FBT001 - a table's column
) -> None:
    """It may have been done; it is never sent a second time."""
    adapter.allowed_verdicts()
    fault = world.fail(action, times=None, method="POST")
    with pytest.raises(NoAnswer):
        _ = adapter.add_result(world.result()) if alone else adapter.add_results([world.result()])
    assert fault.hits == 1


def _batch_answer(results: list[object], errors: tuple[str, ...] = ()) -> Answer:
    document = {"BatchResult": {"Errors": list(errors), "Warnings": [], "Results": results}}
    return Answer(Response.json(document), "after")


_YES: dict[str, object] = {"Object": {"_ref": "https://x/testcaseresult/77"}, "Errors": [], "Warnings": []}


@pytest.mark.parametrize(
    "action",
    [
        _batch_answer([_YES]),
        _batch_answer([_YES, _YES, _YES]),
        _batch_answer([_YES, _YES]),
        _batch_answer([_YES, {}]),
        _batch_answer([_YES, None]),
        _batch_answer([_YES, {"Object": {"ObjectID": 78}, "Errors": ["and yet"]}]),
        _batch_answer([_YES], ("one of them broke",)),
        _batch_answer([]),
    ],
    ids=lambda action: str(action.response.body),
)
def test_a_batch_answer_that_does_not_fit_is_silence(world: World, adapter: RallyAdapter, action: Action) -> None:
    """Counts, doubles, and elements that are neither a yes nor a no."""
    adapter.allowed_verdicts()
    world.fail(action, "/batch$")
    with pytest.raises(NoAnswer):
        adapter.add_results([world.result(), world.result(1)])


def test_object_ids_are_read_from_refs(world: World, adapter: RallyAdapter) -> None:
    """Where an answer has nothing else."""
    adapter.allowed_verdicts()
    world.fail(_batch_answer([_YES]), "/batch$")
    assert adapter.add_results([world.result()]) == [77]


@pytest.mark.parametrize("alone", [True, False])
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
    world: World,
    adapter: RallyAdapter,
    action: Action,
    error: type[ReconcilerError],
    alone: bool,  # noqa: FBT001 - a table's column
) -> None:
    """They were not done."""
    adapter.allowed_verdicts()
    world.fail(action, times=None, method="POST")
    with pytest.raises(error):
        _ = adapter.add_result(world.result()) if alone else adapter.add_results([world.result()])


def test_a_single_create_that_is_forbidden_or_not_found(world: World, adapter: RallyAdapter) -> None:
    """403 is the key or a proxy; 404 is no word about the result."""
    adapter.allowed_verdicts()
    for status, error in ((403, Unauthorized), (404, NotDone), (405, NotDone)):
        world.fail(page(status), method="POST")
        with pytest.raises(error):
            adapter.add_result(world.result())
    world.fail(Answer(Response.json({"OperationResult": {"Errors": ["no good"]}}, 400)), method="POST")
    assert adapter.add_result(world.result()) == Rejected("no good")


def test_a_read_only_key_is_told_at_the_first_write(world: World, connect: Callable[..., RallyAdapter]) -> None:
    """KB 11568: it may read."""
    world.store.add_key("_reader", read_only=True)
    adapter = connect(key="_reader")
    assert len(list(adapter.test_cases())) == 2
    with pytest.raises(Unauthorized):
        adapter.add_results([world.result()])


def test_a_late_answer_is_none(world: World, connect: Callable[..., RallyAdapter]) -> None:
    """The result is there all the same."""
    adapter = connect(read_s=1)
    adapter.allowed_verdicts()
    world.fail(Stall(5), "/batch$")
    with pytest.raises(NoAnswer):
        adapter.add_results([world.result()])
    assert eventually(lambda: len(world.store.results()) == 1)
    assert len(adapter.results_of([Build("GitLab-1001")])) == 1


def test_many_threads_share_one_adapter(world: World, connect: Callable[..., RallyAdapter]) -> None:
    """Each gets the answers to its own results, and no more are in flight than allowed."""
    adapter = connect(limits=Limits(at_once=4))
    cases: list[Thing] = [world.store.add_test_case(world.root, f"case {number}") for number in range(24)]
    made: dict[int, object] = {}

    def send(case: Thing) -> None:
        key = Key(ProjectId(1), PipelineId(case.oid), FormattedID(case.formatted_id), 1)
        result = world.result(key=key, test_case=ObjectID(case.oid), notes=str(key))
        made[case.oid] = adapter.add_results([result])[0]

    threads = [threading.Thread(target=send, args=(case,)) for case in cases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stored = {row["TestCase"]: row["ObjectID"] for row in world.store.results()}
    assert made == stored
    assert len(made) == 24
    assert world.server.log.most_at_once() <= 4
