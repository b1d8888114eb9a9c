"""GitLab's two ways to page through rows, with their headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Row = TypeVar("Row")
MAX_PER_PAGE = 100


def page_size(params: Mapping[str, Any]) -> int:
    """Tell how many rows a page has: more than 100 are never given, and nothing is said about it."""
    return min(int(params["per_page"]), MAX_PER_PAGE)


def offset_page(
    rows: Sequence[Row], params: Mapping[str, Any], url: str, limit: int
) -> tuple[list[Row], dict[str, str]]:
    """Cut out one page, with its headers (lib/gitlab/pagination/offset_header_builder.rb).

    `url` is the request's address without its query. Above `limit` rows the totals and the last page are not told.
    """
    size, page = page_size(params), int(params["page"])
    start = (page - 1) * size
    pages = max(1, -(-len(rows) // size))
    following = page + 1 if start + size < len(rows) else None
    headers = {
        "X-Per-Page": str(size),
        "X-Page": str(page),
        "X-Next-Page": str(following or ""),
        "X-Prev-Page": str(page - 1 if page > 1 else ""),
    }
    links = {"prev": page - 1 if page > 1 else None, "next": following, "first": 1}
    if len(rows) <= limit:
        links["last"] = pages
        headers |= {"X-Total": str(len(rows)), "X-Total-Pages": str(pages)}
    headers["Link"] = ", ".join(
        f'<{_href(url, {**params, "page": number})}>; rel="{rel}"' for rel, number in links.items() if number
    )
    return list(rows[start : start + size]), headers


def keyset_page(rows: Sequence[Row], params: Mapping[str, Any], url: str) -> tuple[list[Row], dict[str, str]]:
    """Cut out the first page of rows that are ordered by id, with its headers (lib/gitlab/pagination/keyset/pager.rb).

    The next page is the rows after (or, descending, before) this page's last id. A page that is not empty always has
    a link to a next one, which may be empty.
    """
    page = list(rows[: page_size(params)])
    if not page:
        return [], {}
    bound = "id_before" if params["sort"] == "desc" else "id_after"
    following = {name: value for name, value in params.items() if name not in ("id_before", "id_after", "page")}
    last = page[-1]
    link = _href(url, {**following, bound: getattr(last, "id", None)})
    return page, {"Link": f'<{link}>; rel="next"'}


def _href(url: str, params: Mapping[str, Any]) -> str:
    """Write all parameters, defaults and those of the path included, as GitLab does (`params.to_query`)."""
    pairs: list[tuple[str, str]] = []
    for name, value in sorted(params.items()):
        if isinstance(value, list):
            pairs.extend((f"{name}[]", _text(one)) for one in value)
        elif value is not None:
            pairs.append((name, _text(value)))
    return f"{url}?{urlencode(pairs)}"


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
