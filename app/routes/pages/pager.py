"""From page to page of a list: the same positions as `/api/admin`'s cursors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from flask import request, url_for

from app.schemas.base import page


class Pager:
    """``position``: of the last row that is shown, None on the last page."""

    def __init__(self, position: Sequence[Any] | None) -> None:
        self.next_cursor: str | None = page((), position)["next_cursor"]

    @property
    def is_first(self) -> bool:
        return "cursor" not in request.args

    @property
    def first_url(self) -> str:
        return self._url(None)

    @property
    def next_url(self) -> str | None:
        return self._url(self.next_cursor) if self.next_cursor else None

    def _url(self, cursor: str | None) -> str:
        said = {name: it for name, it in request.args.items() if name != "cursor" and it}
        return this_address(said | ({"cursor": cursor} if cursor else {}))


def this_address(query: Mapping[str, str]) -> str:
    """Return the address of this page with another query; what others wrote in it stays that."""
    path = url_for(str(request.endpoint), **(request.view_args or {}))
    return f"{path}?{urlencode(query)}" if query else path
