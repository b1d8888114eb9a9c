"""What went wrong with one HTTP exchange: how much that says, and how it reads."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError, ProtocolError

from reconciler.wire.proxies import ProxyFailed, UnusableProxy

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_WAIT_S = 120.0
"""No server is waited for longer than this, whatever it asks for."""


class Scope(Enum):
    """What a failed exchange speaks for."""

    SERVER = "no request of any kind would have got through"
    ANSWER = "this answer is no good; others may be"
    ELSEWHERE = "another server failed, to which this one sent us on"
    LIMITED = "we are asked to slow down"
    DENIED = "our token or key is not accepted, or the server is in maintenance"
    HELD_BACK = "nothing was sent: the service is known to be down"


class Trouble(Exception):
    """One exchange that led to nothing; never leaves the adapters."""

    def __init__(
        self, detail: str, scope: Scope, *, sent: bool = True, passing: bool = True, retry_after_s: float | None = None
    ) -> None:
        """Say what happened.

        `sent`: the request, or a part of it, may have reached the server. `passing`: it may be gone in a moment.
        """
        super().__init__(detail)
        self.detail = detail
        self.scope = scope
        self.sent = sent
        self.passing = passing
        self.retry_after_s = retry_after_s


def judge(response: requests.Response) -> None:
    """Let pass every answer that the service itself may have meant: 2xx, and 4xx that speak of the thing asked for.

    =============  ===================================================
    401            DENIED
    429            LIMITED, with its Retry-After
    408, 5xx       ANSWER, with its Retry-After
    3xx            ANSWER: redirects inside the service were followed
    =============  ===================================================

    Raises:
        Trouble: for these.
    """
    status = response.status_code
    if status == 401:
        raise Trouble("HTTP 401", Scope.DENIED)
    if status == 429:
        raise Trouble("HTTP 429: it asks us to slow down", Scope.LIMITED, retry_after_s=retry_after_s(response))
    if status == 408 or status >= 500:
        raise Trouble(_status_line(status), Scope.ANSWER, retry_after_s=retry_after_s(response))
    if 300 <= status < 400:
        raise Trouble(f"HTTP {status}: {_redirected(response)}", Scope.ANSWER)


def _status_line(status: int) -> str:
    known = {member.value: member.phrase for member in HTTPStatus}.get(status)
    return f"HTTP {status} ({known})" if known else f"HTTP {status}"


def _redirected(response: requests.Response) -> str:
    host = urlsplit(urljoin(response.url, response.headers.get("Location", ""))).netloc
    return f"it sends us on to {host}: a login page or a proxy stands before it; check the url"


def is_html(response: requests.Response) -> bool:
    """Tell whether an answer says it is a page for people."""
    return "html" in response.headers.get("Content-Type", "").lower()


def not_json(response: requests.Response) -> Trouble:
    """Describe an answer that should have been JSON."""
    if is_html(response) or response.content[:64].lstrip().startswith(b"<"):
        what = "an HTML page instead of JSON: a login or maintenance page, or a proxy; check the url"
    elif not response.content:
        what = "an empty answer instead of JSON"
    else:
        what = "an answer that is not JSON, or not all of it"
    return Trouble(f"{what} (HTTP {response.status_code})", Scope.ANSWER)


def retry_after_s(response: requests.Response) -> float | None:
    """Read Retry-After: seconds, fractions too, or an HTTP date by the server's own clock; at most `LONGEST_WAIT_S`."""
    text = response.headers.get("Retry-After", "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        date = _http_date(text)
        if date is None:
            return None
        seconds = (date - server_now(response)).total_seconds()
    return min(max(seconds, 0.0), LONGEST_WAIT_S) if seconds == seconds else None  # noqa: PLR0124 - not for NaN


def rate_limit_pause_s(response: requests.Response) -> float:
    """Tell how long a spent budget lasts: `RateLimit-Remaining: 0` until `RateLimit-Reset` (epoch seconds).

    Source: GitLab doc/administration/settings/user_and_ip_rate_limits.md.
    """
    if response.headers.get("RateLimit-Remaining", "").strip() != "0":
        return 0.0
    try:
        reset = float(response.headers.get("RateLimit-Reset", ""))
    except ValueError:
        return 0.0
    return min(max(reset - server_now(response).timestamp(), 0.0), LONGEST_WAIT_S)


def server_now(response: requests.Response) -> datetime:
    """Tell the time by the server's clock, or by ours where it does not say."""
    return date_of(response) or datetime.now(UTC)


def date_of(response: requests.Response) -> datetime | None:
    """Tell when the server answered, by its own clock, to the second; None where it does not say."""
    return _http_date(response.headers.get("Date", ""))


def _http_date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def explain(error: Exception, url: str, ca_setting: str) -> Trouble:
    """Describe what requests or urllib3 raised, in one line that says what to do.

    `sent` is False only where it is proven: the connection was never made. A reset on a connection that was kept alive
    may mean anything.
    """
    host = urlsplit(url).netloc
    causes = list(_causes(error))
    by_proxy = _by_proxy(causes, host, ca_setting)
    if by_proxy is not None:
        return by_proxy
    for kind, describe in _NEVER_SENT:
        found = next((cause for cause in causes if isinstance(cause, kind)), None)
        if found is not None:
            detail = describe(host, found).replace("ca_bundle", ca_setting)
            return Trouble(detail, Scope.SERVER, sent=False, passing=kind is not ssl.SSLCertVerificationError)
    return _after_sending(causes, host)


def _by_proxy(causes: list[BaseException], host: str, ca_setting: str) -> Trouble | None:
    for cause in causes:
        if isinstance(cause, ProxyFailed):
            detail = cause.describe(host).replace("ca_bundle", ca_setting)
            return Trouble(detail, Scope.SERVER, sent=False, passing=cause.passing)
        if isinstance(cause, UnusableProxy):
            return Trouble(str(cause), Scope.SERVER, sent=False, passing=False)
    return None


def _after_sending(causes: list[BaseException], host: str) -> Trouble:
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        detail = f"TLS with {host} failed ({_reason(causes)}): is that a server that speaks https?"
        return Trouble(detail, Scope.SERVER)
    if any(isinstance(cause, (requests.Timeout, TimeoutError)) or "timed out" in str(cause) for cause in causes):
        return Trouble(f"{host} did not answer in time", Scope.ANSWER)
    if any(
        isinstance(c, (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError))
        for c in causes
    ):
        return Trouble(f"the answer of {host} was cut short", Scope.ANSWER)
    if any(isinstance(cause, (ProtocolError, ConnectionError)) for cause in causes):
        return Trouble(f"{host} cut the connection before it had answered", Scope.ANSWER)
    return Trouble(f"no exchange with {host}: {type(causes[0]).__name__}", Scope.ANSWER)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Walk through everything that an error wraps: requests and urllib3 put causes into args and `reason`."""
    todo, seen = [error], set[int]()
    while todo:
        cause = todo.pop(0)
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        wrapped = (*cause.args, getattr(cause, "reason", None), cause.__cause__, cause.__context__)
        todo += [inner for inner in wrapped if isinstance(inner, BaseException)]


def _reason(causes: list[BaseException]) -> str:
    found = next((cause for cause in causes if isinstance(cause, ssl.SSLError)), None)
    return str(getattr(found, "verify_message", "") or getattr(found, "reason", "") or "no reason given")


def _untrusted(host: str, cause: BaseException) -> str:
    reason = getattr(cause, "verify_message", "") or "verification failed"
    return f"the certificate of {host} is not trusted ({reason}): set ca_bundle to the PEM file of its authority"


def _unknown(host: str, cause: BaseException) -> str:  # noqa: ARG001 - as the others
    return f"the name {host} is not known: check the url, or the name service"


def _too_slow(host: str, cause: BaseException) -> str:  # noqa: ARG001 - as the others
    return f"no connection to {host} in time: check the url, firewall and proxy"


def _not_connected(host: str, cause: BaseException) -> str:
    if "refused" in str(cause):
        return f"{host} refuses connections: is it up, and the url right?"
    return f"{host} cannot be reached: check the url and the network"


_NEVER_SENT = (
    (ssl.SSLCertVerificationError, _untrusted),
    (NameResolutionError, _unknown),
    (NewConnectionError, _not_connected),
    (ConnectTimeoutError, _too_slow),
)
