"""What can go wrong, named by what the caller must do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.problem import Problem

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h

MUCH = 10_000
"""Results above which a backfill asks before it sends: see `NotAgreed`."""


class ReconcilerError(Exception):
    """Base of all errors raised on purpose; `str()` is one line for a person."""

    exit_status = EXIT_FAILED


class ServiceDown(ReconcilerError):
    """A server could not be reached, or gave no sensible answer to a read: the next pass asks again."""

    exit_status = EXIT_TRY_AGAIN

    def __init__(self, service: str, detail: str) -> None:
        """Name the service ("GitLab" or "Rally") and what happened, without secrets."""
        super().__init__(f"{service}: {detail}")
        self.service = service
        self.detail = detail


class NoAnswer(ReconcilerError):
    """A write may or may not have been done: only asking can tell."""

    exit_status = EXIT_TRY_AGAIN


class NotDone(ReconcilerError):
    """A write certainly was not done (it never left, or was turned away at the door): it may be sent again."""

    exit_status = EXIT_TRY_AGAIN

    def __init__(self, detail: str, *, retry_after_s: float | None = None, too_large: bool = False) -> None:
        """Say why; `retry_after_s` is what the server asked for, `too_large` means: send less at once."""
        super().__init__(detail)
        self.retry_after_s = retry_after_s
        self.too_large = too_large


class BatchRefused(ReconcilerError):
    """Rally refused `/batch` as a whole and did nothing of it: send the entries one by one."""


class Unauthorized(ReconcilerError):
    """A token or key is not accepted: a person must look; nothing more is asked of that service in this pass."""


class NotThere(ReconcilerError):
    """GitLab answers that this one thing does not exist (404)."""


class Forbidden(ReconcilerError):
    """GitLab answers that this one thing may not be read (403)."""


class TooLarge(Forbidden):
    """This one thing is larger than we are willing to read: treat it as one that may not be read."""


class Incomplete(ReconcilerError):
    """This one thing could not be read whole now, though its server answers: try it again in a later pass."""

    exit_status = EXIT_TRY_AGAIN


class Misconfigured(ReconcilerError):
    """A server says that something named in the config does not exist there: a person must correct it."""


class LedgerUnusable(ReconcilerError):
    """The ledger file cannot be used as it is (damaged, newer schema, read-only, disk full)."""


class LedgerBusy(LedgerUnusable):
    """Another process holds the ledger's lock, or that of its file."""

    exit_status = EXIT_TRY_AGAIN


class Stopped(ReconcilerError):
    """The process was asked to stop; what was begun is in the ledger."""

    exit_status = EXIT_DONE


class NotAgreed(ReconcilerError):
    """A person, or the lack of `--yes`, said No before anything was sent."""

    exit_status = EXIT_USAGE


class ConfigError(ReconcilerError):
    """The config or mapping file has mistakes; nothing was contacted."""

    exit_status = EXIT_USAGE

    def __init__(self, problems: Sequence[Problem]) -> None:
        """Carry all problems, in file order."""
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)
