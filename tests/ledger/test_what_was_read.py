"""What is noted beside a test's outcome, and how the ledger finds it again."""

from __future__ import annotations

from base64 import b64encode
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from reconciler.ledger import job_reading, subjects
from reconciler.ledger.entries import Draft
from reconciler.ledger.job_reading import FILES, METRICS, OUTPUT
from reconciler.ledger.ledger import Ledger, in_memory
from reconciler.mapping import Mapping
from reconciler.model import ArtifactListing, JobId, ObjectID, Outcome, ProjectId
from tests import building
from tests.building import BUILD
from tests.fakes import START

if TYPE_CHECKING:
    from collections.abc import Iterator

PIPELINE = building.pipeline()
JOB = building.job(of=PIPELINE, at_s=30)
OTHER = building.job(1001, of=PIPELINE, name="other")
PICTURE = ("attachment", f"data:image/png;base64,{b64encode(b'picture').decode()}")
BOTH = OUTPUT | FILES


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """Know a pipeline with two finished jobs, of which one has an archive."""
    ledger = in_memory()
    with closing(ledger.store):
        ledger.observations.remember_projects("project qa/web-shop", [building.PROJECT])
        ledger.observations.store_pipelines([PIPELINE])
        listed = (ArtifactListing("archive", 500, "artifacts.zip"),)
        ledger.observations.store_jobs(PIPELINE, [replace(JOB, artifacts=listed), OTHER])
        ledger.test_cases.replace([building.case("TC1"), building.case("TC2")])
        yield ledger


def _subjects(ledger: Ledger) -> list[tuple[str, str]]:
    return ledger.store.rows("SELECT key, mapping FROM subjects ORDER BY subject_id")


# --- beside the outcome ----------------------------------------------------------------------------------------------


def test_what_there_is_of_a_test_beside_its_outcome_is_marked_in_it(ledger: Ledger) -> None:
    """Most tests have nothing: no question is asked for them."""
    failed = replace(building.run("t", Outcome.FAILED), message="no")
    runs = [
        building.run("nothing"),
        building.run("nothing that counts", ids="TC7"),
        replace(failed, properties=(PICTURE,)),
        replace(building.run("m"), properties=(PICTURE, ("metric:checkout", "1.5"))),
    ]
    building.read_job(ledger, JOB, runs)
    flags = [row[0] for row in ledger.store.rows("SELECT evidence FROM tests ORDER BY test_id")]
    metrics = [row[0] for row in ledger.store.rows("SELECT DISTINCT test_id FROM test_metrics")]
    assert flags == [0, 0, BOTH, FILES | (METRICS if metrics else 0)]
    found = [(one.output is not None, len(one.files)) for one in ledger.files.evidence_of([1, 2, 3, 4])]
    assert found == [(False, 0), (False, 0), (True, 1), (False, 1)]


def test_a_file_is_given_with_the_name_and_the_link_of_its_job(ledger: Ledger) -> None:
    """Notes tell where it is from."""
    building.read_job(ledger, OTHER, [replace(building.run("t"), properties=(PICTURE,))])
    (file,) = ledger.files.evidence_of([1])[0].files
    assert (file.job_name, file.job_url) == ("other", OTHER.web_url)


def test_what_is_said_of_files_beyond_a_number_is_counted(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person can see that something was left out, and how much."""
    monkeypatch.setattr(job_reading, "MENTIONS_OF_ONE_JOB", 1)
    said = replace(building.run("t"), properties=tuple((f"attachment{n}", f"{n}.png") for n in range(4)))
    with ledger.observations.reading(JOB, START) as record:
        record.document("junit", "junit.xml", [said])
        assert (len(record.mentions), record.unheard_mentions) == (1, 3)
        record.close("read")


def test_a_reading_counts_the_documents_that_were_read_to_their_end(ledger: Ledger) -> None:
    """None says that the job had no report, or none that could be read."""
    with ledger.observations.reading(JOB, START) as record:
        counts = [record.documents]
        for name in ("a.xml", "b.xml"):
            record.document("junit", name, [building.run(name)])
            counts.append(record.documents)
        record.close("read")
    assert counts == [0, 1, 2]


def test_a_project_is_known_by_its_path(ledger: Ledger) -> None:
    """Files may be named from there; of another project nothing is known."""
    assert [ledger.observations.project_path(ProjectId(n)) for n in (1, 2)] == ["qa/web-shop", ""]


# --- files of a result -----------------------------------------------------------------------------------------------


def test_bytes_that_stood_in_a_report_are_not_looked_for_in_an_archive(ledger: Ledger) -> None:
    """They are in the ledger; their result tells its pipeline, whose jobs have the rest."""
    building.read_job(ledger, JOB, [replace(building.run("t_TC1"), properties=(PICTURE,))])
    ledger.subjects.apply(Mapping([]), resolvable=True)
    (entry,) = ledger.entries.intend([Draft(building.add("TC1", 1), BUILD)], START)
    ledger.entries.confirm([(entry, ObjectID(9001))], START)
    with ledger.store.transaction():
        ledger.store.run(
            "INSERT INTO attachments (entry_id, name, size_bytes, crc, file_id, output_id, url, state)"
            " VALUES (?, 'a.png', 7, 1, 1, NULL, '', 'pending'), (?, 'out.log', 7, 1, NULL, 1, '', 'pending')",
            [entry, entry],
        )
    picture, output = ledger.attachments.rows(entry)
    assert (picture.job_id, picture.output_id, output.job_id, output.output_id, output.path) == (None, 1, None, 1, "")
    assert ledger.files.body(1) == b"picture"
    assert [holder.pipeline_id for holder in ledger.attachments.holders()] == [PIPELINE.id]


def test_a_job_without_an_archive_lists_none(ledger: Ledger) -> None:
    """Nothing is asked for that was never there."""
    listed = [ledger.attachments.job(JobId(number)).artifacts for number in (1000, 1001)]
    assert listed == [(ArtifactListing("archive", 500, "artifacts.zip"),), ()]


def test_the_audit_tells_what_became_of_a_file_that_was_begun(ledger: Ledger) -> None:
    """Which one, and why; of one that is attached there is nothing to explain."""
    building.read_job(ledger, JOB, [building.run("t_TC1")])
    ledger.subjects.apply(Mapping([]), resolvable=True)
    (entry,) = ledger.entries.intend([Draft(building.add("TC1", 1), BUILD)], START)
    ledger.entries.confirm([(entry, ObjectID(9001))], START)
    with ledger.store.transaction():
        ledger.store.run(
            "INSERT INTO attachments (entry_id, name, size_bytes, crc, url, state)"
            " VALUES (?, 'a.png', 7, 1, '', 'pending')",
            [entry],
        )
    ledger.attachments.lost_content([1], "the process ended", START)
    ledger.attachments.content([(1, ObjectID(8001), "image/png")])
    ledger.attachments.intend([1], START)
    ledger.attachments.withdraw([1], "Rally does not have it", START)
    ledger.attachments.intend([1], START)
    ledger.attachments.confirm([(1, ObjectID(8501))], START)
    assert ledger.store.rows("SELECT what, key, detail FROM audit ORDER BY rowid") == [
        ("orphaned", "1", "the process ended"),
        ("withdrawn", "attachment 1", "Rally does not have it"),
    ]
    assert ledger.store.rows("SELECT state, reason FROM attachments") == [("done", "")]


# --- tests alike -----------------------------------------------------------------------------------------------------


def test_a_test_that_an_earlier_process_has_seen_is_the_same_test(ledger: Ledger) -> None:
    """It is known by what it is, not by what this process remembers."""
    building.read_job(ledger, JOB, [building.run("a"), building.run("b")])
    again = Ledger(ledger.store, skips_count=False)
    building.read_job(again, OTHER, [building.run("b"), building.run("c")])
    rows = ledger.store.rows("SELECT s.name FROM tests JOIN subjects s USING (subject_id) ORDER BY test_id")
    assert rows == [("a",), ("b",), ("b",), ("c",)]
    assert [key for key, _ in _subjects(ledger)] == ["shop.a", "shop.b", "shop.c"]


def test_a_mapping_reaches_every_test_however_many_are_looked_at_at_once(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory does not grow with their number."""
    assert "LIMIT 5000" in subjects._SOME
    monkeypatch.setattr(subjects, "_SOME", subjects._SOME.replace("5000", "2"))
    building.read_job(ledger, JOB, [building.run(f"t{n}_TC1") for n in range(5)])
    ledger.subjects.apply(Mapping([]), resolvable=True)
    assert [said for _, said in _subjects(ledger)] == ["mapped"] * 5


def test_a_test_that_names_several_test_cases_counts_for_each(ledger: Ledger) -> None:
    """Also in one property."""
    building.read_job(ledger, JOB, [building.run("x", ids="TC1, TC2")])
    ledger.subjects.apply(Mapping([]), resolvable=True)
    assert ledger.store.rows("SELECT formatted_id, object_id FROM targets ORDER BY 1") == [("TC1", 1), ("TC2", 2)]
