"""What a GitLab of a given version can do, and how this installation of it is set up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from reconciler.sandbox.objectstore import Ranges

Delivery = Literal["local", "proxy", "object store"]
"""Where archives and reports come from: GitLab's disk (200), the object store through GitLab (200), or a 302 to it."""

Version = tuple[int, int]


def parse_version(text: str) -> Version:
    """Read "19.4", "19.4.0" or "19.4.0-ee"."""
    major, minor = text.split("-", maxsplit=1)[0].split(".")[:2]
    return int(major), int(minor)


@dataclass(slots=True)
class Instance:
    """One GitLab installation; every field may be changed while it is served."""

    version: str = "19.4.0-ee"
    delivery: Delivery = "local"
    ranges: Ranges = "all"
    """For archives that GitLab itself sends; the object store has its own."""
    external_url: str = ""
    """GitLab's `external_url`, used in Link headers and `web_url`; "" = the address that the server really has."""
    count_limit: int = 10_000
    """Above so many rows `x-total`, `x-total-pages` and `rel="last"` are left out (doc/api/rest/_index.md)."""
    unstable_ties: bool = True
    """Order rows of equal value differently on each page: GitLab's `order_by` has no tie-breaker (facts, section 1)."""
    group_keyset: bool = True
    """Honour `pagination=keyset` for a group's projects; False = ignore it. Documented for `GET /projects` only."""

    def has(self, *since: int) -> bool:
        """Tell whether the version is at least this one."""
        return parse_version(self.version) >= since

    @property
    def file_type_is_honoured(self) -> bool:
        """`artifacts?file_type=junit`; before, the parameter is ignored silently (facts, section 3, route A)."""
        return self.has(19, 4)

    @property
    def etag_is_right(self) -> bool:
        """Before, every artifact answer carried the same weak ETag (gitlab-org/gitlab#371991; facts: about 19.x)."""
        return self.has(19, 0)

    @property
    def output_is_joined(self) -> bool:
        """Tell whether `system_output` is always text.

        Known is only that old servers answer with an object or a list where `<failure>` has no text or stands twice
        (go-gitlab's sample) and new ones with text; the version is an assumption.
        """
        return self.has(16, 0)
