"""Count every report of this folder with lxml alone and write index.json: `python make_index.py`.

Independent of the reconciler on purpose. The rule is in README.md. A document that is not well-formed is counted after its
forbidden characters became U+FFFD; one that must be refused as a whole (traps/make.py says which) has zeros and "problem".
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from lxml import etree

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "traps"))
from make import TRAPS  # noqa: E402

BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
CUT = "bats/report-cut.xml"  # real, and copied before bats had finished it
FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
REFERENCE_OR_CDATA = re.compile(r"<!\[CDATA\[.*?\]\]>|&#(?:x([0-9a-fA-F]+)|([0-9]+));", re.DOTALL)


def parse(data: bytes) -> etree._Element:
    """Parse strictly; only the depth limit is lifted, and no entity is ever expanded."""
    return etree.fromstring(data, etree.XMLParser(huge_tree=True, resolve_entities=False, no_network=True, load_dtd=False))


def repaired(data: bytes) -> bytes:
    """Decode by BOM, else as UTF-8; replace what is undecodable or forbidden; drop the declaration."""
    encoding = "utf-8"
    for bom, name in BOMS:
        if data.startswith(bom):
            data, encoding = data[len(bom):], name
            break
    text = data.decode(encoding, "replace").lstrip()
    text = re.sub(r"^<\?xml[^>]*\?>", "", text)
    return REFERENCE_OR_CDATA.sub(_reference, FORBIDDEN.sub("\ufffd", text)).encode()


def _reference(match: re.Match[str]) -> str:
    if match[1] is None and match[2] is None:
        return match[0]
    number = int(match[1], 16) if match[1] else int(match[2])
    allowed = number <= 0x10FFFF and not FORBIDDEN.search(chr(number))
    return match[0] if allowed else "\ufffd"


def count(root: etree._Element) -> dict[str, int]:
    """Count by the rule; `disabled` are cases that pass by it although their status says that they did not run."""
    numbers = dict.fromkeys(("tests", "passed", "failed", "errored", "skipped", "disabled"), 0)
    for case in root.iter("{*}testcase"):
        children = {etree.QName(child).localname for child in case if isinstance(child.tag, str)}
        numbers["tests"] += 1
        if "error" in children:
            numbers["errored"] += 1
        elif "failure" in children:
            numbers["failed"] += 1
        elif "skipped" in children:
            numbers["skipped"] += 1
        else:
            numbers["passed"] += 1
            numbers["disabled"] += not {case.get("status"), case.get("result")}.isdisjoint({"disabled", "notrun", "suppressed"})
    return numbers


def entry(data: bytes, *, refused: bool) -> dict[str, int | bool]:
    """Make a file's entry of the index."""
    try:
        root, well_formed = parse(data), True
    except (etree.XMLSyntaxError, LookupError):
        root, well_formed = None, False
    if refused:
        return {**dict.fromkeys(("tests", "passed", "failed", "errored", "skipped"), 0), "well_formed": well_formed, "problem": True}
    numbers = count(parse(repaired(data)) if root is None else root)
    disabled = numbers.pop("disabled")
    return {**numbers, "well_formed": well_formed, **({"disabled": disabled} if disabled else {})}


def main() -> None:
    """Write index.json and check the counts that the traps declare."""
    expected = {f"traps/{name}": counts for name, _, _, _, counts in TRAPS}
    index = {}
    for path in sorted(HERE.rglob("*.xml")):
        name = path.relative_to(HERE).as_posix()
        if name.startswith("sources/"):
            continue
        index[name] = entry(path.read_bytes(), refused=name == CUT or expected.get(name, ()) is None)
        counts = tuple(index[name][key] for key in ("tests", "passed", "failed", "errored", "skipped"))
        if expected.get(name) not in {None, counts}:
            sys.exit(f"{name}: declared {expected[name]}, counted {counts}")
    lines = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in index.items()]
    (HERE / "index.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
