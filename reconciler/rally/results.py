"""TestCaseResults as Rally's creates want them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.rally import creates, wsapi

if TYPE_CHECKING:
    from reconciler.model import TestCaseResult
    from reconciler.rally.creates import Attributes

_LONGEST_REF = "/workspace/9007199254740991"


def result_attributes(result: TestCaseResult, workspace_ref: str) -> Attributes:
    """Write a result's attributes; Workspace too, for else it is looked for in the key owner's default one."""
    return {
        "Build": result.build,
        "Date": wsapi.write_time(result.date),
        "TestCase": f"/testcase/{result.test_case}",
        "Verdict": result.verdict,
        "Duration": result.duration_s,
        "Notes": result.notes,
        "Workspace": workspace_ref,
    }


def size_in_batch(result: TestCaseResult) -> int:
    """Tell how many bytes a result takes there, at most."""
    return len(creates.entry("TestCaseResult", result_attributes(result, _LONGEST_REF))) + 1
