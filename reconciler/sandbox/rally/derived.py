"""Attributes that nobody sets: they follow from other objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from reconciler.sandbox.rally.objects import Objects, Thing, Value

    Derive = Callable[[Objects, Thing], Value]


def _of_test_case(name: str) -> Derive:
    """Follow the result's test case: it lives in that one's project and belongs to its work product (facts 2.1)."""

    def derive(objects: Objects, result: Thing) -> Value:
        test_case = objects.get(result.fields.get("TestCase"))
        return test_case.fields.get(name) if test_case else None

    return derive


def _newest(results: list[Thing]) -> Thing | None:
    """Pick the result with the newest Date: one that comes late with an older Date does not count as the last."""
    return max(results, key=lambda result: (str(result.fields["Date"]), result.oid), default=None)


def _of_last_result(name: str) -> Derive:
    def derive(objects: Objects, test_case: Thing) -> Value:
        last = _newest(objects.having("TestCaseResult", "TestCase", test_case.oid))
        if last is None:
            return None
        return last.oid if name == "LastResult" else last.fields.get(name)

    return derive


def _of_last_result_in_set(name: str) -> Derive:
    def derive(objects: Objects, test_set: Thing) -> Value:
        last = _newest(objects.having("TestCaseResult", "TestSet", test_set.oid))
        return last.fields.get(name) if last else None

    return derive


def _count(collection: str) -> Derive:
    def derive(objects: Objects, thing: Thing) -> Value:
        return len(objects.collection(thing, thing.type.attributes[collection]))

    return derive


def _plan_estimate(objects: Objects, iteration: Thing) -> Value:
    scheduled = objects.having("SchedulableArtifact", "Iteration", iteration.oid)
    estimates = [thing.fields.get("PlanEstimate") for thing in scheduled]
    return sum(estimate for estimate in estimates if isinstance(estimate, (int, float)))


DERIVED: Mapping[tuple[str, str], Derive] = {
    ("TestCaseResult", "Project"): _of_test_case("Project"),
    ("TestCaseResult", "WorkProduct"): _of_test_case("WorkProduct"),
    ("TestCase", "LastVerdict"): _of_last_result("Verdict"),
    ("TestCase", "LastRun"): _of_last_result("Date"),
    ("TestCase", "LastBuild"): _of_last_result("Build"),
    ("TestCase", "LastResult"): _of_last_result("LastResult"),
    ("TestSet", "TestCaseCount"): _count("TestCases"),
    ("TestSet", "LastRun"): _of_last_result_in_set("Date"),
    ("TestSet", "LastBuild"): _of_last_result_in_set("Build"),
    ("HierarchicalRequirement", "TestCaseCount"): _count("TestCases"),
    ("HierarchicalRequirement", "DirectChildrenCount"): _count("Children"),
    ("Defect", "TestCaseCount"): _count("TestCases"),
    ("Iteration", "PlanEstimate"): _plan_estimate,
}
"""By (type, attribute)."""
