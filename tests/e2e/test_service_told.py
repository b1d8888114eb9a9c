"""The daemon tells: hooks are run on trouble and recovery, numbers and health can be read."""

from __future__ import annotations

import json
import socket
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import requests

from tests.company import junit
from tests.manager import eventually, managed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.company import Company

QUICK = {"poll_seconds": 1}
HOOK = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read().replace('\\n', ' ') + '\\n')"
"""A command that keeps what it is told, a line each."""


def _heard(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@contextmanager
def _kept_port() -> Iterator[int]:
    """Keep a port that refuses connections until the daemon listens there: to nobody else is it free."""
    with socket.socket() as placeholder:
        placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        placeholder.bind(("127.0.0.1", 0))
        yield int(placeholder.getsockname()[1])


def test_the_hook_hears_of_an_outage_and_of_its_end(company: Company) -> None:
    """Once each, with what it is about; the pass does not wait for it."""
    heard = company.folder / "heard"
    company.configure(
        gitlab=QUICK,
        rally=QUICK | {"settle_after_seconds": 0},
        notify={"command": [sys.executable, "-c", HOOK, str(heard)]},
    )
    pipeline = company.pipeline({"unit": junit("a_TC1")})
    with managed(company) as manager:
        with company.rally.refusing():
            assert eventually(lambda: len(_heard(heard)) == 1, 40)
        company.rally.start()
        assert eventually(lambda: company.verdicts(pipeline) == {"TC1/1": "Pass"}, 90)
        assert eventually(lambda: len(_heard(heard)) == 2)
        assert manager.stop() == 0
    assert [(one["event"], one["subject"]) for one in _heard(heard)] == [("trouble", "Rally"), ("recovery", "Rally")]
    assert _heard(heard)[0]["ledger"] == str(company.folder / "ledger.db")


def test_the_hook_hears_when_a_reload_finds_mistakes(company: Company) -> None:
    """And when the next one finds them mended."""
    heard = company.folder / "heard"
    company.configure(gitlab=QUICK, rally=QUICK, notify={"command": [sys.executable, "-c", HOOK, str(heard)]})
    with managed(company) as manager:
        assert eventually(lambda: bool(manager.words("STATUS")[1:]))
        good = (company.folder / "config.toml").read_text()
        (company.folder / "config.toml").write_text(good + "nonsense\n")
        manager.hang_up()
        assert eventually(lambda: len(_heard(heard)) == 1)
        assert "config.toml:" in _heard(heard)[0]["text"]
        (company.folder / "config.toml").write_text(good)
        manager.hang_up()
        assert eventually(lambda: len(_heard(heard)) == 2)
        assert manager.stop() == 0
    assert [(one["event"], one["subject"]) for one in _heard(heard)] == [("trouble", "config"), ("recovery", "config")]


def test_numbers_and_health_are_served_and_survive_a_reload(company: Company) -> None:
    """On another port after it; the textfile is there too."""
    textfile = company.folder / "reconciler.prom"
    company.pipeline({"unit": junit("a_TC1", "b_TC2!", "held")})
    with _kept_port() as first, _kept_port() as second:
        listen = f"127.0.0.1:{first}"
        company.configure(gitlab=QUICK, rally=QUICK, metrics={"listen": listen, "textfile": str(textfile)})
        with managed(company) as manager:
            assert eventually(lambda: _get(first, "/health/ready").startswith("200"))
            assert eventually(lambda: 'reconciler_results{verdict="Fail"} 1.0' in _get(first, "/metrics"))
            told = _get(first, "/metrics")
            assert "reconciler_tests_unaccounted 0.0" in told
            assert 'reconciler_requests_total{outcome="ok",service="Rally"}' in told
            assert eventually(textfile.exists)
            company.configure(gitlab=QUICK, rally=QUICK, metrics={"listen": f"127.0.0.1:{second}"})
            manager.hang_up()
            assert eventually(lambda: _get(second, "/health/live").startswith("200"))
            assert _get(first, "/health/live") == ""
            assert manager.stop() == 0


def test_a_port_that_is_taken_ends_a_start_and_not_a_reload(company: Company) -> None:
    """One line at the start; a daemon that runs goes on without its numbers, and says so."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        company.configure(gitlab=QUICK, rally=QUICK, metrics={"listen": taken})
        with managed(company) as manager:
            assert manager.process.wait(30) == 1
            assert taken in manager.log()
        company.configure(gitlab=QUICK, rally=QUICK)
        with managed(company) as manager:
            assert eventually(lambda: bool(manager.words("STATUS")[1:]))
            company.configure(gitlab=QUICK, rally=QUICK, metrics={"listen": taken})
            manager.hang_up()
            assert eventually(lambda: manager.order() == ["READY=1", "RELOADING=1", "READY=1"])
            assert "There are no metrics" in manager.log()
            pipeline = company.pipeline({"unit": junit("a_TC1")})
            assert eventually(lambda: company.verdicts(pipeline) == {"TC1/1": "Pass"})
            assert manager.stop() == 0


def _get(port: int, path: str) -> str:
    try:
        answer = requests.get(f"http://127.0.0.1:{port}{path}", timeout=5)
    except requests.RequestException:
        return ""
    return f"{answer.status_code} {answer.text}"
