"""Where secrets come from, and that they stay secret."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.config import Secret, load
from reconciler.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """[gitlab]
url = "https://gitlab.test"
token = "{}"
projects = ["qa/shop"]
[rally]
url = "https://rally.test"
api_key = "env:RALLY_API_KEY"
workspace = "Acme"
project = "Shop"
"""
RANDOM_SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="\"'\\"), min_size=8)


def token(folder: Path, reference: str, **environ: str) -> str:
    """Load a config whose token is given by this reference."""
    path = folder / "config.toml"
    path.write_text(TEXT.format(reference))
    return load(path, {"RALLY_API_KEY": "_key"} | environ).gitlab.token.reveal()


def problem(folder: Path, reference: str, **environ: str) -> str:
    """Give the one complaint about a token, without the file's name."""
    with pytest.raises(ConfigError) as caught:
        token(folder, reference, **environ)
    return str(caught.value).removeprefix(f"{folder / 'config.toml'}:").replace(str(folder), "F")


def test_a_secret_comes_from_the_environment(tmp_path: Path) -> None:
    """The usual way on a desk."""
    assert token(tmp_path, "env:NAME", NAME="glpat-1") == "glpat-1"


@pytest.mark.parametrize("content", ["glpat-2", "glpat-2\n", "glpat-2\r\n"])
def test_a_secret_comes_from_a_file_without_its_line_end(tmp_path: Path, content: str) -> None:
    """Editors end the last line; a relative path starts at the config's folder, and any mode of the file will do."""
    (tmp_path / "token").write_bytes(content.encode())
    (tmp_path / "token").chmod(0o644)
    assert token(tmp_path, "file:token") == "glpat-2"
    assert token(tmp_path, f"file:{tmp_path}/token") == "glpat-2"


def test_a_secret_comes_from_a_credential_of_systemd(tmp_path: Path) -> None:
    """LoadCredential= lays it down in $CREDENTIALS_DIRECTORY."""
    (tmp_path / "gitlab_token").write_text("glpat-3\n")
    assert token(tmp_path, "credential:gitlab_token", CREDENTIALS_DIRECTORY=str(tmp_path)) == "glpat-3"


REFER = "write env:NAME, file:PATH or credential:NAME, never the secret itself"
BARE = "store the bare secret"
UNCLEAN = "with a blank, control or non-ASCII character in it"
BAD = [
    ("glpat-abc", "is not a reference to a secret", REFER),
    ("", "is not a reference to a secret", REFER),
    ("env:", "is not a reference to a secret", REFER),
    ("env:glpat-abc", "has something after env: that is no name of a variable", REFER),
    ("env:UNSET", "names the environment variable UNSET, which is not set", "set it where the reconciler starts"),
    ("env:EMPTY", "names the environment variable EMPTY, which is empty", "put the secret into it"),
    ("env:SPACED", f'comes from "env:SPACED" {UNCLEAN}', BARE),
    ("env:UMLAUT", f'comes from "env:UMLAUT" {UNCLEAN}', BARE),
    ("file:none", 'names the file "F/none", which does not exist', "create it with nothing but the secret in it"),
    ("file:.", 'names the file "F", which is a folder', "name a file in it"),
    ("file:empty", 'names the file "F/empty", which is empty', "put the secret into it"),
    ("file:two", f'comes from "file:two" {UNCLEAN}', BARE),
    ("file:binary", f'comes from "file:binary" {UNCLEAN}', BARE),
    (
        "file:long",
        'names the file "F/long", which is longer than 8192 bytes',
        "name the file that holds nothing but the secret",
    ),
    (
        "file:loop",
        'names the file "F/loop", which cannot be read (Too many levels of symbolic links)',
        "let this user read it",
    ),
    ("file:a\\u0000b", 'names the file "F/a\\x00b", which cannot be read (bad name)', "let this user read it"),
    (
        "credential:gitlab_token",
        "names the credential gitlab_token, but CREDENTIALS_DIRECTORY is not set",
        "start it with systemd and LoadCredential=gitlab_token:PATH in the unit",
    ),
    ("credential:../token", "has something after credential: that is no name of a credential", REFER),
]


@pytest.mark.parametrize(("reference", "what", "todo"), BAD)
def test_a_secret_that_is_not_to_be_had(tmp_path: Path, reference: str, what: str, todo: str) -> None:
    """Names and paths are told, values never."""
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "two").write_text("glpat\nabc\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe1")
    (tmp_path / "long").write_text("x" * 9000)
    (tmp_path / "loop").symlink_to("loop")
    environ = {"EMPTY": "", "SPACED": "glpat abc", "UMLAUT": "glpät"}
    assert problem(tmp_path, reference, **environ) == f"3:1: gitlab.token {what}: {todo}"


def test_a_credential_that_was_not_laid_down_is_named_with_its_path(tmp_path: Path) -> None:
    """The unit lacks the line, or has another name in it."""
    assert problem(tmp_path, "credential:tok", CREDENTIALS_DIRECTORY=str(tmp_path)) == (
        '3:1: gitlab.token names the credential "F/tok", which does not exist: '
        "create it with nothing but the secret in it"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_secret_file_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    """The service's user is not the one who wrote the file."""
    (tmp_path / "token").write_text("glpat")
    (tmp_path / "token").chmod(0)
    assert "which cannot be read (Permission denied): let this user read it" in problem(tmp_path, "file:token")


def test_a_secret_shows_itself_only_when_asked() -> None:
    """Not in repr, str, format strings or copies of the settings as dictionaries."""
    secret = Secret("glpat-hidden")
    shown = f"{secret} {secret!r} {secret!s} {[secret]}"
    assert "glpat-hidden" not in shown
    assert secret.reveal() == "glpat-hidden"
    assert secret == Secret("glpat-hidden")
    assert secret != Secret("other")
    assert len({secret, Secret("glpat-hidden")}) == 1


def test_settings_can_be_printed(tmp_path: Path) -> None:
    """As they are in a debugger or a failed assertion."""
    path = tmp_path / "config.toml"
    path.write_text(TEXT.format("env:TOKEN") + '[notify]\nurl = "https://hooks.test/hook-hidden"')
    settings = load(path, {"RALLY_API_KEY": "_key-hidden", "TOKEN": "glpat-hidden"})
    assert "hidden" not in repr(settings)
    assert "glpat-hidden" not in repr(asdict(settings))


@given(secret=RANDOM_SECRETS.map("glpat-{}".format))
def test_no_config_error_ever_shows_a_secret(tmp_path_factory: pytest.TempPathFactory, secret: str) -> None:
    """Not one that was pasted into any of the places where people paste them, nor a good one beside other mistakes."""
    folder = tmp_path_factory.getbasetemp()
    path = folder / "leak.toml"
    (folder / "leak").write_text(f"{secret} ")
    for reference in (secret, f"env: {secret}", "env:TOKEN", "file:leak"):
        text = TEXT.format(reference) + '[log]\nlevel = "x"\n[notify]\nurl = "SECRET"\n'.replace("SECRET", secret)
        text = text.replace("https://gitlab.test", f"https://oauth2:{secret}@gitlab.test")
        path.write_text(text)
        with pytest.raises(ConfigError) as caught:
            load(path, {"RALLY_API_KEY": f"{secret}\n", "TOKEN": secret})
        assert secret not in str(caught.value)
        assert secret not in repr(caught.value)
