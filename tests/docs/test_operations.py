"""docs/operations.md says what is true."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from reconciler import cli
from reconciler.errors import EXIT_DONE, EXIT_FAILED, EXIT_TRY_AGAIN, EXIT_USAGE

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "operations.md"
TEXT = PAGE.read_text("utf-8")
BY_HAND = "sudo env CREDENTIALS_DIRECTORY=/etc/reconciler reconciler --config /etc/reconciler/config.toml"


def unit_file(named: str) -> str:
    """Give the file of a unit as people name it: `reconciler@shop` is one of reconciler@.service."""
    template = re.sub(r"@.*?(?=\.service$|\.timer$|$)", "@", named)
    return template if template.endswith((".service", ".timer")) else f"{template}.service"


def units() -> list[str]:
    """Find the units that commands of the page name."""
    commands = re.findall(r"(?:systemctl [^`\n;&]*|journalctl [^`\n;&]*)", TEXT)
    return sorted({word for line in commands for word in re.findall(r"\breconciler[\w@.-]*", line)})


@pytest.mark.parametrize("named", units())
def test_each_unit_that_a_command_names_is_there(named: str) -> None:
    """In systemd/."""
    assert (ROOT / "systemd" / unit_file(named.rstrip("."))).is_file()


def test_commands_name_the_units_that_people_start() -> None:
    """So that the test above cannot pass by finding none."""
    started = {unit_file(named) for named in units()}
    assert started == {path.name for path in (ROOT / "systemd").glob("*.*[er]")} - {"reconciler-sprint-sets.service"}


@pytest.mark.parametrize("typed", sorted(set(re.findall(r"\brec ((?:--)?[a-z][^`&;#\n]*)", TEXT))))
def test_each_command_line_that_the_page_gives_is_one_of_the_program(typed: str) -> None:
    """Read by its own parser; `rec` is the alias of the first steps."""
    words = shlex.split(typed)
    context = cli.cli.make_context("reconciler", list(words))
    cli._refuse_odd_mixtures(context.params)
    if not words[0].startswith("-"):
        command = cli.cli.commands[words[0]]
        command.make_context(words[0], words[1:], parent=context)


def test_the_alias_is_the_command_that_the_team_s_is_like() -> None:
    """The two differ in the team's folder and file."""
    assert f"alias rec='{BY_HAND}'" in TEXT
    assert BY_HAND.replace("/config.toml", "/shop.toml").replace("=/etc/reconciler", "=/etc/reconciler/shop") in TEXT


def test_the_table_of_exit_statuses_is_whole() -> None:
    """Each status that the program ends with."""
    told = {int(number) for number in re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE)}
    assert told == {EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_TRY_AGAIN}


@pytest.mark.parametrize(
    ("told", "unit", "line"),
    [
        ("again after 30 seconds", "reconciler.service", "RestartSec=30"),
        ("again after 5 or 10 minutes", "reconciler-backfill@.service", "RestartSec=5min"),
        ("again after 5 or 10 minutes", "reconciler-sprint-sets.service", "RestartSec=10min"),
        ("no progress for 15 minutes", "reconciler.service", "WatchdogSec=15min"),
        ("Mondays at 06:00", "reconciler-sprint-sets.timer", "OnCalendar=Mon 06:00"),
        ("OnFailure=reconciler-failed@%n.service", "reconciler.service", "#OnFailure=reconciler-failed@%n.service"),
    ],
)
def test_the_numbers_are_those_of_the_units(told: str, unit: str, line: str) -> None:
    """Letter by letter."""
    assert told in TEXT
    assert line in (ROOT / "systemd" / unit).read_text("utf-8").splitlines()


def test_a_team_s_config_is_made_of_the_installed_one() -> None:
    """The page's sed leads its ledger and its mapping to the folder of its unit."""
    assert "sed s,/var/lib/reconciler/,/var/lib/reconciler-shop/, /etc/reconciler/config.toml" in TEXT
    state = re.search(
        r"^StateDirectory=(.*)$", (ROOT / "systemd" / "reconciler@.service").read_text("utf-8"), re.MULTILINE
    )
    assert state is not None
    assert state[1].replace("%i", "shop") == "reconciler-shop"


def test_the_steps_from_zero_are_ten_lines() -> None:
    """As promised."""
    steps = TEXT.partition("## From zero to a running service\n\n```sh\n")[2].partition("```")[0]
    assert len(steps.splitlines()) == 10


def test_each_file_that_the_page_links_to_is_there() -> None:
    """Seen from its folder."""
    linked = re.findall(r"\]\((?!https?:|#)([^)]+)\)", TEXT)
    assert linked
    assert [link for link in linked if not (PAGE.parent / link).exists()] == []


def test_the_page_is_short_enough_to_be_read() -> None:
    """At most 120 lines."""
    assert len(TEXT.splitlines()) <= 120
