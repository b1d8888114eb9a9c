"""Proxies: the environment is obeyed to the letter, and one that lets nobody through is told with what to do."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from reconciler.errors import NotDone, ServiceDown
from reconciler.sandbox.messages import Request, Response
from reconciler.sandbox.server import Server
from reconciler.sandbox.tls import TlsContext, make_tls
from reconciler.wire import Endpoint, Limits, Service, ServiceSession, Wire
from reconciler.wire.proxies import Exempt, Proxies, UnusableProxy
from tests.connect_proxy import ConnectProxy

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVICE = Service("Rally", "check rally.api_key")
NAME = "rally.company.test"
"""Known to the proxy alone."""
LOGIN = "us:p@ss word"
PROXY = "http://proxy.test:3128"


class Echo:
    """Answers with the headers it got."""

    name = "echo"

    def __call__(self, request: Request) -> Response:
        """Answer one request."""
        return Response.json(dict(request.headers))


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test set what it is about."""
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "ALL_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TlsContext:
    """Make an authority that nobody trusts, and a certificate of it."""
    return make_tls(tmp_path_factory.mktemp("tls"), NAME)


@pytest.fixture
def secure(tls: TlsContext) -> Iterator[Server]:
    """Serve over https."""
    with Server(Echo(), tls=tls) as running:
        yield running


def read(url: str, tls: TlsContext, *, connect_s: float = 5.0) -> dict[str, str]:
    """Read once, without patience; the headers that the server got."""
    wire = Wire(SERVICE, stop=threading.Event(), limits=Limits(patience_s=0, tries=1))
    with ServiceSession(Endpoint(url, tls.ca_pem, connect_s=connect_s), ca_setting=SERVICE.ca_setting) as session:
        got: dict[str, str] = wire.read(f"{url}/x", lambda: session.once("GET", f"{url}/x")).document
    return got


# --- the environment -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "url", "proxy"),
    [
        ({"HTTPS_PROXY": PROXY}, "https://rally.test/x", PROXY),
        ({"https_proxy": PROXY}, "https://rally.test/x", PROXY),
        ({"https_proxy": PROXY, "HTTPS_PROXY": "http://other.test"}, "https://rally.test/x", PROXY),
        ({"https_proxy": "", "HTTPS_PROXY": PROXY}, "https://rally.test/x", ""),
        ({"ALL_PROXY": PROXY}, "https://rally.test/x", PROXY),
        ({"HTTP_PROXY": PROXY}, "https://rally.test/x", ""),
        ({"HTTP_PROXY": PROXY}, "http://store.test/x", PROXY),
        ({"HTTP_PROXY": PROXY, "ALL_PROXY": PROXY}, "http://127.0.0.1:8080/x", ""),
        ({"HTTP_PROXY": PROXY}, "http://localhost:8080/x", ""),
        ({"HTTPS_PROXY": PROXY}, "https://localhost/x", PROXY),
        ({"HTTPS_PROXY": PROXY}, "https://[::1]:1/x", PROXY),
        ({"HTTPS_PROXY": "proxy.test:3128"}, "https://rally.test/x", PROXY),
        ({"HTTPS_PROXY": "http://HTTPS://proxy.test"}, "https://rally.test/x", "HTTPS://proxy.test"),
        ({"HTTPS_PROXY": "http://us:pw@proxy.test"}, "https://rally.test/x", "http://us:pw@proxy.test"),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "rally.test"}, "https://rally.test/x", ""),
        ({"HTTPS_PROXY": PROXY, "no_proxy": "", "NO_PROXY": "rally.test"}, "https://rally.test/x", ""),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": " , a.test,b.test rally.test,"}, "https://rally.test/x", ""),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": ","}, "https://rally.test/x", PROXY),
        ({}, "https://rally.test/x", ""),
    ],
)
def test_the_environment_says_which_proxy(environ: dict[str, str], url: str, proxy: str) -> None:
    """As curl and requests read it, but for plain http to this machine."""
    assert Proxies.of(environ).for_url(url) == proxy


@pytest.mark.parametrize(
    ("entry", "url", "is_exempt"),
    [
        ("company.test", "https://company.test", True),
        ("company.test", "https://rally.company.test", True),
        (".company.test", "https://rally.company.test", True),
        (".company.test", "https://company.test", True),
        ("*.company.test", "https://rally.company.test", True),
        ("Company.TEST", "https://rally.company.test", True),
        ("company.test.", "https://rally.company.test", True),
        ("company.test", "https://my-company.test", False),
        ("company.test:8443", "https://company.test:8443", True),
        ("company.test:8443", "https://company.test", False),
        ("company.test:443", "https://company.test", True),
        ("*", "https://anything.test", True),
        ("127.0.0.1", "https://127.0.0.1:8443", True),
        ("127.0.0.1:8443", "https://127.0.0.1:8443", True),
        ("127.0.0.1:8443", "https://127.0.0.1:9443", False),
        ("127.0.0.0/8", "https://127.1.2.3", True),
        ("10.0.0.0/8", "https://127.1.2.3", False),
        ("0.1", "https://127.0.0.1", False),
        ("::1", "https://[::1]:8443", True),
        ("[::1]", "https://[::1]:8443", True),
        ("[::1]:8443", "https://[::1]:8443", True),
        ("[::1]:1", "https://[::1]:8443", False),
        ("fd00::/8", "https://[fd12::1]", True),
        ("127.0.0.1", "https://localhost", False),
        ("localhost", "https://localhost:8443", True),
        ("localhost", "https://127.0.0.1", False),
    ],
)
def test_no_proxy_has_these_forms(entry: str, url: str, is_exempt: bool) -> None:  # noqa: FBT001 - a table's column
    """Names are compared as they are written: no name service is asked."""
    chosen = Proxies({"https": PROXY}, (Exempt.read(entry),)).for_url(url)
    assert (chosen == "") is is_exempt


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("socks5://us:pw@proxy.test:1080", "HTTPS_PROXY names a socks5 proxy, which is not supported"),
        ("http://socks5://us:pw@proxy.test:1080", "HTTPS_PROXY names a socks5 proxy, which is not supported"),
        ("http://us:pw#x@proxy.test:3128", "HTTPS_PROXY is not the address of a proxy"),
        ("http://proxy.test:99999", "HTTPS_PROXY is not the address of a proxy"),
        ("http://", "HTTPS_PROXY is not the address of a proxy"),
    ],
)
def test_what_is_no_proxy_is_told_without_repeating_it(
    value: str, says: str, tls: TlsContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may hold a password; nothing is tried, not even without a proxy."""
    with pytest.raises(UnusableProxy, match=says):
        Proxies.of({"HTTPS_PROXY": value}).for_url("https://rally.test")
    monkeypatch.setenv("HTTPS_PROXY", value)
    with pytest.raises(ServiceDown, match=rf"Rally: {says}") as caught:
        read("https://rally.test", tls)
    assert "pw" not in str(caught.value)


# --- through it ------------------------------------------------------------------------------------------------------


def test_a_name_that_only_the_proxy_knows_is_reached_and_its_password_stays_with_it(
    secure: Server, tls: TlsContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Percent-escapes are undone, and the server behind it gets no Proxy-Authorization."""
    with ConnectProxy({NAME: secure.port}, password=LOGIN) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://us:p%40ss%20word@127.0.0.1:{proxy.port}")
        headers = read(f"https://{NAME}", tls)
    assert proxy.asked == [f"{NAME}:443"]
    assert "proxy-authorization" not in headers


def test_what_a_library_writes_into_the_environment_or_the_session_counts_for_nothing(
    secure: Server, tls: TlsContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pyral does both, and ignores NO_PROXY."""
    wire = Wire(SERVICE, stop=threading.Event())
    url = f"{secure.url}/x"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ConnectProxy() as proxy, ServiceSession(Endpoint(secure.url, tls.ca_pem)) as session:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.delenv("NO_PROXY")
        session.proxies = {"https": proxy.url}
        assert wire.read(url, lambda: session.once("GET", url)).status == 200
    assert proxy.asked == []


def test_a_proxy_that_speaks_tls_itself_is_trusted_by_the_bundle(
    secure: Server, tls: TlsContext, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """It stands in the same company; one of another authority is told as such."""
    with ConnectProxy({NAME: secure.port}, tls=tls) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        assert read(f"https://{NAME}", tls)
    with ConnectProxy(tls=make_tls(tmp_path_factory.mktemp("other"))) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with pytest.raises(
            ServiceDown, match=r"the proxy 127\.0\.0\.1:\d+ has a certificate that .*: see rally\.ca_bundle"
        ):
            read(f"https://{NAME}", tls)


def test_a_server_behind_the_proxy_that_is_not_trusted_is_the_servers_trouble(
    secure: Server, tls: TlsContext, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The proxy did its part."""
    other = TlsContext(tls.server_side, make_tls(tmp_path_factory.mktemp("other")).ca_pem)
    with ConnectProxy({NAME: secure.port}) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with pytest.raises(ServiceDown, match=rf"the certificate of {NAME} is not trusted .*: set rally\.ca_bundle"):
            read(f"https://{NAME}", other)


# --- not through it --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("403 Forbidden", rf"refuses to connect us to {NAME} \(HTTP 403\): have {NAME} allowed there"),
        ("502 Bad Gateway", rf"does not get through to {NAME} \(HTTP 502\): check the url"),
        ("", r"does not answer in time: check HTTPS_PROXY and the firewall"),
        ("nonsense", r"does not answer as a proxy does: check HTTPS_PROXY"),
    ],
)
def test_a_proxy_that_lets_nobody_through_is_named(
    answer: str, says: str, tls: TlsContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its password, with what to do, and a write was certainly not done."""
    connect_s = 5.0 if answer else 0.2
    with ConnectProxy(answer=answer) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://us:s3cret@127.0.0.1:{proxy.port}")
        with pytest.raises(
            ServiceDown, match=rf"^Rally: the proxy 127\.0\.0\.1:{proxy.port} {says}, or name {NAME} in"
        ):
            read(f"https://{NAME}", tls, connect_s=connect_s)
        wire = Wire(SERVICE, stop=threading.Event())
        endpoint = Endpoint(f"https://{NAME}", tls.ca_pem, connect_s=connect_s)
        with ServiceSession(endpoint) as session, pytest.raises(NotDone):
            wire.write(f"https://{NAME}/x", lambda: session.once("POST", f"https://{NAME}/x", data=b"{}"))


def test_a_proxy_that_is_down_or_unknown_is_named(tls: TlsContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not taken for the server."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("HTTPS_PROXY", f"http://us:s3cret@127.0.0.1:{port}")
    with pytest.raises(ServiceDown, match=rf"^Rally: the proxy 127\.0\.0\.1:{port} refuses connections: is it up"):
        read(f"https://{NAME}", tls)
    monkeypatch.setenv("HTTPS_PROXY", "http://us:s3cret@proxy.invalid:3128")
    with pytest.raises(ServiceDown, match=r"^Rally: the proxy proxy\.invalid:3128 has a name that is not known"):
        read(f"https://{NAME}", tls)


def test_plain_http_behind_a_proxy_names_the_proxy_too(tls: TlsContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object store of one's own may speak http."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
    with pytest.raises(ServiceDown, match=rf"the proxy 127\.0\.0\.1:{port} refuses connections"):
        read("http://store.company.test", tls)
