"""What must hold at the end of the demo: each claim with whether it is true, by what the stand-ins hold and logged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.sandbox import demo_company, demo_facts, demo_files, demo_sprint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from reconciler.sandbox.demo_sprint import Mark
    from reconciler.sandbox.demo_stage import Stage
    from reconciler.sandbox.messages import LogEntry
    from reconciler.sandbox.rally import Store

Claim = tuple[str, bool]


def make(stage: Stage, status: Mapping[str, Any], marks: Sequence[Mark]) -> list[Claim]:
    """Make all claims; `marks` are of the ends of the first and of the second pass."""
    first, second = marks
    return [
        *about_results(stage, status),
        *about_files(stage, status["attachments"]),
        *about_sets(stage.rally_store, status["sprints"], marks),
        about_the_added_story(stage.rally.log.entries()[first.requests : second.requests], marks),
        *about_the_run(stage, second.requests),
    ]


def about_results(stage: Stage, status: Mapping[str, Any]) -> Iterator[Claim]:
    """Say what must be true of tests and results."""
    unaccounted, done = status["tests"]["unaccounted"], status["entries"]["done"]
    results = demo_facts.stored_results(stage.rally_store)
    doubled = demo_facts.doubled_keys(results)
    yield f"every test that was read has one state: unaccounted {unaccounted}", unaccounted == 0
    yield f"Rally has each result once: {len(results)} results, doubled {doubled or 0}", not doubled
    yield f"the ledger and Rally agree: {done} done, {len(results)} there", done == len(results)


def about_files(stage: Stage, states: Mapping[str, int]) -> Iterator[Claim]:
    """Say what must be true of files."""
    results, job = demo_facts.stored_results(stage.rally_store), stage.company.browser
    there = len(stage.rally_store.find("Attachment"))
    alike = (states["done"], states["pending"], states["refused"]) == (there, 0, 0)
    yield f"every file that can be attached is, once: {states['done']} in the ledger, {there} in Rally", alike

    result = demo_files.of_browser_test(results, job)
    files = demo_files.attached(stage.rally_store, result) if result else []
    names = [file.name for file in files]
    same = any(file.data in demo_files.pictures(job) for file in files if file.content_type == "image/png")
    yield "the failed browser test has its output and its picture, byte for byte", "test_output.log" in names and same

    trace, fetched = demo_files.links(result) if result else [], demo_files.fetched(stage.gitlab, job)
    linked = len(trace) == 1 and trace[0].endswith(demo_company.TRACE)
    told = f"its trace is a link, and was never fetched: {fetched.trace_bytes} of its bytes"
    yield told, linked and fetched.requests > 0 and fetched.trace_bytes == 0


def about_sets(store: Store, sprints: Sequence[Mapping[str, Any]], marks: Sequence[Mark]) -> Iterator[Claim]:
    """Say what must be true of the sprint's test sets and of the results that carry them."""
    sets, results = demo_sprint.sets(store), demo_facts.stored_results(store)
    projects = [one.project for one in sets]
    whole = sorted(projects) == sorted(demo_sprint.PROJECTS) and len(store.find("TestSet")) == len(sets)
    sizes = ", ".join(f"{one.project} {len(one.members)} of {len(one.wanted)}" for one in sets)
    told = f"each project has one set, with its test cases of the sprint: {sizes}"
    yield told, whole and all(one.members == one.wanted for one in sets)

    wrong = [one.build for one, expected in demo_sprint.carried(results, marks) if one.test_set != expected]
    carrying = sum(result.test_set is not None for result in results)
    told = f"results carry the set that their test case is in: {carrying} of {len(results)} do, wrong {len(wrong)}"
    yield told, carrying > 0 and not wrong

    shown = [(one.project, demo_sprint.coverage(one, results)) for one in sets]
    said = [demo_sprint.row_of(sprints, one).get("coverage") for one in sets]
    told = ", ".join(f"{project} {per_cent} %" for project, per_cent in shown)
    yield f"`status` tells the coverage that Rally has: {told}", said == [per_cent for _, per_cent in shown]


def about_the_added_story(second_pass: Sequence[LogEntry], marks: Sequence[Mark]) -> Claim:
    """Say that the next pass brought its test cases, nothing else, and no second set."""
    before, after = ({one.object_id: one.members for one in mark.sets} for mark in marks)
    came = {case for number, members in after.items() for case in members - before.get(number, frozenset())}
    writes = demo_sprint.adds(second_pass)
    told = f"the story that was added brought its test cases with the next pass: {len(came)} in {writes} write"
    return told + "s" * (writes != 1), (came, writes, before.keys()) == (set(demo_sprint.ADDED), 1, after.keys())


def about_the_run(stage: Stage, requests: int) -> Iterator[Claim]:
    """Say what must be true of commands and servers; `requests` is how many Rally had before the third pass."""
    writes = sum(entry.is_write for entry in stage.rally.log.entries()[requests:])
    bad = [ran for ran in stage.ran if ran.status]
    store, servers = stage.gitlab.objects, (stage.gitlab.server, stage.gitlab.objects_server, stage.rally)
    asked, leaks, crashes = len(store.received), len(store.leaks), sum(len(server.crashes) for server in servers)
    yield f"the third pass wrote nothing: {writes} writes", writes == 0
    yield f"every command ended with exit status 0: {len(stage.ran) - len(bad)} of {len(stage.ran)}", not bad
    yield f"GitLab's token stayed at GitLab: object store asked {asked} times, token seen {leaks} times", not leaks
    yield f"the stand-ins served every request: {crashes} crashes", not crashes
