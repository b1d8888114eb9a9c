"""`reconciler demo`: its story as a process, and the facts behind it on the same stage."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import pytest
import requests
from rich.console import Console

from reconciler.sandbox import demo_claims, demo_facts, demo_files, demo_rally, demo_sprint
from reconciler.sandbox.demo import Story
from reconciler.sandbox.demo_company import TRACE, NoReports, find_reports
from reconciler.sandbox.demo_stage import CommandFailed, Ran, Stage, set_stage
from reconciler.sandbox.rally import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from reconciler.sandbox.demo_facts import PipelineFacts, Result
    from reconciler.sandbox.demo_sprint import Mark
    from reconciler.sandbox.rally import Thing


def run_demo(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `reconciler demo` where no terminal says how wide it is."""
    return subprocess.run(
        [sys.executable, "-m", "reconciler", "demo", *arguments],
        env={name: value for name, value in os.environ.items() if name != "COLUMNS"} | environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


# --- the story -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Name a folder for what the demo keeps."""
    return tmp_path_factory.mktemp("demo") / "kept"


@pytest.fixture(scope="module")
def story(kept: Path) -> str:
    """Run the demo once."""
    done = run_demo("--keep", str(kept))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout


def test_the_demo_accounts_for_every_test(story: str) -> None:
    """The conservation line names the states, and the numbers add up."""
    line = " ".join(story.split())
    found = re.search(r"read (\d+) = ((?:\w+ \d+ ?\+? ?)+); unaccounted (\d+)", line)
    assert found
    assert int(found[1]) == sum(map(int, re.findall(r"\d+", found[2])))
    assert found[3] == "0"


def test_the_demo_shows_the_second_revision_and_an_idle_third_pass(story: str) -> None:
    """The retried job's result stands beside the first one; then there is nothing to do."""
    assert re.search(r"TC1032 The stock service answers +2 +Pass +Fail in revision 1", story)
    assert "Nothing to do, 0 writes" in story
    assert "0 writes." in story


def test_the_demo_shows_what_a_failed_browser_test_brought_along(story: str) -> None:
    """Picture and output on the result, the trace as a link with its size and day, and what was fetched of it."""
    told = story[story.index("2  Files") : story.index("3  Sprint")]
    assert re.search(
        r"Attached  test_output\.log, [\d,]+ bytes, text/plain\s+test-failed-1\.png, 1,139 bytes, image/png", told
    )
    assert re.search(r"trace\.zip, 60\.0 MB, in GitLab until \d{4}-\d\d-\d\d, a link only", told)
    assert "/error-context.md:thejob'sarchivehasnosuchfile" in "".join(told.split())
    [link] = re.findall(r"Link +(.*?)\n {3}\S", told, re.DOTALL)
    assert re.sub(r"\s", "", link).endswith(f"/artifacts/file/{TRACE}")
    assert "sent 0.3 MB of it in 1 request, and 0 bytes of the trace." in " ".join(told.split())
    assert "has 60.6 MB" in told


def test_the_demo_shows_the_sprints_sets_and_what_a_story_brings_while_it_runs(story: str) -> None:
    """Two sets of one name with their coverage, a test case that no set takes, and the new story's in the next pass."""
    told = story[story.index("3  Sprint") : story.index("4  Review")]
    assert re.search(r"Web Shop +Sprint-42-Automated-Tests +7 +2 +4 +· +1 +85\.7 %", told)
    assert re.search(r"Payments +Sprint-42-Automated-Tests +6 +3 +1 +1 +1 +83\.3 %", told)
    assert "TC1095 is in no set: its project has no iteration 'Sprint 42'" in told
    second = " ".join(story[story.index("5  Second") : story.index("6  Third")].split())
    assert "4 results and 3 members sent in 2 writes" in second
    assert "TC1031, TC1032, TC1038 came into Sprint-42-Automated-Tests of Web Shop" in second


def test_the_demo_says_what_to_do_about_a_held_test_and_which_report_is_unreadable(story: str) -> None:
    """A command to copy for a suggestion, one for a test that has none, and the cut report with its job."""
    assert "reconciler map 'test.discount never exceeds the price' TC1010" in story
    assert "reconciler ignore 'tests.api.test_smoke.test_health'" in story
    assert "mapped to TC1098, which Rally does not have" in story
    assert "flash tool (unreadable)" in story
    assert "the file ends in the middle of the report" in story


def test_everything_that_must_hold_holds(story: str) -> None:
    """No claim is answered with NO, and no traceback is anywhere."""
    told = story[story.index("What must hold") :]
    assert len(re.findall(r"^ +yes ", told, re.MULTILINE)) == 14
    assert not re.search(r"^ +NO ", told, re.MULTILINE)
    assert "Traceback" not in story


def test_without_a_terminal_tables_are_plain_and_fit_into_100_columns(story: str) -> None:
    """Only commands to copy and what belongs to them may be longer: they are never wrapped."""
    assert "\x1b" not in story
    assert [line for line in story.splitlines() if len(line) > 100 and "reconciler" not in line] == []


def test_what_is_kept_is_at_work_without_the_servers_and_holds_no_secret(story: str, kept: Path) -> None:
    """`status` reads the kept ledger; the config names environment variables only."""
    assert str(kept) in story
    assert {"config.toml", "ledger.db", "mapping.csv"} <= {path.name for path in kept.iterdir()}
    assert not re.search('glpat-|key *= *"_', (kept / "config.toml").read_text())
    command = [sys.executable, "-m", "reconciler", "--config", str(kept / "config.toml"), "status"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "unaccounted 0" in done.stdout


def test_a_folder_with_something_in_it_is_not_touched(tmp_path: Path) -> None:
    """A ledger of an earlier demo would make nonsense of this one: exit status 2 and one line."""
    (tmp_path / "mine").write_text("keep me")
    done = run_demo("--keep", str(tmp_path))
    assert (2, f"{tmp_path} is not empty: give --keep a new folder\n") == (done.returncode, done.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_users_own_environment_cannot_lead_the_demo_astray() -> None:
    """Proxies, overrides and secrets of a shell stay out; a terminal without umlauts loses letters, not the demo."""
    nowhere = "http://127.0.0.1:9"
    done = run_demo(
        HTTP_PROXY=nowhere,
        https_proxy=nowhere,
        RECONCILER_RALLY__WORKSPACE="Elsewhere",
        GITLAB_TOKEN="of somebody else",  # noqa: S106 - it must not be used
        PYTHONIOENCODING="ascii",
        COLUMNS="80",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "unaccounted 0" in " ".join(done.stdout.split())


# --- the facts -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Day:
    """The company's day, brought to Rally in two passes; between them a job was retried and a story added."""

    stage: Stage
    passes: list[Ran]
    results: list[Result]
    pipelines: dict[int, PipelineFacts]
    marks: list[Mark]

    def of(self, project: str, jobs: str) -> dict[str, list[Result]]:
        """Give the results of the pipeline of a project that has these jobs, by FormattedID."""
        [number] = [f.id for f in self.pipelines.values() if (f.project, ", ".join(sorted(f.jobs))) == (project, jobs)]
        found: dict[str, list[Result]] = defaultdict(list)
        for result in self.results:
            if result.build == f"GitLab-{number}":
                found[result.formatted_id].append(result)
        return found

    def verdicts(self, project: str, jobs: str) -> dict[str, list[str]]:
        """Give the verdicts of those results, in the order of their revisions."""
        return {case: [result.verdict for result in found] for case, found in self.of(project, jobs).items()}


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    """Play the day on a stage of its own."""
    with set_stage(tmp_path_factory.mktemp("stage")) as stage:
        passes = [stage.run("--once")]
        marks = [demo_sprint.mark(stage.rally_store, len(stage.rally.log))]
        stage.company.retry_smoke(datetime.now(UTC))
        demo_sprint.add_story(stage.rally_store)
        passes.append(stage.run("--once"))
        marks.append(demo_sprint.mark(stage.rally_store, len(stage.rally.log)))
        results = demo_facts.stored_results(stage.rally_store)
        facts = demo_facts.pipelines(stage.ledger, stage.company.gitlab, results)
        yield Day(stage, passes, results, {one.id: one for one in facts}, marks)


def test_all_passes_end_well_and_what_they_say_is_what_rally_has(day: Day) -> None:
    """Exit status 0, and the sum of `results_sent` is the number of stored results, none of them twice."""
    assert [ran.status for ran in day.passes] == [0, 0]
    assert len(day.results) == sum(ran.answer["results_sent"] for ran in day.passes)
    assert demo_facts.doubled_keys(day.results) == []


def test_a_job_that_is_retried_after_the_first_pass_adds_a_second_revision(day: Day) -> None:
    """What was sent stays: TC1032 failed in revision 1 and passed in revision 2 of one Build."""
    found = day.of("qa/web-shop", "smoke api")["TC1032"]
    assert [(result.revision, result.verdict) for result in found] == [(1, "Fail"), (2, "Pass")]


def test_shards_make_one_result_with_the_worst_verdict(day: Day) -> None:
    """Parameters of one test that ran in three jobs are one result."""
    verdicts = day.verdicts("qa/payments", "api")
    assert {case: verdicts[case] for case in ("TC1041", "TC1046", "TC1040", "TC1047")} == {
        "TC1041": ["Pass"],
        "TC1046": ["Pass"],
        "TC1040": ["Fail"],
        "TC1047": ["Error"],
    }
    notes = day.of("qa/payments", "api")["TC1046"][0].notes
    assert all(f"api {shard}/3" in notes for shard in (1, 2, 3))


def test_cells_of_a_matrix_make_one_result_with_the_worst_verdict(day: Day) -> None:
    """The total is wrong in the German browser only."""
    verdicts = day.verdicts("qa/web-shop", "api, e2e")
    assert {case: verdicts[case] for case in ("TC1061", "TC1063")} == {"TC1061": ["Pass"], "TC1063": ["Fail"]}
    assert "TC1064" not in verdicts  # skipped everywhere: silence is not success


def test_a_test_that_passed_on_a_rerun_passes_and_its_notes_say_so(day: Day) -> None:
    """The explicit reruns of surefire; ant ran the same test once, in a child pipeline with a Build of its own."""
    [flaky] = day.of("qa/payments", "java")["TC1034"]
    assert flaky.verdict == "Pass"
    assert "rerun" in flaky.notes
    assert day.verdicts("qa/payments", "java-ant")["TC1034"] == ["Fail"]


def test_two_files_of_one_report_artifact_are_both_read(day: Day) -> None:
    """The runner packs each file as a gzip member of its own: here those of CaptureTest and FeeTest."""
    assert {"TC1033", "TC1057"} <= set(day.of("qa/payments", "java"))


def test_a_test_that_names_two_test_cases_counts_for_both(day: Day) -> None:
    """Pytest's record_property twice."""
    found = day.of("qa/web-shop", "api, e2e")
    assert [len(found[case]) for case in ("TC1027", "TC1028")] == [1, 1]


def test_reports_that_lie_in_the_archive_only_are_read_too(day: Day) -> None:
    """The unit tests of the firmware upload no reports:junit."""
    assert {"TC1081", "TC1082", "TC1084"} <= set(day.of("platform/firmware", "board, unit"))


def test_only_the_newest_attempt_of_a_job_counts(day: Day) -> None:
    """The key server was down at the first attempt; it was retried before anything was read."""
    assert day.verdicts("platform/firmware", "flash tool, hil")["TC1095"] == ["Pass"]


def test_a_cut_report_counts_for_nothing_and_holds_up_nothing(day: Day) -> None:
    """It is a problem of its job; the other job of the pipeline is sent."""
    facts = next(one for one in day.pipelines.values() if one.unreadable)
    assert facts.unreadable == {"flash tool"}
    assert {"TC1081", "TC1082", "TC1084"} == set(day.of("platform/firmware", "flash tool, unit"))
    kinds = {problem["kind"] for problem in day.stage.run("status").answer["problems"]}
    assert "truncated" in kinds


def test_a_test_case_that_rally_does_not_have_holds_its_test(day: Day) -> None:
    """TC1098 is left out of the stand-in Rally: nothing is refused, and the review says why."""
    queue: list[dict[str, Any]] = day.stage.run("review").answer
    [row] = [row for row in queue if "TC1098" in row["test"]]
    assert "TC1098" in row["reason"]
    assert "TC1098" not in {result.formatted_id for result in day.results}


def test_a_failed_browser_test_has_its_files_on_its_result(day: Day) -> None:
    """Its output; its picture byte for byte, once, though both attempts took the same; a trace of 60 MB as a link."""
    job = day.stage.company.browser
    result = demo_files.of_browser_test(day.results, job)
    assert result is not None
    files = {file.name: file for file in demo_files.attached(day.stage.rally_store, result)}
    assert {name: file.content_type for name, file in files.items()} == {
        "test_output.log": "text/plain",
        "test-failed-1.png": "image/png",
    }
    assert demo_files.pictures(job) >= {files["test-failed-1.png"].data}
    assert "19,90 €" in files["test_output.log"].data.decode()
    assert [link.partition("/-/jobs/")[2] for link in demo_files.links(result)] == [f"{job.id}/artifacts/file/{TRACE}"]


def test_the_object_stores_log_shows_that_no_byte_of_the_trace_was_fetched(day: Day) -> None:
    """One request for the end of the archive brought its directory and the picture."""
    fetched = demo_files.fetched(day.stage.gitlab, day.stage.company.browser)
    assert (fetched.requests, fetched.trace_bytes) == (1, 0)
    assert fetched.archive_bytes > 60_000_000
    assert fetched.sent_bytes < fetched.archive_bytes / 100


def test_all_that_status_tells_of_files_is_in_rally(day: Day) -> None:
    """Nothing waits, nothing was refused, and no content lies about."""
    told: dict[str, int] = day.stage.run("status").answer["attachments"]
    there = len(day.stage.rally_store.find("Attachment"))
    assert told == {"pending": 0, "done": there, "linked": 1, "missing": 5, "refused": 0, "orphaned": 0}
    assert there == sum(ran.answer["attachments_sent"] for ran in day.passes)


def test_two_projects_that_share_a_sprint_have_a_set_each_filled_and_carried(day: Day) -> None:
    """By Rally's own store: who is in it, whose results carry it, and what the ledger says of it."""
    sets = {one.project: one for one in day.marks[1].sets}
    assert {project: one.name for project, one in sets.items()} == dict.fromkeys(
        ("Web Shop", "Payments"), "Sprint-42-Automated-Tests"
    )
    assert sets["Payments"].members == {"TC1042", "TC1043", "TC1044", "TC1047", "TC1048", "TC1049"}
    assert len(sets["Web Shop"].members) == 10
    carrying = {one.formatted_id for one in day.results if one.test_set == sets["Payments"].object_id}
    assert carrying == sets["Payments"].members - {"TC1044"}
    told = {row["project"]: row for row in day.stage.run("status").answer["sprints"]}
    assert (told["Payments"]["coverage"], told["Payments"]["not_run"]) == (83.3, ["TC1044"])
    assert [one["test_case"] for one in told["Web Shop"]["not_placeable"]] == ["TC1095"]


def test_test_cases_are_in_the_set_before_a_result_carries_it(day: Day) -> None:
    """Rally's log of each pass: sets, then members, then results; a revision that came before the story has no set."""
    entries = day.stage.rally.log.entries()
    for first, stop in ((0, day.marks[0].requests), (day.marks[0].requests, day.marks[1].requests)):
        kinds = [entry.route.rpartition("v2.0/")[2] for entry in entries[first:stop] if entry.is_write]
        order = [kinds.index(kind) for kind in ("testset/{n}/TestCases/add", "batch")]
        assert order == sorted(order)
        assert "testset/create" not in kinds[order[0] :]
    [shop] = [one.object_id for one in day.marks[1].sets if one.project == "Web Shop"]
    found = day.of("qa/web-shop", "smoke api")["TC1032"]
    assert [result.test_set for result in found] == [None, shop]


def test_a_quiet_sprint_asks_four_questions(day: Day) -> None:
    """Iterations, stories, defects and test sets, each once; none of test cases, and nobody is looked for in a set."""
    asked = len(day.stage.rally.log)
    day.stage.run("--sprint-sets")
    kinds = [entry.route.rpartition("v2.0/")[2] for entry in day.stage.rally.log.entries()[asked:]]
    assert kinds[-4:] == ["iteration", "hierarchicalrequirement", "defect", "testset"]
    assert not {"testcase", "testset/{n}/TestCases"} & set(kinds)


def test_the_stand_ins_had_nothing_to_complain_about(day: Day) -> None:
    """No crash, no parameter that GitLab does not know, and no token at the object store."""
    gitlab = day.stage.gitlab
    assert [*gitlab.server.crashes, *gitlab.objects_server.crashes, *day.stage.rally.crashes] == []
    assert gitlab.app.unknown_parameters == []
    assert gitlab.objects.leaks == []
    assert len(gitlab.objects.received) > 0


# --- when something does not hold ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("asked", "of_trace"), [("bytes=0-9", 10), ("bytes=59999990-60100000", 161), ("bytes=-9", 0)])
def test_bytes_of_the_trace_that_leave_the_object_store_are_counted(tmp_path: Path, asked: str, of_trace: int) -> None:
    """So that the claim can be false: the trace is the first file of its archive, with its header before it."""
    with set_stage(tmp_path) as stage:
        job, objects = stage.company.browser, stage.gitlab.objects
        assert job.archive is not None
        key = f"artifacts/{job.pipeline.project.id}/{job.id}/artifacts.zip"
        objects.put(key, job.archive)
        requests.get(objects.presign(key), headers={"Range": asked}, timeout=10).raise_for_status()
        fetched = demo_files.fetched(stage.gitlab, job)
    assert (fetched.requests, fetched.trace_bytes) == (1, of_trace)


def test_a_key_that_two_results_carry_is_found() -> None:
    """So is a result that carries none."""
    store = Store()
    project = store.add_project(store.add_workspace("Acme"), "Web Shop")
    case = store.add_test_case(project, "Login", "TC1")
    for _ in range(2):
        store.add_result(case, "GitLab-7", Notes="<div>21/7/TC1/1</div>")
    store.add_result(case, "by hand", Notes="")
    assert demo_facts.doubled_keys(demo_facts.stored_results(store)) == ["21/7/TC1/1", "no key in by hand"]


@dataclass(frozen=True, slots=True)
class Sprint:
    """A Rally in which somebody did by hand what two passes do, and what `status` would say of it."""

    store: Store
    sets: dict[str, Thing]
    marks: list[Mark]

    def add_result(self, formatted_id: str, project: str = "") -> Thing:
        """Add a result by hand, which carries the set of this project."""
        [case] = self.store.find("TestCase", FormattedID=formatted_id)
        test_set = self.sets[project].oid if project else None
        return self.store.add_result(case, "GitLab-1", Notes="", TestSet=test_set)

    def claims(self) -> dict[str, bool]:
        """Give what is said of sets by its first words, and whether it holds."""
        coverages = [{"object_id": self.sets[name].oid, "coverage": told} for name, told in _COVERAGES.items()]
        told = demo_claims.about_sets(self.store, coverages, self.marks)
        return {text.partition(":")[0]: holds for text, holds in told}


_COVERAGES = {"Web Shop": 10.0, "Payments": 0.0}
_EACH = "each project has one set, with its test cases of the sprint"
_CARRY = "results carry the set that their test case is in"
_STATUS = "`status` tells the coverage that Rally has"


@pytest.fixture
def sprint() -> Sprint:
    """Fill both sets, let one result carry its set, and then let the story's test cases come."""
    store = demo_rally.found_rally("_key")
    demo_sprint.plan_sprint(store, date(2026, 1, 31))
    sets = {}
    for iteration in store.find("Iteration"):
        project = store.get(iteration.fields["Project"])
        assert project is not None
        sets[project.name] = store.add_test_set(project, "Sprint-42-Automated-Tests", iteration)
    made = Sprint(store, sets, [])
    for step in (lambda: None, lambda: demo_sprint.add_story(store)):
        step()
        for one in demo_sprint.sets(store):
            for case in one.wanted - one.members:
                store.enrol(sets[one.project], *store.find("TestCase", FormattedID=case))
        if not made.marks:
            made.add_result("TC1061", "Web Shop")
        made.marks.append(demo_sprint.mark(store, 0))
    return made


def test_the_claims_about_sets_hold_where_all_is_well(sprint: Sprint) -> None:
    """So that those below fail for the reason that they name."""
    assert sprint.claims() == {_EACH: True, _CARRY: True, _STATUS: True}


def test_a_test_case_that_is_missing_in_a_set_makes_the_claim_false(sprint: Sprint) -> None:
    """So does one that does not belong there."""
    [case] = sprint.store.find("TestCase", FormattedID="TC1042")
    sprint.store.expel(sprint.sets["Payments"], case)
    assert sprint.claims() == {_EACH: False, _CARRY: True, _STATUS: True}
    sprint.store.enrol(sprint.sets["Payments"], case)
    sprint.store.enrol(sprint.sets["Payments"], *sprint.store.find("TestCase", FormattedID="TC1060"))
    assert not sprint.claims()[_EACH]


def test_a_second_set_of_a_project_makes_the_claim_false(sprint: Sprint) -> None:
    """Wherever it is."""
    [project] = sprint.store.find("Project", Name="Web Shop")
    sprint.store.add_test_set(project, "Sprint-42-Automated-Tests")
    assert not sprint.claims()[_EACH]


def test_a_result_without_its_set_or_with_one_that_is_not_its_own_makes_the_claim_false(sprint: Sprint) -> None:
    """TC1062 is in none."""
    wrong = sprint.add_result("TC1062", "Web Shop")
    assert not sprint.claims()[_CARRY]
    sprint.store.delete(wrong)
    assert sprint.claims()[_CARRY]
    sprint.add_result("TC1021")
    assert not sprint.claims()[_CARRY]


def test_a_coverage_that_is_not_rallys_makes_the_claim_false(sprint: Sprint) -> None:
    """A further test case was run, and `status` says what it said before."""
    sprint.add_result("TC1021", "Web Shop")
    assert sprint.claims() == {_EACH: True, _CARRY: True, _STATUS: False}


def test_a_story_whose_test_cases_do_not_come_makes_the_claim_false(day: Day) -> None:
    """They are there with the pass after it, by one request, and no other came with them."""
    first, second = day.marks
    entries = day.stage.rally.log.entries()[first.requests : second.requests]
    assert demo_claims.about_the_added_story(entries, [first, second])[1]
    assert not demo_claims.about_the_added_story(entries, [first, first])[1]
    assert not demo_claims.about_the_added_story([], [first, second])[1]
    less = replace(first, sets=tuple(replace(one, members=frozenset()) for one in first.sets))
    assert not demo_claims.about_the_added_story(entries, [less, second])[1]
    assert not demo_claims.about_the_added_story(entries, [replace(first, sets=()), second])[1]


def test_missing_reports_are_one_clear_line(tmp_path: Path) -> None:
    """Both places are named."""
    with pytest.raises(NoReports, match=r"missing: neither .*tests/data nor .*sandbox/data"):
        find_reports(tmp_path / "reconciler")


def test_an_installation_without_a_checkout_has_its_own_reports(tmp_path: Path) -> None:
    """The wheel carries them inside of the package."""
    mark = tmp_path / "reconciler" / "sandbox" / "data" / "pytest" / "shard-1.xml"
    mark.parent.mkdir(parents=True)
    mark.touch()
    assert find_reports(tmp_path / "reconciler") == tmp_path / "reconciler" / "sandbox" / "data"


def test_a_claim_that_does_not_hold_is_said_and_fails_the_demo(tmp_path: Path) -> None:
    """Somebody else's Rally has a result of ours twice: the story is told to its end, and the answer is No."""
    told = io.StringIO()
    with set_stage(tmp_path) as stage:
        [case] = stage.rally_store.find("TestCase", FormattedID="TC1001")
        for _ in range(2):
            stage.rally_store.add_result(case, "GitLab-77", Notes="<div>21/77/TC1001/1</div>")
        holds = Story(Console(file=told, width=100, markup=False, highlight=False), stage).tell()
    assert not holds
    assert re.search(r"NO +Rally has each result once: \d+ results, doubled \['21/77/TC1001/1'\]", told.getvalue())
    assert re.search(r"NO +the ledger and Rally agree", told.getvalue())


def test_a_first_pass_that_brings_nothing_ends_the_story_with_its_reason(tmp_path: Path) -> None:
    """What the command said is in the error."""
    with set_stage(tmp_path) as stage:
        stage.environment["RALLY_API_KEY"] = "_unknown"
        with pytest.raises(CommandFailed, match=r"brought nothing to Rally:\n(?s:.*)Rally"):
            Story(Console(file=io.StringIO()), stage).tell()


def test_a_pass_that_fails_is_told_with_its_exit_status(tmp_path: Path) -> None:
    """A key that Rally does not know: what was read is kept, and the pass says that something is left."""
    with set_stage(tmp_path) as stage:
        stage.environment["RALLY_API_KEY"] = "_unknown"
        ran = stage.run("--once")
        assert ran.status == 1
        assert ran.answer["left"] > 0
        assert any("Rally" in line for line in ran.said)
        assert demo_facts.stored_results(stage.rally_store) == []
