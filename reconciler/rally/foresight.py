"""Asks what pyral is about to ask: its eight questions, one after another, are three rounds when begun in time.

What it asks was read in pyral 1.6.0 and 1.7.0, which are alike here, and seen at the stand-in. A guess that is wrong
costs a read that nobody uses: what pyral asks otherwise is asked as it asks.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING
from urllib.parse import quote

from reconciler.rally import wsapi

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from reconciler.wire import Answer

_SERVICE = "/slm/webservice/v2.0"
_SCHEMA = "/slm/schema/v2.0"


class Foresight:
    """The questions of one first contact; used by one thread."""

    def __init__(self, base_url: str, workspace: str, read: Callable[[str], Answer]) -> None:
        """Ask nothing yet; `read` is called in threads of their own."""
        self._base_url = base_url
        self._workspace = workspace
        self._read = read
        self._begun: dict[str, Future[Answer]] = {}

    def answer_to(self, url: str) -> Answer:
        """Give the answer to a question of pyral's, which was begun earlier or is asked now; raises as `read` does."""
        if url.partition("?")[0].endswith("/User"):
            self._begin(f"{self._base_url}{_SERVICE}/Subscription?fetch=true&pagesize=1000&start=1")
        begun = self._begun.pop(url, None)
        return self._read(url) if begun is None else begun.result()

    def learn(self, path: str, document: object) -> None:
        """Begin what follows from an answer."""
        for question in self._following(path, document):
            self._begin(f"{self._base_url}{question}")

    def _following(self, path: str, document: object) -> Iterator[str]:
        row = _first(document)
        match path.rpartition("/")[2]:
            case "User" if number := wsapi.ref_id(row.get("UserProfile")):
                yield f"{_SERVICE}/UserProfile/{number}"
            case "Subscription" if number := wsapi.ref_id(row):
                wanted = f'((Name = "{quote(self._workspace)}") AND (State = Open))'
                workspaces = f"{_SERVICE}/subscription/{number}/Workspaces"
                yield f"{workspaces}?fetch=true&query={wanted}&pagesize=200&start=1"
            case "Workspaces" if number := wsapi.ref_id(row):
                yield f"{_SERVICE}/workspace/{number}"
                yield f'{_SERVICE}/Workspace/{number}/Projects?fetch="ObjectID,Name,State"&pagesize=200&start=1'
                yield f"{_SERVICE}/Project?fetch=Name&workspace=workspace/{number}&pagesize=1000&start=1"
                yield f"{_SCHEMA}/workspace/{number}"

    def _begin(self, url: str) -> None:
        if url in self._begun:
            return
        future: Future[Answer] = Future()
        self._begun[url] = future
        threading.Thread(target=self._fill, args=(future, url), name="rally-foresight", daemon=True).start()

    def _fill(self, future: Future[Answer], url: str) -> None:
        try:
            future.set_result(self._read(url))
        except BaseException as error:  # noqa: BLE001 - raised where the answer is taken
            future.set_exception(error)


def _first(document: object) -> wsapi.Row:
    """Give the first row of a query's answer, or the one object of another; {} where there is none."""
    _, result = wsapi.envelope(document)
    found = result.get("Results")
    if not result and isinstance(document, dict):
        found = list(document.values())  # {"User": {…}}
    first = found[0] if isinstance(found, list) and found else None
    return first if isinstance(first, dict) else {}
