"""Which attachments of a result are ours: by name and size, and by content where that is not enough."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import pytest

from reconciler.errors import ServiceDown
from reconciler.ledger.attachments import Row
from reconciler.matching import match
from reconciler.model import FoundAttachment, ObjectID

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Said = tuple[str, bytes]


def _row(number: int, name: str, data: bytes, done: int = 0) -> Row:
    return Row(
        attachment_id=number,
        state="done" if done else "pending",
        name=name,
        size_bytes=len(data),
        crc=zlib.crc32(data),
        job_id=None,
        path="",
        output_id=1,
        url="",
        tries=0,
        content=None,
        content_type="",
        object_id=ObjectID(done) if done else None,
        intended_at=None,
        notice=False,
    )


def _match(rows: Sequence[Row], there: Mapping[int, Said]) -> tuple[dict[int, int], list[int]]:
    """Match; what was paired, and which contents were asked for."""
    asked: list[int] = []

    def content_of(one: FoundAttachment) -> bytes:
        asked.append(one.object_id)
        return there[one.object_id][1]

    found = [FoundAttachment(ObjectID(number), name, len(data)) for number, (name, data) in there.items()]
    return dict(match(rows, found, content_of)), asked


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ({}, {}),
        ({901: ("a.txt", b"aaa")}, {1: 901}),
        ({901: ("a.txt", b"zzz")}, {1: 901}),
        ({901: ("a.txt", b"aaaa")}, {}),
        ({901: ("A.txt", b"aaa")}, {}),
        ({902: ("a.txt", b"aaa"), 901: ("a.txt", b"bbb")}, {1: 901}),
    ],
    ids=["nothing", "the same", "other bytes", "other size", "other name", "two: the older"],
)
def test_one_wanted_file_is_known_by_name_and_size(there: dict[int, Said], expected: dict[int, int]) -> None:
    """No content is asked for."""
    assert _match([_row(1, "a.txt", b"aaa")], there) == (expected, [])


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ({901: ("a.txt", b"bbb")}, {2: 901}),
        ({901: ("a.txt", b"bbb"), 902: ("a.txt", b"aaa")}, {2: 901, 1: 902}),
        ({901: ("a.txt", b"own"), 902: ("a.txt", b"bbb")}, {2: 902}),
        ({901: ("a.txt", b"bbb"), 902: ("a.txt", b"bbb")}, {2: 901}),
        ({901: ("a.txt", b"own")}, {}),
    ],
    ids=["one is there", "both", "and a person's", "one twice", "only a person's"],
)
def test_wanted_files_that_share_name_and_size_are_told_apart_by_their_contents(
    there: dict[int, Said], expected: dict[int, int]
) -> None:
    """DESIGN §4: where two wanted files share both, the content is compared."""
    paired, asked = _match([_row(1, "a.txt", b"aaa"), _row(2, "a.txt", b"bbb")], there)
    assert paired == expected
    assert asked == sorted(there)


def test_what_belongs_to_a_row_that_is_done_is_no_other_rows() -> None:
    """A multiset: the same name and size may be wanted twice."""
    rows = [_row(1, "a.txt", b"aaa", done=901), _row(2, "a.txt", b"bbb")]
    assert _match(rows, {901: ("a.txt", b"aaa")}) == ({}, [])
    assert _match(rows, {901: ("a.txt", b"aaa"), 902: ("a.txt", b"bbb")}) == ({2: 902}, [])


def test_a_content_that_cannot_be_had_is_no_answer() -> None:
    """A look-up that failed never reads as "not there"."""

    def content_of(_: FoundAttachment) -> bytes:
        raise ServiceDown("Rally", "no answer")

    with pytest.raises(ServiceDown):
        match(
            [_row(1, "a.txt", b"aaa"), _row(2, "a.txt", b"bbb")],
            [FoundAttachment(ObjectID(901), "a.txt", 3)],
            content_of,
        )
