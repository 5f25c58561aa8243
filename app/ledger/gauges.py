"""How full budgets are, for those who watch them. Only reads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any
from zoneinfo import ZoneInfo

from psycopg2.extras import execute_values

from app.ledger.periods import Window, window_at

# Shorter ones are limits of speed: they are used up all the time.
PERIODS = ("day", "week", "month")
# What is used less than this is nothing to tell of, whatever the pace.
LEAST_PERCENT = 20
HIDDEN = "…"

# Whose own budget it is comes after everybody's: the last one of a place stands.
FULL_LINES = """
    SELECT it.scope, line.subject, it.metric, it.period, it.mode, it.limit_amount + more.amount,
      line.posted - line.credited
    FROM budgets AS it JOIN budget_lines AS line ON line.budget_id = it.id
    CROSS JOIN LATERAL (
      SELECT coalesce(sum(amount), 0)::bigint AS amount FROM budget_raises
      WHERE budget_id = it.id AND subject = line.subject AND ended_at IS NULL AND expires_at > %s
    ) AS more
    WHERE it.is_active AND it.limit_amount > 0 AND it.period = %s AND line.period_start = %s
      AND (line.posted - line.credited)::numeric * 100
        >= (it.limit_amount + more.amount)::numeric * %s
    ORDER BY it.subject <> '*', it.id, line.subject
"""
WANTED_LINES = """
    SELECT it.scope, wanted.subject, it.metric, it.period, it.mode, it.limit_amount + (
        SELECT coalesce(sum(amount), 0)::bigint FROM budget_raises
        WHERE budget_id = it.id AND subject = wanted.subject AND ended_at IS NULL
          AND expires_at > wanted.now
      ), coalesce(line.posted - line.credited, 0), wanted.start
    FROM (VALUES %s) AS wanted (scope, subject, metric, period, start, now)
    JOIN budgets AS it ON (it.scope, it.metric, it.period)
        = (wanted.scope, wanted.metric, wanted.period)
      AND it.subject IN (wanted.subject, '*') AND it.is_active AND it.limit_amount > 0
    LEFT JOIN budget_lines AS line
      ON (line.budget_id, line.subject, line.period_start) = (it.id, wanted.subject, wanted.start)
    ORDER BY it.subject <> '*', it.id, wanted.subject
"""

# The raises are looked up for those alone that are among the fullest without them: a raise makes a
# budget less full, never more. There are more of them than are shown.
FULLEST = """
    WITH fullest AS MATERIALIZED (
      SELECT it.id, it.scope, line.subject, it.metric, it.period, it.mode, it.limit_amount,
        line.posted - line.credited AS used
      FROM budgets AS it JOIN budget_lines AS line ON line.budget_id = it.id
      WHERE it.is_active AND it.limit_amount > 0 AND it.period = %(period)s
        AND line.period_start = %(start)s
        AND (it.scope = 'global'
          OR (line.posted - line.credited) * 100.0 >= it.limit_amount * %(percent)s)
      ORDER BY it.scope <> 'global',
        (line.posted - line.credited)::float8 / it.limit_amount DESC, it.id, line.subject
      LIMIT %(limit)s
    )
    SELECT scope, subject, metric, period, mode, limit_amount + (
        SELECT coalesce(sum(amount), 0)::bigint FROM budget_raises
        WHERE budget_id = fullest.id AND subject = fullest.subject AND ended_at IS NULL
          AND expires_at > %(now)s
      ), used
    FROM fullest
"""
FULLEST_LOOKED_AT = 50

# Scope, subject, metric, period.
Place = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class BudgetGauge:
    """One budget, for one subject, in its present period."""

    window: Window
    scope: str
    subject: str
    metric: str
    period: str
    mode: str
    limit: int
    used: int

    @property
    def shown(self) -> str:
        """Whose it is, as it may be told: of an e-mail address a stand-in."""
        if "@" not in self.subject:
            return self.subject
        return f"{self.subject[0]}{HIDDEN}{sha256(self.subject.encode()).hexdigest()[:8]}"

    @property
    def place(self) -> str:
        whose = f"{self.scope} {self.shown}" if self.subject else self.scope
        return f"{whose} {self.metric}/{self.period}"


def read_gauges(
    cursor: Any, now: datetime, zone: ZoneInfo, wanted: Iterable[Place] = ()
) -> list[BudgetGauge]:
    """Return the budgets that are used by `LEAST_PERCENT` at least, and those that are wanted as
    far as there are such."""
    windows = {period: window_at(period, now, zone) for period in PERIODS}
    gauges: list[BudgetGauge] = []
    for period, window in windows.items():
        cursor.execute(FULL_LINES, (now, period, window.start, LEAST_PERCENT))
        gauges += [BudgetGauge(window, *row) for row in cursor.fetchall()]
    rows = [(*it, windows[it[3]].start, now) for it in wanted if it[3] in windows]
    if rows:
        found = execute_values(cursor, WANTED_LINES, rows, page_size=len(rows), fetch=True)
        gauges += [BudgetGauge(windows[row[3]], *row[:7]) for row in found]
    return gauges


def fullest_gauges(cursor: Any, now: datetime, zone: ZoneInfo, limit: int) -> list[BudgetGauge]:
    """Return the whole company's budgets, as far as anything is used of them, then the others that
    are used by `LEAST_PERCENT` at least; the fullest first."""
    gauges: list[BudgetGauge] = []
    for period in PERIODS:
        window = window_at(period, now, zone)
        values = {"period": period, "start": window.start, "now": now}
        values |= {"percent": LEAST_PERCENT, "limit": FULLEST_LOOKED_AT}
        cursor.execute(FULLEST, values)
        gauges += [BudgetGauge(window, *row) for row in cursor.fetchall()]
    gauges.sort(key=lambda it: (it.scope != "global", -it.used / it.limit))
    return gauges[:limit]
