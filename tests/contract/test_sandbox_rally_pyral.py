"""The real pyral, unmodified, works against the stand-in: so we know that the stand-in speaks Rally's language."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyral
import pyral.restapi
import pytest

from reconciler.sandbox.faults import Fault, page
from reconciler.sandbox.rally import RallyApp, Thing
from reconciler.sandbox.server import Server
from reconciler.sandbox.tls import make_tls

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep this machine's proxy and certificates out of it; pyral has no word for http but this (facts 6.3)."""
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pyral.restapi, "PROTOCOL", "http")


@pytest.fixture
def app() -> RallyApp:
    """Build a small world; the key owner's defaults are in another workspace."""
    app = RallyApp()
    store = app.store
    elsewhere = store.add_project(store.add_workspace("Elsewhere"), "Other")
    workspace = store.add_workspace("Acme & Sons")
    shop = store.add_project(workspace, "Web Shop")
    store.add_project(workspace, "Cart", shop)
    store.add_key("_full", store.add_user("qa@example.com", project=elsewhere))
    store.add_test_case(shop, "pays", "TC1001")
    return app


@pytest.fixture
def server(app: RallyApp) -> Iterator[Server]:
    """Serve it."""
    with Server(app) as running:
        yield running
    assert running.crashes == []


def connect(server: Server, *, isolated: bool = True) -> Any:  # noqa: ANN401 - pyral has no types
    """Construct a Rally object."""
    return pyral.Rally(
        server=f"127.0.0.1:{server.port}",
        apikey="_full",
        workspace="Acme & Sons",
        project="Web Shop",
        isolated_workspace=isolated,
    )


def first_case(app: RallyApp) -> Thing:
    """Give TC1001."""
    return next(app.store.of_type("TestCase"))


@pytest.mark.parametrize(("isolated", "requests"), [(True, 8), (False, 9)])
def test_pyral_constructs_with_eight_or_nine_reads(server: Server, *, isolated: bool, requests: int) -> None:
    """User, subscription, profile, workspaces (once or twice), workspace, its projects twice, schema (facts 6.2)."""
    rally = connect(server, isolated=isolated)
    assert (rally.getWorkspace().Name, rally.getProject().Name) == ("Acme & Sons", "Web Shop")
    routes = [(entry.method, entry.route.rpartition("v2.0/")[2].lower(), entry.status) for entry in server.log]
    workspaces = [("GET", "subscription/{n}/workspaces", 200)] * (1 if isolated else 2)
    assert routes == [
        ("GET", "user", 200),
        ("GET", "subscription", 200),
        ("GET", "userprofile/{n}", 200),
        *workspaces,
        ("GET", "workspace/{n}", 200),
        ("GET", "workspace/{n}/projects", 200),
        ("GET", "project", 200),
        ("GET", "workspace/{n}", 200),
    ]
    assert len(routes) == requests


def test_pyral_constructs_over_https_with_the_sandboxs_authority(
    app: RallyApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """REQUESTS_CA_BUNDLE is the only way to give pyral a certificate before it connects."""
    monkeypatch.setattr(pyral.restapi, "PROTOCOL", "https")
    tls = make_tls(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls.ca_pem))
    with Server(app, tls=tls) as server:
        assert connect(server).getProject().Name == "Web Shop"


@pytest.mark.parametrize(("form", "requests"), [("inline", 0), ("ref", 1)])
def test_pyral_reads_the_workspaces_verdicts_in_both_forms(
    app: RallyApp, server: Server, form: str, requests: int
) -> None:
    """As a list in the schema, or as a collection that costs a request at the type's first use."""
    app.behaviour.allowed_values = "ref" if form == "ref" else "inline"
    workspace = next(w for w in app.store.of_type("Workspace") if w.name == "Acme & Sons")
    app.store.schema.allow(workspace.oid, "TestCaseResult", "Verdict", ("Pass", "Fail", "Not Applicable"))
    rally = connect(server)
    server.log.clear()
    assert rally.getAllowedValues("TestCaseResult", "Verdict") == ["Pass", "Fail", "Not Applicable"]
    assert len(server.log) == requests
    required = {a.ElementName for a in rally.typedef("TestCaseResult").Attributes if a.Required and not a.ReadOnly}
    assert required == {"Build", "Date", "TestCase", "Verdict"}


def test_pyral_creates_queries_updates_attaches_and_deletes(app: RallyApp, server: Server, tmp_path: Path) -> None:
    """The whole life of a result, through pyral's own methods."""
    rally = connect(server)
    fields = {
        "Build": "27",
        "Date": "2026-05-05T10:00:00.000Z",
        "Verdict": "Pass",
        "TestCase": first_case(app).ref,
        "Workspace": rally.getWorkspace().ref,
    }
    created = rally.create("TestCaseResult", fields)
    [found] = list(rally.get("TestCaseResult", fetch="Build,TestCase,FormattedID", query='Build = "27"'))
    assert (found.oid, found.TestCase.FormattedID) == (created.oid, "TC1001")
    report = tmp_path / "report.txt"
    report.write_text("hello")
    rally.addAttachment(created, str(report))
    rally.update("TestCaseResult", {"ObjectID": created.oid, "Notes": "seen"})
    [stored] = app.store.results()
    assert (stored["Notes"], len(stored["Attachments"])) == ("seen", 1)  # type: ignore[arg-type]  # a list
    assert rally.delete("TestCaseResult", created.oid) is True
    assert app.store.results() == []


def test_pyral_sees_errors_as_it_does_with_rally(app: RallyApp, server: Server) -> None:
    """A create raises; a query that fails is falsy and iterates empty (facts 6.5)."""
    rally = connect(server)
    with pytest.raises(pyral.restapi.RallyRESTAPIError, match=r"^422 Validation error: TestCaseResult\.Date"):
        rally.create("TestCaseResult", {"Build": "27", "Verdict": "Pass", "TestCase": first_case(app).ref})
    failed = rally.get("TestCaseResult", query='FormattedID = "TC1"')
    assert (bool(failed), failed.status_code, list(failed)) == (False, 422, [])
    server.faults.add(Fault(page(503)))
    assert rally.get("TestCase").status_code == 503


def test_pyral_is_refused_with_a_wrong_key(server: Server) -> None:
    """The page that Rally sends is what pyral calls invalid credentials."""
    with pytest.raises(Exception, match="Invalid credentials"):
        pyral.Rally(server=f"127.0.0.1:{server.port}", apikey="_wrong", workspace="Acme & Sons", project="Web Shop")


def test_pyral_reads_more_than_one_page(app: RallyApp, server: Server) -> None:
    """1,000 rows a page."""
    case = first_case(app)
    for number in range(1100):
        app.store.add_result(case, f"b{number}")
    rally = connect(server)
    rows = rally.get("TestCaseResult", fetch="Build", order="ObjectID", threads=1)
    assert [row.Build for row in rows] == [f"b{number}" for number in range(1100)]
