"""Reads are tried again with patience, writes are sent once, and both can be interrupted."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.errors import (
    Incomplete,
    NoAnswer,
    NotDone,
    ReconcilerError,
    ServiceDown,
    Stopped,
    Unauthorized,
)
from reconciler.sandbox.faults import Action, Answer, Drip, Fault, Reset, Stall, Truncate, page, too_many, unavailable
from reconciler.sandbox.messages import Request, Response
from reconciler.sandbox.server import Server
from reconciler.wire import Clock, Endpoint, LibrarySession, Limits, Service, ServiceSession, Wire
from tests.contract.unhurried import Held, InPause, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECRET = "_s3cret/key"  # noqa: S105 - of no server
GITLAB = Service("GitLab", "check gitlab.token")
RALLY = Service("Rally", "check rally.api_key, or Rally is in maintenance", denies_in_maintenance=True)


class Echo:
    """Answers everything with its path."""

    name = "echo"

    def __call__(self, request: Request) -> Response:
        """Answer one request."""
        return Response.json({"path": request.path})


@dataclass
class Time:
    """A clock that only pauses move."""

    at: float = 1000.0
    pauses: list[float] = field(default_factory=list)
    on_pause: Callable[[], object] = lambda: None

    def pause(self, stop: threading.Event, seconds: float) -> None:  # noqa: ARG002 - as the real one
        """Let time pass."""
        self.pauses.append(seconds)
        self.at += seconds
        self.on_pause()

    @property
    def clock(self) -> Clock:
        """The clock to hand in."""
        return Clock(lambda: self.at, self.pause)


@dataclass
class Client:
    """A wire and a session against one server."""

    server: Server
    wire: Wire
    session: ServiceSession
    stop: threading.Event

    def get(self, path: str = "/thing") -> Any:  # noqa: ANN401 - JSON
        """Read one document."""
        url = self.server.url + path
        return self.wire.read(url, lambda: self.session.once("GET", url)).document

    def post(self, path: str = "/thing") -> int:
        """Write once; gives the status."""
        url = self.server.url + path
        send = lambda: self.session.once("POST", url, data=b"{}", allow_redirects=False)  # noqa: E731 - a callback
        return self.wire.write(url, send).status

    def fail(self, action: Action, *, times: int | None = 1, path: str = "", method: str = "") -> Fault:
        """Make the server misbehave."""
        return self.server.faults.add(Fault(action, times=times, path=path, method=method))

    def stop_once_asked(self) -> None:
        """Stop it a moment after the server has got its next request."""
        before = len(self.server.log)

        def wait() -> None:
            if eventually(lambda: len(self.server.log) > before):
                time.sleep(0.2)
                self.stop.set()

        threading.Thread(target=wait, daemon=True).start()


@pytest.fixture
def server() -> Iterator[Server]:
    """Serve echoes."""
    with Server(Echo()) as running:
        yield running


@pytest.fixture
def moment() -> Time:
    """Give a clock that stands still."""
    return Time()


@pytest.fixture
def connect(server: Server, moment: Time) -> Iterator[Callable[..., Client]]:
    """Make clients of the server."""
    made: list[Client] = []

    def make(service: Service = GITLAB, *, clock: Clock | None = None, read_s: float = 5, **limits: Any) -> Client:  # noqa: ANN401 - of Limits
        stop = threading.Event()
        wire = Wire(service, stop=stop, limits=Limits(**limits), secrets=[SECRET], clock=clock or moment.clock)
        session = ServiceSession(Endpoint(server.url, read_s=read_s))
        if service is GITLAB:
            alive = f"{server.url}/alive"
            wire.ask_when_in_doubt(alive, lambda: session.once("GET", alive))
        made.append(Client(server, wire, session, stop))
        return made[-1]

    yield make
    for client in made:
        client.stop.set()
        client.session.close()


# --- reads -----------------------------------------------------------------------------------------------------------

TRANSIENT = [
    page(502),
    page(200, "Sign in"),
    unavailable(),
    Answer(Response.json({}, 408)),
    Answer(Response.text("not json", content_type="application/json")),
    Answer(Response(200, b"")),
    Truncate(5),
    Truncate(5, "chunked"),
    Truncate(5, "close"),
    Reset("before"),
    Reset("after"),
    Answer(Response(302, headers={"Location": "https://login.example.com/"})),
]


@pytest.mark.parametrize(
    "action",
    TRANSIENT,
)
def test_a_read_is_tried_again_until_it_is_whole(connect: Callable[..., Client], moment: Time, action: Action) -> None:
    """Statuses, pages, cut answers and cut connections are all one to a read."""
    client = connect()
    client.fail(action, times=2)
    assert client.get() == {"path": "/thing"}
    assert len(moment.pauses) == 2
    assert all(0 <= pause <= 1 for pause in moment.pauses)


def test_pauses_grow_and_are_random(connect: Callable[..., Client], moment: Time) -> None:
    """Full jitter: each pause is a random part of a limit that doubles."""
    client = connect(RALLY, patience_s=1e6, longest_wait_s=64)
    client.fail(page(503), times=7, path="thing")
    client.get()
    assert all(pause <= 0.5 * 2**number for number, pause in enumerate(moment.pauses))
    assert len(set(moment.pauses)) == 7


@pytest.mark.parametrize(
    ("text", "seconds"), [("7", 7.0), ("1.5", 1.5), ("3600", 120.0), ("soon", 0.0), ("-5", 0.0), ("nan", 0.0)]
)
def test_retry_after_is_obeyed(connect: Callable[..., Client], moment: Time, text: str, seconds: float) -> None:
    """Whole and fractional seconds, with a cap; nonsense is as good as nothing."""
    client = connect(patience_s=1000)
    client.fail(Answer(Response(503, headers={"Retry-After": text})))
    client.get()
    assert seconds <= sum(moment.pauses) <= seconds + 0.5


def test_retry_after_as_a_date_goes_by_the_servers_clock(connect: Callable[..., Client], moment: Time) -> None:
    """Python-gitlab 8.6 crashes on it."""
    client = connect()
    client.fail(too_many(30, as_date=True))
    client.get()
    assert 28 <= sum(moment.pauses) <= 31


def test_a_429_stops_all_threads_of_the_service(connect: Callable[..., Client]) -> None:
    """Others wait too, though they were not told themselves."""
    client = connect(clock=Clock())
    client.fail(too_many(1))
    first = threading.Thread(target=client.get)
    first.start()
    assert eventually(lambda: client.wire._limiter._not_before > 0)
    client.get("/other")
    first.join()
    limited, *later = client.server.log
    assert sorted(entry.path for entry in later) == ["/other", "/thing"]
    assert all(entry.started >= limited.started + 1 for entry in later)


def test_an_endless_429_ends_in_service_down(connect: Callable[..., Client], moment: Time) -> None:
    """We ask ten times in all, and no longer than our patience lasts."""
    client = connect(patience_s=1000)
    client.fail(too_many(60), times=None)
    with pytest.raises(ServiceDown, match="GitLab: HTTP 429"):
        client.get()
    assert len(client.server.log) == 10
    assert sum(moment.pauses) >= 9 * 60


def test_a_429_that_asks_for_more_than_our_patience_is_left_to_the_next_pass(
    connect: Callable[..., Client], moment: Time
) -> None:
    """A one-shot waits for less than a minute in all."""
    client = connect(patience_s=25)
    client.fail(too_many(3600), times=None)
    with pytest.raises(ServiceDown, match="GitLab: HTTP 429"):
        client.get()
    assert len(client.server.log) == 1
    assert moment.pauses == []


def test_a_spent_budget_is_waited_out(connect: Callable[..., Client], moment: Time) -> None:
    """`RateLimit-Remaining: 0` holds the next request back until `RateLimit-Reset`."""
    client = connect()
    spent = {"RateLimit-Remaining": "0", "RateLimit-Reset": str(int(time.time()) + 20)}
    client.fail(Answer(Response(200, b"{}", spent)))
    client.get()
    assert moment.pauses == []
    client.get()
    assert 17 <= sum(moment.pauses) <= 20


def test_a_server_that_is_down_is_waited_for_with_patience(connect: Callable[..., Client], moment: Time) -> None:
    """It comes back within patience: nobody need know."""
    client = connect()
    moment.on_pause = lambda: client.server.start() if moment.at > 1030 else None
    client.server.stop()
    assert client.get() == {"path": "/thing"}


def test_patience_ends(connect: Callable[..., Client], moment: Time) -> None:
    """At most a minute in all; afterwards nothing is sent for a while, and then one probe."""
    client = connect()
    client.server.stop()
    with pytest.raises(ServiceDown, match=r"GitLab: 127\.0\.0\.1:\d+ refuses connections: is it up"):
        client.get()
    waited = moment.at - 1000
    assert 20 <= waited <= 60
    with pytest.raises(ServiceDown):
        client.get()
    assert moment.at - 1000 == waited


def test_one_bad_resource_is_incomplete_and_the_breaker_stays_closed(
    connect: Callable[..., Client], moment: Time
) -> None:
    """The server gives a sign of life: only this one thing is left for a later pass, however many of them there are."""
    client = connect()
    client.fail(page(500), times=None, path="bad")
    for number in range(7):
        with pytest.raises(Incomplete, match=f"GitLab: /bad{number}: HTTP 500"):
            client.get(f"/bad{number}")
        assert len(client.server.log.entries(path=f"bad{number}")) == 5
    assert moment.at - 1000 < 7 * 7.5
    assert client.get("/good")


def test_bad_answers_for_everything_mean_that_the_server_is_down(connect: Callable[..., Client], moment: Time) -> None:
    """Then it is waited for, up to the end of patience, though it answered a moment ago."""
    client = connect()
    client.get("/good")
    client.server.faults.maintenance()
    with pytest.raises(ServiceDown, match="502"):
        client.get("/first")
    assert 30 <= moment.at - 1000 <= 60


def test_a_service_of_which_nothing_can_be_spared_is_down_with_any_part(
    connect: Callable[..., Client], moment: Time
) -> None:
    """Rally: a look-up that fails is waited for."""
    client = connect(RALLY)
    client.get("/good")
    client.fail(page(500), times=None, path="bad")
    with pytest.raises(ServiceDown, match="500"):
        client.get("/bad")
    assert 30 <= moment.at - 1000 <= 60


def test_one_thing_that_always_comes_late_is_incomplete(connect: Callable[..., Client]) -> None:
    """A slow report is no reason to think that GitLab is down."""
    client = connect(read_s=1, clock=Clock(), patience_s=2.5, first_wait_s=0.01)
    client.fail(Stall(10), times=None, path="slow")
    with pytest.raises(Incomplete, match=r"/slow: .* did not answer in time"):
        client.get("/slow")


def test_the_breaker_opens_and_lets_one_probe_through(connect: Callable[..., Client], moment: Time) -> None:
    """While it is open nothing is sent; the pause until the next probe doubles."""
    client = connect(RALLY, patience_s=0)
    client.server.faults.maintenance()
    for number in range(5):
        with pytest.raises(ServiceDown):
            client.get(f"/{number}")
    sent = len(client.server.log)
    with pytest.raises(ServiceDown, match="502"):
        client.get()
    assert len(client.server.log) == sent
    moment.at += 5.1
    with pytest.raises(ServiceDown):
        client.get()
    assert len(client.server.log) == sent + 1
    moment.at += 5.1
    with pytest.raises(ServiceDown):
        client.get()
    assert len(client.server.log) == sent + 1
    client.server.faults.clear()
    moment.at += 5
    assert client.get()
    assert client.get()


def test_exactly_one_probe_for_many_threads(connect: Callable[..., Client], moment: Time) -> None:
    """All who come while it is on its way are refused at once."""
    client = connect(patience_s=0, read_s=60)
    client.server.stop()
    for _ in range(5):
        with pytest.raises(ServiceDown):
            client.get()
    client.server.start()
    probe = Held(Stall(0))
    client.fail(probe)
    moment.at += 6
    ended: list[object] = []

    def ask() -> None:
        try:
            ended.append(client.get())
        except ServiceDown as error:
            ended.append(error)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    assert eventually(lambda: len(ended) == 5)
    probe.go.set()
    for thread in threads:
        thread.join()
    assert [isinstance(one, dict) for one in ended] == [False] * 5 + [True]
    assert len(client.server.log) == 1


def test_refusals_of_a_thing_are_answers(connect: Callable[..., Client]) -> None:
    """403 and 404 are no failure of the service."""
    client = connect()
    client.fail(Answer(Response.json({"message": "404 Not Found"}, 404)), times=9)
    assert [client.get(f"/{n}") for n in range(9)] == [{"message": "404 Not Found"}] * 9


def test_a_401_is_final_at_once_where_it_can_only_be_the_token(connect: Callable[..., Client]) -> None:
    """GitLab's is."""
    client = connect()
    client.fail(page(401), times=None)
    with pytest.raises(Unauthorized, match=r"GitLab: HTTP 401: check gitlab\.token"):
        client.get()
    assert len(client.server.log) == 1


def test_a_401_of_rally_may_be_maintenance_once_it_has_answered(connect: Callable[..., Client]) -> None:
    """KB 277242; at the first contact a wrong key is told at once."""
    client = connect(RALLY)
    fault = client.fail(page(401), times=None)
    with pytest.raises(Unauthorized, match="maintenance"):
        client.get()
    assert fault.hits == 1
    client.server.faults.clear()
    client.get()
    client.fail(page(401), times=2)
    assert client.get()
    client.fail(page(401), times=None)
    with pytest.raises(Unauthorized):
        client.get()


def test_an_answer_that_drips_is_cut(connect: Callable[..., Client]) -> None:
    """Each piece is in time, the whole is not."""
    client = connect(RALLY, clock=Clock(), longest_exchange_s=0.3, patience_s=0.3)
    client.fail(Drip(1, 1), times=None)
    with pytest.raises(ServiceDown, match=r"no whole answer within 0\.3 s"):
        client.get()


# --- writes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "error"),
    [
        (page(500), NoAnswer),
        (page(502, when="after"), NoAnswer),
        (unavailable(3), NoAnswer),
        (Answer(Response.json({}, 408)), NoAnswer),
        (page(200), NoAnswer),
        (Reset("before"), NoAnswer),
        (Reset("after"), NoAnswer),
        (Truncate(3), NoAnswer),
        (Truncate(3, "chunked"), NoAnswer),
        (Truncate(3, "close"), NoAnswer),
        (Answer(Response(302, headers={"Location": "/login"})), NoAnswer),
        (Answer(Response(204)), NoAnswer),
        (page(401), Unauthorized),
        (too_many(9), NotDone),
        (page(413), NotDone),
    ],
)
def test_a_write_is_sent_once_and_its_end_is_judged(
    connect: Callable[..., Client], action: Action, error: type[ReconcilerError]
) -> None:
    """Turned away at the door is No; everything else but a whole answer is silence."""
    client = connect(RALLY)
    client.fail(action, times=None)
    with pytest.raises(error):
        client.post()
    assert len(client.server.log) == 1


def test_what_a_refused_write_says_is_kept(connect: Callable[..., Client]) -> None:
    """How long to wait, and whether to send less."""
    client = connect(RALLY)
    client.fail(too_many(9))
    with pytest.raises(NotDone) as limited:
        client.post()
    client.fail(page(413))
    with pytest.raises(NotDone) as large:
        client.post()
    assert (limited.value.retry_after_s, limited.value.too_large) == (9.0, False)
    assert (large.value.retry_after_s, large.value.too_large) == (None, True)


def test_a_write_to_a_port_that_refuses_was_not_done(connect: Callable[..., Client]) -> None:
    """And five of those open the breaker, which counts as not done too."""
    client = connect(RALLY)
    client.server.stop()
    for _ in range(5):
        with pytest.raises(NotDone, match="refuses connections"):
            client.post()
    client.server.start()
    with pytest.raises(NotDone) as error:
        client.post()
    assert error.value.retry_after_s == pytest.approx(5)
    assert len(client.server.log) == 0


def test_writes_without_an_answer_open_the_breaker(connect: Callable[..., Client]) -> None:
    """Five in a row, though all go to the same path."""
    client = connect(RALLY)
    client.fail(page(502), times=None)
    for _ in range(5):
        with pytest.raises(NoAnswer):
            client.post()
    with pytest.raises(NotDone):
        client.post()
    assert len(client.server.log) == 5


def test_a_late_answer_to_a_write_is_none(connect: Callable[..., Client]) -> None:
    """The read time-out counts for writes as well."""
    client = connect(RALLY, read_s=0.2)
    client.fail(Stall(10))
    with pytest.raises(NoAnswer, match="did not answer in time"):
        client.post()


def test_a_connection_that_the_server_closed_while_it_lay_idle_is_not_used(connect: Callable[..., Client]) -> None:
    """A POST on it would be reset, and nobody could say whether it was done."""
    client = connect(RALLY)
    client.post()
    client.server.stop()
    client.server.start()
    assert client.post() == 200


# --- limits, and the end ---------------------------------------------------------------------------------------------


def test_no_more_requests_are_in_flight_than_allowed(connect: Callable[..., Client]) -> None:
    """Threads beyond that wait for their turn."""
    client = connect(clock=Clock(), at_once=2)
    client.server.time_model.request_s = 0.05
    threads = [threading.Thread(target=client.get) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.server.log.most_at_once() == 2


def test_requests_keep_the_rate(connect: Callable[..., Client], moment: Time) -> None:
    """Ten a second: the eleventh begins a second after the first."""
    client = connect(per_second=10)
    for _ in range(11):
        client.get()
    assert sum(moment.pauses) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "action",
    [Stall(20), unavailable(30), too_many(60)],
)
def test_a_read_is_interrupted_within_a_second(connect: Callable[..., Client], action: Action) -> None:
    """Whether it waits for an answer or for its next try."""
    client = connect(patience_s=120, clock=Clock(), read_s=30)
    client.get()
    client.fail(action, times=None)
    client.stop_once_asked()
    began = time.monotonic()
    with pytest.raises(Stopped):
        client.get()
    assert time.monotonic() - began < 5


def test_a_write_in_flight_gets_a_moment_to_end(connect: Callable[..., Client]) -> None:
    """An answer that is nearly there saves a look-up later."""
    client = connect(RALLY, clock=Clock(), write_grace_s=10, read_s=30)
    client.fail(InPause(Stall(0.5), client.stop.set))
    assert client.post() == 200
    with pytest.raises(Stopped):
        client.post()
    assert len(client.server.log) == 1


def test_a_write_that_hangs_is_left_behind(connect: Callable[..., Client]) -> None:
    """It may have been done."""
    client = connect(RALLY, clock=Clock(), write_grace_s=0.2, read_s=30)
    client.fail(InPause(Stall(20), client.stop.set))
    began = time.monotonic()
    with pytest.raises(NoAnswer):
        client.post()
    assert time.monotonic() - began < 5
    assert len(client.server.log) == 1


def test_a_library_reads_through_the_wire_and_never_writes(server: Server, connect: Callable[..., Client]) -> None:
    """Whatever it thinks of retries itself."""
    client = connect()
    client.fail(page(503))
    with LibrarySession(Endpoint(server.url), client.wire) as session:
        assert session.get(f"{server.url}/thing", timeout=1).json() == {"path": "/thing"}
        with pytest.raises(ReconcilerError, match="tried to POST"):
            session.post(f"{server.url}/thing")
    assert [entry.method for entry in server.log] == ["GET", "GET"]


def test_no_secret_is_in_an_error(connect: Callable[..., Client]) -> None:
    """Not even where a path holds it."""
    client = connect()
    client.fail(page(500), times=None, path="key")
    with pytest.raises(Incomplete) as error:
        client.get(f"/{SECRET}")
    assert SECRET not in str(error.value)
    assert "secret" in str(error.value)


def test_a_server_that_never_answered_is_waited_for_within_our_patience(connect: Callable[..., Client]) -> None:
    """It takes connections and says nothing: no longer than one that refuses them, whatever a read may take later."""
    client = connect(patience_s=0.5, clock=Clock(), read_s=20)
    client.fail(Stall(30), times=None)
    began = time.monotonic()
    with pytest.raises(ServiceDown):
        client.get()
    assert time.monotonic() - began < 10
