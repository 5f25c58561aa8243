"""What became of holds, for those who look back. Only reads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.ledger.book import Spend

# A call's attempts are called by its id and a number: more than any chain is long.
MOST_ATTEMPTS = 40
OF_CALL = """
    SELECT request_id, state, model, held, posted, is_estimated, credited, created_at, expires_at,
      entries
    FROM holds WHERE request_id = ANY(%(ids)s)
    ORDER BY created_at, request_id
"""
# Those that some shadow had no room for: `ix_holds_would_refuse` has no others.
STOPPED = """
    SELECT user_id, key_id, count(*)::bigint, max(created_at) FROM holds
    WHERE created_at >= %(since)s AND entries @? 'strict $[*] ? (@[5] == true)' AND EXISTS (
      SELECT FROM jsonb_array_elements(entries) AS entry
      WHERE (entry ->> 0)::bigint = %(budget)s AND (entry ->> 5)::boolean
    )
    GROUP BY user_id, key_id ORDER BY 3 DESC, 1, 2 LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class PastHold:
    """What one attempt held, and what was posted of it."""

    request_id: str
    state: str
    model: str
    held: Spend
    posted: Spend
    is_estimated: bool
    credited: Spend | None
    created_at: datetime
    expires_at: datetime
    # The budgets that it drew on.
    budgets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stopped:
    """Somebody whom a shadow budget would have stopped, and how often."""

    user: str | None
    key: str | None
    calls: int
    last_at: datetime


def holds_of(cursor: Any, call_id: str) -> list[PastHold]:
    """Return a call's holds, one for each model that was asked."""
    attempts = [f"{call_id}.{number}" for number in range(2, MOST_ATTEMPTS)]
    cursor.execute(OF_CALL, {"ids": [call_id, *attempts]})
    return [
        PastHold(
            request_id,
            state,
            model,
            Spend(*held),
            Spend(*posted),
            is_estimated,
            Spend(*credited) if credited else None,
            created_at,
            expires_at,
            tuple(entry[0] for entry in entries),
        )
        for (
            request_id,
            state,
            model,
            held,
            posted,
            is_estimated,
            credited,
            created_at,
            expires_at,
            entries,
        ) in cursor.fetchall()
    ]


def stopped_by(cursor: Any, budget_id: int, since: datetime, limit: int) -> list[Stopped]:
    """Return whom a shadow budget would have stopped since then, the most often first."""
    cursor.execute(STOPPED, {"budget": budget_id, "since": since, "limit": limit})
    return [Stopped(*row) for row in cursor.fetchall()]
