"""What people read on a terminal."""

from __future__ import annotations

import os
import shutil
import subprocess
from inspect import cleandoc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler import show

BASH = shutil.which("bash")
needs_bash = pytest.mark.skipif(BASH is None, reason="there is no bash to ask")
EVIL = "a\x1b[31m\r\x07\x85\x9b\n\u202e\u2028'\"\\$`!é漢"
"""Colours, a bell, C1 controls that some terminals obey, line ends, a direction override, quotes, and plain text."""

_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


def _echoed(arguments: list[str], **environ: str) -> list[bytes]:
    """Let bash read arguments as we quote them, and give them back."""
    assert BASH is not None
    script = "".join(f"printf '%s\\0' {show.quoted(argument)}\n" for argument in arguments)
    done = subprocess.run(
        [BASH, "--norc", "-s"], input=script.encode(), capture_output=True, check=True, env=os.environ | environ
    )
    assert done.stderr == b""
    return done.stdout.split(b"\0")[:-1]


@needs_bash
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
@pytest.mark.parametrize(
    "argument",
    [
        "shop.test_pay[visa]",
        "shop.test it's",
        "$(reboot) `reboot` $HOME \\n !! * ~",
        "",
        " ",
        "-x",
        "ends with \\",
        "two\nlines",
        "it's\ttwo\\\nlines",
        "\x1bc 1",
        "\x01f and \x7ff",
        "no-break\xa0space, soft\xadhyphen, \x85",
        "zero\u200bwidth, \u202eturned, \u2028line",
        "tag \U000e0041",
        "é漢🙂",
        EVIL,
    ],
)
def test_a_shell_reads_a_quoted_argument_as_it_was(argument: str, locale: str) -> None:
    """Byte by byte, in any locale."""
    assert _echoed([argument], LC_ALL=locale) == [argument.encode()]


@needs_bash
@settings(max_examples=20, deadline=None)
@given(st.lists(_text, min_size=1, max_size=50))
def test_a_shell_reads_any_argument_as_it_was(arguments: list[str]) -> None:
    """Whoever names a test may write anything into the name."""
    assert _echoed(arguments) == [argument.encode() for argument in arguments]


@given(_text)
def test_what_is_quoted_or_cleaned_holds_nothing_that_a_terminal_obeys(text: str) -> None:
    """It is shown, spelled out; what is harmless stays as it is."""
    assert show.quoted(text).isprintable()
    assert show.clean(text).isprintable()
    assert not text.isprintable() or show.clean(text) == text


def test_a_command_to_copy_works_for_a_test_that_looks_like_an_option() -> None:
    """It stands behind `--`."""
    assert show.map_command("--yes", "TC1") == "reconciler map -- '--yes' TC1"
    assert show.map_command("shop.pay", "TC1") == "reconciler map 'shop.pay' TC1"


def _told(**keys: Any) -> dict[str, Any]:  # noqa: ANN401 - any part of a status
    states = dict.fromkeys(("read", "sent", "merged", "pending", "held", "ignored", "superseded", "refused"), 0)
    service = {"last_success": None, "trouble": None}
    return {
        "tests": states | {"unaccounted": 0},
        "entries": {"intended": 0, "done": 0, "refused": 0},
        "pipelines": {"seen": 0, "read": 0, "unread": 0, "unfinished": 0},
        "services": {"gitlab": service, "rally": service},
        "problems": [],
        "refused": [],
        "attachments": {"pending": 0, "done": 0, "linked": 0, "missing": 0, "refused": 0, "orphaned": 0},
        "unattached": [],
        "sprints": [],
    } | keys


def _row(test: str, *suggestions: dict[str, Any]) -> dict[str, Any]:
    return {
        "test": test, "held": 2, "pipelines": 1, "last_verdict": "Fail", "reason": "not mapped",
        "suggestions": list(suggestions),
    }  # fmt: skip


def test_nothing_from_a_server_or_a_report_reaches_the_terminal_raw() -> None:
    """Whether it is a test's name, a test case's name, a problem or a reason."""
    suggestion = {"formatted_id": "TC1", "name": EVIL, "score": 0.5, "reason": EVIL}
    problem = {"pipeline": 100, "job": 1000, "kind": "unreadable", "detail": EVIL}
    service = {"last_success": None, "trouble": EVIL}
    screens = [
        show.review([_row(EVIL, suggestion) | {"reason": EVIL}]),
        show.status(
            _told(
                problems=[problem],
                refused=[{"key": "1/100/TC1/1", "reason": EVIL}],
                unattached=[{"key": "1/100/TC1/1", "name": EVIL, "state": "missing", "reason": EVIL}],
                services={"gitlab": service, "rally": service},
            )
        ),
        show.plan([{"kind": "attachment", "build": "b", "test_case": "TC1", "name": EVIL, "size": 1}]),
    ]
    for line in "\n".join(screens).split("\n"):
        assert line.isprintable()


def test_a_long_list_is_cut_and_says_where_the_rest_is() -> None:
    """Of problems, the newest are shown."""
    problems = [{"pipeline": n, "job": None, "kind": "expired", "detail": "gone"} for n in range(show.SHOWN + 5)]
    lines = show.status(_told(problems=problems)).split("\n")
    shown = [line for line in lines if line.startswith("    pipeline ")]
    assert (len(shown), shown[-1]) == (show.SHOWN, "    pipeline 204: expired: gone")
    assert f"Problems ({show.SHOWN + 5})" in lines
    assert "    … and 5 more: reconciler status --json" in lines
    assert "… and 5 more: reconciler review --json" in show.review([_row("shop.pay")] * (show.SHOWN + 5))


def test_a_test_without_a_suggestion_has_a_command_with_a_gap_in_it() -> None:
    """To be filled in by who copies it."""
    assert "reconciler map 'shop.pay' TC…" in show.review([_row("shop.pay")])
    suggestion = {"formatted_id": "TC12", "name": "Pays", "score": 0.876, "reason": "same words"}
    shown = show.review([_row("shop.pay", suggestion)])
    assert "    TC12  Pays  (88%: same words)\n    reconciler map 'shop.pay' TC12" in shown
    assert show.review([]) == "Nothing waits for a mapping."


def test_a_plan_counts_results_and_files_and_shows_each() -> None:
    """What it is, of which test case, and how much."""
    result = {"kind": "result", "build": "GitLab-1", "test_case": "TC1", "verdict": "Fail", "date": "2026-01-31"}
    file = {"kind": "attachment", "build": "GitLab-1", "test_case": "TC1", "name": "shot.png", "size": 12_345}
    head, first, second, _ = show.plan([result, file]).split("\n")
    assert head == "The next pass would send 1 result and 1 file:"
    assert first.split() == ["GitLab-1", "TC1", "Fail", "2026-01-31"]
    assert second.split() == ["GitLab-1", "TC1", "shot.png,", "12,345", "bytes"]


def _summary(**keys: int) -> dict[str, int]:
    names = ("pipelines_read", "results_sent", "attachments_sent", "test_sets_created", "members_added", "writes")
    return dict.fromkeys((*names, "held", "refused", "problems", "left"), 0) | keys


@pytest.mark.parametrize(
    ("summary", "whole", "expected"),
    [
        (_summary(), True, "Nothing to do: Rally has everything that GitLab ran. 0 writes."),
        (_summary(), False, "0 pipelines read, 0 results sent in 0 writes."),
        (
            _summary(pipelines_read=1, results_sent=1, attachments_sent=2, writes=1, held=1, left=3),
            True,
            """
            1 pipeline read, 1 result and 2 files sent in 1 write.
            1 test held: `reconciler review` shows them and what they may be.
            3 left for the next pass (pipelines to read, tests to send, files to attach, test sets to fill).
            """,
        ),
        (
            _summary(refused=2, problems=1),
            True,
            """
            Nothing to do: Rally has everything that GitLab ran. 0 writes.
            2 results refused by Rally: `reconciler status` shows why.
            1 problem with reports or files: `reconciler status` shows them.
            """,
        ),
    ],
)
def test_a_pass_is_told_in_a_few_lines(summary: dict[str, int], whole: bool, expected: str) -> None:  # noqa: FBT001 - a column of the table
    """That there is nothing to do is only said when nothing stood in the way."""
    assert show.outcome(summary, whole=whole) == cleandoc(expected)
