"""A stand-in Rally that speaks WSAPI v2.0: faithful where it is documented, and strict where it is not."""

from __future__ import annotations

from reconciler.sandbox.rally.app import RallyApp
from reconciler.sandbox.rally.calls import Behaviour, Mishaps
from reconciler.sandbox.rally.objects import Thing
from reconciler.sandbox.rally.schema import Kind
from reconciler.sandbox.rally.store import ApiKey, Store

__all__ = ["ApiKey", "Behaviour", "Kind", "Mishaps", "RallyApp", "Store", "Thing"]
