"""The order in which results go out: never one test case in two requests at once, oldest first, longest queue first."""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from reconciler.model import ObjectID
    from reconciler.plan import Add


class Waiting:
    """Results that wait, in a queue per test case. A test case that was taken from is busy until it is released."""

    def __init__(self, adds: Iterable[Add], busy: Iterable[ObjectID]) -> None:
        """`busy`: test cases that a request of unknown fate may still be writing to; nothing of theirs is given out."""
        self._busy = set(busy)
        self._queues: dict[ObjectID, deque[Add]] = defaultdict(deque)
        for add in sorted(adds, key=lambda add: (add.date, add.key.pipeline_id)):
            self._queues[add.test_case].append(add)
        self._heap: list[tuple[int, datetime, ObjectID]] = []
        for test_case in self._queues:
            self._offer(test_case)

    def take(self, limit: int) -> list[Add]:
        """Take up to `limit` results of test cases that are not busy, and make those busy; [] when there are none."""
        taken: list[Add] = []
        while self._heap and len(taken) < limit:
            length, _, test_case = heapq.heappop(self._heap)
            queue = self._queues[test_case]
            if test_case in self._busy or len(queue) != -length:
                continue  # an outdated offer
            self._busy.add(test_case)
            while queue and len(taken) < limit:
                taken.append(queue.popleft())
        return taken

    def any_left(self) -> bool:
        """Tell whether something may be taken now or after a release."""
        return bool(self._heap)

    def give_back(self, adds: Iterable[Add]) -> None:
        """Put results back in front of their queues; given in the order in which they were taken."""
        for add in reversed(list(adds)):
            self._queues[add.test_case].appendleft(add)

    def release(self, test_cases: Iterable[ObjectID]) -> None:
        """Let more be taken of these test cases: no request that writes to them is alive."""
        for test_case in set(test_cases):
            self._busy.discard(test_case)
            self._offer(test_case)

    def _offer(self, test_case: ObjectID) -> None:
        queue = self._queues[test_case]
        if queue and test_case not in self._busy:
            heapq.heappush(self._heap, (-len(queue), queue[0].date, test_case))
