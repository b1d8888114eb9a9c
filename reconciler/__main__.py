"""The command `reconciler`, also as `python -m reconciler`."""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING

from reconciler.errors import EXIT_TRY_AGAIN

if TYPE_CHECKING:
    from typing import NoReturn

GARBAGE = 100_000
"""New objects after which Python looks for garbage; at its own 700, imports alone have it look hundreds of times.

Whoever goes on for long is less patient, see `cli.building`.
"""


def main() -> NoReturn:
    """Run the command line; what it imports is imported with the patience above."""
    gc.set_threshold(GARBAGE)
    _take_standard_files()
    try:
        from reconciler.cli import main as command  # noqa: PLC0415 - see above

        command()
    except KeyboardInterrupt:  # it had not begun
        sys.exit(EXIT_TRY_AGAIN)
    finally:
        gc.freeze()  # all of it goes with the process: to look for garbage once more takes a tenth of a short command


def _take_standard_files() -> None:
    """Let what nobody gave us be nowhere: else the ledger gets the number of standard error, and what is written there.

    With `reconciler >&-`, say, Python has no sys.stdout, and the first file that is opened is number 1.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115, PTH123 - for as long as the process is there


if __name__ == "__main__":
    main()
