"""The config file as a whole: what is found, where it is reported, and what comes out."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from reconciler.config import Address, Schedule, Secret, Settings, load
from reconciler.errors import EXIT_USAGE, ConfigError

ENVIRON = {"GITLAB_TOKEN": "glpat-0123456789", "RALLY_API_KEY": "_abcdefghijk"}
GITLAB = '[gitlab]\nurl = "https://gitlab.test"\ntoken = "env:GITLAB_TOKEN"\nprojects = ["qa/shop"]\n'
RALLY = '[rally]\nurl = "https://rally.test"\napi_key = "env:RALLY_API_KEY"\nworkspace = "Acme"\nproject = "Shop"\n'
BASE = GITLAB + RALLY  # nine lines; what a test appends begins at line 10
SHORT = {"BASE": BASE[:-1], "GITLAB": GITLAB[:-1], "RALLY": RALLY[:-1]}


def settings(folder: Path, text: str, **environ: str) -> Settings:
    """Load a config file with this text."""
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return load(path, ENVIRON | environ)


def problems(folder: Path, text: str, **environ: str) -> list[str]:
    """Give what load complains about, without the file's name."""
    with pytest.raises(ConfigError) as caught:
        settings(folder, text, **environ)
    return [line.removeprefix(f"{folder / 'config.toml'}:") for line in str(caught.value).split("\n")]


def test_what_is_not_set_has_the_default_of_the_design(tmp_path: Path) -> None:
    """Only urls, secrets, workspace, project and projects or groups must be set."""
    found = settings(tmp_path, BASE)
    assert found.gitlab.url == "https://gitlab.test"
    assert found.gitlab.projects == ("qa/shop",)
    assert (found.gitlab.poll_seconds, found.gitlab.overlap_seconds, found.gitlab.first_look_days) == (60, 600, 3)
    assert (found.rally.max_concurrency, found.rally.batch_size, found.rally.settle_after_seconds) == (8, 50, 330)
    assert found.ledger.path == tmp_path / "ledger.db"
    assert found.mapping.file == tmp_path / "mapping.csv"
    assert found.results.build == "GitLab-{pipeline_id}"
    assert found.attachments.upload_max_bytes == 5_000_000
    assert found.sprints.schedule == Schedule(("mon",), 6, 0)
    assert found.sprints.timezone is UTC
    assert found.metrics.listen is None
    assert found.notify.command == ()


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    """One frozen Settings goes through the whole program."""
    found = settings(tmp_path, BASE)
    with pytest.raises(AttributeError):
        found.gitlab.poll_seconds = 1  # type: ignore[misc] # this is what must fail


def test_all_secrets_are_named_for_redaction(tmp_path: Path) -> None:
    """The log is told of each secret that was fetched."""
    assert set(settings(tmp_path, BASE).secrets()) == set(ENVIRON.values())


def test_paths_are_relative_to_the_config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not to where the process happens to start; absolute ones stay."""
    monkeypatch.chdir(tmp_path)
    Path("etc").mkdir()
    Path("etc/config.toml").write_text(BASE + '[ledger]\npath = "data/x.db"\n[mapping]\nfile = "/srv/map.csv"\n')
    found = load(Path("etc/config.toml"), ENVIRON)
    assert found.ledger.path == tmp_path / "etc/data/x.db"
    assert found.mapping.file == Path("/srv/map.csv")


def test_urls_lose_their_trailing_slashes(tmp_path: Path) -> None:
    """So that a path can be put behind them."""
    text = BASE.replace("gitlab.test", "gitlab.test/git/").replace("rally.test", "rally.test//")
    found = settings(tmp_path, text)
    assert (found.gitlab.url, found.rally.url) == ("https://gitlab.test/git", "https://rally.test")


GOOD = [
    ("[gitlab]\nprojects = []\ngroups = ['qa', 7]", "gitlab.groups", ("qa", 7)),
    ("[gitlab]\nrefs = ['main', 'release/*']", "gitlab.refs", ("main", "release/*")),
    ("[gitlab]\nsources = ['push', 'parent_pipeline']", "gitlab.sources", ("push", "parent_pipeline")),
    ("[gitlab]\nurl = 'http://localhost:8080'", "gitlab.url", "http://localhost:8080"),
    ("[gitlab]\nurl = 'http://127.8.9.1'", "gitlab.url", "http://127.8.9.1"),
    ("[gitlab]\nurl = 'http://[::1]:1'", "gitlab.url", "http://[::1]:1"),
    ("[rally]\nsettle_after_seconds = 0", "rally.settle_after_seconds", 0),
    ("[rally]\nsettle_after_seconds = 0.25", "rally.settle_after_seconds", 0.25),
    ("[rally]\nrequest_timeout_seconds = 0.5", "rally.request_timeout_seconds", 0.5),
    ("[rally]\nmax_concurrency = 12\nbatch_size = 1", "rally.max_concurrency", 12),
    ("[mapping]\nrally_field = 'c_AutomatedTest'", "mapping.rally_field", "c_AutomatedTest"),
    ("[results]\nbuild = '{project_id}/{pipeline_id} #{pipeline_iid}'", "results.build",
     "{project_id}/{pipeline_id} #{pipeline_iid}"),
    ("[results]\nskipped = 'Not Run'", "results.skipped", "Not Run"),
    ("[attachments]\nupload_max_bytes = 0\nkeep_linked = true", "attachments.keep_linked", True),
    ("[sprints]\ntest_set_name = 'S{N} {iteration} {project}'", "sprints.test_set_name", "S{N} {iteration} {project}"),
    ("[sprints]\nnumber_pattern = 'S(?P<N>\\d+)'", "sprints.number_pattern", r"S(?P<N>\d+)"),
    ("[sprints]\nschedule = 'mon,thu 6:30'", "sprints.schedule", Schedule(("mon", "thu"), 6, 30)),
    ("[sprints]\ntimezone = 'Europe/Berlin'", "sprints.timezone", ZoneInfo("Europe/Berlin")),
    ("[metrics]\nlisten = '[::1]:9464'", "metrics.listen", Address("::1", 9464)),
    ("[metrics]\nlisten = '127.0.0.1:9464'", "metrics.listen", Address("127.0.0.1", 9464)),
    ("[notify]\nurl = 'http://hooks.test/a?b=c'", "notify.url", "http://hooks.test/a?b=c"),
    ("[notify]\ncommand = ['mail', '-s', 'Rally trouble']", "notify.command", ("mail", "-s", "Rally trouble")),
]  # fmt: skip


def with_section(text: str) -> str:
    """Give the base with this section's keys put in, instead of those that it already has."""
    header, *lines = text.split("\n")
    kept = BASE.split("\n")
    if header not in kept:
        return BASE + text
    at = kept.index(header)
    end = at + (4 if header == "[gitlab]" else 5)
    names = {line.split(" = ")[0] for line in lines}
    kept[at + 1 : end] = [*lines, *(line for line in kept[at + 1 : end] if line.split(" = ")[0] not in names)]
    return "\n".join(kept)


@pytest.mark.parametrize(("text", "key", "value"), GOOD)
def test_values_at_the_edge_of_what_is_allowed(tmp_path: Path, text: str, key: str, value: object) -> None:
    """Nothing that makes sense is refused."""
    section, name = key.split(".")
    assert getattr(getattr(settings(tmp_path, with_section(text)), section), name) == value


def test_a_ca_bundle_is_a_pem_file_with_certificates(tmp_path: Path) -> None:
    """It is looked into at the start, not at the first request."""
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    assert settings(tmp_path, with_section("[gitlab]\nca_bundle = 'ca.pem'")).gitlab.ca_bundle == tmp_path / "ca.pem"
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    [problem] = problems(tmp_path, with_section("[rally]\nca_bundle = 'ca.pem'"))
    assert "which holds no certificate that can be read" in problem


def cases(name: str) -> list[tuple[str, list[str]]]:
    """Read a table beside this file: a text, what load says to it after `=> `, and an empty line."""
    table: list[tuple[str, list[str]]] = []
    lines: list[str] = []
    expected: list[str] = []
    for line in [*Path(__file__).with_name(name).read_text("utf-8").split("\n"), ""]:
        if line.startswith("=> "):
            expected.append(line.removeprefix("=> "))
        elif expected:
            table.append(("\n".join(lines), expected))
            lines, expected = [], []
        else:
            lines.append(line)
    return table


@pytest.mark.parametrize(("text", "expected"), cases("test_config_values.txt"))
def test_a_value_that_its_key_may_not_hold(tmp_path: Path, text: str, expected: list[str]) -> None:
    """Each mistake is named with its place, what is wrong and what to do; nothing that may be secret is repeated."""
    assert problems(tmp_path, with_section(text)) == [line.replace("FOLDER", str(tmp_path)) for line in expected]


@pytest.mark.parametrize(("text", "expected"), cases("test_config_structure.txt"))
def test_a_mistake_in_sections_and_keys(tmp_path: Path, text: str, expected: list[str]) -> None:
    """Unknown, missing, misplaced and doubled ones, and what is not TOML at all."""
    whole = "\n".join(SHORT.get(line, line) for line in text.split("\n"))
    assert problems(tmp_path, whole) == expected


def test_all_problems_come_at_once_in_file_order(tmp_path: Path) -> None:
    """Nobody likes to start a service ten times to find ten typos."""
    text = '[log]\nlevel = "x"\njson = 3\n[gitlab]\ntoken = "abc"\nurl = 4\n[typo]\n[rally]\nbatch_size = "a"\n'
    places = [":".join(line.split(":")[:2]) for line in problems(tmp_path, text)]
    assert places == ["2:1", "3:1", "4:1", "5:1", "6:1", "7:1", "8:1", "8:1", "8:1", "8:1", "9:1"]


def test_a_config_error_is_wrong_usage_and_names_its_file_as_it_was_given(tmp_path: Path) -> None:
    """Exit status 2, and `FILE:LINE:COL: what: what to do`."""
    path = tmp_path / "config.toml"
    path.write_text(BASE + "[log]\nlevel = 'x'")
    with pytest.raises(ConfigError) as caught:
        load(path, ENVIRON)
    assert caught.value.exit_status == EXIT_USAGE
    assert str(caught.value).startswith(f"{path}:11:1: log.level is ")


def test_a_missing_file_says_where_to_get_one(tmp_path: Path) -> None:
    """The first start of all."""
    path = tmp_path / "nowhere.toml"
    with pytest.raises(ConfigError) as caught:
        load(path, ENVIRON)
    assert str(caught.value) == (
        f"{path}:1:1: no such file: copy config.toml from the repository or give --config PATH"
    )


def test_a_folder_is_not_a_config_file(tmp_path: Path) -> None:
    """What the system says is passed on."""
    with pytest.raises(ConfigError, match=r":1:1: cannot be read \(Is a directory\): name a file that this user may"):
        load(tmp_path, ENVIRON)


def test_a_file_that_is_not_utf_8_is_named_with_the_place(tmp_path: Path) -> None:
    """An editor that saves Latin-1."""
    path = tmp_path / "config.toml"
    path.write_bytes(b"# one\n# \xe4\n")
    with pytest.raises(ConfigError, match=r":2:3: not UTF-8: save the file with the encoding UTF-8$"):
        load(path, ENVIRON)


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    """An editor that means well."""
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xef\xbb\xbf" + (BASE + "[log]\nlevel = 'x'\n").replace("\n", "\r\n").encode())
    with pytest.raises(ConfigError, match=r":11:1: log\.level is "):
        load(path, ENVIRON)


OVERRIDES = [
    ("GITLAB__POLL_SECONDS", "5", "gitlab.poll_seconds", 5),
    ("RALLY__SETTLE_AFTER_SECONDS", "0.5", "rally.settle_after_seconds", 0.5),
    ("LOG__JSON", "true", "log.json", True),
    ("LOG__LEVEL", "DEBUG", "log.level", "DEBUG"),
    ("GITLAB__PROJECTS", "a/b, 42", "gitlab.projects", ("a/b", 42)),
    ("GITLAB__PROJECTS", '["a/b", 42]', "gitlab.projects", ("a/b", 42)),
    ("GITLAB__SOURCES", "", "gitlab.sources", ()),
    ("RALLY__WORKSPACE", "42", "rally.workspace", "42"),
    ("GITLAB__TOKEN", "env:RALLY_API_KEY", "gitlab.token", Secret(ENVIRON["RALLY_API_KEY"])),
]


@pytest.mark.parametrize(("variable", "text", "key", "value"), OVERRIDES)
def test_the_environment_overrides_a_key(tmp_path: Path, variable: str, text: str, key: str, value: object) -> None:
    """Its text is read as the key's type; lists are JSON, or parted by commas."""
    section, name = key.split(".")
    found = settings(tmp_path, BASE, **{f"RECONCILER_{variable}": text})
    assert getattr(getattr(found, section), name) == value


def test_the_environment_can_give_what_the_file_lacks_and_heal_what_it_has_wrong(tmp_path: Path) -> None:
    """What is overridden is not looked at in the file."""
    text = BASE.replace('workspace = "Acme"\n', "") + "[log]\nlevel = 3\n"
    found = settings(tmp_path, text, RECONCILER_RALLY__WORKSPACE="Beta", RECONCILER_LOG__LEVEL="ERROR")
    assert (found.rally.workspace, found.log.level) == ("Beta", "ERROR")


@pytest.mark.parametrize(("text", "expected"), cases("test_config_environment.txt"))
def test_a_mistake_in_the_environment(tmp_path: Path, text: str, expected: list[str]) -> None:
    """It names the variable and stands at the header of the section that it speaks of."""
    variable, _, value = text.partition("=")
    assert problems(tmp_path, BASE, **{variable: value}) == expected


@given(text=st.text())
def test_any_text_gives_settings_or_problems_on_lines_that_exist(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    """No file makes it fall over."""
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    for problem in caught.value.problems:
        assert 1 <= problem.line <= len(text.splitlines()) + 1
        assert problem.column >= 1
        assert "\n" not in str(problem)
