"""A session to hand to a library, so that its reads are retried, judged and interruptible as our own are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.errors import ReconcilerError
from reconciler.wire.session import Endpoint, ServiceSession

if TYPE_CHECKING:
    import requests

    from reconciler.wire.exchange import Answer, Wire


class LibrarySession(ServiceSession):
    """Reads through the wire; a library of ours has no business writing."""

    def __init__(self, endpoint: Endpoint, wire: Wire) -> None:
        """Make the session; nothing is opened yet."""
        super().__init__(endpoint, ca_setting=wire.service.ca_setting, connections=2 * wire.limits.at_once)
        self._wire = wire

    def request(self, method: str | bytes, url: str | bytes, **options: Any) -> requests.Response:  # type: ignore[override]  # noqa: ANN401 - requests' options, passed on
        """Fetch a JSON document, or raise one of our own errors; a library may swallow those."""
        return self.read(str(url), method=str(method), **options).response

    def read(self, url: str, *, method: str = "GET", **options: Any) -> Answer:  # noqa: ANN401 - requests' options, passed on
        """Fetch a JSON document."""
        if method.upper() != "GET":
            raise ReconcilerError(f"{self._wire.service.name}: a library tried to {method}")
        return self._wire.read(url, lambda: self.once("GET", url, **options))
