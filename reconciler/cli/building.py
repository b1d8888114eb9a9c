"""Config and adapters: what the commands work with, built here and nowhere else."""

from __future__ import annotations

import gc
import os
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from reconciler.config import Settings
    from reconciler.gitlab import GitLabAdapter
    from reconciler.ledger.ledger import Ledger
    from reconciler.mapping import Row
    from reconciler.problem import Problem
    from reconciler.rally import RallyAdapter
    from reconciler.world import World

PATIENCE_S = 25.0
"""How long a one-shot waits for each service that is down, so that it waits less than a minute in all."""
GARBAGE = 5_000
"""New objects after which Python looks for garbage: reports and answers leave much, and memory is bounded."""
READERS = 4
"""Threads that read from GitLab; each asks for one thing at a time."""


def configured(config_path: Path) -> tuple[Settings, list[Row]]:
    """Read config and mapping; set up the log.

    Raises:
        ConfigError: with the mistakes of both files.
    """
    settings, rows = read_config(config_path)
    set_up_log(settings)
    return settings, rows


def read_config(config_path: Path) -> tuple[Settings, list[Row]]:
    """Read config and mapping; raises as `configured` does."""
    from reconciler import config, mapping_file

    settings = config.load(config_path, os.environ, look_into_mapping=lambda path: mapping_file.read(path)[1])
    return settings, mapping_file.read(settings.mapping.file)[0]


def set_up_log(settings: Settings) -> None:
    """Let the log be as these settings say."""
    from reconciler import log

    log.configure(settings.log.level, json=settings.log.json, secrets=settings.secrets())


def offline(config_path: Path) -> Settings:
    """Read the config without its secrets: an operator's shell has none of a service's credentials."""
    from reconciler import config

    return config.load(config_path, os.environ, secrets=False)


def mapping_reader(settings: Settings, good: Sequence[Row]) -> Callable[[], tuple[Sequence[Row], Sequence[Problem]]]:
    """Give the mapping as it is now, and what is wrong with its file: then the last `good` one stays in force."""
    from reconciler import mapping_file

    problems: Sequence[Problem] = ()
    seen: object = None

    def rows() -> tuple[Sequence[Row], Sequence[Problem]]:
        nonlocal good, problems, seen
        if (now := _edition(settings.mapping.file)) is None or now != seen:
            found, problems = mapping_file.read(settings.mapping.file)
            seen, good = now, good if problems else found
        return good, problems

    return rows


def _edition(path: Path) -> object:
    """Tell a file's edition without reading it; None when there is no telling."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_mtime_ns, about.st_size, about.st_ino


@contextmanager
def world(settings: Settings, *, patience_s: float, per_second: float = 0.0) -> Iterator[World]:
    """Lock the ledger, build the adapters and let signals stop everything.

    `per_second`: how many requests each service gets at most; 0 = no limit.
    """
    from reconciler.ledger.lock import writer_lock
    from reconciler.signals import stop_on_signals

    with ExitStack() as stack:
        stack.enter_context(writer_lock(settings.ledger.path))
        stop = stop_on_signals()  # whoever finds the ledger locked does something else, and keeps Ctrl-C for that

        from reconciler.ledger.ledger import opened

        ledger_ = stack.enter_context(opened(settings.ledger.path, skips_count=_skips_count(settings)))
        rally = stack.enter_context(closing(rally_of(settings, stop, patience_s=patience_s, per_second=per_second)))
        rally.hail()  # its first answers take longer than all that is imported for the rest
        gitlab = stack.enter_context(closing(gitlab_of(settings, stop, patience_s=patience_s, per_second=per_second)))
        yield _world(settings, gitlab, rally, ledger_, stop)


def ledger(settings: Settings) -> AbstractContextManager[Ledger]:
    """Lock and open the ledger."""
    from reconciler.ledger.ledger import open_ledger

    return open_ledger(settings.ledger.path, skips_count=_skips_count(settings))


@contextmanager
def services(settings: Settings, opened: Ledger, stop: threading.Event, *, patience_s: float) -> Iterator[World]:
    """Build the adapters round a ledger that is open; their connections are closed in the end."""
    from reconciler.ledger.ledger import Ledger

    with (
        closing(rally_of(settings, stop, patience_s=patience_s)) as rally,
        closing(gitlab_of(settings, stop, patience_s=patience_s)) as gitlab,
    ):
        renewed = Ledger(opened.store, skips_count=_skips_count(settings))
        yield _world(settings, gitlab, rally, renewed, stop)


def _world(
    settings: Settings, gitlab: GitLabAdapter, rally: RallyAdapter, opened: Ledger, stop: threading.Event
) -> World:
    from reconciler.world import World

    _share_memory()
    _let_modules_be()

    failed = 0

    def rest() -> None:
        nonlocal failed
        gitlab.close()
        rally.close()
        before, failed = failed, sum(one.total - one.requests["ok"] for one in (gitlab.traffic, rally.traffic))
        if failed > before:  # an error may hold its connection in a circle, with a future or with tenacity's state
            gc.collect()

    return World(
        gitlab=gitlab,
        rally=rally,
        ledger=opened,
        settings=settings,
        stop=stop,
        traffic={traffic.service: traffic for traffic in (gitlab.traffic, rally.traffic)},
        rest=rest,
        readers=READERS,
    )


def _share_memory() -> None:
    """Let threads share what memory they free: glibc gives each its own heap, and a reader's peak stays with it.

    M_ARENA_MAX of mallopt(3); other C libraries have no such thing.
    """
    import ctypes

    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(-8, 2)


def _let_modules_be() -> None:
    """Never look for garbage again among what imports made: it stays. Once, for what comes later may become garbage.

    That is looked for more often than among imports, where there was none.
    """
    if not gc.get_freeze_count():
        gc.freeze()
        gc.set_threshold(GARBAGE)


def _skips_count(settings: Settings) -> bool:
    from reconciler.plan import IGNORE

    return settings.results.skipped != IGNORE


def gitlab_of(
    settings: Settings, stop: threading.Event, *, patience_s: float, per_second: float = 0.0
) -> GitLabAdapter:
    """Build the adapter for GitLab; nothing is sent yet."""
    from reconciler.gitlab import GitLabAdapter
    from reconciler.wire import Endpoint, Limits

    gitlab = settings.gitlab
    return GitLabAdapter(
        Endpoint(gitlab.url, gitlab.ca_bundle),
        gitlab.token.reveal(),
        stop=stop,
        limits=Limits(patience_s=patience_s, per_second=per_second),
    )


def rally_of(settings: Settings, stop: threading.Event, *, patience_s: float, per_second: float = 0.0) -> RallyAdapter:
    """Build the adapter for Rally; nothing is sent yet."""
    from reconciler.rally import Names, RallyAdapter
    from reconciler.wire import Endpoint, Limits

    rally = settings.rally
    return RallyAdapter(
        Endpoint(rally.url, rally.ca_bundle, read_s=rally.request_timeout_seconds),
        rally.api_key.reveal(),
        Names(rally.workspace, rally.project, settings.mapping.rally_field),
        stop=stop,
        limits=Limits(patience_s=patience_s, at_once=rally.max_concurrency, per_second=per_second),
    )
