"""Which test cases a test counts for, and which rule says so."""

from __future__ import annotations

import re
import time

import pytest

from reconciler.mapping import (
    Ignored,
    Mapped,
    Mapping,
    Row,
    Subject,
    Unmapped,
    compile_rule,
    is_formatted_id,
    property_ids,
)
from reconciler.model import FormattedID

KEY = "com.acme.PayTest.test_pay[visa]"


def _rows(*rows: tuple[str, str]) -> list[Row]:
    return [Row(line, test, formatted_id) for line, (test, formatted_id) in enumerate(rows, start=2)]


def _of(*rows: tuple[str, str], key: str = KEY) -> Mapped | Ignored | Unmapped:
    return Mapping(_rows(*rows)).of(Subject(key, key.rpartition(".")[2]))


def _mapped(by: str, *ids: str) -> Mapped:
    return Mapped(tuple(map(FormattedID, ids)), by)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([], Unmapped(), id="no rows"),
        pytest.param([(KEY, "TC1")], _mapped("mapping.csv:2", "TC1"), id="exact"),
        pytest.param([(KEY.upper(), "TC1")], Unmapped(), id="upper case is another test"),
        pytest.param([("com.*", "TC2"), (KEY, "TC1")], _mapped("mapping.csv:3", "TC1"), id="exact before wildcard"),
        pytest.param([("re:.*", "TC2"), ("c*", "TC1")], _mapped("mapping.csv:3", "TC1"), id="wildcard before re:"),
        pytest.param([("com.*", "TC1"), ("*PayTest.*", "TC2")], _mapped("mapping.csv:3", "TC2"), id="longer wildcard"),
        pytest.param([("com.*****", "TC1"), ("com.a*", "TC2")], _mapped("mapping.csv:3", "TC2"), id="stars weigh none"),
        pytest.param([("*", "TC1")], _mapped("mapping.csv:2", "TC1"), id="a star alone"),
        pytest.param([("*.test_pay[*]", "TC1")], _mapped("mapping.csv:2", "TC1"), id="brackets are literal"),
        pytest.param([("*[vias]", "TC1")], Unmapped(), id="brackets are no set"),
        pytest.param([("com.acme.PayTest.test_pa?*", "TC1")], Unmapped(), id="? is literal"),
        pytest.param([(KEY + "*", "TC1")], _mapped("mapping.csv:2", "TC1"), id="a star may be nothing"),
        pytest.param([("com*com.acme*", "TC1")], Unmapped(), id="pieces do not overlap"),
        pytest.param([("com.*visa]*visa]", "TC1")], Unmapped(), id="nor with the end"),
        pytest.param([(KEY[:-2] + "*" + KEY[-4:], "TC1")], Unmapped(), id="nor beginning and end"),
        pytest.param([("re:com", "TC1")], Unmapped(), id="re: matches the whole key"),
        pytest.param([("re:c.*", "TC1"), ("re:com.*", "TC2")], _mapped("mapping.csv:2", "TC1"), id="first re: wins"),
        pytest.param(
            [("re:c.*", "TC1"), ("re:com.*", "TC2"), ("re:c.*", "TC3")],
            _mapped("mapping.csv:2, mapping.csv:4", "TC1", "TC3"),
            id="the same re: twice",
        ),
        pytest.param(
            [("re:c.*", "TC1"), ("re:" + re.escape(KEY), "TC2")],
            _mapped("mapping.csv:2", "TC1"),
            id="an escaped re: keeps its place behind an earlier one",
        ),
        pytest.param(
            [("re:" + re.escape(KEY), "TC2"), ("re:c.*", "TC1")],
            _mapped("mapping.csv:2", "TC2"),
            id="an escaped re: keeps its place before a later one",
        ),
        pytest.param(
            [(KEY, "TC2"), (KEY, "TC1")],
            _mapped("mapping.csv:2, mapping.csv:3", "TC2", "TC1"),
            id="equally specific rows count together",
        ),
        pytest.param(
            [("com.*", "TC1"), ("*sa]*", "TC2"), ("x.*", "TC3")],
            _mapped("mapping.csv:2", "TC1"),
            id="four characters before three",
        ),
        pytest.param(
            [("com.*", "TC1"), ("*isa]", "TC2")],
            _mapped("mapping.csv:2, mapping.csv:3", "TC1", "TC2"),
            id="equally long wildcards count together",
        ),
        pytest.param([(KEY, "-")], Ignored("mapping.csv:2"), id="ignored"),
        pytest.param([("com.*", "-"), (KEY, "TC1")], _mapped("mapping.csv:3", "TC1"), id="all ignored but one"),
        pytest.param([(KEY, "-"), (KEY, "TC1")], _mapped("mapping.csv:3", "TC1"), id="a test case beats a -"),
        pytest.param([("com.acme.*", "-"), ("c*", "TC1")], Ignored("mapping.csv:2"), id="a more specific - wins"),
    ],
)
def test_the_most_specific_row_wins(rows: list[tuple[str, str]], expected: object) -> None:
    """Exact, then the wildcard with most characters other than `*`, then `re:` in file order."""
    assert expected == _of(*rows)


def test_a_star_takes_slashes_and_line_ends() -> None:
    """A key is no path: nothing in it stops a wildcard."""
    assert _mapped("mapping.csv:2", "TC1") == _of(("a*b", "TC1"), key="a/x\ny/b")


def test_the_file_has_the_name_it_is_given() -> None:
    """`by` is for people: it names the file that they edit."""
    mapping = Mapping(_rows(("k", "TC1")), file="qa/map.csv")
    assert _mapped("qa/map.csv:2", "TC1") == mapping.of(Subject("k", "k"))


IDS = (FormattedID("TC5"),)
FIELD = {"k": (FormattedID("TC9"),)}


@pytest.mark.parametrize(
    ("rows", "ids", "name", "expected"),
    [
        ([("k", "TC1")], IDS, "test_TC7", _mapped("mapping.csv:2", "TC1")),
        ([("k", "-")], IDS, "test_TC7", Ignored("mapping.csv:2")),
        ([], IDS, "test_TC7", _mapped("property", "TC5")),
        ([], (), "test_TC7", _mapped("name", "TC7")),
        ([], (), "test", _mapped("c_AutomatedTest", "TC9")),
    ],
)
def test_the_file_comes_before_properties_names_and_the_field(
    rows: list[tuple[str, str]], ids: tuple[FormattedID, ...], name: str, expected: object
) -> None:
    """The first rule that knows the test decides alone."""
    mapping = Mapping(_rows(*rows), FIELD, field_name="c_AutomatedTest")
    assert expected == mapping.of(Subject("k", name, ids))


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("test_TC12_pays", ["TC12"]),
        ("TC12", ["TC12"]),
        ("pays [TC12]", ["TC12"]),
        ("TC12: pays (TC13, TC12)", ["TC12", "TC13"]),
        ("@TC12@TC13", ["TC12", "TC13"]),
        ("ETC12", []),
        ("TC12a", []),
        ("éTC12", []),
        ("TC12é", []),
        ("TC12٣", []),
        ("1TC12", []),
        ("tc12", []),
        ("TC-12", []),
        ("TC", []),
        ("TC٣", []),
        ("TC1234567890123456789", []),
    ],
)
def test_a_token_in_the_name_stands_between_other_characters_than_letters_and_digits(name: str, ids: list[str]) -> None:
    """`_TC12_` is one, `ETC12` is not; letters and digits are those of all scripts."""
    expected = _mapped("name", *ids) if ids else Unmapped()
    assert expected == Mapping([]).of(Subject("c." + name, name))


def test_a_token_in_the_class_name_does_not_count() -> None:
    """Only the test's own name does: a class is many tests."""
    assert Unmapped() == Mapping([]).of(Subject("TC12.test_pays", "test_pays"))


@pytest.mark.parametrize(
    ("properties", "ids"),
    [
        ([("rally_id", "TC1")], ["TC1"]),
        ([("test_id", " TC1 ,TC2,\nTC1")], ["TC1", "TC2"]),
        ([("TestCase_ID", "TC1")], ["TC1"]),
        ([("testcase_id", "TC2"), ("rally_id", "TC1")], ["TC2", "TC1"]),
        ([("test_id", "checkout-17")], []),
        ([("test_id", "checkout-17, TC3")], ["TC3"]),
        ([("test_id", "tc3")], []),
        ([("test_id", "TC3 TC4")], []),
        ([("test_id", "")], []),
        ([("id", "TC1")], []),
        ([("rally_id", "TC٣")], []),
    ],
)
def test_properties_name_test_cases(properties: list[tuple[str, str]], ids: list[str]) -> None:
    """Three names, one FormattedID or several with commas; anything else in the value is no id."""
    assert tuple(ids) == property_ids(properties)


def test_a_formatted_id_has_no_more_digits_than_a_key_can_hold() -> None:
    """A longer one could be sent, but never be found again."""
    assert is_formatted_id("TC" + "9" * 18)
    assert not is_formatted_id("TC" + "9" * 19)


def test_the_fingerprint_tells_whether_any_rule_changed() -> None:
    """Rows, their order, and the field all take part."""
    one, two = ("a", "TC1"), ("b", "TC2")
    fingerprints = {
        Mapping(_rows(one, two)).fingerprint,
        Mapping(_rows(two, one)).fingerprint,
        Mapping(_rows(one)).fingerprint,
        Mapping(_rows(one), FIELD).fingerprint,
        Mapping(_rows(one), {"k": (FormattedID("TC8"),)}).fingerprint,
    }
    assert len(fingerprints) == 5
    assert Mapping(_rows(one), FIELD).fingerprint == Mapping(_rows(one), dict(FIELD)).fingerprint


@pytest.mark.parametrize("expression", ["(", "a{99999999999999999999}", "[", "(?P<a>x)(?P<a>y)"])
def test_what_is_no_regular_expression_has_one_error(expression: str) -> None:
    """Whatever way `re` finds to say so."""
    with pytest.raises(re.error):
        compile_rule(expression)


def test_a_questionable_expression_is_not_warned_about() -> None:
    """`[[` means what it means; a warning on the daemon's standard error would help nobody."""
    assert compile_rule("[[a]").fullmatch("[")


def test_ten_thousand_wildcards_are_not_tried_one_by_one() -> None:
    """Rows that share their beginning are told apart by what is rare in them."""
    rows = [(f"com.acme.*number_{n}[*", f"TC{n}") for n in range(5_000)]
    rows += [(f"*_suite_{n}.*", f"TC{n}") for n in range(5_000)]
    mapping = Mapping(_rows(*rows))
    start = time.process_time()
    for n in range(2_000):
        found = mapping.of(Subject(f"com.acme.shop.Test.number_{n}[visa]", "number"))
        assert isinstance(found, Mapped)
        assert found.ids == (f"TC{n}",)
    assert time.process_time() - start < 3
