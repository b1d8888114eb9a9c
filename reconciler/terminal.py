"""Text from outside without what a terminal would obey: colours, movements, control characters."""

from __future__ import annotations

import re

_SEQUENCES = re.compile(
    r"\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)?"  # titles and links
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # colours and movements
    r"|\x1b[ -/]*[0-~]"
    # The same after a reporter or our XML reader has made ESC, which XML forbids, into something else (pytest: #x1B).
    r"|(?:\ufffd|#x1B|&#27;|&#x1B;)\[[0-9;?]*[A-Za-z]",
    re.IGNORECASE,
)
_WRITTEN_OUT = ("\ufffd[", "#27;[", "1b[", "1B[", "1b;[", "1B;[")
"""One of these is in any text where an ESC was made into something else; this is quicker than the pattern."""
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff"
    "\u2028\u2029"  # line ends to some
    "\u202a-\u202e\u2066-\u2069]"  # they turn the text that follows round
)


def strip(text: str) -> str:
    r"""Take out terminal sequences; lines end with \n, and what else cannot be shown becomes U+FFFD."""
    if text.replace("\n", "").replace("\t", "").isprintable():
        return _SEQUENCES.sub("", text) if any(sign in text for sign in _WRITTEN_OUT) else text
    text = _SEQUENCES.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROLS.sub("\ufffd", text)
