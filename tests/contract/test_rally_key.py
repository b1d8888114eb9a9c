"""Whose API key it is, what that user may do, and whether `/batch` answers: asked without writing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

import pytest

from reconciler.errors import (
    BatchRefused,
    Misconfigured,
    NoAnswer,
    NotDone,
    ReconcilerError,
    ServiceDown,
    Unauthorized,
)
from reconciler.model import ProjectRole
from reconciler.sandbox.faults import Answer, page, too_many
from reconciler.sandbox.messages import Response
from reconciler.sandbox.rally import ApiKey
from tests.contract.unhurried import IMPATIENT, met
from tests.rally_world import KEY

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.rally import RallyAdapter
    from reconciler.sandbox.rally import Thing
    from tests.rally_world import World


def user_of(world: World) -> Thing:
    """Give the key's owner."""
    return world.store.keys[KEY].user


# --- the owner -------------------------------------------------------------------------------------------------------


def test_the_owner_is_known_in_one_request_and_without_a_workspace(
    world: World, connect: Callable[..., RallyAdapter]
) -> None:
    """Also where the config names a workspace that there is not: that is another mistake."""
    world.server.clock_ahead_s = -3600

    owner = connect("No such workspace").owner()

    assert (owner.name, owner.is_admin, owner.object_id) == ("qa@example.com", False, user_of(world).oid)
    assert owner.at is not None
    assert abs(owner.at - datetime.now(UTC) + timedelta(hours=1)) < timedelta(seconds=10)
    assert len(world.server.log) == 1


def test_an_administrator_of_the_subscription_is_told(world: World, adapter: RallyAdapter) -> None:
    """That one needs no role in a project."""
    user_of(world).fields["SubscriptionAdmin"] = True
    assert adapter.owner().is_admin


def test_an_unknown_key_is_unauthorized_at_once(world: World, connect: Callable[..., RallyAdapter]) -> None:
    """No pass goes on with it, and nothing is asked again in the same breath."""
    with pytest.raises(Unauthorized, match=r"rally\.api_key"):
        connect(key="_other").owner()
    assert len(world.server.log) == 1


def test_an_owner_in_a_query_result_is_read_too(world: World, adapter: RallyAdapter) -> None:
    """Clients have seen both forms."""
    row = {"_ref": "https://rally.test/slm/webservice/v2.0/user/77", "UserName": "ci@example.com"}
    world.fail(Answer(Response.json({"QueryResult": {"Errors": [], "Results": [row]}})), "/user")
    assert (adapter.owner().object_id, world.server.log.entries("GET")[0].status) == (77, 200)


@pytest.mark.parametrize(
    ("document", "error"),
    [
        ({"OperationResult": {"Errors": ["Not authorized to perform action: Invalid key"]}}, Unauthorized),
        ({"User": {"UserName": "without a number"}}, ServiceDown),
        ({"surprise": 1}, ServiceDown),
    ],
)
def test_an_odd_answer_is_no_owner(
    world: World, adapter: RallyAdapter, document: object, error: type[ReconcilerError]
) -> None:
    """HTTP 200 says nothing by itself."""
    world.fail(Answer(Response.json(document)), "/user")
    with pytest.raises(error):
        adapter.owner()


def test_a_wrong_url_is_a_mistake_of_the_config(world: World, adapter: RallyAdapter) -> None:
    """A 404 is no outage."""
    world.fail(page(404), "/user", times=None)
    with pytest.raises(Misconfigured, match=r"check rally\.url"):
        adapter.owner()


# --- roles -----------------------------------------------------------------------------------------------------------


def test_roles_are_told_for_the_root_project_and_below(world: World, rally: RallyAdapter) -> None:
    """Not for the project beside it, nor for another workspace's."""
    world.store.forbid(user_of(world), world.team)
    assert rally.roles(rally.owner()) == [
        ProjectRole("Web Shop", "Editor", is_root=True),
        ProjectRole("Team A", "Viewer", is_root=False),
    ]


def test_a_role_that_rally_does_not_list_is_empty(world: World, rally: RallyAdapter) -> None:
    """As it may be for administrators."""
    for permission in world.store.permissions(user_of(world), world.root):
        world.store.delete(permission)
    assert rally.roles(rally.owner())[0] == ProjectRole("Web Shop", "", is_root=True)


def test_another_users_roles_are_not_ours(world: World, rally: RallyAdapter) -> None:
    """Rally is asked for one user's."""
    world.store.forbid(world.store.add_user("else@example.com"), world.root)
    assert rally.roles(rally.owner())[0].role == "Editor"


# --- a batch that reads ----------------------------------------------------------------------------------------------


def test_a_batch_that_only_reads_changes_nothing(world: World, rally: RallyAdapter) -> None:
    """It is one POST, of one GET."""
    before = world.store.dump()
    world.server.log.clear()

    rally.probe_batch()

    assert world.store.dump() == before
    assert [(entry.method, entry.path.rpartition("/")[2]) for entry in world.server.log] == [("POST", "batch")]


def test_a_wrapped_answer_and_one_with_an_error_inside_are_answers(world: World, rally: RallyAdapter) -> None:
    """Whether `/batch` is there is all that is asked."""
    world.app.behaviour.batch_style = "wrapped"
    rally.probe_batch()
    world.app.mishaps.refuse_entry(0, "Could not read: no GET in a batch")
    rally.probe_batch()


def test_a_key_that_only_reads_is_told_by_any_post(world: World, rally: RallyAdapter) -> None:
    """Rally answers 401 to a POST of such a key (KB 127054), while it answers its reads."""
    key = world.store.keys[KEY]
    world.store.keys[KEY] = ApiKey(key.key, key.user, read_only=True)
    with pytest.raises(Unauthorized):
        rally.probe_batch()
    assert rally.owner().name == "qa@example.com"


@pytest.mark.parametrize("how", ["errors", 403, 404, 405])
def test_a_server_without_batch_is_told(world: World, rally: RallyAdapter, how: Literal["errors"] | int) -> None:
    """By its status, or by Errors that stand for all."""
    world.app.behaviour.batch = how
    with pytest.raises(BatchRefused):
        rally.probe_batch()


def test_a_batch_without_an_answer_is_neither_yes_nor_no(world: World, connect: Callable[..., RallyAdapter]) -> None:
    """A page, or no results at all; it is sent once."""
    rally = met(connect(limits=replace(IMPATIENT, tries=1)))
    world.server.log.clear()
    world.fail(page(502), "/batch")
    with pytest.raises(NoAnswer):
        rally.probe_batch()
    world.fail(Answer(Response.json({"BatchResult": {"Errors": [], "Results": []}})), "/batch")
    with pytest.raises(NoAnswer):
        rally.probe_batch()
    world.fail(too_many(1), "/batch")
    with pytest.raises(NotDone):
        rally.probe_batch()
    assert len(world.server.log) == 3
