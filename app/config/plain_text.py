"""Text of others, made harmless for whatever shows it: one line, and no commands to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LONGEST = 200


def plain(value: object, longest: int = LONGEST) -> str:
    """Return ``value`` on one line, without control, formatting or direction characters, cut."""
    line = " ".join(str(value).split())
    kept = "".join(it if it.isprintable() else "\N{REPLACEMENT CHARACTER}" for it in line)
    return kept if len(kept) <= longest else f"{kept[: longest - 1]}…"


def plain_tree(value: Any) -> Any:
    """Return what is to be JSON with `plain` texts."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, Mapping):
        return {plain(key): plain_tree(it) for key, it in value.items()}
    return [plain_tree(it) for it in value] if isinstance(value, list | tuple) else value
