"""Read config.toml with its overrides and secrets, and collect every problem on the way."""

from __future__ import annotations

import re
import tomllib
from dataclasses import MISSING, Field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from reconciler.config import overrides
from reconciler.config.rule import Place, Rule, Wrong, nearest, shown, title_of
from reconciler.config.secret import Secret
from reconciler.config.settings import SECTIONS, Settings
from reconciler.errors import ConfigError
from reconciler.problem import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from reconciler.config.toml_lines import TomlLines

_POSITION = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_SYNTAX_TODO = (
    ("Cannot overwrite a value", "this key is set a second time, remove one of the two"),
    ("Duplicate inline table key", "this key is set a second time, remove one of the two"),
    ("Cannot declare", "this section stands here a second time, put its keys under the first"),
    ("Invalid value", "write texts in quotes, lists in brackets, and true or false in lower case"),
)


def load(
    path: Path,
    environ: Mapping[str, str],
    *,
    secrets: bool = True,
    look_into_mapping: Callable[[Path], Sequence[Problem]] = lambda _: (),
) -> Settings:
    """Read the config file, the variables that override it and the secrets that it refers to.

    Without `secrets` these stay empty: for commands that contact nothing, in a shell that has none of them.
    `look_into_mapping` finds the mistakes of the mapping file, so that they are told together with these.

    Raises:
        ConfigError: with all mistakes that there are, in file order; nothing secret is in it.
    """
    text = _text(path)
    document = _document(path, text)
    reading = _Reading(path, text, Place(path.absolute().parent, environ, secrets))
    return reading.settings(document, look_into_mapping)


def load_secret(path: Path, environ: Mapping[str, str], section: str, key: str) -> Secret:
    """Fetch one secret by itself, from a file that `load` has read without them.

    Raises:
        ConfigError: with what keeps this one from being had.
    """
    text = _text(path)
    reading = _Reading(path, text, Place(path.absolute().parent, environ))
    return reading.secret(section, key, _document(path, text))


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        problem = Problem(path, line, column, "not UTF-8", "save the file with the encoding UTF-8")
    except (FileNotFoundError, NotADirectoryError):
        todo = "copy config.toml from the repository or give --config PATH"
        problem = Problem(path, 1, 1, "no such file", todo)
    except OSError as error:
        problem = Problem(path, 1, 1, f"cannot be read ({error.strerror})", "name a file that this user may read")
    raise ConfigError([problem])


def _document(path: Path, text: str) -> dict[str, Any]:
    """Parse; a file that is no TOML has this one problem, where tomllib saw it."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        message = str(error)
    position = _POSITION.search(message)
    if position and position[1]:
        line, column = int(position[1]), int(position[2])
    else:
        line, column = text.count("\n") + 1, len(text) - text.rfind("\n")
    reason = _POSITION.sub("", message)
    todo = next((todo for begin, todo in _SYNTAX_TODO if reason.startswith(begin)), "correct it here or just before")
    raise ConfigError([Problem(path, line, column, f"not valid TOML ({reason})", todo)])


class _Reading:
    """One pass over one file."""

    def __init__(self, path: Path, text: str, place: Place) -> None:
        self._path = path
        self._text = text
        self._place = place
        self._variables = overrides.given(place.environ)
        self._problems: list[Problem] = []

    @cached_property
    def _lines(self) -> TomlLines:
        from reconciler.config.toml_lines import TomlLines  # noqa: PLC0415 - a config without mistakes does without

        return TomlLines(self._text)

    def settings(self, document: dict[str, Any], look_into_mapping: Callable[[Path], Sequence[Problem]]) -> Settings:
        self._report_unknown_sections(document)
        self._report_unknown_variables()
        sections = {name: self._section(name, cls, document.get(name, {})) for name, cls in SECTIONS.items()}
        self._report_no_projects(sections["gitlab"])
        problems = sorted(self._problems, key=lambda problem: (problem.line, problem.column))
        if "file" in sections["mapping"]:
            problems += look_into_mapping(sections["mapping"]["file"])
        if problems:
            raise ConfigError(problems)
        return Settings(**{name: cls(**sections[name]) for name, cls in SECTIONS.items()})

    def secret(self, section: str, key: str, document: dict[str, Any]) -> Secret:
        try:
            value = self._key(section, _keys(SECTIONS[section])[key], document.get(section, {}))
        except _Reported:
            raise ConfigError(self._problems) from None
        assert isinstance(value, Secret)  # noqa: S101 - settings.py says so of this key
        return value

    def _report(self, at: tuple[str | int, ...], what: str, todo: str) -> None:
        line, column = self._lines.find(*at)
        self._problems.append(Problem(self._path, line, column, what, todo))

    def _report_unknown_sections(self, document: dict[str, Any]) -> None:
        for name, value in document.items():
            if name in SECTIONS:
                continue
            if isinstance(value, dict):
                close = nearest(name, SECTIONS)
                todo = f"did you mean [{close}]?" if close else f"the sections are {', '.join(SECTIONS)}"
                self._report((name,), f"unknown section [{_bare(name)}]", todo)
            else:
                homes = [section for section, cls in SECTIONS.items() if name in _keys(cls)]
                todo = f"put it under {' or '.join(f'[{home}]' for home in homes)}" if homes else "remove it"
                self._report((name,), f"key {shown(name)} stands outside of every section", todo)

    def _report_unknown_variables(self) -> None:
        known = [overrides.variable_for(section, key) for section, cls in SECTIONS.items() for key in _keys(cls)]
        for variable in self._variables:
            if variable not in known:
                close = overrides.nearest_to(variable, known)
                todo = f"did you mean {close}?" if close else f"unset it, or name it {overrides.FORM}"
                at = overrides.section_of(variable)
                self._report((at,), f"environment variable {_bare(variable)} stands for no key", todo)

    def _report_no_projects(self, gitlab: dict[str, Any]) -> None:
        if gitlab.get("projects") == gitlab.get("groups") == ():
            what = "gitlab.projects and gitlab.groups are both missing or empty"
            self._report(("gitlab",), what, 'add projects = ["group/project"] under [gitlab]')

    def _section(self, section: str, cls: type, found: object) -> dict[str, Any]:
        """Read one section; keys with a problem are left out of the answer."""
        if not isinstance(found, dict):
            what = f"{section} is {title_of(found)}, not a section"
            self._report((section,), what, f"write [{section}] above its keys")
            return {}
        known = _keys(cls)
        self._report_unknown_keys(section, known, found)
        values = {}
        for key, field in known.items():
            try:
                values[key] = self._key(section, field, found)
            except _Reported:
                continue
        return values

    def _report_unknown_keys(self, section: str, known: Collection[str], found: Iterable[str]) -> None:
        for key in found:
            if key not in known:
                close = nearest(key, known)
                todo = f'did you mean "{close}"?' if close else f"the keys of [{section}] are {', '.join(known)}"
                self._report((section, key), f"unknown key {shown(key)} in [{section}]", todo)

    def _key(self, section: str, field: Field[Any], found: dict[str, Any]) -> object:
        rule = _rule(field)
        variable = overrides.variable_for(section, field.name)
        if variable in self._variables:
            return self._override((section,), variable, rule)
        if field.name in found:
            return self._value((section, field.name), f"{section}.{field.name}", rule, found[field.name])
        if field.default is MISSING:
            what = f"{section}.{field.name} is missing"
            self._report((section,), what, f"add {field.name} = {rule.example} under [{section}]")
            raise _Reported
        if isinstance(field.default, Path):
            return self._place.folder / field.default
        return field.default

    def _override(self, at: tuple[str | int, ...], variable: str, rule: Rule) -> object:
        try:
            value = overrides.parse(self._variables[variable], rule)
        except Wrong as wrong:
            self._report(at, f"{variable} {wrong.what}", wrong.todo)
            raise _Reported from None
        return self._value(at, variable, rule, value)

    def _value(self, at: tuple[str | int, ...], name: str, rule: Rule, value: Any) -> object:  # noqa: ANN401 - TOML's
        if not rule.shape.fits(value):
            self._report(at, f"{name} is {title_of(value)}, not {rule.shape.title}", rule.shape.todo)
            raise _Reported
        if rule.item is not None:
            return self._elements(at, name, rule.item, value)
        try:
            return rule.read(value, self._place)
        except Wrong as wrong:
            self._report(at, f"{name} {wrong.what}", wrong.todo)
            raise _Reported from None

    def _elements(self, at: tuple[str | int, ...], name: str, rule: Rule, values: list[Any]) -> tuple[object, ...]:
        """Read all elements, so that each bad one is reported."""
        good = []
        for index, value in enumerate(values):
            try:
                good.append(self._value((*at, index), f"entry {index + 1} of {name}", rule, value))
            except _Reported:
                continue
        if len(good) < len(values):
            raise _Reported
        return tuple(good)


class _Reported(Exception):
    """A value is not to be had; why is among the problems."""


def _keys(cls: type) -> dict[str, Field[Any]]:
    return {field.name: field for field in fields(cls)}


def _rule(field: Field[Any]) -> Rule:
    rule = get_args(field.type)[1]
    assert isinstance(rule, Rule)  # noqa: S101 - settings.py annotates every field with one
    return rule


def _bare(name: str) -> str:
    """Make a name fit for one line."""
    return shown(name)[1:-1]
