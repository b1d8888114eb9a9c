"""The least that a client can do: batches made beforehand, sent over open connections. It shows what a stand-in can."""

from __future__ import annotations

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bench.processes import BenchFailed
from bench.stage import AT_ONCE, BATCH
from bench.stand_in import KEY

if TYPE_CHECKING:
    from collections.abc import Sequence

PATH = "/slm/webservice/v2.0/batch"
_HEADERS = {"ZSESSIONID": KEY, "Content-Type": "application/json"}


def rate(url: str, cases: Sequence[int], rounds: int) -> float:
    """Send rounds of batches, as many at once as we do; the results per second that the stand-in took."""
    began = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        shares = [cases[BATCH * place : BATCH * (place + 1)] for place in range(AT_ONCE)]
        sent = sum(pool.map(lambda share: _send(url, share, rounds), shares))
    return sent / (time.perf_counter() - began)


def _send(url: str, cases: Sequence[int], rounds: int) -> int:
    body = json.dumps({"Batch": [_entry(case) for case in cases]})
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    for _ in range(rounds):
        connection.request("POST", PATH, body, _HEADERS)
        told = json.loads(connection.getresponse().read())["BatchResult"]
        if told["Errors"] or any(one["Errors"] for one in told["Results"]):
            raise BenchFailed(f"Rally's stand-in refused a trivial batch: {json.dumps(told)[:500]}")
    connection.close()
    return rounds * len(cases)


def _entry(case: int) -> dict[str, object]:
    result = {
        "Build": "trivial",
        "Date": "2026-01-31T12:00:00.000Z",
        "TestCase": f"/testcase/{case}",
        "Verdict": "Pass",
    }
    return {"Entry": {"Path": "/testcaseresult/create", "Method": "POST", "Body": {"TestCaseResult": result}}}
