"""Use case: settle what is in doubt, then create in Rally what is missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from loguru import logger

from reconciler import notes
from reconciler.dispatch import Dispatcher, Sent
from reconciler.errors import Misconfigured
from reconciler.model import Build, TestCaseResult
from reconciler.plan import IGNORE, Absorb, Add, Verdicts, missing

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime, timedelta

    from reconciler.config import Settings
    from reconciler.ledger.entries import Contribution, PipelineLine
    from reconciler.ledger.ledger import Ledger
    from reconciler.model import Key, PipelineId
    from reconciler.ports import Rally

TESTS_AT_ONCE = 5_000
"""How many pending tests are planned together; bounds memory, not what a pass sends."""
PIPELINES_AT_ONCE = 250


def settle(rally: Rally, ledger: Ledger, older_than: timedelta, now: datetime) -> int:
    """Ask Rally about everything that was begun long enough ago and never heard the end of.

    What is found is confirmed, what is not was never done and is withdrawn; younger intents may still be alive on the
    wire and are left alone. The number of intents that were asked about.
    """
    old = [intent for intent in ledger.entries.open_intents() if intent.intended_at <= now - older_than]
    if not old:
        return 0
    found = rally.results_of(sorted({intent.build for intent in old}))
    pipelines = {intent.key.pipeline_id: intent.key.project_id for intent in old}
    ledger.entries.adopt(found, pipelines, now)
    still = {intent.entry_id for intent in ledger.entries.open_intents()}
    lost = [intent.entry_id for intent in old if intent.entry_id in still]
    ledger.entries.withdraw(lost, "Rally does not have it", now)
    logger.info("Results in doubt were looked up", asked=len(old), found=len(old) - len(lost))
    return len(old)


@dataclass(slots=True)
class Push:
    """Plan and send what is missing, a bounded number of tests at a time."""

    rally: Rally
    ledger: Ledger
    settings: Settings
    stop: threading.Event
    now: Callable[[], datetime]
    sent: Sent
    """Filled while sending, so that it is true also of a pass that is cut short."""
    _lines: dict[PipelineId, PipelineLine] = field(default_factory=dict)

    def run(self) -> None:
        """Create every result that is due.

        Raises:
            ServiceDown, Unauthorized, Misconfigured: Rally could not be asked what it has; nothing was created since.
        """
        dispatcher = Dispatcher(self.rally, self.ledger.entries, self.settings.rally, self.stop, self.sent)
        for adds in self._windows():
            if not self.sent.writes:
                self._check_words()
            busy = {intent.test_case for intent in self.ledger.entries.open_intents()}
            dispatcher.send(adds, self._compose, busy=busy, now=self.now)
            self._look_into(self.sent)
            if dispatcher.halted:
                break

    def preview(self) -> list[dict[str, Any]]:
        """List what `run` would create, as `--dry-run --json` prints it."""
        return [
            {
                "kind": "result",
                "build": self._build(add.key, add.iid),
                "test_case": add.key.formatted_id,
                "verdict": add.verdict,
                "date": _iso(add.date),
                "key": str(add.key),
            }
            for adds in self._windows()
            for add in adds
        ]

    def _windows(self) -> Iterator[list[Add]]:
        """Plan some pipelines at a time, after asking Rally what it has of their Builds."""
        some: list[PipelineId] = []
        tests = 0
        for pipeline, pending in self.ledger.entries.due():
            some.append(pipeline)
            tests += pending
            if tests >= TESTS_AT_ONCE or len(some) >= PIPELINES_AT_ONCE:
                yield self._plan(some)
                some, tests = [], 0
        if some:
            yield self._plan(some)

    def _plan(self, pipelines: Sequence[PipelineId]) -> list[Add]:
        """Plan; adopt what Rally has of the Builds that something is missing of; plan those again."""
        adds, absorbs = self._compare(pipelines)
        if adds:
            builds = {self._build(add.key, add.iid) for add in adds}
            owners = {add.key.pipeline_id: add.key.project_id for add in adds}
            self.ledger.entries.adopt(self.rally.results_of(sorted(builds)), owners, self.now())
            adds, absorbs = self._compare(pipelines)
        self.ledger.entries.absorb(absorbs)
        for pipeline in pipelines:
            self.ledger.entries.restand(pipeline)
        return adds

    def _compare(self, pipelines: Sequence[PipelineId]) -> tuple[list[Add], list[Absorb]]:
        results = self.settings.results
        adds: list[Add] = []
        absorbs: list[Absorb] = []
        for pipeline in pipelines:
            for action in missing(self.ledger.entries.groups(pipeline), Verdicts(results.skipped, results.flaky)):
                match action:
                    case Add():
                        adds.append(action)
                    case Absorb():
                        absorbs.append(action)
        return adds, absorbs

    def _check_words(self) -> None:
        """See that the verdict words of the config are ones that the workspace allows, before the first is sent."""
        allowed = self.rally.allowed_verdicts()
        results = self.settings.results
        for key, word in (("skipped", results.skipped), ("flaky", results.flaky)):
            if (key, word) != ("skipped", IGNORE) and word not in allowed:
                raise Misconfigured(
                    f"Rally: the workspace has no Verdict {word!r} (results.{key}): "
                    f"use one of {', '.join(sorted(allowed))}"
                )

    def _compose(self, add: Add) -> TestCaseResult:
        return TestCaseResult(
            key=add.key,
            build=self._build(add.key, add.iid),
            test_case=add.test_case,
            verdict=add.verdict,
            date=add.date,
            duration_s=add.duration_s,
            notes=self._notes(add),
        )

    def _notes(self, add: Add) -> str:
        pipeline = add.key.pipeline_id
        if pipeline not in self._lines:
            self._lines[pipeline] = self.ledger.entries.pipeline_line(pipeline)
        line = self._lines[pipeline]
        tests = self.ledger.entries.contributions(add.tests)
        verdicts = Verdicts(self.settings.results.skipped, self.settings.results.flaky)
        return notes.render(
            notes.Content(
                key=str(add.key),
                pipeline_url=line.url,
                pipeline_id=pipeline,
                ref=line.ref,
                sha=line.sha,
                commit_url=f"{line.project_url}/-/commit/{line.sha}",
                tests=[_test_line(test, verdicts) for test in tests],
                lossy=any(test.lossy for test in tests),
            )
        )

    def _build(self, key: Key, iid: int) -> Build:
        template = self.settings.results.build
        return Build(template.format(pipeline_id=key.pipeline_id, project_id=key.project_id, pipeline_iid=iid))

    def _look_into(self, sent: Sent) -> None:
        """See whether the test cases that Rally could not read are gone: their tests are then held, not refused."""
        if not sent.gone:
            return
        wanted = sorted({add.key.formatted_id for _, add, _ in sent.gone})
        there = self.rally.test_cases_by_id(wanted)
        self.ledger.test_cases.update(there.values())
        for entry_id, add, reason in sent.gone:
            case = there.get(add.key.formatted_id)
            if case is not None and case.object_id == add.test_case:
                self.ledger.entries.refuse([(entry_id, reason)], self.now())
                sent.refused += 1
                continue
            self.ledger.entries.withdraw([entry_id], reason, self.now())
            if case is None:
                logger.warning("A test case is gone from Rally", test_case=add.key.formatted_id)
                self.ledger.test_cases.forget(add.key.formatted_id)
        pipelines = {add.key.pipeline_id for _, add, _ in sent.gone}
        self.ledger.subjects.classify()
        sent.gone.clear()
        for pipeline in pipelines:
            self.ledger.entries.restand(pipeline)  # a test of several test cases is held for the one that is gone


def _test_line(test: Contribution, verdicts: Verdicts) -> notes.TestLine:
    return notes.TestLine(
        verdict=verdicts.of(test.outcome, flaky=test.flaky),
        key=test.key,
        job_name=test.job_name,
        job_url=test.job_url,
        duration_s=test.duration_s,
        message=test.message,
        attempts=test.attempts,
        flaky=test.flaky,
    )


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
