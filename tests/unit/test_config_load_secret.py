"""One secret can be fetched by itself: what is wrong with another does not matter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reconciler.config import load, load_secret
from reconciler.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """[gitlab]
url = "https://gitlab.example.com"
token = "env:GITLAB_TOKEN"
projects = ["qa/web-shop"]
[rally]
url = "https://rally1.rallydev.com"
api_key = "file:key"
workspace = "Acme"
project = "Web Shop"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Write a config whose key is in a file beside it."""
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    (tmp_path / "key").write_text("_key\n")
    return path


def test_a_secret_is_fetched_though_the_other_is_missing(config: Path) -> None:
    """From where the config says, relative to its folder."""
    assert load_secret(config, {}, "rally", "api_key").reveal() == "_key"
    with pytest.raises(ConfigError):
        load(config, {})


def test_a_secret_that_is_missing_is_the_only_mistake(config: Path) -> None:
    """Told as `load` tells it, with its place."""
    (config.parent / "key").unlink()
    with pytest.raises(ConfigError) as error:
        load_secret(config, {}, "gitlab", "token")
    (problem,) = error.value.problems
    assert (problem.line, problem.column) == (3, 1)
    assert "GITLAB_TOKEN, which is not set" in problem.what


def test_a_variable_may_stand_for_the_reference(config: Path) -> None:
    """As it may for every key."""
    environ = {"RECONCILER_GITLAB__TOKEN": "env:OTHER", "OTHER": "glpat"}
    assert load_secret(config, environ, "gitlab", "token").reveal() == "glpat"
