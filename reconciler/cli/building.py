"""Config and adapters: what the commands work with, built here and nowhere else."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from reconciler.config import Settings
    from reconciler.mapping import Row
    from reconciler.ports import Rally
    from reconciler.reconcile import World

PATIENCE_S = 25.0
"""How long a one-shot waits for each service that is down, so that it waits less than a minute in all."""


def configured(config_path: Path) -> tuple[Settings, list[Row]]:
    """Read config and mapping; set up the log.

    Raises:
        ConfigError: with the mistakes of both files.
    """
    from reconciler import config, log, mapping_file

    settings = config.load(config_path, os.environ, look_into_mapping=lambda path: mapping_file.read(path)[1])
    log.configure(settings.log.level, json=settings.log.json, secrets=settings.secrets())
    _say_what_waits(settings)
    return settings, mapping_file.read(settings.mapping.file)[0]


def _say_what_waits(settings: Settings) -> None:
    """Claim nothing: who sets these keys shall know that nothing acts on them yet."""
    from loguru import logger

    for name in ("metrics", "notify"):
        section = getattr(settings, name)
        if section != type(section)():
            logger.warning("This section is checked, but nothing acts on it yet", section=name)


def offline(config_path: Path) -> Settings:
    """Read the config without its secrets: an operator's shell has none of a service's credentials."""
    from reconciler import config

    return config.load(config_path, os.environ, secrets=False)


def mapping_reader(settings: Settings) -> Callable[[], Sequence[Row]]:
    """Give the mapping as it is now; a file with mistakes keeps the last good one in force."""
    from loguru import logger

    from reconciler import mapping_file

    good: list[Row] = []

    def rows() -> Sequence[Row]:
        nonlocal good
        found, problems = mapping_file.read(settings.mapping.file)
        for problem in problems:
            logger.error("The mapping file has a mistake: the last good one stays in force", problem=str(problem))
        if not problems:
            good = found
        return good

    return rows


@contextmanager
def world(settings: Settings, *, patience_s: float) -> Iterator[World]:
    """Lock the ledger, build the adapters and let signals stop everything."""
    from reconciler import daemon
    from reconciler.gitlab import GitLabAdapter
    from reconciler.ledger.ledger import open_ledger
    from reconciler.plan import IGNORE
    from reconciler.reconcile import World
    from reconciler.wire import Endpoint, Limits

    gitlab = settings.gitlab
    with open_ledger(settings.ledger.path, skips_count=settings.results.skipped != IGNORE) as ledger:
        stop = daemon.stop_on_signals()
        yield World(
            gitlab=GitLabAdapter(
                Endpoint(gitlab.url, gitlab.ca_bundle),
                gitlab.token.reveal(),
                stop=stop,
                limits=Limits(patience_s=patience_s),
            ),
            rally=rally_of(settings, stop, patience_s=patience_s),
            ledger=ledger,
            settings=settings,
            stop=stop,
        )


def rally_of(settings: Settings, stop: threading.Event, *, patience_s: float) -> Rally:
    """Build the adapter for Rally; nothing is sent yet."""
    from reconciler.rally import Names, RallyAdapter
    from reconciler.wire import Endpoint, Limits

    rally = settings.rally
    return RallyAdapter(
        Endpoint(rally.url, rally.ca_bundle, read_s=rally.request_timeout_seconds),
        rally.api_key.reveal(),
        Names(rally.workspace, rally.project, settings.mapping.rally_field),
        stop=stop,
        limits=Limits(patience_s=patience_s, at_once=rally.max_concurrency),
    )
