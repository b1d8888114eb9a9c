"""Run one command of the operator's, with a text on its standard input, for so long and no longer."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.errors import ReconcilerError

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import IO

KEPT_BYTES = 4_096
"""Of what a command prints; the rest is read and dropped, so that it does not block."""
_LOOK_S = 0.05


class CommandFailed(ReconcilerError):
    """The command could not be run, took too long, or ended with another status than 0."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command and what it runs in; no shell reads it."""

    words: Sequence[str]
    folder: Path | None
    environ: Mapping[str, str]

    def run(self, body: bytes, *, longest_s: float, give_up: threading.Event) -> None:
        """Run it to its end, at most until `give_up` is set; it and all that it started are then killed.

        What it leaves running when it ends in time is its own affair. `body` must fit into a pipe (64 KiB, pipe(7)).

        Raises:
            CommandFailed: with what it printed.
        """
        try:
            process = subprocess.Popen(  # noqa: S603 - the operator's own words, from the config
                list(self.words),
                cwd=self.folder,
                env=dict(self.environ),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # its process group is its own: killing that kills nobody else
            )
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            raise CommandFailed(f"it cannot be run: {reason}") from None
        with process:
            _end(process, body, time.monotonic() + longest_s, give_up)


def _end(process: subprocess.Popen[bytes], body: bytes, until: float, give_up: threading.Event) -> None:
    """Bring it to its end, for better or worse."""
    ended = False
    try:
        _write(process.stdin, body)
        said, ended = _listen(process, until, give_up)
    finally:
        if not ended:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # not waited for yet, so the number is still its own
            process.wait()
    if not ended:
        raise CommandFailed(f"it took too long and was killed{_quoted(said)}")
    if process.returncode < 0:
        raise CommandFailed(f"it was ended by signal {-process.returncode}{_quoted(said)}")
    if process.returncode:
        raise CommandFailed(f"it ended with status {process.returncode}{_quoted(said)}")


def _write(stdin: IO[bytes] | None, body: bytes) -> None:
    if stdin is None:
        return
    with suppress(BrokenPipeError):  # a command may not care what it is told
        stdin.write(body)
        stdin.flush()
    with suppress(BrokenPipeError):
        stdin.close()


def _listen(process: subprocess.Popen[bytes], until: float, give_up: threading.Event) -> tuple[bytes, bool]:
    """Read until it ends; what it printed first, and whether it did end. What it started may keep the pipe open."""
    said = b""
    output = process.stdout.fileno() if process.stdout else -1
    while process.poll() is None:
        if time.monotonic() >= until or give_up.is_set():
            return said, False
        said, is_over = _more(output, said, _LOOK_S)
        if is_over:
            give_up.wait(_LOOK_S)  # it has closed its output, and is still at work
    while len(said) < KEPT_BYTES and select.select([output], [], [], 0)[0]:
        said, is_over = _more(output, said, 0)
        if is_over:
            break
    return said, True


def _more(output: int, said: bytes, wait_s: float) -> tuple[bytes, bool]:
    if not select.select([output], [], [], wait_s)[0]:
        return said, False
    some = os.read(output, KEPT_BYTES)
    return (said + some)[:KEPT_BYTES], not some


def _quoted(said: bytes) -> str:
    text = " ".join(said.decode(errors="replace").split())
    return f": {text}" if text else ""
