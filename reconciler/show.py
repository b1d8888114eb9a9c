"""What people read on a terminal: a pass, a plan, the status, the review queue."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

SPRINTS_SHOWN = 3
ROWS_OF_STATUS = 3
"""Of a status, which has one screen, the newest rows of each list are printed for people; `--json` prints all."""
SHOWN = 200
"""How many rows of another table are printed for people."""
TOKEN_ENDS_SOON_DAYS = 14
_INDENT = 11
_ROWS_OF_A_TEXT = 3


def outcome(summary: Mapping[str, int], *, whole: bool) -> str:
    """Tell in a few lines what a pass did and what to do next; `whole`: nothing stood in its way."""
    read, sent, writes = summary["pipelines_read"], summary["results_sent"], summary["writes"]
    more = [(summary["attachments_sent"], "file"), (summary["test_sets_created"], "test set")]
    more += [(summary["members_added"], "member")]
    did = _joined([_count(sent, "result"), *(_count(number, noun) for number, noun in more if number)])
    lines = [f"{_count(read, 'pipeline')} read, {did} sent in {_count(writes, 'write')}."]
    if whole and not (read or sent or writes or summary["left"]):
        lines = ["Nothing to do: Rally has everything that GitLab ran. 0 writes."]
    if summary["held"]:
        lines.append(f"{_count(summary['held'], 'test')} held: `reconciler review` shows them and what they may be.")
    if summary["refused"]:
        lines.append(f"{_count(summary['refused'], 'result')} refused by Rally: `reconciler status` shows why.")
    if summary["problems"]:
        lines.append(f"{_count(summary['problems'], 'problem')} with reports or files: `reconciler status` shows them.")
    if summary["left"]:
        what = "pipelines to read, tests to send, files to attach, test sets to fill"
        lines.append(f"{summary['left']} left for the next pass ({what}).")
    return "\n".join(lines)


def status(told: Mapping[str, Any], now: datetime, *, width: int | None = None) -> str:
    """Tell how things stand, on one screen: of lists the newest rows, and how many there are.

    `told`: as `--json` prints it, but that its lists may be cut; `counts` has their true lengths then. `width`: of the
    terminal, for lines to be wrapped or cut to; None: there is none.
    """
    counts = {name: len(told[name]) for name in _LISTS} | dict(told.get("counts", {}))
    lines = [row for line in _heads(told, now) for row in _wrapped(line, width)]
    lines += [
        row for one in told.get("backfills", ()) for row in _wrapped(_backfill(one), width) if one["state"] != "done"
    ]
    if told["sprints"]:
        lines += ["", *(row for sprint in told["sprints"][:SPRINTS_SHOWN] for row in _sprint(sprint))]
        lines += _more(counts["sprints"] - SPRINTS_SHOWN)
    for name, (title, row) in _LISTS.items():
        if row is not None and told[name]:
            shown = [f"    {row(one)}" for one in told[name][-ROWS_OF_STATUS:]]
            lines += ["", f"{title} ({counts[name]})", *_more(counts[name] - len(shown), "older"), *shown]
    if told["tests"]["held"]:
        lines += ["", f"{_count(told['tests']['held'], 'test')} held: `reconciler review` shows them."]
    return "\n".join(line if width is None or len(line) <= width else f"{line[: width - 1]}…" for line in lines)


def _backfill(one: Mapping[str, Any]) -> str:
    """Tell of a backfill that is not done, and what to do about it."""
    since, until = one["since"][:10], f" until {one['until'][:10]}" if one["until"] else ""
    what = {
        "asks": f"waits for a Yes to {one['results_due']:,} results: the same command with --yes sends them",
        "interrupted": "is not done: the same command goes on with it",
    }.get(one["state"], "is under way")
    return (
        f"Backfill since {since}{until}: {one['pipelines_read']:,} of {one['pipelines_found']:,} pipelines read; {what}"
    )


def _heads(told: Mapping[str, Any], now: datetime) -> Iterator[str]:
    """Tell of daemon, services and counts, a line for each."""
    yield from _daemon(told["daemon"], now)
    if told["last_pass"]:
        last = told["last_pass"]
        yield f"Last pass  {last['kind']}, ended {_when(last['ended_at'], now)}"
    for name, title in (("gitlab", "GitLab"), ("rally", "Rally")):
        yield from _service(title, told["services"][name], told["token"].get(f"{name}_expires"), now)
    yield _backlog(told["backlog"], told["soonest_expiry"], now)
    tests = told["tests"]
    rest = ", ".join(f"{name} {number}" for name, number in tests.items() if name not in {"read", "unaccounted"})
    yield f"Tests      read {tests['read']} = {rest}; unaccounted {tests['unaccounted']}"
    for title, name in (("Results", "entries"), ("Files", "attachments"), ("Pipelines", "pipelines")):
        yield f"{title:<10} " + ", ".join(f"{state} {number}" for state, number in told[name].items())


def _daemon(daemon: Mapping[str, Any], now: datetime) -> Iterator[str]:
    holder = f"pid {daemon['pid']} on {clean(daemon['host'] or '')}" if daemon["pid"] else "another process"
    if daemon["running"]:
        since = f" since {_when(daemon['since'], now)}" if daemon["since"] else ""
        yield f"Daemon     runs{since}: {holder}"
    elif daemon["since"] or daemon["pid"]:
        yield f"Daemon     does not run; the ledger is in use by another run: {holder}"
    else:
        yield "Daemon     does not run"
    runs = sorted((at, name) for name, at in daemon["next"].items())
    if runs:
        yield "Next       " + ", ".join(f"{clean(name)} {_at(at, now)}" for at, name in runs)
    for alarm in daemon["alarms"]:
        yield f"Alarm      {clean(alarm)}"


def _service(title: str, service: Mapping[str, Any], expires: str | None, now: datetime) -> Iterator[str]:
    said = [f"last success {_when(service['last_success'], now)}" if service["last_success"] else "last success never"]
    if service["last_pass"] and service["last_pass"] != service["last_success"]:
        said.append(f"last pass {_when(service['last_pass'], now)}")
    if service["breaker"]:
        said.append(f"breaker {clean(service['breaker'])}")
    if expires:
        said.append(_token(date.fromisoformat(expires), now))
    yield f"{title:<10} {'; '.join(said)}"
    if service["trouble"]:
        yield f"{'':<10} now: {clean(service['trouble'])}"


def _token(ends_on: date, now: datetime) -> str:
    days = (ends_on - now.date()).days
    if days > TOKEN_ENDS_SOON_DAYS:
        return f"token ends on {ends_on}"
    told = f"IN {_count(days, 'day').upper()}" if days > 0 else "TODAY" if not days else "IT HAS ENDED"
    return f"token ends on {ends_on}, {told}: make another one, give it to gitlab.token and restart"


_TO_DO = (
    ("pipelines", "pipeline", "to read"),
    ("results", "test", "to send"),
    ("attachments", "file", "to attach"),
    ("members", "member", "to put into test sets"),
)


def _backlog(backlog: Mapping[str, Any], soonest_expiry: str | None, now: datetime) -> str:
    waits = [f"{_count(backlog[name], noun)} {what}" for name, noun, what in _TO_DO if backlog[name]]
    if not waits:
        return "Backlog    nothing"
    oldest = f"; oldest {_age(backlog['oldest'], now)}" if backlog["oldest"] else ""
    goes = f"; GitLab drops artifacts of it from {_at(soonest_expiry, now)}" if soonest_expiry else ""
    return f"Backlog    {', '.join(waits)}{oldest}{goes}"


def _when(stamped: str, now: datetime) -> str:
    """Name an instant of the past, with how long ago it was."""
    moment = datetime.fromisoformat(stamped).astimezone(UTC)
    day = "" if moment.date() == now.date() else f"{moment:%Y-%m-%d} "
    return f"{day}{moment:%H:%M:%SZ} ({_age(stamped, now)} ago)"


def _at(stamped: str, now: datetime) -> str:
    """Name an instant by its time of day, with the day when it is another one."""
    moment = datetime.fromisoformat(stamped).astimezone(UTC)
    return f"{moment:%H:%M:%SZ}" if moment.date() == now.date() else f"{moment:%a %Y-%m-%d %H:%MZ}"


_UNITS = (("s", 60), ("min", 60), ("h", 48))


def _age(since: str, now: datetime) -> str:
    """Tell how long ago that was, in the unit that a person would use: 48 s, 12 min, 3 h, 5 days."""
    number = max(0.0, (now - datetime.fromisoformat(since)).total_seconds())
    for unit, most in _UNITS:
        if number < most:
            return f"{int(number)} {unit}"
        number /= 60
    return f"{int(number * 60 / 24)} days"


def _wrapped(line: str, width: int | None) -> list[str]:
    """Let a line go on below itself where the terminal ends; what a service or an alarm says is cut after some rows."""
    if width is None or len(line) <= width:
        return [line]
    rows = [line[:_INDENT]]
    for word in line[_INDENT:].split(" "):
        if len(rows[-1]) > _INDENT and len(rows[-1]) + len(word) > width:
            rows.append(" " * _INDENT)
        rows[-1] += f"{word} "
    most = _ROWS_OF_A_TEXT if line.startswith((" ", "Alarm")) else len(rows)
    rows[most - 1] += "…" * (len(rows) > most)
    return [row.rstrip() for row in rows[:most]]


def _more(number: int, which: str = "more") -> list[str]:
    return [f"    … {number} {which}: reconciler status --json"] if number > 0 else []


def verified(told: Mapping[str, Any]) -> str:
    """Tell what reading Rally back found, and what to do about it."""
    lines = [f"{_count(told['checked'], 'result')} compared with Rally."]
    for kind, title in _FOUND.items():
        details = told["details"].get(kind, {})
        lines += _section(title, [f"{clean(name)}: {clean(what)}" for name, what in details.items()], "verify")
    if "repaired" in told:
        lines += ["", f"{_count(len(told['repaired']), 'result')} made again."]
    elif told["missing"]:
        lines += ["", "`reconciler verify --repair` makes again what is missing."]
    if told.get("unknown"):
        lines.append(
            f"{_count(len(told['unknown']), 'result')} that the ledger did not make: it cannot make them again."
        )
    if not any(told[kind] for kind in _FOUND if kind in told):
        lines.append("Rally has them all, once, as the ledger has them.")
    return "\n".join(lines)


_FOUND = {
    "missing": "Missing in Rally",
    "refused": "Refused by Rally when they were made again",
    "altered": "Altered in Rally",
    "doubled": "More than once in Rally",
    "foreign": "Not ours, in our Builds",
}


def review(rows: Sequence[Mapping[str, Any]]) -> str:
    """Tell which tests wait for a mapping, with a command to copy for each suggestion."""
    if not rows:
        return "Nothing waits for a mapping."
    lines = [f"{_count(len(rows), 'test')} that no Rally test case is mapped to:"]
    for row in rows[:SHOWN]:
        held, pipelines = _count(row["held"], "time"), _count(row["pipelines"], "pipeline")
        seen = f"held {held} in {pipelines}, last {row['last_verdict']}"
        lines += ["", f"{clean(row['test'])}", f"    {seen}; {clean(row['reason'])}"]
        for suggestion in row["suggestions"]:
            lines.append(
                f"    {suggestion['formatted_id']}  {clean(suggestion['name'])}"
                f"  ({suggestion['score']:.0%}: {clean(suggestion['reason'])})"
            )
        best = row["suggestions"][0]["formatted_id"] if row["suggestions"] else "TC…"
        lines.append(f"    {map_command(row['test'], best)}")
    if len(rows) > SHOWN:
        lines += ["", f"… and {len(rows) - SHOWN} more: reconciler review --json"]
    lines += ["", "A test that needs no test case: reconciler ignore TEST"]
    return "\n".join(lines)


def plan(actions: Sequence[Mapping[str, Any]]) -> str:
    """Tell what the next pass would send."""
    if not actions:
        return "Nothing would be sent."
    kinds = Counter(row["kind"] for row in actions)
    what = [_count(kinds[kind], noun) for kind, noun in _NOUNS.items() if kinds[kind]]
    lines = [f"The next pass would send {_joined(what)}:", *(f"    {_action(row)}" for row in actions[:SHOWN])]
    if len(actions) > SHOWN:
        lines.append(f"    … and {len(actions) - SHOWN} more: reconciler --json --once --dry-run")
    lines.append("Nothing was written to Rally.")
    return "\n".join(lines)


def clean(text: str) -> str:
    """Make text from a pipeline safe for a terminal: control characters are shown, not obeyed."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def map_command(test: str, formatted_id: str) -> str:
    """Write the command that maps a test, to be copied to a shell."""
    return f"reconciler map {'-- ' if test.startswith('-') else ''}{quoted(test)} {formatted_id}"


def quoted(text: str) -> str:
    """Quote an argument for a POSIX shell; one with control characters in the form `$'…'`, which bash and zsh know."""
    if text.isprintable():
        return "'" + text.replace("'", "'\\''") + "'"
    return "$'" + "".join(map(_spelled, text)) + "'"


def _spelled(c: str) -> str:
    """Write one character as it stands inside `$'…'`; byte by byte, as code points mean something in UTF-8 only."""
    if c.isprintable():
        return {"'": "\\'", "\\": "\\\\"}.get(c, c)
    return repr(c)[1:-1] if c.isascii() else "".join(f"\\x{byte:02x}" for byte in c.encode())


def _sprint(row: Mapping[str, Any]) -> list[str]:
    """Tell of one sprint's test set: who is in it, what its results say, and what no set can take."""
    results = ", ".join(f"{verdict} {number}" for verdict, number in sorted(row["results"].items()))
    state = "" if row["state"] == "done" else f": {row['state']} {clean(row['reason'])}".rstrip()
    members, not_run = _count(row["members"], "test case"), len(row["not_run"])
    lines = [
        f"Sprint     {clean(row['iteration'])} in {clean(row['project'])}: test set {clean(row['test_set'])}{state}",
        f"    {members}; {results or 'no results yet'}; not run yet {not_run}; coverage {row['coverage']} %",
    ]
    if row["missing_members"]:
        lines.append(f"    {_count(row['missing_members'], 'test case')} still to be put in")
    lines += [
        f"    a second test set of this name is neither used nor deleted: ObjectID {one}" for one in row["doubles"]
    ]
    for what, why in (("refused", "refused by Rally"), ("not_placeable", "cannot be placed")):
        lines += [f"    {one['test_case']} {why}: {clean(one['reason'])}" for one in row[what][:ROWS_OF_STATUS]]
        lines += _more(len(row[what]) - ROWS_OF_STATUS, why)
    return lines


_NOUNS = {"test_set": "test set", "member": "member", "result": "result", "attachment": "file"}


def _joined(parts: Sequence[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def _action(row: Mapping[str, Any]) -> str:
    if row["kind"] == "test_set":
        return f"test set {clean(row['name'])} of {clean(row['iteration'])} in {clean(row['project'])}"
    if row["kind"] == "member":
        return f"{row['test_case']} into test set {clean(row['test_set'])}"
    about = f"{row['build']:<24} {row['test_case']:<10}"
    if row["kind"] == "attachment":
        return f"{about} {clean(row['name'])}, {row['size']:,} bytes"
    return f"{about} {row['verdict']:<12} {row['date']}"


def _unattached(row: Mapping[str, Any]) -> str:
    return f"{row['key']}: {clean(row['name'])}: {row['state']}: {clean(row['reason'])}"


def _problem(problem: Mapping[str, Any]) -> str:
    job = f", job {problem['job']}" if problem["job"] else ""
    return f"pipeline {problem['pipeline']}{job}: {problem['kind']}: {clean(problem['detail'])}"


def _refused(row: Mapping[str, Any]) -> str:
    return f"{row['key']}: {clean(row['reason'])}"


_LISTS = {
    "sprints": ("Sprints", None),
    "problems": ("Problems", _problem),
    "refused": ("Refused", _refused),
    "unattached": ("Files that results go without", _unattached),
}
"""The lists of a status, each with its title and how one row of it reads."""


def _section(title: str, lines: Iterable[str], command: str) -> list[str]:
    lines = list(lines)
    if not lines:
        return []
    more = [f"    … and {len(lines) - SHOWN} more: reconciler {command} --json"] if len(lines) > SHOWN else []
    return ["", f"{title} ({len(lines)})", *(f"    {line}" for line in lines[-SHOWN:]), *more]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
