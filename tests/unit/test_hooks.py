"""Hooks: a person is told, whatever the command or the web hook does; and nobody waits for it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from loguru import logger

from reconciler import __version__, hooks
from reconciler.config.settings import NotifySettings
from reconciler.hooks import QUEUE, Event, Hooks
from reconciler.redaction import Redaction, keys_in
from reconciler.sandbox.faults import Answer, Fault, Stall
from reconciler.sandbox.messages import Request, Response
from reconciler.sandbox.server import Server
from reconciler.sandbox.tls import make_tls
from reconciler.wire.post import post_json
from tests.connect_proxy import ConnectProxy
from tests.unit.listening import from_now_on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
KEY = "abcdefghijklmnop"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no proxy of this machine take part."""
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def log() -> Iterator[list[dict[str, Any]]]:
    """Collect what is logged: message, level and fields of each line."""
    lines: list[dict[str, Any]] = []
    number = logger.add(
        lambda m: lines.append({"said": m.record["message"], **m.record["extra"]}), level="DEBUG", filter=from_now_on()
    )
    yield lines
    logger.remove(number)


class Keeper:
    """A web hook that keeps what it is sent."""

    name = "web hook"

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []

    def __call__(self, request: Request) -> Response:
        """Take one event."""
        assert (request.method, request.header("content-type")) == ("POST", "application/json")
        self.got.append(json.loads(request.body))
        return Response.text("thanks", 202)


def event(subject: str = "GitLab", text: str = "the token is not accepted") -> dict[str, object]:
    """Make an event."""
    return Event("trouble", subject, text, NOON, NOON, Path("/var/lib/ledger.db"), "vm").body()


@contextmanager
def hooked(folder: Path | None = None, *, wait_s: float = 10, **words: Any) -> Iterator[Hooks]:  # noqa: ANN401 - of the config
    """Give hooks that pause for a moment only; they are closed in the end."""
    told = Hooks(
        NotifySettings(**words), post=post_json, folder=folder, pauses_s=(0.02, 0.04), secrets=["s3cret-token"]
    )
    try:
        yield told
    finally:
        told.close(wait_s)
    assert told._thread is None or not told._thread.is_alive()


def python(code: str) -> tuple[str, ...]:
    """Give a command that runs this."""
    return sys.executable, "-c", code


def eventually(holds: Callable[[], bool]) -> bool:
    """Wait until something holds."""
    deadline = time.monotonic() + 60
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    return holds()


def is_running(pid: int) -> bool:
    """Tell whether a process is at work (one that ended and waits for its parent is not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_an_event_has_these_keys() -> None:
    """They are what people write scripts for: none is ever renamed."""
    assert event() == {
        "event": "trouble",
        "subject": "GitLab",
        "text": "the token is not accepted",
        "since": "2026-01-31T12:00:00Z",
        "at": "2026-01-31T12:00:00Z",
        "host": "vm",
        "version": __version__,
        "ledger": "/var/lib/ledger.db",
    }
    assert len(json.dumps(event(text="\U0001f534" * 100_000))) < 65_536


def test_nothing_is_started_where_nobody_wants_to_be_told() -> None:
    """No thread, and requests is not even imported."""
    with hooked() as quiet:
        quiet.send(event())
        assert quiet._thread is None
    code = "import sys, reconciler.hooks; sys.exit('requests' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- a command -------------------------------------------------------------------------------------------------------


def test_a_command_gets_the_event_on_its_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: list[dict[str, Any]]
) -> None:
    """No shell reads its words; it runs in the config's folder, in a session of its own, without our secrets."""
    monkeypatch.setenv("GITLAB_TOKEN", "s3cret-token")
    monkeypatch.setenv("SMTP_HOST", "mail.test")
    script = tmp_path / "tell.py"
    script.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        "seen = [sys.argv[1:], json.load(sys.stdin), dict(os.environ), os.getpid() == os.getsid(0)]\n"
        "open('seen', 'w').write(json.dumps(seen))\n"
    )
    script.chmod(0o700)
    with hooked(tmp_path, command=("./tell.py", "$HOME; `touch x` *")) as told:
        told.send(event())
    words, got, environ, leads = json.loads((tmp_path / "seen").read_text())
    assert (words, got, leads) == (["$HOME; `touch x` *"], event(), True)
    assert environ["SMTP_HOST"] == "mail.test"
    assert "s3cret-token" not in environ.values()
    assert log == [{"said": "A person was told", "hook": "notify.command", "event": "trouble", "subject": "GitLab"}]


@pytest.mark.parametrize(
    ("command", "detail"),
    [
        (python("import sys; print('no route'); print('to host', file=sys.stderr); sys.exit(3)"), "status 3: "),
        (python("import os; os.kill(os.getpid(), 9)"), "it was ended by signal 9"),
        (("/nowhere/tell",), "it cannot be run: No such file or directory"),
        ((str(Path(__file__)),), "it cannot be run: Permission denied"),
    ],
)
def test_a_command_that_fails_is_tried_three_times_and_then_dropped(
    log: list[dict[str, Any]], command: tuple[str, ...], detail: str
) -> None:
    """Each with a line; the next event is delivered all the same."""
    with hooked(command=command) as told:
        told.send(event())
        told.send(event("Rally"))
        assert eventually(lambda: len(log) == 6)
    said = ["it is tried again", "it is tried again", "that was the last try"]
    assert [line["said"] for line in log] == [f"A person could not be told: {text}" for text in said * 2]
    assert [line["subject"] for line in log] == ["GitLab"] * 3 + ["Rally"] * 3
    assert all(detail in line["detail"] for line in log)
    if "status" in detail:
        assert "no route" in log[0]["detail"]
        assert "to host" in log[0]["detail"]


def test_a_command_that_succeeds_the_second_time_is_not_run_again(tmp_path: Path, log: list[dict[str, Any]]) -> None:
    """It told."""
    code = "import os, sys; there = os.path.exists('once'); open('once', 'a').write('x'); sys.exit(not there)"
    with hooked(tmp_path, command=python(code)) as told:
        told.send(event())
        assert eventually(lambda: len(log) == 2)
    assert (tmp_path / "once").read_text() == "xx"
    assert log[1]["said"] == "A person was told"


@pytest.mark.slow
def test_a_command_that_hangs_is_killed_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: list[dict[str, Any]]
) -> None:
    """Its own process group, and nobody else."""
    monkeypatch.setattr(hooks, "COMMAND_S", 3)
    code = "sleep 60 & echo $$ $! >>pids; echo waiting; wait"
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as bystander:
        with hooked(tmp_path, command=("sh", "-c", code)) as told:
            told.send(event())
            assert eventually(lambda: len(log) == 3)
        pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
        assert len(pids) == 6
        assert eventually(lambda: not any(is_running(pid) for pid in pids))
        assert bystander.poll() is None
        bystander.kill()
    assert log[0]["detail"] == "it took too long and was killed: waiting"


def test_what_a_command_leaves_running_is_its_own_affair(tmp_path: Path, log: list[dict[str, Any]]) -> None:
    """A mailer that goes on in the background keeps our pipe open; it is not waited for, and not killed."""
    code = "import subprocess; print('ok'); open('pid', 'w').write(str(subprocess.Popen(['sleep', '60']).pid))"
    begun = time.monotonic()
    with hooked(tmp_path, command=python(code)) as told:
        told.send(event())
    pid = int((tmp_path / "pid").read_text())
    assert is_running(pid)
    os.kill(pid, 9)
    assert time.monotonic() - begun < 5
    assert [line["said"] for line in log] == ["A person was told"]


@pytest.mark.parametrize(
    "code",
    [
        "print('x' * 5_000_000); raise SystemExit(1)",
        "import os; os.close(0); os.close(1); os.close(2); os._exit(1)",
        "import os, time; os.close(1); os.close(2); time.sleep(0.2); os._exit(1)",
    ],
)
def test_a_command_may_print_much_or_nothing_and_need_not_read(log: list[dict[str, Any]], code: str) -> None:
    """The first few KB are kept, and nothing blocks."""
    with hooked(command=python(code)) as told:
        told.send(event())
        assert eventually(lambda: len(log) == 3)
    assert "it ended with status 1" in log[0]["detail"]
    assert len(log[0]["detail"]) < 5_000


# --- nobody waits ----------------------------------------------------------------------------------------------------


def test_sending_returns_at_once_and_the_oldest_is_dropped_when_too_many_wait(
    tmp_path: Path, log: list[dict[str, Any]]
) -> None:
    """The newest says how things are; what is dropped is logged."""
    code = "import json, sys, time; open('told', 'a').write(json.load(sys.stdin)['subject'] + ' '); time.sleep(60)"
    told = Hooks(NotifySettings(command=python(code)), post=post_json, folder=tmp_path)
    told.send(event("first"))
    assert eventually(lambda: (tmp_path / "told").exists() and (tmp_path / "told").read_text() != "")
    begun = time.monotonic()
    for number in range(QUEUE + 2):
        told.send(event(f"e{number}"))
    assert time.monotonic() - begun < 5
    dropped = [line["subject"] for line in log if line["said"] == "A message to a person is dropped: too many wait"]
    assert dropped == ["e0", "e1"]
    told.close(0.1)
    assert told._thread is not None
    told._thread.join(30)
    assert not told._thread.is_alive()
    late = [line["subject"] for line in log if line["said"] == "A person could not be told: there was no time"]
    assert [subject for subject in late if subject != "first"] == [f"e{number}" for number in range(2, QUEUE + 2)]


def test_closing_delivers_what_waits_without_pauses(tmp_path: Path, log: list[dict[str, Any]]) -> None:
    """A pause between two tries is cut short; what comes after the end is refused with a line."""
    code = "import os, sys; there = os.path.exists('once'); open('once', 'a').write('x'); sys.exit(not there)"
    told = Hooks(NotifySettings(command=python(code)), post=post_json, folder=tmp_path, pauses_s=(60, 60))
    told.send(event())
    told.send(event("Rally"))
    assert eventually(lambda: len(log) == 1)
    told.close(10)
    told.send(event("ledger"))
    assert [(line["subject"], line["said"]) for line in log[1:]] == [
        ("GitLab", "A person was told"),
        ("Rally", "A person was told"),
        ("ledger", "A message to a person comes too late"),
    ]


def test_closing_takes_no_longer_than_it_may(tmp_path: Path, log: list[dict[str, Any]]) -> None:
    """A command that hangs then is killed, and a POST is left behind; both with a line."""
    told = Hooks(NotifySettings(command=python("import time; time.sleep(60)")), post=post_json, folder=tmp_path)
    told.send(event())
    begun = time.monotonic()
    told.close(0.3)
    assert 0.3 <= time.monotonic() - begun < 10
    assert [line["subject"] for line in log][:1] == ["GitLab"]

    with Server(Keeper()) as server:
        server.faults.add(Fault(Stall(20, "before"), times=None))
        slow = Hooks(NotifySettings(url=server.url), post=post_json)
        slow.send(event("Rally"))
        assert eventually(lambda: len(server.log) == 1)
        left = next(thread for thread in reversed(threading.enumerate()) if thread.name == "hooks")
        begun = time.monotonic()
        slow.close(0.2)
        assert time.monotonic() - begun < 10
        assert [line for line in log if line["subject"] == "Rally"] == [
            {"said": "A person could not be told: there was no time", "event": "trouble", "subject": "Rally"}
        ]
    assert eventually(lambda: left not in threading.enumerate())  # or else its line gets into the next test's log


def test_an_event_that_is_no_json_and_a_hook_that_raises_anything_do_no_harm(log: list[dict[str, Any]]) -> None:
    """The thread lives on."""
    told: list[bytes] = []

    def post(url: str, body: bytes, longest_s: float) -> None:
        assert (url, longest_s > 0) == ("https://hooks.test/x", True)
        if b"bad" in body:
            raise KeyError("bad")
        told.append(body)

    odd: dict[str, object] = {"event": "trouble"}
    odd["itself"] = odd
    own = Hooks(NotifySettings(url="https://hooks.test/x"), post=post)
    for one in (odd, event("bad"), event("good")):
        own.send(one)
    own.close(5)
    assert [json.loads(body)["subject"] for body in told] == ["good"]
    assert [line["said"] for line in log] == ["A hook failed", "A hook failed", "A person was told"]


# --- a web hook ------------------------------------------------------------------------------------------------------


def test_an_event_is_posted_as_json() -> None:
    """And any 2xx is a yes."""
    keeper = Keeper()
    with Server(keeper) as server, hooked(url=f"{server.url}/in?key={KEY}") as told:
        told.send(event())
        assert eventually(lambda: keeper.got == [event()])
    assert server.log.entries()[0].query["key"] == [KEY]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Response.text("no", 500), r"answers HTTP 500"),
        (Response.text("no", 404), r"answers HTTP 404"),
        (Response(308, headers={"Location": "/x"}), r"sends us elsewhere \(HTTP 308\): write the final address there"),
    ],
)
def test_another_answer_is_a_failure(log: list[dict[str, Any]], answer: Response, says: str) -> None:
    """It is tried three times; no redirect is followed, and the log shows no key."""
    keeper = Keeper()
    with Server(keeper) as server, hooked(url=f"{server.url}/in/{KEY}") as told:
        server.faults.add(Fault(Answer(answer), times=None))
        told.send(event())
        assert eventually(lambda: len(log) == 3)
        assert len(server.log) == 3
    assert keeper.got == []
    for line in log:
        assert line["hook"] == "notify.url"
        assert re.search(says, line["detail"])
        assert KEY not in str(line)


def test_a_web_hook_that_is_down_or_not_trusted_is_told_without_its_key(
    tmp_path: Path, log: list[dict[str, Any]]
) -> None:
    """The texts of requests have the whole path in them."""
    with Server(Keeper()) as server:
        pass
    with hooked(url=f"{server.url}/in/{KEY}") as told:
        told.send(event())
        assert eventually(lambda: len(log) == 3)
    assert "refuses connections" in log[0]["detail"]
    log.clear()
    with Server(Keeper(), tls=make_tls(tmp_path)) as secure, hooked(url=f"{secure.url}/in/{KEY}") as told:
        told.send(event())
        assert eventually(lambda: len(log) == 3)
    assert "is not trusted" in log[0]["detail"]
    assert "SSL_CERT_FILE" in log[0]["detail"]
    assert KEY not in str(log)


def test_a_post_goes_through_the_proxy_and_trusts_what_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As all other traffic does."""
    tls, keeper = make_tls(tmp_path, "hooks.company.test"), Keeper()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls.ca_pem))
    with Server(keeper, tls=tls) as server, ConnectProxy({"hooks.company.test": server.port}) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with hooked(url="https://hooks.company.test/in") as told:
            told.send(event())
            assert eventually(lambda: keeper.got == [event()])
    assert proxy.asked == ["hooks.company.test:443"]


def test_one_way_that_fails_does_not_hold_up_the_other(log: list[dict[str, Any]]) -> None:
    """They take turns, and who has been told is not told again."""
    keeper = Keeper()
    with Server(keeper) as server, hooked(command=("/nowhere/tell",), url=server.url) as told:
        told.send(event())
        assert eventually(lambda: len(log) == 4)
    assert [line["hook"] for line in log] == ["notify.command", "notify.url", "notify.command", "notify.command"]
    assert len(keeper.got) == 1


def test_the_whole_url_is_blotted_out_of_what_a_command_prints() -> None:
    """Where a log is told of it, as the daemon's is."""
    url = f"https://hooks.test/in/{KEY}"
    assert KEY not in Redaction(keys_in(url))(f"curl: (22) {url} answered 404; path /in/{KEY}")


def test_threads_end(log: list[dict[str, Any]]) -> None:
    """A reload makes new hooks: nothing may pile up."""
    before = set(threading.enumerate())
    for _ in range(5):
        with hooked(command=python("")) as told:
            told.send(event())
    assert set(threading.enumerate()) <= before
    assert len(log) == 5
