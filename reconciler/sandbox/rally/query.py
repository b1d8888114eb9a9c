"""The query language: text to a tree. Strict where Rally is: binary AND and OR, brackets and spaces everywhere.

Sources: KB 131936, help/use-grid-app-queries; the error texts are pyral's issues 22 and 39.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from reconciler.sandbox.rally.errors import Refused

OPERATORS = ("=", "!=", "<", "<=", ">", ">=", "contains", "!contains")
_TOKEN = re.compile(r'\s*(?:(?P<bracket>[()])|(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<word>[^\s()]+))')


@dataclass(frozen=True, slots=True)
class Condition:
    """`(Field operator value)`; a value of None is `null`."""

    field: str
    operator: str
    value: str | None


@dataclass(frozen=True, slots=True)
class Both:
    """`(left AND right)` or `(left OR right)`."""

    left: Node
    operator: Literal["AND", "OR"]
    right: Node


Node = Condition | Both


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    quoted: bool = False
    spaced: bool = True
    """Whether white space stands before it."""


def parse(text: str) -> Node:
    """Read a whole query.

    Raises:
        Refused: with Rally's `Could not parse: …`.
    """
    reader = _Reader(_tokens(text))
    node = reader.expression()
    reader.end()
    return node


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    while position < len(text.rstrip()):
        match = _TOKEN.match(text, position)
        if match is None:
            raise Refused(f"Could not parse: Error parsing expression -- unexpected text at {text[position:]!r}")
        spaced = match[0][0].isspace()
        quoted = match["quoted"]
        if quoted is not None:
            tokens.append(_Token(_unescape(quoted[1:-1]), quoted=True, spaced=spaced))
        else:
            tokens.append(_Token(match["bracket"] or match["word"], spaced=spaced))
        position = match.end()
    return tokens


def _unescape(text: str) -> str:
    if re.search(r'(?<!\\)(?:\\\\)*\\[^"\\]', text):
        raise Refused(f'Could not parse: Error parsing expression -- unknown escape in "{text}"')
    return re.sub(r"\\(.)", r"\1", text)


class _Reader:
    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._next = 0

    def expression(self) -> Node:
        self._expect("(")
        node: Node
        if self._peek() == _Token("(", spaced=self._peek().spaced):
            left = self.expression()
            operator = self._conjunction()
            node = Both(left, operator, self.expression())
        else:
            node = self._condition()
        self._expect(")")
        return node

    def end(self) -> None:
        if self._next < len(self._tokens):
            raise Refused(f'Could not parse: Error parsing expression -- unexpected "{self._peek().text}" at the end')

    def _condition(self) -> Condition:
        field = self._take()
        if field.quoted or not re.fullmatch(r"[A-Za-z_][\w.]*|[^()\s]*[=<>!][^()\s]*", field.text):
            raise Refused(f'Could not parse: Error parsing expression -- "{field.text}" is not a field')
        operator = self._take()
        if operator.quoted or operator.text not in OPERATORS or not operator.spaced:
            raise Refused(f'Could not parse: Unknown operator "{operator.text}"')
        value = self._take()
        if not value.spaced or (not value.quoted and (value.text in "()" or '"' in value.text)):
            raise Refused(f'Could not parse: Error parsing expression -- expected a value but saw "{value.text}"')
        return Condition(field.text, operator.text, None if value == _Token("null") else value.text)

    def _conjunction(self) -> Literal["AND", "OR"]:
        token = self._take()
        if not token.spaced or token.quoted:
            raise Refused(f'Could not parse: Error parsing expression -- expected " " but saw "{token.text}"')
        match token.text:
            case "AND":
                return "AND"
            case "OR":
                return "OR"
        raise Refused(f'Could not parse: Error parsing expression -- expected "AND" or "OR" but saw "{token.text}"')

    def _expect(self, bracket: str) -> None:
        token = self._take()
        if token.quoted or token.text != bracket:
            raise Refused(f'Could not parse: Error parsing expression -- expected "{bracket}" but saw "{token.text}"')

    def _peek(self) -> _Token:
        if self._next >= len(self._tokens):
            raise Refused("Could not parse: Error parsing expression -- unexpected end of the query")
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._peek()
        self._next += 1
        return token
