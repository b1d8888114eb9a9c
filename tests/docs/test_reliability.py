"""docs/reliability.md names a test for every fault, and each test that it names is there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
TEXT = (TESTS.parent / "docs" / "reliability.md").read_text("utf-8")
SHOWN, _, NOT_SHOWN = TEXT.partition("\n## Not shown\n")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in SHOWN.splitlines()
    if line.startswith("| ") and not line.startswith("| fault |")
]
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::(\w+)`", TEXT)))


@cache
def _functions(file: str) -> frozenset[str]:
    """Name what pytest finds in a file: its functions, and the state machines that stand there under a name."""
    body = ast.parse((TESTS / file).read_text("utf-8")).body
    names = {node.name for node in body if isinstance(node, ast.FunctionDef)}
    assigned = (target for node in body if isinstance(node, ast.Assign) for target in node.targets)
    return frozenset(names | {target.id for target in assigned if isinstance(target, ast.Name)})


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_each_test_that_is_named_is_there(file: str, name: str) -> None:
    """In that file, at its top."""
    assert name.startswith("test_")
    assert name in _functions(file)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_no_fault_is_without_a_test(row: list[str]) -> None:
    """Three cells, and the last holds nothing but names of tests."""
    fault, happens, shown = row
    assert fault
    assert happens
    assert re.fullmatch(r"`[\w/]+\.py::\w+`(, `[\w/]+\.py::\w+`)*", shown), shown


def test_the_page_has_its_tables_and_says_what_is_not_shown() -> None:
    """So that the tests above cannot pass by finding none."""
    assert len(re.findall(r"^\| fault \| what happens \| shown by \|$", SHOWN, re.MULTILINE)) == 7
    assert len(ROWS) > 90
    assert len(NAMED) > 120
    assert NOT_SHOWN.count("\n- **") > 3
