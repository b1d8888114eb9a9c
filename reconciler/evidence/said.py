"""What a test says of files: markers in its output, properties, data written into the report itself."""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote, unquote_to_bytes

from reconciler.evidence.types import extension_of, file_name, fits_type
from reconciler.junit.trim import CUT_NOTE, MARKER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.model import TestRun

MOST_MENTIONS = 100
MOST_METRICS = 20
INLINE_BYTES = 5_000_000
"""The most that is taken out of one `data:` URI."""
LONGEST_SAID = 4_096
"""Of a path or URL; what is longer names no file."""
_LONGEST_METRIC = 100
_LONGEST_MEDIA_TYPE = 60

_BEGIN = "[[ATTACHMENT|"
_END = "]]"
_CUT_MARKER = re.compile(r"\[\[ATTACHMENT\|\s*(data:[^\[\]|]*)" + CUT_NOTE.pattern, re.IGNORECASE)
_GONE = "\x00"
"""Stands for a cut within a value: XML has no such character."""

_ATTACHMENT = re.compile(r"(?:[a-z0-9]+[_.: -])?attachment", re.IGNORECASE)
_METRIC = re.compile(r"(?:perf|performance|metrics?)(?![^\s._:-])", re.IGNORECASE)
_URL = re.compile(r"https?://", re.IGNORECASE)
_EXTENSION = re.compile(r"\.[a-z][a-z0-9]{0,9}$", re.IGNORECASE)
_RATE = re.compile(r"[-+]?[0-9][0-9.,]*(?:e[-+]?[0-9]+)? ?[a-zµ%]{0,20}/ ?[0-9]{0,9} ?[a-z]{0,20}", re.IGNORECASE)

_BASE64 = re.compile(r"data:[^,]*;\s*base64\s*,", re.IGNORECASE)
_BASE64_LINE = re.compile(r"[A-Za-z0-9+/_=-]+")
_BLANKS = {ord(blank): None for blank in " \t\r\n"}
_URL_SAFE = str.maketrans("-_", "+/")


@dataclass(frozen=True, slots=True)
class Mention:
    """What one test says of one file."""

    kind: Literal["path", "url", "data"]
    said: str
    """The path or URL as written; of a `data:` URI a short form for people: `data:image/png`."""
    metric: bool = False
    """It is from a property of performance metrics: linked, never uploaded."""
    name: str = ""
    """Of inline data: the file name to use."""
    data: bytes = b""
    """Of inline data: decoded."""
    problem: str = ""
    """Why inline data cannot be had; `data` is empty then."""


def mentions(run: TestRun) -> tuple[Mention, ...]:
    """Find the files that the test names, each once, in order, at most `MOST_MENTIONS`.

    =============================  ===================================================================
    `[[ATTACHMENT|path]]`          in system-out and system-err (GitLab's and Jenkins' marker)
    property `attachment…`         also `testrail_attachment` and the like; one file a line
    property `perf`, `metric(s)`…  when its value is a path or a URL: see `metrics` for the others
    =============================  ===================================================================
    """
    if not run.properties and _BEGIN not in run.system_out and _BEGIN not in run.system_err:
        return ()
    found: dict[Mention, bool] = {}
    for mention in _all(run):
        same = replace(mention, metric=False) if mention.metric else mention
        if same not in found and len(found) == MOST_MENTIONS:
            break
        found[same] = mention.metric or found.get(same, False)
    return tuple(replace(mention, metric=True) if metric else mention for mention, metric in found.items())


def metrics(run: TestRun) -> tuple[tuple[str, str], ...]:
    """Find the performance metrics that are plain values, a number or a few words: (name, value)."""
    if not run.properties:
        return ()
    found = (
        (name[:_LONGEST_METRIC], text)
        for name, value in run.properties
        if _METRIC.match(name) and not _is_file(text := value.strip())
        if text and len(text) <= _LONGEST_METRIC and "\n" not in text
    )
    return tuple(pair for _, pair in zip(range(MOST_METRICS), found, strict=False))


def _all(run: TestRun) -> Iterator[Mention]:
    for text in (run.system_out, run.system_err):
        if _BEGIN in text:
            yield from _marked(text)
    for name, value in run.properties:
        if _ATTACHMENT.match(name):
            for said in _files(value):
                yield from _mention(said, name, metric=False)
        elif _METRIC.match(name) and _is_file(value.strip()):
            for said in _files(value):
                yield from _mention(said, name, metric=True)


def _marked(text: str) -> Iterator[Mention]:
    for marker in dict.fromkeys(match[0] for match in MARKER.finditer(text)):
        yield from _mention(marker[len(_BEGIN) : -len(_END)].strip(), "", metric=False)
    for cut in _CUT_MARKER.finditer(text):
        yield _inline(cut[1] + _GONE, "", metric=False)


def _is_file(value: str) -> bool:
    """Tell whether a metric's value names a file: a URL, or a path rather than a number such as `12.5 MB/s`."""
    if _URL.match(value):
        return True
    if "/" in value or "\\" in value:
        return not _RATE.fullmatch(value)
    return _EXTENSION.search(value) is not None


def _files(value: str) -> Iterator[str]:
    """Read a property's lines, one file each; lines of nothing but base64 go on with the data before them."""
    data: list[str] = []
    for line in CUT_NOTE.sub(_GONE, value).replace("\r", "\n").split("\n"):
        text = line.strip()
        if not text or (data and _BASE64_LINE.fullmatch(text.replace(_GONE, ""))):
            data.append(text)
            continue
        yield from _joined(data)
        data = [text] if _BASE64.match(text) else []
        if not data:
            yield text
    yield from _joined(data)


def _joined(lines: list[str]) -> Iterator[str]:
    if any(lines):
        yield "".join(lines)


def _is_data(text: str) -> bool:
    return text[:5].lower() == "data:"


def _mention(said: str, property_name: str, *, metric: bool) -> Iterator[Mention]:
    if _is_data(said):
        yield _inline(said, property_name, metric=metric)
    elif said:
        short = said if len(said) <= LONGEST_SAID else f"{said[:LONGEST_SAID]}…"
        yield Mention("url" if _URL.match(said) else "path", short.replace(_GONE, "…"), metric)


# --- data: URIs (RFC 2397) -------------------------------------------------------------------------------------------


def _inline(uri: str, property_name: str, *, metric: bool) -> Mention:
    head, _, body = uri[5:].partition(",")
    media_type, *parameters = (part.strip() for part in head.replace(_GONE, "").split(";"))
    media_type = media_type.lower()[:_LONGEST_MEDIA_TYPE] or "text/plain"
    data, problem = _decoded(uri, body, base64=any(each.lower() == "base64" for each in parameters))
    return Mention(
        kind="data",
        said=f"data:{media_type}",
        metric=metric,
        name=_name(property_name, parameters, media_type),
        data=data,
        problem=problem,
    )


def _name(property_name: str, parameters: list[str], media_type: str) -> str:
    """Take the name that the URI gives itself (`;name=…`), else the property's, with the extension of its type."""
    given = (unquote(each.partition("=")[2]) for each in parameters if each.lower().startswith(("name=", "filename=")))
    name = next(filter(None, given), "") or property_name or "attachment"
    return file_name(name if fits_type(name, media_type) else f"{name}.{extension_of(media_type)}")


def _decoded(uri: str, body: str, *, base64: bool) -> tuple[bytes, str]:
    """Give the bytes, or why there are none."""
    if _GONE in uri:
        return b"", "the report is so long that this was cut"
    if "," not in uri:
        return b"", "the data: URI has no data"
    if len(body) > 3 * INLINE_BYTES + 100:  # percent-encoding makes three characters of a byte
        return b"", f"it is larger than {INLINE_BYTES // 1_000_000} MB"
    try:
        data = _from_base64(body) if base64 else unquote_to_bytes(body.encode(errors="replace"))
    except ValueError:
        return b"", "it is not base64"
    return (data, "") if len(data) <= INLINE_BYTES else (b"", f"it is larger than {INLINE_BYTES // 1_000_000} MB")


def _from_base64(body: str) -> bytes:
    """Decode either alphabet, blanks, percent-encoding and missing padding allowed, and nothing else."""
    text = (unquote(body) if "%" in body else body).translate(_BLANKS).translate(_URL_SAFE).rstrip("=")
    return binascii.a2b_base64(text.encode("ascii") + b"=" * (-len(text) % 4), strict_mode=True)
