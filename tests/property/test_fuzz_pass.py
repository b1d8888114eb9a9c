"""Real files, spoilt, all the way: what they say of other files, what Notes tell of them, and whole passes."""

from __future__ import annotations

import io
import threading
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from hypothesis import given
from hypothesis import strategies as st
from loguru import logger

from reconciler import evidence, notes
from reconciler.archive import BadArchive, Member, RemoteArchive
from reconciler.evidence import Directory, File, Naming, Output, Rules, TestEvidence
from reconciler.junit import BadReport, Report
from reconciler.ledger.ledger import in_memory
from reconciler.mapping import Row
from reconciler.model import Key
from reconciler.order import Order
from reconciler.reconcile import reconcile
from reconciler.sandbox.gitlab.artifacts import pack_reports
from reconciler.world import World
from tests import accounting, building
from tests.archives import packed
from tests.fakes import Clock, FakeGitLab, FakeRally
from tests.property.mutations import bounded, documents, fuzz, spoilt
from tests.property.test_fuzz_readers import ZIPS, Strict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reconciler.model import Job, JobId, TestRun

DOCUMENTS = documents()
KEY = "1/100/TC1/1"
ADDRESS = "https://gitlab.test/-/jobs/1"
PNG = b"\x89PNG\r\n\x1a\n"


# --- evidence and Notes ----------------------------------------------------------------------------------------------


def runs_of(document: bytes) -> list[TestRun]:
    """Read what can be read of a report, up to where it is bad: evidence must bear that, too."""
    runs: list[TestRun] = []
    with suppress(BadReport):
        runs.extend(Report(io.BytesIO(document)))
    return runs


def members_of(data: bytes) -> Sequence[Member]:
    """Read an archive's directory."""
    with suppress(BadArchive):
        return RemoteArchive(Strict(data)).members
    return ()


def files_of(run: TestRun, directory: Directory, report: str) -> Iterator[File]:
    """Look up what a test says of files, as reading its job does."""
    for number, said in enumerate(evidence.mentions(run)):
        member = directory.find(said.said, report)
        known: tuple[str, str, int | None, int | None, str]
        if member is not None:
            known = ("member", member.path, member.size_bytes, member.crc, "")
        elif said.kind == "data" and not said.problem:
            known = ("inline", said.name, len(said.data), 1, "")
        else:
            known = ("url" if said.kind == "url" else "missing", said.name or said.said, None, None, said.problem)
        kind, path, size, crc, note = known
        yield File(number + 1, kind, path, size, crc, note, said.metric, "e2e", ADDRESS, None)  # type: ignore[arg-type] # of the table above
        assert evidence.content_type(path, said.data[:16])


def line_of(run: TestRun) -> notes.TestLine:
    """Tell a test as Notes do."""
    message = run.message + run.detail + run.system_out
    return notes.TestLine("Fail", run.key, run.suite, ADDRESS, run.duration_s, message, run.attempts, flaky=run.flaky)


@fuzz()
@given(spoilt(DOCUMENTS), spoilt(ZIPS), st.lists(st.text(max_size=30), max_size=5))
def test_whatever_a_test_says_its_notes_fit_and_end_with_the_key(
    document: bytes, data: bytes, names: list[str]
) -> None:
    """Every name, path, message and text on the way from the report to Rally is anybody's."""
    with bounded():
        runs = runs_of(document)
        members = [*members_of(data), *(Member(name, 1, 1) for name in names)]
        directory = Directory(members, project_path="qa/shop")
        paths = [member.path for member in members]
        matched = Naming(paths).match(lambda: enumerate(run.name for run in runs))
        tests = [
            TestEvidence(Output(1, len(evidence.output(run)), 1, "e2e", ADDRESS), tuple(files_of(run, directory, path)))
            for run, path in zip(runs, [*paths, *[""] * len(runs)], strict=False)
        ]
        wanted = evidence.wanted(tests, Rules(1_000, ("**/*.mp4",)))
        written = notes.render(content(runs, wanted))
    assert set(matched) <= set(paths)
    assert len(written.encode()) <= notes.LIMIT_BYTES
    assert written.isprintable() or not set(written) & set("\0\x1b\r\u202e")
    assert notes.read_key(written) == Key.parse(KEY)


def content(runs: Sequence[TestRun], wanted: Sequence[evidence.Wanted]) -> notes.Content:
    """Put together what Notes tell, as composing a result does."""
    shown = [one for one in wanted if one.fate != "missing"]
    missing = [one for one in wanted if one.fate == "missing"]
    return notes.Content(
        KEY, ADDRESS, 100, "main", "0123abcd", ADDRESS, [line_of(run) for run in runs],
        files=[notes.FileLine(one.name, one.url, one.size_bytes, one.reason, one.note) for one in shown],
        missing=[notes.MissingLine(one.name, one.reason) for one in missing],
        metrics=[(run.key, *value) for run in runs for value in evidence.metrics(run)],
    )  # fmt: skip


# --- whole passes ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class SpoiltGitLab(FakeGitLab):
    """Gives some jobs' artifacts as they are, gzip and all."""

    raw: dict[JobId, bytes] = field(default_factory=dict)

    @contextmanager
    def junit_artifact(self, job: Job) -> Iterator[BinaryIO | None]:
        """Open the report."""
        if job.id in self.raw:
            yield io.BytesIO(self.raw[job.id])
            return
        with FakeGitLab.junit_artifact(self, job) as opened:
            yield opened


_uploads = st.lists(spoilt(DOCUMENTS), min_size=1, max_size=2).map(
    lambda found: pack_reports([(f"reports/{place}.xml", document) for place, document in enumerate(found)])
)
_archives = spoilt([*ZIPS, packed([("a.png", PNG), ("reports/a.xml", DOCUMENTS[0]), ("fails/test.log", b"text")])])


@fuzz(0.4)
@given(_uploads.flatmap(lambda packed: spoilt([packed], most=1)), _archives)
def test_a_job_with_a_spoilt_report_and_a_spoilt_archive_holds_up_nothing(report: bytes, archive: bytes) -> None:
    """A pass goes through, the good job's result is there with its file, and every test is accounted for."""
    clock = Clock()
    gitlab, rally, ledger = SpoiltGitLab(clock), FakeRally(clock), in_memory()
    for formatted_id in ("TC1", "TC2"):
        rally.add_case(formatted_id)
    pipeline = gitlab.add_pipeline(gitlab.add_project())
    gitlab.add_job(pipeline, "good", "apple_TC1!", archive=packed([("apple_TC1/a.png", PNG)]))
    bad = gitlab.add_job(pipeline, "bad", "x", archive=archive)
    gitlab.raw[bad.id] = report
    settings = building.settings(building.rally_settings(max_concurrency=1))
    world = World(gitlab, rally, ledger, settings, threading.Event(), clock)
    rows = [Row(2, "shop.apple_TC1", "TC1"), Row(3, "*", "TC2")]
    logger.disable("reconciler")
    with closing(ledger.store), bounded():
        outcome = reconcile(world, rows, Order("once"))
        again = reconcile(world, rows, Order("once"))
        accounting.check(ledger.store, settled=True, skips_count=False)
    logger.enable("reconciler")
    assert (outcome.exit_status, outcome.summary["left"]) == (0, 0), outcome
    assert (again.summary["writes"], again.summary["left"]) == (0, 0), again
    attached = {str(key): sorted(name for name, _ in files) for key, files in rally.attachments().items()}
    assert attached[f"1/{pipeline.id}/TC1/1"] == ["a.png", "test_output.log"]
