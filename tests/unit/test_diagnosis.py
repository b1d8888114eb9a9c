"""What people read of the doctor's findings."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from reconciler.diagnosis import MOST_OF_A_KIND, diagnosis
from reconciler.doctor import Check, Finding, exit_status, told, within
from reconciler.errors import Stopped

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = Check("gitlab.token", "ci")


def shown(*findings: Finding) -> list[str]:
    """Print them."""
    return diagnosis(told(findings)["checks"]).splitlines()


def test_each_line_says_what_was_looked_at_and_what_was_found() -> None:
    """What to do stands below it, and the counts in the end."""
    assert shown(
        TOKEN.ok("is accepted"), TOKEN.warn("expires soon", "make a new one"), TOKEN.fail("gone", "find it")
    ) == [
        "ok    gitlab.token ci: is accepted",
        "warn  gitlab.token ci: expires soon",
        "      → make a new one",
        "FAIL  gitlab.token ci: gone",
        "      → find it",
        "",
        "1 ok, 1 warning, 1 failed.",
    ]


def test_an_advice_is_not_repeated_line_by_line() -> None:
    """As for each project when the server is down."""
    lines = shown(TOKEN.fail("a", "run doctor again"), TOKEN.fail("b", "run doctor again"))
    assert sum("run doctor again" in line for line in lines) == 1


def test_many_lines_of_a_kind_are_cut() -> None:
    """JSON has them all."""
    many = [Check("rally.mapping", f"mapping.csv:{n}").warn("unknown", "correct it") for n in range(MOST_OF_A_KIND + 5)]
    lines = shown(*many)
    assert "      … and 5 more of these: reconciler doctor --json" in lines
    assert len(told(many)["checks"]) == MOST_OF_A_KIND + 5


def test_control_characters_of_a_server_are_shown_and_not_obeyed() -> None:
    """A project's name may hold any."""
    assert shown(TOKEN.ok("\x1b[2J"))[0] == "ok    gitlab.token ci: \\x1b[2J"


@pytest.mark.parametrize(
    ("findings", "status"),
    [
        ([], 0),
        ([TOKEN.ok("x"), TOKEN.warn("x", "y")], 0),
        ([TOKEN.fail("x", "y", unreached=True), TOKEN.warn("x", "y")], 75),
        ([TOKEN.fail("x", "y", unreached=True), TOKEN.fail("x", "y")], 1),
    ],
)
def test_the_exit_status_tells_an_outage_from_a_mistake(findings: list[Finding], status: int) -> None:
    """75 says that nothing need be corrected, as far as could be seen."""
    assert exit_status(findings) == status
    assert told(findings)["ok"] is (status == 0)


def test_what_was_found_before_the_time_was_up_is_kept() -> None:
    """The rest is one line."""
    time_up = threading.Event()

    def slowly() -> Iterator[Finding]:
        yield TOKEN.ok("is accepted")
        time_up.set()
        raise Stopped("stopped")

    first, last = within(slowly(), time_up, "GitLab")
    assert (first.found, last.check, last.unreached) == ("is accepted", "gitlab.time", True)


def test_a_signal_is_not_the_end_of_the_time() -> None:
    """The process ends, and finds nothing."""

    def interrupted() -> Iterator[Finding]:
        yield TOKEN.ok("is accepted")
        raise Stopped("stopped")

    with pytest.raises(Stopped):
        within(interrupted(), threading.Event(), "GitLab")
