"""HTTP exchanges with one service: reads are tried again, writes are sent once, and all can be interrupted."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import requests
from loguru import logger
from tenacity import Retrying
from urllib3.exceptions import HTTPError

from reconciler.errors import Incomplete, NoAnswer, NotDone, ReconcilerError, ServiceDown, Stopped, Unauthorized
from reconciler.redaction import Redaction
from reconciler.traffic import Traffic
from reconciler.wire import abandon
from reconciler.wire.breaker import Breaker
from reconciler.wire.limiter import Limiter
from reconciler.wire.reading import Policy
from reconciler.wire.service import Clock, Limits, Service
from reconciler.wire.trouble import Scope, Trouble, explain, judge, not_json, rate_limit_pause_s

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable

    from reconciler.traffic import Outcome

T = TypeVar("T")

_PAUSE_OF_SILENT_LIMIT_S = 2.0
"""How long all threads pause after a 429 without Retry-After."""


_OUTCOMES: dict[Scope, Outcome] = {
    Scope.SERVER: "unreachable",
    Scope.ANSWER: "bad_answer",
    Scope.ELSEWHERE: "bad_answer",
    Scope.LIMITED: "limited",
    Scope.DENIED: "denied",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service answered, and the JSON document in it; None where a refusal had none."""

    response: requests.Response
    document: Any

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.response.status_code


class Wire:
    """All traffic with one service, from any number of threads."""

    def __init__(
        self,
        service: Service,
        *,
        stop: threading.Event,
        limits: Limits | None = None,
        secrets: Iterable[str] = (),
        clock: Clock | None = None,
    ) -> None:
        """Share `stop` with whoever may end the process; `secrets` are blotted out of every text that leaves."""
        self.service = service
        self.limits = limits or Limits()
        self.redact = Redaction(secrets)
        self._stop = stop
        self._clock = clock or Clock()
        self.traffic = Traffic(service.name, self._clock.now)
        self._breaker = Breaker(service.name, after=self.limits.breaker_after, now=self._clock.now)
        self._limiter = Limiter(self.limits.at_once, self.limits.per_second, now=self._clock.now, pause=self._pause)
        self._writes = itertools.count(1)
        self._sign_of_life: tuple[str, Callable[[], requests.Response]] | None = None

    def ask_when_in_doubt(self, url: str, send: Callable[[], requests.Response]) -> None:
        """Give a cheap read by which to find out whether the service or only one of its things is bad.

        Without one no part of the service does without the others, and no read is ever `Incomplete`.
        """
        self._sign_of_life = url, send

    def read(self, url: str, send: Callable[[], requests.Response]) -> Answer:
        """Fetch a JSON document; refusals (4xx) of the thing asked for are answers too.

        Raises:
            ServiceDown: nothing sensible came back while we had patience, or the breaker is open.
            Incomplete: this one resource gives no sensible answer, while the service answers others.
            Unauthorized, Stopped.
        """
        return self.reading(url, lambda: self._answer(send()))

    def reading(self, url: str, attempt: Callable[[], T], *, longest_s: float = 0.0) -> T:
        """Do `attempt`, which may raise `Trouble`, until it succeeds; raises as `read` does.

        Each attempt runs in another thread, and may be left behind there.
        """
        resource = urlsplit(url).path
        if not self._breaker.answered:  # a server that never answers is not waited for longer than one that refuses
            longest_s = min(longest_s or self.limits.longest_exchange_s, self.limits.patience_s)
        policy = Policy(
            self.limits, self._breaker, self.service.denies_in_maintenance, self._is_alive, now=self._clock.now
        )
        tries = Retrying(
            retry=policy.is_worth_another,
            stop=policy.is_enough,
            wait=policy.wait_s,
            sleep=self._pause,
            reraise=True,
        )
        try:
            return tries(lambda: self._exchange(url, attempt, resource, longest_s=longest_s))
        except Trouble as trouble:
            _let_go(trouble)
            raise self._gave_up(resource, trouble, is_alone=policy.is_alone) from None

    def write(self, url: str, send: Callable[[], requests.Response]) -> Answer:
        """Send one write, exactly once.

        ===================================================================  ============
        it was never sent, the breaker is open, 429, 413                     NotDone
        401                                                                  Unauthorized
        408, 5xx, 3xx, 2xx that is not whole JSON, an answer cut or late     NoAnswer
        any other                                                            is returned
        ===================================================================  ============
        """
        resource = f"write {next(self._writes)}"
        try:
            answer = self._exchange(url, lambda: self._answer(send()), resource, grace_s=self.limits.write_grace_s)
        except Trouble as trouble:
            _let_go(trouble)
            raise self._not_written(trouble) from None
        if answer.status == 413:
            raise NotDone(self._line("HTTP 413: the request is too large"), too_large=True)
        return answer

    def _exchange(
        self, url: str, attempt: Callable[[], T], resource: str, *, longest_s: float = 0.0, grace_s: float = 0.0
    ) -> T:
        self._stop_if_asked()
        if not self._breaker.admits():
            raise Trouble(self._breaker.detail, Scope.HELD_BACK, sent=False, retry_after_s=self._breaker.wait_s)
        began = sent_at = self._clock.now()
        try:
            with self._limiter.turn():
                sent_at = self._clock.now()
                value = self._attempt(url, attempt, longest_s or self.limits.longest_exchange_s, grace_s)
        except Trouble as trouble:
            self._report(resource, trouble, began)
            self._count(url, _OUTCOMES[trouble.scope], sent_at)
            raise
        except BaseException:
            self._breaker.abandoned()
            raise
        self._breaker.succeeded()
        is_refused = isinstance(value, Answer) and not value.response.ok
        self._count(
            url, "refused" if is_refused else "ok", sent_at, value.status if isinstance(value, Answer) else None
        )
        return value

    def _count(self, url: str, outcome: Outcome, sent_at: float, status: int | None = None) -> None:
        self.traffic.note(outcome)
        self.traffic.breaker_open = self._breaker.is_open
        seconds = round(self._clock.now() - sent_at, 3)
        path = urlsplit(url).path
        logger.debug("Request", service=self.service.name, path=path, outcome=outcome, status=status, seconds=seconds)

    def _attempt(self, url: str, attempt: Callable[[], T], longest_s: float, grace_s: float) -> T:
        try:
            return abandon.run(attempt, self._stop, longest_s=longest_s, grace_s=grace_s)
        except abandon.LeftBehind as left:
            if left.stopping and not grace_s:
                raise Stopped("stopped") from None
            raise Trouble(f"no whole answer within {longest_s:g} s", Scope.ANSWER) from None
        except (requests.RequestException, HTTPError) as error:
            raise explain(error, url, self.service.ca_setting) from error

    def _report(self, resource: str, trouble: Trouble, began: float) -> None:
        match trouble.scope:
            case Scope.SERVER | Scope.ANSWER:
                is_down = trouble.scope is Scope.SERVER
                self._breaker.failed(resource, self.redact(trouble.detail), is_down=is_down, began=began)
            case Scope.ELSEWHERE:
                self._breaker.succeeded()
            case Scope.LIMITED:
                self._breaker.succeeded()
                pause_s = trouble.retry_after_s
                self._limiter.hold(_PAUSE_OF_SILENT_LIMIT_S if pause_s is None else pause_s)
            case Scope.DENIED | Scope.HELD_BACK:
                self._breaker.abandoned()

    def _answer(self, response: requests.Response) -> Answer:
        judge(response)
        self._limiter.hold(rate_limit_pause_s(response))
        try:
            return Answer(response, json.loads(response.content))
        except (ValueError, RecursionError):
            if response.ok:
                raise not_json(response) from None
            return Answer(response, None)

    def _is_alive(self) -> bool:
        if self._sign_of_life is None:
            return False
        url, send = self._sign_of_life
        try:
            self._exchange(url, lambda: self._answer(send()), urlsplit(url).path)
        except Trouble:
            return False
        return True

    def _gave_up(self, resource: str, trouble: Trouble, *, is_alone: bool) -> ReconcilerError:
        match trouble.scope:
            case Scope.DENIED:
                return Unauthorized(self._line(f"HTTP 401: {self.service.denied}"))
            case Scope.ELSEWHERE:
                return Incomplete(self._line(f"{resource}: {trouble.detail}"))
            case Scope.ANSWER if is_alone:
                return Incomplete(self._line(f"{resource}: {trouble.detail}"))
            case Scope.SERVER | Scope.ANSWER:
                self._breaker.gave_up()
                self.traffic.breaker_open = self._breaker.is_open
            case _:
                pass
        return ServiceDown(self.service.name, self.redact(trouble.detail))

    def _not_written(self, trouble: Trouble) -> ReconcilerError:
        match trouble.scope:
            case Scope.DENIED:
                return Unauthorized(self._line(f"HTTP 401: {self.service.denied}"))
            case Scope.LIMITED | Scope.HELD_BACK:
                return NotDone(self._line(trouble.detail), retry_after_s=trouble.retry_after_s)
            case _ if trouble.sent:
                return NoAnswer(self._line(trouble.detail))
            case _:
                return NotDone(self._line(trouble.detail))

    def _line(self, detail: str) -> str:
        return self.redact(f"{self.service.name}: {detail}")

    def _pause(self, seconds: float) -> None:
        if seconds > 0:
            self._clock.pause(self._stop, seconds)
        self._stop_if_asked()

    def _stop_if_asked(self) -> None:
        if self._stop.is_set():
            raise Stopped("stopped")


def _let_go(trouble: Trouble) -> None:
    """Free what an expected error holds: its frames and causes have the connection and its pool.

    Futures and tenacity's state refer to an error whose frames refer to them, until the next full garbage collection;
    so long an idle connection would stay open between passes.
    """
    trouble.__traceback__ = trouble.__cause__ = trouble.__context__ = None
