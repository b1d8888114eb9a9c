"""docs/metrics.md, alerts.yml and grafana-dashboard.json name what there is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from reconciler.config import MetricsSettings
from reconciler.config.settings import SECTIONS
from reconciler.ledger import views
from reconciler.metrics.catalogue import CATALOGUE
from reconciler.metrics.collector import OUTCOMES as PASS_OUTCOMES
from reconciler.metrics.serving import WRITE_EVERY_S
from reconciler.model import Verdict
from reconciler.traffic import OUTCOMES
from reconciler.vitals import LONGEST_STALL_S

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "metrics.md").read_text("utf-8")
ALERTS = (DOCS / "alerts.yml").read_text("utf-8")
DASHBOARD: dict[str, Any] = json.loads((DOCS / "grafana-dashboard.json").read_text("utf-8"))
OWN = {told.name for told in CATALOGUE}
FOREIGN = {"process_resident_memory_bytes"}
"""What /metrics has beside: tests/unit/test_metrics_port.py sees it there."""


def rows(head: str) -> list[list[str]]:
    """Give the cells of the table that begins with this line."""
    lines = PAGE.partition(f"{head}\n")[2].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def named(query: str) -> set[str]:
    """Give the metrics that a query names, histograms by their own name."""
    query = re.sub(r'"[^"]*"', "", query)
    found = set(re.findall(r"\b(?:reconciler|process)_[a-z_]+", query))
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in found}


def labels_asked(query: str) -> set[tuple[str, str]]:
    """Give each metric of a query with each label that it is chosen by."""
    return {
        (re.sub(r"_bucket$", "", metric), label)
        for metric, chosen in re.findall(r"\b(reconciler_[a-z_]+)\{([^}]*)\}", query)
        for label in re.findall(r"(\w+)=", chosen)
        if label not in {"job", "instance"}
    }


def alerts() -> dict[str, dict[str, str]]:
    """Read each rule by its name: its keys, a folded text as one line."""
    found: dict[str, dict[str, str]] = {}
    for rule in re.split(r"\n +- alert: ", ALERTS)[1:]:
        name, _, rest = rule.partition("\n")
        keys = re.findall(r"^ {8,10}(\w+):(?: (?!>-)(.+)| >-\n((?: {10,}.+\n?)+)|)$", rest, re.MULTILINE)
        found[name] = {key: plain or " ".join(folded.split()) for key, plain, folded in keys}
    return found


def queries() -> list[str]:
    """Give every query of the dashboard, with those of its variables and annotations."""
    targets = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
    variables = [variable["query"]["query"] for variable in DASHBOARD["templating"]["list"]]
    return targets + variables + [said["expr"] for said in DASHBOARD["annotations"]["list"] if "expr" in said]


# --- the page ---


def test_the_table_is_the_catalogue() -> None:
    """Row by row, with the sentences that a scrape has."""
    assert rows("| metric | type | labels | says |") == [
        [f"`{told.name}`", told.kind, ", ".join(f"`{label}`" for label in told.labels), told.help] for told in CATALOGUE
    ]


def test_the_values_of_the_labels_are_those_of_the_program() -> None:
    """In its order."""
    told = {row[0]: re.findall("`([^`]+)`", row[1]) for row in rows("| label | values |")}
    assert told["`service`"] == list(views.SERVICES)
    assert told["`outcome` of a request"] == list(OUTCOMES)
    assert told["`outcome` of a pass"] == list(PASS_OUTCOMES)
    assert told["`state` of a test"] == list(views.STATES)
    assert told["`verdict`"] == list(Verdict)
    assert {label for row in told for label in re.findall("`([^`]+)`", row)} == {
        label for one in CATALOGUE for label in one.labels
    } - {"version"}


def test_the_config_that_it_shows_is_all_there_is() -> None:
    """Both keys, and no other."""
    shown = tomllib.loads(PAGE.partition("```toml\n")[2].partition("```")[0])
    assert list(shown["metrics"]) == [field.name for field in fields(MetricsSettings)]
    assert SECTIONS["metrics"] is MetricsSettings


def test_the_numbers_that_it_gives_hold() -> None:
    """Fifteen minutes of no progress, and a minute at most between two files."""
    assert LONGEST_STALL_S == 15 * 60
    assert "when a pass hangs, or none begins, for 15 minutes" in PAGE
    assert "reconciler_stalled_seconds > 900" in ALERTS
    assert WRITE_EVERY_S < 60
    assert "at least every minute" in PAGE


def test_each_file_that_the_page_links_to_is_there() -> None:
    """Seen from its folder."""
    linked = re.findall(r"\]\((?!https?:|#)([^)]+)\)", PAGE)
    assert {"alerts.yml", "grafana-dashboard.json"} <= set(linked)
    assert [link for link in linked if not (DOCS / link).exists()] == []


# --- the alert rules ---


def test_the_page_lists_the_alerts_in_their_order() -> None:
    """Each with when it comes."""
    listed = rows("| alert | when |")
    assert [row[0].strip("`") for row in listed] == list(alerts())
    assert all(row[1] for row in listed)


@pytest.mark.parametrize("alert", alerts())
def test_an_alert_says_what_is_wrong_and_what_to_do(alert: str) -> None:
    """It names metrics that there are, and labels that they have."""
    rule = alerts()[alert]
    assert rule["severity"] in {"page", "ticket"}
    assert rule["summary"].strip('"')
    assert len(rule["description"]) > len(rule["summary"])
    assert named(rule["expr"])
    assert named(rule["expr"]) <= OWN
    having = {(told.name, label) for told in CATALOGUE for label in told.labels}
    assert labels_asked(rule["expr"]) <= having
    shown = set(re.findall(r"\$labels\.(\w+)", rule["summary"] + rule["description"]))
    of_metrics = {label for metric, label in having if metric in named(rule["expr"])}
    assert shown <= of_metrics | {"instance", "job"}


def test_the_rules_are_all_read_here() -> None:
    """So that the tests above cannot pass by finding none; no tab, no trailing blank."""
    assert len(alerts()) == ALERTS.count("- alert:") == 13
    assert "\t" not in ALERTS
    assert not re.search(r" +$", ALERTS, re.MULTILINE)


@pytest.mark.parametrize(
    "words",
    [["check", "rules", str(DOCS / "alerts.yml")], ["test", "rules", str(Path(__file__).with_name("alerts_test.yml"))]],
    ids=["check", "test"],
)
def test_promtool_finds_that_they_fire_when_they_should(words: list[str]) -> None:
    """All quiet while all is well, and each of them when it went wrong in its way."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: package prometheus)")
    done = subprocess.run([promtool, *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# --- the dashboard ---


def test_the_dashboard_can_be_imported() -> None:
    """It asks for its data source and is tied to no installation."""
    [asked] = DASHBOARD["__inputs"]
    assert (asked["name"], asked["type"], asked["pluginId"]) == ("DS_PROMETHEUS", "datasource", "prometheus")
    assert DASHBOARD["id"] is None
    kinds = {one["id"] for one in DASHBOARD["__requires"] if one["type"] == "panel"}
    assert kinds == {panel["type"] for panel in DASHBOARD["panels"]} - {"row"}
    sources = re.findall(r'"uid": "([^"]+)"', json.dumps(DASHBOARD["panels"]) + json.dumps(DASHBOARD["templating"]))
    assert set(sources) == {"${DS_PROMETHEUS}"}


def test_each_panel_has_a_title_a_unit_and_a_place_of_its_own() -> None:
    """Within the 24 columns that Grafana has, none over another."""
    taken: set[tuple[int, int]] = set()
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["title"]
        if panel["type"] != "row":
            assert panel["fieldConfig"]["defaults"]["unit"] in {"s", "short", "reqps", "bytes"}
            assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
            assert panel["targets"]


def test_the_dashboard_shows_metrics_that_there_are_and_leaves_none_out() -> None:
    """But those which only say when the numbers were taken, or stand behind another panel."""
    shown = set().union(*map(named, queries()))
    assert shown <= OWN | FOREIGN
    assert OWN - shown == {"reconciler_collected_timestamp_seconds", "reconciler_last_pass_timestamp_seconds"}
    having = {(told.name, label) for told in CATALOGUE for label in told.labels}
    assert set().union(*map(labels_asked, queries())) <= having


def test_each_value_that_a_query_chooses_by_is_one_of_its_label() -> None:
    """A state, an outcome or a service that is misspelt would show nothing for ever."""
    known = {"service": views.SERVICES, "state": views.STATES, "outcome": (*OUTCOMES, *PASS_OUTCOMES)}
    chosen = [
        (label, value)
        for query in (*queries(), *(rule["expr"] for rule in alerts().values()))
        for label, values in re.findall(r'(\w+)=~?"([^"$]+)"', query)
        for value in values.split("|")
        if label != "job"
    ]
    assert chosen
    assert [pair for pair in chosen if pair[1] not in known[pair[0]]] == []
