"""Use case: list what GitLab finished, read the reports, write down what they say."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Protocol

from reconciler import listing
from reconciler.errors import Forbidden, Incomplete, NotThere, ServiceDown, Unauthorized
from reconciler.listing import LookFailed, PageSeen
from reconciler.reading import EXPIRED, JobFound, JobsListed, PipelineEnd, Wanted, read_pipeline
from reconciler.recording import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from reconciler.config import Settings
    from reconciler.errors import ReconcilerError
    from reconciler.ledger.ledger import Ledger
    from reconciler.listing import Look, Seen
    from reconciler.model import Pipeline, PipelineId, ProjectId
    from reconciler.ports import GitLab, PipelinePage
    from reconciler.readers import Readers
    from reconciler.reading import Found

AHEAD = 20_000
"""How many tests are read while results are sent, unless told: more would wait in the ledger for nothing."""
WAIT_S = 0.2
REFUSALS = 10
"""After so many refusals in a row of one project, the rest of it is left to the next pass."""
GROUP = 4
"""How many steps of reading are written in one transaction, at most."""


@dataclass(slots=True)
class Collected:
    """What collecting did and what stood in its way."""

    pipelines_found: int = 0
    """Of a backfill: how many it is to read, or has read before."""
    pipelines_read: int = 0
    tests_read: int = 0
    expired: int = 0
    """Jobs whose reports were gone before they were read."""
    down: list[str] = field(default_factory=list)
    """GitLab could not be reached or gave no sensible answer: the next pass asks again."""
    failed: list[str] = field(default_factory=list)
    """A person must look: the token, a project's name, a permission."""


class Agenda(Protocol):
    """What a pass looks for in GitLab. All this happens in the thread that writes the ledger."""

    def looks(self) -> Iterator[Look]:
        """Give what is to be listed; may ask GitLab which projects there are."""

    def seen(self, look: Look, page: PipelinePage) -> Look | None:
        """Store one page; what is to be asked next, None when this look is over."""

    def failed(self, look: Look, error: NotThere | Forbidden | Incomplete) -> Sequence[Look]:
        """React to a page that cannot be had; what is to be asked instead."""

    def unread(self) -> Iterator[Pipeline]:
        """Give what is to be read, by `created_at`: no result of a pipeline has an older date."""

    def was_read(self, pipeline: Pipeline) -> None:
        """Note that this pipeline is done with, inside a transaction."""


@dataclass(slots=True)
class Collector:
    """Brings the ledger up to date with everything that GitLab finished within an agenda.

    One project or pipeline that cannot be read never holds up the others; a server that is down, or a token that is
    not accepted, ends collecting, and what was written down before stays.
    """

    gitlab: GitLab
    ledger: Ledger
    settings: Settings
    now: Callable[[], datetime]
    agenda: Agenda
    readers: Readers[Seen | Found]
    done: Collected
    may_go_on: Callable[[], bool] = lambda: True
    """Whether there is time for more."""
    ahead: int = AHEAD
    _recorder: Recorder = field(init=False)
    _again: deque[Look] = field(default_factory=deque)
    _looks: Iterator[Look] | None = None
    _rest: Iterator[Pipeline] | None = None
    _next: Pipeline | None = None
    """The oldest one that is to be read and was not begun."""
    _begun: dict[PipelineId, Pipeline] = field(default_factory=dict)
    _given_up: bool = False
    _refused: Counter[ProjectId] = field(default_factory=Counter)
    """By project: pipelines in a row whose jobs may not be listed."""
    _bad: ReconcilerError | None = None
    """What the whole pass ends with, once that which came before it is written down."""
    _ahead: int = 0

    def __post_init__(self) -> None:
        """Begin with nothing."""
        self._recorder = Recorder(self.ledger.observations, self.settings)
        self._looks = self.agenda.looks()

    # --- listing ---

    def list_all(self) -> bool:
        """List everything there is; False when that did not come to its end."""
        while True:
            while self._may_begin() and (look := self._next_look()):
                self.readers.begin(partial(listing.take, self.gitlab, look))
            if not self.readers.under_way:
                return not (self._given_up or self._looks or self._again)
            match self.readers.take(WAIT_S):
                case PageSeen(look, page):
                    more = self.agenda.seen(look, page)
                    self._again.extendleft([more] if more else [])
                case LookFailed(look, error):
                    self._look_failed(look, error)
            self._raise_bad()

    def _raise_bad(self) -> None:
        if self._bad is not None:
            raise self._bad

    def _may_begin(self) -> bool:
        return not self._given_up and self.readers.wants_more() and self.may_go_on()

    def _next_look(self) -> Look | None:
        if self._again:
            return self._again.popleft()
        try:
            look = next(self._looks, None) if self._looks else None
        except (ServiceDown, Unauthorized) as error:
            self._give_up(error)
            return None
        if look is None:
            self._looks = None
        return look

    def _look_failed(self, look: Look, error: ReconcilerError) -> None:
        match error:
            case NotThere() | Forbidden() | Incomplete():
                self._again.extendleft(reversed(self.agenda.failed(look, error)))
            case _:
                self._give_up(error)

    def _give_up(self, error: ReconcilerError) -> None:
        """Ask nothing more in this pass."""
        self._given_up = True
        match error:
            case ServiceDown():
                self.done.down.append(str(error))
            case Unauthorized():
                self.done.failed.append(str(error))
            case _:
                self._bad = error

    # --- reading ---

    def read(self, tests: int | None = None) -> bool:
        """Read until there are so many tests more, or there is nothing more to read: False."""
        enough = None if tests is None else self.done.tests_read + tests
        self._begin_reading()
        while enough is None or self.done.tests_read < enough:
            self._begin_more()
            if not self.readers.under_way:
                return False
            self._write_down(WAIT_S)
            self._raise_bad()
        self.go_further()
        return True

    def go_further(self) -> None:
        """Count anew how far `meanwhile` reads ahead: what was read by now is taken care of."""
        self._ahead = 0

    @property
    def is_over(self) -> bool:
        """Whether the agenda came to its end: all of it was asked for, with whatever success."""
        return not (self._given_up or self._looks or self._again or self._next or self.readers.under_way) and (
            self._rest is not None
        )

    @property
    def is_reading(self) -> bool:
        """Whether more may come."""
        return bool(self.readers.under_way or (self._next and not self._given_up and self.may_go_on()))

    def meanwhile(self) -> None:
        """Go on while something else is waited for, not too far; what is wrong is raised by `read`."""
        if self._ahead < self.ahead:
            self._begin_more()
        self._write_down(0)

    def horizon(self) -> datetime | None:
        """Tell until when nothing older can come any more; None: nothing comes at all."""
        open_ones = [*self._begun.values(), *([self._next] if self._next else [])]
        return min((pipeline.created_at for pipeline in open_ones), default=None)

    def _begin_reading(self) -> None:
        if self._rest is None:
            self._rest = self.agenda.unread()
            self._next = next(self._rest, None)

    def _begin_more(self) -> None:
        while self._rest and self._next and self._may_begin():
            pipeline, self._next = self._next, next(self._rest, None)
            if self._refused[pipeline.project_id] >= REFUSALS:
                continue
            self._begun[pipeline.id] = pipeline
            wanted = Wanted(pipeline, self.ledger.observations.jobs_of(pipeline.id))
            self.readers.begin(partial(read_pipeline, self.gitlab, self.settings, wanted, self.now()))

    def _write_down(self, wait_s: float) -> None:
        """Write down what has come by now, in one transaction."""
        step = self.readers.take(wait_s)
        if step is None:
            return
        with self.ledger.observations.together():
            for _ in range(GROUP - 1):
                self._take(step)
                following = self.readers.take()
                if following is None:
                    break
                step = following
            else:
                self._take(step)

    def _take(self, step: Seen | Found) -> None:
        match step:
            case JobsListed():
                self._recorder.listed(step, self.now())
            case JobFound():
                tests = self._recorder.job(step, self.now())
                self.done.tests_read += tests
                self._ahead += tests
                self.done.expired += any(kind == EXPIRED for kind, _ in step.problems)
            case PipelineEnd():
                self._end(step)
            case PageSeen() | LookFailed():
                raise AssertionError("listing is over")

    def _end(self, end: PipelineEnd) -> None:
        self._begun.pop(end.pipeline.id)
        if self._recorder.ended(end, self.now()):
            self._refused.pop(end.pipeline.project_id, None)
            self.agenda.was_read(end.pipeline)
            self.done.pipelines_read += 1
        elif isinstance(end.trouble, Incomplete):
            self.done.down.append(str(end.trouble))
        elif isinstance(end.trouble, NotThere | Forbidden):
            self._refused_jobs(end.pipeline, end.trouble)
        elif end.trouble is not None and not self._given_up:
            self._give_up(end.trouble)

    def _refused_jobs(self, pipeline: Pipeline, error: NotThere | Forbidden) -> None:
        """Say it once for a project; of one that refuses all, no more is asked for in this pass.

        A 404 is of the one pipeline: others of its project are there.
        """
        self._refused[pipeline.project_id] += isinstance(error, Forbidden)
        path = self.ledger.observations.project_path(pipeline.project_id)
        what = "may not be listed (HTTP 403)" if isinstance(error, Forbidden) else "are not there (HTTP 404)"
        text = (
            f"GitLab: jobs of project {path} {what}: see that the token's user has at least the Reporter role in it;"
            " they are asked for again, and `reconciler status` names the pipelines"
        )
        if text not in self.done.failed:
            self.done.failed.append(text)
