"""Is it set up right? Looks at everything that a pass needs, and writes nothing anywhere."""

from reconciler.doctor.finding import Check, Finding, exit_status, told, within
from reconciler.doctor.gitlab import GitLabExam
from reconciler.doctor.local import HostExam
from reconciler.doctor.rally import RallyExam

__all__ = ["Check", "Finding", "GitLabExam", "HostExam", "RallyExam", "exit_status", "told", "within"]
