"""Test cases as Rally's reads give them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reconciler.model import FormattedID, ObjectID, TestCase
from reconciler.rally import wsapi


@dataclass(frozen=True, slots=True)
class TestCaseRows:
    """What is fetched of a test case, and how it is read."""

    field: str
    """A further attribute, for the mapping; "" = none."""

    @property
    def fetch(self) -> str:
        """Name the attributes."""
        further = f",{self.field}" if self.field else ""
        return f"FormattedID,ObjectID,Name,Project,LastUpdateDate{further}"

    def read(self, row: wsapi.Row) -> TestCase:
        """Read one row."""
        value: Any = row.get(self.field) if self.field else None
        return TestCase(
            object_id=ObjectID(wsapi.object_id(row)),
            formatted_id=FormattedID(str(row.get("FormattedID") or "")),
            name=str(row.get("Name") or ""),
            project_id=ObjectID(wsapi.ref_id(row.get("Project"))),
            updated_at=wsapi.read_time(row.get("LastUpdateDate")),
            field_value="" if value is None else str(value),
        )
