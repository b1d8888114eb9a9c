"""One workspace: the first contact with it, and reads that are whole or raise."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from reconciler.errors import Incomplete, Misconfigured, ReconcilerError, ServiceDown
from reconciler.rally import wsapi
from reconciler.rally.context import Context, Names, RallySession, connect, status_error
from reconciler.rally.writes import Writes
from reconciler.wire import Endpoint, Limits, Service, Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from reconciler.wire import Answer

USER_PATH = "/slm/webservice/v2.0/user"

T = TypeVar("T")
R = TypeVar("R")

READS_AT_ONCE = 4
"""Pages or chunks of one question that are fetched at a time: a third of what Rally serves one user."""
_SERVICE = Service(
    "Rally",
    "the API key is not accepted (check rally.api_key), or Rally is in maintenance",
    denies_in_maintenance=True,  # KB 277242
)


class Contact:
    """What all calls share; used from any number of threads."""

    def __init__(
        self,
        endpoint: Endpoint,
        api_key: str,
        names: Names,
        *,
        stop: threading.Event,
        limits: Limits | None = None,
    ) -> None:
        """Nothing is sent yet."""
        self._names = names
        self._api_key = api_key
        self._base_url = endpoint.url
        wire = Wire(_SERVICE, stop=stop, limits=limits, secrets=(api_key,))
        self._session = RallySession(endpoint, wire)
        self.writes = Writes(self._session, wire)
        self.traffic = wire.traffic
        self._lock = threading.Lock()
        self._known: Context | None = None

    def close(self) -> None:
        """Close idle connections."""
        self._session.close()

    def begin(self) -> None:
        """Contact Rally in a thread of its own, which nobody waits for."""
        threading.Thread(target=self._begin, name="rally-first-contact", daemon=True).start()

    def _begin(self) -> None:
        with suppress(ReconcilerError):
            self.known()

    def known(self) -> Context:
        """Contact Rally, unless that was done; others wait for the first who does."""
        if self._known is None:
            with self._lock:
                if self._known is None:
                    try:
                        self._known = connect(self._session, self._base_url, self._api_key, self._names)
                    except Incomplete as error:
                        raise _down(error) from None
        return self._known

    @property
    def place(self) -> wsapi.Place:
        """Where we work."""
        return self.known().place

    def in_chunks(self, query: wsapi.Query, terms: Iterable[str]) -> Iterator[wsapi.Row]:
        """Read what fits any of these terms, each asked for once; nothing is asked where there are none."""
        for rows in self._together(self.rows, list(self.place.chunks(query, dict.fromkeys(terms)))):
            yield from rows

    def rows(self, query: wsapi.Query) -> list[wsapi.Row]:
        """Read all pages of a query."""
        return wsapi.read_all(query.type_path, partial(self.place.url_of, query), self.read, self._read_each)

    def members(self, what: str, of: tuple[str, int], url_of: Callable[[int], str]) -> list[wsapi.Row] | None:
        """Read all pages of an object's own collection; None: Rally has no such object.

        A No is only believed when a query does not find the object (`of`: its type and ObjectID) either: a proxy says
        404 too, and a workspace that is closed "Could not read".
        """
        try:
            return wsapi.read_all(what, url_of, self.read)
        except (wsapi.Gone, Misconfigured):  # the latter is a 404
            type_path, object_id = of
            if self.rows(wsapi.Query(type_path, "ObjectID", (f"(ObjectID = {object_id})",), everywhere=True)):
                raise
            return None

    def _read_each(self, urls: Sequence[str]) -> list[object]:
        return list(self._together(self.read, urls))

    def _together(self, ask: Callable[[T], R], questions: Sequence[T]) -> Iterator[R]:
        """Ask some at once, and give the answers in order; the first that fails is raised."""
        if len(questions) < 2:
            yield from map(ask, questions)
            return
        with ThreadPoolExecutor(READS_AT_ONCE, thread_name_prefix="rally-read") as pool:
            yield from pool.map(ask, questions)

    def read(self, url: str) -> object:
        """Read one document."""
        return self._ask(url).document

    def ask_of_owner(self, fetch: str) -> Answer:
        """Read whose key it is; before the first contact, too, and so with a header of its own."""
        return self._ask(f"{self._base_url}{USER_PATH}?fetch={fetch}", headers={"ZSESSIONID": self._api_key})

    def _ask(self, url: str, **options: Any) -> Answer:  # noqa: ANN401 - requests' options, passed on
        try:
            answer = self._session.read(url, **options)
        except Incomplete as error:
            raise _down(error) from None
        if answer.status != 200:
            raise status_error(answer.status, url.partition("?")[0])
        return answer


def _down(error: Incomplete) -> ServiceDown:
    return ServiceDown("Rally", str(error).removeprefix("Rally: "))
