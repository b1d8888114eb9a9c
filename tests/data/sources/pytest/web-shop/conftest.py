"""A fake shop service, so that the suite needs no network."""
import pytest


class ServiceUnavailable(Exception):
    pass


class Shop:
    def __init__(self):
        self.cart = {}
        self.orders = []

    def add(self, sku, quantity=1):
        if quantity < 1:
            raise ValueError(f"quantity must be positive, got {quantity}")
        self.cart[sku] = self.cart.get(sku, 0) + quantity
        return self.cart

    def total(self, price_cents=1990):
        return sum(self.cart.values()) * price_cents

    def checkout(self, address="Main Street 1"):
        if not address:
            return {"status": 200, "state": "accepted"}  # the bug that TC1022 finds
        self.orders.append(dict(self.cart))
        self.cart.clear()
        return {"status": 201, "state": "placed", "order": len(self.orders)}


@pytest.fixture
def shop():
    return Shop()


@pytest.fixture
def order_archive():
    raise ServiceUnavailable("order archive: 503 Service Unavailable after 3 tries")


@pytest.fixture
def leaky_session():
    yield "session-4711"
    raise RuntimeError("session session-4711 is still open")


@pytest.fixture(scope="session", autouse=True)
def suite_properties(record_testsuite_property):
    record_testsuite_property("environment", "staging")
    record_testsuite_property("api_version", "2024-11")
