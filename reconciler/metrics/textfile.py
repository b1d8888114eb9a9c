"""The file: for node_exporter's textfile collector, or whoever reads it."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from loguru import logger
from prometheus_client import generate_latest

if TYPE_CHECKING:
    from pathlib import Path

    from prometheus_client import CollectorRegistry

MODE = 0o644
"""The exporter is another user; the service's own files are for itself alone."""


class Textfile:
    """Written whole, then renamed: a reader sees the old one or the new one."""

    def __init__(self, path: Path, registry: CollectorRegistry) -> None:
        """Name the file; nothing is written yet."""
        self._path = path
        self._registry = registry
        self._fails = False

    def write(self) -> None:
        """Write the numbers as they are now; a disk that fails is told of once."""
        try:
            self._replace(generate_latest(self._registry))
        except OSError as error:
            if not self._fails:
                logger.warning(
                    "metrics.textfile cannot be written: see to its folder and its disk; it is tried again",
                    file=str(self._path), error=error.strerror or str(error),
                )  # fmt: skip
            self._fails = True
            return
        if self._fails:
            logger.info("metrics.textfile is written again", file=str(self._path))
        self._fails = False

    def _replace(self, text: bytes) -> None:
        # node_exporter reads what ends in .prom, and this does not
        partial = self._path.with_name(f"{self._path.name}.{os.getpid()}.partial")
        try:
            with partial.open("wb") as file:
                os.fchmod(file.fileno(), MODE)
                file.write(text)
            partial.replace(self._path)
        except OSError:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
