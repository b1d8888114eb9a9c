"""`reconciler demo`: its story as a process, and the facts behind it on the same stage."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from reconciler.sandbox import demo_facts
from reconciler.sandbox.demo import Story
from reconciler.sandbox.demo_company import NoReports, find_reports
from reconciler.sandbox.demo_stage import CommandFailed, Ran, Stage, set_stage
from reconciler.sandbox.rally import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from reconciler.sandbox.demo_facts import PipelineFacts, Result


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
    assert len(re.findall(r"^ +yes ", told, re.MULTILINE)) >= 6
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
    """The company's day, brought to Rally in two passes with a retried job between them."""

    stage: Stage
    passes: list[Ran]
    results: list[Result]
    pipelines: dict[int, PipelineFacts]

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
        stage.company.retry_smoke(datetime.now(UTC))
        passes.append(stage.run("--once"))
        results = demo_facts.stored_results(stage.rally_store)
        facts = demo_facts.pipelines(stage.ledger, stage.company.gitlab, results)
        yield Day(stage, passes, results, {one.id: one for one in facts})


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


def test_the_stand_ins_had_nothing_to_complain_about(day: Day) -> None:
    """No crash, no parameter that GitLab does not know, and no token at the object store."""
    gitlab = day.stage.gitlab
    assert [*gitlab.server.crashes, *gitlab.objects_server.crashes, *day.stage.rally.crashes] == []
    assert gitlab.app.unknown_parameters == []
    assert gitlab.objects.leaks == []
    assert len(gitlab.objects.received) > 0


# --- when something does not hold ------------------------------------------------------------------------------------


def test_a_key_that_two_results_carry_is_found() -> None:
    """So is a result that carries none."""
    store = Store()
    project = store.add_project(store.add_workspace("Acme"), "Web Shop")
    case = store.add_test_case(project, "Login", "TC1")
    for _ in range(2):
        store.add_result(case, "GitLab-7", Notes="<div>21/7/TC1/1</div>")
    store.add_result(case, "by hand", Notes="")
    assert demo_facts.doubled_keys(demo_facts.stored_results(store)) == ["21/7/TC1/1", "no key in by hand"]


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
