"""Rows as GitLab's JSON: the keys of lib/api/entities, as in GitLab's generated OpenAPI and documentation."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from reconciler.sandbox.gitlab.records import Job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.sandbox.gitlab.artifacts import Artifact
    from reconciler.sandbox.gitlab.features import Instance
    from reconciler.sandbox.gitlab.records import Bridge, Group, Pipeline, Project, Token, User

Json = dict[str, object]

_STATUS_WORDS = {"success": "passed", "manual": "blocked", "scheduled": "delayed"}


def timestamp(at: datetime | None) -> str | None:
    """Write a time as GitLab does: UTC, cut (not rounded) to milliseconds."""
    if at is None:
        return None
    utc = at.astimezone(UTC)
    return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03d}Z"


def user_json(user: User, base: str) -> Json:
    """Write a user (entities/user_basic.rb)."""
    return {
        "id": user.id,
        "username": user.username,
        "public_email": "",
        "name": user.name,
        "state": "active",
        "locked": False,
        "avatar_url": None,
        "web_url": f"{base}/{user.username}",
    }


def job_user_json(user: User, base: str) -> Json:
    """Write a user as jobs have it (entities/user.rb)."""
    about = (
        "bio",
        "location",
        "linkedin",
        "twitter",
        "discord",
        "website_url",
        "organization",
        "job_title",
        "pronouns",
    )
    return {
        **user_json(user, base),
        "created_at": "2024-01-08T08:00:00.000Z",
        **dict.fromkeys(about, ""),
        "bot": "_bot_" in user.username,
        "work_information": None,
        "followers": 0,
        "following": 0,
        "local_time": None,
    }


def me_json(user: User, base: str) -> Json:
    """Write the token's own user (entities/user_public.rb)."""
    return {**job_user_json(user, base), "email": f"{user.username}@noreply.example.com", "two_factor_enabled": False}


def token_json(token: Token, *, active: bool) -> Json:
    """Write a token (entities/personal_access_token.rb)."""
    return {
        "id": token.id,
        "name": token.name,
        "revoked": token.revoked,
        "created_at": timestamp(token.created_at),
        "description": None,
        "scopes": list(token.scopes),
        "user_id": token.user.id,
        "last_used_at": timestamp(token.last_used_at),
        "active": active,
        "expires_at": token.expires_at and token.expires_at.isoformat(),
    }


def version_json(instance: Instance) -> Json:
    """Write what `/version` and `/metadata` say (entities/metadata.rb)."""
    kas = {"enabled": False, "externalUrl": None, "externalK8sProxyUrl": None, "version": None}
    return {
        "version": instance.version,
        "revision": hashlib.sha1(instance.version.encode(), usedforsecurity=False).hexdigest()[:11],
        "kas": kas,
        "enterprise": instance.version.endswith("-ee"),
    }


def project_json(project: Project, base: str, *, simple: bool = False) -> Json:
    """Write a project (entities/basic_project_details.rb; entities/project.rb has more than is written here)."""
    names = [*project.path.split("/")[:-1], project.name]
    web_url = f"{base}/{project.path}"
    basic: Json = {
        "id": project.id,
        "description": None,
        "name": project.name,
        "name_with_namespace": " / ".join(names),
        "path": project.path.rpartition("/")[2],
        "path_with_namespace": project.path,
        "created_at": timestamp(project.created_at),
        "default_branch": project.default_branch,
        "tag_list": [],
        "topics": [],
        "ssh_url_to_repo": f"git@gitlab.example.com:{project.path}.git",
        "http_url_to_repo": f"{web_url}.git",
        "web_url": web_url,
        "readme_url": None,
        "forks_count": 0,
        "avatar_url": None,
        "star_count": 0,
        "last_activity_at": timestamp(project.last_activity_at or project.created_at),
        "visibility": project.visibility,
        "namespace": _namespace_json(project.group, base),
    }
    if simple:
        return basic
    return {
        **basic,
        "_links": {"self": f"{base}/api/v4/projects/{project.id}"},
        "empty_repo": False,
        "archived": project.archived,
        "jobs_enabled": project.builds_enabled,
        "builds_access_level": "enabled" if project.builds_enabled else "disabled",
        "public_jobs": project.public_jobs,
        "keep_latest_artifact": True,
        "shared_with_groups": [],
    }


def _namespace_json(group: Group, base: str) -> Json:
    return {
        "id": group.id,
        "name": group.name,
        "path": group.path.rpartition("/")[2],
        "kind": "group",
        "full_path": group.path,
        "parent_id": group.parent and group.parent.id,
        "avatar_url": None,
        "web_url": f"{base}/groups/{group.path}",
    }


def pipeline_json(pipeline: Pipeline, base: str) -> Json:
    """Write a pipeline as it stands inside jobs (entities/ci/pipeline_basic.rb)."""
    return {
        "id": pipeline.id,
        "iid": pipeline.iid,
        "project_id": pipeline.project.id,
        "sha": pipeline.sha,
        "ref": pipeline.ref,
        "status": pipeline.status,
        "source": pipeline.source,
        "created_at": timestamp(pipeline.created_at),
        "updated_at": timestamp(pipeline.updated_at),
        "web_url": f"{base}/{pipeline.project.path}/-/pipelines/{pipeline.id}",
    }


def pipeline_row_json(pipeline: Pipeline, base: str, instance: Instance) -> Json:
    """Write a pipeline as it stands in the list: with its name since 16.3 (doc/api/pipelines.md)."""
    name: Json = {"name": pipeline.name} if instance.has(16, 3) else {}
    return {**pipeline_json(pipeline, base), **name}


def pipeline_detail_json(pipeline: Pipeline, base: str, instance: Instance) -> Json:
    """Write a single pipeline (entities/ci/pipeline_with_metadata.rb)."""
    duration = _seconds(pipeline.started_at, pipeline.finished_at)
    queued = _seconds(pipeline.created_at, pipeline.started_at)
    detail: Json = {
        **pipeline_row_json(pipeline, base, instance),
        "before_sha": pipeline.before_sha,
        "tag": pipeline.tag,
        "yaml_errors": pipeline.yaml_errors,
        "user": user_json(pipeline.user, base),
        "started_at": timestamp(pipeline.started_at),
        "finished_at": timestamp(pipeline.finished_at),
        "committed_at": None,
        "duration": None if duration is None else int(duration),
        "queued_duration": None if queued is None else int(queued),
        "coverage": None,
        "detailed_status": _detailed_status_json(pipeline),
    }
    return {**detail, "archived": False} if instance.has(19, 0) else detail


def _detailed_status_json(pipeline: Pipeline) -> Json:
    word = _STATUS_WORDS.get(pipeline.status, pipeline.status)
    return {
        "icon": f"status_{pipeline.status}",
        "text": word,
        "label": word,
        "group": pipeline.status,
        "tooltip": word,
        "has_details": True,
        "details_path": f"/{pipeline.project.path}/-/pipelines/{pipeline.id}",
        "illustration": None,
        "favicon": None,
    }


def job_json(job: Job, artifacts: Sequence[Artifact], base: str) -> Json:
    """Write a job (entities/ci/job.rb)."""
    archive = next((one for one in artifacts if one.file_type == "archive"), None)
    document = _job_basic_json(job, base)
    if archive is not None:
        document["artifacts_file"] = {"filename": archive.filename, "size": archive.blob.size}
    return {
        **document,
        "artifacts": [
            {
                "file_type": one.file_type,
                "size": one.blob.size,
                "filename": one.filename,
                "file_format": one.file_format,
            }
            for one in artifacts
        ],
        "runner": None,
        "runner_manager": None,
        "artifacts_expire_at": timestamp(job.expire_at),
        "archived": False,
        "tag_list": list(job.tag_list),
    }


def bridge_json(bridge: Bridge, base: str) -> Json:
    """Write a trigger job (entities/ci/bridge.rb); nothing downstream yet is null."""
    downstream = bridge.downstream
    return {
        **_job_basic_json(bridge, base),
        "downstream_pipeline": None if downstream is None else pipeline_json(downstream, base),
    }


def _job_basic_json(job: Job | Bridge, base: str) -> Json:
    """Write what jobs and trigger jobs have in common (entities/ci/job_basic.rb); there is no flag for retried ones."""
    pipeline = job.pipeline
    attempt = job if isinstance(job, Job) else None
    started = attempt.started_at if attempt else job.created_at
    document: Json = {
        "id": job.id,
        "status": job.status,
        "stage": job.stage,
        "name": job.name,
        "ref": pipeline.ref,
        "tag": pipeline.tag,
        "coverage": attempt and attempt.coverage,
        "allow_failure": job.allow_failure,
        "created_at": timestamp(job.created_at),
        "started_at": timestamp(started),
        "finished_at": timestamp(job.finished_at),
        "erased_at": timestamp(attempt.erased_at) if attempt else None,
        "duration": _seconds(started, job.finished_at),
        "queued_duration": _seconds(job.created_at, started),
        "user": job_user_json(pipeline.user, base),
        "commit": _commit_json(pipeline, base),
        "pipeline": pipeline_json(pipeline, base),
        "web_url": f"{base}/{pipeline.project.path}/-/jobs/{job.id}",
        "project": {"ci_job_token_scope_enabled": False},
    }
    if job.status == "failed":
        document["failure_reason"] = attempt.failure_reason if attempt else "unknown_failure"
    return document


def _commit_json(pipeline: Pipeline, base: str) -> Json:
    author = {"name": pipeline.user.name, "email": "admin@example.com"}
    at = timestamp(pipeline.created_at)
    return {
        "id": pipeline.sha,
        "short_id": pipeline.sha[:8],
        "created_at": at,
        "parent_ids": [pipeline.before_sha],
        "title": f"Change {pipeline.iid}",
        "message": f"Change {pipeline.iid}\n",
        "author_name": author["name"],
        "author_email": author["email"],
        "authored_date": at,
        "committer_name": author["name"],
        "committer_email": author["email"],
        "committed_date": at,
        "trailers": {},
        "extended_trailers": {},
        "web_url": f"{base}/{pipeline.project.path}/-/commit/{quote(pipeline.sha)}",
    }


def _seconds(start: datetime | None, stop: datetime | None) -> float | None:
    return None if start is None or stop is None else max(0.0, (stop - start).total_seconds())
