"""docs/attachments.md says what is true."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import pytest

from reconciler import archive, attach, fetch, filing
from reconciler.archive import Member
from reconciler.evidence import MAX_UPLOADS, OUTPUT_BYTES, RALLY_MAX_BYTES, Directory, Naming, said
from reconciler.evidence.naming import SHORTEST
from reconciler.gitlab import kept
from reconciler.ledger import job_reading, views
from reconciler.ledger.store import in_memory
from reconciler.notes import LIMIT_BYTES

PAGE = Path(__file__).parents[2] / "docs" / "attachments.md"
TEXT = PAGE.read_text("utf-8")
MIB, GIB = 1024**2, 1024**3


def rows(title: str) -> list[list[str]]:
    """Give the cells of the table below a title, without its head."""
    table = TEXT.partition(f"# {title}\n")[2].partition("\n#")[0]
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


@pytest.mark.parametrize(("test", "file", "answer"), rows("The naming convention"))
def test_the_examples_of_the_naming_convention_hold(test: str, file: str, answer: str) -> None:
    """As the page says it: yes, or why not."""
    found = Naming([file.strip("`")]).match(lambda: [(1, test.strip("`"))])
    assert bool(found) != answer.startswith("no"), answer


def test_a_file_is_of_the_longest_name_only() -> None:
    """The row that says "only where no test is called …"."""
    [(_, file, _)] = [row for row in rows("The naming convention") if row[2].startswith("only where")]
    path = file.strip("`")
    assert Naming([path]).match(lambda: [(1, "test_pay"), (2, "test_pay[visa]")]) == {path: [2]}


def test_paths_are_understood_as_the_page_says() -> None:
    """Each form that it names."""
    paths = ["shots/a.png", "e2e/test-results/a.png", "shots/a b.png", "reports/beside.png"]
    directory = Directory([Member(path, 1) for path in paths], project_path="qa/web-shop")
    written = [code for row in rows("Paths, as tools write them") for code in re.findall("`([^`]+)`", row[0])]
    assert len(written) == 7
    found = {text: directory.find(text.replace("…", "qa/web-shop/shots"), "reports/junit.xml") for text in written}
    assert {text for text, member in found.items() if member is None} == {"https://…"}
    assert directory.find("beside.png", "reports/junit.xml") is not None
    assert directory.find("a.png", "reports/junit.xml") is None  # two end so


def test_the_states_are_those_that_status_counts() -> None:
    """In its order."""
    with closing(in_memory()) as store:
        counted = list(views.attachments(store))
    assert [row[0].strip("`") for row in rows("States")] == counted


@pytest.mark.parametrize(
    "told",
    [
        f"{said.MOST_MENTIONS}; of one job {job_reading.MENTIONS_OF_ONE_JOB:,}",
        f"{filing.FILES_OF_ONE_JOB:,}, and {filing.PAIRS_OF_ONE_JOB:,} pairs",
        f"{said.INLINE_BYTES // 10**6} MB a file, {job_reading.INLINE_BYTES_OF_ONE_JOB // 10**6} MB a job",
        f"{archive.Caps().members:,}; its directory {archive._DIRECTORY_BYTES // MIB} MiB",
        f"{archive.Caps().member_bytes // 10**9} GB a member, {archive.Caps().total_bytes // 10**9} GB in all",
        f"over {archive.Caps().ratio_free_bytes // 10**6} MB and over {archive.Caps().ratio} times",
        f"about {attach.CARRIED_BYTES // 10**6} MB or {attach.CARRIED_FILES} files",
        f"{kept.MEMORY_BYTES // MIB} MiB of memory,\n{kept.DISK_BYTES // GIB} GiB of files",
        f"{archive.TAIL_BYTES // 1024} KiB hold",
        f"gaps up to {archive.GAP_BYTES // 1024} KiB",
        f"above {OUTPUT_BYTES:,} bytes",
        f"beyond {MAX_UPLOADS} uploads",
        f"Rally's {RALLY_MAX_BYTES // 10**6} MB",
        f"Notes' {LIMIT_BYTES:,} bytes",
        f"at least {SHORTEST} characters",
        f"asked in {fetch.TRIES} passes",
    ],
)
def test_the_numbers_are_those_of_the_program(told: str) -> None:
    """Letter by letter."""
    assert told in TEXT


def test_each_file_that_the_page_links_to_is_there() -> None:
    """Seen from its folder."""
    linked = re.findall(r"\]\((?!https?:|#)([^)]+)\)", TEXT)
    assert linked
    assert [link for link in linked if not (PAGE.parent / link).exists()] == []
