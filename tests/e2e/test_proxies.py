"""Whole passes through a proxy, over https, with certificates that only the config's bundle vouches for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reconciler.sandbox.tls import TlsContext, make_tls
from tests.company import Company, junit, open_company
from tests.connect_proxy import ConnectProxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES = ("gitlab.company.test", "rally.company.test", "store.company.test")
LOGIN = "us:s3cret-of-ours"
NO_WAY = dict.fromkeys(("https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"), "")


@pytest.fixture
def tls(tmp_path: Path) -> TlsContext:
    """Make an authority that nobody knows, and a certificate for three names that no name service knows."""
    return make_tls(tmp_path, *NAMES)


@pytest.fixture
def hidden(tmp_path: Path, tls: TlsContext) -> Iterator[Company]:
    """Give a company that is behind a firewall: only its proxy knows its servers' names."""
    with open_company(tmp_path, tls) as company:
        configure(company, *(f"https://{name}" for name in NAMES[:2]))
        company.gitlab.instance.delivery = "object store"
        company.gitlab.objects.url = f"https://{NAMES[2]}"
        yield company


def configure(company: Company, gitlab: str, rally: str) -> None:
    """Name the services so, and trust their authority."""
    ours = {"ca_bundle": "sandbox-ca.pem"}
    company.configure(gitlab=ours | {"url": gitlab}, rally=ours | {"url": rally, "settle_after_seconds": 0})


def known(company: Company) -> dict[str, int]:
    """Tell the proxy the names."""
    ports = (company.gitlab.server.port, company.rally.port, company.gitlab.objects_server.port)
    return dict(zip(NAMES, ports, strict=True))


def through(proxy: ConnectProxy, variable: str = "HTTPS_PROXY", **more: str) -> dict[str, str]:
    """Give an environment with this proxy and no other."""
    return {name: value for name, value in NO_WAY.items() if name != variable.lower()} | {variable: proxy.url} | more


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy"])
def test_all_traffic_of_both_services_goes_through_the_proxy(
    hidden: Company, tmp_path_factory: pytest.TempPathFactory, variable: str
) -> None:
    """Redirects to the object store too; the bundle counts, whatever wrong ones the environment names."""
    wrong = str(make_tls(tmp_path_factory.mktemp("other")).ca_pem)
    environment = dict.fromkeys(("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"), wrong)
    pipeline = hidden.gitlab.store.add_pipeline(hidden.project, status="failed")
    hidden.ran(junit("paying_TC1!"), {"paying_TC1/shot.png": b"\x89PNG\r\n\x1a\n"}, pipeline)
    with ConnectProxy(known(hidden), password=LOGIN) as proxy:
        ran = hidden.run("--once", **through(proxy, variable), **environment)

    assert ran.status == 0, ran.err
    assert hidden.names(pipeline) == {"TC1/1": ["shot.png", "test_output.log"]}
    assert set(proxy.asked) == {f"{name}:443" for name in NAMES}
    assert "s3cret-of-ours" not in ran.out + ran.err


def test_a_bundle_of_the_environment_that_is_not_there_does_no_harm(hidden: Company) -> None:
    """The object store is trusted by the config's bundle too."""
    nowhere = dict.fromkeys(("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"), "/nowhere/ca.pem")
    hidden.ran(junit("paying_TC1!"), {"paying_TC1/shot.png": b"\x89PNG\r\n\x1a\n"})
    with ConnectProxy(known(hidden)) as proxy:
        ran = hidden.run("--once", **through(proxy), **nowhere)
    assert ran.status == 0, ran.err


def test_https_to_this_machine_goes_through_the_proxy_unless_no_proxy_names_it(hidden: Company) -> None:
    """The environment is obeyed to the letter; pyral by itself would ignore NO_PROXY."""
    urls = (hidden.gitlab.url, hidden.rally.url)
    configure(hidden, *urls)
    hidden.gitlab.objects.url = hidden.gitlab.objects_server.url
    hidden.ran(junit("a_TC1"), {"log.txt": b"hello"})
    with ConnectProxy() as proxy:
        direct = hidden.run("--once", **through(proxy, NO_PROXY="elsewhere.test, 127.0.0.0/8"))
        assert (direct.status, proxy.asked) == (0, []), direct.err
        hidden.ran(junit("b_TC2"), {"log.txt": b"hello"})
        proxied = hidden.run("--once", **through(proxy, NO_PROXY="localhost"))
    assert proxied.status == 0, proxied.err
    assert {f"https://{target}" for target in proxy.asked} >= set(urls)


@pytest.mark.parametrize(
    ("demands", "ours", "says"),
    [
        ("us:s3cret-of-ours", "", "asks for a user and password (HTTP 407): set HTTPS_PROXY to http://USER:PASSWORD@"),
        ("us:s3cret-of-ours", "us:wr0ng-guess", "does not accept the user and password (HTTP 407): correct them"),
        ("", "us:s3cret-of-ours", "refuses to connect us to gitlab.company.test (HTTP 403): have gitlab.company.test"),
    ],
)
def test_a_proxy_that_says_no_is_named_with_what_to_do(hidden: Company, demands: str, ours: str, says: str) -> None:
    """In one line for each service, without its password, and at once; nothing was sent."""
    answer = "200 OK" if demands else "403 Forbidden"
    with ConnectProxy(known(hidden), password=demands, answer=answer) as proxy:
        url = f"http://{ours}@127.0.0.1:{proxy.port}" if ours else f"127.0.0.1:{proxy.port}"
        ran = hidden.run("--once", **through(proxy) | {"HTTPS_PROXY": url, "RECONCILER_LOG__LEVEL": "TRACE"})

    assert ran.status == 75
    for service, name in (("GitLab", NAMES[0]), ("Rally", NAMES[1])):
        lines = [line for line in ran.err.splitlines() if line.startswith(f"{service}: the proxy 127.0.0.1:")]
        assert len(lines) == 1, ran.err
        assert says.replace("gitlab.company.test", name) in lines[0]
        assert f"or name {name} in NO_PROXY" in lines[0]
    assert not list(hidden.rally.log) + list(hidden.gitlab.server.log)
    for word in ("s3cret-of-ours", "wr0ng-guess"):
        assert word not in ran.out + ran.err
