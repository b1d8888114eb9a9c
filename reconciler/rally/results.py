"""TestCaseResults as Rally's creates want them and as its reads give them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.model import Build, FoundResult, ObjectID, SeenResult
from reconciler.notes import read_key
from reconciler.rally import writes, wsapi

if TYPE_CHECKING:
    from reconciler.model import Key, TestCaseResult
    from reconciler.rally.writes import Attributes

_FRAME_BYTES = 280
"""What there is in an entry besides Notes, Build, Verdict and TestSet, at most: with the longest ids and Duration."""


def result_attributes(result: TestCaseResult, workspace_ref: str) -> Attributes:
    """Write a result's attributes; Workspace too, for else it is looked for in the key owner's default one."""
    given: Attributes = {
        "Build": result.build,
        "Date": wsapi.write_time(result.date),
        "TestCase": f"/testcase/{result.test_case}",
        "Verdict": result.verdict,
        "Duration": result.duration_s,
        "Notes": result.notes,
        "Workspace": workspace_ref,
    }
    return given if result.test_set is None else given | {"TestSet": f"/testset/{result.test_set}"}


def size_in_batch(result: TestCaseResult) -> int:
    """Tell how many bytes a result takes there, at most."""
    texts = len(writes.encoded(f"{result.notes}{result.build}{result.verdict}")) + 2 * len('""')
    return _FRAME_BYTES + texts + (0 if result.test_set is None else len(f',"TestSet":"/testset/{result.test_set}"'))


def read_seen(row: wsapi.Row) -> SeenResult:
    """Read a row as it stands."""
    duration = row.get("Duration")
    return SeenResult(
        object_id=ObjectID(wsapi.object_id(row)),
        build=Build(str(row.get("Build") or "")),
        key=read_key(str(row.get("Notes") or "")),
        test_case=ObjectID(wsapi.ref_id(row.get("TestCase"))),
        verdict=str(row.get("Verdict") or ""),
        date=wsapi.read_time(row.get("Date")),
        duration_s=float(duration) if isinstance(duration, int | float) else None,
    )


def read_result(key: Key, row: wsapi.Row) -> FoundResult:
    """Read a row that carries a key of ours."""
    return FoundResult(
        key=key,
        object_id=ObjectID(wsapi.object_id(row)),
        build=Build(row["Build"]),
        verdict=str(row.get("Verdict") or ""),
        attachments=wsapi.count(row.get("Attachments")),
        test_set=ObjectID(wsapi.ref_id(row["TestSet"])) if row.get("TestSet") else None,
        date=wsapi.read_time(row["Date"]) if row.get("Date") else None,
    )
