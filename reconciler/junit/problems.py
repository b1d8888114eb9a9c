"""Why a document is no report that can be read, in words for a person."""

from __future__ import annotations

from typing import Literal

from reconciler.errors import ReconcilerError

Kind = Literal["malformed", "truncated", "not-junit", "empty", "doctype", "too-large", "too-deep", "encoding"]

ROOTS = frozenset({"testsuites", "testsuite", "testcase"})

_OTHER_FORMATS = {
    "TestRun": "a TRX file of Visual Studio, or CppUnit's own format",
    "assemblies": "xUnit.net's own format",
    "assembly": "xUnit.net's own format",
    "test-run": "NUnit 3's own format",
    "test-results": "NUnit 2's own format",
    "testng-results": "TestNG's own format",
    "testExecutions": "SonarQube's own format",
    "report-result": "MbUnit's own format",
    "robot": "Robot Framework's output.xml",
    "phpunit": "a PHPUnit configuration",
    "project": "a Maven or Ant project file",
    "coverage": "a coverage report",
    "report": "a JaCoCo report",
    "checkstyle": "a Checkstyle report",
    "html": "an HTML page",
}
_LONGEST_NAME = 100


class BadReport(ReconcilerError):
    """The document cannot be read as a JUnit report; whatever was read of it before does not count."""

    def __init__(self, kind: Kind, detail: str) -> None:
        """Say in one line for a person what is wrong, with line and column where they are known."""
        super().__init__(detail)
        self.kind: Kind = kind
        self.detail = detail


def not_junit(root: str) -> BadReport:
    """Name the root element that was found, and the format that has it."""
    known = _OTHER_FORMATS.get(root) or _OTHER_FORMATS.get(root.lower())
    that_is = f" (that is {known})" if known else ""
    return BadReport("not-junit", f"not a JUnit report: the root element is <{root[:_LONGEST_NAME]}>{that_is}")


def has_doctype(root: str) -> BadReport:
    """Refuse a DOCTYPE: of 444 real reports none has one, and it is the way in for entities and files from outside."""
    if root and root.rpartition(":")[2] not in ROOTS:
        return not_junit(root)
    return BadReport("doctype", "the report declares a DOCTYPE, which no test tool writes and which can do harm")
