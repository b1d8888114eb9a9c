"""What a rule for a key is, and how it says that a value is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path


class Wrong(Exception):
    """A value that its key may not hold.

    `what` reads on from the key's name ("is empty"), `todo` is an instruction; neither ever repeats a secret.
    """

    def __init__(self, what: str, todo: str) -> None:
        """Say what is wrong and what to do about it."""
        super().__init__(what)
        self.what = what
        self.todo = todo


@dataclass(frozen=True, slots=True)
class Place:
    """What a value may refer to."""

    folder: Path
    """The config file's own: relative paths start here."""
    environ: Mapping[str, str]
    secrets: bool = True
    """Whether secrets are fetched; False where nothing is contacted."""


class Shape(Enum):
    """The TOML type that a key takes."""

    TEXT = (str,)
    WHOLE = (int,)
    NUMBER = (int, float)
    FLAG = (bool,)
    LIST = (list,)
    NAME_OR_ID = (str, int)

    def fits(self, value: object) -> bool:
        """Tell whether a value has this type; true and false are not numbers."""
        return type(value) in self.value

    @property
    def title(self) -> str:
        """What a person calls it."""
        return _TITLES[self][0]

    @property
    def todo(self) -> str:
        """How a person writes it."""
        return _TITLES[self][1]


_TITLES = {
    Shape.TEXT: ("a string", "write it in quotes"),
    Shape.WHOLE: ("a whole number", "write digits only, without quotes"),
    Shape.NUMBER: ("a number", "write it without quotes"),
    Shape.FLAG: ("true or false", "write true or false, without quotes"),
    Shape.LIST: ("a list", "write it in square brackets"),
    Shape.NAME_OR_ID: ("a path or a numeric id", "write a path in quotes, or a number"),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """What a key takes, and how its value becomes ours."""

    shape: Shape
    read: Callable[[Any, Place], Any]
    """Takes a value of that shape; raises Wrong."""
    item: Rule | None = None
    """The rule for each element, when the shape is a list."""
    example: str = ""
    """A value as it would stand in the file; needed where the key has no default."""


def title_of(value: object) -> str:
    """Name the TOML type of a value as a person would."""
    for kind, title in _FOUND:
        if isinstance(value, kind):
            return title
    return "a date or time"


_FOUND = (
    (bool, "true or false"),
    (int, "a whole number"),
    (float, "a number with a fraction"),
    (str, "a string"),
    (list, "a list"),
    (dict, "a table"),
)


def shown(text: str, most: int = 80) -> str:
    """Quote a text from the file for a message of one line, cut to so many characters."""
    clean = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return f'"{clean}"' if len(clean) <= most else f'"{clean[: most - 3]}..."'


def shown_path(path: Path) -> str:
    """Quote a path, uncut: a person has to find it."""
    return shown(str(path), most=10_000)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Find the one that was most probably meant, whatever its case."""
    import difflib  # noqa: PLC0415 - only for what is wrong

    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1)
    return by_lower[close[0]] if close else None
