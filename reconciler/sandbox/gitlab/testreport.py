"""GitLab's own reading of JUnit reports, with its losses: what `test_report` and `test_report_summary` are made of.

Source: facts, section 3, D: lib/gitlab/ci/parsers/test/junit.rb, reports/test_suite.rb, reports/test_case.rb and the
serializers beside them.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from lxml import etree

from reconciler.sandbox.objectstore import whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from reconciler.sandbox.gitlab.records import Job

STATUSES = ("error", "failed", "success", "skipped")
"""In the order in which a report lists them (`TestCase::STATUS_TYPES`)."""

_ATTACHMENT = re.compile(r"\[\[ATTACHMENT\|(?P<path>[^\[\]|]+?)\]\]")
_RUBY_FLOAT = re.compile(r"\s*[+-]?\d[\d_]*(?:\.\d[\d_]*)?(?:[eE][+-]?\d+)?")

Tree = Any
"""What ActiveSupport's `Hash.from_xml` makes of an element: text, None, or a dict; repeated children are a list."""


@dataclass(slots=True)
class Case:
    """One test as GitLab keeps it."""

    suite_name: str | None
    classname: str | None
    name: str | None
    file: str | None
    execution_time: float
    status: str
    system_output: Tree
    attachment: str | None
    job: Job

    @property
    def key(self) -> tuple[str | None, ...]:
        """What GitLab hashes: two tests of one key and status are one."""
        return (self.suite_name, self.classname, self.name)


@dataclass(slots=True)
class Suite:
    """The tests of one job group."""

    name: str
    cases: dict[str, dict[tuple[str | None, ...], Case]] = field(default_factory=dict)
    total_time: float = 0.0
    """Of every test, also of those that another one of the same key has replaced."""
    error: str | None = None

    def add(self, case: Case) -> None:
        """Add a test; the last one of a status and key is kept."""
        self.cases.setdefault(case.status, {})[case.key] = case
        self.total_time += case.execution_time

    def count(self, status: str) -> int:
        """Count the tests of a status; a suite with an error has none."""
        return 0 if self.error else len(self.cases.get(status, ()))

    def listed(self) -> list[Case]:
        """List the tests by status, the slowest first."""
        if self.error:
            return []
        return [
            case
            for status in STATUSES
            for case in sorted(self.cases.get(status, {}).values(), key=lambda one: -one.execution_time)
        ]


def read_suites(reports: Iterable[tuple[Job, bytes]], *, joined: bool = True) -> list[Suite]:
    """Read the `junit.xml.gz` of each job into the suites of their groups.

    `joined`: the output of a failed test is one text, as newer versions have it.
    """
    suites: dict[str, Suite] = {}
    for job, packed in reports:
        suite = suites.setdefault(job.test_suite, Suite(job.test_suite))
        for document in _documents(packed, suite):
            _read_document(document, suite, job, joined=joined)
    return list(suites.values())


def report_of(job: Job) -> bytes:
    """Read the bytes of a job's `junit.xml.gz`, whatever has become of it since."""
    return b"" if job.junit is None else whole(job.junit)


def _documents(packed: bytes, suite: Suite) -> Iterator[bytes]:
    while packed:
        member = zlib.decompressobj(31)
        try:
            document = member.decompress(packed)
        except zlib.error as error:
            suite.error = f"JUnit data parsing failed: {error}"
            return
        if not member.eof:
            suite.error = "JUnit data parsing failed: unexpected end of file"
            return
        yield document
        packed = member.unused_data


def _read_document(document: bytes, suite: Suite, job: Job, *, joined: bool) -> None:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True)  # libxml2, as in Nokogiri
    try:
        root = etree.fromstring(document, parser)
        for case, suite_name in _cases({_key(root.tag): _tree(root)}, top=True):
            suite.add(_case(case, suite_name or suite.name, job, joined=joined))
    except etree.XMLSyntaxError as error:
        line, column = error.position
        what = re.sub(r", line \d+, column \d+.*", "", error.msg or "")
        suite.error = f"JUnit XML parsing failed: {line}:{column}: FATAL: {what}"
    except _NotAHash:
        suite.error = "JUnit data parsing failed: string not matched"


class _NotAHash(Exception):
    """A test that is only text: assigning its suite's name fails in Ruby."""


def _cases(node: Tree, *, top: bool = False) -> Iterator[tuple[dict[str, Tree], str | None]]:
    """Find the tests: `testsuites` once at the top, `testsuite` at any depth, `testcase` below either of them only."""
    for one in node if isinstance(node, list) else [node]:
        if not isinstance(one, dict):
            continue
        if top:
            yield from _cases(one.get("testsuites"))
        else:
            yield from ((case, one.get("name")) for case in _hashes(one.get("testcase")))
        yield from _cases(one.get("testsuite"))


def _hashes(node: Tree) -> Iterator[dict[str, Tree]]:
    for one in node if isinstance(node, list) else [node]:
        if isinstance(one, str):
            raise _NotAHash
        if one:
            yield one


def _tree(element: etree._Element) -> Tree:
    """Convert like `Hash.from_xml`: an element with text of its own is that text, and the rest of it is lost."""
    children = list(element)
    text = "".join([element.text or "", *(child.tail or "" for child in children)])
    tree: dict[str, Tree] = {_key(name): value for name, value in element.items()}
    if text.strip() or (text and not tree and not children):
        return text
    for child in children:
        if isinstance(child.tag, str):  # else a comment or a processing instruction
            _put(tree, _key(child.tag), _tree(child))
    return tree or None


def _put(tree: dict[str, Tree], name: str, value: Tree) -> None:
    if name not in tree:
        tree[name] = value
    elif isinstance(tree[name], list):
        tree[name].append(value)
    else:
        tree[name] = [tree[name], value]


def _key(name: str | bytes) -> str:
    return str(name).rpartition("}")[2].replace("-", "_")


def _case(data: dict[str, Tree], suite_name: str, job: Job, *, joined: bool) -> Case:
    status = next((status for key, status in _STATUS_KEYS if key in data), "success")
    output, attachment = None, None
    if status in ("failed", "error"):
        output = _output(data, status, joined=joined)
        match = _ATTACHMENT.search(str(data.get("system_out") or ""))
        attachment = match["path"] if match else None
    elif status == "skipped":
        output = data["skipped"]
    return Case(
        suite_name=suite_name,
        classname=data.get("classname"),
        name=data.get("name"),
        file=data.get("file"),
        execution_time=_ruby_float(data.get("time")),
        status=status,
        system_output=output,
        attachment=attachment,
        job=job,
    )


_STATUS_KEYS = (("failure", "failed"), ("error", "error"), ("skipped", "skipped"))


def _output(data: dict[str, Tree], status: str, *, joined: bool) -> Tree:
    first = data["failure" if status == "failed" else "error"]
    if not joined:
        return first
    parts = [first]
    if "system_out" in data:
        parts.append(f"System Out:\n\n{_ruby_text(data['system_out'])}")
    if "system_err" in data:
        parts.append(f"System Err:\n\n{_ruby_text(data['system_err'])}")
    flat = [part for one in parts for part in (one if isinstance(one, list) else [one]) if part is not None]
    return "\n\n".join(map(_ruby_text, flat))


def _ruby_text(value: Tree) -> str:
    """Write a value as Ruby's `to_s` does: a hash shows its insides."""
    if value is None:
        return ""
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}"=>{_ruby_inspect(one)}' for key, one in value.items()) + "}"
    return str(value)


def _ruby_inspect(value: Tree) -> str:
    return "nil" if value is None else f'"{value}"' if isinstance(value, str) else _ruby_text(value)


def _ruby_float(value: Tree) -> float:
    """Read the number that a text begins with, else 0.0: "1,234.5" is 1.0."""
    match = _RUBY_FLOAT.match(value) if isinstance(value, str) else None
    return float(match[0]) if match else 0.0


# --- as JSON ---------------------------------------------------------------------------------------------------------


def report_json(suites: list[Suite], attachment_base: str) -> dict[str, object]:
    """Write a `test_report` (app/serializers/test_report_entity.rb, test_suite_entity.rb, test_case_entity.rb)."""
    return {
        "total_time": sum(suite.total_time for suite in suites),
        "total_count": sum(suite.count(status) for suite in suites for status in STATUSES),
        **_counts(suites),
        "test_suites": [
            {
                "name": suite.name,
                "total_time": suite.total_time,
                "total_count": sum(suite.count(status) for status in STATUSES),
                **_counts([suite]),
                "suite_error": suite.error,
                "test_cases": [_case_json(case, attachment_base) for case in suite.listed()],
            }
            for suite in suites
        ],
    }


def _counts(suites: list[Suite]) -> dict[str, int]:
    return {
        f"{status}_count": sum(suite.count(status) for suite in suites)
        for status in ("success", "failed", "skipped", "error")
    }


def _case_json(case: Case, attachment_base: str) -> dict[str, object]:
    document: dict[str, object] = {
        "status": case.status,
        "name": "(No name)" if case.name is None else case.name,
        "classname": case.classname,
        "file": case.file,
        "execution_time": case.execution_time,
        "system_output": case.system_output,
        "stack_trace": None,
        "recent_failures": None,
    }
    if case.attachment:
        job = case.job
        path = f"{job.pipeline.project.path}/-/jobs/{job.id}/artifacts/file/{quote(case.attachment)}"
        document["attachment_url"] = f"{attachment_base}/{path}"
    return document


def summary_json(counted: list[tuple[Job, Suite]]) -> dict[str, object]:
    """Write a `test_report_summary` from what was counted when each job ended (Ci::BuildReportResult)."""
    names = list(dict.fromkeys(suite.name for _, suite in counted))
    total = _summary_counts([suite for _, suite in counted])
    return {
        "total": {**total, "suite_error": None},
        "test_suites": [_suite_summary(name, counted) for name in names],
    }


def _suite_summary(name: str, counted: list[tuple[Job, Suite]]) -> dict[str, object]:
    mine = [(job, suite) for job, suite in counted if suite.name == name]
    counts = _summary_counts([suite for _, suite in mine])
    return {
        "name": name,
        "total_time": counts["time"],
        "total_count": counts["count"],
        "success_count": counts["success"],
        "failed_count": counts["failed"],
        "skipped_count": counts["skipped"],
        "error_count": counts["error"],
        "build_ids": [job.id for job, _ in mine],
        "suite_error": next((suite.error for _, suite in mine if suite.error), None),
    }


def _summary_counts(suites: list[Suite]) -> dict[str, float]:
    counts: dict[str, float] = {
        status: sum(suite.count(status) for suite in suites) for status in ("success", "failed", "skipped", "error")
    }
    return {"time": sum(suite.total_time for suite in suites), "count": sum(counts.values()), **counts}
