"""How a stand-in Rally says No."""

from __future__ import annotations


class Refused(Exception):
    """Rally's No: HTTP 200, and this text in `Errors`."""


class Unknown(Exception):
    """Something that the stand-in does not know: it refuses loudly rather than guess what Rally would do."""


GONE = "Could not read: Could not read referenced object null"
"""A ref in the request is wrong, invisible or deleted (CA-KB57630)."""
