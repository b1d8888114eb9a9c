"""The yardstick for sending: a script with plain pyral, as its documentation shows.

For each test of JUnit reports on disk: `get` the TestCase by its FormattedID, `create` the TestCaseResult, and with
`--attach` `addAttachment` a file to it. It fetches nothing from GitLab, writes no Notes, and does not look for what is
there already: it is faster than a script that could be used. The time to log in is not counted.

pyral's guide, "get", "create" and "addAttachment" (rallyrest docs, interface.rst).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyral.restapi
from junitparser import Error, Failure, JUnitXml
from pyral import Rally

if TYPE_CHECKING:
    from collections.abc import Iterator

    from junitparser import TestCase

_CASE = re.compile(r"TC\d+")


def main() -> None:
    """Send the tests of the reports; prints how many and how many seconds it took."""
    options = _options()
    if options.server.startswith("127.0.0.1:"):
        pyral.restapi.PROTOCOL = "http"  # pyral speaks https only; the stand-in has no certificate
    rally = Rally(
        server=options.server, apikey=options.key, workspace=options.workspace, project=options.project,
        isolated_workspace=True,
    )  # fmt: skip
    rally.get("TestCaseResult", fetch="ObjectID", query="Build = none", pagesize=1)  # learns the type before the clock
    began, cpu = time.perf_counter(), time.process_time()
    sent = sum(_send(rally, test, path, attach=options.attach) for path in options.reports for test in _tests(path))
    told = {"results": sent, "wall_s": time.perf_counter() - began, "cpu_s": time.process_time() - cpu}
    sys.stdout.write(json.dumps(told) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for name in ("server", "key", "workspace", "project"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--attach", action="store_true")
    parser.add_argument("reports", nargs="+", type=Path)
    return parser.parse_args()


def _tests(path: Path) -> Iterator[TestCase]:
    for suite in JUnitXml.fromfile(str(path)):
        yield from suite


def _send(rally: Rally, test: TestCase, report: Path, *, attach: bool) -> int:
    found = _CASE.search(test.name)
    if found is None:
        return 0
    test_case = rally.get(
        "TestCase", fetch="FormattedID,Name,ObjectID", query=f"FormattedID = {found[0]}", instance=True
    )
    result = rally.create("TestCaseResult", _result(test, test_case.ref, report.stem))
    if attach:
        log = report.with_name(f"{report.stem}-{found[0]}.log")
        log.write_text(f"{test.name} was run\n")
        rally.addAttachment(result, str(log))
    return 1


def _result(test: TestCase, test_case: str, build: str) -> dict[str, Any]:
    bad = any(isinstance(outcome, Failure | Error) for outcome in test.result)
    return {
        "TestCase": test_case,
        "Build": build,
        "Date": "2026-01-31T12:00:00.000Z",
        "Verdict": "Fail" if bad else "Pass",
        "Duration": test.time or 0,
    }


if __name__ == "__main__":
    main()
