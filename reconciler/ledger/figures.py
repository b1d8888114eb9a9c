"""What the metrics ask of the ledger beside `views`. Reads only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.ledger.store import moment, stamp

if TYPE_CHECKING:
    from datetime import datetime

    from reconciler.ledger.store import Store


def ended_passes(store: Store, *, after: int, since: datetime) -> list[tuple[int, str, float]]:
    """List the passes above this id that began since then and have ended: id, kind and seconds, oldest first."""
    rows = store.rows(
        "SELECT pass_id, kind, started_at, ended_at FROM passes"
        " WHERE pass_id > ? AND started_at >= ? AND ended_at IS NOT NULL ORDER BY pass_id",
        [after, stamp(since)],
    )
    return [
        (pass_id, kind, max(0.0, (moment(ended) - moment(started)).total_seconds()))
        for pass_id, kind, started, ended in rows
    ]
