"""A stand-in object store: blobs of any size, byte ranges of them, and presigned URLs that die."""

from __future__ import annotations

import hashlib
import hmac
import re
import threading
from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import TYPE_CHECKING, Literal, Protocol
from urllib.parse import quote, urlencode
from xml.sax.saxutils import escape

from reconciler.sandbox.messages import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from reconciler.sandbox.messages import Request

Ranges = Literal["all", "no suffix", "none"]
"""What a server makes of a Range header: honours it, answers 400 to `bytes=-N`, or ignores it and sends everything."""

PIECE_BYTES = 256 * 1024
_ONE_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_SECRETS = ("authorization", "private-token", "job-token", "deploy-token", "cookie")


# --- blobs and ranges of them ----------------------------------------------------------------------------------------


class Blob(Protocol):
    """Unchanging bytes that need not be in memory."""

    @property
    def size(self) -> int:
        """Count the bytes."""

    def pieces(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes from `start` up to `stop`, both within the blob, in pieces of moderate size."""


class Segments:
    """A blob made of byte strings one after another; the same string may stand in it any number of times."""

    def __init__(self, segments: Sequence[bytes]) -> None:
        self._segments = [segment for segment in segments if segment]
        self._starts = [0, *accumulate(map(len, self._segments))]

    @property
    def size(self) -> int:
        """Count the bytes."""
        return self._starts[-1]

    def pieces(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes from `start` up to `stop`."""
        index = bisect_right(self._starts, start) - 1
        while start < stop:
            begin = start - self._starts[index]
            piece = self._segments[index][begin : begin + min(PIECE_BYTES, stop - start)]
            yield piece
            start += len(piece)
            if start >= self._starts[index + 1]:
                index += 1


def whole(blob: Blob) -> bytes:
    """Read a blob of moderate size at once."""
    return b"".join(blob.pieces(0, blob.size))


def etag_of(blob: Blob) -> str:
    """Make a strong ETag from the size and the last 64 KiB: a zip's directory holds the checksums of all the rest."""
    digest = hashlib.sha256(str(blob.size).encode())
    for piece in blob.pieces(max(0, blob.size - 65536), blob.size):
        digest.update(piece)
    return f'"{digest.hexdigest()}"'


def send_blob(blob: Blob, request: Request, headers: Mapping[str, str], ranges: Ranges) -> Response:
    """Answer with a blob or the range of it that was asked for, minding If-None-Match and If-Range (RFC 9110, 13-14).

    ============================  =========================================================
    Range                         answer
    ============================  =========================================================
    none, or `ranges` is "none"   200, everything
    If-Range that does not match  200, everything (a weak ETag never matches, RFC 9110 13.1.5)
    not understood, or several    200, everything, as S3 does
    `bytes=-N`, "no suffix"       400 (facts: measured on gitlab.com for job logs)
    nothing of it is there        416 with the size
    else                          206
    ============================  =========================================================
    """
    etag = headers.get("ETag", "")
    if etag and etag in re.split(r"\s*,\s*", request.header("if-none-match")):
        return Response(304, headers=dict(headers))
    sent = dict(headers) if ranges == "none" else {**headers, "Accept-Ranges": "bytes"}
    match = _ONE_RANGE.fullmatch(request.header("range").strip())
    condition = request.header("if-range")
    stale = bool(condition) and (condition != etag or etag.startswith("W/"))
    if ranges == "none" or match is None or stale or match[0] == "bytes=-":
        return _part(blob, (0, blob.size), Response(200, headers=sent))
    if not match[1] and ranges == "no suffix":
        return Response.text("suffix ranges are not supported\n", 400)
    start, stop = _bounds(match[1], match[2], blob.size)
    if start >= stop:
        return Response(416, headers={**sent, "Content-Range": f"bytes */{blob.size}"})
    sent["Content-Range"] = f"bytes {start}-{stop - 1}/{blob.size}"
    return _part(blob, (start, stop), Response(206, headers=sent))


def _bounds(first: str, last: str, size: int) -> tuple[int, int]:
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1 if last else size)


def _part(blob: Blob, bounds: tuple[int, int], response: Response) -> Response:
    start, stop = bounds
    response.headers.setdefault("Content-Type", "application/octet-stream")
    response.headers["Content-Length"] = str(stop - start)
    response.body = blob.pieces(start, stop)
    return response


# --- the store -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Leak:
    """A secret of another server that a client sent here."""

    header: str
    path: str


class ObjectStoreApp:
    """Objects behind presigned URLs in the manner of Amazon S3's signature version 4, query form.

    `url` must be set to where it is served before anything is signed; `signs_head` tells whether GitLab is given a
    URL signed for HEAD when it was asked with HEAD (S3 only; on others HEAD ends in 403: facts, section 4).
    """

    name = "object store"

    def __init__(self, clock: Callable[[], datetime], *, lifetime_s: int = 600, ranges: Ranges = "all") -> None:
        self.clock = clock
        self.lifetime_s = lifetime_s
        self.ranges = ranges
        self.signs_head = False
        self.url = ""
        self.received: list[Mapping[str, str]] = []
        """The headers of every request; names are lower case."""
        self.leaks: list[Leak] = []
        self._objects: dict[str, Blob] = {}
        self._secret = b"only this stand-in signs with it"
        self._lock = threading.Lock()

    def put(self, key: str, blob: Blob) -> None:
        """Store an object; an older one of this key is replaced."""
        with self._lock:
            self._objects[key] = blob

    def delete(self, key: str) -> None:
        """Remove an object; URLs to it are then 404."""
        with self._lock:
            self._objects.pop(key, None)

    def presign(self, key: str, *, method: str = "GET", filename: str = "") -> str:
        """Make a URL that lets anybody do `method` with an object for `lifetime_s` seconds."""
        if not self.url:
            raise ValueError("the object store is not served yet: set its url")
        fields = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": "AKIASANDBOX/us-east-1/s3/aws4_request",
            "X-Amz-Date": self.clock().astimezone(UTC).strftime("%Y%m%dT%H%M%SZ"),
            "X-Amz-Expires": str(self.lifetime_s),
            "X-Amz-SignedHeaders": "host",
        }
        if filename:
            fields["response-content-disposition"] = f'attachment; filename="{filename}"'
        fields["X-Amz-Signature"] = self._sign(method, key, fields)
        return f"{self.url}/{quote(key)}?{urlencode(fields)}"

    def __call__(self, request: Request) -> Response:
        """Serve one presigned URL."""
        self._note(request)
        key = request.path.removeprefix("/")
        fields = {name: values[-1] for name, values in request.query.items()}
        refusal = self._refusal(request, key, fields)
        if refusal is not None:
            return refusal
        blob = self._objects.get(key)
        if blob is None:
            return _error(404, "NoSuchKey", "The specified key does not exist.")
        headers = {"ETag": etag_of(blob), "Content-Type": "application/octet-stream"}
        if "response-content-disposition" in fields:
            headers["Content-Disposition"] = fields["response-content-disposition"]
        return send_blob(blob, request, headers, self.ranges)

    def _refusal(self, request: Request, key: str, fields: dict[str, str]) -> Response | None:
        """Check method, authentication, signature and lifetime; statuses and codes are those of Amazon S3."""
        if request.method not in ("GET", "HEAD"):
            return _error(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")
        if "authorization" in request.headers:
            return _error(400, "InvalidArgument", "Only one auth mechanism allowed")
        signature = fields.pop("X-Amz-Signature", "")
        if not hmac.compare_digest(signature, self._sign(request.method, key, fields)):
            return _error(403, "SignatureDoesNotMatch", "The request signature does not match the one calculated.")
        if self.clock() >= _expiry(fields):
            return _error(403, "AccessDenied", "Request has expired")
        return None

    def _sign(self, method: str, key: str, fields: Mapping[str, str]) -> str:
        text = "\n".join([method, key, *(f"{name}={value}" for name, value in sorted(fields.items()))])
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()

    def _note(self, request: Request) -> None:
        with self._lock:
            self.received.append(dict(request.headers))
            self.leaks.extend(Leak(name, request.path) for name in _SECRETS if name in request.headers)


def _expiry(fields: Mapping[str, str]) -> datetime:
    signed = datetime.strptime(fields["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return signed + timedelta(seconds=int(fields["X-Amz-Expires"]))


def _error(status: int, code: str, message: str) -> Response:
    xml = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{escape(message)}</Message><RequestId>SANDBOX</RequestId></Error>"
    )
    return Response.text(xml, status, "application/xml")
