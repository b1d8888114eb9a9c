"""Smoke test of the API; SMOKE_ATTEMPT=1 makes one test fail, as a slow stock service did."""
import os

import pytest


def test_health():
    assert True


def test_login_TC1031():
    assert "token".islower()


def test_stock_service_answers_TC1032():
    print("GET /stock/SKU-1")
    elapsed_ms = 5021 if os.environ.get("SMOKE_ATTEMPT") == "1" else 87
    assert elapsed_ms < 3000, f"stock service answered after {elapsed_ms} ms"


@pytest.mark.parametrize("country", ["de", "at", "ch"])
def test_catalogue_is_there(country):
    assert len(country) == 2
