"""A planned result as Rally shall get it: its attributes, its Notes, and which files it is to have."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING

from reconciler import notes, sprints
from reconciler.evidence import Rules, Wanted, wanted
from reconciler.model import Build, TestCaseResult
from reconciler.plan import Verdicts
from reconciler.record import record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from reconciler.config import Settings
    from reconciler.ledger.entries import Contribution, PipelineLine
    from reconciler.ledger.ledger import Ledger
    from reconciler.model import Key, ObjectID, PipelineId
    from reconciler.plan import Add


@record
class Parcel:
    """A result and the files that it is to have."""

    result: TestCaseResult
    wanted: Sequence[Wanted]


_HAS_MORE, _LOSSY, _FILES_NOTE = attrgetter("has_more"), attrgetter("lossy"), attrgetter("files_note")
TESTS_AT_ONCE = 500
"""Of so many tests everything is fetched at once, unless one result has more."""


@dataclass(frozen=True, slots=True)
class Composer:
    """Writes results; remembers what many of one pipeline share."""

    ledger: Ledger
    settings: Settings
    _lines: dict[PipelineId, PipelineLine] = field(default_factory=dict)
    _homes: dict[ObjectID, Sequence[sprints.Membership]] = field(default_factory=dict)
    _builds: dict[tuple[PipelineId, int], Build] = field(default_factory=dict)
    verdicts: Verdicts = field(init=False)
    """Which verdicts the config gives to outcomes."""

    def __post_init__(self) -> None:
        """Read the config's words."""
        words = self.settings.results
        object.__setattr__(self, "verdicts", Verdicts(words.skipped, words.flaky))

    def parcels(self, adds: Iterable[Add]) -> Iterator[Parcel]:
        """Write results, one after another; what the ledger knows of their tests is fetched for some at once."""
        for some in _portions(adds):
            tests = [test for add in some for test in add.tests]
            known = iter(self.ledger.entries.contributions(tests, self.verdicts))
            for add in some:
                yield self._parcel(add, list(islice(known, len(add.tests))))

    def _parcel(self, add: Add, tests: Sequence[Contribution]) -> Parcel:
        more = any(map(_HAS_MORE, tests))
        files = self.wanted(add.tests) if more else []
        home = self.home(add)
        result = TestCaseResult(
            key=add.key,
            build=self.build(add.key, add.iid),
            test_case=add.test_case,
            verdict=add.verdict,
            date=add.date,
            duration_s=add.duration_s,
            notes=self._notes(add, tests, files, self.ledger.files.metrics_of(add.tests) if more else []),
            test_set=home.test_set if isinstance(home, sprints.Home) else None,
        )
        return Parcel(result, files)

    def home(self, add: Add) -> sprints.Home | sprints.Wait | None:
        """Find the sprint's set that a result carries."""
        memberships = self._homes.get(add.test_case)
        if memberships is None:
            memberships = self._homes[add.test_case] = self.ledger.sprints.memberships(add.test_case)
        return sprints.home_of(add.date, memberships) if memberships else None

    def forget_homes(self) -> None:
        """Look anew into the sprints' sets: a place in one of them may have been refused."""
        self._homes.clear()

    def wanted(self, tests: Sequence[int]) -> list[Wanted]:
        """Decide which files a result of these tests, worst first, is to have."""
        config = self.settings.attachments
        rules = Rules(config.upload_max_bytes, config.link_only)
        known = self.ledger.files.evidence_of(tests)
        return wanted(known, rules) if any(one.output or one.files for one in known) else []

    def build(self, key: Key, iid: int) -> Build:
        """Name the Build of a pipeline's results."""
        named = self._builds.get((key.pipeline_id, iid))
        if named is None:
            template = self.settings.results.build
            text = template.format(pipeline_id=key.pipeline_id, project_id=key.project_id, pipeline_iid=iid)
            named = self._builds[key.pipeline_id, iid] = Build(text)
        return named

    def _notes(
        self, add: Add, tests: Sequence[Contribution], files: Sequence[Wanted], metrics: Sequence[tuple[str, str, str]]
    ) -> str:
        pipeline = add.key.pipeline_id
        line = self._lines.get(pipeline)
        if line is None:
            line = self._lines[pipeline] = self.ledger.entries.pipeline_line(pipeline)
        return notes.render(
            notes.Content(
                key=str(add.key),
                pipeline_url=line.url,
                pipeline_id=pipeline,
                ref=line.ref,
                sha=line.sha,
                commit_url=line.commit_url,
                tests=tests,
                lossy=any(map(_LOSSY, tests)),
                files=[self._file_line(file) for file in files if file.fate != "missing"] if files else (),
                missing=_missing(files) if files else (),
                troubles=_troubles(tests) if any(map(_FILES_NOTE, tests)) else (),
                metrics=metrics,
            )
        )

    def _file_line(self, file: Wanted) -> notes.FileLine:
        # GitLab is asked to keep what results link to: then nobody knows of a day on which it goes.
        kept = self.settings.attachments.keep_linked and not self.ledger.attachments.keep_denied()
        expires_at = None if kept and file.fate == "link" else file.expires_at
        return notes.FileLine(file.name, file.url, file.size_bytes, file.reason, file.note, expires_at)


def _portions(adds: Iterable[Add]) -> Iterator[list[Add]]:
    some: list[Add] = []
    tests = 0
    for add in adds:
        if some and tests + len(add.tests) > TESTS_AT_ONCE:
            yield some
            some, tests = [], 0
        some.append(add)
        tests += len(add.tests)
    if some:
        yield some


def _missing(files: Sequence[Wanted]) -> list[notes.MissingLine]:
    return [notes.MissingLine(file.name, file.reason) for file in files if file.fate == "missing"]


def _troubles(tests: Sequence[Contribution]) -> list[str]:
    """Tell, once for each job, why its files cannot be had."""
    told = [f"The files of job {test.job_name} cannot be had: {test.files_note}" for test in tests if test.files_note]
    return list(dict.fromkeys(told))
