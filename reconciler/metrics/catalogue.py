"""Every metric by name, with its labels and what it tells whom to do.

Names are as Prometheus wants them: base units in the name, counters end in `_total`
(prometheus.io/docs/practices/naming).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["gauge", "counter", "histogram", "info"]


@dataclass(frozen=True, slots=True)
class Told:
    """One metric."""

    name: str
    """As a query names it, with `_total` and `_info`."""
    kind: Kind
    labels: tuple[str, ...]
    help: str


CATALOGUE = (
    # --- the process ---
    Told(
        "reconciler_build_info", "info", ("version",),
        "Always 1; the label is the version that runs. Gone when nothing is scraped: see that the daemon runs.",
    ),
    Told(
        "reconciler_start_time_seconds", "gauge", (),
        "When the daemon began with its present config; the counters count from then on.",
    ),
    Told(
        "reconciler_collected_timestamp_seconds", "gauge", (),
        "When these numbers were taken; in a textfile that grows old the daemon is gone: start it.",
    ),
    Told(
        "reconciler_stalled_seconds", "gauge", (),
        "For how long nothing has moved though it should; from 900 on /health/live says 503: restart the daemon.",
    ),
    # --- passes ---
    Told(
        "reconciler_last_pass_timestamp_seconds", "gauge", ("kind",),
        "When the newest pass of its kind ended; older than its interval: see reconciler_stalled_seconds.",
    ),
    Told(
        "reconciler_last_pass_duration_seconds", "gauge", ("kind",),
        "How long the newest pass of its kind took.",
    ),
    Told(
        "reconciler_last_pass_outcome", "gauge", ("kind", "outcome"),
        "1 for how the newest pass of its kind ended: ok; down, a service was away;"
        " failed, a person must look at `reconciler status`.",
    ),
    Told(
        "reconciler_pass_duration_seconds", "histogram", ("kind",),
        "How long passes took; near or over the poll interval: raise gitlab.poll_seconds, or name fewer projects.",
    ),
    Told(
        "reconciler_last_attempt_timestamp_seconds", "gauge", ("service",),
        "When a pass that used the service last came to its end, whatever came of it; 0 for never.",
    ),
    Told(
        "reconciler_last_success_timestamp_seconds", "gauge", ("service",),
        "When the service last did all that was asked of it, 0 for never; an hour ago: `reconciler status` says why.",
    ),
    # --- the services ---
    Told(
        "reconciler_requests_total", "counter", ("service", "outcome"),
        "Requests by how they ended: ok; refused, a plain No; denied, the token; limited, too many; bad_answer, 5xx,"
        " late or not as it should be; unreachable, no connection: look at that server, or at the way to it.",
    ),
    Told(
        "reconciler_writes_total", "counter", (),
        "Requests that wrote to Rally.",
    ),
    Told(
        "reconciler_breaker_open", "gauge", ("service",),
        "1 while nothing is sent to the service because it does not answer; it is tried again by itself.",
    ),
    Told(
        "reconciler_token_denied_seconds", "gauge", ("service",),
        "For how long the service has accepted no token or key; minutes may be maintenance, more needs a new one.",
    ),
    Told(
        "reconciler_token_expiry_timestamp_seconds", "gauge", ("service",),
        "When the token ends; make another one in time. Not there: it never ends, or GitLab does not tell.",
    ),
    # --- the ledger ---
    Told(
        "reconciler_ledger_readable", "gauge", (),
        "0 when the ledger could not be read just now, and what it knows is missing here: `reconciler doctor`.",
    ),
    Told(
        "reconciler_backlog", "gauge", ("kind",),
        "What waits: pipelines to be read, results, attachments and members of test sets to be sent.",
    ),
    Told(
        "reconciler_backlog_oldest_age_seconds", "gauge", (),
        "How old the oldest of what waits is, 0 when nothing does; it grows while a service is away.",
    ),
    Told(
        "reconciler_tests", "gauge", ("state",),
        "Test case elements that were read, by their one state; what is held needs a mapping: `reconciler review`.",
    ),
    Told(
        "reconciler_tests_unaccounted", "gauge", (),
        "Tests that were read and are in no state; other than 0 is a fault of ours:"
        " keep a copy of the ledger and report it.",
    ),
    Told(
        "reconciler_results", "gauge", ("verdict",),
        "Results in Rally that the ledger knows, by verdict; those older than ledger.retention_days are left out.",
    ),
    Told(
        "reconciler_results_in_doubt", "gauge", (),
        "Results that were sent and not heard of; Rally is asked after rally.settle_after_seconds.",
    ),
    Told(
        "reconciler_results_refused", "gauge", (),
        "Results that Rally refused for good; `reconciler status` has the reasons.",
    ),
    Told(
        "reconciler_problems", "gauge", (),
        "Reports and jobs that could not be read; `reconciler status` lists them.",
    ),
    Told(
        "reconciler_unread_artifacts_expiry_timestamp_seconds", "gauge", (),
        "When the first artifacts expire that are not read yet; see that GitLab is reached before, or keep them there."
        " Not there: nothing unread expires.",
    ),
)  # fmt: skip
"""In the order in which they are given; one line says what it is, and what to do about it."""
