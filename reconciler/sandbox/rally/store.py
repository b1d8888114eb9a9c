"""The stand-in's store with words for building a scenario and for looking at what came of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from reconciler.sandbox.rally.objects import Objects, Thing, Value, timestamp

Moment = date | datetime | str
"""A day is a day in the workspace's time zone; a string is taken as it is."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key: whose it is, and whether it may write."""

    key: str
    user: Thing
    read_only: bool = False


class Store(Objects):
    """Everything that a stand-in Rally holds: one subscription, empty at first.

    The first workspace and project that are added become the defaults of the users that are added later.
    """

    def __init__(self, subscription: str = "Sandbox") -> None:
        super().__init__()
        self.keys: dict[str, ApiKey] = {}
        self.viewers: set[tuple[int, int]] = set()
        """(user, project): may read there, but not write."""
        self._timezones: dict[int, ZoneInfo] = {}
        self._counters: Counter[tuple[int, str]] = Counter()
        self.subscription = self.insert("Subscription", {"Name": subscription, "SubscriptionID": 100})

    # --- building a scenario ---------------------------------------------------------------------------------------

    def add_workspace(self, name: str, *, timezone: str = "UTC", state: str = "Open") -> Thing:
        """Add a workspace; `timezone` is the one that timebox dates are in."""
        workspace = self._add("Workspace", {"Name": name, "State": state, "Style": "Iteration"})
        self._timezones[workspace.oid] = ZoneInfo(timezone)
        return workspace

    def add_project(self, workspace: Thing, name: str, parent: Thing | None = None, *, state: str = "Open") -> Thing:
        """Add a project, at the top of its workspace or below another."""
        fields: dict[str, Value] = {"Name": name, "State": state, "Parent": _oid(parent)}
        with self.lock:
            project = self._add("Project", fields, workspace)
            for user in list(self.of_type("User")):
                self._permit(user, project)
            return project

    def add_user(self, name: str, *, workspace: Thing | None = None, project: Thing | None = None) -> Thing:
        """Add a user; the workspace and project are the defaults of the user's profile."""
        workspace = workspace or next(self.of_type("Workspace"), None)
        if project is None and workspace is not None:
            project = next((p for p in self.of_type("Project") if p.fields["Workspace"] == workspace.oid), None)
        profile: dict[str, Value] = {"DefaultWorkspace": _oid(workspace), "DefaultProject": _oid(project)}
        owner = self._add("UserProfile", profile)
        fields: dict[str, Value] = {
            "UserName": name,
            "DisplayName": name.partition("@")[0],
            "EmailAddress": name,
            "Disabled": False,
            "SubscriptionAdmin": False,
            "UserProfile": owner.oid,
        }
        with self.lock:
            user = self._add("User", fields)
            for one in list(self.of_type("Project")):
                self._permit(user, one)
            return user

    def add_key(self, key: str, user: Thing | None = None, *, read_only: bool = False) -> ApiKey:
        """Add an API key (Rally's begin with an underscore) of a user, or of a new one."""
        self.keys[key] = ApiKey(key, user or self.add_user("qa@example.com"), read_only=read_only)
        return self.keys[key]

    def forbid(self, user: Thing, project: Thing) -> None:
        """Make a user a mere viewer of a project; until then every user is an editor of all."""
        with self.lock:
            self.viewers.add((user.oid, project.oid))
            for permission in self.permissions(user, project):
                self.put(permission, "Role", "Viewer")

    def permissions(self, user: Thing, project: Thing) -> list[Thing]:
        """List the ProjectPermissions of a user in a project: one, unless a scenario took it away (KB 111601)."""
        return self.find("ProjectPermission", User=user.oid, Project=project.oid)

    def _permit(self, user: Thing, project: Thing) -> None:
        self._add("ProjectPermission", {"User": user.oid, "Role": "Editor"}, project)

    def add_iteration(self, project: Thing, name: str, start: Moment, end: Moment, *, state: str = "Planning") -> Thing:
        """Add an iteration; days begin at 00:00:00 and end at 23:59:59 in the workspace's time zone."""
        zone = self.timezone(self.workspace_of(project))
        fields: dict[str, Value] = {
            "Name": name,
            "StartDate": _moment(start, zone, last=False),
            "EndDate": _moment(end, zone, last=True),
            "State": state,
        }
        return self._add("Iteration", fields, project)

    def add_story(self, project: Thing, name: str, iteration: Thing | None = None, formatted_id: str = "") -> Thing:
        """Add a user story."""
        return self._add_artifact(
            "HierarchicalRequirement", project, formatted_id, Name=name, Iteration=_oid(iteration)
        )

    def add_defect(self, project: Thing, name: str, iteration: Thing | None = None, formatted_id: str = "") -> Thing:
        """Add a defect."""
        return self._add_artifact("Defect", project, formatted_id, Name=name, Iteration=_oid(iteration))

    def add_test_case(
        self, project: Thing, name: str, formatted_id: str = "", *, work_product: Thing | None = None, **fields: Value
    ) -> Thing:
        """Add a test case; without a FormattedID it gets the next one, further fields are set as they are."""
        return self._add_artifact(
            "TestCase", project, formatted_id, Name=name, WorkProduct=_oid(work_product), **fields
        )

    def add_test_set(self, project: Thing, name: str, iteration: Thing | None = None, *members: Thing) -> Thing:
        """Add a test set with these test cases."""
        test_set = self._add_artifact("TestSet", project, "", Name=name, Iteration=_oid(iteration))
        for test_case in members:
            self.enrol(test_set, test_case)
        return test_set

    def add_test_folder(self, project: Thing, name: str, parent: Thing | None = None) -> Thing:
        """Add a test folder."""
        return self._add_artifact("TestFolder", project, "", Name=name, Parent=_oid(parent))

    def add_result(self, test_case: Thing, build: str, verdict: str = "Pass", date: str = "", **fields: Value) -> Thing:
        """Add a result as a person would by hand."""
        given: dict[str, Value] = {"Build": build, "Verdict": verdict, "Date": date or timestamp(self.clock())}
        return self._add("TestCaseResult", {**given, "TestCase": test_case.oid, **fields}, test_case)

    def change(self, thing: Thing, **fields: Value) -> None:
        """Change an object as a person would in the web pages; refs are given as ObjectIDs."""
        with self.lock:
            for name, value in fields.items():
                self.put(thing, name, value)
            self.touch(thing)

    def reschedule(self, iteration: Thing, start: Moment, end: Moment) -> None:
        """Move an iteration to other days, as `add_iteration` takes them."""
        zone = self.timezone(self.workspace_of(iteration))
        self.change(iteration, StartDate=_moment(start, zone, last=False), EndDate=_moment(end, zone, last=True))

    def delete(self, thing: Thing | str) -> None:
        """Put an object, or the one that a ref points at, into the recycle bin."""
        with self.lock:
            found = self.at_ref(thing) if isinstance(thing, str) else thing
            if found is not None:
                self.discard(found)

    # --- looking at it ---------------------------------------------------------------------------------------------

    def results(self, build: str | None = None) -> list[dict[str, object]]:
        """Tell everything about the stored results, oldest first: fields, `FormattedID` of the case, attachments."""
        with self.lock:
            results = self.of_type("TestCaseResult")
            return [self._describe(thing) for thing in results if build in (None, thing.fields["Build"])]

    def orphaned_contents(self) -> list[Thing]:
        """List the AttachmentContents that no Attachment refers to, oldest first."""
        with self.lock:
            contents = self.of_type("AttachmentContent")
            return [content for content in contents if not self.having("Attachment", "Content", content.oid)]

    def members(self, test_set: Thing) -> list[str]:
        """List the FormattedIDs of a test set's test cases."""
        with self.lock:
            return [case.formatted_id for case in self.collection(test_set, test_set.type.attributes["TestCases"])]

    def test_sets(self, iteration: Thing | None = None) -> list[dict[str, object]]:
        """Tell everything about the test sets, of an iteration or all, oldest first, with `members` by FormattedID."""
        with self.lock:
            known = list(self.of_type("TestSet"))
            found = known if iteration is None else [one for one in known if one.fields["Iteration"] == iteration.oid]
            return [{"ObjectID": one.oid, **one.fields, "members": self.members(one)} for one in found]

    def folders(self, project: Thing, parent: Thing | None = None) -> dict[str, object]:
        """Tell a project's folders as a tree: by name, the test cases in it by FormattedID, and `folders` like this.

        Folders of one name in one place would hide each other, and raise.
        """
        with self.lock:
            here = self.find("TestFolder", Project=project.oid, Parent=_oid(parent))
            tree: dict[str, object] = {folder.name: self._folder(project, folder) for folder in here}
        if len(tree) < len(here):
            raise LookupError(f"several folders of one name: {sorted(folder.name for folder in here)}")
        return tree

    def _folder(self, project: Thing, folder: Thing) -> dict[str, object]:
        cases = self.having("TestCase", "TestFolder", folder.oid)
        return {"test_cases": sorted(case.formatted_id for case in cases), "folders": self.folders(project, folder)}

    def find(self, type_name: str, **fields: Value) -> list[Thing]:
        """List the objects of a type with these values."""
        with self.lock:
            things = list(self.of_type(type_name))
            return [t for t in things if all(self.value(t, name) == value for name, value in fields.items())]

    def dump(self) -> dict[str, list[dict[str, object]]]:
        """Tell everything, by type."""
        with self.lock:
            return {
                name: [{"ObjectID": thing.oid, **thing.fields} for thing in things.values()]
                for name, things in self._by_type.items()
            }

    def timezone(self, workspace: int | None) -> ZoneInfo:
        """Tell a workspace's time zone."""
        return self._timezones[self.one(workspace).oid]

    def next_formatted_id(self, workspace: int, type_name: str) -> str:
        """Count on, in one workspace and type."""
        prefix = self.schema.types[type_name].prefix
        while True:
            self._counters[workspace, prefix] += 1
            formatted_id = f"{prefix}{self._counters[workspace, prefix]}"
            taken = self.having(type_name, "FormattedID", formatted_id)
            if not any(self.workspace_of(other) == workspace for other in taken):
                return formatted_id

    def _describe(self, result: Thing) -> dict[str, object]:
        test_case = self.get(result.fields["TestCase"])
        return {
            "ObjectID": result.oid,
            **result.fields,
            "FormattedID": test_case.formatted_id if test_case else "",
            "Attachments": [self._attachment(a) for a in self.having("Attachment", "TestCaseResult", result.oid)],
        }

    def _attachment(self, attachment: Thing) -> dict[str, object]:
        content = self.get(attachment.fields["Content"])
        return {
            "ObjectID": attachment.oid,
            **attachment.fields,
            "Content": content.fields["Content"] if content else None,
        }

    def _add_artifact(self, type_name: str, project: Thing, formatted_id: str, **fields: Value) -> Thing:
        with self.lock:
            workspace = self.workspace_of(project)
            number = formatted_id or self.next_formatted_id(workspace or 0, type_name)
            return self._add(type_name, {"FormattedID": number, **fields}, project)

    def _add(self, type_name: str, fields: dict[str, Value], place: Thing | None = None) -> Thing:
        """Store an object in the workspace and, where it has one, the project of `place`, with the type's defaults."""
        with self.lock:
            attributes = self.schema.types[type_name].attributes
            complete: dict[str, Value] = {a.name: a.default for a in attributes.values() if a.default}
            if type_name != "Subscription":
                complete["Subscription"] = self.subscription.oid
            if place is not None:
                complete["Workspace"] = self.workspace_of(place)
                if "Project" in attributes and type_name != "TestCaseResult":
                    complete["Project"] = self.project_of(place)
            return self.insert(type_name, {**complete, **fields})


def _oid(thing: Thing | None) -> int | None:
    return thing.oid if thing else None


def _moment(moment: Moment, zone: ZoneInfo, *, last: bool) -> str:
    if isinstance(moment, str):
        return moment
    if isinstance(moment, datetime):
        return timestamp(moment)
    return timestamp(border(moment, zone, last=last))


def border(day: date, zone: ZoneInfo, *, last: bool) -> datetime:
    """Give a day's first or last second in a time zone (CA-KB47866: timebox dates are moved there)."""
    if last:
        return datetime.combine(day + timedelta(days=1), time(), zone) - timedelta(seconds=1)
    return datetime.combine(day, time(), zone)
