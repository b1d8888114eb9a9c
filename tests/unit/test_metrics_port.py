"""The metrics' port: what is answered, and who can hold it up, which is nobody."""

from __future__ import annotations

import gzip
import socket
import sys
import threading
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics

from reconciler.config import MetricsSettings
from reconciler.config.urls import Address
from reconciler.errors import Misconfigured
from reconciler.metrics import Metrics, serving
from reconciler.metrics import server as server_module
from reconciler.vitals import LONGEST_STALL_S
from tests.unit.metered import Daemon, fill, free_port, opened, served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """Give one with an empty ledger; nothing listens yet."""
    with opened(tmp_path) as found:
        yield found


@pytest.fixture
def port(daemon: Daemon) -> Iterator[Metrics]:
    """Let it be served."""
    with served(daemon) as metrics:
        yield metrics


# --- health ---


def test_live_is_who_gets_on_and_ready_is_who_has_made_a_pass(daemon: Daemon) -> None:
    """In one line each; a pass that is overdue is neither."""
    with served(daemon):
        assert daemon.ask("/health/live")[:2] == (200, b"ok\n")
        assert daemon.ask("/health/ready")[:2] == (503, b"no pass has ended yet\n")
        daemon.passes("gitlab", seconds=1)
        assert daemon.ask("/health/ready")[:2] == (200, b"ok\n")
        daemon.late_s = LONGEST_STALL_S + 50
        for path in ("/health/live", "/health/ready"):
            status, body, _ = daemon.ask(path)
            assert status == 503
            assert body == b"no progress for 950 s: a pass hangs, or none begins; restart the daemon\n"


def test_before_the_first_look_it_lives_and_is_not_ready(daemon: Daemon) -> None:
    """The port is there before the passes are."""
    with serving(MetricsSettings(listen=daemon.address), daemon.source):
        assert daemon.ask("/health/live")[0] == 200
        assert daemon.ask("/health/ready")[0] == 503
        assert daemon.numbers()("ledger_readable") == 1


# --- the port ---


def test_nothing_but_three_paths_is_there(daemon: Daemon, port: Metrics) -> None:
    """A query is passed over; whatever else is asked for is not found."""
    assert port is not None
    assert daemon.ask("/metrics?x=1")[0] == 200
    for path in (
        "/",
        "/metrics/",
        "/metricsx",
        "/health",
        "/health/live/x",
        "/favicon.ico",
        "/../metrics",
        "//x/[",
        "*",
    ):
        status, body, headers = daemon.ask(path)
        assert (status, body) == (404, b"there are /metrics, /health/live and /health/ready\n"), path
        assert headers["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"])
def test_only_get_and_head_are_answered(daemon: Daemon, port: Metrics, method: str) -> None:
    """With 405 and what is allowed, as RFC 9110 wants."""
    status, body, headers = daemon.ask("/metrics", method)
    assert (status, headers["Allow"], body) == (405, "GET, HEAD", b"GET and HEAD are answered\n")
    assert port is not None


def test_head_is_get_without_the_body(daemon: Daemon, port: Metrics) -> None:
    """Same status, same type."""
    assert port is not None
    for path, wanted in (("/metrics", 200), ("/health/ready", 503), ("/x", 404)):
        status, body, headers = daemon.ask(path, "HEAD")
        assert (status, body) == (wanted, b"")
        assert int(headers["Content-Length"]) > 0


def test_the_format_and_the_compression_are_those_that_are_asked_for(daemon: Daemon, port: Metrics) -> None:
    """Plain text unless OpenMetrics is wanted; both parse."""
    assert port is not None
    fill(daemon.ledger)
    daemon.passes("gitlab", seconds=3)
    _, _, headers = daemon.ask("/metrics")
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    _, body, headers = daemon.ask("/metrics", Accept=accept, Accept_Encoding="gzip")
    assert headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert headers["Content-Encoding"] == "gzip"
    families = openmetrics(gzip.decompress(body).decode())  # type: ignore[no-untyped-call]  # the library's
    names = {family.name for family in families}
    assert {"reconciler_build", "reconciler_requests", "reconciler_pass_duration_seconds"} <= names
    assert "process_start_time_seconds" not in names
    assert "process_resident_memory_bytes" in names or not sys.platform.startswith("linux")


def test_ipv6_is_listened_at_too(daemon: Daemon) -> None:
    """As `[::1]:9464` in the config."""
    try:
        daemon.address = Address("::1", free_port("::1"))
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with served(daemon):
        assert daemon.ask("/health/live")[0] == 200


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("127.0.0.1", "is in use by another program: give another port, or end that program"),
        ("192.0.2.1", "give an address of this machine"),
        ("no-such-host.invalid", "give an address of this machine"),
    ],
)
def test_an_address_that_cannot_be_had_is_told_in_a_sentence(daemon: Daemon, host: str, said: str) -> None:
    """Before anything else begins; the port of this machine is taken here."""
    with served(daemon):
        settings = MetricsSettings(listen=Address(host, daemon.address.port))
        with (
            pytest.raises(Misconfigured, match=rf"^metrics\.listen: .*{host}:\d+.*{said}$"),
            serving(settings, daemon.source),
        ):
            pass


def test_the_port_is_free_again_at_once(daemon: Daemon) -> None:
    """As when the config is read again; no thread is left."""
    before = set(threading.enumerate())
    for _ in range(3):
        with served(daemon):
            assert daemon.ask("/metrics")[0] == 200
    deadline = time.monotonic() + 30
    while not set(threading.enumerate()) <= before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert set(threading.enumerate()) <= before


@pytest.mark.slow
def test_slow_clients_hold_nothing(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many say nothing, those who ask are answered, and the silent ones are cut off in time."""
    monkeypatch.setattr(server_module, "LONGEST_S", 3)
    monkeypatch.setattr(server_module._Exchange, "timeout", 60)  # which would end them late, but end them
    with served(daemon), ExitStack() as stack:
        where = (daemon.address.host, daemon.address.port)
        silent = [stack.enter_context(socket.create_connection(where, 10)) for _ in range(3 * server_module.AT_ONCE)]
        for connection in silent[::2]:
            connection.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
        began = time.monotonic()
        assert daemon.ask("/metrics")[0] == 200
        assert time.monotonic() - began < 2
        for connection in silent:
            connection.settimeout(10)
            assert connection.recv(1) == b""


def test_whoever_drips_is_cut_off_too(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then keeps no connection."""
    monkeypatch.setattr(server_module, "LONGEST_S", 0.5)
    with served(daemon), socket.create_connection((daemon.address.host, daemon.address.port), 10) as dripping:
        began = time.monotonic()
        with suppress(ConnectionError):
            while time.monotonic() - began < 10:
                dripping.sendall(b"G")
                time.sleep(0.05)
        assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    "said", [b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"GET /metrics HTTP/9.9\r\n\r\n", b"G" * 70_000]
)
def test_noise_is_answered_or_cut_off_and_does_no_harm(daemon: Daemon, port: Metrics, said: bytes) -> None:
    """A TLS hello, no path, a version that is none, a line without an end."""
    assert port is not None
    with socket.create_connection((daemon.address.host, daemon.address.port), 5) as noisy:
        noisy.sendall(said + b"\r\n\r\n")
    assert daemon.ask("/health/live")[0] == 200
