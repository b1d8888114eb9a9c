"""All sections, keys and defaults of config.toml, each with the rule for its value.

`Annotated[type, rule]` is read by `loading`; a key without a default must be set. Dataclasses, because building
pydantic's models takes as long as all else that `reconciler status` does.
"""

from collections.abc import Iterator
from dataclasses import field, fields
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Annotated

from reconciler.config import rules, urls
from reconciler.config.rules import Schedule, each, whole
from reconciler.config.secret import Secret, secret
from reconciler.config.section import section
from reconciler.config.urls import Address
from reconciler.redaction import keys_in

_SOURCES = (  # GitLab app/models/concerns/enums/ci/pipeline.rb, `sources`
    "push",
    "web",
    "trigger",
    "schedule",
    "api",
    "external",
    "pipeline",
    "chat",
    "webide",
    "merge_request_event",
    "external_pull_request_event",
    "parent_pipeline",
    "ondemand_dast_scan",
    "ondemand_dast_validation",
    "security_orchestration_policy",
    "container_registry_push",
    "duo_workflow",
    "pipeline_execution_policy_schedule",
)


@section
class GitLabSettings:
    """Where pipelines are read."""

    url: Annotated[str, urls.service_url("https://gitlab.example.com")]
    token: Annotated[Secret, secret("GITLAB_TOKEN")]
    projects: Annotated[tuple[str | int, ...], each(rules.project())] = ()
    groups: Annotated[tuple[str | int, ...], each(rules.group())] = ()
    ca_bundle: Annotated[Path | None, urls.ca_bundle()] = None
    poll_seconds: Annotated[int, whole(1)] = 60
    overlap_seconds: Annotated[int, whole(0)] = 600
    first_look_days: Annotated[int, whole(0, 10_000)] = 3
    child_pipelines: Annotated[bool, rules.flag()] = True
    refs: Annotated[tuple[str, ...], each(rules.pattern("release/*"))] = ()
    sources: Annotated[tuple[str, ...], each(rules.one_of(*_SOURCES))] = ()


@section
class RallySettings:
    """Where results go."""

    url: Annotated[str, urls.service_url("https://rally1.rallydev.com")]
    api_key: Annotated[Secret, secret("RALLY_API_KEY")]
    workspace: Annotated[str, rules.text('"Acme"')]
    project: Annotated[str, rules.text('"Web Shop"')]
    ca_bundle: Annotated[Path | None, urls.ca_bundle()] = None
    max_concurrency: Annotated[int, whole(1, 12, "Rally serves 12 requests of one user at once")] = 8
    batch_size: Annotated[int, whole(1, 1000)] = 50
    poll_seconds: Annotated[int, whole(1)] = 300
    request_timeout_seconds: Annotated[float, rules.seconds(above_zero=True)] = 120
    settle_after_seconds: Annotated[float, rules.seconds()] = 330


@section
class LedgerSettings:
    """Where we keep what was seen and sent."""

    path: Annotated[Path, rules.file()] = Path("ledger.db")
    retention_days: Annotated[int, whole(1, 10_000)] = 400


@section
class MappingSettings:
    """Which Rally test case a test counts for."""

    file: Annotated[Path, rules.file()] = Path("mapping.csv")
    rally_field: Annotated[str, rules.optional(rules.identifier())] = ""


@section
class ResultsSettings:
    """What a result says."""

    build: Annotated[
        str, rules.template("{pipeline_id}", "{pipeline_iid}", "{project_id}", needs="{pipeline_id}", most=100)
    ] = "GitLab-{pipeline_id}"
    skipped: Annotated[str, rules.verdict("ignore")] = "ignore"
    flaky: Annotated[str, rules.verdict(never="ignore")] = "Pass"
    junit_paths: Annotated[tuple[str, ...], each(rules.pattern("**/*.xml"))] = ("**/*.xml",)


@section
class AttachmentsSettings:
    """Which files go with a result, and how."""

    upload_max_bytes: Annotated[int, whole(0, 50_000_000, "Rally takes files of up to 50 MB")] = 5_000_000
    artifact_paths: Annotated[tuple[str, ...], each(rules.pattern("**/*.png"))] = (
        "**/*.png",
        "**/*.jpg",
        "**/*.log",
        "**/*.txt",
        "**/*.html",
        "**/*.mp4",
        "**/*.zip",
        "**/*.json",
    )
    link_only: Annotated[tuple[str, ...], each(rules.pattern("**/*.mp4"))] = (
        "**/*.mp4",
        "**/*.webm",
        "**/*.zip",
        "**/perf/**",
    )
    keep_linked: Annotated[bool, rules.flag()] = False


@section
class SprintsSettings:
    """How sprint test sets are named and when they are looked after."""

    test_set_name: Annotated[str, rules.template("{N}", "{iteration}", "{project}", most=200)] = (
        "Sprint-{N}-Automated-Tests"
    )
    number_pattern: Annotated[str, rules.optional(rules.regular_expression("N"))] = ""
    test_folder: Annotated[str, rules.one_of("off", "create", "move")] = "off"
    schedule: Annotated[Schedule, rules.schedule()] = Schedule(("mon",), 6, 0)
    timezone: Annotated[tzinfo, rules.time_zone()] = UTC


@section
class LogSettings:
    """How much is said on standard error, and in which form."""

    level: Annotated[str, rules.one_of("TRACE", "DEBUG", "INFO", "WARNING", "ERROR")] = "INFO"
    json: Annotated[bool, rules.flag()] = False


@section
class MetricsSettings:
    """Where numbers can be read."""

    listen: Annotated[Address | None, urls.listen_address()] = None
    textfile: Annotated[Path | None, rules.optional_file()] = None


@section
class NotifySettings:
    """Who is told of trouble."""

    command: Annotated[tuple[str, ...], each(rules.text())] = ()
    url: Annotated[str, urls.web_hook()] = field(default="", repr=False)
    """May hold a key in its path, so it is not shown."""
    stale_after_minutes: Annotated[int, whole(1, 10_000_000)] = 60


@section
class Settings:
    """The whole config; paths are absolute, secrets are fetched."""

    gitlab: GitLabSettings
    rally: RallySettings
    ledger: LedgerSettings
    mapping: MappingSettings
    results: ResultsSettings
    attachments: AttachmentsSettings
    sprints: SprintsSettings
    log: LogSettings
    metrics: MetricsSettings
    notify: NotifySettings

    def secrets(self) -> Iterator[str]:
        """Give what no log and no message may ever show."""
        yield self.gitlab.token.reveal()
        yield self.rally.api_key.reveal()
        yield from keys_in(self.notify.url)


SECTIONS: dict[str, type] = {room.name: room.type for room in fields(Settings) if isinstance(room.type, type)}
