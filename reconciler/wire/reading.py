"""When a read that failed is tried again, and after how long."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reconciler.wire.trouble import Scope, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenacity import RetryCallState

    from reconciler.wire.breaker import Breaker
    from reconciler.wire.service import Limits

_LIMITED_TRIES = 10
_DENIED_TRIES = 3


@dataclass(slots=True)
class Policy:
    """The rules for one read, and what was found out on the way; the methods are what tenacity calls.

    =====================================  ==========================================================================
    the last try                           another one
    =====================================  ==========================================================================
    found the breaker open                 none, if it was the first; else after the breaker's wait, within patience
    no connection                          within patience, counted from the service's last good answer
    a bad answer                           the same; every `limits.tries`, and at the end, the service is asked for a
                                           sign of life: if it gives one, only this thing is bad, and that was enough
    another server's, to which we were     up to `limits.tries` in all, within patience
    redirected
    429                                    after what it asks for, up to 10 in all, within patience
    a certificate that is not trusted      none
    401 of a service that was up before    up to 3 in all where it may be maintenance, else none
    =====================================  ==========================================================================
    """

    limits: Limits
    breaker: Breaker
    denies_in_maintenance: bool
    is_alive: Callable[[], bool]
    """Ask for a sign of life."""
    now: Callable[[], float]
    is_alone: bool = False
    """Nothing but this is bad."""
    _started: float = field(init=False)

    def __post_init__(self) -> None:
        """Note when the reading began."""
        self._started = self.now()

    def is_worth_another(self, state: RetryCallState) -> bool:
        """Tell whether the kind of failure may pass."""
        trouble = _trouble(state)
        if trouble is None or not trouble.passing:
            return False
        if trouble.scope is Scope.HELD_BACK:
            return state.attempt_number > 1
        if trouble.scope is Scope.DENIED:
            return self.denies_in_maintenance and self.breaker.answered
        return True

    def is_enough(self, state: RetryCallState) -> bool:
        """Tell whether we have tried often, or waited long, enough."""
        trouble = _trouble(state)
        if trouble is None:
            return True
        match trouble.scope:
            case Scope.LIMITED:
                return state.attempt_number >= _LIMITED_TRIES or self._exceeds(self.now() - self._started, state)
            case Scope.DENIED:
                return state.attempt_number >= _DENIED_TRIES
            case Scope.ELSEWHERE:
                waited_s = self.now() - self._started
                return state.attempt_number >= self.limits.tries or self._exceeds(waited_s, state)
            case Scope.ANSWER:
                return self._is_bad_enough(state)
            case Scope.SERVER | Scope.HELD_BACK:
                return self._exceeds(self.breaker.down_s, state)

    def _is_bad_enough(self, state: RetryCallState) -> bool:
        out_of_patience = self._exceeds(self.breaker.down_s, state)
        if out_of_patience and state.attempt_number == 1 and not self.breaker.answered:
            return True  # the first contact took all our patience: a sign of life would take as much again
        if out_of_patience or state.attempt_number % self.limits.tries == 0:
            self.is_alone = self.is_alive()
        return out_of_patience or self.is_alone

    def wait_s(self, state: RetryCallState) -> float:
        """Choose the pause: full jitter, what the server asked for, or until the breaker lets a probe through."""
        trouble = _trouble(state)
        longest = min(self.limits.longest_wait_s, self.limits.first_wait_s * 2 ** (state.attempt_number - 1))
        jitter = random.uniform(0, longest)  # noqa: S311 - spreads requests, guards nothing
        asked = trouble.retry_after_s if trouble is not None else None
        return max(jitter, asked or 0.0, self.breaker.wait_s)

    def _exceeds(self, waited_s: float, state: RetryCallState) -> bool:
        return waited_s + state.upcoming_sleep > self.limits.patience_s


def _trouble(state: RetryCallState) -> Trouble | None:
    error = state.outcome.exception() if state.outcome is not None else None
    return error if isinstance(error, Trouble) else None
