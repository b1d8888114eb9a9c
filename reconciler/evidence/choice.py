"""What becomes of each file on a result: uploaded, linked, or missing with the reason."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote, unquote

from reconciler.evidence.types import extension_of, file_name, shown_path
from reconciler.patterns import matches

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

MAX_UPLOADS = 20
"""Of one result."""
RALLY_MAX_BYTES = 50_000_000
"""What Rally takes as one attachment (pyral 1.6, `MAX_ATTACHMENT_SIZE`)."""

_WEB = re.compile(r"https?://[^/\s]", re.IGNORECASE)
_DATA = re.compile(r"data:([^;,]*)", re.IGNORECASE)
_AS_IN_URLS = ":/?#[]@!$&'()*+,;=%~"
"""Characters of a URL that are left as they are (RFC 3986); quote() itself leaves letters, digits and `-._~`."""


@dataclass(frozen=True, slots=True)
class File:
    """One file that a test has, as the ledger tells it."""

    file_id: int
    kind: Literal["member", "inline", "url", "missing"]
    path: str
    """In the archive; the URL; when missing as it was said; when inline its name."""
    size_bytes: int | None
    crc: int | None
    note: str
    """What is wrong with it: why it is missing, or that the archive has two files of this name; "" = nothing."""
    metric: bool
    job_name: str
    job_url: str
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Output:
    """What one test printed, as the ledger keeps it; equal texts have one id."""

    output_id: int
    size_bytes: int
    crc: int
    job_name: str
    job_url: str


@dataclass(frozen=True, slots=True)
class TestEvidence:
    """All that one contributing test has."""

    output: Output | None
    files: tuple[File, ...]


@dataclass(frozen=True, slots=True)
class Rules:
    """The operator's word, from the config's [attachments]."""

    upload_max_bytes: int
    link_only: Sequence[str]


@dataclass(frozen=True, slots=True)
class Wanted:
    """One thing that a result shall show, and how."""

    name: str
    """Its base name, as it can be shown: never empty, at most 255 characters."""
    fate: Literal["upload", "link", "missing"]
    size_bytes: int | None
    crc: int | None
    file_id: int | None
    output_id: int | None
    url: str
    """Where a person finds it in GitLab (of an output: its job), of a URL itself; "" = nowhere."""
    reason: str
    """Why it is not uploaded; "" for an upload, and for a link that was never anything else."""
    note: str
    job_name: str
    expires_at: datetime | None


def wanted(tests: Sequence[TestEvidence], rules: Rules) -> list[Wanted]:
    """Decide for everything that a result's tests have, worst test first, of each its output and then its files.

    =============================  ========================  =============================
    file                           in the archive            inline, in the report itself
    =============================  ========================  =============================
    of performance metrics         link                      missing
    matches `link_only`            link                      (does not apply)
    empty (Rally wants content)    link                      missing
    too large for Rally or config  link                      missing
    name, size, CRC as an upload   is that upload            is that upload
    after `MAX_UPLOADS` uploads    link                      missing
    other                          upload                    upload
    =============================  ========================  =============================

    A URL is a link, what is missing stays so. Each file and each output counts once, and so does each link.
    """
    choice = _Choice(rules)
    for test in tests:
        if test.output is not None:
            choice.take_output(test.output)
        for file in test.files:
            choice.take_file(file)
    return choice.wanted


class _Choice:
    """What is wanted so far."""

    def __init__(self, rules: Rules) -> None:
        self.wanted: list[Wanted] = []
        self._rules = rules
        self._outputs: set[int] = set()
        self._files: set[int] = set()
        self._uploads: set[tuple[str, int | None, int | None]] = set()
        self._links: set[str] = set()

    def take_output(self, output: Output) -> None:
        """Name the output by its place among the outputs: it is ours, so the operator's patterns do not apply."""
        if output.output_id in self._outputs:
            return
        self._outputs.add(output.output_id)
        place = len(self._outputs)
        one = Wanted(
            name="test_output.log" if place == 1 else f"test_output-{place}.log",
            fate="upload",
            size_bytes=output.size_bytes,
            crc=output.crc,
            file_id=None,
            output_id=output.output_id,
            url=output.job_url,
            reason=self._objection(output.size_bytes, output.crc),
            note="",
            job_name=output.job_name,
            expires_at=None,
        )
        self._upload_or("link", one)

    def take_file(self, file: File) -> None:
        """Decide for one file, once."""
        if file.file_id in self._files:
            return
        self._files.add(file.file_id)
        match file.kind:
            case "member":
                self._upload_or(
                    "link", _of(file, url=_in_gitlab(file), reason=self._reason(file, self._rules.link_only))
                )
            case "inline":
                self._upload_or("missing", _of(file, url="", reason=self._reason(file, ())))
            case "url":
                self._add(_of_url(file))
            case "missing":
                reason = file.note or "it is not in the job's artifacts"
                found = _of(file, url="", reason=reason)
                # Which of several files of one name it was, only the path as it was said can tell.
                name = found.name if _DATA.match(file.path) else shown_path(file.path)
                self._add(replace(found, name=name, fate="missing", note=""))

    def _reason(self, file: File, link_only: Sequence[str]) -> str:
        """Say why the file is not to be uploaded; "" when it is."""
        if file.metric:
            return "performance metrics"
        return "link_only" if matches(file.path, link_only) else self._objection(file.size_bytes, file.crc)

    def _objection(self, size_bytes: int | None, crc: int | None) -> str:
        if size_bytes is None or crc is None:
            return "its size is not known"
        if size_bytes == 0:
            return "empty file"
        if size_bytes > RALLY_MAX_BYTES:
            return f"Rally takes no file of more than {RALLY_MAX_BYTES // 1_000_000} MB"
        return "larger than attachments.upload_max_bytes" if size_bytes > self._rules.upload_max_bytes else ""

    def _upload_or(self, otherwise: Literal["link", "missing"], one: Wanted) -> None:
        """Upload what has no reason against it, as long as there is room."""
        content = (one.name, one.size_bytes, one.crc)
        if one.reason:
            self._add(replace(one, fate=otherwise))
        elif content in self._uploads:
            return
        elif len(self._uploads) < MAX_UPLOADS:
            self._uploads.add(content)
            self._add(one)
        else:
            self._add(replace(one, fate=otherwise, reason=f"more than {MAX_UPLOADS} files"))

    def _add(self, one: Wanted) -> None:
        """Take each link to a file once; the outputs of one job all have its page."""
        if one.fate == "link" and one.url and one.output_id is None:
            if one.url in self._links:
                return
            self._links.add(one.url)
        self.wanted.append(one)


def _of(file: File, *, url: str, reason: str) -> Wanted:
    data = _DATA.match(file.path)
    path = f"attachment.{extension_of(data[1].lower())}" if data else file.path
    return Wanted(
        name=file_name(path),
        fate="upload",
        size_bytes=file.size_bytes,
        crc=file.crc,
        file_id=file.file_id,
        output_id=None,
        url=url,
        reason=reason,
        note=file.note,
        job_name=file.job_name,
        expires_at=file.expires_at,
    )


def _of_url(file: File) -> Wanted:
    """Link an address of the web by the last part of its path, else by its host; it does not expire with the job."""
    if _WEB.match(file.path) is None:
        return replace(_of(file, url="", reason="it is no address of the web"), fate="missing", expires_at=None)
    url = quote(file.path, safe=_AS_IN_URLS, errors="replace")
    plain = re.split(r"[?#]", file.path, maxsplit=1)[0]
    one = _of(file, url=url, reason="performance metrics" if file.metric else "")
    return replace(one, fate="link", name=file_name(unquote(plain, errors="replace")), expires_at=None)


def _in_gitlab(file: File) -> str:
    """Address the file in the job's artifacts browser (facts: `/artifacts/file/PATH`, each part percent-encoded)."""
    if not file.job_url:
        return ""
    parts = (quote(part, safe="", errors="replace") for part in file.path.split("/"))
    return f"{file.job_url}/artifacts/file/{'/'.join(parts)}"
