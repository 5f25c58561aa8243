"""How budgets stand in their present periods, in pages. Only reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.ledger.book import Line, LineKey
from app.ledger.periods import PERIODS
from app.ledger.rules import Budget

# Of a budget and a subject.
Position = tuple[int, str]
BEFORE_ALL: Position = (0, "")

# A budget's lines, and one for its own subject where nobody has drawn on it yet. Budgets come in
# the order of their ids, each with no more lines than the page has.
PAGE = f"""
    WITH period (name, start) AS (VALUES {", ".join(f"('{it}', %({it}_start)s)" for it in PERIODS)})
    SELECT it.id, it.scope, it.subject, it.metric, it.period, it.limit_amount, it.mode,
      line.subject, line.posted, line.pending, line.would_refuse, line.credited,
      coalesce((
        SELECT sum(more.amount) FROM budget_raises AS more
        WHERE more.budget_id = it.id AND more.subject = line.subject AND more.ended_at IS NULL
          AND more.expires_at > %(now)s
      ), 0)::bigint
    FROM budgets AS it JOIN period ON period.name = it.period
    CROSS JOIN LATERAL (
      (SELECT subject, posted, pending, would_refuse, credited FROM budget_lines
       WHERE budget_id = it.id AND period_start = period.start
         AND (it.id > %(id)s OR subject > %(after)s)
         AND (%(subject)s IS NULL OR subject = %(subject)s)
       ORDER BY subject LIMIT %(limit)s)
      UNION ALL
      SELECT it.subject, 0, 0, 0, 0 WHERE (it.id > %(id)s OR it.subject > %(after)s)
        AND (%(subject)s IS NULL OR it.subject = %(subject)s)
        AND NOT EXISTS (
          SELECT FROM budget_lines AS own WHERE own.budget_id = it.id
            AND own.subject = it.subject AND own.period_start = period.start
        )
    ) AS line
    WHERE it.is_active AND it.id >= %(id)s
      AND (%(scope)s IS NULL OR it.scope = %(scope)s)
      AND (%(metric)s IS NULL OR it.metric = %(metric)s)
      AND (%(period)s IS NULL OR it.period = %(period)s)
      AND (%(mode)s IS NULL OR it.mode = %(mode)s)
      AND (%(budget)s IS NULL OR it.id = %(budget)s)
    ORDER BY it.id, line.subject LIMIT %(limit)s
"""  # noqa: S608  # names of ours


@dataclass(frozen=True, slots=True)
class BudgetFilter:
    """What of the budgets is asked for; ``subject`` is whose line it is."""

    scope: str | None = None
    subject: str | None = None
    metric: str | None = None
    period: str | None = None
    mode: str | None = None
    budget: int | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """One line of a budget, and by how much its limit is raised now."""

    budget: Budget
    subject: str
    line: Line
    raised: int


def page_of_standings(
    cursor: Any,
    starts: Mapping[str, datetime],
    now: datetime,
    wanted: BudgetFilter,
    limit: int,
    after: Position = BEFORE_ALL,
) -> list[Standing]:
    """Return what follows a position, in order. ``starts``: of each period that there is now."""
    asked = {name: getattr(wanted, name) for name in BudgetFilter.__slots__}
    asked |= {f"{period}_start": start for period, start in starts.items()}
    cursor.execute(PAGE, {**asked, "id": after[0], "after": after[1], "now": now, "limit": limit})
    return [
        Standing(Budget(*row[:7]), row[7], Line(*row[8:12]), row[12]) for row in cursor.fetchall()
    ]


LINES = """
    SELECT posted, pending, would_refuse, credited FROM budget_lines
    WHERE budget_id = %s AND subject = %s AND period_start = %s
"""


def lines_of(cursor: Any, keys: Iterable[LineKey]) -> dict[LineKey, Line]:
    """Return lines as they stand, empty where nobody has drawn on them yet."""
    found = {}
    for key in keys:
        cursor.execute(LINES, key)
        row = cursor.fetchone()
        found[key] = Line(*row) if row else Line()
    return found
