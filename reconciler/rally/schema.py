"""What a workspace takes as a TestCaseResult, and whether one fits it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reconciler.model import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.model import TestCaseResult

SENT = frozenset({"Build", "Date", "TestCase", "Verdict", "Duration", "Notes", "Workspace"})
"""The attributes that we fill."""

_SOMETIMES = frozenset({"TestSet"})
"""Those that we fill where there is something for it."""

_RALLYS_OWN = frozenset(
    {"CreationDate", "ObjectID", "ObjectUUID", "VersionId", "Project", "Subscription", "WorkProduct", "Workspace"}
)
"""What Rally fills itself, whatever a workspace's schema says of it (OpenAPI document, 2025)."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of a type, as the workspace's schema has it."""

    name: str
    required: bool = False
    read_only: bool = False
    max_length: int = 0
    """0 = no limit."""
    allowed: frozenset[str] = frozenset()
    """Empty = anything."""


def takes(attributes: Mapping[str, Attribute], name: str) -> bool:
    """Tell whether a type has an attribute that may be written."""
    return name in attributes and not attributes[name].read_only


def workspace_attribute(workspace_ref: str, attributes: Mapping[str, Attribute]) -> dict[str, object]:
    """Give the workspace to write into an object, where the type takes it; in the URL it stands in any case."""
    return {"Workspace": workspace_ref} if takes(attributes, "Workspace") else {}


@dataclass(frozen=True, slots=True)
class ResultSchema:
    """The attributes of TestCaseResult."""

    attributes: Mapping[str, Attribute]
    verdicts: frozenset[str] = field(init=False)
    """The words that a Verdict may be."""
    _trouble: str = field(init=False)
    _without_set: str = field(init=False)

    def __post_init__(self) -> None:
        """Find out what is the same for every result of ours."""
        allowed = self.attributes["Verdict"].allowed if "Verdict" in self.attributes else frozenset()
        object.__setattr__(self, "verdicts", allowed or frozenset(verdict.value for verdict in Verdict))
        object.__setattr__(self, "_trouble", self._never())
        object.__setattr__(self, "_without_set", self._needs_set())

    def check(self, result: TestCaseResult) -> str:
        """Tell why Rally would not take a result; "" when it can be expected to.

        What is wrong with its TestSet is said last: then nothing else is.
        """
        return (
            self._trouble
            or _text(self.attributes.get("Build"), result.build)
            or _text(self.attributes.get("Notes"), result.notes)
            or ("" if result.verdict in self.verdicts else self._verdict(result))
            or ("" if 0 <= result.duration_s < math.inf else "Duration is not a number")
            or (self._without_set if result.test_set is None else self._test_set())
        )

    def _never(self) -> str:
        for attribute in self.attributes.values():
            if attribute.read_only and attribute.name in SENT - _RALLYS_OWN:
                return f"{attribute.name} is read-only in this workspace"
            known = SENT | _SOMETIMES | _RALLYS_OWN
            if attribute.required and not attribute.read_only and attribute.name not in known:
                return f"this workspace requires {attribute.name}, which we have nothing for"
        return ""

    def _test_set(self) -> str:
        return "" if takes(self.attributes, "TestSet") else "TestSet is read-only in this workspace"

    def _needs_set(self) -> str:
        attribute = self.attributes.get("TestSet")
        if attribute and attribute.required and not attribute.read_only:
            return "this workspace requires TestSet, and the test case is in no sprint's set"
        return ""

    def _verdict(self, result: TestCaseResult) -> str:
        return f"the Verdict {result.verdict!r} is not allowed in this workspace ({', '.join(sorted(self.verdicts))})"


def _text(attribute: Attribute | None, value: str) -> str:
    if attribute is None:
        return ""
    if attribute.required and not value:
        return f"{attribute.name} is empty"
    if attribute.name == "Build" and ('"' in value or "\\" in value):
        return f"{attribute.name} has a quote or a backslash, and could not be looked up"
    if attribute.max_length and len(value) > attribute.max_length:
        return f"{attribute.name} has {len(value)} characters, {attribute.max_length} are allowed"
    return ""
