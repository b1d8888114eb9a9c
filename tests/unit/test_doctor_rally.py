"""What the doctor finds about Rally."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.config import ResultsSettings
from reconciler.doctor import RallyExam, exit_status
from reconciler.errors import BatchRefused, Misconfigured, NoAnswer, ReconcilerError, ServiceDown, Stopped, Unauthorized
from reconciler.mapping import Row
from tests import building
from tests.fake_sprints import ROOT
from tests.fakes import Clock, FakeRally

if TYPE_CHECKING:
    from reconciler.doctor import Finding
    from reconciler.model import KeyOwner

CHECKS = ["connection", "clock", "key", "batch", "workspace", "verdicts", "results", "mapping", "permissions"]


@dataclass
class Shop:
    """A Rally with two test cases, and a config."""

    clock: Clock = field(default_factory=Clock)
    results: ResultsSettings = field(default_factory=ResultsSettings)
    keys: dict[str, Any] = field(default_factory=dict)
    rows: tuple[Row, ...] = (Row(2, "shop.pays", "TC1"), Row(3, "shop.*", "TC2"), Row(4, "shop.slow", "-"))

    def __post_init__(self) -> None:
        """Have the test cases that the mapping names."""
        self.rally = FakeRally(self.clock)
        for formatted_id in ("TC1", "TC2"):
            self.rally.add_case(formatted_id)

    def findings(self) -> list[Finding]:
        """Look at everything."""
        settings = building.settings(building.rally_settings(**self.keys), self.results)
        return list(RallyExam(self.rally, settings, self.rows, "directly", self.clock).findings())

    def of(self, check: str) -> list[Finding]:
        """Look at one thing."""
        return [one for one in self.findings() if one.check == f"rally.{check}"]


@pytest.fixture
def shop() -> Shop:
    """Give one where all is well."""
    return Shop()


def states(findings: list[Finding]) -> dict[str, str]:
    """Tell the state of each check, of those of one name the worst."""
    found = sorted(findings, key=lambda one: ("ok", "warn", "fail").index(one.state))
    return {one.check.removeprefix("rally."): one.state for one in found}


def test_all_is_well(shop: Shop) -> None:
    """Every check says so, and nothing was written."""
    assert states(shop.findings()) == dict.fromkeys(CHECKS, "ok")
    assert shop.rally.requests == []


# --- the server and the key ------------------------------------------------------------------------------------------


def test_a_server_that_is_down_fails_every_line_with_one_sentence(shop: Shop) -> None:
    """The exit status says: try again."""
    shop.rally.down = True
    findings = shop.findings()
    assert findings[0].found == "no answer"
    assert {one.found for one in findings[1:]} == {"not looked at: Rally was not reached"}
    assert [one.check for one in findings[1:]] == [f"rally.{one}" for one in sorted(CHECKS[2:], key=_as_unseen)]
    assert exit_status(findings) == 75


def _as_unseen(check: str) -> int:
    return ["key", "workspace", "verdicts", "results", "batch", "mapping", "permissions"].index(check)


def test_a_key_that_is_not_accepted_is_one_failure_and_no_outage(shop: Shop) -> None:
    """It may be maintenance, which the advice says."""
    shop.rally.faults["owner"] = Unauthorized("Rally: HTTP 401: the API key is not accepted")
    findings = shop.findings()
    assert [one.state for one in findings[:2]] == ["ok", "fail"]
    assert "maintenance" in findings[1].todo
    assert exit_status(findings) == 1


def test_a_wrong_url_is_no_outage(shop: Shop) -> None:
    """A person must correct it."""
    shop.rally.faults["owner"] = Misconfigured("Rally: HTTP 404 for /slm/webservice/v2.0/user: check rally.url")
    findings = shop.findings()
    assert (findings[0].state, findings[0].todo, exit_status(findings)) == ("fail", "check rally.url", 1)


def test_a_key_that_only_reads_fails(shop: Shop) -> None:
    """As far as that can be told without writing: a POST that only reads is refused."""
    shop.rally.may_write = False
    (key,) = shop.of("key")
    assert (key.state, "full access" in key.todo) == ("fail", True)
    assert [one.state for one in shop.of("workspace")] == ["ok"]


@pytest.mark.parametrize(
    "error", [BatchRefused("Rally: HTTP 404 for /batch"), NoAnswer("Rally: rally.test did not answer in time")]
)
def test_a_batch_that_is_not_to_be_had_is_a_warning(shop: Shop, error: ReconcilerError) -> None:
    """Results go one by one, then; nothing is claimed of the key."""
    shop.rally.faults["probe_batch"] = error
    assert [one.state for one in shop.of("batch")] == ["warn"]
    assert "shows with the first result only" in shop.of("key")[0].found
    assert exit_status(shop.findings()) == 0


def test_no_batch_is_tried_where_none_is_ever_sent(shop: Shop) -> None:
    """With batch_size = 1 there is no POST at all."""
    shop.keys = {"batch_size": 1}
    shop.rally.faults["probe_batch"] = AssertionError("a batch was sent")
    assert [one.found for one in shop.of("batch")] == ["not used: rally.batch_size is 1"]
    assert [one.state for one in shop.of("key")] == ["ok"]


def test_a_workspace_that_is_not_there_fails_and_what_hangs_on_it_is_not_looked_at(shop: Shop) -> None:
    """The key is good all the same."""
    shop.rally.faults["allowed_verdicts"] = Misconfigured("Rally: no workspace named 'Acme': check rally.workspace")
    found = states(shop.findings())
    assert (found["key"], found["workspace"], found["mapping"]) == ("ok", "fail", "fail")
    assert exit_status(shop.findings()) == 1


# --- what its owner may do -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "state"),
    [("Editor", "ok"), ("Admin", "ok"), ("Project Admin", "ok"), ("Viewer", "fail"), ("", "warn")],
)
def test_who_may_not_write_into_the_root_project_is_told(shop: Shop, role: str, state: str) -> None:
    """A viewer never may; where Rally lists nothing, it may be an administrator."""
    shop.rally.roles_there = {ROOT: role}
    (one,) = shop.of("permissions")
    assert (one.state, bool(one.todo)) == (state, state != "ok")


def test_projects_below_in_which_the_owner_may_only_look_are_named(shop: Shop) -> None:
    """Their test cases' results would be refused; those of the others arrive."""
    team = shop.rally.add_project("Team A")
    shop.rally.add_project("Team B")
    shop.rally.roles_there = {team: "Viewer"}
    found = shop.of("permissions")
    assert [(one.subject, one.state) for one in found] == [("Web Shop", "ok"), ("Team A", "warn")]


def test_an_administrator_of_all_needs_no_role(shop: Shop) -> None:
    """So none is asked for."""
    shop.rally.is_admin = True
    shop.rally.roles_there = {ROOT: ""}
    assert [one.state for one in shop.of("permissions")] == ["ok"]


def test_a_rally_that_does_not_tell_of_permissions_is_a_warning(shop: Shop) -> None:
    """It is a hint only: what is refused later is told then."""
    shop.rally.faults["roles"] = ServiceDown("Rally", "HTTP 500")
    assert [one.state for one in shop.of("permissions")] == ["warn"]


# --- what is written -------------------------------------------------------------------------------------------------


def test_verdicts_that_the_workspace_does_not_allow_are_named_with_their_key(shop: Shop) -> None:
    """Those of the config, and those that tests need."""
    shop.results = ResultsSettings(skipped="Not Run", flaky="Flaky")
    shop.rally.verdicts = frozenset({"Pass", "Fail", "Blocked"})
    found = {one.subject: (one.state, one.todo) for one in shop.of("verdicts")}
    assert found == {
        "Error": ("fail", "have it added to the workspace's verdicts"),
        "Flaky": ("fail", "set results.flaky to one of them"),
        "Not Run": ("fail", "set results.skipped to one of them"),
    }


def test_verdicts_of_the_workspaces_own_are_fine(shop: Shop) -> None:
    """Lists are per workspace."""
    shop.results = ResultsSettings(skipped="Not Run")
    shop.rally.verdicts |= {"Not Run"}
    assert [one.state for one in shop.of("verdicts")] == ["ok"]


def test_a_workspace_that_would_take_no_result_at_all_is_told(shop: Shop) -> None:
    """Its schema asks for what we have nothing for."""
    shop.rally.checks = lambda _: "this workspace requires c_Lab, which we have nothing for"
    (one,) = shop.of("results")
    assert (one.state, "c_Lab" in one.found) == ("fail", True)


def test_unknown_test_cases_are_told_with_the_line_of_the_mapping(shop: Shop) -> None:
    """Once for each row; one outside the root project's scope is unknown, too."""
    outside = shop.rally.add_project("Elsewhere", beside=True)
    shop.rally.add_case("TC7")
    number = next(number for number, case in shop.rally.cases.items() if case.formatted_id == "TC7")
    shop.rally.cases[number] = replace(shop.rally.cases[number], project_id=outside)
    shop.rows = (*shop.rows, Row(9, "shop.a", "TC99"), Row(12, "shop.b", "TC7"), Row(13, "shop.c", "TC99"))
    found = [(one.subject.rpartition(":")[2], one.state) for one in shop.of("mapping")]
    assert found == [("9", "warn"), ("12", "warn"), ("13", "warn")]


def test_many_test_cases_are_looked_up_in_one_list(shop: Shop) -> None:
    """A mapping of thousands would otherwise take a request for each 25."""
    shop.rows = tuple(Row(n, f"shop.t{n}", f"TC{n}") for n in range(2, 604))
    shop.rally.faults["test_cases_by_id"] = AssertionError("asked one by one")
    assert len(shop.of("mapping")) == 601


def test_a_process_that_is_to_stop_finds_nothing_more() -> None:
    """It is no trouble of the server's."""
    for method in ("owner", "allowed_verdicts", "probe_batch", "test_cases_by_id", "roles"):
        shop = Shop()
        shop.rally.faults[method] = Stopped("stopped")
        with pytest.raises(Stopped):
            shop.findings()


def test_the_owner_is_named(shop: Shop) -> None:
    """So that a person knows whose key it is."""
    owner: KeyOwner = shop.rally.owner()
    assert shop.of("key")[0].subject == owner.name == "qa@example.com"
