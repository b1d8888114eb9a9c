"""A name that the name service does not know, or cannot tell at the moment, is a server that is down."""

from __future__ import annotations

import threading

import pytest

from reconciler.errors import NotDone, ServiceDown
from reconciler.wire import Endpoint, Limits, Service, ServiceSession, Wire

URL = "https://rally.invalid"
"""No such name is ever given out (RFC 6761)."""


def test_of_an_unknown_host_nothing_is_read_and_nothing_was_written() -> None:
    """A write that found no address was certainly not done: its intent is taken back, not left in doubt."""
    wire = Wire(Service("Rally", "check the key"), stop=threading.Event(), limits=Limits(patience_s=0))
    session = ServiceSession(Endpoint(URL))
    session.trust_env = False  # no proxy of this machine asks in our place
    with pytest.raises(ServiceDown, match=r"the name rally\.invalid is not known: check the url"):
        wire.read(URL, lambda: session.once("GET", URL))
    with pytest.raises(NotDone, match=r"the name rally\.invalid is not known: check the url"):
        wire.write(URL, lambda: session.once("POST", URL, data=b"{}", allow_redirects=False))
    session.close()
