"""`test_output.log`: what a failed test said and printed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.evidence import OUTPUT_BYTES, output
from reconciler.model import Outcome
from tests.building import run


def failed(**fields: Any) -> str:  # noqa: ANN401 - any field of a TestRun
    """Give the output of a failed test that has these fields."""
    return output(replace(run("login fails", Outcome.FAILED), **fields))


def test_each_part_that_has_text_stands_under_its_line() -> None:
    """The message first, without one."""
    text = failed(message="expected 1", detail="\n  at a.py:3\n", system_out="out\n", system_err="err")
    expected = "expected 1\n--- trace ---\n  at a.py:3\n--- system-out ---\nout\n--- system-err ---\nerr\n"
    assert text == expected


@pytest.mark.parametrize(
    ("message", "detail", "expected"),
    [
        ("m", "", "m\n"),
        ("", "t", "--- trace ---\nt\n"),
        ("expected 1", "expected 1\n  at a.py:3", "--- trace ---\nexpected 1\n  at a.py:3\n"),
        ("\x1b[31mexpected 1\x1b[0m", "expected 1\r\n  at", "--- trace ---\nexpected 1\n  at\n"),
        ("expected 1", "Error: expected 1", "expected 1\n--- trace ---\nError: expected 1\n"),
        (" \n", "\r\n", ""),
    ],
)
def test_a_message_is_not_repeated_when_the_trace_begins_with_it(message: str, detail: str, expected: str) -> None:
    """Most tools write the message twice."""
    assert failed(message=message, detail=detail) == expected


@pytest.mark.parametrize("outcome", list(Outcome))
def test_only_failed_and_errored_tests_have_one(outcome: Outcome) -> None:
    """And no test has one without text."""
    bad = outcome in {Outcome.FAILED, Outcome.ERRORED}
    assert bool(output(replace(run("t", outcome), system_out="text"))) is bad
    assert output(run("t", outcome)) == ""


def test_what_a_terminal_obeys_is_taken_out() -> None:
    """Lone halves of surrogate pairs too: the text is UTF-8."""
    text = failed(message="\x1b[31mred\x1b[0m \ud800", system_out="a\r\nb\x07")
    assert text == "red \ufffd\n--- system-out ---\na\nb\ufffd\n"
    assert text.encode()


def test_equal_texts_are_equal_whatever_the_test_is_called() -> None:
    """They are uploaded once."""
    one = replace(run("one", Outcome.FAILED), message="m", detail="d")
    other = replace(one, name="other", classname="x", suite="y", ordinal=7, duration_s=3.0)
    assert output(one) == output(other)


def test_a_long_text_is_cut_in_its_middle_with_a_note() -> None:
    """Its beginning and its end say most."""
    text = failed(message="m", system_out="begin" + "é" * 3_000_000 + "end")
    assert len(text.encode()) <= OUTPUT_BYTES
    assert text.startswith("m\n--- system-out ---\nbegin")
    assert text.endswith("end\n")
    head, note, tail = (part.strip() for part in text.replace("[...", "\0").replace("...]", "\0").split("\0"))
    shown = head.count("é") + tail.count("é")
    assert note == f"{3_000_000 - shown:,} characters cut"
    assert len(text.encode()) > OUTPUT_BYTES - 200


def test_the_longest_parts_are_cut_and_the_others_are_not() -> None:
    """Each huge part has an equal share of what the small ones leave."""
    trace, out, err = "T" * 300_000, "O" * 5_000_000, "E" * 900_000
    text = failed(message="m" * 1_000, detail=trace, system_out=f"first{out}last", system_err=err)
    assert len(text.encode()) <= OUTPUT_BYTES
    assert trace in text
    assert text.startswith("m" * 1_000 + "\n--- trace ---\nT")
    assert "\n--- system-out ---\nfirstO" in text
    assert "Olast\n--- system-err ---\nE" in text
    assert abs(text.count("O") - text.count("E")) < 200


NOTE = "\n[... 1,000 characters cut ...]\n"


@pytest.mark.parametrize("notes", [1, 2, 3])
def test_what_the_reader_cut_counts_as_cut(notes: int) -> None:
    """One note, with all numbers added."""
    text = failed(system_out="X" * 600_000 + NOTE.join("Z" * notes) + NOTE + "Y" * 600_000)
    assert text.count("characters cut") == 1
    assert number_cut(text) == 1_200_000 + notes * 1_001 - text.count("X") - text.count("Y")


@pytest.mark.parametrize("shift", [-33, -32, -31, -16, 0, 10])
@pytest.mark.parametrize("side", ["start", "end"])
def test_a_note_at_the_edge_of_the_cut_is_not_halved(side: str, shift: int) -> None:
    """It becomes part of the new note, which says the sum."""
    near, far = "X" * (499_960 + shift), "Y" * 600_000
    text = failed(system_out=near + NOTE + far if side == "start" else far + NOTE + near)
    assert text.count("[...") == text.count("...]") == 1
    assert number_cut(text) == len(near) + len(far) + 1_000 - text.count("X") - text.count("Y")


def number_cut(text: str) -> int:
    """Read the number in the first note."""
    return int(text.partition("[... ")[2].partition(" ")[0].replace(",", ""))
