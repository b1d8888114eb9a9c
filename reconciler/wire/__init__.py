"""One HTTP exchange: time-outs, TLS, retry of reads, Retry-After, rate limit, circuit breaker; interruptible."""

from reconciler.wire.exchange import Answer, Wire
from reconciler.wire.library import LibrarySession
from reconciler.wire.service import Clock, Limits, Service
from reconciler.wire.session import Endpoint, ServiceSession, is_loopback, origin
from reconciler.wire.trouble import Scope, Trouble, is_html, judge

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
    "is_html",
    "is_loopback",
    "judge",
    "origin",
]
