"""What is wrong with a file that a person wrote; apart from the errors, which even `--help` imports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a file that a person wrote."""

    file: Path
    line: int
    column: int
    what: str
    todo: str

    def __str__(self) -> str:
        """Read as `FILE:LINE:COL: what: what to do`."""
        return f"{self.file}:{self.line}:{self.column}: {self.what}: {self.todo}"
