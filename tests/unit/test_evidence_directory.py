"""Paths as tools write them, found in an archive's directory."""

from __future__ import annotations

import time
import unicodedata
from pathlib import Path

import pytest

from reconciler.archive import Member
from reconciler.evidence import Directory, is_unsafe, mentions
from reconciler.junit import Report

PLAYWRIGHT = Path(__file__).parents[1] / "data" / "playwright"

PATHS = [
    "junit.xml",
    "README.txt",
    "shots/",
    "shots/one.png",
    "shots/two words.png",
    "shots/größe.png",
    "shots/100%25.png",
    "test-results/a/b.png",
    "test-results/c.png",
    "frontend/reports/junit.xml",
    "frontend/reports/near.png",
    "frontend/shots/one.png",
    "frontend/only/there.log",
    "win\\dows\\shot.png",
    "./dotted/x.log",
    "qa/web-shop/inner.log",
    "twins/1/same.log",
    "twins/2/same.log",
    "../../etc/passwd",
    "/abs/olute.log",
]


def found(
    said: str, report: str = "", *, paths: list[str] | None = None, project_path: str = "qa/web-shop"
) -> str | None:
    """Find a path among these, or the usual ones."""
    directory = Directory([Member(path, 1) for path in paths or PATHS], project_path=project_path)
    member = directory.find(said, report)
    return member.path if member else None


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("shots/one.png", "shots/one.png"),
        ("./shots//one.png", "shots/one.png"),
        ("shots\\one.png", "shots/one.png"),
        (' "shots/two words.png"\n', "shots/two words.png"),
        ("a/./../shots/b/../one.png", "shots/one.png"),
        ("shots/100%25.png", "shots/100%25.png"),
        ("shots/100%2525.png", None),
        (unicodedata.normalize("NFD", "shots/größe.png"), "shots/größe.png"),
        ("win/dows/shot.png", "win\\dows\\shot.png"),
        ("win\\dows\\shot.png", "win\\dows\\shot.png"),
        ("dotted/x.log", "./dotted/x.log"),
        ("shots", None),
        ("shots/", None),
        ("Shots/one.png", None),
        ("none.png", None),
        ("", None),
        ("..", None),
        ('""', None),
        ("https://example.com/shots/one.png", None),
    ],
)
def test_a_relative_path_is_read_from_the_projects_folder(said: str, expected: str | None) -> None:
    """Case counts, as it does on the runner."""
    assert found(said) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("near.png", "frontend/reports/near.png"),
        ("../shots/one.png", "frontend/shots/one.png"),
        ("../../shots/one.png", "shots/one.png"),
        ("shots/one.png", "shots/one.png"),
        ("../only/there.log", "frontend/only/there.log"),
        ("../../../shots/one.png", None),
    ],
)
def test_what_is_not_there_is_looked_for_beside_the_report(said: str, expected: str | None) -> None:
    """Some tools write paths from where they write the report."""
    assert found(said, "frontend/reports/junit.xml") == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("../../test-results/a/b.png", "test-results/a/b.png"),
        ("../../../../../../test-results/c.png", "test-results/c.png"),
        ("only/there.log", "frontend/only/there.log"),
        ("../there.log", "frontend/only/there.log"),
        ("here.log", None),
        ("same.log", None),
        ("../same.log", None),
        ("../shots/one.png", None),
        ("../2/same.log", "twins/2/same.log"),
        ("../../../../etc/passwd", None),
    ],
)
def test_a_path_from_an_unknown_folder_is_the_only_one_that_ends_so(said: str, expected: str | None) -> None:
    """Playwright writes `../../test-results/…` from its own folder; one of two is not guessed."""
    assert found(said) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("/builds/qa/web-shop/test-results/c.png", "test-results/c.png"),
        ("/builds/QA/Web-Shop/test-results/c.png", "test-results/c.png"),
        ("/builds/xY3/0/qa/web-shop/shots/two words.png", "shots/two words.png"),
        ("C:\\GitLab-Runner\\builds\\xY3\\0\\qa\\web-shop\\shots\\one.png", "shots/one.png"),
        ("\\\\server\\share\\qa\\web-shop\\shots\\one.png", "shots/one.png"),
        ("/builds/qa/web-shop/e2e/../shots/./one.png", "shots/one.png"),
        ("file:///builds/qa/web-shop/shots/two%20words.png", "shots/two words.png"),
        ("file://localhost/builds/qa/web-shop/shots/gr%C3%B6%C3%9Fe.png", "shots/größe.png"),
        ("file:///C:/builds/qa/web-shop/shots/one.png", "shots/one.png"),
        ("file:shots/one.png", "shots/one.png"),
        ("file://shots/one.png", "shots/one.png"),
        ("/app/test-results/c.png", "test-results/c.png"),
        ("/builds/qa/web-shop/pipeline-7/shots/one.png", "shots/one.png"),
        ("/home/me/qa/web-shop/README.txt", "README.txt"),
        ("/qa/web-shop/qa/web-shop/inner.log", "qa/web-shop/inner.log"),
        ("/builds/qa/other/none.png", None),
        ("/builds/qa/web-shop", None),
        ("/", None),
        ("C:", None),
        ("/abs/olute.log", "/abs/olute.log"),
        ("/builds/abs/olute.log", None),
        ("/builds/x/same.log", None),
    ],
)
def test_an_absolute_path_begins_at_the_projects_folder(said: str, expected: str | None) -> None:
    """Runners build in `…/<group>/<project>`; containers anywhere, so the longest end that is a member will do."""
    assert found(said) == expected


def test_the_longest_end_of_an_absolute_path_wins() -> None:
    """A file in the root that is called the same is another one."""
    assert found("/app/out/a.log", paths=["a.log", "out/a.log"]) == "out/a.log"
    assert found("/app/out/a.log", paths=["a.log"]) == "a.log"


@pytest.mark.parametrize("project_path", ["qa/web-shop", "QA/Web-Shop"])
@pytest.mark.parametrize("build", ["/builds/qa/web-shop", "C:\\Builds\\qa\\WEB-SHOP"])
def test_what_follows_the_projects_path_wins_over_a_longer_end(project_path: str, build: str) -> None:
    """The project's folder is known; GitLab's paths are the same in upper and lower case."""
    paths = ["c.png", "web-shop/c.png", "WEB-SHOP/c.png"]
    assert found(f"{build}/c.png", paths=paths, project_path=project_path) == "c.png"


@pytest.mark.parametrize("project_path", ["", "/", "a/b/c/web-shop"])
def test_any_project_path_will_do(project_path: str) -> None:
    """Projects lie in groups of any depth."""
    assert found("/builds/a/b/c/web-shop/shots/one.png", project_path=project_path) == "shots/one.png"


def test_two_names_that_differ_in_how_accents_are_written_are_found_exactly_or_not_at_all() -> None:
    """Which one another form means is not guessed."""
    one, two = (unicodedata.normalize(form, "größe.png") for form in ("NFC", "NFD"))
    assert found(one, paths=[one, two]) == one
    assert found(two, paths=[one, two]) == two
    assert found(f"./{one}", paths=[one, two]) is None
    assert found(f"/builds/{one}", paths=[one, two]) is None


@pytest.mark.parametrize("said", ["../../etc/passwd", "/abs/olute.log"])
def test_an_unsafe_member_is_found_by_its_exact_name_only(said: str) -> None:
    """So that it can be said that it is refused, and no other path leads to it."""
    assert found(said) == said
    assert is_unsafe(said)
    assert found(f"./{said}") is None


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "\\windows\\x",
        "C:\\x",
        "c:/x",
        "C:x",
        "a/../b",
        "..",
        "a\\..\\b",
        "a/..",
        "a\nb",
        "a\x00",
        "a\x85",
    ],
)
def test_a_path_that_leads_out_is_unsafe(path: str) -> None:
    """Or has control characters."""
    assert is_unsafe(path)


@pytest.mark.parametrize(
    "path", ["a", "a/b c.png", "größe/..x", "a..b/...", "./a", "a\\b", "x:/y".replace("x:", "xy:")]
)
def test_other_paths_are_safe(path: str) -> None:
    """Two dots within a name are a name."""
    assert not is_unsafe(path)


@pytest.mark.parametrize("report", ["chromium-de.xml", "chromium-en.xml", "reports/e2e/firefox-en.xml"])
def test_all_that_playwright_names_is_found(report: str) -> None:
    """A real run; the texts that it attached too were left out of our data."""
    with (PLAYWRIGHT / report).open("rb") as stream:
        said = [mention.said for test in Report(stream) for mention in mentions(test)]
    members = [Member(str(path.relative_to(PLAYWRIGHT)), 1) for path in PLAYWRIGHT.rglob("*") if path.is_file()]
    directory = Directory(members, project_path="qa/web-shop")
    images = [path for path in said if path.endswith(".png")]
    assert images
    for where in (report, ""):
        assert all(directory.find(path, where) for path in images)
    assert not any(directory.find(path, report) for path in said if path.endswith(".md"))


def test_a_directory_of_a_hundred_thousand_members_is_searched_quickly() -> None:
    """All of one name; no look-up goes through them."""
    members = [Member(f"out/{number}/screenshot.png", 1) for number in range(100_000)]
    directory = Directory(members, project_path="qa/web-shop")
    begun = time.process_time()
    for number in range(2_000):
        assert directory.find(f"../../{number}/screenshot.png", "a/b.xml") is members[number]
        assert directory.find(f"/builds/qa/web-shop/out/{number}/screenshot.png", "") is members[number]
        assert directory.find("screenshot.png", "") is None
    assert time.process_time() - begun < 3


@pytest.mark.parametrize(
    "said", ["/" * 100_000, "/a" * 2_048, "../" * 1_365, "a/../" * 819, "/qa/web-shop" * 341, "\\" * 4_096]
)
def test_a_path_made_to_be_slow_is_not(said: str) -> None:
    """A report may name thousands of them."""
    directory = Directory([Member(path, 1) for path in [*PATHS, "a/" * 2_000 + "a"]], project_path="qa/web-shop")
    begun = time.process_time()
    for _ in range(100):
        assert directory.find(said, "a/" * 2_000) is None
    assert time.process_time() - begun < 2
