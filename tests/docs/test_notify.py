"""docs/notify.md: its example scripts are run as they stand there, and its table names every key."""

from __future__ import annotations

import json
import re
import socket
import threading
from datetime import UTC, datetime
from email import message_from_bytes, policy
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.config.settings import NotifySettings
from reconciler.hooks import Event, Hooks
from reconciler.sandbox.messages import Request, Response
from reconciler.sandbox.server import Server
from reconciler.wire.post import post_json

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXT = (Path(__file__).parents[2] / "docs" / "notify.md").read_text("utf-8")
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
EVENT = Event("trouble", "GitLab", "the token is not accepted:\ncheck it, müde", NOON, NOON, Path("/l.db"), "vm")


def script(title: str, folder: Path, *changes: tuple[str, str]) -> Path:
    """Put one of the scripts where it can be run, with these words changed."""
    found = re.search(rf"## {title}\n.*?```python\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None
    text = found[1]
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / f"{title[2:]}.py"
    path.write_text(text)
    path.chmod(0o700)
    return path


def tell(*command: str) -> None:
    """Call it as the daemon does."""
    hooks = Hooks(NotifySettings(command=command), post=post_json)
    hooks.send(EVENT.body())
    hooks.close(20)


def test_the_table_names_every_key_and_no_other() -> None:
    """In any order."""
    table = TEXT.partition("| key | |")[2].partition("\n\n")[0]
    named = {name for line in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert named == set(EVENT.body())


def take_a_mail(listener: socket.socket) -> Iterator[bytes]:
    """Be a mail server for one mail (RFC 5321); give its lines."""
    client, _ = listener.accept()
    with client, client.makefile("rwb", buffering=0) as lines:
        lines.write(b"220 stand-in\r\n")
        while verb := lines.readline().split(b" ")[0].strip().upper():
            lines.write({b"DATA": b"354 go on\r\n", b"QUIT": b"221 bye\r\n"}.get(verb, b"250 ok\r\n"))
            if verb == b"DATA":
                while (line := lines.readline()) != b".\r\n":
                    yield line
                lines.write(b"250 ok\r\n")


def test_the_mail_arrives(tmp_path: Path) -> None:
    """With an umlaut and a line end in its text."""
    got: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=lambda: got.extend(take_a_mail(listener)), daemon=True)
        server.start()
        here = ('"localhost", 25', f'"127.0.0.1", {listener.getsockname()[1]}')
        tell(str(script("A mail", tmp_path, here)), "ops@example.com")
        server.join(10)
    mail = message_from_bytes(b"".join(got).replace(b"\r\n", b"\n"), policy=policy.default)
    assert mail["To"] == "ops@example.com"
    assert mail["Subject"] == "trouble: GitLab (reconciler on vm)"
    assert "the token is not accepted:\ncheck it, müde\n\nSince 2026-01-31T12:00:00Z" in mail.get_content()


class Chat:
    """Keeps what was posted."""

    name = "chat"

    def __init__(self) -> None:
        self.got: list[str] = []

    def __call__(self, request: Request) -> Response:
        """Take one message."""
        assert request.path == "/hook/T0123456789"
        self.got.append(json.loads(request.body)["text"])
        return Response.text("ok")


def test_the_chat_shows_it(tmp_path: Path) -> None:
    """Its url stands in a file."""
    chat = Chat()
    with Server(chat) as server:
        (tmp_path / "chat-url").write_text(f"{server.url}/hook/T0123456789\n")
        tell(str(script("A chat", tmp_path)), str(tmp_path / "chat-url"))
    [text] = chat.got
    assert text.startswith("🔴 *GitLab* on vm: the token is not accepted:")
