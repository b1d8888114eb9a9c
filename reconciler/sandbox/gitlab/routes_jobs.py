"""Routes about one job: itself, its log, and what it uploaded (lib/api/ci/jobs.rb, lib/api/ci/job_artifacts.rb)."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING
from urllib.parse import unquote

from reconciler.sandbox.gitlab import entities
from reconciler.sandbox.gitlab.artifacts import list_tree, open_member
from reconciler.sandbox.gitlab.calls import Call, Refused, Route, not_found, refuse
from reconciler.sandbox.gitlab.params import PAGING, Param, truth
from reconciler.sandbox.gitlab.records import FINISHED
from reconciler.sandbox.messages import Response
from reconciler.sandbox.objectstore import Segments, etag_of, send_blob

if TYPE_CHECKING:
    from reconciler.sandbox.gitlab.artifacts import Artifact
    from reconciler.sandbox.gitlab.records import Job
    from reconciler.sandbox.objectstore import Blob

EVERYBODYS_ETAG = 'W/"51c81b5ccbdad96dc3b9c4a4ba7c7cb0"'
"""What artifact answers of older versions carry, whatever the content: the ETag of Rails' empty body (#371991)."""

DOWNLOADABLE = (
    *("accessibility", "api_fuzzing", "archive", "browser_performance", "cluster_image_scanning", "cobertura"),
    *("codequality", "container_scanning", "coverage_fuzzing", "cyclonedx", "dast", "dependency_scanning", "dotenv"),
    *("jacoco", "junit", "license_scanning", "load_performance", "lsif", "metrics", "performance", "requirements"),
    *("requirements_v2", "sast", "secret_detection", "terraform"),
)
"""What `file_type` may be: log and metadata are not downloadable (GitLab 19.4, !252518; names as in its OpenAPI)."""


def job(call: Call) -> Response:
    """Describe one job, retried ones too (doc/api/jobs.md)."""
    row = _job(call)
    return Response.json(entities.job_json(row, call.store.artifacts_of(row), call.base))


def trace(call: Call) -> Response:
    """Send a job's log; without one 200 and nothing (lib/api/ci/jobs.rb).

    Ranges are honoured once the job has ended, suffix ranges are not (facts: measured on gitlab.com).
    """
    row = _job(call)
    log: Blob = Segments([]) if row.erased_at or row.trace is None else row.trace
    headers = {"Content-Type": "text/plain", "Content-Disposition": f'infile; filename="{row.id}.log"'}
    return send_blob(log, call.request, headers, "no suffix" if row.status in FINISHED else "none")


def artifacts(call: Call) -> Response:
    """Send the archive, or since 19.4 the artifact that `file_type` names (doc/api/job_artifacts.md)."""
    row = _job(call)
    _check_artifacts_access(call, row)
    file_type = call.params["file_type"] or "archive"
    if not call.instance.file_type_is_honoured:
        file_type = "archive"
    elif file_type not in DOWNLOADABLE:
        raise Refused(Response.json({"error": "file_type does not have a valid value"}, 400))
    artifact = call.store.artifact(row, file_type)
    if artifact is None:
        not_found()
    return _deliver(call, row, artifact)


def _deliver(call: Call, row: Job, artifact: Artifact) -> Response:
    """Send a stored file, or say where the object store has it (`present_carrierwave_file!`, lib/api/helpers.rb)."""
    attachment = {"Content-Disposition": f'attachment; filename="{artifact.filename}"'}
    if call.instance.delivery == "local":
        etag = etag_of(artifact.blob) if call.instance.etag_is_right else EVERYBODYS_ETAG
        return send_blob(artifact.blob, call.request, {**attachment, "ETag": etag}, call.instance.ranges)
    if call.objects is None:
        raise ValueError(f"delivery is {call.instance.delivery!r}, but there is no object store")
    key = f"artifacts/{row.pipeline.project.id}/{row.id}/{artifact.filename}"
    call.objects.put(key, artifact.blob)
    if call.instance.delivery == "proxy":
        headers = {**attachment, "ETag": etag_of(artifact.blob)}
        return send_blob(artifact.blob, call.request, headers, call.instance.ranges)
    method = call.request.method if call.objects.signs_head else "GET"
    location = call.objects.presign(key, method=method, filename=artifact.filename)
    response = Response.text(f"This resource has been moved temporarily to {location}.", 302)
    response.headers["Location"] = location
    return response


def artifact_file(call: Call) -> Response:
    """Send one file out of the archive, unpacked by workhorse: no ranges (workhorse/internal/artifacts/entry.go)."""
    row = _job(call)
    _check_artifacts_access(call, row)
    archive = _available_archive(call, row)
    try:
        path = unquote(call.request.raw_path.split("/artifacts/", 1)[1], errors="strict")
    except UnicodeDecodeError:
        refuse("400 Bad request", 400)
    if "\0" in path:
        refuse("400 Bad request", 400)
    try:
        member = open_member(archive, path)
    except zipfile.BadZipFile:
        return Response.text("Internal Server Error\n", 500)
    if member is None:
        response = Response.text("404 page not found\n", 404)
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response
    headers = {
        "Content-Type": member.content_type,
        "Content-Length": str(member.size),
        "Content-Disposition": f'attachment; filename="{_quoted(member.name)}"',
    }
    if not call.instance.etag_is_right:
        headers["ETag"] = EVERYBODYS_ETAG
        if call.request.header("if-none-match") == EVERYBODYS_ETAG:
            return Response(304, headers={"ETag": EVERYBODYS_ETAG})
    return Response(200, member.pieces, headers)


def _quoted(name: str) -> str:
    return name.replace("\\", "\\\\").replace('"', '\\"')


def artifacts_tree(call: Call) -> Response:
    """List files and folders of the archive (doc/api/job_artifacts.md, since 18.8)."""
    row = _job(call)
    _check_artifacts_access(call, row)
    archive = _available_archive(call, row)
    try:
        entries = list_tree(archive, call.params["path"] or "", recursive=call.params["recursive"])
    except zipfile.BadZipFile:
        not_found()
    if entries is None:
        not_found()
    return call.page(entries, lambda entry: entry)


def keep(call: Call) -> Response:
    """Stop the artifacts' expiry (doc/api/job_artifacts.md); the code answers 200, its OpenAPI says 201.

    What has expired is not kept, removed or not, "keep latest" or not (`artifacts?`, app/models/ci/build.rb).
    """
    project = call.project()
    call.authorize("keep_artifacts", project)
    row = call.job(project)
    expired = row.expire_at is not None and row.expire_at <= call.store.clock()
    if expired or call.store.artifact(row, "archive") is None:
        not_found()
    row.expire_at = None
    return Response.json(entities.job_json(row, call.store.artifacts_of(row), call.base))


def _job(call: Call) -> Job:
    project = call.project()
    call.authorize("read_build", project)
    return call.job(project)


def _check_artifacts_access(call: Call, row: Job) -> None:
    if not call.store.may_read_artifacts(call.user, row):
        refuse("403 Forbidden", 403)


def _available_archive(call: Call, row: Job) -> Blob:
    """Find the archive; one whose time is over is not available even before it is removed (`available_artifacts?`)."""
    artifact = call.store.artifact(row, "archive")
    if artifact is None or call.store.is_expired(row):
        not_found()
    return artifact.blob


_JOB = "/projects/{id}/jobs/{job_id}"

ROUTES = (
    Route("GET", _JOB, job, needs_user=True),
    Route("GET", f"{_JOB}/trace", trace, needs_user=True),
    Route("GET", f"{_JOB}/artifacts", artifacts, {"file_type": Param(str)}),
    Route(
        "GET",
        f"{_JOB}/artifacts/tree",
        artifacts_tree,
        {**PAGING, "path": Param(str), "recursive": Param(truth, default=False)},
        since=(18, 8),
    ),
    Route("GET", f"{_JOB}/artifacts/{{artifact_path*}}", artifact_file),
    Route("POST", f"{_JOB}/artifacts/keep", keep, scopes=("api",), needs_user=True),
)
