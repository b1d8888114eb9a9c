"""Which files and texts belong to which test, and what becomes of each on its result: uploaded, linked or missing."""

from reconciler.evidence.choice import (
    MAX_UPLOADS,
    RALLY_MAX_BYTES,
    File,
    Output,
    Rules,
    TestEvidence,
    Wanted,
    wanted,
)
from reconciler.evidence.directory import Directory, is_unsafe
from reconciler.evidence.naming import Naming, slug
from reconciler.evidence.printed import OUTPUT_BYTES, output
from reconciler.evidence.said import Mention, mentions, metrics
from reconciler.evidence.types import content_type

__all__ = [
    "MAX_UPLOADS",
    "OUTPUT_BYTES",
    "RALLY_MAX_BYTES",
    "Directory",
    "File",
    "Mention",
    "Naming",
    "Output",
    "Rules",
    "TestEvidence",
    "Wanted",
    "content_type",
    "is_unsafe",
    "mentions",
    "metrics",
    "output",
    "slug",
    "wanted",
]
