"""Checkout API."""
import sys

import pytest


def test_checkout_TC1021(shop):
    shop.add("SKU-1", 2)
    assert shop.checkout()["status"] == 201


def test_checkout_without_address_TC1022(shop):
    shop.add("SKU-1")
    answer = shop.checkout(address="")
    assert answer["status"] == 422, "an order without an address must be refused"


@pytest.mark.parametrize("method", ["visa", "mastercard", "amex"])
def test_pay(shop, method):
    shop.add("SKU-7")
    accepted = {"visa", "mastercard"}
    assert method in accepted, f"{method}: the payment was declined"


def test_voucher_is_applied(shop, record_property):
    record_property("test_id", "TC1024")
    shop.add("SKU-3", 3)
    assert shop.total() - 500 == 5470


def test_prices_include_vat(shop, record_property):
    record_property("rally_id", "TC1027")
    record_property("rally_id", "TC1028")
    shop.add("SKU-3")
    assert shop.total() == 1990


def test_receipt_is_coloured(shop):
    print("\x1b[32mreceipt\x1b[0m printed for order 42 \x1b[1;31m(2 items)\x1b[0m")
    print("Grüße aus Köln – 19,90 €", file=sys.stderr)
    assert shop.total() == 0


def test_terminal_message(shop):
    message = "\x1b[31mdeclined\x1b[0m\x00 by the terminal"
    assert message == "approved by the terminal"


def test_free_shipping_over_50_euro(shop):
    shop.add("SKU-9", 3)
    assert shop.total() > 5000
