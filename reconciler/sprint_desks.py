"""How test sets, their members and folders are sent and noted; each goes without `/batch`, but for moves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from loguru import logger

from reconciler.dispatch import CONFLICT
from reconciler.model import Move, NewTestFolder, NewTestSet, ObjectID, Rejected

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from reconciler.dispatch import Letter, Sent
    from reconciler.ledger.sprints import Sprints
    from reconciler.model import Iteration
    from reconciler.ports import Rally

_BYTES = 1_000


@dataclass(frozen=True, slots=True)
class SetItem:
    """The set of one iteration, to be created."""

    iteration: Iteration
    name: str

    @property
    def lane(self) -> int:
        """A lane for each project's sets."""
        return self.iteration.project_id

    @property
    def rank(self) -> tuple[datetime, int]:
        """Older sprints first."""
        return self.iteration.starts_at, self.iteration.object_id

    @property
    def title(self) -> str:
        """Name and project."""
        return f"{self.name} in {self.iteration.project_name} ({self.iteration.object_id})"


@dataclass(slots=True)
class SetDesk:
    """Test sets."""

    rally: Rally
    ledger: Sprints
    sent: Sent
    made: list[SetItem] = field(default_factory=list)
    what: str = "test sets"

    def compose(self, items: Sequence[SetItem]) -> Iterator[NewTestSet]:
        """Write them."""
        return (NewTestSet(one.name, one.iteration.object_id, one.iteration.project_id) for one in items)

    def size(self, payload: NewTestSet) -> int:
        """They are small."""
        return _BYTES + len(payload.name)

    def objection(self, payload: NewTestSet) -> str:
        """Rally needs a name."""
        return "" if payload.name else "its name is empty: see sprints.test_set_name"

    def intend(self, composed: Sequence[tuple[SetItem, NewTestSet]], now: datetime) -> list[int]:
        """Write them down."""
        for item, _ in composed:
            self.ledger.intend_set(item.iteration.object_id, item.name, now)
        return [item.iteration.object_id for item, _ in composed]

    def create(self, payloads: Sequence[NewTestSet], *, batch: bool) -> list[ObjectID | Rejected]:  # noqa: ARG002 - a desk's signature
        """Send one."""
        return [self.rally.add_test_set(payload) for payload in payloads]

    def confirm(self, created: Sequence[tuple[Letter[SetItem, NewTestSet], ObjectID]], now: datetime) -> None:  # noqa: ARG002 - a desk's signature
        """Note what is in Rally now."""
        for letter, object_id in created:
            self.ledger.confirm_set(ObjectID(letter.row), object_id)
            self.made.append(letter.item)
        self.sent.test_sets += len(created)

    def refuse(self, refused: Sequence[tuple[Letter[SetItem, NewTestSet], str]], now: datetime) -> None:  # noqa: ARG002 - a desk's signature
        """Note that a sprint gets no set; its results go without."""
        for letter, reason in refused:
            logger.warning("Rally refuses a test set", test_set=letter.item.title, reason=reason)
            self.ledger.refuse_set(ObjectID(letter.row), reason)

    def withdraw(self, letters: Sequence[Letter[SetItem, NewTestSet]], why: str, now: datetime) -> None:
        """Note what was not done."""
        for letter in letters:
            self.ledger.withdraw_set(ObjectID(letter.row), why, now)

    def unheard(self, letters: Sequence[Letter[SetItem, NewTestSet]], why: str, now: datetime) -> None:  # noqa: ARG002 - a desk's signature
        """Leave the intents open; their requests may be alive from now on."""
        for letter in letters:
            self.ledger.unheard_set(ObjectID(letter.row), now)


@dataclass(frozen=True, slots=True)
class MemberItem:
    """Test cases to be put into one set in one request."""

    iteration: ObjectID
    test_set: ObjectID
    cases: tuple[ObjectID, ...]
    since: datetime

    @property
    def lane(self) -> int:
        """One writer for each set."""
        return self.test_set

    @property
    def rank(self) -> tuple[datetime, int]:
        """In the order of the test cases."""
        return self.since, self.cases[0]

    @property
    def title(self) -> str:
        """Set and how many."""
        return f"{len(self.cases)} of test set {self.test_set} from {self.cases[0]}"


@dataclass(slots=True)
class MemberDesk:
    """Members of sets."""

    rally: Rally
    ledger: Sprints
    sent: Sent
    doubtful: list[tuple[MemberItem, str]] = field(default_factory=list)
    """What Rally refused as a whole, with its reason: who of these is in the set, nobody knows."""
    conflicts: int = 0
    """How many requests another writer was in the way of; they are not sent again before a look into the set."""
    what: str = "members"

    def compose(self, items: Sequence[MemberItem]) -> Sequence[MemberItem]:
        """Send them as they are."""
        return items

    def size(self, payload: MemberItem) -> int:
        """Estimate from above."""
        return 50 * len(payload.cases)

    def objection(self, payload: MemberItem) -> str:  # noqa: ARG002 - a desk's signature
        """Object to none."""
        return ""

    def intend(self, composed: Sequence[tuple[MemberItem, MemberItem]], now: datetime) -> list[int]:
        """Write them down."""
        for item, _ in composed:
            self.ledger.intend_members(item.iteration, item.cases, now)
        return [item.cases[0] for item, _ in composed]

    def create(self, payloads: Sequence[MemberItem], *, batch: bool) -> list[ObjectID | Rejected]:  # noqa: ARG002 - a desk's signature
        """Send one."""
        return [self.rally.add_members(one.test_set, one.cases) or one.test_set for one in payloads]

    def confirm(self, created: Sequence[tuple[Letter[MemberItem, MemberItem], ObjectID]], now: datetime) -> None:  # noqa: ARG002 - a desk's signature
        """Note who is in the set now."""
        for letter, _ in created:
            self.ledger.confirm_members(letter.item.iteration, letter.item.cases)
            self.sent.members += len(letter.item.cases)

    def refuse(self, refused: Sequence[tuple[Letter[MemberItem, MemberItem], str]], now: datetime) -> None:  # noqa: ARG002 - a desk's signature
        """Leave it to be looked into: one that is wrong spoils the others of a request."""
        for letter, _ in refused:
            self.ledger.withdraw_members(letter.item.iteration, letter.item.cases)
        self.doubtful += [(letter.item, reason) for letter, reason in refused]

    def withdraw(self, letters: Sequence[Letter[MemberItem, MemberItem]], why: str, now: datetime) -> None:  # noqa: ARG002 - a desk's signature
        """Note what was not done."""
        self.conflicts += why == CONFLICT
        for letter in letters:
            self.ledger.withdraw_members(letter.item.iteration, letter.item.cases)

    def unheard(self, letters: Sequence[Letter[MemberItem, MemberItem]], why: str, now: datetime) -> None:  # noqa: ARG002 - a desk's signature
        """Leave the intents open; their requests may be alive from now on."""
        for letter in letters:
            self.ledger.unheard_members(letter.item.iteration, letter.item.cases, now)


@dataclass(frozen=True, slots=True)
class FolderItem:
    """A folder to be created; iteration 0 stands for all sprints of a project."""

    project: ObjectID
    iteration: int
    name: str
    parent: ObjectID | None
    since: datetime

    @property
    def lane(self) -> int:
        """One writer for each parent."""
        return self.parent or self.project

    @property
    def rank(self) -> tuple[datetime, int]:
        """Older sprints first."""
        return self.since, self.iteration

    @property
    def title(self) -> str:
        """Name and project."""
        return f"{self.name} in project {self.project} ({self.iteration})"


@dataclass(slots=True)
class FolderDesk:
    """Folders of test cases."""

    rally: Rally
    ledger: Sprints
    what: str = "folders"

    def compose(self, items: Sequence[FolderItem]) -> Iterator[NewTestFolder]:
        """Write them."""
        return (NewTestFolder(one.name, one.project, one.parent) for one in items)

    def size(self, payload: NewTestFolder) -> int:
        """They are small."""
        return _BYTES + len(payload.name)

    def objection(self, payload: NewTestFolder) -> str:  # noqa: ARG002 - a desk's signature
        """Object to none."""
        return ""

    def intend(self, composed: Sequence[tuple[FolderItem, NewTestFolder]], now: datetime) -> list[int]:
        """Write them down."""
        for item, _ in composed:
            self.ledger.intend_folder(item.project, item.iteration, item.name, now)
        return [item.iteration for item, _ in composed]

    def create(self, payloads: Sequence[NewTestFolder], *, batch: bool) -> list[ObjectID | Rejected]:  # noqa: ARG002 - a desk's signature
        """Send one."""
        return [self.rally.add_folder(payload) for payload in payloads]

    def confirm(self, created: Sequence[tuple[Letter[FolderItem, NewTestFolder], ObjectID]], now: datetime) -> None:
        """Note what is in Rally now."""
        for letter, object_id in created:
            item = letter.item
            self.ledger.confirm_folder(item.project, item.iteration, item.name, object_id, now)

    def refuse(self, refused: Sequence[tuple[Letter[FolderItem, NewTestFolder], str]], now: datetime) -> None:  # noqa: ARG002 - a desk's signature
        """Note it; test cases stay where they are."""
        for letter, reason in refused:
            logger.warning("Rally refuses a folder", folder=letter.item.title, reason=reason)
            self.ledger.refuse_folder(letter.item.project, letter.item.iteration, reason)

    def withdraw(self, letters: Sequence[Letter[FolderItem, NewTestFolder]], why: str, now: datetime) -> None:
        """Note what was not done."""
        for letter in letters:
            self.ledger.withdraw_folder(letter.item.project, letter.item.iteration, why, now)

    def unheard(self, letters: Sequence[Letter[FolderItem, NewTestFolder]], why: str, now: datetime) -> None:  # noqa: ARG002 - a desk's signature
        """Leave the intents open; their requests may be alive from now on."""
        for letter in letters:
            self.ledger.unheard_folder(letter.item.project, letter.item.iteration, now)


@dataclass(frozen=True, slots=True)
class MoveItem:
    """A test case to be filed in its sprint's folder."""

    iteration: ObjectID
    case: ObjectID
    folder: ObjectID
    since: datetime

    @property
    def lane(self) -> int:
        """One writer for each folder."""
        return self.folder

    @property
    def rank(self) -> tuple[datetime, int]:
        """In the order of the test cases."""
        return self.since, self.case

    @property
    def title(self) -> str:
        """Test case and folder."""
        return f"test case {self.case} into folder {self.folder}"


@dataclass(slots=True)
class MoveDesk:
    """Test cases that are filed in folders; doing it twice is doing it once."""

    rally: Rally
    ledger: Sprints
    what: str = "moves"

    def compose(self, items: Sequence[MoveItem]) -> Iterator[Move]:
        """Write them."""
        return (Move(one.case, one.folder) for one in items)

    def size(self, payload: Move) -> int:  # noqa: ARG002 - a desk's signature
        """Estimate from above."""
        return 300

    def objection(self, payload: Move) -> str:  # noqa: ARG002 - a desk's signature
        """Object to none."""
        return ""

    def intend(self, composed: Sequence[tuple[MoveItem, Move]], now: datetime) -> list[int]:  # noqa: ARG002 - a desk's signature
        """Write them down."""
        for item, _ in composed:
            self.ledger.move(item.iteration, [item.case], "intended")
        return [item.case for item, _ in composed]

    def create(self, payloads: Sequence[Move], *, batch: bool) -> list[ObjectID | Rejected]:
        """Send them."""
        return self.rally.move_test_cases(payloads) if batch else [self.rally.move_test_case(payloads[0])]

    def confirm(self, created: Sequence[tuple[Letter[MoveItem, Move], ObjectID]], now: datetime) -> None:  # noqa: ARG002 - a desk's signature
        """Note what was filed."""
        for letter, _ in created:
            self.ledger.move(letter.item.iteration, [letter.item.case], "done")

    def refuse(self, refused: Sequence[tuple[Letter[MoveItem, Move], str]], now: datetime) -> None:  # noqa: ARG002 - a desk's signature
        """Note it; the test case stays where it is."""
        for letter, reason in refused:
            logger.warning("Rally refuses to file a test case", move=letter.item.title, reason=reason)
            self.ledger.move(letter.item.iteration, [letter.item.case], "refused", reason)

    def withdraw(self, letters: Sequence[Letter[MoveItem, Move]], why: str, now: datetime) -> None:
        """Do nothing: an intent of a move is one to be tried again."""

    def unheard(self, letters: Sequence[Letter[MoveItem, Move]], why: str, now: datetime) -> None:
        """Do nothing: it is tried again."""
