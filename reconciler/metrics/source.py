"""Where the numbers come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from reconciler.traffic import Traffic
    from reconciler.vitals import Vitals


@dataclass(slots=True)
class Source:
    """The daemon as the metrics see it; read from any thread."""

    ledger: Path
    traffic: Mapping[str, Traffic]
    """By service, as in `World`."""
    vitals: Vitals | None = None
    """None until the passes are scheduled."""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    started_at: datetime = field(init=False)

    def __post_init__(self) -> None:
        """Count from now on."""
        self.started_at = self.now()

    def why_not_alive(self) -> str:
        """Say in one line why the daemon does not get on; "" when it does."""
        vitals = self.vitals
        if vitals is None or vitals.is_alive():
            return ""
        return f"no progress for {vitals.stalled_s:.0f} s: a pass hangs, or none begins; restart the daemon"

    def why_not_ready(self) -> str:
        """Say in one line why the daemon does not do its work; "" when it does."""
        vitals = self.vitals
        if vitals is None or not vitals.passes:
            return "no pass has ended yet"
        return "" if vitals.is_ready() else self.why_not_alive() or "a pass is overdue"
