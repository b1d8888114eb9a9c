"""The adapter to GitLab, over python-gitlab."""

from reconciler.gitlab.adapter import GitLabAdapter

__all__ = ["GitLabAdapter"]
