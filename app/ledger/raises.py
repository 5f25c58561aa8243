"""Raises in Postgres: what a budget allows more, for one of its subjects, for a while."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.ledger.rules import Raise

COLUMNS = (
    "id",
    "budget_id",
    "subject",
    "amount",
    "reason",
    "created_at",
    "created_by",
    "expires_at",
    "ended_at",
    "ended_by",
)
FIELDS = ", ".join(COLUMNS)
LIVE = """
    SELECT budget_id, subject, amount, created_at, expires_at FROM budget_raises
    WHERE ended_at IS NULL ORDER BY id
"""
ADD = f"""
    INSERT INTO budget_raises
      (budget_id, subject, amount, reason, created_at, created_by, expires_at)
    VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING {FIELDS}
"""  # noqa: S608  # names of ours
# What has expired ended then: who reads the live ones need not read it for ever.
TIDY = "UPDATE budget_raises SET ended_at = expires_at WHERE ended_at IS NULL AND expires_at <= %s"
END = f"""
    UPDATE budget_raises SET ended_at = %(now)s, ended_by = %(by)s
    WHERE id = %(id)s AND ended_at IS NULL AND expires_at > %(now)s RETURNING {FIELDS}
"""  # noqa: S608
END_ALL = """
    UPDATE budget_raises SET ended_at = %s, ended_by = %s WHERE budget_id = %s AND ended_at IS NULL
"""
PAGE = f"""
    SELECT {FIELDS} FROM budget_raises
    WHERE (%(past)s OR ended_at IS NULL AND expires_at > %(now)s)
      AND (%(budget)s IS NULL OR budget_id = %(budget)s)
      AND (%(subject)s IS NULL OR subject = %(subject)s)
      AND (%(before)s IS NULL OR id < %(before)s)
    ORDER BY id DESC LIMIT %(limit)s
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class RaiseRecord:
    """One row; ``amount`` in the budget's metric. It is over at ``ended_at`` or ``expires_at``."""

    id: int
    budget_id: int
    subject: str
    amount: int
    reason: str
    created_at: datetime
    created_by: str
    expires_at: datetime
    ended_at: datetime | None
    ended_by: str | None

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in COLUMNS}


def live_raises(cursor: Any) -> Mapping[int, tuple[Raise, ...]]:
    """Return those that nobody has ended, by budget; some may have expired."""
    cursor.execute(LIVE)
    found: dict[int, tuple[Raise, ...]] = defaultdict(tuple)
    for budget_id, *facts in cursor.fetchall():
        found[budget_id] += (Raise(*facts),)
    return found


def add_raise(cursor: Any, budget_id: int, raised: Raise, *, reason: str, by: str) -> RaiseRecord:
    now = raised.begins_at
    cursor.execute(TIDY, (now,))
    cursor.execute(ADD, (budget_id, raised.subject, raised.amount, reason, now, by, raised.ends_at))
    return RaiseRecord(*cursor.fetchone())


def end_raise(cursor: Any, raise_id: int, now: datetime, by: str) -> RaiseRecord | None:
    """End one that lasts; None where none of this id does."""
    cursor.execute(END, {"id": raise_id, "now": now, "by": by})
    row = cursor.fetchone()
    return RaiseRecord(*row) if row else None


def end_raises_of(cursor: Any, budget_id: int, now: datetime, by: str) -> None:
    cursor.execute(END_ALL, (now, by, budget_id))


def page_of_raises(
    cursor: Any,
    now: datetime,
    limit: int,
    *,
    past: bool = False,
    budget: int | None = None,
    subject: str | None = None,
    before: int | None = None,
) -> list[RaiseRecord]:
    """Return those that last, or all; the latest first."""
    asked = {"past": past, "budget": budget, "subject": subject, "before": before}
    cursor.execute(PAGE, {**asked, "now": now, "limit": limit})
    return [RaiseRecord(*row) for row in cursor.fetchall()]
