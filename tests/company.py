"""A small company: a GitLab, a Rally, a config between them, and the command line as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape, quoteattr

from reconciler.errors import LedgerUnusable
from reconciler.ledger import views
from reconciler.ledger.store import open_for_reading
from reconciler.notes import read_key
from reconciler.sandbox.gitlab import GitLabServer, GitLabStore, real_clock
from reconciler.sandbox.rally import RallyApp, Store
from reconciler.sandbox.server import Server
from tests import accounting

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from reconciler.sandbox.gitlab import Filler, Job, Pipeline, Project
    from reconciler.sandbox.messages import LogEntry
    from reconciler.sandbox.rally import Thing
    from reconciler.sandbox.tls import TlsContext

TOKEN, KEY = "glpat-0123456789-secret", "_rally-0123456789-secret"
_MEASURED = """
import atexit, pathlib, re, sys
from reconciler.__main__ import main
peak, status = pathlib.Path(sys.argv.pop()), pathlib.Path("/proc/self/status")
atexit.register(lambda: peak.write_text(re.search(r"VmHWM:\\s*(\\d+) kB", status.read_text())[1]))
main()
"""
"""Runs the command line and writes down its peak of memory in KiB: what getrusage tells begins with the parent's."""


def junit(*cases: str) -> bytes:
    """Write a report: `name` passes, `name!` fails, `name!!` errors, `name?` is skipped."""
    return report(*map(case, cases))


def report(*elements: str) -> bytes:
    """Write a report of these elements."""
    return ("<testsuite>" + "".join(elements) + "</testsuite>").encode()


def case(said: str, out: str = "", properties: Mapping[str, str] | None = None) -> str:
    """Write one test as `junit` does, with what it printed and its properties."""
    name = said.rstrip("!?")
    child = {"!": '<failure message="no"/>', "!!": '<error message="no"/>', "?": "<skipped/>"}.get(
        said[len(name) :], ""
    )
    named = "".join(f"<property name={quoteattr(k)} value={quoteattr(v)}/>" for k, v in (properties or {}).items())
    more = f"<properties>{named}</properties>" if named else ""
    more += f"<system-out>{escape(out)}</system-out>" if out else ""
    return f'<testcase classname="shop" name="{name}" time="0.5">{child}{more}</testcase>'


def marked(*paths: str) -> str:
    """Write the output of a test that names these files."""
    return "".join(f"[[ATTACHMENT|{path}]]\n" for path in paths)


@dataclass(slots=True)
class Ran:
    """What one run of the command line came to."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON
        """What it printed."""
        return json.loads(self.out)


@dataclass(slots=True)
class Company:
    """The two services, their contents, and a folder with config and ledger."""

    folder: Path
    gitlab: GitLabServer
    rally: Server
    rally_app: RallyApp
    project: Project
    cases: dict[str, Thing]
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def rally_store(self) -> Store:
        """What Rally holds."""
        return self.rally_app.store

    def configure(self, **sections: dict[str, Any]) -> None:
        """Write config.toml: the usual, with these keys instead."""
        usual: dict[str, dict[str, Any]] = {
            "gitlab": {"url": self.gitlab.url, "token": "env:GITLAB_TOKEN", "projects": ["qa/web-shop"]},
            "rally": {
                "url": self.rally.url,
                "api_key": "env:RALLY_API_KEY",
                "workspace": "Acme",
                "project": "Web Shop",
            },
        }
        self.settings = {
            name: usual.get(name, {}) | sections.get(name, {}) for name in (*usual, *(sections.keys() - usual.keys()))
        }
        lines: list[str] = []
        for name, keys in self.settings.items():
            lines.append(f"[{name}]")
            lines += [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
        (self.folder / "config.toml").write_text("\n".join(lines) + "\n")

    def map(self, *rows: tuple[str, str]) -> None:
        """Write mapping.csv."""
        text = "".join(f'"{test}",{formatted_id}\n' for test, formatted_id in rows)
        (self.folder / "mapping.csv").write_text(f"test,formatted_id\n{text}")

    def pipeline(self, jobs: dict[str, bytes], **words: Any) -> Pipeline:  # noqa: ANN401 - the store's own words
        """Add a finished pipeline with a job for each report."""
        store = self.gitlab.store
        with store.lock:  # nobody sees the pipeline without its jobs
            pipeline = store.add_pipeline(self.project, **{"status": "success"} | words)
            for name, report in jobs.items():
                store.add_job(pipeline, name, finished_at=store.clock(), junit=[("junit.xml", report)])
        return pipeline

    def ran(
        self,
        reported: bytes,
        archive: Mapping[str, bytes | Filler] | bytes,
        pipeline: Pipeline | None = None,
        **words: Any,  # noqa: ANN401 - the store's own words
    ) -> Job:
        """Add a job with a report and an archive, in a pipeline of its own unless one is given."""
        store = self.gitlab.store
        with store.lock:
            within = pipeline or store.add_pipeline(self.project, status="failed")
            name = f"e2e {len(store.jobs_of(within)) + 1}"
            return store.add_job(
                within, name, finished_at=store.clock(), junit=[("junit.xml", reported)], archive=archive, **words
            )

    @property
    def root(self) -> Thing:
        """The root project in Rally."""
        return self.rally_store.find("Project", Name="Web Shop")[0]

    def child(self, name: str) -> Thing:
        """Add a project below the root one."""
        (workspace,) = self.rally_store.find("Workspace")
        return self.rally_store.add_project(workspace, name, self.root)

    def sprint(self, name: str = "Sprint 42", project: Thing | None = None, days: tuple[int, int] = (-3, 10)) -> Thing:
        """Add an iteration, of the root project unless told; it begins and ends so many days from today."""
        today = datetime.now(UTC).date()
        start, end = (today + timedelta(days=n) for n in days)
        return self.rally_store.add_iteration(project or self.root, name, start, end)

    def story(self, sprint: Thing | None, *cases: str, project: Thing | None = None) -> Thing:
        """Schedule a story with these test cases; those that there are not yet are made in its project."""
        store = self.rally_store
        where = project or (store.one(sprint.fields["Project"]) if sprint else self.root)
        story = store.add_story(where, "As a buyer I want to pay", sprint)
        for name in cases:
            if name in self.cases:
                store.change(self.cases[name], WorkProduct=story.oid)
            else:
                self.cases[name] = store.add_test_case(where, f"Test case {name[2:]}", name, work_product=story)
        return story

    def job(self, pipeline: Pipeline, name: str) -> Job:
        """Find the newest attempt of a job."""
        return next(job for job in self.gitlab.store.jobs_of(pipeline) if job.name == name)

    def command(self, *words: str) -> list[str]:
        """Give the command line for these words."""
        return [sys.executable, "-m", "reconciler", "--config", str(self.folder / "config.toml"), *words]

    def run(self, *words: str, **environment: str) -> Ran:
        """Run the command line to its end; whatever it did, every test is accounted for and no secret was shown."""
        return self._ended(self.command(*words), environment)

    def measured(self, *words: str, **environment: str) -> tuple[Ran, int]:
        """Run the command line as `run` does; what it came to, and the most memory that the process had, in KiB."""
        peak = self.folder / "peak"
        ran = self._ended([sys.executable, "-c", _MEASURED, *self.command(*words)[3:], str(peak)], environment)
        return ran, int(peak.read_text())

    def peak_kib(self, *words: str, **environment: str) -> int:
        """Run the command line to a good end; the most memory that the process had."""
        ran, peak = self.measured(*words, **environment)
        assert ran.status == 0, (ran.status, ran.err)
        return peak

    def _ended(self, command: list[str], environment: Mapping[str, str]) -> Ran:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=100, check=False, env=self.environment(**environment)
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert TOKEN not in done.stdout + done.stderr
        assert KEY not in done.stdout + done.stderr
        assert self.unaccounted() == 0
        return Ran(done.returncode, done.stdout, done.stderr)

    def environment(self, **more: str) -> dict[str, str]:
        """Give the process's environment: the two secrets and nothing of ours."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RECONCILER_", "COVERAGE"))}
        return kept | {"GITLAB_TOKEN": TOKEN, "RALLY_API_KEY": KEY, "PYTHONWARNINGS": "default"} | more

    def once(self, *words: str) -> dict[str, Any]:
        """Make one pass that leaves nothing to do; what it printed."""
        ran = self.run(*words, "--json", "--once")
        assert ran.status == 0, (ran.status, ran.out, ran.err)
        told: dict[str, Any] = ran.json
        return told

    def status(self) -> dict[str, Any]:
        """Ask for the status."""
        told: dict[str, Any] = self.run("--json", "status").json
        return told

    def unaccounted(self) -> int:
        """Count what the ledger lost track of; its books are audited."""
        if not (self.folder / "ledger.db").exists():
            return 0
        with closing(open_for_reading(self.folder / "ledger.db")) as store:
            accounting.check(store)
            return views.tests(store)["unaccounted"]

    def results(self) -> dict[str, str]:
        """Tell what Rally holds: key → verdict. A key that is there twice fails."""
        found = self.rally_store.results()
        keys = [str(read_key(str(result["Notes"]))) for result in found]
        assert len(keys) == len(set(keys)), keys
        return {key: str(result["Verdict"]) for key, result in zip(keys, found, strict=True)}

    def verdicts(self, pipeline: Pipeline) -> dict[str, str]:
        """Tell a pipeline's results: `TC1/1` (test case and revision) → verdict."""
        prefix = f"{self.project.id}/{pipeline.id}/"
        return {key.removeprefix(prefix): verdict for key, verdict in self.results().items() if key.startswith(prefix)}

    def attachments(self, pipeline: Pipeline) -> dict[str, list[tuple[str, bytes]]]:
        """Tell what a pipeline's results have: `TC1/1` → names and bytes, sorted by name."""
        return {
            key: sorted((str(one["Name"]), one["Content"]) for one in result["Attachments"])  # type: ignore[attr-defined] # the store gives objects
            for key, result in self._results_of(pipeline).items()
        }

    def names(self, pipeline: Pipeline) -> dict[str, list[str]]:
        """Tell the names of what a pipeline's results have."""
        return {key: [name for name, _ in found] for key, found in self.attachments(pipeline).items()}

    def notes(self, pipeline: Pipeline) -> dict[str, str]:
        """Tell the Notes of a pipeline's results."""
        return {key: str(result["Notes"]) for key, result in self._results_of(pipeline).items()}

    def _results_of(self, pipeline: Pipeline) -> dict[str, dict[str, object]]:
        prefix = f"{self.project.id}/{pipeline.id}/"
        found = {str(read_key(str(result["Notes"]))): result for result in self.rally_store.results()}
        return {key.removeprefix(prefix): result for key, result in found.items() if key.startswith(prefix)}

    def sets(self) -> dict[str, list[str]]:
        """Tell who is in the test sets: `project/name` → FormattedIDs. Two of one name in one iteration fail."""
        found = self.rally_store.test_sets()
        names = [(one["Iteration"], self._place(one)) for one in found]
        assert len(names) == len(set(names)), names
        return {self._place(one): sorted(one["members"]) for one in found}  # type: ignore[call-overload] # the store gives objects

    def set_of(self, formatted_id: str) -> list[str]:
        """Tell which test sets the results of a test case carry, oldest result first; "" for none."""
        sets = {one["ObjectID"]: self._place(one) for one in self.rally_store.test_sets()}
        found = self.rally_store.results()
        return [sets.get(one.get("TestSet"), "") for one in found if one["FormattedID"] == formatted_id]

    def _place(self, test_set: Mapping[str, object]) -> str:
        project = self.rally_store.one(test_set["Project"])
        return f"{project.name}/{test_set['Name']}"

    def problems(self) -> list[tuple[str, str]]:
        """List kind and detail of the problems that status tells."""
        return [(problem["kind"], problem["detail"]) for problem in self.status()["problems"]]

    def archive_requests(self, job: Job) -> list[LogEntry]:
        """List the requests for a job's archive, to GitLab and to its object store."""
        theirs = self.gitlab.server.log.entries("GET", f"/jobs/{job.id}/artifacts")
        asked = [entry for entry in theirs if "file_type" not in entry.query]
        return asked + self.gitlab.objects_server.log.entries("", f"/{job.id}/artifacts\\.zip")

    def writes(self) -> int:
        """Count the requests that wrote to Rally."""
        return sum(1 for entry in self.rally.log if entry.is_write)


@contextmanager
def open_company(folder: Path, tls: TlsContext | None = None) -> Iterator[Company]:
    """Start both services with one project each, ten test cases (TC1 … TC10) and a pipeline-less GitLab."""
    gitlab_store = GitLabStore(clock=real_clock)
    gitlab_store.add_token(TOKEN)
    project = gitlab_store.add_project("qa/web-shop")
    app = RallyApp(Store())
    workspace = app.store.add_workspace("Acme")
    root = app.store.add_project(workspace, "Web Shop")
    app.store.add_key(KEY)
    cases = {f"TC{n}": app.store.add_test_case(root, f"Test case {n}", f"TC{n}") for n in range(1, 11)}
    with GitLabServer(gitlab_store, tls=tls) as gitlab, Server(app, tls=tls) as rally:
        company = Company(folder, gitlab, rally, app, project, cases)
        company.configure(rally={"settle_after_seconds": 0})
        yield company
    with suppress(LedgerUnusable):  # one that a test damaged
        assert company.unaccounted() == 0
    assert not gitlab.server.crashes
    assert not rally.crashes
    assert not gitlab.objects.leaks


def ago(**words: float) -> datetime:
    """Give an instant in the past."""
    return datetime.now(UTC) - timedelta(**words)
