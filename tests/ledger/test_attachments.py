"""Attachments from pending to their end, and what is counted of them."""

from __future__ import annotations

import zlib
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.archive import Member
from reconciler.evidence import Wanted
from reconciler.ledger import views
from reconciler.ledger.attachments import NOTICE_BEGIN, NOTICE_NAME
from reconciler.ledger.entries import Draft
from reconciler.ledger.ledger import Ledger, in_memory
from reconciler.model import ArtifactListing, FoundResult, ObjectID, Outcome
from reconciler.plan import Absorb
from tests import building
from tests.building import BUILD, DAY
from tests.fakes import START

if TYPE_CHECKING:
    from collections.abc import Iterator

PIPELINE = building.pipeline()
JOB = replace(
    building.job(of=PIPELINE, at_s=30),
    artifacts=(ArtifactListing("archive", 500, "artifacts.zip"),),
    artifacts_expire_at=START + DAY,
)
OUTPUT, SHOT, FILM, GONE, HELD_BACK = 1, 2, 3, 4, 5
"""The attachments' ids: of the first result, but for the last."""
MADE = ObjectID(8001)


def _wanted(name: str, fate: Any = "upload", **more: Any) -> Wanted:  # noqa: ANN401 - fields of a Wanted
    usual: dict[str, Any] = {
        "size_bytes": 10, "crc": 7, "file_id": None, "output_id": None, "url": f"https://gitlab.test/{name}",
        "reason": "" if fate == "upload" else "why", "note": "", "job_name": "e2e", "expires_at": None,
    }  # fmt: skip
    return Wanted(name=name, fate=fate, **(usual | more))


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """Hold two results: the first is done and has files of all kinds, the second is still intended and has one."""
    ledger = in_memory()
    with closing(ledger.store):
        ledger.observations.remember_projects("project qa/web-shop", [building.PROJECT])
        ledger.observations.store_pipelines([PIPELINE])
        ledger.observations.store_jobs(PIPELINE, [JOB])
        with ledger.observations.reading(JOB, START) as record:
            record.document("junit", "", [building.run("t_TC1", Outcome.FAILED), building.run("t_TC2")])
            record.member(Member("shots/a.png", 10, 7), "", [1, 2])
            record.member(Member("a.mp4", 10, 7), "", [1])
            record.close("read")
        output = ledger.store.rows(
            "INSERT INTO outputs VALUES (9, x'00', 4, 1, ?) RETURNING output_id", [zlib.compress(b"text")]
        )
        first = [
            _wanted("test_output.log", size_bytes=4, crc=1, output_id=output[0][0]),
            _wanted("a.png", file_id=1),
            _wanted("a.mp4", "link", file_id=2),
            _wanted("b.png", "missing", size_bytes=None, crc=None, url=""),
        ]
        second = [_wanted("a.png", file_id=1)]
        drafts = [Draft(building.add("TC1", 1), BUILD, first), Draft(building.add("TC2", 2), BUILD, second)]
        assert ledger.entries.intend(drafts, START) == [1, 2]
        ledger.entries.confirm([(1, ObjectID(9001))], START)
        yield ledger


def _states(ledger: Ledger) -> dict[int, str]:
    counted = dict(ledger.store.rows("SELECT state, COUNT(*) FROM attachments WHERE notice = 0 GROUP BY state"))
    assert dict(ledger.store.rows("SELECT state, n FROM attachment_tallies WHERE n > 0")) == counted
    return dict(ledger.store.rows("SELECT attachment_id, state FROM attachments ORDER BY 1"))


def _make(ledger: Ledger, *attachments: int) -> None:
    ledger.attachments.content([(one, ObjectID(8000 + one), "image/png") for one in attachments])


def _notices(ledger: Ledger) -> list[str]:
    rows = ledger.store.rows(
        "SELECT a.name, a.size_bytes, a.crc, body FROM attachments a JOIN outputs USING (output_id)"
        " WHERE notice = 1 ORDER BY attachment_id"
    )
    bodies = [zlib.decompress(body) for _, _, _, body in rows]
    assert [row[:3] for row in rows] == [(NOTICE_NAME, len(body), zlib.crc32(body)) for body in bodies]
    return [body.decode() for body in bodies]


# --- what is due -----------------------------------------------------------------------------------------------------


def test_only_results_that_are_in_rally_get_files(ledger: Ledger) -> None:
    """The others' files are wanted, but not due: they count when their result is done."""
    assert _states(ledger) == {
        OUTPUT: "pending",
        SHOT: "pending",
        FILM: "linked",
        GONE: "missing",
        HELD_BACK: "pending",
    }
    (holder,) = ledger.attachments.holders()
    assert (holder.entry_id, holder.result, holder.build, holder.formatted_id) == (1, 9001, BUILD, "TC1")
    ledger.entries.confirm([(2, ObjectID(9002))], START)
    assert [holder.result for holder in ledger.attachments.holders()] == [9001, 9002]


def test_a_result_that_was_found_is_as_old_as_the_day_it_was_found(ledger: Ledger) -> None:
    """Its own date is not the ledger's to tell; results that are older by theirs come first, whatever their ids."""
    later = START + DAY
    key = building.add("TC2", pipeline_id=100, revision=2).key
    ledger.entries.adopt([FoundResult(key, ObjectID(8500), BUILD, "Pass")], {key.pipeline_id: key.project_id}, later)
    ledger.entries.absorb([(Absorb(3, (2,), decides=True), [_wanted("b.png", file_id=1)])], later)
    ledger.entries.confirm([(2, ObjectID(9002))], START)
    first = building.add("TC1").date
    assert [(holder.entry_id, holder.date) for holder in ledger.attachments.holders()] == [
        (1, first), (2, first), (3, later),
    ]  # fmt: skip


def test_a_row_tells_where_its_bytes_are(ledger: Ledger) -> None:
    """Of our own text in the ledger, of a file in its job's archive; links and missing ones have none."""
    output, shot = ledger.attachments.rows(1)
    assert (output.job_id, output.output_id, output.size_bytes) == (None, 9, 4)
    assert (shot.job_id, shot.path, shot.output_id, shot.size_bytes, shot.crc) == (JOB.id, "shots/a.png", None, 10, 7)
    assert (shot.state, shot.tries, shot.content, shot.content_type, shot.notice) == ("pending", 0, None, "", False)
    assert ledger.files.body(9) == b"text"


def test_a_job_is_known_well_enough_to_open_its_archive(ledger: Ledger) -> None:
    """Its project, the size that GitLab lists, and the day on which it goes."""
    job = ledger.attachments.job(JOB.id)
    assert job == replace(JOB, stage="")


def test_withdrawn_results_take_their_files_with_them_and_refused_ones_have_none(ledger: Ledger) -> None:
    """Counted off too."""
    ledger.entries.withdraw([2], "Rally does not have it", START)
    assert set(_states(ledger)) == {OUTPUT, SHOT, FILM, GONE}
    ledger.entries.intend([Draft(building.add("TC2", 2), BUILD, [_wanted("a.png", file_id=1)])], START)
    ledger.entries.refuse([(2, "no")], START)
    assert set(_states(ledger)) == {OUTPUT, SHOT, FILM, GONE}
    assert views.attachments(ledger.store) == {
        "pending": 2, "done": 0, "linked": 1, "missing": 1, "refused": 0, "orphaned": 0,
    }  # fmt: skip


def test_left_counts_the_files_that_are_due(ledger: Ledger) -> None:
    """Pending and in doubt; those of a result that is in doubt itself are counted with it."""
    _make(ledger, SHOT)
    ledger.attachments.intend([SHOT], START)
    before = views.left(ledger.store)
    ledger.attachments.confirm([(SHOT, MADE)], START)
    ledger.attachments.confirm([(OUTPUT, ObjectID(8002))], START)
    assert before - views.left(ledger.store) == 2


# --- steps -----------------------------------------------------------------------------------------------------------


def test_a_file_goes_from_content_to_intent_to_done(ledger: Ledger) -> None:
    """Each step is kept, so that a kill between any two loses nothing."""
    ledger.attachments.begin([SHOT])
    assert ledger.attachments.begun() == [SHOT]
    _make(ledger, SHOT)
    assert ledger.attachments.begun() == []
    ledger.attachments.intend([SHOT], START)
    row = ledger.attachments.rows(1)[1]
    assert (row.state, row.content, row.content_type, row.intended_at) == ("intended", 8002, "image/png", START)
    assert ledger.attachments.in_doubt() == {9001}
    ledger.attachments.confirm([(SHOT, MADE)], START)
    assert (ledger.attachments.rows(1)[1].object_id, ledger.attachments.in_doubt()) == (MADE, set())
    assert _states(ledger)[SHOT] == "done"


def test_a_withdrawn_intent_is_pending_again_and_keeps_its_content(ledger: Ledger) -> None:
    """What is not intended stays as it is."""
    _make(ledger, SHOT)
    ledger.attachments.intend([SHOT], START)
    ledger.attachments.withdraw([SHOT, OUTPUT], "Rally does not have it", START)
    row = ledger.attachments.rows(1)[1]
    assert (row.state, row.content, row.intended_at) == ("pending", 8002, None)
    assert _states(ledger)[OUTPUT] == "pending"


def test_a_content_that_was_not_heard_of_is_an_orphan_and_one_that_was_not_sent_is_none(ledger: Ledger) -> None:
    """Its row is as if it had never been begun."""
    ledger.attachments.begin([SHOT, OUTPUT])
    ledger.attachments.unsent([OUTPUT])
    ledger.attachments.lost_content(ledger.attachments.begun(), "the process ended", START)
    assert (ledger.attachments.begun(), views.attachments(ledger.store)["orphaned"]) == ([], 1)
    _make(ledger, SHOT)
    ledger.attachments.lost_content([SHOT], "its content is gone", START)
    row = ledger.attachments.rows(1)[1]
    assert (row.content, row.content_type) == (None, "")
    assert views.attachments(ledger.store)["orphaned"] == 2


def test_what_rally_refuses_after_it_had_the_content_leaves_an_orphan(ledger: Ledger) -> None:
    """And only then."""
    ledger.attachments.refuse([(OUTPUT, "no bytes like these")], START)
    assert views.attachments(ledger.store)["orphaned"] == 0
    _make(ledger, SHOT)
    ledger.attachments.intend([SHOT], START)
    ledger.attachments.refuse([(SHOT, "no such name")], START)
    told = views.attachments(ledger.store)
    assert (told["orphaned"], told["refused"], told["pending"]) == (1, 2, 1)
    assert ledger.store.rows("SELECT key, detail FROM audit WHERE what = 'orphaned'") == [(str(SHOT), "no such name")]


@pytest.mark.parametrize("settled", [FILM, GONE, 77])
def test_only_what_is_open_can_be_settled(ledger: Ledger, settled: int) -> None:
    """Else it is a bug and stops at once, the whole step with it."""
    with pytest.raises(AssertionError, match="is settled"):
        ledger.attachments.confirm([(SHOT, MADE), (settled, ObjectID(8009))], START)
    with pytest.raises(AssertionError, match="is settled"):
        ledger.attachments.lose([(SHOT, "why"), (settled, "why")], START)
    assert (_states(ledger)[SHOT], _notices(ledger)) == ("pending", [])


def test_tries_are_counted(ledger: Ledger) -> None:
    """So that a file is not waited for for ever."""
    ledger.attachments.try_again([SHOT])
    ledger.attachments.try_again([SHOT, OUTPUT])
    assert [row.tries for row in ledger.attachments.rows(1)] == [1, 2]


def test_a_problem_is_one_of_the_job(ledger: Ledger) -> None:
    """As those are that were found while it was read."""
    ledger.attachments.problem(JOB.id, "corrupt", "a.png: broken", START)
    assert views.problems(ledger.store) == [
        {"pipeline": PIPELINE.id, "job": JOB.id, "kind": "corrupt", "detail": "a.png: broken"}
    ]


# --- the text that says what could not be attached -------------------------------------------------------------------


def test_what_cannot_be_attached_is_told_by_one_text_on_the_result(ledger: Ledger) -> None:
    """It grows as long as nothing of it was sent; it is due as a file, and counted as none."""
    ledger.attachments.lose([(SHOT, "it is broken")], START)
    ledger.attachments.refuse([(OUTPUT, "too odd")], START)
    assert _notices(ledger) == [
        NOTICE_BEGIN + "\na.png\n    it is broken\n    https://gitlab.test/a.png\n"
        "\ntest_output.log\n    Rally refuses it: too odd\n    https://gitlab.test/test_output.log\n"
    ]
    (row,) = ledger.attachments.rows(1)
    assert (row.name, row.notice, row.job_id, row.state, row.url) == (NOTICE_NAME, True, None, "pending", "")
    told = views.attachments(ledger.store)
    assert (told["pending"], told["missing"], told["refused"]) == (1, 2, 1)
    assert [row["name"] for row in views.unattached(ledger.store)] == ["test_output.log", "a.png", "b.png"]


def test_a_file_without_a_link_is_told_without_one(ledger: Ledger) -> None:
    """What stood in the report itself, say."""
    with ledger.store.transaction():
        ledger.store.run("UPDATE attachments SET url = '' WHERE attachment_id = ?", [SHOT])
    ledger.attachments.lose([(SHOT, "it is broken")], START)
    assert _notices(ledger) == [NOTICE_BEGIN + "\na.png\n    it is broken\n"]


def test_a_text_that_was_begun_is_left_as_it_is_and_another_one_follows(ledger: Ledger) -> None:
    """Rally may have its content already."""
    ledger.attachments.lose([(SHOT, "it is broken")], START)
    (row,) = [row for row in ledger.attachments.rows(1) if row.notice]
    ledger.attachments.begin([row.attachment_id])
    ledger.attachments.lose([(OUTPUT, "gone too")], START)
    first, second = _notices(ledger)
    assert ("a.png" in first, "gone too" in first) == (True, False)
    assert ("a.png" in second, "gone too" in second) == (False, True)


def test_a_text_that_cannot_be_attached_itself_is_told_by_none(ledger: Ledger) -> None:
    """It would never end."""
    ledger.attachments.lose([(SHOT, "it is broken")], START)
    (row,) = [row for row in ledger.attachments.rows(1) if row.notice]
    ledger.attachments.refuse([(row.attachment_id, "no")], START)
    assert len(_notices(ledger)) == 1
    assert views.attachments(ledger.store)["refused"] == 0
    assert [row["name"] for row in views.unattached(ledger.store)] == ["a.png", "b.png"]


# --- links that stay -------------------------------------------------------------------------------------------------


def test_jobs_that_results_in_rally_link_to_are_to_be_kept_once(ledger: Ledger) -> None:
    """Whatever GitLab says, it is not asked again; a job whose artifacts never go need not be kept."""
    assert ledger.attachments.to_keep() == [(building.PROJECT.id, JOB.id)]
    assert not ledger.attachments.keep_denied()
    ledger.attachments.kept(JOB.id, "denied")
    assert (ledger.attachments.to_keep(), ledger.attachments.keep_denied()) == ([], True)
    with ledger.store.transaction():
        ledger.store.run("UPDATE jobs SET kept = 'no', expires_at = NULL")
    assert (ledger.attachments.to_keep(), ledger.attachments.keep_denied()) == ([], False)


def test_the_newest_answer_counts_of_keeping(ledger: Ledger) -> None:
    """A token may have been given the scope since; what was gone says nothing about it."""
    for number, said in ((2001, "denied"), (2002, "yes"), (2003, "gone")):
        job = building.job(number, of=PIPELINE, name=f"job {number}")
        ledger.observations.store_jobs(PIPELINE, [job])
        ledger.attachments.kept(job.id, said)
    assert not ledger.attachments.keep_denied()
