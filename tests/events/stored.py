"""What the receiver has stored, and what followed from it, read beside the product."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, text

from tests.audit.trail import recorded
from tests.waiting import wait_until

# What LiteLLM said, in the trail.
EFFECTS = {
    "litellm_request_start",
    "litellm_request_end",
    "litellm_request_error",
    "model_fallback",
    "rate_limit_hit",
}


def rows(url: str, count: int = 0, within_s: float = 20.0) -> list[dict[str, Any]]:
    """Return the stored events, when there are at least so many and all of them are processed."""
    found: list[dict[str, Any]] = []

    def are_there() -> bool:
        found[:] = _all(url, "SELECT * FROM litellm_events ORDER BY at, id")
        return len(found) >= count and all(it["processed_at"] for it in found)

    wait_until(are_there, within_s)
    return found


def effects(url: str, count: int = 1) -> list[dict[str, Any]]:
    """Return what is on record of LiteLLM's events, when there are at least so many."""
    found: list[dict[str, Any]] = []

    def are_there() -> bool:
        found[:] = [it for it in recorded(url, 0) if it["kind"] in EFFECTS]
        return len(found) >= count

    wait_until(are_there, 20)
    return found


def waiting_bytes(state_dir: Path, name: str = "events") -> int:
    """Return what is on disk and not in Postgres."""
    return sum(path.stat().st_size for path in (state_dir / name).glob("*.events"))


def run(url: str, statement: str, **values: Any) -> None:
    with _connected(url) as engine, engine.begin() as connection:
        connection.execute(text(statement), values)


def _all(url: str, query: str) -> list[dict[str, Any]]:
    with _connected(url) as engine, engine.connect() as connection:
        return [dict(row) for row in connection.execute(text(query)).mappings()]


@contextmanager
def _connected(url: str) -> Iterator[Engine]:
    engine = create_engine(url)
    yield engine
    engine.dispose()
