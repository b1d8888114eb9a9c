"""Write the trap files of this folder and README.md; deterministic: `python make.py`.

A trap is (file name, bytes, what it is, what a reader must make of it, counts). The counts are tests, passed, failed,
errored, skipped by the rule of ../README.md; None means that the document must be refused as a whole.
"""

from __future__ import annotations

import codecs
from pathlib import Path

HERE = Path(__file__).parent
XML = '<?xml version="1.0" encoding="UTF-8"?>\n'
Counts = tuple[int, int, int, int, int]

TRAPS: list[tuple[str, bytes, str, str, Counts | None]] = []


def trap(name: str, content: str | bytes, what: str, then: str, counts: Counts | None) -> None:
    """Add a trap; text is written as UTF-8."""
    data = content.encode() if isinstance(content, str) else content
    TRAPS.append((name, data, what, then, counts))


def suite(cases: str, attributes: str = 'name="checkout"') -> str:
    """A usual document: testsuites, one suite, these cases."""
    return f"{XML}<testsuites>\n<testsuite {attributes}>\n{cases}\n</testsuite>\n</testsuites>\n"


PASSED = '<testcase classname="shop.Cart" name="adds" time="0.1"/>'
FAILED = '<testcase classname="shop.Cart" name="pays" time="0.2"><failure message="declined">declined by the bank</failure></testcase>'
PAIR = f"{PASSED}\n{FAILED}"

# --- structure -------------------------------------------------------------------------------------------------------

trap(
    "nested-suites.xml",
    f"""{XML}<testsuites name="nightly"><testsuite name="web">
  <testcase classname="web" name="starts"/>
  <testsuite name="shop"><testcase classname="web.shop" name="opens"/>
    <testsuite name="cart"><testcase classname="web.shop.cart" name="adds TC1001"/>
      <testcase classname="web.shop.cart" name="pays"><failure/></testcase></testsuite>
    <testcase classname="web.shop" name="closes"><skipped/></testcase>
  </testsuite></testsuite></testsuites>
""",
    "suites nested three deep, cases at every level, one after an inner suite",
    "suite path is all ancestors: `web`, `web / shop`, `web / shop / cart`; \"closes\" is in `web / shop`",
    (5, 3, 1, 0, 1),
)
trap("root-testsuite.xml", f'{XML}<testsuite name="cart">{PAIR}</testsuite>\n', "root is `testsuite`", "counts as usual", (2, 1, 1, 0, 0))
trap("root-testcase.xml", f"{XML}{FAILED}\n", "root is `testcase`", "one test, no suite", (1, 0, 1, 0, 0))
trap(
    "cases-under-testsuites.xml",
    f'{XML}<testsuites>\n<testcase name="first" time="0.1"/>\n<testsuite name="cart">{PAIR}</testsuite>\n'
    '<testcase name="last"><error message="gone"/></testcase>\n</testsuites>\n',
    "cases directly under `testsuites`, before and after a suite (node:test)",
    "all four count; first and last have no suite",
    (4, 2, 1, 1, 0),
)
trap(
    "case-in-case.xml",
    suite('<testcase name="outer"><testcase name="inner"><failure message="inner only"/></testcase></testcase>\n'
          '<testcase name="printed"><system-out><failure>not a result</failure></system-out></testcase>'),
    "a case inside a case; a `failure` inside system-out",
    "inner failed; outer passed and printed passed: only direct children of a case decide",
    (3, 2, 1, 0, 0),
)
trap("namespace-default.xml", f'{XML}<testsuites xmlns="http://junit.org/junit4/"><testsuite name="cart">{PAIR}</testsuite></testsuites>\n',
     "default namespace", "read by local names", (2, 1, 1, 0, 0))
trap(
    "namespace-prefix.xml",
    f'{XML}<j:testsuites xmlns:j="urn:example:junit"><j:testsuite name="cart"><j:testcase classname="a" name="b"><j:error message="x">t</j:error>'
    '</j:testcase><j:testcase classname="a" name="c"><j:properties><j:property name="rally_id" value="TC1001"/></j:properties></j:testcase>'
    "</j:testsuite></j:testsuites>\n",
    "prefixed namespace", "read by local names; property rally_id = TC1001", (2, 1, 0, 1, 0),
)
trap(
    "namespace-inner.xml",
    f'{XML}<testsuites><testsuite name="cart" xmlns="urn:example:inner">{PAIR}</testsuite>\n'
    '<testsuite name="plain"><testcase name="x"><q:skipped xmlns:q="urn:q"/></testcase></testsuite></testsuites>\n',
    "namespace on an inner suite only, and on a result child", "read by local names", (3, 1, 1, 0, 1),
)
trap(
    "several-results.xml",
    suite("""<testcase name="two failures"><failure message="first">one</failure><failure message="second">two</failure></testcase>
<testcase name="failure then error"><failure message="assert">f</failure><error message="teardown">e</error></testcase>
<testcase name="failure and skipped"><failure message="todo fails">f</failure><skipped message="todo"/></testcase>
<testcase name="all three"><skipped/><failure message="f"/><error message="e"/></testcase>
<testcase name="skipped then teardown error"><skipped message="no network"/><error message="teardown">e</error></testcase>"""),
    "several result children in one case", "error > failure > skipped; all texts kept", (5, 0, 2, 3, 0),
)
trap(
    "reruns.xml",
    suite("""<testcase classname="pay.Gateway" name="flaky failure" time="1.5"><flakyFailure message="timeout" type="T"><stackTrace>at 1</stackTrace><system-out>try 1</system-out></flakyFailure></testcase>
<testcase classname="pay.Gateway" name="flaky error twice" time="0.5"><flakyError message="reset 1">at 1</flakyError><flakyError message="reset 2">at 2</flakyError></testcase>
<testcase classname="pay.Gateway" name="failed three times" time="0.3"><failure message="no" type="T">at 0</failure><rerunFailure message="no 1" type="T"><stackTrace>at 1</stackTrace></rerunFailure><rerunFailure message="no 2"><stackTrace>at 2</stackTrace></rerunFailure></testcase>
<testcase classname="pay.Gateway" name="errored twice" time="0.3"><error message="boom">at 0</error><rerunError message="boom 1"><stackTrace>at 1</stackTrace></rerunError></testcase>"""),
    "surefire's flakyFailure, flakyError, rerunFailure, rerunError",
    "2 passed and flaky (2 and 3 attempts), 1 failed (3 attempts), 1 errored (2 attempts)", (4, 2, 1, 1, 0),
)
trap(
    "duplicates.xml",
    f'{XML}<testsuites>\n<testsuite name="cart">\n{FAILED}\n{FAILED.replace("declined", "timeout")}\n{PASSED}\n{PASSED}\n</testsuite>\n'
    f'<testsuite name="cart">\n{PASSED}\n{FAILED.replace("failure", "error")}\n</testsuite>\n</testsuites>\n',
    "one key several times in a suite, and in a second suite of the same name",
    "six tests, no merging; worst of `shop.Cart.pays` is error, of `shop.Cart.adds` passed", (6, 3, 2, 1, 0),
)
trap(
    "counts-lie.xml",
    f'{XML}<testsuites tests="1,000" failures="0" errors="abc" time="time">\n<testsuite name="cart" tests="7" failures="0" errors="-1" skipped="1.0">\n{PAIR}\n'
    '</testsuite>\n<testsuite name="no counts"><testcase name="x"/></testsuite>\n</testsuites>\n',
    "count attributes that are wrong, no numbers, or absent", "elements are counted, attributes never", (3, 2, 1, 0, 0),
)
trap(
    "failure-under-suite.xml",
    f'{XML}<testsuites><testsuite name="cart" tests="1" failures="1" errors="1">\n{PASSED}\n<failure message="suite teardown">leaked</failure>\n'
    '<error message="suite died">exit status 255</error>\n</testsuite></testsuites>\n',
    "`failure` and `error` directly under a suite",
    "one passed test; that the run itself failed must not be lost (no test carries it)", (1, 1, 0, 0, 0),
)
trap(
    "errors-without-case.xml",
    f'{XML}<testsuites tests="0" errors="1"><testsuite name="checkout collection" tests="0" failures="1" errors="1">'
    "<system-err>collection failed</system-err></testsuite></testsuites>\n",
    "a suite with errors=1 and no case (newman, crash at load)", "0 tests; a run that failed must not look green", (0, 0, 0, 0, 0),
)
trap("no-tests.xml", f'{XML}<testsuites/>\n', "a report without tests", "0 tests, no problem", (0, 0, 0, 0, 0))
trap(
    "unknown-children.xml",
    suite('<testcase name="a"><passed/></testcase>\n<testcase name="b"><warning>slow</warning><metrics><failure/></metrics></testcase>\n'
          '<testcase name="c"><Failure message="capital"/></testcase>\n<testcase name="d"><rerun/><failure/></testcase>')
    .replace("<testsuite ", '<meta><x y="1"/></meta>\n<testsuite ', 1),
    "children that no schema knows", "ignored; element names are case sensitive: c passed", (4, 3, 1, 0, 0),
)
trap(
    "status-attribute.xml",
    suite("""<testcase classname="S" name="DISABLED_a" status="notrun" result="suppressed" time="0"/>
<testcase classname="S" name="b" status="disabled" time="0"/>
<testcase classname="S" name="c" result="suppressed"/>
<testcase classname="S" name="d" status="run" result="completed"/>
<testcase classname="S" name="e" status="notrun"><failure message="not found"/></testcase>
<testcase classname="S" name="f" status="failed"/>
<testcase classname="S" name="g" status="skipped" result="skipped"/>"""),
    "status and result attributes without a result child",
    "by the rule 6 passed, 1 failed; the reconciler's design calls a, b, c skipped (index.json: `disabled` = 3); "
    "e is failed; f and g stay what their children say: passed",
    (7, 6, 1, 0, 0),
)

# --- names and identity ----------------------------------------------------------------------------------------------

trap(
    "names.xml",
    suite(f"""<testcase classname="a.B"/>
<testcase classname="a.B" name=""/>
<testcase name="no classname"/>
<testcase classname="" name="empty classname"/>
<testcase/>
<testcase classname="a.B" name="  blanks around  "/>
<testcase classname="a.B" name="two&#10;lines and a&#9;tab"/>
<testcase classname="a.B" name="Größe › 尺寸 🛒"/>
<testcase classname="a.B" name="{'x' * 300}"/>
<testcase classname="a.B" name="{'y' * 1200}"/>
<testcase class="a.B" name="class instead of classname"/>
<testcase classname="a.B" name="&lt;b&gt;bold&lt;/b&gt; &amp; &quot;quoted&quot; | pipe"/>""", 'tests="12"'),
    "missing, empty, blank, long and odd names; a suite without a name", "every case counts", (12, 12, 0, 0, 0),
)
trap(
    "names-tc-tokens.xml",
    suite("""<testcase name="test_checkout_TC1001"/>
<testcase name="TC1002: refunds are shown"/>
<testcase name="logs in [TC1003]"/>
<testcase name="covers TC1004 and TC1005"/>
<testcase name="test_TC1006_pays[visa]"/>
<testcase name="ETC1007 is no id"/>
<testcase name="TC1008a is no id"/>
<testcase name="TC is no id"/>
<testcase name="tc1009 in small letters"/>
<testcase name="TC1010 TC1010 twice"/>
<testcase classname="TC1011" name="only in the classname"/>"""),
    "TC tokens in names, and look-alikes",
    "TC1001..TC1006 and TC1010 are ids; ETC1007, TC1008a, TC are not; tc1009 and the classname are not by the design's wording",
    (11, 11, 0, 0, 0),
)

# --- forbidden characters --------------------------------------------------------------------------------------------

trap(
    "control-text.xml",
    suite('<testcase name="a"><failure message="red">\x1b[31mred\x1b[0m and \x00 and \x01</failure></testcase>\n<testcase name="b"><system-out>\x08\x0b\x0c</system-out></testcase>'),
    "raw ESC, NUL, 0x01, 0x08, 0x0B, 0x0C in text (jest-junit, jasmine)", "each becomes U+FFFD", (2, 1, 1, 0, 0),
)
trap(
    "control-attribute.xml",
    suite('<testcase name="a\x1b[1m" classname="x\x00y"><error message="\x1b[31mred\x1b[0m \x00">t</error></testcase>\n<testcase name="a"/>'),
    "raw control characters in attributes, in a name too (node:test)", "each becomes U+FFFD; two different names", (2, 1, 0, 1, 0),
)
trap(
    "control-reference.xml",
    suite('<testcase name="a&#27;[0m"><failure message="&#0; &#x0;">&#27;[31m &#x1b; &#x1B; &#00027; &#xFFFE; &#xD800; &#1114112; &#x41; &#13;</failure></testcase>\n<testcase name="b"/>'),
    "character references to forbidden characters (bats)", "each becomes U+FFFD; `&#x41;` stays A, `&#13;` stays CR", (2, 1, 1, 0, 0),
)
trap(
    "control-cdata.xml",
    suite('<testcase name="a"><system-out><![CDATA[raw \x1b[31m, literal &#27; and &#0; and ]] > end]]></system-out></testcase>\n<testcase name="b"><failure><![CDATA[\x00]]></failure></testcase>'),
    "raw ESC and NUL in CDATA, beside a literal `&#27;`", "raw ones become U+FFFD; the literal `&#27;` is text and stays as it is", (2, 1, 1, 0, 0),
)
trap(
    "control-noncharacters.xml",
    suite('<testcase name="a"><system-out>\ufffe \uffff \x7f \x85</system-out></testcase>'),
    "U+FFFE and U+FFFF in UTF-8 (forbidden), DEL and NEL (allowed)", "the first two become U+FFFD", (1, 1, 0, 0, 0),
)

# --- encodings -------------------------------------------------------------------------------------------------------

UMLAUT = '<testsuites><testsuite name="Kasse"><testcase classname="shop" name="zahlt 5 €"/><testcase classname="shop" name="Grüße"><failure message="Größe falsch">ä</failure></testcase></testsuite></testsuites>\n'
LATIN = UMLAUT.replace("€", "EUR")


def declared(encoding: str, body: str = UMLAUT) -> str:
    """The document under this declaration."""
    return f'<?xml version="1.0" encoding="{encoding}"?>\n{body}'


TWO: Counts = (2, 1, 1, 0, 0)
LE, BE, BOM = codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF8
trap("utf16le-bom.xml", LE + declared("UTF-16").encode("utf-16-le"), "UTF-16LE with BOM, declared", "counts", TWO)
trap("utf16le-bom-declared-utf8.xml", LE + declared("UTF-8").encode("utf-16-le"), "UTF-16LE with BOM, declared UTF-8 (PowerShell `>`)", "the BOM wins; counts", TWO)
trap("utf16le-bom-bad-name.xml", LE + declared("UTF-16 LE").encode("utf-16-le"), "UTF-16LE with BOM, declared \"UTF-16 LE\"", "problem: XML allows no blank in the name of an encoding", None)
trap("utf16be-bom.xml", BE + declared("UTF-16").encode("utf-16-be"), "UTF-16BE with BOM", "counts", TWO)
trap("utf16le-no-bom.xml", declared("UTF-16LE").encode("utf-16-le"), "UTF-16LE without BOM, declared", "counts", TWO)
trap("iso-8859-1.xml", declared("ISO-8859-1", LATIN).encode("latin-1"), "ISO-8859-1, declared", "counts; `Grüße` is right", TWO)
trap("windows-1252.xml", declared("windows-1252").encode("cp1252"), "Windows-1252, declared", "counts; `zahlt 5 €` is right", TWO)
trap("cp1252-under-utf8.xml", declared("UTF-8").encode("cp1252"), "cp1252 bytes under a UTF-8 declaration", "undecodable bytes become U+FFFD; counts", TWO)
trap("cp1252-undeclared.xml", UMLAUT.encode("cp1252"), "cp1252 bytes, no declaration", "undecodable bytes become U+FFFD; counts", TWO)
trap("utf8-bom.xml", BOM + declared("UTF-8").encode(), "UTF-8 with BOM", "counts", TWO)
trap("utf8-bom-newline.xml", BOM + b"\n  \t\r\n" + declared("UTF-8").encode(), "BOM, line ends and blanks before the declaration", "stripped; counts", TWO)
trap("whitespace-before.xml", "\n\n   " + declared("UTF-8"), "white space before the declaration", "stripped; counts", TWO)
trap("no-declaration-crlf.xml", UMLAUT.replace("><", ">\r\n<"), "no declaration, CRLF line ends", "counts", TWO)

# --- times -----------------------------------------------------------------------------------------------------------

TIMES = ["1.5e-05", "2E3", "1,234.56", "2,503", "0,123", "-3", "NaN", "inf", "-Infinity", "1e400", "brrrr", "", None,
         "0.1234567890123456789012", "0.", ".5", " 7 ", "1_000", "٣", "0x10", "00:01:02", "12s", "+4"]
trap(
    "times.xml",
    suite("\n".join(f'<testcase name="{index:02} {value if value is not None else "missing"}"' + (f' time="{value}"' if value is not None else "") + "/>"
                    for index, value in enumerate(TIMES))),
    "times: exponent, thousands comma, decimal comma, negative, NaN, inf, 1e400, text, empty, missing, 22 decimals, `0.`, digits of another script",
    "a missing or bad time is 0, never NaN, inf or negative; plain: 1.5e-05, 2000, 0.123…, 0, 0.5, 7, 4; 1,234.56 is 1234.56 or bad, never 1.23456",
    (23, 23, 0, 0, 0),
)
STAMPS = ["2026-11-24T05:30:00", "2026-11-24T05:30:00Z", "2026-11-24T05:30:00.123456789+01:00", "2026-11-24 05:30:00", "Tue, 24 Nov 2026 05:30:00 GMT",
          "2026-11-24T05:30:00 UTC", "2026-11-24T05:30:00GMT-07:00", "2026-11-24", "2026-11-24T ", "0001-01-01T00:00:00", "1970-01-01T00:00:00", "1795498200", "yesterday", ""]
trap(
    "timestamps.xml",
    f"{XML}<testsuites>\n" + "".join(f'<testsuite name="s{index}" timestamp="{stamp}"><testcase name="t{index}" timestamp="{stamp}"/></testsuite>\n' for index, stamp in enumerate(STAMPS)) + "</testsuites>\n",
    "timestamps with and without zone, RFC 1123, date only, blank after T, year 1, 1970, epoch, text, empty", "no effect on the counts: dates come from GitLab", (14, 14, 0, 0, 0),
)

# --- properties, output, attachments ---------------------------------------------------------------------------------

trap(
    "properties.xml",
    f"""{XML}<testsuites><properties><property name="on" value="root"/><property name="rally_id" value="TC1090"/></properties>
<testsuite name="s"><properties><property name="on" value="suite"/><property name="test_id" value="TC1091"/></properties>
<testcase name="attribute"><properties><property name="rally_id" value="TC1001"/></properties></testcase>
<testcase name="text"><properties><property name="rally_id">TC1002</property></properties></testcase>
<testcase name="cdata"><properties><property name="test_id"><![CDATA[ TC1003 ]]></property></properties></testcase>
<testcase name="twice"><properties><property name="rally_id" value="TC1004"/><property name="rally_id" value="TC1005"/></properties></testcase>
<testcase name="list"><properties><property name="testcase_id" value="TC1006, TC1007"/></properties></testcase>
<testcase name="no value"><properties><property name="rally_id"/></properties></testcase>
<testcase name="no name"><properties><property value="TC1008"/></properties></testcase>
<testcase name="bare property"><property name="rally_id" value="TC1009"/></testcase>
<testcase name="two blocks"><properties><property name="rally_id" value="TC1010"/></properties><properties><property name="rally_id" value="TC1011"/></properties></testcase>
<testcase name="no id"><properties><property name="rally_id" value="see wiki"/></properties></testcase>
<testcase name="empty block"><properties/></testcase>
</testsuite></testsuites>
""",
    "properties as attribute, as text, same name twice, without value, without name, on root, suite and case",
    "the case's own: TC1001; TC1002; TC1003; TC1004+TC1005; TC1006+TC1007; none; none; (bare) TC1009 if read; TC1010+TC1011; none; none. "
    "Root and suite properties are no ids of a case",
    (11, 11, 0, 0, 0),
)
trap(
    "property-in-output.xml",
    suite("""<testcase name="plain"><system-out>starting
[[PROPERTY|rally_id=TC7]]
done</system-out></testcase>
<testcase name="cdata"><system-out><![CDATA[[[PROPERTY|test_id=TC8]] [[PROPERTY|owner=QA = team 1]]]]></system-out></testcase>
<testcase name="no value"><system-out>[[PROPERTY|rally_id=]] [[PROPERTY|rally_id]] [[PROPERTY|]] [[PROPERTY|=TC9]]</system-out></testcase>
<testcase name="in a failure"><failure>[[PROPERTY|rally_id=TC9]]</failure></testcase>"""),
    "`[[PROPERTY|name=value]]` in system-out", "rally_id=TC7; test_id=TC8 and owner=\"QA = team 1\"; nothing usable; a failure's text is no property", (4, 3, 1, 0, 0),
)
trap(
    "several-outputs.xml",
    suite("""<testcase name="a"><system-out>setup</system-out><system-err>e1</system-err><failure message="m">f</failure><system-out>call</system-out><system-out>teardown</system-out><system-err>e2</system-err></testcase>
<testcase name="b"><system-out/></testcase>
<system-out>of the suite</system-out><system-err>of the suite</system-err>"""),
    "several system-out and system-err in one case; output of the suite", "all are kept, in order: setup, call, teardown / e1, e2", (2, 1, 1, 0, 0),
)
trap(
    "mixed-content.xml",
    suite("""<testcase name="a"><failure message="m">before<!-- a comment -->middle<b>bold <i>and</i></b>after<![CDATA[ <cdata> ]]>end</failure></testcase>
<testcase name="b"><system-out>one<?pi x?>two<stackTrace>three</stackTrace>four</system-out></testcase>"""),
    "comment, child element, CDATA and PI inside failure and system-out", "text is `beforemiddlebold andafter <cdata> end` and `onetwothreefour`", (2, 1, 1, 0, 0),
)
trap(
    "results-without-text.xml",
    suite("""<testcase name="a"><failure/></testcase>
<testcase name="b"><failure message="only a message"/></testcase>
<testcase name="c"><failure>only a text</failure></testcase>
<testcase name="d"><error type="java.io.IOException"/></testcase>
<testcase name="e"><skipped/></testcase>
<testcase name="f"><failure message="two&#10;lines">t</failure></testcase>
<testcase name="g"><failure message="">  
  </failure></testcase>"""),
    "results without message, without text, with neither; message of two lines", "counts; nothing is invented", (7, 0, 5, 1, 1),
)
trap(
    "attachments.xml",
    suite("""<testcase name="several"><failure message="m"/><system-out>[[ATTACHMENT|shots/one.png]]
text [[ATTACHMENT|shots/two words.png]] text
[[ATTACHMENT|shots/größe.png]]</system-out><system-err>[[ATTACHMENT|log.txt]]</system-err></testcase>
<testcase name="paths"><system-out><![CDATA[
[[ATTACHMENT|../../test-results/a/b.png]]
[[ATTACHMENT|/tmp/x y.png]]
[[ATTACHMENT|/builds/qa/web-shop/test-results/c.png]]
[[ATTACHMENT|../../../../../../etc/passwd]]
[[ATTACHMENT|C:\\agent\\shots\\d.png]]
[[ATTACHMENT|https://example.invalid/e.png]]
[[ATTACHMENT|]]
[[ATTACHMENT|a/./b/../c.png]]
[[ATTACHMENT|unclosed.png
]]></system-out></testcase>
<testcase name="properties"><properties><property name="attachment" value="shots/one.png"/><property name="attachment.video" value="v.webm"/><property name="testrail_attachment" value="t.png"/></properties></testcase>"""),
    "`[[ATTACHMENT|path]]`: several, blanks, non-ASCII, absolute, `..`, URL, empty, unclosed; as properties",
    "paths are only ever matched against the archive's own members; never opened, never fetched", (3, 2, 1, 0, 0),
)

# --- refused as a whole ----------------------------------------------------------------------------------------------


def refused(name: str, content: str | bytes, what: str, problem: str) -> None:
    """Add a document that must be refused as a whole."""
    trap(name, content, what, f"problem: {problem}", None)


BODY = f'<testsuites><testsuite name="cart">{PAIR}</testsuite></testsuites>'
refused("doctype.xml", f"{XML}<!DOCTYPE testsuites>\n{BODY}\n", "a bare DOCTYPE", "DOCTYPE")
refused("doctype-entity.xml", f'{XML}<!DOCTYPE testsuites [<!ENTITY shop "web shop">]>\n{BODY.replace("cart", "&shop;")}\n', "an internal entity", "DOCTYPE (its text would vanish unseen)")
refused("doctype-utf16.xml", LE + f'<?xml version="1.0" encoding="UTF-16"?>\n<!DOCTYPE testsuites [<!ENTITY a "b">]>\n{BODY}\n'.encode("utf-16-le"), "DOCTYPE in UTF-16 (a byte search for it finds nothing)", "DOCTYPE")
refused("xxe.xml", f'{XML}<!DOCTYPE testsuites [<!ENTITY x SYSTEM "file:///etc/passwd">]>\n<testsuites><testsuite name="a"><testcase name="b"><failure>&x;</failure></testcase></testsuite></testsuites>\n',
        "external entity", "DOCTYPE; the file is never read")
refused("xxe-parameter.xml", f'{XML}<!DOCTYPE testsuites [<!ENTITY % p SYSTEM "http://127.0.0.1:9/evil.dtd"> %p;]>\n{BODY}\n', "external parameter entity", "DOCTYPE; nothing is fetched")
LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
refused("billion-laughs.xml", f'{XML}<!DOCTYPE testsuites [<!ENTITY l0 "lol">{LAUGHS}]>\n<testsuites><testsuite name="a"><testcase name="b"><failure>&l9;</failure></testcase></testsuite></testsuites>\n',
        "billion laughs", "DOCTYPE, at once and in little memory")
refused("truncated-in-case.xml", suite(PAIR)[:-75], "cut inside the last case", "cut off; the first case must not count")
refused("truncated-after-case.xml", f"{XML}<testsuites>\n<testsuite name=\"cart\">\n{PAIR}\n", "cut after a whole case", "cut off; the two cases must not count")
refused("truncated-in-declaration.xml", XML[:20], "cut inside the declaration", "cut off")
refused("text-after.xml", f"{XML}{BODY}\nDone in 3.2 s\n", "text after the document", "text after the document, line 4")
refused("text-before.xml", f"Determining test suites to run...\n{XML}{BODY}\n", "text before the document", "text before the document")
refused("two-documents.xml", f"{XML}{BODY}\n{XML}{BODY}\n", "two documents in one file", "a second document begins on line 4")
refused("empty.xml", b"", "an empty file", "empty")
refused("whitespace.xml", " \n\t\r\n", "white space only", "empty")
refused("json.xml", '{"numTotalTests": 2, "success": false}\n', "JSON", "not XML")
refused("html.xml", "<!DOCTYPE html>\n<html><head><title>404</title></head><body><h1>Not found</h1><br></body></html>\n", "an HTML error page", "HTML, not JUnit")
refused("xhtml.xml", f'{XML}<html xmlns="http://www.w3.org/1999/xhtml"><body><p>Sign in</p></body></html>\n', "a well-formed HTML page", "root is html, not JUnit")
refused("trx.xml", f'{XML}<TestRun id="1" xmlns="http://microsoft.com/schemas/VisualStudio/TeamTest/2010"><Results><UnitTestResult testName="a" outcome="Passed"/></Results></TestRun>\n', "TRX", "root is TestRun, not JUnit")
refused("cobertura.xml", f'{XML}<coverage line-rate="0.9" version="7"><packages/></coverage>\n', "Cobertura", "root is coverage, not JUnit")
refused("nunit3.xml", f'{XML}<test-run id="2" testcasecount="1"><test-suite type="Assembly"><test-case name="a" result="Passed"/></test-suite></test-run>\n', "NUnit 3", "root is test-run, not JUnit")
refused("nunit2.xml", f'{XML}<test-results name="a.dll" total="1"><test-suite><results><test-case name="a" executed="True"/></results></test-suite></test-results>\n', "NUnit 2", "root is test-results, not JUnit")
refused("xunit-net.xml", f'{XML}<assemblies><assembly name="a.dll"><collection><test name="a" result="Pass"/></collection></assembly></assemblies>\n', "xUnit.net", "root is assemblies, not JUnit")
refused("robot-output.xml", f'{XML}<robot generator="Robot 7.0"><suite name="a"><test name="b"><status status="PASS"/></test></suite></robot>\n', "Robot's output.xml", "root is robot, not JUnit")
refused("checkstyle.xml", f'{XML}<checkstyle version="4.3"><file name="a.js"/></checkstyle>\n', "Checkstyle", "root is checkstyle, not JUnit")
refused("wrapped.xml", f"{XML}<reports>{BODY}</reports>\n", "a JUnit document inside another root", "root is reports, not JUnit")
refused("deep-300.xml", f"{XML}<testsuites>{'<testsuite>' * 300}{PASSED}{'</testsuite>' * 300}</testsuites>\n", "300 nested suites", "nested too deep")
refused("deep-300-in-case.xml", suite(f"{PASSED}\n<testcase name=\"deep\"><system-out>{'<a>' * 300}x{'</a>' * 300}</system-out></testcase>"), "300 elements nested inside a case", "nested too deep")
refused("less-than-in-attribute.xml", suite('<testcase name="a < b"/>\n<testcase name="c"/>'), "`<` unescaped in an attribute", "not well-formed, line 4")
refused("ampersand.xml", suite('<testcase name="fish & chips"/>'), "`&` unescaped", "not well-formed, line 4")
refused("undefined-entity.xml", suite('<testcase name="a"><failure>a&nbsp;b</failure></testcase>'), "an HTML entity that XML does not know", "not well-formed, line 4 (never text that vanishes)")
refused("cdata-end.xml", suite('<testcase name="a"><failure>x[y[0]]> z</failure></testcase>'), "`]]>` in text that is no CDATA", "not well-formed, line 4")
refused("cdata-open.xml", suite('<testcase name="a"><failure><![CDATA[never closed</failure></testcase>'), "a CDATA section that never ends", "not well-formed")
refused("mismatched-tag.xml", suite('<testcase name="a"><failure>one<br>two</failure></testcase>'), "an unclosed `<br>` inside a failure", "not well-formed, line 4")
refused("duplicate-attribute.xml", suite('<testcase name="a" name="b"/>'), "an attribute twice", "not well-formed, line 4")

# --- well-formed to the end ------------------------------------------------------------------------------------------

trap("comment-after.xml", f"{XML}<!-- before -->\n{BODY}\n<!-- after -->\n<?pi also?>\n\n", "comments and a PI round the document", "counts", (2, 1, 1, 0, 0))
trap("doctype-in-text.xml", suite('<testcase name="a"><system-out><![CDATA[<!DOCTYPE html><html></html>]]></system-out></testcase>\n<testcase name="b"><failure message="&lt;!DOCTYPE html&gt;"/></testcase>'),
     "`<!DOCTYPE` as logged text", "counts: it is no DOCTYPE", (2, 1, 1, 0, 0))
trap("deep-100.xml", f"{XML}<testsuites>{'<testsuite>' * 100}{PASSED}{'</testsuite>' * 100}</testsuites>\n", "100 nested suites", "counts", (1, 1, 0, 0, 0))


def main() -> None:
    """Write every trap and the table."""
    for old in HERE.glob("*.xml"):
        old.unlink()
    rows = []
    for name, data, what, then, counts in TRAPS:
        (HERE / name).write_bytes(data)
        numbers = " / ".join(map(str, counts)) if counts else "-"
        rows.append(f"| {name} | {what.replace('|', chr(92) + '|')} | {numbers} | {then.replace('|', chr(92) + '|')} |")
    text = f"""# Traps

{len(TRAPS)} small documents, one trap each, written by `make.py` (run it again after a change: `python make.py`, then
`python ../make_index.py`). Counts are tests / passed / failed / errored / skipped by the rule of ../README.md;
"-" with "problem:" means that the document is refused as a whole and none of its tests count.

| file | what it is | counts | what a reader must make of it |
|---|---|---|---|
"""
    (HERE / "README.md").write_text(text + "\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
