"""One HTTP exchange: time-outs, TLS, retry of reads, Retry-After, rate limit, circuit breaker; interruptible."""

from reconciler.wire.exchange import Answer, Wire
from reconciler.wire.library import LibrarySession
from reconciler.wire.post import post_json
from reconciler.wire.route import route_to
from reconciler.wire.service import Clock, Limits, Service
from reconciler.wire.session import Endpoint, ServiceSession, is_loopback, origin
from reconciler.wire.trouble import Scope, Trouble, date_of, is_html, judge

__all__ = [
    "Answer",
    "Clock",
    "Endpoint",
    "LibrarySession",
    "Limits",
    "Scope",
    "Service",
    "ServiceSession",
    "Trouble",
    "Wire",
    "date_of",
    "is_html",
    "is_loopback",
    "judge",
    "origin",
    "post_json",
    "route_to",
]
