"""What the tests of the adapter to Rally share: a stand-in, and adapters to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reconciler.model import ObjectID, Rejected
from tests.rally_world import Connections, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from reconciler.rally import RallyAdapter


@pytest.fixture
def world() -> Iterator[World]:
    """Serve a Rally."""
    made = World()
    with made.server:
        yield made
        assert made.server.crashes == []


@pytest.fixture
def connect(world: World) -> Iterator[Callable[..., RallyAdapter]]:
    """Make adapters."""
    connections = Connections(world)
    yield connections
    connections.close()


@pytest.fixture
def adapter(connect: Callable[..., RallyAdapter]) -> RallyAdapter:
    """Make one adapter."""
    return connect()


@pytest.fixture
def rally(adapter: RallyAdapter) -> RallyAdapter:
    """Give an adapter that has made its first contact."""
    adapter.allowed_verdicts()
    return adapter


@pytest.fixture
def result(world: World, rally: RallyAdapter) -> ObjectID:
    """Make one result."""
    [made] = rally.add_results([world.result()])
    assert not isinstance(made, Rejected)
    world.server.log.clear()
    return made
