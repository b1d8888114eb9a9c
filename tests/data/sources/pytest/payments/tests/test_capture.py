"""Capture, refund and currency rules of the payment service."""
import pytest

RATES = {"EUR": 100, "USD": 108, "GBP": 85, "CHF": 96, "JPY": 15700}


@pytest.mark.parametrize("method", ["visa", "mastercard", "amex", "paypal", "sepa", "klarna"])
def test_pay(method, record_property):
    record_property("method", method)
    assert method != "klarna", "klarna: capture needs a shipped order"


@pytest.mark.parametrize("currency", sorted(RATES))
@pytest.mark.parametrize("amount", [1, 99, 100000])
def test_convert(amount, currency):
    assert amount * RATES[currency] > 0


@pytest.mark.parametrize(
    "amount, expected",
    [(0, "refused"), (-1, "refused"), (1, "captured"), (10**9, "refused")],
    ids=["zero", "negative", "one cent", "over the limit [10^9]"],
)
def test_amount_limits_TC1041(amount, expected):
    state = "captured" if 0 < amount < 10**8 else "refused"
    assert state == expected


def test_refund_full_TC1042():
    assert 1990 - 1990 == 0


def test_refund_twice_is_refused_TC1043():
    refunded = {"pay_1"}
    assert "pay_2" in refunded, "the second refund of pay_2 was accepted"


@pytest.mark.skip(reason="PAY-88: the chargeback sandbox is down")
def test_chargeback_TC1044():
    pass


def test_ledger_balances(record_property):
    record_property("rally_id", "TC1045")
    assert sum([1990, -1990]) == 0
