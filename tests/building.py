"""Short ways to make what tests are about: settings, and GitLab's things as the ledger takes them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.config.secret import Secret
from reconciler.config.settings import (
    AttachmentsSettings,
    GitLabSettings,
    LedgerSettings,
    LogSettings,
    MappingSettings,
    MetricsSettings,
    NotifySettings,
    RallySettings,
    ResultsSettings,
    Settings,
    SprintsSettings,
)
from reconciler.model import (
    Build,
    FormattedID,
    Job,
    JobId,
    Key,
    ObjectID,
    Outcome,
    Pipeline,
    PipelineId,
    Project,
    ProjectId,
    TestCase,
    TestRun,
)
from reconciler.plan import Add
from tests.fakes import START

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.ledger.ledger import Ledger

PROJECT = Project(ProjectId(1), "qa/web-shop", "https://gitlab.test/qa/web-shop")


def rally_settings(**keys: Any) -> RallySettings:  # noqa: ANN401 - any key of the section
    """Give the section [rally], with these keys."""
    fixed: dict[str, Any] = {"url": "http://127.0.0.1:1", "api_key": Secret("_key"), "workspace": "Acme"}
    return RallySettings(**fixed | {"project": "Web Shop"} | keys)


def settings(rally: RallySettings | None = None, results: ResultsSettings | None = None) -> Settings:
    """Give a whole config whose ledger and mapping file are never opened."""
    return Settings(
        gitlab=GitLabSettings(url="http://127.0.0.1:1", token=Secret("token"), projects=("qa/web-shop",)),
        rally=rally or rally_settings(),
        ledger=LedgerSettings(path=Path("/nowhere/ledger.db")),
        mapping=MappingSettings(file=Path("/nowhere/mapping.csv")),
        results=results or ResultsSettings(),
        attachments=AttachmentsSettings(),
        sprints=SprintsSettings(),
        log=LogSettings(),
        metrics=MetricsSettings(),
        notify=NotifySettings(),
    )


def pipeline(number: int = 100, *, status: str = "success", at_s: float = 0.0) -> Pipeline:
    """Make a pipeline of `PROJECT`, last updated so many seconds after `START`."""
    url = f"{PROJECT.web_url}/-/pipelines/{number}"
    return Pipeline(
        PROJECT.id,
        PipelineId(number),
        number,
        "0123abcd",
        "main",
        status,
        "push",
        url,
        START,
        START + timedelta(seconds=at_s),
    )


def job(number: int = 1000, *, of: Pipeline, name: str = "unit", status: str = "success", at_s: float = 0.0) -> Job:
    """Make a job that finished so many seconds after `START`."""
    url = f"{PROJECT.web_url}/-/jobs/{number}"
    finished_at = START + timedelta(seconds=at_s)
    return Job(JobId(number), of.id, PROJECT.id, name, "test", status, url, finished_at, (), None)


def run(name: str, outcome: Outcome = Outcome.PASSED, *, ids: str = "", ordinal: int = 0) -> TestRun:
    """Make a test; `ids` is its property rally_id."""
    properties = (("rally_id", ids),) if ids else ()
    return TestRun(
        ordinal, "", "shop", name, "", outcome, flaky=False, attempts=1, duration_s=0.5, message="", detail="",
        system_out="", system_err="", properties=properties,
    )  # fmt: skip


def case(formatted_id: str, object_id: int = 0, *, at_s: float = 0.0, field_value: str = "") -> TestCase:
    """Make a TestCase; TC7's ObjectID is 7 when none is given."""
    number = ObjectID(object_id or int(formatted_id[2:]))
    updated_at = START + timedelta(seconds=at_s)
    return TestCase(number, FormattedID(formatted_id), f"Test {formatted_id}", ObjectID(1), updated_at, field_value)


def add(formatted_id: str, *tests: int, pipeline_id: int = 100, revision: int = 1, verdict: str = "Pass") -> Add:
    """Make an Add of these tests; a pipeline's date follows from its id."""
    key = Key(PROJECT.id, PipelineId(pipeline_id), FormattedID(formatted_id), revision)
    date = START + timedelta(minutes=pipeline_id)
    return Add(key, pipeline_id, ObjectID(int(formatted_id[2:])), verdict, date, 0.5, tests)


BUILD = Build("GitLab-100")
DAY = timedelta(days=1)


def read_job(ledger: Ledger, one: Job, *documents: Sequence[TestRun]) -> None:
    """Write down that a job was read and had these documents."""
    with ledger.observations.reading(one, START) as record:
        for place, runs in enumerate(documents):
            record.document("junit", f"{place}.xml", runs)
        record.close("read" if documents else "empty")
