"""GitLab's JSON rows as our vocabulary; fields that old versions leave out, or that are null, harm nothing.

Sources: GitLab lib/api/entities/ci/*.rb, app/serializers/test_*_entity.rb.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from loguru import logger

from reconciler.model import (
    LONGEST_S,
    ArtifactListing,
    Job,
    JobId,
    Outcome,
    Pipeline,
    PipelineId,
    Project,
    ProjectId,
    TestRun,
)
from reconciler.ports import SuiteReport

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Row = dict[str, Any]

_FORBIDDEN_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_OUTCOMES = {
    "success": Outcome.PASSED,
    "failed": Outcome.FAILED,
    "error": Outcome.ERRORED,
    "skipped": Outcome.SKIPPED,
}


def project(row: Row) -> Project:
    """Read a project."""
    return Project(ProjectId(int(row["id"])), _text(row.get("path_with_namespace")), _text(row.get("web_url")))


def pipelines(rows: Iterable[Row], project_id: ProjectId) -> Iterator[Pipeline]:
    """Read rows of a pipeline list; one without an id or a time is left out, and logged."""
    for row in rows:
        try:
            yield _pipeline(row, project_id)
        except (KeyError, TypeError, ValueError) as error:
            logger.warning("GitLab listed a pipeline that cannot be read", project=project_id, reason=repr(error))


def _pipeline(row: Row, project_id: ProjectId) -> Pipeline:
    created_at, updated_at = time(row.get("created_at")), time(row.get("updated_at"))
    known = updated_at or created_at
    if known is None:
        raise ValueError("no updated_at")
    return Pipeline(
        project_id=project_id,
        id=PipelineId(int(row["id"])),
        iid=_whole(row.get("iid")),
        sha=_text(row.get("sha")),
        ref=_text(row.get("ref")),
        status=_text(row.get("status")),
        source=_text(row.get("source")),
        web_url=_text(row.get("web_url")),
        created_at=created_at or known,
        updated_at=known,
    )


def jobs(rows: Iterable[Row], project_id: ProjectId, pipeline_id: PipelineId) -> Iterator[Job]:
    """Read rows of a job list; one without an id is left out, and logged."""
    for row in rows:
        try:
            yield _job(row, project_id, pipeline_id)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            logger.warning("GitLab listed a job that cannot be read", pipeline=pipeline_id, reason=repr(error))


def _artifacts(row: Row) -> tuple[ArtifactListing, ...]:
    """Read `artifacts[]`, and the archive from `artifacts_file` where only that tells of it (doc/api/jobs.md)."""
    listed = [_artifact(one, _text(one.get("file_type"))) for one in row.get("artifacts") or ()]
    alone = row.get("artifacts_file")
    if alone and all(artifact.file_type != "archive" for artifact in listed):
        listed.append(_artifact(alone, "archive"))
    return tuple(listed)


def _artifact(one: Row, file_type: str) -> ArtifactListing:
    return ArtifactListing(file_type, _whole(one.get("size")), _text(one.get("filename")))


def _job(row: Row, project_id: ProjectId, pipeline_id: PipelineId) -> Job:
    return Job(
        id=JobId(int(row["id"])),
        pipeline_id=pipeline_id,
        project_id=project_id,
        name=_text(row.get("name")),
        stage=_text(row.get("stage")),
        status=_text(row.get("status")),
        web_url=_text(row.get("web_url")),
        finished_at=time(row.get("finished_at")),
        artifacts=_artifacts(row),
        artifacts_expire_at=time(row.get("artifacts_expire_at")),
    )


def suites(document: object) -> list[SuiteReport]:
    """Read a `test_report`."""
    found = document.get("test_suites") if isinstance(document, dict) else None
    return [
        SuiteReport(_clean(suite.get("name")), _clean(suite.get("suite_error")), tuple(_tests(suite)))
        for suite in found or ()
        if isinstance(suite, dict)
    ]


def _tests(suite: Row) -> Iterator[TestRun]:
    cases = [case for case in suite.get("test_cases") or () if isinstance(case, dict)]
    for ordinal, case in enumerate(cases):
        status = _text(case.get("status"))
        output = _output(case.get("system_output"))
        trace = _clean(case.get("stack_trace"))
        outcome = _OUTCOMES.get(status)
        if outcome is None:
            outcome, output = Outcome.ERRORED, f"GitLab reports the status {_clean(status)!r}"
        yield TestRun(
            ordinal=ordinal,
            suite=_clean(suite.get("name")),
            classname=_clean(case.get("classname")),
            name=_clean(case.get("name")) or "(No name)",
            file=_clean(case.get("file")),
            outcome=outcome,
            flaky=False,
            attempts=1,
            duration_s=_seconds(case.get("execution_time")),
            message=output.strip().partition("\n")[0] if outcome is not Outcome.PASSED else "",
            detail="\n".join(part for part in (output, trace) if part),
            system_out="",
            system_err="",
            properties=(),
        )


def _output(value: object) -> str:
    """Make one text of `system_output`: old versions give an object or an array where XML had attributes or siblings.

    Source: go-gitlab's sample of a test report.
    """
    if isinstance(value, dict):
        message = _clean(value.get("message"))
        rest = [f"{name}: {_clean(other)}" for name, other in value.items() if name != "message" and other]
        return "\n".join([message, *rest] if message else rest)
    if isinstance(value, list):
        return "\n".join(filter(None, map(_output, value)))
    return _clean(value)


def tested(document: object) -> frozenset[JobId] | None:
    """Read which jobs a `test_report_summary` knows tests of, unreadable ones included; None when it is an odd one."""
    found = document.get("test_suites") if isinstance(document, dict) else None
    if not isinstance(found, list):
        return None
    try:
        return frozenset(
            JobId(int(job_id))
            for suite in found
            if suite.get("total_count") or suite.get("suite_error")
            for job_id in suite.get("build_ids") or ()
        )
    except (AttributeError, TypeError, ValueError):
        return None


def time(value: object) -> datetime | None:
    """Read a time as UTC; None when there is none."""
    if not isinstance(value, str) or not value:
        return None
    try:
        read = datetime.fromisoformat(value)
    except ValueError:
        return None
    return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)


def _seconds(value: object) -> float:
    try:
        seconds = float(value)  # type: ignore[arg-type]  # whatever it is
    except (TypeError, ValueError):
        return 0.0
    return seconds if 0 < seconds < LONGEST_S else 0.0


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _clean(value: object) -> str:
    return _FORBIDDEN_IN_XML.sub("\ufffd", _text(value))
