"""Two writes that change one parent at the same time: the second one is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.sandbox.rally.errors import Refused

if TYPE_CHECKING:
    from reconciler.sandbox.rally.objects import Thing

_CLASSES = {"HierarchicalRequirement": "UserStory"}


@dataclass(slots=True)
class _Planned:
    oid: int | None
    times: int


class Conflicts:
    """Who is changing what; a request holds what it changes until it is no longer in service."""

    def __init__(self) -> None:
        self._held: dict[int, int] = {}
        self._planned: list[_Planned] = []

    def plan(self, thing: Thing | None = None, times: int = 1) -> None:
        """Refuse the next writes that change this object, or any (None), as if another client had been there."""
        self._planned.append(_Planned(thing.oid if thing else None, times))

    def hold(self, thing: Thing, request: int) -> None:
        """Take an object for a request, by its running number.

        Raises:
            Refused: another request in service has it; in the words of rallytree's README.
        """
        self.meet(thing)
        if self._held.setdefault(thing.oid, request) != request:
            raise _conflict(thing)

    def meet(self, thing: Thing) -> None:
        """Touch an object without taking it: only what was planned for it is met; raises as `hold` does."""
        if self._is_planned(thing):
            raise _conflict(thing)

    def release(self, request: int) -> None:
        """Let go of everything that a request holds."""
        for oid in [oid for oid, holder in self._held.items() if holder == request]:
            del self._held[oid]

    def _is_planned(self, thing: Thing) -> bool:
        planned = next((p for p in self._planned if p.oid in (None, thing.oid)), None)
        if planned is None:
            return False
        planned.times -= 1
        if planned.times <= 0:
            self._planned.remove(planned)
        return True


def _conflict(thing: Thing) -> Refused:
    name = _CLASSES.get(thing.type.name, thing.type.name)
    return Refused(
        "Concurrency conflict: [Object has been modified since being read for update in this context] - "
        "ConcurrencyConflictException : Modified since read on update : "
        f"Object Class : com.f4tech.slm.domain.{name} : ObjectID : {thing.oid}"
    )
