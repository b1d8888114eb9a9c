"""What one JUnit document says, whatever tool wrote it."""

from __future__ import annotations

import io

import pytest

from reconciler.junit import BadReport, Limits, Report, looks_like_junit
from reconciler.model import Outcome, TestRun

ERRORED, FAILED, SKIPPED, PASSED = Outcome.ERRORED, Outcome.FAILED, Outcome.SKIPPED, Outcome.PASSED


def read(xml: str | bytes, limits: Limits | None = None) -> list[TestRun]:
    """Read a whole document."""
    return list(Report(io.BytesIO(xml.encode() if isinstance(xml, str) else xml), limits or Limits()))


def one(children: str = "", attributes: str = 'name="t"') -> TestRun:
    """Read the only test of a document."""
    (run,) = read(f"<testsuite><testcase {attributes}>{children}</testcase></testsuite>")
    return run


def refused(xml: str | bytes, limits: Limits | None = None) -> BadReport:
    """Read a document that must be refused."""
    with pytest.raises(BadReport) as caught:
        read(xml, limits)
    return caught.value


def notices(xml: str, limits: Limits | None = None) -> list[str]:
    """Read a whole document for its notices."""
    report = Report(io.BytesIO(xml.encode()), limits or Limits())
    assert list(report) is not None
    return report.notices


# --- which elements are tests, and where they stand -------------------------------------------------------------------


def test_every_field_of_a_plain_test_is_read() -> None:
    """The names are the report's own."""
    (run,) = read(
        '<testsuites name="all"><testsuite name="web">'
        '<testcase classname="shop.Cart" name="pays" file="cart.py" time="1.5">'
        '<properties><property name="rally_id" value="TC12"/></properties>'
        '<failure message="2 != 3">trace</failure><system-out>out</system-out><system-err>err</system-err>'
        "</testcase></testsuite></testsuites>"
    )
    assert run == TestRun(
        ordinal=0,
        suite="web",
        classname="shop.Cart",
        name="pays",
        file="cart.py",
        outcome=FAILED,
        flaky=False,
        attempts=1,
        duration_s=1.5,
        message="2 != 3",
        detail="trace",
        system_out="out",
        system_err="err",
        properties=(("rally_id", "TC12"),),
    )


def test_the_suite_is_the_path_of_all_enclosing_suites() -> None:
    """Suites without a name are left out of it, and it is right again after an inner suite."""
    runs = read(
        '<testsuites><testsuite name="a"><testcase name="1"/><testsuite><testsuite name="b"><testcase name="2"/>'
        '</testsuite></testsuite><testcase name="3"/></testsuite><testcase name="4"/></testsuites>'
    )
    assert [(run.name, run.suite, run.ordinal) for run in runs] == [
        ("1", "a", 0),
        ("2", "a / b", 1),
        ("3", "a", 2),
        ("4", "", 3),
    ]


@pytest.mark.parametrize(
    "xml",
    [
        '<testcase name="t"/>',
        '<testsuite><testcase name="t"/></testsuite>',
        '<testsuites><testcase name="t"/></testsuites>',
        '<testsuites><testsuite><group><testcase name="t"/></group></testsuite></testsuites>',
        '<testsuite xmlns="urn:x"><testcase name="t"/></testsuite>',
        '<j:testsuite xmlns:j="urn:x"><j:testcase name="t"/></j:testsuite>',
        '<testsuites><testsuite xmlns="urn:x"><testcase name="t"/></testsuite></testsuites>',
    ],
)
def test_a_testcase_is_a_test_under_any_root_parent_and_namespace(xml: str) -> None:
    """Junitparser 5.0.3 refuses or silently drops most of these."""
    assert [run.key for run in read(xml)] == ["t"]


def test_results_and_properties_are_found_in_any_namespace() -> None:
    """Local names are compared."""
    (run,) = read(
        '<j:testsuite xmlns:j="urn:x"><j:testcase name="t"><j:properties><j:property name="a" value="1"/>'
        '</j:properties><failure xmlns="urn:y" message="m">text</failure><j:system-out>out</j:system-out>'
        "</j:testcase></j:testsuite>"
    )
    assert (run.outcome, run.message, run.detail, run.system_out) == (FAILED, "m", "text", "out")
    assert run.properties == (("a", "1"),)


def test_a_test_inside_a_test_is_one_of_its_own_and_comes_after_it() -> None:
    """Only direct children decide: the inner failure is not the outer test's."""
    runs = read(
        '<testsuite name="s"><testcase name="outer"><testcase name="inner"><failure message="m"/></testcase>'
        '<system-out>said</system-out></testcase><testcase name="next"/></testsuite>'
    )
    assert [(run.ordinal, run.name, run.outcome) for run in runs] == [
        (0, "outer", PASSED),
        (1, "inner", FAILED),
        (2, "next", PASSED),
    ]
    assert runs[0].system_out == "said"


def test_equal_tests_stay_separate_tests() -> None:
    """Merging them is not the reader's business."""
    runs = read('<testsuite><testcase name="t"/><testcase name="t"><failure/></testcase></testsuite>')
    assert [run.outcome for run in runs] == [PASSED, FAILED]


def test_count_attributes_are_not_believed() -> None:
    """74 of 444 real reports declare other counts than they have."""
    assert (
        len(read('<testsuite tests="abc" failures="1,000" errors="-1" time="x"><testcase name="t"/></testsuite>')) == 1
    )


def test_a_document_without_tests_is_a_report() -> None:
    """Nothing ran, and nothing is wrong with it."""
    assert read("<testsuites/>") == []


def test_a_report_is_read_once() -> None:
    """An empty second answer would look like a report without tests."""
    report = Report(io.BytesIO(b"<testsuites/>"))
    assert list(report) == []
    with pytest.raises(RuntimeError):
        list(report)


# --- outcomes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("children", "outcome", "message"),
    [
        ("", PASSED, ""),
        ("<passed/><warning/>", PASSED, ""),
        ("<Failure/><FAILURE/>", PASSED, ""),
        ('<skipped message="not today"/>', SKIPPED, "not today"),
        ("<skipped/>", SKIPPED, ""),
        ('<failure message="f"/>', FAILED, "f"),
        ('<error message="e"/>', ERRORED, "e"),
        ('<skipped message="s"/><failure message="f"/>', FAILED, "f"),
        ('<failure message="f"/><skipped message="s"/><error message="e"/>', ERRORED, "e"),
        ('<failure message=" "/><failure message="second"/>', FAILED, "second"),
        ("<failure>\n\n  first line  \n  second\n</failure>", FAILED, "first line"),
        ('<error message=""><![CDATA[boom\nat x]]></error>', ERRORED, "boom"),
        ('<failure type="AssertionError"/>', FAILED, ""),
        ('<error/><failure message="f"/>', ERRORED, ""),
    ],
)
def test_the_worst_result_decides_and_gives_the_message(children: str, outcome: Outcome, message: str) -> None:
    """Error > failure > skipped > passed, by the names of direct children only."""
    run = one(children)
    assert (run.outcome, run.message) == (outcome, message)


@pytest.mark.parametrize(
    "children",
    [
        "<system-out><failure/></system-out>",
        "<system-err><x><error/></x></system-err>",
        "<properties><property name='a' value='b'><failure/></property><failure/></properties>",
        "<unknown><skipped/></unknown>",
    ],
)
def test_a_result_deeper_than_a_direct_child_is_none(children: str) -> None:
    """Junitparser 5.0.3 weighs all descendants."""
    assert one(children).outcome is PASSED


@pytest.mark.parametrize(
    ("attributes", "outcome", "message"),
    [
        ('status="notrun" result="suppressed"', SKIPPED, "notrun"),
        ('status="Disabled"', SKIPPED, "Disabled"),
        ('status="run" result="SUPPRESSED"', SKIPPED, "SUPPRESSED"),
        ('status="run" result="completed"', PASSED, ""),
        ('status="failed"', PASSED, ""),
    ],
)
def test_a_status_that_says_not_run_is_a_skip(attributes: str, outcome: Outcome, message: str) -> None:
    """Gtest and ctest write no `<skipped>` for disabled tests; no other status is believed."""
    run = one(attributes=f'name="t" {attributes}')
    assert (run.outcome, run.message) == (outcome, message)


def test_a_result_child_wins_over_a_status() -> None:
    """A child is what happened."""
    assert one("<failure/>", 'name="t" status="disabled"').outcome is FAILED


def test_the_detail_is_all_texts_in_document_order() -> None:
    """A result without a text gives its message, unless that is the test's message already."""
    run = one(
        '<failure message="m">\nfirst\n</failure><skipped message="why"/><error message="e"/><system-out>x</system-out>'
        '<error message="e2">  second</error>'
    )
    assert (run.message, run.detail) == ("e", "first\nwhy\n  second")


def test_comments_children_and_cdata_do_not_end_a_text() -> None:
    """Lxml's `.text` stops at the first of them."""
    text = "a<!-- c -->b<b>c<i>d</i></b>e<?pi?><![CDATA[<f>]]>"
    run = one(f"<failure>{text}</failure><system-out>{text}</system-out><system-err>{text}</system-err>")
    assert (run.detail, run.system_out, run.system_err) == ("abcde<f>",) * 3


def test_several_outputs_are_all_kept() -> None:
    """Pytest's junit_logging=all writes several."""
    run = one("<system-out>1</system-out><system-err>e</system-err><system-out/><system-out>2</system-out>")
    assert (run.system_out, run.system_err) == ("1\n2", "e")


@pytest.mark.parametrize(
    ("children", "outcome", "attempts", "flaky"),
    [
        ("<flakyFailure/>", PASSED, 2, True),
        ("<flakyError/><flakyFailure/>", PASSED, 3, True),
        ("<failure/><rerunFailure/><rerunFailure/>", FAILED, 3, False),
        ("<error/><rerunError/>", ERRORED, 2, False),
        ("<rerunError/>", PASSED, 2, True),
        ("", PASSED, 1, False),
    ],
)
def test_explicit_reruns_are_attempts_of_one_test(
    children: str, outcome: Outcome, attempts: int, *, flaky: bool
) -> None:
    """Surefire: flaky* means passed in the end, rerun* comes with a failure."""
    run = one(children)
    assert (run.outcome, run.attempts, run.flaky) == (outcome, attempts, flaky)


def test_a_rerun_keeps_its_trace_in_the_detail() -> None:
    """The trace is a child element in surefire's format."""
    run = one('<flakyFailure message="m"><stackTrace><![CDATA[at x]]></stackTrace></flakyFailure>')
    assert (run.message, run.detail) == ("", "at x")


# --- names, times, properties ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "key"),
    [
        ('classname="c" name="n"', "c.n"),
        ('classname="" name="n"', "n"),
        ('name=" flaky"', " flaky"),
        ('classname="c" name=""', "c.(no name)"),
        ('name="  "', "(no name)"),
        ("", "(no name)"),
        ('class="c" name="n"', "n"),
    ],
)
def test_names_are_kept_as_they_are(attributes: str, key: str) -> None:
    """A test without a name is called what GitLab calls it."""
    assert one(attributes=attributes).key == key


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("1.5", 1.5),
        (" 2 ", 2.0),
        ("0.", 0.0),
        (".5", 0.5),
        ("1.5e-05", 1.5e-05),
        ("2E3", 2000.0),
        ("+3", 3.0),
        ("0.1234567890123456789012", 0.1234567890123456789012),
        ("1,234.56", 1234.56),
        ("2,503.1", 2503.1),
        ("1,234,567", 1234567.0),
        ("0,123", 0.0),
        ("1.234,5", 0.0),
        ("12,34", 0.0),
        ("-1", 0.0),
        ("-0.0", 0.0),
        ("NaN", 0.0),
        ("inf", 0.0),
        ("1e400", 0.0),
        ("1e308", 0.0),
        ("1_000", 0.0),
        ("١٢", 0.0),
        ("0x10", 0.0),
        ("brrrr", 0.0),
        ("1.5s", 0.0),
        ("", 0.0),
    ],
)
def test_a_time_is_a_plain_number_or_zero(time: str, expected: float) -> None:
    """Junitparser 5.0.3 reads "0,123" as 123, and NaN, inf, "1_000" and digits of other scripts as they come."""
    assert one(attributes=f'name="t" time="{time}"').duration_s == expected


def test_a_missing_time_is_zero() -> None:
    """39 of 444 real reports have tests without."""
    assert one().duration_s == 0.0


def test_properties_are_the_tests_own_in_document_order() -> None:
    """As attribute, as text, or marked in the system-out; the same name twice is two; without a name it is none."""
    (run,) = read(
        '<testsuite><properties><property name="suite" value="s"/></properties><testcase name="t"><properties>'
        '<property name="a" value="1"/><property name="a">\n two \n</property><property name="b"/>'
        '<property name="c" value=""/><property value="nameless"/><other name="d" value="x"/></properties>'
        "<system-out>x [[PROPERTY|e=f=g]] [[PROPERTY| h = i ]]\n[[PROPERTY|none]] [[PROPERTY|=x]]"
        " [[PROPERTY|j=[k]]] [[PROPERTY|l=[[PROPERTY|m=n]]</system-out>"
        '<failure>[[PROPERTY|no=1]]</failure><properties><property name="z" value="9"/></properties>'
        "</testcase></testsuite>"
    )
    assert run.properties == (
        ("a", "1"),
        ("a", "two"),
        ("b", ""),
        ("c", ""),
        ("e", "f=g"),
        ("h", " i "),
        ("j", "[k"),
        ("m", "n"),
        ("z", "9"),
    )


# --- what may look green and is not ----------------------------------------------------------------------------------


def test_a_suite_that_declares_failures_and_has_no_test_is_noticed() -> None:
    """Newman and others write this when a run dies; the innermost suite says it, and only once."""
    xml = (
        '<testsuites failures="1"><testsuite name="a" failures="0" errors="2" tests="2"/>'
        '<testsuite name="b" failures="1"><testcase name="t"/></testsuite></testsuites>'
    )
    assert notices(xml) == ["suite a declares errors=2 and holds no test"]


def test_a_root_that_declares_failures_and_has_no_test_is_noticed() -> None:
    """The suites below it say nothing."""
    assert notices('<testsuites errors="1.0"><testsuite/></testsuites>') == [
        "suite (no name) declares errors=1.0 and holds no test"
    ]


def test_a_failure_directly_under_a_suite_is_noticed() -> None:
    """It belongs to no test, and must not be lost."""
    xml = (
        '<testsuite name="a"><testcase name="t"/><error>\n died\n here</error><failure message="m&#10;n"/></testsuite>'
    )
    assert notices(xml) == ["suite a has <error> of its own: died", "suite a has <failure> of its own: m n"]


def test_notices_are_few() -> None:
    """However many a hostile document asks for."""
    told = notices("<testsuite>" + "<error/>" * 50 + "</testsuite>", Limits(max_notices=3))
    assert (len(told), told[-1]) == (3, "and more of that kind")


# --- what is no report -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("xml", "kind", "words"),
    [
        ("", "empty", "empty"),
        ("\ufeff \n\t", "empty", "empty"),
        ('<?xml version="1.0"?>\n', "empty", "empty"),
        ('{"a": 1}', "not-junit", "JSON"),
        ('[ {"a": 1}]', "not-junit", "JSON"),
        ("[INFO] Running tests\n<testsuite/>", "malformed", "the file begins with '[INFO]'"),
        ("<!DOCTYPE html><html><br></html>", "not-junit", "<html> (that is an HTML page)"),
        ("<!doctype HTML>", "not-junit", "an HTML page"),
        ("<html><br></html>", "not-junit", "an HTML page"),
        ('<t:TestRun xmlns:t="urn:x"/>', "not-junit", "the root element is <TestRun> (that is a TRX file"),
        ("<reports><testsuite/></reports>", "not-junit", "the root element is <reports>"),
        ("<!DOCTYPE report PUBLIC 'x' 'y'><report/>", "not-junit", "a JaCoCo report"),
        ("Running tests\n<testsuite/>", "malformed", "the file begins with 'Running'"),
        ("<testsuite/>\ndone", "malformed", "line 2, column 1: something follows the end"),
        ("<testsuite/>\n<testsuite/>", "malformed", "line 2, column 1: something follows the end"),
        ("<testsuite/>\n<?xml version='1.0'?><testsuite/>", "malformed", "line 2, column 6: something follows the end"),
        ("<testsuite/><!-- open", "malformed", "something follows the end"),
        ("<!-- c -->\n<?xml version='1.0'?><testsuite/>", "malformed", "line 2"),
        ("<testsuite", "truncated", "line 1"),
        ("<testsuite><testcase name='t'/>", "truncated", "the file ends in the middle"),
        ("<testsuite><testcase name='t'><system-out><![CDATA[x", "truncated", "the file ends in the middle"),
        ("<testsuite><!-- x", "truncated", "the file ends in the middle"),
        ("<?xml version='1.0' enc", "truncated", "the file ends in the middle"),
        ("<testsuite>\n<a>\n</b></testsuite>", "malformed", "line 3, column 5: Opening and ending tag mismatch"),
        ("<testsuite name='a<b'/>", "malformed", "line 1, column 19: Unescaped '<' not allowed"),
        ("<testsuite a='1' a='2'/>", "malformed", "Attribute a redefined"),
        ("<testsuite>&nbsp;</testsuite>", "malformed", "line 1, column 18: Entity 'nbsp' not defined"),
        ("<testsuite>]]></testsuite>", "malformed", "line 1"),
        ("<testsuite x:a='1'/>", "malformed", "Namespace prefix x"),
        ("<testsuite/><!DOCTYPE testsuite>", "doctype", "DOCTYPE"),
        ("<testsuite><!DOCTYPE testsuite></testsuite>", "doctype", "DOCTYPE"),
        ("<!DOCTYPE testsuite><testsuite/>", "doctype", "DOCTYPE"),
        ("<!-- <a> -->\n<!DOCTYPE j:testsuite [<!ENTITY x 'y'>]><j:testsuite/>", "doctype", "DOCTYPE"),
        ("<!DOCTYPE", "doctype", "DOCTYPE"),
        ("<testsuite name='<!DOCTYPE x>'/>", "malformed", "Unescaped '<'"),
    ],
)
def test_a_document_that_is_no_report_is_refused_in_plain_words(xml: str, kind: str, words: str) -> None:
    """One line, with the place or the root that was found."""
    problem = refused(xml)
    assert (problem.kind, "\n" in problem.detail) == (kind, False)
    assert words in problem.detail


def test_a_doctype_that_is_only_quoted_is_none() -> None:
    """Logged HTML: the only one in 444 real reports."""
    quoted = "<!-- <!DOCTYPE x> --><system-out><![CDATA[<!DOCTYPE html>]]></system-out><?pi <!DOCTYPE x> ?>"
    assert one(quoted).system_out == "<!DOCTYPE html>"


def test_text_behind_an_undefined_entity_is_not_taken_for_a_report() -> None:
    """Without resolve_entities, lxml stops at the entity in silence and would start afresh with the next block."""
    blocks = "<testsuite><system-out>&nbsp;" + "x" * 200_000
    assert refused(blocks + "</system-out></testsuite>").kind == "malformed"
    assert refused("<testsuite>&nbsp;" + " " * 200_000 + "<testsuite/>").kind == "malformed"


def test_tests_before_the_bad_place_come_first_and_then_the_problem() -> None:
    """The caller discards them: a part of a report is never shown as the whole."""
    runs = iter(Report(io.BytesIO(b"<testsuite><testcase name='a'/><testcase name='b'/><testcase na")))
    assert [next(runs).name, next(runs).name] == ["a", "b"]
    with pytest.raises(BadReport):
        next(runs)


# --- the look at a head ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"<testsuites>", True),
        (b"<testsuite name='x'", True),
        (b"<testcase/>", True),
        (b"<j:testsuite xmlns:j='urn:x'>", True),
        (b"\xef\xbb\xbf\n<?xml version='1.0'?>\n<!-- <html> --><?pi?>\n<testsuite", True),
        ("<?xml version='1.0' encoding='UTF-8'?><testsuite/>".encode("utf-16"), True),
        (b"<?xml version='1.0' encoding='nonsense'?><testsuite/>", True),
        (b"<!DOCTYPE testsuite [", True),
        (b"<!-- a comment longer than the head", True),
        (b"<?xml version='1.0'", True),
        (b"<?xml version='1.0'?><testsui", True),
        (b"<?xml version='1.0'?><testsui>", False),
        (b"<?xml version='1.0' encoding='nonsense'?><html/>", False),
        (b"<!DOCTYPE html><html>", False),
        (b"<!doctype html>", False),
        (b"<TestRun xmlns='x'>", False),
        (b"<testrun>", False),
        (b"<coverage><testsuite/>", False),
        (b"testsuite", False),
        (b"{}", False),
        (b"\x1f\x8b\x08", False),
        (b"", False),
    ],
)
def test_the_first_bytes_tell_a_report(head: bytes, *, expected: bool) -> None:
    """Only by its root element; what cannot be told is left to the reading."""
    assert looks_like_junit(head) is expected
