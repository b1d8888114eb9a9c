"""What tests of the whole share: a small company to run the command line in, and counts that are told at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests import counting
from tests.company import Company, open_company

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")  # on a busy machine an example that is slow is no mistake in what it tests


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    """Give a company whose servers had no fault of their own and were shown no token that was not theirs."""
    with open_company(tmp_path) as opened:
        yield opened


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Write what a test counted on its report, whatever it came to."""
    try:
        yield
    finally:
        item.user_properties += counting.taken()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell what was counted in all."""
    reports = [
        report for found in terminalreporter.stats.values() for report in found if isinstance(report, pytest.TestReport)
    ]
    for line in counting.summary(reports):
        terminalreporter.write_line(line)
