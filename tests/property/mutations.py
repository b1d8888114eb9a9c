"""Real files spoilt in every way that files get spoilt, by accident or on purpose."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

EXAMPLES = os.environ.get("FUZZ_EXAMPLES", "")
"""How many examples each fuzz test tries: few and always the same in `make test`, many and new ones in `make soak`."""
_DATA = Path(__file__).parents[1] / "data"
_LARGEST = 12_000
_WORDS = (
    *(b"<testsuite>", b"</testsuite>", b"<testcase name='x'>", b"<testcase/>", b"</testcase>", b"<failure/>", b"<a>"),
    *(b"<!DOCTYPE a>", b"<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>", b"<!ENTITY x 'y'>", b"&x;", b"%x;"),
    *(b"&#0;", b"&#27;", b"&#xD800;", b"&amp;", b"&lt;", b"&", b"<![CDATA[", b"]]>", b"<!--", b"-->", b"<?x ?>", b"\0"),
    *(b"\x1b[31m", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80", b"\xe2"),
    *(b"[[ATTACHMENT|../../etc/passwd]]", b"[[ATTACHMENT|data:image/png;base64,AAAA]]", b"[[ATTACHMENT|", b"]]", b"'"),
    *(b'"', b"=", b">", b"/", b"\r\n", b"time='1e999'", b"name=''", b"xmlns='u'", b"xmlns:p='u'", b"p:", b"TC1", b"-"),
    *(b"1/100/TC1/1", b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x07", b"\x1f\x8b\x08\x1c", b"\xff" * 4),
    *(b"\xff" * 8, b"\0" * 4, b"\x01\0\x08\0", b"\x75\x70", b"/" * 9, b"../", b"\xe2\x80\xae", b" " * 70_000),
)
_PARTS = 2**16


class Step(NamedTuple):
    """One thing that happens to a file."""

    how: str
    place: int
    """In `_PARTS` of its length."""
    length: int
    piece: bytes


@contextmanager
def bounded(slowest_s: float = 2.0, most_kb: int = 30_000) -> Iterator[None]:
    """See that one file costs little time of the CPU, and little memory above what was in use; usual: a thousandth.

    Source: proc(5), `clear_refs`: 5 sets the peak to what is in use; where that is not allowed, only time is looked at.
    """
    begun, before = time.process_time(), 0
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
        before = _kilobytes("VmHWM")
    yield
    assert time.process_time() - begun < slowest_s
    assert not before or _kilobytes("VmHWM") - before < most_kb


def _kilobytes(word: str) -> int:
    return int(Path("/proc/self/status").read_text().partition(f"{word}:")[2].split()[0])


def documents() -> list[bytes]:
    """Give all the reports of the corpus that are not large."""
    paths = sorted(path for path in _DATA.rglob("*.xml") if path.stat().st_size <= _LARGEST)
    return [path.read_bytes() for path in paths]


def fuzz(share: float = 1.0) -> settings:
    """Give the settings of a fuzz test; `share`: of the examples, where one costs much."""
    return settings(
        max_examples=max(1, round(int(EXAMPLES or "150") * share)),
        derandomize=not EXAMPLES,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def spoilt(files: Sequence[bytes], most: int = 4) -> st.SearchStrategy[bytes]:
    """Draw one of the files with some things done to it; often it stays as it was."""
    steps = st.builds(
        Step,
        st.sampled_from(sorted(_WAYS)),
        st.integers(0, _PARTS - 1),
        st.integers(1, 40) | st.integers(1, _LARGEST),
        st.sampled_from(_WORDS) | st.binary(min_size=1, max_size=8) | st.sampled_from(files),
    )
    return st.builds(_carried_out, st.sampled_from(files), st.lists(steps, max_size=most))


def _carried_out(data: bytes, steps: Sequence[Step]) -> bytes:
    for step in steps:
        data = _WAYS[step.how](data, len(data) * step.place // _PARTS, step)
    return data


def _flip(data: bytes, at: int, step: Step) -> bytes:
    return data[:at] + bytes(byte ^ (step.piece[0] or 1) for byte in data[at : at + 1]) + data[at + 1 :]


def _recoded(data: bytes, _: int, step: Step) -> bytes:
    encodings = ("utf-16", "utf-16-be", "utf-32", "latin-1", "cp1252", "utf-8-sig", "cp037", "utf-7")
    return data.decode("utf-8", "replace").encode(encodings[step.length % len(encodings)], "replace")


def _declared(data: bytes, _: int, step: Step) -> bytes:
    names = (b"utf-8", b"utf-16", b"latin-1", b"cp1252", b"ascii", b"utf-7", b"idna", b"nobody", b"rot13", b"shift_jis")
    start = data.find(b"?>") + 2 if data.startswith(b"<?xml") else 0
    return b'<?xml version="1.0" encoding="' + names[step.length % len(names)] + b'"?>' + data[start:]


_WAYS: dict[str, Callable[[bytes, int, Step], bytes]] = {
    "flip": _flip,
    "cut off": lambda data, at, _: data[:at],
    "cut out": lambda data, at, step: data[:at] + data[at + step.length :],
    "insert": lambda data, at, step: data[:at] + step.piece + data[at:],
    "overwrite": lambda data, at, step: data[:at] + step.piece + data[at + len(step.piece) :],
    "repeat": lambda data, at, step: data[:at] + data[at : at + step.length] * 3 + data[at + step.length :],
    "splice": lambda data, at, step: data[:at] + step.piece[len(step.piece) * step.length // (_LARGEST + 1) :],
    "recode": _recoded,
    "declare": _declared,
}
