"""How many bytes a result takes in a batch is known before it is written."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from reconciler.model import Build, FormattedID, Key, ObjectID, PipelineId, ProjectId, TestCaseResult
from reconciler.rally import writes
from reconciler.rally.results import result_attributes, size_in_batch

GREATEST = ObjectID(2**53 - 1)
KEY = Key(ProjectId(1), PipelineId(1), FormattedID("TC1"), 1)


@pytest.mark.parametrize("test_set", [None, ObjectID(7), GREATEST])
@pytest.mark.parametrize("duration_s", [0.0, 12.345, 1.2345678901234567e-300])
@pytest.mark.parametrize("text", ["", "plain", 'quoted "\n\t\\', "é\u2028\U0001f600" * 50])
def test_no_result_takes_more_than_it_was_said_to(text: str, duration_s: float, test_set: ObjectID | None) -> None:
    """Nor much less: requests are filled by it."""
    at = datetime(2026, 1, 31, 12, tzinfo=UTC)
    result = TestCaseResult(KEY, Build(f"b{text}"), GREATEST, f"v{text}", at, duration_s, text, test_set)
    given = result_attributes(result, f"/workspace/{GREATEST}")

    written = len(writes.encoded(writes.entry("/testcaseresult/create", "TestCaseResult", given))) + 1

    assert written <= size_in_batch(result) <= written + 50
