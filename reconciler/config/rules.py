"""What each key of the config may hold."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING

from reconciler.config.rule import Place, Rule, Shape, Wrong, nearest, shown

if TYPE_CHECKING:
    from pathlib import Path

_FAR = 10**9
"""Some thirty years in seconds: far enough for everybody, near enough for a datetime."""

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Schedule:
    """Days and a time of day."""

    days: tuple[str, ...]
    """Of mon, tue, wed, thu, fri, sat, sun: names, since APScheduler counts 0 = Monday where cron counts 0 = Sunday."""
    hour: int
    minute: int


# --- numbers, words, lists -------------------------------------------------------------------------------------------


def flag() -> Rule:
    """Take true or false."""
    return Rule(Shape.FLAG, lambda value, _: value)


def whole(least: int, most: int = _FAR, why: str = "") -> Rule:
    """Take a whole number within limits."""
    return Rule(Shape.WHOLE, lambda value, _: _within(value, least, most, why))


def seconds(*, above_zero: bool = False) -> Rule:
    """Take any number of seconds that is not negative."""

    def read(value: float, _: Place) -> float:
        if not math.isfinite(value):
            raise Wrong(f"is {value}", "write a finite number")
        if above_zero and value == 0:
            raise Wrong("is 0", "write a number above 0")
        return _within(value, 0, _FAR, "")

    return Rule(Shape.NUMBER, read)


def _within(value: float, least: int, most: int, why: str) -> float:
    if value < least:
        raise Wrong(f"is {value}", f"write at least {least}")
    if value > most:
        raise Wrong(f"is more than {most}", f"write at most {most}{why and f' ({why})'}")
    return value


def one_of(*words: str) -> Rule:
    """Take one of a few words, in exactly this spelling."""

    def read(word: str, _: Place) -> str:
        if word not in words:
            close = nearest(word, words)
            todo = f'did you mean "{close}"?' if close else f"write one of {', '.join(words)}"
            raise Wrong(f"is {shown(word)}, which is none of its words", todo)
        return word

    return Rule(Shape.TEXT, read)


def each(item: Rule) -> Rule:
    """Take a list, empty ones included, whose elements all follow one rule."""
    return Rule(Shape.LIST, lambda value, _: value, item=item)


def optional(rule: Rule) -> Rule:
    """Take "" too, and keep it."""
    return Rule(rule.shape, lambda value, place: value and rule.read(value, place))


# --- texts -----------------------------------------------------------------------------------------------------------


def text(example: str = "") -> Rule:
    """Take a text on one line that is not empty."""
    return Rule(Shape.TEXT, lambda value, _: _line(value), example=example)


def _line(value: str) -> str:
    if not value.strip():
        raise Wrong("is empty", "write something between the quotes")
    if value != value.strip():
        raise Wrong(f"is {shown(value)}, with a blank at an end", "take the blank away")
    if not value.isprintable():
        raise Wrong(f"is {shown(value)}, with a character that cannot be printed", "take that character away")
    return value


def verdict(other: str = "", *, never: str = "") -> Rule:
    """Take the name of a Rally verdict, or one word of our own; Rally's list is asked for before the first send.

    `never` is a word of ours that does not go with this key.
    """

    def read(value: str, _: Place) -> str:
        _queryable(value)
        if never and value.lower() == never:
            raise Wrong(f"is {shown(value)}", "name a verdict: a test that passed in the end always has one")
        if value != other and value.lower() == other:
            raise Wrong(f"is {shown(value)}", f'did you mean "{other}"?')
        return value

    return Rule(Shape.TEXT, read)


def _queryable(value: str) -> str:
    """Refuse what no Rally query may hold: nobody is sure how quotes and backslashes are escaped there."""
    _line(value)
    if re.search(r"[\"'\\]", value):
        raise Wrong(
            f"is {shown(value)}, with a quote or backslash in it", "take it away, Rally could not be asked for it"
        )
    return value


def template(*known: str, needs: str = "", most: int) -> Rule:
    """Take a text with placeholders that goes into Rally as a name of at most `most` characters."""

    def read(value: str, _: Place) -> str:
        _queryable(value)
        if len(value) > most:
            raise Wrong(f"has {len(value)} characters", f"write at most {most}")
        _raise_if_unknown_placeholder(value, known)
        if needs and needs not in value:
            raise Wrong(f"is {shown(value)}, without {needs}", f"put {needs} into it, or all pipelines share one name")
        return value

    return Rule(Shape.TEXT, read)


def _raise_if_unknown_placeholder(value: str, known: tuple[str, ...]) -> None:
    for placeholder in re.findall(r"\{[^{}]*\}", value):
        if placeholder not in known:
            close = nearest(placeholder, known)
            todo = f"did you mean {close}?" if close else f"write {', '.join(known[:-1])} or {known[-1]}"
            raise Wrong(f"has the unknown placeholder {shown(placeholder)}", todo)
    if re.search(r"[{}]", re.sub(r"\{[^{}]*\}", "", value)):
        raise Wrong(f"is {shown(value)}, with a brace that has no partner", f"write placeholders like {known[0]}")


def identifier() -> Rule:
    """Take the name of a Rally attribute."""

    def read(value: str, _: Place) -> str:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
            raise Wrong(f"is {shown(value)}, which is no name of a Rally field", 'write it like "c_AutomatedTest"')
        return value

    return Rule(Shape.TEXT, read)


def regular_expression(group: str) -> Rule:
    """Take a regular expression with one named group."""

    def read(value: str, _: Place) -> str:
        try:
            groups = re.compile(value).groupindex
        except (re.error, OverflowError, RecursionError) as error:
            raise Wrong(f"is no regular expression ({error})", f'write it like "Sprint (?P<{group}>[0-9]+)"') from None
        if group not in groups:
            raise Wrong(f"has no group {group}", f"put (?P<{group}>...) round the part that is wanted")
        return value

    return Rule(Shape.TEXT, read)


# --- places ----------------------------------------------------------------------------------------------------------


def file() -> Rule:
    """Take a path, relative to the config's folder; the file need not be there yet."""

    def read(value: str, place: Place) -> Path:
        path = place.folder / _line(value)
        if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where the folder above may not be entered
            raise Wrong("names a folder", "name a file in it")
        return path

    return Rule(Shape.TEXT, read)


def optional_file() -> Rule:
    """Take a path as `file` does, or "" for none."""
    rule = file()
    return Rule(Shape.TEXT, lambda value, place: rule.read(value, place) if value else None)


def pattern(example: str) -> Rule:
    """Take a pattern of paths, or of branches and tags, which are written alike."""

    def read(value: str, _: Place) -> str:
        _line(value)
        if "\\" in value:
            raise Wrong(f"is {shown(value)}, with a backslash in it", "write / between folders")
        if value.startswith(("/", "./", "../")) or "/../" in value:
            raise Wrong(f"is {shown(value)}, which can match nothing", f'write it from the top, like "{example}"')
        return value

    return Rule(Shape.TEXT, read)


def project() -> Rule:
    """Take a GitLab project: its path with all groups, or its numeric id."""

    def read(value: str | int, _: Place) -> str | int:
        if isinstance(value, str) and "/" not in _gitlab_path(value):
            raise Wrong(f"is {shown(value)}, without its group", 'write it like "group/project"')
        return _gitlab_id(value)

    return Rule(Shape.NAME_OR_ID, read)


def group() -> Rule:
    """Take a GitLab group: its path, or its numeric id."""

    def read(value: str | int, _: Place) -> str | int:
        if isinstance(value, str):
            _gitlab_path(value)
        return _gitlab_id(value)

    return Rule(Shape.NAME_OR_ID, read)


def _gitlab_path(value: str) -> str:
    _line(value)
    if value.isdecimal():
        raise Wrong(f"is {shown(value)}, a number in quotes", f"write {value} without quotes")
    if "://" in value:
        raise Wrong("is an address", "write only the path, what follows the host name")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)*", value):
        raise Wrong(f"is {shown(value)}, which is no path in GitLab", 'write it like "group/project"')
    return value


def _gitlab_id(value: str | int) -> str | int:
    if isinstance(value, int) and value < 1:
        raise Wrong(f"is {value}", "write the id that GitLab shows on the project's page")
    return value


# --- times -----------------------------------------------------------------------------------------------------------


def schedule() -> Rule:
    """Take days by name and a time of day, like "mon 06:00" or "mon,thu 06:00"."""

    def read(value: str, _: Place) -> Schedule:
        match = re.fullmatch(r"([A-Za-z]+(?:,[A-Za-z]+)*) +([0-9]{1,2}):([0-9]{2})", value)
        if match is None:
            raise Wrong(f"is {shown(value)}, not days and a time", 'write it like "mon 06:00" or "mon,thu 06:00"')
        hour, minute = int(match[2]), int(match[3])
        if hour > 23 or minute > 59:
            raise Wrong(f"has the time {match[2]}:{match[3]}", "write 00:00 to 23:59")
        return Schedule(tuple(map(_day, match[1].split(","))), hour, minute)

    return Rule(Shape.TEXT, read)


def _day(word: str) -> str:
    if word not in _DAYS:
        close = nearest(word[:3], _DAYS)
        todo = f'did you mean "{close}"?' if close else f"write one of {', '.join(_DAYS)}"
        raise Wrong(f"has the unknown day {shown(word)}", todo)
    return word


def time_zone() -> Rule:
    """Take a name of the time zone database; UTC works on machines that have none."""

    def read(value: str, _: Place) -> tzinfo:
        if value == "UTC":
            return UTC
        import zoneinfo  # noqa: PLC0415 - most configs keep UTC and start faster without it

        try:
            return zoneinfo.ZoneInfo(value)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            close = nearest(value, zoneinfo.available_timezones())
            todo = f'did you mean "{close}"?' if close else 'write a name like "UTC" or "Europe/Berlin"'
            raise Wrong(f"is {shown(value)}, which is no time zone of this machine", todo) from None

    return Rule(Shape.TEXT, read)
