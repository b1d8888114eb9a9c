"""What is taken out of text before a person or a terminal sees it."""

from __future__ import annotations

import time

import pytest

from reconciler import terminal


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain é漢 text\n\twith tabs\n", "plain é漢 text\n\twith tabs\n"),
        ("a # b #1 &amp; 1b[0", "a # b #1 &amp; 1b[0"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;https://example.com\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b2Kline", "line"),
        ("\x1b(Bx\x1bM", "x"),
        ("#x1B[31mred#x1B[0m", "red"),
        ("#X1b[31mred", "red"),
        ("&#27;[31mred", "red"),
        ("&#x1b;[31mred", "red"),
        ("&#X1B;[31mred", "red"),
        ("\ufffd[31mred\ufffd[m", "red"),
        ("a\r\nb\rc\n", "a\nb\nc\n"),
        ("nul\x00 bell\x07 del\x7f", "nul\ufffd bell\ufffd del\ufffd"),
        ("turned \u202eround\u2028", "turned \ufffdround\ufffd"),
        ("lone \ud800 half", "lone \ufffd half"),
        ("no-break\xa0space", "no-break\xa0space"),
        ("", ""),
    ],
)
def test_text_is_stripped_of_what_a_terminal_obeys(text: str, expected: str) -> None:
    """Sequences go; line ends become one; what else cannot be shown is shown to be so."""
    assert terminal.strip(text) == expected


def test_a_megabyte_of_sequences_is_stripped_quickly() -> None:
    """Also of broken ones, which never end."""
    begun = time.process_time()
    for text in (
        "\x1b[" + "0" * 1_000_000,
        "\x1b[31m" * 200_000,
        "\x1b]" * 500_000,
        "#x1B[" * 200_000,
        "\x9b;" * 500_000,
    ):
        terminal.strip(text)
    assert time.process_time() - begun < 5
