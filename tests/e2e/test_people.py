"""What people do to results in Rally stays: no pass makes again what they deleted, or takes back what they wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.notes import read_key
from tests.company import junit

if TYPE_CHECKING:
    from reconciler.sandbox.rally import Thing
    from tests.company import Company


def result(company: Company, formatted_id: str) -> Thing:
    """Find the only result of a test case."""
    (found,) = company.rally_store.find("TestCaseResult", TestCase=company.cases[formatted_id].oid)
    return found


def test_a_result_that_a_person_deletes_is_not_made_again_and_verify_tells(company: Company) -> None:
    """Neither by the next pass nor by a backfill; the other results stay as they are."""
    pipeline = company.pipeline({"unit": junit("a_TC1", "b_TC2!")})
    company.once()
    key = str(read_key(str(result(company, "TC1").fields["Notes"])))
    company.rally_store.delete(result(company, "TC1"))

    passes = [company.once(), company.run("--json", "--backfill", "--since", "2020-01-01").json]

    assert [done["writes"] for done in passes] == [0, 0]
    assert company.verdicts(pipeline) == {"TC2/1": "Fail"}
    told = company.run("verify", "--json")
    assert (told.status, told.json["missing"]) == (1, [key])


def test_a_result_that_a_person_edits_stays_edited(company: Company) -> None:
    """A retried job makes one further result beside it."""
    pipeline = company.pipeline({"unit": junit("a_TC1!")})
    company.once()
    company.rally_store.change(result(company, "TC1"), Verdict="Blocked")
    assert company.once()["writes"] == 0
    store = company.gitlab.store
    store.retry_job(company.job(pipeline, "unit"), finished_at=store.clock(), junit=[("a.xml", junit("a_TC1"))])

    company.once()

    assert company.verdicts(pipeline) == {"TC1/1": "Blocked", "TC1/2": "Pass"}
