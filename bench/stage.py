"""A folder with a config, the stand-ins beside it, and the real command line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import processes
from bench.processes import BenchFailed, module
from bench.stand_in import KEY, ROOT, TOKEN, WORKSPACE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.processes import Ran, Running

REQUEST_S, CREATED_S, AT_ONCE = 0.2, 0.02, 8
"""The model of time: what each Rally request and each created object costs; how many requests are ours at once."""
BATCH = 50
STARTS_S = 20
_OURS = re.compile(r"RECONCILER_.*|(http|https|all|no)_proxy|COVERAGE.*|PYTHON.*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Bench:
    """What all measurements share."""

    folder: Path
    quick: bool

    def pick(self, quick: int, full: int) -> int:
        """Choose a size."""
        return quick if self.quick else full

    @property
    def environment(self) -> dict[str, str]:
        """Give the environment of a process: no proxies and no settings of the caller's; bytecode kept in our folder.

        A program that is installed has its bytecode beside it; here the first run writes it, and is not measured.
        """
        kept = {name: value for name, value in os.environ.items() if not _OURS.fullmatch(name)}
        places = {"PYTHONPATH": str(processes.ROOT), "PYTHONPYCACHEPREFIX": str(self.folder / "bytecode")}
        return kept | places | {"GITLAB_TOKEN": TOKEN, "RALLY_API_KEY": KEY, "LC_ALL": "C.UTF-8"}


@dataclass(frozen=True, slots=True)
class Servers:
    """The process that `stand_in` is, from outside."""

    process: subprocess.Popen[str]

    def do(self, order: str, **words: object) -> Any:  # noqa: ANN401 - JSON
        """Give an order, and wait for the answer."""
        if self.process.stdin is None or self.process.stdout is None:
            raise BenchFailed("the stand-ins have no pipes")
        self.process.stdin.write(json.dumps({"do": order, "with": words}) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise BenchFailed(f"the stand-ins ended at the order {order}")
        return json.loads(answer)


@contextmanager
def serving(environment: dict[str, str]) -> Iterator[Servers]:
    """Start both stand-ins; they end with the block."""
    with subprocess.Popen(  # noqa: S603 - our own module
        module("bench.stand_in"),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=processes.ROOT,
    ) as process:  # fmt: skip
        try:
            yield Servers(process)
        finally:
            if process.stdin is not None:
                process.stdin.close()
            process.wait(20)


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that one measurement needs."""

    bench: Bench
    folder: Path
    servers: Servers

    def configure(self, *projects: str, **sections: dict[str, Any]) -> None:
        """Write config.toml for these projects: the keys without a default, and these."""
        where = self.servers.do("where")
        usual: dict[str, dict[str, Any]] = {
            "gitlab": {"url": where["gitlab"], "token": "env:GITLAB_TOKEN", "projects": list(projects)},
            "rally": {
                "url": where["rally"], "api_key": "env:RALLY_API_KEY", "workspace": WORKSPACE, "project": ROOT,
            },
        }  # fmt: skip
        lines: list[str] = []
        for name in {**usual, **sections}:
            lines.append(f"[{name}]")
            keys = usual.get(name, {}) | sections.get(name, {})
            lines += [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
        (self.folder / "config.toml").write_text("\n".join(lines) + "\n")

    @property
    def words(self) -> list[str]:
        """Give the words that lead every command line."""
        return ["--config", str(self.folder / "config.toml")]

    def run(self, *words: str) -> Ran:
        """Run the command line."""
        return processes.run(module("reconciler", *self.words, *words), self.bench.environment)

    def once(self) -> tuple[Ran, dict[str, int]]:
        """Make one pass that leaves nothing to do; what it cost, and what it did."""
        ran = self.run("--json", "--once").good()
        did: dict[str, int] = json.loads(ran.out)
        return ran, did

    def peak_mb(self) -> float:
        """Make one pass that leaves nothing to do; the most memory that it had."""
        words = [*self.words, "--json", "--once"]
        return processes.peak_mb("reconciler", words, self.bench.environment | {"TMPDIR": str(self.folder)})[1]

    @contextmanager
    def daemon(self) -> Iterator[Running]:
        """Run the daemon; it has begun to ask GitLab when the block begins."""
        command = module("reconciler", *self.words)
        before = self._asked()
        with processes.running(command, self.bench.environment, self.folder / "daemon.log") as process:
            until = time.perf_counter() + STARTS_S
            while self._asked() == before:
                if time.perf_counter() > until:
                    raise BenchFailed(f"the daemon asks nothing:\n{(self.folder / 'daemon.log').read_text()[-2000:]}")
                time.sleep(0.1)
            yield process

    def _asked(self) -> int:
        asked: int = self.servers.do("told")["gitlab"]["requests"]
        return asked


@contextmanager
def open_stage(bench: Bench, *, projects: int = 1, cases: int = 400) -> Iterator[Stage]:
    """Start the stand-ins with so many GitLab projects and Rally test cases, and a config for them."""
    with tempfile.TemporaryDirectory(dir=bench.folder) as name, serving(bench.environment) as servers:
        stage = Stage(bench, Path(name), servers)
        added = servers.do("add_projects", count=projects)
        servers.do("add_cases", count=cases)
        stage.configure(*(path for _, path in added))
        yield stage


def warm(bench: Bench) -> None:
    """Let everything that is measured run once, so that its bytecode is written."""
    with open_stage(bench, cases=100) as stage:
        stage.servers.do("add_pipelines", count=1, tests=10, failing=5)
        stage.once()
        stage.run("status").good()
        stage.run("--help").good()
        with stage.daemon():
            stage.servers.do("told")
