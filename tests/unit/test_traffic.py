"""What is counted of the requests to a service."""

from __future__ import annotations

from reconciler.traffic import OUTCOMES, Denied, Traffic


def test_each_outcome_is_counted_by_its_name() -> None:
    """Those that never happened are 0, so that a rate can be told from the first one on."""
    traffic = Traffic("Rally", lambda: 0.0)
    for outcome in ("ok", "ok", "limited"):
        traffic.note(outcome)
    assert traffic.requests == dict.fromkeys(OUTCOMES, 0) | {"ok": 2, "limited": 1}
    assert traffic.total == 3


def test_denials_count_until_the_token_is_accepted() -> None:
    """A service that does not answer in between says nothing of the token."""
    seconds = [1000.0]
    traffic = Traffic("Rally", lambda: seconds[0])
    assert traffic.denied == Denied()
    traffic.note("denied")
    seconds[0] += 100
    traffic.note("unreachable")
    traffic.note("denied")
    seconds[0] += 20
    assert traffic.denied == Denied(2, 120)
    traffic.note("refused")
    assert traffic.denied == Denied()
    traffic.note("denied")
    assert traffic.denied == Denied(1, 0)
