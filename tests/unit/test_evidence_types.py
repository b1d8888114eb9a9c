"""Content types by our own table, and names as Rally shows them."""

from __future__ import annotations

import pytest

from reconciler.evidence import content_type
from reconciler.evidence.types import file_name

HEADS = {
    "image/png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "image/jpeg": b"\xff\xd8\xff\xe0\0\x10JFIF",
    "image/gif": b"GIF89a\1\0\1\0",
    "image/webp": b"RIFF\x10\0\0\0WEBPVP8 ",
    "image/bmp": b"BM\x10\0\0\0",
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.png", "image/png"),
        ("A.PNG", "image/png"),
        ("a.jpg", "image/jpeg"),
        ("a.b.jpeg", "image/jpeg"),
        ("a.gif", "image/gif"),
        ("a.webp", "image/webp"),
        ("a.bmp", "image/bmp"),
    ],
)
def test_an_image_must_begin_like_one(name: str, expected: str) -> None:
    """An HTML page called .png is not shown as an image, and a PNG called .gif is not a GIF."""
    for content, head in HEADS.items():
        assert content_type(name, head) == (expected if content == expected else "application/octet-stream")
    for head in (b"", b"\x89PN", b"RIFF\x10\0\0\0AVI ", b"<html><script>"):
        assert content_type(name, head) == "application/octet-stream"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("test_output.log", "text/plain"),
        ("readme.TXT", "text/plain"),
        ("page.html", "text/html"),
        ("a.json", "application/json"),
        ("network.har", "application/json"),
        ("report.xml", "application/xml"),
        ("error-context.md", "text/markdown"),
        ("trace.zip", "application/zip"),
        ("dump.tar.gz", "application/gzip"),
        ("video.webm", "video/webm"),
        ("ci.yml", "application/yaml"),
        ("shot.svg", "image/svg+xml"),
        ("core", "application/octet-stream"),
        (".png", "application/octet-stream"),
        ("a.", "application/octet-stream"),
        ("a.exe", "application/octet-stream"),
        ("", "application/octet-stream"),
    ],
)
def test_other_types_follow_the_extension(name: str, expected: str) -> None:
    """Whatever the machine's own table says."""
    assert content_type(name, b"anything") == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("shots/two words.png", "two words.png"),
        ("shots\\größe.png", "größe.png"),
        ("shots/", "shots"),
        ("../../etc/passwd", "passwd"),
        ("a/b\x1b[31m\nc.png", "b c.png"),
        ("a/\x00.png", "\ufffd.png"),
        ("a/..", "attachment"),
        ("", "attachment"),
        (" / ", "attachment"),
        ("a/gpj.\u202egnp.exe", "gpj.\ufffdgnp.exe"),
        ("x" * 300 + ".png", "x" * 251 + ".png"),
        ("x" * 300, "x" * 255),
        ("x." + "y" * 300, "x." + "y" * 253),
        ("a/" * 100_000 + "b.png", "b.png"),
    ],
)
def test_a_name_can_be_shown(path: str, expected: str) -> None:
    """One line, at most 255 characters with the extension kept, never empty."""
    assert file_name(path) == expected
