"""Attachments and their contents as Rally's creates want them and as its reads give them."""

from __future__ import annotations

import base64
import binascii
import io
import threading
from typing import TYPE_CHECKING, Self

from reconciler.errors import Incomplete, ServiceDown
from reconciler.model import FoundAttachment, ObjectID
from reconciler.rally import writes, wsapi
from reconciler.rally.schema import takes, workspace_attribute

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from reconciler.model import Content, NewAttachment
    from reconciler.rally.schema import Attribute
    from reconciler.rally.writes import Attributes

BLOCK_BYTES = 48 * 1024
"""A multiple of 3: then the base64 of the blocks is, put together, the base64 of the whole."""


def attachment_attributes(new: NewAttachment, workspace_ref: str, schema: Mapping[str, Attribute]) -> Attributes:
    """Write an Attachment's attributes; on a result it has `TestCaseResult`, not `Artifact` (KB 47770).

    Size is read-only today (OpenAPI document, 2025); older clients had to send it (pyral still does).
    """
    given: Attributes = {
        "Name": new.name,
        "ContentType": new.content_type,
        "Content": f"/attachmentcontent/{new.content}",
        "TestCaseResult": f"/testcaseresult/{new.result}",
    }
    if takes(schema, "Size"):
        given["Size"] = new.size_bytes
    return given | workspace_attribute(workspace_ref, schema)


def content_attributes(content: Content, workspace_ref: str, schema: Mapping[str, Attribute]) -> Attributes:
    """Write an AttachmentContent's attributes, all of its bytes in memory.

    Raises:
        Incomplete: the file is not what it was said to be.
    """
    with ContentBody(content, workspace_ref, schema) as body:
        return {"Content": b"".join(body.base64()).decode()} | workspace_attribute(workspace_ref, schema)


class ContentBody:
    """The create of one AttachmentContent as a request's body: of known length, and written while it is sent.

    Once closed it does not touch the file any more, whoever may still be sending it: a request that took too long is
    left behind in its thread, and the file is its owner's again.
    """

    def __init__(self, content: Content, workspace_ref: str, schema: Mapping[str, Attribute]) -> None:
        """Look at the file.

        Raises:
            Incomplete: it is closed, cannot be read, or has another size than it was said to have.
        """
        frame = writes.single("AttachmentContent", {"Content": ""} | workspace_attribute(workspace_ref, schema))
        before, _, after = frame.partition(b'""')
        self._before, self._after = before + b'"', b'"' + after
        self._content = content
        self._lock = threading.Lock()
        self._is_closed = False
        try:
            size_bytes = content.file.seek(0, io.SEEK_END)
        except (OSError, ValueError) as error:  # ValueError: it is closed
            raise _unreadable(content, str(error)) from error
        if size_bytes != content.size_bytes:
            raise _unreadable(content, f"it has {size_bytes}")

    def __enter__(self) -> Self:
        """Be closed at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the file."""
        with self._lock:
            self._is_closed = True

    def __len__(self) -> int:
        """Tell the length in bytes; requests makes Content-Length of it."""
        return len(self._before) + 4 * ((self._content.size_bytes + 2) // 3) + len(self._after)

    def __iter__(self) -> Iterator[bytes]:
        """Give the body in blocks, from its beginning.

        Raises:
            Incomplete: the file has become shorter, or cannot be read; a server that was promised more bytes than it
                got has nothing to act on.
        """
        yield self._before
        yield from self.base64()
        yield self._after

    def base64(self) -> Iterator[bytes]:
        """Give the base64 of the bytes alone, in blocks; raises as iterating does."""
        for start in range(0, self._content.size_bytes, BLOCK_BYTES):
            yield base64.b64encode(self._block(start))

    def _block(self, start: int) -> bytes:
        length = min(BLOCK_BYTES, self._content.size_bytes - start)
        with self._lock:
            if self._is_closed:
                raise _unreadable(self._content, "the upload was given up")
            try:
                self._content.file.seek(start)
                block = self._content.file.read(length)
            except (OSError, ValueError) as error:
                raise _unreadable(self._content, str(error)) from error
        if len(block) != length:
            raise _unreadable(self._content, f"only {start + len(block)} could be read")
        return block


def _unreadable(content: Content, what: str) -> Incomplete:
    return Incomplete(f"Rally: nothing was uploaded of a file of {content.size_bytes} bytes: {what}")


def read_attachment(row: wsapi.Row) -> FoundAttachment:
    """Read a row of a result's attachments."""
    size_bytes = row.get("Size")
    return FoundAttachment(
        object_id=ObjectID(wsapi.object_id(row)),
        name=str(row.get("Name") or ""),
        size_bytes=size_bytes if isinstance(size_bytes, int) else 0,
    )


def content_ref(document: object) -> int:
    """Find the ObjectID of an Attachment's content; 0 when it has none.

    Raises:
        ServiceDown, Gone, Unauthorized: by what the answer says instead.
    """
    found = document.get("Attachment") if isinstance(document, dict) else None
    if not isinstance(found, dict):
        raise wsapi.refused(wsapi.errors_of(wsapi.envelope(document)[1]) or ["an answer that is no Attachment"])
    if errors := wsapi.errors_of(found):
        raise wsapi.refused(errors)
    return wsapi.ref_id(found.get("Content"))


def read_content(document: object) -> bytes:
    """Read the bytes out of an AttachmentContent; line breaks in the base64, as MIME has them, do no harm.

    Raises:
        ServiceDown: there are none in it.
    """
    found = document.get("AttachmentContent") if isinstance(document, dict) else None
    row = found if isinstance(found, dict) else wsapi.envelope(document)[1]
    errors = wsapi.errors_of(row)
    if errors:
        raise wsapi.refused(errors)
    text = row.get("Content")
    if not isinstance(text, str):
        raise ServiceDown("Rally", "an answer to a read of an AttachmentContent without its Content")
    try:
        return base64.b64decode(text.replace("\r", "").replace("\n", ""), validate=True)
    except (binascii.Error, ValueError):
        raise ServiceDown("Rally", "the Content of an AttachmentContent is not base64") from None
