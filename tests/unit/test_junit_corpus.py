"""Reports that real tools wrote, and traps made by hand, against counts that were made without our code."""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from reconciler.junit import BadReport, Report, looks_like_junit
from reconciler.model import Outcome

DATA = Path(__file__).parents[1] / "data"
CORPUS = Path(os.environ.get("JUNIT_CORPUS") or Path(__file__).parents[3] / "shared" / "junit")
"""A larger collection of public reports, which is not part of this repository."""

HEAD = 4096


class Counts(NamedTuple):
    """How many tests there are of each outcome."""

    tests: int
    passed: int
    failed: int
    errored: int
    skipped: int


def counted(path: Path) -> Counts:
    """Read a file and count."""
    with path.open("rb") as stream:
        outcomes = Counter(run.outcome for run in Report(stream))
    order = (Outcome.PASSED, Outcome.FAILED, Outcome.ERRORED, Outcome.SKIPPED)
    return Counts(outcomes.total(), *(outcomes[outcome] for outcome in order))


def assert_refused(path: Path) -> BadReport:
    """Read a file that must be refused, in one line of words."""
    with pytest.raises(BadReport) as caught:
        counted(path)
    assert caught.value.detail
    assert "\n" not in caught.value.detail
    return caught.value


# --- our own reports and traps ---------------------------------------------------------------------------------------

INDEX: dict[str, dict[str, int | bool]] = json.loads((DATA / "index.json").read_text("utf-8"))


@pytest.mark.parametrize("name", INDEX)
def test_a_file_of_ours_has_the_counts_of_the_index(name: str) -> None:
    """What the rule calls passed and a status calls disabled is skipped here."""
    expected = INDEX[name]
    if expected.get("problem"):
        assert_refused(DATA / name)
        return
    disabled = int(expected.get("disabled", 0))
    assert counted(DATA / name) == Counts(
        int(expected["tests"]),
        int(expected["passed"]) - disabled,
        int(expected["failed"]),
        int(expected["errored"]),
        int(expected["skipped"]) + disabled,
    )
    assert looks_like_junit((DATA / name).read_bytes()[:HEAD])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("bats/report-cut.xml", "truncated"),
        ("traps/truncated-in-declaration.xml", "truncated"),
        ("traps/two-documents.xml", "malformed"),
        ("traps/undefined-entity.xml", "malformed"),
        ("traps/doctype-utf16.xml", "doctype"),
        ("traps/billion-laughs.xml", "doctype"),
        ("traps/deep-300.xml", "too-deep"),
        ("traps/trx.xml", "not-junit"),
        ("traps/json.xml", "not-junit"),
        ("traps/whitespace.xml", "empty"),
    ],
)
def test_a_trap_is_refused_for_its_own_reason(name: str, kind: str) -> None:
    """The kind is what the caller shows."""
    assert assert_refused(DATA / name).kind == kind


def test_what_a_real_tool_wrote_is_read_in_full() -> None:
    """Surefire's reruns: attempts, traces, properties of the suite left out."""
    with (DATA / "surefire/TEST-com.example.payments.CaptureTest.xml").open("rb") as stream:
        runs = list(Report(stream))
    flaky = [run for run in runs if run.flaky]
    assert flaky
    assert all(run.attempts > 1 and "at " in run.detail and not run.message for run in flaky)
    assert {run.suite for run in runs} == {"com.example.payments.CaptureTest"}
    assert not any(run.properties for run in runs)


# --- public reports --------------------------------------------------------------------------------------------------


def corpus_rows() -> list[dict[str, str]]:
    """Read the collection's index; none when it is not at hand."""
    index = CORPUS / "index.tsv"
    if not index.exists():
        return []
    return list(csv.DictReader(io.StringIO(index.read_text("utf-8")), delimiter="\t"))


ROWS = corpus_rows()


@pytest.mark.skipif(not ROWS, reason="the collection of public reports is not at hand")
def test_the_collection_of_public_reports_is_whole() -> None:
    """Else the next test proves little."""
    assert {row["outcome"] for row in ROWS} == {"junit", "malformed", "not-junit"}


@pytest.mark.parametrize("row", [pytest.param(row, id=row["file"]) for row in ROWS])
def test_a_public_report_has_the_counts_of_its_index(row: dict[str, str]) -> None:
    """A file without counts by the rule is refused; one with forbidden characters only has counts and is read.

    `disabled_by_status` counts tests that have a `<skipped>`, too, so of the passed ones at most so many are skipped.
    """
    path = CORPUS / "files" / row["file"]
    if not row["rule_tests"]:
        problem = assert_refused(path)
        assert (row["outcome"] == "not-junit") == (problem.kind == "not-junit")
        assert looks_like_junit(path.read_bytes()[:HEAD]) == (row["root"] in {"testsuites", "testsuite", "testcase"})
        return
    counts = counted(path)
    disabled = int(row["disabled_by_status"])
    assert counts.tests == int(row["rule_tests"])
    assert (counts.failed, counts.errored) == (int(row["rule_failed"]), int(row["rule_errored"]))
    assert int(row["rule_skipped"]) <= counts.skipped <= int(row["rule_skipped"]) + disabled
    assert counts.passed + counts.skipped == int(row["rule_passed"]) + int(row["rule_skipped"])
    assert looks_like_junit(path.read_bytes()[:HEAD])
