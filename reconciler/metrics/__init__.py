"""Numbers for Prometheus, at a port or in a file, and whether the daemon lives and is ready."""

from __future__ import annotations

from reconciler.metrics.serving import Metrics, serving
from reconciler.metrics.source import Source

__all__ = ["Metrics", "Source", "serving"]
