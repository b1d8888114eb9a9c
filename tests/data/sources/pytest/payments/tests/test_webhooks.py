"""Webhooks to the shop."""
import pytest


@pytest.fixture
def broker():
    raise ConnectionRefusedError("amqp://broker:5672: connection refused")


@pytest.mark.parametrize("event", ["payment.captured", "payment.failed", "refund.created"])
def test_webhook_is_signed_TC1046(event):
    assert "." in event


def test_webhook_is_queued_TC1047(broker):
    pass


def test_webhook_body_is_utf8():
    assert "Zahlung über 12,50 €".encode()
