"""The order in which things go out: never one lane in two requests at once, oldest first, longest queue first."""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime


class Sendable(Protocol):
    """Something to be created in Rally."""

    @property
    def lane(self) -> int:
        """Things of one lane change one object of Rally: two requests at once with such would conflict."""

    @property
    def rank(self) -> tuple[datetime, int]:
        """Less goes first."""

    @property
    def title(self) -> str:
        """What a person calls it; no two have the same."""


Item = TypeVar("Item", bound=Sendable)


class Waiting(Generic[Item]):
    """Things that wait, in a queue per lane. A lane that was taken from is busy until it is released."""

    def __init__(self, items: Iterable[Item], busy: Iterable[int]) -> None:
        """`busy`: lanes that a request of unknown fate may still be writing to; nothing of theirs is given out."""
        self._busy = set(busy)
        self._queues: dict[int, deque[Item]] = defaultdict(deque)
        self._heap: list[tuple[int, tuple[datetime, int], int]] = []
        self.count = 0
        """How many wait."""
        self.add(items)

    def add(self, items: Iterable[Item]) -> None:
        """Put more behind what waits."""
        lanes: set[int] = set()
        for item in sorted(items, key=lambda item: item.rank):
            self._queues[item.lane].append(item)
            self.count += 1
            lanes.add(item.lane)
        for lane in lanes:
            self._offer(lane)

    def take(self, limit: int) -> list[Item]:
        """Take up to `limit` of lanes that are not busy, and make those busy; [] when there are none."""
        taken: list[Item] = []
        while self._heap and len(taken) < limit:
            length, _, lane = heapq.heappop(self._heap)
            queue = self._queues[lane]
            if lane in self._busy or len(queue) != -length:
                continue  # an outdated offer
            self._busy.add(lane)
            while queue and len(taken) < limit:
                taken.append(queue.popleft())
        self.count -= len(taken)
        return taken

    def any_left(self) -> bool:
        """Tell whether something may be taken now or after a release."""
        return bool(self._heap)

    def give_back(self, items: Iterable[Item]) -> None:
        """Put things back in front of their queues; given in the order in which they were taken."""
        for item in reversed(list(items)):
            self._queues[item.lane].appendleft(item)
            self.count += 1

    def release(self, lanes: Iterable[int]) -> None:
        """Let more be taken of these lanes: no request that writes to them is alive."""
        for lane in set(lanes):
            self._busy.discard(lane)
            self._offer(lane)

    def _offer(self, lane: int) -> None:
        queue = self._queues[lane]
        if queue and lane not in self._busy:
            heapq.heappush(self._heap, (-len(queue), queue[0].rank, lane))
