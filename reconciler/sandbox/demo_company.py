"""One company's day of CI: what the demo's GitLab holds, with reports that real tools wrote."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import reconciler
from reconciler.errors import ReconcilerError
from reconciler.sandbox.gitlab import FakeClock, Filler, GitLabStore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reconciler.sandbox.gitlab import Job, Pipeline, Project
    from reconciler.sandbox.gitlab.records import JobWords, PipelineWords

PROJECTS = ("qa/web-shop", "qa/payments", "platform/firmware")

MAPPING = """\
test,formatted_id
tests.api.test_checkout.test_pay[*],TC1023
tests.api.test_smoke.test_catalogue_is_there[*],TC1038
cart.shows the total in *,TC1009
checkout.spec.js.search \u203a finds *,TC1066
Admin console Products.imports a CSV of 1000 products,TC1070
CouponTest.testCodeIsRead with data set *,TC1017
tests.test_capture.test_pay[*],TC1040
tests.test_capture.test_convert[*],TC1039
tests.test_capture.test_convert[100000-JPY],TC1054
tests.test_delivery.test_region[*],TC1055
com.example.payments.FeeTest.feeIsPositive[*],TC1056
com.example.payments.FeeTest.feeIsBelowTwoPercent[*],TC1057
com.example.payments.CaptureTest.acquirerLogin,TC1058
settlement.Settlement.fees of *,TC1059
Controller.Boot.Power.Brown Out Is Logged,TC1092
Uart/BaudRate.IsSupported/*,TC1084
boot.warm_start.boot.warm_start,TC1088
re:flash\\.(wear|otp)\\.flash\\.(wear|otp),TC1089
./flash.bats.writes an image & verifies it,TC1099
radio.firmware_loader.radio.firmware_loader,-
price <format>.(no name),-
"""
"""The company's mapping.csv: exact tests, parameters of one test, an expression, and tests that count for nothing."""

TRACE = "e2e/traces/checkout-TC1063-the-total-is-shown-in-the-local-currency/trace.zip"
"""What the browser recorded of the test that failed: no report names it, its folder is named after the test."""
_RECORDED = {TRACE: Filler(60_000_000), "playwright-report/index.html": Filler(600_000)}
"""Files of the failed browser job; the page is of the whole run, and no test's."""

_MARK = Path("pytest/shard-1.xml")
_BETWEEN_PIPELINES = timedelta(minutes=18)
_JOB_TAKES = timedelta(minutes=2)
_ARTIFACTS_LAST = timedelta(days=30)


class NoReports(ReconcilerError):
    """The reports that the demo shows are not on this machine."""


def find_reports(package: Path = Path(reconciler.__file__).parent) -> Path:
    """Find the folder of reports: in a checkout beside the package, in an installation inside of it.

    Raises:
        NoReports: it is in neither place.
    """
    places = (package.parent / "tests" / "data", package / "sandbox" / "data")
    for place in places:
        if (place / _MARK).is_file():
            return place
    raise NoReports(
        f"the demo's JUnit reports are missing: neither {places[0]} nor {places[1]} holds {_MARK}; "
        f"run the demo from a whole checkout, or install reconciler anew"
    )


@dataclass(slots=True)
class Company:
    """The company's GitLab, and the jobs that the demo tells of."""

    gitlab: GitLabStore
    clock: FakeClock
    reports: Path
    smoke: Job = field(init=False)
    """Failed at its first attempt."""
    browser: Job = field(init=False)
    """Left a picture and a trace of a test that failed."""

    def retry_smoke(self, now: datetime) -> Job:
        """Run the smoke tests again: this time the stock service answers."""
        self.clock.set(now)
        return self.gitlab.retry_job(self.smoke, "success", junit=_files(self.reports, ["pytest/api-attempt-2.xml"]))


def found_company(reports: Path, now: datetime | None = None) -> Company:
    """Make the company's GitLab as it is at `now`, after some hours of CI."""
    clock = FakeClock((now or datetime.now(UTC)) - timedelta(hours=7))
    company = Company(GitLabStore(clock), clock, reports)
    web_shop, payments, firmware = (company.gitlab.add_project(path) for path in PROJECTS)
    _web_shop(company, web_shop)
    _payments(company, payments)
    _firmware(company, firmware)
    return company


@dataclass(frozen=True, slots=True)
class _Job:
    """A job as a scenario tells it: its reports are files of the folder."""

    name: str
    status: str = "success"
    junit: Sequence[str] = ()
    """Uploaded as `artifacts:reports:junit`."""
    archive: Sequence[str] = ()
    """Uploaded as `artifacts:paths`."""
    recorded: Mapping[str, Filler] = field(default_factory=dict)
    """More of the archive."""


def _web_shop(company: Company, project: Project) -> None:
    merge_request, pushed = ("refs/merge-requests/57/head", "merge_request_event"), ("main", "push")
    unit = _Job("unit", "failed", ["jest/unit.xml"])
    rules = _Job("price rules", "failed", ["node/price-rules.xml"])
    _pipeline(company, project, merge_request, [unit, rules])

    smoke = _Job("smoke api", "failed", ["pytest/api-attempt-1.xml"])
    company.smoke = company.gitlab.jobs_of(_pipeline(company, project, pushed, [smoke]))[0]

    nightly = [
        _Job("api", "failed", ["pytest/api.xml"]),
        _e2e(company, "chromium-en", "playwright/chromium-en.xml"),
        replace(_e2e(company, "chromium-de", "playwright/chromium-de.xml"), status="failed", recorded=_RECORDED),
        _e2e(company, "firefox-en", "playwright/reports/e2e/firefox-en.xml"),
    ]
    company.browser = company.gitlab.jobs_of(_pipeline(company, project, ("main", "schedule"), nightly))[2]

    legacy = [
        _Job("admin", "failed", ["mocha/admin-xunit.xml"]),
        _Job("coupons", "failed", ["phpunit/coupons.xml"]),
        _Job("widget", "failed", ["vitest/widget.xml"]),
        _Job("acceptance", "failed", ["cucumber/returns.xml"]),
    ]
    _pipeline(company, project, ("legacy", "push"), legacy)


def _e2e(company: Company, browser: str, report: str) -> _Job:
    """Give the job of one cell of the matrix, with the screenshots that its report points to."""
    folder = company.reports / "playwright"
    pictures = [path for path in sorted(folder.glob("test-results/**/*.png")) if f"-{browser}" in path.as_posix()]
    archive = [report, *(path.relative_to(company.reports).as_posix() for path in pictures)]
    return _Job(f"e2e: [{browser.replace('-', ', ')}]", "success", [report], archive)


def _payments(company: Company, project: Project) -> None:
    shards = [
        _Job("api 1/3", "success", ["pytest/shard-1.xml"]),
        _Job("api 2/3", "success", ["pytest/shard-2.xml"]),
        _Job("api 3/3", "failed", ["pytest/shard-3.xml"]),
    ]
    _pipeline(company, project, ("main", "push"), shards)

    java = _Job("java", "failed", [_java("surefire", "Capture"), _java("surefire", "Fee")])
    _pipeline(company, project, ("main", "push"), [java])

    soak = _Job("soak", "failed", ["pytest-rerunfailures/soak.xml"])
    settlement = _Job("settlement", "failed", ["behave/TESTS-settlement.xml"])
    _pipeline(company, project, ("main", "schedule"), [soak, settlement])

    old = _pipeline(company, project, ("release/1.x", "push"), [_Job("build")])
    ant = _Job("java-ant", "failed", [_java("ant", "Capture"), _java("ant", "Fee")])
    child = _pipeline(company, project, ("release/1.x", "parent_pipeline"), [ant], parent=old)
    company.gitlab.add_bridge(old, "ant tests", "failed", downstream=child)


def _java(tool: str, tested: str) -> str:
    return f"{tool}/TEST-com.example.payments.{tested}Test.xml"


def _firmware(company: Company, project: Project) -> None:
    boards = [
        _Job("board: [rev-c]", "failed", ["ctest/board-rev-c.xml"]),
        _Job("board: [rev-d]", "failed", ["ctest/board-rev-d.xml"]),
        _Job("unit", "failed", archive=["gtest/sensor.xml"]),
    ]
    _pipeline(company, project, ("main", "push"), boards)

    hardware = [
        _Job("hil", "failed", ["robot/hil-attempt-1.xml"]),
        _Job("flash tool", "failed", ["bats/report.xml"]),
    ]
    pipeline = _pipeline(company, project, ("hardware", "push"), hardware)
    hil = company.gitlab.jobs_of(pipeline)[0]
    company.clock.advance(_JOB_TAKES.total_seconds())
    company.gitlab.retry_job(hil, "failed", junit=_files(company.reports, ["robot/hil-attempt-2.xml"]))

    cut = [_Job("flash tool", "failed", ["bats/report-cut.xml"]), _Job("unit", "failed", archive=["gtest/sensor.xml"])]
    _pipeline(company, project, ("fix/flash-timeout", "push"), cut)


def _pipeline(
    company: Company,
    project: Project,
    trigger: tuple[str, str],
    jobs: Sequence[_Job],
    *,
    parent: Pipeline | None = None,
) -> Pipeline:
    """Add a pipeline of a (ref, source) that ran its jobs one after another and ended."""
    gitlab, (ref, source) = company.gitlab, trigger
    company.clock.advance(_BETWEEN_PIPELINES.total_seconds())
    words: PipelineWords = {"ref": ref, "source": source, "status": "running"}
    if parent is not None:
        words["parent"] = parent
    pipeline = gitlab.add_pipeline(project, **words)
    for job in jobs:
        gitlab.add_job(pipeline, job.name, job.status, **_words(company, job))
    gitlab.finish(pipeline)
    return pipeline


def _words(company: Company, job: _Job) -> JobWords:
    """Let the time of a job pass, and give what its runner says and uploads."""
    started, finished = company.clock(), company.clock.advance(_JOB_TAKES.total_seconds())
    words: JobWords = {"started_at": started, "finished_at": finished, "expire_at": finished + _ARTIFACTS_LAST}
    if job.junit:
        words["junit"] = _files(company.reports, job.junit)
    if job.archive:
        files: dict[str, bytes | Filler] = dict(_files(company.reports, job.archive))
        files.update(job.recorded)
        words["archive"] = dict(sorted(files.items()))  # as gitlab-runner packs them (file_archiver.go)
    return words


def _files(reports: Path, names: Sequence[str]) -> list[tuple[str, bytes]]:
    return [(name, (reports / name).read_bytes()) for name in names]
