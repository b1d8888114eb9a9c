"""How contents and attachments are sent and noted."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from loguru import logger

from reconciler.dispatch import BATCH_BYTES, GONE, Letter, Sent
from reconciler.model import Content, NewAttachment, ObjectID

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from reconciler.ledger.attachments import Holder, Row
    from reconciler.ledger.ledger import Ledger
    from reconciler.model import Rejected
    from reconciler.ports import Rally

_ROUND_A_CONTENT = 200
_ROUND_AN_ATTACHMENT = 500


@dataclass(frozen=True, slots=True)
class Upload:
    """One attachment to come on one result."""

    holder: Holder
    row: Row
    reused: bool = True
    """Its content is from an earlier pass."""

    @property
    def lane(self) -> int:
        """Its result."""
        return self.holder.result

    @property
    def rank(self) -> tuple[datetime, int]:
        """Those of older results first, in the order in which they are wanted."""
        return self.holder.date, self.row.attachment_id

    @property
    def title(self) -> str:
        """Result and name."""
        return f"{self.holder.formatted_id} {self.row.name} ({self.row.attachment_id})"

    def with_content(self, content: ObjectID, content_type: str) -> Upload:
        """Note the content that was made."""
        return Upload(self.holder, replace(self.row, content=content, content_type=content_type), reused=False)


@dataclass(frozen=True, slots=True)
class Fetched:
    """One attachment whose bytes are at hand."""

    upload: Upload
    content: Content
    content_type: str

    @property
    def lane(self) -> int:
        """A lane of its own: contents have nothing in common."""
        return self.upload.row.attachment_id

    @property
    def rank(self) -> tuple[datetime, int]:
        """As the attachment's."""
        return self.upload.rank

    @property
    def title(self) -> str:
        """As the attachment's."""
        return self.upload.title


@dataclass(slots=True)
class ContentDesk:
    """AttachmentContents: they are no intents, for one that nothing refers to is invisible and harmless."""

    rally: Rally
    ledger: Ledger
    made: dict[int, tuple[ObjectID, str]] = field(default_factory=dict)
    """By attachment: the content that came to be, and its type."""
    what: str = "contents"

    def compose(self, items: Sequence[Fetched]) -> Iterator[Content]:
        """Give the bytes."""
        return (item.content for item in items)

    def size(self, payload: Content) -> int:
        """Base64 makes four bytes of three."""
        return payload.size_bytes * 4 // 3 + _ROUND_A_CONTENT

    def objection(self, payload: Content) -> str:  # noqa: ARG002 - a desk's signature
        """Object to none."""
        return ""

    def intend(self, composed: Sequence[tuple[Fetched, Content]], now: datetime) -> list[int]:  # noqa: ARG002 - a desk's signature
        """Note that they are about to be sent, so that an orphan can be counted."""
        rows = [item.lane for item, _ in composed]
        self.ledger.attachments.begin(rows)
        return rows

    def create(self, payloads: Sequence[Content], *, batch: bool) -> list[ObjectID | Rejected]:
        """Send them; what is too large for a batch is streamed."""
        if not batch or (len(payloads) == 1 and self.size(payloads[0]) > BATCH_BYTES):
            return [self.rally.add_content(payloads[0])]
        return self.rally.add_contents(payloads)

    def confirm(self, created: Sequence[tuple[Letter[Fetched, Content], ObjectID]], now: datetime) -> None:  # noqa: ARG002 - a desk's signature
        """Note what is in Rally now."""
        self.made.update((letter.row, (content, letter.item.content_type)) for letter, content in created)
        self.ledger.attachments.content((letter.row, content, letter.item.content_type) for letter, content in created)

    def refuse(self, refused: Sequence[tuple[Letter[Fetched, Content], str]], now: datetime) -> None:
        """Note that Rally will not have these files."""
        for letter, reason in refused:
            logger.warning("Rally refuses a file: it stays a link", file=letter.item.title, reason=reason)
        self.ledger.attachments.refuse([(letter.row, reason) for letter, reason in refused], now)

    def withdraw(self, letters: Sequence[Letter[Fetched, Content]], why: str, now: datetime) -> None:  # noqa: ARG002 - a desk's signature
        """Note what was not sent."""
        self.ledger.attachments.unsent([letter.row for letter in letters])

    def unheard(self, letters: Sequence[Letter[Fetched, Content]], why: str, now: datetime) -> None:
        """Count them as orphans; the next pass sends them anew."""
        self.ledger.attachments.lost_content([letter.row for letter in letters], why, now)


def _attachment(item: Upload) -> NewAttachment:
    row = item.row
    return NewAttachment(item.holder.result, ObjectID(row.content or 0), row.name, row.content_type, row.size_bytes)


@dataclass(slots=True)
class AttachmentDesk:
    """Attachments: each an intent of its own."""

    rally: Rally
    ledger: Ledger
    sent: Sent
    stale: set[int] = field(default_factory=set)
    """Whose content is gone from Rally: they may be sent anew."""
    what: str = "attachments"

    def compose(self, items: Sequence[Upload]) -> Iterator[NewAttachment]:
        """Write them; their contents are in Rally."""
        return map(_attachment, items)

    def size(self, payload: NewAttachment) -> int:
        """Estimate from above."""
        return _ROUND_AN_ATTACHMENT + 6 * len(payload.name)

    def objection(self, payload: NewAttachment) -> str:  # noqa: ARG002 - a desk's signature
        """Object to none."""
        return ""

    def intend(self, composed: Sequence[tuple[Upload, NewAttachment]], now: datetime) -> list[int]:
        """Write them down."""
        rows = [item.row.attachment_id for item, _ in composed]
        self.ledger.attachments.intend(rows, now)
        return rows

    def create(self, payloads: Sequence[NewAttachment], *, batch: bool) -> list[ObjectID | Rejected]:
        """Send them."""
        return self.rally.add_attachments(payloads) if batch else [self.rally.add_attachment(payloads[0])]

    def confirm(self, created: Sequence[tuple[Letter[Upload, NewAttachment], ObjectID]], now: datetime) -> None:
        """Note what is in Rally now."""
        self.ledger.attachments.confirm([(letter.row, object_id) for letter, object_id in created], now)
        self.sent.attachments += sum(not letter.item.row.notice for letter, _ in created)

    def refuse(self, refused: Sequence[tuple[Letter[Upload, NewAttachment], str]], now: datetime) -> None:
        """Note what Rally refuses; where it may be a content of an earlier pass that is gone, it is sent anew."""
        stale = [letter for letter, reason in refused if letter.item.reused and GONE in reason]
        self.ledger.attachments.withdraw([letter.row for letter in stale], "its content is gone from Rally", now)
        self.ledger.attachments.lost_content([letter.row for letter in stale], "its content is gone from Rally", now)
        self.stale.update(letter.row for letter in stale)
        final = [(letter, why) for letter, why in refused if not (letter.item.reused and GONE in why)]
        for letter, why in final:
            logger.warning("Rally refuses an attachment: it stays a link", file=letter.item.title, reason=why)
        self.ledger.attachments.refuse([(letter.row, why) for letter, why in final], now)

    def withdraw(self, letters: Sequence[Letter[Upload, NewAttachment]], why: str, now: datetime) -> None:
        """Note what was not done."""
        self.ledger.attachments.withdraw([letter.row for letter in letters], why, now)

    def unheard(self, letters: Sequence[Letter[Upload, NewAttachment]], why: str, now: datetime) -> None:  # noqa: ARG002 - a desk's signature
        """Leave the intents open; their requests may be alive from now on."""
        self.ledger.attachments.unheard([letter.row for letter in letters], now)
