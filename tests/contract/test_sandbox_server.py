"""The sandbox's server: HTTP as it should be, and each way in which it can be made to go wrong."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
import requests

from reconciler.sandbox.faults import (
    Answer,
    Drip,
    Fault,
    Faults,
    KillClient,
    LateLanding,
    Reset,
    Stall,
    Truncate,
    page,
    too_many,
    unavailable,
)
from reconciler.sandbox.messages import Request, Response
from reconciler.sandbox.server import Dropped, Server, TimeModel
from reconciler.sandbox.tls import make_tls
from tests.contract.unhurried import Held, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Notebook:
    """An application that keeps what is posted to it."""

    name = "notebook"

    def __init__(self) -> None:
        self.kept: list[bytes] = []

    def __call__(self, request: Request) -> Response:
        """Keep what is written; some paths are special."""
        match request.path:
            case "/stream":
                return Response(body=(b"x" * 65536 for _ in range(160)), headers={"Content-Length": str(160 * 65536)})
            case "/chunks":
                return Response(body=iter([b"one", b"", b"two"]))
            case "/bug":
                raise ZeroDivisionError("a mistake in the stand-in")
            case "/cut":
                raise Dropped
        if request.is_write:
            self.kept.append(request.body)
            return Response.json({"kept": len(self.kept)}, 201)
        return Response.json({"path": request.path, "query": dict(request.query), "x": request.header("X-Word")})


@pytest.fixture
def server() -> Iterator[Server]:
    """Run a server of a Notebook."""
    with Server(Notebook()) as running:
        yield running


def kept(server: Server) -> list[bytes]:
    """Look at what the application was given."""
    assert isinstance(server.app, Notebook)
    return server.app.kept


@pytest.fixture
def client() -> Iterator[requests.Session]:
    """Give a client that takes nothing from the environment."""
    with requests.Session() as session:
        session.trust_env = False
        yield session


def test_a_request_reaches_the_application_decoded(server: Server, client: requests.Session) -> None:
    """Path and query are percent-decoded, the target stays as it was, headers are found in any case."""
    answer = client.get(f"{server.url}/a%20b?q=1%2B1&q=&r=", headers={"x-word": "yes"})
    assert answer.json() == {"path": "/a b", "query": {"q": ["1+1", ""], "r": [""]}, "x": "yes"}
    [entry] = server.log
    assert (entry.target, entry.status, entry.fault) == ("/a%20b?q=1%2B1&q=&r=", 200, "")


def test_one_connection_serves_many_requests_without_delay(server: Server, client: requests.Session) -> None:
    """Keep-alive works, and Nagle's algorithm does not cost 40 ms an answer: at best, for the machine may be busy."""
    best = min(_time_of_fifty(server, client) for _ in range(3))
    assert best < 1.0
    assert server.log.counts() == {("GET", "/items/{n}"): 150}
    assert server.log.most_at_once() == 1


def _time_of_fifty(server: Server, client: requests.Session) -> float:
    started = time.monotonic()
    for number in range(50):
        client.get(f"{server.url}/items/{number}")
    return time.monotonic() - started


def test_bodies_are_streamed_with_a_length_or_in_chunks(server: Server, client: requests.Session) -> None:
    """An iterable body is never held in memory as a whole."""
    assert len(client.get(f"{server.url}/stream").content) == 160 * 65536
    chunks = client.get(f"{server.url}/chunks")
    assert chunks.content == b"onetwo"
    assert chunks.headers["Transfer-Encoding"] == "chunked"
    assert client.head(f"{server.url}/stream").headers["Content-Length"] == str(160 * 65536)
    assert client.get(f"{server.url}/items").json()["path"] == "/items"


def test_a_mistake_in_the_application_is_a_500_and_is_kept(server: Server, client: requests.Session) -> None:
    """It must not look like a fault of the network."""
    assert client.get(f"{server.url}/bug").status_code == 500
    assert [type(crash) for crash in server.crashes] == [ZeroDivisionError]


def test_an_application_may_cut_the_connection(server: Server, client: requests.Session) -> None:
    """Dropped has no answer."""
    with pytest.raises(requests.ConnectionError):
        client.get(f"{server.url}/cut")
    assert [entry.status for entry in server.log] == [0]


@pytest.mark.parametrize(("when", "done"), [("before", 0), ("after", 1)])
def test_a_reset_comes_before_or_after_the_write_was_done(
    server: Server, client: requests.Session, when: str, done: int
) -> None:
    """The client cannot tell the two apart; the application can."""
    server.faults.add(Fault(Reset("before" if when == "before" else "after"), method="POST"))
    with pytest.raises(requests.ConnectionError) as caught:
        client.post(f"{server.url}/notes", data=b"hello")
    assert "reset" in str(caught.value).lower()
    assert len(kept(server)) == done
    assert [(entry.fault, entry.status) for entry in server.log] == [("Reset", 0)]


def test_a_page_may_be_answered_with_or_without_doing_what_was_asked(server: Server, client: requests.Session) -> None:
    """HTML with status 200, and a 502 after the write was done."""
    server.faults.add(Fault(page(200, "Please log in")))
    answer = client.post(f"{server.url}/notes", data=b"1")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    server.faults.add(Fault(page(502, when="after")))
    assert client.post(f"{server.url}/notes", data=b"2").status_code == 502
    assert kept(server) == [b"2"]


def test_retry_after_comes_as_seconds_and_as_a_date(server: Server, client: requests.Session) -> None:
    """429 is plain text as GitLab's is; 503 is a page."""
    server.faults.add(Fault(too_many(7)))
    answer = client.get(server.url)
    assert (answer.status_code, answer.headers["Retry-After"], answer.text) == (429, "7", "Retry later\n")
    server.faults.add(Fault(unavailable(7, as_date=True)))
    assert client.get(server.url).headers["Retry-After"].endswith("GMT")
    server.faults.add(Fault(unavailable()))
    assert "Retry-After" not in client.get(server.url).headers


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_an_answer_cut_off_in_the_middle_is_noticed(server: Server, client: requests.Session, framing: str) -> None:
    """Content-Length and chunks show that something is missing."""
    server.faults.add(Fault(Truncate(5, "length" if framing == "length" else "chunked")))
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        client.get(f"{server.url}/items")
    assert client.get(f"{server.url}/items").ok


def test_a_close_delimited_answer_is_cut_off_unnoticed(server: Server, client: requests.Session) -> None:
    """Only the content can tell."""
    server.faults.add(Fault(Truncate(5, "close")))
    assert client.get(f"{server.url}/items").text == '{"pat'


def test_a_stall_delays_the_answer_and_optionally_the_doing(server: Server, client: requests.Session) -> None:
    """After a time-out the write may be done already, or be done later."""
    late = Held(Stall(0.1, "before"))
    server.faults.add(Fault(Stall(30, "after"), body="early"))
    server.faults.add(Fault(late, body="late"))
    for text in ("early", "late"):
        with pytest.raises(requests.exceptions.ReadTimeout):
            client.post(f"{server.url}/notes", data=text, timeout=(10, 0.1))
    assert eventually(lambda: kept(server) == [b"early"] and len(server.log) == 2)
    late.go.set()
    assert eventually(lambda: kept(server) == [b"early", b"late"])


def test_a_late_landing_is_done_after_the_client_was_cut_off(server: Server, client: requests.Session) -> None:
    """The client looks at once and sees nothing; a moment later it is there."""
    held = Held(LateLanding(0.1))
    server.faults.add(Fault(held))
    with pytest.raises(requests.ConnectionError):
        client.post(f"{server.url}/notes", data=b"hello")
    assert kept(server) == []
    held.go.set()
    assert eventually(lambda: kept(server) == [b"hello"])


def test_a_late_landing_may_come_with_an_answer(server: Server, client: requests.Session) -> None:
    """A proxy gives up with 504 while the server behind it goes on."""
    held = Held(LateLanding(0.1, Response.html("504 Gateway Timeout", 504)))
    server.faults.add(Fault(held))
    assert client.post(f"{server.url}/notes", data=b"hello").status_code == 504
    assert client.get(f"{server.url}/items").ok
    assert kept(server) == []
    held.go.set()
    assert eventually(lambda: kept(server) == [b"hello"])


def test_a_slow_drip_arrives_whole(server: Server, client: requests.Session) -> None:
    """Each piece comes in time, all of them take long."""
    server.faults.add(Fault(Drip(8, 0.02)))
    started = time.monotonic()
    assert client.get(f"{server.url}/items", timeout=5).json()["path"] == "/items"
    assert time.monotonic() - started > 0.05


def test_a_fault_strikes_the_nth_match_and_so_many_times(server: Server, client: requests.Session) -> None:
    """Method, path, body, writes only: what does not match does not count."""
    fault = server.faults.add(Fault(page(503), path=r"^/notes", writes_only=True, nth=2, times=2))
    client.get(f"{server.url}/notes")
    client.post(f"{server.url}/other")
    statuses = [client.post(f"{server.url}/notes", data=b"x").status_code for _ in range(5)]
    assert statuses == [201, 503, 503, 201, 201]
    assert fault.hits == 2


def test_a_fault_may_look_at_the_body(server: Server, client: requests.Session) -> None:
    """A predicate sees the bytes."""
    server.faults.add(Fault(page(413), body=lambda body: len(body) > 3, times=None))
    assert [client.post(server.url, data=b"x" * n).status_code for n in (3, 4, 3)] == [201, 413, 201]


def test_maintenance_is_switched_on_and_off_or_ends_by_itself(server: Server, client: requests.Session) -> None:
    """Rally answers 502 or 401 then."""
    window = server.faults.maintenance(401)
    assert client.get(server.url).status_code == 401
    server.faults.remove(window)
    assert client.get(server.url).status_code == 200
    window = server.faults.maintenance(502, after_s=60, for_s=60)
    assert client.get(server.url).status_code == 200
    window.added -= 70  # as if so much time had passed
    assert client.get(server.url).status_code == 502
    window.added -= 60
    assert client.get(server.url).status_code == 200


def test_connections_are_refused_while_the_server_is_down(server: Server, client: requests.Session) -> None:
    """Open connections are cut, new ones refused, and the address is the same afterwards."""
    url = server.url
    assert client.get(url).ok
    with server.refusing(), pytest.raises(requests.ConnectionError) as caught:
        requests.get(url, timeout=5)
    assert "refused" in str(caught.value)
    assert server.url == url
    assert client.get(url).ok


def test_stopping_does_not_wait_for_stalled_requests(client: requests.Session) -> None:
    """A stand-in must not hold up the tests."""
    with Server(Notebook(), faults=Faults(Fault(Stall(60)))) as server, pytest.raises(requests.exceptions.ReadTimeout):
        client.get(server.url, timeout=0.1)
    started = time.monotonic()
    server.stop()
    assert time.monotonic() - started < 2


def test_time_is_charged_per_request_and_per_object_and_only_so_many_are_served_at_once() -> None:
    """Six requests of 0.3 s, three at once, take two rounds."""
    with Server(Notebook(), time_model=TimeModel(request_s=0.3, at_once=3)) as server:
        started = time.monotonic()
        together = threading.Barrier(6)
        threads = [threading.Thread(target=_get, args=(server.url, together)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        elapsed = time.monotonic() - started
    assert elapsed > 0.55
    assert server.log.most_at_once() > 3
    assert TimeModel(request_s=0.2, created_s=0.02).cost_s(Response(created=50)) == pytest.approx(1.2)


def _get(url: str, together: threading.Barrier) -> None:
    with requests.Session() as session:
        session.trust_env = False
        together.wait(30)
        session.get(url, timeout=10)


_CLIENT = """
import sys, requests
session = requests.Session()
session.trust_env = False
for n in range(5):
    session.post(sys.argv[1] + "/notes", data=str(n))
"""


@pytest.mark.parametrize(("when", "done"), [("before", [b"0"]), ("after", [b"0", b"1"])])
def test_the_client_is_killed_at_its_nth_write(server: Server, when: str, done: list[bytes]) -> None:
    """SIGKILL before or after the write was stored."""
    process: list[subprocess.Popen[bytes]] = []
    action = KillClient(lambda: process[0].pid, "before" if when == "before" else "after")
    server.faults.add(Fault(action, writes_only=True, nth=2))
    process.append(subprocess.Popen([sys.executable, "-c", _CLIENT, server.url]))
    assert process[0].wait(30) == -signal.SIGKILL
    assert kept(server) == done


def test_the_sandbox_does_not_kill_itself() -> None:
    """A wrong process id is a mistake in the test."""
    fault = Fault(KillClient(os.getpid(), "before"))
    with Server(Notebook(), faults=Faults(fault)) as server, requests.Session() as session:
        session.trust_env = False
        with pytest.raises(requests.ConnectionError):
            session.get(server.url)
        assert [type(crash) for crash in server.crashes] == [ValueError]


def test_https_is_trusted_through_the_sandboxs_own_authority(tmp_path: Path, client: requests.Session) -> None:
    """Its PEM file is what `ca_bundle` is for; without it the client refuses, and the server goes on."""
    tls = make_tls(tmp_path)
    with Server(Notebook(), tls=tls) as server:
        assert server.url.startswith("https://127.0.0.1:")
        with pytest.raises(requests.exceptions.SSLError):
            client.get(server.url)
        assert client.get(server.url, verify=str(tls.ca_pem)).ok
        server.faults.add(Fault(Reset("after")))
        with pytest.raises(requests.ConnectionError):
            client.post(server.url, data=b"x", verify=str(tls.ca_pem))
        assert kept(server) == [b"x"]


def test_a_request_broken_off_in_the_middle_never_reaches_the_application(server: Server) -> None:
    """A client that dies while it sends has written nothing."""
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(b"POST /notes HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
    time.sleep(0.1)
    assert kept(server) == []
    assert len(server.log) == 0


def test_a_fault_may_answer_anything(server: Server, client: requests.Session) -> None:
    """Status, body and headers are free."""
    server.faults.add(Fault(Answer(Response(418, b"short", {"X-Tea": "pot"}))))
    answer = client.get(server.url)
    assert (answer.status_code, answer.content, answer.headers["X-Tea"]) == (418, b"short", "pot")
