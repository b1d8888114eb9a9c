"""`reconciler doctor` tells whether it is set up right, and if not, what is to be done."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.ledger.ledger import open_ledger
from reconciler.sandbox.gitlab import Role
from reconciler.sandbox.rally import ApiKey
from reconciler.sandbox.tls import make_tls
from tests.company import KEY, TOKEN, Company, junit, open_company

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ANSWER = {"check", "subject", "state", "found", "todo"}


def looked(company: Company, status: int, **environment: str) -> dict[str, list[dict[str, str]]]:
    """Let the doctor look; what it found by check."""
    ran = company.run("--json", "doctor", **environment)
    assert ran.status == status, (ran.out, ran.err)
    told: dict[str, Any] = ran.json
    assert told["ok"] is (status == 0)
    found: dict[str, list[dict[str, str]]] = {}
    for row in told["checks"]:
        assert set(row) == ANSWER
        assert (row["state"] == "ok") == (not row["todo"]), row
        found.setdefault(row["check"], []).append(row)
    return found


def one(found: dict[str, list[dict[str, str]]], check: str) -> tuple[str, str]:
    """Give state and finding of a check that is there once."""
    (row,) = found[check]
    return row["state"], row["found"]


@pytest.fixture
def sound(company: Company) -> Company:
    """Give a company with a pipeline and a mapping, where nothing is wrong."""
    company.configure()
    company.ran(junit("pays_TC1"), {"a.txt": b"hello"})
    company.map(("shop.pays", "TC1"), ("shop.slow", "-"))
    return company


# --- all is well -----------------------------------------------------------------------------------------------------


def test_all_is_well_and_nothing_was_written(sound: Company) -> None:
    """Not in Rally, not in GitLab, and not on this machine: no ledger, no lock."""
    files = {path: path.read_bytes() for path in sound.folder.iterdir()}
    rally = sound.rally_store.dump()

    found = looked(sound, 0)

    assert {row["state"] for check, rows in found.items() for row in rows if check != "ledger.sqlite"} == {"ok"}
    assert {path: path.read_bytes() for path in sound.folder.iterdir()} == files
    assert sound.rally_store.dump() == rally
    assert [entry.path.rpartition("/")[2] for entry in sound.rally.log.writes()] == ["batch"]
    assert not sound.gitlab.server.log.writes()
    assert not sound.gitlab.app.unknown_parameters


def test_people_read_a_line_for_each_thing(sound: Company) -> None:
    """With a sum in the end, and nothing on standard error."""
    ran = sound.run("doctor")
    assert (ran.status, ran.err) == (0, "")
    assert "ok    gitlab.project qa/web-shop: its pipelines and jobs can be read" in ran.out
    assert "ok    rally.workspace Acme / Web Shop: found" in ran.out
    assert ran.out.rstrip().endswith("0 failed.")


def test_a_ledger_in_use_is_looked_at_beside_who_holds_it(sound: Company) -> None:
    """It is whole; the doctor needs no lock, and names who has it."""
    with open_ledger(sound.folder / "ledger.db", skips_count=False):
        found = looked(sound, 0)
    assert one(found, "ledger.integrity") == ("ok", "whole")
    assert f"pid {os.getpid()}" in one(found, "daemon")[1]


# --- config and secrets ----------------------------------------------------------------------------------------------


def test_mistakes_of_the_config_end_it_as_with_every_command(sound: Company) -> None:
    """All of them, the mapping file's too, each with its place."""
    sound.configure(rally={"batch_sise": 1})
    sound.map(("shop.pays", "US1"))
    ran = sound.run("--json", "doctor")
    assert (ran.status, ran.out) == (2, "")
    lines = ran.err.splitlines()
    assert [line.split(": ")[0].rpartition("/")[2] for line in lines] == ["config.toml:10:1", "mapping.csv:2:13"]
    assert not list(sound.rally.log) + list(sound.gitlab.server.log)


def test_a_secret_that_is_missing_fails_and_the_other_service_is_looked_at(sound: Company) -> None:
    """The line says where it should come from; nothing is sent without it."""
    sound.configure(gitlab={"token": "file:nowhere"})
    found = looked(sound, 1)
    by_name = {row["subject"]: row for row in found["secret"]}
    assert (by_name["gitlab.token"]["state"], by_name["rally.api_key"]["state"]) == ("fail", "ok")
    assert "does not exist" in by_name["gitlab.token"]["found"]
    assert "create it" in by_name["gitlab.token"]["todo"]
    assert one(found, "gitlab.project") == ("fail", "not looked at: there is no secret for it")
    assert one(found, "rally.workspace")[0] == "ok"
    assert not list(sound.gitlab.server.log)


# --- GitLab ----------------------------------------------------------------------------------------------------------


def test_a_wrong_token_fails_and_rally_is_looked_at(sound: Company) -> None:
    """The server is up, which is said; projects are not asked for with it."""
    found = looked(sound, 1, GITLAB_TOKEN="glpat-wrong")  # noqa: S106 - nobody's
    assert one(found, "gitlab.connection")[0] == "ok"
    assert one(found, "gitlab.token")[0] == "fail"
    assert one(found, "gitlab.project")[1] == "not looked at: the token is not accepted"
    assert one(found, "rally.permissions")[0] == "ok"
    assert len(sound.gitlab.server.log) == 1


@pytest.mark.parametrize("scopes", [("read_user",), ("read_repository",)])
def test_a_token_without_read_api_fails(sound: Company, scopes: tuple[str, ...]) -> None:
    """Also one that may not even ask for GitLab's version."""
    sound.gitlab.store.tokens[TOKEN].scopes = scopes
    found = looked(sound, 1)
    assert one(found, "gitlab.scopes") == ("fail", f"has {scopes[0]}, but not read_api")
    assert one(found, "gitlab.connection")[0] == "ok"


def test_a_token_that_expires_soon_is_a_warning_and_tomorrow_a_failure(sound: Company) -> None:
    """Counted in days from today."""
    today = datetime.now(UTC).date()
    token = sound.gitlab.store.tokens[TOKEN]
    token.expires_at = today + timedelta(days=20)
    state, text = one(looked(sound, 0), "gitlab.token")
    assert (state, text.partition(",")[0]) == ("warn", "expires in 20 days")
    token.expires_at = today + timedelta(days=1)
    assert one(looked(sound, 1), "gitlab.token")[0] == "fail"


def test_projects_that_cannot_be_read_fail_one_by_one(sound: Company) -> None:
    """One that is not to be seen, one whose pipelines are closed to guests, one that moved; the good one stays good."""
    store = sound.gitlab.store
    closed, moved = store.add_project("qa/closed"), store.add_project("qa/old")
    store.grant(store.tokens[TOKEN], closed, Role.GUEST)
    store.move_project(moved, "qa/new")
    sound.configure(gitlab={"projects": ["qa/web-shop", "qa/nowhere", "qa/closed", "qa/old"], "groups": ["qa", "none"]})
    found = looked(sound, 1)
    states = {row["subject"]: row["state"] for row in found["gitlab.project"]}
    assert states == {"qa/web-shop": "ok", "qa/nowhere": "fail", "qa/closed": "fail", "qa/old": "warn"}
    groups = {row["subject"]: row for row in found["gitlab.group"]}
    assert "3 projects below it" in groups["qa"]["found"]
    assert "qa/closed" in groups["qa"]["found"]
    assert groups["none"]["state"] == "fail"


def test_artifacts_that_the_tokens_role_may_not_read_fail(sound: Company) -> None:
    """`artifacts:access: developer` keeps a reporter out."""
    sound.ran(junit("pays_TC1"), {"a.txt": b"hello"}, artifacts_access="developer")
    state, text = one(looked(sound, 1), "gitlab.artifacts")
    assert (state, "may not be read (HTTP 403)" in text) == ("fail", True)


# --- Rally -----------------------------------------------------------------------------------------------------------


def test_a_workspace_that_there_is_not_fails_and_gitlab_is_looked_at(sound: Company) -> None:
    """The key is good; what hangs on the workspace is not looked at."""
    sound.configure(rally={"workspace": "Acne"})
    found = looked(sound, 1)
    state, text = one(found, "rally.workspace")
    assert (state, "'Acne'" in text) == ("fail", True)
    assert one(found, "rally.key")[0] == "ok"
    assert one(found, "rally.mapping") == ("fail", "not looked at: the project was not found")
    assert one(found, "gitlab.project")[0] == "ok"


def test_a_key_that_only_reads_fails(sound: Company) -> None:
    """As Rally answers any POST of it with 401."""
    sound.rally_store.keys[KEY] = ApiKey(KEY, sound.rally_store.keys[KEY].user, read_only=True)
    found = looked(sound, 1)
    assert one(found, "rally.key")[0] == "fail"
    assert "full access" in found["rally.key"][0]["todo"]
    assert one(found, "rally.mapping")[0] == "ok"


def test_what_rally_would_refuse_is_told_before_the_first_result(sound: Company) -> None:
    """A viewer, verdicts that there are not, a batch that is not served, and rows for no test case."""
    store = sound.rally_store
    store.forbid(store.keys[KEY].user, sound.root)
    sound.rally_app.behaviour.batch = 404
    sound.configure(results={"skipped": "Not Run"})
    sound.map(("shop.pays", "TC1"), ("shop.a", "TC99"), ("shop.b", "TC2"), ("shop.c", "TC98"))

    found = looked(sound, 1)

    assert one(found, "rally.permissions") == ("fail", "qa@example.com is Viewer there, and may not write")
    assert one(found, "rally.batch")[0] == "warn"
    assert [row["subject"] for row in found["rally.verdicts"] if row["state"] == "fail"] == ["Not Run"]
    assert [(row["subject"].rpartition("/")[2], row["state"]) for row in found["rally.mapping"]] == [
        ("mapping.csv:3", "warn"),
        ("mapping.csv:5", "warn"),
    ]
    assert "TC99" in found["rally.mapping"][0]["found"]


# --- servers that are away -------------------------------------------------------------------------------------------


def test_servers_that_are_away_are_told_in_time_and_the_rest_is_looked_at(sound: Company) -> None:
    """One refuses connections, the other takes them and never answers; nothing else is wrong, so: try again."""
    with sound.rally.refusing(), closing(socket.create_server(("127.0.0.1", 0))) as hole:
        sound.configure(gitlab={"url": f"http://127.0.0.1:{hole.getsockname()[1]}"})
        began = time.monotonic()
        found = looked(sound, 75)
        took_s = time.monotonic() - began
    assert took_s < 30
    assert one(found, "gitlab.connection")[0] == one(found, "rally.connection")[0] == "fail"
    assert one(found, "gitlab.project") == ("fail", "not looked at: GitLab was not reached")
    assert one(found, "rally.mapping") == ("fail", "not looked at: Rally was not reached")
    assert one(found, "sprints.schedule")[0] == "ok"


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Company]:
    """Give a company whose servers have certificates of an authority that nobody knows."""
    with open_company(tmp_path, make_tls(tmp_path)) as company:
        yield company


def test_an_unknown_authority_is_told_and_the_other_service_goes_on(secure: Company) -> None:
    """With the key to set."""
    secure.configure(gitlab={"ca_bundle": "sandbox-ca.pem"})
    environment = dict.fromkeys(("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"), "")
    found = looked(secure, 75, **environment)
    (row,) = found["rally.connection"]
    assert (row["state"], "is not trusted" in row["found"]) == ("fail", True)
    assert row["todo"] == "set rally.ca_bundle to the PEM file of its authority"
    assert one(found, "gitlab.project")[0] == "ok"


def test_clocks_that_differ_are_told(sound: Company) -> None:
    """A minute is a warning, an hour a failure."""
    sound.gitlab.server.clock_ahead_s = 60
    sound.rally.clock_ahead_s = -3600
    found = looked(sound, 1)
    assert one(found, "gitlab.clock")[0] == "warn"
    assert one(found, "rally.clock")[0] == "fail"
    assert "behind ours" in one(found, "rally.clock")[1]


# --- this machine ----------------------------------------------------------------------------------------------------


def test_a_damaged_ledger_fails(sound: Company) -> None:
    """It is told, and the services are looked at."""
    ledger = sound.folder / "ledger.db"
    with open_ledger(ledger, skips_count=False):
        pass
    ledger.write_bytes(ledger.read_bytes()[:4096] + b"\xff" * (ledger.stat().st_size - 4096))
    done = subprocess.run(
        sound.command("--json", "doctor"), capture_output=True, text=True, check=False, env=sound.environment()
    )
    assert done.returncode == 1, done.stderr
    assert '"check": "rally.permissions"' in done.stdout
    assert '"check": "ledger.integrity"' in done.stdout
    ledger.unlink()


def test_what_would_tell_of_trouble_is_tried_out_too(sound: Company) -> None:
    """A command that is not there, and a port that somebody else has."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        sound.configure(notify={"command": ["no-such-program-anywhere"]}, metrics={"listen": address})
        found = looked(sound, 1)
    assert one(found, "notify.command")[0] == "fail"
    assert one(found, "metrics.listen") == ("fail", "in use by another program")
