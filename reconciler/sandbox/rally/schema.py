"""The WSAPI types that the stand-in knows, with their attributes, as one compact table."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

TEXT_MAX = 32768
"""Length of a formatted text as it is stored (KB 57577)."""
STRING_MAX = 256
"""No source names the limit of a plain string; this is the usual column."""


class Kind(StrEnum):
    """What an attribute holds; the values are the schema endpoint's `AttributeType`."""

    STRING = "STRING"
    TEXT = "TEXT"
    INTEGER = "INTEGER"
    QUANTITY = "QUANTITY"
    BOOLEAN = "BOOLEAN"
    DATE = "DATE"
    STATE = "STATE"
    RATING = "RATING"
    BINARY = "BINARY_DATA"
    OBJECT = "OBJECT"
    COLLECTION = "COLLECTION"


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of a type."""

    name: str
    kind: Kind
    required: bool = False
    read_only: bool = False
    to: str = ""
    """The type that an object or a collection holds."""
    via: str = ""
    """The attribute of that type that points back here; "" for a collection that is always empty."""
    max_length: int = 0
    values: tuple[str, ...] = ()
    default: str = ""

    @property
    def display_name(self) -> str:
        """The name that people and error messages use: `TestCase` is "Test Case"."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", self.name)

    @property
    def constrained(self) -> bool:
        """Tell whether the workspace lists the allowed values."""
        return bool(self.values)


@dataclass(frozen=True, slots=True)
class TypeDef:
    """One type, inherited attributes included."""

    name: str
    parent: str
    number: int
    abstract: bool
    creatable: bool
    queryable: bool
    prefix: str
    """Of its FormattedIDs; "" when it has none."""
    attributes: dict[str, Attribute] = field(repr=False)

    @property
    def path(self) -> str:
        """The type's name in URLs and refs."""
        return self.name.lower()


# A type's line: Name(Parent) flags. An attribute's line: Name kind[!] words; ! = required, ro = read-only, coll and ref
# name their type and, after a dot, the attribute there that points back. Only what Rally's own description of the types
# has (facts: OpenAPI document of 2025), and of that what test results, sprints and their clients touch.
_TABLE = """
Persistable abstract
  ObjectID int! ro
  ObjectUUID string! ro
  CreationDate date! ro
  VersionId string ro
  Subscription ref:Subscription ro
DomainObject(Persistable) abstract
WorkspaceDomainObject(DomainObject) abstract
  Workspace ref:Workspace
Artifact(WorkspaceDomainObject) abstract
  FormattedID string! ro
  Name string!
  Description text
  Notes text
  Owner ref:User
  CreatedBy ref:User ro
  Project ref:Project
  LastUpdateDate date! ro
  Ready bool
  DisplayColor string
  Tags coll:Tag
  Changesets coll:Changeset
  Discussion coll:ConversationPost
  Milestones coll:Milestone
SchedulableArtifact(Artifact) abstract
  Iteration ref:Iteration
  Release ref:Release
  ScheduleState state! =Defined values=Defined|In-Progress|Completed|Accepted
  PlanEstimate num
  Blocked bool
  BlockedReason string
  TestCaseCount int ro
  LastRun date ro
  LastBuild string ro
  TestCases coll:TestCase.WorkProduct
HierarchicalRequirement(SchedulableArtifact) creatable prefix=US
  Parent ref:HierarchicalRequirement
  Children coll:HierarchicalRequirement.Parent
  Attachments coll:Attachment.Artifact
  Defects coll:Defect.Requirement
  DirectChildrenCount int ro
Defect(SchedulableArtifact) creatable prefix=DE
  State state! =Submitted values=Submitted|Open|Fixed|Closed
  Priority rating values=None|Low|Normal|High\\sAttention|Resolve\\sImmediately
  Severity rating values=None|Cosmetic|Minor\\sProblem|Major\\sProblem|Crash/Data\\sLoss
  Environment rating values=None|Development|Test|Staging|Production
  FoundInBuild string
  FixedInBuild string
  Requirement ref:HierarchicalRequirement
  TestCase ref:TestCase
  TestCaseResult ref:TestCaseResult
  Attachments coll:Attachment.Artifact
TestSet(SchedulableArtifact) creatable prefix=TS
  TestCases coll:TestCase.TestSets
TestCase(Artifact) creatable prefix=TC
  Method state! =Manual values=Manual|Automated
  Type state! =Acceptance values=Acceptance|Functional|Regression|Performance|Usability|User\\sInterface
  Priority rating values=None|Useful|Important|Critical
  Risk rating values=None|Low|Medium|High
  Objective text
  PreConditions text
  PostConditions text
  ValidationInput text
  ValidationExpectedResult text
  TestFolder ref:TestFolder
  WorkProduct ref:Artifact
  TestSets coll:TestSet.TestCases
  Results coll:TestCaseResult.TestCase
  Steps coll:TestCaseStep.TestCase
  Defects coll:Defect.TestCase
  Attachments coll:Attachment.Artifact
  LastVerdict string ro
  LastRun date ro
  LastBuild string ro
  LastResult ref:TestCaseResult ro
TestCaseStep(WorkspaceDomainObject) creatable
  TestCase ref!:TestCase
  StepIndex int!
  Input text! max=2048
  ExpectedResult text max=2048
TestCaseResult(WorkspaceDomainObject) creatable
  Build string!
  Date date!
  TestCase ref!:TestCase
  Verdict rating! values=Pass|Fail|Blocked|Error|Inconclusive
  Notes text
  Duration num
  TestSet ref:TestSet
  Tester ref:User
  Project ref:Project ro
  WorkProduct ref:Artifact ro
  Attachments coll:Attachment.TestCaseResult
TestFolder(WorkspaceDomainObject) creatable prefix=TF
  FormattedID string! ro
  Name string!
  Project ref:Project
  Description text
  DisplayColor string
  Parent ref:TestFolder
  Children coll:TestFolder.Parent
  TestCases coll:TestCase.TestFolder
Iteration(WorkspaceDomainObject) creatable
  Name string!
  StartDate date!
  EndDate date!
  State state! values=Planning|Committed|Accepted
  Theme text
  Notes text
  PlannedVelocity num
  PlanEstimate num ro
  Project ref:Project
  LastUpdateDate date! ro
  WorkProducts coll:SchedulableArtifact.Iteration
Attachment(WorkspaceDomainObject) creatable
  Name string!
  ContentType string!
  Content ref!:AttachmentContent
  Size int ro
  Description string max=768
  User ref:User
  Artifact ref:Artifact
  TestCaseResult ref:TestCaseResult
AttachmentContent(WorkspaceDomainObject) creatable unqueryable
  Content binary!
Project(WorkspaceDomainObject)
  Name string!
  State state! =Open values=Open|Closed
  Description text
  Notes text
  Owner ref:User
  Parent ref:Project
  Children coll:Project.Parent
  Iterations coll:Iteration.Project
  Releases coll:Release.Project
  LastUpdatedDate date ro
Workspace(DomainObject)
  Name string!
  State state! =Open values=Open|Closed
  Style string! ro
  Description text
  Notes text max=4000
  Owner ref:User
  Projects coll:Project.Workspace
User(DomainObject)
  UserName string!
  EmailAddress string!
  DisplayName string
  FirstName string
  MiddleName string
  LastName string
  ShortDisplayName string
  Role string
  Disabled bool
  SubscriptionAdmin bool ro
  UserProfile ref:UserProfile
UserProfile(DomainObject)
  DefaultWorkspace ref:Workspace
  DefaultProject ref:Project
  TimeZone string
  DateFormat string
  DateTimeFormat string
  EmailNotificationEnabled bool
  SessionTimeoutSeconds int
  SessionTimeoutWarning bool
  WelcomePageHidden bool
ProjectPermission(WorkspaceDomainObject)
  Project ref:Project
  Role string! ro
  User ref:User
Subscription(Persistable)
  Name string! ro
  SubscriptionID int! ro
  Workspaces coll:Workspace.Subscription
Release(WorkspaceDomainObject)
  Name string!
  Project ref:Project
Tag(WorkspaceDomainObject)
  Name string!
Milestone(WorkspaceDomainObject)
  Name string!
Changeset(WorkspaceDomainObject)
  Revision string!
ConversationPost(WorkspaceDomainObject)
  Text text!
"""

_KINDS = {
    "string": Kind.STRING,
    "text": Kind.TEXT,
    "int": Kind.INTEGER,
    "num": Kind.QUANTITY,
    "bool": Kind.BOOLEAN,
    "date": Kind.DATE,
    "state": Kind.STATE,
    "rating": Kind.RATING,
    "binary": Kind.BINARY,
    "ref": Kind.OBJECT,
    "coll": Kind.COLLECTION,
}
_MAX = {Kind.STRING: STRING_MAX, Kind.TEXT: TEXT_MAX}


def _read_attribute(line: str) -> Attribute:
    name, kind_word, *words = line.split()
    kind_name, _, target = kind_word.partition(":")
    to, _, via = target.partition(".")
    kind = _KINDS[kind_name.rstrip("!")]
    options = dict(word.split("=", 1) for word in words if "=" in word)
    values = options.get("values", "")
    return Attribute(
        name=name,
        kind=kind,
        required=kind_name.endswith("!"),
        read_only="ro" in words or (kind is Kind.COLLECTION and not via),
        to=to,
        via=via,
        max_length=int(options.get("max", _MAX.get(kind, 0))),
        values=tuple(values.replace("\\s", " ").split("|")) if values else (),
        default=options.get("", ""),
    )


def _read_type(header: str, attributes: dict[str, Attribute], number: int) -> TypeDef:
    title, *words = header.split()
    name, _, parent = title.rstrip(")").partition("(")
    options = dict(word.split("=", 1) for word in words if "=" in word)
    return TypeDef(
        name=name,
        parent=parent,
        number=number,
        abstract="abstract" in words,
        creatable="creatable" in words,
        queryable="unqueryable" not in words,
        prefix=options.get("prefix", ""),
        attributes=attributes,
    )


def _read_table(table: str) -> dict[str, TypeDef]:
    types: dict[str, TypeDef] = {}
    for block in re.split(r"\n(?=\w)", table.strip()):
        header, *lines = block.splitlines()
        own = {attribute.name: attribute for attribute in map(_read_attribute, lines)}
        entry = _read_type(header, {}, len(types) + 1)
        inherited = types[entry.parent].attributes if entry.parent else {}
        entry.attributes.update({**inherited, **own})
        types[entry.name] = entry
    return types


class Schema:
    """The types of one subscription, with what its administrators changed: custom fields, lists of allowed values."""

    def __init__(self) -> None:
        self.types = _read_table(_TABLE)
        self._by_path = {entry.path: entry for entry in self.types.values() if not entry.abstract}
        self._concrete: dict[str, tuple[str, ...]] = {}
        self._allowed: dict[tuple[int, str, str], tuple[str, ...]] = {}

    def at(self, path: str) -> TypeDef | None:
        """Find a concrete type by its name in a URL, whatever its case."""
        return self._by_path.get(path.lower())

    def is_a(self, name: str, ancestor: str) -> bool:
        """Tell whether a type is another one or inherits from it."""
        while name and name != ancestor:
            name = self.types[name].parent
        return bool(name)

    def concrete(self, name: str) -> tuple[str, ...]:
        """Name the concrete types that are of this type."""
        if name not in self._concrete:
            concrete = (entry.name for entry in self._by_path.values())
            self._concrete[name] = tuple(other for other in concrete if self.is_a(other, name))
        return self._concrete[name]

    def add_field(self, type_name: str, name: str, kind: Kind = Kind.STRING, *, required: bool = False) -> None:
        """Add a custom field; its name begins with `c_` as Rally's do."""
        attribute = Attribute(name, kind, required=required, max_length=_MAX.get(kind, 0))
        self.types[type_name].attributes[name] = attribute

    def allow(self, workspace: int, type_name: str, name: str, values: tuple[str, ...]) -> None:
        """Set one workspace's own list of allowed values."""
        self._allowed[workspace, type_name, name] = values

    def allowed(self, workspace: int, type_name: str, attribute: Attribute) -> tuple[str, ...]:
        """List the values that an attribute may have in a workspace; () = any."""
        return self._allowed.get((workspace, type_name, attribute.name), attribute.values)
