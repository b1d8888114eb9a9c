"""Both stand-ins in a process of their own: one line of JSON in for each order, one out for each answer.

Run as a module by `servers`; it ends when its standard input does.
"""

from __future__ import annotations

import json
import random
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.reports import Plan, report
from reconciler.sandbox.gitlab import Filler, GitLabServer, GitLabStore, Instance, real_clock
from reconciler.sandbox.rally import RallyApp, Store
from reconciler.sandbox.server import Server
from reconciler.sandbox.timing import TimeModel

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reconciler.sandbox.gitlab import Pipeline, Project
    from reconciler.sandbox.messages import LogEntry
    from reconciler.sandbox.rally import Thing

TOKEN, KEY = "glpat-bench-0123456789", "_bench-0123456789"
WORKSPACE, ROOT = "Acme", "Web Shop"
SHOTS, SHOT_BYTES, TESTS_WITH_SHOTS = 200, 2_000, 10


@dataclass(slots=True)
class StandIns:
    """The two services, and what can be asked of them here; every public method is an order."""

    gitlab: GitLabServer
    rally: Server
    store: Store
    root: Thing
    projects: list[Project] = field(default_factory=list)
    cases: list[Thing] = field(default_factory=list)

    def where(self) -> dict[str, str]:
        """Tell the addresses."""
        return {"gitlab": self.gitlab.url, "rally": self.rally.url}

    # --- filling ---

    def add_projects(self, count: int) -> list[tuple[int, str]]:
        """Add GitLab projects; the ids and paths of all."""
        known = len(self.projects)
        self.projects += [self.gitlab.store.add_project(f"qa/shop-{n}") for n in range(known, known + count)]
        return [(project.id, project.path) for project in self.projects]

    def add_cases(self, count: int) -> list[int]:
        """Add Rally test cases TC1, TC2 …; the ObjectIDs of all."""
        known = len(self.cases)
        self.cases += [
            self.store.add_test_case(self.root, f"Order {n} is paid", f"TC{n}")
            for n in range(known + 1, known + count + 1)
        ]
        return [case.oid for case in self.cases]

    def add_pipelines(  # noqa: PLR0913 - an order's words
        self, count: int, tests: int, *, step: int = 0, jobs: int = 1, failing: int = 0, project: int = 0
    ) -> list[int]:
        """Finish pipelines, each with jobs of so many tests; their ids.

        The n-th pipeline's tests are of the test cases from n * step on: with 0 all pipelines test the same ones.
        """
        return [
            self._pipeline(project, [Plan(self._names(n * step + job * tests, tests), failing) for job in range(jobs)])
            for n in range(count)
        ]

    def add_big_report(self, tests: int, cases: int, printed_bytes: int = 0) -> int:
        """Finish a pipeline with one report of many tests, spread over test cases (0 = none); its bytes."""
        names = [f"TC{number % cases + 1}" if cases else "" for number in range(tests)]
        written = report(Plan(names, printed_bytes=printed_bytes))
        self._finished(0, [written])
        return len(written)

    def add_archive(self, size_bytes: int) -> int:
        """Finish a pipeline whose tests name 200 small files of an archive of at least this size; its bytes."""
        tests = []
        files: dict[str, bytes | Filler] = {}
        noise = random.Random(7)  # noqa: S311 - bytes that do not compress
        for number in range(1, TESTS_WITH_SHOTS + 1):
            own = [f"shots/t{number}/{place:02}.log" for place in range(SHOTS // TESTS_WITH_SHOTS)]
            files |= {path: noise.randbytes(SHOT_BYTES) for path in own}
            marks = "".join(f"[[ATTACHMENT|{path}]]\n" for path in own)
            tests.append(f'<testcase name="t{number}_TC{number}"><system-out>{marks}</system-out></testcase>')
        files = {"build/image.bin": Filler(size_bytes // 2), **files, "build/video.bin": Filler(size_bytes // 2)}
        store = self.gitlab.store
        pipeline = store.add_pipeline(self.projects[0], status="success")
        written = f"<testsuite>{''.join(tests)}</testsuite>".encode()
        job = store.add_job(pipeline, "e2e", finished_at=store.clock(), junit=[("e2e.xml", written)], archive=files)
        return job.archive.size if job.archive else 0

    def _names(self, start: int, count: int) -> list[str]:
        return [f"TC{(start + place) % len(self.cases) + 1}" for place in range(count)]

    def _pipeline(self, project: int, plans: list[Plan]) -> int:
        return self._finished(project, [report(plan) for plan in plans]).id

    def _finished(self, project: int, reports: list[bytes]) -> Pipeline:
        store = self.gitlab.store
        pipeline = store.add_pipeline(self.projects[project], status="success")
        for number, written in enumerate(reports):
            store.add_job(pipeline, f"unit {number}", finished_at=store.clock(), junit=[("junit.xml", written)])
        return pipeline

    # --- as a server ---

    def take_time(self, request_s: float, created_s: float) -> None:
        """Let each request to Rally, and each object that it makes, cost so much."""
        self.rally.time_model = TimeModel(request_s=request_s, created_s=created_s)

    def forget(self) -> None:
        """Empty the logs of requests."""
        for server in (self.gitlab.server, self.gitlab.objects_server, self.rally):
            server.log.clear()

    def told(self) -> dict[str, Any]:
        """Tell what was asked of the servers since `forget`, and this process's CPU seconds."""
        told: dict[str, Any] = {
            "gitlab": _traffic(self.gitlab.server.log.entries()),
            "objects": _traffic(self.gitlab.objects_server.log.entries()),
            "rally": _traffic(self.rally.log.entries()),
            "cpu_s": time.process_time(),
            "results": sum(1 for _ in self.store.of_type("TestCaseResult")),
        }
        if self.gitlab.server.crashes or self.rally.crashes:
            raise RuntimeError("a stand-in made a mistake")
        return told

    def arrived(self, pipeline: int) -> int:
        """Count the results that Rally has of a pipeline."""
        return len(self.store.having("TestCaseResult", "Build", f"GitLab-{pipeline}"))


def _traffic(entries: list[LogEntry]) -> dict[str, Any]:
    writes = [entry for entry in entries if entry.is_write]
    routes: dict[str, int] = {}
    for entry in entries:
        kind = f"{entry.method} {entry.route}"
        routes[kind] = routes.get(kind, 0) + 1
    return {
        "requests": len(entries),
        "writes": len(writes),
        "bytes_in": sum(entry.bytes_in for entry in entries),
        "bytes_out": sum(entry.bytes_out for entry in entries),
        "writing_s": _span_s(writes),
        "routes": routes,
    }


def _span_s(entries: Iterable[LogEntry]) -> float:
    """Tell how long it took from the first one's arrival to the last one's answer."""
    times = [(entry.started, entry.ended or entry.started) for entry in entries]
    return max(end for _, end in times) - min(start for start, _ in times) if times else 0.0


def _make() -> StandIns:
    gitlab = GitLabStore(clock=real_clock)
    gitlab.add_token(TOKEN)
    store = Store()
    workspace = store.add_workspace(WORKSPACE)
    root = store.add_project(workspace, ROOT)
    store.add_key(KEY)
    # As large installations deliver: GitLab redirects to its object store.
    return StandIns(GitLabServer(gitlab, Instance(delivery="object store")), Server(RallyApp(store)), store, root)


def main() -> None:
    """Serve until standard input ends."""
    served = _make()
    with served.gitlab, served.rally:
        for line in sys.stdin:
            order = json.loads(line)
            answer = getattr(served, order["do"])(**order["with"])
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
