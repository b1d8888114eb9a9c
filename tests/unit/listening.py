"""What is logged while a test runs, by itself and by the threads that it starts."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from loguru import Record


def from_now_on() -> Callable[[Record], bool]:
    """Give a filter for a sink: it lets nothing through from threads that earlier tests left behind."""
    left = set(threading.enumerate()) - {threading.current_thread()}
    return lambda _: threading.current_thread() not in left
