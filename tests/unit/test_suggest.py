"""Suggestions for the review queue."""

from __future__ import annotations

import time

import pytest

from reconciler.suggest import THRESHOLD, Index, suggest, words

CASES = [
    ("TC1", "Checkout: pay with Visa"),
    ("TC2", "Checkout: pay with MasterCard"),
    ("TC3", "Login with a wrong password shows an error"),
    ("TC4", "Login with two-factor authentication"),
    ("TC5", "Export orders as PDF"),
    ("TC6", "Search returns products sorted by price"),
    ("TC7", "Password reset mail is sent"),
    ("TC8", "Zahlung mit Überweisung prüfen"),
]


@pytest.mark.parametrize(
    ("key", "best"),
    [
        ("com.acme.shop.checkout.CheckoutTest.test_pay_with_visa_card", "TC1"),
        ("payment.checkout.payWithMasterCard", "TC2"),
        ("tests.test_login.TestLogin.test_wrong_password", "TC3"),
        ("LoginSpec.twoFactorAuth", "TC4"),
        ("PDFExportTest.exportsOrders[de]", "TC5"),
        ("search > sorts products by price", "TC6"),
        ("resetPassword", "TC7"),
        ("zahlung.ÜberweisungTest.prüfeÜberweisung", "TC8"),
        ("auth.test_tc5_without_words", "TC5"),
        ("auth.logs in TC-006", "TC6"),
    ],
)
def test_the_nearest_name_comes_first(key: str, best: str) -> None:
    """Humps, underscores, endings and upper case do not matter."""
    assert best == suggest(key, CASES)[0].formatted_id


@pytest.mark.parametrize("key", ["", "foo.bar.frobnicate", "test_with_the", "etc5", "TC99", "!!!"])
def test_nothing_near_is_no_suggestion(key: str) -> None:
    """A wrong hint costs more than none."""
    assert suggest(key, CASES) == []


def test_no_test_cases_are_no_suggestions() -> None:
    """Before Rally was ever reached there are none."""
    assert suggest("a.login", []) == []


def test_a_suggestion_tells_a_person_why() -> None:
    """The words that both have, rarest first, as the test spells them."""
    best = suggest("shop.test_pays_by_visa_at_checkout", CASES)[0]
    assert best.reason == 'shares "visa", "checkout", "pays"'
    assert best.name == "Checkout: pay with Visa"
    assert suggest("x.test_tc5", CASES)[0].reason == 'the test is called "tc5"'


def test_a_rare_word_weighs_more_than_a_common_one() -> None:
    """A hundred test cases about orders say nothing about this one."""
    cases = [(f"TC{n}", f"order number {word}") for n, word in enumerate(["refund", *map(str, range(100))])]
    assert suggest("order.test_refund_order", cases)[0].formatted_id == "TC0"


def test_scores_are_within_bounds_and_in_order() -> None:
    """The same name scores 1; what shares less scores less; nothing is below the threshold."""
    found = suggest("checkout pay visa", CASES, limit=10)
    assert found[0].score == 1.0
    scores = [one.score for one in found]
    assert scores == sorted(scores, reverse=True)
    assert min(scores) >= THRESHOLD


def test_the_limit_is_kept() -> None:
    """Equally good ones come in the order of their FormattedIDs."""
    cases = [(f"TC{n}", "login works") for n in range(20, 0, -1)]
    assert [one.formatted_id for one in suggest("login works", cases)] == ["TC1", "TC2", "TC3"]
    assert [one.formatted_id for one in suggest("login works", cases, limit=1)] == ["TC1"]


def test_identifiers_are_split_into_words() -> None:
    """By humps, digits and everything that is no letter."""
    assert list(words("PDFExport2_pages-Übermut").values()) == ["pdf", "export", "2", "pages", "übermut"]


def test_a_huge_key_takes_no_time() -> None:
    """Its end is looked at, where the test's own name stands."""
    start = time.process_time()
    key = "_".join(f"x{n}" for n in range(100_000)) + "_" * 1_000 + "reset_password"
    assert suggest(key, CASES)[0].formatted_id == "TC7"
    assert time.process_time() - start < 3


def test_a_thousand_keys_against_ten_thousand_test_cases() -> None:
    """The review queue of a big installation is a matter of seconds."""
    nouns = [f"{a}{b}{c}ing" for a in "bcdfgh" for b in "aeiou" for c in "klmnprstvz"]
    cases = [(f"TC{n}", f"User {nouns[n % 300]} page {nouns[n // 7 % 300]} order {n % 90}") for n in range(10_000)]
    keys = [f"com.acme.user.page{nouns[n % 300].title()}_{nouns[n // 3 % 300]}_order" for n in range(1_000)]
    start = time.process_time()
    index = Index(cases)
    assert all(index.suggest(key) for key in keys)
    assert time.process_time() - start < 5
