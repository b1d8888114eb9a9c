"""config.toml at the top of the repository says what the program does."""

from __future__ import annotations

import re
import tomllib
from dataclasses import asdict, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from reconciler.config import load
from reconciler.config.settings import SECTIONS

EXAMPLE = Path(__file__).parents[2] / "config.toml"
ENVIRON = {"GITLAB_TOKEN": "glpat-example", "RALLY_API_KEY": "_example"}
REQUIRED = {
    "gitlab": ("url", "token", "projects"),
    "rally": ("url", "api_key", "workspace", "project"),
}


def example() -> dict[str, Any]:
    """Give the example as TOML."""
    return tomllib.loads(EXAMPLE.read_text("utf-8"))


def test_the_example_holds_each_key_once() -> None:
    """With all sections and in the order of the settings."""
    assert [(section, key) for section, keys in example().items() for key in keys] == [
        (section, field.name) for section, cls in SECTIONS.items() for field in fields(cls)
    ]


def test_the_example_sets_every_key_to_its_default(tmp_path: Path) -> None:
    """A config of nothing but the required keys means the same."""
    document = example()
    lines = []
    for section, keys in REQUIRED.items():
        lines += [f"[{section}]", *(f"{key} = {document[section][key]!r}" for key in keys)]
    short = tmp_path / "config.toml"
    short.write_text("\n".join(lines), encoding="utf-8")
    copied = tmp_path / "copy.toml"
    copied.write_bytes(EXAMPLE.read_bytes())
    assert asdict(load(copied, ENVIRON)) == asdict(load(short, ENVIRON))


def test_the_example_explains_each_key_above_it() -> None:
    """A remark of its own for every key."""
    lines = EXAMPLE.read_text("utf-8").split("\n")
    bare = [line for above, line in pairwise(lines) if re.match(r"\w+ =", line) and not above.startswith("#")]
    assert bare == []


def test_the_example_has_no_secret_in_it() -> None:
    """Only references."""
    document = example()
    assert (document["gitlab"]["token"], document["rally"]["api_key"]) == ("env:GITLAB_TOKEN", "env:RALLY_API_KEY")
