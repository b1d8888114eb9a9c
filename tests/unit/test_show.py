"""What people read on a terminal."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from datetime import timedelta
from inspect import cleandoc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler import show
from reconciler.ledger.store import stamp
from tests.clock import START

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
    return {
        "tests": states | {"unaccounted": 0},
        "entries": {"intended": 0, "done": 0, "refused": 0},
        "pipelines": {"seen": 0, "read": 0, "unread": 0, "unfinished": 0},
        "services": {"gitlab": _service(), "rally": _service()},
        "last_pass": None,
        "backlog": _backlog(),
        "soonest_expiry": None,
        "daemon": {"running": False, "pid": None, "host": None, "since": None, "next": {}, "alarms": []},
        "token": {"gitlab_expires": None},
        "problems": [],
        "refused": [],
        "attachments": {"pending": 0, "done": 0, "linked": 0, "missing": 0, "refused": 0, "orphaned": 0},
        "unattached": [],
        "sprints": [],
    } | keys


def _service(**keys: Any) -> dict[str, Any]:  # noqa: ANN401 - any part of it
    return {"last_success": None, "last_pass": None, "trouble": None, "breaker": None} | keys


def _backlog(**keys: Any) -> dict[str, Any]:  # noqa: ANN401 - any part of it
    return {"pipelines": 0, "results": 0, "attachments": 0, "members": 0, "oldest": None} | keys


def _sprint(name: str, **keys: Any) -> dict[str, Any]:  # noqa: ANN401 - any part of it
    return {
        "iteration": name, "project": "Web Shop", "test_set": f"{name} Tests", "state": "done", "reason": "",
        "members": 1, "missing_members": 0, "results": {}, "not_run": [], "coverage": 0.0, "refused": [],
        "not_placeable": [], "doubles": [],
    } | keys  # fmt: skip


def _ago(**time: float) -> str:
    return stamp(START - timedelta(**time))


def _heads(told: dict[str, Any], **how: Any) -> dict[str, str]:  # noqa: ANN401 - as `show.status` has it
    """Tell the lines before the lists by their first word."""
    lines = show.status(told, START, **how).split("\n\n", maxsplit=1)[0].split("\n")
    return {line[:10].strip(): line[11:] for line in lines}


def _row(test: str, *suggestions: dict[str, Any]) -> dict[str, Any]:
    return {
        "test": test, "held": 2, "pipelines": 1, "last_verdict": "Fail", "reason": "not mapped",
        "suggestions": list(suggestions),
    }  # fmt: skip


def test_nothing_from_a_server_or_a_report_reaches_the_terminal_raw() -> None:
    """Whether it is a test's name, a test case's name, a problem or a reason."""
    suggestion = {"formatted_id": "TC1", "name": EVIL, "score": 0.5, "reason": EVIL}
    problem = {"pipeline": 100, "job": 1000, "kind": "unreadable", "detail": EVIL}
    service = _service(trouble=EVIL, breaker=EVIL)
    screens = [
        show.review([_row(EVIL, suggestion) | {"reason": EVIL}]),
        show.status(
            _told(
                problems=[problem],
                refused=[{"key": "1/100/TC1/1", "reason": EVIL}],
                unattached=[{"key": "1/100/TC1/1", "name": EVIL, "state": "missing", "reason": EVIL}],
                services={"gitlab": service, "rally": service},
                daemon={
                    "running": True,
                    "pid": 1,
                    "host": EVIL,
                    "since": None,
                    "next": {EVIL: _ago()},
                    "alarms": [EVIL],
                },
            ),
            START,
        ),
        show.plan([{"kind": "attachment", "build": "b", "test_case": "TC1", "name": EVIL, "size": 1}]),
    ]
    for line in "\n".join(screens).split("\n"):
        assert line.isprintable()


def test_a_long_list_is_cut_and_says_where_the_rest_is() -> None:
    """Of problems, the newest are shown; a status has one screen, the review queue many."""
    problems = [{"pipeline": n, "job": None, "kind": "expired", "detail": "gone"} for n in range(205)]
    lines = show.status(_told(problems=problems), START).split("\n")
    assert lines[-5:] == [
        "Problems (205)",
        "    … 202 older: reconciler status --json",
        *(f"    pipeline {n}: expired: gone" for n in range(202, 205)),
    ]
    cut = _told(problems=problems[-3:], counts={"problems": 205, "refused": 0, "unattached": 0, "sprints": 0})
    assert show.status(cut, START).split("\n") == lines
    assert "… and 5 more: reconciler review --json" in show.review([_row("shop.pay")] * (show.SHOWN + 5))


# --- a status --------------------------------------------------------------------------------------------------------


def test_before_the_first_pass_a_status_says_that_there_is_nothing() -> None:
    """No line of it claims more."""
    assert show.status(_told(), START) == cleandoc(
        """
        Daemon     does not run
        GitLab     last success never
        Rally      last success never
        Backlog    nothing
        Tests      read 0 = sent 0, merged 0, pending 0, held 0, ignored 0, superseded 0, refused 0; unaccounted 0
        Results    intended 0, done 0, refused 0
        Files      pending 0, done 0, linked 0, missing 0, refused 0, orphaned 0
        Pipelines  seen 0, read 0, unread 0, unfinished 0
        """
    )


def test_a_daemon_that_runs_is_told_with_its_next_runs_and_alarms() -> None:
    """Those of today by their time, others with their day."""
    daemon = {
        "running": True, "pid": 42, "host": "vm7", "since": "2026-01-31T06:00:00Z",
        "next": {"sprint-sets": "2026-02-02T06:00:00.000000Z", "gitlab": "2026-01-31T12:00:31.000000Z"},
        "alarms": ["Rally: no answer"],
    }  # fmt: skip
    heads = _heads(_told(daemon=daemon, last_pass={"kind": "gitlab", "ended_at": _ago(seconds=29)}))
    assert heads["Daemon"] == "runs since 06:00:00Z (6 h ago): pid 42 on vm7"
    assert heads["Next"] == "gitlab 12:00:31Z, sprint-sets Mon 2026-02-02 06:00Z"
    assert heads["Alarm"] == "Rally: no answer"
    assert heads["Last pass"] == "gitlab, ended 11:59:31Z (29 s ago)"


@pytest.mark.parametrize(
    ("holder", "said"),
    [
        ({"pid": 42, "host": "vm7", "since": "2026-01-31T06:00:00Z"}, "is in use by another run: pid 42 on vm7"),
        ({"running": True}, "runs: another process"),
    ],
)
def test_who_else_uses_the_ledger_is_no_daemon(holder: dict[str, Any], said: str) -> None:
    """A backfill, say; a daemon on a full disk could not write who it is."""
    heads = _heads(_told(daemon=_told()["daemon"] | holder))
    assert heads["Daemon"].endswith(said)


def test_a_service_is_told_with_last_success_and_last_pass_trouble_breaker_and_token() -> None:
    """The last pass only where it was no success."""
    both = _ago(seconds=5)
    services = {
        "gitlab": _service(last_success=both, last_pass=both, breaker="closed"),
        "rally": _service(last_success=_ago(hours=3), last_pass=both, breaker="open", trouble="Rally: no answer"),
    }
    heads = _heads(_told(services=services, token={"gitlab_expires": "2026-06-01"}))
    assert heads["GitLab"] == (
        "last success 11:59:55Z (5 s ago); breaker closed; token ends on 2026-06-01"
    )  # fmt: skip
    assert heads["Rally"] == ("last success 09:00:00Z (3 h ago); last pass 11:59:55Z (5 s ago); breaker open")
    assert heads[""] == "now: Rally: no answer"


@pytest.mark.parametrize(
    ("day", "said"),
    [
        ("2026-02-15", "token ends on 2026-02-15"),
        ("2026-02-14", "token ends on 2026-02-14, IN 14 DAYS: make another one, give it to gitlab.token and restart"),
        ("2026-02-01", "token ends on 2026-02-01, IN 1 DAY: make another one, give it to gitlab.token and restart"),
        ("2026-01-31", "token ends on 2026-01-31, TODAY: make another one, give it to gitlab.token and restart"),
        ("2026-01-30", "token ends on 2026-01-30, IT HAS ENDED: make another one, give it to gitlab.token and restart"),
    ],
)
def test_a_token_that_ends_within_two_weeks_is_a_warning(day: str, said: str) -> None:
    """With what to do."""
    assert _heads(_told(token={"gitlab_expires": day}))["GitLab"] == f"last success never; {said}"


@pytest.mark.parametrize(
    ("since", "age"),
    [
        ({"seconds": -5}, "0 s"),
        ({"seconds": 59.9}, "59 s"),
        ({"seconds": 60}, "1 min"),
        ({"minutes": 59.9}, "59 min"),
        ({"minutes": 60}, "1 h"),
        ({"hours": 47.9}, "47 h"),
        ({"hours": 48}, "2 days"),
        ({"days": 400}, "400 days"),
    ],
)
def test_the_age_of_the_backlog_is_told_as_a_person_would(since: dict[str, float], age: str) -> None:
    """One number and its unit."""
    backlog = _backlog(pipelines=1, results=2, attachments=3, members=4, oldest=_ago(**since))
    told = "1 pipeline to read, 2 tests to send, 3 files to attach, 4 members to put into test sets"
    assert _heads(_told(backlog=backlog))["Backlog"] == f"{told}; oldest {age}"


def test_artifacts_that_go_before_they_are_read_are_said() -> None:
    """Whoever mends the trouble must know until when."""
    told = _told(backlog=_backlog(pipelines=1, oldest=_ago(days=3)), soonest_expiry=_ago(days=-2))
    said = "1 pipeline to read; oldest 3 days; GitLab drops artifacts of it from Mon 2026-02-02 12:00Z"
    assert _heads(told)["Backlog"] == said


def test_of_sprints_the_newest_are_shown_with_what_no_set_takes() -> None:
    """`told` has them newest first."""
    refused = [{"test_case": f"TC{n}", "reason": "no"} for n in range(7)]
    sprints = [_sprint("Sprint 9", refused=refused), *(_sprint(f"Sprint {n}") for n in range(8, 0, -1))]
    text = show.status(_told(sprints=sprints), START)
    assert text.count("Sprint     ") == show.SPRINTS_SHOWN
    assert "    TC2 refused by Rally: no\n    … 4 refused by Rally: reconciler status --json\n" in text
    assert text.endswith("\n    … 6 more: reconciler status --json")
    cut = _told(sprints=sprints[: show.SPRINTS_SHOWN], counts={"sprints": 9})
    assert show.status(cut, START) == text


def _busy() -> dict[str, Any]:
    """Tell of everything at once, with the longest texts that there may be."""
    long = "no answer from a server whose name is long " * 30
    rows = {"pipeline": 123_456_789, "job": 1_234_567_890, "kind": "unreadable", "detail": long}
    service = _service(last_success=_ago(hours=3), last_pass=_ago(seconds=5), trouble=long, breaker="open")
    tests = _told()["tests"]
    return _told(
        tests=dict.fromkeys(tests, 1_000_000),
        services={"gitlab": service, "rally": service},
        token={"gitlab_expires": "2026-02-01"},
        backlog=_backlog(pipelines=10_000, results=100_000, attachments=5_000, members=700, oldest=_ago(days=9)),
        soonest_expiry=_ago(days=-1),
        daemon={"running": True, "pid": 42, "host": "vm7", "since": _ago(days=90), "alarms": [f"Rally: {long}"],
                "next": dict.fromkeys(("gitlab", "rally", "sprint-sets", "upkeep"), _ago(days=-1))},
        last_pass={"kind": "gitlab", "ended_at": _ago(seconds=5)},
        problems=[rows] * 1_000,
        refused=[{"key": "1/123456789/TC12345/1", "reason": long}] * 1_000,
        unattached=[{"key": "1/1/TC1/1", "name": long, "state": "missing", "reason": long}] * 1_000,
        sprints=[_sprint(f"Sprint {n}", results={"Pass": 500, "Fail": 3}) for n in range(100)],
    )  # fmt: skip


@pytest.mark.parametrize("width", [80, 100, 120])
def test_whatever_there_is_to_tell_has_one_screen(width: int) -> None:
    """No line is longer than the terminal is wide, and there are no more than a screen has; the counts are whole."""
    lines = show.status(_busy(), START, width=width).split("\n")
    assert max(map(len, lines)) <= width
    assert len(lines) <= 55
    text = re.sub(r"\n {11}", " ", "\n".join(lines))
    assert "superseded 1000000, refused 1000000; unaccounted 1000000" in text
    assert "make another one, give it to gitlab.token and restart" in text
    assert {line for line in lines if line.startswith(("Problems", "Refused", "Files that"))} == {
        "Problems (1000)", "Refused (1000)", "Files that results go without (1000)",
    }  # fmt: skip


def test_without_a_terminal_no_line_is_cut() -> None:
    """Whoever reads it through a pipe searches it."""
    assert show.status(_busy(), START).count("no answer from a server whose name is long " * 30) == 3 + 4 * 3


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
