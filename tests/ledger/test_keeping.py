"""What is old leaves the ledger without a trace and without harm; what is open stays; every day has its copy."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING

import pytest

from reconciler.errors import LedgerUnusable
from reconciler.ledger import keeping, proof, views
from reconciler.ledger.entries import Draft
from reconciler.ledger.keeping import Retired, copy, retire
from reconciler.ledger.ledger import Ledger, in_memory, open_ledger
from reconciler.ledger.store import Store, integrity, open_for_reading, stamp
from reconciler.mapping import Mapping, Row
from reconciler.model import Build, ObjectID, Outcome
from reconciler.order import Order, Scope
from tests import accounting, building
from tests.fakes import START
from tests.fates import Killed
from tests.sprint_steps import SPRINT, WEEK, bring_set, ids, placed
from tests.unit.attaching import Depot, depot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

DAY = timedelta(days=1)
GOES = threading.Event()
"""Is never set."""


@pytest.fixture
def shop() -> Iterator[Depot]:
    """Open one whose GitLab finished a pipeline of every kind of test and file, which was sent, and one 30 days later.

    TC3 is refused; `odd` is held, `skip` ignored; `a` ran twice, so that there are revisions.
    """
    opened = depot()
    with closing(opened.ledger.store):
        opened.rally.refuses = lambda result: "no" if result.key.formatted_id == "TC3" else ""
        old = opened.gitlab.add_pipeline(opened.project)
        shots = {"a_TC1/one.png": b"png", "a_TC1/film.mp4": b"film"}
        tests = ("a_TC1!", "b_TC1", "c_TC2", "c_TC2 again", "d_TC3", "odd", "skip?")
        opened.job(*tests, files=shots, pipeline=old)
        opened.once()
        opened.job("a_TC1", *tests[1:], files=shots, pipeline=old)
        opened.once()
        opened.clock.advance(30 * DAY.total_seconds())
        opened.job("b_TC1", "c_TC2!", "only in the new one")
        opened.once()
        yield opened


def _rows(ledger: Ledger) -> dict[str, int]:
    """Count the rows of every table that has some, but of those that do not belong to pipelines."""
    names = [row[0] for row in ledger.store.rows("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    spared = {"cursors", "passes", "audit", "_sqlite_migrations", "sqlite_sequence", "answered"}
    counted = {name: int(ledger.store.value(f"SELECT COUNT(*) FROM {name}")) for name in names if name not in spared}  # noqa: S608 - our own schema
    return {name: number for name, number in counted.items() if number and not name.endswith("tallies")}


def _ago(shop: Depot, days: float) -> datetime:
    return shop.clock() - days * DAY


# --- retention -------------------------------------------------------------------------------------------------------


def test_a_pipeline_that_is_old_and_settled_goes_with_everything_that_hangs_on_it(shop: Depot) -> None:
    """What is left is the ledger that would be there if it had never been; Rally keeps what it has."""
    fresh = depot()
    with closing(fresh.ledger.store):
        fresh.gitlab.clock = fresh.rally.clock = fresh.clock
        fresh.job("b_TC1", "c_TC2!", "only in the new one")
        fresh.once()
        never = _rows(fresh.ledger)
    sent, files = shop.rally.results(), shop.rally.attachments()
    assert _rows(shop.ledger) != never

    assert retire(shop.ledger, _ago(shop, 10), GOES) == Retired(pipelines=1, tests=14, held=2)

    accounting.check(shop.ledger.store, settled=True, skips_count=False)
    assert _rows(shop.ledger) == never
    assert (shop.rally.results(), shop.rally.attachments()) == (sent, files)
    assert shop.once().summary["writes"] == 0
    assert retire(shop.ledger, _ago(shop, 10), GOES) == Retired(0, 0, 0)


def test_one_that_changed_later_stays(shop: Depot) -> None:
    """It is the last update that counts."""
    before = _rows(shop.ledger)
    assert retire(shop.ledger, _ago(shop, 40), GOES) == Retired(0, 0, 0)
    assert _rows(shop.ledger) == before


class _Dying(Store):
    """Ends the process, so to speak, after so many commits."""

    def __init__(self, store: Store, commits: int) -> None:
        super().__init__(store.connection, store.path)
        self._left = commits

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Refuse to begin one too many."""
        if not self._left:
            raise Killed
        with super().transaction():
            yield
        self._left -= 1


def test_a_large_pipeline_goes_in_parts_after_each_of_which_the_books_are_right(
    shop: Depot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at any commit, what is left is a ledger, and the next time ends it."""
    monkeypatch.setattr(keeping, "TESTS_AT_ONCE", 2)
    monkeypatch.setattr(keeping, "TEST_CASES_AT_ONCE", 1)
    parts = set()
    for commits in count():
        copied = shop.copy()
        with closing(copied.store):
            dying = Ledger(_Dying(copied.store, commits), skips_count=False)
            with suppress(Killed):
                retire(dying, _ago(shop, 10), GOES)
                break
            accounting.check(copied.store, settled=True, skips_count=False)
            parts.add(views.tests(copied.store)["read"])
            retire(copied, _ago(shop, 10), GOES)
            accounting.check(copied.store, settled=True, skips_count=False)
            assert views.tests(copied.store)["read"] == 3
    assert {17, 3} < parts
    assert len(parts) > 6


def test_it_ends_between_two_pipelines_when_it_is_to_stop(shop: Depot) -> None:
    """And does nothing when that is so from the beginning."""
    stop = threading.Event()
    stop.set()
    before = _rows(shop.ledger)
    assert retire(shop.ledger, _ago(shop, 10), stop) == Retired(0, 0, 0)
    assert _rows(shop.ledger) == before


def _begun(shop: Depot) -> None:
    add = building.add("TC2", 14, pipeline_id=100, revision=7)
    shop.ledger.entries.intend([Draft(add, Build("GitLab-100"))], START)


def _ordered(shop: Depot) -> None:
    store = shop.ledger.store
    proof.order(store, proof.claims(store, [Build("GitLab-100")])[:1])


def _pending(shop: Depot) -> None:
    shop.ledger.subjects.apply(Mapping([Row(2, "shop.odd", "TC1")]), resolvable=True)


def _reopened(shop: Depot) -> None:
    with shop.ledger.store.transaction():
        shop.ledger.store.run("UPDATE jobs SET state = 'open' WHERE pipeline_id = 100 AND superseded = 0")


def _unread(shop: Depot) -> None:
    with shop.ledger.store.transaction():
        shop.ledger.store.run("UPDATE pipelines SET read_update = NULL WHERE pipeline_id = 100")


def _unattached(shop: Depot) -> None:
    with shop.ledger.store.transaction():
        shop.ledger.store.run(
            "INSERT INTO attachments (entry_id, name, size_bytes, crc, url, state)"
            " SELECT MIN(entry_id), 'x', 1, 1, '', 'pending' FROM entries WHERE state = 'done'"
        )


@pytest.mark.parametrize("open_", [_begun, _ordered, _pending, _reopened, _unread, _unattached])
def test_a_pipeline_of_which_anything_is_open_stays_whole(shop: Depot, open_: Callable[[Depot], None]) -> None:
    """A result in doubt or to be made again, a test to be sent, a job to be read, a file to be attached."""
    open_(shop)
    before = _rows(shop.ledger)
    assert retire(shop.ledger, _ago(shop, 10), GOES).pipelines == 0
    assert _rows(shop.ledger) == before


def test_one_that_never_became_ready_goes_too(shop: Depot) -> None:
    """There is nothing to read in it; if it ever ends, polls list it anew."""
    shop.ledger.observations.store_pipelines([building.pipeline(7, status="running")])
    assert retire(shop.ledger, _ago(shop, 10), GOES).pipelines == 2
    assert views.pipelines(shop.ledger.store)["unfinished"] == 0


def test_whoever_reads_it_again_finds_its_results_in_rally(shop: Depot) -> None:
    """A backfill over the same time writes nothing: results and files are adopted by their keys."""
    retire(shop.ledger, _ago(shop, 10), GOES)
    results, files = shop.rally.results(), shop.rally.attachments()

    summary = shop.once(Order("backfill", scope=Scope(START - DAY))).summary

    assert summary["pipelines_read"] == 1
    assert (summary["left"], summary["results_sent"], summary["attachments_sent"]) == (0, 0, 0)
    assert (shop.rally.results(), shop.rally.attachments()) == (results, files)
    told = views.tests(shop.ledger.store)
    assert (told["read"], told["unaccounted"], told["refused"]) == (3 + 7, 0, 1)


def test_polls_do_not_read_what_has_left(shop: Depot) -> None:
    """Also in a project that has been quiet for years: its last pipelines are listed by each poll, and stay."""
    shop.clock.advance(1_000 * DAY.total_seconds())
    for _ in range(2):
        assert retire(shop.ledger, _ago(shop, 10), GOES).pipelines <= 1
        assert views.tests(shop.ledger.store)["read"] == 3
        assert shop.once(Order("gitlab")).summary["pipelines_read"] == 0


def test_a_test_that_comes_back_after_its_last_one_left_is_known_anew(shop: Depot) -> None:
    """What the process remembers of tests by name is forgotten with them."""
    retire(shop.ledger, _ago(shop, 10), GOES)
    shop.job("a_TC1", "odd", "quite new")
    summary = shop.once().summary
    assert (summary["results_sent"], summary["held"]) == (1, 3)
    accounting.check(shop.ledger.store, settled=True, skips_count=False)


def test_texts_that_others_still_need_stay(shop: Depot) -> None:
    """Equal texts are kept once, for all pipelines: what failed tests printed, here."""
    texts = "SELECT COUNT(*) FROM outputs"
    assert shop.ledger.store.value(texts) == 1
    retire(shop.ledger, _ago(shop, 10), GOES)
    assert shop.ledger.store.value(texts) == 1
    retire(shop.ledger, shop.clock() + 2 * DAY, GOES, listed_again=timedelta(0) - 2 * DAY)
    assert _rows(shop.ledger) == {"projects": 1, "project_names": 1, "test_cases": 3}


def test_notes_of_what_was_done_go_when_they_are_as_old(shop: Depot) -> None:
    """They say how results came to be that are no longer known."""
    with shop.ledger.store.transaction():
        shop.ledger.store.run_many(
            "INSERT INTO audit VALUES (?, 'adopted', 'x', '')",
            [[stamp(_ago(shop, 20))], [stamp(_ago(shop, 5))], [stamp(_ago(shop, 11))]],
        )
    retire(shop.ledger, _ago(shop, 10), GOES)
    assert shop.ledger.store.rows("SELECT at FROM audit WHERE key = 'x'") == [(stamp(_ago(shop, 5)),)]


# --- sprints ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def sprints() -> Iterator[Ledger]:
    """Know a sprint that is over, with its set, a member and a folder."""
    ledger = in_memory()
    with closing(ledger.store):
        room, number = ledger.sprints, SPRINT.object_id
        room.store_iterations([SPRINT], START)
        bring_set(room, "done")
        room.want(placed(1), [])
        room.confirm_members(number, ids(1))
        room.confirm_folder(SPRINT.project_id, number, "Sprint-42", ObjectID(5), START)
        room.move(number, ids(1), "done")
        yield ledger


AFTER = SPRINT.ends_at + timedelta(seconds=1)


def test_a_sprint_that_ended_before_goes_with_set_members_and_folder(sprints: Ledger) -> None:
    """One that ended later stays."""
    retire(sprints, SPRINT.ends_at, GOES)
    assert len(views.sprints(sprints.store)) == 1
    retire(sprints, AFTER, GOES)
    assert _rows(sprints) == {}


def _wants(ledger: Ledger) -> None:
    ledger.sprints.want(placed(2), [])


def _moves(ledger: Ledger) -> None:
    ledger.sprints.move(SPRINT.object_id, ids(1), "intended")


def _doubts_folder(ledger: Ledger) -> None:
    with ledger.store.transaction():
        ledger.store.run("UPDATE folders SET state = 'intended', object_id = NULL")


def _doubts_set(ledger: Ledger) -> None:
    with ledger.store.transaction():
        ledger.store.run("UPDATE test_sets SET state = 'intended', object_id = NULL")


def _may_need(ledger: Ledger) -> None:
    """Let a test wait that ran in the sprint."""
    ledger.observations.remember_projects("project qa/web-shop", [building.PROJECT])
    pipeline = building.pipeline()
    job = building.job(of=pipeline)
    ledger.observations.store_pipelines([pipeline])
    ledger.observations.store_jobs(pipeline, [job])
    building.read_job(ledger, job, [building.run("a_TC1", Outcome.FAILED)])


@pytest.mark.parametrize("open_", [_wants, _moves, _doubts_folder, _doubts_set, _may_need])
def test_a_sprint_of_which_anything_is_open_stays(sprints: Ledger, open_: Callable[[Ledger], None]) -> None:
    """Or that a result to come may carry."""
    open_(sprints)
    before = _rows(sprints)
    retire(sprints, AFTER + WEEK, GOES)
    assert _rows(sprints) == before


# --- copies ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a ledger with three tests, which only its owner may read."""
    path = tmp_path / "ledger.db"
    with open_ledger(path, skips_count=False) as ledger:
        _may_need(ledger)
    path.chmod(0o600)
    return path


def _copies(path: Path) -> list[str]:
    return sorted(one.name.removeprefix(f"{path.name}.") for one in path.parent.glob("*daily*"))


def test_each_day_has_one_whole_copy_and_the_oldest_go(path: Path) -> None:
    """Readable by whom the ledger is; nothing else in the folder is touched."""
    others = ["ledger.db.before-20260101T000000Z", "ledger.db.daily-2026", "other.db.daily-20260101", "notes.txt"]
    for name in others:
        path.with_name(name).write_text("x")
    path.with_name("ledger.db.daily-20260102.partial").write_text("left by a process that was killed")
    with open_ledger(path, skips_count=False) as ledger:
        for day in range(5):
            target = copy(ledger.store, path, START + day * DAY, keep=3)
            again = copy(ledger.store, path, START + day * DAY + timedelta(hours=11), keep=3)
            assert target == again == path.with_name(f"ledger.db.daily-{START + day * DAY:%Y%m%d}")
    assert _copies(path) == ["daily-2026", "daily-20260202", "daily-20260203", "daily-20260204", *others[2:3]]
    assert all(path.with_name(name).read_text() == "x" for name in others)
    for one in path.parent.glob("ledger.db.daily-202602*"):
        assert one.stat().st_mode & 0o777 == 0o600
        assert integrity(one) == []
        with closing(open_for_reading(one)) as store:
            assert views.tests(store)["read"] == 1


FULL = """
import resource, sys
from datetime import UTC, datetime
from pathlib import Path
from reconciler.errors import LedgerUnusable
from reconciler.ledger.keeping import copy
from reconciler.ledger.ledger import open_ledger
path = Path(sys.argv[1])
with open_ledger(path, skips_count=False) as ledger:
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    try:
        copy(ledger.store, path, datetime(2026, 2, 1, tzinfo=UTC))
    except LedgerUnusable as error:
        print(error)
"""


def test_a_copy_that_does_not_fit_leaves_nothing_and_says_so(path: Path) -> None:
    """In one line; the ledger is as it was."""
    with closing(open_for_reading(path)) as store:
        before = views.tests(store)
    done = subprocess.run([sys.executable, "-c", FULL, path], capture_output=True, text=True, check=True)
    assert re.fullmatch(
        r"the ledger's daily copy .*/ledger\.db\.daily-20260201 cannot be written: .*: see that the disk has room.*\n",
        done.stdout,
    )
    assert _copies(path) == []
    with closing(open_for_reading(path)) as store:
        assert views.tests(store) == before


def test_a_folder_that_may_not_be_written_to_is_said_too(path: Path) -> None:
    """The folder is gone, say."""
    said = pytest.raises(LedgerUnusable, match=r"daily copy .* cannot be written: No such file or directory: see")
    with open_ledger(path, skips_count=False) as ledger, said:
        copy(ledger.store, path.with_name("gone") / "ledger.db", START)
