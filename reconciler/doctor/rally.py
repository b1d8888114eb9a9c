"""Rally as we reach it: the server, the key, the workspace, what its owner may do, and the mapping's test cases."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from reconciler.doctor.finding import Check
from reconciler.errors import BatchRefused, Misconfigured, ReconcilerError, ServiceDown, Stopped, Unauthorized
from reconciler.mapping import IGNORE as IGNORED
from reconciler.model import (
    Build,
    FormattedID,
    Key,
    ObjectID,
    PipelineId,
    ProjectId,
    TestCaseResult,
    Verdict,
)
from reconciler.plan import IGNORE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from reconciler.config import Settings
    from reconciler.doctor.finding import Finding
    from reconciler.mapping import Row
    from reconciler.model import KeyOwner, ProjectRole
    from reconciler.ports import Rally

CONNECTION, KEY = "rally.connection", "rally.key"
MAY_WRITE = frozenset({"Editor", "Admin", "Project Admin"})
"""Roles of a ProjectPermission (KB 111601, KB 242511)."""
SINGLE_LOOKS = 500
"""More test cases than this are not looked up one by one: all that there are is fewer requests."""
_NEW_KEY = "make an API key with full access (Rally's Application Manager, API Keys), and store it"
_LATER = ("workspace", "verdicts", "results", "batch", "mapping", "permissions")


@dataclass(frozen=True, slots=True)
class RallyExam:
    """One look at one Rally."""

    rally: Rally
    settings: Settings
    rows: Sequence[Row]
    """Of the mapping file."""
    route: str
    """By which way it is asked."""
    now: Callable[[], datetime]

    def findings(self) -> Iterator[Finding]:
        """Look at one thing after another; what cannot be looked at is told, too."""
        place = Check(CONNECTION, self.settings.rally.url)
        before = self.now()
        try:
            owner = self.rally.owner()
        except Unauthorized as error:
            yield place.ok(f"answers, {self.route}")
            yield Check(KEY, "").trouble(error, f"{_NEW_KEY}; if it is right, Rally may be in maintenance")
            yield from self._rest("the key is not accepted", _LATER)
        except ReconcilerError as error:
            yield place.trouble(error, f"see that it is up and can be reached from here ({self.route})")
            yield from self.unseen("Rally was not reached", unreached=isinstance(error, ServiceDown))
        else:
            yield place.ok(f"answers, {self.route}")
            yield from Check("rally.clock", self.settings.rally.url).skew(owner.at, before, self.now())
            yield from self._with_key(owner)

    def unseen(self, why: str, *, unreached: bool = False) -> Iterator[Finding]:
        """Tell that nothing was looked at, and why."""
        yield from self._rest(why, ("key", *_LATER), unreached=unreached)

    def _rest(self, why: str, names: Sequence[str], *, unreached: bool = False) -> Iterator[Finding]:
        return (Check(f"rally.{name}", "").skip(why, unreached=unreached) for name in names)

    def _with_key(self, owner: KeyOwner) -> Iterator[Finding]:
        rally = self.settings.rally
        check = Check("rally.workspace", f"{rally.workspace} / {rally.project}")
        try:
            verdicts = self.rally.allowed_verdicts()
        except ReconcilerError as error:
            yield Check(KEY, owner.name).ok("is accepted")
            todo = "correct the names in the config, or let the key's owner see that workspace and project"
            yield check.trouble(error, todo)
            why = "the project was not found" if isinstance(error, Misconfigured) else "the workspace was not read"
            yield from self._rest(why, _LATER[1:], unreached=isinstance(error, ServiceDown))
            return
        yield from self._writing(owner)
        yield check.ok("found, and its types can be read")
        yield from self._verdicts(verdicts)
        yield self._results(min(verdicts))
        yield from self._mapping()
        yield from self._permissions(owner)

    # --- the key -----------------------------------------------------------------------------------------------------

    def _writing(self, owner: KeyOwner) -> Iterator[Finding]:
        """Find out what shows without writing: a key that only reads may GET and nothing else (KB 98242)."""
        key, check, whose = Check(KEY, owner.name), Check("rally.batch", ""), "is accepted; whether it may write"
        if self.settings.rally.batch_size == 1:
            yield key.ok(f"{whose} shows with the first result only, as no batch is sent")
            yield check.ok("not used: rally.batch_size is 1")
            return
        try:
            self.rally.probe_batch()
        except Unauthorized:  # KB 127054: what a key that only reads is answered for any POST
            yield key.fail("may only read: Rally answers it, but no POST (HTTP 401)", _NEW_KEY)
            yield check.skip("the key may not write")
        except BatchRefused as error:
            yield key.ok(f"{whose} shows with the first result only")
            todo = "set rally.batch_size = 1 to spare the attempt; results go one by one"
            yield check.warn(str(error).removeprefix("Rally: "), todo)
        except Stopped:
            raise
        except ReconcilerError as error:  # no batch of a pass only reads: that this one fails need mean nothing
            yield key.ok(f"{whose} shows with the first result only")
            todo = "run doctor again; if results do not arrive either, set rally.batch_size = 1"
            yield check.warn(f"no clear answer to a batch that only reads: {error}", todo)
        else:
            yield key.ok("is accepted, for a POST too, so it is no key that only reads")
            yield check.ok("answers (asked to read, not to write)")

    def _permissions(self, owner: KeyOwner) -> Iterator[Finding]:
        check = Check("rally.permissions", owner.name)
        if owner.is_admin:
            yield check.ok("the key's owner administers the whole subscription")
            return
        try:
            roles = self.rally.roles(owner)
        except Stopped:
            raise
        except ReconcilerError as error:
            yield check.warn(f"Rally does not tell them: {error}", "see that the key's owner is an Editor")
            return
        yield from (self._role(owner, one) for one in roles if one.is_root)
        others = [one.project for one in roles if not one.is_root and one.role and one.role not in MAY_WRITE]
        if others:
            todo = "make the key's owner an Editor there: results of its test cases are refused else"
            yield Check("rally.permissions", ", ".join(others)).warn("the key's owner may only look there", todo)

    def _role(self, owner: KeyOwner, one: ProjectRole) -> Finding:
        check = Check("rally.permissions", one.project)
        if one.role in MAY_WRITE:
            return check.ok(f"{owner.name} is {one.role}")
        todo = f"make {owner.name} an Editor of that project and those below it"
        if one.role:
            return check.fail(f"{owner.name} is {one.role} there, and may not write", todo)
        return check.warn(f"Rally lists no role of {owner.name} there", f"{todo}, unless an administrator")

    # --- what is written ---------------------------------------------------------------------------------------------

    def _verdicts(self, allowed: frozenset[str]) -> Iterator[Finding]:
        results = self.settings.results
        wanted = {verdict.value: "tests" for verdict in (Verdict.PASS, Verdict.FAIL, Verdict.ERROR)}
        wanted[results.flaky] = "results.flaky"
        if results.skipped != IGNORE:
            wanted[results.skipped] = "results.skipped"
        words = ", ".join(sorted(allowed))
        for verdict, whose in wanted.items():
            if verdict in allowed:
                continue
            found = f"{whose} need {verdict}" if whose == "tests" else f"{whose} is {verdict}"
            todo = "have it added to the workspace's verdicts" if whose == "tests" else f"set {whose} to one of them"
            yield Check("rally.verdicts", verdict).fail(f"{found}, but this workspace allows {words}", todo)
        if wanted.keys() <= allowed:
            yield Check("rally.verdicts", ", ".join(wanted)).ok(f"this workspace allows {words}")

    def _results(self, verdict: str) -> Finding:
        """Check a result that will never be sent against the workspace's schema."""
        check = Check("rally.results", "")
        key = Key(ProjectId(1), PipelineId(1), FormattedID("TC1"), 1)
        made_up = TestCaseResult(key, Build("doctor"), ObjectID(1), verdict, datetime.now(UTC), 1.0, str(key))
        try:
            reason = self.rally.check(made_up)
        except ReconcilerError as error:
            return check.trouble(error, "run doctor again")
        if reason:
            todo = "have a Rally administrator change that: every result is refused else"
            return check.fail(f"the workspace would not take results: {reason}", todo)
        return check.ok("fit the workspace's schema")

    def _mapping(self) -> Iterator[Finding]:
        file = self.settings.mapping.file
        check = Check("rally.mapping", str(file))
        wanted = list(dict.fromkeys(FormattedID(row.formatted_id) for row in self.rows if row.formatted_id != IGNORED))
        try:
            known = self._known(wanted)
        except ReconcilerError as error:
            yield check.trouble(error, "run doctor again")
            return
        unknown = [row for row in self.rows if row.formatted_id != IGNORED and row.formatted_id not in known]
        todo = "correct the row or take it out; until then the test's results are held"
        for row in unknown:
            found = f"Rally has no test case {row.formatted_id} in {self.settings.rally.project} or below"
            yield Check("rally.mapping", f"{file}:{row.line}").warn(found, todo)
        if not unknown:
            yield check.ok(
                f"{len(wanted)} test cases are named, and Rally has them" if wanted else "names no test case"
            )

    def _known(self, wanted: list[FormattedID]) -> frozenset[str]:
        if len(wanted) > SINGLE_LOOKS:
            return frozenset(case.formatted_id for case in self.rally.test_cases())
        return frozenset(self.rally.test_cases_by_id(wanted)) if wanted else frozenset()
