"""The locator finds each key where it stands and is not fooled by what only looks like a key."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.config.toml_lines import TomlLines

TEXT = '''# [not.a.section]
"top level" = 1
dotted . "k e y".end = 2 # key = 3

  [section]   # [remark]
  first = "a # b = [c]"
text = """
[inside]
first = 1
\\""" still """""
literal = \'\'\'
[inside]
first = \'\'\'
'quoted' = 1.5
list = [ # remark, with comma
  "one", [ 2, "x" ],
  { three = 3, more = [1, 2] },
  \'\'\'four
]\'\'\',  # ]
  5,
]
when = 1979-05-27 07:32:00
inline = { a = 1, "b]" = ["x", "y"] }
after = [[1], []]
[ other . "su b" ]
key=true
[other]
key = ""
[[many]]
key = 1
[[many]]
key = 2'''

PLACES = [
    (("top level",), (2, 1)),
    (("dotted",), (3, 1)),
    (("dotted", "k e y"), (3, 10)),
    (("dotted", "k e y", "end"), (3, 18)),
    (("section",), (5, 3)),
    (("section", "first"), (6, 3)),
    (("section", "text"), (7, 1)),
    (("section", "literal"), (11, 1)),
    (("section", "quoted"), (14, 1)),
    (("section", "list"), (15, 1)),
    (("section", "list", 0), (16, 3)),
    (("section", "list", 1), (16, 10)),
    (("section", "list", 1, 1), (16, 10)),
    (("section", "list", 2), (17, 3)),
    (("section", "list", 3), (18, 3)),
    (("section", "list", 4), (20, 3)),
    (("section", "when"), (22, 1)),
    (("section", "inline"), (23, 1)),
    (("section", "inline", "a"), (23, 1)),
    (("section", "after", 0), (24, 10)),
    (("section", "after", 1), (24, 15)),
    (("other", "su b"), (25, 1)),
    (("other", "su b", "key"), (26, 1)),
    (("other",), (27, 1)),
    (("other", "key"), (28, 1)),
    (("many",), (31, 1)),
    (("section", "missing"), (5, 3)),
    (("missing", "key"), (1, 1)),
    (("inside",), (1, 1)),
    (("not", "a", "section"), (1, 1)),
]


@pytest.mark.parametrize(("path", "place"), PLACES)
def test_a_key_is_found_where_it_stands(path: tuple[str | int, ...], place: tuple[int, int]) -> None:
    """Or, when it does not stand there, where its list, table or section does."""
    tomllib.loads(TEXT)
    assert TomlLines(TEXT).find(*path) == place


def test_an_empty_text_has_one_place() -> None:
    """Whatever is looked for."""
    assert TomlLines("").find("gitlab", "url") == (1, 1)


NAMES = st.text(min_size=1, max_size=6)
STRINGS = st.text(st.sampled_from("a \"'#[]{}=,.\n\\"), max_size=8)
VALUES = st.one_of(STRINGS, st.integers(), st.booleans(), st.floats(allow_nan=False), st.lists(STRINGS, max_size=4))
DOCUMENTS = st.dictionaries(NAMES, st.dictionaries(NAMES, VALUES, max_size=4), max_size=4)


def written(value: Any) -> str:  # noqa: ANN401 - any TOML value
    """Write a value as TOML, texts over several lines where that is possible."""
    match value:
        case str() if "\n" in value and "'''" not in value and not value.endswith("'"):
            return f"'''\n{value}'''"
        case str():
            return quoted(value)
        case list():
            return "[ # [ remark\n" + "".join(f"  {written(item)},\n" for item in value) + "]"
        case bool():
            return str(value).lower()
        case _:
            return str(value)


def quoted(text: str) -> str:
    """Write a text as a basic string; TOML's escapes are JSON's, but for DEL and surrogate pairs."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


@given(document=DOCUMENTS)
def test_every_key_and_element_of_any_document_is_found_on_its_line(document: dict[str, dict[str, Any]]) -> None:
    """The text is written together with a note of where each thing went."""
    text = ""
    places: dict[tuple[str | int, ...], tuple[int, int]] = {}
    for section, keys in document.items():
        places[section,] = (text.count("\n") + 1, 1)
        text += f"[{quoted(section)}]\n"
        for key, value in keys.items():
            places[section, key] = (text.count("\n") + 1, 3)
            text += f"  {quoted(key)} = "
            for index, item in enumerate(value if isinstance(value, list) else []):
                before = "[\n" + "".join(f"  {written(earlier)},\n" for earlier in value[:index])
                places[section, key, index] = ((text + before).count("\n") + 1, 3)
                assert item == value[index]
            text += written(value) + "\n"
    assert tomllib.loads(text) == document
    lines = TomlLines(text)
    assert {path: lines.find(*path) for path in places} == places
