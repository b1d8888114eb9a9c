"""What one report may cost: everything in it can be written by whoever writes a test."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Beyond the limits on texts, names and notices a part is left out; beyond the others the report is refused."""

    max_bytes: int = 1_000_000_000
    """Of the file as it comes, before anything is cut."""
    max_depth: int = 256
    max_elements_per_test: int = 50_000
    max_elements_total: int = 20_000_000
    max_bytes_per_test: int = 32_000_000
    """Of one outermost `<testcase>`, after its long texts were cut."""
    max_bytes_per_tag: int = 16_000_000
    max_attributes_per_tag: int = 50_000
    max_text_chars: int = 1_000_000
    """What is kept of one text; the middle goes first."""
    max_name_chars: int = 2_000
    max_notices: int = 20
