"""The part of the fake Rally that is about who asks."""

from __future__ import annotations

from dataclasses import dataclass, field

from reconciler.errors import BatchRefused, Unauthorized
from reconciler.model import KeyOwner, ObjectID, ProjectRole
from tests.fake_sprints import ROOT, FakeSprints

OWNER = ObjectID(7)


@dataclass(slots=True)
class FakeOwner(FakeSprints):
    """An API key whose owner is an Editor of all projects, unless told otherwise."""

    is_admin: bool = False
    """Whether the key's owner administers the whole subscription."""
    may_write: bool = True
    """Whether the key is one with full access."""
    has_batch: bool = True
    roles_there: dict[ObjectID, str] = field(default_factory=dict)
    """What the key's owner is in a project, where that is not Editor."""
    faults: dict[str, BaseException] = field(default_factory=dict)
    """What some of the reads raise, by the name of the method."""

    def owner(self) -> KeyOwner:
        """Tell whose key it is."""
        self._read_by("owner")
        return KeyOwner(OWNER, "qa@example.com", self.is_admin, self.clock())

    def roles(self, owner: KeyOwner) -> list[ProjectRole]:
        """Tell what the owner is in the projects in scope."""
        self._read_by("roles")
        assert owner.object_id == OWNER
        there = [number for number in self.projects if number not in self.beside]
        return [ProjectRole(self.projects[one], self.roles_there.get(one, "Editor"), one == ROOT) for one in there]

    def probe_batch(self) -> None:
        """Answer, or not."""
        self._read_by("probe_batch")
        if not self.may_write:
            raise Unauthorized("Rally: HTTP 401: the API key is not accepted")
        if not self.has_batch:
            raise BatchRefused("Rally: HTTP 404 for /batch")

    def _read_by(self, method: str) -> None:
        self._read()
        if method in self.faults:
            raise self.faults[method]
