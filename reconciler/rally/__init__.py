"""The adapter to Rally: pyral for context, schema and session, our own calls for queries and writes."""

from reconciler.rally.adapter import RallyAdapter
from reconciler.rally.context import Names

__all__ = ["Names", "RallyAdapter"]
