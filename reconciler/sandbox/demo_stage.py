"""The demo's stage: both stand-ins on loopback, a config and a mapping, and the real command line as a child."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from reconciler.errors import ReconcilerError
from reconciler.sandbox import demo_company, demo_rally, demo_sprint
from reconciler.sandbox.gitlab import GitLabServer, Instance
from reconciler.sandbox.rally import RallyApp, Store
from reconciler.sandbox.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from reconciler.sandbox.demo_company import Company

CHILD_S = 60
"""How long a command may take before the demo gives up."""
_FOREIGN = re.compile(r"RECONCILER_.*|(http|https|all|no)_proxy", re.IGNORECASE)


class CommandFailed(ReconcilerError):
    """A command of the demo did not end as it should; its message holds what the command said."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that was run, and what it answered."""

    status: int
    """Its exit status."""
    answer: Any
    said: tuple[str, ...]
    """What it wrote to standard error, line by line: the log, from warnings on."""
    took_s: float


@dataclass(slots=True)
class Stage:
    """Everything that the demo plays with."""

    folder: Path
    company: Company
    gitlab: GitLabServer
    rally: Server
    rally_store: Store
    environment: dict[str, str]
    ran: list[Ran] = field(default_factory=list)

    @property
    def config(self) -> Path:
        """The config file."""
        return self.folder / "config.toml"

    @property
    def ledger(self) -> Path:
        """The ledger; there since the first pass."""
        return self.folder / "ledger.db"

    def run(self, *arguments: str) -> Ran:
        """Run `reconciler --config … --json ARGUMENTS` as a child process with the secrets in its environment.

        Raises:
            CommandFailed: it gave no JSON, or did not end.
        """
        shown = " ".join(["reconciler", "--json", *arguments])
        command = [sys.executable, "-m", "reconciler", "--config", str(self.config), "--json", *arguments]
        started = time.monotonic()
        try:
            done = subprocess.run(  # noqa: S603 - our own command line, without a shell
                command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=CHILD_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise CommandFailed(f"`{shown}` did not end within {CHILD_S} s") from error
        said = tuple(done.stderr.decode(errors="replace").splitlines())
        ran = Ran(done.returncode, _answer(shown, done, said), said, time.monotonic() - started)
        self.ran.append(ran)
        return ran


@contextmanager
def set_stage(folder: Path) -> Iterator[Stage]:
    """Start both stand-ins, write config and mapping into the folder, and stop the stand-ins in the end.

    Raises:
        NoReports: the reports that the jobs upload are missing.
    """
    token, api_key = f"glpat-{secrets.token_urlsafe(15)}", f"_{secrets.token_urlsafe(24)}"
    company = demo_company.found_company(demo_company.find_reports())
    company.gitlab.add_token(token)
    rally_store = demo_rally.found_rally(api_key)
    demo_sprint.plan_sprint(rally_store, datetime.now(UTC).date())
    gitlab = GitLabServer(company.gitlab, Instance(delivery="object store"))
    rally = Server(RallyApp(rally_store))
    with gitlab, rally:
        (folder / "mapping.csv").write_text(demo_company.MAPPING, encoding="utf-8")
        (folder / "config.toml").write_text(_config(gitlab.url, rally.url), encoding="utf-8")
        yield Stage(folder, company, gitlab, rally, rally_store, _environment(token, api_key))


def _config(gitlab: str, rally: str) -> str:
    """Write a config of the keys that have no default, and of one that keeps the demo quiet."""
    return f"""\
# Written by `reconciler demo`: the keys that have no default. The two servers are stand-ins that end with the demo.

[gitlab]
url = "{gitlab}"
token = "env:GITLAB_TOKEN"
projects = {json.dumps(demo_company.PROJECTS)}

[rally]
url = "{rally}"
api_key = "env:RALLY_API_KEY"
workspace = "{demo_rally.WORKSPACE}"
project = "{demo_rally.ROOT}"

[log]
level = "WARNING"
"""


def _environment(token: str, api_key: str) -> dict[str, str]:
    """Give the children the two secrets, and nothing that would lead them to other settings or through a proxy."""
    kept = {name: value for name, value in os.environ.items() if not _FOREIGN.fullmatch(name)}
    return kept | {"GITLAB_TOKEN": token, "RALLY_API_KEY": api_key}


def _answer(shown: str, done: subprocess.CompletedProcess[bytes], said: tuple[str, ...]) -> Any:  # noqa: ANN401 - JSON
    try:
        return json.loads(done.stdout)
    except ValueError as error:
        what = "\n".join([f"`{shown}` ended with exit status {done.returncode} and gave no JSON:", *said])
        raise CommandFailed(what) from error
