"""JUnit reports as test runners write them, of any size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SUITE = 100
"""How many tests stand in one suite."""
_TRACE = "\n".join(f'  File "shop/checkout/step_{n}.py", line {n * 7}, in step_{n}' for n in range(8))


@dataclass(frozen=True, slots=True)
class Plan:
    """What a report holds."""

    cases: Sequence[str]
    """The FormattedIDs of the tests' test cases, in the order of the tests; "" for a test that names none."""
    failing: int = 0
    """Every so many-th test fails, with a message and what it printed; 0 = none."""
    printed_bytes: int = 0
    """How much every test printed."""


def report(plan: Plan) -> bytes:
    """Write a report."""
    return b"".join(pieces(plan))


def pieces(plan: Plan) -> Iterator[bytes]:
    """Write a report suite by suite."""
    yield b'<?xml version="1.0" encoding="UTF-8"?>\n<testsuites>\n'
    for start in range(0, len(plan.cases), SUITE):
        tests = [_test(plan, number) for number in range(start, min(start + SUITE, len(plan.cases)))]
        head = f'<testsuite name="shop.suite{start // SUITE}" tests="{len(tests)}" timestamp="2026-01-31T12:00:00">\n'
        yield f"{head}{''.join(tests)}</testsuite>\n".encode()
    yield b"</testsuites>\n"


def _test(plan: Plan, number: int) -> str:
    case = plan.cases[number]
    name = f"test_order_{number}_{case}" if case else f"test_order_{number}"
    head = f'<testcase classname="shop.checkout.suite{number // SUITE}" name="{name}" time="{number % 17 / 10:.3f}"'
    inside = _failure(number) if plan.failing and number % plan.failing == 0 else ""
    if plan.printed_bytes:
        line = f"order {number}: step done in the time that was planned for it\n"
        inside += f"<system-out>{line * (plan.printed_bytes // len(line))}</system-out>"
    return f"{head}>{inside}</testcase>\n" if inside else f"{head}/>\n"


def _failure(number: int) -> str:
    said = f"AssertionError: order {number} should be paid, but it is open"
    printed = f"<system-out>order {number} was opened\norder {number} was not paid\n</system-out>"
    return f'<failure message="{said}">{said}\n{_TRACE}</failure>{printed}'
