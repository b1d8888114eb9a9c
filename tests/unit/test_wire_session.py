"""Trust, proxies, cookies, netrc, redirects and stale connections are ours to say, whatever the environment holds."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import requests
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reconciler.errors import Misconfigured, NotDone, ServiceDown
from reconciler.sandbox.faults import Fault, Reset
from reconciler.sandbox.messages import Request, Response
from reconciler.sandbox.server import Server
from reconciler.sandbox.tls import TlsContext, make_tls
from reconciler.wire import Endpoint, Limits, Service, ServiceSession, Wire, is_loopback, origin
from reconciler.wire import session as session_module

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SERVICE = Service("Rally", "check rally.api_key")
ENVIRONMENT = ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "ALL_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC")


class Greeter:
    """Answers with the headers it got, and sets a cookie; /away redirects to wherever the query says."""

    name = "greeter"

    def __call__(self, request: Request) -> Response:
        """Answer one request."""
        if request.path == "/away":
            return Response(302, headers={"Location": request.first("to"), "Set-Cookie": "JSESSIONID=mine; Path=/"})
        response = Response.json(dict(request.headers))
        response.headers["Set-Cookie"] = "JSESSIONID=somebody; Path=/"
        return response


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test set what it is about."""
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TlsContext:
    """Make an authority that nobody trusts, and a certificate of it."""
    return make_tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def other_ca(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make another authority."""
    return make_tls(tmp_path_factory.mktemp("other")).ca_pem


@pytest.fixture
def secure(tls: TlsContext) -> Iterator[Server]:
    """Serve over https."""
    with Server(Greeter(), tls=tls) as running:
        yield running


@pytest.fixture
def plain() -> Iterator[Server]:
    """Serve over http."""
    with Server(Greeter()) as running:
        yield running


@pytest.fixture
def wire() -> Wire:
    """Make a wire without patience."""
    return Wire(SERVICE, stop=threading.Event(), limits=Limits(patience_s=0, tries=1))


@contextmanager
def session_to(url: str, ca_bundle: Path | None = None) -> Iterator[ServiceSession]:
    """Open a session and close it."""
    with ServiceSession(Endpoint(url, ca_bundle), ca_setting="rally.ca_bundle") as session:
        yield session


def read(wire: Wire, session: ServiceSession, url: str) -> dict[str, str]:
    """Read the headers that the server got."""
    answer: dict[str, str] = wire.read(url, lambda: session.once("GET", url)).document
    return answer


# --- TLS -------------------------------------------------------------------------------------------------------------


def test_the_configured_bundle_is_trusted(wire: Wire, secure: Server, tls: TlsContext) -> None:
    """A server of an authority of one's own is what it is for."""
    with session_to(secure.url, tls.ca_pem) as session:
        assert read(wire, session, f"{secure.url}/x")["host"]


def test_the_environment_does_not_override_the_configured_bundle(
    wire: Wire, secure: Server, tls: TlsContext, other_ca: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests lets REQUESTS_CA_BUNDLE win over session.verify, both ways."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other_ca))
    monkeypatch.setenv("CURL_CA_BUNDLE", str(other_ca))
    with session_to(secure.url, tls.ca_pem) as session:
        assert read(wire, session, f"{secure.url}/x")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls.ca_pem))
    with session_to(secure.url, other_ca) as session, pytest.raises(ServiceDown, match="not trusted"):
        read(wire, session, f"{secure.url}/x")


def test_without_a_bundle_the_environments_is_used(
    wire: Wire, secure: Server, tls: TlsContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As people know it from other tools."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls.ca_pem))
    with session_to(secure.url) as session:
        assert read(wire, session, f"{secure.url}/x")


def test_an_untrusted_server_is_told_with_the_setting_that_helps(wire: Wire, secure: Server) -> None:
    """And what is written to it was not done."""
    url = f"{secure.url}/x"
    with session_to(secure.url) as session:
        with pytest.raises(ServiceDown, match=r"Rally: the certificate of 127\.0\.0\.1:\d+ .*: set rally\.ca_bundle"):
            read(wire, session, url)
        fresh = Wire(SERVICE, stop=threading.Event())
        with pytest.raises(NotDone, match="not trusted"):
            fresh.write(url, lambda: session.once("POST", url, data=b"{}"))
    assert len(secure.log) == 0


def test_a_bundle_that_cannot_be_read_is_a_mistake_in_the_config(wire: Wire, secure: Server, tmp_path: Path) -> None:
    """Neither a missing file nor one that holds no certificate."""
    (tmp_path / "empty.pem").write_text("no certificate")
    for name in ("missing.pem", "empty.pem"):
        with session_to(secure.url, tmp_path / name) as session, pytest.raises(Misconfigured, match=name):
            read(wire, session, f"{secure.url}/x")


def test_plain_http_at_a_tls_port_and_the_other_way_round(wire: Wire, plain: Server) -> None:
    """It says that this may not be https."""
    url = plain.url.replace("http:", "https:")
    with session_to(url) as session, pytest.raises(ServiceDown, match="speaks https"):
        read(wire, session, f"{url}/x")


def test_a_bundle_of_the_environment_that_is_missing_is_told_by_its_variable(
    wire: Wire, secure: Server, tls: TlsContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the config has one, it does no harm, not even at another host of the service."""
    monkeypatch.setenv("CURL_CA_BUNDLE", "/nowhere/ca.pem")
    with (
        session_to(secure.url) as session,
        pytest.raises(Misconfigured, match=r"CURL_CA_BUNDLE: /nowhere/ca\.pem: No such"),
    ):
        read(wire, session, f"{secure.url}/x")
    with session_to("https://elsewhere.invalid", tls.ca_pem) as session:
        assert read(wire, session, f"{secure.url}/x")


def test_a_folder_of_certificates_is_a_bundle_too(
    wire: Wire, secure: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """REQUESTS_CA_BUNDLE may name one; without the hashes that OpenSSL wants it trusts nobody."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))
    with session_to(secure.url) as session, pytest.raises(ServiceDown, match="not trusted"):
        read(wire, session, f"{secure.url}/x")


# --- netrc, cookies, redirects ---------------------------------------------------------------------------------------


def test_netrc_does_not_replace_our_credentials(
    wire: Wire, plain: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests would, for a host that ~/.netrc names."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    url = f"{plain.url}/x"
    with session_to(plain.url) as session:
        headers = {"Authorization": "Bearer ours"}
        wire.read(url, lambda: session.once("GET", url, headers=headers))
    assert plain.log.entries()[0].headers["authorization"] == "Bearer ours"


def test_cookies_are_not_kept(wire: Wire, plain: Server) -> None:
    """An API key with a session cookie is an "Invalid key" to Rally (KB 127054)."""
    with session_to(plain.url) as session:
        read(wire, session, f"{plain.url}/x")
        assert "cookie" not in read(wire, session, f"{plain.url}/x")
        assert "cookie" not in read(wire, session, f"{plain.url}/away?to=/x")


def test_a_redirect_to_another_origin_is_not_followed(wire: Wire, plain: Server) -> None:
    """ZSESSIONID would go along: requests strips Authorization only."""
    with Server(Greeter()) as other, session_to(plain.url) as session:
        session.headers["ZSESSIONID"] = "_KEY"
        with pytest.raises(ServiceDown, match=r"HTTP 302: it sends us on to 127\.0\.0\.1"):
            read(wire, session, f"{plain.url}/away?to={other.url}/x")
        assert len(other.log) == 0


def test_a_redirect_inside_the_service_is_followed(wire: Wire, plain: Server) -> None:
    """GitLab answers 301 for a project that was renamed."""
    with session_to(plain.url) as session:
        session.headers["ZSESSIONID"] = "_KEY"
        read(wire, session, f"{plain.url}/away?to=/x")
    assert [entry.headers["zsessionid"] for entry in plain.log.entries()] == ["_KEY", "_KEY"]


def test_an_answer_that_says_our_credentials_back_loses_them(wire: Wire, plain: Server) -> None:
    """Errors of services become messages and rows of the ledger."""
    url = f"{plain.url}/x"
    with session_to(plain.url) as session:
        headers = {"ZSESSIONID": "_a-key", "Authorization": "Bearer a-token"}
        seen = wire.read(url, lambda: session.once("GET", url, headers=headers)).document
    assert (seen["zsessionid"], seen["authorization"]) == ("[secret]", "Bearer [secret]")


# --- connections -----------------------------------------------------------------------------------------------------


def test_connections_that_lay_idle_are_not_used_again(
    wire: Wire, plain: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the limit one connection serves; beyond it a new one is made, before the server may have closed it."""
    opened: list[object] = []
    connect = socket.socket.connect

    def connecting(sock: socket.socket, address: tuple[str, int]) -> None:
        opened.append(address)
        connect(sock, address)

    monkeypatch.setattr(socket.socket, "connect", connecting)
    with session_to(plain.url) as session:
        read(wire, session, f"{plain.url}/x")
        read(wire, session, f"{plain.url}/x")
        assert len(opened) == 1
        monkeypatch.setattr(session_module, "MAX_IDLE_S", -1.0)
        read(wire, session, f"{plain.url}/x")
        assert len(opened) == 2


def test_a_session_that_was_closed_opens_anew(wire: Wire, plain: Server) -> None:
    """The daemon closes its connections between passes."""
    with session_to(plain.url) as session:
        for _ in range(2):
            assert read(wire, session, f"{plain.url}/x")["host"]
            session.close()


_PLAIN = st.text("abc/.-_~!$&'()*+,;=:@?%2FaA09", max_size=30)
_ODD = st.text(st.characters(codec="utf-8"), max_size=8)


@settings(max_examples=500)
@example("/a/../b", "")
@example("//a", "")
@example("/a%2db%41%zz%2f%e9", "")
@example("/a%41%2D", "")
@example("/a?", "")
@example("/x?q=((A%20%3D%20%22b%22)%20OR%20(C%20%3D%20%C3%A9))&order=ObjectID", "")
@example("/a?b#c", "")
@example("", "")
@given(_PLAIN, _ODD)
def test_addresses_are_written_as_requests_writes_them(beginning: str, end: str) -> None:
    """Those that look well are not looked at again, so they must be what it makes of them."""
    for url in (f"http://gitlab.example.com:8080/{beginning}", f"https://127.0.0.1{beginning}{end}"):
        with ServiceSession(Endpoint("https://rally.example.com")) as session:
            assert _prepared(session, url) == _prepared(requests.Session(), url)


def _prepared(session: requests.Session, url: str) -> str:
    try:
        return session.prepare_request(requests.Request("GET", url)).url or ""
    except (requests.RequestException, ValueError) as error:
        return type(error).__name__


def test_urllib3_tries_nothing_again_by_itself(wire: Wire, plain: Server) -> None:
    """One request, one reset, and no second request."""
    plain.faults.add(Fault(Reset(), times=None))
    with session_to(plain.url) as session, pytest.raises(ServiceDown, match="cut the connection"):
        read(wire, session, f"{plain.url}/x")
    assert len(plain.log) == 1


def test_every_request_has_a_time_out(wire: Wire) -> None:
    """Whatever a library passes: pyral's writes pass none at all."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with ServiceSession(Endpoint(url, read_s=0.1)) as session, pytest.raises(ServiceDown, match="did not answer"):
            wire.read(f"{url}/x", lambda: session.once("GET", f"{url}/x", timeout=None))


@pytest.mark.parametrize(
    ("url", "is_ours"),
    [
        ("http://127.0.0.1:8080/x", True),
        ("http://localhost", True),
        ("https://[::1]:1", True),
        ("http://gitlab.localhost", True),
        ("https://127.0.0.1.example.com", False),
        ("https://10.0.0.1", False),
        ("nonsense", False),
    ],
)
def test_loopback_is_known(url: str, is_ours: bool) -> None:  # noqa: FBT001 - a table's column
    """Names count only where they cannot be anybody else's."""
    assert is_loopback(url) is is_ours


def test_an_origin_has_its_default_port() -> None:
    """So https://host and https://host:443 are one."""
    assert origin("https://host/x") == origin("https://host:443/y") == ("https", "host", 443)
    assert origin("http://host") == ("http", "host", 80)
