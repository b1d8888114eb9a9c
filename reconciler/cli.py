"""The command line, and the one place where adapters are built. Heavy imports stand inside the commands."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from reconciler import __version__
from reconciler.errors import EXIT_DONE, EXIT_FAILED, EXIT_TRY_AGAIN, EXIT_USAGE, ReconcilerError, Stopped

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Sequence

    from reconciler.config import Settings
    from reconciler.mapping import Row
    from reconciler.ports import Rally
    from reconciler.reconcile import Order, Outcome, Repaired, World
    from reconciler.verify import Verified

RUNS = ("once", "backfill", "sprint_sets")
"""The one-shots, of which a command line has one."""
MUCH = 10_000
"""Results above which a backfill asks before it sends."""
PATIENCE_S = 25.0
"""How long a one-shot waits for each service that is down, so that it waits less than a minute in all."""

_JSON_HELP = "Print JSON for machines; the log goes to standard error."
_as_json = click.option("--json", "json_too", is_flag=True, help=_JSON_HELP)


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config", "config_path", type=click.Path(path_type=Path), default=Path("config.toml"), show_default=True,
    help="The config file; relative paths in it are relative to its folder.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help=_JSON_HELP)
@click.option("--once", is_flag=True, help="Make one full pass, then exit.")
@click.option("--backfill", is_flag=True, help="Bring historic pipelines up to date, then exit; needs --since.")
@click.option("--sprint-sets", is_flag=True, help="Bring sprint test sets up to date, then exit.")
@click.option("--since", metavar="DATE", help="With --backfill: the oldest update of a pipeline, e.g. 2026-01-01.")
@click.option("--until", metavar="DATE", help="With --backfill: the newest one, a day counts to its end; default: now.")
@click.option(
    "--project", "projects", multiple=True, help="With --backfill: only this project (path or id); repeatable."
)
@click.option("--dry-run", is_flag=True, help="With one of these three: print the plan, write nothing to Rally.")
@click.option("--yes", is_flag=True, help=f"With --backfill: do not ask before sending more than {MUCH:,} results.")
@click.version_option(__version__, prog_name="reconciler")
@click.pass_context
def cli(context: click.Context, /, config_path: Path, **options: Any) -> None:  # noqa: ANN401 - click's values
    """Keep Rally's test results true to what GitLab CI ran.

    Without a command: the daemon, which polls GitLab and Rally until it is stopped.
    """
    context.obj = {"config": config_path, "json": options["as_json"]}
    given = [name for name in (*RUNS, "since", "until", "projects", "dry_run", "yes") if options[name]]
    if context.invoked_subcommand is not None:
        if given:
            raise click.UsageError(f"--{_flag(given[0])} does not go with the command {context.invoked_subcommand}.")
        return
    _refuse_odd_mixtures(options)
    if any(options[name] for name in RUNS):
        sys.exit(_one_shot(config_path, options))
    if options["as_json"]:
        raise click.UsageError(
            "--json goes with --once, --backfill, --sprint-sets or a command; the daemon logs JSON with log.json."
        )
    sys.exit(_daemon(config_path))


def _flag(name: str) -> str:
    return "project" if name == "projects" else name.replace("_", "-")


def _refuse_odd_mixtures(options: dict[str, Any]) -> None:
    runs = [name for name in RUNS if options[name]]
    if len(runs) > 1:
        raise click.UsageError(f"--{_flag(runs[0])} and --{_flag(runs[1])} are two different runs: give one of them.")
    for name in ("since", "until", "projects", "yes"):
        if options[name] and not options["backfill"]:
            raise click.UsageError(f"--{_flag(name)} goes with --backfill.")
    if options["backfill"] and not options["since"]:
        raise click.UsageError("--backfill needs --since DATE, e.g. --since 2026-01-01.")
    if options["dry_run"] and not runs:
        raise click.UsageError("--dry-run goes with --once, --backfill or --sprint-sets.")


# --- runs that need both services ------------------------------------------------------------------------------------


def _one_shot(config_path: Path, options: dict[str, Any]) -> int:
    """Make one pass and print what it did; the exit status."""
    from reconciler import show
    from reconciler.reconcile import reconcile

    order = _order(options)
    settings, rows = _configured(config_path)
    with _world(settings, patience_s=PATIENCE_S) as world:
        done = reconcile(world, rows, order)
    if options["as_json"]:
        _print_json({"actions": list(done.actions)} if order.dry_run else done.summary)
    elif order.dry_run:
        click.echo(show.plan(done.actions))
    else:
        click.echo(show.outcome(done.summary, whole=not (done.down or done.failed)))
    for text in (*done.failed, *done.down):
        click.echo(show.clean(text), err=True)
    return _dry_status(done) if order.dry_run else done.exit_status


def _dry_status(done: Outcome) -> int:
    """Tell a dry run's status: a plan is no work left, only what kept it from being whole counts."""
    if done.failed:
        return EXIT_FAILED
    return EXIT_TRY_AGAIN if done.down else EXIT_DONE


def _order(options: dict[str, Any]) -> Order:
    from reconciler.collect import Scope
    from reconciler.reconcile import Order

    if options["once"]:
        return Order("once", dry_run=options["dry_run"])
    if options["sprint_sets"]:
        return Order("sprint-sets", dry_run=options["dry_run"], collects=False, sends=False)
    since, until = _instant(options["since"], "--since"), None
    if options["until"]:
        until = _instant(options["until"], "--until", end=True)
        if until < since:
            raise click.UsageError("--until lies before --since.")
    if since > datetime.now(UTC):
        raise click.UsageError("--since lies in the future.")
    return Order(
        "backfill",
        scope=Scope(since, until, options["projects"]),
        dry_run=options["dry_run"],
        guard=None if options["yes"] else _ask,
    )


def _instant(text: str, option: str, *, end: bool = False) -> datetime:
    """Read a day or an instant; a naive one is UTC, a day as an end is its last microsecond."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(
            f"{option} {text!r} is no date: write it like 2026-01-31 or 2026-01-31T12:00Z."
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    whole_day = len(text) <= len("2026-01-31") and moment.time() == time(0)
    return moment + timedelta(days=1, microseconds=-1) if end and whole_day else moment


def _ask(results: int) -> None:
    """Ask before a flood; without a terminal the answer is No."""
    from reconciler.errors import NotAgreed

    if results <= MUCH:
        return
    if not sys.stdin.isatty():
        raise NotAgreed(
            f"This would send up to {results:,} results to Rally. Nothing was sent: give --yes to send them."
        )
    if not click.confirm(f"Send up to {results:,} results to Rally?", err=True):
        raise NotAgreed("Nothing was sent.")


def _daemon(config_path: Path) -> int:
    from reconciler import daemon

    settings, _ = _configured(config_path)
    with _world(settings, patience_s=max(10.0, float(settings.gitlab.poll_seconds))) as world:
        return daemon.run(world, _mapping_reader(settings))


def _mapping_reader(settings: Settings) -> Callable[[], Sequence[Row]]:
    """Give the mapping as it is now; a file with mistakes keeps the last good one in force."""
    from loguru import logger

    from reconciler import mapping_file

    good: list[Row] = []

    def rows() -> Sequence[Row]:
        nonlocal good
        found, problems = mapping_file.read(settings.mapping.file)
        for problem in problems:
            logger.error("The mapping file has a mistake: the last good one stays in force", problem=str(problem))
        if not problems:
            good = found
        return good

    return rows


def _configured(config_path: Path) -> tuple[Settings, list[Row]]:
    """Read config and mapping; set up the log.

    Raises:
        ConfigError: with the mistakes of both files.
    """
    from reconciler import config, log, mapping_file

    settings = config.load(config_path, os.environ, look_into_mapping=lambda path: mapping_file.read(path)[1])
    log.configure(settings.log.level, json=settings.log.json, secrets=settings.secrets())
    _say_what_waits(settings)
    return settings, mapping_file.read(settings.mapping.file)[0]


def _say_what_waits(settings: Settings) -> None:
    """Claim nothing: who sets these keys shall know that nothing acts on them yet."""
    from loguru import logger

    for name in ("metrics", "notify"):
        section = getattr(settings, name)
        if section != type(section)():
            logger.warning("This section is checked, but nothing acts on it yet", section=name)


@contextmanager
def _world(settings: Settings, *, patience_s: float) -> Iterator[World]:
    """Lock the ledger, build the adapters and let signals stop everything."""
    from reconciler import daemon
    from reconciler.gitlab import GitLabAdapter
    from reconciler.ledger.ledger import open_ledger
    from reconciler.plan import IGNORE
    from reconciler.reconcile import World
    from reconciler.wire import Endpoint, Limits

    gitlab = settings.gitlab
    with open_ledger(settings.ledger.path, skips_count=settings.results.skipped != IGNORE) as ledger:
        stop = daemon.stop_on_signals()
        yield World(
            gitlab=GitLabAdapter(
                Endpoint(gitlab.url, gitlab.ca_bundle),
                gitlab.token.reveal(),
                stop=stop,
                limits=Limits(patience_s=patience_s),
            ),
            rally=_rally(settings, stop, patience_s=patience_s),
            ledger=ledger,
            settings=settings,
            stop=stop,
        )


def _rally(settings: Settings, stop: threading.Event, *, patience_s: float) -> Rally:
    from reconciler.rally import Names, RallyAdapter
    from reconciler.wire import Endpoint, Limits

    rally = settings.rally
    return RallyAdapter(
        Endpoint(rally.url, rally.ca_bundle, read_s=rally.request_timeout_seconds),
        rally.api_key.reveal(),
        Names(rally.workspace, rally.project, settings.mapping.rally_field),
        stop=stop,
        limits=Limits(patience_s=patience_s, at_once=rally.max_concurrency),
    )


# --- commands for people ---------------------------------------------------------------------------------------------


@cli.command()
@_as_json
@click.pass_obj
def status(where: dict[str, Any], *, json_too: bool) -> None:
    """Show how things stand: tests, results, problems, services."""
    from reconciler import show
    from reconciler.ledger import views
    from reconciler.ledger.store import open_for_reading

    store = open_for_reading(_offline(where["config"]).ledger.path)
    told = {
        "tests": views.tests(store),
        "entries": views.entries(store),
        "attachments": views.attachments(store),
        "pipelines": views.pipelines(store),
        "problems": views.problems(store),
        "sprints": views.sprints(store),
        "services": views.services(store),
        "last_success": views.last_success(store),
        "refused": views.refusals(store),
        "unattached": views.unattached(store),
        "last_pass": views.last_pass(store),
    }
    store.close()
    if where["json"] or json_too:
        _print_json(told)
    else:
        click.echo(show.status(told))


@cli.command()
@_as_json
@click.pass_obj
def review(where: dict[str, Any], *, json_too: bool) -> None:
    """Show the tests that no Rally test case is mapped to, with suggestions."""
    from reconciler import show
    from reconciler.ledger import review as queue
    from reconciler.ledger.store import open_for_reading

    settings = _offline(where["config"])
    store = open_for_reading(settings.ledger.path)
    rows = queue.rows(store)
    store.close()
    if where["json"] or json_too:
        _print_json(rows)
    else:
        click.echo(show.review(rows))


@cli.command("map")
@click.argument("test")
@click.argument("formatted_id", metavar="TC")
@_as_json
@click.pass_obj
def map_(where: dict[str, Any], test: str, formatted_id: str, *, json_too: bool) -> None:
    """Let TEST (a key: classname.name) count for a Rally test case, e.g. TC12; the next pass sends what was held."""
    _write_mapping(where, test, formatted_id.strip(), as_json=where["json"] or json_too)


@cli.command()
@click.argument("test")
@_as_json
@click.pass_obj
def ignore(where: dict[str, Any], test: str, *, json_too: bool) -> None:
    """Let TEST count for nothing: it leaves the review queue."""
    _write_mapping(where, test, "-", as_json=where["json"] or json_too)


def _write_mapping(where: dict[str, Any], test: str, formatted_id: str, *, as_json: bool) -> None:
    from reconciler import mapping_file, show
    from reconciler.mapping import Ignored, Mapping, Subject, is_formatted_id

    if formatted_id != "-" and not is_formatted_id(formatted_id):
        raise click.UsageError(f"{formatted_id!r} is no FormattedID of a test case: write it like TC12.")
    path = _offline(where["config"]).mapping.file
    added = mapping_file.append(path, test, formatted_id)
    rows, _ = mapping_file.read(path)
    said = Mapping(rows, file=path.name).of(Subject(test, ""))
    effective = isinstance(said, Ignored) if formatted_id == "-" else formatted_id in getattr(said, "ids", ())
    if as_json:
        told = {"test": test, "formatted_id": formatted_id, "added": added, "effective": effective, "file": str(path)}
        _print_json(told)
        return
    what = "is ignored" if formatted_id == "-" else f"counts for {formatted_id}"
    click.echo(f"{show.clean(test)} {what}: {'added to' if added else 'already in'} {path}")
    if not effective:
        click.echo(f"But {getattr(said, 'by', 'another row')} is more specific and wins: remove that row.", err=True)


@cli.command()
@click.option("--since", metavar="DATE", help="Only results of this date and later, e.g. 2026-01-01; default: all.")
@click.option("--repair", is_flag=True, help="Send what is missing in Rally again, as the ledger has it.")
@_as_json
@click.pass_obj
def verify(where: dict[str, Any], since: str | None, *, repair: bool, json_too: bool) -> None:
    """Read Rally back and compare it with the ledger: what is missing, altered, foreign, doubled."""
    from reconciler import show

    after = None if since is None else _instant(since, "--since")
    settings, rows = _configured(where["config"])
    done = _repaired(settings, rows, after) if repair else None
    found = done.found if done else _verified(settings, after)
    told = found.told()
    if done:
        told |= {"repaired": list(done.made), "refused": list(done.refused), "unknown": list(done.unknown)}
        told["details"] |= {"refused": done.refused}
    if where["json"] or json_too:
        _print_json(told)
    else:
        click.echo(show.verified(told))
    failed, down = (done.failed, done.down) if done else ((), ())
    for text in (*failed, *down):
        click.echo(show.clean(text), err=True)
    sys.exit(EXIT_TRY_AGAIN if down and not failed else EXIT_DONE if found.is_true and not failed else EXIT_FAILED)


def _verified(settings: Settings, since: datetime | None) -> Verified:
    """Compare without the ledger's lock: a daemon may go on beside."""
    from contextlib import closing

    from reconciler import daemon
    from reconciler.ledger.store import open_for_reading
    from reconciler.verify import verify as compare

    rally = _rally(settings, daemon.stop_on_signals(), patience_s=PATIENCE_S)
    return compare(rally, lambda: closing(open_for_reading(settings.ledger.path)), since)


def _repaired(settings: Settings, rows: Sequence[Row], since: datetime | None) -> Repaired:
    """Send what is missing, and its files, under the ledger's lock."""
    from reconciler.reconcile import repair

    with _world(settings, patience_s=PATIENCE_S) as world:
        return repair(world, rows, since)


@cli.command()
@click.option(
    "--keep", type=click.Path(path_type=Path), help="Keep config, mapping and ledger of the demo in this folder."
)
def demo(keep: Path | None) -> None:
    """Run the main job against stand-ins for GitLab and Rally on this machine."""
    from reconciler.sandbox import demo as sandbox

    sys.exit(sandbox.run(keep))


def _offline(config_path: Path) -> Settings:
    """Read the config without its secrets: an operator's shell has none of a service's credentials."""
    from reconciler import config

    return config.load(config_path, os.environ, secrets=False)


def _print_json(value: object) -> None:
    import json

    click.echo(json.dumps(value, indent=2))


def main() -> NoReturn:
    """Run the command line; every expected error is one line (a config's, one line for each mistake) and its status."""
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Exit as asked:
        sys.exit(asked.exit_code)
    except click.Abort:
        click.echo("Stopped.", err=True)
        sys.exit(EXIT_TRY_AGAIN)
    except click.ClickException as wrong:
        wrong.show()
        sys.exit(EXIT_USAGE)
    except Stopped as stopped:
        click.echo(f"Stopped: {stopped}", err=True)
        sys.exit(EXIT_TRY_AGAIN)
    except ReconcilerError as error:
        from reconciler.show import clean

        click.echo("\n".join(map(clean, str(error).split("\n"))), err=True)
        sys.exit(error.exit_status)
    sys.exit(EXIT_DONE)
