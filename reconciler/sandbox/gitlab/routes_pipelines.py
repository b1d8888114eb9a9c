"""Routes about pipelines and their jobs (lib/api/ci/pipelines.rb, app/finders/ci/)."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from reconciler.sandbox.gitlab import entities
from reconciler.sandbox.gitlab.calls import Call, Route
from reconciler.sandbox.gitlab.params import PAGING, Param, moment, truth
from reconciler.sandbox.gitlab.records import FINISHED, SOURCES, STATUSES
from reconciler.sandbox.gitlab.testreport import read_suites, report_json, report_of, summary_json
from reconciler.sandbox.messages import Response
from reconciler.sandbox.objectstore import whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from reconciler.sandbox.gitlab.records import Job, Pipeline
    from reconciler.sandbox.gitlab.testreport import Suite


def pipelines(call: Call) -> Response:
    """List a project's pipelines (doc/api/pipelines.md; Ci::PipelinesFinder)."""
    project = call.project()
    call.authorize("read_pipeline", project)
    call.authorize("read_build", project)
    rows = _listed(call, call.store.pipelines_of(project))
    rows = [row for row in rows if _has_what_is_asked(row, call.params) and _lies_within(row, call.params)]
    return call.page(_ordered(rows, call), lambda row: entities.pipeline_row_json(row, call.base, call.instance))


def _listed(call: Call, rows: Iterable[Pipeline]) -> list[Pipeline]:
    """Leave children out, unless they are asked for and the version can list them; take the newest of each ref."""
    asks_for_children = call.params["source"] == "parent_pipeline" and call.instance.has(17, 0)
    rows = [row for row in rows if asks_for_children or row.source != "parent_pipeline"]
    scope = call.params["scope"]
    if scope not in ("branches", "tags"):
        return rows
    of_scope = (row for row in rows if row.tag == (scope == "tags") and not row.ref.startswith("refs/"))
    return list({row.ref: row for row in of_scope}.values())


def _has_what_is_asked(row: Pipeline, params: Mapping[str, Any]) -> bool:
    scope = {"running": {"running"}, "pending": {"pending"}, "finished": FINISHED}.get(params["scope"])
    return (
        (scope is None or row.status in scope)
        and params["status"] in (None, row.status)
        and params["source"] in (None, row.source)
        and params["ref"] in (None, "", row.ref)
        and params["sha"] in (None, "", row.sha)
        and params["name"] in (None, "", row.name)
        and params["username"] in (None, "", row.user.username)
        and params["yaml_errors"] in (None, row.yaml_errors is not None)
    )


def _lies_within(row: Pipeline, params: Mapping[str, Any]) -> bool:
    """Compare uncut times: `updated_*` includes its bounds, `created_*` does not (facts, section 1)."""
    after, before = params["updated_after"], params["updated_before"]
    newer, older = params["created_after"], params["created_before"]
    return (
        (after is None or row.updated_at >= after)
        and (before is None or row.updated_at <= before)
        and (newer is None or row.created_at > newer)
        and (older is None or row.created_at < older)
    )


def _ordered(rows: list[Pipeline], call: Call) -> list[Pipeline]:
    """Order rows; there is no second key, so that rows of one value stand in another order on each page."""
    key = _ORDERS[call.params["order_by"]]
    if call.instance.unstable_ties and call.params["order_by"] != "id":
        page = call.params["page"]
        rows = sorted(rows, key=lambda row: zlib.crc32(f"{row.id}/{page}".encode()))
    return sorted(rows, key=key, reverse=call.params["sort"] == "desc")


_ORDERS: dict[str, Callable[[Pipeline], Any]] = {
    "id": lambda row: row.id,
    "status": lambda row: row.status,
    "ref": lambda row: row.ref,
    "updated_at": lambda row: row.updated_at,
    "user_id": lambda row: row.user.id,
}


def pipeline(call: Call) -> Response:
    """Describe one pipeline; children are found too."""
    project = call.project()
    row = call.pipeline(project)
    call.authorize("read_pipeline", project)
    return Response.json(entities.pipeline_detail_json(row, call.base, call.instance))


def jobs(call: Call) -> Response:
    """List a pipeline's jobs, newest first; who may see the pipeline but not its jobs gets 200 and an empty list.

    Source: Ci::JobsFinder, which turns "access denied" into "none".
    """
    project = call.project()
    call.authorize("read_pipeline", project)
    row = call.pipeline(project)
    rows = call.store.jobs_of(row, include_retried=call.params["include_retried"])
    rows = _in_scope(rows, call) if call.may("read_build", project) else []
    return call.page(rows, lambda job: entities.job_json(job, call.store.artifacts_of(job), call.base))


def bridges(call: Call) -> Response:
    """List a pipeline's trigger jobs, newest first."""
    project = call.project()
    call.authorize("read_build", project)
    rows = [row for row in call.store.bridges_of(call.pipeline(project)) if not row.retried]
    return call.page(_in_scope(rows, call), lambda bridge: entities.bridge_json(bridge, call.base))


def _in_scope(rows: Iterable[Any], call: Call) -> list[Any]:
    scope = call.params["scope"]
    return sorted((row for row in rows if not scope or row.status in scope), key=lambda row: -row.id)


def test_report(call: Call) -> Response:
    """Parse the reports that are still there, as GitLab does; with none left it is 200 and zeros (#296126)."""
    project = call.project()
    row = call.pipeline(project)
    call.authorize("read_build", project)
    suites = read_suites(_reports(call, row), joined=call.instance.output_is_joined)
    return Response.json(report_json(suites, call.base))


def _reports(call: Call, row: Pipeline) -> Iterable[tuple[Job, bytes]]:
    for job in call.store.jobs_of(row):
        report = call.store.artifact(job, "junit")
        if report is not None:
            yield job, whole(report.blob)


def test_report_summary(call: Call) -> Response:
    """Tell what was counted when the jobs ended, whatever has expired since (doc/api/pipelines.md)."""
    project = call.project()
    row = call.pipeline(project)
    call.authorize("read_build", project)
    now = call.store.clock()
    counted: list[tuple[Job, Suite]] = []
    for job in call.store.jobs_of(row):
        if job.junit is not None and (job.summary_at or now) <= now:
            counted += [(job, suite) for suite in read_suites([(job, report_of(job))])]
    return Response.json(summary_json(counted))


_LIST = {
    **PAGING,
    "scope": Param(str, values=("running", "pending", "finished", "branches", "tags")),
    "status": Param(str, values=STATUSES),
    "ref": Param(str),
    "sha": Param(str),
    "yaml_errors": Param(truth),
    "username": Param(str),
    "updated_before": Param(moment),
    "updated_after": Param(moment),
    "created_before": Param(moment),
    "created_after": Param(moment),
    "order_by": Param(str, "id", tuple(_ORDERS)),
    "sort": Param(str, "desc", ("asc", "desc")),
    "source": Param(str, values=SOURCES),
    "name": Param(str),
}
_SCOPE = Param(str, values=STATUSES, many=True)
_PIPELINE = "/projects/{id}/pipelines/{pipeline_id}"

ROUTES = (
    Route("GET", "/projects/{id}/pipelines", pipelines, _LIST),
    Route("GET", _PIPELINE, pipeline),
    Route(
        "GET", f"{_PIPELINE}/jobs", jobs, {**PAGING, "scope": _SCOPE, "include_retried": Param(truth, default=False)}
    ),
    Route("GET", f"{_PIPELINE}/bridges", bridges, {**PAGING, "scope": _SCOPE}),
    Route("GET", f"{_PIPELINE}/trigger_jobs", bridges, {**PAGING, "scope": _SCOPE}, since=(19, 2)),
    Route("GET", f"{_PIPELINE}/test_report", test_report),
    Route("GET", f"{_PIPELINE}/test_report_summary", test_report_summary, since=(14, 2)),
)
