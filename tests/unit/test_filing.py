"""Which files of a job are written down for which of its tests, and what is said of those that cannot be had."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from reconciler import filing
from reconciler.archive import BadMember, Member
from reconciler.filing import Cabinet
from reconciler.ledger.ledger import Ledger, in_memory
from tests import building
from tests.fakes import START

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reconciler.model import TestRun

PIPELINE = building.pipeline()
JOB = building.job(of=PIPELINE)


@dataclass
class Office:
    """A ledger in which one job's files are filed."""

    ledger: Ledger
    problems: list[tuple[str, str]] = field(default_factory=list)

    def file(
        self, runs: Sequence[TestRun], members: Sequence[Member] | None, report: str = "junit.xml"
    ) -> dict[str, list[tuple[str, str]]]:
        """File; by test its files as (kind, path)."""
        with self.ledger.observations.reading(JOB, START) as record:
            record.document("archive", report, runs)
            cabinet = Cabinet(
                record, lambda *said: self.problems.append(said), ["**/*.png", "**/*.txt"], 1_000, "qa/web-shop"
            )
            if members is None:
                cabinet.without_archive("it is gone")
            else:
                cabinet.file(members)
            record.close("read")
        found = self.ledger.files.evidence_of(range(1, len(runs) + 1))
        return {
            run.name: [(file.kind, file.path) for file in one.files]
            for run, one in zip(runs, found, strict=True)
            if one.files
        }

    def notes(self) -> dict[str, str]:
        """Tell what is odd, by path."""
        return dict(self.ledger.store.rows("SELECT path, note FROM files WHERE note <> ''"))


@pytest.fixture
def office() -> Iterator[Office]:
    """Open it."""
    ledger = in_memory()
    with closing(ledger.store):
        ledger.observations.remember_projects("project qa/web-shop", [building.PROJECT])
        ledger.observations.store_pipelines([PIPELINE])
        ledger.observations.store_jobs(PIPELINE, [JOB])
        yield Office(ledger)


def _says(name: str, *said: str) -> TestRun:
    return replace(building.run(name), system_out="".join(f"[[ATTACHMENT|{path}]]\n" for path in said))


def test_a_file_is_of_the_tests_that_name_it_and_of_those_it_is_named_after(office: Office) -> None:
    """Once for each; what belongs to no test, or is of no wanted kind, is passed over."""
    members = [Member(path, 10) for path in ("shots/a.png", "checkout/1.png", "checkout.bin", "other.png")]
    runs = [
        _says("checkout", "shots/a.png", "shots/a.png", "checkout/1.png"),
        _says("refund", "/builds/qa/web-shop/shots/a.png"),
    ]
    assert office.file(runs, members) == {
        "checkout": [("member", "shots/a.png"), ("member", "checkout/1.png")],
        "refund": [("member", "shots/a.png")],
    }
    assert (office.problems, office.notes()) == ([], {})
    assert office.ledger.store.value("SELECT COUNT(*) FROM files") == 2


def test_a_test_may_name_a_file_of_any_kind_from_beside_its_report(office: Office) -> None:
    """`artifact_paths` bounds only what is guessed from names."""
    runs = [_says("a", "data.bin")]
    assert office.file(runs, [Member("out/data.bin", 1), Member("data.bin.bak", 1)], "out/junit.xml") == {
        "a": [("member", "out/data.bin")]
    }


def test_what_is_named_and_not_there_is_missing_for_each_test_that_names_it(office: Office) -> None:
    """One row; an address is a link whatever the archive has."""
    runs = [_says("a", "gone.png", "https://host/x.png"), _says("b", "gone.png")]
    assert office.file(runs, [Member("here.png", 1)]) == {
        "a": [("missing", "gone.png"), ("url", "https://host/x.png")],
        "b": [("missing", "gone.png")],
    }
    assert office.notes() == {"gone.png": "the job's archive has no such file"}


def test_without_an_archive_everything_named_is_missing_for_that_reason(office: Office) -> None:
    """But for addresses."""
    assert office.file([_says("a", "x.png", "https://host/x.png")], None) == {
        "a": [("missing", "x.png"), ("url", "https://host/x.png")]
    }
    assert office.notes() == {"x.png": "it is gone"}


@pytest.mark.parametrize(
    ("member", "kind", "problem"),
    [
        (Member("../checkout.png", 1), "missing", "unsafe-name"),
        (Member("checkout.png", 1, objection=BadMember("encrypted", "it is encrypted")), "missing", "encrypted"),
        (Member("checkout.png", 1, objection=BadMember("unsupported", "by method 12")), "missing", "unsupported"),
        (Member("checkout.png", 900, objection=BadMember("too-large", "a bomb")), "member", "too-large"),
        (Member("checkout.png", 1_001, objection=BadMember("too-large", "a bomb")), "member", ""),
        (Member("checkout.png", 1, copies=2), "member", "duplicate-name"),
    ],
)
def test_what_is_odd_about_a_file_is_kept_with_it(office: Office, member: Member, kind: str, problem: str) -> None:
    """A problem too, unless the file will never be opened."""
    assert office.file([building.run("checkout")], [member, Member("checkout.txt", 1)]) == {
        "checkout": sorted([(kind, member.path), ("member", "checkout.txt")], key=lambda file: file[1] != member.path)
    }
    assert [one for one, _ in office.problems] == ([problem] if problem else [])
    assert set(office.notes()) == {member.path}


def test_a_bad_member_of_no_test_is_nobodys_problem(office: Office) -> None:
    """Nothing of it is wanted."""
    bad = Member("other.png", 1, objection=BadMember("encrypted", "it is encrypted"))
    assert office.file([building.run("checkout")], [bad]) == {}
    assert office.problems == []


def test_only_so_many_files_of_one_job_are_looked_at(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of the directory; a problem says how many there are."""
    monkeypatch.setattr(filing, "FILES_OF_ONE_JOB", 2)
    members = [Member(f"checkout/{n}.png", 1) for n in range(3)]
    assert office.file([building.run("checkout")], members) == {
        "checkout": [("member", "checkout/0.png"), ("member", "checkout/1.png")]
    }
    assert office.problems == [("too-many", "3 files belong to tests; 2 were looked at")]


def test_a_file_that_one_test_calls_metrics_is_metrics(office: Office) -> None:
    """It is linked then, and never uploaded."""
    runs = [replace(building.run("a"), properties=(("performance", "perf/a.txt"),)), _says("b", "perf/a.txt")]
    office.file(runs, [Member("perf/a.txt", 1)])
    assert office.ledger.store.rows("SELECT path, metric FROM files") == [("perf/a.txt", 1)]
