"""What GitLab is asked for, and how many bytes it sends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.stage import open_stage
from bench.table import Figure, Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.stage import Bench, Stage

GIGABYTE = 1_000_000_000
JOBS = 3


def rows(bench: Bench) -> Iterator[Row]:
    """Poll when nothing happens, when a pipeline finished, and when a job left a big archive."""
    with open_stage(bench) as stage:
        stage.servers.do("add_pipelines", count=1, tests=10)
        stage.once()
        idle = _asked(stage)
        yield Row(
            what="GitLab requests of an idle poll, a project",
            ours=Figure(idle["gitlab"]["requests"], "requests"),
            limit=Figure(2, "requests"),
            bound="≤ 2, child pipelines included",
            holds=idle["gitlab"]["requests"] <= 2,
        )
        stage.servers.do("add_pipelines", count=1, tests=10, jobs=JOBS)
        reports = _asked(stage)
        extra = reports["gitlab"]["requests"] - idle["gitlab"]["requests"]
        yield Row(
            what=f"GitLab requests for a new pipeline of {JOBS} jobs",
            ours=Figure(extra, "requests"),
            limit=Figure(1 + JOBS, "requests"),
            bound="≤ 1 + 1 a job",
            holds=extra <= 1 + JOBS,
            note=f"GitLab redirects to its object store, which served {reports['objects']['requests']} more.",
        )
        yield from _archive(bench, stage, idle)


def _asked(stage: Stage) -> dict[str, Any]:
    stage.servers.do("forget")
    stage.once()
    told: dict[str, Any] = stage.servers.do("told")
    return told


def _archive(bench: Bench, stage: Stage, idle: dict[str, Any]) -> Iterator[Row]:
    size = stage.servers.do("add_archive", size_bytes=bench.pick(GIGABYTE // 10, GIGABYTE))
    told = _asked(stage)
    asked = told["gitlab"]["requests"] + told["objects"]["requests"] - idle["gitlab"]["requests"]
    ours = asked - 3  # the job list, the report at GitLab and at its store
    sent = told["gitlab"]["bytes_out"] + told["objects"]["bytes_out"]
    yield Row(
        what=f"requests for 200 files of an archive of {size / 1e9:.2g} GB",
        ours=Figure(ours, "requests"),
        bound="≤ 4, the store's included",
        holds=ours <= 4,
    )
    yield Row(
        what="bytes fetched for them",
        ours=Figure(sent / size * 100, "% of it"),
        yardstick=Figure(100, "%", "a download"),
        limit=Figure(200 * 2_000 / size * 100, "%"),
        bound="< 1 % of it",
        holds=sent < size / 100 or bench.quick,
        note=f"{sent / 1e6:.2f} MB of {size / 1e6:,.0f} MB; the limit is the 200 files' own bytes.",
    )
