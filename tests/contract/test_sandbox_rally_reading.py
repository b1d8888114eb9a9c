"""The stand-in Rally answers queries and reads as WSAPI does, and refuses what Rally would refuse."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import date
from typing import Any
from urllib.parse import urlencode

import pytest

from reconciler.sandbox.messages import Request, Response
from reconciler.sandbox.rally import Behaviour, RallyApp, Thing

BASE = "/slm/webservice/v2.0/"


@dataclass(slots=True)
class World:
    """A stand-in with two workspaces, three projects and a few things in them."""

    app: RallyApp
    workspace: Thing
    other: Thing
    shop: Thing
    cart: Thing
    till: Thing
    sprint: Thing
    story: Thing
    cases: list[Thing]

    def send(self, method: str, path: str, *headers: tuple[str, str], **query: str) -> Response:
        """Send one request with the full key, unless the headers name another."""
        target = f"{BASE}{path}?{urlencode(query)}"
        return self.app(Request.parse(method, target, {"ZSESSIONID": "_full", **dict(headers)}.items()))

    def get(self, path: str, **query: str) -> Any:  # noqa: ANN401 - JSON
        """Read JSON."""
        response = self.send("GET", path, **query)
        assert response.status == 200, response
        assert isinstance(response.body, bytes)
        return json.loads(response.body)

    def find(self, path: str, query: str, **more: str) -> list[str]:
        """Give the names that a query finds, FormattedIDs where there are any."""
        result = self.get(path, query=query, fetch="FormattedID,Name,Build", **more)["QueryResult"]
        assert result["Errors"] == [], result
        return [row.get("FormattedID") or row.get("Build") or row["Name"] for row in result["Results"]]

    def errors(self, path: str, **query: str) -> list[str]:
        """Give the errors of a query that fails."""
        result = self.get(path, **query)["QueryResult"]
        assert result["Results"] == []
        errors: list[str] = result["Errors"]
        return errors


@pytest.fixture
def world() -> World:
    """Build the world."""
    app = RallyApp()
    store = app.store
    workspace, other = store.add_workspace("Acme", timezone="America/Denver"), store.add_workspace("Other")
    shop = store.add_project(workspace, "Web Shop")
    cart = store.add_project(workspace, "Cart", shop)
    till = store.add_project(workspace, "Till")
    store.add_key("_full", store.add_user("qa@example.com"))
    store.add_key("_read", store.add_user("ro@example.com"), read_only=True)
    sprint = store.add_iteration(shop, "Sprint 42", date(2026, 5, 4), date(2026, 5, 17))
    story = store.add_story(shop, "As a buyer", sprint, "US7")
    cases = [
        store.add_test_case(shop, "pays", "TC1001", work_product=story),
        store.add_test_case(cart, "adds (twice)", "TC1002"),
        store.add_test_case(till, 'says "hi"', "TC1003"),
    ]
    store.add_test_case(store.add_project(other, "Elsewhere"), "far away", "TC1001")
    return World(app, workspace, other, shop, cart, till, sprint, story, cases)


# --- who is asking ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["", "_wrong"])
def test_a_key_that_is_not_known_is_a_401_page(world: World, key: str) -> None:
    """The body is HTML, not JSON."""
    answer = world.send("GET", "testcase", ("ZSESSIONID", key))
    assert (answer.status, answer.headers["Content-Type"]) == (401, "text/html; charset=utf-8")


def test_a_read_only_key_reads_and_is_turned_away_when_it_writes(world: World) -> None:
    """401, as a wrong key."""
    assert world.send("GET", "testcase", ("ZSESSIONID", "_read")).status == 200
    assert world.send("POST", "batch", ("ZSESSIONID", "_read")).status == 401


def test_a_key_with_somebody_elses_session_cookie_is_invalid(world: World) -> None:
    """Its own session's cookie does no harm (KB 127054)."""
    world.app.behaviour.sends_cookies = True
    own = world.send("GET", "testcase").headers["Set-Cookie"].partition(";")[0]
    assert '"Errors":[]' in str(world.send("GET", "testcase", ("Cookie", own)).body)
    foreign = world.send("GET", "testcase", ("Cookie", "JSESSIONID=stranger"))
    assert "Not authorized to perform action: Invalid key" in str(foreign.body)


def test_the_user_and_the_subscription_are_singletons_without_a_query(world: World) -> None:
    """With a query a user is a row of a QueryResult."""
    user = world.get("user", fetch="UserName,UserProfile,DefaultProject")["User"]
    assert user["UserName"] == "qa@example.com"
    assert user["UserProfile"]["DefaultProject"]["_refObjectName"] == "Web Shop"
    assert (user["Errors"], user["Warnings"]) == ([], [])
    assert world.get("Subscription")["Subscription"]["Name"] == "Sandbox"
    [row] = world.get("user", query='(UserName = "ro@example.com")')["QueryResult"]["Results"]
    assert row["_refObjectName"] == "ro"


# --- envelopes -------------------------------------------------------------------------------------------------------


def test_a_query_answers_in_the_envelope_of_queries(world: World) -> None:
    """1-based, 20 a page, shells unless something is fetched, refs to this very host."""
    result = world.get("TestCase", query="(FormattedID = TC1001)")["QueryResult"]
    [row] = result.pop("Results")
    assert result == {
        "_rallyAPIMajor": "2",
        "_rallyAPIMinor": "0",
        "Errors": [],
        "Warnings": [],
        "TotalResultCount": 1,
        "StartIndex": 1,
        "PageSize": 20,
    }
    case = world.cases[0]
    assert row == {
        "_rallyAPIMajor": "2",
        "_rallyAPIMinor": "0",
        "_ref": f"http://127.0.0.1{BASE}testcase/{case.oid}",
        "_refObjectUUID": case.uuid,
        "_objectVersion": "1",
        "_refObjectName": "pays",
        "_type": "TestCase",
    }


def test_a_read_has_the_types_name_as_root_and_an_operation_result_when_it_fails(world: World) -> None:
    """Type names in paths are case-insensitive."""
    assert world.get(f"TESTCASE/{world.cases[0].oid}")["TestCase"]["FormattedID"] == "TC1001"
    failed = world.get("testcase/1")["OperationResult"]
    assert failed["Errors"] == ["Cannot find object to read"]
    assert world.get(f"testset/{world.cases[0].oid}")["OperationResult"]["Errors"]


def test_what_rally_does_not_have_is_404_and_what_the_stand_in_does_not_know_is_501(world: World) -> None:
    """Nothing is guessed."""
    assert world.send("GET", "testcasez").status == 404
    assert world.send("GET", "testcase/abc").status == 404
    assert world.send("PUT", f"testcase/{world.cases[0].oid}").status == 405
    assert world.send("GET", "testcase", pageSize="5").status == 501
    assert world.send("GET", "testcase", fetch="Results:summary[Verdict]").status == 501
    assert world.app(Request.parse("GET", "/api/v2.0/testcase", [("ZSESSIONID", "_full")])).status == 404


def test_a_url_that_is_too_long_is_refused(world: World) -> None:
    """The limit is the stand-in's: none is documented."""
    world.app.behaviour.max_target = 200
    assert world.send("GET", "testcase", query="x" * 200).status == 414


# --- fetch -----------------------------------------------------------------------------------------------------------


def test_fetch_names_attributes_of_the_object_and_of_what_it_refers_to(world: World) -> None:
    """Names that a type does not have are ignored; a ref chain is followed, but not in circles."""
    [row] = world.get("testcase", query="(FormattedID = 1001)", fetch="Name,WorkProduct,Iteration,Nonsense")[
        "QueryResult"
    ]["Results"]
    assert "Nonsense" not in row
    assert "FormattedID" not in row
    assert row["WorkProduct"]["Name"] == "As a buyer"
    assert row["WorkProduct"]["_type"] == "HierarchicalRequirement"
    assert row["WorkProduct"]["Iteration"]["Name"] == "Sprint 42"


def test_a_collection_is_a_ref_and_a_count_and_a_request_of_its_own(world: World) -> None:
    """It is never hydrated; its address holds the type's name as written."""
    row = world.get(f"hierarchicalrequirement/{world.story.oid}")["HierarchicalRequirement"]
    assert row["TestCases"] == {
        "_rallyAPIMajor": "2",
        "_rallyAPIMinor": "0",
        "_ref": f"http://127.0.0.1{BASE}HierarchicalRequirement/{world.story.oid}/TestCases",
        "_type": "TestCase",
        "Count": 1,
    }
    path = f"HierarchicalRequirement/{world.story.oid}/TestCases"
    assert world.find(path, "(FormattedID = TC1001)") == ["TC1001"]
    assert world.errors(f"HierarchicalRequirement/{world.story.oid}/Nonsense")


def test_with_fetch_true_refs_are_shells(world: World) -> None:
    """All scalar fields of the object itself, none of the others'."""
    [row] = world.get("testcase", query="(FormattedID = 1001)", fetch="true")["QueryResult"]["Results"]
    assert (row["Method"], row["LastVerdict"], row["TestFolder"]) == ("Manual", None, None)
    assert set(row["Project"]) == {
        "_rallyAPIMajor",
        "_rallyAPIMinor",
        "_ref",
        "_refObjectUUID",
        "_objectVersion",
        "_refObjectName",
        "_type",
    }


# --- the query language ----------------------------------------------------------------------------------------------

ALL = {"project": "null", "order": "FormattedID"}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ('(Name = "pays")', ["TC1001"]),
        ("(Name = pays)", ["TC1001"]),
        ('(Name != "pays")', ["TC1002", "TC1003"]),
        ('(Name contains "a")', ["TC1001", "TC1002", "TC1003"]),
        ('(Name !contains "pay")', ["TC1002", "TC1003"]),
        (r'(Name = "says \"hi\"")', ["TC1003"]),
        ('(Name = "adds (twice)")', ["TC1002"]),
        ("(WorkProduct = null)", ["TC1002", "TC1003"]),
        ("(WorkProduct != null)", ["TC1001"]),
        ("(TestSets.ObjectID = null)", ["TC1001", "TC1002", "TC1003"]),
        ("(Project.Name = Cart)", ["TC1002"]),
        ('((Name = "pays") OR (Project.Name = Cart))', ["TC1001", "TC1002"]),
        ('(((Name = "pays") OR (Name = "x")) AND (Method = Manual))', ["TC1001"]),
        ('((FormattedID = TC1001) OR (FormattedID = "TC1003"))', ["TC1001", "TC1003"]),
        ("(FormattedID = DE1001)", ["TC1001"]),
        ("(ObjectID > 5)", ["TC1001", "TC1002", "TC1003"]),
        ('(LastUpdateDate >= "2020-01-01T00:00:00.000Z")', ["TC1001", "TC1002", "TC1003"]),
        ("(LastUpdateDate < 2020-01-01)", []),
        ("(Name = PAYS)", []),
    ],
)
def test_a_query_finds(world: World, query: str, found: list[str]) -> None:
    """Binary AND and OR, brackets and spaces everywhere; the prefix of a FormattedID takes no part in matching."""
    assert world.find("testcase", query, **ALL) == found


@pytest.mark.parametrize("form", ["{path}/{oid}", "/{path}/{oid}", "http://127.0.0.1/slm/webservice/v2.0/{path}/{oid}"])
def test_a_ref_in_a_query_may_be_short_or_whole(world: World, form: str) -> None:
    """And a path may end in ObjectID instead."""
    ref = form.format(path="hierarchicalrequirement", oid=world.story.oid)
    assert world.find("testcase", f'(WorkProduct = "{ref}")') == ["TC1001"]
    assert world.find("testcase", f"(WorkProduct.ObjectID = {world.story.oid})") == ["TC1001"]
    assert world.find("hierarchicalrequirement", f"(Iteration.ObjectID = {world.sprint.oid})") == ["US7"]


def test_a_path_through_a_collection_matches_when_any_member_does(world: World) -> None:
    """`(TestSets.ObjectID = n)`, `(TestSets contains ref)`."""
    test_set = world.app.store.add_test_set(world.shop, "Sprint-42", world.sprint, world.cases[0])
    assert world.find("testcase", f"(TestSets.ObjectID = {test_set.oid})") == ["TC1001"]
    assert world.find("testcase", f'(TestSets contains "{test_set.ref}")') == ["TC1001"]
    assert world.find("testcase", "(TestSets.ObjectID = null)", **ALL) == ["TC1002", "TC1003"]


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ('Name = "x"', 'expected "(" but saw "Name"'),
        ('(Name="x")', 'Unknown operator ")"'),
        ("(Name in a,b)", 'Unknown operator "in"'),
        ('((Name = "a") AND (Name = "b") AND (Name = "c"))', 'expected ")" but saw "AND"'),
        ('((Name = "a")AND(Name = "b"))', 'expected " " but saw "AND"'),
        ('((Name = "a") and (Name = "b"))', 'expected "AND" or "OR" but saw "and"'),
        ("(Name = a b)", 'expected ")" but saw "b"'),
        ('(Name = "a)', "expected a value"),
        ('(Name = "a"', "unexpected end"),
        ('(Name = "a"))', 'unexpected ")" at the end'),
        (r'(Name = "a\n")', "unknown escape"),
        ("(ObjectID = abc)", "as a number"),
        ("(LastUpdateDate > yesterday)", "as a date"),
        ("(WorkProduct = 12)", "as a reference"),
        ("(Project > 12)", 'Unknown operator ">"'),
        ("(Name > null)", "for null"),
    ],
)
def test_a_query_that_rally_could_not_parse_is_refused(world: World, query: str, error: str) -> None:
    """With status 200 and `Could not parse: …`."""
    [text] = world.errors("testcase", query=query)
    assert text.startswith("Could not parse: ")
    assert error in text


@pytest.mark.parametrize(
    ("path", "query", "error"),
    [
        (
            "testcaseresult",
            "(FormattedID = TC1)",
            (
                'Could not parse: Could not find attribute "FormattedID" on type TestCaseResult '
                'in the query segment "FormattedID"'
            ),
        ),
        (
            "testcase",
            "(WorkProduct.Iteration.Name = x)",
            (
                'Could not parse: Could not find attribute "Iteration" on type Artifact '
                'in the query segment "WorkProduct.Iteration.Name"'
            ),
        ),
        (
            "testcase",
            "(Iteration.Name = x)",
            (
                'Could not parse: Could not find attribute "Iteration" on type TestCase '
                'in the query segment "Iteration.Name"'
            ),
        ),
    ],
)
def test_an_attribute_that_a_type_does_not_have_cannot_be_queried(
    world: World, path: str, query: str, error: str
) -> None:
    """Results have no FormattedID (pyral issue 155); a test case has no Iteration (KB 57618)."""
    assert world.errors(path, query=query) == [error]
    assert world.errors(path, order="Nonsense DESC")


# --- scope -----------------------------------------------------------------------------------------------------------


def test_scope_goes_up_and_down_unless_told_otherwise(world: World) -> None:
    """Without a project the key owner's default counts; `null` is the whole workspace."""
    shop, cart = world.shop.ref, world.cart.ref
    off = {"projectScopeUp": "false", "projectScopeDown": "false"}
    assert world.find("testcase", "", order="FormattedID") == ["TC1001", "TC1002"]
    assert world.find("testcase", "", project=shop, order="FormattedID") == ["TC1001", "TC1002"]
    assert world.find("testcase", "", project=shop, **off) == ["TC1001"]
    assert world.find("testcase", "", project=cart, order="FormattedID") == ["TC1001", "TC1002"]
    assert world.find("testcase", "", project=cart, projectScopeUp="false") == ["TC1002"]
    assert world.find("testcase", "", project="null", order="FormattedID") == ["TC1001", "TC1002", "TC1003"]


def test_a_bare_object_id_as_project_silently_matches_nothing(world: World) -> None:
    """It is no ref; a ref to nothing is an error."""
    assert world.find("testcase", "", project=str(world.shop.oid)) == []
    assert world.errors("testcase", project="/project/1") == ["Could not read: Could not read referenced object null"]


def test_without_a_workspace_the_key_owners_default_counts(world: World) -> None:
    """FormattedIDs are unique in a workspace only."""
    assert world.find("testcase", "", workspace=world.other.ref) == ["TC1001"]
    rows = world.get("testcase", query="(FormattedID = TC1001)", fetch="Name")["QueryResult"]["Results"]
    assert [row["Name"] for row in rows] == ["pays"]


def test_a_result_lives_in_the_project_of_its_test_case(world: World) -> None:
    """Also when the test case moves."""
    store = world.app.store
    store.add_result(world.cases[0], "27")
    only = {"projectScopeUp": "false", "projectScopeDown": "false"}
    assert world.find("testcaseresult", "", project=world.shop.ref, **only) == ["27"]
    store.change(world.cases[0], Project=world.till.oid)
    assert world.find("testcaseresult", "", project=world.shop.ref, **only) == []
    assert world.find("testcaseresult", "(TestCase.FormattedID = TC1001)", project=world.till.ref) == ["27"]


# --- order and pages -------------------------------------------------------------------------------------------------


def test_order_and_pages(world: World) -> None:
    """Start counts from 1; a page has at most 2000 rows."""
    for number in range(30):
        world.app.store.add_result(world.cases[number % 3], f"b{number % 2}", date=f"2026-01-{number + 1:02}")
    order = {"order": "Build DESC,Date", "project": "null"}
    first = world.get("testcaseresult", fetch="Build,Date", **order)["QueryResult"]
    assert (len(first["Results"]), first["TotalResultCount"]) == (20, 30)
    assert [row["Build"] for row in first["Results"][13:17]] == ["b1", "b1", "b0", "b0"]
    last = world.get("testcaseresult", start="21", pagesize="20", **order)["QueryResult"]
    assert (len(last["Results"]), last["StartIndex"], last["PageSize"]) == (10, 21, 20)
    assert world.get("testcaseresult", start="31", **order)["QueryResult"]["Results"] == []
    assert world.errors("testcaseresult", pagesize="2001")
    assert world.errors("testcaseresult", start="0")


def test_an_order_that_tells_nothing_apart_may_change_between_requests() -> None:
    """A client that pages by Name alone loses rows; ObjectID as last term keeps them in place."""
    app = RallyApp(behaviour=Behaviour(unstable_order=True))
    store = app.store
    shop = store.add_project(store.add_workspace("Acme"), "Web Shop")
    store.add_key("_full")
    for _ in range(40):
        store.add_test_case(shop, "same")

    def ids(n: int, order: str) -> list[str]:
        target = f"{BASE}testcase?{urlencode({'order': order, 'pagesize': '200'})}"
        response = app(replace(Request.parse("GET", target, [("ZSESSIONID", "_full")]), n=n))
        assert isinstance(response.body, bytes)
        return [row["_ref"] for row in json.loads(response.body)["QueryResult"]["Results"]]

    assert ids(1, "Name") != ids(2, "Name")
    assert ids(1, "Name,ObjectID") == ids(2, "Name,ObjectID")


def test_iterations_begin_and_end_with_days_of_the_workspaces_time_zone(world: World) -> None:
    """Denver is six hours behind UTC in May (CA-KB47866)."""
    row = world.get(f"iteration/{world.sprint.oid}")["Iteration"]
    assert (row["StartDate"], row["EndDate"]) == ("2026-05-04T06:00:00.000Z", "2026-05-18T05:59:59.000Z")
    now = '((StartDate <= "2026-05-05T00:00:00.000Z") AND (EndDate >= "2026-05-05T00:00:00.000Z"))'
    assert world.find("iteration", now, project=world.shop.ref) == ["Sprint 42"]


def test_the_last_result_of_a_test_case_is_the_one_with_the_newest_date(world: World) -> None:
    """One that comes late with an older Date changes nothing."""
    store, case = world.app.store, world.cases[0]
    store.add_result(case, "2", "Fail", "2026-01-02T00:00:00.000Z")
    store.add_result(case, "1", "Pass", "2026-01-01T00:00:00.000Z")
    row = world.get(f"testcase/{case.oid}")["TestCase"]
    assert (row["LastVerdict"], row["LastBuild"], row["LastRun"]) == ("Fail", "2", "2026-01-02T00:00:00.000Z")
    assert row["Results"]["Count"] == 2
