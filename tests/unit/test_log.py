"""What log lines look like, and what never gets into them."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import threading
import warnings
from base64 import b64encode
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger

from reconciler.log import capture_prints, configure, is_journal, journal_mark
from reconciler.redaction import Redaction, keys_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "glpat/a+b%c~d"  # noqa: S105 - to be looked for in the log


@pytest.fixture(autouse=True, scope="module")
def _leave_logging_as_it_was() -> Iterator[None]:
    root, hooks = logging.getLogger(), (sys.excepthook, threading.excepthook, sys.unraisablehook)
    before = list(root.handlers)
    yield
    logger.remove()
    logging.captureWarnings(capture=False)
    root.handlers[:] = before
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks


def configured(level: str = "DEBUG", *, as_json: bool = False) -> io.StringIO:
    """Send the log to a text that can be read."""
    stream = io.StringIO()
    configure(level, json=as_json, secrets=[SECRET], stream=stream)
    return stream


def after_time(stream: io.StringIO) -> list[str]:
    """Give the lines without the time in front of them."""
    return [line.partition(" ")[2] if line[:2] == "20" else line for line in stream.getvalue().splitlines()]


def objects(stream: io.StringIO) -> list[dict[str, Any]]:
    """Give the lines as objects."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def fail() -> None:
    """Raise what a library raises when it shows a key."""
    text = f"s | None | {SECRET} | \x1b[31m\n2026-01-01T00:00:00.000Z INFO    forged"
    raise ValueError(text) from KeyError(SECRET)


def test_a_line_has_time_level_message_and_fields() -> None:
    """The time is UTC; fields that hold blanks or quotes are quoted."""
    stream = configured()
    logger.info("pass done", results=3, ratio=0.5, ok=True, name='a "b"', empty="")
    time, _, rest = stream.getvalue().rstrip("\n").partition(" ")
    assert len(time) == len("2026-01-01T00:00:00.000Z")
    assert time.endswith("Z")
    assert rest == r'INFO    pass done results=3 ratio=0.5 ok=True name="a \"b\"" empty=""'


def test_a_json_line_is_one_object() -> None:
    """Numbers stay numbers; a field cannot take the place of one of ours."""
    stream = configured(as_json=True)
    with logger.contextualize(pipeline=12):
        logger.warning("pass done", results=3, ratio=0.5, bad=float("nan"), none=None, level="x", path=("a", 1))
    [line] = objects(stream)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "WARNING",
        "message": "pass done",
        "pipeline": 12,
        "results": 3,
        "ratio": 0.5,
        "bad": "nan",
        "none": None,
        "level_": "x",
        "path": "('a', 1)",
    }


def test_lines_below_the_level_are_not_written() -> None:
    """And an earlier configuration is forgotten."""
    earlier = configured("DEBUG")
    stream = configured("WARNING")
    logger.info("quiet")
    logger.warning("loud")
    assert after_time(stream) == ["WARNING loud"]
    assert earlier.getvalue() == ""


@pytest.mark.parametrize("as_json", [False, True])
def test_names_from_pipelines_do_not_control_the_terminal(as_json: bool) -> None:  # noqa: FBT001 - a parameter of pytest
    """Escapes, line ends, 8-bit controls and marks that turn the writing are spelled out."""
    stream = configured(as_json=as_json)
    name = "a\x1b[2J\r\n\x9b31m\u202e\x00b"
    logger.info("read", test=name)
    text = stream.getvalue().rstrip("\n")
    assert text.isprintable()
    assert "[2J" in text
    if as_json:
        assert json.loads(text)["test"] == name


def test_a_trace_is_set_in_so_that_no_line_of_it_passes_for_ours() -> None:
    """The text of an exception may come from outside too."""
    stream = configured()
    try:
        fail()
    except ValueError:
        logger.exception("a pass failed")
    first, *trace = after_time(stream)
    assert first == "ERROR   a pass failed"
    assert all(line.startswith("    ") for line in trace)
    assert "    ValueError: s | None | [secret] | \\x1b[31m" in trace
    assert SECRET not in stream.getvalue()


def test_a_json_line_holds_the_whole_trace() -> None:
    """With causes, without secrets."""
    stream = configured(as_json=True)
    try:
        fail()
    except ValueError:
        logger.exception("a pass failed")
    [line] = objects(stream)
    assert "KeyError: '[secret]'" in line["exception"]
    assert "direct cause" in line["exception"]


def test_a_trace_does_not_show_variables() -> None:
    """Loguru's own diagnosis would print them, tokens included."""
    stream = configured()
    hidden = "in-a-variable"
    try:
        len(hidden) / 0
    except ZeroDivisionError:
        logger.exception("a pass failed")
    assert "in-a-variable" not in stream.getvalue().replace('hidden = "in-a-variable"', "")


def test_a_long_field_is_cut_after_it_was_redacted() -> None:
    """So that no half of a secret is left at the cut."""
    stream = configured(as_json=True)
    logger.info("read", text="x" * 1995 + SECRET + "y" * 5000)
    [line] = objects(stream)
    assert line["text"] == "x" * 1995 + "[secr..."


def test_braces_in_what_a_pipeline_says_are_only_text() -> None:
    """Fields are not formatted."""
    stream = configured()
    logger.info("read", test="{0} {x} {")
    logging.getLogger("urllib3").warning("pool %s", "{x}")
    assert after_time(stream) == ['INFO    read test="{0} {x} {"', "WARNING pool {x} logger=urllib3"]


def test_the_log_of_libraries_is_taken_over_from_warning_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever their own level, each line once, however often logging was configured."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's own raise when arguments do not fit
    configured()
    stream = configured()
    library = logging.getLogger("apscheduler.test")
    library.setLevel(logging.DEBUG)
    library.info("added job")
    library.warning("missed %d", 1)
    library.warning("badly %d", "formatted")
    try:
        fail()
    except ValueError:
        library.exception("job failed")
    lines = after_time(stream)
    assert lines[:3] == [
        "WARNING missed 1 logger=apscheduler.test",
        "WARNING badly %d logger=apscheduler.test",
        "ERROR   job failed logger=apscheduler.test",
    ]
    assert "    KeyError: '[secret]'" in lines


def test_warnings_of_python_become_log_lines() -> None:
    """They would go to standard error unredacted."""
    stream = configured()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn(f"old {SECRET}", DeprecationWarning, stacklevel=1)
    [line] = after_time(stream)
    assert "DeprecationWarning: old [secret]" in line
    assert line.endswith("logger=py.warnings")


def test_an_unexpected_end_of_the_process_or_of_a_thread_is_logged_without_secrets() -> None:
    """The interpreter would print such a traceback as it is."""
    stream = configured()
    try:
        fail()
    except ValueError as error:
        sys.excepthook(ValueError, error, error.__traceback__)
    thread = threading.Thread(target=fail, name="poll")
    thread.start()
    thread.join()
    text = stream.getvalue()
    assert "CRITICAL ended by an error that nobody expected" in text
    assert "CRITICAL a thread ended by an error that nobody expected thread=poll" in text
    assert SECRET not in text


def test_a_closed_stream_stops_the_log_and_not_the_work() -> None:
    """The terminal is gone, the disk is full."""
    stream = configured()
    stream.close()
    logger.info("nobody reads this")


def test_the_journal_writes_its_own_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """$JOURNAL_STREAM is device:inode of the stream; it is inherited by what no longer writes to the journal."""
    with (tmp_path / "err").open("w") as stream:
        status = os.fstat(stream.fileno())
        name = f"{status.st_dev}:{status.st_ino}"
        assert is_journal(stream, {"JOURNAL_STREAM": name})
        assert not is_journal(stream, {"JOURNAL_STREAM": f"{status.st_dev}:1"})
        assert not is_journal(stream, {})
        assert not is_journal(io.StringIO(), {"JOURNAL_STREAM": name})
        monkeypatch.setenv("JOURNAL_STREAM", name)
        configure("INFO", json=False, secrets=[], stream=stream)
        logger.info("pass done", results=1)
    assert (tmp_path / "err").read_text() == "<6>INFO    pass done results=1\n"


@pytest.mark.parametrize(
    ("level", "number"), [("TRACE", 7), ("DEBUG", 7), ("INFO", 6), ("WARNING", 4), ("ERROR", 3), ("CRITICAL", 2)]
)
@pytest.mark.parametrize("as_json", [False, True])
def test_each_line_in_the_journal_has_its_priority(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    level: str,
    number: int,
    as_json: bool,  # noqa: FBT001 - a parameter of pytest
) -> None:
    """The lines of a trace too, so that `journalctl -p err` shows it whole; the journal takes the mark off."""
    with (tmp_path / "err").open("w") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        configure("TRACE", json=as_json, secrets=[], stream=stream)
        try:
            fail()
        except ValueError:
            logger.opt(exception=True).log(level, "a pass failed")
    lines = (tmp_path / "err").read_text().splitlines()
    assert len(lines) == 1 if as_json else len(lines) > 5
    assert {line[:3] for line in lines} == {f"<{number}>"}
    with (tmp_path / "err").open() as stream:
        assert journal_mark(logger.level(level).no, stream) == f"<{number}>"
    assert journal_mark(40, sys.stderr) == ""
    assert lines[0][3:].startswith("{" if as_json else level)


def test_what_is_raised_where_nobody_can_catch_it_is_logged_without_secrets() -> None:
    """In a `__del__`: the interpreter would print the trace as it is."""

    class Bad:
        def __del__(self) -> None:
            fail()

    stream = configured()
    bad = [Bad()]
    bad.clear()
    assert "an error that nobody could catch" in stream.getvalue()
    assert SECRET not in stream.getvalue()


def test_passwords_of_proxies_are_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """As they are, decoded, and as a request's header has them."""
    monkeypatch.setenv("https_proxy", "http://us:p%40ss-word@proxy.test:3128")
    stream = configured()
    header = b64encode(b"us:p@ss-word").decode()
    logger.info("seen", a="http://us:p%40ss-word@proxy.test:3128", b="p@ss-word", c=f"Basic {header}")
    assert after_time(stream) == [
        'INFO    seen a=http://[secret]@proxy.test:3128 b=[secret] c="Basic [secret]"',
    ]


def test_what_may_be_a_key_in_the_url_of_a_web_hook_is_a_secret() -> None:
    """Long pieces of its path and query; words stay readable."""
    url = "https://chat.test/services/T0123456789AB/hook?key=abcdefghijklmnop&x=1"
    redact = Redaction(keys_in(url))
    assert redact(f"POST {url}") == "POST [secret]"
    assert (
        redact("url: /services/T0123456789AB/hook?key=abcdefghijklmnop") == "url: /services/[secret]/hook?key=[secret]"
    )
    assert list(keys_in("")) == []


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def test_fields_are_dimmed_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless NO_COLOR is set."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    configure("INFO", json=False, secrets=[], stream=stream)
    logger.info("pass done", results=1)
    assert after_time(stream) == ["INFO    pass done \x1b[2mresults=1\x1b[0m"]
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    configure("INFO", json=False, secrets=[], stream=stream)
    logger.info("pass done", results=1)
    assert after_time(stream) == ["INFO    pass done results=1"]


def test_prints_of_a_library_become_log_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Also those without a line end, those to standard error, and those before an exception."""
    stream = configured()

    def library() -> None:
        print("page", 1)  # noqa: T201 - this is what is tested
        print("part", file=sys.stderr, end="")  # noqa: T201 - as above
        fail()

    with pytest.raises(ValueError, match="forged"), capture_prints():
        library()
    print("outside")  # noqa: T201 - as above
    assert after_time(stream) == ['DEBUG   a library printed text="page 1"', "DEBUG   a library printed text=part"]
    assert capsys.readouterr() == ("outside\n", "")


def test_prints_of_other_threads_go_on_as_ever(capsys: pytest.CaptureFixture[str]) -> None:
    """Blocks of two threads may overlap, and a block may stand in another; in the end all is as before."""
    stream = configured()
    before = sys.stdout, sys.stderr
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with capture_prints():
            entered.set()
            leave.wait(10)
            print("theirs")  # noqa: T201 - this is what is tested

    thread = threading.Thread(target=other)
    with capture_prints(), capture_prints():
        thread.start()
        entered.wait(10)
        print("mine")  # noqa: T201 - as above
    print("progress")  # noqa: T201 - as above
    leave.set()
    thread.join()
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr().out == "progress\n"
    assert [line.rpartition("=")[2] for line in after_time(stream)] == ["mine", "theirs"]


def test_logging_configured_inside_a_block_does_not_capture_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """It goes to the stream below."""
    with capture_prints():
        configure("DEBUG", json=False, secrets=[])
        print("hello")  # noqa: T201 - this is what is tested
    assert capsys.readouterr().err.endswith("DEBUG   a library printed text=hello\n")


SPELLINGS = [SECRET, quote(SECRET), quote(SECRET, safe=""), quote_plus(SECRET), quote(SECRET, safe="").lower()]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_a_secret_is_blotted_out(spelling: str) -> None:
    """As it is, and as it stands in urls."""
    assert Redaction([SECRET])(f"GET /?key={spelling}&x") == "GET /?key=[secret]&x"


def test_redaction_without_secrets_changes_nothing() -> None:
    """An empty secret is none."""
    assert Redaction(["", ""])("GET /?key=") == "GET /?key="


SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=40).map("glpat-{}".format)
"""Without the prefix some would be words of the log's own, like `exception`."""


@given(secret=SECRETS, as_json=st.booleans())
def test_no_secret_ever_gets_into_the_log(secret: str, as_json: bool) -> None:  # noqa: FBT001 - drawn by Hypothesis
    """Through the message, a field, its name, a list, a dictionary, a url, an exception, its cause or its notes."""
    stream = io.StringIO()
    configure("DEBUG", json=as_json, secrets=[secret], stream=stream)
    logger.bind(**{secret: 1}).info("fields", a=secret, b=[secret], c={"k": secret}, d=f"x{quote(secret, safe='')}y")
    logger.info(secret)
    cause, error = KeyError(secret), ValueError(secret, {"key": secret})
    cause.add_note(f"note {secret}")
    error.__cause__ = cause
    logger.opt(exception=error).error("failed", seen=secret)
    with capture_prints():
        print(secret)  # noqa: T201 - this is what is tested
    for text in [stream.getvalue(), *(str(line) for line in (objects(stream) if as_json else ()))]:
        assert secret not in text
        assert quote(secret, safe="") not in text
