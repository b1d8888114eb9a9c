"""One report parsed, by us or by junitparser alone, in a process of its own; prints the tests, CPU seconds and peak."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path


def ours(path: Path) -> int:
    """Read every test as `reconciler` does."""
    from reconciler.junit import Report  # noqa: PLC0415 - neither side pays for the other's imports

    with path.open("rb") as stream:
        return sum(1 for _ in Report(stream))


def plain(path: Path) -> int:
    """Read what a script would need of every test, with junitparser as its documentation shows."""
    from junitparser import JUnitXml  # noqa: PLC0415 - neither side pays for the other's imports

    read = 0
    for suite in JUnitXml.fromfile(str(path)):
        for test in suite:
            _ = test.classname, test.name, test.time, test.result
            read += 1
    return read


def main() -> None:
    """Parse the report that the command line names."""
    way, path = {"ours": ours, "plain": plain}[sys.argv[1]], Path(sys.argv[2])
    began = time.process_time()
    tests = way(path)
    sys.stdout.write(json.dumps({"tests": tests, "cpu_s": time.process_time() - began}) + "\n")


if __name__ == "__main__":
    main()
