"""Over https: the config's CA bundle is the one that counts, for both services."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reconciler.sandbox.tls import make_tls
from tests.company import Company, junit, open_company

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Company]:
    """Give a company whose servers have certificates of an authority that nobody knows."""
    tls = make_tls(tmp_path)
    with open_company(tmp_path, tls) as company:
        yield company


def test_the_ca_bundle_of_the_config_is_used_whatever_the_environment_says(secure: Company, tmp_path: Path) -> None:
    """REQUESTS_CA_BUNDLE in the environment would override `session.verify` of requests (facts, pyral 6.3)."""
    other = make_tls(tmp_path.parent).ca_pem
    ours = {"ca_bundle": "sandbox-ca.pem"}
    secure.configure(gitlab=ours, rally=ours | {"settle_after_seconds": 0})
    pipeline = secure.pipeline({"unit": junit("a_TC1")})

    ran = secure.run("--once", REQUESTS_CA_BUNDLE=str(other), CURL_CA_BUNDLE=str(other))

    assert ran.status == 0, ran.err
    assert secure.verdicts(pipeline) == {"TC1/1": "Pass"}


def test_an_unknown_authority_is_told_with_what_to_do(secure: Company) -> None:
    """Nothing is sent to a server whose certificate cannot be checked; the line names the setting."""
    environment = dict.fromkeys(("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"), "")

    ran = secure.run("--once", **environment)

    assert ran.status in {1, 75}
    assert "gitlab.ca_bundle" in ran.err
    assert "rally.ca_bundle" in ran.err
    assert not list(secure.rally.log) + list(secure.gitlab.server.log)
