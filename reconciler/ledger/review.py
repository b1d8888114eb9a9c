"""The review queue: tests that are held, with suggestions. A query over observations and mapping, never a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler import suggest
from reconciler.ledger import views
from reconciler.ledger.test_cases import TestCases
from reconciler.model import Outcome
from reconciler.plan import Verdicts

if TYPE_CHECKING:
    from reconciler.ledger.store import Store


def rows(store: Store) -> list[dict[str, Any]]:
    """List the held tests as `review --json` prints them, most often held first."""
    index = suggest.Index(TestCases(store).names())
    words = Verdicts(skipped="Skipped", flaky="Pass")
    return [
        {
            "test": waiting.test,
            "seen": waiting.seen,
            "pipelines": waiting.pipelines,
            "last_verdict": str(words.of(Outcome(waiting.last_outcome), flaky=False)),
            "held": waiting.held,
            "reason": _reason(waiting),
            "suggestions": [
                {
                    "formatted_id": suggestion.formatted_id,
                    "name": suggestion.name,
                    "score": round(suggestion.score, 3),
                    "reason": suggestion.reason,
                }
                for suggestion in index.suggest(waiting.test)
            ],
        }
        for waiting in views.waiting(store)
    ]


def _reason(waiting: views.Waiting) -> str:
    if waiting.unknown:
        return f"mapped to {waiting.unknown}, which Rally does not have within the root project"
    return "not mapped to any test case"
