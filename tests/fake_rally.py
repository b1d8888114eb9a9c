"""Rally in memory, as `reconciler.ports` promises it: no network, and no lenience either."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from reconciler.dispatch import GONE
from reconciler.errors import Incomplete, NotDone
from reconciler.model import (
    FormattedID,
    FoundAttachment,
    FoundResult,
    Move,
    NewAttachment,
    NewTestFolder,
    NewTestSet,
    ObjectID,
    Rejected,
    SeenResult,
    TestCase,
    TestCaseResult,
    Verdict,
)
from reconciler.notes import read_key
from tests.fake_owner import FakeOwner
from tests.fake_sprints import AddMembers, WantedInSprint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from reconciler.model import Build, Content, Key

Wanted = TestCaseResult | NewAttachment | bytes | WantedInSprint
"""What a request may ask to write; bytes are a content's."""
Answers = list[ObjectID | Rejected]
Step = Callable[["FakeRally", Sequence[Any]], Answers]
"""Given what one write request holds: `Wanted`s of one kind. A set that took members answers with its ObjectID."""


@dataclass(slots=True)
class FakeRally(FakeOwner):
    """TestCaseResults and Attachments too; a write request first follows the next step, if there is one."""

    verdicts: frozenset[str] = frozenset(Verdict)
    steps: deque[Step] = field(default_factory=deque)
    """For creates of results; the others have their own."""
    content_steps: deque[Step] = field(default_factory=deque)
    attachment_steps: deque[Step] = field(default_factory=deque)
    sprint_steps: deque[Step] = field(default_factory=deque)
    """For test sets, members, folders and moves."""
    latency_s: float = 0.0
    """How long a create request takes."""
    bytes_each: int = 1_000
    checks: Callable[[TestCaseResult], str] = lambda _: ""
    refuses: Callable[[TestCaseResult], str] = lambda _: ""
    refuses_content: Callable[[bytes], str] = lambda _: ""
    refuses_attachment: Callable[[NewAttachment], str] = lambda _: ""
    requests: list[tuple[Key, ...]] = field(default_factory=list)
    """The keys of each create request, in the order of arrival."""
    most_at_once: int = 0
    content_requests: list[tuple[int, ...]] = field(default_factory=list)
    """The sizes in each create request of contents."""
    attachment_requests: list[tuple[tuple[ObjectID, str], ...]] = field(default_factory=list)
    """Result and name of each, by create request."""
    sprint_requests: list[tuple[Wanted, ...]] = field(default_factory=list)
    """What each write request about sprints held."""
    late: list[tuple[datetime, Sequence[Any]]] = field(default_factory=list)
    """Requests that gave up waiting for an answer and are still alive, since when."""
    stored: dict[ObjectID, TestCaseResult] = field(default_factory=dict)
    contents: dict[ObjectID, bytes] = field(default_factory=dict)
    attached: dict[ObjectID, NewAttachment] = field(default_factory=dict)
    _flying: list[frozenset[ObjectID]] = field(default_factory=list)
    _bin: dict[ObjectID, TestCase] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    # --- what happens there ---

    def delete_case(self, formatted_id: str) -> None:
        """Move a TestCase to the recycle bin; its results are then not to be seen."""
        for number in [number for number, case in self.cases.items() if case.formatted_id == formatted_id]:
            self._bin[number] = self.cases.pop(number)

    def restore_case(self, formatted_id: str) -> None:
        """Take a TestCase out of the recycle bin, its results with it."""
        for number in [number for number, case in self._bin.items() if case.formatted_id == formatted_id]:
            self.cases[number] = replace(self._bin.pop(number), updated_at=self.clock.tick())

    def land(self, *, begun_before: datetime) -> None:
        """Carry out the requests that are still alive and began before this."""
        for begun, results in [late for late in self.late if late[0] < begun_before]:
            self.late.remove((begun, results))
            self.carry_out(results)

    def results(self) -> dict[Key, str]:
        """Tell the Verdict of each result that can be seen; a key that is there twice fails."""
        seen = [result for result in self.stored.values() if result.test_case in self.cases]
        found = {result.key: result.verdict for result in seen}
        assert len(found) == len(seen), sorted(str(result.key) for result in seen)
        return found

    def attachments(self) -> dict[Key, list[tuple[str, bytes]]]:
        """Tell names and bytes of what is attached to each result that can be seen, sorted."""
        found: dict[Key, list[tuple[str, bytes]]] = defaultdict(list)
        for one in self.attached.values():
            if self._sees(one.result):
                found[self.stored[one.result].key].append((one.name, self.contents[one.content]))
        return {key: sorted(files) for key, files in found.items()}

    def orphans(self) -> list[bytes]:
        """Tell the contents that no attachment refers to."""
        used = {one.content for one in self.attached.values()}
        return [data for number, data in self.contents.items() if number not in used]

    def carry_out(self, wanted: Sequence[Wanted]) -> Answers:
        """Create one by one."""
        return [self._create(one) for one in wanted]

    def _create(self, one: Wanted) -> ObjectID | Rejected:
        match one:
            case TestCaseResult():
                return self._create_result(one)
            case NewAttachment():
                return self._create_attachment(one)
            case bytes():
                return self._create_content(one)
            case _:
                return self.carry_out_in_sprint(one)

    def _create_content(self, data: bytes) -> ObjectID | Rejected:
        if reason := self.refuses_content(data):
            return Rejected(reason)
        if not data:
            return Rejected("Validation error: AttachmentContent.Content should not be null")
        number = self._next_id()
        self.contents[number] = data
        return number

    def _create_attachment(self, new: NewAttachment) -> ObjectID | Rejected:
        if not self._sees(new.result) or new.content not in self.contents:
            return Rejected(f"Could not read: {GONE} null")
        assert new.size_bytes == len(self.contents[new.content])
        if reason := self.refuses_attachment(new):
            return Rejected(reason)
        if not new.name or not new.content_type:
            return Rejected("Validation error: Attachment.Name or .ContentType should not be null")
        number = self._next_id()
        self.attached[number] = new
        return number

    def _sees(self, result: ObjectID) -> bool:
        return result in self.stored and self.stored[result].test_case in self.cases

    def _create_result(self, result: TestCaseResult) -> ObjectID | Rejected:
        assert read_key(result.notes) == result.key
        if result.test_case not in self.cases:
            return Rejected(f"{GONE} /testcase/{result.test_case}")
        if reason := self.refuses(result):
            return Rejected(reason)
        if result.verdict not in self.verdicts:
            return Rejected(f"Not a Verdict: {result.verdict}")
        if not self._fits_its_set(result):
            return Rejected("Could not set value for Test Set: null")
        number = self._next_id()
        self.stored[number] = result
        return number

    def _fits_its_set(self, result: TestCaseResult) -> bool:
        """Tell whether the set is of the test case's project, and holds it."""
        if result.test_set is None:
            return True
        one = self.sets.get(result.test_set)
        return (
            one is not None
            and one.project == self.cases[result.test_case].project_id
            and result.test_case in self.enrolled[one.object_id]
        )

    @contextmanager
    def _one_request(self, wanted: Sequence[Wanted]) -> Iterator[None]:
        touched = _touched(wanted)
        with self._lock:
            assert not any(touched & others for others in self._flying), "two requests write to one object"
            alive = [_tested(others) for _, others in self.late]
            assert not any(_tested(wanted) & others for others in alive), "two requests write to one test case"
            self._flying.append(touched)
            self.most_at_once = max(self.most_at_once, len(self._flying))
        try:
            time.sleep(self.latency_s)
            yield
        finally:
            with self._lock:
                self._flying.remove(touched)

    # --- the port ---

    def allowed_verdicts(self) -> frozenset[str]:
        """Give the drop-down list."""
        self._read_by("allowed_verdicts")
        return self.verdicts

    def test_cases(self, updated_since: datetime | None = None) -> Iterator[TestCase]:
        """List all, or what changed; one that came out of the recycle bin has changed."""
        self._read()
        since = [case for case in self._in_scope() if updated_since is None or case.updated_at >= updated_since]
        return iter(since)

    def test_cases_by_id(self, formatted_ids: Sequence[FormattedID]) -> Mapping[FormattedID, TestCase]:
        """Look up single ones."""
        self._read_by("test_cases_by_id")
        return {case.formatted_id: case for case in self._in_scope() if case.formatted_id in formatted_ids}

    def _in_scope(self) -> list[TestCase]:
        return [case for case in self.cases.values() if case.project_id not in self.beside]

    def results_of(self, builds: Sequence[Build]) -> list[FoundResult]:
        """List what carries a key."""
        self._read()
        attached = Counter(one.result for one in self.attached.values())
        return [
            FoundResult(
                key,
                number,
                result.build,
                result.verdict,
                attached[number],
                result.test_set if result.test_set in self.sets else None,
                result.date,
            )
            for number, result in self.stored.items()
            if result.build in builds and result.test_case in self.cases and (key := read_key(result.notes))
        ]

    def all_results_of(self, builds: Sequence[Build]) -> list[SeenResult]:
        """List everything of these Builds."""
        self._read()
        return [one for one in map(self._seen, self.stored) if one and one.build in builds]

    def results_by_id(self, results: Sequence[ObjectID]) -> list[SeenResult]:
        """List these."""
        self._read()
        return [one for one in map(self._seen, self.stored) if one and one.object_id in results]

    def _seen(self, number: ObjectID) -> SeenResult | None:
        one = self.stored[number]
        if one.test_case not in self.cases:
            return None
        return SeenResult(number, one.build, read_key(one.notes), one.test_case, one.verdict, one.date, one.duration_s)

    def check(self, result: TestCaseResult) -> str:
        """Check as told."""
        return self.checks(result)

    def payload_size(self, result: TestCaseResult) -> int:
        """Let every result be equally large."""
        del result
        return self.bytes_each

    def add_results(self, results: Sequence[TestCaseResult]) -> Answers:
        """Create in one request."""
        self.requests.append(tuple(result.key for result in results))
        with self._one_request(results):
            return self._follow(self.steps, results)

    def add_result(self, result: TestCaseResult) -> ObjectID | Rejected:
        """Create one."""
        return self.add_results([result])[0]

    def attachments_of(self, result: ObjectID) -> list[FoundAttachment]:
        """List what is attached."""
        self._read()
        return [
            FoundAttachment(number, one.name, one.size_bytes)
            for number, one in self.attached.items()
            if one.result == result and self._sees(result)
        ]

    def content_of(self, attachment: FoundAttachment) -> bytes:
        """Give the bytes."""
        self._read()
        return self.contents[self.attached[attachment.object_id].content]

    def add_contents(self, contents: Sequence[Content]) -> Answers:
        """Create in one request; what the files hold by then is what is sent."""
        sent = [_bytes_of(content) for content in contents]
        self.content_requests.append(tuple(map(len, sent)))
        with self._one_request(sent):
            return self._follow(self.content_steps, sent)

    def add_content(self, content: Content) -> ObjectID | Rejected:
        """Create one."""
        return self.add_contents([content])[0]

    def add_attachments(self, attachments: Sequence[NewAttachment]) -> Answers:
        """Create in one request."""
        self.attachment_requests.append(tuple((one.result, one.name) for one in attachments))
        with self._one_request(attachments):
            return self._follow(self.attachment_steps, attachments)

    def add_attachment(self, attachment: NewAttachment) -> ObjectID | Rejected:
        """Create one."""
        return self.add_attachments([attachment])[0]

    def add_test_set(self, new: NewTestSet) -> ObjectID | Rejected:
        """Create one."""
        return self._write_sprints([new])[0]

    def add_members(self, test_set: ObjectID, test_cases: Sequence[ObjectID]) -> Rejected | None:
        """Add all of them, or none."""
        assert test_cases, "a request for nothing"
        answer = self._write_sprints([AddMembers(test_set, tuple(test_cases))])[0]
        return answer if isinstance(answer, Rejected) else None

    def add_folder(self, new: NewTestFolder) -> ObjectID | Rejected:
        """Create one."""
        return self._write_sprints([new])[0]

    def move_test_cases(self, moves: Sequence[Move]) -> Answers:
        """Move in one request."""
        assert moves, "a request for nothing"
        assert len({move.test_case for move in moves}) == len(moves), "a test case is in one folder"
        return self._write_sprints(moves)

    def move_test_case(self, move: Move) -> ObjectID | Rejected:
        """Move one."""
        return self.move_test_cases([move])[0]

    def _write_sprints(self, wanted: Sequence[Wanted]) -> Answers:
        self.sprint_requests.append(tuple(wanted))
        with self._one_request(wanted):
            return self._follow(self.sprint_steps, wanted)

    def _follow(self, steps: deque[Step], wanted: Sequence[Wanted]) -> Answers:
        with self._lock:
            if self.down:
                raise NotDone("Rally: no connection", retry_after_s=0.0)
            step = steps.popleft() if steps else None
            return step(self, wanted) if step else self.carry_out(wanted)


def _tested(wanted: Sequence[Wanted]) -> frozenset[ObjectID]:
    """Tell of which TestCases a request creates results."""
    return frozenset(one.test_case for one in wanted if isinstance(one, TestCaseResult))


def _touched(wanted: Sequence[Wanted]) -> frozenset[ObjectID]:
    """Tell which objects a request changes besides its own: two at once are a Concurrency conflict.

    Whether attaching to a result changes that, nobody knows.
    """
    return frozenset(number for one in wanted for number in _parents(one))


def _parents(one: Wanted) -> tuple[ObjectID, ...]:
    match one:
        case TestCaseResult(test_case=case):
            return (case,)
        case AddMembers(test_set=test_set):
            return (test_set,)
        case NewTestFolder(parent=parent):
            return () if parent is None else (parent,)
        case Move(test_case=case, folder=folder):
            return case, folder
        case NewAttachment() | NewTestSet() | bytes():
            return ()


def _bytes_of(content: Content) -> bytes:
    try:
        content.file.seek(0)
        data = content.file.read()
    except ValueError as error:
        raise Incomplete(f"Rally: the file cannot be read: {error}") from error
    if len(data) != content.size_bytes:
        raise Incomplete(f"Rally: the file has {len(data)} bytes, not {content.size_bytes}")
    return data
