"""What a failed test printed, as one text to attach."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler import terminal
from reconciler.junit.trim import CUT_NOTE, cut_note
from reconciler.model import Outcome

if TYPE_CHECKING:
    from reconciler.model import TestRun

OUTPUT_BYTES = 1_000_000
"""The most that `output` gives, in UTF-8."""
_BAD = frozenset({Outcome.ERRORED, Outcome.FAILED})
_NOTE_BYTES = 60  # a note on what was cut, with any number in it


def output(run: TestRun) -> str:
    """Put together what a failed or errored test said and printed; "" for others, and when there is no text at all.

    The message stands first, then each part that has text under a line of its own; when the trace begins with the
    message, the message is not repeated. What is too long is cut in the middle of its longest parts. No name stands in
    it: equal texts are equal bytes.
    """
    if run.outcome not in _BAD:
        return ""
    message, trace = (terminal.strip(text).strip("\n") for text in (run.message, run.detail))
    parts = [
        ("", "" if trace.startswith(message.rstrip()) else message),
        ("--- trace ---\n", trace),
        ("--- system-out ---\n", terminal.strip(run.system_out).strip("\n")),
        ("--- system-err ---\n", terminal.strip(run.system_err).strip("\n")),
    ]
    shown = [(header, text) for header, text in parts if text.strip()]
    room = OUTPUT_BYTES - sum(len(header) + 2 for header, _ in shown)
    texts = _within([text for _, text in shown], room)
    return "".join(f"{header}{text}\n" for (header, _), text in zip(shown, texts, strict=True))


def _within(texts: list[str], room: int) -> list[str]:
    """Cut the longest texts until all fit; none is cut shorter than an equal share of the room."""
    fitting = list(texts)
    shortest_first = sorted(range(len(texts)), key=lambda place: _size(texts[place]))
    for done, place in enumerate(shortest_first):
        share = room // (len(texts) - done)
        fitting[place] = _cut(texts[place], share)
        room -= _size(fitting[place])
    return fitting


def _cut(text: str, room: int) -> str:
    """Cut a text in its middle, between characters, and say there how much is missing, earlier cuts included."""
    if _size(text) <= room:
        return text
    half = (room - _NOTE_BYTES) // 2
    encoded = text.encode()
    start = len(encoded[:half].decode(errors="ignore"))
    end = len(text) - len(encoded[-half:].decode(errors="ignore"))
    missing = 0
    for note in CUT_NOTE.finditer(text):
        if note.start() <= end and note.end() >= start:
            start, end = min(start, note.start()), max(end, note.end())
            missing += int(note[1].replace(",", "") or "0") - len(note[0])
    return text[:start] + cut_note(end - start + missing) + text[end:]


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
