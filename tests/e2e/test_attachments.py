"""Logs, screenshots and traces reach the result they belong to: as an attachment, or as a link that works."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

import pytest

from reconciler.sandbox.faults import Answer, Fault
from reconciler.sandbox.gitlab import Filler, Role
from reconciler.sandbox.messages import Response
from tests.archives import noise
from tests.company import TOKEN, case, marked, report

if TYPE_CHECKING:
    from reconciler.sandbox.gitlab import Job
    from tests.company import Company

PNG = b"\x89PNG\r\n\x1a\n"
DAY = timedelta(days=30)
LOG = "test_output.log"


def address(company: Company, job: Job, path: str) -> str:
    """Write where GitLab's pages show a file of a job; `path` as it stands in URLs."""
    return f"{company.gitlab.url}/{company.project.path}/-/jobs/{job.id}/artifacts/file/{path}"


def links(notes: str) -> list[str]:
    """List the addresses of files in Notes."""
    return re.findall(r'href="([^"]*/artifacts/file/[^"]*)"', notes)


def test_a_failed_browser_test_shows_its_screenshot_and_its_log_and_links_its_trace(company: Company) -> None:
    """The trace's bytes are never fetched; its link, size and last day stand in Notes; a second run writes nothing."""
    company.gitlab.instance.delivery = "object store"
    expiry = company.gitlab.store.clock() + DAY
    shot = PNG + noise(40_000)
    files: dict[str, bytes | Filler] = {
        "shots/checkout_TC1.png": shot,
        "traces/a trace.zip": Filler(60_000_000),
        "other.png": PNG,
    }
    out = "\x1b[31mclicked\x1b[0m twice\n" + marked("traces/a trace.zip")
    job = company.ran(report(case("checkout_TC1!", out), case("login_TC2")), files, expire_at=expiry)

    told = company.once()

    found = company.attachments(job.pipeline)
    assert [name for name, _ in found["TC1/1"]] == ["checkout_TC1.png", LOG]
    assert found["TC1/1"][0][1] == shot
    assert b"clicked twice" in found["TC1/1"][1][1]
    assert found["TC2/1"] == []
    notes = company.notes(job.pipeline)["TC1/1"]
    assert address(company, job, "traces/a%20trace.zip") in links(notes)
    assert "60.0 MB" in notes
    assert expiry.date().isoformat() in notes
    assert told["attachments_sent"] == 2
    counts = company.status()["attachments"]
    assert (counts["done"], counts["linked"], counts["pending"], counts["missing"]) == (2, 1, 0, 0)
    assert sum(entry.bytes_out for entry in company.archive_requests(job)) < 600_000
    assert len(company.archive_requests(job)) <= 4
    writes = company.writes()
    assert company.once()["writes"] == 0
    assert company.writes() == writes


def test_what_rally_shows_of_an_attachment_is_its_type_and_its_result(company: Company) -> None:
    """Of the result, not of an artifact; in its workspace; an image that does not begin like one is only bytes."""
    files = {"checkout.png": PNG, "checkout.jpg": b"<script>", "checkout.log": b"hello"}
    job = company.ran(report(case("checkout_TC1", marked(*files))), files)

    company.once()

    made = company.rally_store.find("Attachment")
    assert {str(one.fields["Name"]): one.fields["ContentType"] for one in made} == {
        "checkout.png": "image/png",
        "checkout.jpg": "application/octet-stream",
        "checkout.log": "text/plain",
    }
    assert all(one.fields["TestCaseResult"] and not one.fields.get("Artifact") for one in made)
    assert company.names(job.pipeline)["TC1/1"] == sorted(files)


def test_files_that_are_not_to_be_uploaded_are_linked_and_notes_say_why(company: Company) -> None:
    """Too large, `link_only`, performance metrics by folder and by property, empty; none of their bytes is fetched."""
    company.gitlab.instance.delivery = "object store"
    company.configure(rally={"settle_after_seconds": 0}, attachments={"upload_max_bytes": 1_000})
    files: dict[str, bytes | Filler] = {
        "small.log": noise(1_000),
        "large.log": noise(1_001),
        "video.MP4": Filler(2_000_000),
        "results/Perf/load.json": Filler(3_000_000),
        "timing.json": Filler(4_000_000),
        "empty.log": b"",
    }
    named = [path for path in files if path != "timing.json"]
    properties = {"perf_report": "timing.json", "perf.p95": "120 ms"}
    job = company.ran(report(case("checkout_TC1", marked(*named), properties)), files)

    company.once()

    assert company.attachments(job.pipeline)["TC1/1"] == [("small.log", files["small.log"])]
    notes = company.notes(job.pipeline)["TC1/1"]
    assert sorted(links(notes)) == sorted(address(company, job, path) for path in files)
    said = {line for line in notes.split("\n") if line.startswith("<li>")}
    for name, words in {
        "large.log": "larger than attachments.upload_max_bytes",
        "video.MP4": "as configured (link_only)",
        "load.json": "as configured (link_only)",
        "timing.json": "performance metrics",
        "empty.log": "empty file",
    }.items():
        assert any(name in line and words in line for line in said), (name, said)
    assert "perf.p95 = 120 ms" in notes
    assert company.status()["attachments"]["linked"] == 5
    assert sum(entry.bytes_out for entry in company.archive_requests(job)) < 600_000


def test_at_most_twenty_files_of_a_result_are_uploaded_and_the_rest_is_linked(company: Company) -> None:
    """The output first, then the files in the order in which the test names them; a member twice counts once."""
    files = {f"shot-{n:02}.png": PNG + bytes([n]) for n in range(25)}
    job = company.ran(report(case("checkout_TC1!", marked(*files, *files))), files)

    company.once()

    found = company.names(job.pipeline)["TC1/1"]
    assert (len(found), LOG in found) == (20, True)
    notes = company.notes(job.pipeline)["TC1/1"]
    assert set(links(notes)) == {address(company, job, path) for path in files}
    assert notes.count("more than 20 files") == 6
    counts = company.status()["attachments"]
    assert (counts["done"], counts["linked"]) == (20, 6)


AS_TOOLS_WRITE_THEM = {
    "absolute": ("/builds/qa/web-shop/out/shot.png", "out/shot.png"),
    "of another runner": ("/home/gitlab-runner/builds/x7/0/qa/web-shop/out/shot.png", "out/shot.png"),
    "up and down": ("../../out/./shot.png", "out/shot.png"),
    "spaces": ("out/my shot (1).png", "out/my shot (1).png"),
    "non-ASCII": ("out/Kassenübersicht.png", "out/Kassenübersicht.png"),
    "decomposed": ("out/Kassenu\u0308bersicht.png", "out/Kassenübersicht.png"),
    "backslashes": ("C:\\builds\\qa\\web-shop\\out\\shot.png", "out/shot.png"),
    "file URL": ("file:///builds/qa/web-shop/out/my%20shot.png", "out/my shot.png"),
    "percent and hash": ("out/100%#1.png", "out/100%#1.png"),
}


def test_paths_are_found_as_tools_write_them(company: Company) -> None:
    """Each from a job of its own; links are percent-encoded part by part."""
    pipeline = company.gitlab.store.add_pipeline(company.project, status="failed")
    jobs: dict[str, tuple[Job, str]] = {}
    for n, (said, path) in enumerate(AS_TOOLS_WRITE_THEM.values(), 1):
        job = company.ran(report(case(f"checkout_TC{n}", marked(said))), {path: PNG, "log.txt": b"-"}, pipeline)
        jobs[f"TC{n}/1"] = (job, path)

    company.once()

    found, notes = company.names(pipeline), company.notes(pipeline)
    assert found == {key: [path.rpartition("/")[2]] for key, (_, path) in jobs.items()}
    assert company.status()["attachments"]["missing"] == 0
    encoded = {"TC4/1": "out/my%20shot%20%281%29.png", "TC5/1": "out/Kassen%C3%BCbersicht.png"}
    encoded["TC9/1"] = "out/100%25%231.png"
    for key, path in encoded.items():
        assert links(notes[key]) == [address(company, jobs[key][0], path)]


def test_data_in_the_report_is_attached_an_address_is_linked_and_a_missing_file_is_said(company: Company) -> None:
    """None of them needs an archive."""
    data = "data:image/png;base64,iVBORw0KGgo="
    out = marked(data, "https://grid.example.com/video/1?x=%20y", "no/such.png")
    pipeline = company.pipeline({"e2e": report(case("checkout_TC1", out, {"attachment_shot": data}))})

    company.once()

    found = company.attachments(pipeline)["TC1/1"]
    assert {content for _, content in found} == {PNG}
    notes = company.notes(pipeline)["TC1/1"]
    assert 'href="https://grid.example.com/video/1?x=%20y"' in notes
    assert "such.png: the job has no archive" in notes
    counts = company.status()["attachments"]
    assert (counts["linked"], counts["missing"], counts["pending"]) == (1, 1, 0)
    assert company.status()["problems"] == []


def test_a_file_that_rally_finds_too_large_becomes_a_link_and_the_result_says_so(company: Company) -> None:
    """The others of this and other results are there; the notice counts as none of them."""
    company.rally_app.behaviour.max_attachment_bytes = 1_500_000
    files = {"big.png": PNG + noise(1_600_000), "small.png": PNG}
    elements = [case("checkout_TC1!", marked(*files)), case("login_TC2!", marked("small.png"))]
    job = company.ran(report(*elements), files)

    told = company.once()

    found = dict(company.attachments(job.pipeline)["TC1/1"])
    assert sorted(found) == ["not attached.txt", "small.png", LOG]
    assert company.names(job.pipeline)["TC2/1"] == ["small.png", LOG]
    said = found["not attached.txt"].decode()
    assert "big.png" in said
    assert "greater than the maximum" in said
    assert address(company, job, "big.png") in said
    assert address(company, job, "big.png") in links(company.notes(job.pipeline)["TC1/1"])
    assert told["attachments_sent"] == 4
    status = company.status()
    assert (status["attachments"]["refused"], status["attachments"]["done"]) == (1, 4)
    assert [(row["name"], row["state"]) for row in status["unattached"]] == [("big.png", "refused")]
    assert company.once()["writes"] == 0


@pytest.mark.parametrize("what", ["attachmentcontent", "attachment"])
def test_a_file_that_rally_refuses_becomes_a_link_and_the_result_says_so(company: Company, what: str) -> None:
    """Whether its content or the Attachment itself is refused, and for whatever reason."""
    company.configure(rally={"settle_after_seconds": 0, "batch_size": 1})
    no = Response.json({"CreateResult": {"Errors": ["Validation error: it is cursed"], "Warnings": []}})
    company.rally.faults.add(Fault(Answer(no), method="POST", path=f"/{what}/create"))
    files = {"one.png": PNG, "two.png": PNG + b"2"}
    job = company.ran(report(case("checkout_TC1", marked(*files)), case("login_TC2!")), files)

    company.once()

    found = company.attachments(job.pipeline)
    assert len(found["TC1/1"]) + len(found["TC2/1"]) == 3
    told = [content.decode() for names in found.values() for name, content in names if name == "not attached.txt"]
    assert len(told) == 1
    assert "Rally refuses it: Validation error: it is cursed" in told[0]
    assert company.status()["attachments"]["refused"] == 1


@pytest.mark.parametrize("batch", ["errors", 404, "size 1"])
def test_without_batch_attachments_go_one_by_one(company: Company, batch: Literal["errors", "size 1"] | int) -> None:
    """Whether Rally refuses it or the config does without."""
    if batch == "size 1":
        company.configure(rally={"settle_after_seconds": 0, "batch_size": 1})
    else:
        company.rally_app.behaviour.batch = batch
    files = {f"shot-{n}.png": PNG + noise(5_000, n) for n in range(5)}
    job = company.ran(report(case("checkout_TC1!", marked(*files))), files)

    company.once()

    found = company.attachments(job.pipeline)["TC1/1"]
    assert found[:5] == sorted(files.items())
    assert [name for name, _ in found[5:]] == [LOG]
    assert company.rally_store.orphaned_contents() == []
    batches = company.rally.log.entries("POST", "/batch$")
    assert (len(batches) == 0) == (batch == "size 1")


def test_few_requests_bring_many_small_files(company: Company) -> None:
    """Contents and Attachments go by `/batch`, each request below 1 MB."""
    files = {f"t{n}_TC{n}.log": noise(60_000, n) for n in range(1, 10)}
    company.ran(report(*(case(f"t{n}_TC{n}!", marked(f"t{n}_TC{n}.log")) for n in range(1, 10))), files)

    told = company.once()

    assert told["attachments_sent"] == 18
    assert company.writes() <= 1 + 2 + 2
    assert max(entry.bytes_in for entry in company.rally.log.writes()) <= 1_000_000


def test_a_dry_run_names_every_attachment_that_the_next_pass_sends(company: Company) -> None:
    """With its final size, and nothing else; nothing is written, and nothing of the members is fetched."""
    company.gitlab.instance.delivery = "object store"
    files: dict[str, bytes | Filler] = {
        "a.png": PNG + noise(30_000),
        "sub/a.png": PNG + noise(20_000),
        "b.log": b"x" * 700_000,
        "trace.zip": Filler(10_000_000),
    }
    noisy = "".join(f"line {n} of what it printed \x1b[3{n % 8}mcoloured\n" for n in range(60_000))
    elements = [case("checkout_TC1!", noisy + marked(*files)), case("login_TC1!!", "other"), case("pay_TC2", "quiet")]
    job = company.ran(report(*elements), files)

    ran = company.run("--json", "--once", "--dry-run")

    assert (ran.status, company.writes()) == (0, 0)
    planned = [action for action in ran.json["actions"] if action["kind"] == "attachment"]
    company.once()
    sent = [
        (f"GitLab-{job.pipeline.id}", key.partition("/")[0], name, len(content))
        for key, found in company.attachments(job.pipeline).items()
        for name, content in found
    ]
    assert sorted((a["build"], a["test_case"], a["name"], a["size"]) for a in planned) == sorted(sent)
    assert [name for _, _, name, _ in sent].count("a.png") == 2
    assert {"test_output.log", "test_output-2.log"} < {name for _, _, name, _ in sent}
    assert max(size for _, _, name, size in sent if name == LOG) <= 1_000_000
    writes = company.writes()
    assert company.run("--json", "--once", "--dry-run").json == {"actions": []}
    assert company.once()["writes"] == 0
    assert company.writes() == writes


@pytest.mark.parametrize("version", ["16.11", "18.9"])
@pytest.mark.parametrize("delivery", ["local", "object store"])
def test_an_old_gitlab_gives_reports_and_files_out_of_one_archive(
    company: Company, version: str, delivery: Literal["local", "object store"]
) -> None:
    """At most 4 requests for the archive in the whole pass, one more for the artifact that it does not know."""
    company.gitlab.instance.version, company.gitlab.instance.delivery = version, delivery
    store = company.gitlab.store
    pipeline = store.add_pipeline(company.project, status="failed")
    files: dict[str, bytes | Filler] = {
        "reports/junit.xml": report(case("checkout_TC1!", marked("shot.png"))),
        "middle.bin": Filler(30_000_000),
        "shot.png": PNG,
    }
    job = store.add_job(pipeline, "e2e", finished_at=store.clock(), archive=files)

    company.once()

    assert company.names(pipeline) == {"TC1/1": ["shot.png", LOG]}
    asked = company.archive_requests(job)
    assert len(asked) <= 4
    assert sum(entry.bytes_out for entry in asked) < 1_000_000


def test_artifacts_that_are_linked_are_kept_when_the_operator_wants_it(company: Company) -> None:
    """Only those of jobs that something links to; Notes then tell no last day of the link."""
    company.gitlab.store.add_token(TOKEN, role=Role.DEVELOPER, scopes=("api",))
    company.configure(rally={"settle_after_seconds": 0}, attachments={"keep_linked": True})
    expiry = company.gitlab.store.clock() + DAY
    pipeline = company.gitlab.store.add_pipeline(company.project, status="failed")
    linking = company.ran(
        report(case("checkout_TC1", marked("trace.zip"))), {"trace.zip": b"-"}, pipeline, expire_at=expiry
    )
    other = company.ran(report(case("login_TC2", marked("a.png"))), {"a.png": PNG}, pipeline, expire_at=expiry)

    company.once()

    assert (linking.expire_at, other.expire_at) == (None, expiry)
    assert expiry.date().isoformat() not in company.notes(pipeline)["TC1/1"]
    company.once()
    assert len(company.gitlab.server.log.entries("POST", "/artifacts/keep$")) == 1


def test_a_token_that_may_not_keep_artifacts_is_said_once_and_nothing_else_changes(company: Company) -> None:
    """The pass ends well, the link stands; later results tell the last day again."""
    company.configure(rally={"settle_after_seconds": 0}, attachments={"keep_linked": True})
    expiry = company.gitlab.store.clock() + DAY
    reported = report(case("checkout_TC1", marked("trace.zip")), case("login_TC2", marked("trace.zip")))
    pipeline = company.gitlab.store.add_pipeline(company.project, status="failed")
    for _ in range(2):
        company.ran(reported, {"trace.zip": b"-"}, pipeline, expire_at=expiry)

    ran = company.run("--once")

    assert ran.status == 0
    assert ran.err.count("keep_linked needs a token with the scope api") == 1
    later = company.ran(reported, {"trace.zip": b"-"}, expire_at=expiry)
    assert company.run("--once").status == 0
    assert expiry.date().isoformat() in company.notes(later.pipeline)["TC1/1"]
