"""What pyral is about to ask is begun before it does; a wrong guess costs a read and nothing else."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from reconciler.errors import ServiceDown
from reconciler.rally.foresight import Foresight

if TYPE_CHECKING:
    from reconciler.wire import Answer

BASE = "http://127.0.0.1:1"
WSAPI = f"{BASE}/slm/webservice/v2.0"
REF = f"{BASE}/slm/webservice/v2.0"
AT_FIRST = f"{WSAPI}/User?fetch=ObjectID&pagesize=1000&start=1"
WITH_IT = f"{WSAPI}/Subscription?fetch=true&pagesize=1000&start=1"
OF_USER = [f"{WSAPI}/UserProfile/7"]
OF_WORKSPACE = [
    f"{WSAPI}/workspace/5",
    f'{WSAPI}/Workspace/5/Projects?fetch="ObjectID,Name,State"&pagesize=200&start=1',
    f"{WSAPI}/Project?fetch=Name&workspace=workspace/5&pagesize=1000&start=1",
    f"{BASE}/slm/schema/v2.0/workspace/5",
]
OF_NAME = '((Name = "A%20%26%20B") AND (State = Open))'
USER = {"User": {"_ref": f"{REF}/user/1", "UserProfile": {"_ref": f"{REF}/userprofile/7"}}}


class Reads:
    """Answers each question with its address, and keeps what was asked."""

    def __init__(self, *down: str) -> None:
        """Give no answer to questions that end like these."""
        self.asked: list[str] = []
        self.down = down
        self._changed = threading.Condition()

    def __call__(self, url: str) -> Answer:
        """Read."""
        with self._changed:
            self.asked.append(url)
            self._changed.notify_all()
        if self.down and url.endswith(self.down):
            raise ServiceDown("Rally", "away")
        return cast("Answer", SimpleNamespace(document=url))

    def wait_for(self, count: int) -> list[str]:
        """Wait until so many questions were asked; all of them, sorted."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.asked) >= count, 5)
            return sorted(self.asked)


@pytest.mark.parametrize(
    ("path", "document", "questions"),
    [
        ("/slm/webservice/v2.0/User", USER, OF_USER),
        ("/slm/webservice/v2.0/User", {"QueryResult": {"Results": [USER["User"]]}}, OF_USER),
        (
            "/slm/webservice/v2.0/Subscription",
            {"Subscription": {"_ref": f"{REF}/subscription/3"}},
            [f"{WSAPI}/subscription/3/Workspaces?fetch=true&query={OF_NAME}&pagesize=200&start=1"],
        ),
        (
            "/slm/webservice/v2.0/subscription/3/Workspaces",
            {"QueryResult": {"Results": [{"_ref": f"{REF}/workspace/5"}]}},
            OF_WORKSPACE,
        ),
    ],
)
def test_what_follows_is_begun_once_and_taken_once(path: str, document: object, questions: list[str]) -> None:
    """Before anybody asks; whoever asks gets that answer, and whoever asks again asks."""
    reads = Reads()
    foresight = Foresight(BASE, "A & B", reads)
    foresight.learn(path, document)
    foresight.learn(path, document)
    assert reads.wait_for(len(questions)) == sorted(questions)
    assert [foresight.answer_to(url).document for url in questions] == questions
    assert sorted(reads.asked) == sorted(questions)
    foresight.answer_to(questions[0])
    assert len(reads.asked) == len(questions) + 1


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("/slm/webservice/v2.0/User", {"User": {"_ref": f"{REF}/user/1"}}),
        ("/slm/webservice/v2.0/Subscription", {}),
        ("/slm/webservice/v2.0/Subscription", {"Subscription": None}),
        ("/slm/webservice/v2.0/Subscription", ["Subscription"]),
        ("/slm/webservice/v2.0/Subscription", {"QueryResult": {"Results": []}}),
        ("/slm/webservice/v2.0/Subscription", {"QueryResult": {"Results": None}}),
        ("/slm/webservice/v2.0/subscription/3/Workspaces", {"QueryResult": {"Results": ["Acme"]}}),
        ("/slm/webservice/v2.0/subscription/3/Workspaces", {"QueryResult": {"Results": [{"_ref": 5.5}]}}),
        ("/slm/webservice/v2.0/UserProfile/7", {"UserProfile": {"_ref": f"{REF}/userprofile/7"}}),
    ],
)
def test_of_an_odd_answer_nothing_follows(path: str, document: Any) -> None:  # noqa: ANN401 - any JSON
    """It is pyral that has to make something of it."""
    reads = Reads()
    foresight = Foresight(BASE, "Acme", reads)
    foresight.learn(path, document)
    assert foresight.answer_to("elsewhere").document == "elsewhere"
    assert reads.asked == ["elsewhere"]


def test_a_failure_is_raised_where_its_answer_is_taken_and_nowhere_else() -> None:
    """That of a wrong guess is never heard of."""
    reads = Reads("/7", "/Subscription?fetch=true&pagesize=1000&start=1")
    foresight = Foresight(BASE, "Acme", reads)
    assert foresight.answer_to(AT_FIRST).document == AT_FIRST
    foresight.learn("/slm/webservice/v2.0/User", USER)
    assert reads.wait_for(3) == sorted([AT_FIRST, WITH_IT, *OF_USER])
    with pytest.raises(ServiceDown, match="away"):
        foresight.answer_to(WITH_IT)
