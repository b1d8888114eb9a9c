"""What the machine's jobs leave behind beside their reports, and what its results are to have of it."""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reconciler.dispatch import GONE
from reconciler.ledger import views
from reconciler.ledger.attachments import NOTICE_NAME
from tests import accounting
from tests.archives import packed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from reconciler.ledger.store import Store
    from reconciler.model import NewAttachment, ObjectID
    from tests.fakes import FakeRally

    Files = Sequence[tuple[str, str]]
    """Names of tests, and what kind of files there are of each."""

KINDS = ("shot", "twins", "copy", "film")
NO_FILE = "Validation error: no such file, please"
TOO_LARGE = "too large"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of a job."""

    specs: tuple[str, ...]
    files: Mapping[str, bytes] = field(default_factory=dict)
    """By path in its archive."""

    def of(self, names: Iterable[str]) -> dict[str, bytes]:
        """Give the files of these tests, by path."""
        folders = set(names)
        return {path: data for path, data in self.files.items() if path.partition("/")[0] in folders}


@dataclass(slots=True)
class Workshop:
    """Makes files; no two have one size and different bytes, but for twins."""

    made: int = 0

    def files(self, wanted: Files) -> dict[str, bytes]:
        """Make files, each in a folder that is named after its test."""
        return {path: data for name, kind in wanted for path, data in self._some(name, kind).items()}

    def _some(self, name: str, kind: str) -> dict[str, bytes]:
        match kind:
            case "shot":
                self.made += 1
                return {f"{name}/shot.txt": b"s" * (100 + self.made)}
            case "twins":
                return {f"{name}/{n}/step.txt": f"{name} {n}".encode() for n in (1, 2)}
            case "copy":
                return {f"{name}/copy.txt": f"a copy of {name}".encode()}
            case _:
                return {f"{name}/film.mp4": f"a film of {name}".encode()}


def archive_of(attempt: Attempt) -> bytes | None:
    """Pack what an attempt leaves; None: it has no archive."""
    return packed(sorted(attempt.files.items())) if attempt.files else None


def uploads(attempts: Iterable[tuple[Attempt, Sequence[str]]]) -> set[tuple[str, bytes]]:
    """Tell what a result is to have of these attempts' tests, which are the specs beside each."""
    wanted: set[tuple[str, bytes]] = set()
    for attempt, specs in attempts:
        if any(spec.endswith("!") for spec in specs):
            wanted.add(("test_output.log", b"no\n"))
        files = attempt.of(spec.rstrip("!?~") for spec in specs)
        wanted |= {(path.rpartition("/")[2], data) for path, data in files.items() if not path.endswith(".mp4")}
    return wanted


# --- what Rally holds against what the ledger says -------------------------------------------------------------------


def has_no_doubles(rally: FakeRally) -> None:
    """See that no result has the same bytes under the same name twice, texts of ours included."""
    for key, files in rally.attachments().items():
        assert len(set(files)) == len(files), (str(key), Counter(files).most_common(1))


def counts_agree(store: Store) -> None:
    """See that the books hold."""
    accounting.check(store)


def orphans_are_counted(store: Store, rally: FakeRally) -> None:
    """See that every content which nothing refers to was counted, or is still to be used."""
    waiting = store.value("SELECT COUNT(*) FROM attachments WHERE state = 'pending' AND content_id IS NOT NULL")
    assert len(rally.orphans()) <= views.attachments(store)["orphaned"] + waiting


def rows_are_true(store: Store, rally: FakeRally, deleted: Mapping[ObjectID, NewAttachment]) -> None:
    """See that each result has what its rows say, and nothing else unless another ledger put it there."""
    entries = store.rows("SELECT entry_id, object_id, adopted FROM entries WHERE state = 'done'")
    for entry_id, result, adopted in entries:
        if rally.stored[result].test_case not in rally.cases:
            continue
        rows = store.rows(
            "SELECT name, size_bytes, crc, state, object_id, reason FROM attachments WHERE entry_id = ?", [entry_id]
        )
        assert not [row for row in rows if row[3] in {"pending", "intended", "missing"}], rows
        there = {number: one for number, one in rally.attached.items() if one.result == result}
        done = {row[4]: row[:3] for row in rows if row[3] == "done"}
        for number, said in done.items():
            one = rally.attached.get(number) or deleted[number]
            data = rally.contents[one.content]
            assert (one.result, (one.name, len(data), zlib.crc32(data))) == (result, said)
        # While its test case was in the recycle bin, nobody could see what had arrived.
        unseen = {row[:2] for row in rows if row[3] == "refused" and GONE in row[5]}
        extra = {(one.name, one.size_bytes) for number, one in there.items() if number not in done}
        assert adopted or extra <= unseen, (result, extra)


def refused(store: Store, result: ObjectID) -> set[tuple[str, int]]:
    """Tell name and CRC of what a result goes without because Rally said so; a text on it says why."""
    rows = store.rows(
        "SELECT a.name, a.crc, a.reason FROM attachments a JOIN entries e USING (entry_id)"
        " WHERE e.object_id = ? AND a.state = 'refused' AND notice = 0",
        [result],
    )
    assert all(reason in {NO_FILE, TOO_LARGE} or GONE in reason for _, _, reason in rows), rows
    return {(name, crc) for name, crc, _ in rows}


def has_all(
    store: Store, rally: FakeRally, result: ObjectID, wanted: set[tuple[str, bytes]], deleted: Iterable[NewAttachment]
) -> None:
    """See that a result has what is wanted, but for what Rally refused or a person took away."""
    there = [one for one in rally.attached.values() if one.result == result]
    there += [one for one in deleted if one.result == result]
    has = {(one.name, rally.contents[one.content]) for one in there}
    said_no = refused(store, result)
    lacks = {(name, data) for name, data in wanted - has if (name, zlib.crc32(data)) not in said_no}
    assert not lacks, (result, lacks)
    adopted = store.value("SELECT adopted FROM entries WHERE object_id = ?", [result])
    more = {one for one in has - wanted if one[0] != NOTICE_NAME}
    assert adopted or not more, (result, more)
    told = b"\n".join(rally.contents[one.content] for one in there if one.name == NOTICE_NAME).decode()
    gone = {row[0] for row in store.rows("SELECT name FROM attachments WHERE notice = 1 AND state = 'refused'")}
    assert gone or all(f"\n{name}\n" in told for name, _ in said_no), (result, said_no, told)
