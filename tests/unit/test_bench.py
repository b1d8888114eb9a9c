"""The bench measures what it says: its yardsticks do the work, its ledger is sound, its table tells the truth."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from io import BytesIO
from typing import TYPE_CHECKING

import pytest

from bench import trivial
from bench.big_ledger import Owner, fill
from bench.fit import exponent
from bench.processes import ROOT, BenchFailed, module, peak_mb, run
from bench.reports import Plan, report
from bench.stage import Bench, open_stage
from bench.table import Figure, Row, lines
from bench.yardsticks import plain_pyral
from reconciler.junit import Report
from reconciler.ledger import views
from reconciler.ledger.ledger import open_ledger
from reconciler.ledger.store import open_for_reading
from reconciler.model import Outcome
from tests import accounting

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Give the short form, with its files in a folder of the test's."""
    return Bench(tmp_path, quick=True)


# --- the table -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "written"),
    [(0, "0 s"), (0.00012, "1.2e-04 s"), (0.1234, "0.123 s"), (12.345, "12.3 s"), (12_345.6, "12,346 s")],
)
def test_a_figure_is_written_with_the_digits_that_count(value: float, written: str) -> None:
    """Nobody reads more than three, and a noisy machine gives no more."""
    assert str(Figure(value, "s")) == written


def test_the_table_is_markdown_with_a_verdict_for_each_bound_and_its_notes_numbered() -> None:
    """It is pasted into the documentation as it is."""
    rows = [
        Row(what="slow", ours=Figure(3, "s"), bound="≤ 2 s", holds=False, note="It rained."),
        Row(what="said", ours=Figure(1, "s"), yardstick=Figure(5, "s", "a script")),
        Row(what="fast", ours=Figure(1, "s"), limit=Figure(0.5, "s"), bound="≤ 2 s", holds=True, note="The sun shone."),
    ]

    assert lines(rows) == [
        "| what     | ours | yardstick    | model's limit | to reach |     |",
        "| -------- | ---- | ------------ | ------------- | -------- | --- |",
        "| slow (1) | 3 s  |              |               | ≤ 2 s    | NOT |",
        "| said     | 1 s  | 5 s a script |               |          |     |",
        "| fast (2) | 1 s  |              | 0.5 s         | ≤ 2 s    | ok  |",
        "",
        "1. It rained.",
        "2. The sun shone.",
    ]


@pytest.mark.parametrize("power", [0, 1, 2])
def test_the_fit_finds_the_exponent_of_growth(power: int) -> None:
    """Linear is 1, quadratic is 2, and what does not grow is 0."""
    sizes = [100, 200, 400, 800]

    assert exponent(sizes, [3.5 * size**power for size in sizes]) == pytest.approx(power)


# --- what is measured ------------------------------------------------------------------------------------------------


def test_a_report_has_the_tests_that_were_planned() -> None:
    """Every second one fails and printed something; each names its test case."""
    written = report(Plan([f"TC{number}" for number in range(150)], failing=2, printed_bytes=200))

    tests = list(Report(BytesIO(written)))

    assert len(tests) == 150
    assert [test.name.rpartition("_")[2] for test in tests] == [f"TC{number}" for number in range(150)]
    assert sum(test.outcome is Outcome.FAILED for test in tests) == 75


def test_a_big_ledger_is_one_that_the_program_could_have_written(tmp_path: Path) -> None:
    """Its books are right, nothing is due, and there is something of every kind that status tells."""
    fill(tmp_path / "ledger.db", 20_000, Owner(21, "qa/shop"))

    with closing(open_for_reading(tmp_path / "ledger.db")) as store:
        accounting.check(store)
        tests = views.tests(store)
        assert tests["read"] == 20_000
        assert tests["unaccounted"] == tests["pending"] == 0
        assert min(tests[state] for state in ("sent", "held", "ignored", "refused")) > 0
        assert views.left(store) == 0
        assert views.attachments(store)["done"] > 0
        assert len(views.problems(store)) == 2
    with open_ledger(tmp_path / "ledger.db", skips_count=False) as ledger:
        assert ledger.entries.due() == []


def test_the_yardsticks_and_the_program_send_to_the_same_rally(bench: Bench) -> None:
    """Each says how many results it sent, and Rally has as many more."""
    with open_stage(bench) as stage:
        stage.servers.do("add_pipelines", count=2, tests=5, failing=5)
        _, did = stage.once()
        ours = stage.servers.do("told")
        plain = plain_pyral(stage, 3, attach=True)
        theirs = stage.servers.do("told")
        rate = trivial.rate(stage.servers.do("where")["rally"], stage.servers.do("add_cases", count=0), rounds=1)
        told = stage.servers.do("told")

    assert (did["results_sent"], did["attachments_sent"], ours["results"]) == (10, 2, 10)
    assert (plain.results, theirs["results"] - ours["results"]) == (3, 3)
    assert (
        theirs["rally"]["requests"] - ours["rally"]["requests"] >= 3 * 8
    )  # get, create and read back, five for a file
    assert rate > 0
    assert told["results"] - theirs["results"] == 8 * 50


def test_both_ways_to_parse_read_the_same_number_of_tests(bench: Bench, tmp_path: Path) -> None:
    """Else their times would say nothing."""
    path = tmp_path / "big.xml"
    path.write_bytes(report(Plan([""] * 250, failing=10)))

    told = [run(module("bench.parse", way, str(path)), bench.environment).good().out for way in ("ours", "plain")]

    assert [json.loads(text)["tests"] for text in told] == [250, 250]


def test_a_peak_is_that_of_the_process_itself(bench: Bench, tmp_path: Path) -> None:
    """And not of the one that started it, which may be larger; a command that fails is never measured."""
    path = tmp_path / "big.xml"
    path.write_bytes(report(Plan([""] * 10)))
    ballast = bytes(300_000_000)

    _, peak = peak_mb("bench.parse", ["ours", str(path)], bench.environment)

    assert len(ballast) > 0
    assert 5 < peak < 100
    with pytest.raises(BenchFailed):
        peak_mb("bench.parse", ["ours", str(tmp_path / "none")], bench.environment)


def test_the_command_prints_the_table_and_writes_the_numbers(tmp_path: Path) -> None:
    """For people, and for a program that compares two runs."""
    to = tmp_path / "results.json"

    ran = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--json", str(to), "start"],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip

    numbers = json.loads(to.read_text())
    assert [row["what"] for row in numbers["rows"]] == ["start of `reconciler --help`", "start of `reconciler status`"]
    assert ran.returncode == any(row["holds"] is False for row in numbers["rows"])
    assert "| start of `reconciler --help` (1)" in ran.stdout
    assert set(numbers["machine"]) >= {"date", "processor", "Python", "SQLite"}
