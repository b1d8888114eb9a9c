"""Use case: sprint test sets, their members and folders, brought up to date with what Rally schedules."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from loguru import logger

from reconciler import sprints
from reconciler.dispatch import CONFLICTS, Desk, Dispatcher, Payload
from reconciler.errors import NotThere
from reconciler.sprint_desks import (
    FolderDesk,
    FolderItem,
    MemberDesk,
    MemberItem,
    MoveDesk,
    MoveItem,
    SetDesk,
    SetItem,
)

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from reconciler.config import Settings
    from reconciler.dispatch import Sent
    from reconciler.ledger.ledger import Ledger
    from reconciler.model import Iteration, ObjectID, TestSet
    from reconciler.ports import Rally
    from reconciler.waiting import Item

    Place = tuple[ObjectID, int]
    """Of a folder: its project and its iteration, 0 for the one of all sprints."""

MEMBERS_AT_ONCE = 100
"""Clients that run put up to so many into a collection at once (facts 2.2: rally_cli)."""
BELIEVED_AFTER = timedelta(days=1)
"""For so long an empty answer is not believed where there was something."""
_HALVINGS = 12
_LONGEST_PAUSE_S = 5.0


@dataclass(slots=True)
class SprintRun:
    """Looks after the sets of all current iterations, and finds those of past ones that results are due for."""

    rally: Rally
    ledger: Ledger
    settings: Settings
    stop: threading.Event
    now: Callable[[], datetime]
    sent: Sent
    _current: list[Iteration] = field(default_factory=list)
    _fresh: set[ObjectID] = field(default_factory=set)
    """Iterations whose set was created in this run: nobody is in it yet."""
    fills: set[ObjectID] = field(default_factory=set)
    """After `preview`: the iterations whose sets `run` would make or fill."""

    def run(self) -> None:
        """Create what is missing.

        Raises:
            ServiceDown, Unauthorized: Rally could not be asked; nothing was created since.
        """
        missing = self._look()
        if missing is None:
            return
        self.ledger.sprints.forget_moves()
        self._create_sets(missing)
        self._fill_sets()
        if doubtful := self.ledger.sprints.folders_in_doubt():
            self._find_folders(doubtful)
        if self.settings.sprints.test_folder != "off":
            self._folders()

    def preview(self) -> list[dict[str, Any]]:
        """List what `run` would create, as `--dry-run --json` prints it."""
        missing = self._look()
        if missing is None:
            return []
        room, now = self.ledger.sprints, self.now()
        names = {item.iteration.object_id: item.name for item in missing}
        for iteration, test_set in room.open_sets():
            if any(self._chunks(iteration, test_set)) and (known := room.known_set(iteration, now)):
                names[iteration] = known.name
        self.fills.update(names)
        return [_set_action(item) for item in missing] + [
            {"kind": "member", "test_set": name, "test_case": case}
            for iteration, name in names.items()
            for case in room.missing_members(iteration)
        ]

    # --- what Rally has ---

    def _look(self) -> list[SetItem] | None:
        """Read what is scheduled, place the test cases, settle and adopt sets; which sets are to be created.

        None: an answer is empty where there was something, and is not believed.
        """
        now = self.now()
        days = self.ledger.entries.days_due()
        since = min(days, default=now)
        listed = self.rally.iterations(since, now)
        iterations = [
            one
            for one in listed
            if one.ends_at >= now or any(one.starts_at < day + timedelta(days=1) and day <= one.ends_at for day in days)
        ]
        self._current = [one for one in iterations if one.starts_at <= now <= one.ends_at]
        before = now - BELIEVED_AFTER
        if not self._current and (had := self.ledger.sprints.seen_since(before, now)):
            logger.warning("Rally lists no current iteration where there were some: nothing is changed", had=had)
            return None
        self.ledger.sprints.unlist([one.object_id for one in listed], since, now)
        self.ledger.sprints.store_iterations(iterations, now)
        if not self._schedule(now, before):
            return None
        known = {one.object_id for one in iterations}
        iterations += [one for one in self.ledger.sprints.in_doubt() if one.object_id not in known]
        found = self.rally.test_sets([one.object_id for one in iterations]) if iterations else []
        missing = [item for iteration in iterations if (item := self._compare(iteration, found, now))]
        self.ledger.sprints.let_go(now)
        return missing

    def _schedule(self, now: datetime, before: datetime) -> bool:
        """Read stories, defects and their test cases; False when the answer is not to be believed."""
        ids = [one.object_id for one in self._current]
        items = self.rally.work_items(ids) if ids else []
        if ids and not items and (had := self.ledger.sprints.had_items_since(ids, before)):
            logger.warning("Rally lists no stories where there were some: nothing is changed", iterations=had)
            return False
        asked = self.ledger.sprints.to_ask(items, now)
        with_cases = [item for item in asked if item.test_cases != 0]
        cases = self.rally.test_cases_of(with_cases) if with_cases else []
        self.ledger.sprints.store_items(items, asked, cases, now)
        self.ledger.sprints.want(*sprints.place(self.ledger.sprints.scheduled(), self._current))
        return True

    def _compare(self, iteration: Iteration, found: Sequence[TestSet], now: datetime) -> SetItem | None:
        """Settle what is known of an iteration's set; the item when it is to be created."""
        room, number, name = self.ledger.sprints, iteration.object_id, self._name(iteration)
        settled = now - timedelta(seconds=self.settings.rally.settle_after_seconds)
        known = room.known_set(number, settled)
        current = iteration in self._current
        step = sprints.decide(iteration, name, known, found, current=current)
        match step:
            case sprints.Adopt(test_set):
                room.adopt_set(number, test_set, now)
                self._look_at_members(number, test_set.object_id)
            case sprints.Withdraw():
                room.withdraw_set(number, "Rally does not have it", now)
            case sprints.Forget():
                logger.warning("A sprint's test set is gone from Rally: it is not made again", iteration=iteration.name)
                room.lose_set(number, now)
            case _:
                pass
        self._tell_doubles(iteration, name, found, settled)
        creates = isinstance(step, sprints.Create | sprints.Withdraw) and current
        return SetItem(iteration, name) if creates else None

    def _tell_doubles(self, iteration: Iteration, name: str, found: Sequence[TestSet], settled: datetime) -> None:
        known = self.ledger.sprints.known_set(iteration.object_id, settled)
        others = [
            one
            for one in sprints.alike(iteration, name, known, found)
            if known is None or one.object_id != known.object_id
        ]
        for double in self.ledger.sprints.store_doubles(iteration.object_id, others):
            logger.warning(
                "A sprint has a second test set of its name: the oldest is used, none is deleted",
                test_set=name,
                project=iteration.project_name,
                second=double.object_id,
            )

    def _name(self, iteration: Iteration) -> str:
        config = self.settings.sprints
        return sprints.set_name(config.test_set_name, config.number_pattern, iteration, self.rally.name_limit())

    # --- sets and members ---

    def _create_sets(self, items: Sequence[SetItem]) -> None:
        desk = SetDesk(self.rally, self.ledger.sprints, self.sent)
        self._dispatch(desk, items)
        self._fresh.update(item.iteration.object_id for item in desk.made)

    def _fill_sets(self) -> None:
        """Put missing members into sets; where another writer was in the way, look again a moment later."""
        for conflicts in range(CONFLICTS):
            if not self._fill() or self.sent.halted:
                return
            self._fresh.clear()
            self.stop.wait(min(0.2 * 2**conflicts, _LONGEST_PAUSE_S))

    def _fill(self) -> bool:
        """Try once; what Rally refuses as a whole is looked at and tried in halves. Whether there was a conflict."""
        conflicts = 0
        items = [
            item
            for iteration, test_set in self.ledger.sprints.open_sets()
            for item in self._chunks(iteration, test_set)
        ]
        for _ in range(_HALVINGS):
            desk = MemberDesk(self.rally, self.ledger.sprints, self.sent)
            dispatcher = self._dispatcher(desk)
            dispatcher.most_conflicts = 1
            dispatcher.send(items, busy=(), now=self.now)
            conflicts += desk.conflicts
            if not desk.doubtful or self.sent.halted:
                break
            items = [half for item, reason in desk.doubtful for half in self._after_a_no(item, reason)]
        return conflicts > 0

    def _chunks(self, iteration: ObjectID, test_set: ObjectID) -> Iterator[MemberItem]:
        """Settle the members in doubt; group those that are still wanted."""
        room = self.ledger.sprints
        if iteration not in self._fresh and not self._look_at_members(iteration, test_set):
            return
        wanted = room.open_members(iteration)
        if any(since is not None for _, since in wanted):
            return  # a request may still be alive: one writer for each set
        cases = [case for case, _ in wanted]
        for start in range(0, len(cases), MEMBERS_AT_ONCE):
            yield MemberItem(iteration, test_set, tuple(cases[start : start + MEMBERS_AT_ONCE]), self.now())

    def _look_at_members(self, iteration: ObjectID, test_set: ObjectID) -> bool:
        """Note who is in a set; withdraw old intents of those who are not. False when the set is gone."""
        room = self.ledger.sprints
        try:
            there = self.rally.members_of(test_set)
        except NotThere:
            room.lose_set(iteration, self.now())
            return False
        room.found_members(iteration, there)
        settled = self.now() - timedelta(seconds=self.settings.rally.settle_after_seconds)
        old = [case for case, since in room.open_members(iteration) if since is not None and since <= settled]
        room.withdraw_members(iteration, old)
        return True

    def _after_a_no(self, item: MemberItem, reason: str) -> list[MemberItem]:
        """See who of a refused request is in the set all the same; halve the rest, or refuse one that was alone."""
        room = self.ledger.sprints
        if not self._look_at_members(item.iteration, item.test_set):
            return []
        open_ones = {case for case, _ in room.open_members(item.iteration)}
        left = [case for case in item.cases if case in open_ones]
        if len(left) < len(item.cases):
            return [replace(item, cases=tuple(left))] if left else []
        if len(left) == 1:
            logger.warning(
                "Rally refuses a member of a test set", test_set=item.test_set, test_case=left[0], reason=reason
            )
            room.refuse_members(item.iteration, left, reason)
            return []
        return [replace(item, cases=tuple(half)) for half in sprints.in_halves(left)]

    # --- folders ---

    def _folders(self) -> None:
        """Make the folders of current sprints, and file test cases in them where that is wanted."""
        projects = {one.project_id: one for one in self._current}
        roots = self._made({(project, 0): (sprints.ROOT_FOLDER, None) for project in projects})
        pattern, limit = self.settings.sprints.number_pattern, self.rally.name_limit()
        wanted: dict[Place, tuple[str, ObjectID | None]] = {
            (one.project_id, one.object_id): (sprints.folder_name(pattern, one, limit), roots[one.project_id, 0])
            for one in self._current
            if (one.project_id, 0) in roots
        }
        made = self._made(wanted)
        if self.settings.sprints.test_folder == "move":
            self._dispatch(
                MoveDesk(self.rally, self.ledger.sprints), self._moves(made), at_once=self.settings.rally.batch_size
            )

    def _made(self, wanted: dict[Place, tuple[str, ObjectID | None]]) -> dict[Place, ObjectID]:
        """Find or create these folders, by project and iteration; those that are there in the end."""
        room = self.ledger.sprints
        unknown = [place for place in wanted if room.folder(*place) is None]
        if unknown:
            self._find_folders({place: wanted[place] for place in unknown})
        missing = [place for place in unknown if room.folder(*place) is None]
        first = {(place[0], wanted[place]): place for place in reversed(missing)}
        items = [FolderItem(*place, *wanted[place], self.now()) for place in first.values()]
        self._dispatch(FolderDesk(self.rally, room), items)
        if len(first) < len(missing):  # sprints of one number have one folder
            self._find_folders({place: wanted[place] for place in missing if room.folder(*place) is None})
        found = {place: room.folder(*place) for place in wanted}
        return {place: known[1] for place, known in found.items() if known and known[1] is not None}

    def _find_folders(self, wanted: dict[Place, tuple[str, ObjectID | None]]) -> None:
        """Adopt folders that Rally has, the oldest of a name; withdraw old intents that it does not have."""
        room, now = self.ledger.sprints, self.now()
        parents = sorted({parent for _, parent in wanted.values() if parent is not None})
        tops = sorted({project for (project, _), (_, parent) in wanted.items() if parent is None})
        found = self.rally.folders_in(parents) if parents else []
        found += self.rally.folders_named(sprints.ROOT_FOLDER, tops) if tops else []
        settled = now - timedelta(seconds=self.settings.rally.settle_after_seconds)
        for (project, iteration), (name, parent) in wanted.items():
            alike = [one for one in found if (one.project, one.name, one.parent) == (project, name, parent)]
            known = room.folder(project, iteration)
            if alike:
                room.confirm_folder(project, iteration, name, alike[0].object_id, now)
            elif known and known[2] <= settled:
                room.withdraw_folder(project, iteration, "Rally does not have it", now)

    def _moves(self, folders: dict[Place, ObjectID]) -> list[MoveItem]:
        """List what is to be filed; a test case of sprints that overlap goes to the one that began last."""
        moves: dict[ObjectID, MoveItem] = {}
        for one in sorted(self._current, key=lambda one: (one.starts_at, one.object_id), reverse=True):
            if (folder := folders.get((one.project_id, one.object_id))) is None:
                continue
            for case in self.ledger.sprints.to_move(one.object_id):
                if case in moves:
                    self.ledger.sprints.move(one.object_id, [case], "refused", "it is filed with a later sprint")
                else:
                    moves[case] = MoveItem(one.object_id, case, folder, self.now())
        return list(moves.values())

    def _dispatch(self, desk: Desk[Item, Payload], items: Sequence[Item], *, at_once: int = 1) -> None:
        self._dispatcher(desk, at_once).send(items, busy=(), now=self.now)

    def _dispatcher(self, desk: Desk[Item, Payload], at_once: int = 1) -> Dispatcher[Item, Payload]:
        return Dispatcher(desk, replace(self.settings.rally, batch_size=at_once), self.stop, self.sent)


def _set_action(item: SetItem) -> dict[str, Any]:
    return {
        "kind": "test_set",
        "name": item.name,
        "project": item.iteration.project_name,
        "iteration": item.iteration.name,
    }
