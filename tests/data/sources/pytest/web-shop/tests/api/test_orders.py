"""Orders API."""
import pytest


class TestOrders:
    def test_list_is_empty_TC1025(self, shop):
        assert shop.orders == []

    def test_cancel_TC1026(self, shop):
        shop.add("SKU-2")
        shop.checkout()
        assert len(shop.orders) == 1

    @pytest.mark.skip(reason="SHOP-512: returns are switched off on staging")
    def test_return_TC1029(self, shop):
        pass

    @pytest.mark.xfail(reason="SHOP-498: partial refunds are not there yet")
    def test_partial_refund(self, shop):
        assert shop.partial_refund(1)

    @pytest.mark.xfail(reason="SHOP-377: fixed by chance?", strict=True)
    def test_order_numbers_have_no_gaps(self, shop):
        assert shop.checkout()["order"] == 1


def test_archive_lists_old_orders_TC1030(order_archive):
    assert order_archive


def test_session_is_closed(leaky_session):
    assert leaky_session.startswith("session"), leaky_session


def test_session_owner(leaky_session):
    assert leaky_session == "session-1"
