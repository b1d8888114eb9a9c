"""What was looked at, what was found there, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from reconciler.errors import EXIT_DONE, EXIT_FAILED, EXIT_TRY_AGAIN, ReconcilerError, ServiceDown, Stopped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime
    from threading import Event

_ADVICE = ("check ", "set ", "use ", "write ", "correct ", "have ", "see ", "install ", "give ", "free ")
"""How the end of an error's text begins that says what to do."""
_DATE_S = 1.0
"""A Date header tells whole seconds."""
SKEW_TOLD_S, SKEW_BAD_S = 30.0, 300.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's."""

    check: str
    subject: str
    """Which one: a path, an url, a project."""
    state: Literal["ok", "warn", "fail"]
    found: str
    todo: str = ""
    unreached: bool = False
    """It failed only because a server was not reached: later it may be otherwise."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at."""

    name: str
    subject: str

    def ok(self, found: str) -> Finding:
        """Find it right."""
        return Finding(self.name, self.subject, "ok", found)

    def warn(self, found: str, todo: str) -> Finding:
        """Find something that a person should know; a pass can do without."""
        return Finding(self.name, self.subject, "warn", found, todo)

    def fail(self, found: str, todo: str, *, unreached: bool = False) -> Finding:
        """Find something that keeps results from arriving."""
        return Finding(self.name, self.subject, "fail", found, todo, unreached)

    def trouble(self, error: ReconcilerError, todo: str) -> Finding:
        """Find nothing, because of an error, which may say itself what to do; else `todo` does.

        Raises:
            Stopped: that was the error, and nothing more is to be looked at.
        """
        if isinstance(error, Stopped):
            raise error
        found, advice = _parted(error.detail if isinstance(error, ServiceDown) else str(error))
        return self.fail(found, advice or todo, unreached=error.exit_status == EXIT_TRY_AGAIN)

    def skip(self, why: str, *, unreached: bool = False) -> Finding:
        """Look at nothing: what comes before it failed."""
        return self.fail(f"not looked at: {why}", "correct that first, and run doctor again", unreached=unreached)

    def skew(self, at: datetime | None, before: datetime, after: datetime) -> Iterator[Finding]:
        """Compare a server's clock with ours before and after it was asked; nothing where it does not tell the time."""
        if at is None:
            return
        ahead_s = _outside_s(at, before - timedelta(seconds=_DATE_S), after + timedelta(seconds=_DATE_S))
        if abs(ahead_s) <= SKEW_TOLD_S:
            yield self.ok("agrees with ours")
            return
        found = f"its clock is {abs(ahead_s):,.0f} s {'ahead of' if ahead_s > 0 else 'behind'} ours"
        todo = "let this machine's clock be set by NTP (`timedatectl`), or theirs"
        yield self.fail(found, todo) if abs(ahead_s) > SKEW_BAD_S else self.warn(found, todo)


def _outside_s(at: datetime, low: datetime, high: datetime) -> float:
    return (at - high).total_seconds() if at > high else min(0.0, (at - low).total_seconds())


def _parted(text: str) -> tuple[str, str]:
    """Part what happened from what to do, where the end of the text says that; no service's name before it."""
    for service in ("GitLab: ", "Rally: "):
        text = text.removeprefix(service)
    found, _, advice = text.rpartition(": ")
    return (found, advice) if found and advice.startswith(_ADVICE) else (text, "")


def within(findings: Iterable[Finding], time_up: Event, service: str) -> list[Finding]:
    """Collect what is found until the time is up."""
    found: list[Finding] = []
    try:
        found += findings  # each as it comes
    except Stopped:
        if not time_up.is_set():
            raise
        todo = "see what makes it slow (its own state, the network, a proxy), and run doctor again"
        found.append(Check(f"{service.lower()}.time", "").fail("the rest took too long", todo, unreached=True))
    return found


def exit_status(findings: Iterable[Finding]) -> int:
    """0: all ok, or only warnings; 75: all that failed is servers that were not reached; else 1."""
    fails = [one for one in findings if one.state == "fail"]
    if not fails:
        return EXIT_DONE
    return EXIT_TRY_AGAIN if all(one.unreached for one in fails) else EXIT_FAILED


def told(findings: Sequence[Finding]) -> dict[str, Any]:
    """Give what `--json` prints."""
    rows = [
        {"check": one.check, "subject": one.subject, "state": one.state, "found": one.found, "todo": one.todo}
        for one in findings
    ]
    return {"checks": rows, "ok": all(one.state != "fail" for one in findings)}
