"""How the sections of the config are built: as dataclasses, in half the time."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, field, fields
from operator import attrgetter
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def section(cls: type[T]) -> type[T]:
    """Make a dataclass with slots, all keys by name, frozen, compared by its values.

    The functions for that are the same for all of them: `dataclass` would write and compile some for each, which takes
    as long as a twentieth of `reconciler status`.
    """
    made = dataclass(slots=True, kw_only=True, eq=False, repr=False)(cls)
    names = [one.name for one in fields(made)]  # type: ignore[arg-type]  # it is a dataclass now
    values = attrgetter(*names)

    def same(one: object, other: object) -> bool:
        return values(one) == values(other) if type(one) is type(other) else NotImplemented

    def digest(one: object) -> int:
        return hash(values(one))

    def shown(one: object) -> str:
        told = (f"{room.name}={getattr(one, room.name)!r}" for room in fields(one) if room.repr)  # type: ignore[arg-type]
        return f"{type(one).__name__}({', '.join(told)})"

    made.__eq__, made.__hash__, made.__repr__ = same, digest, shown  # type: ignore[assignment,method-assign]
    made.__setattr__, made.__delattr__ = _set_once, _keep  # type: ignore[method-assign]
    return made


def _set_once(one: object, name: str, value: object) -> None:
    if hasattr(one, name):
        raise FrozenInstanceError(f"cannot assign to field {name!r}")
    object.__setattr__(one, name, value)


def _keep(_: object, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")
