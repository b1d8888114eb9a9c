"""What tests of the whole share: a small company to run the command line in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.company import Company, open_company

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    """Give a company whose servers had no fault of their own and were shown no token that was not theirs."""
    with open_company(tmp_path) as opened:
        yield opened
