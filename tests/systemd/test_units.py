"""The units in systemd/ fit the program, and one another."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from reconciler import cli
from reconciler.cli.words import instant
from reconciler.errors import EXIT_FAILED, EXIT_TRY_AGAIN, EXIT_USAGE
from reconciler.vitals import LONGEST_STALL_S

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "systemd"
DOCUMENTS = "file:/opt/reconciler/share/doc/reconciler/"

WALLS = {
    "CapabilityBoundingSet": [""],
    "DevicePolicy": ["closed"],
    "DynamicUser": ["yes"],
    "KeyringMode": ["private"],
    "LimitCORE": ["0"],
    "LockPersonality": ["yes"],
    "MemoryDenyWriteExecute": ["yes"],
    "NoNewPrivileges": ["yes"],
    "PrivateDevices": ["yes"],
    "PrivateMounts": ["yes"],
    "PrivateTmp": ["yes"],
    "PrivateUsers": ["yes"],
    "ProtectClock": ["yes"],
    "ProtectControlGroups": ["yes"],
    "ProtectHome": ["yes"],
    "ProtectHostname": ["yes"],
    "ProtectKernelLogs": ["yes"],
    "ProtectKernelModules": ["yes"],
    "ProtectKernelTunables": ["yes"],
    "ProtectProc": ["invisible"],
    "ProtectSystem": ["strict"],
    "RemoveIPC": ["yes"],
    "RestrictAddressFamilies": ["AF_INET AF_INET6 AF_UNIX"],
    "RestrictNamespaces": ["yes"],
    "RestrictRealtime": ["yes"],
    "RestrictSUIDSGID": ["yes"],
    "SystemCallArchitectures": ["native"],
    "SystemCallErrorNumber": ["EPERM"],
    "SystemCallFilter": ["@system-service", "~@privileged @resources"],
    "UMask": ["0077"],
}
ON_ONE_LEDGER = ("reconciler.service", "reconciler-backfill@.service", "reconciler-sprint-sets.service")
DAEMONS = ("reconciler.service", "reconciler@.service")
ONE_SHOTS = ("reconciler-backfill@.service", "reconciler-sprint-sets.service")
WITH_SECRETS = (*DAEMONS, *ONE_SHOTS)


@dataclass(frozen=True, slots=True)
class Unit:
    """One file, its assignments in their order."""

    name: str
    keys: dict[str, list[str]]

    def one(self, key: str) -> str:
        """Give the value of a key that stands there once."""
        [value] = self.keys[key]
        return value


def read(name: str) -> Unit:
    """Read a unit as systemd.syntax(7) says, sections aside: no key of ours means two things."""
    text = (FOLDER / name).read_text("utf-8").replace("\\\n", " ")
    keys: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line and not line.startswith(("#", "[")):
            key, equals, value = line.partition("=")
            assert equals, line
            keys.setdefault(key, []).append(value)
    return Unit(name, keys)


def names(*suffixes: str) -> list[str]:
    """Give the files that end so."""
    return sorted(path.name for path in FOLDER.iterdir() if path.suffix in suffixes)


def seconds(span: str) -> int:
    """Read a time span of systemd.time(7), as far as the units have any."""
    number, unit = re.fullmatch(r"(\d+)(|min)", span, re.ASCII).groups()  # type: ignore[union-attr] # it fails loudly
    return int(number) * (60 if unit else 1)


def test_there_are_the_units_that_are_promised() -> None:
    """And no other: each is in the lists above."""
    assert names(".service") == sorted([*WITH_SECRETS, "reconciler-failed@.service"])
    assert names(".timer") == ["reconciler-sprint-sets.timer"]


@pytest.mark.parametrize("name", names(".service"))
def test_each_service_stands_behind_the_same_walls(name: str) -> None:
    """Key by key; systemd has no word for "as in that unit"."""
    unit = read(name)
    assert {key: unit.keys.get(key) for key in WALLS} == WALLS


@pytest.mark.parametrize("name", WITH_SECRETS)
def test_the_command_line_of_each_service_is_one_of_the_program(name: str) -> None:
    """Read by the program's own parser, the instance's name put in."""
    line = read(name).one("ExecStart").replace("%i", "2026-01-01")
    program, *words = shlex.split(line)
    assert program == "/opt/reconciler/bin/reconciler"
    given = cli.cli.make_context("reconciler", words).params
    cli._refuse_odd_mixtures(given)
    assert given["config_path"].parent == Path("/etc/reconciler")
    assert given["backfill"] == given["yes"] == (name == "reconciler-backfill@.service")
    assert given["sprint_sets"] == (name == "reconciler-sprint-sets.service")
    if given["since"]:
        instant(given["since"], "--since")


@pytest.mark.parametrize("name", names(".service", ".timer"))
def test_the_page_that_each_unit_names_is_installed(name: str) -> None:
    """From docs/, by systemd/install."""
    page = read(name).one("Documentation").removeprefix(DOCUMENTS)
    assert (ROOT / "docs" / page).is_file()
    assert f"docs/{page}" in (FOLDER / "install").read_text("utf-8")


def test_the_timer_starts_a_unit_that_is_there() -> None:
    """And makes up for a time at which the machine was off."""
    timer = read("reconciler-sprint-sets.timer")
    assert timer.one("Unit") in names(".service")
    assert (timer.one("OnCalendar"), timer.one("Persistent")) == ("Mon 06:00", "true")
    assert seconds(timer.one("RandomizedDelaySec")) > 0


@pytest.mark.parametrize("key", ["User", "StateDirectory", "LoadCredential"])
def test_the_units_of_one_ledger_share_its_user_folder_and_secrets(key: str) -> None:
    """What one of them writes, the others may write."""
    assert len({tuple(read(name).keys[key]) for name in ON_ONE_LEDGER}) == 1


@pytest.mark.parametrize("name", WITH_SECRETS)
def test_what_root_made_in_the_state_folder_becomes_the_service_s(name: str) -> None:
    """Before each start, of the unit's own folder."""
    unit = read(name)
    folder = f"%S/{unit.one('StateDirectory')}"
    assert unit.one("ExecStartPre") == f"+/bin/chown -Rh --reference={folder} {folder}/"
    assert unit.one("WorkingDirectory") == folder


def test_a_team_shares_nothing_with_another() -> None:
    """Config, secrets, state and user are its own, and its state is not within the folder of reconciler.service."""
    team = read("reconciler@.service")
    assert "User" not in team.keys
    assert team.one("StateDirectory") == "reconciler-%i"
    assert team.one("ExecStart").endswith(" /etc/reconciler/%i.toml")
    assert {value.split(":")[1].rpartition("/")[0] for value in team.keys["LoadCredential"]} == {"/etc/reconciler/%i"}


@pytest.mark.parametrize("name", WITH_SECRETS)
def test_the_secrets_have_the_names_that_the_installed_config_has(name: str) -> None:
    """The config says `credential:` and the name."""
    wanted = set(re.findall(r'"credential:(\w+)"', (FOLDER / "config.sed").read_text("utf-8")))
    assert {value.partition(":")[0] for value in read(name).keys["LoadCredential"]} == wanted != set()


@pytest.mark.parametrize("name", WITH_SECRETS)
def test_no_unit_tries_again_what_only_a_person_can_mend(name: str) -> None:
    """And all try again, for ever, what mends itself."""
    unit = read(name)
    never = set(map(int, unit.one("RestartPreventExitStatus").split()))
    assert never == {EXIT_USAGE} | ({EXIT_FAILED} if name in ONE_SHOTS else set())
    assert EXIT_TRY_AGAIN not in never
    assert (unit.one("Restart"), unit.one("StartLimitIntervalSec")) == ("on-failure", "0")


def test_the_sprint_sets_are_left_to_a_daemon_that_runs() -> None:
    """It has a folder in /run as long as it does."""
    folder = read("reconciler.service").one("RuntimeDirectory")
    assert read("reconciler-sprint-sets.service").one("ConditionPathExists") == f"!/run/{folder}"


@pytest.mark.parametrize("name", DAEMONS)
def test_the_watchdog_has_the_patience_of_the_daemon_itself(name: str) -> None:
    """Both take the same time for too long; a stop takes at most 10 seconds."""
    unit = read(name)
    assert (unit.one("Type"), unit.one("NotifyAccess")) == ("notify", "main")
    assert seconds(unit.one("WatchdogSec")) == LONGEST_STALL_S
    assert seconds(unit.one("TimeoutStopSec")) >= 10
    assert unit.one("ExecReload") == "/bin/kill -HUP $MAINPID"


@pytest.mark.parametrize("name", WITH_SECRETS)
def test_the_log_ends_in_the_journal(name: str) -> None:
    """Nothing turns standard error elsewhere: the log leaves out the times that the journal writes."""
    assert not {"StandardOutput", "StandardError"} & read(name).keys.keys()


@pytest.mark.parametrize("name", DAEMONS)
def test_what_is_run_on_failure_is_there(name: str) -> None:
    """As an example: it is a remark."""
    [line] = re.findall(r"^#OnFailure=(\S+)$", (FOLDER / name).read_text("utf-8"), re.MULTILINE)
    assert line.replace("@%n", "@") in names(".service")


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    """Let systemd look at the units of a folder."""
    return subprocess.run([FOLDER / "check", folder], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed: `make units` fetches it")
def test_systemd_finds_nothing_to_say_of_the_units() -> None:
    """`verify` without a word, `security` within 1.5."""
    done = check(FOLDER)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("verified") == len(names(".service", ".timer"))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed: `make units` fetches it")
@pytest.mark.parametrize(
    ("line", "instead", "said"),
    [
        ("ProtectHome=yes", "ProtectHom=yes", "Unknown key"),
        ("Restart=on-failure", "Restart=sometimes", "Failed to parse"),
        ("ExecStart=/opt", "ExecStart=opt", "verify says"),
        ("SystemCallFilter=@system-service", "", "less sealed off"),
    ],
)
def test_a_mistake_in_a_unit_is_found(tmp_path: Path, line: str, instead: str, said: str) -> None:
    """The check fails: `systemd-analyze verify` itself ends with 0 for the first two."""
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    spoilt = tmp_path / "reconciler.service"
    text = spoilt.read_text("utf-8")
    assert line in text
    if not instead:
        text = re.sub(r"SystemCallFilter=.*\n|Protect.*\n", "", text)
    spoilt.write_text(text.replace(line, instead), encoding="utf-8")
    done = check(tmp_path)
    assert done.returncode == 1
    assert said in done.stderr
