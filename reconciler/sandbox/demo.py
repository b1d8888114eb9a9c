"""`reconciler demo`: the main job from end to end, by the real command line, against stand-ins on this machine."""

from __future__ import annotations

import re
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler import show
from reconciler.errors import EXIT_DONE, EXIT_FAILED, EXIT_USAGE, ReconcilerError
from reconciler.sandbox import demo_claims, demo_facts, demo_files, demo_rally, demo_sprint, demo_telling
from reconciler.sandbox.demo_stage import CommandFailed, set_stage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import Console

    from reconciler.sandbox.demo_facts import Result
    from reconciler.sandbox.demo_sprint import Mark
    from reconciler.sandbox.demo_stage import Ran, Stage
    from reconciler.sandbox.rally import Thing

SHOWN = 5
"""How many held tests with a suggestion are shown."""
STATES = {
    "sent": "decided the verdict of a result in Rally",
    "merged": "the other tests of those results: parameters, shards, boards",
    "pending": "to be sent by the next pass",
    "held": "no test case in Rally yet: the review queue",
    "ignored": "skipped by their tool, or ignored by mapping.csv",
    "superseded": "of an attempt that was run again after it was read",
    "refused": "Rally said No",
}
"""What becomes of a test, in the words of `status`, and what that means."""
_PLAIN = re.compile(r"[\w-]+", re.ASCII)  # needs no quotes in a shell
_ABOUT_REPORTS = "A report cannot be read"


class FolderTaken(ReconcilerError):
    """The folder that the demo should keep its files in has something in it."""

    exit_status = EXIT_USAGE


def run(keep: Path | None) -> int:
    """Run the demo and tell its story; give the exit status: 0 only when everything that must hold did hold.

    Raises:
        ReconcilerError: the story could not be told to its end: a command failed, the reports are missing, or `keep`
            has something in it.
    """
    console = demo_telling.make_console()
    with _folder(keep) as folder, set_stage(folder) as stage:
        holds = Story(console, stage).tell()
    _how_to_go_on(console, keep)
    return EXIT_DONE if holds else EXIT_FAILED


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """Give a folder that is removed in the end, or the one that is to be kept."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="reconciler-demo-") as name:
            yield Path(name)
        return
    try:
        keep.mkdir(parents=True, exist_ok=True)
        taken = any(keep.iterdir())
    except OSError as error:
        raise FolderTaken(f"{keep} cannot be used: {error.strerror}: give --keep another folder") from error
    if taken:
        raise FolderTaken(f"{keep} is not empty: give --keep a new folder")
    yield keep.resolve()


@dataclass(frozen=True, slots=True)
class Story:
    """The story, told on a console while it happens on a stage."""

    console: Console
    stage: Stage

    def tell(self) -> bool:
        """Tell it from beginning to end; whether everything held that must."""
        self._scene()
        first = self._first_pass()
        marks = [self._mark()]
        self._files(first)
        story = self._sprint(marks[0])
        self._review()
        self._second_pass(first, story)
        marks.append(self._mark())
        self._third_pass(marks[1].requests)
        status = self.stage.run("status").answer
        self._problems(status["problems"])
        self._accounts(status["tests"])
        return self._what_must_hold(status, marks)

    def _mark(self) -> Mark:
        return demo_sprint.mark(self.stage.rally_store, len(self.stage.rally.log))

    def _scene(self) -> None:
        gitlab, rally = self.stage.company.gitlab, self.stage.rally_store
        below, test_cases = len(rally.find("Project")) - 1, len(rally.find("TestCase"))
        self.console.print("\nreconciler demo: a day of CI at Acme, over real HTTP on this machine\n", style="bold")
        rows = [
            ("GitLab (stand-in)", self.stage.gitlab.url),
            ("", f"{len(gitlab.projects)} projects, {len(gitlab.pipelines)} pipelines, {len(gitlab.jobs)} jobs"),
            ("Rally (stand-in)", self.stage.rally.url),
            ("", f"workspace {demo_rally.WORKSPACE}, {demo_rally.ROOT} and {below} projects, {test_cases} test cases"),
            ("config, mapping", str(self.stage.folder)),
            ("JUnit reports", str(self.stage.company.reports)),
            ("", "written by pytest, jest, Playwright, surefire, Robot Framework, GoogleTest and others"),
        ]  # fmt: skip
        demo_telling.two_columns(self.console, rows)
        self._say("\nEvery command below is run as a process of its own, with --config and --json added.", "dim")

    def _first_pass(self) -> list[Result]:
        self._heading(1, "First pass: what GitLab ran goes to Rally")
        ran = self._run("--once")
        results = demo_facts.stored_results(self.stage.rally_store)
        if not results:
            raise CommandFailed("\n".join(["the first pass brought nothing to Rally:", *ran.said]))
        facts = demo_facts.pipelines(self.stage.ledger, self.stage.company.gitlab, results)
        self._passed(ran)
        self.console.print(demo_telling.of_pipelines(facts))
        self._say(
            "Tests: read from JUnit reports. Pass, Fail, Error: results in Rally. Tests that belong to one test case "
            "(parameters, shards, matrix jobs) make one result with the worst verdict. Held: no test case is known.",
            "dim",
        )
        for result in demo_facts.made_of_most_jobs(self.stage.ledger, results):
            self._say("\nOne of these results, as a tester sees it in Rally:\n")
            demo_telling.of_one_result(self.console, result)
        return results

    def _files(self, results: Sequence[Result]) -> None:
        """Show what a failed browser test brought along: what is attached, what is a link, what is missing."""
        self._heading(2, "Files: what a failed browser test brings along")
        job = self.stage.company.browser
        result = demo_files.of_browser_test(results, job)
        if result is None:
            raise CommandFailed(f"the first pass brought no result of {demo_files.TEST_CASE} to Rally")
        self._say(
            f"{result.formatted_id} {result.name}: {result.verdict} in {result.build}, in one browser of three. "
            "What its result has in Rally:\n"
        )
        files = demo_files.attached(self.stage.rally_store, result)
        demo_telling.of_files(self.console, result, files, demo_files.links(result))
        self._say("The report names the picture. The trace is in no report: its folder is named after the test.", "dim")
        fetched = demo_files.fetched(self.stage.gitlab, job)
        self._say(
            f"\nThe archive of job “{job.name}” has {_megabytes(fetched.archive_bytes)}. By its own log, the stand-in "
            f"object store sent {_megabytes(fetched.sent_bytes)} of it in {_count(fetched.requests, 'request')}, and "
            f"{_count(fetched.trace_bytes, 'byte')} of the trace."
        )

    def _sprint(self, mark: Mark) -> Thing:
        """Show the sets that the first pass made and filled; then add a story to the sprint, as a person would."""
        self._heading(3, f"{demo_sprint.SPRINT}: two projects share it, and each has its test set")
        self._say(
            "People scheduled stories and defects in the sprint; nobody made a test set. The first pass made one in "
            "each project, put the test cases in, and then sent their results, which carry the set:\n"
        )
        sprints: list[dict[str, Any]] = self._run("status").answer["sprints"]
        self.console.print(demo_telling.of_sprints(sprints))
        self._say(f"Not run yet: {', '.join(case for row in sprints for case in row['not_run'])}.")
        for one in [one for row in sprints for one in row["not_placeable"]]:
            self._say(f"{one['test_case']} is in no set: {show.clean(one['reason'])}.")
        for project in [one.project for one in mark.sets if demo_sprint.STRAY in one.members]:
            self._say(f"{demo_sprint.STRAY} is in the set of its own project, {project}; its story is one of Web Shop.")
        story = demo_sprint.add_story(self.stage.rally_store)
        self._say(f"\nNow a person adds {_called(story)} to Web Shop's sprint, with {', '.join(demo_sprint.ADDED)}.")
        return story

    def _review(self) -> None:
        """Show the queue; then do as a person would: map the surest suggestion, ignore what needs no test case."""
        self._heading(4, "Review queue: tests that no Rally test case is known for")
        queue: list[dict[str, Any]] = self._run("review").answer
        surest = sorted((row for row in queue if row["suggestions"]), key=_score, reverse=True)
        astray = [row for row in queue if not row["suggestions"]]
        nowhere = [row for row in surest[SHOWN:] if row["reason"].startswith("mapped to")]
        shown = [*surest[:SHOWN], *nowhere, *astray[:1]]
        demo_telling.of_queue(self.console, shown)
        self._say(f"… and {len(queue) - len(shown)} more.", "dim")
        self._say("\nThe demo takes the surest suggestion, and ignores the test that nothing comes near to:\n")
        for row in surest[:1]:
            self._run("map", row["test"], row["suggestions"][0]["formatted_id"])
        for row in astray[:1]:
            self._run("ignore", row["test"])

    def _second_pass(self, first: Sequence[Result], story: Thing) -> None:
        smoke = self.stage.company.smoke
        self._heading(
            5, f"Second pass: the job “{smoke.name}” of pipeline {smoke.pipeline.id} was run again, and passed"
        )
        self.stage.company.retry_smoke(datetime.now(UTC))
        self._passed(self._run("--once"))
        old = {result.object_id for result in first}
        results = demo_facts.stored_results(self.stage.rally_store)
        new = [result for result in results if result.object_id not in old]
        self.console.print(demo_telling.of_results([(result, _before(result, first)) for result in new]))
        self._say("Revision 2 stands beside revision 1: no result is edited or deleted.", "dim")
        names = {one.object_id: f"{one.name} of {one.project}" for one in demo_sprint.sets(self.stage.rally_store)}
        for number, name in names.items():
            if cases := [result.formatted_id for result in new if result.test_set == number]:
                told = f"came into {name}, and then their new results carried it."
                self._say(f"\n{_called(story)} was added before this pass: {', '.join(cases)} {told}")

    def _third_pass(self, requests: int) -> None:
        self._heading(6, "Third pass: nothing has changed")
        self._passed(self._run("--once"))
        seen = self.stage.rally.log.entries()[requests:]
        reads = sum(not entry.is_write for entry in seen)
        self._say(f"The stand-in Rally's own log of this pass: {reads} reads, {len(seen) - reads} writes.")

    def _problems(self, problems: Sequence[Mapping[str, Any]]) -> None:
        self._heading(7, "Problems: what could not be read, and why")
        self._command("status")
        for problem in problems:
            job = self.stage.company.gitlab.jobs.get(problem["job"] or 0)
            name = f" “{job.name}” of {job.pipeline.project.path}" if job else ""
            self._say(f"pipeline {problem['pipeline']}, job {problem['job']}{name}: {problem['kind']}", "yellow")
            demo_telling.paragraph(self.console, show.clean(problem["detail"]), indent=5)
        self._say("Nothing of a report that is cut off is counted; the other jobs of its pipeline are.", "dim")

    def _accounts(self, tests: Mapping[str, int]) -> None:
        self._heading(8, "What became of every test")
        sums = " + ".join(f"{state} {number}" for state, number in tests.items() if state in STATES and number)
        self._say(f"read {tests['read']} = {sums}; unaccounted {tests['unaccounted']}\n", "bold")
        rows = [(state, f"{tests[state]:>4}  {meaning}") for state, meaning in STATES.items() if tests[state]]
        demo_telling.two_columns(self.console, rows)

    def _what_must_hold(self, status: Mapping[str, Any], marks: Sequence[Mark]) -> bool:
        self._heading(9, "What must hold")
        claims = demo_claims.make(self.stage, status, marks)
        demo_telling.claims(self.console, claims)
        return all(holds for _, holds in claims)

    # --- parts -------------------------------------------------------------------------------------------------------

    def _heading(self, number: int, title: str) -> None:
        self.console.print(f"\n{number}  {title}\n", style="bold")

    def _say(self, text: str, style: str = "") -> None:
        demo_telling.paragraph(self.console, text, style)

    def _command(self, *arguments: str) -> None:
        words = [word if _PLAIN.fullmatch(word) else show.quoted(word) for word in arguments]
        demo_telling.verbatim(self.console, f"$ reconciler {' '.join(words)}", "cyan")

    def _run(self, *arguments: str) -> Ran:
        """Run a command, and show it with the warnings that the rest of the story does not tell."""
        self._command(*arguments)
        with self.console.status("working"):
            ran = self.stage.run(*arguments)
        if ran.status:
            self._say(f"It ended with exit status {ran.status}.", "bold red")
        for line in ran.said:
            if ran.status or _ABOUT_REPORTS not in line:
                self._say(show.clean(line), "yellow")
        return ran

    def _passed(self, ran: Ran) -> None:
        """Say what a pass did, as the command does without --json."""
        did = ran.answer
        read, sent = _count(did["pipelines_read"], "pipeline"), _count(did["results_sent"], "result")
        counts = [(did["attachments_sent"], "file"), (did["test_sets_created"], "test set")]
        counts += [(did["members_added"], "member")]
        *more, last = [sent, *(_count(number, noun) for number, noun in counts if number)]
        what = f"{', '.join(more)} and {last}" if more else last
        told = f"{read} read, {what} sent in {_count(did['writes'], 'write')}"
        if not (did["pipelines_read"] or did["writes"] or did["left"]):
            told = "Nothing to do, 0 writes"
        left = f"; {did['left']} left for the next pass" if did["left"] else ""
        self._say(f"{told}{left} ({ran.took_s:.1f} s).")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"


def _called(thing: Thing) -> str:
    return f"{thing.formatted_id} “{thing.name}”"


def _score(row: Mapping[str, Any]) -> float:
    return float(row["suggestions"][0]["score"])


def _before(result: Result, older: Sequence[Result]) -> Result | None:
    """Find the newest result of the same pipeline and test case among older ones."""
    same = [one for one in older if (one.build, one.formatted_id) == (result.build, result.formatted_id)]
    return max(same, key=lambda one: one.revision, default=None)


def _how_to_go_on(console: Console, keep: Path | None) -> None:
    console.print("\nHow to go on\n", style="bold")
    steps = [
        ("1", "Copy config.toml from the top of the repository; set urls, workspace, project and projects."),
        ("2", "export GITLAB_TOKEN=… RALLY_API_KEY=… (GitLab's token needs the scope read_api)"),
        ("3", "reconciler --once --dry-run   shows what would be sent, and writes nothing to Rally"),
        ("4", "reconciler --once             makes one pass"),
        ("5", "reconciler                    is the daemon; a systemd unit is in systemd/"),
    ]
    demo_telling.two_columns(console, steps)
    kept = "reconciler demo --keep FOLDER keeps config, mapping and ledger."
    if keep is not None:
        kept = f"Kept: {keep}. In it, reconciler status, review, map and ignore work without the servers."
    demo_telling.paragraph(console, f"\n{kept}", "dim")
    console.print()
