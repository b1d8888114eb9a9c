"""What the demo's Rally holds: a workspace, a root project with three below it, and their test cases."""

from __future__ import annotations

from reconciler.sandbox.rally import Store

WORKSPACE = "Acme"
ROOT = "Acme Products"

_WEB_SHOP = """
TC1001 An empty cart costs nothing
TC1002 The cart adds up its lines
TC1003 A voucher takes 10 % off
TC1004 A voucher can be used once only
TC1005 Gift cards lower the amount to pay
TC1006 A price that varies is shown with "from"
TC1007 Vouchers of another country are refused
TC1008 Prices: thousands are grouped and rounded
TC1009 The cart's total is shown in every currency
TC1010 A discount never exceeds the price
TC1011 Prices are rounded half up
TC1012 The legacy price file is read
TC1013 The tax table is loaded
TC1014 Three for the price of two
TC1015 A valid coupon is accepted
TC1016 A coupon of another shop is refused
TC1017 Coupon codes in upper case, mixed case and digits
TC1018 Loyalty points expire after a year
TC1019 Free shipping over 50 euro
TC1020 Order numbers have no gaps
TC1021 Checkout of one article
TC1022 Checkout without an address is refused
TC1023 Payment by every card
TC1024 A voucher is applied at the checkout
TC1025 A new customer has no orders yet
TC1026 An order is cancelled
TC1027 Prices include VAT
TC1028 VAT follows the country of delivery
TC1029 An order is returned
TC1030 The archive lists old orders
TC1031 Login with e-mail and password
TC1032 The stock service answers
TC1038 Every country has its catalogue
TC1061 A guest can check out
TC1062 A customer logs in
TC1063 The total is shown in the local currency
TC1064 Payment with a wallet
TC1065 The search suggests words while typing
TC1066 The search finds articles
TC1067 The cart widget hides when it is empty
TC1068 The cart widget's badge shows the number of items
TC1069 A return label is printed
TC1070 A CSV of 1000 products is imported
TC1071 The admin console lists products
TC1072 Products are exported to Excel
TC1073 A user is locked after five tries
TC1074 The cart widget shows the number of items
TC1075 The cart widget is updated after a removal
TC1076 A fresh order is taken back
TC1077 The courier is called for a return
TC1078 Goods may be sent back for 14 days
"""

_PAYMENTS = """
TC1033 A capture is idempotent
TC1034 The payment gateway answers
TC1035 A refund is booked
TC1036 The ledger is reachable
TC1037 A chargeback comes through the bank
TC1039 Amounts are converted
TC1040 Every payment method can be captured
TC1041 Amounts outside the limits are refused
TC1042 Full refund
TC1043 A second refund is refused
TC1044 A chargeback is booked
TC1045 The ledger balances
TC1046 Webhooks are signed
TC1047 Webhooks are queued while nobody listens
TC1048 A webhook is delivered at once
TC1049 A webhook is delivered after a reconnect
TC1050 A dead receiver is reported
TC1051 A day is settled
TC1052 A refund lowers the settlement
TC1053 Settlement in two currencies
TC1054 Large amounts in yen are converted
TC1055 Delivery in every region
TC1056 Fees are positive
TC1057 Fees stay below two percent
TC1058 Login at the acquirer
TC1059 Fees of each card scheme
TC1060 The webhook's body is UTF-8
"""

_FIRMWARE = """
TC1080 The sensor reads negative values
TC1081 The sensor reads zero
TC1082 The sensor reads its maximum
TC1083 The sensor's self-test
TC1084 The UART supports every baud rate
TC1085 Cold start
TC1086 Secure boot
TC1087 The flash is written
TC1088 Warm start
TC1089 Flash wear and one-time memory
TC1090 A signed image is taken
TC1091 Cold start takes less than a second
TC1092 A brown-out is logged
TC1093 Update from 1.8 to 1.9
TC1094 Rollback after three failed updates
TC1095 An unsigned image is refused
TC1096 The flash tool prints its version
TC1097 The flash tool refuses a wrong board
TC1099 An image is written and verified
TC1100 An update survives a power cut
TC1101 The serial console echoes umlauts
"""

_PROJECTS = {"Web Shop": _WEB_SHOP, "Payments": _PAYMENTS, "Firmware": _FIRMWARE}
"""TC1098 is left out: a test that names it is held, because Rally does not have it."""


def found_rally(api_key: str) -> Store:
    """Make the company's Rally, and a user with this API key."""
    store = Store("Acme")
    workspace = store.add_workspace(WORKSPACE)
    root = store.add_project(workspace, ROOT)
    for name, test_cases in _PROJECTS.items():
        project = store.add_project(workspace, name, root)
        for line in test_cases.strip().splitlines():
            formatted_id, _, title = line.partition(" ")
            store.add_test_case(project, title, formatted_id)
    store.add_key(api_key, store.add_user("reconciler@example.com", workspace=workspace, project=root))
    return store
