"""docs/sprints.md says what is true."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reconciler import sprinting, sprints
from reconciler.config import load
from reconciler.ledger import views
from reconciler.ledger.ledger import in_memory
from reconciler.ledger.sprints import ASKED_AGAIN
from reconciler.rally import sprint_calls, wsapi
from reconciler.show import SPRINTS_SHOWN
from reconciler.sprints import Adopt, Create, Forget, Known, Withdraw
from tests.sprint_steps import SECOND, SPRINT, a_set, bring_set

if TYPE_CHECKING:
    from reconciler.model import TestSet

PAGE = Path(__file__).parents[2] / "docs" / "sprints.md"
TEXT = PAGE.read_text("utf-8")
NAME = "Tests"
OLD, YOUNG = a_set(8), replace(a_set(7), created_at=a_set(7).created_at + SECOND)
"""Of the name; the younger one is the ledger's own, where it has one."""
RENAMED = replace(YOUNG, name="Otherwise")


def rows(title: str) -> list[list[str]]:
    """Give the cells of the table below a title, without its head."""
    table = TEXT.partition(f"# {title}\n")[2].partition("\n#")[0]
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]


def _known(state: str, *, old: bool = True) -> Known:
    return Known(state, YOUNG.object_id if state in {"done", "gone"} else None, old_enough=old, name=NAME)


WHICH_SET: list[tuple[Known | None, list[TestSet], bool, sprints.Step]] = [
    (None, [YOUNG, OLD], True, Adopt(OLD)),
    (None, [], True, Create()),
    (None, [], False, None),
    (replace(_known("intended"), name=RENAMED.name), [RENAMED], True, Adopt(RENAMED)),
    (_known("intended"), [], True, Withdraw()),
    (_known("intended", old=False), [], True, None),
    (_known("done"), [RENAMED], True, None),
    (_known("done"), [YOUNG, OLD], True, Adopt(OLD)),
    (_known("done"), [OLD], True, Adopt(OLD)),
    (_known("done"), [], True, Forget()),
    (_known("gone"), [OLD], True, Adopt(OLD)),
    (_known("refused"), [], True, None),
]
"""Row by row of the table."""
_SAID = {Adopt: ("taken",), Create: ("made",), Withdraw: ("made, if",), Forget: ("gone",), type(None): ("nothing",)}


@pytest.mark.parametrize(("row", "case"), list(zip(rows("Which set"), WHICH_SET, strict=True)))
def test_the_table_of_sets_is_what_is_decided(
    row: list[str], case: tuple[Known | None, list[TestSet], bool, sprints.Step]
) -> None:
    """Each row, with what its last cell says of the step."""
    known, found, current, step = case
    assert sprints.decide(SPRINT, NAME, known, found, current=current) == step
    assert any(word in row[2] for word in _SAID[type(step)]), row


def test_the_example_of_a_number_holds() -> None:
    """With and without the pattern that the page gives."""
    told = re.search(r"`([^`]+)` has the number `(\d)`; with `number_pattern = '([^']+)'` it is `(\d)`", TEXT)
    assert told
    name, last, pattern, wanted = told.groups()
    assert (sprints.number_of(name, ""), sprints.number_of(name, pattern)) == (last, wanted)


def test_the_keys_of_a_sprint_are_those_of_status() -> None:
    """In its order."""
    ledger = in_memory()
    with closing(ledger.store):
        ledger.sprints.store_iterations([SPRINT], SPRINT.starts_at)
        bring_set(ledger.sprints, "done")
        (told,) = views.sprints(ledger.store)
    assert [key for row in rows("What `status` tells") for key in re.findall(r"`(\w+)`", row[0])] == list(told)


@pytest.mark.parametrize("word", [row[0].strip("`") for row in rows("Folders")])
def test_the_words_for_folders_are_those_of_the_config(tmp_path: Path, word: str) -> None:
    """As the config takes them."""
    config = tmp_path / "config.toml"
    example = (PAGE.parents[1] / "config.toml").read_text("utf-8")
    config.write_text(example.replace('test_folder = "off"', f'test_folder = "{word}"'), encoding="utf-8")
    assert load(config, {}, secrets=False).sprints.test_folder == word


def test_the_folder_of_all_sprints_has_the_name_that_the_page_gives_it() -> None:
    """And it is told of three words."""
    assert f"`{sprints.ROOT_FOLDER}`" in TEXT
    assert len(rows("Folders")) == 3


@pytest.mark.parametrize(
    "told",
    [
        f"put in {sprinting.MEMBERS_AT_ONCE} at a time",
        f"to {sprint_calls._USUAL_NAME_LIMIT} characters",
        f"first {sprints.LONGEST_LOOKED_AT:,}\ncharacters",
        f"within {sprinting.BELIEVED_AFTER.total_seconds() / 3600:.0f} hours",
        f"Up to {wsapi.MOST_TERMS} iterations",
        f"({SPRINTS_SHOWN} for people",
    ],
)
def test_the_numbers_are_those_of_the_program(told: str) -> None:
    """Letter by letter."""
    assert told in TEXT


def test_stories_are_asked_for_again_once_an_hour() -> None:
    """As the page says in words."""
    assert ASKED_AGAIN.total_seconds() == 3600
    assert "once an hour in any case" in TEXT


def test_each_file_that_the_page_links_to_is_there() -> None:
    """Seen from its folder."""
    linked = re.findall(r"\]\((?!https?:|#)([^)]+)\)", TEXT)
    assert linked
    assert [link for link in linked if not (PAGE.parent / link).exists()] == []
