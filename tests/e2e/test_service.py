"""The daemon as systemd runs it: what it tells its manager, and what signals do to it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from reconciler.sandbox.faults import Fault, Stall
from tests.company import TOKEN, junit
from tests.manager import eventually, managed

if TYPE_CHECKING:
    from tests.company import Company

QUICK = {"poll_seconds": 1}


def _quickly(company: Company, **sections: dict[str, object]) -> None:
    gitlab, rally = sections.pop("gitlab", {}), sections.pop("rally", {})
    company.configure(gitlab=QUICK | gitlab, rally=QUICK | {"settle_after_seconds": 0} | rally, **sections)


def test_it_is_ready_alive_while_passes_progress_and_stopping_in_the_end(company: Company) -> None:
    """The signs of life come often enough for the watchdog, with passes and between them."""
    pipeline = company.pipeline({"unit": junit("a_TC1")})
    _quickly(company)
    with managed(company, watchdog_s=4.0) as manager:
        assert eventually(lambda: company.verdicts(pipeline) == {"TC1/1": "Pass"})
        assert eventually(lambda: manager.order() == ["READY=1"])
        ready = next(at for at, said in manager.told if said.startswith("READY=1"))
        time.sleep(8)
        alive = [at for at, said in manager.told if said == "WATCHDOG=1"]
        gaps = [after - before for before, after in zip([ready, *alive], [*alive, time.monotonic()], strict=True)]
        assert len(alive) > 2
        assert max(gaps) < 4, gaps
        assert any("all is well" in text for text in manager.words("STATUS"))
        assert manager.stop() == 0
        assert eventually(lambda: manager.order() == ["READY=1", "STOPPING=1"])


def test_a_pass_that_hangs_gives_no_sign_of_life(company: Company) -> None:
    """The process is alive, and its main thread too; once the pass gets on, so does the daemon."""
    _quickly(company)
    with managed(company, watchdog_s=1.0) as manager:
        assert eventually(lambda: bool(manager.words("STATUS")[1:]))
        stalled = company.gitlab.server.faults.add(Fault(Stall(12.0, "before"), path="/pipelines", times=1))
        assert eventually(lambda: stalled.hits > 0)
        began = time.monotonic()
        time.sleep(10)
        assert manager.signs_of_life(began + 4, began + 10) == 0
        assert eventually(lambda: manager.signs_of_life(began + 10, time.monotonic()) > 3)
        assert manager.stop() == 0


def test_what_cannot_start_is_never_ready(company: Company) -> None:
    """A ledger that is no database: one line, and an end with 1."""
    _quickly(company)
    (company.folder / "ledger.db").write_bytes(b"this is no database, " * 100)
    with managed(company) as manager:
        assert manager.process.wait(30) == 1
        assert manager.order() == []
        assert "is not a database" in manager.log()
        (company.folder / "ledger.db").unlink()


def test_a_stop_in_the_middle_of_a_batch_loses_nothing(company: Company) -> None:
    """Rally answers the batch after a minute only; the daemon is gone within 10 s, and the next run asks first."""
    pipeline = company.pipeline({"unit": junit(*(f"a_TC{n}" for n in range(1, 9)))})
    _quickly(company, rally={"settle_after_seconds": 1})
    stalled = company.rally.faults.add(Fault(Stall(60.0, "after"), writes_only=True))
    with managed(company) as manager:
        assert eventually(lambda: stalled.hits > 0)
        began = time.monotonic()
        assert manager.stop(within_s=10) == 0
        assert time.monotonic() - began < 10
        assert eventually(lambda: manager.order()[-1] == "STOPPING=1")
    company.rally.faults.remove(stalled)
    time.sleep(1)
    assert company.once()["left"] == 0
    assert company.verdicts(pipeline) == {f"TC{n}/1": "Pass" for n in range(1, 9)}


def test_another_config_takes_effect_without_a_restart(company: Company) -> None:
    """A second project, and a token that was changed in its file; the ledger stays locked meanwhile."""
    other = company.gitlab.store.add_project("qa/payments")
    token = company.folder / "token"
    token.write_text(TOKEN)
    _quickly(company, gitlab={"token": f"file:{token}"})
    first = company.pipeline({"unit": junit("a_TC1")})
    with managed(company) as manager:
        assert eventually(lambda: company.verdicts(first) == {"TC1/1": "Pass"})
        company.gitlab.store.add_token("glpat-another-0123456789")
        del company.gitlab.store.tokens[TOKEN]
        token.write_text("glpat-another-0123456789\n")
        _quickly(company, gitlab={"token": f"file:{token}", "projects": ["qa/web-shop", "qa/payments"]})
        manager.hang_up()
        assert eventually(lambda: manager.order() == ["READY=1", "RELOADING=1", "READY=1"])
        store = company.gitlab.store
        with store.lock:
            pipeline = store.add_pipeline(other, status="success")
            store.add_job(pipeline, "unit", finished_at=store.clock(), junit=[("junit.xml", junit("b_TC2!"))])
        assert eventually(lambda: f"{other.id}/{pipeline.id}/TC2/1" in company.results())
        assert manager.stop() == 0


def test_a_config_with_a_mistake_leaves_the_old_one_in_force(company: Company) -> None:
    """It is told with file, line and column, also to the manager; and nothing of it takes effect."""
    _quickly(company)
    with managed(company) as manager:
        assert eventually(lambda: bool(manager.words("STATUS")[1:]))
        good = (company.folder / "config.toml").read_text()
        (company.folder / "config.toml").write_text(good + '\n[sprints]\ntimezone = "Mars/Olympus"\n')
        manager.hang_up()
        assert eventually(lambda: manager.order() == ["READY=1", "RELOADING=1", "READY=1"])
        assert any("mistakes: the old one stays in force" in text for text in manager.words("STATUS"))
        assert "config.toml:15:1: " in manager.log(), manager.log()
        pipeline = company.pipeline({"unit": junit("a_TC1")})
        assert eventually(lambda: company.verdicts(pipeline) == {"TC1/1": "Pass"})
        (company.folder / "config.toml").write_text(good)
        manager.hang_up()
        assert eventually(lambda: manager.order()[3:] == ["RELOADING=1", "READY=1"])
        assert manager.stop() == 0


def test_a_new_mapping_is_seen_at_once_when_asked_for(company: Company) -> None:
    """A reload makes the next pass begin now, however long the polls are apart."""
    company.configure(rally={"settle_after_seconds": 0})
    pipeline = company.pipeline({"unit": junit("login")})
    with managed(company) as manager:
        assert eventually(lambda: company.status()["tests"]["held"] == 1)
        company.map(("shop.login", "TC3"))
        manager.hang_up()
        assert eventually(lambda: company.verdicts(pipeline) == {"TC3/1": "Pass"})
        assert manager.stop() == 0
