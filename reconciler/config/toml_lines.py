"""Where in a TOML text each key and list element stands; tomllib keeps no positions."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

TomlPath = tuple[str | int, ...]

# A multi-line string may end in up to five quotes: the last three close it (toml.io v1.0.0, "String").
_TOKEN = re.compile(
    r'''
      (?P<text> """(?:\\.|[^\\])*?"{3,5} | \'\'\'.*?'{3,5} | "(?:\\.|[^"\\\n])*" | '[^'\n]*' )
    | (?P<mark> [\[\]{}=.,\n] )
    | (?P<bare> [^\s\[\]{}=.,\#"']+ )
    | (?P<skip> \#[^\n]* | [^\S\n]+ )
    ''',
    re.VERBOSE | re.DOTALL,
)


class TomlLines:
    """Positions of a text that tomllib has already accepted."""

    def __init__(self, text: str) -> None:
        """Walk through the text once."""
        self._text = text
        self._offsets = _Scanner(text).offsets()

    def find(self, *path: str | int) -> tuple[int, int]:
        """Give line and column, both from 1, of a section, key or list element, or else of what encloses it.

        What stands in an inline table is found at the table's own key; what does not stand in the text at all
        is found at its section's header, or at 1:1.
        """
        while path:
            offset = self._offsets.get(path)
            if offset is not None:
                return self._text.count("\n", 0, offset) + 1, offset - self._text.rfind("\n", 0, offset)
            path = path[:-1]
        return 1, 1


class _Token(NamedTuple):
    text: str
    offset: int


class _Scanner:
    """One walk over the tokens of a valid TOML text."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._offsets: dict[TomlPath, int] = {}

    def offsets(self) -> dict[TomlPath, int]:
        """Walk to the end of the text."""
        table: TomlPath = ()
        for token in self._tokens:
            match token.text:
                case "\n" | "]":
                    pass  # an empty line, or the second bracket of [[name]]
                case "[":
                    table = self._header(token)
                case _:
                    self._value(self._key(table, token, end="="))
        return self._offsets

    def _header(self, bracket: _Token) -> TomlPath:
        first = next(self._tokens)
        if first.text == "[":
            first = next(self._tokens)
        path = self._key((), first, end="]")
        self._offsets[path] = bracket.offset  # [a] may come after [a.b]: its own header is the better place
        return path

    def _key(self, table: TomlPath, token: _Token, *, end: str) -> TomlPath:
        path = table
        while token.text != end:
            if token.text != ".":
                path = (*path, _name(token.text))
                self._offsets.setdefault(path, token.offset)
            token = next(self._tokens)
        return path

    def _value(self, path: TomlPath) -> None:
        open_brackets: list[str] = []
        index = 0
        at_element = False
        for token in self._tokens:
            if token.text == "\n":
                if not open_brackets:
                    return
                continue
            if at_element and token.text != "]":
                self._offsets[*path, index] = token.offset
                index += 1
            if token.text in {"[", "{"}:
                open_brackets.append(token.text)
            elif token.text in {"]", "}"}:
                open_brackets.pop()
            at_element = open_brackets == ["["] and token.text in {"[", ","}


def _tokens(text: str) -> Iterator[_Token]:
    for match in _TOKEN.finditer(text):
        if match.lastgroup != "skip":
            yield _Token(match[0], match.start())


def _name(key: str) -> str:
    """Read a bare or quoted key as TOML does."""
    if key[0] in {'"', "'"}:
        return str(tomllib.loads(f"key = {key}")["key"])
    return key
