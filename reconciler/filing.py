"""Which files of a job belong to which of its tests, written down while its reports are read."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reconciler import patterns
from reconciler.evidence import Directory, Naming, is_unsafe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from reconciler.archive import Member
    from reconciler.ledger.job_reading import JobReading

FILES_OF_ONE_JOB = 5_000
"""How many files of one job are looked at."""
PAIRS_OF_ONE_JOB = 200_000
"""A file may be named after many tests, and many files after one."""
UNSAFE, DUPLICATE, TOO_MANY = "unsafe-name", "duplicate-name", "too-many"
_BEYOND_LINKS = frozenset({"encrypted", "unsupported"})
"""What GitLab cannot show either: a link would lead nowhere."""


@dataclass(frozen=True, slots=True)
class Cabinet:
    """How one job's files are filed away."""

    record: JobReading
    note: Callable[[str, str], None]
    """Takes the kind and the detail of a problem."""
    artifact_paths: Sequence[str]
    upload_max_bytes: int
    project_path: str
    _tests: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    """By the path of a member."""
    _metrics: set[str] = field(default_factory=set)

    def without_archive(self, why: str) -> None:
        """File what tests named, when there is no archive to find it in."""
        self._mentions(None, why)

    def file(self, members: Sequence[Member]) -> None:
        """File what tests named, and what is named after tests."""
        self._mentions(Directory(members, project_path=self.project_path), "the job's archive has no such file")
        candidates = [member.path for member in members if patterns.matches(member.path, self.artifact_paths)]
        if candidates:
            for path, tests in Naming(candidates).match(self.record.names).items():
                self._tests[path].update(tests)
        wanted = [member for member in members if member.path in self._tests]
        if len(wanted) > FILES_OF_ONE_JOB:
            self.note(TOO_MANY, f"{len(wanted)} files belong to tests; {FILES_OF_ONE_JOB} were looked at")
        pairs = 0
        for member in wanted[:FILES_OF_ONE_JOB]:
            pairs += len(self._tests[member.path])
            if pairs > PAIRS_OF_ONE_JOB:
                self.note(TOO_MANY, f"files and tests make more than {PAIRS_OF_ONE_JOB} pairs; the rest is left out")
                break
            self._member(member)

    def _mentions(self, directory: Directory | None, why: str) -> None:
        missing: dict[str, set[int]] = defaultdict(set)
        addresses: dict[tuple[str, bool], set[int]] = defaultdict(set)
        for test, report, mention in self.record.mentions:
            if mention.kind == "url":
                addresses[mention.said, mention.metric].add(test)
                continue
            member = directory.find(mention.said, report) if directory else None
            if member is None:
                missing[mention.said].add(test)
                continue
            self._tests[member.path].add(test)
            if mention.metric:
                self._metrics.add(member.path)
        for said, tests in missing.items():
            self.record.missing(said, why, tests)
        for (address, metric), tests in addresses.items():
            self.record.url(address, tests, metric=metric)
        if self.record.unheard_mentions:
            self.note(TOO_MANY, f"tests name {self.record.unheard_mentions} files more than are looked at")

    def _member(self, member: Member) -> None:
        path, tests, objection = member.path, self._tests[member.path], member.objection
        if is_unsafe(path):
            why = "its name points out of the archive"
            self.note(UNSAFE, f"{path}: {why}")
            self.record.missing(path, why, tests)
        elif objection is not None and objection.kind in _BEYOND_LINKS:
            self.note(objection.kind, f"{path}: {objection.detail}")
            self.record.missing(path, objection.detail, tests)
        else:
            self.record.member(member, self._oddity(member), tests, metric=path in self._metrics)

    def _oddity(self, member: Member) -> str:
        """Say what is odd about a file that can be had all the same."""
        if member.objection is not None:
            if member.size_bytes <= self.upload_max_bytes:  # else it is only linked, whatever it unpacks to
                self.note(member.objection.kind, f"{member.path}: {member.objection.detail}")
            return member.objection.detail
        if member.copies > 1:
            odd = f"the archive has {member.copies} files of this name; the last one counts"
            self.note(DUPLICATE, f"{member.path}: {odd}")
            return odd
        return ""
