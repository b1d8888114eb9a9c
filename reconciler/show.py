"""What people read on a terminal: a pass, a plan, the status, the review queue."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SPRINTS_SHOWN = 20
SHOWN = 200
"""How many rows of a table are printed for people; `--json` prints all."""


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


def status(told: Mapping[str, Any]) -> str:
    """Tell how things stand, on one screen."""
    tests, entries, pipelines = told["tests"], told["entries"], told["pipelines"]
    rest = ", ".join(f"{name} {number}" for name, number in tests.items() if name not in {"read", "unaccounted"})
    lines = [
        f"Tests      read {tests['read']} = {rest}; unaccounted {tests['unaccounted']}",
        "Results    " + ", ".join(f"{state} {number}" for state, number in entries.items()),
        "Files      " + ", ".join(f"{state} {number}" for state, number in told["attachments"].items()),
        "Pipelines  " + ", ".join(f"{state} {number}" for state, number in pipelines.items()),
    ]
    for name, service in told["services"].items():
        since = service["last_success"] or "never"
        trouble = f"; now: {clean(service['trouble'])}" if service["trouble"] else ""
        lines.append(f"{ {'gitlab': 'GitLab', 'rally': 'Rally'}[name]:<10} last success {since}{trouble}")
    for sprint in told["sprints"][:SPRINTS_SHOWN]:
        lines += ["", *_sprint(sprint)]
    lines += _section("Problems", [_problem(problem) for problem in told["problems"]])
    lines += _section("Refused", [f"{row['key']}: {clean(row['reason'])}" for row in told["refused"]])
    lines += _section("Files that results go without", [_unattached(row) for row in told["unattached"]])
    if tests["held"]:
        lines += ["", f"{_count(tests['held'], 'test')} held: `reconciler review` shows them."]
    return "\n".join(lines)


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
        lines += [f"    {one['test_case']} {why}: {clean(one['reason'])}" for one in row[what][:SHOWN]]
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


def _section(title: str, lines: Iterable[str], command: str = "status") -> list[str]:
    lines = list(lines)
    if not lines:
        return []
    more = [f"    … and {len(lines) - SHOWN} more: reconciler {command} --json"] if len(lines) > SHOWN else []
    return ["", f"{title} ({len(lines)})", *(f"    {line}" for line in lines[-SHOWN:]), *more]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
