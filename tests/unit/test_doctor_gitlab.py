"""What the doctor finds about GitLab."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.config import AttachmentsSettings
from reconciler.doctor import GitLabExam, exit_status
from reconciler.errors import Forbidden, Incomplete, NotThere, ServiceDown, Stopped, Unauthorized
from tests import building
from tests.fakes import Clock, FakeGitLab

if TYPE_CHECKING:
    from datetime import datetime

    from reconciler.doctor import Finding

DENIED = Unauthorized("GitLab: HTTP 401: the token is not accepted: check gitlab.token")


@dataclass
class Shop:
    """A GitLab with one project, and a doctor who may have another clock."""

    clock: Clock = field(default_factory=Clock)
    behind_s: float = 0.0
    keys: dict[str, Any] = field(default_factory=dict)
    keep_linked: bool = False

    def __post_init__(self) -> None:
        """Have the project that the config names."""
        self.gitlab = FakeGitLab(self.clock)
        self.project = self.gitlab.add_project()

    def now(self) -> datetime:
        """Tell the doctor's time."""
        return self.clock() - timedelta(seconds=self.behind_s)

    def findings(self) -> list[Finding]:
        """Look at everything."""
        settings = building.settings()
        settings = replace(
            settings,
            gitlab=replace(settings.gitlab, **self.keys),
            attachments=AttachmentsSettings(keep_linked=self.keep_linked),
        )
        return list(GitLabExam(self.gitlab, settings, "directly", self.now).findings())

    def one(self, check: str) -> Finding:
        """Look at one thing."""
        return next(one for one in self.findings() if one.check == check)

    def states(self) -> dict[str, str]:
        """Tell the state of each check, of those of one name the worst."""
        found = sorted(self.findings(), key=lambda one: ("ok", "warn", "fail").index(one.state))
        return {one.check: one.state for one in found}


@pytest.fixture
def shop() -> Shop:
    """Give one where all is well."""
    shop = Shop()
    shop.gitlab.add_job(shop.gitlab.add_pipeline(shop.project), "unit", "pays", archive=b"PK")
    return shop


def test_all_is_well(shop: Shop) -> None:
    """Every check says so, and with nothing to do."""
    assert shop.states() == {
        "gitlab.connection": "ok",
        "gitlab.clock": "ok",
        "gitlab.version": "ok",
        "gitlab.token": "ok",
        "gitlab.scopes": "ok",
        "gitlab.project": "ok",
        "gitlab.artifacts": "ok",
    }
    assert {one.todo for one in shop.findings()} == {""}
    assert shop.one("gitlab.connection").found == "answers, directly"


@pytest.mark.parametrize(
    ("days", "state", "found"),
    [
        (-1, "fail", "expired on 2026-01-30"),
        (0, "fail", "expired on 2026-01-31"),
        (1, "fail", "expires in 1 day, on 2026-02-01"),
        (2, "warn", "expires in 2 days, on 2026-02-02"),
        (30, "warn", "expires in 30 days, on 2026-03-02"),
        (31, "ok", "expires in 31 days, on 2026-03-03"),
    ],
)
def test_the_expiry_is_told_in_days(shop: Shop, days: int, state: str, found: str) -> None:
    """The day that GitLab names is the first on which the token is no longer good."""
    day = shop.clock().date() + timedelta(days=days)
    shop.gitlab.access = replace(shop.gitlab.access, expires_on=day)
    one = shop.one("gitlab.token")
    assert (one.state, one.found) == (state, found)
    assert bool(one.todo) == (state != "ok")


def test_a_token_that_is_no_longer_active_fails(shop: Shop) -> None:
    """Whatever its day of expiry."""
    shop.gitlab.access = replace(shop.gitlab.access, active=False)
    assert shop.states()["gitlab.token"] == "fail"


def test_without_read_api_nothing_more_is_looked_at(shop: Shop) -> None:
    """The one failure is told with the scope that is needed; projects would only repeat it."""
    shop.gitlab.access = replace(shop.gitlab.access, scopes=frozenset({"read_user", "read_repository"}))
    one = shop.one("gitlab.scopes")
    assert (one.state, one.found) == ("fail", "has read_repository, read_user, but not read_api")
    assert "read_api" in one.todo
    assert "not looked at: the token has not the scope read_api" in shop.one("gitlab.project").found


def test_keeping_linked_artifacts_needs_the_scope_api(shop: Shop) -> None:
    """And says so before the first pipeline loses its files."""
    shop.keep_linked = True
    one = shop.one("gitlab.scopes")
    assert (one.state, "attachments.keep_linked needs api" in one.found) == ("fail", True)
    shop.gitlab.access = replace(shop.gitlab.access, scopes=frozenset({"api"}))
    assert shop.states()["gitlab.scopes"] == "ok"


@pytest.mark.parametrize("error", [NotThere("GitLab: the token: HTTP 404"), Forbidden("GitLab: HTTP 403")])
def test_a_gitlab_that_does_not_tell_of_the_token_is_a_warning(shop: Shop, error: Exception) -> None:
    """All else is looked at."""
    shop.gitlab.faults["token"].append(error)
    found = {one.check: one.state for one in shop.findings()}
    assert (found["gitlab.token"], found["gitlab.project"]) == ("warn", "ok")


@pytest.mark.parametrize("method", ["greeting", "token"])
def test_a_token_that_is_not_accepted_is_one_failure_and_no_outage(shop: Shop, method: str) -> None:
    """The server answers; what the token would show is not looked at."""
    shop.gitlab.faults[method].append(DENIED)
    findings = shop.findings()
    assert [(one.check, one.state) for one in findings if one.check in {"gitlab.connection", "gitlab.token"}] == [
        ("gitlab.connection", "ok"),
        ("gitlab.token", "fail"),
    ]
    assert findings[-1].found == "not looked at: the token is not accepted"
    assert exit_status(findings) == 1


def test_a_server_that_does_not_tell_its_version_is_looked_at_all_the_same(shop: Shop) -> None:
    """It may be the wrong server, which then shows."""
    shop.gitlab.faults["greeting"].append(NotThere("GitLab: version: HTTP 404"))
    found = {one.check: one.state for one in shop.findings()}
    assert (found["gitlab.connection"], found["gitlab.project"]) == ("warn", "ok")


def test_a_server_that_is_down_fails_every_line_with_one_sentence(shop: Shop) -> None:
    """It says what happened and what to do; the exit status says: try again."""
    shop.gitlab.faults["greeting"].append(
        ServiceDown("GitLab", "the name gitlab.test is not known: check the url, or the name service")
    )
    findings = shop.findings()
    assert (findings[0].found, findings[0].todo) == (
        "the name gitlab.test is not known",
        "check the url, or the name service",
    )
    assert {one.found for one in findings[1:]} == {"not looked at: GitLab was not reached"}
    assert exit_status(findings) == 75


def test_a_server_that_goes_down_meanwhile_does_not_hide_what_was_found(shop: Shop) -> None:
    """Its lines are told, and the rest is tried."""
    shop.gitlab.faults["project"].append(ServiceDown("GitLab", "no answer"))
    assert [one.state for one in shop.findings()] == ["ok"] * 5 + ["fail"]


def test_a_process_that_is_to_stop_finds_nothing_more(shop: Shop) -> None:
    """It is no trouble of the server's."""
    for method in ("greeting", "token", "project"):
        shop.gitlab.faults[method].append(Stopped("stopped"))
        with pytest.raises(Stopped):
            shop.findings()


# --- clocks and versions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behind_s", "state", "found"),
    [
        (20, "ok", "agrees with ours"),
        (60, "warn", "its clock is 59 s ahead of ours"),
        (-3600, "fail", "its clock is 3,599 s behind ours"),
    ],
)
def test_clocks_are_compared(shop: Shop, behind_s: float, state: str, found: str) -> None:
    """A Date header has whole seconds; how long the answer took is no difference."""
    shop.behind_s = behind_s
    one = shop.one("gitlab.clock")
    assert (one.state, one.found) == (state, found)


@pytest.mark.parametrize(("version", "state"), [("16.11.2", "warn"), ("17.0.0", "ok"), ("19.4.0-ee", "ok")])
def test_what_the_version_cannot_do_is_told(shop: Shop, version: str, state: str) -> None:
    """Before 17.0 child pipelines are not listed, which only matters when they are wanted."""
    shop.gitlab.version = version
    assert shop.states()["gitlab.version"] == state
    shop.keys = {"child_pipelines": False}
    assert shop.states()["gitlab.version"] == "ok"


# --- projects and groups ---------------------------------------------------------------------------------------------


def test_a_project_that_is_not_to_be_seen_fails_and_the_others_go_on(shop: Shop) -> None:
    """GitLab says 404 of what one may not see."""
    shop.keys = {"projects": ("qa/nowhere", "qa/web-shop")}
    found = [(one.subject, one.state) for one in shop.findings() if one.check == "gitlab.project"]
    assert found == [("qa/nowhere", "fail"), ("qa/web-shop", "ok")]
    assert "Reporter" in shop.one("gitlab.project").todo


def test_pipelines_that_may_not_be_listed_fail(shop: Shop) -> None:
    """As for a guest, or where CI/CD is turned off."""
    shop.gitlab.faults["pipelines"].append(Forbidden("GitLab: pipelines of project 1: HTTP 403: 403 Forbidden"))
    one = shop.one("gitlab.project")
    assert (one.state, "CI/CD" in one.todo) == ("fail", True)


def test_a_group_is_looked_into(shop: Shop) -> None:
    """All its projects are counted, and the first ones tried; those that are closed are named."""
    shop.keys = {"projects": (), "groups": ("qa", "other")}
    shop.gitlab.add_project("qa/api")
    shop.gitlab.faults["pipelines"].append(Forbidden("GitLab: HTTP 403"))
    found = {one.subject: one for one in shop.findings() if one.check == "gitlab.group"}
    assert found["qa"].found == "2 projects below it; looked into 2: pipelines cannot be read in qa/web-shop"
    assert (found["qa"].state, found["other"].state) == ("fail", "warn")
    assert [one.state for one in shop.findings()].count("fail") == 0


def test_a_group_that_is_not_to_be_seen_fails(shop: Shop) -> None:
    """With the key that names it."""
    shop.keys = {"projects": (), "groups": ("qa",)}
    shop.gitlab.faults["group_projects"].append(NotThere("GitLab: group qa: HTTP 404"))
    assert "gitlab.groups" in shop.one("gitlab.group").todo


# --- artifacts -------------------------------------------------------------------------------------------------------


def test_without_artifacts_there_is_nothing_to_try() -> None:
    """Neither in a new project nor where pipelines have none; an unfinished pipeline is not looked at."""
    empty = Shop()
    empty.gitlab.add_job(empty.gitlab.add_pipeline(empty.project, status="running"), "unit", "pays", archive=b"PK")
    one = empty.one("gitlab.artifacts")
    assert (one.state, one.found) == ("ok", "nothing to try it with: no job of the newest pipelines has artifacts")


@pytest.mark.parametrize(
    ("error", "state", "todo"),
    [
        (Forbidden("GitLab: HTTP 403"), "fail", "artifacts:access"),
        (NotThere("GitLab: HTTP 404"), "warn", "object storage"),
        (Incomplete("GitLab: object store: store.test refuses connections"), "fail", "object storage"),
    ],
)
def test_artifacts_that_cannot_be_had_are_told_with_what_to_do(
    shop: Shop, error: Exception, state: str, todo: str
) -> None:
    """The project's own line stays good."""
    shop.gitlab.faults["probe_artifacts"].append(error)
    found = {one.check: one for one in shop.findings()}
    assert (found["gitlab.artifacts"].state, found["gitlab.project"].state) == (state, "ok")
    assert todo in found["gitlab.artifacts"].todo


def test_a_report_that_an_old_gitlab_does_not_give_is_no_trouble() -> None:
    """It is read as GitLab has parsed it, then."""
    shop = Shop()
    shop.gitlab.add_job(shop.gitlab.add_pipeline(shop.project), "unit", "pays")
    shop.gitlab.faults["probe_artifacts"].append(NotThere("GitLab: HTTP 404"))
    assert shop.one("gitlab.artifacts").state == "ok"


def test_expired_artifacts_are_not_tried(shop: Shop) -> None:
    """They are gone for a good reason."""
    [job] = shop.gitlab._jobs.popitem()[1]
    shop.gitlab._jobs[job.pipeline_id] = [replace(job, artifacts_expire_at=shop.clock())]
    assert shop.one("gitlab.artifacts").found.startswith("nothing to try")
