"""How fast results reach Rally, with what traffic; beside plain pyral, and what the model of time allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench import trivial
from bench.stage import AT_ONCE, BATCH, CREATED_S, REQUEST_S, open_stage
from bench.table import Figure, Row
from bench.yardsticks import plain_pyral

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.stage import Bench, Stage
    from bench.yardsticks import Plain

TESTS = 100
LIMIT = AT_ONCE * BATCH / (REQUEST_S + BATCH * CREATED_S)
"""Results per second with full batches, as many at once as we make."""
BEFORE = 8 + 2
"""Requests of which each needs the answer to the one before: pyral's log-in, the test cases, and what Rally has."""
CREATES = 3
"""For a result with a file, each after the one before: TestCaseResult, AttachmentContent, Attachment."""
SHARE, TIMES = 0.9, 100
CONSTANT = 25
"""Rally requests of a first pass that depend on nothing: who we are, the schema, the words, the test cases."""


@dataclass(frozen=True, slots=True)
class Sending:
    """What one pass that sends results came to."""

    results: int
    pipelines: int
    wall_s: float
    told: dict[str, Any]
    server_share: float
    """How much of one core the stand-ins used meanwhile."""

    @property
    def rate(self) -> float:
        """Give results per second, from the start of the command to its end."""
        return self.results / self.wall_s

    @property
    def writing_rate(self) -> float:
        """Give results per second, from the first write to the answer to the last."""
        return self.results / float(self.rally["writing_s"])

    @property
    def most(self) -> float:
        """Tell the rate that the model allows from the start of the command: what must come before counts."""
        return self.results / (BEFORE * REQUEST_S + self.results / LIMIT)

    @property
    def rally(self) -> dict[str, Any]:
        """Give the traffic with Rally."""
        rally: dict[str, Any] = self.told["rally"]
        return rally


def rows(bench: Bench) -> Iterator[Row]:
    """Send the results of pipelines that test the same test cases, then of ones that all test others."""
    pipelines = bench.pick(8, 100)
    with open_stage(bench, cases=pipelines * TESTS) as stage:
        stage.servers.do("take_time", request_s=REQUEST_S, created_s=CREATED_S)
        same = _send(stage, pipelines, step=0)
        again = _again(stage)
        where, cases = stage.servers.do("where")["rally"], stage.servers.do("add_cases", count=0)
        capacity = trivial.rate(where, cases, bench.pick(1, 3))
        stage.servers.do("forget")
        plain = plain_pyral(stage, bench.pick(5, 40))
        plain_traffic = stage.servers.do("told")["rally"]
        yield from _speed(bench, same, plain, capacity)
        yield from _traffic(same, plain, plain_traffic, again)
    if not bench.quick:
        yield from _other_cases(bench, pipelines)
        yield from _files(bench)


def _send(stage: Stage, pipelines: int, *, step: int) -> Sending:
    stage.servers.do("add_pipelines", count=pipelines, tests=TESTS, step=step)
    stage.servers.do("forget")
    before = stage.servers.do("told")["cpu_s"]
    ran, did = stage.once()
    told = stage.servers.do("told")
    return Sending(did["results_sent"], pipelines, ran.wall_s, told, (told["cpu_s"] - before) / ran.wall_s)


def _again(stage: Stage) -> int:
    """Make a second pass of the same scope; the writes that Rally saw."""
    stage.servers.do("forget")
    stage.once()
    writes: int = stage.servers.do("told")["rally"]["writes"]
    return writes


def _speed(bench: Bench, sending: Sending, plain: Plain, capacity: float) -> Iterator[Row]:
    plain_rate = plain.results / plain.wall_s
    yield Row(
        what=f"{sending.results:,} results of {sending.pipelines} pipelines, while they are written",
        ours=Figure(sending.writing_rate, "results/s"),
        yardstick=Figure(plain_rate, "results/s", "plain pyral"),
        limit=Figure(LIMIT, "results/s"),
        bound="≥ 90 % of the limit",
        holds=_is_near(bench, sending.writing_rate, LIMIT),
        note=(
            f"{sending.writing_rate / LIMIT:.0%} of the limit: {AT_ONCE} requests at once, each of {BATCH} results. The"
            f" stand-in took {capacity:.0f} results/s of a client that only posts batches made beforehand; it used"
            f" {sending.server_share:.0%} of a core while ours ran."
        ),
    )
    yield _whole(bench, "the same, from the command's start to its end", sending)
    yield Row(
        what="the same, as times plain pyral",
        ours=Figure(sending.rate / plain_rate, "times"),
        limit=Figure(LIMIT / plain_rate, "times"),
        bound=f"≥ {TIMES} times",
        holds=None if bench.quick else sending.rate / plain_rate >= TIMES,
        note=f"The script sent {plain.results} results; it does not read GitLab, and its log-in is not counted.",
    )


def _is_near(bench: Bench, rate: float, limit: float) -> bool | None:
    """Judge a rate; of the short form, whose requests are few and mostly log-in, nothing is asked."""
    return None if bench.quick else rate >= SHARE * limit


def _whole(bench: Bench, what: str, sending: Sending) -> Row:
    return Row(
        what=what,
        ours=Figure(sending.rate, "results/s"),
        limit=Figure(LIMIT, "results/s"),
        bound="≥ 90 % of the limit",
        holds=_is_near(bench, sending.rate, LIMIT),
        note=(
            f"{sending.rate / LIMIT:.0%} of the limit. {BEFORE} requests come before the first write, each waiting for"
            " the one before: eight of pyral's log-in, the test cases, what Rally has of these Builds; with those in"
            f" the limit it would be {sending.most:.0f} results/s, of which this is {sending.rate / sending.most:.0%}."
        ),
    )


def _traffic(sending: Sending, plain: Plain, theirs: dict[str, Any], again: int) -> Iterator[Row]:
    requests, results = sending.rally["requests"], sending.results
    least = results / BATCH + sending.pipelines / 10
    yield Row(
        what="Rally requests for them",
        ours=Figure(requests, "requests"),
        yardstick=Figure(theirs["requests"] / plain.results * results, "requests", "plain pyral"),
        limit=Figure(least, "requests"),
        bound=f"≤ limit + {CONSTANT}",
        holds=requests <= least + CONSTANT,
        note=f"{requests / results:.3f} a result; the limit is results / {BATCH} and 1 for 10 pipelines.",
    )
    yield Row(
        what="writes of a second pass over them", ours=Figure(again, "writes"), bound="0", holds=again == 0
    )  # fmt: skip
    yield Row(
        what="bytes sent to Rally for a result, Notes included",
        ours=Figure(sending.rally["bytes_in"] / results, "bytes"),
        yardstick=Figure(theirs["bytes_in"] / plain.results, "bytes", "plain pyral, no Notes"),
        note=(
            f"Bytes that Rally sent back: {sending.rally['bytes_out'] / results:.0f} a result;"
            f" to plain pyral {theirs['bytes_out'] / plain.results:,.0f}."
        ),
    )


def _other_cases(bench: Bench, pipelines: int) -> Iterator[Row]:
    with open_stage(bench, cases=pipelines * TESTS) as stage:
        stage.servers.do("take_time", request_s=REQUEST_S, created_s=CREATED_S)
        sending = _send(stage, pipelines, step=TESTS)
    yield Row(
        what=f"{sending.results:,} results of as many test cases, while they are written",
        ours=Figure(sending.writing_rate, "results/s"),
        limit=Figure(LIMIT, "results/s"),
        bound="≥ 90 % of the limit",
        holds=_is_near(bench, sending.writing_rate, LIMIT),
        note=(
            f"Above, all pipelines test the same {TESTS} test cases, of which none may be in two requests at once; here"
            " each result has a test case of its own."
        ),
    )
    yield _whole(bench, "the same, from the command's start to its end", sending)


def _files(bench: Bench) -> Iterator[Row]:
    """Send results that each have a file: what a failed test printed."""
    with open_stage(bench) as stage:
        stage.servers.do("take_time", request_s=REQUEST_S, created_s=CREATED_S)
        stage.servers.do("add_pipelines", count=2, tests=TESTS, step=TESTS, failing=1)
        ran, did = stage.once()
        plain = plain_pyral(stage, 10, attach=True)
    yield Row(
        what=f"{did['attachments_sent']} results with a file each",
        ours=Figure(did["attachments_sent"] / ran.wall_s, "files/s"),
        yardstick=Figure(plain.results / plain.wall_s, "files/s", "plain pyral"),
        limit=Figure(LIMIT / CREATES, "files/s"),
        note=(
            f"{CREATES} creates each, by `/batch`: the result, the AttachmentContent, then the Attachment. The limit is"
            f" that of many; so few make {did['attachments_sent'] // BATCH} requests at once, not {AT_ONCE}."
        ),
    )
