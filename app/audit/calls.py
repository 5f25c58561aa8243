"""Every call that was made in a period, in the order of time, a few at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import Engine

from app.audit.reading import all_labels, snapshot
from app.dialects.base import Usage

AT_ONCE = 5_000
CALLS = """
    SELECT event_id::text, at, user_id, team_id, key_id, coalesce(model_used_id, model_id),
      input_tokens, output_tokens, cost_micro_usd, detail
    FROM audit_events
    WHERE at >= %s AND at < %s
      AND event = (SELECT id FROM audit_names WHERE kind = 'event' AND value = 'request')
    ORDER BY at, seq
"""


@dataclass(frozen=True, slots=True)
class PastCall:
    """What the ledger posted for a call; ``usage``: where it was counted, and paid for."""

    request_id: str
    at: datetime
    user: str | None
    team: str | None
    key: str | None
    model: str | None
    tokens: int
    cost_micro_usd: int
    usage: Usage | None


def past_calls(engine: Engine, start: datetime, end: datetime) -> Iterator[PastCall]:
    """Yield the calls from ``start`` until just before ``end``, those that were refused left out.

    Raises: DatabaseUnavailableError.
    """
    with snapshot(engine, is_thorough=True) as connection:
        with connection.cursor() as cursor:
            labels = all_labels(cursor)
        # With a name it stays on the server, which sends so many rows at once.
        with connection.cursor(name="past_calls") as cursor:
            cursor.itersize = AT_ONCE
            cursor.execute(CALLS, (start, end))
            for event_id, at, user, team, key, model, *counts in cursor:
                yield PastCall(
                    event_id,
                    at.astimezone(UTC),
                    labels.get(user),
                    labels.get(team),
                    labels.get(key),
                    labels.get(model),
                    *_amounts(*counts),
                )


def _amounts(
    input_tokens: int | None, output_tokens: int | None, cost: int | None, detail: str | None
) -> tuple[int, int, Usage | None]:
    facts: dict[str, Any] = orjson.loads(detail) if detail else {}
    if facts.get("cache"):
        return 0, cost or 0, None
    if not input_tokens or output_tokens is None:
        return _likely_tokens(facts, cost or 0), cost or 0, None
    cached, written = facts.get("cached_input_tokens", 0), facts.get("cache_write_tokens", 0)
    usage = Usage(input_tokens, output_tokens, cached, written)
    return input_tokens + output_tokens, cost or 0, usage


def _likely_tokens(facts: dict[str, Any], cost: int) -> int:
    """Return what was posted of a call that nobody counted: its part of the hold, by the cost."""
    if "tokens" in facts:
        return int(facts["tokens"])
    tokens, held_cost = facts.get("held") or (0, 0)
    return min(tokens, -(-tokens * cost // held_cost)) if held_cost else 0
