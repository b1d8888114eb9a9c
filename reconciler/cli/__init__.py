"""The command line, and the one place where adapters are built. Heavy imports stand inside the commands."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

from reconciler import __version__
from reconciler.cli import people
from reconciler.cli.words import JSON_HELP, FilePath, complain, help_width, lost_output, to_whoever_hears
from reconciler.errors import EXIT_DONE, EXIT_FAILED, EXIT_TRY_AGAIN, EXIT_USAGE, MUCH, ReconcilerError, Stopped

if TYPE_CHECKING:
    from pathlib import Path

RUNS = ("once", "backfill", "sprint_sets")
"""The one-shots, of which a command line has one."""
OF_BACKFILL = ("since", "until", "projects", "yes", "requests_per_second")


@click.group(
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "terminal_width": help_width()},
)
@click.option(
    "--config", "config_path", type=FilePath(), default="config.toml", show_default=True,
    help="The config file; relative paths in it are relative to its folder.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help=JSON_HELP)
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
@click.option(
    "--requests-per-second", type=click.FloatRange(min=0, min_open=True), metavar="N",
    help="With --backfill: ask each service at most so often; default: as fast as it answers.",
)  # fmt: skip
@click.version_option(__version__, prog_name="reconciler")
@click.pass_context
def cli(context: click.Context, /, config_path: Path, **options: Any) -> None:  # noqa: ANN401 - click's values
    """Keep Rally's test results true to what GitLab CI ran.

    Without a command: the daemon, which polls GitLab and Rally until it is stopped.
    """
    context.obj = {"config": config_path, "json": options["as_json"]}
    given = [name for name in (*RUNS, *OF_BACKFILL, "dry_run") if options[name]]
    if context.invoked_subcommand is not None:
        if given:
            raise click.UsageError(f"--{_flag(given[0])} does not go with the command {context.invoked_subcommand}.")
        return
    _refuse_odd_mixtures(options)
    if any(options[name] for name in RUNS):
        from reconciler.cli import runs

        sys.exit(runs.one_shot(config_path, options))
    if options["as_json"]:
        raise click.UsageError(
            "--json goes with --once, --backfill, --sprint-sets or a command; the daemon logs JSON with log.json."
        )
    from reconciler.cli import serving

    sys.exit(serving.run(config_path))


def _flag(name: str) -> str:
    return "project" if name == "projects" else name.replace("_", "-")


def _refuse_odd_mixtures(options: dict[str, Any]) -> None:
    given = [name for name in RUNS if options[name]]
    if len(given) > 1:
        raise click.UsageError(f"--{_flag(given[0])} and --{_flag(given[1])} are two different runs: give one of them.")
    for name in OF_BACKFILL:
        if options[name] and not options["backfill"]:
            raise click.UsageError(f"--{_flag(name)} goes with --backfill.")
    if options["backfill"] and not options["since"]:
        raise click.UsageError("--backfill needs --since DATE, e.g. --since 2026-01-01.")
    if options["dry_run"] and not given:
        raise click.UsageError("--dry-run goes with --once, --backfill or --sprint-sets.")


for command in (people.status, people.review, people.map_, people.ignore, people.verify, people.doctor, people.demo):
    cli.add_command(command)


def _journal_mark() -> str:
    """Give what marks a line as an error in systemd's journal; "" elsewhere, where nothing is loaded for it."""
    if "JOURNAL_STREAM" not in os.environ:
        return ""
    import logging

    from reconciler.log import journal_mark

    return journal_mark(logging.ERROR, sys.stderr)


def main() -> NoReturn:
    """Run the command line; every expected error is one line (a config's, one line for each mistake) and its status."""
    try:
        _run()
    finally:
        with to_whoever_hears():
            sys.stderr.flush()  # what the log could not write; Python would fail at it, with a status of its own


def _run() -> NoReturn:
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Exit as asked:
        sys.exit(asked.exit_code)
    except click.Abort:
        from reconciler.signals import dealt_with

        dealt_with()
        complain("Stopped.")
        sys.exit(EXIT_TRY_AGAIN)
    except click.ClickException as wrong:
        with to_whoever_hears():
            wrong.show()
        sys.exit(EXIT_USAGE)
    except Stopped as stopped:
        complain(f"Stopped: {stopped}")
        sys.exit(EXIT_TRY_AGAIN)
    except ReconcilerError as error:
        from reconciler.show import clean

        mark = _journal_mark()
        complain("\n".join(mark + clean(line) for line in str(error).split("\n")))
        sys.exit(error.exit_status)
    except OSError as error:
        if not lost_output(error):
            raise
        sys.exit(EXIT_FAILED)
    sys.exit(EXIT_DONE)
