"""A stand-in GitLab: a store that a scenario fills, the REST API over it, and the object store beside it."""

from reconciler.sandbox.gitlab.app import GitLabApp, GitLabServer, UnknownParameter
from reconciler.sandbox.gitlab.artifacts import Filler, pack_reports, pack_zip
from reconciler.sandbox.gitlab.clock import START, FakeClock, real_clock
from reconciler.sandbox.gitlab.features import Instance
from reconciler.sandbox.gitlab.records import Bridge, Group, Job, Pipeline, Project, Role, Token, User
from reconciler.sandbox.gitlab.scenario import GitLabStore

__all__ = [
    "START",
    "Bridge",
    "FakeClock",
    "Filler",
    "GitLabApp",
    "GitLabServer",
    "GitLabStore",
    "Group",
    "Instance",
    "Job",
    "Pipeline",
    "Project",
    "Role",
    "Token",
    "UnknownParameter",
    "User",
    "pack_reports",
    "pack_zip",
    "real_clock",
]
