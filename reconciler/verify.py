"""Use case: read Rally back, compare it with the ledger, and make again what a person deleted."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from loguru import logger

from reconciler.apply import ResultDesk, ResultLetter
from reconciler.compose import Composer
from reconciler.dispatch import Dispatcher, Sent
from reconciler.ledger import proof
from reconciler.ledger.entries import Draft

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime

    from reconciler.compose import Parcel
    from reconciler.config import Settings
    from reconciler.ledger.ledger import Ledger
    from reconciler.ledger.proof import Claim
    from reconciler.ledger.store import Store
    from reconciler.model import Key, ObjectID, SeenResult
    from reconciler.plan import Add
    from reconciler.ports import Rally

BUILDS_AT_ONCE = 25
"""As many as one request asks for."""
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
        details = {name: what for found in kinds.values() for name, what in found.items()}
        return {"checked": self.checked} | {kind: list(found) for kind, found in kinds.items()} | {"details": details}


def verify(rally: Rally, reading: Callable[[], AbstractContextManager[Store]], since: datetime | None) -> Verified:
    """Compare every result that the ledger says is in Rally, by Build, with what Rally has of that Build.

    `reading` opens the ledger for a moment: a daemon beside may go on writing.
    """
    with reading() as store:
        builds = proof.builds(store, since)
    found = Verified()
    for start in range(0, len(builds), BUILDS_AT_ONCE):
        some = builds[start : start + BUILDS_AT_ONCE]
        with reading() as store:
            claims = proof.claims(store, some)
        compare(claims, rally.all_results_of(some), found, since)
    return found


def compare(
    claims: Sequence[Claim], seen: Iterable[SeenResult], found: Verified, since: datetime | None = None
) -> None:
    """Compare the results of some Builds.

    ==========================================  ========
    ledger and Rally                            is
    ==========================================  ========
    done, and there is none of its key          missing
    done, its object is there without its key   altered
    done, and another verdict, date, duration   altered
    or test case
    done, and there are several of its key      doubled
    none of that key, or no key of ours         foreign
    in doubt or refused                         neither: that is for the next pass to settle
    ==========================================  ========
    """
    by_key: dict[Key | None, list[SeenResult]] = defaultdict(list)
    for one in seen:
        by_key[one.key].append(one)
    nameless = {one.object_id: one for one in by_key.pop(None, [])}
    known = {claim.key for claim in claims}
    for claim in claims:
        if claim.is_done and (since is None or claim.date is None or claim.date >= since):
            found.checked += 1
            _judge(claim, by_key.get(claim.key, []), nameless, found)
    ours = {claim.object_id for claim in claims if claim.is_done}
    for one in [*nameless.values(), *(one for key, ones in by_key.items() if key not in known for one in ones)]:
        if one.key is not None or one.object_id not in ours:
            name = str(one.key) if one.key else f"{one.build}/ObjectID {one.object_id}"
            found.foreign[name] = f"ObjectID {one.object_id} of test case {one.test_case}: {one.verdict}"


def _judge(claim: Claim, there: Sequence[SeenResult], nameless: dict[Any, SeenResult], found: Verified) -> None:
    name = str(claim.key)
    if len(there) > 1:
        found.doubled[name] = "ObjectIDs " + ", ".join(str(one.object_id) for one in there)
    if there:
        ours = next((one for one in there if one.object_id == claim.object_id), there[0])
        differences = list(_differences(claim, ours))
        if differences:
            found.altered[name] = "; ".join(differences)
    elif claim.object_id in nameless:
        found.altered[name] = "its Notes have lost their last line, the key"
    else:
        found.missing[name] = f"ObjectID {claim.object_id} is not there"
        found.gone.append(claim)


def _differences(claim: Claim, seen: SeenResult) -> Iterator[str]:
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
    made: list[str] = field(default_factory=list)
    """Keys of what was made."""

    def intend(self, composed: Sequence[tuple[Add, Parcel]], now: datetime) -> list[int]:
        """Write them down in place of those that are gone."""
        drafts = [Draft(add, one.result.build, one.wanted, one.result.test_set) for add, one in composed]
        return proof.make_again(self.ledger.store, [(self.claims[draft.add.key], draft) for draft in drafts], now)

    def confirm(self, created: Sequence[tuple[ResultLetter, ObjectID]], now: datetime) -> None:
        """Note what is in Rally again."""
        ResultDesk.confirm(self, created, now)  # a class with slots has no zero-argument super()
        self.made += [letter.item.title for letter, _ in created]


@dataclass(frozen=True, slots=True)
class Repair:
    """Makes again what is gone from Rally, as the ledger has it."""

    rally: Rally
    ledger: Ledger
    settings: Settings
    stop: threading.Event
    now: Callable[[], datetime]

    def run(self, gone: Sequence[Claim]) -> RepairDesk:
        """Send it; the desk tells what was sent and made.

        Raises:
            ServiceDown, Unauthorized: nothing was sent since.
        """
        sent = Sent()
        adds = {claim.key: add for claim in gone if (add := claim.add())}
        for claim in gone:
            if claim.key not in adds:
                logger.warning("A result cannot be made again: the ledger found it in Rally", key=str(claim.key))
        composer = Composer(self.ledger, self.settings)
        desk = RepairDesk(self.rally, self.ledger, composer.parcel, sent, claims={claim.key: claim for claim in gone})
        busy = {intent.test_case for intent in self.ledger.entries.open_intents()}
        dispatcher = Dispatcher(desk, self.settings.rally, self.stop, sent)
        dispatcher.send(adds.values(), busy=busy, now=self.now)
        dispatcher.send(desk.unset, busy=busy, now=self.now)
        # Whether a test case is gone, or what else cannot be read: a person who deletes one wants no results of it.
        self.ledger.entries.refuse([(entry_id, reason) for entry_id, _, reason in desk.gone], self.now())
        return desk
