"""Any encoding, and characters that XML forbids: six of 36 real tools write the latter, and the report is whole."""

from __future__ import annotations

import codecs
import io
from typing import TYPE_CHECKING

import pytest

from reconciler.junit import BadReport, Limits, Report
from reconciler.junit.clean import BLOCK, clean_blocks

if TYPE_CHECKING:
    from reconciler.model import TestRun

LIMITS = Limits()
BODY = "<testsuite>\n<testcase name='zahlt 5 €, Grüße'><failure message='é'>ü</failure></testcase>\n</testsuite>"


def read(document: bytes) -> TestRun:
    """Read the only test of a document."""
    (run,) = Report(io.BytesIO(document))
    return run


def refused(document: bytes) -> BadReport:
    """Read a document that must be refused."""
    with pytest.raises(BadReport) as caught:
        list(Report(io.BytesIO(document)))
    return caught.value


def with_out(text: bytes) -> bytes:
    """Put text into a test's output."""
    return b"<testsuite><testcase name='t'><system-out>" + text + b"</system-out></testcase></testsuite>"


# --- encodings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "encoding", "mark"),
    [
        (None, "utf-8", b""),
        ("utf8", "utf-8", b""),
        ("UTF-8", "utf-8", codecs.BOM_UTF8),
        ("ISO-8859-1", "utf-8", codecs.BOM_UTF8),
        ("UTF-16", "utf-8", b""),
        ("US-ASCII", "utf-8", b""),
        ("UTF-8", "utf-16-le", codecs.BOM_UTF16_LE),
        ("UTF-16", "utf-16-le", codecs.BOM_UTF16_LE),
        (None, "utf-16-le", codecs.BOM_UTF16_LE),
        ("ISO-8859-1", "utf-16-be", codecs.BOM_UTF16_BE),
        ("UTF-16LE", "utf-16-le", b""),
        ("UTF-16", "utf-16-be", b""),
        ("UTF-32", "utf-32-le", codecs.BOM_UTF32_LE),
        ("UTF-32", "utf-32-be", codecs.BOM_UTF32_BE),
        ("windows-1252", "cp1252", b""),
        ("Windows-1252", "cp1252", b""),
        ("ISO-8859-15", "iso-8859-15", b""),
    ],
)
def test_every_encoding_is_read(declared: str | None, encoding: str, mark: bytes) -> None:
    """A byte order mark, or a first `<` in two bytes, is stronger than what is declared."""
    declaration = f"<?xml version='1.0' encoding='{declared}' standalone='yes'?>\n" if declared else ""
    run = read(mark + (declaration + BODY).encode(encoding))
    assert (run.name, run.message, run.detail) == ("zahlt 5 €, Grüße", "é", "ü")


@pytest.mark.parametrize(
    "before",
    [b"\n", b" \t\r\n\n", codecs.BOM_UTF8 + b"\r\n  ", b"\n" + codecs.BOM_UTF8, codecs.BOM_UTF8 * 2],
)
def test_blanks_and_marks_before_the_declaration_are_no_error(before: bytes) -> None:
    """Two real files of codecov and kubernetes begin so; lxml refuses them."""
    assert read(before + b'<?xml version="1.0" encoding="UTF-8"?>' + BODY.encode()).message == "é"


def test_blanks_before_a_utf16_document_are_no_error() -> None:
    """The same in two bytes, with the mark and without."""
    document = "\n\ufeff <?xml version='1.0' encoding='UTF-16'?>" + BODY
    assert read(codecs.BOM_UTF16_LE + document.encode("utf-16-le")).message == "é"
    assert read(document.replace("\ufeff", "").encode("utf-16-be")).message == "é"


def test_undecodable_bytes_become_replacement_characters() -> None:
    """A cp1252 log under a UTF-8 declaration: lxml raises OSError for it."""
    declared = b'<?xml version="1.0" encoding="UTF-8"?>' + with_out(b"Gr\xfc\xdfe \xed\xa0\x80!")
    assert read(declared).system_out == "Gr\ufffd\ufffde \ufffd\ufffd\ufffd!"
    assert read(with_out(b"Gr\xfc")).system_out == "Gr\ufffd"
    assert read(b"<?xml version='1.0' encoding='cp1252'?>" + with_out(b"\x81\x80")).system_out == "\ufffd€"


def test_half_a_character_at_the_end_of_a_utf16_file_is_no_traceback() -> None:
    """It is only something that follows the end."""
    assert refused(codecs.BOM_UTF16_LE + BODY.encode("utf-16-le") + b"x").kind == "malformed"


@pytest.mark.parametrize(
    "name", ["nonsense", "UTF-7", "unicode_escape", "raw_unicode_escape", "rot13", "hex", "idna", "hz", "cp037", "a.b"]
)
def test_an_encoding_that_is_not_known_is_named(name: str) -> None:
    """Among Python's codecs are escapes and transport forms that would turn text into markup."""
    problem = refused(f"<?xml version='1.0' encoding='{name}'?><testsuite/>".encode())
    assert (problem.kind, repr(name) in problem.detail) == ("encoding", True)


def test_an_encoding_whose_name_is_none_is_refused_even_with_a_mark() -> None:
    """The corpus counts the real file with "UTF-16 LE" among the malformed ones: XML allows no blank in the name."""
    document = codecs.BOM_UTF16_LE + "<?xml version='1.0' encoding='UTF-16 LE'?><testsuite/>".encode("utf-16-le")
    problem = refused(document)
    assert (problem.kind, "'UTF-16 LE'" in problem.detail) == ("encoding", True)


def test_positions_stay_true_behind_what_is_blanked_out() -> None:
    """A person looks the place up in the file as it is."""
    document = b"\n\n<?xml version='1.0'\nencoding='UTF-8'?><testsuite>\n  <a></b></testsuite>"
    assert refused(document).detail.startswith("line 5, column 10: ")


# --- characters that XML forbids -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (b"\x1b[31m\x00\x01\x08\x0b\x0c\x1f", "\ufffd[31m\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd"),
        (b"\t \x7f\xc2\x85", "\t \x7f\x85"),
        (b"\xef\xbf\xbd\xef\xbf\xbe\xef\xbf\xbf", "\ufffd\ufffd\ufffd"),
        (b"&#27;&#x1b;&#0;&#x0;&#00000000000027;", "\ufffd" * 5),
        (b"&#xD800;&#xFFFE;&#65535;&#x110000;&#9999999999;", "\ufffd" * 5),
        (b"&#9;&#10;&#13;&#65;&#x1F600;&amp;#27;", "\t\n\rA\U0001f600&#27;"),
        (b"<![CDATA[\x1b&#27;&amp;]]>&#27;", "\ufffd&#27;&amp;\ufffd"),
    ],
)
def test_a_forbidden_character_becomes_a_replacement_character(written: bytes, expected: str) -> None:
    """Raw or as a reference; in CDATA a reference is text and stays."""
    assert read(with_out(written)).system_out == expected


def test_forbidden_characters_in_names_comments_and_attributes_are_replaced() -> None:
    """node:test writes them into names."""
    case = b"<testcase name='a\x1bb&#1;c'><failure message='\x00'/></testcase>"
    run = read(b"<testsuite><!-- \x00 --><?pi \x01?>" + case + b"</testsuite>")
    assert (run.name, run.message) == ("a\ufffdb\ufffdc", "\ufffd")


@pytest.mark.parametrize("shift", range(12))
@pytest.mark.parametrize("what", [b"&#x1b;", b"\xe2\x82\xac", b"&#65;", b"]]", b"&lt;", b"<b/>", b"<![CDATA[x]]>"])
def test_nothing_is_torn_at_the_end_of_a_block(what: bytes, shift: int) -> None:
    """Characters, references and markup lie across the border."""
    plain = read(with_out(what + b"y")).system_out
    begin = with_out(b"").index(b"</")
    filler = b"x" * (BLOCK - begin - shift)
    run = read(with_out(filler + what + b"y"))
    assert run.system_out.lstrip("x") == plain.lstrip("x")


def test_a_reference_too_long_to_be_one_is_refused_not_misread() -> None:
    """Twenty digits are no character."""
    assert refused(with_out(b"&#99999999999999999999;")).kind == "malformed"


def test_clean_blocks_end_between_characters_and_references() -> None:
    """What cuts and counts behind them relies on it."""
    document = ("€&#65;" * BLOCK).encode()
    for block in clean_blocks(io.BytesIO(document), LIMITS):
        assert block.decode().replace("€", "").replace("&#65;", "") == ""


def test_a_stream_may_answer_in_any_portions() -> None:
    """A network stream gives what it has."""

    class Dripping(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, 3))

    (run,) = Report(Dripping(codecs.BOM_UTF8 + BODY.encode()))
    assert run.message == "é"
