from behave import given, then

FEES = {"visa": 90, "amex": 150}


@given("{count:d} captured payments of {amount:d} {currency}")
def captured(context, count, amount, currency):
    context.total = count * amount
    print(f"captured {count} x {amount} {currency}")


@given("a ledger that is down")
def ledger(context):
    raise ConnectionError("ledger: connection refused")


@then("the settlement is {amount:d} EUR")
def settled(context, amount):
    assert context.total == amount, f"settled {context.total} EUR, expected {amount} EUR"


@then("the fee for {scheme} is {fee:d} cents")
def fee_is(context, scheme, fee):
    assert FEES[scheme] == fee, f"fee {FEES[scheme]} cents"
