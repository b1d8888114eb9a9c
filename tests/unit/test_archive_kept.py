"""What is kept of archives between two openings: how much, for how long, and who may still read it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from reconciler.archive import Ending
from reconciler.gitlab.kept import KeptArchives, Known, SharedFile
from tests.archives import noise

if TYPE_CHECKING:
    from collections.abc import Iterable

DIRECTORY = b"directory entry " * 100


def by_ranges(media: bytes = b"") -> Known:
    """Know an archive's end: a directory, after some of a media file."""
    return Known(1_000_000, '"etag"', "", Ending(media + DIRECTORY, len(DIRECTORY)), None)


def in_file(file: io.BytesIO, size_bytes: int) -> Known:
    """Know an archive that was downloaded."""
    return Known(size_bytes, "", "", Ending(b"", 0), SharedFile(file, size_bytes))


def keep(kept: KeptArchives, url: str, learnt: Known | None) -> None:
    """Open an archive, and learn this of it."""
    with kept.opening(url) as opening:
        release(opening.known)
        opening.learnt = learnt


def release(known: Known | None) -> None:
    """End an opening."""
    if known is not None and known.file is not None:
        known.file.let_go()


def known(kept: KeptArchives, urls: Iterable[str]) -> dict[str, Known]:
    """Look up what is known, using it."""
    found = {}
    for url in urls:
        with kept.opening(url) as opening:
            if opening.known is not None:
                found[url] = opening.learnt = opening.known
    return found


def test_ends_are_packed_down_to_their_directories_before_any_is_forgotten() -> None:
    """Those that were used longest ago."""
    kept = KeptArchives(memory_bytes=50_000)
    for url in "abcdef":
        keep(kept, url, by_ranges(noise(10_000)))
    assert kept.memory_bytes <= 50_000
    found = known(kept, "abcdef")
    assert [url for url in "abcdef" if found[url].is_packed] == ["a", "b", "c", "d"]
    assert all(one.ending().endswith(DIRECTORY) for one in found.values())
    assert {one.ending() for one in found.values() if one.is_packed} == {DIRECTORY}


def test_more_directories_than_there_is_room_for_are_forgotten_oldest_first() -> None:
    """What was used meanwhile counts as new."""
    kept = KeptArchives(memory_bytes=30_000)
    urls = [str(number) for number in range(30)]
    for url in urls:
        keep(kept, url, by_ranges())
        assert "0" in known(kept, ["0"])
        assert kept.memory_bytes <= 30_000
    left = known(kept, urls)
    assert list(left) == ["0", *urls[-len(left) + 1 :]]
    assert len(left) > 15
    kept.forget()
    assert (kept.memory_bytes, known(kept, urls)) == (0, {})


def test_an_end_larger_than_all_room_is_not_kept() -> None:
    """A directory of a hundred thousand members would be."""
    kept = KeptArchives(memory_bytes=10_000)
    keep(kept, "a", Known(1, "", "", Ending(noise(20_000), 20_000), None))
    assert (kept.memory_bytes, known(kept, "a")) == (0, {})


def test_temporary_files_are_bounded_and_directories_do_not_suffer_for_it() -> None:
    """The oldest file is closed."""
    kept = KeptArchives(disk_bytes=250)
    files = [io.BytesIO() for _ in range(4)]
    keep(kept, "directory", by_ranges())
    for number, file in enumerate(files[:3]):
        keep(kept, str(number), in_file(file, 100))
    assert [file.closed for file in files] == [True, False, False, False]
    assert kept.disk_bytes == 200
    keep(kept, "large", in_file(files[3], 1_000))
    assert [file.closed for file in files] == [True, True, True, True]
    assert "directory" in known(kept, ["directory"])
    assert kept.disk_bytes == 0


def test_a_file_that_is_being_read_is_closed_by_its_last_reader() -> None:
    """Though it was put out, replaced or forgotten meanwhile."""
    kept = KeptArchives(disk_bytes=100)
    file = io.BytesIO(b"text")
    keep(kept, "a", in_file(file, 4))
    with kept.opening("a") as one, kept.opening("a") as other:
        keep(kept, "b", in_file(io.BytesIO(), 100))
        assert one.known is not None
        assert one.known.file is not None
        assert one.known.file.read(0, 4) == b"text"
        release(one.known)
        assert not file.closed
        release(other.known)
        assert file.closed


def test_what_is_learnt_after_all_was_forgotten_is_not_kept() -> None:
    """A pass that ends leaves nothing behind, not even through a slow reader."""
    kept = KeptArchives()
    file = io.BytesIO()
    with kept.opening("a") as opening:
        kept.forget()
        keep(kept, "a", by_ranges())
        opening.learnt = in_file(file, 100)
    assert file.closed
    assert known(kept, "a")["a"].file is None


def test_an_opening_that_learnt_nothing_forgets_what_was_known() -> None:
    """Something went wrong with it."""
    kept = KeptArchives()
    file = io.BytesIO()
    keep(kept, "a", in_file(file, 100))
    keep(kept, "a", None)
    assert file.closed
    assert known(kept, "a") == {}
