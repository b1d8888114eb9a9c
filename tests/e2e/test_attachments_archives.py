"""Archives that are large, hostile, cut, closed or gone: the result arrives, and what is wrong is named on it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from threading import Barrier
from typing import TYPE_CHECKING, Any, Literal

import pytest

from reconciler.sandbox.faults import Answer, Fault, Truncate
from reconciler.sandbox.messages import Response
from reconciler.sandbox.objectstore import Segments
from tests.archives import BOMB, CLIMBING, altered, encrypted, gigabyte, lying, noise, packed, zip64_ended
from tests.company import case, marked, report
from tests.e2e.test_sprints_trouble import Together

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from reconciler.sandbox.faults import Action
    from reconciler.sandbox.gitlab import Filler, Job, Pipeline
    from tests.company import Company

MOST_KIB = 150_000
PNG = b"\x89PNG\r\n\x1a\n"
LOG = "test_output.log"
NOTICE = "not attached.txt"
ZIP = r"/artifacts\.zip$"
CREATE = "/attachmentcontent/create"
Delivery = Literal["local", "object store"]


# --- large ones ------------------------------------------------------------------------------------------------------


def large(company: Company, delivery: Delivery, size_bytes: int) -> tuple[Job, dict[str, bytes]]:
    """Finish a job with ten failed tests of which each names 20 of 200 small files of its archive."""
    company.gitlab.instance.delivery = delivery
    small = {
        f"shots/t{n}_TC{n}/{place:02}.log": noise(2_000, 20 * n + place) for n in range(1, 11) for place in range(20)
    }
    tests = [case(f"t{n}_TC{n}", marked(*(path for path in small if f"TC{n}/" in path))) for n in range(1, 11)]
    return company.ran(report(*tests), gigabyte(small, size_bytes=size_bytes)), small


def by_result(small: dict[str, bytes]) -> dict[str, list[tuple[str, bytes]]]:
    """Tell which of the small files each result is to have."""
    return {
        f"TC{n}/1": sorted((path.rpartition("/")[2], data) for path, data in small.items() if f"TC{n}/" in path)
        for n in range(1, 11)
    }


@pytest.mark.parametrize("delivery", ["local", "object store"])
@pytest.mark.parametrize("ranges", ["all", "no suffix"])
def test_200_small_files_of_a_gigabyte_cost_few_requests_bytes_and_memory(
    company: Company, tmp_path: Path, delivery: Delivery, ranges: Literal["all", "no suffix"]
) -> None:
    """Over the whole pass, directory and members: 4 requests, 1 % of the bytes, 150 MB of memory, no file left."""
    company.gitlab.instance.ranges = company.gitlab.objects.ranges = ranges
    job, small = large(company, delivery, 1024**3)
    temporary = tmp_path / "temporary"
    temporary.mkdir()

    peak = company.peak_kib("--once", TMPDIR=str(temporary))

    assert company.attachments(job.pipeline) == by_result(small)
    asked = company.archive_requests(job)
    assert len(asked) <= 4
    assert job.archive is not None
    assert job.archive.size > 1_000_000_000
    assert sum(entry.bytes_out for entry in asked) < job.archive.size / 100
    assert peak < MOST_KIB
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("delivery", ["local", "object store"])
def test_without_ranges_a_file_on_disk_stands_in_and_is_removed(
    company: Company, tmp_path: Path, delivery: Delivery
) -> None:
    """One download for the whole pass, the same result in Rally, and no more memory."""
    company.gitlab.instance.ranges = company.gitlab.objects.ranges = "none"
    job, small = large(company, delivery, 250 * 1024**2)
    temporary = tmp_path / "temporary"
    temporary.mkdir()

    peak = company.peak_kib("--once", TMPDIR=str(temporary))

    assert company.attachments(job.pipeline) == by_result(small)
    assert len([entry for entry in company.archive_requests(job) if entry.bytes_out > 1_000]) == 1
    assert peak < MOST_KIB
    assert list(temporary.iterdir()) == []


def test_twelve_uploads_of_5_mb_at_once_stay_under_the_memory_bar(company: Company) -> None:
    """Base64 is made while it is sent; none of them is answered before Rally has all."""
    company.configure(rally={"settle_after_seconds": 0, "max_concurrency": 12})
    all_at_once = Fault(Together(Barrier(12, timeout=60)), method="POST", path=f"{CREATE}$", times=12)
    company.rally.faults.add(all_at_once)
    files = {f"t{n}_TC{n}.log": noise(5_000_000, n) for n in range(1, 11)} | {"a.log": noise(5_000_000, 11)}
    files["b.log"] = noise(5_000_000, 12)
    tests = [case(f"t{n}_TC{n}", marked(f"t{n}_TC{n}.log")) for n in range(1, 11)]
    job = company.ran(report(*tests, case("more_TC1", marked("a.log", "b.log"))), packed(files.items(), 0))

    peak = company.peak_kib("--once")

    found = company.attachments(job.pipeline)
    assert sorted(name for names in found.values() for name, _ in names) == sorted(files)
    assert all(content == files[name] for names in found.values() for name, content in names)
    assert all_at_once.hits == len(company.rally.log.entries("POST", CREATE)) == 12
    assert peak < MOST_KIB


# --- hostile ones ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Evil:
    """An archive with a bad member, and what must be said of it."""

    data: bytes
    path: str
    kind: str
    said: str
    """A word of the problem's detail."""
    attached: bytes | None = None
    """What Rally gets of it all the same."""


GOOD = {"first.png": PNG + b"1", "last.png": PNG + b"2"}


def archive(path: str, content: bytes, *more: tuple[str, bytes]) -> bytes:
    """Pack a member between two good ones."""
    first, last = GOOD.items()
    return packed([first, (path, content), *more, last])


def evils() -> Iterator[Evil]:
    """List the evils."""
    plain = archive("bad.log", b"some text, some text, some text")
    yield Evil(archive(CLIMBING, b"root"), CLIMBING, "unsafe-name", "out of the archive")
    yield Evil(encrypted(plain, "bad.log"), "bad.log", "encrypted", "encrypted")
    yield Evil(archive("bad.log", b"older", ("bad.log", b"newer")), "bad.log", "duplicate-name", "2 files", b"newer")
    yield Evil(lying(plain, "bad.log", 10), "bad.log", "corrupt", "")
    yield Evil(lying(plain, "bad.log", 4_000_000), "bad.log", "corrupt", "")
    yield Evil(altered(plain, "bad.log", 16, 12345), "bad.log", "corrupt", "")
    yield Evil(altered(plain, "bad.log", 10, 97, "<H"), "bad.log", "unsupported", "97")
    yield Evil(archive("bad.log", BOMB), "bad.log", "too-large", "bomb")
    yield Evil(lying(archive("bad.log", BOMB), "bad.log", 1_000), "bad.log", "corrupt", "")


@pytest.mark.parametrize("delivery", ["local", "object store"])
def test_a_bad_member_is_named_and_touches_nothing_else(company: Company, delivery: Delivery) -> None:
    """On the result and in `status`; other files of this and other results are all there, and nothing is left to do."""
    company.gitlab.instance.delivery = delivery
    company.configure(rally={"settle_after_seconds": 0}, attachments={"upload_max_bytes": 30_000_000})
    pipeline = company.gitlab.store.add_pipeline(company.project, status="failed")
    jobs: dict[str, tuple[Job, Evil]] = {}
    for n, evil in enumerate(evils(), 1):
        named = marked("first.png", evil.path, "last.png")
        jobs[f"TC{n}/1"] = (company.ran(report(case(f"t{n}_TC{n}!", named)), evil.data, pipeline), evil)
    company.ran(report(case("pay_TC10", marked("a.png"))), {"a.png": PNG}, pipeline)

    company.once()

    found, notes, status = company.attachments(pipeline), company.notes(pipeline), company.status()
    for key, (job, evil) in jobs.items():
        check_evil(evil, dict(found[key]), notes[key], [row for row in status["problems"] if row["job"] == job.id])
    assert found["TC10/1"] == [("a.png", PNG)]
    assert len(status["problems"]) == len(jobs)
    counts = status["attachments"]
    assert (counts["pending"], counts["missing"]) == (0, sum(evil.attached is None for _, evil in jobs.values()))
    assert company.once()["writes"] == 0


def check_evil(evil: Evil, found: dict[str, bytes], notes: str, problems: list[dict[str, Any]]) -> None:
    """See that the bad member is named in both places, once, and that the good ones are attached."""
    name = evil.path.rpartition("/")[2]
    expected = GOOD | ({name: evil.attached} if evil.attached else {})
    assert {name: data for name, data in found.items() if name not in {LOG, NOTICE}} == expected, evil
    said = notes + found.get(NOTICE, b"").decode()
    assert name in said
    assert evil.said in said
    assert [(row["kind"], row["detail"].partition(": ")[0]) for row in problems] == [(evil.kind, evil.path)], evil


def test_a_bomb_that_is_only_linked_is_linked(company: Company) -> None:
    """Nobody unpacks it: no problem."""
    job = company.ran(
        report(case("checkout_TC1", marked("big.log", "a.png"))), packed([("big.log", BOMB), ("a.png", PNG)])
    )

    company.once()

    assert company.names(job.pipeline) == {"TC1/1": ["a.png"]}
    assert f"/-/jobs/{job.id}/artifacts/file/big.log" in company.notes(job.pipeline)["TC1/1"]
    assert company.status()["problems"] == []


def test_an_archive_in_zip64_is_read(company: Company) -> None:
    """As one with more than 65,535 members or 4 GB is."""
    job = company.ran(report(case("checkout_TC1", marked("first.png"))), zip64_ended(archive("x", b"-")))

    company.once()

    assert company.attachments(job.pipeline) == {"TC1/1": [("first.png", GOOD["first.png"])]}


# --- closed, gone, cut -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Two:
    """A pipeline of a job whose archive something will be wrong with, and of one with a good archive."""

    company: Company
    pipeline: Pipeline
    bad: Job

    def spoil(self, action: Action, *, nth: int) -> Fault:
        """Let something happen to the requests for the bad job's artifacts: its report is the first."""
        server = self.company.gitlab.server
        return server.faults.add(Fault(action, path=f"/jobs/{self.bad.id}/artifacts$", nth=nth, times=None))

    def read_only(self) -> None:
        """Read everything, and send nothing: Rally does not know the key."""
        assert self.company.run("--once", RALLY_API_KEY="_not-any-more").status == 1

    def check(self, kind: str) -> None:
        """See that the result is there without its file and says so, as `status` does; the other job's has all."""
        found, notes = self.company.attachments(self.pipeline), self.company.notes(self.pipeline)
        assert self.company.names(self.pipeline)["TC2/1"] == ["a.png", LOG]
        assert ("a.png", PNG) not in found["TC1/1"]
        assert LOG in dict(found["TC1/1"])
        said = notes["TC1/1"] + dict(found["TC1/1"]).get(NOTICE, b"").decode()
        assert "a.png" in said
        told = self.company.status()
        assert [(row["job"], row["kind"]) for row in told["problems"]] == [(self.bad.id, kind)]
        assert (told["attachments"]["missing"], told["attachments"]["pending"]) == (1, 0)
        assert self.company.once()["writes"] == 0


@pytest.fixture
def two(company: Company) -> Two:
    """Finish the two jobs; both tests failed and name a screenshot. The bad job's artifacts are about to be removed."""
    store = company.gitlab.store
    pipeline = store.add_pipeline(company.project, status="failed")
    expired = store.clock() - timedelta(minutes=1)
    bad = company.ran(report(case("checkout_TC1!", marked("a.png"))), {"a.png": PNG}, pipeline, expire_at=expired)
    company.ran(report(case("login_TC2!", marked("a.png"))), {"a.png": PNG}, pipeline)
    return Two(company, pipeline, bad)


def test_an_archive_that_the_token_may_not_read_is_named(two: Two) -> None:
    """Notes say why the files of that job cannot be had."""
    two.spoil(Answer(Response.json({"message": "403 Forbidden"}, 403)), nth=2)

    two.company.once()

    two.check("forbidden")
    assert "it may not be read" in two.company.notes(two.pipeline)["TC1/1"]


def test_an_archive_that_expired_is_named(two: Two) -> None:
    """Its report was still there."""
    two.spoil(Answer(Response.json({"message": "404 Not Found"}, 404)), nth=2)

    two.company.once()

    two.check("expired")
    assert "it expired on" in two.company.notes(two.pipeline)["TC1/1"]


def test_an_archive_that_is_no_zip_is_named(two: Two) -> None:
    """Cut off by the runner, or an error page of a proxy that it uploaded."""
    two.bad.archive = Segments([packed([("a.png", PNG * 1000)])[:-30]])

    two.company.once()

    two.check("corrupt")


@pytest.mark.parametrize("how", ["expired", "forbidden", "changed"])
def test_files_that_are_gone_by_the_time_they_are_sent_are_named_on_the_result(
    two: Two, how: Literal["expired", "forbidden", "changed"]
) -> None:
    """The directory was read in an earlier pass; the result's Notes link them, a further text says what happened."""
    two.read_only()
    match how:
        case "expired":
            two.company.gitlab.store.expire(two.bad)  # its time was over before; now they are removed
        case "forbidden":
            two.bad.artifacts_access = "none"
        case "changed":
            two.bad.archive = Segments([packed([("a.png", b"other")])])

    two.company.once()

    two.check(how)
    said = dict(two.company.attachments(two.pipeline)["TC1/1"])[NOTICE].decode()
    assert f"/-/jobs/{two.bad.id}/artifacts/file/a.png" in said


def test_members_that_break_off_once_are_fetched_again_in_the_same_pass(company: Company) -> None:
    """Nothing of the first half stays."""
    company.gitlab.instance.delivery = "object store"
    shot = PNG + noise(500_000)
    job = company.ran(report(case("checkout_TC1", marked("a.png"))), {"a.png": shot, "b.bin": noise(400_000, 2)})
    fault = company.gitlab.objects_server.faults.add(Fault(Truncate(30_000), path=ZIP, nth=2))

    company.once()

    assert fault.hits == 1
    assert company.attachments(job.pipeline)["TC1/1"] == [("a.png", shot)]


def test_members_that_keep_breaking_off_hold_up_nothing(company: Company) -> None:
    """The result is there in the first pass, with its output; the file follows."""
    company.gitlab.instance.delivery = "object store"
    files: dict[str, bytes | Filler] = {"a.png": PNG + noise(500_000), "b.bin": noise(400_000, 2)}
    job = company.ran(report(case("checkout_TC1!", marked("a.png"))), files)
    fault = company.gitlab.objects_server.faults.add(Fault(Truncate(100), path=ZIP, nth=2, times=None))

    ran = company.run("--json", "--once")

    assert (ran.status, ran.json["results_sent"], ran.json["left"]) == (75, 1, 1)
    assert company.names(job.pipeline) == {"TC1/1": [LOG]}
    company.gitlab.objects_server.faults.remove(fault)
    company.once()
    assert dict(company.attachments(job.pipeline)["TC1/1"])["a.png"] == files["a.png"]
    assert company.problems() == []


def test_an_archive_that_is_not_there_is_asked_for_in_some_passes(company: Company) -> None:
    """A 404 may pass; in the third pass the file is called missing, and that is the end of it."""
    job = company.ran(report(case("checkout_TC1!", marked("a.png"))), {"a.png": PNG})
    assert company.run("--once", RALLY_API_KEY="_not-any-more").status == 1
    company.gitlab.store.erase(job)

    assert [company.run("--once").status for _ in range(3)] == [75, 75, 0]

    assert company.names(job.pipeline) == {"TC1/1": [NOTICE, LOG]}
    assert [kind for kind, _ in company.problems()] == ["missing"]
    asked = len(company.archive_requests(job))
    assert company.once()["writes"] == 0
    assert len(company.archive_requests(job)) == asked


def test_an_address_that_expires_between_directory_and_members_is_asked_for_anew(company: Company) -> None:
    """The object store says 403 to the old one; the token goes to GitLab only."""
    company.gitlab.instance.delivery = "object store"
    shot = PNG + noise(500_000)
    job = company.ran(report(case("checkout_TC1", marked("a.png"))), {"a.png": shot, "b.bin": noise(400_000, 2)})
    denied = Answer(Response.text("<Error><Code>AccessDenied</Code></Error>", 403, "application/xml"))
    fault = company.gitlab.objects_server.faults.add(Fault(denied, path=ZIP, nth=2))

    company.once()

    assert fault.hits == 1
    assert company.attachments(job.pipeline)["TC1/1"] == [("a.png", shot)]
    assert not company.gitlab.objects.leaks
    assert all("authorization" not in headers for headers in company.gitlab.objects.received)
