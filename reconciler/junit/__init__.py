"""Bytes of one JUnit XML document as tests, or a problem; junitparser and lxml stay inside.

The parts: `clean` makes any encoding UTF-8 that XML allows, `trim` cuts giant texts, `parser` is lxml with its errors
as problems, `case` reads one test with junitparser, `report` follows the document.
"""

from reconciler.junit.limits import Limits
from reconciler.junit.problems import BadReport
from reconciler.junit.report import Report, looks_like_junit

__all__ = ["BadReport", "Limits", "Report", "looks_like_junit"]
