"""The command `reconciler`, also as `python -m reconciler`."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import NoReturn

GARBAGE = 100_000
"""New objects after which Python looks for garbage; at its own 700, imports alone have it look hundreds of times.

Whoever goes on for long is less patient, see `cli.building`.
"""


def main() -> NoReturn:
    """Run the command line; what it imports is imported with the patience above."""
    gc.set_threshold(GARBAGE)
    from reconciler.cli import main as command  # noqa: PLC0415 - see above

    command()


if __name__ == "__main__":
    main()
