"""Sprint test sets at the command line: each sprint has its set, filled, and results carry it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from reconciler.sandbox.rally import RallyApp, Store
from reconciler.sandbox.server import Server
from tests.company import KEY, ago, junit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.sandbox.gitlab import Pipeline
    from tests.company import Company

NAME = "Sprint-42-Automated-Tests"
SETTLED = {"settle_after_seconds": 0}


@pytest.fixture
def shop(company: Company) -> Company:
    """Give a company of two child projects that share a sprint, with a story each."""
    for project, cases in (("Checkout", ("TC20", "TC21")), ("Payments", ("TC30",))):
        company.story(company.sprint(project=company.child(project)), *cases)
    return company


def ran_in(company: Company, days_ago: float, *tests: str) -> Pipeline:
    """Finish a pipeline that long ago."""
    store, moment = company.gitlab.store, ago(days=days_ago)
    pipeline = store.add_pipeline(company.project, status="success", created_at=moment, updated_at=moment)
    store.add_job(pipeline, "unit", finished_at=moment, junit=[("junit.xml", junit(*tests))])
    return pipeline


def sprint_of(company: Company, project: str) -> dict[str, Any]:
    """Give what status tells of a project's one sprint."""
    (row,) = [one for one in company.status()["sprints"] if one["project"] == project]
    found: dict[str, Any] = row
    return found


# --- the main thing --------------------------------------------------------------------------------------------------


def test_two_projects_that_share_a_sprint_have_a_filled_set_each_and_results_carry_it(shop: Company) -> None:
    """In the pass that makes the sets; a second pass writes nothing. A test case outside of the sprint has none."""
    shop.pipeline({"unit": junit("a_TC20", "b_TC21!", "c_TC30", "d_TC1")})

    told = shop.once()

    assert (told["test_sets_created"], told["members_added"], told["results_sent"]) == (2, 3, 4)
    assert shop.sets() == {f"Checkout/{NAME}": ["TC20", "TC21"], f"Payments/{NAME}": ["TC30"]}
    assert [shop.set_of(case) for case in ("TC20", "TC21", "TC30", "TC1")] == [
        [f"Checkout/{NAME}"],
        [f"Checkout/{NAME}"],
        [f"Payments/{NAME}"],
        [""],
    ]
    before = shop.writes()
    assert shop.once()["writes"] == 0
    assert shop.writes() == before


def test_a_story_that_is_added_brings_its_test_cases_in_the_next_pass(shop: Company) -> None:
    """So does a test case that is added to a story, and a defect; all before the results that are there by then."""
    shop.once()
    (checkout,) = shop.rally_store.find("Project", Name="Checkout")
    (sprint,) = shop.rally_store.find("Iteration", Project=checkout.oid)
    shop.story(sprint, "TC22", "TC23")
    story = shop.rally_store.find("HierarchicalRequirement", Iteration=sprint.oid)[0]
    shop.rally_store.add_test_case(checkout, "Gift cards", "TC24", work_product=story)
    defect = shop.rally_store.add_defect(checkout, "It breaks", sprint)
    shop.rally_store.add_test_case(checkout, "It no longer breaks", "TC25", work_product=defect)
    shop.pipeline({"unit": junit("a_TC22", "b_TC24", "c_TC25")})

    told = shop.once()

    assert (told["test_sets_created"], told["members_added"]) == (0, 4)
    assert shop.sets()[f"Checkout/{NAME}"] == ["TC20", "TC21", "TC22", "TC23", "TC24", "TC25"]
    assert [shop.set_of(case) for case in ("TC22", "TC24", "TC25")] == [[f"Checkout/{NAME}"]] * 3
    assert shop.once()["writes"] == 0


def test_a_test_case_of_another_project_goes_to_that_projects_own_set_or_is_said_to_have_no_place(
    shop: Company,
) -> None:
    """Rally takes no result in a set of another project; the root project has no such sprint."""
    (payments,) = shop.rally_store.find("Project", Name="Payments")
    story = shop.story(shop.rally_store.find("Iteration")[0], "TC1")
    shop.rally_store.add_test_case(payments, "Refund", "TC31", work_product=story)
    shop.rally_app.behaviour.foreign_members = False
    shop.pipeline({"unit": junit("a_TC1", "b_TC31")})

    shop.once()

    assert shop.sets() == {f"Checkout/{NAME}": ["TC20", "TC21"], f"Payments/{NAME}": ["TC30", "TC31"]}
    assert (shop.set_of("TC1"), shop.set_of("TC31")) == ([""], [f"Payments/{NAME}"])
    (row,) = sprint_of(shop, "Checkout")["not_placeable"]
    assert (row["test_case"], "no iteration 'Sprint 42'" in row["reason"]) == ("TC1", True)
    assert "TC1 cannot be placed: its project has no iteration" in shop.run("status").out


def test_folders_are_made_once_and_test_cases_filed_in_them_once(shop: Company) -> None:
    """In each project `Automated sprints`, in it one for the sprint; a person who files it elsewhere is not fought."""
    checkout = shop.rally_store.find("Project", Name="Checkout")[0]

    def folders(*filed: str) -> dict[str, object]:
        sprint = {"test_cases": [*filed], "folders": {}}
        return {"Automated sprints": {"test_cases": [], "folders": {"Sprint-42": sprint}}}

    shop.configure(rally=SETTLED, sprints={"test_folder": "create"})
    shop.once()
    assert shop.rally_store.folders(checkout) == folders()

    shop.configure(rally=SETTLED, sprints={"test_folder": "move"})
    shop.once()
    assert shop.rally_store.folders(checkout) == folders("TC20", "TC21")

    own = shop.rally_store.add_test_folder(checkout, "Mine")
    shop.rally_store.change(shop.cases["TC20"], TestFolder=own.oid)
    before = shop.writes()
    shop.once()
    assert (shop.writes(), shop.cases["TC20"].fields["TestFolder"]) == (before, own.oid)


# --- --sprint-sets ---------------------------------------------------------------------------------------------------


def test_sprint_sets_alone_reads_no_pipeline_and_sends_no_result(shop: Company) -> None:
    """For cron or a timer: GitLab is not asked, and its absence does no harm. The exit status is 0."""
    shop.pipeline({"unit": junit("a_TC20")})
    with shop.gitlab.server.refusing():
        ran = shop.run("--sprint-sets")

    assert (ran.status, shop.results()) == (0, {})
    assert ran.out == "0 pipelines read, 0 results, 2 test sets and 3 members sent in 4 writes.\n"
    ran = shop.run("--json", "--sprint-sets")
    assert ran.status == 0
    assert ran.json == {
        "pipelines_read": 0, "results_sent": 0, "attachments_sent": 0, "test_sets_created": 0, "members_added": 0,
        "held": 0, "refused": 0, "problems": 0, "writes": 0, "left": 0,
    }  # fmt: skip
    assert shop.once()["results_sent"] == 1
    assert shop.set_of("TC20") == [f"Checkout/{NAME}"]


def test_a_dry_run_names_exactly_what_the_next_run_does_and_writes_nothing(shop: Company) -> None:
    """With `--sprint-sets` and with `--once`, for people and for machines; again when only a member is missing."""
    shop.pipeline({"unit": junit("a_TC20")})
    sets = [
        {"kind": "test_set", "name": NAME, "project": project, "iteration": "Sprint 42"}
        for project in ("Checkout", "Payments")
    ]
    members = [{"kind": "member", "test_set": NAME, "test_case": case} for case in ("TC20", "TC21", "TC30")]

    ran = shop.run("--json", "--sprint-sets", "--dry-run")

    assert (ran.status, ran.json) == (0, {"actions": sets + members})
    both = shop.run("--json", "--once", "--dry-run").json["actions"]
    assert both[:5] == sets + members
    assert [one["kind"] for one in both[5:]] == ["result"]
    said = shop.run("--sprint-sets", "--dry-run").out
    assert "would send 2 test sets and 3 members" in said
    assert (f"test set {NAME} of Sprint 42 in Payments" in said, f"TC30 into test set {NAME}" in said) == (True, True)
    assert (shop.writes(), shop.sets()) == (0, {})

    shop.once()
    shop.rally_store.add_test_case(
        shop.rally_store.find("Project", Name="Payments")[0],
        "Refund",
        "TC31",
        work_product=shop.rally_store.one(shop.cases["TC30"].fields["WorkProduct"]),
    )
    planned = shop.run("--json", "--sprint-sets", "--dry-run").json["actions"]
    assert planned == [{"kind": "member", "test_set": NAME, "test_case": "TC31"}]


def test_a_dry_run_leaves_out_what_people_did_themselves_and_what_no_pass_will_do(shop: Company) -> None:
    """A test case that somebody put into the set by hand; one of a sprint whose set somebody deleted."""
    shop.once()
    checkout, payments = shop.rally_store.find("Iteration")
    by_hand, deleted = (shop.rally_store.find("TestSet", Iteration=one.oid)[0] for one in (checkout, payments))
    shop.story(checkout, "TC22")
    shop.story(payments, "TC31")
    shop.rally_store.enrol(by_hand, shop.cases["TC22"])
    shop.rally_store.delete(deleted)

    assert shop.run("--json", "--sprint-sets", "--dry-run").json == {"actions": []}
    assert shop.once()["writes"] == 0


# --- status ----------------------------------------------------------------------------------------------------------


def test_status_tells_members_results_by_verdict_what_did_not_run_and_coverage(shop: Company) -> None:
    """For machines with the set's ObjectID; of several results of one test case the newest counts."""
    sprint = shop.rally_store.find("Iteration")[0]
    shop.story(sprint, "TC22", "TC23")
    shop.pipeline({"unit": junit("a_TC20!", "b_TC21")})
    shop.once()
    shop.pipeline({"unit": junit("a_TC20", "c_TC22!!")})
    shop.once()

    row = sprint_of(shop, "Checkout")

    (test_set,) = shop.rally_store.find("TestSet", Iteration=sprint.oid)
    assert row == {
        "iteration": "Sprint 42",
        "project": "Checkout",
        "starts_at": row["starts_at"],
        "ends_at": row["ends_at"],
        "test_set": NAME,
        "object_id": test_set.oid,
        "state": "done",
        "reason": "",
        "members": 4,
        "missing_members": 0,
        "results": {"Pass": 2, "Error": 1},
        "not_run": ["TC23"],
        "coverage": 75.0,
        "refused": [],
        "not_placeable": [],
        "doubles": [],
    }
    text = shop.run("status").out
    assert f"Sprint     Sprint 42 in Checkout: test set {NAME}\n" in text
    assert "    4 test cases; Error 1, Pass 2; not run yet 1; coverage 75.0 %\n" in text
    assert "    1 test case; no results yet; not run yet 1; coverage 0.0 %\n" in text


# --- exit statuses ---------------------------------------------------------------------------------------------------


def test_a_key_that_may_not_read_is_status_1(shop: Company) -> None:
    """Nothing is begun; the next run makes up for it."""
    ran = shop.run("--json", "--sprint-sets", RALLY_API_KEY="_not-any-more")

    assert (ran.status, ran.json["writes"], "Rally" in ran.err) == (1, 0, True)
    assert shop.run("--sprint-sets").status == 0
    assert shop.sets()[f"Payments/{NAME}"] == ["TC30"]


def test_a_key_that_may_not_write_is_status_1_and_leaves_no_doubt(shop: Company) -> None:
    """Once the key may write, everything is made; results have waited for their sets."""
    shop.pipeline({"unit": junit("a_TC20", "b_TC1")})
    owner = shop.rally_store.add_user("viewer@example.com")
    shop.rally_store.add_key("_read-only", owner, read_only=True)

    ran = shop.run("--json", "--once", RALLY_API_KEY="_read-only")

    assert (ran.status, ran.json["left"], shop.results(), shop.sets()) == (1, 2, {}, {})
    assert shop.status()["sprints"] == []
    shop.once()
    assert shop.set_of("TC20") == [f"Checkout/{NAME}"]


def test_a_project_where_the_key_may_not_write_holds_up_no_other(shop: Company) -> None:
    """Rally's plain No is kept and shown; the results of that sprint would go without the set."""
    (user,) = shop.rally_store.find("User")
    shop.rally_store.forbid(user, shop.rally_store.find("Project", Name="Payments")[0])

    ran = shop.run("--json", "--sprint-sets")

    assert (ran.status, ran.json["test_sets_created"], ran.json["left"]) == (0, 1, 0)
    row = sprint_of(shop, "Payments")
    assert (row["state"], row["reason"]) == ("refused", "Not authorized to create: TestSet")
    assert f"test set {NAME}: refused Not authorized to create: TestSet" in shop.run("status").out
    assert shop.run("--json", "--sprint-sets").json["writes"] == 0


# --- which sprint ----------------------------------------------------------------------------------------------------


def test_a_result_goes_to_the_sprint_of_its_own_date(company: Company) -> None:
    """Also one that a backfill brings, to a set that people made for a sprint that is over; they filled it, too."""
    names = {"old": (-30, -17), "none": (-16, -10), "now": (-9, 4)}
    sprints = {name: company.sprint(f"Sprint {n}", days=days) for n, (name, days) in enumerate(names.items(), 40)}
    company.story(sprints["now"], "TC1", "TC2")
    store, root = company.rally_store, company.root
    store.add_test_set(root, "Sprint-40-Automated-Tests", sprints["old"], company.cases["TC1"])
    old = ran_in(company, 20, "a_TC1!", "b_TC2")
    ran_in(company, 12, "a_TC1")
    ran_in(company, 0, "a_TC1")
    since = ago(days=40).date().isoformat()

    ran = company.run("--json", "--backfill", "--since", since)

    assert (ran.status, ran.json["results_sent"], ran.json["test_sets_created"]) == (0, 4, 1)
    assert sorted(company.sets()) == ["Web Shop/Sprint-40-Automated-Tests", "Web Shop/Sprint-42-Automated-Tests"]
    assert company.set_of("TC1") == ["Web Shop/Sprint-40-Automated-Tests", "", f"Web Shop/{NAME}"]
    assert company.set_of("TC2") == [""]
    assert len(company.verdicts(old)) == 2
    assert company.run("--json", "--backfill", "--since", since).json["writes"] == 0
    rows = {row["iteration"]: row["results"] for row in company.status()["sprints"]}
    assert rows == {"Sprint 42": {"Pass": 1}, "Sprint 40": {"Fail": 1}}


def test_sprints_that_are_over_or_yet_to_come_get_no_set(company: Company) -> None:
    """Whatever is scheduled in them; no iteration at all is no trouble either."""
    assert company.run("--json", "--sprint-sets").json["writes"] == 0
    company.story(company.sprint("Sprint 41", days=(-20, -2)), "TC1")
    company.story(company.sprint("Sprint 43", days=(2, 15)), "TC2")

    assert company.run("--json", "--sprint-sets").json["writes"] == 0
    assert (company.sets(), company.status()["sprints"]) == ({}, [])


@pytest.fixture(params=["Pacific/Kiritimati", "Pacific/Pago_Pago"])
def far(request: pytest.FixtureRequest, company: Company) -> Iterator[tuple[Company, ZoneInfo]]:
    """Give a company whose Rally has its days far from Greenwich: UTC+14 or UTC-11."""
    app = RallyApp(Store())
    workspace = app.store.add_workspace("Acme", timezone=request.param)
    app.store.add_project(workspace, "Web Shop")
    app.store.add_key(KEY)
    with Server(app) as rally:
        company.rally, company.rally_app, company.cases = rally, app, {}
        company.configure(rally=SETTLED)
        yield company, ZoneInfo(request.param)
    assert not rally.crashes


def test_a_sprint_begins_and_ends_with_days_of_the_workspace(far: tuple[Company, ZoneInfo]) -> None:
    """One that ended with yesterday there is over, one of today alone is current; results one second apart differ."""
    company, zone = far
    store, today = company.rally_store, datetime.now(zone).date()
    midnight = datetime(today.year, today.month, today.day, tzinfo=zone).astimezone(UTC)
    yesterday = store.add_iteration(company.root, "Sprint 1", today - timedelta(9), today - timedelta(1))
    company.story(store.add_iteration(company.root, "Sprint 2", today, today), "TC1")
    store.add_test_set(company.root, "Sprint-1-Automated-Tests", yesterday, company.cases["TC1"])
    company.gitlab.store.add_job(
        company.pipeline({}), "late", finished_at=midnight - timedelta(seconds=1), junit=[("j.xml", junit("a_TC1"))]
    )
    company.gitlab.store.add_job(company.pipeline({}), "early", finished_at=midnight, junit=[("j.xml", junit("a_TC1"))])

    told = company.once()

    assert told["test_sets_created"] == 1
    assert company.set_of("TC1") == ["Web Shop/Sprint-1-Automated-Tests", "Web Shop/Sprint-2-Automated-Tests"]
