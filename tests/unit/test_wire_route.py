"""By which way a request leaves, told without a proxy's password."""

from __future__ import annotations

import pytest

from reconciler.wire import route_to

RALLY = "https://rally1.rallydev.com"


@pytest.mark.parametrize(
    ("environ", "url", "expected"),
    [
        ({}, RALLY, "directly"),
        ({"HTTPS_PROXY": "http://proxy.test:3128"}, RALLY, "through the proxy http://proxy.test:3128 (HTTPS_PROXY)"),
        ({"https_proxy": "proxy.test:3128"}, RALLY, "through the proxy http://proxy.test:3128 (HTTPS_PROXY)"),
        ({"ALL_PROXY": "http://proxy.test:3128"}, RALLY, "through the proxy http://proxy.test:3128 (ALL_PROXY)"),
        ({"HTTPS_PROXY": "http://me:s3cret@p.test:1"}, RALLY, "through the proxy http://p.test:1 (HTTPS_PROXY)"),
        ({"HTTPS_PROXY": "http://p.test:1", "NO_PROXY": ".rallydev.com"}, RALLY, "directly (NO_PROXY names it)"),
        ({"HTTPS_PROXY": "http://p.test:1", "NO_PROXY": "other.test"}, "http://127.0.0.1:1", "directly"),
        ({"HTTP_PROXY": "http://p.test:1"}, RALLY, "directly"),
    ],
)
def test_the_way_is_told(environ: dict[str, str], url: str, expected: str) -> None:
    """Which proxy, and which variable names it; or that NO_PROXY keeps it away."""
    assert route_to(url, environ) == expected


def test_what_is_no_proxy_is_told_with_what_to_do() -> None:
    """Instead of the way that there is not."""
    assert "write it like" in route_to(RALLY, {"HTTPS_PROXY": "http://:3128"})
