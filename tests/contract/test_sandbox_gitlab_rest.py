"""The stand-in GitLab, by plain HTTP: who may ask, what is refused, projects, groups, paging."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import requests

from reconciler.sandbox.gitlab import GitLabServer, GitLabStore, Instance, Role

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "glpat-reader"  # noqa: S105 - known to the stand-in only


@pytest.fixture
def gitlab() -> Iterator[GitLabServer]:
    """Serve an empty GitLab with one reporter's token."""
    store = GitLabStore()
    store.add_token(TOKEN)
    with GitLabServer(store) as server:
        yield server
    assert server.server.crashes == []


def get(gitlab: GitLabServer, path: str, token: str = TOKEN, **params: Any) -> requests.Response:  # noqa: ANN401 - a query
    """Ask for a path below /api/v4; a redirect is not followed."""
    headers = {"PRIVATE-TOKEN": token} if token else {}
    url = f"{gitlab.url}/api/v4{path}"
    return requests.get(url, headers=headers, params=params, allow_redirects=False, timeout=10)


def ids(response: requests.Response) -> list[int]:
    """List the ids of an answer."""
    assert response.status_code == 200, response.text
    return [row["id"] for row in response.json()]


# --- tokens ----------------------------------------------------------------------------------------------------------


def test_a_token_may_come_in_either_header(gitlab: GitLabServer) -> None:
    """A personal access token is accepted as PRIVATE-TOKEN and as Bearer."""
    url = f"{gitlab.url}/api/v4/version"
    assert requests.get(url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=10).ok
    assert requests.get(url, headers={"PRIVATE-TOKEN": TOKEN}, timeout=10).ok


@pytest.mark.parametrize("token", ["", "wrong"])
def test_without_a_good_token_the_answer_is_401(gitlab: GitLabServer, token: str) -> None:
    """Routes about the caller need one."""
    response = get(gitlab, "/user", token)
    assert (response.status_code, response.json()) == (401, {"message": "401 Unauthorized"})


@pytest.mark.parametrize("spoil", ["expired", "revoked"])
def test_an_expired_or_revoked_token_is_401_with_the_reason(gitlab: GitLabServer, spoil: str) -> None:
    """The body is OAuth's, not GitLab's usual one."""
    token = gitlab.store.add_token("old", expires_at=gitlab.store.clock().date())
    token.revoked = spoil == "revoked"
    response = get(gitlab, "/version", "old")
    assert response.status_code == 401
    assert response.json()["error"] == "invalid_token"
    assert spoil in response.json()["error_description"]


def test_a_token_describes_itself_whatever_its_scopes(gitlab: GitLabServer) -> None:
    """The self check works even for a token that can read nothing else."""
    gitlab.store.add_token("narrow", scopes=["read_registry"], expires_at=date(2027, 1, 1))
    document = get(gitlab, "/personal_access_tokens/self", "narrow").json()
    assert document["scopes"] == ["read_registry"]
    assert document["expires_at"] == "2027-01-01"
    assert document["active"] is True
    refused = get(gitlab, "/version", "narrow")
    assert (refused.status_code, refused.json()["error"]) == (403, "insufficient_scope")


def test_a_read_only_token_cannot_keep_artifacts(gitlab: GitLabServer) -> None:
    """`keep` needs the scope api, and a developer."""
    store = gitlab.store
    job = store.add_job(store.add_pipeline(store.add_project("qa/shop")), "test", archive={"a": b"1"})
    path = f"/api/v4/projects/{job.pipeline.project.id}/jobs/{job.id}/artifacts/keep"
    answers = []
    for value, role in (("reporter-api", Role.REPORTER), ("developer-api", Role.DEVELOPER)):
        store.add_token(value, role=role, scopes=["api"])
        answers.append(requests.post(gitlab.url + path, headers={"PRIVATE-TOKEN": value}, timeout=10).status_code)
    read_only = requests.post(gitlab.url + path, headers={"PRIVATE-TOKEN": TOKEN}, timeout=10)
    assert read_only.json()["error"] == "insufficient_scope"
    assert [read_only.status_code, *answers] == [403, 403, 200]


# --- projects and access ---------------------------------------------------------------------------------------------


def test_a_project_is_found_by_number_and_by_encoded_path(gitlab: GitLabServer) -> None:
    """A path whose slashes are not encoded is another route, which does not exist."""
    project = gitlab.store.add_project("qa/web/shop")
    assert get(gitlab, f"/projects/{project.id}").json()["path_with_namespace"] == "qa/web/shop"
    assert get(gitlab, "/projects/qa%2Fweb%2Fshop").json()["id"] == project.id
    assert get(gitlab, "/projects/QA%2Fweb%2Fshop").json()["id"] == project.id
    unknown = get(gitlab, "/projects/qa/web/shop")
    assert (unknown.status_code, unknown.json()) == (404, {"error": "404 Not Found"})


def test_no_project_and_no_access_look_alike(gitlab: GitLabServer) -> None:
    """GitLab does not tell strangers what exists."""
    project = gitlab.store.add_project("qa/shop")
    gitlab.store.grant(gitlab.store.tokens[TOKEN], project, None)
    for key in (project.id, 999, "qa%2Fshop"):
        response = get(gitlab, f"/projects/{key}/pipelines")
        assert (response.status_code, response.json()) == (404, {"message": "404 Project Not Found"})
    assert get(gitlab, f"/projects/{project.id}", "").status_code == 404


def test_a_role_that_is_too_low_and_ci_that_is_off_are_403(gitlab: GitLabServer) -> None:
    """A guest sees the project but not its pipelines; with CI turned off nobody does."""
    store = gitlab.store
    guests, off = store.add_project("qa/guests"), store.add_project("qa/off", builds_enabled=False)
    store.grant(store.tokens[TOKEN], guests, Role.GUEST)
    for project in (guests, off):
        assert get(gitlab, f"/projects/{project.id}").ok
        response = get(gitlab, f"/projects/{project.id}/pipelines")
        assert (response.status_code, response.json()) == (403, {"message": "403 Forbidden"})


def test_who_may_see_pipelines_but_not_jobs_gets_an_empty_list(gitlab: GitLabServer) -> None:
    """Trap: 200 and [] is not proof that there are no jobs."""
    store = gitlab.store
    pipeline = store.add_pipeline(store.add_project("qa/shop"))
    job = store.add_job(pipeline, "test")
    store.deny(store.tokens[TOKEN], pipeline.project, "read_build")
    base = f"/projects/{pipeline.project.id}/pipelines/{pipeline.id}"
    assert ids(get(gitlab, f"{base}/jobs")) == []
    assert get(gitlab, f"{base}/bridges").status_code == 403
    assert get(gitlab, f"{base}/test_report").status_code == 403
    assert get(gitlab, f"/projects/{pipeline.project.id}/jobs/{job.id}").status_code == 403


def test_a_moved_project_redirects_from_its_old_path_only(gitlab: GitLabServer) -> None:
    """301 to the number; the number itself goes on working; POST is refused."""
    store = gitlab.store
    project = store.add_project("qa/shop")
    pipeline = store.add_pipeline(project)
    store.move_project(project, "shop/web")
    moved = get(gitlab, "/projects/qa%2Fshop/pipelines", per_page=5)
    assert moved.status_code == 301
    assert moved.headers["Location"] == f"{gitlab.url}/api/v4/projects/{project.id}/pipelines?per_page=5"
    assert ids(get(gitlab, f"/projects/{project.id}/pipelines")) == [pipeline.id]
    assert ids(get(gitlab, "/projects/shop%2Fweb/pipelines")) == [pipeline.id]
    store.add_token("dev", role=Role.DEVELOPER, scopes=["api"])
    url = f"{gitlab.url}/api/v4/projects/qa%2Fshop/jobs/1/artifacts/keep"
    assert requests.post(url, headers={"PRIVATE-TOKEN": "dev"}, timeout=10).status_code == 405


def test_a_public_project_with_public_jobs_needs_no_token(gitlab: GitLabServer) -> None:
    """Except on routes that ask for somebody first, as the one for a single job does."""
    store = gitlab.store
    pipeline = store.add_pipeline(store.add_project("qa/open", visibility="public", public_jobs=True))
    job = store.add_job(pipeline, "test", archive={"a.txt": b"x"})
    base = f"/projects/{pipeline.project.id}"
    assert ids(get(gitlab, f"{base}/pipelines", "")) == [pipeline.id]
    assert get(gitlab, f"{base}/jobs/{job.id}/artifacts/a.txt", "").content == b"x"
    assert get(gitlab, f"{base}/jobs/{job.id}", "").status_code == 401


# --- what is refused, and what is only noted -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({"order_by": "finished_at"}, "order_by does not have a valid value"),
        ({"sort": "up"}, "sort does not have a valid value"),
        ({"status": "passed"}, "status does not have a valid value"),
        ({"scope": "all"}, "scope does not have a valid value"),
        ({"source": "merge_request"}, "source does not have a valid value"),
        ({"updated_after": "yesterday"}, "updated_after is invalid"),
        ({"per_page": "many"}, "per_page is invalid"),
        ({"per_page": "0"}, "per_page does not have a valid value"),
        ({"page": "-1"}, "page does not have a valid value"),
        ({"yaml_errors": "perhaps"}, "yaml_errors is invalid"),
    ],
)
def test_wrong_values_are_400_in_grapes_words(gitlab: GitLabServer, query: dict[str, str], error: str) -> None:
    """A value that GitLab does not know never means "no filter"."""
    project = gitlab.store.add_project("qa/shop")
    response = get(gitlab, f"/projects/{project.id}/pipelines", **query)
    assert (response.status_code, response.json()) == (400, {"error": error})


def test_a_plus_that_is_not_encoded_is_refused(gitlab: GitLabServer) -> None:
    """`+00:00` must be percent-encoded; on the wire a bare plus is a blank."""
    project = gitlab.store.add_project("qa/shop")
    bad = get(gitlab, f"/projects/{project.id}/pipelines?updated_after=2026-11-01T00:00:00+00:00")
    good = get(gitlab, f"/projects/{project.id}/pipelines", updated_after="2026-11-01T00:00:00+00:00")
    assert (bad.status_code, good.status_code) == (400, 200)


def test_unknown_parameters_are_ignored_and_noted(gitlab: GitLabServer) -> None:
    """GitLab says nothing about them, so the stand-in keeps them for the test to look at."""
    project = gitlab.store.add_project("qa/shop")
    assert get(gitlab, f"/projects/{project.id}/pipelines", status="success", since="today").ok
    assert [(one.route, one.name) for one in gitlab.app.unknown_parameters] == [("/projects/{id}/pipelines", "since")]


@pytest.mark.parametrize("path", ["/projects/1/issues", "/pipelines", "/projects/1/pipelines/2/nothing", "/"])
def test_unknown_routes_are_404_as_grape_says_it(gitlab: GitLabServer, path: str) -> None:
    """What the stand-in does not know, it refuses."""
    response = get(gitlab, path)
    assert (response.status_code, response.json()) == (404, {"error": "404 Not Found"})


def test_ids_that_are_no_numbers_and_rows_that_are_not_there(gitlab: GitLabServer) -> None:
    """Those of another project are not found either."""
    store = gitlab.store
    project, other = store.add_project("qa/shop"), store.add_project("qa/other")
    elsewhere = store.add_pipeline(other)
    assert get(gitlab, f"/projects/{project.id}/pipelines/x").json() == {"error": "pipeline_id is invalid"}
    for pipeline in (1, elsewhere.id):
        response = get(gitlab, f"/projects/{project.id}/pipelines/{pipeline}")
        assert (response.status_code, response.json()) == (404, {"message": "404 Not found"})
    job = store.add_job(elsewhere, "test")
    assert get(gitlab, f"/projects/{project.id}/jobs/{job.id}").json() == {"message": "404 Not found"}


@pytest.mark.parametrize(("version", "status"), [("19.4.0-ee", 200), ("15.2.0", 200), ("15.0.0", 404)])
def test_metadata_came_with_15_2(gitlab: GitLabServer, version: str, status: int) -> None:
    """`/version` is older than anything that matters."""
    gitlab.instance.version = version
    assert get(gitlab, "/metadata").status_code == status
    assert get(gitlab, "/version").json()["version"] == version


# --- paging ----------------------------------------------------------------------------------------------------------


def test_offset_pages_carry_gitlabs_headers(gitlab: GitLabServer) -> None:
    """The links repeat all parameters, defaults and the path's id included."""
    store = gitlab.store
    project = store.add_project("qa/shop")
    made = [store.add_pipeline(project).id for _ in range(5)]
    response = get(gitlab, f"/projects/{project.id}/pipelines", page=2, per_page=2)
    assert ids(response) == sorted(made, reverse=True)[2:4]
    headers = {
        name: response.headers[f"X-{name}"] for name in ("Page", "Next-Page", "Prev-Page", "Total", "Total-Pages")
    }
    assert headers == {"Page": "2", "Next-Page": "3", "Prev-Page": "1", "Total": "5", "Total-Pages": "3"}
    assert set(response.links) == {"prev", "next", "first", "last"}
    assert "id=21&order_by=id&page=3&per_page=2&sort=desc" in response.links["next"]["url"]
    headers = {"PRIVATE-TOKEN": TOKEN}
    last = requests.get(response.links["last"]["url"], headers=headers, timeout=10)
    assert ids(last) == [made[0]]
    assert "next" not in last.links
    assert last.headers["X-Next-Page"] == ""
    assert gitlab.app.unknown_parameters == []


def test_more_than_100_rows_a_page_are_never_given(gitlab: GitLabServer) -> None:
    """GitLab says nothing about it."""
    project = gitlab.store.add_project("qa/shop")
    for _ in range(101):
        gitlab.store.add_pipeline(project)
    response = get(gitlab, f"/projects/{project.id}/pipelines", per_page=1000)
    assert (len(response.json()), response.headers["X-Per-Page"]) == (100, "100")


def test_totals_are_left_out_above_the_limit(gitlab: GitLabServer) -> None:
    """Above 10,000 rows only `next` tells that there is more."""
    gitlab.instance.count_limit = 3
    project = gitlab.store.add_project("qa/shop")
    for _ in range(3):
        gitlab.store.add_pipeline(project)
    assert get(gitlab, f"/projects/{project.id}/pipelines").headers["X-Total"] == "3"
    gitlab.store.add_pipeline(project)
    response = get(gitlab, f"/projects/{project.id}/pipelines", per_page=2)
    assert not {"X-Total", "X-Total-Pages"} & set(response.headers)
    assert set(response.links) == {"next", "first"}
    assert response.headers["X-Next-Page"] == "2"


def test_links_can_name_another_host_than_the_one_asked(gitlab: GitLabServer) -> None:
    """GitLab writes its configured address, not the one that the client used."""
    gitlab.instance.external_url = "https://gitlab.internal"
    project = gitlab.store.add_project("qa/shop")
    gitlab.store.add_pipeline(project)
    response = get(gitlab, f"/projects/{project.id}/pipelines")
    assert response.links["first"]["url"].startswith("https://gitlab.internal/api/v4/projects/")
    assert response.json()[0]["web_url"].startswith("https://gitlab.internal/qa/shop/-/pipelines/")


# --- groups ----------------------------------------------------------------------------------------------------------


def test_a_groups_projects_with_and_without_subgroups_and_archived_ones(gitlab: GitLabServer) -> None:
    """Only what the token's user may see is listed, newest first."""
    store = gitlab.store
    group = store.add_group("qa")
    top, below = store.add_project("qa/shop"), store.add_project("qa/web/deep")
    gone, hidden = store.add_project("qa/old", archived=True), store.add_project("qa/secret")
    store.grant(store.tokens[TOKEN], hidden, None)
    store.add_project("quality/other")
    assert ids(get(gitlab, "/groups/qa/projects", order_by="id")) == [gone.id, top.id]
    assert ids(get(gitlab, f"/groups/{group.id}/projects", order_by="id", sort="asc", include_subgroups="true")) == [
        top.id,
        below.id,
        gone.id,
    ]
    assert ids(get(gitlab, "/groups/qa/projects", archived="false")) == [top.id]
    assert ids(get(gitlab, "/groups/qa%2Fweb/projects", simple="true")) == [below.id]
    missing = get(gitlab, "/groups/nowhere/projects")
    assert (missing.status_code, missing.json()) == (404, {"message": "404 Group Not Found"})


@pytest.mark.parametrize(("sort", "bound"), [("asc", "id_after"), ("desc", "id_before")])
def test_keyset_pages_end_with_an_empty_one(gitlab: GitLabServer, sort: str, bound: str) -> None:
    """A page that is not empty always links to a next one."""
    store = gitlab.store
    made = [store.add_project(f"qa/p{n}").id for n in range(4)]
    response = get(gitlab, "/groups/qa/projects", pagination="keyset", order_by="id", per_page=2, sort=sort)
    seen, pages = ids(response), 1
    while "next" in response.links:
        assert f"{bound}=" in response.links["next"]["url"]
        response = requests.get(response.links["next"]["url"], headers={"PRIVATE-TOKEN": TOKEN}, timeout=10)
        seen += ids(response)
        pages += 1
    assert (sorted(seen), len(seen), pages) == (made, 4, 3)
    refused = get(gitlab, "/groups/qa/projects", pagination="keyset", order_by="name")
    assert refused.status_code == 405


def test_a_group_route_without_keyset_falls_back_to_offsets(gitlab: GitLabServer) -> None:
    """The documentation promises keyset for /projects only; following `next` works either way."""
    gitlab.instance.group_keyset = False
    for number in range(3):
        gitlab.store.add_project(f"qa/p{number}")
    response = get(gitlab, "/groups/qa/projects", pagination="keyset", order_by="id", per_page=2)
    assert "page=2" in response.links["next"]["url"]


def test_a_filter_that_is_not_modelled_is_refused_loudly(gitlab: GitLabServer) -> None:
    """Better an error than a list that is too long."""
    gitlab.store.add_project("qa/shop")
    response = get(gitlab, "/groups/qa/projects", starred="true")
    assert (response.status_code, "not modelled" in response.text) == (400, True)
    assert get(gitlab, "/groups/qa/projects", starred="false").ok


def test_times_are_written_in_utc_and_cut_to_milliseconds(gitlab: GitLabServer) -> None:
    """The database knows microseconds, the JSON does not."""
    at = gitlab.store.clock().replace(microsecond=999_999) + timedelta(days=-1)
    pipeline = gitlab.store.add_pipeline(gitlab.store.add_project("qa/shop"), created_at=at, updated_at=at)
    row = get(gitlab, f"/projects/{pipeline.project.id}/pipelines").json()[0]
    assert row["updated_at"] == "2026-11-22T08:00:00.999Z"


def test_an_instance_can_be_described_by_its_version_alone() -> None:
    """Features follow from the version."""
    assert Instance("18.9").has(18, 8)
    assert not Instance("16.11.2-ee").has(17, 0)
