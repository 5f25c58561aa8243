"""Counts usage from the rows once more, and says where the sums that were kept differ.

Only reads, in one snapshot. Where a day begins is reckoned here, as for the sums, and not by
Postgres, whose table of time zones is another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Engine

from app.audit.days import DAY, EARLIEST, LATEST, Span
from app.audit.names import EVENT
from app.audit.partitions import following
from app.audit.queries import SUMS, Sums
from app.audit.reading import labels_of, snapshot
from app.audit.usage import CALL_EVENTS, FIRST_ERROR_STATUS, SUMMED_EVENTS

PLACE = ("day", "user_id", "team_id", "key_id", "model_id")
BOUNDS = """
    SELECT (SELECT min(day) FROM usage_days), (SELECT max(day) FROM usage_days),
      (SELECT min(at) FROM audit_events), (SELECT max(at) FROM audit_events)
"""
DROPPED = "SELECT DISTINCT month FROM audit_drops"
NUMBERS = """
    ARRAY(SELECT id FROM audit_names WHERE kind = %(kind)s AND value = ANY (%({name})s))
"""
COUNTED = """
    SELECT (%(days)s::date[])[width_bucket(at, %(midnights)s::timestamptz[])] AS day,
      coalesce(user_id, 0) AS user_id, coalesce(team_id, 0) AS team_id,
      coalesce(key_id, 0) AS key_id, coalesce(model_used_id, model_id, 0) AS model_id,
      count(*) FILTER (WHERE event = ANY ({calls})) AS requests,
      count(*) FILTER (WHERE status >= %(first_error)s) AS failed,
      count(*) FILTER (WHERE is_estimated) AS estimated,
      coalesce(sum(input_tokens), 0) AS input_tokens,
      coalesce(sum(output_tokens), 0) AS output_tokens,
      coalesce(sum(cost_micro_usd), 0) AS cost_micro_usd
    FROM audit_events
    WHERE at >= %(start)s AND at < %(end)s AND event = ANY ({summed})
    GROUP BY 1, 2, 3, 4, 5
"""
COUNTED = COUNTED.format(calls=NUMBERS.format(name="calls"), summed=NUMBERS.format(name="summed"))
COMPARED = """
    WITH counted AS MATERIALIZED ({counted}),
    kept AS MATERIALIZED ({kept}),
    compared AS MATERIALIZED (
      SELECT {place}, {both}
      FROM (SELECT * FROM counted WHERE day IS NOT NULL) AS counted FULL JOIN kept USING ({place})
    )
    SELECT (SELECT sum(requests) FROM counted WHERE day IS NOT NULL)::bigint,
      (SELECT count(*) FROM compared), first.*
    FROM (SELECT) AS nothing LEFT JOIN (
      SELECT * FROM compared WHERE ({counted_sums}) IS DISTINCT FROM ({kept_sums})
      ORDER BY {place} LIMIT 1
    ) AS first ON true
"""
KEPT_DAYS = "SELECT * FROM usage_days WHERE day = ANY (%(checked)s::date[])"
# The sums by month are those by day: what rows say of the days is said of them.
COUNTED_MONTHS = """
    SELECT day - (extract(day FROM day)::int - 1) AS day, user_id, team_id, key_id, model_id, {sums}
    FROM usage_days WHERE day BETWEEN %(month)s AND %(month_end)s GROUP BY 1, 2, 3, 4, 5
"""
KEPT_MONTHS = """
    SELECT month AS day, user_id, team_id, key_id, model_id, {sums} FROM usage_months
    WHERE month BETWEEN %(month)s AND %(month_end)s
"""


def _query(counted: str, kept: str) -> str:
    sides = ("counted", "kept")
    return COMPARED.format(
        counted=counted,
        kept=kept,
        place=", ".join(PLACE),
        both=", ".join(f"{side}.{name} AS {side}_{name}" for side in sides for name in SUMS),
        counted_sums=", ".join(f"counted_{name}" for name in SUMS),
        kept_sums=", ".join(f"kept_{name}" for name in SUMS),
    )


DAYS = _query(COUNTED, KEPT_DAYS)
MONTHS = _query(
    COUNTED_MONTHS.format(sums=", ".join(f"sum({name}) AS {name}" for name in SUMS)),
    KEPT_MONTHS.format(sums=", ".join(SUMS)),
)


@dataclass(frozen=True, slots=True)
class Difference:
    """One combination of which the rows say something else than the sums; None: nothing at all.
    The ``day`` is a month, such as `2026-11`, where the sum of a month is not that of its days."""

    place: Mapping[str, str | date | None]
    counted: Sums | None
    kept: Sums | None

    def as_dict(self) -> dict[str, Any]:
        return {
            **self.place,
            "counted": self.counted.as_dict() if self.counted else None,
            "kept": self.kept.as_dict() if self.kept else None,
        }


@dataclass(frozen=True, slots=True)
class Recount:
    """What was compared, and the first difference; None: the sums are what the rows say."""

    first: date | None
    last: date | None
    requests: int
    sums: int
    # Days of which retention has dropped rows: their sums stand, and can be proven no more.
    skipped_days: int
    difference: Difference | None

    @property
    def is_good(self) -> bool:
        return self.difference is None

    def as_dict(self) -> dict[str, Any]:
        return {
            "good": self.is_good,
            "from": self.first,
            "to": self.last,
            "requests": self.requests,
            "sums": self.sums,
            "skipped_days": self.skipped_days,
            "difference": self.difference.as_dict() if self.difference else None,
        }


def recount(
    engine: Engine, zone: ZoneInfo, first: date | None = None, last: date | None = None
) -> Recount:
    """Compare from ``first`` to ``last``, by default all there is.

    Raises: DatabaseUnavailableError.
    """
    with snapshot(engine, is_thorough=True) as connection, connection.cursor() as cursor:
        return recount_in(cursor, zone, first, last)


def recount_in(cursor: Any, zone: ZoneInfo, first: date | None, last: date | None) -> Recount:
    span = _span(cursor, zone, first, last)
    if span is None:
        return Recount(first, last, 0, 0, 0, None)
    cursor.execute(DROPPED)
    dropped = span.days_in(month for (month,) in cursor.fetchall())
    requests, sums, difference = _compared(cursor, DAYS, _asked(span, dropped))
    if difference is None:
        _, _, difference = _compared(cursor, MONTHS, _months(first, last), form="%Y-%m")
    return Recount(span.first, span.last, requests, sums, len(dropped), difference)


def _compared(
    cursor: Any, query: str, asked: Mapping[str, Any], form: str | None = None
) -> tuple[int, int, Difference | None]:
    """Return how many calls and sums were compared, and the first difference; ``form``: in which
    its day is told."""
    cursor.execute(query, asked)
    requests, sums, *found = cursor.fetchone()
    return int(requests or 0), sums, _difference(cursor, found, form)


def _span(cursor: Any, zone: ZoneInfo, first: date | None, last: date | None) -> Span | None:
    """Return what is asked for, as far as there are sums or rows."""
    cursor.execute(BOUNDS)
    first_sum, last_sum, first_row, last_row = cursor.fetchone()
    days = [it for it in (first_sum, last_sum) if it is not None]
    days += [_day(it, zone) for it in (first_row, last_row) if it is not None]
    if not days:
        return None
    span = Span(max(filter(None, (first, min(days)))), min(filter(None, (last, max(days)))), zone)
    return span if span.first <= span.last else None


def _day(at: datetime, zone: ZoneInfo) -> date:
    return at.astimezone(zone).date()


def _asked(span: Span, dropped: set[date]) -> dict[str, Any]:
    return {
        "days": [None if day in dropped else day for day in span.days()],
        "checked": [day for day in span.days() if day not in dropped],
        "midnights": span.midnights(),
        "start": span.start,
        "end": span.end,
        "first_error": FIRST_ERROR_STATUS,
        "kind": EVENT,
        "calls": sorted(CALL_EVENTS),
        "summed": sorted(SUMMED_EVENTS),
    }


def _months(first: date | None, last: date | None) -> dict[str, date]:
    """Return the months that the days have any part of: their sums stand for longer than rows."""
    first, last = first or EARLIEST, last or LATEST
    return {"month": first.replace(day=1), "month_end": following(last.replace(day=1)) - DAY}


def _difference(cursor: Any, found: list[Any], form: str | None) -> Difference | None:
    day, *numbers = found[: len(PLACE)]
    if day is None:
        return None
    counted, kept = found[len(PLACE) : len(PLACE) + len(SUMS)], found[len(PLACE) + len(SUMS) :]
    labels = labels_of(cursor, numbers)
    names = ("user", "team", "key", "model")
    place = {name: labels.get(number) for name, number in zip(names, numbers, strict=True)}
    when = day.strftime(form) if form else day
    return Difference({"day": when, **place}, _sums(counted), _sums(kept))


def _sums(values: list[Any]) -> Sums | None:
    return None if values[0] is None else Sums(*map(int, values))
