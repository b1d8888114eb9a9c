"""SIGHUP with a config that is as it was: nothing begins anew, and that is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.company import junit
from tests.manager import eventually, managed

if TYPE_CHECKING:
    from tests.company import Company


def test_a_config_that_nobody_changed_begins_nothing_anew(company: Company) -> None:
    """Only the mapping is read again, by a pass that begins now though none is due for an hour."""
    hourly = {"poll_seconds": 3600}
    company.configure(gitlab=hourly, rally=hourly)
    pipeline = company.pipeline({"unit": junit("a_TC1", "login")})
    with managed(company) as manager:
        assert eventually(lambda: company.verdicts(pipeline) == {"TC1/1": "Pass"})
        company.map(("shop.login", "TC3"))
        manager.hang_up()
        assert eventually(lambda: company.verdicts(pipeline) == {"TC1/1": "Pass", "TC3/1": "Pass"})
        assert "The config is as it was" in manager.log()
        assert "The config has changed" not in manager.log()
        assert eventually(lambda: manager.words("STATUS").count("The config is as it was") == 1)
        company.configure(gitlab={"poll_seconds": 1800})
        manager.hang_up()
        assert eventually(lambda: "The config has changed" in manager.log())
        assert manager.stop(30) == 0
