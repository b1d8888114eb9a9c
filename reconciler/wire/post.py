"""Post a document to an address of the operator's, once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

from reconciler import __version__
from reconciler.errors import ServiceDown
from reconciler.wire import abandon
from reconciler.wire.session import Endpoint, ServiceSession
from reconciler.wire.trouble import explain

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_S = 30.0
_CONNECT_S = 10.0


def post_json(url: str, body: bytes, longest_s: float = LONGEST_S) -> None:
    """Send it; the answer's body is not read, and no redirect is followed: it would take the body elsewhere.

    Proxies and trust are as for all else: of the environment and the system. The url's path may be a key; no text has
    more of it than the host.

    Raises:
        ServiceDown: it was not taken (2xx), whatever became of it.
    """
    host = urlsplit(url).netloc.rpartition("@")[2]
    try:
        status = abandon.run(lambda: _status(url, body), threading.Event(), longest_s=longest_s)
    except abandon.LeftBehind:
        raise ServiceDown("notify.url", f"{host} did not answer in time") from None
    except (requests.RequestException, HTTPError) as error:
        raise ServiceDown("notify.url", explain(error, url, "SSL_CERT_FILE").detail) from None
    if 300 <= status < 400:
        raise ServiceDown("notify.url", f"{host} sends us elsewhere (HTTP {status}): write the final address there")
    if not 200 <= status < 300:
        raise ServiceDown("notify.url", f"{host} answers HTTP {status}")


def _status(url: str, body: bytes) -> int:
    headers = {"Content-Type": "application/json", "User-Agent": f"reconciler/{__version__}"}
    with ServiceSession(Endpoint(url, connect_s=_CONNECT_S, read_s=LONGEST_S), connections=1) as session:
        post: Callable[..., requests.Response] = session.once
        with post("POST", url, data=body, headers=headers, allow_redirects=False, stream=True) as response:
            return response.status_code
