"""README.md says what is true."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.errors import EXIT_DONE, EXIT_FAILED, EXIT_TRY_AGAIN, EXIT_USAGE

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
RUN = [sys.executable, "-c", "import sys; sys.argv[0] = 'reconciler'; from reconciler.cli import main; main()"]


def _help(*command: str) -> str:
    environ = os.environ | {"COLUMNS": "80", "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        [*RUN, *command, "--help"], capture_output=True, text=True, check=True, env=environ, cwd=ROOT
    ).stdout


def _targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    return set(re.findall(r"^([a-z][a-z-]*):(?!=)", makefile, re.MULTILINE))


def _named_files() -> list[str]:
    linked = re.findall(r"\]\((?!https?:|#)([^)]+)\)", README)
    spoken = re.findall(r"`([\w./-]+\.(?:py|toml|md|service))`", README)
    return sorted({*linked, *spoken})


def test_the_help_in_readme_is_what_the_program_prints() -> None:
    """Letter by letter, 80 columns wide."""
    blocks = re.findall(r"```\w*\n(Usage: .*?)```", README, re.DOTALL)
    assert blocks == [_help()]


def test_readme_names_only_targets_that_make_has() -> None:
    """And begins with the two that show the whole."""
    named = re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE)
    assert set(named) <= _targets()
    assert named[:2] == ["demo", "test"]


def test_make_help_names_every_target() -> None:
    """And none that is not there."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert set(re.findall(r'@echo "make (\S+)', makefile)) == _targets() - {"help"}


@pytest.mark.parametrize("name", _named_files())
def test_each_file_that_readme_names_is_there(name: str) -> None:
    """Seen from the top of the repository."""
    assert (ROOT / name).exists()


def test_readme_names_some_files() -> None:
    """So that the test above cannot pass by finding none."""
    assert {"config.toml", "docs/junit.md", "CHANGELOG.md"} <= set(_named_files())


def test_the_commands_that_readme_lets_people_type_exist() -> None:
    """With the options that it gives them."""
    commands = set(re.findall(r"^  ([a-z]+)  ", _help().split("Commands:")[1], re.MULTILINE))
    for typed in re.findall(r"`reconciler ([^`]+)`", README):
        words = typed.split()
        options = {word for word in words if word.startswith("--")}
        assert words[0].startswith("-") or words[0] in commands, typed
        if options:
            command = () if words[0].startswith("-") else (words[0],)
            assert options <= set(re.findall(r"--[a-z-]+", _help(*command))), typed


def test_the_table_of_exit_statuses_is_whole() -> None:
    """Each status that the program ends with, and no other."""
    told = {int(number) for number in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)}
    assert told == {EXIT_DONE, EXIT_TRY_AGAIN, EXIT_USAGE, EXIT_FAILED}
