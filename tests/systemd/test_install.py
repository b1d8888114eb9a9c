"""`make install` and `make uninstall`, as far as they go without the packages: `make check-install` does the whole."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from reconciler import config

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "systemd"
SECRETS = {"gitlab_token": "glpat-example", "rally_api_key": "_example"}


def make(target: str, **places: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a target with these places."""
    words = [f"{name}={value}" for name, value in places.items()]
    return subprocess.run(
        ["make", "--no-print-directory", target, *words],  # noqa: S607 - the make that is on the PATH
        capture_output=True, text=True, check=False, timeout=60, cwd=ROOT,
    )  # fmt: skip


def adapted() -> str:
    """Give the config as it is installed."""
    return subprocess.run(
        ["sed", "-f", FOLDER / "config.sed", ROOT / "config.toml"],  # noqa: S607 - the sed that is on the PATH
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip


def test_the_installed_config_differs_from_the_example_in_four_lines() -> None:
    """The secrets, the ledger and the mapping."""
    example, installed = (ROOT / "config.toml").read_text("utf-8").split("\n"), adapted().split("\n")
    changed = [new for old, new in zip(example, installed, strict=True) if old != new]
    assert changed == [
        'token = "credential:gitlab_token"',
        'api_key = "credential:rally_api_key"',
        'path = "/var/lib/reconciler/ledger.db"',
        'file = "/var/lib/reconciler/mapping.csv"',
    ]


def test_the_installed_config_is_good_in_the_unit_and_in_an_operator_s_shell(tmp_path: Path) -> None:
    """There with the credentials, here without them; both find the same ledger."""
    path = tmp_path / "config.toml"
    path.write_text(adapted(), encoding="utf-8")
    for name, value in SECRETS.items():
        (tmp_path / name).write_text(value, encoding="utf-8")
    served = config.load(path, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert (served.gitlab.token.reveal(), served.rally.api_key.reveal()) == tuple(SECRETS.values())
    assert (
        config.load(path, {}, secrets=False).ledger.path == served.ledger.path == Path("/var/lib/reconciler/ledger.db")
    )


@pytest.mark.parametrize("target", ["install", "uninstall"])
def test_a_folder_of_somebody_else_is_neither_replaced_nor_removed(tmp_path: Path, target: str) -> None:
    """PREFIX=/usr/local is quickly typed."""
    theirs = tmp_path / "usr" / "local" / "bin" / "theirs"
    theirs.parent.mkdir(parents=True)
    theirs.touch()
    done = make(target, DESTDIR=tmp_path, PREFIX="/usr/local")
    assert done.returncode != 0
    assert "is no installation of reconciler: nothing was changed" in done.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [theirs]


@pytest.mark.parametrize("prefix", ["opt/reconciler", "/opt/my reconciler", "/opt/reconciler/", "/opt/$HOME"])
def test_a_place_that_no_unit_could_name_is_refused(tmp_path: Path, prefix: str) -> None:
    """Before anything is done."""
    done = make("install", DESTDIR=tmp_path, PREFIX=prefix.replace("$", "$$"))
    assert done.returncode != 0
    assert "give an absolute path" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_python_that_is_too_old_is_refused(tmp_path: Path) -> None:
    """With a word on what to type instead."""
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    old.chmod(0o755)
    done = make("install", DESTDIR=tmp_path / "root", PY=old)
    assert done.returncode != 0
    assert "needs Python 3.11 or newer" in done.stderr
    assert not (tmp_path / "root").exists()


def test_uninstalling_leaves_what_is_the_operator_s(tmp_path: Path) -> None:
    """Config, secrets, ledger, and a link that leads elsewhere; what was never filled in goes."""
    kept = {
        "etc/reconciler/config.toml": "[gitlab]",
        "etc/reconciler/gitlab_token": "glpat-example",
        "var/lib/reconciler/ledger.db": "SQLite",
        "etc/systemd/system/reconciler.service.d/override.conf": "[Unit]",
    }
    gone = {
        "etc/reconciler/rally_api_key": "",
        "opt/reconciler/pyvenv.cfg": "home = /usr/bin",
        "opt/reconciler/bin/reconciler": "#!/opt/reconciler/bin/python",
        "usr/local/lib/systemd/system/reconciler@.service": "[Unit]",
    }
    for name, text in (kept | gone).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    link = tmp_path / "usr" / "local" / "bin" / "reconciler"
    link.parent.mkdir(parents=True)
    link.symlink_to("/srv/other/bin/reconciler")
    done = make("uninstall", DESTDIR=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Kept: config and secrets" in done.stdout
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file() or path.is_symlink()}
    assert left == {*kept, "usr/local/bin/reconciler"}


def pins(name: str) -> dict[str, str]:
    """Give the versions that a file of requirements pins."""
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / name).read_text("utf-8"), re.MULTILINE))


def test_what_builds_the_package_is_pinned_as_for_developers() -> None:
    """All of hatchling, and nothing else."""
    build, dev = pins("requirements-build.txt"), pins("requirements-dev.txt")
    assert "hatchling" in build
    assert build.items() <= dev.items()
