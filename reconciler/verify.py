"""Use case: read Rally back, compare it with the ledger, and make again what a person deleted."""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from loguru import logger

from reconciler.apply import ResultDesk, ResultLetter, result_action
from reconciler.dispatch import Dispatcher
from reconciler.ledger import proof
from reconciler.ledger.entries import Draft

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime

    from reconciler.compose import Composer, Parcel
    from reconciler.config import Settings
    from reconciler.dispatch import Sent
    from reconciler.ledger.ledger import Ledger
    from reconciler.ledger.proof import Claim
    from reconciler.ledger.store import Store
    from reconciler.model import Build, Key, ObjectID, SeenResult
    from reconciler.plan import Add
    from reconciler.ports import Rally

    Reading = Callable[[], AbstractContextManager[Store]]
    """Opens the ledger for a moment: a daemon beside may go on writing."""

BUILDS_AT_ONCE = 25
"""As many as one request asks for."""
RESULTS_AT_ONCE = 1_000
"""How many results are asked for together; bounds memory, for each has its Notes with it."""
_EXACT = timedelta(milliseconds=1)
"""Rally shows milliseconds."""


@dataclass(slots=True)
class Verified:
    """What the comparison found; keys as text, each with what is to be said of it."""

    checked: int = 0
    missing: dict[str, str] = field(default_factory=dict)
    altered: dict[str, str] = field(default_factory=dict)
    foreign: dict[str, str] = field(default_factory=dict)
    """By key, or by Build and ObjectID where there is none; people and other tools may use our Builds, too."""
    doubled: dict[str, str] = field(default_factory=dict)
    gone: list[Claim] = field(default_factory=list)
    """What is missing, as the ledger has it."""

    @property
    def is_true(self) -> bool:
        """Rally has what the ledger says, once and as it says."""
        return not (self.missing or self.altered or self.doubled)

    def told(self) -> dict[str, Any]:
        """Give it as `--json` prints it."""
        kinds = {"missing": self.missing, "altered": self.altered, "foreign": self.foreign, "doubled": self.doubled}
        return {"checked": self.checked} | {kind: list(names) for kind, names in kinds.items()} | {"details": kinds}


def verify(rally: Rally, reading: Reading, since: datetime | None) -> Verified:
    """Compare every result that the ledger says is in Rally, by Build, with what Rally has of that Build."""
    with reading() as store:
        builds = proof.builds(store, since)
    found = Verified()
    for some in portions(builds):
        _read_back(rally, reading, some, since, found)
    return found


def portions(builds: Iterable[tuple[Build, int]]) -> Iterator[list[Build]]:
    """Take Builds, each with its number of results, together for one question."""
    some: list[Build] = []
    results = 0
    for build, number in builds:
        if some and (len(some) >= BUILDS_AT_ONCE or results + number > RESULTS_AT_ONCE):
            yield some
            some, results = [], 0
        some.append(build)
        results += number
    if some:
        yield some


def _read_back(
    rally: Rally, reading: Reading, builds: Sequence[Build], since: datetime | None, found: Verified
) -> None:
    with reading() as store:
        claims = proof.claims(store, builds, since)
    seen = rally.all_results_of(builds)
    with reading() as store:  # again, for what was sent before Rally answered was written down before it was sent
        known = proof.known(store, builds)
    unseen = compare(claims, seen, known, found)
    there = rally.results_by_id([claim.object_id for claim in unseen]) if unseen else []
    look_for(unseen, there, found)


def compare(
    claims: Sequence[Claim], seen: Iterable[SeenResult], known: tuple[set[Key], set[ObjectID]], found: Verified
) -> list[Claim]:
    """Compare what the ledger says is done with all that Rally has of some Builds; those that are not seen there.

    `known`: the keys and the objects that the ledger has of these Builds, in whatever state.

    ==========================================  =======
    ledger and Rally                            is
    ==========================================  =======
    done, and there is none of its key          missing, unless its object is elsewhere: see `look_for`
    done, its object is there without its key   altered
    done, and another verdict, date, duration   altered
    or test case
    there are several of one key                doubled
    no key, or one that the ledger has not      foreign
    in doubt or refused                         neither: that is for the next pass to settle
    ==========================================  =======
    """
    by_key: dict[Key, list[SeenResult]] = defaultdict(list)
    by_id = {one.object_id: one for one in seen}
    for one in by_id.values():
        if one.key is not None:
            by_key[one.key].append(one)
    found.checked += len(claims)
    for key, ones in by_key.items():
        if len(ones) > 1:
            found.doubled[str(key)] = "ObjectIDs " + ", ".join(str(one.object_id) for one in ones)
    for one in by_id.values():
        if one.object_id not in known[1] and one.key not in known[0]:
            _note_foreign(one, found)
    return [claim for claim in claims if not _is_seen(claim, by_key, by_id, found)]


def _is_seen(
    claim: Claim, by_key: dict[Key, list[SeenResult]], by_id: dict[ObjectID, SeenResult], found: Verified
) -> bool:
    """Judge the object that is the result: the one that we made, or else one that has its key."""
    one = by_id.get(claim.object_id) or next(iter(by_key.get(claim.key, ())), None)
    if one is not None:
        _judge(claim, one, found)
    return one is not None


def look_for(unseen: Sequence[Claim], there: Iterable[SeenResult], found: Verified) -> None:
    """Judge results that are not in their Builds: some are `there`, with another Build or beyond our projects."""
    by_id = {one.object_id: one for one in there}
    for claim in unseen:
        if claim.object_id in by_id:
            _judge(claim, by_id[claim.object_id], found)
        else:
            found.missing[str(claim.key)] = f"ObjectID {claim.object_id} is not there"
            found.gone.append(claim)


def _judge(claim: Claim, seen: SeenResult, found: Verified) -> None:
    differences = "; ".join(_differences(claim, seen))
    if differences:
        found.altered[str(claim.key)] = differences


def _note_foreign(one: SeenResult, found: Verified) -> None:
    name = str(one.key) if one.key else f"{one.build}/ObjectID {one.object_id}"
    before = f"{found.foreign[name]}; " if name in found.foreign else ""
    found.foreign[name] = f"{before}ObjectID {one.object_id} of test case {one.test_case}: {one.verdict}"


def _differences(claim: Claim, seen: SeenResult) -> Iterator[str]:
    if seen.key != claim.key:
        yield f"the last line of its Notes is not its key{f' but {seen.key}' if seen.key else ''}"
    if seen.build != claim.build:
        yield f"Build is {seen.build}, not {claim.build}"
    if seen.verdict != claim.verdict:
        yield f"Verdict is {seen.verdict}, not {claim.verdict}"
    if claim.test_case is not None and seen.test_case != claim.test_case:
        yield f"test case is ObjectID {seen.test_case}, not {claim.test_case}"
    if claim.date is not None and abs(seen.date - claim.date) >= _EXACT:
        yield f"Date is {seen.date.isoformat()}, not {claim.date.isoformat()}"
    if claim.duration_s is not None and abs((seen.duration_s or 0.0) - claim.duration_s) >= 0.001:
        yield f"Duration is {seen.duration_s}, not {claim.duration_s}"


# --- repair ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class RepairDesk(ResultDesk):
    """Results that are made again: the ledger's old entry makes room for the new intent."""

    claims: dict[Key, Claim] = field(default_factory=dict)
    bare: set[Key] = field(default_factory=set)
    """Those whose test set Rally does not have or take any more."""

    def compose(self, adds: Sequence[Add]) -> Iterator[Parcel]:
        """Write them with the Build and the test set that they had."""
        for add, parcel in zip(adds, self.parcels(adds), strict=True):
            claim = self.claims[add.key]
            test_set = None if add.key in self.bare else claim.test_set
            yield replace(parcel, result=replace(parcel.result, build=claim.build, test_set=test_set))

    def intend(self, composed: Sequence[tuple[Add, Parcel]], now: datetime) -> list[int]:
        """Write them down in place of those that are gone."""
        drafts = [
            (self.claims[add.key].object_id, Draft(add, one.result.build, one.wanted, one.result.test_set))
            for add, one in composed
        ]
        return proof.make_again(self.ledger.store, drafts, now)

    def _without_set(self, refused: Sequence[tuple[ResultLetter, str]], now: datetime) -> None:
        self.withdraw([letter for letter, _ in refused], "made again without its test set", now)
        self.bare |= {letter.item.key for letter, _ in refused}
        self.unset += [letter.item for letter, _ in refused]

    def give_up(self, now: datetime) -> None:
        """Let those go without their set that may be refused for it; the test cases of the others are gone."""
        with_set = [(letter, why) for letter, why in self.gone if letter.payload.result.test_set is not None]
        self._without_set(with_set, now)
        final = [(letter, why) for letter, why in self.gone if letter.payload.result.test_set is None]
        for letter, reason in final:
            logger.warning("Rally refuses a result", key=letter.item.title, reason=reason)
        self.ledger.entries.refuse([(letter.row, reason) for letter, reason in final], now)
        self.sent.refused += len(final)
        self.gone.clear()


@dataclass(frozen=True, slots=True)
class Repair:
    """Makes again what is gone from Rally, as the ledger has it.

    What is to be made again stands in the ledger until it is there or refused: a pass that ends early leaves it to the
    next one, of whatever kind.
    """

    rally: Rally
    ledger: Ledger
    settings: Settings
    composer: Composer
    sent: Sent
    fresh: set[int]
    """Takes the entries that are made."""
    stop: threading.Event
    now: Callable[[], datetime]

    def order(self, gone: Sequence[Claim]) -> list[Claim]:
        """Write down that these are to be made again; those of which too little is known."""
        unknown = [claim for claim in gone if self._again(claim) is None]
        keys = {claim.key for claim in unknown}
        proof.order(self.ledger.store, [claim for claim in gone if claim.key not in keys])
        return unknown

    def run(self) -> None:
        """Make what was ordered, unless it is there again.

        Raises:
            ServiceDown, Unauthorized: Rally could not be asked what is there; nothing was made.
        """
        gone = self._still_gone()
        if not gone:
            return
        desk = RepairDesk(
            self.rally, self.ledger, self.composer.parcels, self.sent,
            fresh=self.fresh, claims={claim.key: claim for claim, _ in gone},
        )  # fmt: skip
        dispatcher = Dispatcher(desk, self.settings.rally, self.stop, self.sent)
        adds = [add for _, add in gone]
        while adds and not self.sent.halted:
            busy = {intent.test_case for intent in self.ledger.entries.open_intents()}
            dispatcher.send(adds, busy=busy, now=self.now)
            desk.give_up(self.now())
            adds, desk.unset = desk.unset, []

    def preview(self) -> list[dict[str, Any]]:
        """List what `run` would make, as `--dry-run --json` prints it."""
        return [result_action(claim.build, add) for claim, add in self._still_gone()]

    def _still_gone(self) -> list[tuple[Claim, Add]]:
        """Ask Rally again; an order for what is there, or of what no more is known, is void."""
        store = self.ledger.store
        ordered = {claim.key: claim for claim in proof.ordered(store)}
        found = Verified()
        for some in portions(Counter(claim.build for claim in ordered.values()).items()):
            _read_back(self.rally, lambda: nullcontext(store), some, None, found)
        adds = [(ordered.pop(gone.key), self._again(gone)) for gone in found.gone if gone.key in ordered]
        void = [*ordered.values(), *(claim for claim, add in adds if add is None)]
        proof.cancel(store, void)
        return [(claim, add) for claim, add in adds if add is not None]

    def _again(self, claim: Claim) -> Add | None:
        return proof.again(self.ledger.store, claim, self.composer.verdicts)
