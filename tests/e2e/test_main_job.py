"""The main job, end to end: what GitLab ran stands in Rally, once, and the second run has nothing to do."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from tests.company import ago, junit

if TYPE_CHECKING:
    from tests.company import Company


def test_a_finished_pipeline_becomes_results_and_a_second_run_writes_nothing(company: Company) -> None:
    """Verdicts, Build, key, held tests and the counts of the pass agree with what the reports say."""
    company.map(("shop.pay[*]", "TC3"))
    pipeline = company.pipeline(
        {"unit": junit("login_TC1", "logout_TC2!", "pay[visa]", "pay[amex]!!", "odd", "later?")}
    )

    told = company.once()

    assert company.verdicts(pipeline) == {"TC1/1": "Pass", "TC2/1": "Fail", "TC3/1": "Error"}
    assert {result["Build"] for result in company.rally_store.results()} == {f"GitLab-{pipeline.id}"}
    assert told == {
        "pipelines_read": 1,
        "results_sent": 3,
        "attachments_sent": 2,  # what the two that did not pass printed
        "test_sets_created": 0,
        "members_added": 0,
        "held": 1,
        "refused": 0,
        "problems": 0,
        "writes": 3,
        "left": 0,
    }
    tests = company.status()["tests"]
    assert (tests["read"], tests["sent"], tests["merged"], tests["held"], tests["ignored"]) == (6, 3, 1, 1, 1)

    writes = company.writes()
    again = company.once()

    assert (again["writes"], again["results_sent"], again["pipelines_read"]) == (0, 0, 0)
    assert company.writes() == writes


def test_shards_and_parameters_of_one_test_case_make_one_result_with_the_worst_verdict(company: Company) -> None:
    """Date is the latest end of the jobs that contributed, Duration the sum of the tests; the rest is merged."""
    company.map(("shop.pay[*]", "TC3"))
    store = company.gitlab.store
    pipeline = store.add_pipeline(company.project, status="failed")
    first, second, other = ago(minutes=9), ago(minutes=7), ago(minutes=1)
    store.add_job(pipeline, "e2e 1/2", finished_at=first, junit=[("a.xml", junit("pay[visa]", "pay[amex]!"))])
    store.add_job(pipeline, "e2e 2/2", finished_at=second, junit=[("b.xml", junit("pay[sepa]"))])
    store.add_job(pipeline, "lint", finished_at=other, junit=[("c.xml", junit("style_TC4"))])

    company.once()

    found = {str(result["FormattedID"]): result for result in company.rally_store.results()}
    assert company.verdicts(pipeline) == {"TC3/1": "Fail", "TC4/1": "Pass"}
    assert found["TC3"]["Date"] == second.strftime("%Y-%m-%dT%H:%M:%S.") + f"{second.microsecond // 1000:03d}Z"
    assert found["TC3"]["Duration"] == 1.5
    notes = str(found["TC3"]["Notes"])
    assert notes.index("pay[amex]") < notes.index("pay[visa]")
    assert {"e2e 1/2", "e2e 2/2"} <= {job for job in ("e2e 1/2", "e2e 2/2", "lint") if job in notes}
    assert "lint" not in notes
    tests = company.status()["tests"]
    assert (tests["sent"], tests["merged"]) == (2, 2)


def test_a_job_retried_after_its_result_was_sent_adds_one_revision(company: Company) -> None:
    """What was sent stays in Rally's history; the newest attempt is added beside it, and its elements count."""
    pipeline = company.pipeline({"unit": junit("login_TC1!", "other_TC2"), "more": junit("third_TC3")}, status="failed")
    company.once()

    company.gitlab.store.retry_job(
        company.job(pipeline, "unit"), finished_at=company.gitlab.store.clock(), junit=[("a.xml", junit("login_TC1"))]
    )
    told = company.once()

    assert company.verdicts(pipeline) == {"TC1/1": "Fail", "TC1/2": "Pass", "TC2/1": "Pass", "TC3/1": "Pass"}
    assert told["results_sent"] == 1
    tests = company.status()["tests"]
    assert (tests["read"], tests["sent"], tests["superseded"]) == (4, 2, 2)
    assert company.once()["writes"] == 0


def test_a_retry_that_no_longer_has_the_test_revises_what_is_left(company: Company) -> None:
    """A verdict that only an older attempt gave does not stand; where nothing is left, nothing is sent."""
    pipeline = company.pipeline({"unit": junit("a_TC1!", "b_TC2!"), "more": junit("c_TC1")}, status="failed")
    company.once()
    assert company.verdicts(pipeline) == {"TC1/1": "Fail", "TC2/1": "Fail"}

    company.gitlab.store.retry_job(
        company.job(pipeline, "unit"), finished_at=company.gitlab.store.clock(), junit=[("a.xml", junit("a_TC1?"))]
    )
    assert company.once()["results_sent"] == 1

    assert company.verdicts(pipeline) == {"TC1/1": "Fail", "TC1/2": "Pass", "TC2/1": "Fail"}
    assert company.once()["writes"] == 0


def test_of_a_job_retried_before_it_was_read_only_the_newest_attempt_counts(company: Company) -> None:
    """The older attempt is not even read."""
    pipeline = company.pipeline({"unit": junit("login_TC1!")})
    company.gitlab.store.retry_job(
        company.job(pipeline, "unit"), finished_at=company.gitlab.store.clock(), junit=[("a.xml", junit("login_TC1"))]
    )

    company.once()

    assert company.verdicts(pipeline) == {"TC1/1": "Pass"}


def test_a_child_pipeline_is_a_pipeline_of_its_own(company: Company) -> None:
    """It has its own Build; a parent that only triggers has no jobs, and that is no problem."""
    parent = company.gitlab.store.add_pipeline(company.project, status="success")
    child = company.pipeline({"unit": junit("login_TC1")}, parent=parent)
    company.gitlab.store.add_bridge(parent, "trigger", downstream=child)

    told = company.once()

    assert company.verdicts(child) == {"TC1/1": "Pass"}
    assert (told["pipelines_read"], told["problems"]) == (2, 0)


def test_a_pipeline_sends_nothing_before_it_is_ready(company: Company) -> None:
    """Running and skipped send nothing; canceled and blocked by a manual job count with the jobs that finished."""
    sent = {
        status: company.pipeline({"unit": junit("login_TC1")}, status=status)
        for status in ("running", "skipped", "canceled", "manual", "failed", "success")
    }

    company.once()

    found = {status for status, pipeline in sent.items() if company.verdicts(pipeline)}
    assert found == {"canceled", "manual", "failed", "success"}


def test_a_held_test_is_sent_once_it_is_mapped(company: Company) -> None:
    """A mapping made later finds what was read earlier, without asking GitLab for the reports again."""
    pipeline = company.pipeline({"unit": junit("login", "logout!")})
    assert company.once()["held"] == 2
    asked = len(company.gitlab.server.log)

    review = company.run("--json", "review").json
    assert [(row["test"], row["held"], row["last_verdict"]) for row in review] == [
        ("shop.login", 1, "Pass"),
        ("shop.logout", 1, "Fail"),
    ]
    assert company.run("map", "shop.login", "TC1").status == 0
    assert company.run("ignore", "shop.logout").status == 0
    told = company.once()

    assert company.verdicts(pipeline) == {"TC1/1": "Pass"}
    assert (told["held"], told["pipelines_read"]) == (0, 0)
    assert company.status()["tests"]["ignored"] == 1
    polled = [entry.path for entry in company.gitlab.server.log][asked:]
    assert not [path for path in polled if "artifacts" in path or "jobs" in path]


def test_mapping_a_held_test_revises_a_result_only_when_the_verdict_changes(company: Company) -> None:
    """A passing test joins what was sent; a failing one makes revision 2."""
    pipeline = company.pipeline({"unit": junit("login_TC1", "fine", "bad!")})
    company.once()

    company.map(("shop.fine", "TC1"))
    assert company.once()["writes"] == 0
    assert company.status()["tests"]["merged"] == 1

    company.map(("shop.fine", "TC1"), ("shop.bad", "TC1"))
    company.once()
    assert company.verdicts(pipeline) == {"TC1/1": "Pass", "TC1/2": "Fail"}


def test_remapping_and_ignoring_never_send_again_or_take_back(company: Company) -> None:
    """A re-mapped test makes a result for its new test case only; an ignored one leaves what was sent."""
    pipeline = company.pipeline({"unit": junit("a_TC1", "b_TC2", "c_TC3")})
    company.once()

    company.map(("shop.a_TC1", "TC5"), ("shop.b_TC2", "TC3"), ("shop.c_TC3", "-"))
    company.once()

    assert company.verdicts(pipeline) == {"TC1/1": "Pass", "TC2/1": "Pass", "TC3/1": "Pass", "TC5/1": "Pass"}
    assert company.once()["writes"] == 0


def test_skipped_tests_get_a_verdict_when_the_config_gives_them_one(company: Company) -> None:
    """Under `ignore` they have none; with a verdict they count like any other."""
    company.configure(rally={"settle_after_seconds": 0}, results={"skipped": "Blocked"})
    pipeline = company.pipeline({"unit": junit("a_TC1?", "b_TC2")})

    company.once()

    assert company.verdicts(pipeline) == {"TC1/1": "Blocked", "TC2/1": "Pass"}


def test_a_verdict_word_that_the_workspace_does_not_have_stops_sending(company: Company) -> None:
    """Nothing is refused for a slip in the config: nothing is sent until it is corrected."""
    company.configure(rally={"settle_after_seconds": 0}, results={"skipped": "Blokced"})
    pipeline = company.pipeline({"unit": junit("a_TC1?", "b_TC2")})

    ran = company.run("--once")
    assert ran.status == 1
    assert "results.skipped" in ran.err
    assert company.writes() == 0

    company.configure(rally={"settle_after_seconds": 0}, results={"skipped": "Blocked"})
    company.once()
    assert company.verdicts(pipeline) == {"TC1/1": "Blocked", "TC2/1": "Pass"}


def test_a_test_case_that_rally_does_not_have_holds_its_tests_until_it_is_there(company: Company) -> None:
    """Held and not refused, with the reason; the next refresh finds it."""
    pipeline = company.pipeline({"unit": junit("login_TC77")})
    assert company.once()["held"] == 1
    assert "TC77" in company.run("--json", "review").json[0]["reason"]

    root = company.rally_store.find("Project", Name="Web Shop")[0]
    company.rally_store.add_test_case(root, "Login", "TC77")
    company.once()

    assert company.verdicts(pipeline) == {"TC77/1": "Pass"}


def test_test_cases_outside_the_root_project_are_not_used(company: Company) -> None:
    """A project beside the root is out of scope, one below it is in scope."""
    workspace = company.rally_store.find("Workspace", Name="Acme")[0]
    root = company.rally_store.find("Project", Name="Web Shop")[0]
    beside = company.rally_store.add_project(workspace, "Other")
    below = company.rally_store.add_project(workspace, "Checkout", root)
    company.rally_store.add_test_case(beside, "Elsewhere", "TC50")
    company.rally_store.add_test_case(below, "Below", "TC51")
    pipeline = company.pipeline({"unit": junit("a_TC50", "b_TC51")})

    assert company.once()["held"] == 1
    assert company.verdicts(pipeline) == {"TC51/1": "Pass"}


def test_a_deleted_test_case_holds_its_tests_and_refuses_none(company: Company) -> None:
    """The cache still knows it when it is used; Rally's answer is checked and believed."""
    company.once()
    company.rally_store.delete(company.cases["TC1"])
    pipeline = company.pipeline({"unit": junit("a_TC1", "b_TC2")})

    told = company.once()

    assert company.verdicts(pipeline) == {"TC2/1": "Pass"}
    assert (told["held"], told["refused"]) == (1, 0)


def test_dry_run_names_exactly_what_the_next_pass_sends_and_writes_nothing(company: Company) -> None:
    """The plan is the pass: same keys, same verdicts, same dates."""
    company.map(("shop.pay[*]", "TC3"))
    company.pipeline({"unit": junit("a_TC1", "pay[1]!", "pay[2]", "held")})
    company.pipeline({"unit": junit("a_TC1!!")})

    ran = company.run("--json", "--once", "--dry-run")
    assert ran.status == 0
    assert company.writes() == 0
    assert company.status()["entries"] == {"intended": 0, "done": 0, "refused": 0}

    company.once()
    results = [action for action in ran.json["actions"] if action["kind"] == "result"]
    files = [action for action in ran.json["actions"] if action["kind"] == "attachment"]
    planned = {(a["key"], a["verdict"], a["build"], a["test_case"], a["date"]) for a in results}
    sent = {
        (key, str(r["Verdict"]), str(r["Build"]), str(r["FormattedID"]), str(r["Date"]))
        for key, r in zip(company.results(), company.rally_store.results(), strict=True)
    }
    assert planned == sent
    attached = {
        (r["Build"], r["FormattedID"], file["Name"], file["Size"])
        for r in company.rally_store.results()
        for file in r["Attachments"]  # type: ignore[attr-defined] # the store gives objects
    }
    assert {(a["build"], a["test_case"], a["name"], a["size"]) for a in files} == attached
    assert len(files) == 2
    assert company.run("--json", "--once", "--dry-run").json == {"actions": []}


def test_a_field_in_rally_maps_tests_by_their_key(company: Company) -> None:
    """`mapping.rally_field` names the TestCase attribute that holds the key."""
    company.configure(rally={"settle_after_seconds": 0}, mapping={"rally_field": "Objective"})
    company.rally_store.change(company.cases["TC4"], Objective="shop.login")
    pipeline = company.pipeline({"unit": junit("login")})

    company.once()

    assert company.verdicts(pipeline) == {"TC4/1": "Pass"}


def test_only_configured_refs_and_sources_are_sent(company: Company) -> None:
    """Patterns of branches, and GitLab's own words for what started a pipeline."""
    company.configure(
        rally={"settle_after_seconds": 0},
        gitlab={"refs": ["main", "release/*"], "sources": ["push", "schedule"]},
    )
    wanted = [company.pipeline({"u": junit("a_TC1")}, ref=ref) for ref in ("main", "release/1.0")]
    company.pipeline({"u": junit("a_TC1")}, ref="feature/x")
    company.pipeline({"u": junit("a_TC1")}, ref="main", source="web")

    company.once()

    assert [list(company.verdicts(pipeline)) for pipeline in wanted] == [["TC1/1"], ["TC1/1"]]
    assert len(company.results()) == 2


def test_groups_bring_every_project_below_them(company: Company) -> None:
    """Also one that is added later; a project named twice is read once."""
    company.configure(rally={"settle_after_seconds": 0}, gitlab={"projects": ["qa/web-shop"], "groups": ["qa"]})
    company.pipeline({"u": junit("a_TC1")})
    company.once()
    company.project = company.gitlab.store.add_project("qa/sub/new")
    later = company.pipeline({"u": junit("a_TC1!")})

    told = company.once()

    assert told["pipelines_read"] == 1
    assert company.verdicts(later) == {"TC1/1": "Fail"}


def test_backfill_reads_the_past_and_reads_nothing_twice(company: Company) -> None:
    """What the first look leaves out comes with --backfill; a second one downloads nothing."""
    old = [
        company.pipeline({"u": junit("a_TC1")}, created_at=ago(days=n), updated_at=ago(days=n)) for n in (40, 20, 10)
    ]
    assert company.once()["pipelines_read"] == 0

    since, until = ago(days=30).date().isoformat(), ago(days=15).date().isoformat()
    ran = company.run("--json", "--backfill", "--since", since, "--until", until)
    assert (ran.status, ran.json["pipelines_read"]) == (0, 1)
    assert [bool(company.verdicts(pipeline)) for pipeline in old] == [False, True, False]

    ran = company.run("--json", "--backfill", "--since", since)
    assert (ran.status, ran.json["pipelines_read"], ran.json["writes"]) == (0, 1, 1)
    asked = len(company.gitlab.server.log)
    ran = company.run("--json", "--backfill", "--since", since)
    assert (ran.json["pipelines_read"], ran.json["writes"]) == (0, 0)
    assert not [e for e in list(company.gitlab.server.log)[asked:] if "artifacts" in e.path or "/jobs" in e.path]


def test_backfill_pages_by_value_through_many_pipelines(company: Company) -> None:
    """More pipelines than a page holds, several with one and the same time."""
    moment = ago(days=9)
    for n in range(130):
        at = moment if n % 3 else moment - timedelta(seconds=n)
        company.pipeline({}, created_at=at, updated_at=at)

    ran = company.run("--json", "--backfill", "--since", ago(days=10).isoformat())

    assert ran.json["pipelines_read"] == 130


def test_backfill_of_one_project_leaves_the_others_alone(company: Company) -> None:
    """By path or by id; a project that the config does not name is said, and status 1."""
    other = company.gitlab.store.add_project("qa/other")
    company.configure(rally={"settle_after_seconds": 0}, gitlab={"projects": ["qa/web-shop", other.id]})
    old = {"created_at": ago(days=9), "updated_at": ago(days=9)}
    here = company.pipeline({"u": junit("a_TC1")}, **old)
    company.project = other
    there = company.pipeline({"u": junit("a_TC1")}, **old)
    words = ("--json", "--backfill", "--since", ago(days=30).date().isoformat(), "--project")

    assert company.run(*words, "qa/web-shop").json["pipelines_read"] == 1
    assert list(company.results()) == [f"{here.project.id}/{here.id}/TC1/1"]
    assert company.run(*words, str(other.id)).json["pipelines_read"] == 1
    assert company.verdicts(there) == {"TC1/1": "Pass"}
    ran = company.run(*words, "qa/nowhere")
    assert (ran.status, "qa/nowhere" in ran.err) == (1, True)
