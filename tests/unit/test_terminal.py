"""Whatever a test, a server or a config is called: a terminal obeys none of it, and a shell reads it as it was."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler import show
from reconciler.cli import main
from reconciler.errors import EXIT_USAGE

if TYPE_CHECKING:
    from pathlib import Path

BASH = shutil.which("bash")
needs_bash = pytest.mark.skipif(BASH is None, reason="there is no bash to ask")
EVIL = "a\x1b[31m\r\x07\x85\x9b\n\u202e\u2028'\"\\$`!é漢"
"""Colours, a bell, C1 controls that some terminals obey, line ends, a direction override, quotes, and plain text."""

_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


def _echoed(arguments: list[str], **environ: str) -> list[bytes]:
    """Let bash read arguments as we quote them, and give them back."""
    assert BASH is not None
    script = "".join(f"printf '%s\\0' {show.quoted(argument)}\n" for argument in arguments)
    done = subprocess.run(
        [BASH, "--norc", "-s"], input=script.encode(), capture_output=True, check=True, env=os.environ | environ
    )
    assert done.stderr == b""
    return done.stdout.split(b"\0")[:-1]


@needs_bash
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
@pytest.mark.parametrize(
    "argument",
    [
        "shop.test_pay[visa]",
        "shop.test it's",
        "$(reboot) `reboot` $HOME \\n !! * ~",
        "",
        " ",
        "-x",
        "ends with \\",
        "two\nlines",
        "it's\ttwo\\\nlines",
        "\x1bc 1",
        "\x01f and \x7ff",
        "no-break\xa0space, soft\xadhyphen, \x85",
        "zero\u200bwidth, \u202eturned, \u2028line",
        "tag \U000e0041",
        "é漢🙂",
        EVIL,
    ],
)
def test_a_shell_reads_a_quoted_argument_as_it_was(argument: str, locale: str) -> None:
    """Byte by byte, in any locale."""
    assert _echoed([argument], LC_ALL=locale) == [argument.encode()]


@needs_bash
@settings(max_examples=20, deadline=None)
@given(st.lists(_text, min_size=1, max_size=50))
def test_a_shell_reads_any_argument_as_it_was(arguments: list[str]) -> None:
    """Whoever names a test may write anything into the name."""
    assert _echoed(arguments) == [argument.encode() for argument in arguments]


@given(_text)
def test_what_is_quoted_or_cleaned_holds_nothing_that_a_terminal_obeys(text: str) -> None:
    """It is shown, spelled out; what is harmless stays as it is."""
    assert show.quoted(text).isprintable()
    assert show.clean(text).isprintable()
    assert not text.isprintable() or show.clean(text) == text


def test_a_command_to_copy_works_for_a_test_that_looks_like_an_option() -> None:
    """It stands behind `--`."""
    assert show.map_command("--yes", "TC1") == "reconciler map -- '--yes' TC1"
    assert show.map_command("shop.pay", "TC1") == "reconciler map 'shop.pay' TC1"


def test_a_suggestion_reaches_the_terminal_clean() -> None:
    """A test case's name in Rally may hold anything, too."""
    suggestion = {"formatted_id": "TC1", "name": EVIL, "score": 0.5, "reason": EVIL}
    row = {"test": EVIL, "held": 1, "pipelines": 1, "last_verdict": "Fail", "reason": EVIL, "suggestions": [suggestion]}
    assert all(line.isprintable() for line in show.review([row]).split("\n"))


def test_an_error_reaches_the_terminal_clean_and_line_by_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A config, or what a server says, may hold anything."""
    config = tmp_path / "con\x1b[31mfig.toml"
    config.write_text("[gitlab]\nx = 1\ny = 1\n", encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["reconciler", "--config", str(config), "--once"])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err.rstrip("\n").split("\n")
    assert ended.value.code == EXIT_USAGE
    assert len(said) > 2
    assert all(line.isprintable() for line in said)
