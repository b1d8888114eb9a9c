"""Use case: settle what is in doubt, then create in Rally what is missing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from loguru import logger

from reconciler.compose import Composer, Parcel
from reconciler.dispatch import GONE, Dispatcher, Letter, Sent
from reconciler.errors import Misconfigured, NotThere, ReconcilerError
from reconciler.ledger.entries import Draft
from reconciler.plan import IGNORE, Absorb, Add, missing
from reconciler.sprints import Wait

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Container, Generator, Iterable, Iterator, Sequence
    from concurrent.futures import Future
    from datetime import datetime, timedelta

    from reconciler.config import Settings
    from reconciler.evidence import Wanted
    from reconciler.ledger.ledger import Ledger
    from reconciler.model import Build, FormattedID, FoundResult, ObjectID, PipelineId, Rejected
    from reconciler.ports import Rally

ResultLetter = Letter[Add, Parcel]
TESTS_AT_ONCE = 2_000
"""How many pending tests are planned together; bounds memory, not what a pass sends."""
PIPELINES_AT_ONCE = 250
NOT_IN_SET = ("Could not set value for Test Set", "TestSet is read-only")
"""What says that a result can be had without its set alone.

Rally, of a set that does not hold the test case or is of another project or workspace (facts 1.3); its schema.
"""


def settle(rally: Rally, ledger: Ledger, older_than: timedelta, now: datetime) -> int:
    """Ask Rally about everything that was begun long enough ago and never heard the end of.

    What is found is confirmed, what is not was never done and is withdrawn; younger intents may still be alive on the
    wire and are left alone. The number of intents that were asked about.
    """
    old = [intent for intent in ledger.entries.open_intents() if intent.intended_at <= now - older_than]
    if not old:
        return 0
    found = rally.results_of(sorted({intent.build for intent in old}))
    pipelines = {intent.key.pipeline_id: intent.key.project_id for intent in old}
    ledger.entries.adopt(found, pipelines, now)
    still = {intent.entry_id for intent in ledger.entries.open_intents()}
    lost = [intent.entry_id for intent in old if intent.entry_id in still]
    ledger.entries.withdraw(lost, "Rally does not have it", now)
    logger.info("Results in doubt were looked up", asked=len(old), found=len(old) - len(lost))
    return len(old)


@dataclass(slots=True)
class ResultDesk:
    """How results are written, sent and noted."""

    rally: Rally
    ledger: Ledger
    parcels: Callable[[Sequence[Add]], Iterable[Parcel]]
    """Writes results, with their Notes."""
    sent: Sent
    gone: list[tuple[ResultLetter, str]] = field(default_factory=list)
    """Still intended, with Rally's reason: their test case or their test set may have been deleted."""
    unset: list[Add] = field(default_factory=list)
    """To be sent again, without a set."""
    fresh: set[int] = field(default_factory=set)
    """Entries that this process made: nobody can have hung anything on them yet."""
    what: str = "results"

    def compose(self, adds: Sequence[Add]) -> Iterable[Parcel]:
        """Write them."""
        return self.parcels(adds)

    def size(self, parcel: Parcel) -> int:
        """Ask the adapter."""
        return self.rally.payload_size(parcel.result)

    def objection(self, parcel: Parcel) -> str:
        """Ask the workspace's schema."""
        return self.rally.check(parcel.result)

    def intend(self, composed: Sequence[tuple[Add, Parcel]], now: datetime) -> list[int]:
        """Write them down together with the files that they are to have."""
        drafts = [Draft(add, one.result.build, one.wanted, one.result.test_set) for add, one in composed]
        return self.ledger.entries.intend(drafts, now)

    def create(self, parcels: Sequence[Parcel], *, batch: bool) -> list[ObjectID | Rejected]:
        """Send them."""
        if not batch:
            return [self.rally.add_result(parcels[0].result)]
        return self.rally.add_results([parcel.result for parcel in parcels])

    def confirm(self, created: Sequence[tuple[ResultLetter, ObjectID]], now: datetime) -> None:
        """Note what is in Rally now."""
        self.ledger.entries.confirm([(letter.row, object_id) for letter, object_id in created], now)
        self.fresh.update(letter.row for letter, _ in created)
        self.sent.results += len(created)

    def refuse(self, refused: Sequence[tuple[ResultLetter, str]], now: datetime) -> None:
        """Note what is refused, but for what is perhaps only gone, and what is refused for its set alone."""
        self.gone += [(letter, reason) for letter, reason in refused if GONE in reason]
        unset = [(letter, reason) for letter, reason in refused if _is_of_set(letter, reason)]
        self._without_set(unset, now)
        others = {letter.row for letter, _ in unset}
        final = [(letter, why) for letter, why in refused if GONE not in why and letter.row not in others]
        for letter, reason in final:
            logger.warning("Rally refuses a result", key=letter.item.title, reason=reason)
        self.ledger.entries.refuse([(letter.row, reason) for letter, reason in final], now)
        self.sent.refused += len(final)

    def _without_set(self, refused: Sequence[tuple[ResultLetter, str]], now: datetime) -> None:
        """Let results go without the set that Rally does not take for them; their test cases have no place in it."""
        for letter, reason in refused:
            logger.warning("Rally does not take a result with its test set", key=letter.item.title, reason=reason)
            self.ledger.sprints.refuse_membership(letter.payload.result.test_set, letter.item.test_case, reason)
        self.ledger.entries.withdraw([letter.row for letter, _ in refused], "sent again without its test set", now)
        self.unset += [letter.item for letter, _ in refused]

    def withdraw(self, letters: Sequence[ResultLetter], why: str, now: datetime) -> None:
        """Note what was not done."""
        self.ledger.entries.withdraw([letter.row for letter in letters], why, now)

    def unheard(self, letters: Sequence[ResultLetter], why: str, now: datetime) -> None:  # noqa: ARG002 - a desk's signature
        """Leave the intents open; their requests may be alive from now on."""
        self.ledger.entries.unheard([letter.row for letter in letters], now)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What there is to do as far as the ledger knows, and what Rally will answer of the Builds that it is about."""

    adds: list[Add]
    absorbs: list[Absorb]
    found: Future[list[FoundResult]] | None
    """None: nothing is missing, and nothing was asked."""


def _chunks(due: Iterable[tuple[PipelineId, int]]) -> Iterator[list[PipelineId]]:
    """Divide pipelines with so many pending tests each."""
    some: list[PipelineId] = []
    tests = 0
    for pipeline, pending in due:
        some.append(pipeline)
        tests += pending
        if tests >= TESTS_AT_ONCE or len(some) >= PIPELINES_AT_ONCE:
            yield some
            some, tests = [], 0
    if some:
        yield some


@dataclass(slots=True)
class Push:
    """Plan and send what is missing, a bounded number of tests at a time."""

    rally: Rally
    ledger: Ledger
    settings: Settings
    stop: threading.Event
    now: Callable[[], datetime]
    sent: Sent
    """Filled while sending, so that it is true also of a pass that is cut short."""
    composer: Composer = field(init=False)
    desk: ResultDesk = field(init=False)
    attached: dict[ObjectID, int | None] = field(default_factory=dict)
    """How many attachments results have that Rally was asked about in this pass; None: it did not say."""
    horizon: datetime | None = None
    """Older results may still come: what is as young as this waits, so that those of a test case keep their order."""
    meanwhile: Callable[[], None] | None = None
    """Is called again and again while answers are waited for."""
    goes_on: Callable[[], bool | None] = lambda: False
    """Is asked when all is planned: whether more is due that may be planned without anything else before; None: wait.
    """
    backfill: int = 0
    """Whose results are planned though it is not agreed to: for a preview."""
    _planned: Generator[list[Add]] = field(init=False)
    _is_sending: bool = False
    _trouble: ReconcilerError | None = None
    _waiting: set[ObjectID] = field(default_factory=set)
    """Test cases of which a result waits for its sprint's set."""

    def __post_init__(self) -> None:
        """Set up the desk."""
        self.composer = Composer(self.ledger, self.settings)
        self.desk = ResultDesk(self.rally, self.ledger, self.composer.parcels, self.sent)

    @contextmanager
    def looking_ahead(self) -> Iterator[None]:
        """Ask Rally what it has of the first Builds, beside what the block does before `run` or `preview`."""
        with closing(self._windows()) as self._planned:
            next(self._planned)
            yield

    def run(self) -> None:
        """Create every result that is due; inside `looking_ahead`.

        Raises:
            ServiceDown, Unauthorized, Misconfigured: Rally could not be asked what it has; nothing was created since.
        """
        dispatcher = Dispatcher(self.desk, self.settings.rally, self.stop, self.sent)
        dispatcher.meanwhile = self.meanwhile
        windows = self._planned
        first: list[Add] | None = []
        while first == []:
            first = self._next(windows)
        if first is not None:
            self._check_words()
            self._is_sending = True
            dispatcher.send(first, busy=self._busy(), now=self.now, more=lambda: self._next(windows))
            if self.desk.unset:
                again, self.desk.unset = self.desk.unset, []
                self.composer.forget_homes()
                dispatcher.send(self._sendable(again), busy=self._busy(), now=self.now)
            self._look_into_gone()
        if self._trouble is not None:
            raise self._trouble

    def _next(self, windows: Iterator[list[Add]]) -> list[Add] | None:
        """Plan some more; None when that was all, or when Rally cannot be asked: what is under way then ends first."""
        try:
            return next(map(self._sendable, windows), None)
        except ReconcilerError as error:
            self._trouble = error
            return None

    def _busy(self) -> set[ObjectID]:
        return {intent.test_case for intent in self.ledger.entries.open_intents()}

    def _sendable(self, adds: Iterable[Add], fills: Container[ObjectID | None] = ()) -> list[Add]:
        """Leave out results that wait for their sprint's set, and those of the same test cases that come after them.

        None waits for the sets of the iterations in `fills`.
        """
        waiting, sendable = self._waiting, []
        for add in sorted(adds, key=lambda add: add.rank):
            if add.test_case not in waiting:
                home = self.composer.home(add)
                if isinstance(home, Wait) and home.iteration not in fills:
                    waiting.add(add.test_case)
            if add.test_case not in waiting:
                sendable.append(add)
        if waiting:
            logger.info("Results wait for their sprint's test set", test_cases=len(waiting))
        return sendable

    def preview(self, fills: Container[ObjectID | None] = ()) -> list[dict[str, Any]]:
        """List what `run` would create, and what would be attached to it, as `--dry-run --json` prints it.

        Inside `looking_ahead`, too. `fills`: the iterations whose sets would be there and filled by then.
        """
        return [
            action for adds in self._planned for add in self._sendable(adds, fills) for action in self._actions(add)
        ]

    def _actions(self, add: Add) -> Iterator[dict[str, Any]]:
        build = self.composer.build(add.key, add.iid)
        yield result_action(build, add)
        for file in self.composer.wanted(add.tests):
            if file.fate == "upload":
                yield attachment_action(build, add.key.formatted_id, file.name, file.size_bytes)

    def _windows(self) -> Generator[list[Add]]:
        """Plan some pipelines at a time, after asking Rally what it has of their Builds; give older results first.

        Rally is asked about the next ones while these are sent. Pipelines overlap: what is younger than something that
        may come of those still to be planned is kept back. While some are sent, nothing is given instead of waiting.
        """
        planned: set[PipelineId] = set()  # what of them waits to be sent is pending still, and not to be planned twice
        kept: list[Add] = []
        with ThreadPoolExecutor(1, thread_name_prefix="rally-ahead") as pool:
            while True:
                due = self.ledger.entries.due(self.horizon, backfill=self.backfill)
                chunks = list(_chunks((pipeline, tests) for pipeline, tests in due if pipeline not in planned))
                ahead = self._ask(pool, chunks[0]) if chunks else None
                old, kept = self._divide(kept, chunks[0] if chunks else None)
                yield old
                for chunk, following in zip_longest(chunks, chunks[1:]):
                    asked, ahead = ahead, self._ask(pool, following) if following else None
                    while self._is_sending and asked and asked.found and not asked.found.done():
                        yield []
                    old, kept = self._divide(kept + (self._plan(chunk, asked) if asked else []), following)
                    planned.update(chunk)
                    yield old
                while (more := self.goes_on()) is None and self._is_sending:
                    yield []
                if not more:
                    return

    def _divide(self, adds: Sequence[Add], following: Sequence[PipelineId] | None) -> tuple[list[Add], list[Add]]:
        """Part what is older than all that may come of the pipelines that follow from what is not."""
        until = self.ledger.entries.first_end(following[0]) if following else self.horizon
        if until is None:
            return list(adds), []
        return [add for add in adds if add.date < until], [add for add in adds if add.date >= until]

    def _ask(self, pool: ThreadPoolExecutor, pipelines: Sequence[PipelineId]) -> _Asked:
        """Ask what Rally has of the Builds that something is missing of."""
        adds, absorbs = self._compare(pipelines)
        one_of_each = {add.key.pipeline_id: add for add in adds}
        builds = sorted({self.composer.build(add.key, add.iid) for add in one_of_each.values()})
        return _Asked(adds, absorbs, pool.submit(self.rally.results_of, builds) if builds else None)

    def _plan(self, pipelines: Sequence[PipelineId], asked: _Asked) -> list[Add]:
        """Adopt what Rally has, then plan; anew when there is something."""
        adds, absorbs = asked.adds, asked.absorbs
        if asked.found is not None and (found := asked.found.result()):
            self.attached.update((result.object_id, result.attachments) for result in found)
            owners = {add.key.pipeline_id: add.key.project_id for add in adds}
            self.ledger.entries.adopt(found, owners, self.now())
            adds, absorbs = self._compare(pipelines)
        self.ledger.entries.absorb([(absorb, self._wanted(absorb)) for absorb in absorbs], self.now())
        self.ledger.entries.restand(*pipelines)
        return adds

    def _wanted(self, absorb: Absorb) -> Sequence[Wanted]:
        """Decide which files a result has that was found in Rally; one of ours has its own already."""
        return self.composer.wanted(absorb.tests) if absorb.decides else ()

    def _compare(self, pipelines: Sequence[PipelineId]) -> tuple[list[Add], list[Absorb]]:
        adds: list[Add] = []
        absorbs: list[Absorb] = []
        for pipeline in pipelines:
            for action in missing(self.ledger.entries.groups(pipeline), self.composer.verdicts):
                match action:
                    case Add():
                        adds.append(action)
                    case Absorb():
                        absorbs.append(action)
        return adds, absorbs

    def _check_words(self) -> None:
        """See that the verdict words of the config are ones that the workspace allows, before the first is sent."""
        allowed = self.rally.allowed_verdicts()
        results = self.settings.results
        for key, word in (("skipped", results.skipped), ("flaky", results.flaky)):
            if (key, word) != ("skipped", IGNORE) and word not in allowed:
                raise Misconfigured(
                    f"Rally: the workspace has no Verdict {word!r} (results.{key}): "
                    f"use one of {', '.join(sorted(allowed))}"
                )

    def _lost(self, test_sets: Iterable[ObjectID | None]) -> set[ObjectID | None]:
        """See which of these test sets are gone; results go without them."""
        lost: set[ObjectID | None] = set()
        for test_set in {one for one in test_sets if one is not None}:
            try:
                self.rally.members_of(test_set)
            except NotThere:
                lost.add(test_set)
                for iteration in self.ledger.sprints.iterations_of(test_set):
                    self.ledger.sprints.lose_set(iteration, self.now())
        return lost

    def _look_into_gone(self) -> None:
        """See whether the test cases that Rally could not read are gone: their tests are then held, not refused."""
        gone = self.desk.gone
        if not gone:
            return
        wanted = sorted({letter.item.key.formatted_id for letter, _ in gone})
        there = self.rally.test_cases_by_id(wanted)
        self.ledger.test_cases.update(there.values())
        same = {case.object_id for case in there.values()}
        lost = self._lost(letter.payload.result.test_set for letter, _ in gone if letter.item.test_case in same)
        for letter, reason in gone:
            if letter.item.test_case in same and letter.payload.result.test_set not in lost:
                self.ledger.entries.refuse([(letter.row, reason)], self.now())
                self.sent.refused += 1
            else:
                self.ledger.entries.withdraw([letter.row], reason, self.now())
        for formatted_id in wanted:
            if formatted_id not in there:
                logger.warning("A test case is gone from Rally", test_case=formatted_id)
                self.ledger.test_cases.forget(formatted_id)
        pipelines = {letter.item.key.pipeline_id for letter, _ in gone}
        self.ledger.subjects.classify()
        gone.clear()
        for pipeline in pipelines:
            self.ledger.entries.restand(pipeline)  # a test of several test cases is held for the one that is gone


def _is_of_set(letter: ResultLetter, reason: str) -> bool:
    return letter.payload.result.test_set is not None and any(words in reason for words in NOT_IN_SET)


def result_action(build: Build, add: Add) -> dict[str, Any]:
    """Tell of one result to come, as `--dry-run --json` prints it."""
    return {
        "kind": "result",
        "build": build,
        "test_case": add.key.formatted_id,
        "verdict": add.verdict,
        "date": _iso(add.date),
        "key": str(add.key),
    }


def attachment_action(build: Build, test_case: FormattedID, name: str, size_bytes: int | None) -> dict[str, Any]:
    """Tell of one attachment to come, as `--dry-run --json` prints it."""
    return {"kind": "attachment", "build": build, "test_case": test_case, "name": name, "size": size_bytes}


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
