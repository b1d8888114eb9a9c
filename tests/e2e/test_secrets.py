"""No secret is ever shown or stored: services that say it back to us, in every place where we may repeat them."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from reconciler.sandbox.faults import Answer, Exchange, Fault, Truncate
from reconciler.sandbox.messages import Response
from tests.company import KEY, TOKEN, Company, junit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOGIN = "us:pr0xy-s3cret"
MODES = ("TRACE", "json")


@dataclass(frozen=True, slots=True)
class SaysItBack:
    """Answers with what it was asked, headers and all, as a debugging page or a careless error text does."""

    words: Callable[[str], Response]

    def __call__(self, exchange: Exchange) -> None:
        """Answer."""
        exchange.send(self.words(f"cannot serve {dict(exchange.request.headers)}"))


def message(status: int) -> SaysItBack:
    """Say it as GitLab's errors do."""
    return SaysItBack(lambda said: Response.json({"message": {"base": [said]}, "error": said}, status))


def page(status: int) -> SaysItBack:
    """Say it on a page for people."""
    return SaysItBack(lambda said: Response.html(said, status))


def errors(kind: str) -> SaysItBack:
    """Say it as Rally's errors do: with status 200."""
    return SaysItBack(lambda said: Response.json({kind: {"Errors": [said], "Warnings": [said], "Results": []}}))


def elsewhere() -> SaysItBack:
    """Send us on to an address that has it in all its parts."""
    place = f"https://oauth2:{TOKEN}@login.test/{TOKEN}?back={TOKEN}"
    return SaysItBack(lambda _: Response(302, headers={"Location": place}))


def odd(document: object) -> Answer:
    """Answer well-formed nonsense, on which pyral stumbles in its own words."""
    return Answer(Response.json(document))


NOTHING: dict[str, Any] = {"Errors": [], "Warnings": [], "TotalResultCount": 0, "StartIndex": 1, "PageSize": 200}
GITLAB, RALLY = "gitlab", "rally"
TROUBLES: dict[str, list[tuple[str, Fault]]] = {
    "neither accepts our secret": [
        (GITLAB, Fault(message(401), times=None)),
        (RALLY, Fault(page(401), times=None)),
    ],
    "no is said to single things": [
        (GITLAB, Fault(message(403), path="/artifacts", times=None)),
        (RALLY, Fault(errors("CreateResult"), path="/testset/create", times=None)),
        (RALLY, Fault(errors("BatchResult"), path="/batch", times=1)),
        (RALLY, Fault(errors("CreateResult"), path="/testcaseresult/create", times=None)),
    ],
    "the project and the workspace are denied": [
        (GITLAB, Fault(message(404), path="/projects", times=None)),
        (RALLY, Fault(errors("QueryResult"), path="/Workspaces", times=None)),
    ],
    "we are sent elsewhere": [
        (GITLAB, Fault(elsewhere(), path="/artifacts")),
        (RALLY, Fault(page(403), path="/testcase$", times=None)),
    ],
    "pages are not what they should be": [
        (GITLAB, Fault(message(400), path="/pipelines", times=None)),
        (RALLY, Fault(odd({"QueryResult": NOTHING | {"Results": [{"_ref": KEY}]}}), path="/Subscription", times=None)),
    ],
    "the list of projects is nonsense": [
        (GITLAB, Fault(SaysItBack(lambda said: Response.json([said, {"id": said}])), path="/jobs$", times=None)),
        (RALLY, Fault(odd({"QueryResult": NOTHING | {"Results": [{"Name": KEY}]}}), path="/Projects$", times=None)),
    ],
    "a read is cut short and a write is refused with a page": [
        (GITLAB, Fault(Truncate(10), path="/artifacts", times=1)),
        (RALLY, Fault(page(403), writes_only=True, times=None)),
    ],
}


def spellings(secret: str) -> Iterator[bytes]:
    """Give a secret as it may be written."""
    yield from (secret.encode(), quote(secret, safe="").encode(), base64.b64encode(secret.encode()))


def places(company: Company, *said: str) -> Iterator[tuple[str, bytes]]:
    """Give everything that somebody may read: what was printed, and every file that we wrote."""
    yield from (("printed", one.encode()) for one in said)
    for path in company.folder.rglob("*"):
        if path.is_file() and path.name != "config.toml":
            yield path.name, path.read_bytes()


def assert_hidden(company: Company, *said: str) -> None:
    """Look for the secrets everywhere."""
    for place, content in places(company, *said):
        for secret in (TOKEN, KEY, LOGIN.partition(":")[2], "W3BH00K-abcdefgh"):
            for spelling in spellings(secret):
                assert spelling not in content, (place, secret)


@pytest.mark.parametrize("trouble", TROUBLES)
def test_what_services_say_back_is_blotted_out_everywhere(company: Company, trouble: str) -> None:
    """Log, messages, JSON, ledger and its journal; proxies and web hooks have secrets too."""
    company.configure(
        rally={"settle_after_seconds": 0},
        notify={"url": "https://hooks.test/W3BH00K-abcdefgh", "command": ["/nowhere/tell"]},
    )
    company.sprint()
    company.ran(junit("a_TC1", "b_TC2!", "c"), {"log.txt": b"hello"})
    for service, fault in TROUBLES[trouble]:
        server = company.gitlab.server if service == GITLAB else company.rally
        fault.seen = fault.hits = 0
        server.faults.add(fault)
    proxy = f"http://{LOGIN}@127.0.0.1:9"
    mode = MODES[len(trouble) % 2]
    loud = {"RECONCILER_LOG__LEVEL": "TRACE", "RECONCILER_LOG__JSON": str(mode == "json").lower()}

    ran = company.run("--once", HTTPS_PROXY=proxy, HTTP_PROXY=proxy, **loud)

    assert ran.status in {0, 1, 75}
    assert all(fault.hits for _, fault in TROUBLES[trouble]), [fault.hits for _, fault in TROUBLES[trouble]]
    assert_hidden(company, ran.out, ran.err, company.run("--json", "status").out)
    if mode == "json":
        assert all(json.loads(line) for line in ran.err.splitlines() if line.startswith("{"))


def test_mistakes_in_the_config_are_told_without_what_stands_there(company: Company) -> None:
    """People write the secret itself where a reference to it belongs, or put it into an url."""
    company.configure(
        gitlab={"token": TOKEN, "url": f"https://oauth2:{TOKEN}@gitlab.test"},
        rally={"api_key": KEY, "url": f"https://rally.test/?key={KEY}"},
        notify={"url": f"ftp://hooks.test/{KEY}"},
    )
    for environment in ({}, {"RECONCILER_GITLAB__TOKEN": TOKEN, "RECONCILER_RALLY__API_KEY": KEY}):
        ran = company.run("--once", **environment)
        assert ran.status == 2
        assert len(ran.err.splitlines()) == 5
        assert_hidden(company, ran.out, ran.err)


_CRASHING = """
import sys, threading, logging, warnings
from reconciler import log
key = sys.argv[1]
log.configure("TRACE", json=False, secrets=[key])
def fail(): raise ValueError(key)
class Bad:
    def __del__(self): fail()
thread = threading.Thread(target=fail)
thread.start()
thread.join()
Bad()
logging.getLogger("urllib3.connectionpool").warning("Connection pool is full: %s", key)
logging.getLogger("apscheduler.executors.default").error("Job raised an exception", exc_info=ValueError(key))
warnings.warn(key)
fail()
"""


def test_an_error_that_nobody_expected_is_shown_whole_but_for_secrets() -> None:
    """In the main thread, in another one, where nobody can catch it, and in what libraries log."""
    words = [sys.executable, "-W", "always", "-c", _CRASHING, KEY]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("ValueError: [secret]") == 4
    assert done.stderr.count("CRITICAL") == 2
    assert "Connection pool is full: [secret] logger=urllib3.connectionpool" in done.stderr
    assert "UserWarning: [secret]" in done.stderr
    assert KEY not in done.stdout + done.stderr
