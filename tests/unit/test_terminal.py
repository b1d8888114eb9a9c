"""Whatever a test, a server or a config is called: a terminal obeys none of it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from reconciler import show
from reconciler.cli import main
from reconciler.errors import EXIT_USAGE

if TYPE_CHECKING:
    from pathlib import Path

EVIL = "a\x1b[31m\r\x07\x85\x9b\n\u202e\u2028'\"\\$`!é漢"
"""Colours, a bell, C1 controls that some terminals obey, line ends, a direction override, quotes, and plain text."""


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
