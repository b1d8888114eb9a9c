"""The command line in a process that kills itself before or after its n-th commit to the ledger.

Run as a script: `before` or `after`, n, then the command line's own words. What counts is the end of an outermost
transaction: every commit of the ledger is one, migrations included.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from reconciler import cli
from reconciler.ledger.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

whole = Store.transaction


def run(when: str, nth: int) -> NoReturn:
    """Run the command line with the words that are left in `sys.argv`."""
    commits = 0

    @contextmanager
    def transaction(self: Store) -> Iterator[None]:
        nonlocal commits
        if self._inside():
            with whole(self):
                yield
            return
        with whole(self):
            yield
            commits += 1
            _die(commits == nth and when == "before")
        _die(commits == nth and when == "after")

    Store.transaction = transaction  # type: ignore[method-assign] # there is no hook for this in the program itself
    cli.main()


def _die(now: bool) -> None:  # noqa: FBT001 - reads as a sentence
    """Leave no time for anything: no rollback, no `finally`."""
    if now:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    when, nth = sys.argv[1:3]
    del sys.argv[1:3]
    run(when, int(nth))
