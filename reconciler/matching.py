"""Which attachments that a result has are the ones that we wanted: by name and size, as a multiset."""

from __future__ import annotations

import zlib
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from reconciler.ledger.attachments import Row
    from reconciler.model import FoundAttachment, ObjectID


def match(
    rows: Iterable[Row], found: Iterable[FoundAttachment], content_of: Callable[[FoundAttachment], bytes]
) -> Mapping[int, ObjectID]:
    """Pair rows that are not done with what the result has; attachment id → ObjectID.

    Where several wanted files share name and size, the contents are compared; `content_of` raises as the port does.
    """
    rows, found = list(rows), list(found)
    taken = {row.object_id for row in rows}
    there: dict[tuple[str, int], list[FoundAttachment]] = defaultdict(list)
    for one in sorted(found, key=lambda one: one.object_id):
        if one.object_id not in taken:
            there[one.name, one.size_bytes].append(one)
    wanted: dict[tuple[str, int], list[Row]] = defaultdict(list)
    for row in rows:
        if row.state != "done":
            wanted[row.name, row.size_bytes].append(row)
    return {
        attachment_id: object_id
        for kind, alike in wanted.items()
        for attachment_id, object_id in _pair(alike, there[kind], content_of)
    }


def _pair(
    rows: Sequence[Row], there: Sequence[FoundAttachment], content_of: Callable[[FoundAttachment], bytes]
) -> list[tuple[int, ObjectID]]:
    if len(rows) == 1:
        return [(rows[0].attachment_id, one.object_id) for one in there[:1]]
    left, pairs = list(rows), []
    for one in there:
        crc = zlib.crc32(content_of(one))
        row = next((row for row in left if row.crc == crc), None)
        if row is not None:
            left.remove(row)
            pairs.append((row.attachment_id, one.object_id))
    return pairs
