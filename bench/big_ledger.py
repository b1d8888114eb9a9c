"""A ledger of any size, as months of work leave it: most tests are sent, some are held, ignored or refused.

Its rows are written with SQL in the ledger's own transactions, so that every CHECK and trigger has its say; reading as
many reports would take hours.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from reconciler.ledger.ledger import open_ledger
from reconciler.ledger.store import stamp
from reconciler.mapping import Mapping

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from reconciler.ledger.store import Store

TESTS, SUBJECTS = 100, 10_000
"""Tests of a pipeline, and different ones in all."""
EVERY = timedelta(minutes=40)
GROUP = 200
_SPRINTS, _SPRINT = 20, timedelta(days=14)
_PASSES = 10_000
_CASE_0, _RESULT_0, _FILE_0, _PIPELINE_0 = 100_000, 10_000_000, 90_000_000, 1_000_000


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose pipelines the ledger is full of, as the config has it."""

    project_id: int
    path: str


def fill(path: Path, tests: int, owner: Owner) -> None:
    """Make a ledger in which so many tests were read; nothing of it is due."""
    now = datetime.now(UTC)
    with open_ledger(path, skips_count=False) as ledger:
        store = ledger.store
        with store.transaction():
            _found(store, owner, now)
            _sprints(store, now)
        pipelines = tests // TESTS
        for first in range(0, pipelines, GROUP):
            with store.transaction():
                _pipelines(store, range(first, min(first + GROUP, pipelines)), owner, now - EVERY * (pipelines - first))
        with store.transaction():
            _cursors(store, owner, now)
            _passes(store, now)


def _fate(subject: int) -> str:
    place = subject % 100
    return "unmapped" if place < 5 else "ignored" if place < 8 else "mapped"


def _found(store: Store, owner: Owner, now: datetime) -> None:
    store.run("INSERT INTO projects (project_id, path, web_url) VALUES (?, ?, '')", [owner.project_id, owner.path])
    store.run("INSERT INTO project_names (name, project_id) VALUES (?, ?)", [f"project {owner.path}", owner.project_id])
    store.run_many(
        "INSERT INTO test_cases (object_id, formatted_id, name, project_id, updated_at, field_value)"
        " VALUES (?, ?, ?, 1, ?, '')",
        ((_CASE_0 + n, f"TC{n}", f"Order {n} is paid", stamp(now - timedelta(days=1))) for n in range(SUBJECTS)),
    )
    store.run_many(
        "INSERT INTO subjects (subject_id, key, name, ids, mapping, rule) VALUES (?, ?, ?, '', ?, ?)",
        map(_subject, range(SUBJECTS)),
    )
    store.run_many(
        "INSERT INTO targets (subject_id, formatted_id, object_id) VALUES (?, ?, ?)",
        ((n, f"TC{n}", _CASE_0 + n) for n in range(SUBJECTS) if _fate(n) == "mapped"),
    )


def _subject(number: int) -> tuple[object, ...]:
    fate = _fate(number)
    name = f"test_order_{number}_TC{number}" if fate == "mapped" else f"test_odd_{number}"
    rule = {"mapped": "name", "ignored": f"mapping.csv:{number}"}.get(fate, "")
    return number, f"shop.checkout.suite{number // 100}.{name}", name, fate, rule


def _sprints(store: Store, now: datetime) -> None:
    """Add sprints of the past and the present, each with a set of a twentieth of the test cases."""
    for n in range(_SPRINTS):
        starts = now - _SPRINT * (_SPRINTS - n) + _SPRINT / 2
        row = [n, f"Sprint {n}", stamp(starts), stamp(starts + _SPRINT), stamp(now), stamp(now)]
        store.run(
            "INSERT INTO iterations (iteration_id, project_id, project_name, name, starts_at, ends_at, seen_at,"
            " items_at) VALUES (?, 1, 'Web Shop', ?, ?, ?, ?, ?)",
            row,
        )
        store.run(
            "INSERT INTO test_sets (iteration_id, name, state, object_id, intended_at) VALUES (?, ?, 'done', ?, ?)",
            [n, f"Sprint-{n}-Automated-Tests", 700 + n, stamp(starts)],
        )
        store.run_many(
            "INSERT INTO members (iteration_id, test_case, formatted_id, state) VALUES (?, ?, ?, 'done')",
            ((n, _CASE_0 + case, f"TC{case}") for case in range(n, SUBJECTS, _SPRINTS)),
        )


# --- pipelines -------------------------------------------------------------------------------------------------------


def _pipelines(store: Store, numbers: range, owner: Owner, first_at: datetime) -> None:
    times = [stamp(first_at + EVERY * place) for place in range(len(numbers))]
    ids = [_PIPELINE_0 + number for number in numbers]
    store.run_many(
        "INSERT INTO pipelines (pipeline_id, project_id, iid, sha, ref, status, source, web_url, created_at,"
        " updated_at, read_update) VALUES (?, ?, ?, '0123abcd', 'main', 'success', 'push', '', ?, ?, ?)",
        ((one, owner.project_id, one, at, at, at) for one, at in zip(ids, times, strict=True)),
    )
    store.run_many(
        "INSERT INTO jobs (job_id, pipeline_id, name, status, web_url, finished_at, state)"
        " VALUES (?, ?, 'unit', 'success', '', ?, 'read')",
        ((one, one, at) for one, at in zip(ids, times, strict=True)),
    )
    store.run_many(
        "INSERT INTO reports (report_id, job_id, source, name, tests) VALUES (?, ?, 'junit', 'junit.xml', ?)",
        ((one, one, TESTS) for one in ids),
    )
    store.run_many(
        "INSERT INTO problems (pipeline_id, kind, detail, seen_at)"
        " VALUES (?, 'no-jobs', 'GitLab lists no jobs: the token may lack the right to see them', ?)",
        ((one, at) for one, at in zip(ids, times, strict=True) if one % 100 == 0),
    )
    tests = [test for number in numbers for test in _tests(number)]
    _insert_tests(store, tests)
    _insert_results(
        store, [test for test in tests if test.state in ("sent", "refused")], dict(zip(ids, times, strict=True))
    )


@dataclass(frozen=True, slots=True)
class _Test:
    test_id: int
    pipeline: int
    subject: int
    ordinal: int
    state: str

    @property
    def fails(self) -> bool:
        return self.subject % 50 == 10


def _tests(number: int) -> Iterator[_Test]:
    """Give the tests of a pipeline; a hundred pipelines have all subjects."""
    states = {"unmapped": "held", "ignored": "ignored", "mapped": "sent"}
    for ordinal in range(TESTS):
        subject = (number % (SUBJECTS // TESTS)) * TESTS + ordinal
        is_refused = ordinal == 50 and number % 100 == 0
        state = "refused" if is_refused else states[_fate(subject)]
        yield _Test(number * TESTS + ordinal + 1, _PIPELINE_0 + number, subject, ordinal, state)


def _insert_tests(store: Store, tests: list[_Test]) -> None:
    store.run_many(
        "INSERT INTO tests (test_id, report_id, job_id, pipeline_id, subject_id, ordinal, outcome, flaky, attempts,"
        " duration_s, message, state) VALUES (?, ?, ?, ?, ?, ?, ?, 0, 1, 0.5, ?, ?)",
        (
            (
                test.test_id, test.pipeline, test.pipeline, test.pipeline, test.subject, test.ordinal,
                *(("failed", "expected True but was False") if test.fails else ("passed", "")), test.state,
            )
            for test in tests
        ),
    )  # fmt: skip


def _insert_results(store: Store, tests: list[_Test], times: dict[int, str]) -> None:
    """Make each its own result, by the number of the test; every third failed one has a file."""
    store.run_many(
        "INSERT INTO entries (entry_id, pipeline_id, formatted_id, revision, build, test_case, verdict, date,"
        " duration_s, state, object_id, reason, intended_at, settled_at)"
        " VALUES (?, ?, ?, 1, ?, ?, ?, ?, 0.5, ?, ?, ?, ?, ?)",
        (_entry(test, times[test.pipeline]) for test in tests),
    )
    store.run_many(
        "INSERT INTO contributions (entry_id, test_id, decided) VALUES (?, ?, 1)",
        ((test.test_id, test.test_id) for test in tests),
    )
    store.run_many(
        "INSERT INTO attachments (entry_id, name, size_bytes, crc, url, state, object_id, settled_at)"
        " VALUES (?, 'test_output.log', 100, 1, '', 'done', ?, ?)",
        (
            (test.test_id, _FILE_0 + test.test_id, times[test.pipeline])
            for test in tests
            if test.fails and test.state == "sent"
        ),
    )


def _entry(test: _Test, at: str) -> tuple[object, ...]:
    is_done = test.state == "sent"
    return (
        test.test_id, test.pipeline, f"TC{test.subject}", f"GitLab-{test.pipeline}", _CASE_0 + test.subject,
        "Fail" if test.fails else "Pass", at, "done" if is_done else "refused",
        _RESULT_0 + test.test_id if is_done else None, None if is_done else "Validation error: not allowed", at, at,
    )  # fmt: skip


# --- what passes left ------------------------------------------------------------------------------------------------


def _cursors(store: Store, owner: Owner, now: datetime) -> None:
    at = stamp(now)
    names = [f"pipelines/{owner.project_id}/{kind}" for kind in ("main", "children")]
    names += ["test_cases/full", "test_cases/refreshed", "sprints/looked", "success/GitLab", "success/Rally"]
    cursors = dict.fromkeys(names, at) | {"mapping": Mapping([], {}).fingerprint}
    store.run_many("INSERT OR REPLACE INTO cursors (name, value) VALUES (?, ?)", cursors.items())


def _passes(store: Store, now: datetime) -> None:
    times = (stamp(now - timedelta(minutes=_PASSES - number)) for number in range(_PASSES))
    store.run_many(
        "INSERT INTO passes (kind, started_at, ended_at, trouble, summary) VALUES ('gitlab', ?, ?, '{}', '{}')",
        ((at, at) for at in times),
    )
