"""What administrators do goes on record; how, only the trail knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

Facts = Mapping[str, Any]


class RecordAction(Protocol):
    def __call__(
        self,
        action: str,
        *,
        user: str | None = None,
        team: str | None = None,
        key: str | None = None,
        before: Facts | None = None,
        after: Facts | None = None,
        **facts: Any,
    ) -> None:
        """Record who changed what, from what to what. ``user``, ``team`` and ``key`` are whose it
        is; no other argument may say anything of a person: it can never be erased."""


def unrecorded(action: str, **facts: Any) -> None:
    """Record nothing, where there is no trail."""
