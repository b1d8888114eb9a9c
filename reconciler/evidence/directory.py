"""The directory of an archive, in which a path is found as some tool on some machine wrote it."""

from __future__ import annotations

import re
from bisect import bisect_left
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple
from unicodedata import normalize
from urllib.parse import unquote

from reconciler.evidence.said import LONGEST_SAID

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.archive import Member

_DEEPEST = 100
"""So many of a path's last parts are looked at; a path that is deeper was not written by a tool."""
_DRIVE = re.compile(r"[A-Za-z]:")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_FILE_URL = re.compile(r"file:(?://(?:localhost(?=[/\\]))?)?", re.IGNORECASE)
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f]")
_AROUND = " \t\r\n\"'`"


def is_unsafe(path: str) -> bool:
    """Tell whether a member's own path points out of the archive, or has characters that no file needs."""
    slashed = path.replace("\\", "/")
    return (
        not path
        or slashed.startswith("/")
        or _DRIVE.match(path) is not None
        or (".." in path and ".." in slashed.split("/"))
        or _CONTROLS.search(path) is not None
    )


class _Said(NamedTuple):
    """A path in parts: without blanks, quotes and what folds."""

    absolute: bool
    ups: int
    """How many `..` it begins with."""
    parts: list[str]


class Directory:
    """The members of a job's archive, and where the project lay on the runner.

    The archive holds what lies in the project's folder, so that is where an absolute path is thought to begin. A path
    that may be one of two members is neither.
    """

    def __init__(self, members: Sequence[Member], *, project_path: str) -> None:
        """Take the members, each path once, and the project's path in GitLab, such as `qa/web-shop`."""
        self._members = members
        self._project = _parts(_composed(project_path).casefold())

    def find(self, said: str, report: str) -> Member | None:
        """Find the member that is meant; `report` is the path in the archive of the report that says so, or "".

        ===================  =========================================================================
        any                  exactly so; unsafe members are found in no other way
        relative             from the project's folder, else from the report's folder, else (tools write
                             `../../x` from their own folder) the only member that ends in it
        absolute             what follows the project's path, else its longest end that is a member
        ===================  =========================================================================
        """
        if len(said) > LONGEST_SAID:
            return None
        member = self._exact.get(said)
        if member is not None:
            return member
        path = _read(said)
        if path is None or not path.parts:
            return None
        return self._absolute(path.parts) if path.absolute else self._relative(path, report)

    @cached_property
    def _exact(self) -> dict[str, Member]:
        return {member.path: member for member in self._members if not member.path.endswith(("/", "\\"))}

    @cached_property
    def _safe(self) -> dict[str, Member | None]:
        """The safe members by folded path; None where that is the same of two."""
        safe: dict[str, Member | None] = {}
        for path, member in self._exact.items():
            if not is_unsafe(path):
                folded = _folded(path)
                safe[folded] = None if folded in safe else member
        return safe

    @cached_property
    def _backwards(self) -> list[str]:
        """All paths read from their ends, sorted: those with one end lie beside each other."""
        return sorted(f"/{path}"[::-1] for path in self._safe)

    def _relative(self, path: _Said, report: str) -> Member | None:
        rest = "/".join(path.parts)
        if not path.ups and rest in self._safe:
            return self._safe[rest]
        folder = _parts(_folded(report))[:-1] if report else []
        if folder and path.ups <= len(folder):
            beside = "/".join([*folder[: len(folder) - path.ups], *path.parts])
            if beside in self._safe:
                return self._safe[beside]
        return self._only_ending(rest)

    def _only_ending(self, rest: str) -> Member | None:
        ending = f"/{rest}"[::-1]
        place = bisect_left(self._backwards, ending)
        found = [path for path in self._backwards[place : place + 2] if path.startswith(ending)]
        return self._safe[found[0][-2::-1]] if len(found) == 1 else None

    def _absolute(self, parts: list[str]) -> Member | None:
        parts = parts[-_DEEPEST:]
        for start in (*self._after_project(parts), *range(len(parts))):
            rest = "/".join(parts[start:])
            if rest in self._safe:
                return self._safe[rest]
        return None

    def _after_project(self, parts: list[str]) -> list[int]:
        """Find where in the path the project's folder ends, first place first."""
        length = len(self._project)
        folded = [part.casefold() for part in parts]
        places = range(length, len(parts)) if length else ()
        return [place for place in places if folded[place - length : place] == self._project]


def _read(said: str) -> _Said | None:
    """Take a path apart; None when it is a URL of something else."""
    text = said.strip(_AROUND)
    url = _FILE_URL.match(text)
    if url:
        text = unquote(text[url.end() :], errors="replace")
        if _DRIVE.match(text, 1):  # file:///C:/x
            text = text.lstrip("/")
    elif _SCHEME.match(text):
        return None
    text = _composed(text).replace("\\", "/")
    drive = _DRIVE.match(text)
    text = text[drive.end() :] if drive else text
    return _fold(_parts(text), absolute=text.startswith("/") or drive is not None)


def _fold(parts: list[str], *, absolute: bool) -> _Said:
    ups = 0
    folded: list[str] = []
    for part in parts:
        if part != "..":
            folded.append(part)
        elif folded:
            folded.pop()
        else:
            ups += 1
    return _Said(absolute, ups, folded)


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in {"", "."}]


def _folded(path: str) -> str:
    """Write a member's own path plainly."""
    path = _composed(path).replace("\\", "/")
    return "/".join(_parts(path)) if "//" in path or "./" in path else path


def _composed(text: str) -> str:
    """Compose accents: macOS writes names decomposed, most others do not."""
    return text if text.isascii() else normalize("NFC", text)
