"""`reconciler doctor`: config and secrets one by one, and both services looked at at the same time."""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from reconciler.cli.words import print_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from reconciler.config import Secret, Settings
    from reconciler.doctor import Finding, GitLabExam, RallyExam
    from reconciler.mapping import Row
    from reconciler.wire import Limits

LIMIT_S = 50.0
"""What is not found by then is not looked for."""
PATIENCE_S = 8.0
"""How long a service that does not answer is waited for."""
LONGEST_S = 20.0
"""How long any one answer may take."""


def run(config_path: Path, *, as_json: bool) -> int:
    """Look at everything and print what was found; the exit status."""
    from reconciler import diagnosis
    from reconciler.doctor import exit_status, told

    findings = _found(config_path)
    answer = told(findings)
    if as_json:
        print_json(answer)
    else:
        click.echo(diagnosis.diagnosis(answer["checks"]))
    return exit_status(findings)


def _found(config_path: Path) -> Sequence[Finding]:
    from concurrent.futures import ThreadPoolExecutor

    from reconciler.doctor import Check, HostExam

    settings, rows = _read_config(config_path)
    secrets = _Secrets(config_path)
    token, api_key = secrets.fetch("gitlab", "token"), secrets.fetch("rally", "api_key")
    _set_up_log(settings, [secret.reveal() for secret in (token, api_key) if secret])
    with _Visit(settings, rows) as visit, ThreadPoolExecutor(2) as both:
        exams = visit.gitlab(token), visit.rally(api_key)  # both made first: pyral writes into the proxies' variables
        gitlab = both.submit(visit.look, "GitLab", exams[0], token)
        rally = both.submit(visit.look, "Rally", exams[1], api_key)
        here = list(HostExam(settings, config_path.absolute().parent, _now).findings())
        first = [Check("config", str(config_path)).ok("has no mistakes, and neither has the mapping file")]
        return [*first, *secrets.findings, *here, *gitlab.result(), *rally.result()]


def _read_config(config_path: Path) -> tuple[Settings, Sequence[Row]]:
    """Read config and mapping, without the secrets; mistakes end it here, as with every command."""
    from reconciler import config, mapping_file

    settings = config.load(
        config_path, os.environ, secrets=False, look_into_mapping=lambda path: mapping_file.read(path)[1]
    )
    return settings, mapping_file.read(settings.mapping.file)[0]


def _set_up_log(settings: Settings, secrets: Sequence[str]) -> None:
    """Keep to what is found; who wants each request asks for it."""
    from reconciler import log

    level = settings.log.level if settings.log.level in {"TRACE", "DEBUG"} else "ERROR"
    log.configure(level, json=settings.log.json, secrets=secrets)


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class _Secrets:
    """Fetches one secret at a time: what is wrong with one does not keep the other from being used."""

    config_path: Path
    findings: list[Finding] = field(default_factory=list)

    def fetch(self, section: str, key: str) -> Secret | None:
        """Fetch it; None, and a finding, where it is not to be had."""
        from reconciler import config
        from reconciler.doctor import Check
        from reconciler.errors import ConfigError

        check = Check("secret", f"{section}.{key}")
        try:
            secret = config.load_secret(self.config_path, os.environ, section, key)
        except ConfigError as error:
            problem = error.problems[0]
            self.findings.append(check.fail(problem.what.removeprefix(f"{section}.{key} "), problem.todo))
            return None
        self.findings.append(check.ok("is there"))
        return secret


@dataclass(slots=True)
class _Visit:
    """Looks at both services, for a limited time."""

    settings: Settings
    rows: Sequence[Row]
    _stop: threading.Event = field(init=False)
    _time_up: threading.Event = field(default_factory=threading.Event)
    _open: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> _Visit:  # noqa: PYI034 - nobody inherits from it
        """Let signals, and the end of our time, stop what is under way."""
        from reconciler.signals import stop_on_signals

        self._stop = stop_on_signals()
        clock = threading.Timer(LIMIT_S, self._end)
        clock.daemon = True
        clock.start()
        self._open.callback(clock.cancel)
        return self

    def __exit__(self, *_: object) -> None:
        """Close what was opened."""
        self._open.close()

    def _end(self) -> None:
        self._time_up.set()
        self._stop.set()

    def gitlab(self, token: Secret | None) -> GitLabExam:
        """Build what looks at GitLab; nothing is sent yet."""
        from reconciler.doctor import GitLabExam
        from reconciler.gitlab import GitLabAdapter
        from reconciler.wire import Endpoint

        where = self.settings.gitlab
        place = Endpoint(where.url, where.ca_bundle, connect_s=PATIENCE_S, read_s=LONGEST_S)
        adapter = GitLabAdapter(place, token.reveal() if token else "none", stop=self._stop, limits=_limits())
        self._open.enter_context(closing(adapter))
        return GitLabExam(adapter, self.settings, self._route(where.url), _now)

    def rally(self, api_key: Secret | None) -> RallyExam:
        """Build what looks at Rally; nothing is sent yet."""
        from reconciler.doctor import RallyExam
        from reconciler.rally import Names, RallyAdapter
        from reconciler.wire import Endpoint

        where, field_name = self.settings.rally, self.settings.mapping.rally_field
        place = Endpoint(where.url, where.ca_bundle, connect_s=PATIENCE_S, read_s=LONGEST_S)
        names = Names(where.workspace, where.project, field_name)
        key = api_key.reveal() if api_key else "none"
        adapter = RallyAdapter(place, key, names, stop=self._stop, limits=_limits())
        self._open.enter_context(closing(adapter))
        return RallyExam(adapter, self.settings, self.rows, self._route(where.url), _now)

    def look(self, service: str, exam: GitLabExam | RallyExam, secret: Secret | None) -> list[Finding]:
        """Look at a service, unless there is no secret for it."""
        from reconciler.doctor import within

        found = exam.findings() if secret else exam.unseen("there is no secret for it")
        return within(found, self._time_up, service)

    def _route(self, url: str) -> str:
        from reconciler.wire import route_to

        return route_to(url, os.environ)


def _limits() -> Limits:
    from reconciler.wire import Limits

    return Limits(patience_s=PATIENCE_S, tries=3, longest_exchange_s=LONGEST_S)
